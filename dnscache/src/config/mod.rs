//! What the operator typed, checked once, as the program needs it.
//!
//! [`flags`] reads the command line, [`corefile`] the grammar, [`check`] turns directives into the
//! types below and refuses what makes no sense; [`load()`] does all three, and fills in the
//! [`template`] first if there is one, with what [`kube_dns`] says. [`environment`] is the machine
//! as they see it. [`resolv_conf`] and [`hosts_file`] read the files a Corefile points to;
//! they may change while running, so they are not part of a [`Config`].

pub mod check;
mod clients;
pub mod corefile;
pub mod duration;
pub mod environment;
pub mod flags;
pub mod hosts_file;
mod interfaces;
pub mod kube_dns;
pub mod load;
pub mod octets;
pub mod registry;
pub mod resolv_conf;
pub mod template;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::policy::dns64::Dns64;
use crate::engine::policy::rewrite;
use crate::engine::policy::template::Template;
use crate::engine::wire::name::Name;

pub use load::{FilledIn, LoadError, load, load_again};

/// Everything a Corefile says, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where it came from, for messages.
    pub origin: Origin,
    /// The server blocks in file order.
    pub blocks: Vec<Block>,
    /// `multisocket N`: UDP sockets (and workers) per address; `None`: one per core.
    pub sockets: Option<NonZeroUsize>,
    /// `reload`: how often the file is looked at; `None`: only on a signal.
    pub reload: Option<Reload>,
    /// `health`.
    pub health: Option<Health>,
    /// `ready`: addresses to serve `/ready` on.
    pub ready: Vec<SocketAddr>,
    /// `prometheus`: addresses to serve `/metrics` on.
    pub prometheus: Vec<SocketAddr>,
    /// `hotnames`; `None`: `hotnames off`.
    pub hot: Option<HotNames>,
    /// `clients`; `None`: `clients off`.
    pub clients: Option<Clients>,
    /// `slowlog`: how long a question takes that is worth a line; `None`: `slowlog off`.
    pub slow_log: Option<Duration>,
    /// Hash of everything that was read (imports and environment included); two equal
    /// fingerprints are the same configuration.
    pub fingerprint: u64,
    /// Things accepted but worth a line in the log, each naming file and line.
    pub warnings: Vec<String>,
}

/// Where a configuration came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The built-in Corefile, because none was named.
    BuiltIn,
    /// This file.
    File(PathBuf),
    /// A template, filled in.
    Template(Arc<FilledIn>),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("(built-in)"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Template(filled) => write!(f, "{}", filled.template.display()),
        }
    }
}

/// A place in a configuration file; `line` and `column` count from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The file as named by the operator or by `import`.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// A configuration that cannot be used: where, what was found, what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{position}: found {found}, expected {expected}")]
pub struct ConfigError {
    /// File, line and column of the offending token.
    pub position: Position,
    /// What stands there.
    pub found: String,
    /// What would be right.
    pub expected: String,
}

/// One server block: its zones, where it listens, and what its directives say.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    /// The block's opening line.
    pub position: Position,
    /// The zones it answers for, longest match first wins across blocks of one address.
    pub zones: Vec<Name>,
    /// UDP and TCP addresses: every `bind` address with the port of the keys (keys with different
    /// ports make one block per port). An unspecified address (`0.0.0.0`, `[::]`) stands for all of that family.
    pub listen: Vec<SocketAddr>,
    /// The `server` label of metrics, as CoreDNS writes it: `dns://ADDRESS:PORT` of the first
    /// listen address, `dns://:PORT` when no `bind` was given.
    pub server_label: String,
    /// `acl` rules in order; the first that matches decides, none allows.
    pub acl: Vec<AclRule>,
    /// `cache`; `None`: nothing is kept.
    pub cache: Option<Cache>,
    /// `searchpath`; `None`: expansions are names like any others.
    pub search: Option<SearchPath>,
    /// `forward`s, each for the names at or below its `from`; the longest match wins.
    pub forwards: Vec<Forward>,
    /// `hosts`.
    pub hosts: Option<Hosts>,
    /// `rewrite` rules in order.
    pub rewrites: Vec<rewrite::Rule>,
    /// `template`s in order.
    pub templates: Vec<Template>,
    /// `dns64`.
    pub dns64: Option<Dns64>,
    /// `whoami`.
    pub whoami: bool,
    /// `chaos`: answers to class CH; `None`: REFUSED.
    pub chaos: Option<Chaos>,
    /// `loadbalance`: rotate address records.
    pub rotate: bool,
    /// `bufsize`: the largest UDP reply and EDNS size in octets, 512 to 1232.
    pub bufsize: u16,
    /// `log`.
    pub log: Option<Log>,
    /// `errors`.
    pub errors: bool,
    /// `loop`.
    pub detect_loop: bool,
    /// `debug`.
    pub debug: bool,
    /// `timeouts`.
    pub timeouts: Timeouts,
}

