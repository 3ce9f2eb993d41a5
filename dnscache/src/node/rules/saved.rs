//! Reads what `iptables-save` prints, as far as the rules are ours or a firewall's.

use std::net::IpAddr;

use super::iptables::{HEARTBEAT_SECS, heartbeat_name};
use super::{ACCEPT_COMMENT, Condition, End, Hook, Rule, SKIP_COMMENT, Transport, Verdict};

/// What is of interest in the tables of one family.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Saved {
    /// Rules with node-cache's comments, in order.
    pub ours: Vec<SavedRule>,
    /// Whether a chain that filters what comes to this machine or leaves it drops by policy, or
    /// holds rules that are not ours.
    pub is_firewall: bool,
}

/// A rule with one of node-cache's comments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedRule {
    /// The table it stands in.
    pub table: String,
    /// The rule as it was printed, without `-A`: chain and specification. With `-D` before it, it
    /// names the rule again.
    pub text: String,
    /// The address it is about, if it is about one.
    pub address: Option<IpAddr>,
    /// The same as one of ours; `None` if it says something that none of ours says.
    pub rule: Option<Rule>,
}

/// Reads the output of `iptables-save` or `ip6tables-save`.
pub fn read(text: &str) -> Saved {
    let mut saved = Saved::default();
    let mut table = "";
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name;
        } else if let Some(policy) = line.strip_prefix(':') {
            saved.is_firewall |= table == "filter" && is_dropping(policy);
        } else if let Some(rule) = line.strip_prefix("-A ") {
            let comment = COMMENTS.iter().any(|comment| rule.contains(comment));
            if comment {
                saved.ours.push(SavedRule::read(table, rule));
            } else {
                let chain = rule.split(' ').next().unwrap_or_default();
                saved.is_firewall |= table == "filter" && FILTERS.contains(&chain);
            }
        }
    }
    saved
}

/// Whether a line `NAME POLICY [packets:octets]` is of a filter that does not accept by policy.
fn is_dropping(chain: &str) -> bool {
    let mut words = chain.split(' ');
    words.next().is_some_and(|name| FILTERS.contains(&name)) && words.next() == Some("DROP")
}

impl SavedRule {
    fn read(table: &str, text: &str) -> Self {
        let words = words(text);
        let address = address_after(&words, "-d").or_else(|| address_after(&words, "-s"));
        let rule = rule(table, &words);
        Self { table: table.to_owned(), text: text.to_owned(), address, rule }
    }
}

/// The rule these words say, if they say nothing else.
fn rule(table: &str, words: &[&str]) -> Option<Rule> {
    let (chain, mut rest) = words.split_first()?;
    let hook = match *chain {
        "PREROUTING" => Hook::Prerouting,
        "INPUT" => Hook::Input,
        "OUTPUT" => Hook::Output,
        _ => return None,
    };
    let (mut address, mut transport, mut port) = (None, None, None);
    let (mut condition, mut verdict) = (Condition::Always, None);
    loop {
        rest = match rest {
            [] => break,
            ["-d", value, rest @ ..] => {
                address = Some((End::Destination, host(value)?));
                rest
            }
            ["-s", value, rest @ ..] => {
                address = Some((End::Source, host(value)?));
                rest
            }
            ["-p", "tcp", rest @ ..] => {
                transport = Some(Transport::Tcp);
                rest
            }
            ["-p", "udp", rest @ ..] => {
                transport = Some(Transport::Udp);
                rest
            }
            ["--dport", value, rest @ ..] => {
                port = Some((End::Destination, value.parse().ok()?));
                rest
            }
            ["--sport", value, rest @ ..] => {
                port = Some((End::Source, value.parse().ok()?));
                rest
            }
            ["-m", "socket", "--nowildcard", rest @ ..] => {
                condition = Condition::SocketOpen;
                rest
            }
            ["-m", "recent", rest @ ..] => {
                condition = Condition::ProcessAlive;
                after_heartbeat(rest, address?.1)?
            }
            ["-m", "comment", "--comment", _, rest @ ..] => rest,
            ["-m", "tcp" | "udp", rest @ ..] => rest,
            // Newer versions print the one as the other.
            ["-j", "NOTRACK", rest @ ..] | ["-j", "CT", "--notrack", rest @ ..] => {
                verdict = (table == "raw").then_some(Verdict::SkipTracking);
                rest
            }
            ["-j", "ACCEPT", rest @ ..] => {
                verdict = (table == "filter").then_some(Verdict::Accept);
                rest
            }
            _ => return None,
        };
    }
    let ((end, address), (port_end, port)) = (address?, port?);
    (end == port_end).then_some(Rule {
        hook,
        transport: transport?,
        end,
        address,
        port,
        condition,
        verdict: verdict?,
    })
}

