//! A node as kube-proxy makes it, a pod on it, and a DNS server behind a ClusterIP: three network
//! namespaces, and the program under test with the node to itself.
//!
//! ```text
//!   pod -- veth -- node (dnscache, packet rules of kube-proxy) -- veth -- backend (nsd)
//! ```
//!
//! Who answered is seen in the answer: the program says [`OURS`], nsd says [`THEIRS`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::client::{TcpClient, UdpClient};
use super::message::Message;
use super::namespace::Namespace;
use super::nsd::{Nsd, NsdZone};
use super::program::{self, Program};
use super::within;
use super::zone::query;

/// The link-local address and the ClusterIP of the reference manifest.
pub const LOCAL: Ipv4Addr = Ipv4Addr::new(169, 254, 20, 10);
pub const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
/// A ClusterIP of the other family.
pub const SERVICE6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x96, 0, 0, 0, 0, 0, 0x10);
/// The interface's name when nobody says another.
pub const INTERFACE: &str = "nodelocaldns";
/// The address of `who.test` in the program and behind the ClusterIP.
pub const OURS: [u8; 4] = [192, 0, 2, 1];
pub const THEIRS: [u8; 4] = [192, 0, 2, 2];

/// By family, IPv4 first.
const POD: [&str; 2] = ["10.244.0.2", "fd00:244::2"];
const POD_GATEWAY: [&str; 2] = ["10.244.0.1", "fd00:244::1"];
const NODE: [&str; 2] = ["10.0.0.1", "fd00:1::1"];
const BACKEND: [&str; 2] = ["10.0.0.53", "fd00:1::53"];
const PODS: [&str; 2] = ["10.244.0.0/16", "fd00:244::/64"];
const SERVICES: [IpAddr; 2] = [IpAddr::V4(SERVICE), IpAddr::V6(SERVICE6)];

/// How long a client waits for an answer.
const PAUSE: Duration = Duration::from_millis(500);

/// How kube-proxy leads questions for the ClusterIP to the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proxy {
    /// Its mode `iptables`.
    Iptables,
    /// The same on a node whose iptables drop what is not accepted.
    IptablesAndFirewall,
    /// Its mode `nftables`.
    Nftables,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// A pod on the node.
    Pod,
    /// The same over IPv6.
    Pod6,
    /// A process of the node itself.
    Host,
    /// The same over IPv6.
    Host6,
}

impl Client {
    pub const ALL: [Self; 4] = [Self::Pod, Self::Pod6, Self::Host, Self::Host6];
}

/// A node without a pod: what the program does to it can be looked at.
pub struct BareNode {
    pub namespace: Namespace,
    folder: TempDir,
}

impl BareNode {
    /// A node with a link for the addresses, since not every kernel can make one of type dummy.
    pub fn new() -> Self {
        let node = Self::without_link();
        node.make_link();
        node
    }

    /// A node without that link.
    pub fn without_link() -> Self {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let node = Self { namespace: Namespace::new("node"), folder };
        std::fs::write(node.path("lock"), "").expect("a writable folder");
        node
    }

    /// Makes the link of a type that every kernel has.
    pub fn make_link(&self) {
        self.namespace.ip(&format!("link add {INTERFACE} type ifb"));
    }

    /// A file of the node.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts the program for the two addresses of the manifest; waits until it answers.
    pub fn start(&self, arguments: &[&str]) -> Program {
        self.start_for(&[LOCAL.into(), SERVICE.into()], arguments)
    }

    /// Starts the program for these addresses; waits until it answers on the first.
    pub fn start_for(&self, addresses: &[IpAddr], arguments: &[&str]) -> Program {
        let mut program = self.spawn(addresses, arguments);
        // Until the program has made it, there is no way to the address.
        let is_up = program.logs_within("listening on", Duration::from_secs(20));
        assert!(is_up, "not up within 20 s:\n{}", program.log());
        self.namespace.inside(|| program.wait_until_it_answers());
        program
    }

    /// Starts the program for these addresses.
    pub fn spawn(&self, addresses: &[IpAddr], arguments: &[&str]) -> Program {
        self.spawn_with("hosts {\n 192.0.2.1 who.test\n }", addresses, arguments)
    }

    /// Starts the program for these addresses with further directives.
    pub fn spawn_with(
        &self,
        directives: &str,
        addresses: &[IpAddr],
        arguments: &[&str],
    ) -> Program {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let corefile = folder.path().join("Corefile");
        let words: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let bind = words.join(" ");
        let text = format!(".:53 {{\n bind {bind}\n prometheus {LOCAL}:9253\n {directives}\n}}\n");
        std::fs::write(&corefile, text).expect("a writable folder");
        let mut command = self.namespace.command(program::command().get_program());
        command.arg("-conf").arg(&corefile).arg("-localip").arg(words.join(","));
        command.arg("-node-lock").arg(self.path("lock")).args(arguments);
        Program::spawn(command, (addresses[0], 53).into(), folder)
    }

