//! A store of answers that all planes share, bounded in octets.
//!
//! It is cut into shards, each behind a lock that is held for one lookup or one insertion. A hit
//! is served while its shard is locked: the lock costs what a counted reference would, and nothing
//! is freed under a reader. Expired entries stay until they are pushed out: they may be served
//! stale, and an answer in their place replaces them.

use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;

use super::entry::Entry;
use super::key::question;
use super::record::{self, Record};
use super::renewal::Renewal;
use super::shard::{Cursor, Place, Shard};

pub use super::shard::Residents;

/// Octets of a shard, so that the largest answer is a small part of its entrance.
const SHARD_LEN: u64 = 4 << 20;
/// Entries of a shard, where their number is what bounds the store.
const SHARD_ENTRIES: u64 = 1_024;
/// Entries from which on a store is [wide](Store::is_wide): some 1.5 MiB of records and index.
const WIDE_ENTRIES: usize = 8_192;
/// Octets that come from memory at once.
const LINE_LEN: usize = 64;
/// Lines of a record that are fetched: an address and its name fill three.
const RECORD_LINES: usize = 3;
/// Octets that are copied while a shard is locked, by who goes over a whole store: a few
/// microseconds' worth.
const PIECE_LEN: usize = 64 << 10;
/// Shards at most; beyond 16 GiB they grow.
const SHARDS_MAX: u64 = 4_096;

/// A bounded store of answers. Cloning shares it.
#[derive(Clone)]
pub struct Store(Arc<Shared>);

struct Shared {
    /// A power of two of them.
    shards: Box<[Locked]>,
    hasher: RandomState,
    is_wide: AtomicBool,
    limit: Limit,
}

/// A shard on cache lines of its own, so that a lock taken does not slow its neighbours.
#[repr(align(128))]
struct Locked(Mutex<Shard>);

impl Locked {
    #[inline]
    fn lock(&self) -> MutexGuard<'_, Shard> {
        // A panic while it was locked costs at worst the entry concerned.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
    /// How many shards make up the store.
    fn shards(&self) -> u64 {
        let by_entries = self.entries_max.map_or(u64::MAX, |entries| entries / SHARD_ENTRIES);
        let wanted = (self.bytes_max / SHARD_LEN).min(by_entries).clamp(1, SHARDS_MAX);
        1 << wanted.ilog2()
    }
}

impl Store {
    /// An empty store.
    pub fn new(limit: Limit) -> Self {
        let shards = limit.shards();
        let part = |whole: u64| usize::try_from(whole / shards).unwrap_or(usize::MAX);
        let entries_max = limit.entries_max.map_or(usize::MAX, |entries| part(entries).max(1));
        let shard = || Locked(Mutex::new(Shard::new(part(limit.bytes_max), entries_max)));
        let shards = (0..shards).map(|_| shard()).collect();
        Self(Arc::new(Shared {
            shards,
            hasher: RandomState::default(),
            is_wide: AtomicBool::new(false),
            limit,
        }))
    }

