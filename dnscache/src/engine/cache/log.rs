//! Memory of a shard: records one behind the other, the oldest leaves first.
//!
//! A log is a ring of segments that are allocated when the front first reaches them, so a store
//! that is not full costs what it holds, and none is ever given back or fragmented. The last one
//! is as long as the rest of the log.

use super::record::{self, ALIGN, Record};

/// Octets of a segment; a record lies within one, so this bounds its size.
const SEGMENT_LEN: usize = 256 * 1024;

/// A ring of records and gaps.
#[derive(Debug)]
pub struct Log {
    segments: Vec<Box<[u8]>>,
    capacity: usize,
    /// Where the next record goes.
    front: usize,
    /// Where the oldest record or gap is, if any octet is used.
    back: usize,
    used: usize,
    /// Octets that were dropped, ever.
    dropped: u64,
}

impl Log {
    /// An empty log of at most this many octets.
    pub fn new(octets_max: usize) -> Self {
        let capacity = octets_max / ALIGN * ALIGN;
        Self { segments: Vec::new(), capacity, front: 0, back: 0, used: 0, dropped: 0 }
    }

    /// Whether a record of `len` octets could be in it at all.
    pub fn admits(&self, len: usize) -> bool {
        len <= SEGMENT_LEN.min(self.capacity)
    }

    /// Whether a record of `len` octets can be appended now.
    pub fn has_room(&self, len: usize) -> bool {
        self.admits(len) && self.used + self.skipped(len) + len <= self.capacity
    }

    /// Appends a record; says where it is, or nothing if there is no room.
    pub fn append(&mut self, octets: &[u8]) -> Option<usize> {
        let len = octets.len();
        if !self.has_room(len) {
            return None;
        }
        while self.left(self.front) < len {
            self.skip();
        }
        self.extend();
        let at = self.front;
        let room = self.at_mut(at);
        room[..len].copy_from_slice(octets);
        record::set_len(room, len);
        self.advance_front(len);
        Some(at)
    }

    /// The octets from `at` to the end of its segment.
    pub fn at(&self, at: usize) -> &[u8] {
        &self.segments[at / SEGMENT_LEN][at % SEGMENT_LEN..]
    }

    /// The octets from `at` to the end of its segment.
    pub fn at_mut(&mut self, at: usize) -> &mut [u8] {
        &mut self.segments[at / SEGMENT_LEN][at % SEGMENT_LEN..]
    }

    /// Where the oldest record or gap is.
    pub fn oldest(&self) -> Option<usize> {
        (self.used > 0).then_some(self.back)
    }

    /// Lets the oldest go.
    pub fn drop_oldest(&mut self) {
        let len = record::len(self.at(self.back));
        self.back = (self.back + len) % self.capacity;
        self.used -= len;
        self.dropped += len as u64;
        if self.used == 0 {
            (self.front, self.back) = (0, 0);
        }
    }

    /// Octets it has allocated.
    pub fn allocated(&self) -> usize {
        (self.segments.len() * SEGMENT_LEN).min(self.capacity)
    }

