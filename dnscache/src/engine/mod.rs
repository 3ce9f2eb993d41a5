//! Decides about packets: bytes and `now` in, verdict out.
//!
//! Nothing here opens a socket, reads a clock, spawns a task or touches a file; the planes carry
//! out what it says. Two verbs: [`Engine::answer`] says what is known, [`Engine::learn`] takes in
//! what upstream said (or [`Engine::learn_failure`] that it said nothing of use).

mod ahead;
mod answer;
mod audit;
mod desk;
pub mod block;
pub mod cache;
mod facts;
pub mod keepsake;
mod learn;
pub mod policy;
mod refresh;
mod rewritten;
mod shortcut;
mod templated;
mod translated;
pub mod shelf;
pub mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use ahead::Glimpse;
pub use audit::Contradiction;
use block::Block;
use cache::entry::Entry;
use cache::key::{Key, KeyBuffer};
use cache::shared::Store;
use policy::hot::{HotNames, Sampler};
use policy::route::ZoneTable;
pub use translated::Translation;
use wire::name::Name;

/// A reading of the monotonic clock, in milliseconds since an arbitrary point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Now(u64);

impl Now {
    /// The reading `millis` after the arbitrary point.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the arbitrary point.
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// Milliseconds from `earlier` to here; 0 if `earlier` is later.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The reading `millis` later.
    #[must_use]
    pub const fn plus_millis(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis))
    }
}

/// Index of a listen address (address and port) in the running plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ListenerId(pub u16);

/// Index of a server block in the running plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BlockId(pub u16);

/// One `forward` and its upstreams. The number stays the same over reloads as long as what the
/// operator wrote after `forward` (zone and targets) stays the same, so what was learned through
/// it stays valid; facts are keyed by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RouteId(pub u32);

/// How a query came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// One datagram.
    Udp,
    /// A framed message on a connection.
    Tcp,
}

/// A packet and where it came from.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    /// The message without framing.
    pub packet: &'a [u8],
    /// Source address and port.
    pub source: SocketAddr,
    /// The address it was sent to.
    pub listener: ListenerId,
    /// How it came.
    pub transport: Transport,
}

/// What to do with a packet.
#[derive(Debug)]
pub enum Verdict {
    /// Send what was written.
    Reply(Reply),
    /// Nothing useful is known: ask upstream, then [`Engine::learn`], then [`Engine::reply`].
    Ask(Ask),
    /// Send nothing.
    Drop(DropReason),
}

/// A reply that was written.
#[derive(Debug)]
pub struct Reply {
    /// Octets written to the front of the buffer.
    pub len: usize,
    /// What happened, for whoever counts.
    pub facts: Facts,
    /// A question to ask upstream although the client has its answer: a renewal before expiry or
    /// after a stale answer. Given once, not once per hit.
    pub renew: Option<Ask>,
}

/// A question for upstream.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Which block's directives apply.
    pub block: BlockId,
    /// Which upstreams to ask.
    pub route: RouteId,
    /// Name, type, class, DO and CD: what is asked, and the identity of concurrent questions.
    pub key: Key,
    /// What is known and to be renewed: an expired answer that may be served while upstream is
    /// silent (RFC 8767), or one that is about to expire.
    pub stale: Option<Arc<Entry>>,
    /// Whether upstream has answered it before, as far as anybody remembers, whether that may still
    /// be served or not: then it is no new name.
    pub is_known: bool,
    /// How long a client waits for a fresh answer before it gets `stale`, in milliseconds.
    pub client_timer_millis: u64,
    /// Whether it renews what is known and nobody waits for it yet.
    pub renewal: bool,
    /// When it was made.
    pub asked: Now,
    /// What became of a shortcut, for whoever counts the reply.
    pub shortcut: Shortcut,
    /// Other questions that come with it.
    pub company: Option<Box<Company>>,
    /// Whether it checks what was synthesised under `searchpath` of this block, for clients of
    /// this address.
    pub audits: Option<(BlockId, ListenerId)>,
}

/// Questions that come with a question.
#[derive(Debug, Clone, Default)]
pub struct Company {
    /// Asked at the same time, and waited for instead of the question itself, which is decided again
    /// ([`Engine::answer_again`]) once the first of them is answered.
    pub first: Vec<Ask>,
    /// Asked at the same time; nobody waits for them.
    pub beside: Vec<Ask>,
    /// How often the question may be decided again.
    pub rounds: u8,
    /// Where it stands under `dns64`, if it waits for that.
    pub translation: Option<Translation>,
}

/// What became of a question.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// Upstream answered (positive or negative).
    Fresh(Arc<Entry>),
    /// Upstream did not, and this expired answer may be served.
    Stale(Arc<Entry>),
    /// Nothing to serve: this response code, with an extended error (RFC 8914) if one fits.
    Failed {
        /// Low four bits of the response code.
        rcode: u8,
        /// EDE INFO-CODE.
        extended_error: Option<u16>,
    },
}

/// Why nothing useful came from upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No answer within the deadline, or no connection.
    Silent,
    /// Only this response code.
    Answered(u8),
    /// Only answers that broke the rules.
    Broken,
    /// Not asked: `max_concurrent` was reached, for which CoreDNS says REFUSED.
    Overloaded,
    /// Not asked: a bound of ours was reached, or this machine had no port, descriptor or memory
    /// left.
    Exhausted,
}

/// What happened to a packet, for counting and for the query log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// The block that answered; `None` when no block was found or the packet was refused before
    /// one was looked for.
    pub block: Option<BlockId>,
    /// Type asked; 0 when it was not understood.
    pub qtype: u16,
    /// Response code sent.
    pub rcode: u8,
    /// The DO bit of the query.
    pub dnssec_ok: bool,
    /// Who answered.
    pub source: Source,
    /// What became of a shortcut through a search list.
    pub shortcut: Shortcut,
}

