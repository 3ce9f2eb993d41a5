//! Where values stand on an axis, and where its ticks are.

use crate::report::figures::wait;
use crate::words::grouped;

/// An axis: values from one to another, and the pixels of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scale {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) start: i32,
    pub(super) end: i32,
}

impl Scale {
    /// The pixel of a value; those beyond the axis stand at its end.
    pub(super) fn at(&self, value: u64) -> i32 {
        let span = u128::from(self.to.saturating_sub(self.from).max(1));
        let offset = u128::from(value.clamp(self.from, self.to.max(self.from)) - self.from);
        let pixels = u128::from(self.start.abs_diff(self.end));
        let moved = i32::try_from((offset * pixels + span / 2) / span).unwrap_or(0);
        if self.end >= self.start { self.start + moved } else { self.start - moved }
    }
}

/// A value that is written at an axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tick {
    pub(super) value: u64,
    pub(super) label: String,
}

/// At most six ticks from 0 to the first at or above the largest value.
pub(super) fn count_ticks(largest: u64) -> Vec<Tick> {
    let step = decimal_step(largest.max(1));
    let tick = |value: u64| Tick { value, label: grouped(value) };
    (0..=largest.max(1).div_ceil(step)).map(|at| tick(at * step)).collect()
}

/// The least of 1, 2, 5, 10, 20... that reaches a value in five steps.
fn decimal_step(largest: u64) -> u64 {
    let mut power: u64 = 1;
    loop {
        for factor in [1, 2, 5] {
            let step = power.saturating_mul(factor);
            if step.saturating_mul(5) >= largest {
                return step;
            }
        }
        power = power.saturating_mul(10);
    }
}

/// Ticks from 0 to the first at or above the longest wait, as waits are written.
pub(super) fn wait_ticks(longest_ms: u64) -> Vec<Tick> {
    let longest_ms = longest_ms.max(1_000);
    let step = time_step(longest_ms, 6);
    let label = |ms: u64| match ms {
        0 => "0".to_owned(),
        ms if ms >= 60_000 && ms.is_multiple_of(60_000) && step >= 60_000 && ms < 3_600_000 => {
            format!("{} m", ms / 60_000)
        }
        ms if ms < 60_000 => format!("{} s", ms / 1_000),
        ms => wait(ms),
    };
    let tick = |value: u64| Tick { value, label: label(value) };
    (0..=longest_ms.div_ceil(step)).map(|at| tick(at * step)).collect()
}

/// Ticks on round times between two moments of a trace.
pub(super) fn clock_ticks(from_ms: u64, to_ms: u64, ticks_max: u64) -> Vec<Tick> {
    let step = time_step(to_ms.saturating_sub(from_ms).max(1), ticks_max);
    let label = |ms: u64| match step {
        0..60_000 => format!("{}:{:02}:{:02}", ms / HOUR_MS, ms / 60_000 % 60, ms / 1_000 % 60),
        60_000..HOUR_MS => format!("{}:{:02}", ms / HOUR_MS, ms / 60_000 % 60),
        _ => format!("{} h", grouped(ms / HOUR_MS)),
    };
    (from_ms.div_ceil(step)..=to_ms / step)
        .map(|at| Tick { value: at * step, label: label(at * step) })
        .collect()
}

/// The least round time that is reached at most so often in a span.
pub(super) fn time_step(span_ms: u64, times_max: u64) -> u64 {
    let fits = |step: &u64| span_ms / step <= times_max;
    STEPS_MS.into_iter().find(fits).unwrap_or_else(|| {
        let weeks = span_ms.div_ceil(WEEK_MS * times_max.max(1)).max(1);
        weeks * WEEK_MS
    })
}

const HOUR_MS: u64 = 3_600_000;
const WEEK_MS: u64 = 168 * HOUR_MS;
const STEPS_MS: [u64; 19] = [
    1_000,
    2_000,
    5_000,
    10_000,
    30_000,
    60_000,
    120_000,
    300_000,
    600_000,
    900_000,
    1_800_000,
    HOUR_MS,
    2 * HOUR_MS,
    3 * HOUR_MS,
    6 * HOUR_MS,
    12 * HOUR_MS,
    24 * HOUR_MS,
    48 * HOUR_MS,
    WEEK_MS,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn check(ticks: Vec<Tick>, expected: &[&str]) {
        let labels: Vec<&str> = ticks.iter().map(|tick| tick.label.as_str()).collect();
        assert_eq!(labels, expected);
    }

    #[test]
    fn counts_have_round_ticks() {
        check(count_ticks(0), &["0", "1"]);
        check(count_ticks(7), &["0", "2", "4", "6", "8"]);
        check(count_ticks(116), &["0", "50", "100", "150"]);
        check(count_ticks(4_999), &["0", "1,000", "2,000", "3,000", "4,000", "5,000"]);
        assert!(count_ticks(u64::MAX / 2).len() <= 7);
    }

    #[test]
    fn times_of_a_day_are_hours() {
        let labels = ["0 h", "3 h", "6 h", "9 h", "12 h", "15 h", "18 h", "21 h", "24 h"];
        check(clock_ticks(0, 24 * HOUR_MS, 8), &labels);
    }

    #[test]
    fn times_around_a_burst_are_minutes() {
        let from_ms = 9 * HOUR_MS - 120_000;
        check(
            clock_ticks(from_ms, from_ms + 600_000, 5),
            &["8:58", "9:00", "9:02", "9:04", "9:06", "9:08"],
        );
        check(clock_ticks(0, 3_000, 5), &["0:00:00", "0:00:01", "0:00:02", "0:00:03"]);
    }

    #[test]
    fn waits_are_seconds_or_minutes() {
        check(wait_ticks(0), &["0", "1 s"]);
        check(wait_ticks(500_000), &["0", "2 m", "4 m", "6 m", "8 m", "10 m"]);
        check(wait_ticks(24_000), &["0", "5 s", "10 s", "15 s", "20 s", "25 s"]);
    }

    #[test]
    fn years_have_ticks_too() {
        assert!(clock_ticks(0, 10 * 8_760 * HOUR_MS, 8).len() <= 9);
    }

    #[test]
    fn values_stand_between_the_ends() {
        let scale = Scale { from: 0, to: 10, start: 200, end: 100 };
        let cases = [(0, 200), (5, 150), (10, 100), (11, 100)];
        for (value, pixel) in cases {
            assert_eq!(scale.at(value), pixel);
        }
        assert_eq!(Scale { from: 3, to: 3, start: 0, end: 9 }.at(3), 0);
        assert_eq!(Scale { from: 0, to: u64::MAX, start: 0, end: 9 }.at(u64::MAX), 9);
    }
}