/// `timeouts`: how long TCP clients of the block's addresses may take; `None`: as usual.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timeouts {
    /// To send a query that was begun.
    pub read: Option<Duration>,
    /// To read a reply.
    pub write: Option<Duration>,
    /// Between questions.
    pub idle: Option<Duration>,
}

/// `acl`: what to do with queries of some types from some networks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AclRule {
    /// Zones whose names it is for (`acl ZONE...`); empty: every zone of the block.
    pub zones: Vec<Name>,
    /// What happens to a match.
    pub action: AclAction,
    /// Query types; empty: every type.
    pub qtypes: Vec<u16>,
    /// Source networks as address and prefix length; empty: every source.
    pub networks: Vec<(IpAddr, u8)>,
}

/// The four actions of `acl`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AclAction {
    /// Answer as usual.
    Allow,
    /// REFUSED.
    Block,
    /// NOERROR without records.
    Filter,
    /// No reply.
    Drop,
}

/// `cache`, with defaults filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct Cache {
    /// Zones whose answers are kept; empty: every zone of the block.
    pub zones: Vec<Name>,
    /// Positive answers.
    pub success: CachePart,
    /// NXDOMAIN and NODATA.
    pub denial: CachePart,
    /// How long SERVFAIL is kept, at most 5 s here; zero: not at all.
    pub servfail: Duration,
    /// Renewal of names in use.
    pub prefetch: Option<Prefetch>,
    /// RFC 8767; `None`: expired answers are never served.
    pub serve_stale: Option<ServeStale>,
    /// `keepttl`: serve the TTL as received instead of counting down.
    pub keep_ttl: bool,
    /// `size`: bytes the process-wide store may hold when this block names it (the largest wins);
    /// `None`: the default of 64 MiB.
    pub size_bytes: Option<u64>,
}

/// One half of `cache`.
#[derive(Debug, Clone, PartialEq)]
pub struct CachePart {
    /// `disable success|denial`: zones not kept; `Some(empty)`: none is kept.
    pub disabled: Option<Vec<Name>>,
    /// Entries at most; `None`: bounded by the process-wide bytes only.
    pub capacity: Option<u64>,
    /// Upper bound of a lifetime.
    pub ttl_max_secs: u32,
    /// Lower bound of a lifetime; 0 unless asked for.
    pub ttl_min_secs: u32,
}

/// `prefetch AMOUNT [DURATION] [PERCENTAGE%]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Prefetch {
    /// Hits in one life before a renewal, at least 1.
    pub amount: u32,
    /// The last part of a life, in percent (10 to 90), in which a hit renews.
    pub percentage: u8,
}

/// `serve_stale [DURATION] [immediate|verify [TIMEOUT]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct ServeStale {
    /// How long after expiry an answer may be served, at most 24 h.
    pub window: Duration,
    /// How long a client waits for a fresh answer first (RFC 8767's client response timer);
    /// zero for `immediate`.
    pub client_timer: Duration,
}

