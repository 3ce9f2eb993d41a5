//! A trace with more pods than were seen: what was seen is a sample, and the next burst may be
//! greater.

use std::collections::{BTreeMap, BTreeSet};

use crate::trace::{Event, PodIndex, Trace, What};

/// The trace with `percent` more pods: of every node's pods, as many as it takes come twice, at the
/// same moments as the pod they double. Which ones differs with `variant`; in variant 0 the first of
/// each node is one of them. Pods on the host's network are not
/// doubled, and a node that is nearly full gets no more than `room` (pods with an address of their
/// own, by node) and kubelet's limit hold at its busiest moment.
pub fn raise(trace: &Trace, percent: u32, room: &[u32], variant: u64) -> Trace {
    let ahead = 99_u64.saturating_sub(variant * 33);
    let mut spare = Spare::of(trace, room);
    let mut raised = Trace { events: Vec::with_capacity(trace.events.len()), ..trace.clone() };
    let mut seen = vec![0_u64; trace.nodes.len()];
    let mut twins: BTreeMap<PodIndex, PodIndex> = BTreeMap::new();
    for event in &trace.events {
        raised.events.push(*event);
        match event.what {
            What::Add { pod, host_network: false, running } => {
                let due = |count: u64| (count * u64::from(percent) + ahead) / 100;
                let before = seen[event.node as usize];
                seen[event.node as usize] += 1;
                if due(before) < due(before + 1) && spare.take(event.node) {
                    let twin = raised.pods.len() as PodIndex;
                    raised.pods.push(format!("{} (headroom)", trace.pods[pod as usize]));
                    twins.insert(pod, twin);
                    let what = What::Add { pod: twin, host_network: false, running };
                    raised.events.push(Event { what, ..*event });
                }
            }
            What::Delete { pod } => {
                if let Some(twin) = twins.remove(&pod) {
                    spare.give_back(event.node);
                    raised.events.push(Event { what: What::Delete { pod: twin }, ..*event });
                }
            }
            _ => {}
        }
    }
    raised
}

/// How many pods more each node has room for, even at its busiest moment.
struct Spare {
    left: Vec<u32>,
}

impl Spare {
    fn of(trace: &Trace, room: &[u32]) -> Spare {
        let mut all = vec![0_u32; trace.nodes.len()];
        let mut own = all.clone();
        let (mut all_max, mut own_max) = (all.clone(), all.clone());
        let mut on_host: BTreeSet<PodIndex> = BTreeSet::new();
        for event in &trace.events {
            let node = event.node as usize;
            match event.what {
                What::Add { pod, host_network, .. } => {
                    all[node] += 1;
                    own[node] += u32::from(!host_network);
                    if host_network {
                        on_host.insert(pod);
                    }
                }
                What::Delete { pod } => {
                    all[node] -= 1;
                    own[node] -= u32::from(!on_host.remove(&pod));
                }
                _ => {}
            }
            all_max[node] = all_max[node].max(all[node]);
            own_max[node] = own_max[node].max(own[node]);
        }
        let left = trace.nodes.iter().enumerate().map(|(at, node)| {
            let pods = node.pods_max.saturating_sub(all_max[at]);
            pods.min(room[at].saturating_sub(own_max[at]))
        });
        Spare { left: left.collect() }
    }

    fn take(&mut self, node: u32) -> bool {
        let left = &mut self.left[node as usize];
        let is_some = *left > 0;
        *left -= u32::from(is_some);
        is_some
    }

    fn give_back(&mut self, node: u32) {
        self.left[node as usize] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::demand::Demand;
    use crate::plan::tests::TraceBuilder;

    fn burst(pods: u64) -> Trace {
        let trace = TraceBuilder::day(100_000).node("a").host_pod(0, 0, 100_000);
        (0..pods).fold(trace, |trace, _| trace.pod(0, 1_000, 50_000)).build()
    }

    fn check(pods: u64, percent: u32, room: u32, expected: u64) {
        let raised = raise(&burst(pods), percent, &[room], 0);
        let profile = Demand::of(&raised, 30_000).fleet;
        assert_eq!(profile.peak_on_node.max, expected, "{pods} pods, {percent} %, room {room}");
        assert_eq!(profile.pods_on_node.min, 0, "all twins are deleted with their pods");
    }

    #[test]
    fn a_tenth_more_is_rounded_up() {
        check(100, 10, 232, 110);
        check(101, 10, 232, 112);
        check(5, 10, 232, 6);
    }

    #[test]
    fn variants_double_other_pods() {
        let trace = burst(100);
        let doubled = |variant| {
            let raised = raise(&trace, 10, &[232], variant);
            assert_eq!(raised.pods.len() - trace.pods.len(), 10, "variant {variant}");
            raised.pods[trace.pods.len()].clone()
        };
        assert!(doubled(0) != doubled(1) && doubled(1) != doubled(2));
    }

    #[test]
    fn none_more_changes_nothing() {
        let trace = burst(100);
        assert_eq!(raise(&trace, 0, &[232], 0), trace);
    }

    #[test]
    fn no_pod_comes_more_than_twice() {
        check(10, 100, 232, 20);
        check(10, 300, 232, 20);
    }

    #[test]
    fn a_full_node_gets_no_more_than_fit() {
        check(100, 10, 103, 103);
        check(100, 10, 100, 100);
        // kubelet's limit is 234, and the pod on the host's network counts for it.
        check(233, 10, 300, 233);
    }
}
