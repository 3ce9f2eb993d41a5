//! What is not known: joins equal questions, asks upstream once, and answers everybody who waits.
//!
//! One task takes the errands, begins their questions and keeps the only timer. Whoever hears the
//! last word about a question, usually the task that reads the socket, has it learned and answers
//! those who wait, so a miss costs no task of its own. A panic costs one question, whose clients
//! get SERVFAIL.

use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::inflight::{Arrival, Joined, Limits, Table};
use super::journey::Journey;
use super::slow_log::{Served, SlowLog};
use super::{Asking, Desk, Routes, SHARD, Told, Upstream};
use crate::clock;
use crate::counts::{BlockCounts, PlaneCounts};
use crate::engine::cache::key::Key;
use crate::engine::wire::header::rcode;
use crate::engine::{Ask, Contradiction, Failure, Now, Outcome, Transport, Verdict};
use crate::handoff::{Errand, Waiting};
use crate::logging::Quiet;
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

/// Carries out errands until the senders are gone or, after `shutdown`, the time to drain is over.
/// What is in flight by then is answered with what there is.
pub async fn run<R: Upstream>(
    errands: mpsc::Receiver<Errand>,
    routes: Routes<R>,
    limits: Limits,
    counts: Arc<PlaneCounts>,
    slow_log: Arc<SlowLog>,
    shutdown: CancellationToken,
) {
    Misses::new(routes, limits, counts, slow_log, clock::now).run(errands, shutdown).await;
}

struct Misses<R> {
    routes: Routes<R>,
    table: Mutex<Table<Waiter, Arc<Journey>>>,
    /// Tasks that answer many waiters.
    replying: AtomicUsize,
    /// Told when a question or such a task has ended.
    ended: Notify,
    /// Whether nothing is asked any more.
    is_over: AtomicBool,
    /// The log line about contradictions that audits find.
    contradictions: Quiet,
    counts: Arc<PlaneCounts>,
    slow_log: Arc<SlowLog>,
    now: fn() -> Now,
}

/// A client that waits, with the plan and the question it came with.
struct Waiter {
    plan: Arc<Plan>,
    ask: Ask,
    client: Waiting,
    /// Whether it waits for something else than its own question, which is decided again then.
    is_put_off: bool,
    /// When it began to wait for that, and whether somebody had asked already.
    joined: Now,
    is_shared: bool,
}

/// A question nobody has asked yet.
struct Lead {
    plan: Arc<Plan>,
    ask: Ask,
    transport: Transport,
    /// See [`Asking::holder`].
    holder: Option<IpAddr>,
    deadline: Instant,
    journey: Arc<Journey>,
}

impl Lead {
    /// Counts something with its block.
    fn count(&self, count: impl FnOnce(&BlockCounts)) {
        if let Some(counts) = self.plan.counts.get(usize::from(self.ask.block.0)) {
            count(counts);
        }
    }

    /// Counts it as a renewal, if it renews something.
    fn count_renewal(&self) {
        if self.ask.stale.is_some() && self.ask.audits.is_none() {
            self.count(|counts| counts.renewed(SHARD));
        }
    }
}

