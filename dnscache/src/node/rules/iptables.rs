//! The rules as `iptables-restore` reads them: what has to be added and taken away.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::saved::Saved;
use super::{Condition, End, Hook, Rule, Transport, Verdict};

/// One change of the tables of a family; nothing if the text is empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Change {
    /// For `iptables-restore --noflush`.
    pub text: String,
    /// Rules it puts in.
    pub added: usize,
    /// Rules it takes out: duplicates, and rules about our addresses that say something else.
    pub removed: usize,
}

/// What makes the rules with our comments exactly `wanted`, each once. `wanted` holds rules of
/// this family only; rules about addresses other than `addresses` belong to somebody else.
pub fn change(saved: &Saved, wanted: &[Rule], addresses: &[IpAddr]) -> Change {
    let mut missing: Vec<Rule> = wanted.to_vec();
    let mut lines: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut removed = 0;
    for there in &saved.ours {
        if !there.address.is_some_and(|address| addresses.contains(&address)) {
            continue;
        }
        let at = there.rule.and_then(|rule| missing.iter().position(|wanted| *wanted == rule));
        match at {
            Some(at) => {
                missing.remove(at);
            }
            None => {
                lines.entry(&there.table).or_default().push(format!("-D {}", there.text));
                removed += 1;
            }
        }
    }
    // What takes out comes first: a rule taken out by its text must not be one just put in.
    for rule in &missing {
        lines.entry(table(rule)).or_default().push(format!("-I {}", rule_text(rule)));
    }
    let text =
        lines.iter().map(|(table, lines)| format!("*{table}\n{}\nCOMMIT\n", lines.join("\n")));
    Change { text: text.collect(), added: missing.len(), removed }
}

/// The table a rule stands in.
pub fn table(rule: &Rule) -> &'static str {
    match rule.verdict {
        Verdict::SkipTracking => "raw",
        Verdict::Accept => "filter",
    }
}

/// Chain and specification, in the order in which `iptables-save` prints them.
pub fn rule_text(rule: &Rule) -> String {
    let chain = match rule.hook {
        Hook::Prerouting => "PREROUTING",
        Hook::Input => "INPUT",
        Hook::Output => "OUTPUT",
    };
    let (address_flag, port_flag) = match rule.end {
        End::Destination => ("-d", "--dport"),
        End::Source => ("-s", "--sport"),
    };
    let transport = match rule.transport {
        Transport::Tcp => "tcp",
        Transport::Udp => "udp",
    };
    let length = if rule.address.is_ipv4() { 32 } else { 128 };
    let target = match rule.verdict {
        Verdict::SkipTracking => "NOTRACK",
        Verdict::Accept => "ACCEPT",
    };
    let (address, port, comment) = (rule.address, rule.port, rule.comment());
    format!(
        "{chain} {address_flag} {address}/{length} -p {transport} -m {transport} {port_flag} \
         {port}{} -m comment --comment \"{comment}\" -j {target}",
        condition_text(rule)
    )
}

fn condition_text(rule: &Rule) -> String {
    match rule.condition {
        Condition::Always => String::new(),
        // Without --nowildcard, sockets bound to all addresses do not count.
        Condition::SocketOpen => " -m socket --nowildcard".to_owned(),
        Condition::ProcessAlive => {
            let name = heartbeat_name(rule.address);
            let mask = match rule.address {
                IpAddr::V4(_) => "255.255.255.255",
                IpAddr::V6(_) => "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            };
            format!(
                " -m recent --rcheck --seconds {HEARTBEAT_SECS} --name {name} --mask {mask} --rdest"
            )
        }
    }
}

/// The list of the kernel's `recent` match that live processes keep their addresses in, one for
/// each family.
pub fn heartbeat_name(address: IpAddr) -> &'static str {
    match address {
        IpAddr::V4(_) => "dnscache",
        IpAddr::V6(_) => "dnscache6",
    }
}

/// Seconds a process counts as alive after a heartbeat.
pub const HEARTBEAT_SECS: u64 = 3;

#[cfg(test)]
mod tests {
    use super::super::{saved, wanted};
    use super::*;

    const ADDRESS: &str = "10.96.0.10";

    fn addresses() -> Vec<IpAddr> {
        vec![ADDRESS.parse().expect("IP")]
    }

    /// `iptables-save` after these changes, as far as the tables are ours.
    fn save(rules: &[String]) -> Saved {
        let of = |table: &str| -> String {
            let here = rules.iter().filter(|rule| rule.contains("ACCEPT") == (table == "filter"));
            here.map(|rule| format!("-A {rule}\n")).collect()
        };
        saved::read(&format!("*raw\n{}COMMIT\n*filter\n{}COMMIT\n", of("raw"), of("filter")))
    }

    fn ours() -> Vec<String> {
        wanted(&addresses(), 8080).iter().map(rule_text).collect()
    }

    #[test]
    fn an_empty_machine_gets_all_rules_in_one_text() {
        let change = change(&Saved::default(), &wanted(&addresses(), 8080), &addresses());
        assert_eq!((change.added, change.removed), (12, 0));
        assert_eq!(change.text.matches("COMMIT").count(), 2);
        assert!(change.text.starts_with("*filter\n-I INPUT -d 10.96.0.10/32 -p tcp -m tcp --dport 53 -m comment --comment \"NodeLocal DNS Cache: allow DNS traffic\" -j ACCEPT\n"), "{}", change.text);
        assert!(change.text.contains("\n-I PREROUTING -d 10.96.0.10/32 -p udp -m udp --dport 53 -m socket --nowildcard -m comment --comment \"NodeLocal DNS Cache: skip conntrack\" -j NOTRACK\n"), "{}", change.text);
    }

    #[test]
    fn nothing_changes_when_all_is_there() {
        let change = change(&save(&ours()), &wanted(&addresses(), 8080), &addresses());
        assert_eq!(change, Change::default());
    }

    #[test]
    fn duplicates_and_unconditional_rules_of_node_cache_are_taken_out() {
        let mut there = ours();
        there.push(there[3].clone());
        let unconditional = there[0].replace(" -m socket --nowildcard", "");
        there.push(unconditional.clone());
        let change = change(&save(&there), &wanted(&addresses(), 8080), &addresses());
        assert_eq!((change.added, change.removed), (0, 2));
        assert!(change.text.contains(&format!("-D {unconditional}\n")), "{}", change.text);
    }

    #[test]
    fn rules_about_other_addresses_are_left_alone() {
        let other =
            ours().iter().map(|rule| rule.replace(ADDRESS, "10.96.0.11")).collect::<Vec<_>>();
        let removed = change(&save(&other), &[], &addresses());
        assert_eq!(removed, Change::default());
    }

    #[test]
    fn nothing_wanted_takes_ours_out() {
        let change = change(&save(&ours()), &[], &addresses());
        assert_eq!((change.added, change.removed), (0, 12));
        assert!(!change.text.contains("-I "), "{}", change.text);
    }
}
