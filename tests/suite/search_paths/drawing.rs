//! Lookups drawn at random: names that exist, names that nearly do, under any suffix.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::{STYLES, pod};
use crate::cluster::sample::NAMESPACES;
use crate::cluster::walk::{Resolver, Style};
use crate::cluster::world::{rtype, type_of};

/// A lookup to make.
#[derive(Debug, Clone)]
pub struct Drawn {
    pub name: String,
    pub types: Vec<u16>,
    pub style: Style,
    pub namespace: &'static str,
    pub dnssec_ok: bool,
}

impl Drawn {
    pub fn resolver(&self) -> Resolver {
        Resolver { dnssec_ok: self.dnssec_ok, ..pod(self.style, self.namespace) }
    }
}

const SERVICES: [&str; 13] = [
    "kubernetes",
    "web",
    "api",
    "db",
    "kube-dns",
    "six",
    "idle",
    "books",
    "inside",
    "gone",
    "payments",
    "org",
    "missing",
];
const EXTERNAL: [&str; 19] = [
    "amazon.com",
    "www.amazon.com",
    "edge.amazon.com",
    "a.b.c.d.e.amazon.com",
    "new.apps.amazon.com",
    "example.org",
    "www.example.org",
    "six.example.org",
    "text.example.org",
    "lost.example.org",
    "below.example.org",
    "deep.below.example.org",
    "_sip._udp.example.org",
    "github.com",
    "api.github.com",
    "www.github.com",
    "legacy",
    "jenkins.build",
    "ip-10-0-1-5",
];
const REVERSE: [&str; 4] = [
    "1.0.96.10.in-addr.arpa",
    "30.0.96.10.in-addr.arpa",
    "10.1.244.10.in-addr.arpa",
    "9.9.9.9.in-addr.arpa",
];
const SUFFIXES: [&str; 9] = [
    "default.svc.cluster.local",
    "payments.svc.cluster.local",
    "com.svc.cluster.local",
    "nowhere.svc.cluster.local",
    "svc.cluster.local",
    "cluster.local",
    "ec2.internal",
    "default",
    "default.svc",
];
/// Labels that mean something somewhere in the search list.
const LABELS: [&str; 28] = [
    "web",
    "api",
    "db",
    "db-0",
    "payments",
    "default",
    "com",
    "amazon",
    "org",
    "example",
    "www",
    "svc",
    "pod",
    "cluster",
    "local",
    "ec2",
    "internal",
    "_http",
    "_tcp",
    "_dns",
    "_udp",
    "github",
    "10-244-1-10",
    "kube-system",
    "empty",
    "books",
    "legacy",
    "x",
];
const TYPES: [&str; 10] = ["A", "AAAA", "SRV", "TXT", "MX", "CNAME", "SOA", "NS", "PTR", "HTTPS"];
/// Services that are there, with their namespaces.
const EXISTING: [(&str, &str); 12] = [
    ("kubernetes", "default"),
    ("web", "default"),
    ("web", "payments"),
    ("api", "payments"),
    ("kube-dns", "kube-system"),
    ("six", "payments"),
    ("db", "payments"),
    ("books", "default"),
    ("inside", "default"),
    ("payments", "default"),
    ("org", "default"),
    ("amazon", "com"),
];
/// What stands in front of a Service: endpoints, ports, and the trap.
const PREFIXES: [&str; 10] =
    ["", "", "", "", "db-0.", "example.", "_http._tcp.", "_dns._udp.", "_tcp.", "_"];
/// Lookups that come again and again, so that some are answered warm.
const FAVOURITES_MAX: usize = 80;

/// A source of lookups.
pub struct Drawing {
    random: StdRng,
    favourites: Vec<Drawn>,
}

impl Drawing {
    /// The same seed draws the same lookups.
    pub fn new(seed: u64) -> Self {
        Self { random: StdRng::seed_from_u64(seed), favourites: Vec::new() }
    }

    /// The next lookup: one in two has been made before.
    pub fn next(&mut self) -> Drawn {
        if self.favourites.len() == FAVOURITES_MAX && self.random.random_bool(0.5) {
            return self.pick_favourite();
        }
        let drawn = self.draw();
        if self.favourites.len() < FAVOURITES_MAX {
            self.favourites.push(drawn.clone());
        }
        drawn
    }

    fn pick_favourite(&mut self) -> Drawn {
        let at = self.random.random_range(0..self.favourites.len());
        self.favourites[at].clone()
    }

    fn draw(&mut self) -> Drawn {
        let mut drawn = Drawn {
            name: String::new(),
            types: vec![rtype::A, rtype::AAAA],
            style: STYLES[self.random.random_range(0..STYLES.len())],
            namespace: self.pick(&NAMESPACES),
            dnssec_ok: self.random.random_bool(0.1),
        };
        match self.random.random_range(0..20) {
            0..8 => self.draw_service(&mut drawn),
            8..14 => drawn.name = self.pick(&EXTERNAL).to_owned(),
            // Names nobody asked before, some below known ones.
            14 => drawn.name = format!("{}.{}", self.new_label(), self.pick(&EXTERNAL)),
            15 => drawn.name = format!("{}.test", self.new_label()),
            16 => {
                drawn.name = self.pick(&REVERSE).to_owned();
                drawn.types = vec![type_of("PTR")];
            }
            _ => drawn.name = self.labels(),
        }
        if self.random.random_bool(0.25) {
            drawn.types = vec![type_of(self.pick(&TYPES))];
        }
        self.dress(&mut drawn.name);
        drawn
    }

    /// A Service, most often one that exists, as pods of its namespace or of another call it.
    fn draw_service(&mut self, drawn: &mut Drawn) {
        let (service, namespace) = match self.random.random_bool(0.7) {
            true => *EXISTING.choose(&mut self.random).expect("a list that is not empty"),
            false => (self.pick(&SERVICES), self.pick(&NAMESPACES)),
        };
        let prefix = self.pick(&PREFIXES);
        if prefix.starts_with('_') && self.random.random_bool(0.7) {
            drawn.types = vec![rtype::SRV];
        }
        drawn.name = match self.random.random_range(0..4) {
            0 => {
                drawn.namespace = namespace;
                format!("{prefix}{service}")
            }
            1 => format!("{prefix}{service}.{namespace}"),
            2 => format!("{prefix}{service}.{namespace}.svc"),
            _ => format!("{prefix}{service}.{namespace}.svc.cluster.local"),
        };
    }

    /// Suffixes, a final dot, capitals.
    fn dress(&mut self, name: &mut String) {
        if self.random.random_bool(0.1) {
            *name = format!("{name}.{}", self.pick(&SUFFIXES));
        }
        if self.random.random_bool(0.1) {
            name.push('.');
        }
        if self.random.random_bool(0.05) {
            name.make_ascii_uppercase();
        }
    }

    fn labels(&mut self) -> String {
        let count = self.random.random_range(1..=5);
        (0..count).map(|_| self.pick(&LABELS)).collect::<Vec<_>>().join(".")
    }

    fn new_label(&mut self) -> String {
        format!("m{}", self.random.random_range(0..500))
    }

    fn pick(&mut self, from: &[&'static str]) -> &'static str {
        from.choose(&mut self.random).expect("a list that is not empty")
    }
}
