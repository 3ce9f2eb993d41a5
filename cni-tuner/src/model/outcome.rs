//! What a simulation found.

use std::collections::BTreeMap;

use crate::model::ec2::Action;

/// The result of one simulation: the fleet, its nodes, and how it went over time. Sums are whole
/// numbers, so that the same run gives the same bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Virtual time from the trace's start to its end, milliseconds.
    pub duration_ms: u64,
    /// Events the simulator handled.
    pub events: u64,
    /// All nodes together.
    pub fleet: Tally,
    /// Every node in the order of the trace.
    pub nodes: Vec<NodeTally>,
    /// Subnets and how little was left in each.
    pub subnets: Vec<SubnetTally>,
    /// The fleet at every [`series_step_ms`](crate::model::world::World::series_step_ms), the last
    /// point at the end of the trace.
    pub series: Vec<Point>,
    /// Pods whose address came too late or never, first ones first; at most 20.
    pub worst: Vec<LatePod>,
}

/// Addresses, pods and calls, of a node or of all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Pod addresses held (assigned to pods, idle or cooling), in address-milliseconds. ENIs' own
    /// primary addresses are not among them.
    pub held_address_ms: u128,
    /// Pod addresses in use by pods, in address-milliseconds.
    pub used_address_ms: u128,
    /// The ENIs' own primary addresses, in address-milliseconds.
    pub primary_address_ms: u128,
    /// The most pod addresses held at once.
    pub held_max: u32,
    /// The most pod addresses in use at once.
    pub used_max: u32,
    /// The most ENIs attached at once.
    pub enis_max: u32,
    /// Pods that wanted an address of their own (not on the host's network).
    pub pods: u64,
    /// What those that got an address waited for it.
    pub waits: Waits,
    /// Pods that never got one: deleted, or the node or the trace ended first.
    pub pods_never: u64,
    /// ADDs answered with "failed to assign an IP address to container".
    pub failed_adds: u64,
    /// Pods that met such a failure at least once.
    pub pods_failed: u64,
    /// Calls that reached EC2, throttled ones among them, tries of the SDK counted one by one.
    pub calls: BTreeMap<Action, u64>,
    /// Those of them that were throttled (RequestLimitExceeded).
    pub throttled: BTreeMap<Action, u64>,
    /// Calls that ended with "insufficient" addresses or prefixes in the subnet.
    pub insufficient: u64,
    /// ENIs attached after a node's start, its primary one not counted.
    pub eni_attaches: u64,
    /// ENIs freed.
    pub eni_detaches: u64,
    /// ENIs left behind unattached, because their node ended between two calls.
    pub enis_leaked: u64,
    /// Starts of aws-node that failed and were tried again.
    pub failed_starts: u64,
}

impl Tally {
    /// Held and not in use, in address-milliseconds.
    pub fn idle_address_ms(&self) -> u128 {
        self.held_address_ms - self.used_address_ms
    }

    /// Calls of all actions.
    pub fn calls_total(&self) -> u64 {
        self.calls.values().sum()
    }

    /// Throttled calls of all actions.
    pub fn throttled_total(&self) -> u64 {
        self.throttled.values().sum()
    }
}

/// How long pods waited for an address, from the moment kubelet was to start them, milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Waits {
    /// Pods counted.
    pub count: u64,
    /// The median.
    pub p50_ms: u64,
    /// 95 of 100 waited no longer.
    pub p95_ms: u64,
    /// 99 of 100 waited no longer.
    pub p99_ms: u64,
    /// The longest.
    pub max_ms: u64,
}

impl Waits {
    /// Of waits in any order; nearest-rank percentiles.
    pub fn of(mut waits_ms: Vec<u64>) -> Waits {
        waits_ms.sort_unstable();
        let rank = |percent: usize| {
            let rank = (waits_ms.len() * percent).div_ceil(100);
            waits_ms.get(rank.saturating_sub(1)).copied().unwrap_or(0)
        };
        Waits {
            count: waits_ms.len() as u64,
            p50_ms: rank(50),
            p95_ms: rank(95),
            p99_ms: rank(99),
            max_ms: rank(100),
        }
    }
}

/// One node's share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeTally {
    /// The node's name in the trace.
    pub name: String,
    /// Its node group.
    pub group: String,
    /// Its instance type.
    pub instance_type: &'static str,
    /// What it held and did.
    pub tally: Tally,
}

/// One subnet's share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubnetTally {
    /// Its name.
    pub name: String,
    /// Addresses it can give.
    pub capacity: u32,
    /// The fewest free addresses there ever were.
    pub free_min: u32,
    /// The fewest wholly free /28 there ever were.
    pub free_prefixes_min: u32,
    /// Free addresses at the end.
    pub free_end: u32,
}

/// The fleet at one moment; counts are since the point before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Point {
    /// When.
    pub at_ms: u64,
    /// Nodes that are up.
    pub nodes: u32,
    /// Pod addresses held.
    pub held: u32,
    /// Pod addresses in use.
    pub used: u32,
    /// Pods that wait for an address.
    pub waiting: u32,
    /// Free addresses in all subnets.
    pub subnet_free: u32,
    /// EC2 calls.
    pub calls: u32,
    /// EC2 calls that were throttled.
    pub throttled: u32,
    /// Failed ADDs.
    pub failed_adds: u32,
    /// The longest wait of a pod that got its address, milliseconds.
    pub wait_max_ms: u64,
}

/// A pod that waited longest, or for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LatePod {
    /// Its name in the trace.
    pub pod: String,
    /// The node's name.
    pub node: String,
    /// When kubelet was to start it.
    pub at_ms: u64,
    /// How long it waited; none: it never got an address.
    pub wait_ms: Option<u64>,
    /// How often its ADD failed.
    pub failed_adds: u32,
}
