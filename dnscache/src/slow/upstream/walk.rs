//! One question's way past the upstreams: who is asked when, and what their replies mean.
//!
//! Tries overlap: the next upstream is asked when one fails or stays silent for [`SILENCE`],
//! while the earlier ones may still answer; the first good answer wins. An upstream is asked at
//! most [`TRIES_MAX`] times per carrier for one question (RFC 9520 section 3.1), not counting those
//! lost with a connection, not again once it has answered with a failure or left the route, and all
//! within the caller's deadline.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::SILENCE;
use super::packets::{Held, STREAM_COST};
use super::peer::{Carrier, Manner, Peer};
use crate::clock;
use crate::counts::rcode_label;
use crate::engine::cache::key::Key;
use crate::engine::wire::answer::{Class, Digest, digest};
use crate::engine::wire::header::rcode;
use crate::engine::{Failure, Now};
use crate::slow::Told;
use crate::slow::exchange::Trouble;
use crate::slow::journey::{Journey, Note, Over};

/// What limits and directs a walk.
pub struct Terms<'a> {
    /// Response codes that try the next upstream.
    pub failover: &'a [u16],
    /// Tries in all; 0: no limit of their own.
    pub attempts_max: u32,
    /// The carrier of the first try at a plain upstream; TLS upstreams always have a stream.
    pub carrier: Carrier,
    /// When the question ends, answered or not.
    pub deadline: Instant,
    /// Whether something is known about it (see [`packets`](super::packets)).
    pub is_known: bool,
    /// Where its tries are noted.
    pub journey: &'a Arc<Journey>,
    /// The upstreams of the route at the time of the call, for a walk that finds one of its own
    /// gone.
    pub latest: &'a (dyn Fn() -> Arc<Vec<Arc<Peer>>> + Sync),
}

/// Asks `peers` in their order until one gives an answer. The first of them was asked already if
/// there is a `first` try.
pub async fn walk(
    key: &Key,
    peers: Vec<Arc<Peer>>,
    terms: &Terms<'_>,
    first: Option<First>,
) -> Told {
    let began = first.as_ref().map_or_else(Instant::now, |first| first.sent);
    let mut walk = Walk::new(peers, terms, began);
    let mut flights = FuturesUnordered::new();
    if let Some(first) = first {
        let flight = walk.take_off(0, began, key.clone(), !first.edns, Some(first));
        flights.push(fly(flight));
    }
    let arrived = timeout_at(terms.deadline, async {
        loop {
            let now = Instant::now();
            walk.meet_successors(now);
            let due = walk.next(now);
            if let Next::Launch(index) = due {
                if !walk.may_send(index) {
                    if !walk.hold(index, began, now) {
                        return None;
                    }
                    continue;
                }
                let flight = walk.launch(index, now, key.clone());
                flights.push(fly(flight));
                continue;
            }
            if walk.is_over(&due) {
                return None;
            }
            tokio::select! {
                Some(landed) = flights.next() => {
                    if let Some(digest) = walk.land(key, landed, Instant::now()) {
                        return Some(digest);
                    }
                }
                () = sleep_until(due.moment(terms.deadline)) => {}
            }
        }
    });
    match arrived.await {
        Ok(Some(digest)) => Told::Answer(digest),
        Ok(None) | Err(_) => walk.give_up(),
    }
}

/// A first try, in a datagram, that was made before the walk began.
pub struct First {
    /// When it was sent.
    pub sent: Instant,
    /// Whether it carried EDNS.
    pub edns: bool,
    /// What came of it.
    pub news: News,
}

/// What came of a first try.
pub enum News {
    /// Its end, which the upstream has taken note of.
    Ended(Result<Vec<u8>, Trouble>),
    /// Nothing yet, which the upstream has taken note of; this is where the end comes.
    Pending(oneshot::Receiver<Result<Vec<u8>, Trouble>>),
}

/// Tries per upstream and carrier for one question.
pub const TRIES_MAX: u8 = 3;
/// Upstreams one question may come to know: those of a route, all of them replaced once.
const CANDIDATES_MAX: usize = 128;
/// From one try to the next at another upstream, after the first two.
const STEP: Duration = Duration::from_secs(1);
/// From an upstream's first try to its second, and from its second to its third, if it is silent.
const AGAIN: [Duration; 2] = [Duration::from_millis(1000), Duration::from_millis(1500)];
/// From a first and a second refusal to the next try at the same upstream, which may be starting:
/// three tries in half a second would all come too early for a server that takes a second.
const REST: [Duration; 2] = [Duration::from_millis(250), Duration::from_millis(1250)];
/// Connections lost under a question that do not count as a try: an upstream that closes them after
/// each reply has not read the others.
const LOST_FREE: u8 = 2;