/// What follows the match for a live process; `None` if it is another match.
fn after_heartbeat<'w>(words: &'w [&'w str], address: IpAddr) -> Option<&'w [&'w str]> {
    let seconds = HEARTBEAT_SECS.to_string();
    match words {
        ["--rcheck", "--seconds", secs, "--name", name, "--mask", _, "--rdest", rest @ ..]
            if *secs == seconds && *name == heartbeat_name(address) =>
        {
            Some(rest)
        }
        _ => None,
    }
}

/// The address of `ADDRESS/32` or `ADDRESS/128`.
fn host(text: &str) -> Option<IpAddr> {
    let (address, length) = text.split_once('/').unwrap_or((text, ""));
    let address: IpAddr = address.parse().ok()?;
    let whole = if address.is_ipv4() { "32" } else { "128" };
    (length.is_empty() || length == whole).then_some(address)
}

fn address_after(words: &[&str], flag: &str) -> Option<IpAddr> {
    let at = words.iter().position(|word| *word == flag)?;
    host(words.get(at + 1)?)
}

/// Splits at spaces; what stands between quotes is one word, without them. `iptables-save` puts a
/// backslash before a quote inside, which none of our comments has.
fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => rest.split_once(' ').unwrap_or((rest, "")),
        };
        words.push(word);
        rest = after.trim_start();
    }
    words
}

const COMMENTS: [&str; 2] = [SKIP_COMMENT, ACCEPT_COMMENT];
const FILTERS: [&str; 2] = ["INPUT", "OUTPUT"];

#[cfg(test)]
mod tests {
    use super::super::{iptables, wanted};
    use super::*;

    /// As iptables 1.8.9 prints them after node-cache set them up; the third one newer.
    const NODE_CACHE: &str = "*raw
:PREROUTING ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A PREROUTING -d 10.96.0.10/32 -p udp -m udp --dport 53 -m comment --comment \"NodeLocal DNS Cache: skip conntrack\" -j NOTRACK
-A OUTPUT -s 10.96.0.10/32 -p tcp -m tcp --sport 8080 -m comment --comment \"NodeLocal DNS Cache: skip conntrack\" -j NOTRACK
-A OUTPUT -s 10.96.0.10/32 -p tcp -m tcp --sport 8080 -m comment --comment \"NodeLocal DNS Cache: skip conntrack\" -j CT --notrack
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -d 10.96.0.10/32 -p udp -m udp --dport 53 -m comment --comment \"NodeLocal DNS Cache: allow DNS traffic\" -j ACCEPT
COMMIT
";

    #[test]
    fn node_caches_rules_are_ours() {
        let saved = read(NODE_CACHE);
        assert!(!saved.is_firewall);
        let rules: Vec<Rule> = saved.ours.iter().filter_map(|saved| saved.rule).collect();
        assert_eq!(rules.len(), 4);
        assert_eq!(rules[0].condition, Condition::Always);
        assert_eq!(rules[1], rules[2]);
        assert_eq!(rules[3].verdict, Verdict::Accept);
        assert_eq!(saved.ours[3].table, "filter");
    }

    #[test]
    fn what_is_written_is_read_again() {
        let addresses = ["169.254.20.10", "10.96.0.10", "fd00::10"].map(|a| a.parse().expect("IP"));
        for rule in wanted(&addresses, 8080) {
            let (table, text) = (iptables::table(&rule), iptables::rule_text(&rule));
            let saved = read(&format!("*{table}\n-A {text}\nCOMMIT\n"));
            assert_eq!(saved.ours[0].rule, Some(rule), "{text}");
            assert_eq!(saved.ours[0].address, Some(rule.address));
        }
    }

    #[test]
    fn firewalls_are_noticed() {
        for (text, expected) in [
            ("*filter\n:INPUT DROP [0:0]\n", true),
            ("*filter\n:OUTPUT DROP [1:2]\n", true),
            ("*filter\n:FORWARD DROP [0:0]\n:INPUT ACCEPT [0:0]\n", false),
            ("*filter\n-A INPUT -j KUBE-FIREWALL\n", true),
            ("*filter\n-A FORWARD -j KUBE-FORWARD\n", false),
            ("*raw\n-A OUTPUT -p udp -j NOTRACK\n", false),
            ("*nat\n:INPUT ACCEPT [0:0]\n-A OUTPUT -j KUBE-SERVICES\n", false),
            ("", false),
        ] {
            assert_eq!(read(text).is_firewall, expected, "{text}");
        }
    }

    #[test]
    fn a_rule_that_says_more_is_none_of_ours() {
        let with = |more: &str| {
            let text = format!(
                "*raw\n-A OUTPUT -d 10.96.0.10/32 -p udp -m udp --dport 53 {more} -m comment \
                 --comment \"{SKIP_COMMENT}\" -j NOTRACK\n"
            );
            read(&text).ours[0].rule
        };
        assert!(with("").is_some());
        for more in ["-i eth0", "-m mark --mark 0x1", "-m socket", "-m recent --rcheck --name x"] {
            assert_eq!(with(more), None, "{more}");
        }
    }
}
