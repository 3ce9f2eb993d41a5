//! What happens on the node: no descriptors left, an intruder in the process, strangers who ask.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dnscache::node::confine::{Tasks, confine};

use crate::harness::client::{TcpClient, UdpClient};
use crate::harness::namespace::Namespace;
use crate::harness::program::{DNS_PORT, Program, UPSTREAM_PORT, command, fill_in};
use crate::harness::upstream::Upstream;
use crate::harness::zone::query;
use crate::harness::{own_loopback, within};

const COREFILE: &str = ".:PORT {
    bind IP
    cache
    forward . UPSTREAM {
        prefer_udp
    }
    prometheus METRICS
}
";

/// A program with few descriptors, and so many unanswered questions that all of them are used up.
#[test]
fn without_descriptors_known_names_are_answered_and_tcp_is_turned_away() {
    let ip = own_loopback();
    let upstream = Upstream::with_zone(ip, UPSTREAM_PORT, "*.test. 60 A 192.0.2.1");
    let program = start_with_descriptors(ip, 48);
    assert_eq!(program.ask("known.test", "A").answer.len(), 1);
    let rejected = |program: &Program| {
        program.metric("dnscache_tcp_connections_rejected_total", &["reason=\"descriptors\""])
    };
    assert_eq!(rejected(&program), 0.0);
    upstream.set_silent(true);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| flood(program.address, &stop));
        let used_up = within(Duration::from_secs(5), || program.open_files() >= 47);
        assert!(used_up, "{} open files", program.open_files());
        // Now and then a descriptor is free for a moment, and who comes then is served.
        let refused = within(Duration::from_secs(10), || {
            let mut late = TcpClient::new(program.address);
            late.is_closed_within(Duration::from_millis(200))
                && program.log().contains("cannot be accepted")
        });
        assert!(refused, "TCP clients are left to wait:\n{}", program.log());
        let asked = Instant::now();
        assert_eq!(program.ask("known.test", "A").answer.len(), 1);
        assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
        stop.store(true, Ordering::SeqCst);
    });

    upstream.set_silent(false);
    let recovered = within(Duration::from_secs(15), || {
        let name = format!("new{}.test", upstream.total());
        program.ask(&name, "A").answer.len() == 1 && program.open_files() < 40
    });
    assert!(recovered, "{} open files:\n{}", program.open_files(), program.log());
    assert_eq!(program.ask_tcp("known.test", "A").answer.len(), 1);
    assert!(rejected(&program) >= 1.0, "{}", program.metrics());
    let lines = program.log().lines().filter(|line| line.contains("cannot be accepted")).count();
    assert_eq!(lines, 1, "{}", program.log());
}

/// Questions that nobody answers, a thousand in a second, from twenty pods.
fn flood(server: SocketAddr, stop: &AtomicBool) {
    let pods: Vec<UdpClient> = (1..=20)
        .map(|pod| UdpClient::from_address(Ipv4Addr::new(127, 15, 0, pod).into(), server))
        .collect();
    for number in 0..10_000u16 {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let pod = &pods[usize::from(number) % pods.len()];
        pod.send(&query(number, &format!("flood{number}.test"), "A").write());
        thread::sleep(Duration::from_millis(1));
    }
}

/// The program under a shell's limit on open files.
fn start_with_descriptors(ip: Ipv4Addr, count: usize) -> Program {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let path = folder.path().join("Corefile");
    std::fs::write(&path, fill_in(COREFILE, ip, folder.path())).expect("a writable folder");
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit -n {count}; exec \"$0\" \"$@\"")]);
    shell.arg(command().get_program()).args(["-workers", "1", "-conf"]).arg(&path);
    let mut program = Program::spawn(shell, SocketAddr::from((ip, DNS_PORT)), folder);
    program.wait_until_it_answers();
    program
}

/// The fields of one thread's `/proc` status that say what it may do.
struct Rights {
    /// Bit sets: inheritable, permitted, effective, bounding, ambient.
    capabilities: [u64; 5],
    has_no_new_privileges: bool,
    has_filter: bool,
}

