//! EndpointSlices of one Service, and which of their addresses are asked.
//!
//! Nothing in a slice is believed as it stands: addresses that no upstream can have are left out,
//! and so is everything beyond the bounds below.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasher;
use std::net::{IpAddr, SocketAddr};

use foldhash::fast::RandomState;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};

/// Endpoints that are asked at most. A Service with more is shared out: every process takes others.
pub const ENDPOINTS_MAX: usize = 64;
/// Slices of a Service at most; with 100 endpoints each, as Kubernetes fills them, they hold more
/// than a cluster's CoreDNS ever has. Others are left out.
const SLICES_MAX: usize = 100;
/// Endpoints that are looked at in one slice: as many as Kubernetes allows there.
const SLICE_LEN_MAX: usize = 1_000;
const DNS_PORT: u16 = 53;

/// What is known of one Service.
#[derive(Debug, Default)]
pub struct Slices {
    known: BTreeMap<String, Slice>,
    /// Which endpoints are taken from too many: by a hash that differs from process to process, so
    /// that load spreads, and stays the same in one, so that connections stay.
    taste: RandomState,
}

/// The usable addresses of a slice.
#[derive(Debug, Default, PartialEq, Eq)]
struct Slice {
    ready: Vec<SocketAddr>,
    /// About to go, but still answering.
    leaving: Vec<SocketAddr>,
}

impl Slices {
    /// Takes in a slice that is new or has changed. With `loopback`, addresses of loopback count.
    /// False if it is left out because there are too many.
    pub fn take(&mut self, slice: &EndpointSlice, loopback: bool) -> bool {
        let name = slice.metadata.name.clone().unwrap_or_default();
        if !self.known.contains_key(&name) && self.known.len() >= SLICES_MAX {
            return false;
        }
        self.known.insert(name, Slice::read(slice, loopback));
        true
    }

    /// Nothing known, and the same taste.
    pub fn emptied(&self) -> Self {
        Self { known: BTreeMap::new(), taste: self.taste.clone() }
    }

    /// Forgets a slice that is gone.
    pub fn remove(&mut self, slice: &EndpointSlice) {
        self.known.remove(slice.metadata.name.as_deref().unwrap_or_default());
    }

    /// The endpoints to ask, in ascending order: those that are ready; if there are none, those
    /// that end but still answer. `own` is where this process listens, which is never asked.
    pub fn chosen(&self, own: &[SocketAddr]) -> Vec<SocketAddr> {
        let ready = self.of(|slice| &slice.ready, own);
        let mut chosen = match ready.is_empty() {
            true => self.of(|slice| &slice.leaving, own),
            false => ready,
        };
        if chosen.len() > ENDPOINTS_MAX {
            chosen.sort_by_cached_key(|address| self.taste.hash_one(address));
            chosen.truncate(ENDPOINTS_MAX);
            chosen.sort_unstable();
        }
        chosen
    }

    fn of(&self, part: impl Fn(&Slice) -> &[SocketAddr], own: &[SocketAddr]) -> Vec<SocketAddr> {
        let every: BTreeSet<SocketAddr> =
            self.known.values().flat_map(|slice| part(slice).iter().copied()).collect();
        every.into_iter().filter(|address| !is_own(*address, own)).collect()
    }
}

impl Slice {
    fn read(slice: &EndpointSlice, loopback: bool) -> Self {
        let port = port(slice.ports.as_deref().unwrap_or_default());
        let mut read = Self::default();
        for endpoint in slice.endpoints.iter().flatten().take(SLICE_LEN_MAX) {
            let part = match Standing::of(endpoint) {
                Standing::Ready => &mut read.ready,
                Standing::Leaving => &mut read.leaving,
                Standing::Away => continue,
            };
            part.extend(address(endpoint, loopback).map(|ip| SocketAddr::new(ip, port)));
        }
        read
    }
}

