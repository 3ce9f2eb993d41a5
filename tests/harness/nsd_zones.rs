//! A cluster's zone, the host's domain, a few zones of the Internet and the root above them, with
//! lifetimes a test chooses, as text for nsd; and what is right to say about each name.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::IpAddr;

use super::nsd::NsdZone;

/// How many names [`Zones::external_names`] has.
pub const EXTERNAL_NAMES: usize = 200;

const ZONES: usize = 20;
const TOP_LEVEL: [&str; 5] = ["com", "net", "org", "io", "app"];

/// The namespaces that have Services, and the names of those that each of them has.
pub const NAMESPACES: [&str; 5] = ["default", "payments", "data", "kube-system", "team-a"];
const SERVICES: [&str; 6] = ["web", "api", "ledger", "queue", "cache", "search"];

/// Lifetimes in seconds, the same in every zone.
#[derive(Debug, Clone, Copy)]
pub struct Lifetimes {
    pub positive_secs: u32,
    pub negative_secs: u32,
}

/// The zones, and the addresses of every name that has some.
pub struct Zones {
    texts: Vec<NsdZone>,
    lifetimes: Lifetimes,
    addresses: BTreeMap<String, Vec<String>>,
}

impl Zones {
    /// All of it: five namespaces, 200 external names in 20 zones under five top-level domains.
    pub fn new(lifetimes: Lifetimes) -> Self {
        let mut built = Self { texts: Vec::new(), lifetimes, addresses: BTreeMap::new() };
        built.add_cluster();
        built.add_zone("ec2.internal", "ip-10-0-0-7 A 10.0.0.7\n");
        built.note("ip-10-0-0-7.ec2.internal", &["10.0.0.7"]);
        // The namespace `default` has a Service called `dev`, so this zone's names lie below a
        // boundary that exists.
        built.add_zone("tools.dev", "git A 198.18.200.1\n");
        built.note("git.tools.dev", &["198.18.200.1"]);
        (0..ZONES).for_each(|number| built.add_external(number));
        built.add_zone(".", "");
        built
    }

    /// The zones as nsd takes them.
    pub fn texts(&self) -> &[NsdZone] {
        &self.texts
    }

    pub fn lifetimes(&self) -> Lifetimes {
        self.lifetimes
    }

    /// The addresses of an absolute name (written without its dot), in order; none if it has none.
    pub fn addresses(&self, name: &str) -> &[String] {
        self.addresses.get(name).map_or(&[], Vec::as_slice)
    }

    /// Names of the Internet that exist, aliases, names without AAAA and deep ones among them.
    pub fn external_names(&self) -> Vec<String> {
        let hosts = (0..EXTERNAL_NAMES / ZONES).flat_map(|host| {
            (0..ZONES).map(move |zone| format!("{}.{}", host_name(host), zone_name(zone)))
        });
        hosts.collect()
    }

    /// The full names of all Services and endpoints of the cluster.
    pub fn cluster_names(&self) -> Vec<String> {
        self.addresses.keys().filter(|name| name.ends_with(".cluster.local")).cloned().collect()
    }

    fn add_cluster(&mut self) {
        let mut text = String::new();
        for (space, namespace) in NAMESPACES.iter().enumerate() {
            for (number, service) in SERVICES.iter().enumerate() {
                let name = format!("{service}.{namespace}.svc");
                let last = number + 1;
                self.add_host(&mut text, &name, &format!("10.96.{space}.{last}"), {
                    // Every third Service has both families.
                    (number % 3 == 0).then(|| format!("fd00:96:{space}::{last}"))
                });
            }
        }
        self.add_host(&mut text, "dev.default.svc", "10.96.0.200", None);
        self.add_headless(&mut text, "db.data.svc");
        self.add_zone("cluster.local", &text);
    }

    /// A headless Service with three endpoints, each with a name below it.
    fn add_headless(&mut self, text: &mut String, service: &str) {
        let endpoints = ["10.244.7.1", "10.244.7.2", "10.244.7.3"];
        for (number, endpoint) in endpoints.iter().enumerate() {
            self.add_host(text, &format!("db-{number}.{service}"), endpoint, None);
            writeln!(text, "{service} A {endpoint}").expect("a string");
        }
        self.note(&format!("{service}.cluster.local"), &endpoints);
    }

    fn add_host(&mut self, text: &mut String, name: &str, a: &str, aaaa: Option<String>) {
        writeln!(text, "{name} A {a}").expect("a string");
        if let Some(aaaa) = &aaaa {
            writeln!(text, "{name} AAAA {aaaa}").expect("a string");
        }
        let found: Vec<&str> = [a].into_iter().chain(aaaa.as_deref()).collect();
        self.note(&format!("{name}.cluster.local"), &found);
    }

    fn add_external(&mut self, zone: usize) {
        let origin = zone_name(zone);
        let mut text = format!("edge A 198.18.{zone}.100\nedge AAAA 2001:db8:{zone}::100\n");
        for host in 0..EXTERNAL_NAMES / ZONES {
            let name = host_name(host);
            let (a, aaaa) = (format!("198.18.{zone}.{host}"), format!("2001:db8:{zone}::{host}"));
            let absolute = format!("{name}.{origin}");
            match host {
                1 => {
                    writeln!(text, "{name} CNAME edge").expect("a string");
                    let edge = [format!("198.18.{zone}.100"), format!("2001:db8:{zone}::100")];
                    self.note(&absolute, &edge);
                }
                2 => {
                    writeln!(text, "{name} A {a}").expect("a string");
                    self.note(&absolute, &[a]);
                }
                _ => {
                    writeln!(text, "{name} A {a}\n{name} AAAA {aaaa}").expect("a string");
                    self.note(&absolute, &[a, aaaa]);
                }
            }
        }
        self.add_zone(&origin, &text);
    }

    fn add_zone(&mut self, name: &str, records: &str) {
        let Lifetimes { positive_secs, negative_secs } = self.lifetimes;
        let origin = if name == "." { String::from(".") } else { format!("{name}.") };
        let text = format!(
            "$ORIGIN {origin}\n$TTL {positive_secs}\n@ {negative_secs} SOA ns.invalid. \
             host.invalid. 1 7200 1800 86400 {negative_secs}\n@ NS ns.invalid.\n{records}"
        );
        self.texts.push(NsdZone { name: name.to_owned(), text });
    }

    fn note(&mut self, name: &str, addresses: &[impl AsRef<str>]) {
        let mut addresses: Vec<String> =
            addresses.iter().map(|address| as_printed(address.as_ref())).collect();
        addresses.sort();
        self.addresses.insert(name.to_owned(), addresses);
    }
}

/// In the form inet_ntop has for it.
fn as_printed(address: &str) -> String {
    address.parse::<IpAddr>().expect("an address").to_string()
}

fn zone_name(number: usize) -> String {
    format!("shop{number}.{}", TOP_LEVEL[number % TOP_LEVEL.len()])
}

/// The first is an alias, the second has no AAAA, and the third is one label deeper.
fn host_name(number: usize) -> String {
    match number {
        1 => "www".into(),
        2 => "legacy".into(),
        3 => "v1.rest".into(),
        _ => format!("api{number}"),
    }
}
