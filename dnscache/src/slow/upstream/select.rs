//! In which order the upstreams of a route are asked.

use rand::Rng;
use rand::seq::SliceRandom;

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
}
