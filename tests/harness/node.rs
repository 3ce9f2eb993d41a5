//! A node, a pod on it and an upstream at a distance, each in a network namespace: the program
//! under test as it is used, and applications with the search list every pod has.
//!
//! ```text
//!   pod -- veth -- node -- veth -- wire (1 ms each way) -- veth -- upstream -- veth -- direct
//!   lookups        dnscache                                        nsd                 lookups
//! ```
//!
//! `direct` is a pod too, but its resolv.conf names nsd: what it is told is what is right.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::c_program::{Library, compile};
use super::namespace::Namespace;
use super::nsd::Nsd;
use super::nsd_zones::Zones;
use super::program::{self, Program, metric_sum};
use super::within;

/// The node's cache, where NodeLocal DNSCache has it.
const CACHE: Ipv4Addr = Ipv4Addr::new(169, 254, 20, 10);
const NODE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const UPSTREAM: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 53);
const UPSTREAM_FOR_DIRECT: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 53);

/// How long the wire is, in each direction.
const WIRE_US: u32 = 1_000;

/// Two blocks of the reference manifest, which caps denials at 5 s. `loop` is left out, because its probes would be counted
/// among the questions upstream, and `reload`, because nothing changes. So is `force_tcp`: nsd leaves
/// Nagle's algorithm on, and its second answer of a pair waits 40 ms for the first to be
/// acknowledged, which would make every saving look ten times what it is with CoreDNS.
const COREFILE: &str = "cluster.local:53 {
    errors
    cache {
            success 9984 30
            denial 9984 DENIAL_SECS
    }
    bind 169.254.20.10
    forward . 10.0.0.53
    prometheus 169.254.20.10:9253
    }
.:53 {
    errors
    cache 30
    bind 169.254.20.10
    forward . /etc/resolv.conf
    prometheus 169.254.20.10:9253
    }
";

/// Where a lookup is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the pod, whose resolv.conf names the node's cache.
    Pod,
    /// Where resolv.conf names nsd.
    Direct,
}

/// One call of getaddrinfo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    pub name: String,
    pub took_us: u64,
    pub outcome: Outcome,
}

/// What getaddrinfo said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Addresses, sorted: their order is the cache's to change.
    Addresses(Vec<String>),
    /// The C library's number and text of an error.
    Error(String),
}

/// What the program has counted so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Questions of clients.
    pub asked: u64,
    /// Questions to upstreams, whatever they were for.
    pub upstream: u64,
    /// Those of `upstream` that renewed something no client was waiting for.
    pub refreshes: u64,
    /// Those of `upstream` that checked a reply that had been put together from facts.
    pub audits: u64,
}

/// Lookups one after another, and what they cost.
pub struct Pass {
    pub lookups: Vec<Lookup>,
    pub counts: Counts,
}

/// Everything that runs; fields end in the order they stand in.
pub struct Node {
    program: Program,
    _nsd: Nsd,
    _wire: Wire,
    clients: TempDir,
    host: Namespace,
    pod: Namespace,
    direct: Namespace,
    _others: [Namespace; 2],
}

impl Node {
    /// Makes the namespaces and starts nsd, the wire and the program under test.
    pub fn start(zones: &Zones) -> Self {
        let [host, pod, direct, upstream, between] =
            ["node", "pod", "direct", "upstream", "wire"].map(Namespace::new);
        join(&host, &pod, &direct, &upstream, &between);
        write_files(&host, &pod, &direct);
        let clients = tempfile::tempdir().expect("a folder for temporary files");
        for library in [Library::Glibc, Library::Musl] {
            compile("lookups", library, clients.path());
        }
        let wire = Wire::start(&between, compile("wire", Library::Glibc, clients.path()));
        let addresses = [(UPSTREAM, 53).into(), (UPSTREAM_FOR_DIRECT, 53).into()];
        let nsd = Nsd::start(upstream.command("nsd"), &addresses, zones.texts());
        host.inside(|| nsd.wait_until_it_answers(NODE.into()));
        let program = start_program(&host, zones);
        let others = [upstream, between];
        Self { program, _nsd: nsd, _wire: wire, clients, host, pod, direct, _others: others }
    }

