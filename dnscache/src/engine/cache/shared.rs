//! A store of answers that all planes share: moka, bounded by weight.
//!
//! Weight is octets. Which entries stay is decided by how often they are asked (TinyLFU), so a
//! flood of names asked once does not push out the names in use. Expired entries stay until they
//! are pushed out: they may be served stale, and an answer in its place replaces them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use foldhash::fast::RandomState;
use moka::sync::Cache;

use super::entry::{Entry, Kind};
use super::key::Key;
use crate::engine::RouteId;

/// Octets that an entry costs besides its key and its message: 270 for the store's own nodes, as
/// counted over 20,000 to 250,000 entries, the rest for what an allocator rounds up.
const OVERHEAD_LEN: usize = 330;

/// A bounded store of answers. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Store {
    answers: Cache<Key, Arc<Entry>, RandomState>,
    census: Arc<Census>,
    limit: Limit,
}

/// How much a store may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Octets.
    pub bytes_max: u64,
    /// Entries; `None`: as many as the octets allow.
    pub entries_max: Option<u64>,
}

impl Limit {
    /// What one entry weighs at least, so that `entries_max` of them fill the store.
    fn weight_min(&self) -> u64 {
        self.entries_max.map_or(0, |entries| self.bytes_max.div_ceil(entries.max(1)))
    }
}

impl Store {
    /// An empty store.
    pub fn new(limit: Limit) -> Self {
        let weight_min = limit.weight_min();
        let answers = Cache::builder()
            .max_capacity(limit.bytes_max)
            .weigher(move |key: &Key, entry: &Arc<Entry>| weight(key, entry, weight_min))
            .build_with_hasher(RandomState::default());
        Self { answers, census: Arc::default(), limit }
    }

    /// What is known under a key, fresh or not.
    pub fn find(&self, key: &[u8]) -> Option<Arc<Entry>> {
        self.answers.get(key)
    }

    /// Keeps an entry, in place of what was there.
    pub fn keep(&self, key: Key, entry: Arc<Entry>) {
        if let Some(before) = self.answers.get(key.as_bytes()) {
            before.succeeded();
        }
        let tally = self.census.tally(&key, entry.kind() == Kind::Success);
        tally.came.fetch_add(1, Ordering::Relaxed);
        entry.move_in(tally);
        self.answers.insert(key, entry);
    }

    /// Forgets a key.
    pub fn forget(&self, key: &[u8]) {
        if let Some(entry) = self.answers.remove(key) {
            entry.succeeded();
        }
    }

    /// A store with this bound that holds what this one holds, as far as it has room, and goes on
    /// with its census. This one is given up for it.
    pub fn resized(self, limit: Limit) -> Self {
        let mut other = Self::new(limit);
        other.census = Arc::clone(&self.census);
        for (key, entry) in &self.answers {
            other.answers.insert(Key::clone(&key), entry);
        }
        other
    }

    /// Its bounds.
    pub fn limit(&self) -> Limit {
        self.limit
    }

    /// How full it is. Settles pending work of the store first.
    pub fn usage(&self) -> Usage {
        self.answers.run_pending_tasks();
        Usage { bytes: self.answers.weighted_size(), residents: self.census.read() }
    }

    /// Whether two handles share one store.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.census, &other.census)
    }
}

/// How full a store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// Octets of weight.
    pub bytes: u64,
    /// Who lives there.
    pub residents: Vec<Residents>,
}

/// The answers of one route and kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Residents {
    /// The route they were learned through.
    pub route: RouteId,
    /// Positive answers, as opposed to negative ones and failures.
    pub is_success: bool,
    /// How many there are.
    pub entries: u64,
    /// How many were pushed out by the bound so far.
    pub evicted: u64,
}

/// Counts who moves in and out, for the metrics. Touched when something is learned, never by a
/// hit: moka's own eviction listener would make hits allocate.
#[derive(Debug, Default)]
struct Census(Mutex<HashMap<(RouteId, bool), Arc<Tally>>>);

/// The answers of one route and kind: how many came, left, and left for a successor.
#[derive(Debug, Default)]
pub struct Tally {
    came: AtomicU64,
    left: AtomicU64,
    succeeded: AtomicU64,
}

impl Tally {
    /// Notes that an entry is gone.
    pub fn count_out(&self) {
        self.left.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that an entry goes because another takes its place, not for want of room.
    pub fn count_succession(&self) {
        self.succeeded.fetch_add(1, Ordering::Relaxed);
    }
}

impl Census {
    fn tally(&self, key: &Key, is_success: bool) -> Arc<Tally> {
        let mut tallies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(tallies.entry((key.route(), is_success)).or_default())
    }

    fn read(&self) -> Vec<Residents> {
        let tallies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let residents = tallies.iter().map(|((route, is_success), tally)| Residents {
            route: *route,
            is_success: *is_success,
            entries: load(&tally.came).saturating_sub(load(&tally.left)),
            evicted: load(&tally.left).saturating_sub(load(&tally.succeeded)),
        });
        residents.collect()
    }
}

fn weight(key: &Key, entry: &Entry, weight_min: u64) -> u32 {
    let len = key.as_bytes().len() + entry.allocated_len() + OVERHEAD_LEN;
    u32::try_from((len as u64).max(weight_min)).unwrap_or(u32::MAX)
}
