//! What is not known: joins equal questions, asks upstream once, and answers everybody who waits.
//!
//! One task takes the errands, begins their questions and keeps the only timer. Whoever hears the
//! last word about a question, usually the task that reads the socket, has it learned and answers
//! those who wait, so a miss costs no task of its own. A panic costs one question, whose clients
//! get SERVFAIL.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::inflight::{Arrival, Joined, Limits, Table};
use super::{Desk, Routes, SHARD, Told, Upstream};
use crate::clock;
use crate::counts::{BlockCounts, PlaneCounts};
use crate::engine::cache::key::Key;
use crate::engine::wire::header::rcode;
use crate::engine::{Ask, Failure, Now, Outcome, Query, Transport};
use crate::handoff::{Errand, Waiting};
use crate::server::Plan;

/// How long a question may take from its first client's arrival: a stub resolver gives up at 5 s,
/// and the reply has to get there.
const DEADLINE_MILLIS: u64 = 4_800;
/// How long questions in flight may go on after shutdown began or the last sender went away.
const DRAIN: Duration = Duration::from_secs(5);
/// Errands taken at once.
const BATCH_LEN: usize = 64;
/// Replies sent before other tasks get a turn: about a hundred microseconds of work.
const REPLIES_PER_TURN: usize = 32;
/// Octets of a query that take one share of the bounds on waiting clients. Usual queries are
/// shorter, padded ones (RFC 8467) too.
const SHARE_LEN: usize = 512;

/// Carries out errands until the senders are gone or, after `shutdown`, the time to drain is over.
/// What is in flight by then is answered with what there is.
pub async fn run<R: Upstream>(
    errands: mpsc::Receiver<Errand>,
    routes: Routes<R>,
    limits: Limits,
    counts: Arc<PlaneCounts>,
    shutdown: CancellationToken,
) {
    Misses::new(routes, limits, counts, clock::now).run(errands, shutdown).await;
}

struct Misses<R> {
    routes: Routes<R>,
    table: Mutex<Table<Waiter>>,
    /// Tasks that answer many waiters.
    replying: AtomicUsize,
    /// Told when a question or such a task has ended.
    ended: Notify,
    counts: Arc<PlaneCounts>,
    now: fn() -> Now,
}

/// A client that waits, with the plan and the question it came with.
struct Waiter {
    plan: Arc<Plan>,
    ask: Ask,
    client: Waiting,
}

/// A question nobody has asked yet.
struct Lead {
    plan: Arc<Plan>,
    ask: Ask,
    transport: Transport,
    deadline: Instant,
}

impl Lead {
    /// Counts something with its block.
    fn count(&self, count: impl FnOnce(&BlockCounts)) {
        if let Some(counts) = self.plan.counts.get(usize::from(self.ask.block.0)) {
            count(counts);
        }
    }
}

impl<R: Upstream> Misses<R> {
    fn new(
        routes: Routes<R>,
        limits: Limits,
        counts: Arc<PlaneCounts>,
        now: fn() -> Now,
    ) -> Arc<Self> {
        Arc::new(Self {
            routes,
            table: Mutex::new(Table::new(limits)),
            replying: AtomicUsize::new(0),
            ended: Notify::new(),
            counts,
            now,
        })
    }

    async fn run(self: Arc<Self>, mut errands: mpsc::Receiver<Errand>, stop: CancellationToken) {
        let mut stopped = std::pin::pin!(stop.cancelled());
        let mut batch = Vec::with_capacity(BATCH_LEN);
        let mut is_open = true;
        let mut drained_by: Option<Instant> = None;
        while is_open || !self.is_idle() {
            let due = self.table().next_due();
            tokio::select! {
                taken = errands.recv_many(&mut batch, BATCH_LEN), if is_open => {
                    is_open = taken > 0;
                    for errand in batch.drain(..) {
                        self.take(errand);
                    }
                }
                () = self.ended.notified(), if !is_open => {}
                () = self.until(due) => {
                    let waiters = self.table().take_due((self.now)());
                    self.tell_all(waiters, UNANSWERED);
                }
                () = &mut stopped, if drained_by.is_none() => {
                    drained_by = Some(Instant::now() + DRAIN);
                }
                () = end_of(drained_by) => break,
            }
            if !is_open && drained_by.is_none() {
                drained_by = Some(Instant::now() + DRAIN);
            }
        }
        let waiters = self.table().finish_all();
        self.reply_all(waiters, UNANSWERED).await;
    }