    /// What a program prints in the node's namespace.
    pub fn prints(&self, words: &str) -> String {
        let mut words = words.split_whitespace();
        let mut command = self.namespace.command(words.next().expect("a program"));
        let output = command.args(words).output().expect("ip of iproute2 runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs a shell's line in the node's namespace.
    pub fn shell(&self, line: &str) {
        let output = self.namespace.command("sh").args(["-ec", line]).output().expect("a shell");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {complaint}");
    }

    /// All packet rules there are, of any kind.
    pub fn rules(&self) -> String {
        ["nft list ruleset", "iptables-legacy-save", "ip6tables-legacy-save"]
            .map(|command| self.prints(command))
            .concat()
    }

    /// How many of them are about the program's addresses.
    pub fn rules_of_ours(&self) -> usize {
        let is_ours =
            |line: &&str| line.contains(&LOCAL.to_string()) || line.contains(&SERVICE.to_string());
        self.rules().lines().filter(is_ours).count()
    }

    /// Addresses of the interface; empty if it is not there.
    pub fn addresses(&self) -> String {
        self.prints(&format!("ip -o address show dev {INTERFACE}"))
    }

    /// Waits until the interface has these addresses.
    pub fn has_addresses_within(&self, addresses: &[IpAddr], limit: Duration) -> bool {
        within(limit, || {
            let there = self.addresses();
            addresses.iter().all(|address| there.contains(&format!(" {address}/")))
        })
    }
}

/// Waits until the program says that its rules stand.
pub fn wait_for_rules(program: &Program) {
    let said = program.logs_within("packet rules are in place", Duration::from_secs(20));
    assert!(said, "no rules within 20 s:\n{}", program.log());
}

/// A node with kube-proxy, a pod, and nsd behind the ClusterIP.
pub struct KubeNode {
    pub node: BareNode,
    pub pod: Namespace,
    _nsd: Nsd,
    _backend: Namespace,
}

impl KubeNode {
    /// Joins them; the program is not started.
    pub fn new(proxy: Proxy) -> Self {
        let node = BareNode::new();
        let [pod, backend] = ["pod", "backend"].map(Namespace::new);
        let host = &node.namespace;
        host.connect("pod0", &pod, "eth0");
        host.connect("eth0", &backend, "eth0");
        for (family, length) in ["24", "64 nodad"].into_iter().enumerate() {
            let [address, gateway] = [POD[family], POD_GATEWAY[family]];
            host.ip(&format!("address add {gateway}/{}", with_device(length, "pod0")));
            host.ip(&format!("address add {}/{}", NODE[family], with_device(length, "eth0")));
            pod.ip(&format!("address add {address}/{}", with_device(length, "eth0")));
            backend.ip(&format!("address add {}/{}", BACKEND[family], with_device(length, "eth0")));
            pod.ip(&format!("route add default via {gateway}"));
            backend.ip(&format!("route add default via {}", NODE[family]));
            host.ip(&format!("route add default via {}", BACKEND[family]));
        }
        for switch in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            host.inside(|| std::fs::write(format!("/proc/sys/net/{switch}"), "1"))
                .expect("root may switch on forwarding");
        }
        let zone = NsdZone {
            name: "test".to_owned(),
            text: "$ORIGIN test.\n@ 60 SOA ns hostmaster 1 60 60 60 60\n@ 60 NS ns\nns 60 A \
                   10.0.0.53\nwho 60 A 192.0.2.2\n* 3600 A 192.0.2.3\n"
                .to_owned(),
        };
        let served = BACKEND.map(|address| SocketAddr::new(ip(address), 53));
        let nsd = Nsd::start(backend.command("nsd"), &served, &[zone]);
        host.inside(|| nsd.wait_until_it_answers(ip(NODE[0])));
        proxy.set_up(&node);
        Self { node, pod, _nsd: nsd, _backend: backend }
    }

    /// Starts the program for the link-local address and both ClusterIPs.
    pub fn start(&self, arguments: &[&str]) -> Program {
        self.node.start_for(&[LOCAL.into(), SERVICES[0], SERVICES[1]], arguments)
    }

    /// Starts the program for the same addresses as a cache in front of the backend, without waiting.
    pub fn spawn_cache(&self, arguments: &[&str]) -> Program {
        let directives = format!("cache\n forward . {}", BACKEND[0]);
        self.node.spawn_with(&directives, &[LOCAL.into(), SERVICE.into()], arguments)
    }

    /// Asks the ClusterIP who is there, over both transports, each on a new port; `None` if one
    /// gets no answer or they do not agree.
    pub fn who_answers(&self, client: Client) -> Option<[u8; 4]> {
        let over_udp = self.udp_answer(client)?;
        let (namespace, _, server) = self.place(client);
        namespace.inside(|| {
            let stream = TcpStream::connect_timeout(&server, PAUSE);
            let mut tcp = TcpClient { stream: stream.ok()? };
            tcp.send(&query(7, "who.test", "A").write());
            let over_tcp = address_in(&tcp.receive(PAUSE)?)?;
            (over_udp == over_tcp).then_some(over_udp)
        })
    }

    /// Asks the ClusterIP over UDP, from a new port.
    pub fn udp_answer(&self, client: Client) -> Option<[u8; 4]> {
        let (namespace, from, server) = self.place(client);
        namespace.inside(|| {
            let udp = UdpClient::from_address(from, server);
            udp.send(&query(7, "who.test", "A").write());
            address_in(&udp.receive(PAUSE)?)
        })
    }

    /// Where a client is, its address, and the ClusterIP it asks.
    fn place(&self, client: Client) -> (&Namespace, IpAddr, SocketAddr) {
        let (namespace, family, from) = match client {
            Client::Pod => (&self.pod, 0, POD),
            Client::Pod6 => (&self.pod, 1, POD),
            Client::Host => (&self.node.namespace, 0, NODE),
            Client::Host6 => (&self.node.namespace, 1, NODE),
        };
        (namespace, ip(from[family]), SocketAddr::new(SERVICES[family], 53))
    }

    /// Whether this one answers before `limit` is over.
    pub fn is_answered_by(&self, client: Client, expected: [u8; 4], limit: Duration) -> bool {
        within(limit, || self.who_answers(client) == Some(expected))
    }

    /// Connections and their like that the node's kernel keeps track of.
    pub fn tracked(&self) -> u64 {
        let path = Path::new("/proc/sys/net/netfilter/nf_conntrack_count");
        let text = self.node.namespace.inside(|| std::fs::read_to_string(path));
        text.expect("a count of tracked connections").trim().parse().expect("a number")
    }
}

impl Proxy {
    fn set_up(self, node: &BareNode) {
        for family in [0, 1] {
            match self {
                Self::Iptables | Self::IptablesAndFirewall => lead_with_iptables(node, family),
                Self::Nftables => lead_with_nftables(node, family),
            }
            if self == Self::IptablesAndFirewall {
                let program = ["iptables", "ip6tables"][family];
                node.shell(&format!(
                    "{program} -N KUBE-FIREWALL; {program} -A INPUT -j KUBE-FIREWALL; \
                     {program} -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT; \
                     {program} -A INPUT -p ipv6-icmp -j ACCEPT; \
                     {program} -A INPUT -i lo -j ACCEPT; {program} -P INPUT DROP"
                ));
            }
        }
    }
}

fn lead_with_iptables(node: &BareNode, family: usize) {
    let (program, service) = (["iptables", "ip6tables"][family], SERVICES[family]);
    let (to, pods) = (SocketAddr::new(ip(BACKEND[family]), 53), PODS[family]);
    for transport in ["udp", "tcp"] {
        for chain in ["PREROUTING", "OUTPUT"] {
            node.shell(&format!(
                "{program} -t nat -A {chain} -d {service} -p {transport} --dport 53 -m comment \
                 --comment 'kube-system/kube-dns' -j DNAT --to {to}"
            ));
        }
    }
    let backend = BACKEND[family];
    node.shell(&format!("{program} -t nat -A POSTROUTING ! -s {pods} -d {backend} -j MASQUERADE"));
}

fn lead_with_nftables(node: &BareNode, family: usize) {
    let (word, service, pods) = (["ip", "ip6"][family], SERVICES[family], PODS[family]);
    let (backend, to) = (BACKEND[family], SocketAddr::new(ip(BACKEND[family]), 53));
    let lead = ["udp", "tcp"]
        .map(|transport| format!("{word} daddr {service} {transport} dport 53 dnat to {to};"))
        .concat();
    let text = format!(
        "table {word} kube-proxy {{\n\
         chain nat-prerouting {{ type nat hook prerouting priority dstnat; {lead} }}\n\
         chain nat-output {{ type nat hook output priority -100; {lead} }}\n\
         chain nat-postrouting {{ type nat hook postrouting priority srcnat; \
         {word} saddr != {pods} {word} daddr {backend} masquerade; }}\n}}\n"
    );
    std::fs::write(node.path("kube-proxy.nft"), text).expect("a writable folder");
    node.shell(&format!("nft -f {}", node.path("kube-proxy.nft").display()));
}

/// `ip address` wants the device between the prefix length and what else is said.
fn with_device(length: &str, device: &str) -> String {
    let (length, rest) = length.split_once(' ').unwrap_or((length, ""));
    format!("{length} dev {device} {rest}")
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an IP address")
}

fn address_in(reply: &[u8]) -> Option<[u8; 4]> {
    let message = Message::read(reply).ok()?;
    message.answer.first()?.data.clone().try_into().ok()
}
