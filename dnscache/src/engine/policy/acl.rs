//! `acl`: who may ask what.

use std::net::IpAddr;

use crate::config::{AclAction, AclRule};
use crate::engine::wire::name::wire_is_at_or_below;

/// What the first matching rule says to a question of this type for a lower-case wire name; no
/// match allows.
pub fn judge(rules: &[AclRule], source: IpAddr, name: &[u8], qtype: u16) -> AclAction {
    let source = source.to_canonical();
    rules
        .iter()
        .find(|rule| {
            (rule.zones.is_empty()
                || rule.zones.iter().any(|zone| wire_is_at_or_below(name, zone.wire())))
                && (rule.qtypes.is_empty() || rule.qtypes.contains(&qtype))
                && (rule.networks.is_empty()
                    || rule.networks.iter().any(|network| holds(*network, source)))
        })
        .map_or(AclAction::Allow, |rule| rule.action)
}

/// Whether a network of this address and prefix length holds an address.
pub fn holds((network, prefix_len): (IpAddr, u8), address: IpAddr) -> bool {
    let prefix_len = u32::from(prefix_len);
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let differing = u32::from(network) ^ u32::from(address);
            differing.leading_zeros() >= prefix_len.min(32)
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            let differing = u128::from(network) ^ u128::from(address);
            differing.leading_zeros() >= prefix_len.min(128)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::wire::name::Name;

    fn rule(action: AclAction, qtypes: &[u16], network: &str, prefix_len: u8) -> AclRule {
        let networks = vec![(network.parse().expect("an address"), prefix_len)];
        AclRule {
            zones: vec![Name::from_text("example.org").expect("a name")],
            action,
            qtypes: qtypes.to_vec(),
            networks,
        }
    }

    fn check(rules: &[AclRule], source: &str, qtype: u16, expected: AclAction) {
        let source = source.parse().expect("an address");
        assert_eq!(judge(rules, source, b"\x01a\x07example\x03org\0", qtype), expected, "{source}");
        assert_eq!(judge(rules, source, b"\x03org\0", qtype), AclAction::Allow, "{source}");
    }

    #[test]
    fn the_first_match_decides() {
        let rules = [
            rule(AclAction::Allow, &[1], "10.1.0.0", 16),
            rule(AclAction::Block, &[], "10.0.0.0", 8),
            rule(AclAction::Drop, &[], "2001:db8::", 32),
        ];
        check(&rules, "10.1.2.3", 1, AclAction::Allow);
        check(&rules, "10.1.2.3", 28, AclAction::Block);
        check(&rules, "::ffff:10.2.0.1", 1, AclAction::Block);
        check(&rules, "2001:db8:1::1", 1, AclAction::Drop);
        check(&rules, "192.0.2.1", 1, AclAction::Allow);
        check(&[rule(AclAction::Filter, &[], "0.0.0.0", 0)], "192.0.2.1", 1, AclAction::Filter);
    }
}