    /// Whether no question is in flight and no reply about to be sent.
    fn is_idle(&self) -> bool {
        self.table().is_empty() && self.replying.load(Ordering::Acquire) == 0
    }

    /// Joins one errand; the first of its kind is asked.
    fn take(self: &Arc<Self>, errand: Errand) {
        let Errand { plan, ask, client } = errand;
        let lead = self.lead(&plan, &ask, client.as_ref());
        let is_client = client.is_some();
        let arrival = client.map(|client| Arrival {
            address: client.source.ip(),
            shares: 1 + client.packet.len() / SHARE_LEN,
            due: ask.stale.is_some().then(|| client.received.plus_millis(ask.client_timer_millis)),
            waiter: Waiter { plan, ask, client },
        });
        let joined = self.table().join(&lead.ask.key, arrival);
        match joined {
            Joined::Leads => {
                match is_client {
                    true => self.counts.waiting(1),
                    false => lead.count(|counts| counts.renewed(SHARD)),
                }
                self.pursue(lead);
            }
            Joined::Waits => {
                self.counts.waiting(1);
                self.counts.coalesced(SHARD);
            }
            Joined::Known => {}
            Joined::Refused(bound, waiter) => {
                tracing::debug!(?bound, "a question is not asked");
                self.counts.waiting_full(SHARD);
                if let Some(waiter) = waiter {
                    self.turn_away(waiter);
                }
            }
        }
    }

    fn lead(&self, plan: &Arc<Plan>, ask: &Ask, client: Option<&Waiting>) -> Lead {
        let waited_millis = client.map_or(0, |client| (self.now)().since(client.received));
        let left_millis = DEADLINE_MILLIS.saturating_sub(waited_millis);
        Lead {
            plan: Arc::clone(plan),
            ask: ask.clone(),
            transport: client.map_or(Transport::Udp, |client| client.transport),
            deadline: Instant::now() + Duration::from_millis(left_millis),
        }
    }

    /// Sees to it that a question is answered, or that it is said that there is no answer.
    fn pursue(self: &Arc<Self>, lead: Lead) {
        let misses = Arc::clone(self);
        let pursuit = Pursuit { misses, lead, is_over: false };
        // A panic has ended the pursuit.
        let _ = catch_unwind(AssertUnwindSafe(|| pursuit.begin()));
    }

    /// Ends a question: everybody who waits is told.
    fn finish(self: &Arc<Self>, key: &Key, outcome: Outcome) {
        let waiters = self.table().finish(key);
        self.tell_all(waiters, outcome);
        self.ended.notify_one();
    }

    /// Answers a few waiters at once, many in a task that lets others have a turn.
    fn tell_all(self: &Arc<Self>, waiters: Vec<Waiter>, outcome: Outcome) {
        if waiters.len() <= REPLIES_PER_TURN {
            return waiters.into_iter().for_each(|waiter| self.tell(waiter, &outcome));
        }
        self.replying.fetch_add(1, Ordering::AcqRel);
        let misses = Arc::clone(self);
        tokio::spawn(async move {
            misses.reply_all(waiters, outcome).await;
            misses.replying.fetch_sub(1, Ordering::AcqRel);
            misses.ended.notify_one();
        });
    }

    /// Answers every waiter.
    async fn reply_all(&self, waiters: Vec<Waiter>, outcome: Outcome) {
        for (index, waiter) in waiters.into_iter().enumerate() {
            if index % REPLIES_PER_TURN == REPLIES_PER_TURN - 1 {
                tokio::task::yield_now().await;
            }
            self.tell(waiter, &outcome);
        }
    }

