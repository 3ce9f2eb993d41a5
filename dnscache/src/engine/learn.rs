//! What upstream said, and what becomes of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::block::{Block, BlockCache};
use super::cache::entry::Entry;
use super::cache::key::Key;
use super::cache::lifetime::{Bounds, FAILURE_MAX_MILLIS, SILENCE_MILLIS, settle};
use super::cache::record::Kind;
use super::wire::answer::{Class, Digest, digest};
use super::wire::edns::extended_error;
use super::wire::header::rcode;
use super::{Ask, Engine, Failure, Now, Outcome};

/// Lifetimes where no `cache` directive bounds them; they matter for the TTLs that are passed on.
const UNBOUNDED: Bounds = Bounds { ttl_max_secs: i32::MAX as u32, ttl_min_secs: 0 };

impl Engine {
    /// Takes in what upstream said to `ask`, a whole message that is checked here once more, and
    /// says what the waiting clients get.
    pub fn learn(&self, ask: &Ask, message: &[u8], now: Now) -> Outcome {
        match digest(&ask.key, message) {
            Ok(digest) => self.learn_digest(ask, digest, now),
            Err(Class::Failure(rcode)) => self.learn_failure(ask, Failure::Answered(rcode), now),
            Err(_) => self.learn_failure(ask, Failure::Broken, now),
        }
    }

    /// [`Engine::learn`] for a caller that has looked at the message already.
    pub fn learn_digest(&self, ask: &Ask, mut digest: Digest, now: Now) -> Outcome {
        self.learned.fetch_add(1, Ordering::Relaxed);
        let block = self.block(ask.block);
        let (positive, negative) = block.cache.as_ref().map_or((UNBOUNDED, UNBOUNDED), |cache| {
            (cache.success_bounds(), cache.denial_bounds())
        });
        let lifetime_secs = settle(&mut digest, positive, negative);
        let entry = Arc::new(Entry::answer(&ask.key, digest, lifetime_secs, now));
        match &block.cache {
            Some(cache) if lifetime_secs > 0 => cache.keep(&ask.key, &entry),
            Some(cache) => cache.forget_expired(&ask.key, now),
            None => {}
        }
        Outcome::Fresh(entry)
    }

    /// Takes in that upstream said nothing of use, and says what the waiting clients get: something
    /// fresh if it was learned meanwhile, something expired if that may be served, a failure
    /// otherwise, which is remembered for a moment (RFC 9520 section 3.2).
    pub fn learn_failure(&self, ask: &Ask, failure: Failure, now: Now) -> Outcome {
        let block = self.block(ask.block);
        if let Some(outcome) = self.recall(ask, now) {
            return outcome;
        }
        if let Some(known) = &ask.stale {
            if let Some(cache) = &block.cache {
                cache.mark(&ask.key, known, |renewal| renewal.failed(failure, ask.asked, now));
            }
            if known.record().is_fresh(now) {
                return Outcome::Fresh(Arc::clone(known));
            }
            let window_millis = block.cache.as_ref().map_or(0, BlockCache::stale_window_millis);
            if known.record().is_servable_stale(now, window_millis) {
                return Outcome::Stale(Arc::clone(known));
            }
        }
        let (rcode, extended_error) = match failure {
            Failure::Silent => (rcode::SERVFAIL, Some(extended_error::NO_REACHABLE_AUTHORITY)),
            Failure::Broken => (rcode::SERVFAIL, Some(extended_error::INVALID_DATA)),
            Failure::Overloaded => (rcode::REFUSED, Some(extended_error::NOT_READY)),
            Failure::Exhausted => (rcode::SERVFAIL, Some(extended_error::NOT_READY)),
            Failure::Answered(rcode) if rcode <= 0xf => (rcode, None),
            Failure::Answered(_) => (rcode::SERVFAIL, None),
        };
        remember_failure(block, ask, failure, rcode, now);
        Outcome::Failed { rcode, extended_error }
    }

    /// What the clients of a question get that is not asked because a bound of ours is reached: what
    /// is known, fresh or expired, SERVFAIL otherwise.
    pub fn turn_away(&self, ask: &Ask, now: Now) -> Outcome {
        self.learn_failure(ask, Failure::Exhausted, now)
    }

    /// What a client gets that may not have another question in flight: what is known, fresh or
    /// expired, SERVFAIL otherwise. Nothing is noted about the question, which is no worse than
    /// before for all other clients.
    pub fn hold_back(&self, ask: &Ask, now: Now) -> Outcome {
        if let Some(outcome) = self.recall(ask, now) {
            return outcome;
        }
        let window_millis =
            self.block(ask.block).cache.as_ref().map_or(0, BlockCache::stale_window_millis);
        match &ask.stale {
            Some(known) if known.record().is_fresh(now) => Outcome::Fresh(Arc::clone(known)),
            Some(known) if known.record().is_servable_stale(now, window_millis) => {
                Outcome::Stale(Arc::clone(known))
            }
            _ => {
                let extended_error = Some(extended_error::NOT_READY);
                Outcome::Failed { rcode: rcode::SERVFAIL, extended_error }
            }
        }
    }

    /// A fresh answer that became known after `ask` was made; for a renewal, one that is newer than
    /// what it renews.
    pub fn recall(&self, ask: &Ask, now: Now) -> Option<Outcome> {
        let cache = self.block(ask.block).cache.as_ref()?;
        let found = cache.find(ask.key.as_bytes(), now)?;
        let record = found.record();
        let is_news = ask.stale.as_ref().is_none_or(|known| !record.is(known.record()));
        (is_news && record.is_fresh(now) && record.kind() != Kind::Failure)
            .then(|| Outcome::Fresh(Arc::new(record.into())))
    }
}

impl BlockCache {
    /// Forgets an expired answer after upstream gave one that may not be kept: what was known is
    /// no longer what upstream says, and must not be served stale.
    fn forget_expired(&self, key: &Key, now: Now) {
        let found = self.find(key.as_bytes(), now);
        let is_expired = found.is_some_and(|known| !known.record().is_fresh(now));
        if is_expired {
            self.success.forget(key.as_bytes());
            self.denial.forget(key.as_bytes());
        }
    }

    /// Keeps an answer where its kind belongs, and forgets what the other kind said.
    pub(super) fn keep(&self, key: &Key, entry: &Entry) {
        let (part, store, other) = match entry.record().kind() {
            Kind::Success => (&self.config.success, &self.success, &self.denial),
            Kind::Denial | Kind::Failure => (&self.config.denial, &self.denial, &self.success),
        };
        if !store.is(other) {
            other.forget(key.as_bytes());
        }
        if self.keeps(part, key.name()) {
            store.keep(entry);
        } else if store.is(other) {
            store.forget(key.as_bytes());
        }
    }
}

/// Remembers a failure where nothing better is known.
fn remember_failure(block: &Block, ask: &Ask, failure: Failure, rcode: u8, now: Now) {
    let Some(cache) = &block.cache else { return };
    let configured_millis = (cache.config.servfail.as_millis() as u64).min(FAILURE_MAX_MILLIS);
    let lifetime_millis = match failure {
        Failure::Answered(rcode::SERVFAIL) => configured_millis,
        Failure::Answered(_) | Failure::Silent | Failure::Broken => {
            configured_millis.min(SILENCE_MILLIS)
        }
        Failure::Overloaded | Failure::Exhausted => 0,
    };
    if lifetime_millis == 0 {
        return;
    }
    cache.denial.keep(&Entry::failure(&ask.key, rcode, now, lifetime_millis));
}
