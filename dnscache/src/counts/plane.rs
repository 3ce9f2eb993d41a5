//! The counts that belong to no block: what the planes did with packets and connections.

use std::borrow::Cow;
use std::sync::atomic::{AtomicI64, Ordering};

use super::cell::{Cell, Shards, Writers};
use super::kinds::{
    DROP_REASONS, RCODE_SLOTS, drop_label, drop_slot, rcode_slot, rcode_slot_label,
};
use crate::engine::{DropReason, Facts};

/// The counts of the planes, one for the process.
#[derive(Debug)]
pub struct PlaneCounts {
    shards: Shards<PlaneShard>,
    /// Written by the slow plane only.
    rejected: [Cell; REJECTIONS.len()],
    /// Written by the slow plane only.
    closed: [Cell; CLOSINGS.len()],
    connections_open: AtomicI64,
    clients_waiting: AtomicI64,
}

#[derive(Debug, Default)]
struct PlaneShard {
    dropped: [Cell; DROP_REASONS.len()],
    /// By response code.
    strays: [Cell; RCODE_SLOTS],
    door_full: Cell,
    send_failed: Cell,
    oversized: Cell,
    panicked: Cell,
    coalesced: Cell,
    waiting_full: Cell,
}

/// Why a TCP connection was closed right after it was accepted, or not accepted at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejected {
    /// As many as we take are open.
    Total,
    /// As many as one client may have are open.
    PerClient,
    /// The process is out of file descriptors.
    Descriptors,
}

const REJECTIONS: [(Rejected, &str); 3] = [
    (Rejected::Total, "total"),
    (Rejected::PerClient, "per_client"),
    (Rejected::Descriptors, "descriptors"),
];

/// Why a TCP connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// The client closed it, or it was drained.
    Finished,
    /// Nothing was asked for a while.
    Idle,
    /// A query was begun and not completed in time.
    SlowQuery,
    /// The client does not read its replies.
    SlowReader,
    /// The client sent what is no query.
    Garbage,
    /// The connection was reset.
    Reset,
    /// The next instance goes on with it.
    HandedOver,
}

const CLOSINGS: [(Closed, &str); 7] = [
    (Closed::Finished, "finished"),
    (Closed::Idle, "idle"),
    (Closed::SlowQuery, "slow_query"),
    (Closed::SlowReader, "slow_reader"),
    (Closed::Garbage, "garbage"),
    (Closed::Reset, "reset"),
    (Closed::HandedOver, "handed_over"),
];

impl Default for PlaneCounts {
    /// Counts for the slow plane alone.
    fn default() -> Self {
        Self::new(0)
    }
}

impl PlaneCounts {
    /// Counts from zero for the slow plane and `workers`.
    pub fn new(workers: usize) -> Self {
        Self {
            shards: Shards::new(workers),
            rejected: Default::default(),
            closed: Default::default(),
            connections_open: AtomicI64::new(0),
            clients_waiting: AtomicI64::new(0),
        }
    }

    /// Counts a packet that gets no reply.
    #[inline]
    pub fn dropped(&self, shard: usize, reason: DropReason) {
        self.add(shard, |counts| &counts.dropped[drop_slot(reason)]);
    }

    /// Counts a reply that belongs to no block: to a malformed query, or to one for no zone.
    #[inline]
    pub fn stray(&self, shard: usize, facts: &Facts) {
        self.add(shard, |counts| &counts.strays[rcode_slot(facts.rcode)]);
    }

    /// Counts a query answered SERVFAIL because the door to the slow plane was full.
    #[inline]
    pub fn door_full(&self, shard: usize) {
        self.add(shard, |counts| &counts.door_full);
    }

    /// Counts a reply the kernel did not take.
    #[inline]
    pub fn send_failed(&self, shard: usize) {
        self.add(shard, |counts| &counts.send_failed);
    }

    /// Counts a query that was longer than the receive buffer.
    #[inline]
    pub fn oversized(&self, shard: usize) {
        self.add(shard, |counts| &counts.oversized);
    }

    /// Counts a panic that was caught.
    #[inline]
    pub fn panicked(&self, shard: usize) {
        self.add(shard, |counts| &counts.panicked);
    }

    /// Counts a query that joined a question already in flight.
    #[inline]
    pub fn coalesced(&self, shard: usize) {
        self.add(shard, |counts| &counts.coalesced);
    }

    /// Counts a question that is not asked because as many are in flight as may.
    #[inline]
    pub fn waiting_full(&self, shard: usize) {
        self.add(shard, |counts| &counts.waiting_full);
    }

    /// Counts a TCP connection that was not served.
    pub fn tcp_rejected(&self, rejected: Rejected) {
        for (cell, (kind, _)) in self.rejected.iter().zip(REJECTIONS) {
            if kind == rejected {
                cell.add(1, Writers::Many);
            }
        }
    }

    /// Counts the end of a TCP connection.
    pub fn tcp_closed(&self, closed: Closed) {
        for (cell, (kind, _)) in self.closed.iter().zip(CLOSINGS) {
            if kind == closed {
                cell.add(1, Writers::Many);
            }
        }
    }

    /// Notes that a TCP connection was opened (1) or closed (-1).
    pub fn tcp_open(&self, change: i64) {
        self.connections_open.fetch_add(change, Ordering::Relaxed);
    }

