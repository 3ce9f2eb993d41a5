//! What a trace asks of its nodes, by arithmetic alone: pods at once, bursts, churn.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

use crate::trace::{Trace, What};

/// The spans a burst is measured over, milliseconds.
pub const BURST_SPANS_MS: [u64; 3] = [1_000, 10_000, 60_000];

/// The demand of all nodes together and of each kind of node.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Demand {
    /// All nodes.
    pub fleet: Profile,
    /// By node group.
    pub groups: BTreeMap<String, Profile>,
    /// By instance type.
    pub instance_types: BTreeMap<String, Profile>,
}

/// What the nodes of one kind are asked for. Only pods that need an address of their own count.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Profile {
    /// Nodes that were ever there.
    pub nodes: u32,
    /// The most nodes at once.
    pub nodes_at_once_max: u32,
    /// How long nodes were there, milliseconds, cut off at both ends of the trace.
    pub node_life_ms: Spread,
    /// Pods that were ever there.
    pub pods: u64,
    /// The most pods at once, on all nodes together.
    pub pods_at_once_max: u32,
    /// Pods at once on a node, over the time of all nodes.
    pub pods_on_node: Spread,
    /// The most pods at once on a node, over nodes.
    pub peak_on_node: Spread,
    /// The most pods added to a node within 1 s, over nodes.
    pub burst_1s: Spread,
    /// The same within 10 s.
    pub burst_10s: Spread,
    /// The same within 60 s.
    pub burst_60s: Spread,
    /// Addresses that a node's pods gave back less than a cooldown ago when a pod is added, the most
    /// of each node, over nodes.
    pub cooling: Spread,
    /// The most that such a node needs at once with them: pods and cooling addresses, over nodes.
    pub peak_with_cooling: Spread,
}

/// A distribution, nearest-rank.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Spread {
    /// The smallest.
    pub min: u64,
    /// Half are no greater.
    pub p50: u64,
    /// 90 of 100 are no greater.
    pub p90: u64,
    /// 99 of 100 are no greater.
    pub p99: u64,
    /// The greatest.
    pub max: u64,
}

impl Spread {
    /// Of values with the weight each has. Nothing at all gives zeroes.
    fn weighed(weights: &BTreeMap<u64, u128>) -> Spread {
        let total: u128 = weights.values().sum();
        let rank = |percent: u128| {
            let mut below = 0;
            let reached = weights.iter().find(|(_, weight)| {
                below += **weight;
                below * 100 >= total * percent
            });
            reached.map_or(0, |(value, _)| *value)
        };
        let min = weights.keys().next().copied().unwrap_or(0);
        let max = weights.keys().next_back().copied().unwrap_or(0);
        Spread { min, p50: rank(50), p90: rank(90), p99: rank(99), max }
    }

    fn of(values: impl Iterator<Item = u64>) -> Spread {
        let mut weights = BTreeMap::new();
        values.for_each(|value| *weights.entry(value).or_insert(0) += 1);
        Spread::weighed(&weights)
    }
}

impl Demand {
    /// Reads the demand off a trace; an address cools for `cooldown_ms` after its pod is gone.
    pub fn of(trace: &Trace, cooldown_ms: u64) -> Demand {
        let nodes = watch(trace, cooldown_ms);
        let profile = |keep: &dyn Fn(usize) -> bool| {
            let kept: Vec<bool> = (0..nodes.len()).map(keep).collect();
            Profile::of(trace, &nodes, &kept)
        };
        let mut groups: BTreeMap<String, Profile> = BTreeMap::new();
        let mut instance_types: BTreeMap<String, Profile> = BTreeMap::new();
        for node in &trace.nodes {
            groups.entry(node.group.clone()).or_default();
            instance_types.entry(node.instance_type.name.to_owned()).or_default();
        }
        for (group, slot) in &mut groups {
            *slot = profile(&|at| trace.nodes[at].group == *group);
        }
        for (name, slot) in &mut instance_types {
            *slot = profile(&|at| trace.nodes[at].instance_type.name == name);
        }
        Demand { fleet: profile(&|_| true), groups, instance_types }
    }
}

