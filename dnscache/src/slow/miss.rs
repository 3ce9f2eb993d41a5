//! What is not known: joins equal questions, asks upstream once, and answers everybody who waits.
//!
//! One task takes the errands and keeps the only timer; each question upstream is a task of its
//! own. Nothing the engine does runs in the first: a panic costs one question, whose clients get
//! SERVFAIL.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::inflight::{Arrival, Joined, Limits, Table};
use super::{Desk, Routes, SHARD, Told, Upstream};
use crate::clock;
use crate::counts::{BlockCounts, PlaneCounts};
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
    let misses =
        Arc::new(Misses { routes, table: Mutex::new(Table::new(limits)), counts, now: clock::now });
    misses.run(errands, shutdown).await;
}

struct Misses<R> {
    routes: Routes<R>,
    table: Mutex<Table<Waiter>>,
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
    async fn run(self: Arc<Self>, mut errands: mpsc::Receiver<Errand>, stop: CancellationToken) {
        let mut tasks = JoinSet::new();
        let mut batch = Vec::with_capacity(BATCH_LEN);
        let mut is_open = true;
        let mut drained_by: Option<Instant> = None;
        while is_open || !tasks.is_empty() {
            // One finished task per turn would not keep up with the batches that begin new ones.
            while tasks.try_join_next().is_some() {}
            let due = self.table().next_due();
            tokio::select! {
                taken = errands.recv_many(&mut batch, BATCH_LEN), if is_open => {
                    is_open = taken > 0;
                    for errand in batch.drain(..) {
                        self.take(errand, &mut tasks);
                    }
                }
                Some(_) = tasks.join_next() => {}
                () = self.until(due) => {
                    let waiters = self.table().take_due((self.now)());
                    tasks.spawn(Arc::clone(&self).reply_all(waiters, UNANSWERED));
                }
                () = stop.cancelled(), if drained_by.is_none() => {
                    drained_by = Some(Instant::now() + DRAIN);
                }
                () = sleep_until(drained_by.unwrap_or_else(Instant::now)), if drained_by.is_some() => {
                    break;
                }
            }
            if !is_open && drained_by.is_none() {
                drained_by = Some(Instant::now() + DRAIN);
            }
        }
        let waiters = self.table().finish_all();
        self.reply_all(waiters, UNANSWERED).await;
    }

    /// Joins one errand; the first of its kind begins a task.
    fn take(self: &Arc<Self>, errand: Errand, tasks: &mut JoinSet<()>) {
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
                tasks.spawn(Arc::clone(self).pursue(lead));
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

    /// Finds out the answer to a question, or that there is none, and tells everybody who waits.
    async fn pursue(self: Arc<Self>, lead: Lead) {
        let found = AssertUnwindSafe(self.find_out(&lead)).catch_unwind().await;
        let outcome = found.unwrap_or_else(|_| {
            self.counts.panicked(SHARD);
            UNANSWERED
        });
        let waiters = self.table().finish(&lead.ask.key);
        self.reply_all(waiters, outcome).await;
    }

    async fn find_out(&self, lead: &Lead) -> Outcome {
        let Lead { plan, ask, transport, deadline } = lead;
        // Another question for this name may have ended between the miss and the join.
        if let Some(outcome) = plan.engine.recall(ask, (self.now)()) {
            return outcome;
        }
        let told = match self.routes.load().get(&ask.route).cloned() {
            Some(route) => {
                let asked = route.ask(&ask.key, *transport, *deadline);
                let answered = timeout_at(*deadline, asked).await;
                answered.unwrap_or(Told::Failed(Failure::Silent))
            }
            // A reload took the route away.
            None => Told::Failed(Failure::Silent),
        };
        let now = (self.now)();
        if matches!(told, Told::Failed(Failure::Broken)) {
            lead.count(|counts| counts.unusable(SHARD));
        }
        match told {
            Told::Message(message) => plan.engine.learn(ask, &message, now),
            Told::Failed(failure) => plan.engine.learn_failure(ask, failure, now),
        }
    }

    /// Answers every waiter.
    async fn reply_all(self: Arc<Self>, waiters: Vec<Waiter>, outcome: Outcome) {
        for (index, waiter) in waiters.into_iter().enumerate() {
            if index % REPLIES_PER_TURN == REPLIES_PER_TURN - 1 {
                tokio::task::yield_now().await;
            }
            self.counts.waiting(-1);
            self.guarded(|| match (&outcome, waiter.ask.stale.clone()) {
                (Outcome::Failed { .. }, Some(entry)) => {
                    self.reply(waiter, &Outcome::Stale(entry));
                }
                _ => self.reply(waiter, &outcome),
            });
        }
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
        if std::panic::catch_unwind(AssertUnwindSafe(work)).is_err() {
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

/// What a client gets when nothing was learned, unless it has an expired answer to fall back on.
const UNANSWERED: Outcome = Outcome::Failed { rcode: rcode::SERVFAIL, extended_error: None };

#[cfg(test)]
mod tests;