/// `searchpath [MODE]`: how search lists are cut short, with defaults filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchPath {
    /// What is done.
    pub mode: SearchMode,
    /// The cluster domain, such as `cluster.local`.
    pub domain: Name,
    /// The search domains that come after those of the cluster, in their order.
    pub host_domains: Vec<Name>,
    /// Namespaces whose lookups are left alone, in lower case.
    pub except: Vec<String>,
    /// One in so many synthesised replies below a boundary is checked upstream; 0: none.
    pub audit_one_in: u32,
}

/// How far `searchpath` goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SearchMode {
    /// Names below one that does not exist are denied without asking.
    Cut,
    /// And the first question of a lookup is answered with the name that exists.
    Rewrite,
}

/// `hotnames [SIZE]`, with defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HotNames {
    /// Names that are followed, 1 to 10,000.
    pub size: usize,
    /// Questions for their renewal at most, per second.
    pub refresh_per_second: u32,
    /// And at most this part of what clients ask, in percent.
    pub refresh_percent: u32,
}

/// `clients { ... }`: what one client may ask of upstreams, with defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clients {
    /// Questions in flight at once, at least 1.
    pub in_flight: u32,
    /// New questions; `None`: `rate off`.
    pub rate: Option<Rate>,
    /// The node's own addresses get so many times as much; `None`: no limit for them.
    pub own_times: Option<u32>,
    /// Networks without limits, as address and prefix length.
    pub except: Vec<(IpAddr, u8)>,
    /// Clients told on `/clients`.
    pub top: usize,
}

impl Clients {
    /// What `clients` means without options, and without being there.
    pub const DEFAULT: Self = Self {
        in_flight: 2_048,
        rate: Some(Rate { per_second: 1_000, burst: 2_000 }),
        own_times: None,
        except: Vec::new(),
        top: 100,
    };
}

/// `rate PER_SECOND [burst QUESTIONS]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Questions per second, at least 1.
    pub per_second: u32,
    /// Questions at once after a pause, at least 1.
    pub burst: u32,
}

/// `packets_per_second N [reserve PERCENT%]` of a `forward`: what an upstream takes from this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PacketLimit {
    /// Not written: only the addresses that are known to have a limit have one.
    Known,
    /// `off`.
    Unlimited,
    /// So many packets.
    PerSecond {
        /// Packets, at least 1.
        packets: u32,
        /// The part that is kept for names that are known, in percent (0 to 90).
        reserve_percent: u32,
    },
}

/// `forward FROM TO...`.
#[derive(Debug, Clone, PartialEq)]
pub struct Forward {
    /// Where it stands.
    pub position: Position,
    /// Names at or below this are forwarded.
    pub from: Name,
    /// The upstreams in order, files already named but not yet read.
    pub to: Vec<Upstream>,
    /// `except`: names at or below these are not forwarded (REFUSED).
    pub except: Vec<Name>,
    /// `force_tcp`, `prefer_udp`, or as the client asked.
    pub transport: TransportPolicy,
    /// `policy`.
    pub policy: Policy,
    /// `max_fails`: failed exchanges before an upstream counts as down; 0: never.
    pub max_fails: u32,
    /// `health_check DURATION`: pause between probes of a failing upstream; `None`: no probes.
    pub health_check: Option<Duration>,
    /// `health_check ... domain NAME`: the name whose NS records a probe asks for.
    pub health_check_domain: Name,
    /// Whether probes ask for recursion; false with `health_check ... no_rec`.
    pub health_check_recursion: bool,
    /// `expire`: an idle connection is closed after this.
    pub expire: Duration,
    /// `max_concurrent`: questions in flight at once; 0: no limit.
    pub max_concurrent: u32,
    /// `packets_per_second`, for each of the upstreams.
    pub packets: PacketLimit,
    /// `max_connect_attempts`: tries for one question; 0: only the built-in limits.
    pub max_attempts: u32,
    /// `failover`: response codes (besides SERVFAIL, REFUSED, NOTIMP, FORMERR) that try the next
    /// upstream.
    pub failover: Vec<u16>,
    /// `failfast_all_unhealthy_upstreams`: SERVFAIL at once when every upstream is down.
    pub failfast: bool,
    /// `tls`: certificates; `None` fields use the machine's roots and no client certificate.
    pub tls: Option<Tls>,
    /// `tls_servername`.
    pub tls_server_name: Option<String>,
    /// `max_age`: a connection is replaced by a new one before it is older than this; zero: never;
    /// `None`: two minutes for connections without TLS, never for others.
    pub max_age: Option<Duration>,
    /// `endpoints NAMESPACE/SERVICE`: the Service whose endpoints are asked instead of `to` as
    /// long as they are known.
    pub endpoints: Option<ServiceName>,
}

