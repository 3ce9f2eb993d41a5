//! A node as kube-proxy makes it, a pod on it, and a DNS server behind a ClusterIP: three network
//! namespaces, and the program under test with the node to itself.
//!
//! ```text
//!   pod -- veth -- node (dnscache, packet rules of kube-proxy) -- veth -- backend (nsd)
//! ```
//!
//! Who answered is seen in the answer: the program says [`OURS`], nsd says [`THEIRS`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
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

const POD: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 2);
const BACKEND: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 53);

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
    /// A process of the node itself.
    Host,
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
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let corefile = folder.path().join("Corefile");
        let words: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let bind = words.join(" ");
        let text = format!(
            ".:53 {{\n bind {bind}\n hosts {{\n 192.0.2.1 who.test\n }}\n prometheus {LOCAL}:9253\n}}\n"
        );
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
    pod: Namespace,
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
        host.ip("address add 10.244.0.1/24 dev pod0");
        host.ip("address add 10.0.0.1/24 dev eth0");
        host.ip("route add default via 10.0.0.53");
        pod.ip(&format!("address add {POD}/24 dev eth0"));
        pod.ip("route add default via 10.244.0.1");
        backend.ip(&format!("address add {BACKEND}/24 dev eth0"));
        backend.ip("route add default via 10.0.0.1");
        host.inside(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "1"))
            .expect("root may switch on forwarding");
        let zone = NsdZone {
            name: "test".to_owned(),
            text: "$ORIGIN test.\n@ 60 SOA ns hostmaster 1 60 60 60 60\n@ 60 NS ns\nns 60 A \
                   10.0.0.53\nwho 60 A 192.0.2.2\n"
                .to_owned(),
        };
        let nsd = Nsd::start(backend.command("nsd"), &[(BACKEND, 53).into()], &[zone]);
        host.inside(|| nsd.wait_until_it_answers(Ipv4Addr::new(10, 0, 0, 1).into()));
        proxy.set_up(&node);
        Self { node, pod, _nsd: nsd, _backend: backend }
    }

    /// Asks the ClusterIP who is there, over both transports, each on a new port; `None` if one
    /// gets no answer or they do not agree.
    pub fn who_answers(&self, client: Client) -> Option<[u8; 4]> {
        let (namespace, from) = match client {
            Client::Pod => (&self.pod, POD),
            Client::Host => (&self.node.namespace, Ipv4Addr::new(10, 0, 0, 1)),
        };
        let server = SocketAddr::from((SERVICE, 53));
        namespace.inside(|| {
            let question = query(7, "who.test", "A");
            let udp = UdpClient::from_address(from.into(), server);
            udp.send(&question.write());
            let over_udp = address_in(&udp.receive(Duration::from_millis(500))?)?;
            let stream = std::net::TcpStream::connect_timeout(&server, Duration::from_millis(500));
            let mut tcp = TcpClient { stream: stream.ok()? };
            tcp.send(&question.write());
            let over_tcp = address_in(&tcp.receive(Duration::from_millis(500))?)?;
            (over_udp == over_tcp).then_some(over_udp)
        })
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
        let (to, service) = (BACKEND, SERVICE);
        match self {
            Self::Iptables | Self::IptablesAndFirewall => {
                for transport in ["udp", "tcp"] {
                    for chain in ["PREROUTING", "OUTPUT"] {
                        node.shell(&format!(
                            "iptables -t nat -A {chain} -d {service} -p {transport} --dport 53 -m \
                             comment --comment 'kube-system/kube-dns' -j DNAT --to {to}:53"
                        ));
                    }
                }
                node.shell(
                    "iptables -t nat -A POSTROUTING ! -s 10.244.0.0/16 -d 10.0.0.53 -j MASQUERADE",
                );
                if self == Self::IptablesAndFirewall {
                    node.shell(
                        "iptables -N KUBE-FIREWALL; iptables -A INPUT -j KUBE-FIREWALL; \
                         iptables -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT; \
                         iptables -A INPUT -i lo -j ACCEPT; iptables -P INPUT DROP",
                    );
                }
            }
            Self::Nftables => {
                let lead = format!(
                    "ip daddr {service} udp dport 53 dnat to {to}:53; \
                     ip daddr {service} tcp dport 53 dnat to {to}:53;"
                );
                let text = format!(
                    "table ip kube-proxy {{\n\
                     chain nat-prerouting {{ type nat hook prerouting priority dstnat; {lead} }}\n\
                     chain nat-output {{ type nat hook output priority -100; {lead} }}\n\
                     chain nat-postrouting {{ type nat hook postrouting priority srcnat; \
                     ip saddr != 10.244.0.0/16 ip daddr {to} masquerade; }}\n}}\n"
                );
                std::fs::write(node.path("kube-proxy.nft"), text).expect("a writable folder");
                node.shell(&format!("nft -f {}", node.path("kube-proxy.nft").display()));
            }
        }
    }
}

fn address_in(reply: &[u8]) -> Option<[u8; 4]> {
    let message = Message::read(reply).ok()?;
    message.answer.first()?.data.clone().try_into().ok()
}
