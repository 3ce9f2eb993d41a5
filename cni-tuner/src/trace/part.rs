//! A part of a trace: some of its nodes, and what happened on them.

use std::collections::BTreeMap;

use super::{Event, Node, NodeIndex, PodIndex, Trace, What};

impl Trace {
    /// The nodes that `keep` names (it is asked once for each, in their order), their pods and events, at the same times; none: no node is left.
    pub fn only(&self, mut keep: impl FnMut(&Node) -> bool) -> Option<Trace> {
        let mut nodes = Vec::new();
        let mut place_of = vec![None; self.nodes.len()];
        for (at, node) in self.nodes.iter().enumerate().filter(|(_, node)| keep(node)) {
            place_of[at] = Some(nodes.len() as NodeIndex);
            nodes.push(node.clone());
        }
        let mut pods = Pods { names: Vec::new(), place_of: BTreeMap::new() };
        let events: Vec<Event> = self
            .events
            .iter()
            .filter_map(|event| {
                let node = place_of[event.node as usize]?;
                let what = match event.what {
                    What::Add { pod, host_network, running } => {
                        What::Add { pod: pods.enter(self, pod), host_network, running }
                    }
                    What::Delete { pod } => What::Delete { pod: pods.enter(self, pod) },
                    what => what,
                };
                Some(Event { at_ms: event.at_ms, node, what })
            })
            .collect();
        let (name, end_ms) = (self.name.clone(), self.end_ms);
        (!nodes.is_empty()).then_some(Trace { name, nodes, pods: pods.names, events, end_ms })
    }
}

/// The pods of the part, numbered as they come.
struct Pods {
    names: Vec<String>,
    place_of: BTreeMap<PodIndex, PodIndex>,
}

impl Pods {
    fn enter(&mut self, whole: &Trace, pod: PodIndex) -> PodIndex {
        *self.place_of.entry(pod).or_insert_with(|| {
            self.names.push(whole.pods[pod as usize].clone());
            (self.names.len() - 1) as PodIndex
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::tests::TraceBuilder;

    #[test]
    fn a_part_has_its_own_numbers_and_the_same_times() {
        let trace = TraceBuilder::day(100).node("a").node("b").pod(0, 5, 10).pod(1, 7, 20);
        let part = trace.build().only(|node| node.name == "b").expect("a node is left");
        let alone = TraceBuilder::day(100).node("b").pod(0, 7, 20).build();
        assert_eq!(part.events, alone.events);
        assert_eq!((part.nodes.len(), part.pods), (1, vec!["pod-1".to_owned()]));
    }

    #[test]
    fn all_nodes_are_the_whole_trace() {
        let trace = TraceBuilder::day(100).node("a").node("b").pod(1, 7, 20).pod(0, 9, 99).build();
        assert_eq!(trace.only(|_| true), Some(trace));
    }

    #[test]
    fn no_node_is_no_trace() {
        assert_eq!(TraceBuilder::day(100).node("a").build().only(|_| false), None);
    }
}