/// Of every thread of a process.
fn rights(pid: u32) -> Vec<Rights> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("a running process");
    let status = |thread: std::io::Result<std::fs::DirEntry>| {
        let path = thread.expect("a thread").path().join("status");
        // A thread that ended meanwhile has no rights.
        std::fs::read_to_string(path).ok()
    };
    threads.filter_map(status).map(|status| read_rights(&status)).collect()
}

fn read_rights(status: &str) -> Rights {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect(name);
        line.trim_start_matches(':').trim().to_owned()
    };
    let set = |name: &str| u64::from_str_radix(&field(name), 16).expect("hexadecimal digits");
    Rights {
        capabilities: ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].map(set),
        has_no_new_privileges: field("NoNewPrivs") == "1",
        has_filter: field("Seccomp") == "2",
    }
}

const NET_BIND_SERVICE: u64 = 1 << 10;
const SETPCAP: usize = 8;

#[test]
fn no_thread_can_do_more_than_it_needs() {
    let ip = own_loopback();
    let _upstream = Upstream::with_zone(ip, UPSTREAM_PORT, "*.test. 60 A 192.0.2.1");
    let own = rights(std::process::id()).remove(0);
    let can_bound = own.capabilities[2] >> SETPCAP & 1 == 1;
    let program = Program::start(ip, COREFILE);
    // Threads that begin later have no more than those that began at the start.
    assert_eq!(program.ask("a.test", "A").answer.len(), 1);
    assert_eq!(program.ask_tcp("b.test", "A").answer.len(), 1);
    let threads = rights(program.pid());
    assert!(threads.len() >= 3, "the planes and the log have threads of their own");
    let is_slow_kernel = program.log().contains("would slow the process down");
    for thread in threads {
        for (number, set) in thread.capabilities.iter().enumerate() {
            let is_bounding = number == 3;
            let excess = set & !NET_BIND_SERVICE;
            assert!(excess == 0 || is_bounding && !can_bound, "set {number}: {set:#x}");
        }
        assert!(thread.has_no_new_privileges);
        assert!(thread.has_filter || is_slow_kernel, "{}", program.log());
    }
    // It still opens what a reload asks for.
    let other = own_loopback();
    program.write_corefile(&COREFILE.replace("bind IP", &format!("bind IP {other}")));
    program.signal("HUP");
    let client = || UdpClient::new((other, DNS_PORT).into()).ask(&query(1, "a.test", "A"));
    assert!(program.logs_within("the new configuration is in force", Duration::from_secs(5)));
    assert_eq!(client().expect("a reply").answer.len(), 1);
}

#[test]
fn confinement_can_be_switched_off() {
    let ip = own_loopback();
    let own = rights(std::process::id()).remove(0);
    let program = Program::start_with(ip, ".:PORT {\n bind IP\n whoami\n}\n", &["-confine=false"]);
    for thread in rights(program.pid()) {
        assert_eq!(thread.capabilities, own.capabilities);
        assert_eq!(thread.has_filter, own.has_filter);
        assert_eq!(thread.has_no_new_privileges, own.has_no_new_privileges);
    }
}

