//! One instance takes over from another: nothing is lost, nothing is refused.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::client::{PATIENCE, TcpClient, UdpClient};
use crate::harness::load::{Judge, Load, Tally};
use crate::harness::message::Message;
use crate::harness::program::{DNS_PORT, Program, UPSTREAM_PORT, command, fill_in};
use crate::harness::tcp_load::TcpLoad;
use crate::harness::upstream::Upstream;
use crate::harness::zone::{Zone, query};
use crate::harness::{own_loopback, within};

const COREFILE: &str = ".:PORT {\n bind IP\n cache\n prometheus METRICS\n health IP:8080 {\n \
                        lameduck 30s\n }\n forward . UPSTREAM\n}\n";
const SERVES: &str = "a successor serves beside this instance";
const ENDED: &str = "the instance before this one has ended";

fn upstream(ip: Ipv4Addr) -> Upstream {
    Upstream::with_zone(ip, UPSTREAM_PORT, "warm.test. 3600 A 192.0.2.1")
}

/// Starts the next instance, ends this one as a kubelet does, and returns the next.
fn replace(old: &mut Program) -> Program {
    let new = old.start_successor(&[]);
    assert!(old.logs_within(SERVES, PATIENCE), "{}\n{}", old.log(), new.log());
    old.signal("TERM");
    let status = old.ends_within(Duration::from_secs(10)).expect("the old one ends");
    assert!(status.success(), "{status}");
    assert!(new.logs_within(ENDED, PATIENCE), "{}", new.log());
    new
}

#[test]
fn a_connection_outlives_the_instance_that_accepted_it() {
    let ip = own_loopback();
    let _upstream = upstream(ip);
    let mut old = Program::start(ip, COREFILE);
    let question = query(3, "warm.test", "A");
    let mut idle = TcpClient::new(old.address);
    let mut halfway = TcpClient::new(old.address);
    assert_eq!(idle.ask(&question).expect("a reply").answer.len(), 1);
    let packet = question.write();
    let framed = [&(packet.len() as u16).to_be_bytes(), &packet[..]].concat();
    halfway.stream.write_all(&framed[..20]).expect("sent");
    thread::sleep(Duration::from_millis(50));
    let began = Instant::now();
    let new = replace(&mut old);
    // With a successor nobody has to wait for the 30 s of lameduck.
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    halfway.stream.write_all(&framed[20..]).expect("sent");
    let reply = halfway.receive(PATIENCE).expect("an answer to the question that came in two");
    assert_eq!(Message::read(&reply).expect("well-formed").answer.len(), 1);
    assert_eq!(idle.ask(&question).expect("a reply").answer.len(), 1);
    assert_eq!(new.ask("warm.test", "A").answer.len(), 1);
    assert_eq!(new.ask_tcp("warm.test", "A").answer.len(), 1);
    assert!(new.metrics().contains("coredns_build_info"));
}

#[test]
fn questions_in_flight_are_answered_by_the_instance_that_asked() {
    let ip = own_loopback();
    let zone = Zone::from_text("slow.test. 60 A 192.0.2.1\nquick.test. 60 A 192.0.2.1");
    let _upstream = Upstream::start((ip, UPSTREAM_PORT).into(), move |asked| {
        if asked.message.questions[0].name.to_string().starts_with("slow") {
            thread::sleep(Duration::from_millis(1_500));
        }
        asked.reply(&zone.reply(&asked.message));
    });
    let mut old = Program::start(ip, COREFILE);
    let datagrams = UdpClient::new(old.address);
    let mut connection = TcpClient::new(old.address);
    let new = old.start_successor(&[]);
    assert!(old.logs_within("a successor", PATIENCE), "{}", old.log());
    // Both instances have the UDP address; whichever is asked answers.
    datagrams.send(&query(1, "slow.test", "A").write());
    connection.send(&query(2, "slow.test", "A").write());
    thread::sleep(Duration::from_millis(100));
    assert!(old.logs_within(SERVES, PATIENCE), "{}\n{}", old.log(), new.log());
    old.signal("TERM");
    let reply = datagrams.receive(PATIENCE).expect("an answer over UDP");
    assert_eq!(Message::read(&reply).expect("well-formed").answer.len(), 1);
    let reply = connection.receive(PATIENCE).expect("an answer over TCP");
    assert_eq!(Message::read(&reply).expect("well-formed").answer.len(), 1);
    assert!(old.ends_within(PATIENCE).expect("it ends").success());
    let reply = connection.ask(&query(3, "quick.test", "A")).expect("the connection goes on");
    assert_eq!(reply.answer.len(), 1);
}

