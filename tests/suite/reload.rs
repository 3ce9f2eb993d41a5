//! A changed Corefile under load, a broken one, and the end of the program.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::Duration;

use crate::harness::load::Load;
use crate::harness::message::Message;
use crate::harness::program::{Program, UPSTREAM_PORT};
use crate::harness::upstream::Upstream;
use crate::harness::zone::query;
use crate::harness::{own_loopback, within};

fn corefile(host: u8) -> String {
    format!(
        ".:PORT {{\n bind IP\n hosts {{\n 192.0.2.{host} probe.test\n fallthrough\n }}\n cache\n forward . UPSTREAM\n prometheus METRICS\n}}\n"
    )
}

const BROKEN: &str = ".:PORT {\n bind IP\n forwrad . UPSTREAM\n}\n";

#[test]
fn reloads_under_load_lose_nothing() {
    reload_under_load(1_000);
}

#[test]
#[ignore = "needs a machine of its own: 10,000 questions a second"]
fn reloads_under_10000_questions_a_second_lose_nothing() {
    reload_under_load(10_000);
}

fn reload_under_load(per_second: u64) {
    let ip = own_loopback();
    let upstream = Upstream::with_zone(ip, UPSTREAM_PORT, "*.test. 600 A 192.0.2.200");
    let program = Program::start(ip, &corefile(1));
    program.ask("cached.test", "A");
    // 0: either host may be in force; otherwise only this one.
    let in_force = Arc::new(AtomicU8::new(1));
    let expected = in_force.clone();
    let judge = move |reply: &Message| {
        let host = reply.answer.first().and_then(|record| record.data.last().copied());
        match (expected.load(Ordering::SeqCst), host) {
            (0, Some(1..=9)) => Ok(()),
            (expected, Some(host)) if expected == host => Ok(()),
            (expected, host) => Err(format!("host {host:?} while {expected} is in force")),
        }
    };
    let question = query(0, "probe.test", "A");
    let load = Load::start(program.address, &question, per_second, Arc::new(judge));
    for (host, signal) in [(2u8, "HUP"), (3, "USR1"), (4, "HUP"), (5, "USR1")] {
        thread::sleep(Duration::from_millis(400));
        in_force.store(0, Ordering::SeqCst);
        program.write_corefile(&corefile(host));
        program.signal(signal);
        let applied = within(Duration::from_secs(3), || {
            program.ask("probe.test", "A").answer[0].data[3] == host
        });
        assert!(applied, "{signal} did not put host {host} in force:\n{}", program.log());
        // A worker that began its batch before the change may still answer from it.
        thread::sleep(Duration::from_millis(50));
        in_force.store(host, Ordering::SeqCst);
    }
    program.write_corefile(BROKEN);
    program.signal("HUP");
    assert!(program.logs_within("forwrad", Duration::from_secs(3)), "{}", program.log());
    let place = format!("{}:3:2", program.corefile().display());
    assert!(program.log().contains(&place), "{place} is missing from:\n{}", program.log());
    thread::sleep(Duration::from_millis(400));
    let tally = load.finish();
    assert_eq!((tally.lost, tally.bad), (0, 0), "{:?}", tally.complaint);
    assert!(tally.sent > per_second, "{} questions", tally.sent);
    assert_eq!(program.ask("cached.test", "A").answer.len(), 1);
    assert_eq!(upstream.count("cached.test. A"), 1, "the cache outlives reloads");
    assert_eq!(program.metric("coredns_reload_failed_total", &[]), 1.0);
}

#[test]
fn the_reload_directive_follows_the_file() {
    let ip = own_loopback();
    let with_reload = |host| corefile(host).replace(" cache\n", " cache\n reload 2s 1s\n");
    let _upstream = Upstream::with_zone(ip, UPSTREAM_PORT, "*.test. 60 A 192.0.2.200");
    let program = Program::start(ip, &with_reload(1));
    program.write_corefile(&with_reload(2));
    let applied =
        within(Duration::from_secs(8), || program.ask("probe.test", "A").answer[0].data[3] == 2);
    assert!(applied, "{}", program.log());
}

#[test]
fn a_reload_may_add_and_take_away_addresses() {
    let ip = own_loopback();
    let second = own_loopback();
    let program = Program::start(ip, ".:PORT {\n bind IP\n whoami\n}\n");
    program.write_corefile(&format!(".:PORT {{\n bind IP {second}\n whoami\n}}\n"));
    program.signal("HUP");
    let client = crate::harness::client::UdpClient::new((second, 5300).into());
    let packet = query(9, "a.test", "A").write();
    let added = within(Duration::from_secs(3), || {
        client.send(&packet);
        client.receive(Duration::from_millis(50)).is_some()
    });
    assert!(added, "{}", program.log());
    program.write_corefile(".:PORT {\n bind IP\n whoami\n}\n");
    program.signal("HUP");
    let gone = within(Duration::from_secs(5), || {
        while client.receive(Duration::from_millis(10)).is_some() {}
        client.send(&packet);
        client.receive(Duration::from_millis(100)).is_none()
    });
    assert!(gone, "{}", program.log());
    assert_eq!(program.ask("a.test", "A").rcode(), 0);
}

