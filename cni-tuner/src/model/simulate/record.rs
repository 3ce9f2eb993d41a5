//! The fleet as a whole: what it holds now, how it went over time, and the outcome.

use std::collections::BTreeMap;

use super::START_MS;
use super::node::Node;
use crate::model::outcome::{LatePod, NodeTally, Outcome, Point, SubnetTally, Tally, Waits};
use crate::model::subnet::Subnet;
use crate::model::world::World;
use crate::trace::Trace;

/// Late pods that are named.
const LATE_PODS_MAX: usize = 20;

/// What is written down while a run goes on.
pub(super) struct Record {
    pub(super) events: u64,
    /// The point that is being filled; its counts start at 0 again after it is put down.
    pub(super) point: Point,
    pub(super) enis: u32,
    held_max: u32,
    used_max: u32,
    enis_max: u32,
    series: Vec<Point>,
    step_ms: u64,
    late: Vec<LatePod>,
    free_min: Vec<u32>,
    free_prefixes_min: Vec<u32>,
}

impl Record {
    pub(super) fn new(world: &World, subnets: &[Subnet]) -> Record {
        Record {
            events: 0,
            point: Point { at_ms: START_MS, ..Point::default() },
            enis: 0,
            held_max: 0,
            used_max: 0,
            enis_max: 0,
            series: Vec::new(),
            step_ms: world.series_step_ms.max(1),
            late: Vec::new(),
            free_min: subnets.iter().map(Subnet::free).collect(),
            free_prefixes_min: subnets.iter().map(Subnet::free_prefixes).collect(),
        }
    }

    /// Puts down the points that lie before a moment, at which something will happen.
    pub(super) fn pass_time(&mut self, at_ms: u64, subnets: &[Subnet]) {
        while self.point.at_ms < at_ms {
            self.put_point(subnets);
        }
    }

    /// Puts down the last point, at the end.
    pub(super) fn end_time(&mut self, end_ms: u64, subnets: &[Subnet]) {
        self.point.at_ms = end_ms;
        self.put_point(subnets);
    }

    fn put_point(&mut self, subnets: &[Subnet]) {
        self.point.subnet_free = subnets.iter().map(Subnet::free).sum();
        self.series.push(Point { at_ms: self.point.at_ms - START_MS, ..self.point });
        self.point.at_ms += self.step_ms;
        self.point.calls = 0;
        self.point.throttled = 0;
        self.point.failed_adds = 0;
        self.point.wait_max_ms = 0;
    }

    /// The most there was, after something grew.
    pub(super) fn note_most(&mut self) {
        self.held_max = self.held_max.max(self.point.held);
        self.used_max = self.used_max.max(self.point.used);
        self.enis_max = self.enis_max.max(self.enis);
    }

    /// The least there was, after something was taken from a subnet.
    pub(super) fn note_least(&mut self, at: usize, subnet: &Subnet) {
        self.free_min[at] = self.free_min[at].min(subnet.free());
        self.free_prefixes_min[at] = self.free_prefixes_min[at].min(subnet.free_prefixes());
    }

    /// Names a pod that was late, if it is among the latest.
    pub(super) fn note_late(&mut self, late: LatePod) {
        let lateness = |pod: &LatePod| pod.wait_ms.unwrap_or(u64::MAX);
        let at = self.late.partition_point(|other| lateness(other) >= lateness(&late));
        if at < LATE_PODS_MAX {
            self.late.insert(at, late);
            self.late.truncate(LATE_PODS_MAX);
        }
    }

    pub(super) fn into_outcome(
        self,
        trace: &Trace,
        world: &World,
        mut nodes: Vec<Node>,
        subnets: &[Subnet],
    ) -> Outcome {
        let fleet = self.fleet(&nodes);
        let tallies = trace.nodes.iter().zip(&mut nodes).map(|(traced, node)| NodeTally {
            name: traced.name.clone(),
            group: traced.group.clone(),
            instance_type: traced.instance_type.name,
            tally: std::mem::take(&mut node.tally).with_waits(std::mem::take(&mut node.waits_ms)),
        });
        Outcome {
            duration_ms: trace.end_ms,
            events: self.events,
            fleet,
            nodes: tallies.collect(),
            subnets: self.subnets(world, subnets),
            series: self.series,
            worst: self.late,
        }
    }

    fn fleet(&self, nodes: &[Node]) -> Tally {
        let mut fleet = Tally::default();
        nodes.iter().for_each(|node| fleet.add(&node.tally));
        fleet.held_max = self.held_max;
        fleet.used_max = self.used_max;
        fleet.enis_max = self.enis_max;
        fleet.with_waits(nodes.iter().flat_map(|node| node.waits_ms.iter().copied()).collect())
    }

    fn subnets(&self, world: &World, subnets: &[Subnet]) -> Vec<SubnetTally> {
        let tally = |at: usize| SubnetTally {
            name: world.subnets[at].name.clone(),
            capacity: world.subnets[at].capacity(),
            free_min: self.free_min[at],
            free_prefixes_min: self.free_prefixes_min[at],
            free_end: subnets[at].free(),
        };
        (0..subnets.len()).map(tally).collect()
    }
}

impl Tally {
    fn with_waits(self, waits_ms: Vec<u64>) -> Tally {
        Tally { waits: Waits::of(waits_ms), ..self }
    }

    /// Adds the sums of another; what is a maximum or a percentile cannot be added.
    fn add(&mut self, other: &Tally) {
        self.held_address_ms += other.held_address_ms;
        self.used_address_ms += other.used_address_ms;
        self.primary_address_ms += other.primary_address_ms;
        self.pods += other.pods;
        self.pods_never += other.pods_never;
        self.failed_adds += other.failed_adds;
        self.pods_failed += other.pods_failed;
        self.insufficient += other.insufficient;
        self.eni_attaches += other.eni_attaches;
        self.eni_detaches += other.eni_detaches;
        self.enis_leaked += other.enis_leaked;
        self.failed_starts += other.failed_starts;
        add_counts(&mut self.calls, &other.calls);
        add_counts(&mut self.throttled, &other.throttled);
    }
}

fn add_counts<K: Copy + Ord>(sums: &mut BTreeMap<K, u64>, counts: &BTreeMap<K, u64>) {
    for (key, count) in counts {
        *sums.entry(*key).or_default() += count;
    }
}