/// What became of a shortcut through a search list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Shortcut {
    /// The name is below no search domain, or `searchpath` is off.
    #[default]
    NotAnExpansion,
    /// Denied, because a name above it does not exist.
    Cut {
        /// Whether this spared upstream a question.
        is_spared: bool,
    },
    /// Answered with the name that exists further down the search list.
    Rewritten {
        /// Questions the client need not ask any more for this type.
        skipped: u8,
        /// Questions that upstream was not asked; counted with the reply for which the list was
        /// walked.
        spared: u8,
    },
    /// None was taken.
    NotTaken(Reason),
}

/// Why no shortcut was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The name asked exists itself.
    Exists,
    /// Something that would have to be known is not.
    Unknown,
    /// No name of the search list exists.
    NoneExists,
    /// The first name that exists has no records of the type asked, and a later one may have.
    NoData,
    /// The name is below no namespace that is known to exist, or has one label only: it may have
    /// been meant as it was asked.
    NoNamespace,
    /// The same client asks this name as a step of another namespace's search list.
    OtherNamespace,
    /// The same lookup was answered without a shortcut for its other type of address a moment ago.
    OtherType,
    /// The name is below a search domain of the host: a later step.
    HostDomain,
    /// The name is below a Service that exists: an endpoint that may be away.
    BelowService,
    /// Upstream does not say what would have to be known.
    Failing,
    /// The namespace is left out by `except`.
    LeftOut,
    /// `searchpath cut`.
    CutsOnly,
    /// The type, class or flags (DO, CD) of the query want what upstream says.
    Verbatim,
    /// `acl` or `hosts` has a word in it.
    OtherDirective,
    /// A boundary was switched off after a contradiction.
    SwitchedOff,
}

impl Reason {
    /// Every one, in order.
    pub const ALL: [Self; 15] = [
        Self::Exists,
        Self::Unknown,
        Self::NoneExists,
        Self::NoData,
        Self::NoNamespace,
        Self::OtherNamespace,
        Self::OtherType,
        Self::HostDomain,
        Self::BelowService,
        Self::Failing,
        Self::LeftOut,
        Self::CutsOnly,
        Self::Verbatim,
        Self::OtherDirective,
        Self::SwitchedOff,
    ];
}

/// Who answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The cache, with records.
    CacheSuccess,
    /// The cache, with NXDOMAIN or NODATA.
    CacheDenial,
    /// The cache, with a remembered failure.
    CacheFailure,
    /// The cache, with an expired answer.
    Stale,
    /// `searchpath`, from what is known about other names.
    SearchPath,
    /// Upstream, just now.
    Forward,
    /// `hosts`.
    Hosts,
    /// `whoami`.
    Whoami,
    /// `chaos`.
    Chaos,
    /// The minimal answer to ANY (RFC 8482).
    Any,
    /// `acl`.
    Acl,
    /// `template`.
    Template,
    /// `template`, which could not be filled in.
    TemplateNotFilledIn,
    /// `template`, filled in to what is no record.
    TemplateNoRecord,
    /// `dns64`.
    Dns64,
    /// Nobody: refused, malformed or failed.
    Refusal,
}

/// Why a packet gets no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropReason {
    /// Shorter than a header.
    Short,
    /// A response (QR=1).
    Response,
    /// A source port that no client uses and that would make two servers talk to each other.
    SourcePort,
    /// The port it was sent to as the source: this server, or another one of its kind.
    Own,
    /// `acl` says so.
    Acl,
}

/// What a worker keeps between packets.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Turns of `loadbalance`.
    turn: u32,
    /// Where keys are built.
    key: KeyBuffer,
    /// Where keys of facts are built.
    fact_key: KeyBuffer,
    /// Where names are written out.
    names: Vec<u8>,
    /// Which questions are looked at for `hotnames`.
    sampler: Sampler,
}

/// Decides about packets under one configuration. Shared by all planes; replaced by a reload,
/// while the stores it looks into stay (see [`shelf`]).
///
/// Its verbs are in `answer` ([`Engine::answer`], [`Engine::reply`]) and `learn`
/// ([`Engine::learn`], [`Engine::learn_failure`], [`Engine::recall`]).
#[derive(Debug)]
pub struct Engine {
    blocks: Vec<Block>,
    /// By [`ListenerId`]; empty tables for addresses of earlier configurations.
    listeners: Vec<Listener>,
    /// What `id.server` is answered with.
    host: String,
    /// Where the answers of most blocks are.
    shared: Option<Store>,
    /// The names asked most; `None`: `hotnames off`.
    hot: Option<Arc<HotNames>>,
    /// The host's search domains, of all blocks.
    host_domains: Vec<Name>,
    /// Counts what was learned.
    learned: AtomicU64,
    /// Whether any block has `hosts` or `acl`.
    has_tables: bool,
    /// Whether a part of a cluster domain has a block or a `forward` of its own.
    has_enclaves: bool,
}

/// A listen address and what is served there.
#[derive(Debug, Clone)]
pub struct Listener {
    /// Address and port.
    pub address: SocketAddr,
    /// Which block answers for which zone.
    pub zones: ZoneTable,
}

impl Engine {
    /// The server blocks, by [`BlockId`].
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// The listen addresses, by [`ListenerId`].
    pub fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    /// The names asked most; `None`: `hotnames off`.
    pub fn hot(&self) -> Option<&HotNames> {
        self.hot.as_deref()
    }

    /// How often something was learned.
    pub fn learned(&self) -> u64 {
        self.learned.load(Ordering::Relaxed)
    }

    fn block(&self, id: BlockId) -> &Block {
        &self.blocks[usize::from(id.0)]
    }
}
