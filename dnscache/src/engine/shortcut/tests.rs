//! The engine beside an upstream that changes, lies and falls silent, by moving the clock.

use std::collections::HashMap;

use super::super::shelf::{Shelf, Surroundings};
use super::super::wire::header::{HEADER_LEN, Header};
use super::super::wire::name::{Name, expand, wire_is_at_or_below};
use super::super::{Engine, Failure, ListenerId, Now, Outcome, Query, Scratch, Transport};
use super::*;
use crate::config::environment::System;
use crate::config::{Origin, check::check, corefile};

/// The engine with an upstream and clients, and a clock that is moved.
struct Stage {
    engine: Engine,
    scratch: Scratch,
    now: Now,
    /// Addresses and aliases by name; a name without any exists all the same.
    world: HashMap<Name, Vec<Vec<u8>>>,
    /// Names that upstream denies although they, or names below, exist.
    lies: Vec<Name>,
    is_silent: bool,
    /// What upstream was asked.
    asked: Vec<String>,
    client: [u8; 4],
    port: u16,
    listener: ListenerId,
    /// Questions that upstream answers with NXDOMAIN, whatever else it says about the name.
    denied_types: Vec<(Name, u16)>,
    /// Questions that upstream answers with SERVFAIL.
    failing: Vec<(Name, u16)>,
    negative_secs: u32,
}

/// What a client got.
#[derive(Debug, PartialEq, Eq)]
struct Got {
    rcode: u8,
    /// Name the first alias leads to, and its TTL.
    alias: Option<(String, u32)>,
    answers: u16,
    shortcut: Shortcut,
    source: Source,
}

const COREFILE: &str = "
cluster.local {
    cache {
        success 9984 30
        denial 9984 5
    }
    searchpath {
        search ec2.internal
        except legacy
        EXTRA
    }
    forward . 192.0.2.53
}
. {
    cache 30
    MORE
    forward . 192.0.2.53
}
";
const NEGATIVE_SECS: u32 = 30;
const POSITIVE_SECS: u32 = 300;
const A: u16 = 1;
const AAAA: u16 = 28;
const WEB: &str = "amazon.com.web.svc.cluster.local";

fn name(text: &str) -> Name {
    Name::from_text(text).expect("a name")
}

impl Stage {
    fn new() -> Self {
        Self::with("", "")
    }

    fn with(search: &str, root: &str) -> Self {
        let text = COREFILE.replace("EXTRA", search).replace("MORE", root);
        let blocks = corefile::parse("Corefile", &text, &System).expect("well-formed");
        let config = check(&blocks, Origin::BuiltIn, 53, &System).expect("makes sense");
        let surroundings = Surroundings { host: String::new(), random: 7 };
        let mut stage = Self {
            engine: Shelf::default().assemble(&config, &surroundings),
            scratch: Scratch::default(),
            now: Now::from_millis(1_000_000),
            world: HashMap::new(),
            lies: Vec::new(),
            is_silent: false,
            asked: Vec::new(),
            client: [10, 0, 0, 1],
            port: 4_000,
            listener: ListenerId(0),
            denied_types: Vec::new(),
            failing: Vec::new(),
            negative_secs: NEGATIVE_SECS,
        };
        for service in ["redis.web", "redis.payments", "api.legacy", "x.com"] {
            stage.create(&format!("{service}.svc.cluster.local"));
        }
        for external in ["amazon.com", "v4.org", "empresa.com", "empresa.com.br"] {
            stage.create(external);
        }
        stage.world.remove(&name("x.com.svc.cluster.local"));
        stage
    }

    fn create(&mut self, text: &str) {
        self.world.insert(name(text), vec![vec![192, 0, 2, 1], vec![0; 16]]);
    }

    fn delete(&mut self, text: &str) {
        self.world.remove(&name(text));
    }

    fn pass(&mut self, millis: u64) {
        self.now = self.now.plus_millis(millis);
    }

