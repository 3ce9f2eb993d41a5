//! How long to leave the API server alone after a failure.

use std::time::Duration;

/// The longest pause after the first failure.
const FIRST: Duration = Duration::from_secs(1);
/// The longest of all.
const LAST: Duration = Duration::from_secs(60);

/// Pauses that double from one failure to the next, each cut short at random: the nodes of a
/// cluster all lose the API server in one moment and must not come back in one.
#[derive(Debug, Default)]
pub struct Pauses {
    failures: u32,
}

impl Pauses {
    /// The pause after another failure.
    pub fn next(&mut self) -> Duration {
        let longest = FIRST.saturating_mul(1 << self.failures.min(6)).min(LAST);
        self.failures = self.failures.saturating_add(1);
        longest.mul_f64(rand::random_range(0.5..1.0))
    }

    /// Begins again with the shortest.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute_and_are_never_equal_for_all() {
        let mut pauses = Pauses::default();
        for longest_secs in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
            let (longest, pause) = (Duration::from_secs(longest_secs), pauses.next());
            assert!((longest / 2..longest).contains(&pause), "{pause:?} of {longest:?}");
        }
        pauses.reset();
        assert!(pauses.next() < FIRST);
    }
}
