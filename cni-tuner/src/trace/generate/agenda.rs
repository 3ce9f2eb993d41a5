//! What is still to come, first things first.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Cues in the order of time; those of the same time in the order they were put down.
#[derive(Debug)]
pub(super) struct Agenda<C> {
    cues: BinaryHeap<Reverse<(u64, u64, C)>>,
    written: u64,
    end_ms: u64,
}

impl<C: Ord> Agenda<C> {
    /// Nothing to come; cues after `end_ms` are let go.
    pub(super) fn until(end_ms: u64) -> Agenda<C> {
        Agenda { cues: BinaryHeap::new(), written: 0, end_ms }
    }

    /// Puts a cue down.
    pub(super) fn at(&mut self, at_ms: u64, cue: C) {
        if at_ms > self.end_ms {
            return;
        }
        self.cues.push(Reverse((at_ms, self.written, cue)));
        self.written += 1;
    }

    /// The next cue and its time.
    pub(super) fn next(&mut self) -> Option<(u64, C)> {
        self.cues.pop().map(|Reverse((at_ms, _, cue))| (at_ms, cue))
    }
}
