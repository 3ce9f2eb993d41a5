//! Decides about packets: bytes and `now` in, verdict out.
//!
//! Nothing here opens a socket, reads a clock, spawns a task or touches a file; the planes carry
//! out what it says. Two verbs: [`Engine::answer`] says what is known, [`Engine::learn`] takes in
//! what upstream said (or [`Engine::learn_failure`] that it said nothing of use).

mod ahead;
mod answer;
pub mod block;
pub mod cache;
mod learn;
pub mod policy;
pub mod shelf;
pub mod wire;

use std::net::SocketAddr;
use std::sync::Arc;

pub use ahead::Glimpse;
use block::Block;
use cache::entry::Entry;
use cache::key::{Key, KeyBuffer};
use cache::shared::Store;
use policy::route::ZoneTable;

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
    /// How long a client waits for a fresh answer before it gets `stale`, in milliseconds.
    pub client_timer_millis: u64,
    /// Whether it renews what is known and nobody waits for it yet.
    pub renewal: bool,
    /// When it was made.
    pub asked: Now,
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
    /// Our own address and port as the source.
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

    fn block(&self, id: BlockId) -> &Block {
        &self.blocks[usize::from(id.0)]
    }
}
