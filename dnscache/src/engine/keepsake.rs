//! Answers as they outlive a process: told by one engine, taken in by another.
//!
//! Only what upstream said is told. Replies that were put together here rest on other answers and
//! are put together again; failures are forgotten within seconds. What is taken in is looked at as
//! if upstream had just sent it, so it cannot answer another question than its own, and it never
//! lives longer than it would have.

use super::block::{Block, BlockCache};
use super::cache::entry::Entry;
use super::cache::key::{self, Flags, Key};
use super::cache::lifetime::settle;
use super::cache::record::{Kind, Record};
use super::cache::shared::Store;
use super::wire::answer::{Digest, Meaning, digest};
use super::wire::header::HEADER_LEN;
use super::wire::name::{expand, wire_is_at_or_below};
use super::{Engine, Now, RouteId};

/// An answer of upstream's, where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepsake<'a> {
    /// The route it was learned through.
    pub route: RouteId,
    /// Whether DNSSEC records were asked for.
    pub dnssec_ok: bool,
    /// Whether upstream was told not to validate.
    pub checking_disabled: bool,
    /// How often it was used, up to [`USES_MAX`].
    pub uses: u8,
    /// How long it was to live when it was learned, in seconds.
    pub lifetime_secs: u32,
    /// How long ago it was learned, in milliseconds.
    pub age_millis: u64,
    /// The whole message with its question; the flags are QR, AD and the response code.
    pub message: &'a [u8],
}

/// The largest [`Keepsake::uses`].
pub const USES_MAX: u8 = 3;

/// What became of a keepsake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakenIn {
    /// It is known now.
    Kept,
    /// Its time is over.
    Expired,
    /// Something newer is known.
    Known,
    /// It would not be asked for: the configuration sends its name another way, or keeps no such
    /// answers.
    Unwanted,
}

/// A message that does not answer the question in it, or breaks the rules otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unfit;

impl Engine {
    /// The stores of all blocks, each once.
    pub fn stores(&self) -> Vec<Store> {
        let caches = self.blocks.iter().filter_map(|block| block.cache.as_ref());
        let mut stores: Vec<Store> = Vec::new();
        for store in caches.flat_map(|cache| [&cache.success, &cache.denial]) {
            if !stores.iter().any(|known| known.is(store)) {
                stores.push(store.clone());
            }
        }
        stores
    }

    /// What is told of a record. `None`: it was put together here, is a failure, or has expired so
    /// long ago that it may not be served any more.
    pub fn keepsake<'a>(&self, record: Record<'a>, now: Now) -> Option<Keepsake<'a>> {
        let is_answer = record.kind() != Kind::Failure && record.synthesised().is_none();
        let cache = self.block_of(record.route())?.cache.as_ref()?;
        let is_of_use = is_answer && record.is_servable_stale(now, cache.stale_window_millis());
        let flags = key::flags(record.key());
        is_of_use.then(|| Keepsake {
            route: record.route(),
            dnssec_ok: flags.dnssec_ok,
            checking_disabled: flags.checking_disabled,
            uses: record.uses(),
            lifetime_secs: (record.lifetime_millis() / 1_000) as u32,
            age_millis: now.since(record.stored()),
            message: record.message(),
        })
    }

    /// Keeps what was told of an answer, by the rules of the configuration in force.
    ///
    /// # Errors
    /// The message breaks the rules.
    pub fn take_in(&self, told: &Keepsake<'_>, now: Now) -> Result<TakenIn, Unfit> {
        let key = key_of(told).ok_or(Unfit)?;
        let digest = digest(&key, told.message).map_err(|_| Unfit)?;
        let cache = self.block_of(told.route).filter(|block| block.asks(&key));
        let Some(cache) = cache.and_then(|block| block.cache.as_ref()) else {
            return Ok(TakenIn::Unwanted);
        };
        // The clock of a process begins a day before it, and nothing is older than that.
        let learned = now.millis().checked_sub(told.age_millis).filter(|millis| *millis > 0);
        let Some(stored) = learned.map(Now::from_millis) else { return Ok(TakenIn::Expired) };
        let (digest, lifetime_secs) = cache.settled_again(digest, told.lifetime_secs);
        let uses = told.uses.min(USES_MAX);
        let entry = Entry::remembered(&key, digest, lifetime_secs, uses, stored);
        let record = entry.record();
        if lifetime_secs == 0 || !record.is_servable_stale(now, cache.stale_window_millis()) {
            return Ok(TakenIn::Expired);
        }
        let known = cache.find(key.as_bytes(), now).map(|known| known.record().stored());
        if known.is_some_and(|known| known >= stored) {
            return Ok(TakenIn::Known);
        }
        cache.keep(&key, &entry);
        Ok(TakenIn::Kept)
    }

    /// Forgets the question of a keepsake again.
    pub fn put_away(&self, told: &Keepsake<'_>) {
        let cache = self.block_of(told.route).and_then(|block| block.cache.as_ref());
        if let (Some(key), Some(cache)) = (key_of(told), cache) {
            cache.success.forget(key.as_bytes());
            cache.denial.forget(key.as_bytes());
        }
    }

    fn block_of(&self, route: RouteId) -> Option<&Block> {
        self.blocks.iter().find(|block| block.routes.iter().any(|way| way.id == route))
    }
}

impl Block {
    /// Whether the question of a key is asked through its route.
    fn asks(&self, key: &Key) -> bool {
        let is_here = |zone: &super::Name| wire_is_at_or_below(key.name(), zone.wire());
        self.config.zones.iter().any(is_here)
            && self.route(key.name()).is_some_and(|way| way.id == key.route())
    }
}

impl BlockCache {
    /// Has lifetime and TTLs of a message that had been settled obey this configuration too; neither
    /// becomes longer.
    fn settled_again(&self, mut digest: Digest, lifetime_secs: u32) -> (Digest, u32) {
        if digest.meaning == Meaning::Incomplete {
            return (digest, 0);
        }
        let before = digest.ttls.clone();
        let settled_secs = settle(&mut digest, self.success_bounds(), self.denial_bounds());
        for ((_, ttl_secs), (_, before_secs)) in digest.ttls.iter_mut().zip(before) {
            *ttl_secs = (*ttl_secs).min(before_secs);
        }
        (digest, settled_secs.min(lifetime_secs))
    }
}

/// The key of the question that stands in the message itself.
fn key_of(told: &Keepsake<'_>) -> Option<Key> {
    let mut name = Vec::with_capacity(64);
    let end = expand(told.message, HEADER_LEN, &mut name)?;
    let fixed: &[u8; 4] = told.message.get(end..)?.first_chunk()?;
    let [qtype, qclass] = [[fixed[0], fixed[1]], [fixed[2], fixed[3]]].map(u16::from_be_bytes);
    let flags = Flags {
        dnssec_ok: told.dnssec_ok,
        checking_disabled: told.checking_disabled,
        synthesised: None,
    };
    Some(Key::new(told.route, &name, qtype, qclass, flags))
}