/// Pods in one namespace, the node in another: the two pods' addresses differ in one thing only.
#[test]
#[ignore = "needs root and network namespaces"]
fn strangers_are_refused_and_counted_when_the_clients_are_told() {
    let (node, pods) = (Namespace::new("node"), Namespace::new("pods"));
    node.connect("eth0", &pods, "eth0");
    node.ip("addr add 192.0.2.1/24 dev eth0");
    pods.ip("addr add 192.0.2.9/24 dev eth0");
    pods.ip("addr add 192.0.2.130/24 dev eth0");
    let (ip, server) = (Ipv4Addr::new(192, 0, 2, 1), SocketAddr::from(([192, 0, 2, 1], DNS_PORT)));
    let text = ".:PORT {\n bind IP\n whoami\n prometheus METRICS\n}\n\
                open.test:PORT {\n bind IP\n whoami\n acl {\n  allow\n }\n}\n";
    for (clients, stranger_gets) in [("", 0), ("192.0.2.0/25", 5)] {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let path = folder.path().join("Corefile");
        std::fs::write(&path, fill_in(text, ip, folder.path())).expect("a writable folder");
        let mut start = node.command(command().get_program());
        start.args(["-client-networks", clients, "-conf"]).arg(&path);
        let mut program = Program::spawn(start, server, folder);
        node.inside(|| program.wait_until_it_answers());
        let ask = |from: [u8; 4], name: &str| {
            let asked = query(1, name, "A");
            UdpClient::from_address(from.into(), server).ask(&asked).expect("a reply").rcode()
        };
        pods.inside(|| {
            assert_eq!(ask([192, 0, 2, 9], "a.test"), 0, "a pod, -client-networks {clients:?}");
            assert_eq!(
                ask([192, 0, 2, 130], "a.test"),
                stranger_gets,
                "-client-networks {clients:?}"
            );
            assert_eq!(ask([192, 0, 2, 130], "open.test"), 0, "a block with an acl of its own");
        });
        node.inside(|| {
            assert_eq!(ask([192, 0, 2, 1], "a.test"), 0, "a pod on the host's network");
            let blocked = program.metric("coredns_acl_blocked_requests_total", &[]);
            assert_eq!(blocked, f64::from(u8::from(stranger_gets == 5)));
        });
    }
}

/// Confinement is for ever, so this test starts itself a second time, in a network of its own.
#[test]
#[ignore = "needs root, nft and iptables"]
fn programs_that_set_rules_work_in_confinement() {
    const INSIDE: &str = "DNSCACHE_TEST_CONFINED";
    if std::env::var_os(INSIDE).is_some() {
        return set_rules_confined();
    }
    let name = "suite::threats::node::programs_that_set_rules_work_in_confinement";
    let output = Command::new("unshare")
        .arg("-n")
        .arg(std::env::current_exe().expect("this test's program"))
        .args(["--ignored", "--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}{errors}");
}

fn set_rules_confined() {
    let rule = "*raw\n-A PREROUTING -d 192.0.2.1/32 -p udp -m udp --dport 53 -j NOTRACK\nCOMMIT\n";
    let table = "table inet t { chain c { type filter hook input priority 0; accept; }; }";
    let programs = [
        ("nft -f -", table),
        ("iptables-nft-restore", rule),
        ("ip6tables-nft-restore", "*filter\n-A INPUT -p udp -m udp --dport 53 -j ACCEPT\nCOMMIT\n"),
        ("iptables-legacy-restore", rule),
    ];
    // Not every kernel still has the tables of the older iptables.
    let works = programs.map(|(program, input)| shell(program, input).is_ok());
    assert!(works[0], "nft does not work here at all: {:?}", shell("nft -f -", table));
    confine(Tasks { administers_network: true, starts_programs: true });
    for ((program, input), works) in programs.into_iter().zip(works) {
        let outcome = shell(program, input);
        assert!(outcome.is_ok() || !works, "{program}: {outcome:?}");
    }
    // What they may do and what not is inherited.
    let error = shell("unshare -n true", "").expect_err("a call that is refused");
    assert!(error.contains("not permitted"), "{error}");
    let status = shell("cat /proc/self/status", "").expect("no privileges are needed");
    let kept = NET_BIND_SERVICE | 1 << 12 | 1 << 13;
    assert_eq!(read_rights(&status).capabilities[2..4], [kept, kept], "{status}");
}

/// Runs a command line with this input; what it writes, or its complaint.
fn shell(line: &str, input: &str) -> Result<String, String> {
    let mut command = Command::new("sh");
    command.args(["-c", line]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("a shell");
    // One that does not start does not read.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("a child");
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}
