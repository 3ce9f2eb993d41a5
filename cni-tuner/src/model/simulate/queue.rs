//! What is due, first things first.
//!
//! What is due at the same millisecond is ordered by kind and node, so that the order never depends
//! on when it was put in: a simulation that skips idle passes goes the same way as one that does not.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Something that is due on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// kubelet tries a pod's sandbox again.
    Retry {
        /// The pod.
        pod: u32,
        /// Valid only as long as this is the pod's ticket.
        ticket: u32,
    },
    /// The node looks for leaked ENIs.
    Sweep,
    /// The pool loop goes on: a pass, the end of a call, the end of a pause.
    Turn {
        /// Valid only as long as this is the node's ticket.
        ticket: u32,
    },
}

/// When, what kind, on which node.
type Key = (u64, u8, u32, Due);

/// A heap of what is due.
#[derive(Debug, Default)]
pub(super) struct Queue {
    heap: BinaryHeap<Reverse<Key>>,
}

impl Queue {
    /// Something is due on a node.
    pub(super) fn push(&mut self, at_ms: u64, node: usize, due: Due) {
        let kind = match due {
            Due::Retry { .. } => 0,
            Due::Sweep => 1,
            Due::Turn { .. } => 2,
        };
        self.heap.push(Reverse((at_ms, kind, node as u32, due)));
    }

    /// When the next is due.
    pub(super) fn next_ms(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((at_ms, ..))| *at_ms)
    }

    /// Takes the next: when, on which node, what.
    pub(super) fn pop(&mut self) -> Option<(u64, usize, Due)> {
        self.heap.pop().map(|Reverse((at_ms, _, node, due))| (at_ms, node as usize, due))
    }
}
