//! What holds for any octets: no panic, well-formed replies within their bounds.

use dnscache::engine::wire::UDP_REPLY_MAX;
use dnscache::engine::wire::answer::{Class, classify};
use dnscache::engine::{
    Ask, Engine, Failure, ListenerId, Now, Outcome, Query, Scratch, Transport, Verdict,
};
use hickory_proto::op::Message as HickoryMessage;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::harness::engine_stage::{client_address, engine_of, upstream_query};
use crate::harness::message::{Message, Opt, Record, flag};
use crate::harness::zone::query;

const START: Now = Now::from_millis(86_400_000);
/// Whatever upstream says is told again under the name asked.
const REWRITING: &str = ".:PORT {\n bind IP\n rewrite continue name a-longer-name.test www.example.org\n rewrite continue ttl suffix . 5-60\n cache\n loadbalance\n forward . UPSTREAM\n}\n";
const COREFILE: &str = ".:PORT {\n bind IP\n cache\n loadbalance\n forward . UPSTREAM\n}\n";

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_octets_are_settled(packet in vec(any::<u8>(), 0..600), tcp: bool) {
        settle_query(&packet, tcp)?;
    }

    #[test]
    fn any_octets_after_a_header_are_settled(body in vec(any::<u8>(), 0..300), tcp: bool) {
        let header = [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
        settle_query(&[&header[..], &body].concat(), tcp)?;
    }

    #[test]
    fn changed_queries_are_settled(packet in changed(queries()), tcp: bool) {
        settle_query(&packet, tcp)?;
    }

    #[test]
    fn any_octets_from_upstream_are_settled(message in vec(any::<u8>(), 0..900)) {
        settle_answer(&message)?;
    }

    #[test]
    fn changed_answers_are_settled(message in changed(answers())) {
        settle_answer(&message)?;
    }
}

/// What is done to a message: octets replaced, removed, put in, or the end cut off.
#[derive(Debug, Clone)]
enum Change {
    Replace(Index, u8),
    Flip(Index, u8),
    Remove(Index),
    Insert(Index, u8),
    Repeat(Index, Index),
    Cut(Index),
}

fn changed(messages: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let change = prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, octet)| Change::Replace(at, octet)),
        (any::<Index>(), 0..8u8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        any::<Index>().prop_map(Change::Remove),
        (any::<Index>(), any::<u8>()).prop_map(|(at, octet)| Change::Insert(at, octet)),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Change::Repeat(from, to)),
        any::<Index>().prop_map(Change::Cut),
    ];
    (select(messages), vec(change, 0..6)).prop_map(|(mut message, changes)| {
        for change in changes {
            apply(&mut message, &change);
        }
        message
    })
}

fn apply(message: &mut Vec<u8>, change: &Change) {
    let len = message.len();
    if len == 0 {
        return;
    }
    match change {
        Change::Replace(at, octet) => message[at.index(len)] = *octet,
        Change::Flip(at, bit) => message[at.index(len)] ^= 1 << bit,
        Change::Remove(at) => {
            message.remove(at.index(len));
        }
        Change::Insert(at, octet) => message.insert(at.index(len), *octet),
        Change::Repeat(from, to) => {
            let (from, to) =
                (from.index(len).min(to.index(len)), from.index(len).max(to.index(len)));
            message.extend_from_within(from..to);
        }
        Change::Cut(at) => message.truncate(at.index(len)),
    }
}

fn queries() -> Vec<Vec<u8>> {
    let mut plain = query(0x1234, "www.example.org", "A");
    let mut with_edns = query(0x1235, "WWW.example.org", "AAAA");
    with_edns.opt = Some(Opt { udp_size: 4096, dnssec_ok: true, ..Opt::default() });
    let mut with_options = with_edns.clone();
    with_options.opt.as_mut().expect("set above").options =
        vec![(10, vec![1; 8]), (8, vec![0, 1, 24, 0, 192, 0, 2]), (12, vec![0; 64])];
    plain.flags |= flag::CD | flag::AD;
    let any = query(0x1236, "a.b.c.d.e.f.g.h.example.org", "ANY");
    [plain, with_edns, with_options, any].iter().map(Message::write).collect()
}

fn answers() -> Vec<Vec<u8>> {
    let say = |lines: &[&str], authority: &[&str], flags: u16| {
        let records = |lines: &[&str]| -> Vec<Record> {
            lines.iter().map(|line| Record::from_text(line).expect("a record")).collect()
        };
        let mut reply = query(0x1234, "www.example.org", "A").reply();
        reply.flags |= flags;
        reply.answer = records(lines);
        reply.authority = records(authority);
        reply.opt = Some(Opt { udp_size: 1232, ..Opt::default() });
        reply.write()
    };
    let soa = "example.org. 900 SOA ns.example.org. host.example.org. 1 2 3 4 60";
    vec![
        say(&["www.example.org. 300 A 192.0.2.1", "www.example.org. 300 A 192.0.2.2"], &[], 0),
        say(&["www.example.org. 300 CNAME a.test.", "a.test. 60 A 192.0.2.1"], &[], 0),
        say(&["www.example.org. 300 CNAME gone.test."], &[soa], 3),
        say(&[], &[soa], 3),
        say(&[], &[soa], 0),
        say(&["www.example.org. 300 RRSIG \\# 20 fill", "www.example.org. 9 A 192.0.2.1"], &[], 0),
    ]
}

