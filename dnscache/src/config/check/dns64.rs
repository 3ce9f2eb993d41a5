//! `dns64`: addresses of IPv4 for those who have only IPv6.

use std::net::Ipv6Addr;

use crate::engine::policy::dns64::{Dns64, PREFIX_LENS, WELL_KNOWN};

use super::super::ConfigError;
use super::super::corefile::{Directive, Token};
use super::arguments::{Arguments, unknown};

/// `dns64 [PREFIX] { ... }`.
pub(super) fn dns64(line: &Directive) -> Result<Dns64, ConfigError> {
    let mut args = Arguments::of(line);
    let mut dns64 =
        Dns64 { prefix: WELL_KNOWN, prefix_len: 96, translate_all: false, allow_ipv4: false };
    if let Some(token) = args.next() {
        (dns64.prefix, dns64.prefix_len) = prefix(token)?;
    }
    args.end()?;
    for option in &line.body {
        let mut args = Arguments::of(option);
        match option.name.as_str() {
            "prefix" => {
                let token = args.need("a prefix such as `64:ff9b::/96`")?;
                (dns64.prefix, dns64.prefix_len) = prefix(token)?;
            }
            "translate_all" => dns64.translate_all = true,
            "allow_ipv4" => dns64.allow_ipv4 = true,
            _ => return Err(unknown(option, "options of dns64", &OPTIONS, &[])),
        }
        args.finish()?;
    }
    Ok(dns64)
}

const OPTIONS: [&str; 3] = ["prefix", "translate_all", "allow_ipv4"];

fn prefix(token: &Token) -> Result<(Ipv6Addr, u8), ConfigError> {
    let read = |text: &str| {
        let (address, len) = text.split_once('/')?;
        let (address, len) = (address.parse::<Ipv6Addr>().ok()?, len.parse::<u8>().ok()?);
        let mask = u128::MAX << (128 - u32::from(len.clamp(1, 128)));
        let prefix = Ipv6Addr::from_bits(address.to_bits() & mask);
        // RFC 6052 section 2.2: bits 64 to 71 are zero.
        let is_prefix = PREFIX_LENS.contains(&len) && prefix.octets()[8] == 0;
        is_prefix.then_some((prefix, len))
    };
    read(&token.text).ok_or_else(|| {
        token.error(
            "a prefix of IPv6 with a length of 32, 40, 48, 56, 64 or 96 and zeros in bits 64 to 71 \
             (RFC 6052), such as `64:ff9b::/96`",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{block, error};
    use super::*;

    fn read(lines: &str) -> Dns64 {
        block(lines).dns64.expect("dns64")
    }

    #[test]
    fn defaults_are_those_of_coredns() {
        let expected =
            Dns64 { prefix: WELL_KNOWN, prefix_len: 96, translate_all: false, allow_ipv4: false };
        assert_eq!(read("dns64"), expected);
        assert_eq!(read("dns64 64:ff9b::/96"), expected);
    }

    #[test]
    fn options_are_read() {
        let dns64 = read("dns64 {\n prefix 2001:db8:1:2:3::/48\n translate_all\n allow_ipv4\n}");
        assert_eq!(dns64.prefix.to_string(), "2001:db8:1::");
        assert_eq!((dns64.prefix_len, dns64.translate_all, dns64.allow_ipv4), (48, true, true));
    }

    #[test]
    fn nonsense_is_refused_where_it_stands() {
        for prefix in ["64:ff9b::", "64:ff9b::/97", "192.0.2.0/24", "2001:db8:0:0:ff00::/96", "/96"]
        {
            let message = error(&format!("dns64 {prefix}"));
            let start = format!("Corefile:2:7: found `{prefix}`, expected a prefix of IPv6");
            assert!(message.starts_with(&start), "{message}");
        }
        assert_eq!(
            error("dns64 {\n translate\n}"),
            "Corefile:3:2: found `translate`, expected one of prefix, translate_all, allow_ipv4 (options of dns64)"
        );
    }
}
