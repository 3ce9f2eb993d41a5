//! What a plan must keep to, and whether a simulation did.

use std::fmt;

use crate::model::outcome::Outcome;
use crate::trace::Trace;

/// The limits a recommended setting keeps to. Besides them no ADD may fail, and no pod may
/// stay without an address because there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Goal {
    /// 99 of 100 pods wait no longer for their address, milliseconds.
    pub wait_p99_ms: u64,
    /// EC2 calls of the whole trace's fleet in its busiest hour, every try of the SDK counted; none:
    /// no limit.
    pub calls_per_hour: Option<u64>,
    /// Free addresses that always remain in every subnet.
    pub subnet_free: u32,
}

impl Default for Goal {
    /// Two seconds, any number of calls, subnets down to the last address.
    fn default() -> Goal {
        Goal { wait_p99_ms: 2_000, calls_per_hour: None, subnet_free: 0 }
    }
}

impl Goal {
    /// What a part of a trace must keep to: its share of the calls, by nodes. What remains in the
    /// subnets is not the part's alone and is left out.
    pub fn of_part(&self, part: &Trace, whole: &Trace) -> Goal {
        let (nodes, all) = (part.nodes.len() as u64, whole.nodes.len().max(1) as u64);
        let share = |calls: u64| calls.saturating_mul(nodes).div_ceil(all);
        let calls_per_hour = self.calls_per_hour.map(share);
        Goal { calls_per_hour, subnet_free: 0, ..self.clone() }
    }
}

/// What a setting costs and what it spares: of one simulation, or the worst of several.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Score {
    /// Addresses held and not in use, in address-milliseconds.
    pub idle_address_ms: u128,
    /// ADDs answered with "failed to assign an IP address to container".
    pub failed_adds: u64,
    /// Pods that met such a failure at least once.
    pub pods_failed: u64,
    /// Pods that never got an address.
    pub pods_never: u64,
    /// Starts of aws-node that failed and were tried again.
    pub failed_starts: u64,
    /// The median wait for an address, milliseconds.
    pub wait_p50_ms: u64,
    /// 99 of 100 pods waited no longer, milliseconds.
    pub wait_p99_ms: u64,
    /// The longest wait, milliseconds.
    pub wait_max_ms: u64,
    /// EC2 calls, every try of the SDK counted.
    pub calls: u64,
    /// EC2 calls in the busiest hour.
    pub calls_per_hour_max: u64,
    /// Calls that were throttled.
    pub throttled: u64,
    /// ENIs attached after a node's start.
    pub eni_attaches: u64,
    /// The fewest free addresses there ever were in any subnet.
    pub subnet_free_min: u32,
    /// The most pod addresses held at once, by all nodes.
    pub held_max: u32,
}

impl Score {
    /// Of one simulation.
    pub fn of(outcome: &Outcome) -> Score {
        let fleet = &outcome.fleet;
        Score {
            idle_address_ms: fleet.idle_address_ms(),
            failed_adds: fleet.failed_adds,
            pods_failed: fleet.pods_failed,
            pods_never: fleet.pods_never,
            failed_starts: fleet.failed_starts,
            wait_p50_ms: fleet.waits.p50_ms,
            wait_p99_ms: fleet.waits.p99_ms,
            wait_max_ms: fleet.waits.max_ms,
            calls: fleet.calls_total(),
            calls_per_hour_max: busiest_hour(outcome),
            throttled: fleet.throttled_total(),
            eni_attaches: fleet.eni_attaches,
            subnet_free_min: outcome.subnets.iter().map(|one| one.free_min).min().unwrap_or(0),
            held_max: fleet.held_max,
        }
    }

    /// The worse of two in each number by itself, so that it is as bad as either.
    pub fn worst(&self, other: &Score) -> Score {
        Score {
            idle_address_ms: self.idle_address_ms.max(other.idle_address_ms),
            failed_adds: self.failed_adds.max(other.failed_adds),
            pods_failed: self.pods_failed.max(other.pods_failed),
            pods_never: self.pods_never.max(other.pods_never),
            failed_starts: self.failed_starts.max(other.failed_starts),
            wait_p50_ms: self.wait_p50_ms.max(other.wait_p50_ms),
            wait_p99_ms: self.wait_p99_ms.max(other.wait_p99_ms),
            wait_max_ms: self.wait_max_ms.max(other.wait_max_ms),
            calls: self.calls.max(other.calls),
            calls_per_hour_max: self.calls_per_hour_max.max(other.calls_per_hour_max),
            throttled: self.throttled.max(other.throttled),
            eni_attaches: self.eni_attaches.max(other.eni_attaches),
            subnet_free_min: self.subnet_free_min.min(other.subnet_free_min),
            held_max: self.held_max.max(other.held_max),
        }
    }

