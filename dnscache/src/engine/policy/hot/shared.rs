//! The table of hot names as all workers share it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{HotName, HotTable, Sighting};
use crate::engine::Now;

/// The names asked most, for workers that must not wait for each other.
#[derive(Debug)]
pub struct HotNames(Mutex<HotTable>);

impl HotNames {
    /// Follows at most `size` names.
    pub fn new(size: usize) -> Self {
        Self(Mutex::new(HotTable::new(size)))
    }

    /// Counts a question, and returns whether it did: while somebody else holds the table, the
    /// question goes uncounted, because counts are estimates and a client is waiting.
    pub fn note(&self, sighting: &Sighting<'_>, now: Now) -> bool {
        let Ok(mut table) = self.0.try_lock() else {
            return false;
        };
        table.note(sighting, now);
        true
    }

    /// As [`HotTable::hottest`]. Not for workers: it waits for the table.
    pub fn hottest(&self, now: Now) -> Vec<HotName> {
        self.table().hottest(now)
    }

    /// As [`HotTable::window_millis`]. Not for workers.
    pub fn window_millis(&self, now: Now) -> u64 {
        self.table().window_millis(now)
    }

    /// As [`HotTable::go_on`]. Not for workers.
    pub fn go_on(&self, names: &[HotName], window_millis: u64, elapsed_millis: u64, now: Now) {
        self.table().go_on(names, window_millis, elapsed_millis, now);
    }

    /// Names followed now.
    pub fn len(&self) -> usize {
        self.table().len()
    }

    /// Whether no name is followed.
    pub fn is_empty(&self) -> bool {
        self.table().is_empty()
    }

    /// Octets of memory.
    pub fn bytes(&self) -> usize {
        self.table().bytes()
    }

    /// Every change leaves the table whole, so a panic elsewhere does not make it unusable.
    fn table(&self) -> MutexGuard<'_, HotTable> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::sighting;
    use super::*;

    #[test]
    fn a_question_is_not_counted_while_the_table_is_held() {
        let names = HotNames::new(10);
        let name = crate::engine::wire::name::Name::from_text("a.example").expect("a name");
        let now = Now::from_millis(1000);
        let held = names.table();
        assert!(!names.note(&sighting(name.wire()), now));
        drop(held);
        assert!(names.is_empty());
        for _ in 0..2 {
            assert!(names.note(&sighting(name.wire()), now));
        }
        assert_eq!(names.len(), 1);
        assert_eq!(names.hottest(now)[0].count, 2);
    }
}
