//! The addresses a configuration is served on, and by how many workers.

use std::net::SocketAddr;
use std::num::NonZeroUsize;

use crate::bind::BindError;
use crate::config::Config;
use crate::config::flags::Flags;

/// UDP workers per address: the flag, `multisocket`, or one per core.
pub fn workers(flags: &Flags, config: &Config) -> NonZeroUsize {
    let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    flags.workers.or(config.sockets).unwrap_or(cores)
}

/// Every address a configuration listens on, once, in its order.
pub fn listen_addresses(config: &Config) -> Vec<SocketAddr> {
    let mut addresses = Vec::new();
    for address in config.blocks.iter().flat_map(|block| &block.listen) {
        if !addresses.contains(address) {
            addresses.push(*address);
        }
    }
    addresses
}

/// Whether an address cannot be had only because the machine has no IPv6, and another one is
/// wanted beside it: `[::]` and `[::1]` come in pairs with their IPv4 counterparts.
pub fn is_without_ipv6(address: SocketAddr, wanted: &[SocketAddr], error: &BindError) -> bool {
    let is_implied = address.ip().is_unspecified() || address.ip().is_loopback();
    let has_other = wanted.iter().any(|other| other.is_ipv4() && other.port() == address.port());
    let code = error.cause.raw_os_error();
    let is_missing = matches!(code, Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL));
    address.is_ipv6() && is_implied && has_other && is_missing
}
