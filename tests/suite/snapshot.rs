//! The cache that is kept over restarts: what comes back, what is ignored, and how fast.

use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use dnscache::engine::{Engine, ListenerId, Now, Query, Scratch, Transport, Verdict};
use dnscache::node::snapshot;
use tempfile::TempDir;

use crate::harness::client::UdpClient;
use crate::harness::engine::assemble;
use crate::harness::message::Message;
use crate::harness::program::{DNS_PORT, Program, UPSTREAM_PORT, command, fill_in};
use crate::harness::upstream::Upstream;
use crate::harness::zone::{Zone, query};
use crate::harness::{own_loopback, within};

const COREFILE: &str = ".:PORT {\n bind IP\n cache\n prometheus METRICS\n forward . UPSTREAM\n}\n";
const SOON: Duration = Duration::from_secs(10);

/// A place for a snapshot that outlives its programs.
struct Place {
    folder: TempDir,
    ip: Ipv4Addr,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        Self { folder, ip: own_loopback() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("snapshot")
    }

    fn start(&self, corefile: &str, arguments: &[&str]) -> Program {
        let path = self.path().to_string_lossy().into_owned();
        Program::start_with(self.ip, corefile, &[&["-snapshot", &path], arguments].concat())
    }

    fn upstream(&self, zone: &str) -> Upstream {
        Upstream::with_zone(self.ip, UPSTREAM_PORT, zone)
    }

    /// Leaves a snapshot with one answer behind, as a program that ended well does.
    fn fill(&self) {
        let _upstream = self.upstream("a.test. 300 A 192.0.2.1");
        let program = self.start(COREFILE, &[]);
        assert_eq!(program.ask("a.test", "A").answer.len(), 1);
        end(program);
    }
}

fn end(mut program: Program) {
    program.signal("TERM");
    let status = program.ends_within(SOON).expect("the program ends");
    assert_eq!(status.code(), Some(0), "{}", program.log());
}

#[test]
fn a_restart_answers_from_what_was_known_although_upstream_is_gone() {
    let place = Place::new();
    let upstream = place.upstream("a.test. 300 A 192.0.2.1\nshort.test. 1 A 192.0.2.2");
    let program = place.start(COREFILE, &[]);
    for _ in 0..40 {
        assert_eq!(program.ask("a.test", "A").answer[0].ttl_secs / 10, 30);
    }
    assert_eq!(program.ask("gone.test", "A").rcode(), 3);
    assert_eq!(program.ask("short.test", "A").answer.len(), 1);
    end(program);
    drop(upstream);
    let mode = std::fs::metadata(place.path()).expect("a snapshot").permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    std::thread::sleep(Duration::from_millis(1_200));

    let program = place.start(COREFILE, &[]);
    let reply = program.ask("a.test", "A");
    assert_eq!(reply.answer[0].data, [192, 0, 2, 1]);
    assert!((200..300).contains(&reply.answer[0].ttl_secs), "{}", reply.answer[0].ttl_secs);
    // It has expired, and upstream does not answer: RFC 8767.
    assert_eq!(program.ask("short.test", "A").answer[0].ttl_secs, 30);
    assert!(program.log().contains("taken over"), "{}", program.log());
    assert!(!program.log().contains(" 0 hot names"), "{}", program.log());
    let page = program.metrics();
    assert!(page.contains("dnscache_snapshot_loaded_entries "), "{page}");
    assert!(program.metric("dnscache_snapshot_loaded_entries", &[]) >= 2.0);
    assert!(program.metric("dnscache_snapshot_loaded_age_seconds", &[]) >= 1.0);
}

