//! Which names are asked most, in bounded memory, with counts that decay.
//!
//! ```text
//!    sighting --> followed? --yes--> its own counters, exact
//!                     |
//!                     no ----------> sketch, rough --> warmer than the coldest: takes its place
//! ```
//!
//! A flood of new names runs into the sketch, where none of them amounts to anything; the names
//! followed do not share their counters with it. All counts are halved every half minute, and a
//! name whose count is gone is not followed any more.

mod followed;
mod sample;
mod shared;
mod sketch;

use std::collections::HashMap;
use std::hash::BuildHasher;

use foldhash::fast::RandomState;

use crate::engine::wire::name::Name;
use crate::engine::{ListenerId, Now};
use followed::Followed;
pub use sample::Sampler;
pub use shared::HotNames;
use sketch::Sketch;

/// One question about a name that exists, or several of them if only one of many is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Sighting<'a> {
    /// The name that exists, in lower-case wire form: the one the search list led to.
    pub name: &'a [u8],
    /// What followed the words the application used, in wire form: a search domain; the root if
    /// the name was asked as it is.
    pub suffix: &'a [u8],
    /// Whether the words the application used are the whole name, so that a dot behind them would
    /// have spared it the search list.
    pub is_absolute: bool,
    /// Type asked.
    pub qtype: u16,
    /// The address asked.
    pub listener: ListenerId,
    /// Questions this one stands for.
    pub weight: u32,
    /// Questions each of them spared its client.
    pub skipped: u8,
}

/// The names asked most.
#[derive(Debug)]
pub struct HotTable {
    size: usize,
    hasher: RandomState,
    /// Where the name with a hash is in `followed`. Two names of one hash are never both followed.
    places: HashMap<u64, u32, RandomState>,
    followed: Vec<Followed>,
    /// The counts of `followed`, close together because they are searched for the smallest.
    counts: Vec<u32>,
    coldest: Coldest,
    sketch: Sketch,
    age: Age,
}

/// The names to give up first.
#[derive(Debug, Default)]
struct Coldest {
    /// No followed name has a smaller count: between halvings counts only grow.
    count: u32,
    /// Places that had this count when it was looked for, so that it is looked for rarely.
    places: Vec<u32>,
}

/// How long questions have been counted.
#[derive(Debug, Default)]
struct Age {
    /// The last halving; the first question if there was none.
    halved: Option<Now>,
    /// Milliseconds before `halved`, halved as the counts were.
    before_millis: u64,
}

/// Milliseconds after which a question counts half.
const HALF_LIFE_MILLIS: u64 = 30_000;
/// Questions before a name is worth being followed, even with room for it.
const COUNT_MIN: u32 = 2;
/// How many of the coldest names are remembered from one search for them.
const COLDEST_MAX: usize = 64;
/// The shortest time a rate is computed over, so that a first question is no thousand per second.
const WINDOW_MIN_SECS: f64 = 1.0;

impl HotTable {
    /// Follows at most `size` names.
    pub fn new(size: usize) -> Self {
        Self {
            size,
            hasher: RandomState::default(),
            places: HashMap::default(),
            followed: Vec::new(),
            counts: Vec::new(),
            coldest: Coldest::default(),
            sketch: Sketch::new(),
            age: Age::default(),
        }
    }

    /// Counts a question.
    pub fn note(&mut self, sighting: &Sighting<'_>, now: Now) {
        self.decay(now);
        let hash = self.hasher.hash_one(sighting.name);
        match self.places.get(&hash) {
            Some(place) => self.note_followed(*place as usize, sighting),
            None => self.note_stranger(hash, sighting),
        }
    }