/// From one look at an upstream that takes no more packets to the next.
const HOLD: Duration = Duration::from_millis(50);
/// How long a question is held that was not sent at all: its client has time for another try
/// within its own 5 s.
const HOLD_MAX: Duration = Duration::from_secs(1);

/// The state of one question.
struct Walk<'a> {
    terms: &'a Terms<'a>,
    /// When it began.
    began: Now,
    candidates: Vec<Candidate>,
    /// To be asked at once, whatever the pace: the way forward is known.
    urgent: Option<usize>,
    /// When the next try may start.
    next_at: Instant,
    launched: u32,
    /// An answer that `failover` would rather have from another upstream.
    fallback: Option<Digest>,
    failure: Option<u8>,
    broken: bool,
    heard_nothing: bool,
    /// Its place among the questions that wait until an upstream takes more packets.
    held: Option<Held>,
}

/// One upstream in one question.
struct Candidate {
    peer: Arc<Peer>,
    carrier: Carrier,
    /// Tries by carrier.
    tries: [u8; 2],
    in_flight: u8,
    /// Whether it said all it has to say.
    spent: bool,
    /// Whether it left the route: what it was asked it may still answer.
    gone: bool,
    /// Whether it showed that it does not understand EDNS.
    plain: bool,
    /// Connections that ended under this question, or could not be had.
    ended: u8,
    /// Those of them that could not be had, or gave no reply at all.
    refusals: u8,
    not_before: Instant,
    /// Whether it takes no more packets until then.
    is_full: bool,
}

/// What to do next.
enum Next {
    Launch(usize),
    At(Instant),
    Nobody,
}

/// A try on its way.
struct Flight {
    index: usize,
    peer: Arc<Peer>,
    key: Key,
    manner: Manner,
    patience: Duration,
    first: Option<First>,
    journey: Arc<Journey>,
    /// Its number in the journey.
    leg: usize,
}

/// A try that ended.
struct Landed {
    index: usize,
    manner: Manner,
    took: Duration,
    leg: usize,
    result: Result<Vec<u8>, Trouble>,
}

async fn fly(flight: Flight) -> Landed {
    let Flight { index, peer, key, manner, patience, first, journey, leg } = flight;
    let sent = first.as_ref().map_or_else(Instant::now, |first| first.sent);
    let result = match first.map(|first| first.news) {
        None => peer.ask(&key, manner, patience, Note { journey: &journey, leg }).await,
        Some(News::Ended(result)) => result,
        Some(News::Pending(end)) => {
            let result = end.await.unwrap_or(Err(Trouble::Silent));
            peer.take_note(result.as_ref().map(Vec::as_slice).map_err(|trouble| *trouble));
            result
        }
    };
    Landed { index, manner, took: sent.elapsed(), leg, result }
}

impl Next {
    fn moment(&self, deadline: Instant) -> Instant {
        match self {
            Self::At(moment) => *moment,
            Self::Launch(_) | Self::Nobody => deadline,
        }
    }
}

impl<'a> Walk<'a> {
    fn new(peers: Vec<Arc<Peer>>, terms: &'a Terms<'a>, now: Instant) -> Self {
        let candidate = |peer| Candidate::new(peer, terms.carrier, now);
        Self {
            terms,
            began: clock::now(),
            candidates: peers.into_iter().map(candidate).collect(),
            urgent: None,
            next_at: now,
            launched: 0,
            fallback: None,
            failure: None,
            broken: false,
            heard_nothing: false,
            held: None,
        }
    }

    /// Whether this upstream takes what the next try sends; then that is counted.
    fn may_send(&mut self, index: usize) -> bool {
        let candidate = &self.candidates[index];
        let packets = match candidate.carrier {
            Carrier::Datagram => 1,
            Carrier::Stream => STREAM_COST,
        };
        let may_send = candidate.peer.counts.packets.spend(packets, self.terms.is_known);
        if may_send {
            self.held = None;
            self.terms.journey.hold(false);
        }
        may_send
    }

    /// Puts a try off until the upstream may take packets again. Says whether to go on: a question
    /// that was not sent at all gives up when too many wait or it waited for long enough.
    fn hold(&mut self, index: usize, began: Instant, now: Instant) -> bool {
        let candidate = &mut self.candidates[index];
        (candidate.is_full, candidate.not_before) = (true, now + HOLD);
        self.next_at = now;
        let budget = &candidate.peer.counts.packets;
        if self.launched > 0 {
            return true;
        }
        if now.duration_since(began) >= HOLD_MAX {
            budget.gave_up();
            return false;
        }
        self.terms.journey.hold(true);
        self.held = self.held.take().or_else(|| budget.hold());
        self.held.is_some()
    }

