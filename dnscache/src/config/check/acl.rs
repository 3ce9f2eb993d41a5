//! `acl`: who may ask what.

use std::net::IpAddr;

use super::super::corefile::{Directive, Token};
use super::super::environment::Environment;
use super::super::{AclAction, AclRule, ConfigError, registry};
use super::arguments::{Arguments, error_at, unknown};
use super::zones;

/// `acl [ZONES...] { ACTION [type QTYPE...] [net SOURCE...] [file PATH...] }`: a rule per line.
pub(super) fn acl(
    line: &Directive,
    environment: &dyn Environment,
) -> Result<Vec<AclRule>, ConfigError> {
    let zones = zones::list(&line.args)?;
    if line.body.is_empty() {
        return Err(error_at(&line.position, &line.name, "rules in braces after it"));
    }
    let rule = |entry: &Directive| {
        let mut rule = AclRule {
            zones: zones.clone(),
            action: action(entry)?,
            qtypes: Vec::new(),
            networks: Vec::new(),
        };
        let mut args = Arguments::of(entry);
        read_matches(&mut rule, &mut args, environment)?;
        args.finish()?;
        Ok(rule)
    };
    line.body.iter().map(rule).collect()
}

fn action(entry: &Directive) -> Result<AclAction, ConfigError> {
    match entry.name.to_ascii_lowercase().as_str() {
        "allow" => Ok(AclAction::Allow),
        "block" => Ok(AclAction::Block),
        "filter" => Ok(AclAction::Filter),
        "drop" => Ok(AclAction::Drop),
        _ => Err(unknown(entry, "actions of acl", &["allow", "block", "filter", "drop"], &[])),
    }
}

/// What the words at hand are.
#[derive(Clone, Copy, PartialEq)]
enum Section {
    Types,
    Networks,
    Files,
}

impl Section {
    fn of(token: &Token) -> Option<Self> {
        match token.text.to_ascii_lowercase().as_str() {
            "type" => Some(Self::Types),
            "net" => Some(Self::Networks),
            "file" => Some(Self::Files),
            _ => None,
        }
    }
}

fn read_matches(
    rule: &mut AclRule,
    args: &mut Arguments<'_>,
    environment: &dyn Environment,
) -> Result<(), ConfigError> {
    // A `*` stands for everything, whatever else is listed.
    let (mut every_type, mut every_network) = (false, false);
    let Some(mut head) = args.next() else {
        return Ok(());
    };
    loop {
        let section = Section::of(head).ok_or_else(|| head.error("`type`, `net` or `file`"))?;
        let mut token = args.need("what to match")?;
        if Section::of(token).is_some() {
            return Err(token.error(&format!("what to match after `{}`", head.text)));
        }
        loop {
            match section {
                Section::Types if token.text == "*" => every_type = true,
                Section::Networks if token.text == "*" => every_network = true,
                Section::Types => rule.qtypes.push(record_type(token)?),
                Section::Networks => rule
                    .networks
                    .push(network(&token.text).ok_or_else(|| token.error(NETWORK_EXPECTED))?),
                Section::Files => rule.networks.extend(networks_of_file(token, environment)?),
            }
            match args.next() {
                None => {
                    if every_type {
                        rule.qtypes.clear();
                    }
                    if every_network {
                        rule.networks.clear();
                    }
                    return Ok(());
                }
                Some(next) if Section::of(next).is_some() => {
                    head = next;
                    break;
                }
                Some(next) => token = next,
            }
        }
    }
}

fn record_type(token: &Token) -> Result<u16, ConfigError> {
    registry::record_type(&token.text)
        .ok_or_else(|| token.error("a record type such as `A`, `TXT` or `TYPE65`, or `*`"))
}

/// Reads `ADDRESS` or `ADDRESS/LENGTH`; host bits are cleared.
pub(in crate::config) fn network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, len) = match text.split_once('/') {
        Some((address, len)) => (address, Some(len)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let bits: u8 = if address.is_ipv4() { 32 } else { 128 };
    let len = match len {
        Some(len) => len.parse().ok().filter(|&len| len <= bits)?,
        None => bits,
    };
    let free = u32::from(bits - len);
    Some(match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(free).unwrap_or(0);
            (IpAddr::V4((u32::from(address) & mask).into()), len)
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(free).unwrap_or(0);
            (IpAddr::V6((u128::from(address) & mask).into()), len)
        }
    })
}

