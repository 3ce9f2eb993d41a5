//! What exists in a cluster and around it, and what its DNS says about it.
//!
//! Inside the cluster domain the answers are those of CoreDNS's kubernetes plugin: nothing at
//! names that only lead to others (NODATA), NXDOMAIN for whatever is not there, and its trap: a
//! name such as `_tcp.web.default.svc.cluster.local` is denied although names below it exist.
//! Outside, zones answer as RFC 1034 says.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::external::Records;
use crate::harness::message::{DomainName, Message, Record, flag};
use crate::harness::zone::type_number;

/// Types the cluster's answers depend on.
pub mod rtype {
    pub const A: u16 = 1;
    pub const NS: u16 = 2;
    pub const CNAME: u16 = 5;
    pub const SOA: u16 = 6;
    pub const AAAA: u16 = 28;
    pub const SRV: u16 = 33;
}

const NXDOMAIN: u16 = 3;
/// Aliases followed in one answer.
const ALIASES_MAX: usize = 8;
/// Above this the plugin caps the TTL of its SOA.
const SOA_TTL_SECS_MAX: u32 = 300;

/// Everything there is.
#[derive(Debug, Clone)]
pub struct World {
    domain: String,
    positive_ttl_secs: u32,
    negative_ttl_secs: u32,
    namespaces: BTreeSet<String>,
    /// By namespace and name.
    services: BTreeMap<(String, String), Service>,
    records: Records,
    denied: BTreeSet<String>,
}

/// What a Service is made of, as far as DNS shows it.
#[derive(Debug, Clone)]
pub enum Service {
    /// Addresses of its own, at most one of each family.
    ClusterIp { addresses: Vec<IpAddr>, ports: Vec<Port> },
    /// The addresses of its endpoints, each with a name; without any, it is not there.
    Headless { endpoints: Vec<(String, IpAddr)>, ports: Vec<Port> },
    /// An alias.
    ExternalName(String),
}

/// A named port.
#[derive(Debug, Clone)]
pub struct Port {
    pub name: &'static str,
    pub protocol: &'static str,
    pub number: u16,
}

/// What is at a name for one type.
pub enum Found {
    Records(Vec<Record>),
    Alias(String),
    NoData,
    NoName,
}

impl World {
    /// An empty cluster; times to live are those of records and of denials.
    pub fn new(domain: &str, positive_ttl_secs: u32, negative_ttl_secs: u32) -> Self {
        Self {
            domain: domain.to_owned(),
            positive_ttl_secs,
            negative_ttl_secs,
            namespaces: BTreeSet::new(),
            services: BTreeMap::new(),
            records: Records::new(negative_ttl_secs),
            denied: BTreeSet::new(),
        }
    }

    pub fn create_namespace(&mut self, namespace: &str) {
        self.namespaces.insert(namespace.to_owned());
    }

    /// Creates or replaces a Service, and its namespace if that is missing.
    pub fn create_service(&mut self, namespace: &str, name: &str, service: Service) {
        self.create_namespace(namespace);
        self.services.insert((namespace.to_owned(), name.to_owned()), service);
    }

    pub fn delete_service(&mut self, namespace: &str, name: &str) {
        self.services.remove(&(namespace.to_owned(), name.to_owned()));
    }

    /// Adds names outside the cluster; see [`Records::add`].
    pub fn add_zone(&mut self, zone: &str, records: &str) {
        self.records.add(zone, records, self.positive_ttl_secs);
    }

    /// From now on says NXDOMAIN at exactly this name, whatever is there or below.
    pub fn deny(&mut self, name: &str) {
        self.denied.insert(name.to_owned());
    }

    /// The reply of the cluster's DNS.
    pub fn reply(&self, query: &Message) -> Message {
        let mut reply = query.reply();
        reply.flags |= flag::AA;
        let Some(question) = query.questions.first() else { return reply };
        let mut name = text_of(&question.name);
        let is_of_cluster = self.below_domain(&name).is_some();
        for _ in 0..ALIASES_MAX {
            match self.find(&name, question.qtype) {
                Found::Records(records) => reply.answer.extend(records),
                Found::Alias(target) => {
                    reply.answer.push(self.record(&name, rtype::CNAME, wire(&target)));
                    if question.qtype != rtype::CNAME {
                        name = target;
                        continue;
                    }
                }
                // CoreDNS keeps the alias of an ExternalName when its target is not there.
                Found::NoName if is_of_cluster && !reply.answer.is_empty() => {}
                Found::NoName => {
                    reply.flags |= NXDOMAIN;
                    reply.authority.push(self.soa_above(&name));
                }
                Found::NoData => reply.authority.push(self.soa_above(&name)),
            }
            break;
        }
        reply
    }