impl<R: Upstream> Misses<R> {
    fn new(
        routes: Routes<R>,
        limits: Limits,
        counts: Arc<PlaneCounts>,
        slow_log: Arc<SlowLog>,
        now: fn() -> Now,
    ) -> Arc<Self> {
        Arc::new(Self {
            routes,
            table: Mutex::new(Table::new(limits)),
            replying: AtomicUsize::new(0),
            ended: Notify::new(),
            is_over: AtomicBool::new(false),
            contradictions: Quiet::new(),
            counts,
            slow_log,
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
                    let now = (self.now)();
                    for mut errand in batch.drain(..) {
                        if let Some(client) = &mut errand.client {
                            client.taken = now;
                        }
                        self.take(errand);
                    }
                }
                () = self.ended.notified(), if !is_open => {}
                () = self.until(due) => {
                    let due = self.table().take_due((self.now)());
                    self.tell_all(due, UNANSWERED);
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
        self.is_over.store(true, Ordering::Release);
        let waiters = self.table().finish_all();
        self.reply_all(after(waiters, &Arc::default()), UNANSWERED).await;
    }

    /// Whether no question is in flight and no reply about to be sent.
    fn is_idle(&self) -> bool {
        self.table().is_empty() && self.replying.load(Ordering::Acquire) == 0
    }

    /// Takes one errand and the questions that come with it.
    fn take(self: &Arc<Self>, errand: Errand) {
        let Errand { plan, mut ask, client } = errand;
        let (mut beside, mut awaited) = (Vec::new(), None);
        if let Some(company) = &mut ask.company {
            let mut first = std::mem::take(&mut company.first).into_iter();
            awaited = first.next();
            beside = std::mem::take(&mut company.beside);
            beside.extend(first);
        }
        match client {
            Some(client) => {
                let awaited = awaited.unwrap_or_else(|| ask.clone());
                self.join(&plan, awaited, Some((ask, client)));
            }
            None => self.join(&plan, awaited.unwrap_or(ask), None),
        }
        beside.into_iter().for_each(|ask| self.join(&plan, ask, None));
    }

    /// Joins one question; the first of its kind is asked. A client may wait for it whose own
    /// question is another one.
    fn join(self: &Arc<Self>, plan: &Arc<Plan>, ask: Ask, client: Option<(Ask, Waiting)>) {
        let mut lead = self.lead(plan, ask, client.as_ref().map(|(_, client)| client));
        let is_client = client.is_some();
        let mut table = self.table();
        let known = table.notes(&lead.ask.key);
        let arrival = client.map(|(own, client)| Arrival {
            due: own.stale.is_some().then(|| client.received.plus_millis(own.client_timer_millis)),
            waiter: Waiter {
                plan: Arc::clone(plan),
                is_put_off: own.key != lead.ask.key,
                joined: (self.now)(),
                is_shared: known.is_some(),
                ask: own,
                client,
            },
        });
        let joined = table.join(&lead.ask.key, arrival);
        lead.journey = table.notes(&lead.ask.key).unwrap_or_default();
        drop(table);
        match joined {
            Joined::Leads => {
                match is_client {
                    true => self.counts.waiting(1),
                    false => lead.count_renewal(),
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

    fn lead(&self, plan: &Arc<Plan>, ask: Ask, client: Option<&Waiting>) -> Lead {
        let waited_millis = client.map_or(0, |client| (self.now)().since(client.received));
        let left_millis = DEADLINE_MILLIS.saturating_sub(waited_millis);
        Lead {
            plan: Arc::clone(plan),
            ask,
            transport: client.map_or(Transport::Udp, |client| client.transport),
            holder: client.and_then(|client| client.ticket.holder()),
            deadline: Instant::now() + Duration::from_millis(left_millis),
            journey: Arc::default(),
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
    fn finish(self: &Arc<Self>, key: &Key, outcome: Outcome, journey: &Arc<Journey>) {
        let waiters = self.table().finish(key);
        self.tell_all(after(waiters, journey), outcome);
        self.ended.notify_one();
    }

    /// Answers a few waiters at once, many in a task that lets others have a turn.
    fn tell_all(self: &Arc<Self>, waiters: Vec<(Waiter, Arc<Journey>)>, outcome: Outcome) {
        let is_put_off = waiters.iter().any(|(waiter, _)| waiter.is_put_off);
        if waiters.len() <= REPLIES_PER_TURN && !is_put_off {
            let tell = |(waiter, journey): (Waiter, Arc<Journey>)| {
                self.tell(waiter, &outcome, &journey);
            };
            return waiters.into_iter().for_each(tell);
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
    async fn reply_all(self: &Arc<Self>, waiters: Vec<(Waiter, Arc<Journey>)>, outcome: Outcome) {
        for (index, (waiter, journey)) in waiters.into_iter().enumerate() {
            if index % REPLIES_PER_TURN == REPLIES_PER_TURN - 1 {
                tokio::task::yield_now().await;
            }
            self.tell(waiter, &outcome, &journey);
        }
    }

    fn tell(self: &Arc<Self>, waiter: Waiter, outcome: &Outcome, journey: &Journey) {
        self.counts.waiting(-1);
        let is_learned = matches!(outcome, Outcome::Fresh(_));
        self.guarded(|| match (outcome, waiter.ask.stale.clone()) {
            (_, stale) if waiter.is_put_off && (is_learned || stale.is_none()) => {
                self.decide_again(waiter, outcome, journey);
            }
            (Outcome::Failed { .. }, Some(entry)) => {
                self.reply(waiter, &Outcome::Stale(entry), journey);
            }
            (Outcome::Stale(_), Some(entry)) if waiter.is_put_off => {
                self.reply(waiter, &Outcome::Stale(entry), journey);
            }
            _ => self.reply(waiter, outcome, journey),
        });
    }

    /// Decides about a question that was put off, now that a fact it waited for is learned, or is
    /// not to be had.
    fn decide_again(self: &Arc<Self>, waiter: Waiter, outcome: &Outcome, journey: &Journey) {
        if self.is_over.load(Ordering::Acquire) {
            return self.reply(waiter, &UNANSWERED, journey);
        }
        let Waiter { plan, ask, mut client, joined, is_shared, .. } = waiter;
        let mut path = Some(client.take_path());
        let desk = Desk {
            plan: &plan,
            counts: &self.counts,
            query: client.query(),
            received: client.received,
        };
        let verdict = desk.answer_again((&ask, outcome), (self.now)(), |reply| {
            if let Some(path) = path.take() {
                path(reply);
            }
        });
        match (verdict, path) {
            (Verdict::Ask(ask), Some(path)) => {
                client.reply = path;
                client.rounds = client.rounds.saturating_add(1);
                self.take(Errand { plan, ask, client: Some(client) });
            }
            (Verdict::Reply(reply), _) => {
                let served = Served {
                    client: &client,
                    ask: &ask,
                    outcome: None,
                    journey,
                    joined,
                    is_shared,
                    is_put_off: true,
                };
                self.slow_log.note(&served, (self.now)());
                if let Some(ask) = reply.renew {
                    self.take(Errand { plan, ask, client: None });
                }
            }
            _ => {}
        }
    }

    /// Answers a waiter whose question is not asked.
    fn turn_away(&self, waiter: Waiter) {
        self.guarded(|| {
            let outcome = waiter.plan.engine.turn_away(&waiter.ask, (self.now)());
            self.reply(waiter, &outcome, &Journey::default());
        });
    }

    fn reply(&self, waiter: Waiter, outcome: &Outcome, journey: &Journey) {
        let Waiter { plan, ask, mut client, is_put_off, joined, is_shared } = waiter;
        let (path, now) = (client.take_path(), (self.now)());
        let desk = Desk {
            plan: &plan,
            counts: &self.counts,
            query: client.query(),
            received: client.received,
        };
        desk.reply(&ask, outcome, now, path);
        let (client, ask, outcome) = (&client, &ask, Some(outcome));
        let served = Served { client, ask, outcome, journey, joined, is_shared, is_put_off };
        self.slow_log.note(&served, now);
    }

    /// Keeps a panic over one reply from the others.
    fn guarded(&self, work: impl FnOnce()) {
        if catch_unwind(AssertUnwindSafe(work)).is_err() {
            self.counts.panicked(SHARD);
        }
    }

    /// Says so if a question that checks a synthesised reply finds that it was wrong.
    fn audit(&self, lead: &Lead, outcome: &Outcome) {
        let now = (self.now)();
        let Some(found) = lead.plan.engine.audited(&lead.ask, outcome, now) else { return };
        let Contradiction { name, boundary } = found;
        if let Some(times) = self.contradictions.count(now, 1) {
            let boundary = boundary.map_or_else(|| "none".to_owned(), |name| name.to_string());
            tracing::warn!(
                %name, boundary, times,
                "searchpath: upstream denied a name above one that exists; that boundary is off for a while"
            );
        }
    }

    /// Sleeps until a moment; for ever without one.
    async fn until(&self, due: Option<Now>) {
        match due {
            Some(due) => tokio::time::sleep(Duration::from_millis(due.since((self.now)()))).await,
            None => std::future::pending().await,
        }
    }

    fn table(&self) -> MutexGuard<'_, Table<Waiter, Arc<Journey>>> {
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
        let Lead { plan, ask, transport, holder, deadline, journey } = &self.lead;
        // Another question for this name may have ended between the miss and the join.
        if let Some(outcome) = plan.engine.recall(ask, (self.misses.now)()) {
            return self.end(outcome);
        }
        let (route, key) = (self.misses.routes.load().get(&ask.route).cloned(), ask.key.clone());
        let asking = Asking {
            client: *transport,
            deadline: *deadline,
            holder: *holder,
            is_known: ask.is_known,
            journey: Arc::clone(journey),
        };
        match route {
            Some(route) => route.ask_then(&key, asking, |told| self.learn(told)),
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
        self.misses.audit(&self.lead, &outcome);
        self.misses.finish(&self.lead.ask.key, outcome, &self.lead.journey);
    }
}

impl<R: Upstream> Drop for Pursuit<R> {
    fn drop(&mut self) {
        if !self.is_over {
            self.misses.counts.panicked(SHARD);
            self.misses.finish(&self.lead.ask.key, UNANSWERED, &self.lead.journey);
        }
    }
}

/// The clients of one question, each with its journey.
fn after(waiters: Vec<Waiter>, journey: &Arc<Journey>) -> Vec<(Waiter, Arc<Journey>)> {
    waiters.into_iter().map(|waiter| (waiter, Arc::clone(journey))).collect()
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