/// What the conditions of an endpoint come to.
enum Standing {
    Ready,
    Leaving,
    Away,
}

impl Standing {
    /// What is not said counts as the API's documentation has it: ready, and not terminating.
    fn of(endpoint: &Endpoint) -> Self {
        let conditions = endpoint.conditions.as_ref();
        let ready = conditions.and_then(|conditions| conditions.ready).unwrap_or(true);
        let serving = conditions.and_then(|conditions| conditions.serving).unwrap_or(ready);
        let terminating = conditions.and_then(|conditions| conditions.terminating).unwrap_or(false);
        match (ready, serving, terminating) {
            (true, _, false) => Self::Ready,
            (_, true, true) => Self::Leaving,
            _ => Self::Away,
        }
    }
}

/// The first address of an endpoint, which is the one that counts, if an upstream may have it.
fn address(endpoint: &Endpoint, loopback: bool) -> Option<IpAddr> {
    let ip: IpAddr = endpoint.addresses.first()?.parse().ok()?;
    let ip = ip.to_canonical();
    let is_link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    let is_nobodys = ip.is_unspecified() || ip.is_multicast() || is_link_local;
    (!is_nobodys && (loopback || !ip.is_loopback())).then_some(ip)
}

/// The port that speaks DNS: the one called so, for UDP before TCP, as CoreDNS's Service has them;
/// 53 if none is.
fn port(ports: &[EndpointPort]) -> u16 {
    let called = |name| ports.iter().find(|port| port.name.as_deref() == Some(name));
    let port = called("dns").or_else(|| called("dns-tcp")).and_then(|port| port.port);
    port.and_then(|port| u16::try_from(port).ok()).filter(|&port| port > 0).unwrap_or(DNS_PORT)
}

/// Whether this process listens there: on the address itself, or on all of the machine's while it
/// is one of those.
fn is_own(address: SocketAddr, own: &[SocketAddr]) -> bool {
    own.iter().any(|own| {
        let is_every = own.ip().is_unspecified() && own.port() == address.port();
        *own == address || (is_every && is_local(address.ip()))
    })
}

