//! An upstream that falls silent: expired answers, deadlines, recovery.

use std::time::{Duration, Instant};

use crate::harness::own_loopback;
use crate::harness::program::{Program, UPSTREAM_PORT};
use crate::harness::upstream::Upstream;

const ZONE: &str = "short.test. 1 A 192.0.2.1\nwww.test. 60 A 192.0.2.2";

#[test]
fn silence_is_bridged_and_recovery_is_noticed() {
    let ip = own_loopback();
    let upstream = Upstream::with_zone(ip, UPSTREAM_PORT, ZONE);
    let text = ".:PORT {\n bind IP\n cache\n forward . UPSTREAM\n}\n";
    let program = Program::start(ip, text);
    assert_eq!(program.ask("short.test", "A").answer[0].ttl_secs, 1);
    upstream.set_silent(true);
    std::thread::sleep(Duration::from_millis(1_200));

    let asked = Instant::now();
    let reply = program.ask("short.test", "A");
    assert!(asked.elapsed() < Duration::from_millis(1_900), "{:?}", asked.elapsed());
    assert_eq!(reply.answer[0].ttl_secs, 30);

    let asked = Instant::now();
    let reply = program.ask("never-seen.test", "A");
    assert!(asked.elapsed() < Duration::from_millis(5_500), "{:?}", asked.elapsed());
    assert_eq!(reply.rcode(), 2);

    // While silence lasts nobody waits for what is known to be stale.
    let asked = Instant::now();
    assert_eq!(program.ask("short.test", "A").answer[0].ttl_secs, 30);
    assert!(asked.elapsed() < Duration::from_millis(300), "{:?}", asked.elapsed());

    upstream.set_silent(false);
    let back = Instant::now();
    while program.ask("short.test", "A").answer[0].ttl_secs != 1 {
        assert!(back.elapsed() < Duration::from_secs(2), "still stale after {:?}", back.elapsed());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Once it is known that nobody answers, no name keeps a client waiting that was known before.
#[test]
fn while_no_upstream_answers_expired_names_are_served_at_once() {
    let ip = own_loopback();
    let upstream = Upstream::with_zone(ip, UPSTREAM_PORT, "*.test. 1 A 192.0.2.1");
    let program = Program::start(ip, ".:PORT {\n bind IP\n cache\n forward . UPSTREAM\n}\n");
    for name in ["a.test", "b.test", "c.test"] {
        assert_eq!(program.ask(name, "A").answer[0].ttl_secs, 1);
    }
    upstream.set_silent(true);
    std::thread::sleep(Duration::from_millis(1_200));
    assert_eq!(program.ask("a.test", "A").answer[0].ttl_secs, 30);
    for name in ["b.test", "c.test"] {
        let asked = Instant::now();
        assert_eq!(program.ask(name, "A").answer[0].ttl_secs, 30);
        assert!(asked.elapsed() < Duration::from_millis(500), "{:?}", asked.elapsed());
    }
}

#[test]
fn an_unreachable_upstream_is_no_slower_than_a_silent_one() {
    let ip = own_loopback();
    // Nothing listens there: UDP is refused by ICMP, TCP by a reset.
    for option in ["", "force_tcp"] {
        let text =
            format!(".:PORT {{\n bind IP\n cache\n forward . UPSTREAM {{\n {option}\n }}\n}}\n");
        let program = Program::start(ip, &text);
        let asked = Instant::now();
        assert_eq!(program.ask("a.test", "A").rcode(), 2);
        assert!(asked.elapsed() < Duration::from_millis(5_500), "{:?}", asked.elapsed());
    }
}
