//! `hosts`: addresses and names from a table the operator wrote.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::config;
use crate::engine::wire::header::rtype;
use crate::engine::wire::name::{Name, labels, wire_is_at_or_below};

/// The entries of a hosts table, by name and by address.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HostsTable {
    addresses: HashMap<Name, Vec<IpAddr>>,
    names: HashMap<IpAddr, Vec<Name>>,
    read_at_secs: Option<f64>,
}

/// What a table says to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// RDATA of the records of the type asked.
    Records(Vec<Vec<u8>>),
    /// The name is there, but nothing of this type.
    NoData,
    /// The table does not know the name.
    Nothing,
}

/// Whether the directive answers for a lower-case wire name at all.
pub fn covers(config: &config::Hosts, name: &[u8]) -> bool {
    is_under(&config.zones, name)
}

/// Whether a name that the table does not know goes on to upstream (`fallthrough`).
pub fn goes_on(config: &config::Hosts, name: &[u8]) -> bool {
    config.fallthrough.as_deref().is_some_and(|zones| is_under(zones, name))
}

/// No zone stands for all of them.
fn is_under(zones: &[Name], name: &[u8]) -> bool {
    zones.is_empty() || zones.iter().any(|zone| wire_is_at_or_below(name, zone.wire()))
}

impl HostsTable {
    /// Adds a line: an address and its names.
    pub fn add(&mut self, address: IpAddr, names: Vec<Name>) {
        for name in names {
            let addresses = self.addresses.entry(name.clone()).or_default();
            if !addresses.contains(&address) {
                addresses.push(address);
            }
            let reverse = self.names.entry(address).or_default();
            if !reverse.contains(&name) {
                reverse.push(name);
            }
        }
    }

    /// Notes when its file was read, in seconds since 1970.
    pub fn set_read_at_secs(&mut self, secs: f64) {
        self.read_at_secs = Some(secs);
    }

    /// When its file was read, in seconds since 1970; `None` for a table without a file.
    pub fn read_at_secs(&self) -> Option<f64> {
        self.read_at_secs
    }

    /// How many name-to-address pairs it has.
    pub fn len(&self) -> usize {
        self.addresses.values().map(Vec::len).sum()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }

    /// Looks up a name of lower-case wire form; `reverse` allows PTR.
    pub fn find(&self, name: &[u8], qtype: u16, reverse: bool) -> Found {
        if qtype == rtype::PTR && reverse {
            let names = reverse_address(name).and_then(|address| self.names.get(&address));
            return names.map_or(Found::Nothing, |names| {
                Found::Records(names.iter().map(|name| name.wire().to_vec()).collect())
            });
        }
        let Some(addresses) = self.addresses.get(name) else {
            return Found::Nothing;
        };
        let records: Vec<Vec<u8>> =
            addresses.iter().filter_map(|address| rdata(*address, qtype)).collect();
        if records.is_empty() { Found::NoData } else { Found::Records(records) }
    }
}

fn rdata(address: IpAddr, qtype: u16) -> Option<Vec<u8>> {
    match (address, qtype) {
        (IpAddr::V4(address), rtype::A) => Some(address.octets().to_vec()),
        (IpAddr::V6(address), rtype::AAAA) => Some(address.octets().to_vec()),
        _ => None,
    }
}

/// The address a reverse name stands for (RFC 1035 section 3.5, RFC 3596 section 2.5).
pub fn reverse_address(name: &[u8]) -> Option<IpAddr> {
    let mut labels = labels(name);
    if let Some(digits) = name.strip_suffix(b"\x07in-addr\x04arpa\0") {
        let mut octets = [0; 4];
        for octet in octets.iter_mut().rev() {
            *octet = std::str::from_utf8(labels.next()?).ok()?.parse().ok()?;
        }
        let is_all = labels_count(digits) == 4;
        return is_all.then(|| Ipv4Addr::from(octets).into());
    }
    let nibbles = name.strip_suffix(b"\x03ip6\x04arpa\0")?;
    let mut bits = 0u128;
    for place in 0..32 {
        let [digit] = labels.next()? else { return None };
        bits |= u128::from(char::from(*digit).to_digit(16)?) << (4 * place);
    }
    (labels_count(nibbles) == 32).then(|| Ipv6Addr::from(bits).into())
}

fn labels_count(wire: &[u8]) -> usize {
    labels(wire).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(text: &str) -> Vec<u8> {
        Name::from_text(text).expect("a name").wire().to_vec()
    }

    fn table() -> HostsTable {
        let mut table = HostsTable::default();
        let name = |text: &str| Name::from_text(text).expect("a name");
        table.add("192.0.2.1".parse().expect("v4"), vec![name("a.example"), name("b.example")]);
        table.add("2001:db8::1".parse().expect("v6"), vec![name("a.example")]);
        table
    }

    #[test]
    fn names_and_addresses_are_found() {
        let find = |name: &str, qtype| table().find(&wire(name), qtype, true);
        assert_eq!(find("a.example", rtype::A), Found::Records(vec![vec![192, 0, 2, 1]]));
        assert_eq!(find("b.example", rtype::AAAA), Found::NoData);
        assert_eq!(find("c.example", rtype::A), Found::Nothing);
        let names = Found::Records(vec![wire("a.example"), wire("b.example")]);
        assert_eq!(find("1.2.0.192.in-addr.arpa", rtype::PTR), names);
        assert_eq!(
            table().find(&wire("1.2.0.192.in-addr.arpa"), rtype::PTR, false),
            Found::Nothing
        );
        assert_eq!(table().len(), 3);
    }

    #[test]
    fn reverse_names_are_read_strictly() {
        let address = |text: &str| reverse_address(&wire(text));
        let v6 = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";
        assert_eq!(address(v6), "2001:db8::1".parse().ok());
        for wrong in [
            "1.2.0.in-addr.arpa",
            "256.2.0.192.in-addr.arpa",
            "x.2.0.192.in-addr.arpa",
            "1.ip6.arpa",
        ] {
            assert_eq!(address(wrong), None, "{wrong}");
        }
    }
}
