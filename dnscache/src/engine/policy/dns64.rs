//! `dns64`: addresses of IPv4 as part of a prefix of IPv6 (RFC 6052, RFC 6147).

use std::net::{IpAddr, Ipv6Addr};

/// TTL of what is synthesised where no SOA says how long there is no AAAA (RFC 6147 section 5.1.7).
pub const TTL_WITHOUT_SOA_SECS: u32 = 600;

/// `dns64 [PREFIX]`, with defaults filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dns64 {
    /// The prefix; nothing is set beyond its length.
    pub prefix: Ipv6Addr,
    /// Its length in bits: 32, 40, 48, 56, 64 or 96.
    pub prefix_len: u8,
    /// `translate_all`: also for names that have AAAA records.
    pub translate_all: bool,
    /// `allow_ipv4`: also for clients that ask over IPv4.
    pub allow_ipv4: bool,
}

/// The well-known prefix (RFC 6052 section 2.1).
pub const WELL_KNOWN: Ipv6Addr = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0);
/// Lengths a prefix may have (RFC 6052 section 2.2).
pub const PREFIX_LENS: [u8; 6] = [32, 40, 48, 56, 64, 96];
/// The octet that stays zero whatever the length.
const RESERVED_OCTET: usize = 8;

impl Dns64 {
    /// Whether it is for a client.
    pub fn serves(&self, client: IpAddr) -> bool {
        self.allow_ipv4 || client.to_canonical().is_ipv6()
    }

    /// The address of IPv6 that stands for one of IPv4.
    pub fn embed(&self, address: [u8; 4]) -> [u8; 16] {
        let mut octets = self.prefix.octets();
        let start = usize::from(self.prefix_len / 8);
        let places = (start..).filter(|&place| place != RESERVED_OCTET);
        for (place, octet) in places.zip(address) {
            octets[place] = octet;
        }
        octets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 6052 section 2.4.
    #[test]
    fn addresses_are_embedded_as_the_rfc_shows() {
        for (prefix, prefix_len, expected) in [
            ("2001:db8::", 32, "2001:db8:c000:221::"),
            ("2001:db8:100::", 40, "2001:db8:1c0:2:21::"),
            ("2001:db8:122::", 48, "2001:db8:122:c000:2:2100::"),
            ("2001:db8:122:300::", 56, "2001:db8:122:3c0:0:221::"),
            ("2001:db8:122:344::", 64, "2001:db8:122:344:c0:2:2100::"),
            ("2001:db8:122:344::", 96, "2001:db8:122:344::192.0.2.33"),
            ("64:ff9b::", 96, "64:ff9b::192.0.2.33"),
        ] {
            let prefix = prefix.parse().expect("a prefix");
            let dns64 = Dns64 { prefix, prefix_len, translate_all: false, allow_ipv4: false };
            let expected: Ipv6Addr = expected.parse().expect("an address");
            assert_eq!(Ipv6Addr::from(dns64.embed([192, 0, 2, 33])), expected, "/{prefix_len}");
        }
    }

    #[test]
    fn clients_of_ipv4_are_left_alone_unless_asked_for() {
        let mut dns64 =
            Dns64 { prefix: WELL_KNOWN, prefix_len: 96, translate_all: false, allow_ipv4: false };
        let clients = ["2001:db8::1", "192.0.2.1", "::ffff:192.0.2.1"];
        let clients = clients.map(|client| client.parse().expect("an address"));
        assert_eq!(clients.map(|client| dns64.serves(client)), [true, false, false]);
        dns64.allow_ipv4 = true;
        assert_eq!(clients.map(|client| dns64.serves(client)), [true, true, true]);
    }
}