#[test]
fn an_instance_that_is_killed_leaves_the_address_to_the_next() {
    let ip = own_loopback();
    let _upstream = upstream(ip);
    let mut old = Program::start(ip, COREFILE);
    let new = old.start_successor(&[]);
    assert!(old.logs_within(SERVES, PATIENCE), "{}\n{}", old.log(), new.log());
    old.signal("KILL");
    old.ends_within(PATIENCE).expect("it ends");
    assert!(new.logs_within(ENDED, PATIENCE), "{}", new.log());
    assert_eq!(new.ask("warm.test", "A").answer.len(), 1);
    assert_eq!(new.ask_tcp("warm.test", "A").answer.len(), 1);
    // It is the one to take over from now.
    let mut new = new;
    replace(&mut new);
}

/// A successor that serves fewer addresses leaves the others to nobody, instead of letting clients
/// wait in a queue that is never looked at.
#[test]
fn an_address_the_successor_does_not_serve_is_left() {
    let ip = own_loopback();
    let _upstream = upstream(ip);
    let two = format!("{COREFILE}other.test:5301 {{\n bind IP\n whoami\n}}\n");
    let mut old = Program::start(ip, &two);
    TcpClient::new((ip, 5301).into());
    old.write_corefile(COREFILE);
    let new = old.start_successor(&[]);
    assert!(old.logs_within(SERVES, PATIENCE), "{}\n{}", old.log(), new.log());
    old.signal("TERM");
    assert!(old.ends_within(PATIENCE).expect("it ends").success());
    assert!(TcpStream::connect((ip, 5301)).is_err(), "{}", new.log());
    assert_eq!(new.ask_tcp("warm.test", "A").answer.len(), 1);
}

fn answered() -> Judge {
    Arc::new(|reply: &Message| match (reply.rcode(), reply.answer.len()) {
        (0, 1) => Ok(()),
        (rcode, records) => Err(format!("rcode {rcode} with {records} records")),
    })
}

/// 20,000 questions a second over UDP from 16 ports, 2,000 over TCP on 20 connections.
struct Both(Load, TcpLoad);

impl Both {
    fn start(server: SocketAddr) -> Self {
        let question = query(0, "warm.test", "A");
        let datagrams = Load::start_from(16, server, &question, 20_000, answered());
        Self(datagrams, TcpLoad::start(20, server, &question, 2_000, answered()))
    }

    fn finish(self) -> (Tally, Tally) {
        let tcp = self.1.finish();
        (self.0.finish(), tcp)
    }
}

/// Latencies of one transport over all handovers: the p99 before each and during it.
#[derive(Default)]
struct Latencies {
    before: Vec<u64>,
    during: Vec<u64>,
}

impl Latencies {
    fn medians(&mut self) -> (u64, u64) {
        let median = |values: &mut Vec<u64>| {
            values.sort_unstable();
            values[values.len() / 2]
        };
        (median(&mut self.before), median(&mut self.during))
    }
}

/// Replaces instances under load, `rounds` times, and prints what it cost; returns what was lost
/// or answered wrongly and the latencies over UDP and TCP.
fn replace_under_load(
    server: SocketAddr,
    rounds: usize,
    mut replace: impl FnMut(),
) -> (u64, [Latencies; 2]) {
    let (mut failed, mut latencies) = (0, [Latencies::default(), Latencies::default()]);
    for round in 1..=rounds {
        let load = Both::start(server);
        thread::sleep(Duration::from_secs(1));
        let before = load.finish();
        let load = Both::start(server);
        thread::sleep(Duration::from_millis(200));
        replace();
        thread::sleep(Duration::from_millis(300));
        let during = load.finish();
        let transports = [("UDP", before.0, during.0), ("TCP", before.1, during.1)];
        for (latencies, (name, before, during)) in latencies.iter_mut().zip(transports) {
            println!(
                "{round}: {name}: {} questions, {} lost, {} wrong {}; p99 {} us before, {} us \
                 during, slowest {} us",
                during.sent,
                during.lost,
                during.bad,
                during.complaint.as_deref().unwrap_or_default(),
                before.latency_us(990),
                during.latency_us(990),
                during.latency_us(1_000),
            );
            failed += during.lost + during.bad;
            latencies.before.push(before.latency_us(990));
            latencies.during.push(during.latency_us(990));
        }
    }
    (failed, latencies)
}

