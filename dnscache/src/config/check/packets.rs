//! `packets_per_second` of `forward`: what an upstream takes from this machine in a second.

use std::collections::HashMap;
use std::net::IpAddr;

use super::super::corefile::Token;
use super::super::{Block, ConfigError, Forward, PacketLimit, Position, Upstream};
use super::arguments::{Arguments, number};

/// `packets_per_second PACKETS [reserve PERCENT%]`, or `packets_per_second off`.
pub(super) fn limit(args: &mut Arguments<'_>) -> Result<PacketLimit, ConfigError> {
    let what = "packets per second (or `off`)";
    let token = args.need(what)?;
    if token.text == "off" {
        return Ok(PacketLimit::Unlimited);
    }
    let packets = number(token, PACKETS_MIN..=PACKETS_MAX, what)?;
    let reserve_percent = match args.next() {
        None => RESERVE_PERCENT,
        Some(token) if token.text == "reserve" => percent(args.need("a percentage")?)?,
        Some(token) => return Err(token.error("`reserve PERCENT%` or nothing")),
    };
    Ok(PacketLimit::PerSecond { packets, reserve_percent })
}

fn percent(token: &Token) -> Result<u32, ConfigError> {
    let digits = token.text.strip_suffix('%').filter(|digits| !digits.starts_with('+'));
    let percent = digits.and_then(|digits| digits.parse().ok());
    percent
        .filter(|percent| *percent <= RESERVE_PERCENT_MAX)
        .ok_or_else(|| token.error("a percentage from `0%` to `90%`"))
}

/// An address has one limit, however many directives forward to it.
pub(super) fn check(blocks: &[Block]) -> Result<(), ConfigError> {
    let mut written: HashMap<IpAddr, (PacketLimit, &Position)> = HashMap::new();
    for forward in blocks.iter().flat_map(|block| &block.forwards) {
        if forward.packets == PacketLimit::Known {
            continue;
        }
        for address in addresses(forward) {
            let (first, place) =
                written.entry(address).or_insert((forward.packets, &forward.position));
            if *first != forward.packets {
                return Err(ConfigError {
                    position: forward.position.clone(),
                    found: format!("another `packets_per_second` for {address}"),
                    expected: format!("the same as at {place}: an upstream has one limit"),
                });
            }
        }
    }
    Ok(())
}

fn addresses(forward: &Forward) -> impl Iterator<Item = IpAddr> {
    forward.to.iter().filter_map(|to| match to {
        Upstream::Address { address, .. } => Some(address.ip().to_canonical()),
        Upstream::ResolvConf(_) => None,
    })
}

/// With fewer, a lookup of two questions over TCP would not get through in a second.
const PACKETS_MIN: u32 = 10;
/// More is no limit.
const PACKETS_MAX: u32 = 1_000_000;
/// Kept for names that are known, unless said otherwise.
pub(super) const RESERVE_PERCENT: u32 = 20;
/// With more, a name asked for the first time would hardly be answered.
const RESERVE_PERCENT_MAX: u32 = 90;

#[cfg(test)]
mod tests {
    use super::super::tests::{block, error, refusal};
    use super::*;

    fn read(option: &str) -> PacketLimit {
        block(&format!("forward . 192.0.2.1 {{\n {option}\n}}")).forwards[0].packets
    }

    #[test]
    fn a_limit_has_a_reserve() {
        let limit = |packets, reserve_percent| PacketLimit::PerSecond { packets, reserve_percent };
        assert_eq!(read("prefer_udp"), PacketLimit::Known);
        assert_eq!(read("packets_per_second 500"), limit(500, 20));
        assert_eq!(read("packets_per_second 500 reserve 0%"), limit(500, 0));
        assert_eq!(read("packets_per_second off"), PacketLimit::Unlimited);
    }

    #[test]
    fn nonsense_is_refused_where_it_stands() {
        for (option, expected) in [
            ("packets_per_second", "found nothing after `packets_per_second`"),
            ("packets_per_second 9", "a whole number (10 to 1000000)"),
            ("packets_per_second 500 keep 5%", "`reserve PERCENT%` or nothing"),
            ("packets_per_second 500 reserve 91%", "a percentage from `0%` to `90%`"),
            ("packets_per_second 500 reserve 20", "a percentage from `0%` to `90%`"),
            ("packets_per_second off 5", "the end of `packets_per_second`"),
        ] {
            let message = error(&format!("forward . 192.0.2.1 {{\n {option}\n}}"));
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn an_upstream_has_one_limit() {
        let two = |second: &str| {
            format!(
                "a {{\nforward . 192.0.2.1 {{\n packets_per_second 50\n}}\n}}\n\
                 b {{\nforward . 192.0.2.2 192.0.2.1:54 {{\n {second}\n}}\n}}"
            )
        };
        assert_eq!(
            refusal(&two("packets_per_second off")),
            "Corefile:7:1: found another `packets_per_second` for 192.0.2.1, expected the same as \
             at Corefile:2:1: an upstream has one limit"
        );
        super::super::tests::config(&two("packets_per_second 50"));
        super::super::tests::config(&two("prefer_udp"));
    }
}