    /// Which limits it breaks; none: it keeps to all of them.
    pub fn breaches(&self, goal: &Goal) -> Vec<Breach> {
        let adds = self.failed_adds > 0;
        let wait = self.wait_p99_ms > goal.wait_p99_ms;
        let budget = goal.calls_per_hour.filter(|budget| self.calls_per_hour_max > *budget);
        let free = self.subnet_free_min < goal.subnet_free;
        let (wait_p99_ms, subnet_free) = (goal.wait_p99_ms, goal.subnet_free);
        [
            adds.then_some(Breach::FailedAdds { count: self.failed_adds }),
            (self.pods_starved() > 0).then_some(Breach::NeverServed { pods: self.pods_never }),
            wait.then_some(Breach::Wait { p99_ms: self.wait_p99_ms, limit_ms: wait_p99_ms }),
            budget.map(|budget| Breach::Calls { per_hour: self.calls_per_hour_max, budget }),
            free.then_some(Breach::SubnetFree { free: self.subnet_free_min, limit: subnet_free }),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Pods that never got an address because there was none, or because aws-node did not start. A
    /// pod that ended before its turn came is no setting's fault.
    pub fn pods_starved(&self) -> u64 {
        if self.failed_adds + self.failed_starts > 0 { self.pods_never } else { 0 }
    }

    /// Whether it keeps to every limit.
    pub fn meets(&self, goal: &Goal) -> bool {
        self.breaches(goal).is_empty()
    }

    /// Orders settings by how far they are from keeping to the limits, and those that do by cost:
    /// idle addresses, then EC2 calls, then attaches. Smaller is better.
    pub fn rank(&self, goal: &Goal) -> Rank {
        let over_calls =
            goal.calls_per_hour.map_or(0, |budget| self.calls_per_hour_max.saturating_sub(budget));
        [
            u128::from(self.failed_adds + self.pods_starved()),
            u128::from(self.wait_p99_ms.saturating_sub(goal.wait_p99_ms)),
            u128::from(goal.subnet_free.saturating_sub(self.subnet_free_min)),
            u128::from(over_calls),
            self.idle_address_ms,
            u128::from(self.calls),
            u128::from(self.eni_attaches),
        ]
    }
}

/// What [`Score::rank`] compares, the weightiest first.
pub type Rank = [u128; 7];

/// The most calls in any hour: 60 minutes of neighbouring points of the series. A trace shorter
/// than that counts as a whole.
fn busiest_hour(outcome: &Outcome) -> u64 {
    const HOUR_MS: u64 = 3_600_000;
    let (mut most, mut within, mut first) = (0, 0, 0);
    for point in &outcome.series {
        within += u64::from(point.calls);
        while outcome.series[first].at_ms + HOUR_MS <= point.at_ms {
            within -= u64::from(outcome.series[first].calls);
            first += 1;
        }
        most = most.max(within);
    }
    most
}

/// A limit that is broken, and how far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Breach {
    /// ADDs failed.
    FailedAdds {
        /// How many.
        count: u64,
    },
    /// Pods never got an address.
    NeverServed {
        /// How many.
        pods: u64,
    },
    /// Pods waited too long.
    Wait {
        /// What 99 of 100 pods did not exceed.
        p99_ms: u64,
        /// What they had to keep to.
        limit_ms: u64,
    },
    /// Too many EC2 calls.
    Calls {
        /// In the busiest hour.
        per_hour: u64,
        /// What was allowed.
        budget: u64,
    },
    /// Too little was left in a subnet.
    SubnetFree {
        /// The fewest free addresses.
        free: u32,
        /// What had to remain.
        limit: u32,
    },
}

impl Breach {
    /// The limit's name in JSON.
    pub fn limit(&self) -> &'static str {
        match self {
            Breach::FailedAdds { .. } => "failed_adds",
            Breach::NeverServed { .. } => "pods_never",
            Breach::Wait { .. } => "wait_p99",
            Breach::Calls { .. } => "api_budget",
            Breach::SubnetFree { .. } => "subnet_free",
        }
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Breach::FailedAdds { count } => write!(out, "{count} failed ADDs (0 allowed)"),
            Breach::NeverServed { pods } => write!(out, "{pods} pods never got an address"),
            Breach::Wait { p99_ms, limit_ms } => {
                let (wait, limit) = (*p99_ms as f64 / 1e3, *limit_ms as f64 / 1e3);
                write!(out, "wait p99 {wait:.1} s (limit {limit:.1} s)")
            }
            Breach::Calls { per_hour, budget } => {
                write!(out, "{per_hour} EC2 calls in the busiest hour (budget {budget})")
            }
            Breach::SubnetFree { free, limit } => {
                write!(out, "a subnet down to {free} free addresses ({limit} must remain)")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::outcome::{Point, Tally};

    fn limits_broken(score: Score, goal: Goal) -> Vec<&'static str> {
        score.breaches(&goal).iter().map(Breach::limit).collect()
    }