    /// What upstream says to a question: a message.
    fn upstream(&mut self, key: &Key) -> Vec<u8> {
        let asked = Name::from_wire(key.name()).expect("a name");
        self.asked.push(format!("{asked}/{}", key.qtype()));
        let is_above = |below: &Name| wire_is_at_or_below(below.wire(), asked.wire());
        let exists = self.world.keys().any(is_above)
            && !self.lies.contains(&asked)
            && !self.denied_types.contains(&(asked.clone(), key.qtype()));
        let data = self.world.get(&asked).filter(|_| exists).into_iter().flatten();
        let len = if key.qtype() == A { 4 } else { 16 };
        let is_address = [A, AAAA].contains(&key.qtype());
        let data: Vec<_> = data.filter(|rdata| is_address && rdata.len() == len).collect();
        let fails = self.failing.contains(&(asked.clone(), key.qtype()));
        let rcode = if fails {
            2
        } else if exists {
            0
        } else {
            3
        };
        let mut message = vec![0; HEADER_LEN];
        message.extend_from_slice(key.name());
        message.extend([key.qtype(), 1].into_iter().flat_map(u16::to_be_bytes));
        for rdata in &data {
            message.extend([0xc0, 12]);
            message.extend([key.qtype(), 1].into_iter().flat_map(u16::to_be_bytes));
            message.extend(POSITIVE_SECS.to_be_bytes());
            message.extend((rdata.len() as u16).to_be_bytes());
            message.extend_from_slice(rdata);
        }
        let is_negative = data.is_empty();
        if is_negative {
            let apex = name("cluster.local");
            let zone = if asked.is_at_or_below(&apex) { apex } else { Name::root() };
            message.extend_from_slice(zone.wire());
            message.extend([6, 1].into_iter().flat_map(u16::to_be_bytes));
            message.extend(self.negative_secs.to_be_bytes());
            let rdata =
                [&b"\x02ns\0\x04host\0"[..], &[0; 16], &self.negative_secs.to_be_bytes()].concat();
            message.extend((rdata.len() as u16).to_be_bytes());
            message.extend(rdata);
        }
        let counts = [1, data.len() as u16, u16::from(is_negative), 0];
        Header { id: 0, flags: 0x8000 | rcode, counts }.write(&mut message);
        message
    }

    fn learn(&mut self, ask: &Ask) -> Outcome {
        for beside in ask.company.iter().flat_map(|company| &company.beside) {
            self.learn(beside);
        }
        if let Some(outcome) = self.engine.recall(ask, self.now) {
            return outcome;
        }
        if self.is_silent {
            return self.engine.learn_failure(ask, Failure::Silent, self.now);
        }
        let message = self.upstream(&ask.key);
        let outcome = self.engine.learn(ask, &message, self.now);
        self.engine.audited(ask, &outcome, self.now);
        outcome
    }

    /// Asks as a client does, and carries out what the engine says as the planes do.
    fn ask(&mut self, text: &str, qtype: u16) -> Got {
        self.ask_with(text, qtype, 0x0100)
    }

    fn ask_with(&mut self, text: &str, qtype: u16, flags: u16) -> Got {
        let mut packet = vec![0; HEADER_LEN];
        Header { id: 7, flags, counts: [1, 0, 0, 0] }.write(&mut packet);
        packet.extend_from_slice(name(text).wire());
        packet.extend([qtype, 1].into_iter().flat_map(u16::to_be_bytes));
        let query = Query {
            packet: &packet,
            source: (self.client, self.port).into(),
            listener: self.listener,
            transport: Transport::Udp,
        };
        let mut out = [0; 1_232];
        let mut verdict = self.engine.answer(&query, self.now, &mut self.scratch, &mut out);
        for _ in 0..20 {
            let ask = match verdict {
                Verdict::Reply(reply) => {
                    if let Some(ask) = &reply.renew {
                        self.learn(ask);
                    }
                    return Got::read(&out[..reply.len], &reply);
                }
                Verdict::Ask(ask) => ask,
                Verdict::Drop(reason) => panic!("{reason:?}"),
            };
            let first = ask.company.as_ref().map_or(&[][..], |company| &company.first);
            let outcomes: Vec<_> = first.iter().map(|fact| self.learn(fact)).collect();
            let Some(outcome) = outcomes.first() else {
                let outcome = self.learn(&ask);
                let (now, scratch) = (self.now, &mut self.scratch);
                let reply = self.engine.reply(&query, &ask, &outcome, now, scratch, &mut out);
                return Got::read(&out[..reply.len], &reply);
            };
            let is_learned = matches!(outcome, Outcome::Fresh(_));
            if let (false, Some(stale)) = (is_learned, &ask.stale) {
                let outcome = Outcome::Stale(Arc::clone(stale));
                let (now, scratch) = (self.now, &mut self.scratch);
                let reply = self.engine.reply(&query, &ask, &outcome, now, scratch, &mut out);
                return Got::read(&out[..reply.len], &reply);
            }
            let (now, scratch) = (self.now, &mut self.scratch);
            verdict = self.engine.answer_again(&query, (&ask, outcome), now, scratch, &mut out);
        }
        panic!("{text} is put off for ever");
    }

