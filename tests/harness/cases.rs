//! One packet for every verdict of the engine, and an engine that comes to it: what is counted
//! here, is timed there.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};

use dnscache::engine::wire::UDP_REPLY_MAX;
use dnscache::engine::{
    Ask, Engine, ListenerId, Now, Outcome, Query, Reply, Scratch, Source, Transport, Verdict,
};

use super::engine::assemble;
use super::questions::{Saying, TTL_SECS, qtype, query, with_dnssec_ok};

/// A zone that is cached and forwarded, a cluster's, one that is a table, and no other.
pub const COREFILE: &str = "\
example:5300 {
 bind 127.0.0.1
 cache {
  size 1GiB
  serve_stale 1h immediate
 }
 loadbalance
 forward . 192.0.2.53
}
cluster:5300 com:5300 {
 bind 127.0.0.1
 cache
 searchpath {
  domain cluster
  search .
  audit off
 }
 forward . 192.0.2.53
}
table:5300 {
 bind 127.0.0.1
 hosts {
  192.0.2.9 here.table
 }
}
";
const START: Now = Now::from_millis(86_400_000);

/// A client, the engine it asks, and everything a worker keeps between packets.
pub struct Client {
    engine: Engine,
    now: Now,
    scratch: Scratch,
    out: Vec<u8>,
}

impl Client {
    /// A client of an engine that knows nothing yet.
    pub fn new() -> Self {
        Self::of(COREFILE)
    }

    /// A client of an engine with this Corefile.
    pub fn of(corefile: &str) -> Self {
        let engine = assemble(corefile).expect("a Corefile");
        Self { engine, now: START, scratch: Scratch::default(), out: vec![0; UDP_REPLY_MAX] }
    }

    /// Asks over UDP.
    pub fn ask(&mut self, packet: &[u8]) -> Verdict {
        self.engine.answer(&over_udp(packet), self.now, &mut self.scratch, &mut self.out)
    }

    /// Asks what nobody knows yet; what upstream must be asked.
    pub fn ask_in_vain(&mut self, packet: &[u8]) -> Ask {
        match self.ask(packet) {
            Verdict::Ask(ask) => ask,
            other => panic!("expected a miss, got {other:?}"),
        }
    }

    /// Takes in what upstream said.
    pub fn learn(&self, ask: &Ask, message: &[u8]) -> Outcome {
        self.engine.learn(ask, message, self.now)
    }

    /// Gets the reply to a question that waited for upstream.
    pub fn reply(&mut self, packet: &[u8], ask: &Ask, outcome: &Outcome) -> Reply {
        let (scratch, out) = (&mut self.scratch, &mut self.out);
        self.engine.reply(&over_udp(packet), ask, outcome, self.now, scratch, out)
    }

    /// Has the answer to a question in the cache from now on.
    pub fn know(&mut self, packet: &[u8], message: &[u8]) {
        let ask = self.ask_in_vain(packet);
        let outcome = self.learn(&ask, message);
        assert!(matches!(outcome, Outcome::Fresh(_)), "not learned: {outcome:?}");
    }
}

fn over_udp(packet: &[u8]) -> Query<'_> {
    let source = SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000));
    Query { packet, source, listener: ListenerId(0), transport: Transport::Udp }
}

/// A packet and what becomes of it.
pub struct Case {
    /// What it shows.
    pub name: &'static str,
    /// What the client sends.
    pub packet: Vec<u8>,
    /// What upstream said to it before, and how long ago.
    known: Option<(Saying, u32)>,
    /// What upstream said about other names: label, zone and answer.
    facts: &'static [(&'static str, &'static str, Saying)],
    expected: Expected,
}

/// What is known after a pod of namespace `web` has looked up `www.com`.
const LOOKED_UP: &[(&str, &str, Saying)] = &[
    ("web.svc", "cluster", Saying::NoData),
    ("com.web.svc", "cluster", Saying::NoName),
    ("com.svc", "cluster", Saying::NoName),
    ("com", "cluster", Saying::NoName),
    ("www", "com", Saying::Addresses(2)),
];

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// A reply from here, with this many answer records.
    Reply(Source, u8),
    /// A reply without records that tells the client to come over TCP.
    Truncated,
    /// A question for upstream.
    Ask,
    /// Nothing.
    Drop,
}

impl Case {
    /// Every verdict once.
    pub fn all() -> Vec<Self> {
        let all = Self::hits().into_iter().chain(Self::shortcuts());
        all.chain(Self::others()).collect()
    }

