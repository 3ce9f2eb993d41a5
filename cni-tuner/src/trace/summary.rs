//! What a trace comes to: how much there is of everything, and how fast it comes.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

use super::{NodeIndex, Trace, What};

/// A trace in numbers. Pods on the host's network count wherever pods are counted, except in bursts:
/// those are of pods that need an address.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// What the trace is called.
    pub name: String,
    /// From its start to its end.
    pub duration_secs: f64,
    /// Events of all kinds.
    pub events: usize,
    /// Nodes that are ever there.
    pub nodes: usize,
    /// Those of them that were there before the trace began.
    pub nodes_running: usize,
    /// Those of them that are Spot instances.
    pub nodes_spot: usize,
    /// The most nodes up at once.
    pub nodes_at_once_max: usize,
    /// Pods that are ever there.
    pub pods: usize,
    /// Those of them that were there before the trace began.
    pub pods_running: usize,
    /// Those of them that are on the host's network.
    pub pods_host_network: usize,
    /// The most pods at once, on all nodes.
    pub pods_at_once_max: usize,
    /// The node with the most pods at once; the first of several.
    pub busiest_node: Option<Busiest>,
    /// The most pods that are to start on one node within 10 s.
    pub burst_10_secs: Option<Burst>,
    /// The most pods that are to start on one node within 60 s.
    pub burst_60_secs: Option<Burst>,
    /// From add to delete, of the pod that was there the shortest; none: no pod is deleted.
    pub shortest_pod_life_secs: Option<f64>,
    /// The node groups, by name.
    pub groups: Vec<Group>,
}

/// The node with the most pods at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Busiest {
    /// Its name.
    pub node: String,
    /// The most pods it had at once.
    pub pods_at_once_max: usize,
    /// kubelet's limit.
    pub pods_max: u32,
}

/// Pods that start on one node within a short time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Burst {
    /// How many.
    pub pods: usize,
    /// Where.
    pub node: String,
    /// When the first of them starts.
    pub at_secs: f64,
}

/// A node group in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    /// What it is called.
    pub name: String,
    /// Nodes that are ever in it.
    pub nodes: usize,
    /// The most nodes up at once.
    pub nodes_at_once_max: usize,
    /// Pods that are ever on them.
    pub pods: usize,
    /// The most pods at once, on all its nodes.
    pub pods_at_once_max: usize,
    /// The most pods at once on one of its nodes.
    pub node_pods_at_once_max: usize,
    /// How many nodes of each instance type.
    pub instance_types: BTreeMap<&'static str, usize>,
}

/// Something that rises and falls, and how high it ever was.
#[derive(Debug, Clone, Copy, Default)]
struct Level {
    now: usize,
    max: usize,
}

impl Level {
    fn rise(&mut self) {
        self.now += 1;
        self.max = self.max.max(self.now);
    }

    fn fall(&mut self, by: usize) {
        self.now -= by;
    }
}

impl Summary {
    /// Goes through a trace once.
    pub fn of(trace: &Trace) -> Summary {
        let mut walk = Walk::of(trace);
        for event in &trace.events {
            walk.step(event.at_ms, event.node, event.what);
        }
        walk.summary()
    }
}

/// What the events so far have come to.
struct Walk<'a> {
    trace: &'a Trace,
    nodes: Level,
    pods: Level,
    group_of: Vec<usize>,
    groups: Vec<(Group, Level, Level)>,
    pods_on: Vec<Level>,
    added_ms: Vec<u64>,
    windows: [Window; 2],
    shortest_ms: Option<u64>,
    nodes_running: usize,
    pods_running: usize,
    pods_host_network: usize,
}