    /// A libc's walk from namespace `web`; the questions it took and the last answer.
    fn walk(&mut self, words: &str) -> (usize, Got) {
        let list = ["web.svc.cluster.local", "svc.cluster.local", "cluster.local", "ec2.internal"];
        let mut questions = 0;
        for suffix in list.iter().map(|suffix| format!(".{suffix}")).chain([String::new()]) {
            let candidate = format!("{words}{suffix}");
            let (first, second) = (self.ask(&candidate, A), self.ask(&candidate, AAAA));
            questions += 2;
            if first.rcode != 3 || second.rcode != 3 || suffix.is_empty() {
                assert_eq!(first.rcode, second.rcode, "{candidate}: two stories");
                // The next lookup is not taken for a part of this one.
                self.pass(20);
                return (questions, first);
            }
        }
        unreachable!("the last candidate ends it")
    }

    /// Looks a name up until everything about it is known.
    fn warm(&mut self, words: &str) {
        self.walk(words);
        self.walk(words);
        self.asked.clear();
    }
}

impl Got {
    fn read(message: &[u8], reply: &Reply) -> Self {
        let header = Header::read(message).expect("a reply");
        let mut at = super::super::wire::name::skip(message, HEADER_LEN).expect("a question") + 4;
        at += 2;
        let is_alias = header.counts[1] > 0 && message[at..at + 2] == [0, 5];
        let alias = is_alias.then(|| {
            let mut target = Vec::new();
            expand(message, at + 10, &mut target).expect("a target");
            let ttl_secs = u32::from_be_bytes(*message[at + 4..].first_chunk().expect("a TTL"));
            (Name::from_wire(&target).expect("a name").to_string(), ttl_secs)
        });
        Self {
            rcode: header.rcode(),
            alias,
            answers: header.counts[1],
            shortcut: reply.facts.shortcut,
            source: reply.facts.source,
        }
    }

    fn leads_to(&self) -> Option<&str> {
        self.alias.as_ref().map(|(target, _)| target.as_str())
    }
}

#[test]
fn a_warm_lookup_takes_two_questions_and_upstream_none() {
    let mut stage = Stage::with("audit off", "");
    assert_eq!(stage.walk("amazon.com").0, 10);
    // Boundaries spare upstream the second type and every later name below them.
    stage.asked.clear();
    stage.create("other.com");
    assert_eq!(stage.walk("other.com").0, 10);
    assert!(stage.asked.len() <= 5, "{:?}", stage.asked);
    stage.asked.clear();
    let (questions, got) = stage.walk("amazon.com");
    assert_eq!((questions, got.leads_to(), got.answers), (2, Some("amazon.com."), 2));
    assert_eq!(got.shortcut, Shortcut::Rewritten { skipped: 4, spared: 3 });
    assert_eq!(stage.asked, [""; 0]);
    let again = stage.ask(WEB, A);
    assert_eq!(again.shortcut, Shortcut::Rewritten { skipped: 4, spared: 0 });
    assert_eq!(stage.asked, [""; 0]);
}

