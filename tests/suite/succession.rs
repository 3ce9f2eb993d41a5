//! One instance after the other where something is not as it should be: other addresses, shared
//! paths, strangers at the door, a start that fails, no lock.

use std::net::TcpStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use dnscache::node::takeover::channel::Welcome;

use crate::harness::client::{PATIENCE, UdpClient};
use crate::harness::kube_node::{BareNode, INTERFACE, LOCAL, SERVICE, wait_for_rules};
use crate::harness::program::{DNS_PORT, Program, command, fill_in};
use crate::harness::zone::query;
use crate::harness::{own_loopback, within};

const COREFILE: &str = ".:PORT {\n bind IP\n hosts {\n 192.0.2.1 who.test\n }\n}\n";
const SERVES: &str = "a successor serves beside this instance";
const ENDED: &str = "the instance before this one has ended";
const SOON: Duration = Duration::from_secs(20);

/// Ends the elder of `new` as a kubelet does.
fn succeed(mut old: Program, new: &Program) {
    assert!(old.logs_within(SERVES, PATIENCE), "{}\n{}", old.log(), new.log());
    old.signal("TERM");
    let status = old.ends_within(SOON).expect("the old one ends");
    assert!(status.success(), "{status}");
}

#[test]
fn an_address_the_successor_does_not_want_is_closed() {
    let (ip, other) = (own_loopback(), own_loopback());
    let both = COREFILE.replace("IP", &format!("IP {other}"));
    let old = Program::start(ip, &both);
    TcpStream::connect((other, DNS_PORT)).expect("served");
    old.write_corefile(COREFILE);
    let new = old.start_successor(&[]);
    succeed(old, &new);
    assert!(new.logs_within(ENDED, PATIENCE), "{}", new.log());
    assert_eq!(new.ask_tcp("who.test", "A").answer.len(), 1);
    let refused = TcpStream::connect((other, DNS_PORT)).expect_err("nobody serves it");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[test]
fn a_pid_file_at_the_same_path_is_the_successors() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("pid");
    let arguments = ["-pidfile", path.to_str().expect("UTF-8")];
    let old = Program::start_with(own_loopback(), COREFILE, &arguments);
    let mut new = old.start_successor(&arguments);
    succeed(old, &new);
    let written = std::fs::read_to_string(&path).expect("the successor's");
    assert_eq!(written.trim(), new.pid().to_string());
    new.signal("TERM");
    assert!(new.ends_within(SOON).is_some());
    assert!(!path.exists());
}

#[test]
fn somebody_who_has_the_name_is_told_about() {
    let ip = own_loopback();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let taken = runtime.block_on(async { Welcome::open((ip, DNS_PORT).into()) });
    let taken = taken.expect("a free name");
    let program = Program::start(ip, COREFILE);
    let said = "no successor finds this instance";
    assert!(program.logs_within(said, PATIENCE), "{}", program.log());
    thread::sleep(Duration::from_millis(2_500));
    assert_eq!(program.log().matches(said).count(), 1, "{}", program.log());
    drop(taken);
    let mut new = None;
    let found = within(PATIENCE, || {
        thread::sleep(Duration::from_millis(1_200));
        new = Some(program.start_successor(&[]));
        program.logs_within(SERVES, Duration::from_secs(5))
    });
    assert!(found, "{}", program.log());
}

#[test]
fn sigterm_ends_a_start_that_waits_for_an_elder_that_hangs() {
    let ip = own_loopback();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let elder = runtime.block_on(async { Welcome::open((ip, DNS_PORT).into()) });
    let elder = elder.expect("a free name");
    let folder = tempfile::tempdir().expect("a folder");
    let corefile = folder.path().join("Corefile");
    std::fs::write(&corefile, fill_in(COREFILE, ip, folder.path())).expect("written");
    let mut command = command();
    command.arg("-conf").arg(corefile).args(["-snapshot", "off"]);
    let mut program = Program::spawn(command, (ip, DNS_PORT).into(), folder);
    let came = runtime.block_on(elder.next()).expect("it starts");
    program.signal("TERM");
    let status = program.ends_within(SOON).expect("ends");
    assert!(status.success(), "{status}");
    assert!(!program.log().contains("does not answer"), "{}", program.log());
    drop(came);
}

