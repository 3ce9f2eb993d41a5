//! In which order the upstreams of a route are asked.

use rand::seq::SliceRandom;
use rand::{Rng, RngExt};

use crate::config::Policy;

/// The order for one question, as indexes into `healthy`: those that are healthy as `policy`
/// says, then the others in the same manner, as a last resort. `turn` counts questions.
pub fn order(policy: Policy, turn: usize, healthy: &[bool], random: &mut impl Rng) -> Vec<usize> {
    let (mut first, mut last): (Vec<_>, Vec<_>) =
        (0..healthy.len()).partition(|&index| healthy[index]);
    for part in [&mut first, &mut last] {
        match policy {
            Policy::Random => part.shuffle(random),
            Policy::RoundRobin if !part.is_empty() => {
                let start = turn % part.len();
                part.rotate_left(start);
            }
            Policy::RoundRobin | Policy::Sequential => {}
        }
    }
    first.append(&mut last);
    first
}

/// How much slower than another an upstream may be, in microseconds, before it is asked less:
/// twice, and by this much more.
const MARGIN_US: u32 = 2_000;
/// One question in so many still goes to the slower one first, which shows when it is quick again.
const TRIAL_ONE_IN: u32 = 16;

/// Of the two that come first in `order`, lets the quicker one be asked if the other is much
/// slower. `latency_us` is what an upstream took lately, 0 if that is not known.
///
/// Comparing two at random keeps every upstream in use that is about as quick as the others, and
/// needs no view of all of them (the power of two choices).
pub fn prefer_quick(order: &mut [usize], latency_us: impl Fn(usize) -> u32, random: &mut impl Rng) {
    let [first, second, ..] = order else { return };
    let bound = latency_us(*second).saturating_mul(2).saturating_add(MARGIN_US);
    if latency_us(*first) > bound && !random.random_ratio(1, TRIAL_ONE_IN) {
        std::mem::swap(first, second);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn check(policy: Policy, turn: usize, healthy: &[bool], expected: &[usize]) {
        assert_eq!(order(policy, turn, healthy, &mut StdRng::seed_from_u64(1)), expected);
    }

    #[test]
    fn sequential_keeps_the_written_order_with_the_unhealthy_last() {
        check(Policy::Sequential, 5, &[true, true, true], &[0, 1, 2]);
        check(Policy::Sequential, 5, &[false, true, false], &[1, 0, 2]);
        check(Policy::Sequential, 0, &[], &[]);
    }

    #[test]
    fn round_robin_starts_one_further_each_time_among_the_healthy() {
        check(Policy::RoundRobin, 0, &[true, true, true], &[0, 1, 2]);
        check(Policy::RoundRobin, 1, &[true, true, true], &[1, 2, 0]);
        check(Policy::RoundRobin, 3, &[true, true, true], &[0, 1, 2]);
        check(Policy::RoundRobin, 1, &[true, false, true], &[2, 0, 1]);
        check(Policy::RoundRobin, 1, &[false, false], &[1, 0]);
    }

    #[test]
    fn random_uses_every_order_of_the_healthy_and_never_puts_an_unhealthy_one_first() {
        let mut random = StdRng::seed_from_u64(1);
        let orders: HashSet<_> = (0..200)
            .map(|turn| order(Policy::Random, turn, &[true, true, false, true], &mut random))
            .collect();
        assert_eq!(orders.len(), 6);
        assert!(orders.iter().all(|order| order[3] == 2));
    }

    /// How often index 0 stays first in 1,600 orders that begin with it.
    fn first_of(latencies_us: [u32; 2]) -> usize {
        let mut random = StdRng::seed_from_u64(1);
        let mut stays = || {
            let mut order = [0, 1];
            prefer_quick(&mut order, |index| latencies_us[index], &mut random);
            order[0] == 0
        };
        (0..1_600).filter(|_| stays()).count()
    }

    #[test]
    fn an_upstream_much_slower_than_another_is_asked_now_and_then() {
        let tried = first_of([100_000, 1_000]);
        assert!((50..200).contains(&tried), "{tried}");
    }

    #[test]
    fn one_that_is_about_as_quick_or_unknown_keeps_its_turn() {
        for latencies in [[1_000, 100_000], [3_900, 1_000], [0, 0], [0, 5_000], [50_000, 40_000]] {
            assert_eq!(first_of(latencies), 1_600, "{latencies:?}");
        }
    }

    #[test]
    fn nobody_to_compare_with_changes_nothing() {
        let mut random = StdRng::seed_from_u64(1);
        for mut order in [vec![], vec![0]] {
            let before = order.clone();
            prefer_quick(&mut order, |_| 9_000_000, &mut random);
            assert_eq!(order, before);
        }
    }
}
