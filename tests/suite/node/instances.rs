//! Several instances on one node, and many after one another.

use std::time::Duration;

use crate::harness::kube_node::{BareNode, LOCAL, SERVICE, wait_for_rules};
use crate::harness::program::Program;
use crate::harness::within;

fn end(mut program: Program) -> String {
    program.signal("TERM");
    let status = program.ends_within(SOON).expect("ends at SIGTERM");
    assert!(status.success(), "{status}:\n{}", program.log());
    program.log()
}

fn check_last_one_out(rules: &str) {
    let node = BareNode::new();
    let first = node.start(&["-rules", rules]);
    wait_for_rules(&first);
    let alone = node.rules_of_ours();
    let second = node.start(&["-rules", rules]);
    wait_for_rules(&second);

    let log = end(first);
    assert!(log.contains("another instance is here"), "{log}");
    assert_eq!(node.rules_of_ours(), alone, "{}", node.rules());
    assert!(node.has_addresses_within(&[LOCAL.into(), SERVICE.into()], Duration::ZERO));
    node.namespace.inside(|| second.ask("who.test", "A"));

    end(second);
    assert_eq!(node.rules_of_ours(), 0, "{}", node.rules());
    assert!(!node.addresses().contains("169.254"), "{}", node.addresses());
    assert!(
        node.prints("ip link show nodelocaldns").contains("nodelocaldns"),
        "not ours to delete"
    );
}

#[test]
#[ignore = "needs root, ip, nft and iptables"]
fn the_last_one_out_clears_up_nftables() {
    check_last_one_out("nftables");
}

#[test]
#[ignore = "needs root, ip, nft and iptables"]
fn the_last_one_out_clears_up_iptables() {
    check_last_one_out("iptables");
}

#[test]
#[ignore = "needs root, ip, nft and iptables"]
fn a_second_sigterm_and_sigquit_clear_up_too() {
    for signals in [["TERM", "TERM"], ["QUIT", "QUIT"]] {
        let node = BareNode::new();
        let mut program = node.start(&[]);
        wait_for_rules(&program);
        for signal in signals {
            program.signal(signal);
        }
        assert!(program.ends_within(SOON).is_some(), "{signals:?}");
        assert_eq!(node.rules_of_ours(), 0, "{signals:?}: {}", node.rules());
        assert!(!node.addresses().contains("169.254"), "{signals:?}");
    }
}

#[test]
#[ignore = "needs root, ip, nft and iptables"]
fn skipteardown_leaves_everything() {
    for rules in ["nftables", "iptables"] {
        let node = BareNode::new();
        let program = node.start(&["-skipteardown", "-rules", rules]);
        wait_for_rules(&program);
        end(program);
        assert!(node.rules_of_ours() > 0, "{rules}");
        assert!(node.addresses().contains("169.254.20.10/32"), "{rules}");
    }
}

fn check_restarts(rules: &str) {
    let node = BareNode::new();
    let mut counted = None;
    for round in 0..RESTARTS {
        let mut program = node.start(&["-rules", rules]);
        wait_for_rules(&program);
        // What belonged to a process that was killed goes a moment after it.
        let counted = *counted.get_or_insert_with(|| node.rules_of_ours());
        let is_same = within(SOON, || node.rules_of_ours() == counted);
        assert!(is_same, "not {counted} in round {round}: {}", node.rules());
        if round % 2 == 0 {
            program.signal("KILL");
            program.ends_within(SOON).expect("killed");
        } else {
            end(program);
        }
    }
    assert_eq!(node.rules_of_ours(), 0, "the last one ended in order: {}", node.rules());
}

#[test]
#[ignore = "needs root, ip, nft and iptables"]
fn as_many_rules_of_nftables_after_a_hundred_restarts_as_after_one() {
    check_restarts("nftables");
}

#[test]
#[ignore = "needs root, ip, nft and iptables"]
fn as_many_rules_of_iptables_after_a_hundred_restarts_as_after_one() {
    check_restarts("iptables");
}

const SOON: Duration = Duration::from_secs(10);
const RESTARTS: usize = 100;
