//! When an answer is asked for anew: one renewal at a time, and a pause after one that failed.

use super::lifetime::{ANSWERED_RETRY_MILLIS, RENEWAL_MILLIS, SILENT_RETRY_MILLIS};
use crate::engine::policy::route::RouteHealth;
use crate::engine::{Failure, Now};

/// The marks of renewal on one answer, set by whoever meets it first. All are readings in
/// milliseconds, 0 for never.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Renewal {
    /// Until when one is under way.
    pub under_way_until: u64,
    /// When the question was asked that failed last.
    pub failed_since: u64,
    /// Until when nobody tries again.
    pub paused_until: u64,
}

impl Renewal {
    /// Claims the renewal: true for one caller until it is over, and for none while the pause
    /// after a failed one lasts. The pause ends early when an upstream that had been silent was
    /// heard after the failed question was asked.
    pub fn claim(&mut self, now: Now, health: &RouteHealth) -> bool {
        let is_paused = now.millis() < self.paused_until;
        if is_paused && !health.recovered_since(Now::from_millis(self.failed_since)) {
            return false;
        }
        let is_free = self.under_way_until <= now.millis();
        if is_free {
            self.under_way_until = now.plus_millis(RENEWAL_MILLIS).millis();
        }
        is_free
    }

    /// Notes that a question asked at `asked` has failed at `now`.
    pub fn failed(&mut self, failure: Failure, asked: Now, now: Now) {
        let pause_millis = match failure {
            Failure::Silent => SILENT_RETRY_MILLIS,
            Failure::Answered(_) | Failure::Broken | Failure::Overloaded | Failure::Exhausted => {
                ANSWERED_RETRY_MILLIS
            }
        };
        self.pause(asked, now.plus_millis(pause_millis));
        self.under_way_until = 0;
    }

    /// Notes that a question asked at `asked` keeps a client waiting for longer than the client's
    /// timer, so that others need not wait as well. It stays under way.
    pub fn keeps_waiting(&mut self, asked: Now, now: Now) {
        if !self.has_failed() {
            self.pause(asked, now.plus_millis(SILENT_RETRY_MILLIS));
            self.under_way_until = now.plus_millis(RENEWAL_MILLIS).millis();
        }
    }

    /// Whether the last one failed: then an expired answer is served without keeping clients
    /// waiting for another.
    pub fn has_failed(&self) -> bool {
        self.paused_until > 0
    }

    fn pause(&mut self, since: Now, until: Now) {
        self.failed_since = since.millis();
        self.paused_until = until.millis();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Now = Now::from_millis(100_000);

    fn claims(renewal: &mut Renewal, after_millis: u64) -> bool {
        renewal.claim(START.plus_millis(after_millis), &RouteHealth::default())
    }

    #[test]
    fn one_caller_gets_it_until_it_must_be_over() {
        let mut renewal = Renewal::default();
        assert_eq!(
            [0, 1, 4_999, 5_000].map(|at| claims(&mut renewal, at)),
            [true, false, false, true]
        );
    }

    #[test]
    fn silence_pauses_it_for_half_a_minute() {
        let mut renewal = Renewal::default();
        assert!(claims(&mut renewal, 0));
        renewal.failed(Failure::Silent, START, START.plus_millis(4_800));
        assert!(renewal.has_failed());
        assert_eq!(
            [4_801, 34_799, 34_800].map(|at| claims(&mut renewal, at)),
            [false, false, true]
        );
    }

    #[test]
    fn a_failure_that_was_answered_pauses_it_briefly() {
        let mut renewal = Renewal::default();
        renewal.failed(Failure::Answered(2), START, START);
        assert_eq!([0, 1_499, 1_500].map(|at| claims(&mut renewal, at)), [false, false, true]);
    }

    #[test]
    fn a_recovery_seen_while_the_question_waited_ends_the_pause() {
        let (mut renewal, health) = (Renewal::default(), RouteHealth::default());
        health.recovered(START);
        renewal.failed(Failure::Silent, START, START.plus_millis(4_800));
        assert!(!renewal.claim(START.plus_millis(5_000), &health), "it came back before");
        health.recovered(START.plus_millis(4_000));
        assert!(renewal.claim(START.plus_millis(5_000), &health));
    }

    #[test]
    fn a_long_wait_counts_as_a_failure_under_way() {
        let mut renewal = Renewal::default();
        renewal.keeps_waiting(START, START.plus_millis(1_800));
        assert!(renewal.has_failed());
        assert!(!claims(&mut renewal, 6_000));
    }
}