    /// The names followed, the hottest first.
    pub fn hottest(&mut self, now: Now) -> Vec<HotName> {
        self.decay(now);
        let window_secs = self.age.window_secs(now);
        let counted = self.followed.iter().zip(&self.counts);
        let mut names: Vec<HotName> =
            counted.map(|(followed, count)| followed.tell(*count, window_secs)).collect();
        names.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.name.cmp(&b.name)));
        names
    }

    /// The time behind the counts, decayed as they are, in milliseconds.
    pub fn window_millis(&self, now: Now) -> u64 {
        self.age.window_millis(now)
    }

    /// Goes on with names that another table told `elapsed_millis` ago, counted over such a window,
    /// as far as there is room; names that are followed already stay as they are.
    pub fn go_on(&mut self, names: &[HotName], window_millis: u64, elapsed_millis: u64, now: Now) {
        self.decay(now);
        let halvings = (elapsed_millis / HALF_LIFE_MILLIS).min(64) as u32;
        self.age.go_on(window_millis, halvings);
        for name in names {
            let hash = self.hasher.hash_one(name.name.wire());
            let count = name.count.checked_shr(halvings).unwrap_or(0);
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            let has_room = self.followed.len() < self.size;
            if count > 0 && has_room && !self.places.contains_key(&hash) {
                self.push(Followed::told(hash, name, halvings), count);
            }
        }
    }

    /// Names followed now.
    pub fn len(&self) -> usize {
        self.followed.len()
    }

    /// Whether no name is followed.
    pub fn is_empty(&self) -> bool {
        self.followed.is_empty()
    }

    /// Octets of memory, what the allocator adds left aside.
    pub fn bytes(&self) -> usize {
        let names: usize = self.followed.iter().map(Followed::heap_bytes).sum();
        // A hash table has a control octet beside each place and fills at most seven in eight.
        let places = self.places.capacity() * 8 / 7 * (size_of::<(u64, u32)>() + 1);
        let lists = self.followed.capacity() * size_of::<Followed>()
            + (self.counts.capacity() + self.coldest.places.capacity()) * size_of::<u32>();
        size_of::<Self>() + names + places + lists + self.sketch.bytes()
    }

    fn note_followed(&mut self, place: usize, sighting: &Sighting<'_>) {
        let followed = &mut self.followed[place];
        if followed.name.wire() == sighting.name {
            followed.note(sighting);
            let count = &mut self.counts[place];
            *count = count.saturating_add(sighting.weight);
        }
    }

    /// With room, a name is followed as soon as it seems to have been asked again. Without, it has
    /// to be warmer than the coldest beyond doubt.
    fn note_stranger(&mut self, hash: u64, sighting: &Sighting<'_>) {
        let estimate = self.sketch.add(hash, sighting.weight);
        let count = estimate.certain.max(sighting.weight);
        if self.followed.len() < self.size {
            if estimate.likely.max(count) >= COUNT_MIN {
                self.follow(hash, sighting, count);
            }
        } else if let Some(place) = self.colder_than(estimate.certain)
            && let Some(stranger) = Followed::new(hash, sighting)
        {
            self.places.remove(&self.followed[place].hash);
            self.places.insert(hash, place as u32);
            self.followed[place] = stranger;
            self.counts[place] = count;
        }
    }

    /// The place of the coldest name if its count is below `count`.
    fn colder_than(&mut self, count: u32) -> Option<usize> {
        if count <= self.coldest.count {
            return None;
        }
        let Self { coldest, counts, .. } = self;
        let still_cold = |place: &u32| counts[*place as usize] == coldest.count;
        coldest.places.retain(still_cold);
        if coldest.places.is_empty() {
            coldest.find(counts);
        }
        (count > coldest.count).then(|| coldest.places.pop())?.map(|place| place as usize)
    }

    fn follow(&mut self, hash: u64, sighting: &Sighting<'_>, count: u32) {
        let Some(followed) = Followed::new(hash, sighting) else {
            return;
        };
        self.push(followed, count);
    }

    fn push(&mut self, followed: Followed, count: u32) {
        self.places.insert(followed.hash, self.followed.len() as u32);
        self.followed.push(followed);
        self.counts.push(count);
        self.coldest.count = self.coldest.count.min(count);
    }

    /// The last one takes the place of the one that leaves.
    fn unfollow(&mut self, place: usize) {
        let gone = self.followed.swap_remove(place);
        self.counts.swap_remove(place);
        self.places.remove(&gone.hash);
        if let Some(moved) = self.followed.get(place) {
            self.places.insert(moved.hash, place as u32);
        }
    }

    /// Halves all counts if it is time, and lets go of names that have cooled down.
    fn decay(&mut self, now: Now) {
        let times = self.age.halvings_due(now);
        if times == 0 {
            return;
        }
        self.sketch.halve(times);
        self.coldest = Coldest::default();
        for (followed, count) in self.followed.iter_mut().zip(&mut self.counts) {
            followed.halve(times);
            *count = count.checked_shr(times).unwrap_or(0);
        }
        // Backwards, so that whoever takes a place has been looked at.
        for place in (0..self.counts.len()).rev() {
            if self.counts[place] == 0 {
                self.unfollow(place);
            }
        }
    }
}

impl Coldest {
    fn find(&mut self, counts: &[u32]) {
        self.count = counts.iter().copied().min().unwrap_or(u32::MAX);
        let places = (0_u32..).zip(counts).filter(|(_, count)| **count == self.count);
        self.places.extend(places.map(|(place, _)| place).take(COLDEST_MAX));
    }
}

impl Age {
    /// How often to halve now.
    fn halvings_due(&mut self, now: Now) -> u32 {
        let halved = *self.halved.get_or_insert(now);
        let times = now.since(halved) / HALF_LIFE_MILLIS;
        if times == 0 {
            return 0;
        }
        self.halved = Some(halved.plus_millis(times * HALF_LIFE_MILLIS));
        // Beyond this nothing is left of any count, nor of the time before.
        let times = times.min(64);
        for _ in 0..times {
            self.before_millis = (self.before_millis + HALF_LIFE_MILLIS) / 2;
        }
        times as u32
    }

    /// The seconds behind the counts, decayed as they are: what a question per second would count.
    fn window_secs(&self, now: Now) -> f64 {
        (self.window_millis(now) as f64 / 1000.0).max(WINDOW_MIN_SECS)
    }

    fn window_millis(&self, now: Now) -> u64 {
        self.before_millis + self.halved.map_or(0, |halved| now.since(halved))
    }

    /// Takes in a time before its own, with this window at its end, as many halvings ago. No window
    /// is longer than two half-lives.
    fn go_on(&mut self, window_millis: u64, halvings: u32) {
        let mut before_millis = window_millis.min(2 * HALF_LIFE_MILLIS);
        for _ in 0..halvings {
            before_millis = (before_millis + HALF_LIFE_MILLIS) / 2;
        }
        self.before_millis = self.before_millis.max(before_millis);
    }
}

/// A name that is asked often.
#[derive(Debug, Clone, PartialEq)]
pub struct HotName {
    /// The name.
    pub name: Name,
    /// Questions about it, decayed.
    pub count: u64,
    /// Questions per second, over the last minute or so.
    pub per_second: f64,
    /// Client questions it was spared by rewriting, since it is followed.
    pub saved: u64,
    /// Types asked, at most four.
    pub types: Vec<u16>,
    /// How it was asked, the most frequent way first; at most four are kept.
    pub ways: Vec<Way>,
}

/// How a hot name was asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Way {
    /// The search domain behind the words of the application; the root if there was none.
    pub suffix: Name,
    /// See [`Sighting::is_absolute`].
    pub is_absolute: bool,
    /// The address asked.
    pub listener: ListenerId,
    /// Questions that came this way, decayed.
    pub count: u64,
}

#[cfg(test)]
mod tests;
