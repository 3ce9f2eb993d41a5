//! A part of a store: an index, and two logs that decide who stays.
//!
//! New answers enter a small log, at whose end those that were used move on to the main one and
//! the others leave: a flood of names asked once passes through a tenth of the memory and pushes
//! out no name in use (S3-FIFO: Yang et al., SOSP 2023). At the end of the main log those used
//! since they got there begin anew, with one use less. Nothing is reordered by a hit.

use super::index::Index;
use super::log::Log;
use super::record::{self, Kind, Record};
use crate::engine::RouteId;

/// What part of the octets new answers pass through.
const ENTRANCE_SHARE: usize = 10;
/// Octets of records that one newcomer may send to the front of the main log, some forty usual
/// answers or one large one; the next ones at its end leave even if they were used. Keeps the work
/// of a single insertion below some ten microseconds.
const ROUNDS_OCTETS: usize = 8 * 1_024;
/// Octets of the shard for each remembered hash of an answer that left unused: a little more than
/// what an answer takes, so nearly as many are remembered as are kept. With half of them, names
/// asked three times, half a store apart, were found 14 % of the time instead of 24 % (LRU: 27 %),
/// and 0.5 points more of names drawn from a Zipf distribution that never changes.
const OCTETS_PER_GHOST: usize = 256;

/// A part of a store. The caller hashes keys and locks.
#[derive(Debug)]
pub struct Shard {
    index: Index,
    entrance: Log,
    main: Log,
    /// Entries of the entrance.
    entering: usize,
    /// By their remainders: hashes of answers that left the entrance unused. One that comes back
    /// while it is remembered is asked for more often than the entrance is long.
    ghosts: Vec<u32>,
    ghosts_max: usize,
    entries_max: usize,
    serial: u32,
    census: Vec<Residents>,
    /// A record on its way from one end of a log to the other.
    moving: Vec<u8>,
}

/// A position in one of the logs, in units of [`record::ALIGN`] and from 1 on; the highest bit
/// tells which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place(pub(super) u32);

const IN_MAIN: u32 = 1 << 31;

impl Place {
    fn new(is_main: bool, at: usize) -> Self {
        Self((at / record::ALIGN + 1) as u32 | if is_main { IN_MAIN } else { 0 })
    }

    fn is_main(self) -> bool {
        self.0 & IN_MAIN != 0
    }

    fn at(self) -> usize {
        ((self.0 & !IN_MAIN) as usize - 1) * record::ALIGN
    }
}

/// How far a walk over a shard has come: through the entrance first, because what leaves it goes to
/// the front of the main log, where the walk still comes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cursor {
    is_main: bool,
    place: u64,
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

impl Shard {
    /// An empty one for about so many octets, index included, and so many entries.
    pub fn new(octets_max: usize, entries_max: usize) -> Self {
        // The index takes 12 to 24 octets for each answer, which takes some 170 itself and never
        // less than a hundred; the hashes of those that left take a sixtieth of the whole.
        let logs = octets_max - octets_max / 5;
        Self {
            index: Index::new(),
            entrance: Log::new(logs / ENTRANCE_SHARE),
            main: Log::new(logs - logs / ENTRANCE_SHARE),
            entering: 0,
            ghosts: Vec::new(),
            ghosts_max: (octets_max / OCTETS_PER_GHOST).max(1),
            entries_max,
            serial: 0,
            census: Vec::new(),
            moving: Vec::new(),
        }
    }

    /// Where the record of a key is.
    #[inline]
    pub fn find(&self, hash: u32, key: &[u8]) -> Option<Place> {
        self.index.find(hash, |place| self.record(place).key() == key)
    }

    /// How many entries it has.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Where a lookup of this hash begins in memory.
    pub fn index_line(&self, hash: u32) -> *const u8 {
        self.index.line(hash)
    }

    /// Where the record that a lookup of this hash meets first begins in memory.
    pub fn record_start(&self, hash: u32) -> Option<*const u8> {
        let place = self.index.find(hash, |_| true)?;
        Some(self.log(place.is_main()).at(place.at()).as_ptr())
    }

