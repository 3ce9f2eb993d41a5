//! The counts of snapshots: what was taken in at the start, what was written.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What snapshots came to, over reloads. Durations are in microseconds.
#[derive(Debug, Default)]
pub struct SnapshotCounts {
    loaded: [AtomicU64; 4],
    written: [AtomicU64; 5],
    writes: AtomicU64,
    failures: AtomicU64,
}

/// A snapshot that was taken in.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Loaded {
    /// Answers that are known from it.
    pub answers: u64,
    /// Octets.
    pub bytes: u64,
    /// Seconds since it had been written.
    pub age_secs: f64,
    /// Seconds that taking it in took.
    pub duration_secs: f64,
}

/// The last snapshot that was written.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LastWritten {
    /// Answers.
    pub answers: u64,
    /// Answers left out because of the size.
    pub left_out: u64,
    /// Octets.
    pub bytes: u64,
    /// When, in seconds since 1970.
    pub at_secs: f64,
    /// Seconds that it took.
    pub duration_secs: f64,
}

/// What was counted.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct SnapshotCount {
    /// What was taken in at the start, if anything.
    pub loaded: Loaded,
    /// What was written last, if anything.
    pub written: LastWritten,
    /// Snapshots written.
    pub writes: u64,
    /// Snapshots that could not be used or not be written.
    pub failures: u64,
}

impl SnapshotCounts {
    /// Counts a snapshot that was taken in.
    pub fn loaded(&self, answers: u64, bytes: u64, age_millis: u64, duration: Duration) {
        store(&self.loaded, [answers, bytes, age_millis, duration.as_micros() as u64]);
    }

    /// Counts a snapshot that was written at a moment in milliseconds since 1970.
    pub fn written(
        &self,
        answers: u64,
        left_out: u64,
        bytes: u64,
        at_millis: u64,
        duration: Duration,
    ) {
        let micros = duration.as_micros() as u64;
        store(&self.written, [answers, left_out, bytes, at_millis, micros]);
        self.writes.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a snapshot that could not be used or not be written.
    pub fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Reads them.
    pub fn read(&self) -> SnapshotCount {
        let [answers, bytes, age_millis, micros] = read(&self.loaded);
        let loaded = Loaded {
            answers,
            bytes,
            age_secs: age_millis as f64 / 1e3,
            duration_secs: micros as f64 / 1e6,
        };
        let [answers, left_out, bytes, at_millis, micros] = read(&self.written);
        let written = LastWritten {
            answers,
            left_out,
            bytes,
            at_secs: at_millis as f64 / 1e3,
            duration_secs: micros as f64 / 1e6,
        };
        SnapshotCount {
            loaded,
            written,
            writes: self.writes.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
        }
    }
}

fn store<const LEN: usize>(cells: &[AtomicU64; LEN], values: [u64; LEN]) {
    cells.iter().zip(values).for_each(|(cell, value)| cell.store(value, Ordering::Relaxed));
}

fn read<const LEN: usize>(cells: &[AtomicU64; LEN]) -> [u64; LEN] {
    std::array::from_fn(|index| cells[index].load(Ordering::Relaxed))
}
