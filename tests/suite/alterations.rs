//! `rewrite`, `template` and `dns64`: on the real program, and for any name.

use dnscache::engine::wire::name::Name;
use dnscache::engine::{ListenerId, Now, Query, Scratch, Transport, Verdict};
use hickory_proto::op::Message as HickoryMessage;
use hickory_proto::rr::{RData, RecordType};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::harness::engine_stage::{client_address, engine_of, upstream_query};
use crate::harness::message::{DomainName, Message, Record, flag};
use crate::harness::own_loopback;
use crate::harness::program::{Program, UPSTREAM_PORT};
use crate::harness::upstream::Upstream;

const COREFILE: &str = "\
.:PORT {
    bind IP
    prometheus IP:9253
    rewrite name suffix .corp.test .zone.test answer auto
    rewrite name old.test big.zone.test
    template IN A made.test {
        match ^ip-(?P<d>[0-9]+)[.]made[.]test[.]$
        answer \"{{ .Name }} 60 IN A 192.0.2.{{ .Group.d }}\"
    }
    dns64 {
        allow_ipv4
    }
    cache
    forward . UPSTREAM
}
";

const ZONE: &str = "\
test. 60 SOA ns.test. h.test. 1 2 3 4 60
www.zone.test. 300 CNAME web.zone.test.
web.zone.test. 300 A 192.0.2.1
six.zone.test. 300 AAAA 2001:db8::6
big.zone.test. 300 TXT \\# 2000 fill
";

fn records(reply: &Message) -> Vec<Record> {
    reply.answer.clone()
}

fn read(lines: &[&str]) -> Vec<Record> {
    lines.iter().map(|line| Record::from_text(line).expect(line)).collect()
}

#[test]
fn the_program_rewrites_builds_and_translates_over_udp_and_tcp() {
    let ip = own_loopback();
    let program = Program::start(ip, COREFILE);
    let upstream = Upstream::with_zone(ip, UPSTREAM_PORT, ZONE);
    let both = |name: &str, qtype: &str| [program.ask(name, qtype), program.ask_tcp(name, qtype)];
    for reply in both("www.corp.test", "A") {
        assert_eq!(reply.questions[0].name.to_string(), "www.corp.test.");
        let expected =
            read(&["www.corp.test. 300 CNAME web.corp.test.", "web.corp.test. 300 A 192.0.2.1"]);
        let names = |records: &[Record]| {
            records.iter().map(|r| (r.name.to_string(), r.data.clone())).collect::<Vec<_>>()
        };
        assert_eq!(names(&records(&reply)), names(&expected));
    }
    assert_eq!(upstream.count("www.zone.test. A"), 1, "{}", program.log());
    for reply in both("web.corp.test", "AAAA") {
        let expected = DomainName::from_text("web.corp.test").expect("a name");
        assert_eq!(reply.answer.len(), 1, "{}", program.log());
        assert_eq!((&reply.answer[0].name, reply.answer[0].rtype), (&expected, 28));
        assert_eq!(reply.answer[0].data, b"\0\x64\xff\x9b\0\0\0\0\0\0\0\0\xc0\0\x02\x01");
    }
    for reply in both("six.corp.test", "AAAA") {
        assert_eq!(reply.answer[0].data[..4], [0x20, 1, 0xd, 0xb8]);
    }
    for reply in both("IP-7.made.test", "A") {
        assert!(reply.has(flag::AA));
        assert_eq!(reply.answer[0].data, [192, 0, 2, 7]);
    }
    for reply in both("ip-700.made.test", "A") {
        assert_eq!(reply.rcode(), 2);
    }
    let [over_udp, over_tcp] = both("old.test", "TXT");
    assert!(over_udp.has(flag::TC) && over_udp.answer.is_empty());
    assert_eq!((over_tcp.answer.len(), over_tcp.answer[0].data.len()), (1, 2000));
    assert_eq!(over_tcp.answer[0].name.to_string(), "old.test.");
    for (metric, expected) in [
        ("coredns_template_matches_total", 4.0),
        ("coredns_template_rr_failures_total", 2.0),
        ("coredns_template_template_failures_total", 0.0),
        ("coredns_dns64_requests_translated_total", 2.0),
    ] {
        assert!((program.metric(metric, &[]) - expected).abs() < 0.5, "{}", program.metrics());
    }
}

#[test]
fn a_mistake_in_a_reload_leaves_the_rules_in_force() {
    let ip = own_loopback();
    let corefile = ".:PORT {\n bind IP\n template IN A a.test {\n  answer \"{{ .Name }} 60 A 192.0.2.1\"\n }\n}\n";
    let program = Program::start(ip, corefile);
    assert_eq!(program.ask("x.a.test", "A").answer[0].data, [192, 0, 2, 1]);
    program.write_corefile(&corefile.replace("{{ .Name }}", "{{ if x }}"));
    program.signal("HUP");
    let limit = std::time::Duration::from_secs(10);
    assert!(program.logs_within("Corefile:4:10", limit), "{}", program.log());
    assert_eq!(program.ask("x.a.test", "A").answer[0].data, [192, 0, 2, 1]);
}

