//! Ports that the operator keeps for services (`net.ipv4.ip_local_reserved_ports`).
//!
//! The kernel leaves them out when it chooses a port itself; we choose ours, so we have to.

use std::ops::RangeInclusive;
use std::sync::OnceLock;

/// Whether `port` was kept for a service when the first question was asked.
pub fn is_reserved(port: u16) -> bool {
    static RESERVED: OnceLock<Vec<RangeInclusive<u16>>> = OnceLock::new();
    // Without the file there is no such setting.
    let read = || parse(&std::fs::read_to_string(FILE).unwrap_or_default());
    RESERVED.get_or_init(read).iter().any(|ports| ports.contains(&port))
}

const FILE: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";

/// Reads `8080,30000-32767`.
fn parse(list: &str) -> Vec<RangeInclusive<u16>> {
    let range = |word: &str| {
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    list.trim().split(',').filter_map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_ranges_are_read_as_the_kernel_writes_them() {
        assert_eq!(parse("8080,30000-32767\n"), [8080..=8080, 30000..=32767]);
        assert_eq!(parse("\n"), []);
        assert_eq!(parse("65536,x,1-"), []);
    }
}