    /// Answered from the cache.
    fn hits() -> [Self; 7] {
        use Expected::{Reply, Truncated};
        use Source::{CacheDenial, CacheSuccess, Stale};
        let plain = |label| query(label, "example", qtype::A);
        let hit = |name, saying, expected| Self::known(name, plain("here"), (saying, 1), expected);
        let (pair, many) = (Saying::Addresses(2), Saying::Addresses(64));
        let chain = Saying::Chain { aliases: 4, addresses: 8 };
        [
            hit("hit", pair, Reply(CacheSuccess, 2)),
            hit("hit NXDOMAIN", Saying::NoName, Reply(CacheDenial, 0)),
            hit("hit NODATA", Saying::NoData, Reply(CacheDenial, 0)),
            hit("hit chain", chain, Reply(CacheSuccess, 12)),
            hit("hit truncated", many, Truncated),
            Self::known(
                "hit EDNS+DO",
                with_dnssec_ok(plain("here")),
                (pair, 1),
                Reply(CacheSuccess, 2),
            ),
            Self::known("stale", plain("old"), (pair, TTL_SECS + 1), Reply(Stale, 2)),
        ]
    }

    /// Answered from what is known about other names.
    fn shortcuts() -> [Self; 2] {
        let about = |label| query(label, "cluster", qtype::A);
        let with_facts = |name, label, answers| Self {
            facts: LOOKED_UP,
            ..Self::new(name, about(label), answers)
        };
        [
            with_facts("rewritten", "www.com.web.svc", Expected::Reply(Source::SearchPath, 3)),
            with_facts("cut", "mail.com.web.svc", Expected::Reply(Source::SearchPath, 0)),
        ]
    }

    /// Settled without the cache, or beyond it.
    fn others() -> [Self; 7] {
        use Expected::{Ask, Drop, Reply};
        let about = |label, zone| query(label, zone, qtype::A);
        let malformed = [about("here", "example"), vec![0]].concat();
        let mut response = about("here", "example");
        response[2] |= 0x80;
        [
            Self::new("miss", about("new", "example"), Ask),
            Self::new("hosts", about("here", "table"), Reply(Source::Hosts, 1)),
            Self::new("ANY", query("here", "example", qtype::ANY), Reply(Source::Any, 1)),
            Self::new("no zone", about("here", "elsewhere"), Reply(Source::Refusal, 0)),
            Self::new("no route", about("gone", "table"), Reply(Source::Hosts, 0)),
            Self::new("malformed", malformed, Reply(Source::Refusal, 0)),
            Self::new("response", response, Drop),
        ]
    }

    fn new(name: &'static str, packet: Vec<u8>, expected: Expected) -> Self {
        Self { name, packet, known: None, facts: &[], expected }
    }

    fn known(
        name: &'static str,
        packet: Vec<u8>,
        known: (Saying, u32),
        expected: Expected,
    ) -> Self {
        Self { known: Some(known), ..Self::new(name, packet, expected) }
    }

    /// A client that has asked once, so that whatever happens only once has happened.
    pub fn client(&self) -> Client {
        let mut client = Client::new();
        for (label, zone, saying) in self.facts {
            client.know(&query(label, zone, qtype::A), &saying.message_in(label, zone));
        }
        if let Some((saying, age_secs)) = self.known {
            let label_len = usize::from(self.packet[12]);
            let label = str::from_utf8(&self.packet[13..13 + label_len]).expect("a label");
            client.know(&self.packet, &saying.message(label));
            client.now = client.now.plus_millis(u64::from(age_secs) * 1_000);
        }
        client.ask(&self.packet);
        self.ask(&mut client);
        client
    }

    /// Asks and makes sure of the verdict.
    pub fn ask(&self, client: &mut Client) {
        let verdict = client.ask(&self.packet);
        let found = match &verdict {
            Verdict::Ask(_) => Expected::Ask,
            Verdict::Drop(_) => Expected::Drop,
            Verdict::Reply(reply) => {
                assert!(reply.renew.is_none(), "{self}: a renewal");
                assert!(reply.len >= 12, "{self}: {} octets", reply.len);
                let (is_truncated, answers) = (client.out[2] & 2 != 0, client.out[7]);
                if is_truncated {
                    Expected::Truncated
                } else {
                    Expected::Reply(reply.facts.source, answers)
                }
            }
        };
        assert_eq!(found, self.expected, "{self}: {verdict:?}");
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
