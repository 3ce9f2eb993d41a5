//! The rules as tables of nftables.
//!
//! There is one table that belongs to the node, replaced as a whole; and one for each process with
//! the rules that last as long as it does ([`super::steering`]). Rules that accept are left out:
//! accepting a packet in a table of our own does not keep another table from dropping it, so where
//! a firewall of iptables is in force, [`super::apply`] takes iptables instead.

use std::fmt::Write as _;
use std::net::IpAddr;

use super::{Condition, End, Hook, Rule, Transport, Verdict};

/// The table that belongs to the node, without its family `inet`.
pub const TABLE: &str = "dnscache";

/// A text for `nft -f -` that puts the table in place of whatever was there under its name, in one
/// transaction.
pub fn replace_text(rules: &[Rule]) -> String {
    let body = table_body(rules);
    // Naming the table first makes deleting it right whether or not it is there.
    format!("table inet {TABLE}\ndelete table inet {TABLE}\ntable inet {TABLE} {{\n{body}}}\n")
}

/// A text for `nft -f -` that takes the table away, also if it is not there.
pub fn remove_text() -> String {
    format!("table inet {TABLE}\ndelete table inet {TABLE}\n")
}

/// Whether a listing of the table, as `nft -s list table` prints it, holds what these rules ask
/// for: the mark that tells sets of rules apart, and as many rules. nft prints a rule in other
/// words than it was given, so they cannot be compared one by one.
pub fn is_listed(listing: &str, rules: &[Rule]) -> bool {
    let rules_listed = listing.lines().filter(|line| line.contains("notrack")).count();
    rules_listed == standing(rules).count()
        && listing.contains(&mark(&table_chains(rules)))
        && CHAINS.iter().all(|(_, chain, _)| listing.contains(chain))
}

/// A chain of somebody else's that drops what comes to this machine or leaves it unless a rule
/// accepts it, as `table FAMILY NAME`; `listing` is what `nft list chains` prints. No rule of ours
/// can accept anything on its behalf.
pub fn dropping_table(listing: &str) -> Option<&str> {
    let mut table = "";
    for line in listing.lines().map(str::trim) {
        if line.starts_with("table ") {
            table = line.trim_end_matches(" {");
        }
        let is_filter = line.contains("hook input ") || line.contains("hook output ");
        if line.starts_with("type filter ") && is_filter && line.contains("policy drop") {
            return Some(table);
        }
    }
    None
}

/// One line for `nft -i` that makes a table of this name with the rules that last as long as the
/// process; `None` if there are none. The table belongs to the nft that reads the line and goes
/// with it (`flags owner`, Linux 5.12).
pub fn steering_line(table: &str, rules: &[Rule]) -> Option<String> {
    let mut steering = rules.iter().filter(|rule| rule.condition == Condition::ProcessAlive);
    let mut line = format!(
        "table inet {table} {{ flags owner; chain output {{ type filter hook output priority raw; \
         policy accept; "
    );
    let first = steering.next()?;
    for rule in std::iter::once(first).chain(steering) {
        write!(line, "{}; ", rule_text(rule)).expect("a string");
    }
    line.push_str("}; }\n");
    Some(line)
}

/// Rules that stand in the table of the node.
fn standing(rules: &[Rule]) -> impl Iterator<Item = &Rule> {
    rules.iter().filter(|rule| {
        rule.verdict == Verdict::SkipTracking && rule.condition != Condition::ProcessAlive
    })
}

fn table_body(rules: &[Rule]) -> String {
    let chains = table_chains(rules);
    format!("{chains}\tchain {} {{\n\t}}\n", mark(&chains))
}

fn table_chains(rules: &[Rule]) -> String {
    let mut text = String::new();
    for (hook, chain, hook_name) in CHAINS {
        writeln!(text, "\tchain {chain} {{").expect("a string");
        writeln!(text, "\t\ttype filter hook {hook_name} priority raw; policy accept;")
            .expect("a string");
        for rule in standing(rules).filter(|rule| rule.hook == hook) {
            writeln!(text, "\t\t{}", rule_text(rule)).expect("a string");
        }
        text.push_str("\t}\n");
    }
    text
}

/// The name of an empty chain that stands for the text of all the others.
fn mark(chains: &str) -> String {
    format!("rules-{:08x}", crc32fast::hash(chains.as_bytes()))
}