    /// Its records from the oldest on.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        let mut seen = 0;
        let steps = std::iter::from_fn(move || {
            let at = (self.back + seen) % self.capacity.max(1);
            (seen < self.used).then(|| {
                seen += record::len(self.at(at));
                at
            })
        });
        steps.map(|at| self.at(at)).filter(|octets| record::is_live(octets)).map(Record::new)
    }

    /// Copies records to the end of `out`, the oldest first: those from `place` on that lie within
    /// so many octets, where `place` counts octets since the log was empty. Says where to go on, if
    /// there are more. What was dropped meanwhile is passed over, so a walk may take its time.
    pub fn copy(&self, place: u64, octets_max: usize, out: &mut Vec<u8>) -> Option<u64> {
        let mut seen = place.saturating_sub(self.dropped) as usize;
        let end = self.used.min(seen.saturating_add(octets_max));
        while seen < end {
            let octets = self.at((self.back + seen) % self.capacity);
            if record::is_live(octets) {
                out.extend_from_slice(Record::new(octets).octets());
            }
            seen += record::len(octets);
        }
        (seen < self.used).then(|| self.dropped + seen as u64)
    }

    /// Octets from `at` to the end of its segment.
    fn left(&self, at: usize) -> usize {
        self.capacity.min(at - at % SEGMENT_LEN + SEGMENT_LEN) - at
    }

    /// Octets from the front to where a record of `len`, which is admitted, fits: the rest of its segment, and the last
    /// one as well if that is too short.
    fn skipped(&self, len: usize) -> usize {
        let mut skipped = 0;
        loop {
            let left = self.left((self.front + skipped) % self.capacity);
            if left >= len {
                return skipped;
            }
            skipped += left;
        }
    }

    /// Makes a gap of the rest of the front's segment.
    fn skip(&mut self) {
        self.extend();
        let left = self.left(self.front);
        let gap = self.at_mut(self.front);
        record::set_len(gap, left);
        record::bury(gap);
        self.advance_front(left);
    }

    fn extend(&mut self) {
        if self.front / SEGMENT_LEN == self.segments.len() {
            self.segments.push(vec![0; self.left(self.front)].into());
        }
    }

    fn advance_front(&mut self, len: usize) {
        self.front = (self.front + len) % self.capacity;
        self.used += len;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;
    use crate::engine::Now;
    use crate::engine::RouteId;
    use crate::engine::cache::key::{Flags, Key};
    use crate::engine::cache::record::{Head, Kind};

    fn record(message: &[u8]) -> Box<[u8]> {
        let key = Key::new(RouteId(0), b"\0", 1, 1, Flags::default());
        let head = Head {
            kind: Kind::Success,
            rcode: 0,
            is_authentic: false,
            stored: Now::default(),
            lifetime_millis: 1,
            rotation: None,
            synthesised: None,
        };
        record::write(&key, message, std::iter::empty(), &head)
    }

    fn messages(log: &Log) -> VecDeque<Vec<u8>> {
        log.records().map(|record| record.message().to_vec()).collect()
    }

    #[test]
    fn records_leave_in_the_order_in_which_they_came() {
        let mut log = Log::new(1_000);
        let mut expected = VecDeque::new();
        for number in 0..200u8 {
            let octets = record(&vec![number; 20 + usize::from(number)]);
            while !log.has_room(octets.len()) {
                let oldest = log.oldest().expect("something is in the way");
                if record::is_live(log.at(oldest)) {
                    expected.pop_front();
                }
                log.drop_oldest();
            }
            let at = log.append(&octets).expect("there is room");
            assert_eq!(Record::new(log.at(at)).message(), Record::new(&octets).message());
            expected.push_back(vec![number; 20 + usize::from(number)]);
            assert_eq!(messages(&log), expected);
        }
    }

    proptest! {
        #[test]
        fn it_holds_those_that_came_last(
            octets_max in 70_000..3 * SEGMENT_LEN,
            lens in prop::collection::vec(prop_oneof![0usize..700, 0usize..65_519], 0..100),
        ) {
            let mut log = Log::new(octets_max);
            let mut expected = VecDeque::new();
            for len in lens {
                let octets = record(&vec![len as u8; len]);
                while !log.has_room(octets.len()) {
                    let oldest = log.oldest().expect("something is in the way");
                    if record::is_live(log.at(oldest)) {
                        expected.pop_front();
                    }
                    log.drop_oldest();
                }
                log.append(&octets).expect("there is room");
                expected.push_back(vec![len as u8; len]);
            }
            prop_assert_eq!(messages(&log), expected);
            prop_assert!(log.allocated() <= octets_max);
        }
    }

    #[test]
    fn a_walk_meets_every_record_that_stays_whatever_happens_between_its_steps() {
        let mut log = Log::new(40_000);
        let append = |log: &mut Log, number: u16| {
            let octets = record(&number.to_be_bytes().repeat(20 + usize::from(number % 50)));
            while !log.has_room(octets.len()) {
                log.drop_oldest();
            }
            log.append(&octets).expect("there is room");
        };
        (0..300).for_each(|number| append(&mut log, number));
        let numbers = |octets: &[u8]| -> Vec<u16> {
            let message = |record: Record<'_>| record.message()[..2].try_into().expect("two");
            record::each(octets).map(|record| u16::from_be_bytes(message(record))).collect()
        };
        for steps_between in [0_u16, 1, 40, 400] {
            let (mut place, mut seen, mut next) = (Some(0), Vec::new(), 300);
            let oldest = |log: &Log| {
                let mut all = Vec::new();
                log.copy(0, usize::MAX, &mut all);
                numbers(&all)
            };
            let mut piece = Vec::new();
            while let Some(at) = place.filter(|_| next < 3_000) {
                piece.clear();
                place = log.copy(at, 2_000, &mut piece);
                seen.extend(numbers(&piece));
                for _ in 0..steps_between {
                    append(&mut log, next);
                    next += 1;
                }
            }
            assert!(seen.is_sorted(), "{seen:?}");
            let left = oldest(&log);
            let missed = left.iter().find(|number| **number < 300 && !seen.contains(number));
            assert_eq!(missed, None, "{steps_between}");
            log = Log::new(40_000);
            (0..300).for_each(|number| append(&mut log, number));
        }
    }

    #[test]
    fn memory_is_taken_as_it_is_needed_and_no_more() {
        let mut log = Log::new(10 * SEGMENT_LEN);
        assert_eq!(log.allocated(), 0);
        let octets = record(&[7; 30_000]);
        for round in 0..200 {
            while !log.has_room(octets.len()) {
                log.drop_oldest();
            }
            log.append(&octets).expect("there is room");
            let expected = (1 + round / (SEGMENT_LEN / octets.len())).min(10) * SEGMENT_LEN;
            assert_eq!(log.allocated(), expected);
        }
    }

    #[test]
    fn the_last_segment_is_what_is_left() {
        let (octets, larger) = (record(&[7; 700]), record(&[8; 20_000]));
        let fit = SEGMENT_LEN / octets.len();
        // The larger one fits neither what is left of the first segment nor the whole of the last.
        for before in [fit, fit + 1] {
            let mut log = Log::new(SEGMENT_LEN + 10 * octets.len() + 7);
            for _ in 0..before {
                log.append(&octets).expect("there is room");
            }
            while !log.has_room(larger.len()) {
                log.drop_oldest();
            }
            assert_eq!(log.append(&larger), Some(0));
            assert_eq!(log.allocated(), SEGMENT_LEN + 10 * octets.len());
            let kept = messages(&log);
            assert_eq!(kept.len(), before - larger.len().div_ceil(octets.len()) + 1);
            assert_eq!(kept.back().map(Vec::len), Some(20_000));
        }
    }

    #[test]
    fn what_is_larger_than_a_segment_is_not_admitted() {
        assert!(Log::new(2 * SEGMENT_LEN).admits(SEGMENT_LEN));
        assert!(!Log::new(2 * SEGMENT_LEN).admits(SEGMENT_LEN + 1));
        assert!(!Log::new(100).admits(101));
        assert_eq!(Log::new(0).append(&record(b"")), None);
    }
}