#[test]
fn a_name_in_the_middle_of_the_list_is_found_there() {
    let mut stage = Stage::new();
    assert_eq!(stage.walk("redis.payments").0, 4);
    let (questions, got) = stage.walk("redis.payments");
    assert_eq!((questions, got.leads_to()), (2, Some("redis.payments.svc.cluster.local.")));
    assert_eq!(stage.walk("redis.payments.svc").0, 6);
    let (questions, got) = stage.walk("redis.payments.svc");
    assert_eq!((questions, got.leads_to()), (2, Some("redis.payments.svc.cluster.local.")));
}

#[test]
fn a_type_the_name_lacks_gets_alias_and_soa() {
    let mut stage = Stage::new();
    stage.world.insert(name("v4.org"), vec![vec![192, 0, 2, 4]]);
    stage.warm("v4.org");
    let got = stage.ask("v4.org.web.svc.cluster.local", AAAA);
    assert_eq!((got.rcode, got.leads_to(), got.answers), (0, Some("v4.org."), 1));
    // TXT is not known: one question for the name that exists, none for the list.
    stage.asked.clear();
    let got = stage.ask("v4.org.web.svc.cluster.local", 16);
    assert_eq!((got.rcode, got.leads_to()), (0, Some("v4.org.")));
    assert_eq!(stage.asked, ["v4.org./16"]);
}

#[test]
fn one_boundary_serves_every_name_below_it() {
    let mut stage = Stage::new();
    stage.warm("amazon.com");
    for host in ["a.com", "b.c.com", "nothing.com"] {
        let got = stage.ask(&format!("{host}.web.svc.cluster.local"), A);
        assert_eq!((got.rcode, got.source), (3, Source::SearchPath), "{host}");
        assert!(matches!(got.shortcut, Shortcut::Cut { .. }));
    }
    assert!(stage.asked.len() <= 1, "{:?}", stage.asked);
}

#[test]
fn facts_that_ran_out_are_asked_for_together_and_the_lookup_stays_at_two() {
    let mut stage = Stage::new();
    stage.warm("amazon.com");
    for _ in 0..20 {
        stage.pass(7_000);
        stage.asked.clear();
        let (questions, got) = stage.walk("amazon.com");
        assert_eq!((questions, got.leads_to()), (2, Some("amazon.com.")));
        // Three boundaries and the namespace, the host's domain, both types, one audit at most.
        assert!(stage.asked.len() <= 8, "{:?}", stage.asked);
    }
}

#[test]
fn an_alias_never_outlives_a_fact_it_rests_on() {
    let mut stage = Stage::new();
    stage.warm("amazon.com");
    let start = stage.now;
    while stage.now.since(start) < 4_800 {
        stage.pass(50);
        let got = stage.ask(WEB, A);
        let (_, ttl_secs) = got.alias.expect("an alias");
        assert!(u64::from(ttl_secs) * 1_000 <= 5_000 - stage.now.since(start));
    }
}

#[test]
fn a_name_created_after_its_negative_is_seen_within_the_negatives_life() {
    for born_at in (0..8_000).step_by(610) {
        for created in ["com.web.svc.cluster.local", WEB, "amazon.com.svc.cluster.local"] {
            let mut stage = Stage::new();
            stage.warm("amazon.com");
            for _ in 0..born_at / 100 {
                stage.pass(100);
                stage.walk("amazon.com");
            }
            stage.create(created);
            let born = stage.now;
            let expected = (created == WEB).then_some(WEB);
            let sees = |stage: &mut Stage| match created {
                "com.web.svc.cluster.local" => stage.ask(created, A).rcode == 0,
                WEB => stage.ask(WEB, A).leads_to().is_none(),
                _ => {
                    let got = stage.walk("amazon.com").1;
                    got.leads_to() == Some("amazon.com.svc.cluster.local.") || got.alias.is_none()
                }
            };
            while !sees(&mut stage) {
                let age_millis = stage.now.since(born);
                assert!(age_millis < 5_000, "{created} {expected:?} born at {born_at}");
                stage.pass(100);
            }
        }
    }
}