    /// Looks up `names` in order, the starts of two lookups at least `pace` apart.
    pub fn look_up(
        &self,
        place: Place,
        library: Library,
        names: &[String],
        pace: Duration,
    ) -> Vec<Lookup> {
        let list = tempfile::NamedTempFile::new_in(self.clients.path()).expect("a writable folder");
        std::fs::write(list.path(), names.join("\n") + "\n").expect("a writable folder");
        let namespace = if place == Place::Pod { &self.pod } else { &self.direct };
        let output = namespace
            .command(self.clients.path().join(format!("lookups-{library:?}")))
            .arg(list.path())
            .arg(pace.as_micros().to_string())
            .stdin(Stdio::null())
            .output()
            .expect("the client runs");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {complaint}", output.status);
        let lookups: Vec<Lookup> =
            String::from_utf8_lossy(&output.stdout).lines().map(Lookup::from_line).collect();
        assert!(lookups.iter().map(|lookup| &lookup.name).eq(names), "a lookup for each name");
        lookups
    }

    /// Looks up `names` in the pod and counts; nothing else may ask meanwhile.
    pub fn pass(&self, library: Library, names: &[String], pace: Duration) -> Pass {
        let (before, sent_before) = (self.counts(), self.pod.datagrams_sent());
        let lookups = self.look_up(Place::Pod, library, names, pace);
        let sent = self.pod.datagrams_sent() - sent_before;
        let mut counts = Counts::default();
        // The program counts a batch after it has replied, and an audit and its question one after
        // the other, so its page may be a moment behind: it is read until it says the same twice.
        let agreed = within(Duration::from_secs(2), || {
            std::thread::sleep(Duration::from_millis(20));
            let told = std::mem::replace(&mut counts, self.counts().since(before));
            counts.asked == sent && counts == told
        });
        assert!(agreed, "the pod sent {sent} datagrams, the program counts {}", counts.asked);
        Pass { lookups, counts }
    }

    /// The program's counters as they are now.
    pub fn counts(&self) -> Counts {
        let page = self.metrics();
        let sum = |name: &str| metric_sum(&page, name, &[]) as u64;
        Counts {
            asked: sum("coredns_dns_requests_total"),
            upstream: sum("coredns_proxy_request_duration_seconds_count"),
            refreshes: sum("dnscache_hot_refreshes_total"),
            audits: sum("dnscache_search_audits_total"),
        }
    }

    /// The program's metrics page.
    pub fn metrics(&self) -> String {
        self.host.inside(|| self.program.metrics())
    }
}

impl Pass {
    /// Client's questions for each lookup.
    pub fn asked_per_lookup(&self) -> f64 {
        self.counts.asked as f64 / self.lookups.len() as f64
    }

    /// The time that `percent` of the lookups did not exceed, in microseconds.
    pub fn percentile_us(&self, percent: usize) -> u64 {
        let mut times: Vec<u64> = self.lookups.iter().map(|lookup| lookup.took_us).collect();
        times.sort_unstable();
        times[(times.len() * percent / 100).min(times.len() - 1)]
    }

    /// The head of the table whose lines passes are.
    pub const TABLE_HEAD: &str =
        "     pass  asked/lookup  upstream/lookup  renewals  audits   p50 us   p99 us";
}

impl fmt::Display for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let upstream = self.counts.upstream as f64 / self.lookups.len() as f64;
        let Counts { refreshes, audits, .. } = self.counts;
        write!(f, "{:12.2} {upstream:16.2} {refreshes:9} {audits:7}", self.asked_per_lookup())?;
        write!(f, " {:8} {:8}", self.percentile_us(50), self.percentile_us(99))
    }
}

impl Counts {
    fn since(self, before: Self) -> Self {
        Self {
            asked: self.asked - before.asked,
            upstream: self.upstream - before.upstream,
            refreshes: self.refreshes - before.refreshes,
            audits: self.audits - before.audits,
        }
    }
}

