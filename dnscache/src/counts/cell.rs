//! The storage of counts: cells, histograms and the shards that keep writers apart.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many threads write to a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writers {
    /// One: a load and a store are enough.
    One,
    /// Many: the addition must be atomic.
    Many,
}

/// One count per shard, the shards on cache lines of their own.
#[derive(Debug)]
pub(super) struct Shards<T>(Box<[Padded<T>]>);

/// Two lines, because the prefetcher of x86 takes lines in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded<T>(T);

impl<T: Default> Shards<T> {
    /// The slow plane's shard (0) and one for each of `workers` (from 1).
    pub(super) fn new(workers: usize) -> Self {
        Self((0..=workers).map(|_| Padded::default()).collect())
    }
}

impl<T> Shards<T> {
    /// The shard with this number and how it must be written. A number beyond the workers means
    /// the shared shard, where a wrong number does no harm.
    #[inline]
    pub(super) fn at(&self, shard: usize) -> (&T, Writers) {
        match self.0.get(shard) {
            Some(padded) if shard > 0 => (&padded.0, Writers::One),
            _ => (&self.0[0].0, Writers::Many),
        }
    }

    /// The sum over all shards of what `pick` finds in one.
    pub(super) fn sum(&self, pick: impl Fn(&T) -> &Cell) -> u64 {
        self.0.iter().map(|padded| pick(&padded.0).read()).sum()
    }

    /// The sum over all shards of the histogram `pick` finds in one.
    pub(super) fn histogram<const N: usize>(
        &self,
        pick: impl Fn(&T) -> &Histogram<N>,
        units_per_whole: f64,
    ) -> HistogramReading {
        let mut buckets = [0; N];
        let mut sum = 0_u64;
        for padded in &self.0 {
            let histogram = pick(&padded.0);
            for (total, cell) in buckets.iter_mut().zip(&histogram.buckets) {
                *total += cell.read();
            }
            sum = sum.wrapping_add(histogram.sum.read());
        }
        HistogramReading::new(buckets, sum, units_per_whole)
    }
}

/// A number that goes up.
#[derive(Debug, Default)]
pub(super) struct Cell(AtomicU64);

impl Cell {
    #[inline]
    pub(super) fn add(&self, more: u64, writers: Writers) {
        match writers {
            Writers::One => {
                let sum = self.0.load(Ordering::Relaxed).wrapping_add(more);
                self.0.store(sum, Ordering::Relaxed);
            }
            Writers::Many => {
                self.0.fetch_add(more, Ordering::Relaxed);
            }
        }
    }

    pub(super) fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts by bucket, the last for everything above the last bound, and the sum of what was seen.
#[derive(Debug)]
pub(super) struct Histogram<const N: usize> {
    buckets: [Cell; N],
    sum: Cell,
}

impl<const N: usize> Histogram<N> {
    /// Counts `value` in bucket `bucket`; one beyond the last is the last.
    #[inline]
    pub(super) fn observe(&self, bucket: usize, value: u64, writers: Writers) {
        self.buckets[bucket.min(N - 1)].add(1, writers);
        self.sum.add(value, writers);
    }
}

impl<const N: usize> Default for Histogram<N> {
    fn default() -> Self {
        Self { buckets: array::from_fn(|_| Cell::default()), sum: Cell::default() }
    }
}

/// A histogram as read at one moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HistogramReading {
    /// Observations per bound, not cumulative; those above the last bound are in `count` only.
    pub buckets: Vec<u64>,
    /// All observations.
    pub count: u64,
    /// Their sum in the unit the metric is named for.
    pub sum: f64,
}

impl HistogramReading {
    /// `buckets` with the overflow last; `sum` in units of which `units_per_whole` make one of the
    /// metric's.
    fn new<const N: usize>(buckets: [u64; N], sum: u64, units_per_whole: f64) -> Self {
        Self {
            count: buckets.iter().sum(),
            sum: sum as f64 / units_per_whole,
            buckets: buckets[..N - 1].to_vec(),
        }
    }

    /// Adds another reading of the same bounds.
    pub fn merge(&mut self, other: &Self) {
        if self.buckets.len() < other.buckets.len() {
            self.buckets.resize(other.buckets.len(), 0);
        }
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.count += other.count;
        self.sum += other.sum;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_have_lines_of_their_own() {
        let shards: Shards<Cell> = Shards::new(2);
        let address = |shard| std::ptr::from_ref(shards.at(shard).0) as usize;
        assert!(address(2) - address(1) >= 128);
        assert_eq!(address(1) % 128, 0);
    }

    #[test]
    fn the_shared_shard_takes_every_number_beyond_the_workers() {
        let shards: Shards<Cell> = Shards::new(1);
        assert_eq!(shards.at(0).1, Writers::Many);
        assert_eq!(shards.at(1).1, Writers::One);
        let (cell, writers) = shards.at(2);
        assert_eq!(writers, Writers::Many);
        cell.add(3, writers);
        assert_eq!(shards.at(0).0.read(), 3);
    }

    #[test]
    fn no_addition_to_the_shared_shard_is_lost() {
        let shards: Shards<Cell> = Shards::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        let (cell, writers) = shards.at(0);
                        cell.add(1, writers);
                    }
                });
            }
        });
        assert_eq!(shards.sum(|cell| cell), 40_000);
    }

    #[test]
    fn what_exceeds_the_last_bound_is_in_the_count_only() {
        let shards: Shards<Histogram<3>> = Shards::new(1);
        for (shard, bucket, value) in [(0, 0, 1), (1, 0, 2), (1, 2, 500), (1, 9, 500)] {
            let (histogram, writers) = shards.at(shard);
            histogram.observe(bucket, value, writers);
        }
        let reading = shards.histogram(|histogram| histogram, 1000.0);
        assert_eq!(reading.buckets, [2, 0]);
        assert_eq!(reading.count, 4);
        assert!((reading.sum - 1.003).abs() < 1e-9);
    }

    #[test]
    fn readings_of_two_series_add_up() {
        let mut first = HistogramReading::default();
        let second = HistogramReading { buckets: vec![1, 2], count: 4, sum: 0.5 };
        first.merge(&second);
        first.merge(&second);
        assert_eq!(first, HistogramReading { buckets: vec![2, 4], count: 8, sum: 1.0 });
    }
}