#[test]
fn a_name_that_is_deleted_is_gone_within_its_life() {
    let mut stage = Stage::new();
    stage.create("amazon.com.svc.cluster.local");
    stage.warm("amazon.com");
    assert_eq!(stage.ask(WEB, A).leads_to(), Some("amazon.com.svc.cluster.local."));
    stage.delete("amazon.com.svc.cluster.local");
    stage.pass(30_000);
    assert_eq!(stage.walk("amazon.com").1.rcode, 0);
    stage.walk("amazon.com");
    assert_eq!(stage.ask(WEB, A).leads_to(), Some("amazon.com."));
}

#[test]
fn a_lie_is_found_by_the_first_audit_and_its_boundary_switched_off() {
    let mut stage = Stage::new();
    stage.create("pod.db.web.svc.cluster.local");
    stage.lies.push(name("db.web.svc.cluster.local"));
    let service = "pod.db.web.svc.cluster.local";
    // The first question learns of the namespace, the second one of the Service.
    stage.ask("other.db.web.svc.cluster.local", A);
    stage.ask("another.db.web.svc.cluster.local", A);
    let got = stage.ask(service, A);
    assert_eq!((got.rcode, got.source), (3, Source::SearchPath), "upstream lied");
    let got = stage.ask(service, A);
    assert_eq!((got.rcode, got.answers), (0, 1));
    let policy = stage.engine.blocks()[0].search.as_ref().expect("searchpath");
    assert_eq!((policy.state.contradictions(), policy.state.boundaries_off(stage.now)), (1, 1));
    for _ in 0..50 {
        stage.pass(1_000);
        assert_eq!(stage.ask(service, A).rcode, 0);
        assert!(!matches!(
            stage.ask("more.db.web.svc.cluster.local", A).shortcut,
            Shortcut::Cut { .. }
        ));
    }
}

#[test]
fn a_story_that_is_not_believed_any_more_is_not_told() {
    let mut stage = Stage::new();
    stage.warm("amazon.com");
    assert_eq!(stage.ask(WEB, A).leads_to(), Some("amazon.com."));
    let policy = stage.engine.blocks()[0].search.as_ref().expect("searchpath");
    policy.state.contradict(Some(name("com.web.svc.cluster.local")), stage.now);
    stage.pass(5_000);
    stage.asked.clear();
    // The list is walked by what is known about the very name instead.
    assert_eq!(stage.ask(WEB, A).leads_to(), Some("amazon.com."));
    let boundary = "com.web.svc.cluster.local./1".to_owned();
    assert!(stage.asked.contains(&format!("{WEB}./1")) && !stage.asked.contains(&boundary));
}

#[test]
fn while_upstream_is_silent_the_last_story_is_told() {
    let mut stage = Stage::new();
    stage.warm("amazon.com");
    stage.is_silent = true;
    stage.pass(400_000);
    for _ in 0..3 {
        let got = stage.ask(WEB, A);
        assert_eq!((got.source, got.leads_to()), (Source::Stale, Some("amazon.com.")));
        assert_eq!(got.alias.map(|(_, ttl_secs)| ttl_secs), Some(30));
    }
    stage.is_silent = false;
    stage.pass(31_000);
    stage.ask(WEB, A);
    let got = stage.ask(WEB, A);
    assert_eq!((got.source, got.leads_to()), (Source::SearchPath, Some("amazon.com.")));
}

#[test]
fn who_wants_what_upstream_says_gets_it() {
    let mut stage = Stage::new();
    stage.warm("amazon.com");
    let got = stage.ask_with(WEB, A, 0x0110);
    assert_eq!((got.rcode, got.shortcut), (3, Shortcut::NotTaken(Reason::Verbatim)));
    assert_eq!(stage.ask(WEB, rtype::CNAME).rcode, 3);
}

#[test]
fn namespaces_can_be_left_out_and_rewriting_switched_off() {
    let mut stage = Stage::new();
    stage.warm("amazon.com");
    for _ in 0..3 {
        let got = stage.ask("amazon.com.legacy.svc.cluster.local", A);
        assert_eq!((got.rcode, got.shortcut), (3, Shortcut::NotTaken(Reason::LeftOut)));
    }
    let mut stage = Stage::with("", "");
    stage.warm("amazon.com");
    assert_eq!(stage.ask("amazon.com.nowhere.svc.cluster.local", A).rcode, 3);
    assert_eq!(stage.ask("amazon.com.nowhere.svc.cluster.local", A).rcode, 3);
}