    /// A record that [`Shard::find`] found.
    pub fn record(&self, place: Place) -> Record<'_> {
        Record::new(self.log(place.is_main()).at(place.at()))
    }

    /// The octets of a record that [`Shard::find`] found, to set marks in it.
    pub fn octets_mut(&mut self, place: Place) -> &mut [u8] {
        self.log_mut(place.is_main()).at_mut(place.at())
    }

    /// Keeps a record, in place of the one with its key.
    pub fn keep(&mut self, hash: u32, octets: &[u8]) {
        let record = Record::new(octets);
        let before = self.find(hash, record.key());
        if let Some(place) = before {
            self.count_out(place, false);
            if self.overwrite(hash, place, octets) {
                return self.count_in(record);
            }
            self.bury(hash, place);
        }
        let was_in_main = before.is_some_and(Place::is_main);
        let is_main = was_in_main || self.was_missed(hash) || !self.entrance.admits(octets.len());
        if !self.log(is_main).admits(octets.len()) {
            return;
        }
        while self.index.len() >= self.entries_max {
            self.evict_any();
        }
        self.make_room(is_main, octets.len());
        let Some(at) = self.log_mut(is_main).append(octets) else {
            return;
        };
        let place = Place::new(is_main, at);
        self.index.insert(hash, place);
        self.entering += usize::from(!is_main);
        self.identify(hash, place);
        self.count_in(record);
    }

    /// Forgets a key.
    pub fn forget(&mut self, hash: u32, key: &[u8]) {
        if let Some(place) = self.find(hash, key) {
            self.count_out(place, false);
            self.bury(hash, place);
        }
    }

    /// Every record; those most likely to leave next come first.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        self.entrance.records().chain(self.main.records())
    }

    /// Copies the records that lie in the next octets to the end of `out`; says where to go on, if
    /// there are more. A record that moved between two steps may come twice.
    pub fn copy(&self, cursor: Cursor, octets_max: usize, out: &mut Vec<u8>) -> Option<Cursor> {
        match self.log(cursor.is_main).copy(cursor.place, octets_max, out) {
            Some(place) => Some(Cursor { place, ..cursor }),
            None => (!cursor.is_main).then_some(Cursor { is_main: true, place: 0 }),
        }
    }

    /// Who lives here.
    pub fn census(&self) -> &[Residents] {
        &self.census
    }

    /// Goes on counting evictions where another left off.
    pub fn inherit(&mut self, earlier: &Residents) {
        let Residents { route, is_success, evicted, .. } = *earlier;
        count_of(&mut self.census, route, is_success).evicted += evicted;
    }

    /// Octets it has allocated.
    pub fn allocated(&self) -> usize {
        let logs = self.entrance.allocated() + self.main.allocated();
        let marks = self.index.allocated() + 4 * self.ghosts.len();
        logs + marks + self.moving.capacity()
    }

    /// Writes over a record with one that is not longer, so that renewing what is known takes no
    /// further memory. What it leaves free would be free no sooner as a gap: the log gets it back
    /// when the record is moved or leaves.
    fn overwrite(&mut self, hash: u32, place: Place, octets: &[u8]) -> bool {
        let target = self.octets_mut(place);
        let (room, uses) = (record::len(target), record::uses(target));
        if octets.len() > room {
            return false;
        }
        target[..octets.len()].copy_from_slice(octets);
        record::set_len(target, room);
        record::set_uses(target, uses);
        self.identify(hash, place);
        true
    }

    fn identify(&mut self, hash: u32, place: Place) {
        self.serial = self.serial.wrapping_add(1);
        let serial = self.serial;
        record::identify(self.octets_mut(place), hash, serial);
    }

    /// Notes that an answer left unused.
    fn remember(&mut self, hash: u32) {
        if self.ghosts.is_empty() {
            // Memory that the system has cleared: a large shard's would take long to write.
            self.ghosts = vec![0; self.ghosts_max];
        }
        self.ghosts[hash as usize % self.ghosts_max] = hash;
    }

    /// Whether an answer that left unused is asked for again.
    fn was_missed(&self, hash: u32) -> bool {
        let ghost = self.ghosts.get(hash as usize % self.ghosts_max);
        ghost.is_some_and(|ghost| *ghost == hash)
    }

    fn make_room(&mut self, is_main: bool, len: usize) {
        let mut rounds = ROUNDS_OCTETS;
        while !self.log(is_main).has_room(len) {
            match is_main {
                true => self.evict_main(&mut rounds),
                false => self.evict_entrance(&mut rounds),
            }
        }
    }

    /// Takes one entry out: of the entrance while it has its share of them.
    fn evict_any(&mut self) {
        let before = self.index.len();
        let mut rounds = ROUNDS_OCTETS;
        while self.index.len() == before {
            let is_entrance_full = self.entering > self.entries_max / ENTRANCE_SHARE;
            match is_entrance_full || self.entering == before {
                true => self.evict_entrance(&mut rounds),
                false => self.evict_main(&mut rounds),
            }
        }
    }

    /// Lets the oldest of the entrance go: on to the main log if it was used or there is room,
    /// away otherwise.
    fn evict_entrance(&mut self, rounds: &mut usize) {
        let Some(at) = self.entrance.oldest() else { return };
        let octets = self.entrance.at(at);
        if !record::is_live(octets) {
            return self.entrance.drop_oldest();
        }
        let (len, place) = (record::len(octets), Place::new(false, at));
        let has_room = self.main.has_room(len) && self.index.len() < self.entries_max;
        if self.main.admits(len) && (record::uses(octets) > 0 || has_room) {
            while !self.main.has_room(len) {
                self.evict_main(rounds);
            }
            self.pick_up(place, 0);
            self.entrance.drop_oldest();
            self.entering -= 1;
            self.put_down(place);
        } else {
            let hash = self.let_go(place);
            self.entrance.drop_oldest();
            self.remember(hash);
        }
    }

    /// Lets the oldest of the main log go: to its front if it was used and octets are left to do so
    /// in `rounds`, away otherwise.
    fn evict_main(&mut self, rounds: &mut usize) {
        let Some(at) = self.main.oldest() else { return };
        let octets = self.main.at(at);
        if !record::is_live(octets) {
            return self.main.drop_oldest();
        }
        let (uses, place) = (record::uses(octets), Place::new(true, at));
        if uses > 0 && *rounds > 0 {
            *rounds = rounds.saturating_sub(record::len(octets));
            self.pick_up(place, uses - 1);
            self.main.drop_oldest();
            self.put_down(place);
        } else {
            self.let_go(place);
            self.main.drop_oldest();
        }
    }

    /// Copies a record that is about to lose its place.
    fn pick_up(&mut self, place: Place, uses: u8) {
        let mut moving = std::mem::take(&mut self.moving);
        let record = self.record(place);
        moving.clear();
        moving.reserve_exact(record.octets().len());
        moving.extend_from_slice(record.octets());
        record::set_uses(&mut moving, uses);
        self.moving = moving;
    }

    /// Appends that copy to the main log; where there is no room for it after all, it leaves.
    fn put_down(&mut self, before: Place) {
        let hash = Record::new(&self.moving).hash();
        match self.main.append(&self.moving) {
            Some(at) => {
                self.index.replace(hash, before, Place::new(true, at));
            }
            None => {
                let record = Record::new(&self.moving);
                leave(&mut self.census, record, true);
                self.index.remove(hash, before);
            }
        }
    }

    /// Takes a record that is pushed out from the index; says what its hash was.
    fn let_go(&mut self, place: Place) -> u32 {
        let hash = self.record(place).hash();
        self.count_out(place, true);
        self.unlink(hash, place);
        hash
    }

    /// Makes a gap of a record.
    fn bury(&mut self, hash: u32, place: Place) {
        record::bury(self.octets_mut(place));
        self.unlink(hash, place);
    }

    fn unlink(&mut self, hash: u32, place: Place) {
        if self.index.remove(hash, place) {
            self.entering -= usize::from(!place.is_main());
        }
    }

    fn count_in(&mut self, record: Record<'_>) {
        residents(&mut self.census, record).entries += 1;
    }

    fn count_out(&mut self, place: Place, is_evicted: bool) {
        let log = if place.is_main() { &self.main } else { &self.entrance };
        leave(&mut self.census, Record::new(log.at(place.at())), is_evicted);
    }

    fn log(&self, is_main: bool) -> &Log {
        if is_main { &self.main } else { &self.entrance }
    }

    fn log_mut(&mut self, is_main: bool) -> &mut Log {
        if is_main { &mut self.main } else { &mut self.entrance }
    }
}

fn leave(census: &mut Vec<Residents>, record: Record<'_>, is_evicted: bool) {
    let residents = residents(census, record);
    residents.entries = residents.entries.saturating_sub(1);
    residents.evicted += u64::from(is_evicted);
}

fn residents<'a>(census: &'a mut Vec<Residents>, record: Record<'_>) -> &'a mut Residents {
    count_of(census, record.route(), record.kind() == Kind::Success)
}

fn count_of(census: &mut Vec<Residents>, route: RouteId, is_success: bool) -> &mut Residents {
    let is_it = |known: &Residents| known.route == route && known.is_success == is_success;
    let index = census.iter().position(is_it).unwrap_or_else(|| {
        census.push(Residents { route, is_success, entries: 0, evicted: 0 });
        census.len() - 1
    });
    &mut census[index]
}

#[cfg(test)]
mod tests;