impl Lookup {
    fn from_line(line: &str) -> Self {
        let mut parts = line.splitn(3, ' ');
        let mut part = || parts.next().unwrap_or_else(|| panic!("three parts: {line:?}"));
        let took_us = part().parse().unwrap_or_else(|_| panic!("microseconds: {line:?}"));
        let (name, outcome) = (part().to_owned(), part());
        let outcome = match outcome.strip_prefix("error ") {
            Some(error) => Outcome::Error(error.to_owned()),
            None => {
                let mut addresses: Vec<String> = outcome.split(' ').map(str::to_owned).collect();
                addresses.sort();
                Outcome::Addresses(addresses)
            }
        };
        Self { name, took_us, outcome }
    }
}

/// Interfaces, addresses and the two routes there are.
fn join(
    host: &Namespace,
    pod: &Namespace,
    direct: &Namespace,
    upstream: &Namespace,
    between: &Namespace,
) {
    host.connect("pod0", pod, "eth0");
    host.connect("eth0", between, "left");
    upstream.connect("eth0", between, "right");
    upstream.connect("direct0", direct, "eth0");
    host.ip(&format!("address add {CACHE}/32 dev lo"));
    host.ip("address add 10.244.0.1/24 dev pod0");
    host.ip(&format!("address add {NODE}/24 dev eth0"));
    upstream.ip(&format!("address add {UPSTREAM}/24 dev eth0"));
    upstream.ip(&format!("address add {UPSTREAM_FOR_DIRECT}/24 dev direct0"));
    pod.ip("address add 10.244.0.2/24 dev eth0");
    pod.ip("route add default via 10.244.0.1");
    direct.ip("address add 10.0.1.2/24 dev eth0");
    direct.ip(&format!("route add default via {UPSTREAM_FOR_DIRECT}"));
}

fn write_files(host: &Namespace, pod: &Namespace, direct: &Namespace) {
    host.write_file("resolv.conf", &format!("nameserver {UPSTREAM}\nsearch ec2.internal\n"));
    for (namespace, nameserver) in [(pod, CACHE), (direct, UPSTREAM_FOR_DIRECT)] {
        let text = format!(
            "nameserver {nameserver}\nsearch default.svc.cluster.local svc.cluster.local \
             cluster.local ec2.internal\noptions ndots:5\n"
        );
        namespace.write_file("resolv.conf", &text);
        // The machine's own may name other sources than DNS, and answers for them.
        namespace.write_file("nsswitch.conf", "hosts: files dns\n");
        namespace.write_file("hosts", "127.0.0.1 localhost\n");
    }
    assert!(std::path::Path::new("/etc/resolv.conf").exists(), "there is no file to lie over");
    // glibc would ask it before DNS, and its answers are the machine's.
    let nscd = std::path::Path::new("/run/nscd/socket");
    assert!(!nscd.exists(), "nscd runs here and would answer for the cache");
}

fn start_program(host: &Namespace, zones: &Zones) -> Program {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let corefile = folder.path().join("Corefile");
    let denial_secs = zones.lifetimes().negative_secs.to_string();
    let text = COREFILE.replace("DENIAL_SECS", &denial_secs);
    std::fs::write(&corefile, text).expect("a writable folder");
    let mut command = host.command(program::command().get_program());
    command.arg("-conf").arg(corefile).args(["-setupinterface=false", "-setupiptables=false"]);
    let mut program = Program::spawn(command, (CACHE, 53).into(), folder);
    host.inside(|| program.wait_until_it_answers());
    program
}

/// Carries frames between two interfaces, each of them a while later.
struct Wire(Child);

impl Wire {
    fn start(between: &Namespace, program: PathBuf) -> Self {
        let mut command: Command = between.command(program);
        command.args(["left", "right", &WIRE_US.to_string()]).stdin(Stdio::piped());
        Self(command.spawn().expect("the wire starts"))
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lookups_line_is_read() {
        let found = Lookup::from_line("12 a.test 2001:db8::1 192.0.2.1");
        let addresses = ["192.0.2.1", "2001:db8::1"].map(String::from).to_vec();
        assert_eq!((found.took_us, found.name.as_str()), (12, "a.test"));
        assert_eq!(found.outcome, Outcome::Addresses(addresses));
        let failed = Lookup::from_line("7 b.test error -2 Name or service not known");
        assert_eq!(failed.outcome, Outcome::Error("-2 Name or service not known".into()));
    }
}
