//! A node that cannot be set up: what is said, and that nothing was changed.

use std::net::IpAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::kube_node::{BareNode, LOCAL, SERVICE, wait_for_rules};
use crate::harness::program::{self, Program};

const ADDRESSES: [IpAddr; 2] = [IpAddr::V4(LOCAL), IpAddr::V4(SERVICE)];

/// The log of a program that ends with an error within a second or so.
fn log_of_refusal(mut program: Program) -> String {
    let began = Instant::now();
    let status = program.ends_within(Duration::from_secs(10)).expect("ends by itself");
    assert_eq!(status.code(), Some(1), "{}", program.log());
    assert!(began.elapsed() < Duration::from_secs(5), "at once, on a busy machine");
    // The pipes are read by their own threads, which see the end a moment later.
    program.logs_within("interface nodelocaldns: ", Duration::from_secs(2));
    program.log()
}

#[test]
#[ignore = "needs root and ip"]
fn a_kernel_without_dummy_links_is_named() {
    let node = BareNode::without_link();
    if node
        .namespace
        .command("ip")
        .args(["link", "add", "probe", "type", "dummy"])
        .status()
        .is_ok_and(|s| s.success())
    {
        // This kernel has them, so the link is made; that is what is shown instead.
        let program = node.start(&["-setupiptables=false"]);
        assert!(program.log().contains("link made"), "{}", program.log());
        return;
    }
    let log = log_of_refusal(node.spawn(&ADDRESSES, &[]));
    for words in ["no links of type dummy", "modprobe dummy", "-setupinterface=false"] {
        assert!(log.contains(words), "{words} in {log}");
    }
    assert_eq!(node.rules_of_ours(), 0);
}

#[test]
#[ignore = "needs root, ip and setpriv"]
fn a_missing_capability_is_named() {
    let node = BareNode::new();
    let corefile = node.path("Corefile");
    std::fs::write(&corefile, ".:53 {\n whoami\n}\n").expect("a writable folder");
    let mut command: Command = node.namespace.command("setpriv");
    command.args(["--bounding-set=-net_admin", "--inh-caps=-net_admin"]);
    command.arg(program::command().get_program()).arg("-conf").arg(corefile);
    command.args(["-localip", "169.254.20.10"]).arg("-node-lock").arg(node.path("lock"));
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let log = log_of_refusal(Program::spawn(command, (LOCAL, 53).into(), folder));
    for words in ["CAP_NET_ADMIN", "securityContext", "-setupinterface=false"] {
        assert!(log.contains(words), "{words} in {log}");
    }
}

#[test]
#[ignore = "needs root, ip, nft, iptables and setpriv"]
fn rules_that_cannot_be_set_are_counted_and_dns_goes_on() {
    let node = BareNode::new();
    node.namespace.ip("link set nodelocaldns up");
    for address in ADDRESSES {
        node.namespace.ip(&format!("address add {address}/32 dev nodelocaldns"));
    }
    let corefile = node.path("Corefile");
    let text = format!(".:53 {{\n bind {LOCAL}\n whoami\n prometheus {LOCAL}:9253\n}}\n");
    std::fs::write(&corefile, text).expect("a writable folder");
    let mut command: Command = node.namespace.command("setpriv");
    command.args(["--bounding-set=-net_admin", "--inh-caps=-net_admin"]);
    command.arg(program::command().get_program()).arg("-conf").arg(corefile);
    command.args(["-localip", "169.254.20.10,10.96.0.10"]).arg("-node-lock").arg(node.path("lock"));
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let program = Program::spawn(command, (LOCAL, 53).into(), folder);
    assert!(program.logs_within("packet rules: ", Duration::from_secs(20)), "{}", program.log());
    node.namespace.inside(|| program.ask("who.test", "A"));
    let none = "coredns_nodecache_setup_errors_total{errortype=\"iptables\"} 0";
    let page = node.namespace.inside(|| program.metrics());
    assert!(!page.contains(none), "{page}");
    assert!(!page.contains("dnscache_node_rules{"), "{page}");
    let said = program.log().matches("packet rules: ").count();
    assert_eq!(said, 1, "tried again, said once: {}", program.log());
}

#[test]
#[ignore = "needs root and ip"]
fn an_address_on_another_interface_is_named() {
    for (other, remedy) in [("kube-ipvs0", "--cluster-dns"), ("eth0", "take it away there")] {
        let node = BareNode::new();
        node.namespace.ip(&format!("link add {other} type ifb"));
        node.namespace.ip(&format!("address add {SERVICE}/32 dev {other}"));
        let log = log_of_refusal(node.spawn(&ADDRESSES, &[]));
        assert!(log.contains(&format!("{SERVICE} is already on interface {other}")), "{log}");
        assert!(log.contains(remedy), "{log}");
        assert_eq!(node.addresses(), "", "nothing was changed");
    }
}

#[test]
#[ignore = "needs root and ip"]
fn a_mistake_in_the_corefile_changes_nothing() {
    let node = BareNode::new();
    let corefile = node.path("Corefile");
    std::fs::write(&corefile, ".:53 {\n cahce\n}\n").expect("a writable folder");
    let mut command = node.namespace.command(program::command().get_program());
    command.arg("-conf").arg(corefile).args(["-localip", "169.254.20.10"]);
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let mut program = Program::spawn(command, (LOCAL, 53).into(), folder);
    let status = program.ends_within(Duration::from_secs(10)).expect("ends by itself");
    assert_eq!(status.code(), Some(1), "{}", program.log());
    assert_eq!((node.addresses().as_str(), node.rules_of_ours()), ("", 0));
}

#[test]
#[ignore = "needs root, ip, nft and iptables"]
fn switched_off_nothing_is_touched() {
    let node = BareNode::new();
    node.namespace.ip("address add 169.254.20.10/32 dev lo");
    node.namespace.ip("address add 10.96.0.10/32 dev lo");
    let program = node.start(&["-setupinterface=false", "-setupiptables=false"]);
    assert!(!program.log().contains("interface"), "{}", program.log());
    assert_eq!((node.addresses().as_str(), node.rules_of_ours()), ("", 0));
}

#[test]
#[ignore = "needs root, ip, nft and iptables"]
fn rules_alone_are_set_where_the_interface_is_somebody_elses() {
    let node = BareNode::new();
    node.namespace.ip("address add 169.254.20.10/32 dev lo");
    node.namespace.ip("address add 10.96.0.10/32 dev lo");
    let program = node.start(&["-setupinterface=false"]);
    wait_for_rules(&program);
    assert_eq!(node.addresses(), "");
    assert!(node.rules_of_ours() > 0);
}

#[test]
#[ignore = "needs root, ip, nft and iptables"]
fn the_lock_of_iptables_held_by_another_is_counted_and_waited_out() {
    let node = BareNode::new();
    // Only iptables-legacy takes it; kube-proxy's chains make it the one to use.
    node.shell("iptables-legacy -t mangle -N KUBE-KUBELET-CANARY");
    let lock = std::fs::File::open("/run/xtables.lock").expect("iptables has made it");
    let held = nix::fcntl::Flock::lock(lock, nix::fcntl::FlockArg::LockExclusive).expect("a lock");
    let program = node.start(&["-rules", "iptables"]);
    assert!(program.logs_within("the lock of iptables is held", Duration::from_secs(15)));
    let page = node.namespace.inside(|| program.metrics());
    let counted = "coredns_nodecache_setup_errors_total{errortype=\"iptables_lock\"} 0";
    assert!(!page.contains(counted), "{page}");
    node.namespace.inside(|| program.ask("who.test", "A"));
    drop(held);
    wait_for_rules(&program);
}
