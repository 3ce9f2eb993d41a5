//! When an answer is asked for anew: one renewal at a time, and a pause after one that failed.

use std::sync::atomic::{AtomicU64, Ordering};

use super::lifetime::{ANSWERED_RETRY_MILLIS, RENEWAL_MILLIS, SILENT_RETRY_MILLIS};
use crate::engine::policy::route::RouteHealth;
use crate::engine::{Failure, Now};

/// The marks of renewal on one answer, set by whoever meets it first. All are readings in
/// milliseconds, 0 for never.
#[derive(Debug, Default)]
pub struct Renewal {
    /// Until when one is under way.
    under_way_until: AtomicU64,
    /// When the question was asked that failed last.
    failed_since: AtomicU64,
    /// Until when nobody tries again.
    paused_until: AtomicU64,
}

impl Renewal {
    /// Claims the renewal: true for one caller until it is over, and for none while the pause
    /// after a failed one lasts. The pause ends early when an upstream that had been silent was
    /// heard after the failed question was asked.
    pub fn claim(&self, now: Now, health: &RouteHealth) -> bool {
        let failed_since = Now::from_millis(self.failed_since.load(Ordering::Relaxed));
        let is_paused = now.millis() < self.paused_until.load(Ordering::Relaxed);
        if is_paused && !health.recovered_since(failed_since) {
            return false;
        }
        let until = self.under_way_until.load(Ordering::Relaxed);
        let over = now.plus_millis(RENEWAL_MILLIS).millis();
        until <= now.millis()
            && self
                .under_way_until
                .compare_exchange(until, over, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// Notes that a question asked at `asked` has failed at `now`.
    pub fn failed(&self, failure: Failure, asked: Now, now: Now) {
        let pause_millis = match failure {
            Failure::Silent => SILENT_RETRY_MILLIS,
            Failure::Answered(_) | Failure::Broken | Failure::Overloaded => ANSWERED_RETRY_MILLIS,
        };
        self.pause(asked, now.plus_millis(pause_millis));
        self.under_way_until.store(0, Ordering::Relaxed);
    }

    /// Notes that a question asked at `asked` keeps a client waiting for longer than the client's
    /// timer, so that others need not wait as well. It stays under way.
    pub fn keeps_waiting(&self, asked: Now, now: Now) {
        if !self.has_failed() {
            self.pause(asked, now.plus_millis(SILENT_RETRY_MILLIS));
            self.under_way_until.store(now.plus_millis(RENEWAL_MILLIS).millis(), Ordering::Relaxed);
        }
    }

    /// Whether the last one failed: then an expired answer is served without keeping clients
    /// waiting for another.
    pub fn has_failed(&self) -> bool {
        self.paused_until.load(Ordering::Relaxed) > 0
    }

    fn pause(&self, since: Now, until: Now) {
        self.failed_since.store(since.millis(), Ordering::Relaxed);
        self.paused_until.store(until.millis(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Now = Now::from_millis(100_000);

    fn claims(renewal: &Renewal, after_millis: u64) -> bool {
        renewal.claim(START.plus_millis(after_millis), &RouteHealth::default())
    }

    #[test]
    fn one_caller_gets_it_until_it_must_be_over() {
        let renewal = Renewal::default();
        assert_eq!([0, 1, 4_999, 5_000].map(|at| claims(&renewal, at)), [true, false, false, true]);
    }

    #[test]
    fn silence_pauses_it_for_half_a_minute() {
        let renewal = Renewal::default();
        assert!(claims(&renewal, 0));
        renewal.failed(Failure::Silent, START, START.plus_millis(4_800));
        assert!(renewal.has_failed());
        assert_eq!([4_801, 34_799, 34_800].map(|at| claims(&renewal, at)), [false, false, true]);
    }

    #[test]
    fn a_failure_that_was_answered_pauses_it_briefly() {
        let renewal = Renewal::default();
        renewal.failed(Failure::Answered(2), START, START);
        assert_eq!([0, 1_499, 1_500].map(|at| claims(&renewal, at)), [false, false, true]);
    }

    #[test]
    fn a_recovery_seen_while_the_question_waited_ends_the_pause() {
        let (renewal, health) = (Renewal::default(), RouteHealth::default());
        health.recovered(START);
        renewal.failed(Failure::Silent, START, START.plus_millis(4_800));
        assert!(!renewal.claim(START.plus_millis(5_000), &health), "it came back before");
        health.recovered(START.plus_millis(4_000));
        assert!(renewal.claim(START.plus_millis(5_000), &health));
    }

    #[test]
    fn a_long_wait_counts_as_a_failure_under_way() {
        let renewal = Renewal::default();
        renewal.keeps_waiting(START, START.plus_millis(1_800));
        assert!(renewal.has_failed());
        assert!(!claims(&renewal, 6_000));
    }
}
