//! Memory of a shard: records one behind the other, the oldest leaves first.
//!
//! A log is a ring of segments that are allocated when the front first reaches them, so a store
//! that is not full costs what it holds, and none is ever given back or fragmented.

use super::record::{self, ALIGN, Record};

/// Octets of a segment; a record lies within one, so this bounds its size.
const SEGMENT_LEN: usize = 256 * 1024;

/// A ring of records and gaps.
#[derive(Debug)]
pub struct Log {
    segments: Vec<Box<[u8]>>,
    segment_len: usize,
    capacity: usize,
    /// Where the next record goes.
    front: usize,
    /// Where the oldest record or gap is, if any octet is used.
    back: usize,
    used: usize,
}

impl Log {
    /// An empty log of about this many octets.
    pub fn new(octets_max: usize) -> Self {
        let segment_len = SEGMENT_LEN.min(octets_max / ALIGN * ALIGN).max(ALIGN);
        let capacity = octets_max / segment_len * segment_len;
        Self { segments: Vec::new(), segment_len, capacity, front: 0, back: 0, used: 0 }
    }

    /// Whether a record of `len` octets could be in it at all.
    pub fn admits(&self, len: usize) -> bool {
        len <= self.segment_len && len <= self.capacity
    }

    /// Whether a record of `len` octets can be appended now.
    pub fn has_room(&self, len: usize) -> bool {
        self.used + self.skipped(len) + len <= self.capacity
    }

    /// Appends a record; says where it is, or nothing if there is no room.
    pub fn append(&mut self, octets: &[u8]) -> Option<usize> {
        let len = octets.len();
        if !self.admits(len) || !self.has_room(len) {
            return None;
        }
        let skipped = self.skipped(len);
        if skipped > 0 {
            self.extend();
            let gap = self.at_mut(self.front);
            record::set_len(gap, skipped);
            record::bury(gap);
            self.advance_front(skipped);
        }
        self.extend();
        let at = self.front;
        self.at_mut(at)[..len].copy_from_slice(octets);
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
        if self.used == 0 {
            (self.front, self.back) = (0, 0);
        }
    }

    /// Octets it has allocated.
    pub fn allocated(&self) -> usize {
        self.segments.len() * self.segment_len
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
        steps
            .map(|at| self.at(at))
            .filter(|octets| record::is_live(octets))
            .map(|octets| Record::new(&octets[..record::len(octets)]))
    }

    /// Octets left at the end of a segment in which a record of `len` does not fit.
    fn skipped(&self, len: usize) -> usize {
        let left = self.segment_len - self.front % self.segment_len;
        if left < len { left } else { 0 }
    }

    fn extend(&mut self) {
        if self.front / self.segment_len == self.segments.len() {
            self.segments.push(vec![0; self.segment_len].into());
        }
    }

    fn advance_front(&mut self, len: usize) {
        self.front = (self.front + len) % self.capacity;
        self.used += len;
    }
}

#[cfg(test)]
mod tests {
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
        };
        record::write(&key, message, std::iter::empty(), &head)
    }

    fn messages(log: &Log) -> std::collections::VecDeque<Vec<u8>> {
        log.records().map(|record| record.message().to_vec()).collect()
    }

    #[test]
    fn records_leave_in_the_order_in_which_they_came() {
        let mut log = Log::new(1_000);
        let mut expected = std::collections::VecDeque::new();
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
            assert_eq!(&log.at(at)[..octets.len()], &*octets);
            expected.push_back(vec![number; 20 + usize::from(number)]);
            assert_eq!(messages(&log), expected);
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
    fn what_is_larger_than_a_segment_is_not_admitted() {
        assert!(Log::new(2 * SEGMENT_LEN).admits(SEGMENT_LEN));
        assert!(!Log::new(2 * SEGMENT_LEN).admits(SEGMENT_LEN + 1));
        assert!(!Log::new(100).admits(101));
        assert_eq!(Log::new(0).append(&record(b"")), None);
    }
}
