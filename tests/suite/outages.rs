//! Upstreams that go away under load: what clients notice of it.
//!
//! The loads are those of a busy node, so these tests take a machine for themselves.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::api_server::{ApiServer, leaving, ready};
use crate::harness::load::{Judge, Load, Tally};
use crate::harness::message::Message;
use crate::harness::program::{Program, UPSTREAM_PORT};
use crate::harness::upstream::Upstream;
use crate::harness::zone::query;
use crate::harness::{own_loopback, within};

const SECOND: Duration = Duration::from_secs(1);

/// RFC 8767 at a node's load: every name runs out while nobody can renew it.
#[test]
#[ignore = "needs a machine for itself for 80 s"]
fn a_minute_without_upstream_is_hardly_noticed() {
    let ip = own_loopback();
    let upstream = Upstream::with_zone(ip, UPSTREAM_PORT, "*.test. 10 A 192.0.2.1");
    let text = ".:PORT {\n bind IP\n cache 30 {\n  serve_stale 1h\n }\n forward . UPSTREAM\n}\n";
    let program = Program::start(ip, text);
    let names: Vec<_> = (0..1_000).map(|n| query(0, &format!("n{n}.test"), "A")).collect();
    let load = |per_second| Load::start_many(program.address, &names, per_second, address());
    let warming = load(2_000);
    thread::sleep(3 * SECOND);
    settled(&warming.finish(), "before");
    let noticing = load(10_000);
    thread::sleep(SECOND / 2);
    upstream.set_silent(true);
    // The first question nobody answers comes when a name is about to run out; a second later it
    // is known that the upstream is away.
    let asked = upstream.total();
    assert!(within(12 * SECOND, || upstream.total() > asked), "no name ran out");
    thread::sleep(SECOND);
    let outage = load(10_000);
    let first = noticing.finish();
    thread::sleep(59 * SECOND);
    let rest = outage.finish();
    settled(&first, "first second");
    settled(&rest, "outage");
    for tally in [&first, &rest] {
        let slowest = tally.latency_us(1_000);
        assert!(slowest < 1_900_000, "the slowest answer took {slowest} us");
    }
    assert!(rest.sent > 550_000, "only {} questions were asked", rest.sent);
    let p99 = rest.latency_us(990);
    assert!(p99 < 5_000, "p99 {p99} us");
}

#[test]
#[ignore = "needs a machine for itself"]
fn one_of_three_upstreams_killed_or_silent_costs_no_answer() {
    for option in ["", "force_tcp"] {
        for is_killed in [true, false] {
            one_of_three_goes(option, is_killed);
        }
    }
}

fn one_of_three_goes(option: &str, is_killed: bool) {
    let ip = own_loopback();
    let start = |n| Upstream::with_zone(ip, UPSTREAM_PORT + n, "*.test. 0 A 192.0.2.1");
    let (first, _others) = (start(0), [start(1), start(2)]);
    let text = format!(
        ".:PORT {{\n bind IP\n cache\n forward . UPSTREAM UPSTREAM2 UPSTREAM3 {{\n {option}\n }}\n}}\n"
    );
    let program = Program::start(ip, &text);
    let load = Load::start_many(program.address, &names(), 1_000, address());
    thread::sleep(SECOND);
    let silent = match is_killed {
        true => {
            first.kill();
            None
        }
        false => {
            first.set_silent(true);
            Some(first)
        }
    };
    thread::sleep(4 * SECOND);
    drop(silent);
    let tally = load.finish();
    settled(&tally, &format!("{option} killed: {is_killed}"));
    assert!(tally.sent > 3_000, "only {} questions were asked", tally.sent);
}

#[test]
#[ignore = "needs a machine for itself"]
fn endpoints_replaced_one_by_one_cost_no_answer() {
    for option in ["", "force_tcp"] {
        endpoints_are_replaced(option);
    }
}

