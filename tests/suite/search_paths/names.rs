//! Every kind of name that exists resolves to what upstream says, cold, warm and expired.

use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use super::{CUT, OFF, REWRITE, STYLES, Stage, pod};
use crate::cluster::sample;
use crate::cluster::walk::{Lookup, Outcome, Style};
use crate::cluster::world::{rtype, type_of};
use crate::harness::zone::hex_text;

/// Namespace of the client, name, addresses.
const ADDRESSES: [(&str, &str, &[&str]); 26] = [
    ("default", "web", &["10.96.0.20"]),
    ("default", "web.default", &["10.96.0.20"]),
    ("default", "web.payments", &["10.96.0.31"]),
    ("default", "web.payments.svc", &["10.96.0.31"]),
    ("default", "web.payments.svc.cluster.local", &["10.96.0.31"]),
    ("payments", "web", &["10.96.0.31"]),
    // A Service is called as the namespace is.
    ("default", "payments", &["10.96.0.67"]),
    ("default", "api.payments", &["10.96.0.30"]),
    ("payments", "six", &["fd00:10:96::6"]),
    ("empty", "kube-dns.kube-system", &["10.96.0.10", "fd00:10:96::a"]),
    ("payments", "db", &["10.244.1.10", "10.244.2.10", "10.244.3.10"]),
    ("payments", "db-0.db", &["10.244.1.10"]),
    ("default", "db-0.db.payments", &["10.244.1.10"]),
    ("default", "db-1.db.payments.svc", &["10.244.2.10"]),
    ("default", "db-2.db.payments.svc.cluster.local", &["10.244.3.10"]),
    ("default", "10-244-1-10.default.pod", &["10.244.1.10"]),
    ("default", "books", &["54.239.28.85", "2001:db8:54::85"]),
    ("payments", "books.default", &["54.239.28.85", "2001:db8:54::85"]),
    ("payments", "inside.default.svc", &["10.96.0.30"]),
    ("default", "ip-10-0-1-5", &["10.0.1.5"]),
    ("default", "jenkins.build", &["10.0.7.8"]),
    ("payments", "www.amazon.com", &["54.239.28.85", "2001:db8:54::85"]),
    ("payments", "a.b.c.d.e.amazon.com", &["205.251.242.105"]),
    ("payments", "example.org", &["203.0.113.1", "2001:db8::1"]),
    // Services of these very names come first.
    ("default", "example.org", &["10.244.9.9"]),
    ("payments", "amazon.com", &["10.96.0.66"]),
];

/// Namespace of the client, name, type, the end of its data in hexadecimal digits, records.
const RECORDS: [(&str, &str, &str, &str, usize); 10] = [
    ("default", "_http._tcp.web", "SRV", "056c6f63616c00", 1),
    ("default", "_http._tcp.web.payments", "SRV", "056c6f63616c00", 1),
    ("default", "_http._tcp.web.payments.svc", "SRV", "056c6f63616c00", 1),
    ("empty", "_dns._udp.kube-dns.kube-system.svc.cluster.local", "SRV", "056c6f63616c00", 1),
    ("payments", "_http._tcp.db", "SRV", "056c6f63616c00", 3),
    ("default", "1.0.96.10.in-addr.arpa", "PTR", "056c6f63616c00", 1),
    ("default", "10.1.244.10.in-addr.arpa.", "PTR", "056c6f63616c00", 1),
    ("payments", "example.org", "MX", "036f726700", 1),
    ("payments", "text.example.org", "TXT", "096f6e6c792074657874", 1),
    ("default", "books", "CNAME", "03636f6d00", 1),
];

#[test]
fn every_name_that_exists_resolves() {
    // Most of the time is spent waiting for answers to expire.
    thread::scope(|scope| {
        for search in [OFF, CUT, REWRITE] {
            scope.spawn(|| resolve_all(search));
        }
    });
}

/// Candidates that exist without the type asked: glibc goes on past them, musl does not. A reply
/// with an alias in it would end either walk.
const HIDDEN: [(&str, &str, &str, &str); 3] = [
    // A host's name ends with `github.com.ec2.internal`.
    ("payments", "github.com", "A", "github.com"),
    // There is a Service `amazon` in the namespace `com`.
    ("payments", "amazon.com", "TXT", "amazon.com"),
    // The Service has no MX, a host of the same name has.
    ("default", "api.payments", "MX", "api.payments.ec2.internal"),
];

#[test]
fn a_candidate_without_the_type_does_not_hide_a_later_one() {
    for search in [CUT, REWRITE] {
        let stage = Stage::start(search, sample::world(30, 30));
        for round in ["cold", "warm", "warm again"] {
            for (namespace, name, qtype, found_at) in HIDDEN {
                let seen = resolve(&stage, Style::Glibc, namespace, name, &[type_of(qtype)], round);
                let Outcome::Found { name, .. } = &seen.outcome else { panic!("{round}: {seen}") };
                assert_eq!(name, found_at, "{round}: {seen}");
                resolve(&stage, Style::Musl, namespace, name, &[type_of(qtype)], round);
            }
        }
    }
}

fn resolve_all(search: &str) {
    let stage = Stage::start(search, sample::world(1, 1));
    for round in ["cold", "warm", "expired", "warm again"] {
        if round == "expired" {
            thread::sleep(Duration::from_millis(1_100));
        }
        ADDRESSES.iter().for_each(|case| check_addresses(&stage, case, round));
        RECORDS.iter().for_each(|case| check_records(&stage, case, round));
    }
}

fn check_addresses(
    stage: &Stage,
    (namespace, name, addresses): &(&str, &str, &[&str]),
    round: &str,
) {
    for style in STYLES {
        let types = [rtype::A, rtype::AAAA];
        let seen = resolve(stage, style, namespace, name, &types, round);
        let Outcome::Found { data, .. } = &seen.outcome else { panic!("{round}: {seen}") };
        let mut found: Vec<IpAddr> = data.iter().map(|(_, octets)| address(octets)).collect();
        let mut expected: Vec<IpAddr> =
            addresses.iter().map(|text| text.parse().expect("an address")).collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{round}: {name} in {namespace}\n{seen}");
    }
}

fn check_records(
    stage: &Stage,
    (namespace, name, qtype, ending, count): &(&str, &str, &str, &str, usize),
    round: &str,
) {
    for style in STYLES {
        let seen = resolve(stage, style, namespace, name, &[type_of(qtype)], round);
        let Outcome::Found { data, .. } = &seen.outcome else { panic!("{round}: {seen}") };
        assert_eq!(data.len(), *count, "{round}: {name} in {namespace}\n{seen}");
        let ends = data.iter().all(|(_, octets)| hex_text(octets).ends_with(ending));
        assert!(ends, "{round}: {name} in {namespace}\n{seen}");
    }
}

/// Looks up through the program; the result is that of asking directly.
fn resolve(
    stage: &Stage,
    style: Style,
    namespace: &str,
    name: &str,
    types: &[u16],
    round: &str,
) -> Lookup {
    let resolver = pod(style, namespace);
    let seen = resolver.resolve(&mut stage.client(), name, types);
    let truth = stage.truth(&resolver, name, types);
    let is_same = seen.outcome == truth.outcome;
    assert!(is_same, "{round}: {name} in {namespace}\n{}", stage.explain(&seen, &truth));
    seen
}

fn address(octets: &[u8]) -> IpAddr {
    match octets.first_chunk::<16>() {
        Some(octets) => IpAddr::from(*octets),
        None => IpAddr::from(*octets.first_chunk::<4>().expect("an address has 4 or 16 octets")),
    }
}