#[test]
fn after_a_kill_the_hit_ratio_is_what_it_was() {
    let place = Place::new();
    let names: Vec<String> = (0..60).map(|number| format!("n{number}.test")).collect();
    let zone: Vec<_> = names.iter().map(|name| format!("{name}. 300 A 192.0.2.1")).collect();
    let upstream = place.upstream(&zone.join("\n"));
    let mut program = place.start(COREFILE, &["-snapshot-interval", "1s"]);
    for name in &names {
        assert_eq!(program.ask(name, "A").answer.len(), 1);
    }
    let entries = || program.metric("dnscache_snapshot_written_entries", &[]);
    assert!(within(SOON, || entries() >= 60.0), "{}", program.metrics());
    program.signal("KILL");
    program.ends_within(SOON).expect("the program ends");

    let asked = upstream.total();
    assert_eq!(asked, 60);
    let program = place.start(COREFILE, &[]);
    for name in &names {
        assert_eq!(program.ask(name, "A").answer.len(), 1);
    }
    assert_eq!(upstream.total(), asked, "{}", program.log());
    let left: Vec<_> = std::fs::read_dir(place.folder.path()).expect("a folder").collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn files_that_cannot_be_used_are_named_and_ignored() {
    let place = Place::new();
    place.fill();
    let whole = std::fs::read(place.path()).expect("a snapshot");
    let changed = |at: usize, octet: u8| {
        let mut octets = whole.clone();
        octets[at] = octet;
        octets
    };
    for (octets, mode, reason) in [
        (changed(whole.len() / 2, !whole[whole.len() / 2]), 0o600, "it is damaged: the checksum"),
        (whole[..whole.len() - 3].to_vec(), 0o600, "it is cut short"),
        (
            b"#!/bin/sh\necho not a snapshot\n".to_vec(),
            0o600,
            "it is no snapshot of this program's",
        ),
        (changed(9, 77), 0o600, "its format is 77"),
        ([&whole[..], b"x"].concat(), 0o600, "something follows its end"),
        (whole.clone(), 0o666, "its mode is 0666, so others could have written it"),
    ] {
        std::fs::write(place.path(), octets).expect("a writable folder");
        set_mode(&place.path(), mode);
        let program = place.start(COREFILE, &[]);
        let line = format!("snapshot {} is ignored: {reason}", place.path().display());
        assert!(program.logs_within(&line, SOON), "{line}:\n{}", program.log());
        assert_eq!(program.metric("dnscache_snapshot_failures_total", &[]), 1.0);
        assert_eq!(program.metric("dnscache_snapshot_loaded_entries", &[]), 0.0);
    }
}

#[test]
fn answers_of_a_forward_that_was_changed_are_asked_anew() {
    let place = Place::new();
    place.fill();
    let other = Upstream::with_zone(place.ip, UPSTREAM_PORT + 1, "a.test. 300 A 192.0.2.7");
    let program = place.start(&COREFILE.replace("UPSTREAM", "UPSTREAM2"), &[]);
    assert_eq!(program.ask("a.test", "A").answer[0].data, [192, 0, 2, 7]);
    assert_eq!(other.total(), 1);
    assert!(program.log().contains("1 fit no forward"), "{}", program.log());
}

#[test]
fn a_place_that_cannot_be_written_costs_a_line_and_no_answer() {
    let place = Place::new();
    let _upstream = place.upstream("a.test. 300 A 192.0.2.1");
    let missing = place.folder.path().join("missing/snapshot").to_string_lossy().into_owned();
    let folder = place.folder.path().to_string_lossy().into_owned();
    for path in [missing, folder] {
        let arguments = ["-snapshot", path.as_str(), "-snapshot-interval", "1s"];
        let program = Program::start_with(place.ip, COREFILE, &arguments);
        let line = format!("snapshot {path}: cannot be written");
        assert!(program.logs_within(&line, SOON), "{}", program.log());
        assert_eq!(program.ask("a.test", "A").answer.len(), 1);
        let failures = || program.metric("dnscache_snapshot_failures_total", &[]);
        assert!(within(SOON, || failures() >= 3.0), "{}", program.metrics());
        assert_eq!(program.log().matches(&line).count(), 1, "{}", program.log());
        assert_eq!(program.ask("a.test", "A").answer.len(), 1);
        end(program);
    }
}

#[test]
#[ignore = "needs root: mounts a small file system"]
fn a_full_disk_keeps_the_snapshot_before() {
    let place = Place::new();
    let mount = Mount::small(place.folder.path());
    place.fill();
    let before = std::fs::read(place.path()).expect("a snapshot");
    std::fs::write(place.folder.path().join("ballast"), vec![7; 4 << 20]).expect_err("it is full");
    let upstream = Upstream::start((place.ip, UPSTREAM_PORT + 1).into(), |asked| {
        let zone = format!("{}. 300 A 192.0.2.1", asked.message.questions[0].name);
        asked.reply(&Zone::from_text(&zone).reply(&asked.message));
    });
    let corefile = COREFILE.replace("UPSTREAM", "UPSTREAM2");
    let program = place.start(&corefile, &["-snapshot-interval", "1s"]);
    for number in 0..500 {
        assert_eq!(program.ask(&format!("n{number}.test"), "A").answer.len(), 1);
    }
    assert!(program.logs_within("No space left on device", SOON), "{}", program.log());
    assert!(std::fs::read(place.path()).expect("a snapshot") == before);
    assert_eq!(program.ask("a.test", "A").answer.len(), 1);
    end(program);
    drop((upstream, mount));
}

/// Start to first answer, with 100,000 answers to take over and with none.
#[test]
#[ignore = "needs an optimised build"]
fn the_first_answer_comes_soon() {
    let place = Place::new();
    let without_ms = first_answer_ms(&place, "-snapshot=off", "started.test", 4);
    let engine = assemble(&fill_in(COREFILE, place.ip, place.folder.path())).expect("an engine");
    (0..100_000).for_each(|number| teach(&engine, &format!("n{number}.example.test")));
    let started = Instant::now();
    let wall_millis = dnscache::clock::wall_millis();
    let written = snapshot::file::replace(&place.path(), |out| {
        snapshot::write(&engine, LEARNED, wall_millis, 256 << 20, out)
    });
    let (written, took) = (written.expect("a writable folder"), started.elapsed());
    assert_eq!(written.answers, 100_000);
    let flag = format!("-snapshot={}", place.path().display());
    let with_ms = first_answer_ms(&place, &flag, "n99999.example.test", 0);
    println!(
        "first answer after {without_ms} ms, with 100,000 answers taken over after {with_ms} ms; \
         written in {} ms, {} octets",
        took.as_millis(),
        written.bytes
    );
    assert!(without_ms < 50, "{without_ms} ms");
    assert!(with_ms < 500, "{with_ms} ms");
}

/// The shortest of three runs, since a machine may be busy with something else.
fn first_answer_ms(place: &Place, flag: &str, name: &str, rcode: u16) -> u128 {
    let folder = || tempfile::tempdir().expect("a folder for temporary files");
    let corefile = place.folder.path().join("Corefile");
    let text = fill_in(COREFILE, place.ip, place.folder.path());
    std::fs::write(&corefile, text).expect("a writable folder");
    let run = |_| {
        let mut command = command();
        command.arg("-conf").arg(&corefile).arg(flag);
        let address = (place.ip, DNS_PORT).into();
        let mut question = query(7, name, "A");
        // NOTIMP needs no upstream.
        question.flags |= if rcode == 4 { 2 << 11 } else { 0 };
        let started = Instant::now();
        let program = Program::spawn(command, address, folder());
        let reply = first_reply(&program, &question);
        let took = started.elapsed();
        assert_eq!(reply.rcode(), rcode, "{}", program.log());
        took.as_millis()
    };
    (0..3).map(run).min().expect("three runs")
}

fn first_reply(program: &Program, question: &Message) -> Message {
    let client = UdpClient::new(program.address);
    let end = Instant::now() + Duration::from_secs(30);
    while Instant::now() < end {
        client.send(&question.write());
        if let Some(reply) = client.receive(Duration::from_millis(1)) {
            return Message::read(&reply).expect("a well-formed reply");
        }
    }
    panic!("no answer within 30 s:\n{}", program.log())
}

/// When answers of [`teach`] were learned.
const LEARNED: Now = Now::from_millis(90_000_000);

fn teach(engine: &Engine, name: &str) {
    let question = query(7, name, "A");
    let packet = question.write();
    let source = ([10, 0, 0, 1], 4_000).into();
    let listener = ListenerId(0);
    let asked = Query { packet: &packet, source, listener, transport: Transport::Udp };
    let mut out = [0; 1_500];
    let Verdict::Ask(ask) = engine.answer(&asked, LEARNED, &mut Scratch::default(), &mut out)
    else {
        panic!("{name} is known")
    };
    let zone = Zone::from_text(&format!("{name}. 3000 A 192.0.2.1"));
    engine.learn(&ask, &zone.reply(&question).write(), LEARNED);
}

fn set_mode(path: &Path, mode: u32) {
    let permissions = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(path, permissions).expect("our own file");
}

/// A file system of 128 KiB, as long as this lives.
struct Mount(PathBuf);

impl Mount {
    fn small(folder: &Path) -> Self {
        let mut mount = Command::new("mount");
        let mount = mount.args(["-t", "tmpfs", "-o", "size=128k", "tmpfs"]).arg(folder);
        assert!(mount.status().expect("mount runs").success());
        Self(folder.to_owned())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