    /// Has the upstreams that took the place of one that is gone among those to ask. As many as a
    /// route has can join, whatever comes and goes while the question waits.
    fn meet_successors(&mut self, now: Instant) {
        let mut has_left = false;
        for known in &mut self.candidates {
            has_left |= known.peer.is_gone() && !known.gone;
            known.gone = known.peer.is_gone();
        }
        if !has_left {
            return;
        }
        for peer in (self.terms.latest)().iter() {
            let is_known = self.candidates.iter().any(|known| Arc::ptr_eq(&known.peer, peer));
            if !is_known && self.candidates.len() < CANDIDATES_MAX {
                let candidate = Candidate::new(Arc::clone(peer), self.terms.carrier, now);
                self.candidates.push(candidate);
            }
        }
    }

    /// Whom to ask next: those asked least often first, in their order.
    fn next(&mut self, now: Instant) -> Next {
        if self.terms.attempts_max > 0 && self.launched >= self.terms.attempts_max {
            return Next::Nobody;
        }
        if let Some(index) = self.urgent.take() {
            if self.candidates[index].may_try() {
                return Next::Launch(index);
            }
            // Not this one any more: the next one is as urgent.
            self.next_at = now;
        }
        let open = self.candidates.iter().enumerate().filter(|(_, candidate)| candidate.may_try());
        let Some((index, candidate)) = open.min_by_key(|(_, candidate)| candidate.rank(now)) else {
            return Next::Nobody;
        };
        let moment = self.next_at.max(candidate.not_before);
        if moment <= now { Next::Launch(index) } else { Next::At(moment) }
    }

    fn launch(&mut self, index: usize, now: Instant, key: Key) -> Flight {
        let doubted = !self.candidates[index].peer.takes_edns();
        self.take_off(index, now, key, doubted, None)
    }

    fn take_off(
        &mut self,
        index: usize,
        now: Instant,
        key: Key,
        doubted: bool,
        first: Option<First>,
    ) -> Flight {
        self.next_at = now + if self.launched == 0 { SILENCE } else { STEP };
        self.launched += 1;
        let candidate = &mut self.candidates[index];
        let tries = &mut candidate.tries[candidate.carrier as usize];
        candidate.is_full = false;
        candidate.not_before = now + AGAIN[usize::from(*tries).min(AGAIN.len() - 1)];
        *tries += 1;
        candidate.in_flight += 1;
        candidate.plain |= doubted;
        let over = match candidate.carrier {
            Carrier::Datagram => Over::Udp,
            Carrier::Stream if candidate.peer.tls => Over::Tls,
            Carrier::Stream => Over::Tcp,
        };
        let journey = Arc::clone(self.terms.journey);
        // The first try was noted where it was made.
        let leg = first.as_ref().map_or_else(|| journey.begin(candidate.peer.address, over), |_| 0);
        Flight {
            journey,
            leg,
            index,
            peer: Arc::clone(&candidate.peer),
            key,
            manner: Manner {
                carrier: candidate.carrier,
                // Those lost with one connection share the next; who is unlucky twice does not.
                alone: candidate.ended > 1,
                edns: !candidate.plain,
                recursion: true,
            },
            patience: self.terms.deadline.saturating_duration_since(now),
            first,
        }
    }

    /// Takes in how a try ended; returns the answer that ends the question.
    fn land(&mut self, key: &Key, landed: Landed, now: Instant) -> Option<Digest> {
        self.candidates[landed.index].in_flight -= 1;
        match landed.result {
            Ok(message) => {
                let digest = digest(key, &message);
                let code = response_code(&digest, &message);
                self.candidates[landed.index].peer.replied(code, landed.took);
                self.terms.journey.end(landed.leg, &rcode_label(code));
                self.weigh(landed.index, landed.manner, digest, now)
            }
            Err(trouble) => {
                self.terms.journey.end(landed.leg, &trouble.label());
                self.stumble(landed.index, landed.manner.edns, trouble, now);
                None
            }
        }
    }

    fn weigh(
        &mut self,
        index: usize,
        manner: Manner,
        digest: Result<Digest, Class>,
        now: Instant,
    ) -> Option<Digest> {
        let class = match digest {
            Ok(digest) => {
                let candidate = &mut self.candidates[index];
                if candidate.plain && !manner.edns {
                    candidate.peer.avoid_edns();
                }
                if !self.terms.failover.contains(&u16::from(digest.rcode)) {
                    return Some(digest);
                }
                self.fallback = Some(digest);
                self.dismiss(index, now);
                return None;
            }
            Err(class) => class,
        };
        match class {
            Class::Truncated if manner.carrier == Carrier::Datagram => {
                self.candidates[index].carrier = Carrier::Stream;
                self.urgent = Some(index);
            }
            Class::Failure(code) if manner.edns && may_mean_no_edns(code) => {
                self.retry_plain(index)
            }
            Class::Failure(code) => {
                self.failure = Some(code);
                self.dismiss(index, now);
            }
            // An answer is no error of a digest.
            Class::Truncated | Class::Broken | Class::Answer(_) => {
                self.broken = true;
                self.dismiss(index, now);
            }
        }
        None
    }