impl<'a> Walk<'a> {
    fn of(trace: &'a Trace) -> Walk<'a> {
        let mut groups: BTreeMap<&str, BTreeMap<&'static str, usize>> = BTreeMap::new();
        for node in &trace.nodes {
            *groups.entry(&node.group).or_default().entry(node.instance_type.name).or_default() +=
                1;
        }
        let names: Vec<&str> = groups.keys().copied().collect();
        let place = |group: &str| names.binary_search(&group).expect("each was just collected");
        let group_of = trace.nodes.iter().map(|node| place(&node.group)).collect();
        let groups = groups.into_iter().map(|(name, instance_types)| Group {
            name: name.to_owned(),
            nodes: instance_types.values().sum(),
            nodes_at_once_max: 0,
            pods: 0,
            pods_at_once_max: 0,
            node_pods_at_once_max: 0,
            instance_types,
        });
        Walk {
            trace,
            nodes: Level::default(),
            pods: Level::default(),
            group_of,
            groups: groups.map(|group| (group, Level::default(), Level::default())).collect(),
            pods_on: vec![Level::default(); trace.nodes.len()],
            added_ms: vec![0; trace.pods.len()],
            windows: [Window::new(10_000, trace), Window::new(60_000, trace)],
            shortest_ms: None,
            nodes_running: 0,
            pods_running: 0,
            pods_host_network: 0,
        }
    }

    fn step(&mut self, at_ms: u64, node: NodeIndex, what: What) {
        let on = &mut self.pods_on[node as usize];
        let (group, group_nodes, group_pods) = &mut self.groups[self.group_of[node as usize]];
        match what {
            What::Join { running } => {
                self.nodes_running += usize::from(running);
                self.nodes.rise();
                group_nodes.rise();
            }
            What::Add { pod, host_network, running } => {
                self.pods_running += usize::from(running);
                self.pods_host_network += usize::from(host_network);
                self.added_ms[pod as usize] = at_ms;
                group.pods += 1;
                on.rise();
                self.pods.rise();
                group_pods.rise();
                if !host_network && !running {
                    self.windows.iter_mut().for_each(|window| window.add(at_ms, node));
                }
            }
            What::Delete { pod } => {
                let life_ms = at_ms - self.added_ms[pod as usize];
                self.shortest_ms = Some(self.shortest_ms.map_or(life_ms, |ms| ms.min(life_ms)));
                on.fall(1);
                self.pods.fall(1);
                group_pods.fall(1);
            }
            What::Leave => {
                let gone = on.now;
                on.fall(gone);
                self.pods.fall(gone);
                group_pods.fall(gone);
                self.nodes.fall(1);
                group_nodes.fall(1);
            }
            What::Cordon | What::Uncordon | What::SpotNotice | What::Restart => {}
        }
        group.node_pods_at_once_max = group.node_pods_at_once_max.max(on.max);
    }

    fn summary(self) -> Summary {
        let Walk { trace, .. } = self;
        let first_max = (0..trace.nodes.len()).rev().max_by_key(|node| self.pods_on[*node].max);
        let [burst_10_secs, burst_60_secs] = self.windows.map(|window| window.burst(trace));
        Summary {
            name: trace.name.clone(),
            duration_secs: secs(trace.end_ms),
            events: trace.events.len(),
            nodes: trace.nodes.len(),
            nodes_running: self.nodes_running,
            nodes_spot: trace.nodes.iter().filter(|node| node.spot).count(),
            nodes_at_once_max: self.nodes.max,
            pods: trace.pods.len(),
            pods_running: self.pods_running,
            pods_host_network: self.pods_host_network,
            pods_at_once_max: self.pods.max,
            busiest_node: first_max.map(|node| Busiest {
                node: trace.nodes[node].name.clone(),
                pods_at_once_max: self.pods_on[node].max,
                pods_max: trace.nodes[node].pods_max,
            }),
            burst_10_secs,
            burst_60_secs,
            shortest_pod_life_secs: self.shortest_ms.map(secs),
            groups: self.groups.into_iter().map(with_levels).collect(),
        }
    }
}

fn with_levels((group, nodes, pods): (Group, Level, Level)) -> Group {
    Group { nodes_at_once_max: nodes.max, pods_at_once_max: pods.max, ..group }
}

/// The starts of the last so many milliseconds on every node, and the most there were.
struct Window {
    width_ms: u64,
    starts_ms: Vec<VecDeque<u64>>,
    /// Pods, node, time of the first; the earliest of several as large.
    best: Option<(usize, NodeIndex, u64)>,
}

impl Window {
    fn new(width_ms: u64, trace: &Trace) -> Window {
        Window { width_ms, starts_ms: vec![VecDeque::new(); trace.nodes.len()], best: None }
    }

    fn add(&mut self, at_ms: u64, node: NodeIndex) {
        let starts_ms = &mut self.starts_ms[node as usize];
        starts_ms.push_back(at_ms);
        while starts_ms.front().is_some_and(|start_ms| at_ms - start_ms >= self.width_ms) {
            starts_ms.pop_front();
        }
        if self.best.is_none_or(|(pods, ..)| starts_ms.len() > pods) {
            self.best = Some((starts_ms.len(), node, starts_ms[0]));
        }
    }

    fn burst(self, trace: &Trace) -> Option<Burst> {
        let (pods, node, at_ms) = self.best?;
        let node = trace.nodes[node as usize].name.clone();
        Some(Burst { pods, node, at_secs: secs(at_ms) })
    }
}

fn secs(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{Builder, Node, instance_type};

    #[test]
    fn a_trace_is_summed_up() {
        let mut builder = Builder::new("small");
        let node = |name| Node::of(name, instance_type("m5.large").expect("known"));
        builder.join(0, node("a"), true).expect("right");
        builder.add(0, "a", "ns/daemon", true, true).expect("right");
        builder.join(1_000, node("b"), false).expect("right");
        for (at_ms, host, pod) in
            [(2_000, "a", "1"), (11_999, "a", "2"), (12_000, "a", "3"), (13_000, "b", "4")]
        {
            builder.add(at_ms, host, pod, false, false).expect("right");
        }
        builder.delete(14_000, "a", "2").expect("right");
        builder.leave(15_000, "b").expect("right");
        let summary = Summary::of(&builder.finish(20_000).expect("right"));
        let burst = |pods, at_secs| Some(Burst { pods, node: "a".to_owned(), at_secs });
        // Between the first and the third lie ten seconds.
        assert_eq!(summary.burst_10_secs, burst(2, 2.0));
        assert_eq!(summary.burst_60_secs, burst(3, 2.0));
        assert_eq!(summary.shortest_pod_life_secs, Some(2.001));
        assert_eq!((summary.nodes, summary.nodes_running, summary.nodes_at_once_max), (2, 1, 2));
        let pods = (summary.pods, summary.pods_running, summary.pods_host_network);
        assert_eq!((pods, summary.pods_at_once_max), ((5, 1, 1), 5));
        let busiest = Busiest { node: "a".to_owned(), pods_at_once_max: 4, pods_max: 29 };
        assert_eq!(summary.busiest_node, Some(busiest));
        let [group] = summary.groups.as_slice() else { panic!("{:?}", summary.groups) };
        assert_eq!((group.nodes, group.pods, group.node_pods_at_once_max), (2, 5, 4));
    }
}
