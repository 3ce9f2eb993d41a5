//! The packet rules a node needs so that questions reach this program past connection tracking.
//!
//! [`wanted`] says which: the twelve rules node-cache has for each address. This module and the
//! texts made of it in [`nft`] and [`iptables`] decide nothing about the machine; [`apply`] looks
//! at it and carries them out.
//!
//! A packet to a ClusterIP that is not tracked is not translated by kube-proxy either. node-cache's
//! rules go on doing that when the process is gone, and the node has no DNS. Here the rules that
//! take such packets away from kube-proxy depend on somebody being there, so that the packets fall
//! through to it by themselves:
//!
//! - Packets that come in are matched against open sockets in the kernel
//!   ([`Condition::SocketOpen`]): with the last socket goes the rule's effect.
//! - A packet that a process of the node itself sends still belongs to that process's socket, so
//!   there is none of ours to be found; such rules live as long as this process
//!   ([`Condition::ProcessAlive`]), see [`steering`].

pub mod nft;
pub mod iptables;
pub mod saved;
pub mod steering;
pub mod command;
pub mod apply;
pub mod watch;

use std::net::IpAddr;

/// Where in the kernel a rule looks at packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// What comes in, before it is known where to.
    Prerouting,
    /// What is for this machine.
    Input,
    /// What this machine sends.
    Output,
}

/// TCP or UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// Which end of a packet a rule looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End {
    /// Where it goes: a question.
    Destination,
    /// Where it comes from: an answer.
    Source,
}

/// When a rule has an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Condition {
    /// As long as it stands.
    Always,
    /// While a socket is open for the packet.
    SocketOpen,
    /// While a process of ours is alive.
    ProcessAlive,
}

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// No connection tracking, so no translation of addresses and no entry in its table.
    SkipTracking,
    /// Past the firewall.
    Accept,
}

/// One packet rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule {
    /// Where it stands.
    pub hook: Hook,
    /// The transport it matches.
    pub transport: Transport,
    /// The end of the packet that has the address and the port.
    pub end: End,
    /// The address, exactly.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// When it has an effect.
    pub condition: Condition,
    /// What it does.
    pub verdict: Verdict,
}

/// The rules for these addresses: twelve for each, as node-cache has them.
pub fn wanted(addresses: &[IpAddr], health_port: u16) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    for rule in addresses.iter().flat_map(|address| rules_for(*address, health_port)) {
        // A health port of 53 or an address given twice says the same thing again.
        if !rules.contains(&rule) {
            rules.push(rule);
        }
    }
    rules
}

fn rules_for(address: IpAddr, health_port: u16) -> impl Iterator<Item = Rule> {
    use {Condition as When, End::*, Hook::*, Verdict::*};
    let (incoming, outgoing) = match may_be_service(address) {
        true => (When::SocketOpen, When::ProcessAlive),
        false => (When::Always, When::Always),
    };
    let dns = [
        (Prerouting, Destination, incoming, SkipTracking),
        (Input, Destination, When::Always, Accept),
        (Output, Source, When::Always, SkipTracking),
        (Output, Source, When::Always, Accept),
        (Output, Destination, outgoing, SkipTracking),
    ];
    let dns = dns.into_iter().flat_map(move |(hook, end, condition, verdict)| {
        [Transport::Tcp, Transport::Udp].map(|transport| Rule {
            hook,
            transport,
            end,
            address,
            port: DNS_PORT,
            condition,
            verdict,
        })
    });
    let health = [Destination, Source].map(|end| Rule {
        hook: Output,
        transport: Transport::Tcp,
        end,
        address,
        port: health_port,
        condition: When::Always,
        verdict: SkipTracking,
    });
    dns.chain(health)
}

/// Whether kube-proxy may translate packets to this address. Link-local addresses are no Services,
/// so nothing is lost when their packets stay untracked, whoever is there.
fn may_be_service(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !address.is_link_local(),
        IpAddr::V6(address) => !address.is_unicast_link_local(),
    }
}

impl Rule {
    /// The comment users find the rule by; node-cache's words.
    pub fn comment(&self) -> &'static str {
        match self.verdict {
            Verdict::SkipTracking => SKIP_COMMENT,
            Verdict::Accept => ACCEPT_COMMENT,
        }
    }
}

/// The comment of rules that skip connection tracking.
pub const SKIP_COMMENT: &str = "NodeLocal DNS Cache: skip conntrack";
/// The comment of rules that accept.
pub const ACCEPT_COMMENT: &str = "NodeLocal DNS Cache: allow DNS traffic";

/// node-cache's rules are about this port whatever the Corefile says.
const DNS_PORT: u16 = 53;

#[cfg(test)]
mod tests {
    use super::*;

    fn count(rules: &[Rule], has: impl Fn(&Rule) -> bool) -> usize {
        rules.iter().filter(|rule| has(rule)).count()
    }

    #[test]
    fn twelve_rules_for_each_address() {
        let addresses = ["169.254.20.10", "10.96.0.10", "fd00::10"].map(|a| a.parse().expect("IP"));
        let rules = wanted(&addresses, 8080);
        assert_eq!(rules.len(), 36);
        for address in addresses {
            let of = |has: &dyn Fn(&Rule) -> bool| {
                count(&rules, |rule| rule.address == address && has(rule))
            };
            assert_eq!(of(&|rule| rule.hook == Hook::Prerouting), 2);
            assert_eq!(of(&|rule| rule.hook == Hook::Input), 2);
            assert_eq!(of(&|rule| rule.verdict == Verdict::Accept), 4);
            assert_eq!(of(&|rule| rule.port == 8080 && rule.transport == Transport::Tcp), 2);
        }
    }

    #[test]
    fn what_kube_proxy_could_translate_is_skipped_only_while_somebody_answers() {
        let rules = wanted(&["10.96.0.10".parse().expect("IP")], 8080);
        let questions = rules.iter().filter(|rule| {
            rule.end == End::Destination && rule.port == 53 && rule.verdict == Verdict::SkipTracking
        });
        let conditions: Vec<Condition> = questions.map(|rule| rule.condition).collect();
        use Condition::*;
        assert_eq!(conditions, [SocketOpen, SocketOpen, ProcessAlive, ProcessAlive]);
        for address in ["169.254.20.10", "fe80::10"] {
            let rules = wanted(&[address.parse().expect("IP")], 8080);
            assert_eq!(count(&rules, |rule| rule.condition != Always), 0, "{address}");
        }
    }

    #[test]
    fn no_rule_twice() {
        let address: IpAddr = "10.96.0.10".parse().expect("IP");
        assert_eq!(wanted(&[address, address], 8080).len(), 12);
        assert_eq!(wanted(&[address], 53).len(), 11, "-s 53/tcp is there already");
    }
}