    fn stumble(&mut self, index: usize, edns: bool, trouble: Trouble, now: Instant) {
        match trouble {
            Trouble::Silent => self.heard_nothing = true,
            Trouble::Unreachable if self.candidates[index].is_alive(self.began) => self.lose(index),
            Trouble::Lost => self.lose(index),
            Trouble::Unread if edns => self.retry_plain(index),
            Trouble::Unread | Trouble::Broken => {
                self.broken = true;
                self.dismiss(index, now);
            }
            Trouble::Unreachable | Trouble::Exhausted => {
                self.heard_nothing |= trouble == Trouble::Unreachable;
                let candidate = &mut self.candidates[index];
                let rest = REST[usize::from(candidate.refusals).min(REST.len() - 1)];
                candidate.not_before = now + rest;
                candidate.refusals += 1;
                candidate.ended += 1;
                self.next_at = now;
            }
        }
    }

    /// A connection ended under the question, which goes on at the same upstream.
    fn lose(&mut self, index: usize) {
        self.broken = true;
        self.candidates[index].lose();
        self.urgent = Some(index);
    }

    fn retry_plain(&mut self, index: usize) {
        self.candidates[index].plain = true;
        self.urgent = Some(index);
    }

    /// Asks this upstream no more; the next one may be asked at once.
    fn dismiss(&mut self, index: usize, now: Instant) {
        self.candidates[index].spent = true;
        self.next_at = now;
    }

    /// Whether nobody is left to ask or to wait for.
    fn is_over(&self, next: &Next) -> bool {
        let waiting =
            self.candidates.iter().any(|candidate| candidate.in_flight > 0 && !candidate.spent);
        matches!(next, Next::Nobody) && !waiting
    }

    fn give_up(self) -> Told {
        if let Some(digest) = self.fallback {
            return Told::Answer(digest);
        }
        let waiting = self.candidates.iter().any(|candidate| candidate.in_flight > 0);
        Told::Failed(match self.failure {
            // Codes above 15 exist with EDNS only and do not fit a header.
            Some(code) => Failure::Answered(if code > 15 { rcode::SERVFAIL } else { code }),
            None if self.broken => Failure::Broken,
            None if self.heard_nothing || waiting => Failure::Silent,
            None => Failure::Exhausted,
        })
    }
}

impl Candidate {
    /// Its turn among the others, the smallest first: who was asked least often, and who takes no
    /// more packets now after those who do.
    fn rank(&self, now: Instant) -> (bool, u8) {
        (self.is_full && self.not_before > now, self.tries[0] + self.tries[1])
    }

    fn new(peer: Arc<Peer>, carrier: Carrier, now: Instant) -> Self {
        Self {
            carrier: if peer.tls { Carrier::Stream } else { carrier },
            peer,
            tries: [0; 2],
            in_flight: 0,
            spent: false,
            gone: false,
            plain: false,
            ended: 0,
            refusals: 0,
            not_before: now,
            is_full: false,
        }
    }

    /// Notes that a connection ended under the question.
    fn lose(&mut self) {
        self.ended += 1;
        if self.ended <= LOST_FREE {
            let tries = &mut self.tries[self.carrier as usize];
            *tries = tries.saturating_sub(1);
        }
    }

    /// Whether it was heard since the question began: then a connection it ended without a reply is
    /// one more it closed on others, not a refusal.
    fn is_alive(&self, began: Now) -> bool {
        self.ended < LOST_FREE && self.peer.heard_since(began)
    }

    fn may_try(&self) -> bool {
        !self.spent && !self.gone && self.tries[self.carrier as usize] < TRIES_MAX
    }
}

/// FORMERR, NOTIMP and BADVERS to a query with EDNS (RFC 6891 section 7).
fn may_mean_no_edns(code: u8) -> bool {
    matches!(code, rcode::FORMERR | rcode::NOTIMP | BADVERS)
}

const BADVERS: u8 = 16;

/// The response code to count a reply under.
pub fn response_code(digest: &Result<Digest, Class>, message: &[u8]) -> u8 {
    match digest {
        Ok(digest) => digest.rcode,
        Err(Class::Answer(code) | Class::Failure(code)) => *code,
        Err(Class::Truncated | Class::Broken) => {
            message.get(3).map_or(rcode::SERVFAIL, |flags| flags & 0x0f)
        }
    }
}