impl Profile {
    fn of(trace: &Trace, nodes: &[Watched], kept: &[bool]) -> Profile {
        let of_kept = || nodes.iter().zip(kept).filter(|(_, kept)| **kept).map(|(node, _)| node);
        let mut on_node: BTreeMap<u64, u128> = BTreeMap::new();
        for (pods, time_ms) in of_kept().flat_map(|node| &node.time_at) {
            *on_node.entry(u64::from(*pods)).or_insert(0) += u128::from(*time_ms);
        }
        let (nodes_at_once_max, pods_at_once_max) = at_once(trace, kept);
        Profile {
            nodes: of_kept().count() as u32,
            nodes_at_once_max,
            node_life_ms: Spread::of(of_kept().map(|node| node.life_ms)),
            pods: of_kept().map(|node| node.pods).sum(),
            pods_at_once_max,
            pods_on_node: Spread::weighed(&on_node),
            peak_on_node: Spread::of(of_kept().map(|node| u64::from(node.peak))),
            burst_1s: Spread::of(of_kept().map(|node| node.bursts[0].most)),
            burst_10s: Spread::of(of_kept().map(|node| node.bursts[1].most)),
            burst_60s: Spread::of(of_kept().map(|node| node.bursts[2].most)),
            cooling: Spread::of(of_kept().map(|node| node.cooling_max)),
            peak_with_cooling: Spread::of(of_kept().map(|node| node.peak_with_cooling)),
        }
    }
}

/// One node, watched from its join to its end.
#[derive(Debug, Clone, Default)]
struct Watched {
    joined_ms: Option<u64>,
    life_ms: u64,
    pods: u64,
    /// Pods that are there now, and since when that many.
    now: u32,
    since_ms: u64,
    peak: u32,
    time_at: BTreeMap<u32, u64>,
    bursts: [Burst; 3],
    cooling: VecDeque<u64>,
    cooling_max: u64,
    peak_with_cooling: u64,
}

/// The most adds within a span of time.
#[derive(Debug, Clone, Default)]
struct Burst {
    recent: VecDeque<u64>,
    most: u64,
}

impl Burst {
    fn add(&mut self, at_ms: u64, span_ms: u64) {
        self.recent.push_back(at_ms);
        while self.recent.front().is_some_and(|first| first + span_ms <= at_ms) {
            self.recent.pop_front();
        }
        self.most = self.most.max(self.recent.len() as u64);
    }
}

impl Watched {
    fn pass(&mut self, at_ms: u64) {
        *self.time_at.entry(self.now).or_insert(0) += at_ms - self.since_ms;
        self.since_ms = at_ms;
    }

    fn join(&mut self, at_ms: u64) {
        self.joined_ms = Some(at_ms);
        self.since_ms = at_ms;
    }

    fn add(&mut self, at_ms: u64, running: bool, cooldown_ms: u64) {
        self.pass(at_ms);
        self.now += 1;
        self.pods += 1;
        self.peak = self.peak.max(self.now);
        while self.cooling.front().is_some_and(|freed| freed + cooldown_ms < at_ms) {
            self.cooling.pop_front();
        }
        let cooling = self.cooling.len() as u64;
        self.cooling_max = self.cooling_max.max(cooling);
        self.peak_with_cooling = self.peak_with_cooling.max(u64::from(self.now) + cooling);
        if !running {
            for (burst, span_ms) in self.bursts.iter_mut().zip(BURST_SPANS_MS) {
                burst.add(at_ms, span_ms);
            }
        }
    }

    fn delete(&mut self, at_ms: u64) {
        self.pass(at_ms);
        self.now -= 1;
        self.cooling.push_back(at_ms);
    }

    fn leave(&mut self, at_ms: u64) {
        let Some(joined_ms) = self.joined_ms.take() else { return };
        self.pass(at_ms);
        self.life_ms = at_ms - joined_ms;
        self.now = 0;
    }
}

/// Follows every node through the trace.
fn watch(trace: &Trace, cooldown_ms: u64) -> Vec<Watched> {
    let mut nodes = vec![Watched::default(); trace.nodes.len()];
    let mut needs_address = vec![false; trace.pods.len()];
    for event in &trace.events {
        let node = &mut nodes[event.node as usize];
        match event.what {
            What::Join { .. } => node.join(event.at_ms),
            What::Add { pod, host_network, running } => {
                needs_address[pod as usize] = !host_network;
                if !host_network {
                    node.add(event.at_ms, running, cooldown_ms);
                }
            }
            What::Delete { pod } if needs_address[pod as usize] => node.delete(event.at_ms),
            What::Leave => node.leave(event.at_ms),
            What::Delete { .. }
            | What::Cordon
            | What::Uncordon
            | What::SpotNotice
            | What::Restart => {}
        }
    }
    nodes.iter_mut().for_each(|node| node.leave(trace.end_ms));
    nodes
}

