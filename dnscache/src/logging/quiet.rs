//! At most one log line a minute for what can happen with every packet.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::engine::Now;

/// Counts an event that may repeat and says when it is time for a line about it:
///
/// ```
/// use dnscache::logging::Quiet;
///
/// static FORGED: Quiet = Quiet::new();
///
/// if let Some(times) = FORGED.count(dnscache::clock::now(), 1) {
///     tracing::warn!(times, "a reply did not fit its question");
/// }
/// ```
#[derive(Debug, Default)]
pub struct Quiet {
    /// The next line may be written at this reading; 0 before the first.
    next_at_millis: AtomicU64,
    unsaid: AtomicU64,
}

const PAUSE_MILLIS: u64 = 60_000;

impl Quiet {
    /// Ready for its first line.
    pub const fn new() -> Self {
        Self { next_at_millis: AtomicU64::new(0), unsaid: AtomicU64::new(0) }
    }

    /// Counts `more` events; `Some` if a line is due: how many there were since the last one.
    /// Nothing is due when there were none. Of several threads at the same moment one gets `Some`.
    pub fn count(&self, now: Now, more: u64) -> Option<u64> {
        if more > 0 {
            self.unsaid.fetch_add(more, Ordering::Relaxed);
        }
        let next_at = self.next_at_millis.load(Ordering::Relaxed);
        if now.millis() < next_at || self.unsaid.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let later = now.plus_millis(PAUSE_MILLIS).millis();
        self.next_at_millis
            .compare_exchange(next_at, later, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
            .then(|| self.unsaid.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(quiet: &Quiet, millis: u64, more: u64) -> Option<u64> {
        quiet.count(Now::from_millis(millis), more)
    }

    #[test]
    fn one_line_a_minute_with_the_number_of_events() {
        let quiet = Quiet::new();
        assert_eq!(count(&quiet, 1_000, 0), None);
        assert_eq!(count(&quiet, 1_000, 2), Some(2));
        assert_eq!(count(&quiet, 1_001, 3), None);
        assert_eq!(count(&quiet, 60_999, 4), None);
        assert_eq!(count(&quiet, 61_000, 0), Some(7));
        assert_eq!(count(&quiet, 200_000, 0), None);
        assert_eq!(count(&quiet, 200_000, 1), Some(1));
    }

    #[test]
    fn the_ends_of_the_clock_are_harmless() {
        let quiet = Quiet::new();
        assert_eq!(count(&quiet, 0, 1), Some(1));
        assert_eq!(count(&quiet, u64::MAX, 1), Some(1));
        assert_eq!(count(&quiet, 0, 1), None);
    }

    #[test]
    fn of_many_threads_one_writes_and_none_is_lost() {
        let quiet = Quiet::new();
        let said: u64 = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..8).map(|_| scope.spawn(|| count(&quiet, 1, 1).unwrap_or(0))).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
        });
        assert_eq!(said + count(&quiet, 100_000, 1).unwrap_or(0), 9);
    }
}