#[test]
fn an_address_that_cannot_be_had_leaves_the_old_configuration() {
    let ip = own_loopback();
    let program = Program::start(ip, ".:PORT {\n bind IP\n whoami\n}\n");
    // An address of nobody's (RFC 5737) cannot be bound.
    program.write_corefile(".:PORT {\n bind IP 192.0.2.53\n hosts {\n 192.0.2.1 a.test\n }\n}\n");
    program.signal("HUP");
    assert!(program.logs_within("192.0.2.53", Duration::from_secs(3)), "{}", program.log());
    assert_eq!(program.ask("a.test", "A").additional.len(), 2, "whoami is still in force");
}

#[test]
fn one_loop_after_another_leads_back_to_the_last_sound_configuration() {
    let ip = own_loopback();
    let _upstream = Upstream::with_zone(ip, UPSTREAM_PORT, "a.test. 60 A 192.0.2.1");
    let program = Program::start(ip, ".:PORT {\n bind IP\n loop\n forward . UPSTREAM\n}\n");
    assert_eq!(program.ask("a.test", "A").answer.len(), 1);
    // Its own probe has ended by then.
    thread::sleep(Duration::from_millis(500));
    for ttl in [30, 31] {
        let text = format!(".:PORT {{\n bind IP\n loop\n cache {ttl}\n forward . IP:PORT\n}}\n");
        program.write_corefile(&text);
        program.signal("HUP");
        thread::sleep(Duration::from_millis(100));
    }
    assert!(program.logs_within("going back", Duration::from_secs(5)), "{}", program.log());
    thread::sleep(Duration::from_millis(500));
    assert_eq!(program.ask("a.test", "A").answer.len(), 1, "{}", program.log());
}

#[test]
fn inline_hosts_change_although_their_file_is_missing() {
    let ip = own_loopback();
    let text = |last: u8| {
        let block = |port: &str, name: &str, last: u8| {
            let hosts = format!("hosts /nonexistent {{\n 192.0.2.{last} {name}\n }}");
            format!(".:{port} {{\n bind IP\n {hosts}\n}}\n")
        };
        block("PORT", "a.test", last) + &block("5399", "b.test", last + 1)
    };
    let program = Program::start(ip, &text(10));
    assert_eq!(program.ask("a.test", "A").answer[0].data, [192, 0, 2, 10]);
    program.write_corefile(&text(20));
    program.signal("HUP");
    assert!(program.logs_within("is in force", Duration::from_secs(3)), "{}", program.log());
    assert_eq!(program.ask("a.test", "A").answer[0].data, [192, 0, 2, 20]);
    assert_eq!(program.ask("b.test", "A").rcode(), 3, "that is the other block's");
}

#[test]
fn sigterm_answers_what_is_under_way_and_exits_0() {
    let ip = own_loopback();
    let zone = crate::harness::zone::Zone::from_text("*.test. 60 A 192.0.2.1");
    let _upstream = Upstream::start((ip, UPSTREAM_PORT).into(), move |asked| {
        thread::sleep(Duration::from_millis(500));
        asked.reply(&zone.reply(&asked.message));
    });
    let mut program = Program::start(ip, ".:PORT {\n bind IP\n forward . UPSTREAM\n}\n");
    let client = crate::harness::client::UdpClient::new(program.address);
    client.send(&query(1, "slow.test", "A").write());
    thread::sleep(Duration::from_millis(100));
    program.signal("TERM");
    assert!(client.receive(Duration::from_secs(3)).is_some(), "{}", program.log());
    let status = program.ends_within(Duration::from_secs(10)).expect("the program ends");
    assert_eq!(status.code(), Some(0), "{}", program.log());
}

#[test]
fn lameduck_keeps_serving_for_its_time() {
    let ip = own_loopback();
    let text = ".:PORT {\n bind IP\n whoami\n health IP:8080 {\n lameduck 1s\n }\n}\n";
    let mut program = Program::start(ip, text);
    program.signal("TERM");
    thread::sleep(Duration::from_millis(500));
    assert_eq!(program.ask("a.test", "A").rcode(), 0);
    let status = program.ends_within(Duration::from_secs(10)).expect("the program ends");
    assert_eq!(status.code(), Some(0));
}