/// One network per line of the file; `#` begins a comment.
fn networks_of_file(
    token: &Token,
    environment: &dyn Environment,
) -> Result<Vec<(IpAddr, u8)>, ConfigError> {
    let text = environment.read_file(&token.text).map_err(|reason| {
        token.error(&format!("a file of networks that can be read ({reason})"))
    })?;
    let mut networks = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if !line.is_empty() {
            networks.push(network(line).ok_or_else(|| {
                let number = index + 1;
                token.error(&format!(
                    "a network in each line of that file (not so in line {number})"
                ))
            })?);
        }
    }
    // Without a network the rule would match every source: the opposite of what is in the file.
    match networks.is_empty() {
        true => Err(token.error("a file with at least one network")),
        false => Ok(networks),
    }
}

const NETWORK_EXPECTED: &str = "a network such as `10.0.0.0/8`, an address, or `*`";

#[cfg(test)]
mod tests {
    use super::super::tests::{block, error};
    use super::*;

    fn rules(lines: &str) -> Vec<AclRule> {
        block(&format!("acl {{\n {lines}\n}}")).acl
    }

    fn shown(lines: &str) -> Vec<String> {
        let show =
            |rule: &AclRule| format!("{:?} {:?} {:?}", rule.action, rule.qtypes, rule.networks);
        rules(lines).iter().map(show).collect()
    }

    #[test]
    fn rules_are_read_in_order() {
        assert_eq!(
            shown("allow net 10.1.2.3/8 ::1\n BLOCK type A AAAA net *\n filter type ANY *\n drop"),
            [
                "Allow [] [(10.0.0.0, 8), (::1, 128)]",
                "Block [1, 28] []",
                "Filter [] []",
                "Drop [] []",
            ]
        );
    }

    #[test]
    fn sections_come_in_any_order_and_number() {
        assert_eq!(
            shown("block net 192.0.2.1 type TXT TYPE65 net 2001:db8:ffff::/33"),
            ["Block [16, 65] [(192.0.2.1, 32), (2001:db8:8000::, 33)]"]
        );
    }

    #[test]
    fn networks_come_from_files_too() {
        assert_eq!(shown("block file networks"), ["Block [] [(192.0.2.0, 24), (2001:db8::, 32)]"]);
        assert!(error("acl {\n block file empty\n}").contains("at least one network"));
        assert!(error("acl {\n block file broken\n}").contains("not so in line 2"));
        assert!(error("acl {\n block file absent\n}").contains("can be read (no such file)"));
    }

    #[test]
    fn zones_limit_rules() {
        assert_eq!(rules("allow")[0].zones, []);
        let named = block("acl a b {\n allow\n}\nacl {\n block\n}").acl;
        assert_eq!(named.len(), 2);
        assert_eq!((named[0].zones.len(), named[1].zones.len()), (2, 0));
    }

    #[test]
    fn nonsense_is_refused_where_it_stands() {
        for (lines, expected) in [
            ("acl", "Corefile:2:1: found `acl`, expected rules in braces after it"),
            (
                "acl {\n deny\n}",
                "Corefile:3:2: found `deny`, expected one of allow, block, filter, drop (actions of acl)",
            ),
            (
                "acl {\n block from x\n}",
                "Corefile:3:8: found `from`, expected `type`, `net` or `file`",
            ),
            (
                "acl {\n block type\n}",
                "Corefile:3:8: found nothing after `type`, expected what to match",
            ),
            (
                "acl {\n block type net *\n}",
                "Corefile:3:13: found `net`, expected what to match after `type`",
            ),
            (
                "acl {\n block type B\n}",
                "Corefile:3:13: found `B`, expected a record type such as `A`, `TXT` or `TYPE65`, or `*`",
            ),
            (
                "acl {\n block net 10.0.0.0/33\n}",
                "Corefile:3:12: found `10.0.0.0/33`, expected a network such as `10.0.0.0/8`, an address, or `*`",
            ),
        ] {
            assert_eq!(error(lines), expected);
        }
    }

    #[test]
    fn prefix_lengths_of_zero_match_everything() {
        assert_eq!(network("1.2.3.4/0"), Some(("0.0.0.0".parse().expect("address"), 0)));
        assert_eq!(network("2001::/0"), Some(("::".parse().expect("address"), 0)));
    }
}