fn rule_text(rule: &Rule) -> String {
    let family = if rule.address.is_ipv4() { "ip" } else { "ip6" };
    let (address_word, port_word) = match rule.end {
        End::Destination => ("daddr", "dport"),
        End::Source => ("saddr", "sport"),
    };
    let transport = match rule.transport {
        Transport::Tcp => "tcp",
        Transport::Udp => "udp",
    };
    let socket = match rule.condition {
        // True for every socket there is, transparent (1) or not (0). Other things nft knows of a
        // socket it does not know of a TCP connection in the middle of its handshake, whose packets
        // would then go to kube-proxy.
        Condition::SocketOpen => " socket transparent <= 1",
        Condition::Always | Condition::ProcessAlive => "",
    };
    let (address, port): (IpAddr, u16) = (rule.address, rule.port);
    format!(
        "{family} {address_word} {address} {transport} {port_word} {port}{socket} notrack \
         comment \"{}\"",
        rule.comment()
    )
}

/// The chains of the node's table: hook, name, nft's name of the hook.
const CHAINS: [(Hook, &str, &str); 2] =
    [(Hook::Prerouting, "incoming", "prerouting"), (Hook::Output, "outgoing", "output")];

#[cfg(test)]
mod tests {
    use super::super::wanted;
    use super::*;

    fn rules(addresses: &[&str]) -> Vec<Rule> {
        let addresses: Vec<IpAddr> = addresses.iter().map(|a| a.parse().expect("IP")).collect();
        wanted(&addresses, 8080)
    }

    #[test]
    fn the_table_is_replaced_in_one_transaction() {
        let text = replace_text(&rules(&["10.96.0.10"]));
        let table = "table inet dnscache\ndelete table inet dnscache\ntable inet dnscache {\n\
            \tchain incoming {\n\
            \t\ttype filter hook prerouting priority raw; policy accept;\n\
            \t\tip daddr 10.96.0.10 tcp dport 53 socket transparent <= 1 notrack \
            comment \"NodeLocal DNS Cache: skip conntrack\"\n\
            \t\tip daddr 10.96.0.10 udp dport 53 socket transparent <= 1 notrack \
            comment \"NodeLocal DNS Cache: skip conntrack\"\n\
            \t}\n\
            \tchain outgoing {\n";
        assert!(text.starts_with(table), "{text}");
        let skipping = ["tcp sport 53", "udp sport 53", "tcp dport 8080", "tcp sport 8080"];
        for words in skipping {
            assert!(text.contains(&format!("{words} notrack")), "{words} in {text}");
        }
        assert_eq!(text.matches("notrack").count(), 6, "{text}");
    }

    #[test]
    fn both_families_stand_in_one_table() {
        let text = replace_text(&rules(&["169.254.20.10", "fd00::10"]));
        assert!(text.contains("\t\tip daddr 169.254.20.10 udp dport 53 notrack"), "{text}");
        assert!(text.contains("\t\tip6 daddr fd00::10 udp dport 53 socket transparent"), "{text}");
    }

    #[test]
    fn a_listing_is_told_from_one_that_lacks_a_rule_or_is_of_other_addresses() {
        let wanted = rules(&["10.96.0.10", "169.254.20.10"]);
        let text = replace_text(&wanted);
        assert!(is_listed(&text, &wanted));
        assert!(!is_listed(&text, &rules(&["10.96.0.11", "169.254.20.10"])));
        let mut lines: Vec<&str> = text.lines().collect();
        let at = lines.iter().position(|line| line.contains("sport 53")).expect("a rule");
        lines.remove(at);
        assert!(!is_listed(&lines.join("\n"), &wanted));
        assert!(!is_listed("", &wanted));
    }

    #[test]
    fn a_firewall_of_somebody_else_is_named() {
        let chains = |policy: &str| {
            format!(
                "table inet dnscache {{\n\tchain outgoing {{\n\t\ttype filter hook output priority \
                 raw; policy accept;\n\t}}\n}}\ntable inet mine {{\n\tchain in {{\n\t\ttype filter \
                 hook input priority filter; policy {policy};\n\t}}\n}}\n"
            )
        };
        assert_eq!(dropping_table(&chains("drop")), Some("table inet mine"));
        assert_eq!(dropping_table(&chains("accept")), None);
        assert_eq!(dropping_table(""), None);
    }

    #[test]
    fn only_what_may_be_a_service_is_steered() {
        let line = steering_line("dnscache-7", &rules(&["10.96.0.10", "169.254.20.10"]));
        let line = line.expect("a ClusterIP");
        assert!(line.starts_with("table inet dnscache-7 { flags owner; chain output {"), "{line}");
        assert!(line.ends_with("}; }\n") && line.matches('\n').count() == 1, "{line}");
        assert_eq!(line.matches("ip daddr 10.96.0.10").count(), 2, "{line}");
        assert!(!line.contains("169.254"), "{line}");
        assert_eq!(steering_line("t", &rules(&["169.254.20.10"])), None);
    }
}