#[test]
#[ignore = "needs a quiet minute and an optimised build"]
fn twenty_handovers_under_load_lose_nothing() {
    let ip = own_loopback();
    let _upstream = upstream(ip);
    let mut program = Program::start(ip, COREFILE);
    assert_eq!(program.ask("warm.test", "A").answer.len(), 1);
    let (failed, latencies) =
        replace_under_load(program.address, 20, || program = replace(&mut program));
    assert_eq!(failed, 0, "every question has its answer");
    for (name, mut latencies) in ["UDP", "TCP"].into_iter().zip(latencies) {
        let (before, during) = latencies.medians();
        println!("{name}: median p99 {before} us before, {during} us during a handover");
        assert!(during <= 5 * before, "{name}: {during} us after {before} us");
    }
}

/// The same for node-cache, if `NODE_CACHE` names its binary: it is ended and started again, as a
/// rolling update does with it, because a second one does not start beside the first.
#[test]
#[ignore = "needs NODE_CACHE to name a binary"]
fn twenty_restarts_of_node_cache_are_measured() {
    let Some(binary) = std::env::var_os("NODE_CACHE") else {
        return println!("NODE_CACHE names no binary: nothing to compare with");
    };
    let ip = own_loopback();
    let _upstream = upstream(ip);
    let start = || {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let text = ".:PORT {\n bind IP\n cache\n forward . UPSTREAM\n}\n";
        let path = folder.path().join("Corefile");
        std::fs::write(&path, fill_in(text, ip, folder.path())).expect("a writable folder");
        let mut command = Command::new(&binary);
        command.args(["-setupinterface=false", "-setupiptables=false", "-localip"]);
        command.arg(ip.to_string()).arg("-conf").arg(&path).arg("-basecorefile").arg(&path);
        let mut program = Program::spawn(command, (ip, DNS_PORT).into(), folder);
        program.wait_until_it_answers();
        program
    };
    let mut program = start();
    let address = program.address;
    let (failed, _) = replace_under_load(address, 20, || {
        program.signal("TERM");
        let _ = program.ends_within(Duration::from_secs(15));
        program = start();
    });
    println!("node-cache: {failed} questions lost or failed in 20 restarts");
}

/// What `dnscache probe` prints and whether it is content.
fn probe(what: &str, control: &str) -> (bool, String) {
    let output = command().args(["probe", what, "--control", control]).output().expect("runs");
    let told = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
    (output.status.success(), told)
}

#[test]
fn a_probe_asks_the_instance_beside_it_and_no_other() {
    let ip = own_loopback();
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (first, second) = (path("first"), path("second"));
    let (is_ready, told) = probe("ready", &first);
    assert!(!is_ready && told.contains("see -control"), "{told}");
    let old = Program::start_with(ip, COREFILE, &["-control", &first]);
    // Upstream is not there yet.
    assert_eq!(probe("ready", &first), (false, "no question has been answered yet".into()));
    assert_eq!(probe("live", &first), (true, "ok".into()));
    let upstream = upstream(ip);
    assert!(within(PATIENCE, || probe("ready", &first).0), "{}", old.log());
    upstream.set_silent(true);
    let new = old.start_successor(&["-control", &second]);
    assert!(old.logs_within(SERVES, PATIENCE), "{}\n{}", old.log(), new.log());
    assert_eq!(probe("live", &second), (true, "ok".into()));
    assert_eq!(probe("ready", &second), (false, "no question has been answered yet".into()));
    assert_eq!(probe("ready", &first), (true, "ok".into()), "an outage makes nobody unready");
    upstream.set_silent(false);
    assert!(within(PATIENCE, || probe("ready", &second).0), "{}", new.log());
}
