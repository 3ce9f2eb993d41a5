//! What generators draw: gaps between arrivals, lives, the hour of the day.

use std::f64::consts::TAU;

use rand::{Rng, RngExt as _};
use rand_distr::{Distribution as _, Exp1};

const DAY_MS: u64 = 86_400_000;

/// The time to the next of things that happen at random so often an hour, milliseconds, at
/// most a time past every trace's end.
pub(super) fn gap_ms(per_hour: f64, rng: &mut impl Rng) -> u64 {
    let gap: f64 = Exp1.sample(rng);
    if per_hour <= 0.0 {
        return crate::trace::TIME_MAX_MS + 1;
    }
    ((gap * 3_600_000.0 / per_hour).round() as u64).min(crate::trace::TIME_MAX_MS + 1)
}

/// A life around that mean: from half of it to one and a half, milliseconds.
pub(super) fn around_ms(mean_ms: u64, rng: &mut impl Rng) -> u64 {
    rng.random_range(mean_ms / 2..=mean_ms + mean_ms / 2)
}

/// A life with that mean that may be much longer, as runs of programs are, milliseconds; never
/// under a tenth of the mean.
pub(super) fn life_ms(mean_ms: u64, rng: &mut impl Rng) -> u64 {
    let part: f64 = Exp1.sample(rng);
    (mean_ms as f64 * (0.1 + 0.9 * part)).round() as u64
}

/// How busy it is at that time, from `night` at midnight, where traces begin, to 1 at noon.
pub(super) fn busyness(at_ms: u64, night: f64) -> f64 {
    let part_of_day = (at_ms % DAY_MS) as f64 / DAY_MS as f64;
    (night + (1.0 - night) * (1.0 - (part_of_day * TAU).cos()) / 2.0).clamp(0.0, 1.0)
}
