//! The Pareto front: settings that no other beats on every count.

use crate::plan::goal::Score;
use crate::plan::recommend::Trial;

/// The trials that none of the others beats, the fewest idle addresses first. The counts are idle
/// addresses, the 99th percentile of waits, pods that failed (ADDs, or never served), EC2 calls. Of
/// trials equal in all of them only the first stays.
pub fn front(trials: &[Trial]) -> Vec<Trial> {
    let mut kept: Vec<Trial> = Vec::new();
    for (at, trial) in trials.iter().enumerate() {
        let is_beaten = trials.iter().enumerate().any(|(other_at, other)| {
            let same = counts(&other.score) == counts(&trial.score);
            beats(&other.score, &trial.score) || (same && other_at < at)
        });
        if !is_beaten {
            kept.push(trial.clone());
        }
    }
    kept.sort_by(|a, b| (counts(&a.score), &a.settings).cmp(&(counts(&b.score), &b.settings)));
    kept
}

/// At most `most` (two or more) of a front, evenly along it, with both ends.
pub fn thin(front: &[Trial], most: usize) -> Vec<Trial> {
    if front.len() <= most {
        return front.to_vec();
    }
    (0..most).map(|at| front[at * (front.len() - 1) / (most - 1)].clone()).collect()
}

fn counts(score: &Score) -> [u128; 4] {
    [
        score.idle_address_ms,
        score.wait_p99_ms.into(),
        (score.failed_adds + score.pods_never).into(),
        score.calls.into(),
    ]
}

fn beats(one: &Score, other: &Score) -> bool {
    let (one, other) = (counts(one), counts(other));
    one != other && one.iter().zip(other).all(|(one, other)| *one <= other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::settings::Settings;

    fn trial(warm_ip: u32, counts: [u64; 4]) -> Trial {
        let [idle, wait_p99_ms, failed_adds, calls] = counts;
        let idle_address_ms = idle.into();
        let score = Score { idle_address_ms, wait_p99_ms, failed_adds, calls, ..Score::default() };
        Trial { settings: Settings { warm_ip, ..Settings::default() }, score }
    }

    fn check(counts: &[[u64; 4]], expected: &[u32]) {
        let trials: Vec<Trial> = (1..).zip(counts).map(|(at, counts)| trial(at, *counts)).collect();
        let found: Vec<u32> = front(&trials).iter().map(|trial| trial.settings.warm_ip).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_beaten_on_every_count_is_left_out() {
        check(&[[10, 5, 0, 3], [11, 5, 0, 3]], &[1]);
        check(&[[11, 6, 1, 4], [10, 5, 0, 3]], &[2]);
    }

    #[test]
    fn what_is_best_on_one_count_stays() {
        check(&[[10, 5, 0, 3], [9, 50, 9, 30]], &[2, 1]);
        check(&[[10, 5, 0, 3], [10, 4, 0, 30], [12, 9, 0, 1]], &[2, 1, 3]);
    }

    #[test]
    fn of_equals_the_first_stays() {
        check(&[[10, 5, 0, 3], [10, 5, 0, 3]], &[1]);
    }

    #[test]
    fn nothing_has_no_front() {
        check(&[], &[]);
    }

    #[test]
    fn a_thinned_front_keeps_both_ends() {
        let trials: Vec<Trial> = (0..10).map(|at| trial(at + 1, [at.into(); 4])).collect();
        let thinned: Vec<u32> = thin(&trials, 3).iter().map(|one| one.settings.warm_ip).collect();
        assert_eq!(thinned, [1, 5, 10]);
    }
}