/// A Service of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceName {
    /// Its namespace.
    pub namespace: String,
    /// Its name there.
    pub name: String,
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// One TO of a `forward`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upstream {
    /// An address, over TLS if it was written `tls://`.
    Address {
        /// Address and port.
        address: SocketAddr,
        /// DNS over TLS.
        tls: bool,
        /// The name its certificate must have (`tls://ADDRESS%NAME`), before `tls_servername`.
        server_name: Option<String>,
    },
    /// A resolv.conf whose nameservers are the upstreams, followed while running.
    ResolvConf(PathBuf),
}

/// How questions travel upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransportPolicy {
    /// As the client asked.
    AsClient,
    /// Always TCP.
    ForceTcp,
    /// UDP first, even for TCP clients.
    PreferUdp,
}

/// The order in which healthy upstreams are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Any order, anew for each question.
    Random,
    /// Each question starts one further.
    RoundRobin,
    /// As written.
    Sequential,
}

/// `tls [CERT KEY] [CA]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tls {
    /// PEM files of a client certificate and its key.
    pub client_certificate: Option<(PathBuf, PathBuf)>,
    /// PEM file of the certificate authority.
    pub authority: Option<PathBuf>,
}

/// `hosts [FILE [ZONES...]] { ... }`.
#[derive(Debug, Clone, PartialEq)]
pub struct Hosts {
    /// The file, followed while running (`/etc/hosts` if none was named); `None`: inline only.
    pub file: Option<PathBuf>,
    /// Inline lines, as `(address, names)`.
    pub inline: Vec<(IpAddr, Vec<Name>)>,
    /// Zones it answers for; empty: those of the block.
    pub zones: Vec<Name>,
    /// TTL of its answers.
    pub ttl_secs: u32,
    /// `no_reverse`: no PTR answers.
    pub reverse: bool,
    /// How often the file is looked at; zero: never.
    pub reload: Duration,
    /// `fallthrough [ZONES]`: names without an entry go on; `None`: NXDOMAIN; `Some(empty)`: all.
    pub fallthrough: Option<Vec<Name>>,
}

/// `chaos [VERSION] [AUTHORS...]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chaos {
    /// Answer to `version.bind` and `version.server`.
    pub version: String,
    /// Answer to `authors.bind`.
    pub authors: Vec<String>,
}

/// `log [NAMES] { class ... shortcuts }`; the common log format of CoreDNS is the only one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Names at or below these are logged; empty: all.
    pub zones: Vec<Name>,
    /// NOERROR with data and everything not below.
    pub success: bool,
    /// NXDOMAIN and NODATA.
    pub denial: bool,
    /// SERVFAIL, NOTIMP, REFUSED and the like.
    pub error: bool,
    /// `searchpath`: lines of expansions say which shortcut was taken, or why none was.
    pub shortcuts: bool,
}

/// `reload [INTERVAL] [JITTER]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reload {
    /// Pause between looks at the file.
    pub interval: Duration,
    /// Random part added to or taken from it.
    pub jitter: Duration,
}

/// `health [ADDRESS] { lameduck DURATION }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Addresses to serve `/health` on.
    pub listen: Vec<SocketAddr>,
    /// How long to go on serving after SIGTERM.
    pub lameduck: Duration,
}