#[test]
fn acl_and_hosts_of_the_target_are_not_walked_around() {
    for directive in
        ["acl {\n block net 10.0.0.0/8\n }", "hosts {\n 192.0.2.9 amazon.com\n fallthrough\n }"]
    {
        let mut stage = Stage::with("", directive);
        stage.walk("amazon.com");
        stage.walk("amazon.com");
        assert_eq!(stage.ask(WEB, A).rcode, 3, "{directive}");
    }
}

/// `br` is a namespace as well as a country, and both names exist.
#[test]
fn a_step_of_one_namespaces_walk_is_not_taken_for_anothers_first_question() {
    let mut stage = Stage::new();
    stage.create("redis.br.svc.cluster.local");
    for _ in 0..3 {
        // A pod of `br` looks up `empresa.com`.
        stage.client = [10, 0, 0, 2];
        stage.ask("empresa.com.br.svc.cluster.local", A);
        for rest in ["svc.cluster.local", "cluster.local", "ec2.internal"] {
            stage.ask(&format!("empresa.com.{rest}"), A);
        }
        stage.ask("empresa.com", A);
        stage.pass(20);
    }
    let got = stage.ask("empresa.com.br.svc.cluster.local", A);
    assert_eq!(got.leads_to(), Some("empresa.com."));
    // One of `web` looks up `empresa.com.br`, whose second question is the same name.
    stage.client = [10, 0, 0, 1];
    let got = stage.walk("empresa.com.br").1;
    assert_eq!(got.leads_to(), None);
    assert_eq!(stage.asked.last().map(String::as_str), Some("empresa.com.br./28"));
    let got = stage.walk("empresa.com.br").1;
    assert_eq!(got.leads_to(), Some("empresa.com.br."));
}

#[test]
fn services_and_what_is_below_them_are_what_upstream_says() {
    let mut stage = Stage::new();
    stage.create("_http._tcp.redis.web.svc.cluster.local");
    stage.create("pod-0.redis.web.svc.cluster.local");
    stage.lies.push(name("_tcp.redis.web.svc.cluster.local"));
    for _ in 0..3 {
        assert_eq!(stage.ask("_tcp.redis.web.svc.cluster.local", A).rcode, 3);
        for words in ["redis", "pod-0.redis", "_http._tcp.redis", "redis.web", "redis.web.svc"] {
            assert_eq!(stage.walk(words).1.rcode, 0, "{words}");
        }
        stage.pass(3_000);
    }
}

#[test]
fn replies_that_were_put_together_say_so_if_debug_is_on() {
    // Extended error 29 in an OPT record (RFC 8914), if the client sent one.
    const EXTENDED_ERROR: &[u8] = b"\0\x0f\0\x02\0\x1d";
    // The first brace closes `searchpath`, the second is closed in its place.
    let mut stage = Stage::with("}\n    debug\n    log {", "");
    stage.warm("amazon.com");
    for asked in [WEB, "nothing.com.web.svc.cluster.local"] {
        let mut packet = vec![0; HEADER_LEN];
        Header { id: 7, flags: 0x0100, counts: [1, 0, 0, 1] }.write(&mut packet);
        packet.extend_from_slice(name(asked).wire());
        packet.extend(b"\0\x01\0\x01\0\0\x29\x04\xd0\0\0\0\0\0\0");
        let query = Query {
            packet: &packet,
            source: (stage.client, stage.port).into(),
            listener: ListenerId(0),
            transport: Transport::Udp,
        };
        let mut out = [0; 1_232];
        let verdict = stage.engine.answer(&query, stage.now, &mut stage.scratch, &mut out);
        let Verdict::Reply(reply) = verdict else { panic!("{asked}: {verdict:?}") };
        assert!(out[..reply.len].ends_with(EXTENDED_ERROR), "{asked}: {:?}", &out[..reply.len]);
    }
}

mod alterations;
mod hostile;
mod renewals;
