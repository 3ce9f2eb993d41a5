//! What somebody takes away is put back, with one line in the log.

use std::net::IpAddr;
use std::time::Duration;

use crate::harness::kube_node::{BareNode, LOCAL, SERVICE, SERVICE6, wait_for_rules};
use crate::harness::program::Program;
use crate::harness::within;

fn lines(program: &Program, text: &str) -> usize {
    program.log().lines().filter(|line| line.contains(text)).count()
}

#[test]
#[ignore = "needs root and ip"]
fn addresses_taken_away_come_back_at_once() {
    let node = BareNode::new();
    let program = node.start(&["-setupiptables=false"]);
    let ours: [IpAddr; 2] = [LOCAL.into(), SERVICE.into()];
    assert!(node.has_addresses_within(&ours, SOON));
    node.namespace.ip("address flush dev nodelocaldns");
    assert!(node.has_addresses_within(&ours, SOON), "{}", program.log());
    assert_eq!(lines(&program, "interface was not as it should be"), 1, "{}", program.log());
    node.namespace.inside(|| program.ask("who.test", "A"));
    let page = node.namespace.inside(|| program.metrics());
    assert!(page.contains("dnscache_node_repairs_total{what=\"interface\"} 1"), "{page}");
}

#[test]
#[ignore = "needs root and ip"]
fn a_link_that_goes_down_is_brought_up() {
    let node = BareNode::new();
    let program = node.start(&["-setupiptables=false"]);
    node.namespace.ip("link set nodelocaldns down");
    let is_up = || node.prints("ip link show nodelocaldns").contains(",UP");
    assert!(within(SOON, is_up), "{}", program.log());
    assert_eq!(lines(&program, "link brought up"), 2, "at the start and now: {}", program.log());
}

/// A link that is gone cannot be made anew on a kernel without the type, so it is put back by hand
/// here; what the program does then is to use it.
#[test]
#[ignore = "needs root and ip"]
fn a_link_that_is_gone_is_missed_and_used_when_it_is_back() {
    let node = BareNode::new();
    let program = node.start(&["-setupiptables=false", "-syncinterval", "1s"]);
    node.namespace.ip("link delete nodelocaldns");
    let is_back = || node.addresses().contains("169.254.20.10");
    let missed = || lines(&program, "no links of type dummy") == 1 || is_back();
    assert!(within(SOON, missed), "{}", program.log());
    if !is_back() {
        node.make_link();
    }
    assert!(within(SOON, is_back), "{}", program.log());
    node.namespace.inside(|| program.ask("who.test", "A"));
}

#[test]
#[ignore = "needs root and ip"]
fn both_families_are_served_from_one_interface() {
    let node = BareNode::new();
    let addresses: [IpAddr; 3] = [LOCAL.into(), SERVICE.into(), SERVICE6.into()];
    let program = node.start_for(&addresses, &["-rules", "iptables"]);
    wait_for_rules(&program);
    assert!(node.has_addresses_within(&addresses, SOON));
    assert_eq!(node.prints("ip6tables-save").matches(&SERVICE6.to_string()).count(), 12);
    assert_eq!(node.prints("iptables-save").matches(&SERVICE.to_string()).count(), 12);
}

fn check_rules(rules: &str, interval: &str, take_away: &str) {
    let node = BareNode::new();
    let program = node.start(&["-rules", rules, "-syncinterval", interval]);
    wait_for_rules(&program);
    let before = node.rules_of_ours();
    node.shell(take_away);
    assert!(node.rules_of_ours() < before, "{take_away}");
    assert!(within(SOON, || node.rules_of_ours() == before), "{}", program.log());
    let repaired = || lines(&program, "packet rules were not as they should be") == 1;
    assert!(within(SOON, repaired), "{}", program.log());
}

#[test]
#[ignore = "needs root, ip, nft and iptables"]
fn a_table_taken_away_comes_back() {
    check_rules("nftables", "60s", "nft delete table inet dnscache");
}

#[test]
#[ignore = "needs root, ip, nft and iptables"]
fn a_rule_taken_out_of_the_table_comes_back() {
    check_rules("nftables", "60s", "nft flush chain inet dnscache incoming");
}

#[test]
#[ignore = "needs root, ip, nft and iptables"]
fn rules_of_iptables_taken_away_come_back() {
    check_rules("iptables", "2s", "iptables -t raw -F; iptables -F INPUT");
}

const SOON: Duration = Duration::from_secs(10);