    fn find(&self, name: &str, qtype: u16) -> Found {
        if self.denied.contains(name) {
            return Found::NoName;
        }
        let Some(labels) = self.below_domain(name) else { return self.records.find(name, qtype) };
        match labels[..] {
            [] => self.of_apex(qtype),
            ["svc" | "pod"] => Found::NoData,
            [namespace, "svc" | "pod"] => self.of_namespace(namespace),
            [ref rest @ .., namespace, "svc"] => self.of_service(name, rest, namespace, qtype),
            [address, namespace, "pod"] => self.of_pod(name, address, namespace, qtype),
            _ => Found::NoName,
        }
    }

    fn of_apex(&self, qtype: u16) -> Found {
        match qtype {
            rtype::SOA => Found::Records(vec![self.cluster_soa()]),
            rtype::NS => {
                let server = wire(&format!("ns.dns.{}", self.domain));
                Found::Records(vec![self.record(&self.domain, rtype::NS, server)])
            }
            _ => Found::NoData,
        }
    }

    fn of_namespace(&self, namespace: &str) -> Found {
        if self.namespaces.contains(namespace) { Found::NoData } else { Found::NoName }
    }

    /// `labels` end with the Service's name.
    fn of_service(&self, name: &str, labels: &[&str], namespace: &str, qtype: u16) -> Found {
        let [below @ .., service_name] = labels else { return Found::NoName };
        let key = (namespace.to_owned(), (*service_name).to_owned());
        let Some(service) = self.services.get(&key) else { return Found::NoName };
        let place = format!("{service_name}.{namespace}.svc.{}", self.domain);
        match (below, service) {
            ([], Service::ExternalName(target)) => match qtype {
                rtype::A | rtype::AAAA | rtype::CNAME => Found::Alias(target.clone()),
                _ => Found::NoData,
            },
            ([], service) => self.at_service(name, &place, service, &service.ports(), qtype),
            ([endpoint], Service::Headless { endpoints, .. }) => {
                let addresses: Vec<IpAddr> = endpoints
                    .iter()
                    .filter(|(name, _)| name == endpoint)
                    .map(|(_, ip)| *ip)
                    .collect();
                self.addresses(name, &addresses, qtype)
            }
            ([port, protocol], service) => {
                let is_asked = |known: &&Port| {
                    port.strip_prefix('_') == Some(known.name)
                        && protocol.strip_prefix('_') == Some(known.protocol)
                };
                let ports: Vec<&Port> = service.ports().into_iter().filter(is_asked).collect();
                if ports.is_empty() {
                    return Found::NoName;
                }
                self.at_service(name, &place, service, &ports, qtype)
            }
            _ => Found::NoName,
        }
    }

    fn at_service(
        &self,
        name: &str,
        place: &str,
        service: &Service,
        ports: &[&Port],
        qtype: u16,
    ) -> Found {
        let addresses = service.addresses();
        if qtype != rtype::SRV || addresses.is_empty() || ports.is_empty() {
            return self.addresses(name, &addresses, qtype);
        }
        let targets = match service {
            Service::Headless { endpoints, .. } => {
                let mut names: Vec<&String> = endpoints.iter().map(|(name, _)| name).collect();
                names.dedup();
                names.iter().map(|endpoint| format!("{endpoint}.{place}")).collect()
            }
            _ => vec![place.to_owned()],
        };
        let record = |target: &String, port: &Port| {
            let numbers = [0, 100, port.number].map(u16::to_be_bytes).concat();
            self.record(name, rtype::SRV, [numbers, wire(target)].concat())
        };
        let of_target = |target| ports.iter().map(move |port| record(target, port));
        Found::Records(targets.iter().flat_map(of_target).collect())
    }

    /// `pods insecure`: any address in an existing namespace.
    fn of_pod(&self, name: &str, address: &str, namespace: &str, qtype: u16) -> Found {
        match address.replace('-', ".").parse::<Ipv4Addr>() {
            Ok(ip) if self.namespaces.contains(namespace) => {
                self.addresses(name, &[ip.into()], qtype)
            }
            _ => Found::NoName,
        }
    }

