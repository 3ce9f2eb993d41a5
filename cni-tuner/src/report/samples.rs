//! Comparisons made by hand, for the tests of this part.

use super::{Comparison, Run, Scene};
use crate::model::ec2::Action;
use crate::model::outcome::{LatePod, NodeTally, Outcome, Point, SubnetTally, Tally, Waits};
use crate::model::settings::Settings;

/// A run in a few numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    pub label: &'static str,
    pub warm_ip: u32,
    pub idle_hours: u128,
    pub failed_adds: u64,
    pub pods_failed: u64,
    pub pods_never: u64,
    pub wait_ms: u64,
    pub throttled: u64,
}

impl Sample {
    pub(super) const NONE: Sample = Sample {
        label: "",
        warm_ip: 0,
        idle_hours: 0,
        failed_adds: 0,
        pods_failed: 0,
        pods_never: 0,
        wait_ms: 0,
        throttled: 0,
    };

    fn outcome(self) -> Outcome {
        let used_address_ms = 100 * HOUR_MS;
        let tally = Tally {
            held_address_ms: used_address_ms + self.idle_hours * HOUR_MS,
            used_address_ms,
            held_max: 116,
            used_max: 100,
            enis_max: 4,
            pods: 100,
            waits: Waits::of(vec![0, self.wait_ms]),
            pods_never: self.pods_never,
            failed_adds: self.failed_adds,
            pods_failed: self.pods_failed,
            calls: [(Action::AssignPrivateIpAddresses, 40), (Action::DescribeSubnets, 4)].into(),
            throttled: [(Action::AssignPrivateIpAddresses, self.throttled)].into(),
            eni_attaches: 3,
            ..Tally::default()
        };
        Outcome {
            duration_ms: DAY_MS,
            events: 1_000,
            nodes: vec![NodeTally {
                name: HOSTILE.to_owned(),
                group: "group, \"a\"".to_owned(),
                instance_type: "m5.4xlarge",
                tally: tally.clone(),
            }],
            fleet: tally,
            subnets: vec![SubnetTally {
                name: "subnet-0".to_owned(),
                capacity: 4_091,
                free_min: 3_900,
                free_prefixes_min: 240,
                free_end: 3_950,
            }],
            series: (0..=288).map(|step| self.point(step * 300_000)).collect(),
            worst: vec![LatePod {
                pod: HOSTILE.to_owned(),
                node: "node".to_owned(),
                at_ms: BURST_AT_MS,
                wait_ms: Some(self.wait_ms),
                failed_adds: 3,
            }],
        }
    }

    fn point(self, at_ms: u64) -> Point {
        let used = if (BURST_AT_MS..BURST_AT_MS * 2).contains(&at_ms) { 100 } else { 2 };
        let waiting = if at_ms == BURST_AT_MS { self.pods_failed as u32 } else { 0 };
        Point {
            at_ms,
            nodes: 1,
            held: used + self.idle_hours as u32 / 24,
            used,
            waiting,
            subnet_free: 3_900,
            calls: u32::from(waiting > 0),
            throttled: 0,
            failed_adds: waiting,
            wait_max_ms: 0,
        }
    }
}

/// A comparison of one node's day.
pub(super) fn comparison(samples: &[Sample]) -> Comparison {
    let run = |sample: &Sample| Run {
        label: sample.label.to_owned(),
        assignment: Settings { warm_ip: sample.warm_ip, ..Settings::default() }.into(),
        note: None,
        outcome: sample.outcome(),
    };
    Comparison {
        scene: Scene {
            trace: HOSTILE.to_owned(),
            nodes: 1,
            pods: 100,
            groups: vec!["group, \"a\"".to_owned()],
            instance_types: vec!["m5.4xlarge"],
            duration_ms: DAY_MS,
            seed: 1,
            subnets: vec!["subnet-0 /20".to_owned()],
            kubelet_retry_ms: 12_000,
            series_step_ms: 300_000,
            burst_ms: Some(BURST_AT_MS),
        },
        runs: samples.iter().map(run).collect(),
    }
}

/// Three settings: one that wastes, one that starves, one between them.
pub(super) fn three() -> Comparison {
    comparison(&[
        Sample { label: "default", idle_hours: 1_000, ..Sample::NONE },
        Sample {
            label: "W=1",
            warm_ip: 1,
            idle_hours: 24,
            failed_adds: 300,
            pods_failed: 93,
            wait_ms: 500_000,
            throttled: 5,
            ..Sample::NONE
        },
        Sample { label: HOSTILE, warm_ip: 5, idle_hours: 400, ..Sample::NONE },
    ])
}

/// A name that no page, table or file may take for its own.
pub(super) const HOSTILE: &str = "<script>alert(1)</script>,\"q\"\n\u{1b}[31m]]>&amp;";

const HOUR_MS: u128 = 3_600_000;
const DAY_MS: u64 = 86_400_000;
const BURST_AT_MS: u64 = 32_400_000;