fn endpoints_are_replaced(option: &str) {
    let ip = own_loopback();
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let api = ApiServer::start(ip, 0);
    let start = || Pod::start(own_loopback());
    let mut pods = vec![start(), start(), start()];
    let publish = |pods: &[Pod]| {
        let endpoints: Vec<_> = pods.iter().map(Pod::endpoint).collect();
        api.put_slice("a", UPSTREAM_PORT, &json!(endpoints));
    };
    publish(&pods);
    let text = format!(
        ".:PORT {{\n bind IP\n cache\n prometheus METRICS\n forward . UPSTREAM {{\n {option}\n endpoints kube-system/kube-dns-upstream\n }}\n}}\n"
    );
    // Nobody listens at the written upstream: whatever is asked of it is lost.
    let kubeconfig = api.kubeconfig(folder.path());
    let program = Program::start_in(ip, &text, &[], &[("KUBECONFIG", kubeconfig.as_str())]);
    let are_known = || program.metric("dnscache_endpoints", &[]) == 3.0;
    assert!(within(20 * SECOND, are_known), "{}", program.log());
    let load = Load::start_many(program.address, &names(), 1_000, address());
    for _ in 0..4 {
        thread::sleep(SECOND);
        // As a rolling update with maxSurge 1 does it.
        pods.push(start());
        publish(&pods);
        thread::sleep(SECOND / 4);
        pods[0].is_leaving = true;
        publish(&pods);
        let old = pods.remove(0);
        thread::sleep(SECOND / 2);
        publish(&pods);
        thread::sleep(SECOND / 4);
        old.upstream.kill();
    }
    let tally = load.finish();
    settled(&tally, option);
    assert!(pods.iter().all(|pod| pod.upstream.total() > 0), "every new endpoint is asked");
    assert!(tally.sent > 5_000, "only {} questions were asked", tally.sent);
}

/// A CoreDNS of a Service.
struct Pod {
    ip: Ipv4Addr,
    upstream: Upstream,
    is_leaving: bool,
}

impl Pod {
    fn start(ip: Ipv4Addr) -> Self {
        let address: SocketAddr = (ip, UPSTREAM_PORT).into();
        let zone = crate::harness::zone::Zone::from_text("*.test. 0 A 192.0.2.1");
        let upstream =
            Upstream::start(address, move |asked| asked.reply(&zone.reply(&asked.message)));
        Self { ip, upstream, is_leaving: false }
    }

    fn endpoint(&self) -> Value {
        if self.is_leaving { leaving(self.ip) } else { ready(self.ip) }
    }
}

/// An upstream that closes each connection after one reply loses the others that are on it.
#[test]
#[ignore = "needs a machine for itself"]
fn an_upstream_that_closes_after_each_reply_costs_no_answer() {
    let ip = own_loopback();
    let zone = crate::harness::zone::Zone::from_text("*.test. 0 A 192.0.2.1");
    let _upstream = Upstream::start((ip, UPSTREAM_PORT).into(), move |asked| {
        asked.reply(&zone.reply(&asked.message));
        asked.close(false);
    });
    let text = ".:PORT {\n bind IP\n cache\n forward . UPSTREAM {\n force_tcp\n }\n}\n";
    let program = Program::start(ip, text);
    let load = Load::start_many(program.address, &names(), 1_000, address());
    thread::sleep(5 * SECOND);
    let tally = load.finish();
    settled(&tally, "closing");
    assert!(tally.sent > 3_000, "only {} questions were asked", tally.sent);
}

/// More names than a load asks for; with a TTL of 0 each of them goes upstream.
fn names() -> Vec<Message> {
    (0..20_000).map(|n| query(0, &format!("n{n}.test"), "A")).collect()
}

/// NOERROR with one address.
fn address() -> Judge {
    Arc::new(|reply: &Message| match (reply.rcode(), reply.answer.len()) {
        (0, 1) => Ok(()),
        (rcode, count) => Err(format!("response code {rcode} with {count} records")),
    })
}

#[track_caller]
fn settled(tally: &Tally, when: &str) {
    let times = [500, 990, 999, 1_000].map(|per_mille| tally.latency_us(per_mille));
    println!("{when}: {} questions, {times:?} us (p50, p99, p99.9, slowest)", tally.sent);
    assert_eq!((tally.lost, tally.bad), (0, 0), "{when}: {:?}", tally.complaint);
}