    /// NXDOMAIN without any address, NODATA without one of the type.
    fn addresses(&self, name: &str, addresses: &[IpAddr], qtype: u16) -> Found {
        let of_type = |ip: &IpAddr| match (ip, qtype) {
            (IpAddr::V4(ip), rtype::A) => Some(ip.octets().to_vec()),
            (IpAddr::V6(ip), rtype::AAAA) => Some(ip.octets().to_vec()),
            _ => None,
        };
        let data = addresses.iter().filter_map(of_type);
        let records: Vec<Record> = data.map(|data| self.record(name, qtype, data)).collect();
        match (addresses.is_empty(), records.is_empty()) {
            (true, _) => Found::NoName,
            (false, true) => Found::NoData,
            (false, false) => Found::Records(records),
        }
    }

    fn record(&self, name: &str, rtype: u16, data: Vec<u8>) -> Record {
        Record { name: domain_name(name), rtype, class: 1, ttl_secs: self.positive_ttl_secs, data }
    }

    fn soa_above(&self, name: &str) -> Record {
        match self.below_domain(name) {
            Some(_) => self.cluster_soa(),
            None => self.records.soa_above(name),
        }
    }

    fn cluster_soa(&self) -> Record {
        let domain = &self.domain;
        let ttl_secs = self.negative_ttl_secs;
        let text = format!(
            "{domain} {} SOA ns.dns.{domain} hostmaster.{domain} 1 7200 1800 86400 {ttl_secs}",
            ttl_secs.min(SOA_TTL_SECS_MAX)
        );
        Record::from_text(&text).expect("a well-formed SOA")
    }

    /// The labels in front of the cluster domain; `None` outside it.
    fn below_domain<'a>(&self, name: &'a str) -> Option<Vec<&'a str>> {
        match name.strip_suffix(&self.domain)? {
            "" => Some(Vec::new()),
            front => Some(front.strip_suffix('.')?.split('.').collect()),
        }
    }
}

impl Service {
    /// A Service with one address and a port named `http`.
    pub fn at(address: &str) -> Self {
        Self::ClusterIp { addresses: addresses(&[address]), ports: vec![Port::HTTP] }
    }

    /// A headless Service with these endpoints.
    pub fn headless(endpoints: &[(&str, &str)]) -> Self {
        let endpoint = |(name, ip): &(&str, &str)| ((*name).to_owned(), addresses(&[ip])[0]);
        let endpoints = endpoints.iter().map(endpoint).collect();
        Self::Headless { endpoints, ports: vec![Port::HTTP] }
    }

    fn ports(&self) -> Vec<&Port> {
        match self {
            Self::ClusterIp { ports, .. } | Self::Headless { ports, .. } => ports.iter().collect(),
            Self::ExternalName(_) => Vec::new(),
        }
    }

    fn addresses(&self) -> Vec<IpAddr> {
        match self {
            Self::ClusterIp { addresses, .. } => addresses.clone(),
            Self::Headless { endpoints, .. } => endpoints.iter().map(|(_, ip)| *ip).collect(),
            Self::ExternalName(_) => Vec::new(),
        }
    }
}

impl Port {
    pub const HTTP: Self = Self { name: "http", protocol: "tcp", number: 80 };
    pub const DNS: Self = Self { name: "dns", protocol: "udp", number: 53 };
}

/// A world that changes while it is asked.
#[derive(Debug, Clone)]
pub struct Shared(Arc<RwLock<World>>);

impl Shared {
    pub fn new(world: World) -> Self {
        Self(Arc::new(RwLock::new(world)))
    }

    pub fn read(&self) -> RwLockReadGuard<'_, World> {
        // A panic elsewhere is reported there; what exists is still whole.
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what exists, between two answers.
    pub fn change(&self) -> RwLockWriteGuard<'_, World> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Addresses from text.
pub fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().expect("an address")).collect()
}

/// A name in lower case without its final dot; the root is empty.
pub fn text_of(name: &DomainName) -> String {
    name.to_string().trim_end_matches('.').to_ascii_lowercase()
}

/// The other way round.
pub fn domain_name(text: &str) -> DomainName {
    let text = if text.is_empty() { "." } else { text };
    DomainName::from_text(text).expect("a domain name")
}

fn wire(name: &str) -> Vec<u8> {
    domain_name(name).0
}

/// A type by its name.
pub fn type_of(name: &str) -> u16 {
    type_number(name).expect("a type")
}