/// The most of these nodes and the most of their pods that are there at once.
fn at_once(trace: &Trace, kept: &[bool]) -> (u32, u32) {
    let mut pods_on = vec![0_u32; trace.nodes.len()];
    let mut needs_address = vec![false; trace.pods.len()];
    let (mut nodes, mut nodes_max, mut pods, mut pods_max) = (0_u32, 0, 0_u32, 0);
    for event in trace.events.iter().filter(|event| kept[event.node as usize]) {
        let on_node = &mut pods_on[event.node as usize];
        match event.what {
            What::Join { .. } => nodes += 1,
            What::Leave => {
                nodes -= 1;
                pods -= std::mem::take(on_node);
            }
            What::Add { pod, host_network: false, .. } => {
                needs_address[pod as usize] = true;
                *on_node += 1;
                pods += 1;
            }
            What::Delete { pod } if needs_address[pod as usize] => {
                *on_node -= 1;
                pods -= 1;
            }
            _ => {}
        }
        nodes_max = nodes_max.max(nodes);
        pods_max = pods_max.max(pods);
    }
    (nodes_max, pods_max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::TraceBuilder;

    #[test]
    fn pods_at_once_are_weighed_by_time() {
        // Two pods for a quarter of the time, one for the rest.
        let trace = TraceBuilder::day(100_000).node("a").pod(0, 0, 100_000).pod(0, 0, 25_000);
        let profile = Demand::of(&trace.build(), 30_000).fleet;
        assert_eq!((profile.pods_on_node.p50, profile.pods_on_node.max), (1, 2));
        assert_eq!((profile.peak_on_node.max, profile.pods, profile.pods_at_once_max), (2, 2, 2));
    }

    #[test]
    fn host_network_pods_need_nothing() {
        let trace = TraceBuilder::day(1_000).node("a").host_pod(0, 0, 500).build();
        let profile = Demand::of(&trace, 30_000).fleet;
        assert_eq!((profile.pods, profile.peak_on_node.max, profile.cooling.max), (0, 0, 0));
    }

    #[test]
    fn a_burst_ends_where_its_span_ends() {
        let mut trace = TraceBuilder::day(100_000).node("a");
        for at_ms in [0, 500, 999, 1_000, 1_499] {
            trace = trace.pod(0, at_ms, 90_000);
        }
        let profile = Demand::of(&trace.build(), 30_000).fleet;
        // 500, 999, 1000 and 1499 lie within one second.
        assert_eq!((profile.burst_1s.max, profile.burst_10s.max), (4, 5));
    }

    #[test]
    fn an_address_cools_when_the_next_pod_comes_in_time() {
        let churn = |next_ms| {
            let trace = TraceBuilder::day(200_000).node("a").pod(0, 0, 10_000);
            let trace = trace.pod(0, next_ms, 190_000).build();
            let profile = Demand::of(&trace, 30_000).fleet;
            (profile.cooling.max, profile.peak_with_cooling.max)
        };
        assert_eq!(churn(40_000), (1, 2));
        assert_eq!(churn(40_001), (0, 1));
    }

    #[test]
    fn nodes_count_while_they_live() {
        let trace = TraceBuilder::day(100).node("a").leave(0, 40).node_at("b", 50).build();
        let profile = Demand::of(&trace, 0).fleet;
        assert_eq!((profile.nodes, profile.nodes_at_once_max), (2, 1));
        assert_eq!((profile.node_life_ms.min, profile.node_life_ms.max), (40, 50));
    }

    #[test]
    fn groups_and_types_have_their_own_demand() {
        let trace = TraceBuilder::day(100).node("a").node("b").pod(1, 0, 50).build();
        let demand = Demand::of(&trace, 0);
        assert_eq!(demand.groups["a"].pods, 0);
        assert_eq!(demand.groups["b"].pods, 1);
        assert_eq!(demand.instance_types["m5.4xlarge"].nodes, 2);
    }
}
