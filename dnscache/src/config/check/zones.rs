//! Names and keys: `example.org:53`, `dns://.`, `10.0.0.0/8`.

use std::net::IpAddr;

use crate::engine::wire::name::Name;

use super::super::ConfigError;
use super::super::corefile::Token;

/// The zones and the port of a server block's key.
pub(super) fn key(token: &Token, port_default: u16) -> Result<(Vec<Name>, u16), ConfigError> {
    let rest = without_scheme(token)?;
    let (zone, port) = match rest.rsplit_once(':') {
        Some((zone, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            let port = port.parse().ok().filter(|&port| port > 0);
            (zone, port.ok_or_else(|| token.error("a port from 1 to 65535 after the colon"))?)
        }
        _ => (rest, port_default),
    };
    match zone {
        // As in CoreDNS, `:53` is `.:53`.
        "" => Ok((vec![Name::root()], port)),
        zone => Ok((zones_of(zone, token)?, port)),
    }
}

fn without_scheme(token: &Token) -> Result<&str, ConfigError> {
    match token.text.split_once("://") {
        None => Ok(&token.text),
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("dns") => Ok(rest),
        Some(("tls" | "https" | "https3" | "grpc" | "quic", _)) => Err(token
            .error("`dns://` or no scheme: dnscache does not offer encrypted service to clients")),
        Some(_) => Err(token.error("`dns://` or no scheme")),
    }
}

/// The zones a word stands for: itself, or for a network (`10.0.0.0/9`) its reverse zones.
pub(super) fn zones(token: &Token) -> Result<Vec<Name>, ConfigError> {
    zones_of(&token.text, token)
}

/// The zones of several words.
pub(super) fn list(tokens: &[Token]) -> Result<Vec<Name>, ConfigError> {
    let mut all = Vec::new();
    for token in tokens {
        all.extend(zones(token)?);
    }
    Ok(all)
}

/// The one zone a word stands for.
pub(super) fn zone(token: &Token) -> Result<Name, ConfigError> {
    let mut zones = zones(token)?;
    match (zones.pop(), zones.is_empty()) {
        (Some(zone), true) => Ok(zone),
        _ => Err(token.error(
            "one zone: a network here must end at a whole octet (IPv4) or hex digit (IPv6)",
        )),
    }
}

/// A domain name.
pub(super) fn name(token: &Token) -> Result<Name, ConfigError> {
    name_of(&token.text, token)
}

fn zones_of(text: &str, token: &Token) -> Result<Vec<Name>, ConfigError> {
    // A slash alone makes no network: `0/25.2.0.192.in-addr.arpa` is a name (RFC 2317).
    if let Some((address, len)) = text.split_once('/')
        && let Ok(address) = address.parse::<IpAddr>()
    {
        let bits: u8 = if address.is_ipv4() { 32 } else { 128 };
        return match len.parse() {
            Ok(len) if len <= bits => Ok(reverse_zones(address, len)),
            _ => Err(token.error(&format!("a prefix length from 0 to {bits} after the slash"))),
        };
    }
    Ok(vec![name_of(text, token)?])
}

fn name_of(text: &str, token: &Token) -> Result<Name, ConfigError> {
    let odd = |character: char| !character.is_ascii_graphic() || "{}():,;\"".contains(character);
    if text.contains(odd) {
        return Err(token.error(
            "a domain name (ASCII, international names as `xn--...`) such as `example.org`",
        ));
    }
    Name::from_text(text).map_err(|error| token.error(&format!("a domain name ({error})")))
}

/// The zones below in-addr.arpa (RFC 1035 section 3.5) or ip6.arpa (RFC 3596 section 2.5) that
/// hold the network: one, or up to 128 when it ends within an octet (up to 8 within a hex digit).
fn reverse_zones(address: IpAddr, len: u8) -> Vec<Name> {
    let (value, bits, unit_bits, suffix) = match address {
        IpAddr::V4(address) => (u128::from(u32::from(address)), 32, 8, "in-addr.arpa."),
        IpAddr::V6(address) => (u128::from(address), 128, 4, "ip6.arpa."),
    };
    let len = u32::from(len);
    let covered = len.next_multiple_of(unit_bits);
    // A shift by all 128 bits is none that can be done; it leaves nothing.
    let first = value & u128::MAX.checked_shl(bits - len).unwrap_or(0);
    let count = 1_u128 << (covered - len);
    let zone = |number: u128| {
        let value = first | number.checked_shl(bits - covered).unwrap_or(0);
        let mut text = String::new();
        for unit in (0..covered / unit_bits).rev() {
            let digit = (value >> (bits - unit_bits * (unit + 1))) & ((1 << unit_bits) - 1);
            text += &if unit_bits == 4 { format!("{digit:x}.") } else { format!("{digit}.") };
        }
        Name::from_text(&(text + suffix)).unwrap_or_else(|_| Name::root())
    };
    (0..count).map(zone).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::Position;
    use super::*;

    fn token(text: &str) -> Token {
        Token {
            position: Position { file: "f".to_owned(), line: 1, column: 1 },
            text: text.to_owned(),
            written: None,
            quoted: false,
            starts_line: true,
        }
    }

    fn check(text: &str, zones: &[&str], port: u16) {
        let (found, found_port) = key(&token(text), 53).expect(text);
        let found: Vec<_> = found.iter().map(Name::to_string).collect();
        assert_eq!(
            (found, found_port),
            (zones.iter().map(|&zone| zone.to_owned()).collect(), port)
        );
    }

    #[test]
    fn keys_are_zones_with_ports() {
        check(".", &["."], 53);
        check(":5300", &["."], 5300);
        check("Example.ORG", &["example.org."], 53);
        check("dns://example.org:5300", &["example.org."], 5300);
        check("DNS://.:1", &["."], 1);
        check("10.0.0.0/8:5300", &["10.in-addr.arpa."], 5300);
        check("10.1.2.3/24", &["2.1.10.in-addr.arpa."], 53);
        check("10.0.0.0/23", &["0.0.10.in-addr.arpa.", "1.0.10.in-addr.arpa."], 53);
        check("192.0.2.1/32", &["1.2.0.192.in-addr.arpa."], 53);
        check("0.0.0.0/0", &["in-addr.arpa."], 53);
        check("::/0", &["ip6.arpa."], 53);
        check("2001:db8::/32", &["8.b.d.0.1.0.0.2.ip6.arpa."], 53);
        check("fd00::/7", &["c.f.ip6.arpa.", "d.f.ip6.arpa."], 53);
        check("fd00::/8:53", &["d.f.ip6.arpa."], 53);
        check("0/25.2.0.192.in-addr.arpa", &["0/25.2.0.192.in-addr.arpa."], 53);
    }

    #[test]
    fn other_keys_are_refused() {
        for (text, expected) in [
            ("example.org:", "a port from 1 to 65535"),
            ("example.org:0", "a port from 1 to 65535"),
            ("example.org:65536", "a port from 1 to 65535"),
            ("example.org:http", "a domain name"),
            ("tls://.", "does not offer encrypted service"),
            ("http://.", "`dns://` or no scheme"),
            ("10.0.0.0/33", "a prefix length from 0 to 32"),
            ("::/129", "a prefix length from 0 to 128"),
            ("a..b", "a label is empty"),
            ("(name)", "a domain name"),
            ("bücher.example", "xn--"),
        ] {
            let error = key(&token(text), 53).expect_err(text);
            assert!(error.expected.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_network_can_be_several_zones() {
        assert!(zone(&token("10.0.0.0/8")).is_ok());
        assert!(zone(&token("10.0.0.0/9")).is_err());
        assert_eq!(zones(&token("10.0.0.0/9")).expect("zones").len(), 128);
    }

    proptest! {
        #[test]
        fn every_network_has_distinct_zones(v6: bool, value: u128, len in 0_u8..=128) {
            let (address, len) = match v6 {
                true => (IpAddr::V6(value.into()), len),
                false => (IpAddr::V4((value as u32).into()), len.min(32)),
            };
            let mut found = reverse_zones(address, len);
            prop_assert!(found.iter().all(|name| !name.is_root()));
            let count = found.len();
            found.sort();
            found.dedup();
            prop_assert_eq!(found.len(), count);
        }

        #[test]
        fn random_keys_never_panic(text in "\\PC{0,40}") {
            let _ = key(&token(&text), 53);
        }
    }
}