/// The rules under which any name is tried: some do not put back what they change.
const RULES: [&str; 6] = [
    "rewrite name suffix .org .example.net answer auto",
    "rewrite continue name prefix a bb answer auto\n rewrite name suffix .test .x.y answer auto",
    "rewrite name regex ^(.*)$ {1}x.example. answer auto",
    "rewrite name regex ^([^.]*)[.](.*)$ {2}{1}.",
    "rewrite name substring a longer-than-that answer auto",
    "rewrite ttl suffix . 5-10\n rewrite type TXT A",
];

fn labels() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let label = prop_oneof![
        vec(prop_oneof![Just(b'a'), Just(b'A'), Just(b'b'), any::<u8>()], 1..12),
        vec(Just(b'a'), 40..=63),
    ];
    let top = prop_oneof![Just(b"org".to_vec()), Just(b"Test".to_vec())];
    (vec(label, 0..4), top).prop_map(|(mut labels, top)| {
        labels.push(top);
        labels
    })
}

fn wire(labels: &[Vec<u8>]) -> Vec<u8> {
    let mut wire: Vec<u8> =
        labels.iter().flat_map(|label| [&[label.len() as u8][..], label].concat()).collect();
    wire.push(0);
    wire
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_reply_has_the_question_asked_and_parses(
        labels in labels(),
        rule in 0..RULES.len(),
        tcp: bool,
        aliases in 0..3_u8,
    ) {
        let name = wire(&labels);
        prop_assume!(name.len() <= 255);
        let corefile =
            format!(".:PORT {{\n bind IP\n {}\n cache\n forward . UPSTREAM\n}}\n", RULES[rule]);
        let engine = engine_of(&corefile).expect("a Corefile");
        let packet = packet(&name);
        let (mut out, scratch) = (vec![0xAA; 65_535], &mut Scratch::default());
        let query = query_of(&packet, tcp);
        let now = Now::from_millis(86_400_000);
        let len = match engine.answer(&query, now, scratch, &mut out) {
            Verdict::Ask(ask) => {
                let outcome = engine.learn(&ask, &answer(&upstream_query(&ask), aliases), now);
                engine.reply(&query, &ask, &outcome, now, scratch, &mut out).len
            }
            Verdict::Reply(reply) => reply.len,
            Verdict::Drop(reason) => return Err(TestCaseError::fail(format!("{reason:?}"))),
        };
        judge(&packet, &out[..len], tcp)?;
        // And once more from the cache, in the same way.
        let first = out[..len].to_vec();
        if let Verdict::Reply(reply) = engine.answer(&query, now, scratch, &mut out) {
            prop_assert_eq!(&out[..reply.len], &first[..]);
        }
    }
}

fn judge(packet: &[u8], bytes: &[u8], tcp: bool) -> Result<(), TestCaseError> {
    let question = &packet[12..];
    prop_assert_eq!(&bytes[12..12 + question.len()], question, "the question as it was asked");
    prop_assert!(tcp || bytes.len() <= 512);
    let reply = HickoryMessage::from_vec(bytes)
        .map_err(|error| TestCaseError::fail(format!("{error}: {bytes:02x?}")))?;
    let answers = &reply.answers;
    for record in answers {
        prop_assert!(matches!(record.record_type(), RecordType::A | RecordType::CNAME));
        if let RData::A(address) = &record.data {
            prop_assert_eq!(address.0.octets(), [192, 0, 2, 1]);
        }
    }
    Ok(())
}

fn query_of(packet: &[u8], tcp: bool) -> Query<'_> {
    let transport = if tcp { Transport::Tcp } else { Transport::Udp };
    Query { packet, source: client_address(), listener: ListenerId(0), transport }
}

fn packet(name: &[u8]) -> Vec<u8> {
    let header = [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    [&header[..], name, b"\0\x01\0\x01"].concat()
}

/// Aliases from the name asked to others of its zone, and an address at the end.
fn answer(query: &Message, aliases: u8) -> Vec<u8> {
    let mut reply = query.reply();
    let question = reply.questions[0].clone();
    let mut owner = question.name.clone();
    for number in 0..aliases {
        let target = [&[1, b'a' + number][..], b"\x03cdn\x07example\x03net\0"].concat();
        assert!(Name::from_wire(&target).is_some());
        reply.answer.push(Record {
            name: owner,
            rtype: 5,
            class: 1,
            ttl_secs: 300,
            data: target.clone(),
        });
        owner = DomainName(target);
    }
    let data = vec![192, 0, 2, 1];
    reply.answer.push(Record { name: owner, rtype: 1, class: 1, ttl_secs: 300, data });
    reply.write()
}
