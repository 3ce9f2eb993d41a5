//! Where the record of a key lies: positions by hash, found on one cache line.
//!
//! Open addressing with linear probing: a lookup reads neighbouring slots, so it waits for memory
//! once, and the line it will read is known from the hash alone ([`Index::line`]). hashbrown keeps
//! its tags apart from its slots and so waits twice.

use super::shard::Place;

/// Positions by hash. Several may have one hash; what tells them apart is the caller's.
#[derive(Debug)]
pub struct Index {
    /// A power of two; at most two thirds are taken, and 0 is free.
    slots: Vec<u64>,
    len: usize,
}

const SLOTS_MIN: usize = 16;

impl Index {
    /// An empty index.
    pub fn new() -> Self {
        Self { slots: vec![0; SLOTS_MIN], len: 0 }
    }

    /// How many positions it holds.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Octets it has allocated.
    pub fn allocated(&self) -> usize {
        8 * self.slots.len()
    }

    /// The memory a lookup of `hash` begins with.
    pub fn line(&self, hash: u32) -> *const u8 {
        (&raw const self.slots[self.home(hash)]).cast()
    }

    /// The position with this hash that `is_it`.
    #[inline]
    pub fn find(&self, hash: u32, mut is_it: impl FnMut(Place) -> bool) -> Option<Place> {
        let mut at = self.home(hash);
        loop {
            let slot = self.slots[at];
            if slot == 0 {
                return None;
            }
            if hash_of(slot) == hash && is_it(Place(slot as u32)) {
                return Some(Place(slot as u32));
            }
            at = self.next(at);
        }
    }

    /// Adds a position.
    pub fn insert(&mut self, hash: u32, place: Place) {
        if 3 * (self.len + 1) > 2 * self.slots.len() {
            let larger = vec![0; 2 * self.slots.len()];
            let slots = std::mem::replace(&mut self.slots, larger);
            slots.into_iter().filter(|slot| *slot != 0).for_each(|slot| self.put(slot));
        }
        self.put(slot_of(hash, place));
        self.len += 1;
    }

    /// Takes a position out, if it is there.
    pub fn remove(&mut self, hash: u32, place: Place) -> bool {
        let Some(mut gap) = self.position(hash, place) else {
            return false;
        };
        self.len -= 1;
        // Those behind it move up, unless that put them before the place their hash gives them.
        let mut at = gap;
        loop {
            at = self.next(at);
            let slot = self.slots[at];
            if slot == 0 {
                break;
            }
            let mask = self.slots.len() - 1;
            let from_home = at.wrapping_sub(self.home(hash_of(slot))) & mask;
            if from_home >= (at.wrapping_sub(gap) & mask) {
                self.slots[gap] = slot;
                gap = at;
            }
        }
        self.slots[gap] = 0;
        true
    }

    /// Puts a position in the place of another with the same hash.
    pub fn replace(&mut self, hash: u32, before: Place, place: Place) {
        if let Some(at) = self.position(hash, before) {
            self.slots[at] = slot_of(hash, place);
        }
    }

    fn put(&mut self, slot: u64) {
        let mut at = self.home(hash_of(slot));
        while self.slots[at] != 0 {
            at = self.next(at);
        }
        self.slots[at] = slot;
    }

    fn position(&self, hash: u32, place: Place) -> Option<usize> {
        let slot = slot_of(hash, place);
        let mut at = self.home(hash);
        while self.slots[at] != 0 {
            if self.slots[at] == slot {
                return Some(at);
            }
            at = self.next(at);
        }
        None
    }

    fn home(&self, hash: u32) -> usize {
        hash as usize & (self.slots.len() - 1)
    }

    fn next(&self, at: usize) -> usize {
        (at + 1) & (self.slots.len() - 1)
    }
}

fn slot_of(hash: u32, place: Place) -> u64 {
    u64::from(hash) << 32 | u64::from(place.0)
}

fn hash_of(slot: u64) -> u32 {
    (slot >> 32) as u32
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_holds_what_a_set_holds(steps in prop::collection::vec((0u32..40, 0u32..6, any::<bool>()), 0..400)) {
            let mut index = Index::new();
            let mut set = HashSet::new();
            for (number, spread, adds) in steps {
                // Few homes, so that runs overlap and wrap around.
                let hash = (u32::MAX - 3).wrapping_add(spread);
                let place = Place(number + 1);
                if adds && set.insert((hash, number)) {
                    index.insert(hash, place);
                } else if !adds {
                    prop_assert_eq!(index.remove(hash, place), set.remove(&(hash, number)));
                }
                prop_assert_eq!(index.len(), set.len());
                for (hash, number) in &set {
                    let found = index.find(*hash, |place| place == Place(number + 1));
                    prop_assert_eq!(found, Some(Place(number + 1)));
                }
            }
            let found = index.slots.iter().filter(|slot| **slot != 0).count();
            prop_assert_eq!(found, set.len());
        }
    }

    #[test]
    fn a_position_can_move() {
        let mut index = Index::new();
        index.insert(7, Place(1));
        index.insert(7, Place(2));
        index.replace(7, Place(1), Place(9));
        assert_eq!(index.find(7, |place| place != Place(2)), Some(Place(9)));
        assert_eq!(index.find(8, |_| true), None);
    }
}