#[test]
fn a_successor_that_cannot_start_costs_no_question() {
    let old = Program::start(own_loopback(), COREFILE);
    let is_over = Arc::new(AtomicBool::new(false));
    let asking: Vec<_> = (0..4)
        .map(|_| {
            let (address, is_over) = (old.address, Arc::clone(&is_over));
            thread::spawn(move || {
                let packet = query(1, "who.test", "A").write();
                while !is_over.load(Ordering::Relaxed) {
                    // A socket for each: the kernel chooses by the client's port.
                    let client = UdpClient::new(address);
                    client.send(&packet);
                    assert!(client.receive(PATIENCE).is_some(), "a question is lost");
                }
            })
        })
        .collect();
    for arguments in
        [["-metrics-listen-address", "192.0.2.77:1"], ["-pidfile", "/nowhere/at/all"]].repeat(8)
    {
        let mut new = old.start_successor(&arguments);
        let status = new.ends_within(SOON).expect("ends by itself");
        assert_eq!(status.code(), Some(1), "{}", new.log());
    }
    is_over.store(true, Ordering::Relaxed);
    asking.into_iter().for_each(|asking| asking.join().expect("no question is lost"));
}

/// Knocks at the name of an address again and again.
const KNOCK: &str = "
import socket, sys, time
while True:
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.settimeout(0.05)
    try:
        s.connect(b'\\0dnscache/take-over/' + sys.argv[1].encode())
    except OSError:
        pass
    s.close()
    time.sleep(0.005)
";

#[test]
#[ignore = "needs root and python"]
fn another_user_at_the_door_keeps_nobody_out() {
    let old = Program::start(own_loopback(), COREFILE);
    let mut stranger = Command::new("python3");
    stranger.args(["-c", KNOCK, &old.address.to_string()]).uid(65_534).stdout(Stdio::null());
    let mut stranger = stranger.spawn().expect("python");
    let refused = old.logs_within("a successor cannot be let in", PATIENCE);
    thread::sleep(Duration::from_secs(3));
    let new = old.start_successor(&[]);
    let serves = old.logs_within(SERVES, PATIENCE);
    stranger.kill().and_then(|()| stranger.wait()).expect("ended");
    assert!(refused && serves, "{}\n{}", old.log(), new.log());
    assert_eq!(old.log().matches("a successor cannot be let in").count(), 1, "{}", old.log());
}

/// A start that fails at the last moment.
fn fail(node: &BareNode, arguments: &[&str]) -> String {
    let arguments = [&["-metrics-listen-address", "192.0.2.77:1"], arguments].concat();
    let mut program = node.spawn(&[LOCAL.into(), SERVICE.into()], &arguments);
    let status = program.ends_within(SOON).expect("ends by itself");
    assert_eq!(status.code(), Some(1), "{}", program.log());
    program.log()
}

#[test]
#[ignore = "needs root, ip and iptables"]
fn a_start_that_fails_leaves_the_node_as_it_was() {
    let node = BareNode::new();
    for arguments in [&[][..], &["-skipteardown"]] {
        let log = fail(&node, arguments);
        assert!(log.contains("192.0.2.77"), "{log}");
        let link = node.prints(&format!("ip -o link show {INTERFACE}"));
        assert!(!node.addresses().contains("169.254") && !link.contains(",UP"), "{link}");
        assert_eq!(node.rules_of_ours(), 0);
    }
    // What somebody else has set up for the same addresses, node-cache for one.
    for address in [LOCAL, SERVICE] {
        node.namespace.ip(&format!("address add {address}/32 dev {INTERFACE}"));
    }
    node.namespace.ip(&format!("link set {INTERFACE} up"));
    node.shell(&format!(
        "iptables-legacy -t raw -A OUTPUT -s {LOCAL}/32 -p udp -m udp --sport 53 \
         -m comment --comment 'NodeLocal DNS Cache: skip conntrack' -j NOTRACK"
    ));
    let rules = node.rules_of_ours();
    fail(&node, &[]);
    assert!(node.has_addresses_within(&[LOCAL.into(), SERVICE.into()], Duration::ZERO));
    assert_eq!((node.rules_of_ours(), rules), (1, 1), "{}", node.rules());
}

#[test]
#[ignore = "needs root, ip, nft and iptables"]
fn an_upgrade_without_a_lock_takes_nothing_away() {
    let node = BareNode::new();
    let lockless = ["-node-lock", "/nowhere/lock"];
    let old = node.start(&lockless);
    wait_for_rules(&old);
    let new = node.start(&lockless);
    wait_for_rules(&new);
    let rules = node.rules_of_ours();
    succeed(old, &new);
    assert!(new.logs_within(ENDED, PATIENCE), "{}", new.log());
    assert!(node.has_addresses_within(&[LOCAL.into(), SERVICE.into()], Duration::ZERO));
    thread::sleep(Duration::from_secs(2));
    assert!(!new.log().contains("not as"), "{}", new.log());
    assert!(node.rules_of_ours() <= rules && node.rules_of_ours() > 0, "{}", node.rules());
}
