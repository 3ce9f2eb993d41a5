//! Questions for the ClusterIP reach the program while it lives, and kube-proxy when it does not.

use std::time::Duration;

use crate::harness::kube_node::{Client, KubeNode, OURS, Proxy, THEIRS, wait_for_rules};

fn check(proxy: Proxy, rules: &str) {
    let kube = KubeNode::new(proxy);
    let answered = |clients: &[Client], expected: [u8; 4], limit: Duration| {
        for client in clients {
            let by = kube.is_answered_by(*client, expected, limit);
            let rules = || kube.node.rules();
            assert!(by, "{client:?}: no answer from {expected:?} within {limit:?}:\n{}", rules());
        }
    };
    answered(&Client::ALL, THEIRS, SOON);

    let mut program = kube.start(&["-rules", rules]);
    wait_for_rules(&program);
    answered(&Client::ALL, OURS, SOON);
    let before = kube.tracked();
    for client in Client::ALL.repeat(10) {
        assert_eq!(kube.who_answers(client), Some(OURS), "{client:?}");
    }
    let after = kube.tracked();
    assert!(after <= before, "{} questions were tracked", after - before);

    program.signal("KILL");
    program.ends_within(SOON).expect("killed");
    answered(&[Client::Pod, Client::Pod6], THEIRS, SOON);
    answered(&[Client::Host, Client::Host6], THEIRS, DEAD_WITHIN);

    let again = kube.start(&["-rules", rules]);
    wait_for_rules(&again);
    answered(&Client::ALL, OURS, SOON);
}

/// Asks from both places while the only instance ends in order; every question is answered by one
/// or the other.
fn check_orderly_end(rules: &str) {
    let kube = KubeNode::new(Proxy::Nftables);
    let mut program = kube.start(&["-rules", rules]);
    wait_for_rules(&program);
    let clients = [Client::Pod, Client::Host];
    assert!(clients.iter().all(|client| kube.is_answered_by(*client, OURS, SOON)));
    program.signal("TERM");
    let mut theirs = 0;
    while theirs < 20 {
        for client in clients {
            let by = kube.udp_answer(client);
            assert!(by.is_some(), "{client:?} is not answered:\n{}", program.log());
            theirs += u32::from(by == Some(THEIRS));
        }
    }
    program.ends_within(SOON).expect("ends at SIGTERM");
}

#[test]
#[ignore = "needs root, ip, nft, iptables and nsd"]
fn no_question_is_lost_when_the_last_instance_ends_with_nftables() {
    check_orderly_end("nftables");
}

#[test]
#[ignore = "needs root, ip, nft, iptables and nsd"]
fn no_question_is_lost_when_the_last_instance_ends_with_iptables() {
    check_orderly_end("iptables");
}

#[test]
#[ignore = "needs root, ip, nft, iptables and nsd"]
fn with_iptables_in_front_of_kube_proxys_iptables() {
    check(Proxy::Iptables, "iptables");
}

#[test]
#[ignore = "needs root, ip, nft, iptables and nsd"]
fn with_iptables_in_front_of_kube_proxys_nftables() {
    check(Proxy::Nftables, "iptables");
}

#[test]
#[ignore = "needs root, ip, nft, iptables and nsd"]
fn with_nftables_in_front_of_kube_proxys_nftables() {
    check(Proxy::Nftables, "nftables");
}

#[test]
#[ignore = "needs root, ip, nft, iptables and nsd"]
fn with_nftables_in_front_of_kube_proxys_iptables() {
    check(Proxy::Iptables, "nftables");
}

/// A firewall of iptables can only be passed in its own chains; what is left to itself does.
#[test]
#[ignore = "needs root, ip, nft, iptables and nsd"]
fn what_is_left_to_itself_passes_a_firewall_of_iptables() {
    check(Proxy::IptablesAndFirewall, "auto");
}

#[test]
#[ignore = "needs root, ip, nft, iptables and nsd"]
fn what_is_left_to_itself_takes_nftables_where_iptables_filters_nothing() {
    let kube = KubeNode::new(Proxy::Nftables);
    let program = kube.start(&[]);
    wait_for_rules(&program);
    assert!(program.log().contains("(nftables)"), "{}", program.log());
    assert!(kube.is_answered_by(Client::Pod, OURS, SOON));
}

const SOON: Duration = Duration::from_secs(5);
/// A process that iptables' rules depend on counts as alive for three seconds.
const DEAD_WITHIN: Duration = Duration::from_secs(8);