    /// What is known under a key, fresh or not, for a client: that it is asked for decides whether
    /// it stays. Its part of the store is locked until the result is dropped.
    #[inline]
    pub fn find(&self, key: &[u8]) -> Option<Resident<'_>> {
        let (locked, hash) = self.shard(key);
        let mut shard = locked.lock();
        let place = shard.find(hash, key)?;
        record::note_use(shard.octets_mut(place));
        Some(Resident { shard, place })
    }

    /// Keeps an entry, in place of what was there. One that is too large for the store is not kept.
    pub fn keep(&self, entry: &Entry) {
        self.put(entry.record());
    }

    /// Forgets a key.
    pub fn forget(&self, key: &[u8]) {
        let (locked, hash) = self.shard(key);
        locked.lock().forget(hash, key);
    }

    /// Changes the marks of renewal of an entry, if it is still what is known.
    pub fn mark(&self, key: &[u8], known: &Entry, change: impl FnOnce(&mut Renewal)) {
        let resident = self.find(key);
        if let Some(mut resident) = resident.filter(|found| found.record().is(known.record())) {
            resident.change_renewal(change);
        }
    }

    /// A store with this bound that holds what this one holds, as far as it has room. This one is
    /// given up for it.
    pub fn resized(self, limit: Limit) -> Self {
        let other = Self::new(limit);
        for locked in &self.0.shards {
            let shard = locked.lock();
            shard.census().iter().for_each(|residents| other.0.shards[0].lock().inherit(residents));
            shard.records().for_each(|record| other.put(record));
        }
        other
    }

    /// Its bounds.
    pub fn limit(&self) -> Limit {
        self.0.limit
    }

    /// A walk over everything it holds, in pieces.
    pub fn copying(&self) -> Copying {
        Copying { store: self.clone(), shard: 0, cursor: Cursor::default() }
    }

    /// How full it is.
    pub fn usage(&self) -> Usage {
        let mut usage = Usage { bytes: 0, residents: Vec::new() };
        for locked in &self.0.shards {
            let shard = locked.lock();
            usage.bytes += shard.allocated() as u64;
            shard.census().iter().for_each(|residents| usage.add(residents));
        }
        usage
    }

    /// Whether two handles share one store.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    fn put(&self, record: Record<'_>) {
        let (locked, hash) = self.shard(record.key());
        let mut shard = locked.lock();
        shard.keep(hash, record.octets());
        let is_wide = shard.len() * self.0.shards.len() >= WIDE_ENTRIES;
        // Written only where it changes: every lookup reads the memory around it.
        if is_wide != self.is_wide() {
            self.0.is_wide.store(is_wide, Ordering::Relaxed);
        }
    }

    /// Whether it holds more than the caches of a processor do.
    pub fn is_wide(&self) -> bool {
        self.0.is_wide.load(Ordering::Relaxed)
    }

    /// The hash of a question (see [`question`]).
    #[inline]
    pub fn hash(&self, question: &[u8]) -> u64 {
        let mut hasher = self.0.hasher.build_hasher();
        hasher.write(question);
        hasher.finish()
    }

    /// Calls `fetch` with the memory in which a lookup begins.
    #[inline]
    pub fn fetch_index(&self, hash: u64, fetch: impl Fn(*const u8)) {
        let (locked, hash) = self.shard_of(hash);
        fetch(locked.lock().index_line(hash));
    }

    /// Calls `fetch` with the memory in which the answer probably lies.
    #[inline]
    pub fn fetch_record(&self, hash: u64, fetch: impl Fn(*const u8)) {
        let (locked, hash) = self.shard_of(hash);
        if let Some(record) = locked.lock().record_start(hash) {
            (0..RECORD_LINES).for_each(|line| fetch(record.wrapping_add(line * LINE_LEN)));
        }
    }

    /// The shard of a key, and its hash there.
    #[inline]
    fn shard(&self, key: &[u8]) -> (&Locked, u32) {
        self.shard_of(self.hash(question(key)))
    }

    #[inline]
    fn shard_of(&self, hash: u64) -> (&Locked, u32) {
        let index = (hash >> 32) as usize & (self.0.shards.len() - 1);
        (&self.0.shards[index], hash as u32)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("limit", &self.0.limit).finish_non_exhaustive()
    }
}

/// An entry where it lives. Its part of the store is locked as long as this is held, so hold one
/// at a time, and only for as long as it takes to copy.
pub struct Resident<'a> {
    shard: MutexGuard<'a, Shard>,
    place: Place,
}

impl Resident<'_> {
    /// What it says.
    pub fn record(&self) -> Record<'_> {
        self.shard.record(self.place)
    }

    /// Counts a hit and says how many there were.
    pub fn count_hit(&mut self) -> u32 {
        record::count_hit(self.shard.octets_mut(self.place))
    }

    /// Changes its marks of renewal.
    pub fn change_renewal<R>(&mut self, change: impl FnOnce(&mut Renewal) -> R) -> R {
        let mut renewal = self.record().renewal();
        let before = renewal;
        let result = change(&mut renewal);
        if renewal != before {
            record::set_renewal(self.shard.octets_mut(self.place), renewal);
        }
        result
    }
}

/// A walk over a store that goes on being used: its shards are locked for a piece at a time. It
/// meets every record that stays, some of them twice.
#[derive(Debug)]
pub struct Copying {
    store: Store,
    shard: usize,
    cursor: Cursor,
}

impl Copying {
    /// Puts the next records into `piece`, in place of what is there; see [`record::each`]. May find
    /// none. `false` at the end.
    pub fn next_piece(&mut self, piece: &mut Vec<u8>) -> bool {
        piece.clear();
        let Some(locked) = self.store.0.shards.get(self.shard) else { return false };
        let next = locked.lock().copy(self.cursor, PIECE_LEN, piece);
        self.shard += usize::from(next.is_none());
        self.cursor = next.unwrap_or_default();
        true
    }
}

/// How full a store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// Octets allocated.
    pub bytes: u64,
    /// Who lives there.
    pub residents: Vec<Residents>,
}

impl Usage {
    fn add(&mut self, more: &Residents) {
        let is_it = |known: &&mut Residents| {
            (known.route, known.is_success) == (more.route, more.is_success)
        };
        match self.residents.iter_mut().find(is_it) {
            Some(known) => {
                known.entries += more.entries;
                known.evicted += more.evicted;
            }
            None => self.residents.push(*more),
        }
    }
}