    fn tell(&self, waiter: Waiter, outcome: &Outcome) {
        self.counts.waiting(-1);
        self.guarded(|| match (outcome, waiter.ask.stale.clone()) {
            (Outcome::Failed { .. }, Some(entry)) => self.reply(waiter, &Outcome::Stale(entry)),
            _ => self.reply(waiter, outcome),
        });
    }

    /// Answers a waiter whose question is not asked.
    fn turn_away(&self, waiter: Waiter) {
        self.guarded(|| {
            let outcome = waiter.plan.engine.turn_away(&waiter.ask, (self.now)());
            self.reply(waiter, &outcome);
        });
    }

    fn reply(&self, waiter: Waiter, outcome: &Outcome) {
        let Waiter { plan, ask, client } = waiter;
        let desk = Desk {
            plan: &plan,
            counts: &self.counts,
            query: Query {
                packet: &client.packet,
                source: client.source,
                listener: client.listener,
                transport: client.transport,
            },
            received: client.received,
        };
        desk.reply(&ask, outcome, (self.now)(), client.reply);
    }

    /// Keeps a panic over one reply from the others.
    fn guarded(&self, work: impl FnOnce()) {
        if catch_unwind(AssertUnwindSafe(work)).is_err() {
            self.counts.panicked(SHARD);
        }
    }

    /// Sleeps until a moment; for ever without one.
    async fn until(&self, due: Option<Now>) {
        match due {
            Some(due) => tokio::time::sleep(Duration::from_millis(due.since((self.now)()))).await,
            None => std::future::pending().await,
        }
    }

    fn table(&self) -> MutexGuard<'_, Table<Waiter>> {
        // The table does not panic; if it did, its counts would still be worth more than nothing.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One question from its first client to the last word about it. If it is dropped before that,
/// something panicked.
struct Pursuit<R: Upstream> {
    misses: Arc<Misses<R>>,
    lead: Lead,
    is_over: bool,
}

impl<R: Upstream> Pursuit<R> {
    fn begin(self) {
        let Lead { plan, ask, transport, deadline } = &self.lead;
        // Another question for this name may have ended between the miss and the join.
        if let Some(outcome) = plan.engine.recall(ask, (self.misses.now)()) {
            return self.end(outcome);
        }
        let (route, key) = (self.misses.routes.load().get(&ask.route).cloned(), ask.key.clone());
        let (transport, deadline) = (*transport, *deadline);
        match route {
            Some(route) => route.ask_then(&key, transport, deadline, |told| self.learn(told)),
            // A reload took the route away.
            None => self.learn(Told::Failed(Failure::Silent)),
        }
    }

    fn learn(self, told: Told) {
        let Lead { plan, ask, .. } = &self.lead;
        let now = (self.misses.now)();
        if matches!(told, Told::Failed(Failure::Broken)) {
            self.lead.count(|counts| counts.unusable(SHARD));
        }
        let outcome = match told {
            Told::Answer(digest) => plan.engine.learn_digest(ask, digest, now),
            Told::Failed(failure) => plan.engine.learn_failure(ask, failure, now),
        };
        self.end(outcome);
    }

    fn end(mut self, outcome: Outcome) {
        self.is_over = true;
        self.misses.finish(&self.lead.ask.key, outcome);
    }
}

impl<R: Upstream> Drop for Pursuit<R> {
    fn drop(&mut self) {
        if !self.is_over {
            self.misses.counts.panicked(SHARD);
            self.misses.finish(&self.lead.ask.key, UNANSWERED);
        }
    }
}

async fn end_of(drained_by: Option<Instant>) {
    match drained_by {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// What a client gets when nothing was learned, unless it has an expired answer to fall back on.
const UNANSWERED: Outcome = Outcome::Failed { rcode: rcode::SERVFAIL, extended_error: None };

#[cfg(test)]
mod tests;
