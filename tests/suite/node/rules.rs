//! Rules of others, and what node-cache leaves behind.

use std::time::Duration;

use crate::harness::kube_node::{BareNode, wait_for_rules};
use crate::harness::within;

/// As node-cache 1.26 sets them up, two of them twice.
const LEFT_BEHIND: &str = "for ip in 169.254.20.10 10.96.0.10; do for p in tcp udp udp; do \
    iptables -t raw -I PREROUTING -p $p -d $ip --dport 53 -m comment --comment 'NodeLocal DNS Cache: skip conntrack' -j NOTRACK; \
    iptables -t raw -I OUTPUT -p $p -s $ip --sport 53 -m comment --comment 'NodeLocal DNS Cache: skip conntrack' -j NOTRACK; \
    iptables -t raw -I OUTPUT -p $p -d $ip --dport 53 -m comment --comment 'NodeLocal DNS Cache: skip conntrack' -j NOTRACK; \
    iptables -I INPUT -p $p -d $ip --dport 53 -m comment --comment 'NodeLocal DNS Cache: allow DNS traffic' -j ACCEPT; \
    done; done";

/// Somebody else's: one without a comment, one with node-cache's comment about another address.
const FOREIGN: &str = "iptables -t raw -A PREROUTING -d 10.96.0.10 -p udp --dport 53 -j ACCEPT; \
    iptables -t raw -A OUTPUT -d 169.254.20.11 -p udp --dport 53 -m comment --comment 'NodeLocal DNS Cache: skip conntrack' -j NOTRACK; \
    nft add table inet foreign; nft add chain inet foreign dnscache";

fn check(rules: &str, expected: usize) {
    let node = BareNode::new();
    node.shell(FOREIGN);
    let foreign = node.rules();
    node.shell(LEFT_BEHIND);
    let mut program = node.start(&["-rules", rules]);
    wait_for_rules(&program);
    let saved = node.prints("iptables-save");
    let ours =
        |line: &&str| line.contains("NodeLocal DNS Cache") && !line.contains("169.254.20.11");
    let lines: Vec<&str> = saved.lines().filter(ours).collect();
    assert_eq!(lines.len(), expected, "{saved}");
    let mut once = lines.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), lines.len(), "none twice: {saved}");
    program.signal("TERM");
    program.ends_within(Duration::from_secs(10)).expect("ends at SIGTERM");
    // nft prints a table of iptables also when it holds nothing.
    let without_chains = |rules: &str| -> Vec<String> {
        rules
            .lines()
            .map(str::trim)
            .filter(|l| l.contains("10.96") || l.contains("169.254") || l.contains("foreign"))
            .map(|line| line.replace("packets 0 bytes 0", ""))
            .collect()
    };
    assert_eq!(without_chains(&node.rules()), without_chains(&foreign));
}

#[test]
#[ignore = "needs root, ip, nft and iptables"]
fn iptables_has_each_of_ours_once_and_all_of_the_others() {
    check("iptables", 24);
}

#[test]
#[ignore = "needs root, ip, nft and iptables"]
fn with_nftables_what_node_cache_left_in_iptables_is_taken_out() {
    check("nftables", 0);
}

#[test]
#[ignore = "needs root, ip, nft and iptables"]
fn a_firewall_that_nftables_cannot_pass_is_named() {
    let node = BareNode::new();
    node.shell(
        "nft add table inet mine; nft add chain inet mine in '{ type filter hook input priority 0; \
         policy drop; }'; nft add rule inet mine in iif lo accept",
    );
    let program = node.start(&["-syncinterval", "1s"]);
    wait_for_rules(&program);
    let named = "table inet mine drops what it does not accept";
    assert!(program.logs_within(named, Duration::from_secs(10)), "{}", program.log());
}

#[test]
#[ignore = "needs root, ip, nft and iptables"]
fn node_left_to_itself_moves_to_iptables_when_a_firewall_appears() {
    let node = BareNode::new();
    let program = node.start(&["-syncinterval", "1s"]);
    wait_for_rules(&program);
    assert!(node.prints("nft list tables").contains("table inet dnscache"));
    node.shell("iptables -P INPUT DROP");
    let moved = || {
        node.prints("iptables-save").matches("NodeLocal DNS Cache").count() == 24
            && !node.prints("nft list tables").contains("inet dnscache")
    };
    assert!(within(Duration::from_secs(10), moved), "{}\n{}", program.log(), node.rules());
}
