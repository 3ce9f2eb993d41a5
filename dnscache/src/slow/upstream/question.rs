//! One question and its first try.
//!
//! Nearly every question is answered in time by the first upstream asked, in a datagram, and then
//! needs no task and no timer of its own: who reads the datagram says what it means. Everything
//! else (silence, failures, truncation, streams) is the business of a [`walk`], which goes on from
//! the first try.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::peer::{Carrier, Peer};
use super::walk::{First, News, Terms, response_code, walk};
use super::{InFlight, SILENCE};
use crate::clock;
use crate::counts::rcode_label;
use crate::engine::cache::key::Key;
use crate::engine::wire::answer::{Digest, digest};
use crate::engine::{Failure, Now};
use crate::slow::exchange::{Expect, Trouble};
use crate::slow::journey::Over;
use crate::slow::{Asking, Told};

/// A question to the upstreams of a route.
pub struct Question<T> {
    /// The route, and its place there.
    pub in_flight: InFlight,
    /// What is asked.
    pub key: Key,
    /// Whom to ask, in this order.
    pub peers: Vec<Arc<Peer>>,
    /// See [`Terms::carrier`].
    pub carrier: Carrier,
    /// On whose behalf.
    pub asking: Asking,
    /// Gets the end.
    pub tell: T,
}

/// A question whose first try is under way.
struct Tried<T> {
    question: Question<T>,
    first: Arc<Peer>,
    sent: Instant,
    sent_at: Now,
    edns: bool,
    /// Its number in the journey.
    leg: usize,
}

impl<T: FnOnce(Told) + Send + 'static> Question<T> {
    /// Asks; what remains to be done is done elsewhere.
    pub fn ask(self) {
        let sent = Instant::now();
        let first = self.peers.first().filter(|first| {
            let has_time = self.asking.deadline.saturating_duration_since(sent) > SILENCE;
            self.carrier == Carrier::Datagram && !first.tls && has_time
        });
        // What may not be sent now is held, which takes a task.
        let first = first.filter(|first| first.counts.packets.spend(1, self.asking.is_known));
        let Some(first) = first.cloned() else {
            return self.walk_if_taken();
        };
        let leg = self.asking.journey.begin(first.address, Over::Udp);
        let (key, edns) = (self.key.clone(), first.takes_edns());
        let peer = Arc::clone(&first);
        let tried = Tried { question: self, first, sent, sent_at: clock::now(), edns, leg };
        if let Err((trouble, untold)) = peer.send(&key, edns, Box::new(tried)) {
            untold.end(Err(trouble));
        }
    }

    /// Begins in a task, unless no upstream takes the question now and too many wait already.
    fn walk_if_taken(self) {
        let is_known = self.asking.is_known;
        if self.peers.iter().all(|peer| peer.counts.packets.refuses(is_known)) {
            let Self { in_flight, tell, .. } = self;
            drop(in_flight);
            return tell(Told::Failed(Failure::Exhausted));
        }
        self.walk(None);
    }

    /// Goes on in a task, from the first try if there was one.
    fn walk(self, first: Option<First>) {
        tokio::spawn(async move {
            let Self { in_flight, key, peers, carrier, asking, tell } = self;
            let config = &in_flight.route().config;
            let terms = Terms {
                failover: &config.failover,
                attempts_max: config.max_attempts,
                carrier,
                deadline: asking.deadline,
                is_known: asking.is_known,
                journey: &asking.journey,
                latest: &|| in_flight.route().peers(),
            };
            let told = walk(&key, peers, &terms, first).await;
            drop(in_flight);
            tell(told);
        });
    }
}

impl<T> Tried<T> {
    /// The answer, if the question ends with it.
    fn answer(&self, result: Result<&[u8], Trouble>) -> Option<Digest> {
        let message = result.ok()?;
        let digest = digest(&self.question.key, message);
        let failover = &self.question.in_flight.route().config.failover;
        if digest.as_ref().is_ok_and(|digest| !failover.contains(&digest.rcode.into())) {
            let code = response_code(&digest, message);
            self.first.replied(code, self.sent.elapsed());
            self.question.asking.journey.end(self.leg, &rcode_label(code));
            return digest.ok();
        }
        None
    }
}

impl<T: FnOnce(Told) + Send + 'static> Expect for Tried<T> {
    fn end(self: Box<Self>, result: Result<&[u8], Trouble>) {
        self.first.take_note(result);
        let Some(digest) = self.answer(result) else {
            let news = News::Ended(result.map(<[u8]>::to_vec));
            let Self { question, sent, edns, .. } = *self;
            return question.walk(Some(First { sent, edns, news }));
        };
        if !self.edns {
            self.first.avoid_edns();
        }
        let Question { in_flight, tell, .. } = self.question;
        drop(in_flight);
        tell(Told::Answer(digest));
    }

    fn hear_nothing(self: Box<Self>) -> Box<dyn Expect> {
        self.first.fell_silent(self.sent_at);
        let (sender, receiver) = oneshot::channel();
        let Self { question, sent, edns, .. } = *self;
        question.walk(Some(First { sent, edns, news: News::Pending(receiver) }));
        Box::new(sender)
    }

    fn is_gone(&self) -> bool {
        false
    }
}