/// Whether an address is this machine's: then a socket can be bound to it.
fn is_local(ip: IpAddr) -> bool {
    std::net::UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn slice(name: &str, endpoints: Value) -> EndpointSlice {
        let ports = json!([{"name": "metrics", "port": 9153}, {"name": "dns", "port": 5353}]);
        let text = json!({
            "metadata": {"name": name}, "addressType": "IPv4",
            "ports": ports, "endpoints": endpoints,
        });
        serde_json::from_value(text).expect("a slice")
    }

    fn endpoint(ip: &str, conditions: Value) -> Value {
        json!({"addresses": [ip], "conditions": conditions})
    }

    #[track_caller]
    fn check(slices: &Slices, expected: &[&str]) {
        let chosen: Vec<_> = slices.chosen(&[]).iter().map(ToString::to_string).collect();
        assert_eq!(chosen, expected);
    }

    fn of(endpoints: Value) -> Slices {
        let mut slices = Slices::default();
        assert!(slices.take(&slice("a", endpoints), false));
        slices
    }

    #[test]
    fn the_ready_ones_of_all_slices_are_asked_once_each() {
        let mut slices = of(json!([endpoint("10.0.0.2", json!({})), {"addresses": ["10.0.0.1"]}]));
        slices.take(&slice("b", json!([endpoint("10.0.0.2", json!({"ready": true}))])), false);
        check(&slices, &["10.0.0.1:5353", "10.0.0.2:5353"]);
        slices.take(&slice("a", json!([])), false);
        check(&slices, &["10.0.0.2:5353"]);
        slices.remove(&slice("b", json!([])));
        check(&slices, &[]);
    }

    #[test]
    fn those_that_end_are_asked_only_if_nobody_else_is_left() {
        let ends =
            endpoint("10.0.0.1", json!({"ready": false, "serving": true, "terminating": true}));
        let gone =
            endpoint("10.0.0.2", json!({"ready": false, "serving": false, "terminating": true}));
        let starts = endpoint("10.0.0.3", json!({"ready": false}));
        let odd = endpoint("10.0.0.4", json!({"ready": true, "terminating": true}));
        let well = endpoint("10.0.0.5", json!({"ready": true}));
        check(&of(json!([ends, gone, starts, odd, well])), &["10.0.0.5:5353"]);
        check(&of(json!([ends, gone, starts])), &["10.0.0.1:5353"]);
        check(&of(json!([gone, starts])), &[]);
    }

    #[test]
    fn addresses_no_upstream_can_have_are_left_out() {
        let nobody = [
            "127.0.0.1",
            "::1",
            "169.254.20.10",
            "fe80::1",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
            "::ffff:127.0.0.1",
            "coredns.example",
            "",
            "10.0.0.1:53",
            "10.0.0.999",
        ];
        let mut endpoints: Vec<_> = nobody.map(|ip| endpoint(ip, json!({}))).to_vec();
        endpoints.extend([json!({"addresses": []}), endpoint("fd00::1", json!({}))]);
        check(&of(Value::from(endpoints.clone())), &["[fd00::1]:5353"]);
        let mut slices = Slices::default();
        slices.take(&slice("a", Value::from(endpoints)), true);
        check(&slices, &["127.0.0.1:5353", "[::1]:5353", "[fd00::1]:5353"]);
    }

    #[test]
    fn where_this_process_listens_is_no_upstream() {
        let slices = of(json!([endpoint("10.0.0.1", json!({})), endpoint("10.0.0.2", json!({}))]));
        let own = ["10.0.0.1:5353".parse().expect("an address")];
        assert_eq!(slices.chosen(&own), ["10.0.0.2:5353".parse().expect("an address")]);
        let mut slices = Slices::default();
        slices.take(&slice("a", json!([endpoint("127.0.0.1", json!({}))])), true);
        let every = ["0.0.0.0:5353".parse().expect("an address")];
        assert_eq!(slices.chosen(&every), []);
        let other_port = ["0.0.0.0:53".parse().expect("an address")];
        assert_eq!(slices.chosen(&other_port).len(), 1);
    }

    #[test]
    fn the_port_is_the_one_called_dns() {
        let port_of = |ports: Value| port(&serde_json::from_value::<Vec<_>>(ports).expect("ports"));
        assert_eq!(
            port_of(json!([{"name": "dns-tcp", "port": 54}, {"name": "dns", "port": 55}])),
            55
        );
        assert_eq!(port_of(json!([{"name": "dns-tcp", "port": 54}])), 54);
        assert_eq!(port_of(json!([{"name": "metrics", "port": 9153}])), 53);
        assert_eq!(port_of(json!([{"name": "dns", "port": 70000}])), 53);
        assert_eq!(port_of(json!([{"name": "dns", "port": -1}])), 53);
        assert_eq!(port_of(json!([])), 53);
    }

    #[test]
    fn however_many_there_are_the_same_few_are_asked() {
        let endpoints: Vec<_> = (0..10_000)
            .map(|n| endpoint(&format!("10.1.{}.{}", n / 250, n % 250 + 1), json!({})))
            .collect();
        let mut slices = of(Value::from(endpoints));
        assert_eq!(slices.known["a"].ready.len(), SLICE_LEN_MAX);
        let chosen = slices.chosen(&[]);
        assert_eq!(chosen.len(), ENDPOINTS_MAX);
        assert!(slices.take(&slice("b", json!([])), false));
        assert_eq!(slices.chosen(&[]), chosen);
        let taken =
            (0..500).filter(|n| slices.take(&slice(&n.to_string(), json!([])), false)).count();
        assert_eq!(taken, SLICES_MAX - 2);
        assert!(slices.take(&slice("a", json!([])), false), "one that is known is followed");
    }
}