    #[test]
    fn each_limit_is_broken_one_past_it_and_not_at_it() {
        let goal = Goal { wait_p99_ms: 100, calls_per_hour: Some(10), subnet_free: 5 };
        let at = Score {
            wait_p99_ms: 100,
            calls_per_hour_max: 10,
            subnet_free_min: 5,
            ..Score::default()
        };
        assert!(limits_broken(at.clone(), goal.clone()).is_empty());
        let past = [
            (Score { wait_p99_ms: 101, ..at.clone() }, "wait_p99"),
            (Score { calls_per_hour_max: 11, ..at.clone() }, "api_budget"),
            (Score { subnet_free_min: 4, ..at.clone() }, "subnet_free"),
            (Score { failed_adds: 1, ..at.clone() }, "failed_adds"),
            (Score { pods_never: 1, failed_starts: 1, ..at }, "pods_never"),
        ];
        for (score, limit) in past {
            assert_eq!(limits_broken(score, goal.clone()), [limit]);
        }
    }

    #[test]
    fn a_pod_that_ended_before_its_turn_breaks_no_limit() {
        let score = Score { pods_never: 1, ..Score::default() };
        assert!(score.meets(&Goal::default()));
    }

    #[test]
    fn a_failed_add_outweighs_any_saving() {
        let goal = Goal::default();
        let cheap = Score { failed_adds: 1, ..Score::default() };
        let dear = Score { idle_address_ms: u128::MAX, calls: u64::MAX, ..Score::default() };
        assert!(dear.rank(&goal) < cheap.rank(&goal));
    }

    #[test]
    fn fewer_calls_settle_a_tie_and_then_fewer_attaches() {
        let goal = Goal::default();
        let calls = |calls, eni_attaches| Score { calls, eni_attaches, ..Score::default() };
        assert!(calls(1, 9).rank(&goal) < calls(2, 0).rank(&goal));
        assert!(calls(1, 1).rank(&goal) < calls(1, 2).rank(&goal));
    }

    #[test]
    fn the_busiest_hour_is_found_across_the_clock_hour() {
        let point =
            |minute: u64, calls| Point { at_ms: minute * 60_000, calls, ..Point::default() };
        let outcome = Outcome {
            duration_ms: 7_200_000,
            events: 0,
            fleet: Tally::default(),
            nodes: Vec::new(),
            subnets: Vec::new(),
            series: vec![point(10, 4), point(50, 5), point(69, 6), point(70, 7), point(109, 1)],
            worst: Vec::new(),
        };
        // 50 to 109 is less than an hour apart, 10 to 70 is not.
        assert_eq!(busiest_hour(&outcome), 5 + 6 + 7 + 1);
    }

    #[test]
    fn the_worst_of_two_takes_the_smaller_rest_of_the_subnet() {
        let one = Score { calls: 1, subnet_free_min: 9, ..Score::default() };
        let other = Score { calls: 3, subnet_free_min: 12, ..Score::default() };
        let worst = one.worst(&other);
        assert_eq!((worst.calls, worst.subnet_free_min), (3, 9));
    }
}
