//! Where the numbers of a scrape come from, and the shapes in which they come.
//!
//! The parts that own numbers (`counts`, the stores, the upstreams) know nothing of metrics; they
//! are asked through these types at every scrape. A reload replaces the whole set.

use std::fmt;
use std::sync::Arc;

use super::hot::HotReading;
use super::self_check::SelfChecks;
use crate::counts::{BlockCounts, HistogramReading, NodeCounts, PlaneCounts, SnapshotCount};

/// Everything a scrape asks. What is left empty does not appear.
#[derive(Default)]
pub struct Sources {
    /// The server blocks in force.
    pub blocks: Vec<BlockSource>,
    /// The planes.
    pub planes: Option<Arc<PlaneCounts>>,
    /// What is done to the node.
    pub node: Option<Arc<NodeCounts>>,
    /// What `cache` holds.
    pub caches: Option<Source<CacheReading>>,
    /// What `searchpath` found out, for the blocks that have it.
    pub searches: Option<Source<Vec<SearchStateReading>>>,
    /// What `hotnames` does.
    pub refreshes: Option<Source<RefreshReading>>,
    /// What `forward` did.
    pub forwards: Option<Source<ForwardReading>>,
    /// What is asked of the Kubernetes API.
    pub kubernetes: Option<Source<KubernetesReading>>,
    /// What `hosts` knows.
    pub hosts: Option<Source<HostsReading>>,
    /// What became of snapshots; `None`: there are none.
    pub snapshots: Option<Source<SnapshotCount>>,
    /// What `reload` did.
    pub reload: Option<Source<ReloadReading>>,
    /// Which names are asked most. Not part of the metrics: it has a page of its own.
    pub hot: Option<Source<HotReading>>,
    /// What each client asks and what was turned away. The metrics have the sums, `/clients` the rest.
    pub clients: Option<Source<crate::clients::Reading>>,
    /// Slow questions by `stage` label.
    pub slow_questions: Option<Source<Vec<(&'static str, u64)>>>,
    /// What `health` found when it asked itself.
    pub self_checks: Option<Arc<SelfChecks>>,
}

/// Reads numbers that live elsewhere. Called at every scrape; must not block.
pub type Source<T> = Box<dyn Fn() -> T + Send + Sync>;

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").field("blocks", &self.blocks).finish_non_exhaustive()
    }
}

/// A server block.
#[derive(Debug)]
pub struct BlockSource {
    /// Its numbers and labels. No two blocks may have equal labels.
    pub counts: Arc<BlockCounts>,
    /// The directives it uses, for `coredns_plugin_enabled`. The metrics of
    /// `cache`, `searchpath` and `acl` appear only with these among them.
    pub directives: Vec<&'static str>,
}

impl BlockSource {
    /// Whether the block uses this directive.
    pub fn has(&self, directive: &str) -> bool {
        self.directives.contains(&directive)
    }
}

/// What the caches hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CacheReading {
    /// By block and kind. Readings with equal labels are added up.
    pub parts: Vec<CachePartReading>,
    /// Bytes in the process-wide store.
    pub bytes: u64,
    /// Bytes it may hold.
    pub bytes_max: u64,
}

/// One kind of answer in one block's cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachePartReading {
    /// The `server` label.
    pub server: String,
    /// The `zones` label.
    pub zones: String,
    /// The `type` label: `success` or `denial`.
    pub kind: &'static str,
    /// Answers held now.
    pub entries: u64,
    /// Answers removed to make room, so far.
    pub evictions: u64,
}

/// What one block learned from checking its shortcuts upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchStateReading {
    /// The `server` label.
    pub server: String,
    /// The `zone` label.
    pub zone: String,
    /// Replies that were checked upstream, so far.
    pub audits: u64,
    /// Shortcuts that upstream contradicted, so far.
    pub contradictions: u64,
    /// Boundaries switched off now.
    pub boundaries_off: u64,
}

/// How names in use are kept fresh.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RefreshReading {
    /// Names followed now.
    pub names: u64,
    /// Questions asked to renew them, so far.
    pub refreshes: u64,
    /// Renewals left out because the budget was used up, so far.
    pub skipped: u64,
    /// Questions per second that the budget allows now.
    pub budget_per_second: f64,
}

/// What happened between us and the upstreams.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ForwardReading {
    /// By upstream. Readings with equal labels are added up.
    pub upstreams: Vec<UpstreamReading>,
    /// Upstreams that take only so many packets.
    pub packets: Vec<PacketBudgetReading>,
    /// Questions that found every upstream of their route unhealthy.
    pub healthcheck_broken: u64,
    /// Questions refused by `max_concurrent`.
    pub max_concurrent_rejects: u64,
}

/// The packets to one upstream address that takes only so many of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PacketBudgetReading {
    /// The `to` label: the address, whatever the port.
    pub to: String,
    /// Packets sent.
    pub sent: u64,
    /// Packets in the last second.
    pub last_second: u64,
    /// The most in a second of the last minute or two.
    pub peak: u64,
    /// Packets it takes in a second.
    pub limit: u64,
    /// Those of them that may be spent on names nothing is known about.
    pub limit_of_strangers: u64,
    /// Questions that waited until there was room.
    pub delayed: u64,
    /// Questions that were turned away.
    pub refused: u64,
}

/// One upstream.
#[derive(Debug, Clone, PartialEq)]
pub struct UpstreamReading {
    /// The `to` label: address and port.
    pub to: String,
    /// The `proxy_name` label: the directive that asks, `forward`.
    pub proxy_name: String,
    /// Exchanges by `rcode` label; buckets are those of
    /// [`DURATION_BOUNDS`](crate::counts::DURATION_BOUNDS), the sum is in seconds.
    pub durations: Vec<(String, HistogramReading)>,
    /// Health probes without a reply.
    pub healthcheck_failures: u64,
    /// By `proto` label (`udp`, `tcp`, `tcp-tls`): questions that found an open connection, and
    /// questions that had to open one.
    pub connections: Vec<ConnectionReading>,
    /// Messages that were not the reply awaited, by `reason` label.
    pub forged: Vec<(String, u64)>,
}

/// Connections to one upstream over one protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionReading {
    /// The `proto` label.
    pub proto: String,
    /// Questions that found one open.
    pub hits: u64,
    /// Questions that had to open one.
    pub misses: u64,
}

/// What is asked of the Kubernetes API.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct KubernetesReading {
    /// By Service, in the order of their names.
    pub endpoints: Vec<EndpointsReading>,
    /// Whether the node is marked as ready, and the attempts that failed; `None`: it is left alone.
    pub mark: Option<(bool, u64)>,
}

/// What is known of the endpoints of one Service.
#[derive(Debug, Clone, PartialEq)]
pub struct EndpointsReading {
    /// The `service` label: `NAMESPACE/SERVICE`.
    pub service: String,
    /// Endpoints that are asked.
    pub endpoints: u64,
    /// Whether the API tells of changes now.
    pub is_watching: bool,
    /// Seconds since the API was heard; `None`: never.
    pub age_secs: Option<f64>,
    /// Times it could not be asked.
    pub failures: u64,
    /// Slices left out because there were too many.
    pub ignored: u64,
}

/// What `hosts` knows.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HostsReading {
    /// Entries of files and configuration together.
    pub entries: u64,
    /// When a hosts file was last read, in seconds since 1970; `None` before the first time.
    pub reloaded_at_secs: Option<f64>,
}

/// What `reload` did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReloadReading {
    /// Configurations that were refused.
    pub failed: u64,
    /// The name of the hash and the hash of the configuration in force.
    pub version: Option<(String, String)>,
}