fn settle_query(packet: &[u8], tcp: bool) -> Result<(), TestCaseError> {
    let engine = engine_of(COREFILE).expect("a Corefile");
    let query = query_of(packet, tcp);
    let mut out = vec![0xAA; 65_535];
    match engine.answer(&query, START, &mut Scratch::default(), &mut out) {
        Verdict::Drop(_) => Ok(()),
        Verdict::Reply(reply) => {
            prop_assert!(reply.renew.is_none());
            judge(packet, tcp, &out[..reply.len])?;
            let strict = HickoryMessage::from_vec(&out[..reply.len]);
            prop_assert!(strict.is_ok(), "{strict:?}");
            Ok(())
        }
        Verdict::Ask(ask) => answer_every_way(&engine, &query, &ask),
    }
}

/// A question that goes upstream: whatever becomes of it, the client's reply is well-formed.
fn answer_every_way(engine: &Engine, query: &Query<'_>, ask: &Ask) -> Result<(), TestCaseError> {
    let nothing = upstream_query(ask).reply().write();
    let outcomes = [
        engine.learn_failure(ask, Failure::Silent, START),
        engine.learn_failure(ask, Failure::Overloaded, START),
        engine.learn(ask, &nothing, START),
    ];
    for outcome in outcomes {
        let mut out = vec![0xAA; 65_535];
        let scratch = &mut Scratch::default();
        let reply = engine.reply(query, ask, &outcome, START, scratch, &mut out);
        judge(query.packet, query.transport == Transport::Tcp, &out[..reply.len])?;
    }
    Ok(())
}

#[test]
fn only_a_bound_the_operator_set_is_refused() {
    let engine = engine_of(COREFILE).expect("a Corefile");
    let packet = query(0x4321, "www.example.org", "A").write();
    let (mut out, scratch) = (vec![0; 1232], &mut Scratch::default());
    let Verdict::Ask(ask) = engine.answer(&query_of(&packet, false), START, scratch, &mut out)
    else {
        panic!("nothing is known yet")
    };
    let rcode = |outcome| match outcome {
        Outcome::Failed { rcode, .. } => rcode,
        other => panic!("{other:?}"),
    };
    assert_eq!(rcode(engine.learn_failure(&ask, Failure::Overloaded, START)), 5);
    assert_eq!(rcode(engine.learn_failure(&ask, Failure::Exhausted, START)), 2);
    assert_eq!(rcode(engine.turn_away(&ask, START)), 2);
}

fn settle_answer(message: &[u8]) -> Result<(), TestCaseError> {
    settle_answer_under(COREFILE, "www.example.org", message)?;
    settle_answer_under(REWRITING, "a-longer-name.test", message)
}

fn settle_answer_under(corefile: &str, asked: &str, message: &[u8]) -> Result<(), TestCaseError> {
    let engine = engine_of(corefile).expect("a Corefile");
    let packet = query(0x4321, asked, "A").write();
    let client = query_of(&packet, false);
    let mut out = vec![0xAA; 65_535];
    let scratch = &mut Scratch::default();
    let Verdict::Ask(ask) = engine.answer(&client, START, scratch, &mut out) else {
        return Err(TestCaseError::fail("nothing is known yet"));
    };
    let outcome = match classify(&ask.key, message) {
        Class::Answer(_) => engine.learn(&ask, message, START),
        Class::Truncated => return Ok(()),
        Class::Failure(rcode) => engine.learn_failure(&ask, Failure::Answered(rcode), START),
        Class::Broken => {
            // Learning what should not be learned is refused, not believed.
            let outcome = engine.learn(&ask, message, START);
            let failed = matches!(outcome, Outcome::Failed { .. });
            prop_assert!(failed, "{outcome:?}");
            outcome
        }
    };
    let reply = engine.reply(&client, &ask, &outcome, START, scratch, &mut out);
    judge(&packet, false, &out[..reply.len])?;
    // And once more from the cache, a little later.
    let later = START.plus_millis(700);
    if let Verdict::Reply(reply) = engine.answer(&client, later, scratch, &mut out) {
        judge(&packet, false, &out[..reply.len])?;
    }
    Ok(())
}

fn query_of(packet: &[u8], tcp: bool) -> Query<'_> {
    let transport = if tcp { Transport::Tcp } else { Transport::Udp };
    Query { packet, source: client_address(), listener: ListenerId(0), transport }
}

fn judge(packet: &[u8], tcp: bool, bytes: &[u8]) -> Result<(), TestCaseError> {
    let reply =
        Message::read(bytes).map_err(|e| TestCaseError::fail(format!("{e}: {bytes:02x?}")))?;
    prop_assert!(reply.has(flag::QR));
    prop_assert_eq!(&bytes[..2], &packet[..2]);
    prop_assert!(tcp || bytes.len() <= UDP_REPLY_MAX);
    let asked = Message::read(packet);
    let had_opt = asked.as_ref().map_or(has_opt_octets(packet), |asked| asked.opt.is_some());
    prop_assert!(had_opt || reply.opt.is_none());
    prop_assert!(tcp || had_opt || bytes.len() <= 512);
    if let (Ok(asked), false) = (&asked, reply.questions.is_empty()) {
        prop_assert_eq!(&asked.questions, &reply.questions);
    }
    Ok(())
}

/// Whether the type and owner of an OPT record stand anywhere in a packet that cannot be read.
fn has_opt_octets(packet: &[u8]) -> bool {
    packet.windows(3).any(|octets| octets == [0, 0, 41])
}
