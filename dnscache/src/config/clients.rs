//! `-client-networks`: who is served where the Corefile does not say.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::environment::Environment;
use super::flags::Flags;
use super::interfaces::EVERY_INTERFACE;
use super::{AclAction, AclRule, Config};

/// Gives blocks without an `acl` of their own rules that allow the networks of `-client-networks`, loopback
/// and the node itself, and block the rest. Without the flag everybody is served, as by node-cache.
///
/// Pods on the host's network ask from the node's own addresses. If the kernel does not list them,
/// those that are configured here must do.
pub(super) fn limit(config: &mut Config, flags: &Flags, environment: &dyn Environment) {
    let clients = &flags.hardening.client_networks;
    if clients.is_empty() {
        return;
    }
    let own = environment.interface_addresses(EVERY_INTERFACE).unwrap_or_default();
    let listen = config.blocks.iter().flat_map(|block| &block.listen);
    let own = own.into_iter().chain(flags.node_addresses.iter().copied());
    let own = own.chain(listen.map(|address| address.ip()).filter(|ip| !ip.is_unspecified()));
    let mut networks = clients.clone();
    networks.extend(LOOPBACK);
    for network in own.map(alone) {
        if !networks.contains(&network) {
            networks.push(network);
        }
    }
    let rule = |action, networks| AclRule { zones: vec![], action, qtypes: vec![], networks };
    let rules = [rule(AclAction::Allow, networks), rule(AclAction::Block, vec![])];
    for block in config.blocks.iter_mut().filter(|block| block.acl.is_empty()) {
        block.acl = rules.to_vec();
    }
}

/// The network of one address.
fn alone(address: IpAddr) -> (IpAddr, u8) {
    (address, if address.is_ipv4() { 32 } else { 128 })
}

const LOOPBACK: [(IpAddr, u8); 2] =
    [(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8), (IpAddr::V6(Ipv6Addr::LOCALHOST), 128)];
