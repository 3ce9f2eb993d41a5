//! The tokio plane: TCP clients, questions to upstreams, and what comes back.
//!
//! `tcp` admits connections, `connection` takes queries from them at the `pace` that is set and
//! answers what is known;
//! `miss` takes what is not known, from both planes, and has every question asked once however
//! many clients wait for it (`inflight`); `upstream` asks, through `exchange`. `bequest` is what
//! becomes of connections when a successor takes over.

mod connection;
pub mod bequest;
pub mod exchange;
pub mod inflight;
pub mod journey;
pub mod miss;
pub mod pace;
pub mod slow_log;
pub mod tcp;
pub mod upstream;
#[cfg(test)]
mod rehearsal;

use std::cell::Cell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::time::Instant;

use crate::counts::PlaneCounts;
use crate::engine::cache::key::Key;
use crate::engine::wire::UDP_REPLY_MAX;
use crate::engine::wire::answer::Digest;
use crate::engine::wire::header::TCP_MESSAGE_MAX;
use crate::engine::{
    Ask, Facts, Failure, Now, Outcome, Query, Reply, RouteId, Scratch, Transport, Verdict,
};
use crate::logging;
use crate::server::Plan;
use journey::Journey;

/// What a route's upstreams said to one question.
#[derive(Debug)]
pub enum Told {
    /// An answer, and what of it answers the question.
    Answer(Digest),
    /// Nothing of use.
    Failed(Failure),
}

/// On whose behalf a question is asked.
#[derive(Debug, Clone)]
pub struct Asking {
    /// How its client asked.
    pub client: Transport,
    /// When it ends, answered or not.
    pub deadline: Instant,
    /// Whose share of `max_concurrent` it takes; `None`: nobody's.
    pub holder: Option<IpAddr>,
    /// Whether something is known about it, so that it may have what is kept for such questions
    /// when an upstream takes few more packets.
    pub is_known: bool,
    /// Where it is noted what becomes of it.
    pub journey: Arc<Journey>,
}

/// The upstreams of one route.
pub trait Upstream: Send + Sync + 'static {
    /// Asks `key`. `tell` is called once, by the deadline, perhaps before this returns; if it is
    /// dropped instead, something panicked.
    fn ask_then(
        self: &Arc<Self>,
        key: &Key,
        asking: Asking,
        tell: impl FnOnce(Told) + Send + 'static,
    );
}

impl Upstream for upstream::Route {
    fn ask_then(
        self: &Arc<Self>,
        key: &Key,
        asking: Asking,
        tell: impl FnOnce(Told) + Send + 'static,
    ) {
        Self::ask_then(self, key, asking, tell);
    }
}

/// Where to ask, by route; replaced by a reload.
pub type Routes<R> = Arc<ArcSwap<HashMap<RouteId, Arc<R>>>>;

/// The slow plane's shard of every count.
const SHARD: usize = 0;

/// One query while it is being decided about, and where that is counted.
struct Desk<'a> {
    plan: &'a Plan,
    counts: &'a PlaneCounts,
    query: Query<'a>,
    received: Now,
}

impl Desk<'_> {
    /// Has the engine decide; a reply is counted and handed to `send`.
    fn answer(&self, now: Now, send: impl FnOnce(&[u8])) -> Verdict {
        with_draft(self.query.transport, |scratch, out| {
            let verdict = self.plan.engine.answer(&self.query, now, scratch, out);
            if let Verdict::Reply(reply) = &verdict {
                self.send(reply, &out[..reply.len], now, send);
            }
            verdict
        })
    }

    /// [`Desk::answer`] for a client that waited for facts (see [`Engine::answer_again`]).
    ///
    /// [`Engine::answer_again`]: crate::engine::Engine::answer_again
    fn answer_again(
        &self,
        earlier: (&Ask, &Outcome),
        now: Now,
        send: impl FnOnce(&[u8]),
    ) -> Verdict {
        with_draft(self.query.transport, |scratch, out| {
            let verdict = self.plan.engine.answer_again(&self.query, earlier, now, scratch, out);
            if let Verdict::Reply(reply) = &verdict {
                self.send(reply, &out[..reply.len], now, send);
            }
            verdict
        })
    }

    /// Has the engine write what a client that waited for `ask` gets; it is counted and handed to
    /// `send`.
    fn reply(&self, ask: &Ask, outcome: &Outcome, now: Now, send: impl FnOnce(&[u8])) {
        with_draft(self.query.transport, |scratch, out| {
            let engine = &self.plan.engine;
            let reply = engine.reply(&self.query, ask, outcome, now, scratch, out);
            self.send(&reply, &out[..reply.len], now, send);
        });
    }

    /// Sends a reply, then counts and logs it. A reply of no octets is none.
    fn send(&self, reply: &Reply, message: &[u8], now: Now, send: impl FnOnce(&[u8])) {
        if message.is_empty() {
            return;
        }
        send(message);
        self.record(&reply.facts, message, now);
    }

    /// Counts a query that goes upstream.
    fn missed(&self, ask: &Ask) {
        if let Some(counts) = self.plan.counts.get(usize::from(ask.block.0)) {
            counts.missed(
                SHARD,
                ask,
                self.query.transport == Transport::Tcp,
                self.query.source.is_ipv6(),
                self.query.packet.len(),
            );
        }
    }

    fn record(&self, facts: &Facts, message: &[u8], now: Now) {
        let Some(block) = facts.block.map(|block| usize::from(block.0)) else {
            return self.counts.stray(SHARD, facts);
        };
        let query = &self.query;
        let request_len = query.packet.len();
        let duration_us = now.since(self.received) * 1_000;
        if let Some(counts) = self.plan.counts.get(block) {
            counts.replied(
                SHARD,
                facts,
                query.transport == Transport::Tcp,
                query.source.is_ipv6(),
                request_len,
                message.len(),
                duration_us,
            );
        }
        if let Some(Some(log)) = self.plan.logs.get(block) {
            logging::query(log, query, facts, request_len, message, duration_us);
        }
    }
}

/// Where replies are written before they are sent.
struct Draft {
    scratch: Scratch,
    octets: Box<[u8]>,
}

impl Default for Draft {
    fn default() -> Self {
        Self { scratch: Scratch::default(), octets: vec![0; TCP_MESSAGE_MAX].into() }
    }
}

/// Lends this thread's draft, with room for the largest reply of `transport`. One per thread rather
/// than one per connection: thousands of connections would otherwise hold 64 KiB each for a reply
/// that takes a microsecond to write.
fn with_draft<T>(transport: Transport, write: impl FnOnce(&mut Scratch, &mut [u8]) -> T) -> T {
    thread_local! {
        static DRAFT: Cell<Option<Box<Draft>>> = const { Cell::new(None) };
    }
    let mut draft = DRAFT.take().unwrap_or_default();
    let room = match transport {
        Transport::Udp => UDP_REPLY_MAX,
        Transport::Tcp => TCP_MESSAGE_MAX,
    };
    let result = write(&mut draft.scratch, &mut draft.octets[..room]);
    DRAFT.set(Some(draft));
    result
}