    /// Notes that clients began (positive) or ceased (negative) to wait for upstream.
    pub fn waiting(&self, change: i64) {
        self.clients_waiting.fetch_add(change, Ordering::Relaxed);
    }

    #[inline]
    fn add(&self, shard: usize, pick: impl Fn(&PlaneShard) -> &Cell) {
        let (counts, writers) = self.shards.at(shard);
        pick(counts).add(1, writers);
    }

    /// Sums the shards.
    pub fn read(&self) -> PlaneReading {
        let sum = |pick: fn(&PlaneShard) -> &Cell| self.shards.sum(pick);
        let dropped = |reason| self.shards.sum(|shard| &shard.dropped[drop_slot(reason)]);
        let strays = |rcode: usize| self.shards.sum(|shard| &shard.strays[rcode]);
        PlaneReading {
            dropped: DROP_REASONS.map(|reason| (drop_label(reason), dropped(reason))),
            dropped_by_acl: dropped(DropReason::Acl),
            strays: (0..RCODE_SLOTS)
                .map(|rcode| (rcode_slot_label(rcode), strays(rcode)))
                .filter(|(_, count)| *count > 0)
                .collect(),
            door_full: sum(|shard| &shard.door_full),
            send_failed: sum(|shard| &shard.send_failed),
            oversized: sum(|shard| &shard.oversized),
            panicked: sum(|shard| &shard.panicked),
            coalesced: sum(|shard| &shard.coalesced),
            waiting_full: sum(|shard| &shard.waiting_full),
            rejected: std::array::from_fn(|at| (REJECTIONS[at].1, self.rejected[at].read())),
            closed: std::array::from_fn(|at| (CLOSINGS[at].1, self.closed[at].read())),
            connections_open: self.connections_open.load(Ordering::Relaxed),
            clients_waiting: self.clients_waiting.load(Ordering::Relaxed),
        }
    }
}

/// The planes' counts at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaneReading {
    /// Packets without a reply, by `reason` label.
    pub dropped: [(&'static str, u64); DROP_REASONS.len()],
    /// Those of them that `acl` dropped.
    pub dropped_by_acl: u64,
    /// Replies of no block by `rcode` label; codes never sent are left out.
    pub strays: Vec<(Cow<'static, str>, u64)>,
    /// See [`PlaneCounts::door_full`].
    pub door_full: u64,
    /// See [`PlaneCounts::send_failed`].
    pub send_failed: u64,
    /// See [`PlaneCounts::oversized`].
    pub oversized: u64,
    /// See [`PlaneCounts::panicked`].
    pub panicked: u64,
    /// See [`PlaneCounts::coalesced`].
    pub coalesced: u64,
    /// See [`PlaneCounts::waiting_full`].
    pub waiting_full: u64,
    /// TCP connections not served, by `reason` label.
    pub rejected: [(&'static str, u64); REJECTIONS.len()],
    /// TCP connections that ended, by `reason` label.
    pub closed: [(&'static str, u64); CLOSINGS.len()],
    /// TCP connections open now.
    pub connections_open: i64,
    /// Clients waiting for upstream now.
    pub clients_waiting: i64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Source;

    #[test]
    fn drops_are_told_apart() {
        let counts = PlaneCounts::new(1);
        counts.dropped(0, DropReason::Short);
        counts.dropped(1, DropReason::Short);
        counts.dropped(1, DropReason::Acl);
        let reading = counts.read();
        assert_eq!(reading.dropped[0], ("short", 2));
        assert_eq!(reading.dropped[4], ("acl", 1));
        assert_eq!(reading.dropped_by_acl, 1);
    }

    #[test]
    fn each_event_has_a_number_of_its_own() {
        let counts = PlaneCounts::new(1);
        counts.door_full(1);
        (0..2).for_each(|_| counts.send_failed(1));
        (0..3).for_each(|_| counts.oversized(1));
        (0..4).for_each(|_| counts.panicked(0));
        (0..5).for_each(|_| counts.coalesced(0));
        (0..6).for_each(|_| counts.waiting_full(0));
        let reading = counts.read();
        assert_eq!((reading.door_full, reading.send_failed, reading.oversized), (1, 2, 3));
        assert_eq!((reading.panicked, reading.coalesced, reading.waiting_full), (4, 5, 6));
    }

    #[test]
    fn strays_are_counted_by_response_code() {
        let counts = PlaneCounts::new(1);
        let facts = Facts {
            block: None,
            qtype: 0,
            rcode: 1,
            dnssec_ok: false,
            source: Source::Refusal,
            shortcut: crate::engine::Shortcut::NotAnExpansion,
        };
        counts.stray(1, &facts);
        assert_eq!(counts.read().strays, [(Cow::Borrowed("FORMERR"), 1)]);
    }

    #[test]
    fn connections_come_and_go() {
        let counts = PlaneCounts::new(0);
        counts.tcp_open(1);
        counts.tcp_open(1);
        counts.tcp_open(-1);
        counts.waiting(3);
        counts.tcp_rejected(Rejected::PerClient);
        let reading = counts.read();
        assert_eq!((reading.connections_open, reading.clients_waiting), (1, 3));
        assert_eq!(reading.rejected, [("total", 0), ("per_client", 1), ("descriptors", 0)]);
    }
}
