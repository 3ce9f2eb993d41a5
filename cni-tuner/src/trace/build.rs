//! The only way to a [`Trace`]: event by event, in the order of time, each one checked.

use std::collections::{BTreeSet, HashMap};

use super::fault::shortened;
use super::{
    Event, Fault, NODES_PER_TRACE_MAX, Node, NodeIndex, PODS_PER_NODE_MAX, PODS_PER_TRACE_MAX,
    PodIndex, TIME_MAX_MS, Trace, What,
};

/// A trace in the making. It sorts nothing and leaves nothing out: what does not fit is refused.
///
/// A pod's name can be used again after the pod was deleted or its node left; it is another pod
/// then, with another index. So it is with nodes.
#[derive(Debug)]
pub struct Builder {
    name: String,
    nodes: Vec<Node>,
    pods: Vec<String>,
    /// Joins of nodes that turned out, later, to have been there from the start.
    from_start: Vec<Event>,
    events: Vec<Event>,
    last_ms: u64,
    states: Vec<NodeState>,
    homes: Vec<Home>,
    // Only looked up, never walked: the order of a HashMap reaches no result.
    node_of: HashMap<String, NodeIndex>,
    pod_of: HashMap<String, PodIndex>,
}

/// What a node is at the last event's time.
#[derive(Debug)]
struct NodeState {
    was_running: bool,
    left_ms: Option<u64>,
    pods: BTreeSet<PodIndex>,
}

/// Where a pod is, or was.
#[derive(Debug)]
struct Home {
    node: NodeIndex,
    gone_ms: Option<u64>,
}

impl Builder {
    /// Nothing yet; `name` is what the trace is called in results.
    pub fn new(name: impl Into<String>) -> Builder {
        Builder {
            name: name.into(),
            nodes: Vec::new(),
            pods: Vec::new(),
            from_start: Vec::new(),
            events: Vec::new(),
            last_ms: 0,
            states: Vec::new(),
            homes: Vec::new(),
            node_of: HashMap::new(),
            pod_of: HashMap::new(),
        }
    }

    /// A node joins; with `running` it was there before the trace began.
    ///
    /// # Errors
    ///
    /// A time before the last, a name that is none or is up already, limits out of bounds, a
    /// running node after the start.
    pub fn join(&mut self, at_ms: u64, node: Node, running: bool) -> Result<NodeIndex, Fault> {
        self.check_time(at_ms)?;
        if running && at_ms > 0 {
            return Err(Fault::RunningNodeLate { node: node.name, at_ms });
        }
        let index = self.enter(node, running)?;
        self.push(at_ms, index, What::Join { running });
        Ok(index)
    }

    /// A node was there before the trace began, which is found out only now.
    ///
    /// # Errors
    ///
    /// As of [`Builder::join`].
    pub fn join_from_start(&mut self, node: Node) -> Result<NodeIndex, Fault> {
        let index = self.enter(node, true)?;
        self.from_start.push(Event { at_ms: 0, node: index, what: What::Join { running: true } });
        Ok(index)
    }

    /// A pod is to start; with `running` it was there before the trace began.
    ///
    /// # Errors
    ///
    /// A time before the last, a node that is not up or is full, a pod that is there already, a
    /// running pod after the start or on a node that was not running.
    pub fn add(
        &mut self,
        at_ms: u64,
        node: &str,
        pod: &str,
        host_network: bool,
        running: bool,
    ) -> Result<PodIndex, Fault> {
        self.check_time(at_ms)?;
        let at = self.up(node)?;
        check_pod_name(pod)?;
        if running && at_ms > 0 {
            return Err(Fault::RunningPodLate { pod: pod.to_owned(), at_ms });
        }
        if running && !self.states[at as usize].was_running {
            return Err(Fault::RunningPodOnNewNode { pod: pod.to_owned(), node: node.to_owned() });
        }
        if let Some(home) = self.home(pod).filter(|home| home.gone_ms.is_none()) {
            let node = self.nodes[home.node as usize].name.clone();
            return Err(Fault::AddedTwice { pod: pod.to_owned(), node });
        }
        self.check_room(at, pod)?;
        let index = self.settle(at, pod)?;
        self.push(at_ms, at, What::Add { pod: index, host_network, running });
        Ok(index)
    }

    /// A pod is gone.
    ///
    /// # Errors
    ///
    /// A time before the last, a node that is not up, a pod that is not on it.
    pub fn delete(&mut self, at_ms: u64, node: &str, pod: &str) -> Result<(), Fault> {
        self.check_time(at_ms)?;
        let at = self.up(node)?;
        let Some(&index) = self.pod_of.get(pod) else {
            check_pod_name(pod)?;
            return Err(Fault::DeletedBeforeAdded(pod.to_owned()));
        };
        let home = &mut self.homes[index as usize];
        if let Some(gone_ms) = home.gone_ms {
            return Err(Fault::DeletedTwice { pod: pod.to_owned(), gone_ms });
        }
        if home.node != at {
            let home = self.nodes[home.node as usize].name.clone();
            let (pod, node) = (pod.to_owned(), node.to_owned());
            return Err(Fault::DeletedElsewhere { pod, node, home });
        }
        home.gone_ms = Some(at_ms);
        self.states[at as usize].pods.remove(&index);
        self.push(at_ms, at, What::Delete { pod: index });
        Ok(())
    }

    /// A node is cordoned; one that is already stays so.
    ///
    /// # Errors
    ///
    /// A time before the last, a node that is not up.
    pub fn cordon(&mut self, at_ms: u64, node: &str) -> Result<(), Fault> {
        self.happen(at_ms, node, What::Cordon)
    }

    /// A node is not cordoned any more.
    ///
    /// # Errors
    ///
    /// A time before the last, a node that is not up.
    pub fn uncordon(&mut self, at_ms: u64, node: &str) -> Result<(), Fault> {
        self.happen(at_ms, node, What::Uncordon)
    }

    /// EC2 says that it takes the instance in two minutes.
    ///
    /// # Errors
    ///
    /// A time before the last, a node that is not up or not a Spot instance.
    pub fn spot_notice(&mut self, at_ms: u64, node: &str) -> Result<(), Fault> {
        self.check_time(at_ms)?;
        let at = self.up(node)?;
        if !self.nodes[at as usize].spot {
            return Err(Fault::NotSpot(node.to_owned()));
        }
        self.push(at_ms, at, What::SpotNotice);
        Ok(())
    }

    /// aws-node starts anew on a node.
    ///
    /// # Errors
    ///
    /// A time before the last, a node that is not up.
    pub fn restart(&mut self, at_ms: u64, node: &str) -> Result<(), Fault> {
        self.happen(at_ms, node, What::Restart)
    }

    /// A node ends, with all pods that are still on it.
    ///
    /// # Errors
    ///
    /// A time before the last, a node that is not up.
    pub fn leave(&mut self, at_ms: u64, node: &str) -> Result<(), Fault> {
        self.check_time(at_ms)?;
        let at = self.up(node)?;
        let state = &mut self.states[at as usize];
        state.left_ms = Some(at_ms);
        for pod in std::mem::take(&mut state.pods) {
            self.homes[pod as usize].gone_ms = Some(at_ms);
        }
        self.push(at_ms, at, What::Leave);
        Ok(())
    }

    /// Whether a node of that name is up.
    pub fn is_up(&self, node: &str) -> bool {
        self.up(node).is_ok()
    }

    /// Whether a node of that name is up or was.
    pub fn is_known(&self, node: &str) -> bool {
        self.node_of.contains_key(node)
    }

    /// The time of the last event, milliseconds; 0 before the first.
    pub fn last_ms(&self) -> u64 {
        self.last_ms
    }

    /// The trace, which ends at that time.
    ///
    /// # Errors
    ///
    /// An end before the last event, a trace without a node.
    pub fn finish(self, end_ms: u64) -> Result<Trace, Fault> {
        self.check_time(end_ms)?;
        if self.nodes.is_empty() {
            return Err(Fault::Empty);
        }
        Ok(self.in_order_of_joins(end_ms))
    }

    /// Nodes that were there from the start come first, found out late or not: nodes are numbered
    /// as they join, and so a trace that is written and read again is the same.
    fn in_order_of_joins(self, end_ms: u64) -> Trace {
        let mut events = self.from_start;
        let early: BTreeSet<NodeIndex> = events.iter().map(|event| event.node).collect();
        events.extend(self.events);
        let others = (0..self.nodes.len() as NodeIndex).filter(|node| !early.contains(node));
        let order: Vec<NodeIndex> = early.iter().copied().chain(others).collect();
        let mut place_of = vec![0; order.len()];
        for (place, node) in order.iter().enumerate() {
            place_of[*node as usize] = place as NodeIndex;
        }
        for event in &mut events {
            event.node = place_of[event.node as usize];
        }
        let nodes = order.iter().map(|node| self.nodes[*node as usize].clone()).collect();
        Trace { name: self.name, nodes, pods: self.pods, events, end_ms }
    }

    fn happen(&mut self, at_ms: u64, node: &str, what: What) -> Result<(), Fault> {
        self.check_time(at_ms)?;
        let at = self.up(node)?;
        self.push(at_ms, at, what);
        Ok(())
    }

    fn push(&mut self, at_ms: u64, node: NodeIndex, what: What) {
        self.last_ms = at_ms;
        self.events.push(Event { at_ms, node, what });
    }

    fn check_time(&self, at_ms: u64) -> Result<(), Fault> {
        if at_ms > TIME_MAX_MS {
            return Err(Fault::TooLate(at_ms));
        }
        if at_ms < self.last_ms {
            return Err(Fault::Backwards { at_ms, last_ms: self.last_ms });
        }
        Ok(())
    }

    fn check_room(&self, at: NodeIndex, pod: &str) -> Result<(), Fault> {
        let Node { name, pods_max, .. } = &self.nodes[at as usize];
        if self.states[at as usize].pods.len() < *pods_max as usize {
            return Ok(());
        }
        Err(Fault::Full { pod: pod.to_owned(), node: name.clone(), pods_max: *pods_max })
    }

    /// The node of that name, which must be up.
    fn up(&self, node: &str) -> Result<NodeIndex, Fault> {
        let Some(&at) = self.node_of.get(node) else {
            check_node_name(node)?;
            return Err(Fault::NodeUnknown(node.to_owned()));
        };
        match self.states[at as usize].left_ms {
            Some(left_ms) => Err(Fault::NodeLeft { node: node.to_owned(), left_ms }),
            None => Ok(at),
        }
    }

    fn home(&self, pod: &str) -> Option<&Home> {
        self.pod_of.get(pod).map(|index| &self.homes[*index as usize])
    }

    fn enter(&mut self, node: Node, was_running: bool) -> Result<NodeIndex, Fault> {
        check_node(&node)?;
        if self.is_up(&node.name) {
            return Err(Fault::JoinsTwice(node.name));
        }
        if self.nodes.len() >= NODES_PER_TRACE_MAX {
            return Err(Fault::TooManyNodes);
        }
        let index = self.nodes.len() as NodeIndex;
        self.node_of.insert(node.name.clone(), index);
        self.nodes.push(node);
        self.states.push(NodeState { was_running, left_ms: None, pods: BTreeSet::new() });
        Ok(index)
    }

    fn settle(&mut self, node: NodeIndex, pod: &str) -> Result<PodIndex, Fault> {
        if self.pods.len() >= PODS_PER_TRACE_MAX {
            return Err(Fault::TooManyPods);
        }
        let index = self.pods.len() as PodIndex;
        self.pods.push(pod.to_owned());
        self.pod_of.insert(pod.to_owned(), index);
        self.homes.push(Home { node, gone_ms: None });
        self.states[node as usize].pods.insert(index);
        Ok(index)
    }
}

fn check_node(node: &Node) -> Result<(), Fault> {
    check_node_name(&node.name)?;
    let other = |name: &str, what| {
        check_name(name).map_err(|()| Fault::OtherName(shortened(name.to_owned()), what))
    };
    other(&node.group, "node group")?;
    if let Some(subnet) = &node.subnet {
        other(subnet, "subnet")?;
    }
    if node.pods_max == 0 || node.pods_max > PODS_PER_NODE_MAX {
        return Err(Fault::PodsMax(node.pods_max.into()));
    }
    Ok(())
}

fn check_node_name(name: &str) -> Result<(), Fault> {
    check_name(name).map_err(|()| Fault::NodeName(shortened(name.to_owned())))
}

fn check_pod_name(pod: &str) -> Result<(), Fault> {
    let is_name = pod.len() <= 512 && pod.split('/').count() <= 2;
    match is_name && pod.split('/').all(|part| check_name(part).is_ok()) {
        true => Ok(()),
        false => Err(Fault::PodName(shortened(pod.to_owned()))),
    }
}

/// Names of any cloud and any recorder pass; what would break a line or a table does not.
fn check_name(name: &str) -> Result<(), ()> {
    let breaks = |c: char| c.is_whitespace() || c.is_control() || c == '"';
    match name.is_empty() || name.len() > 253 || name.contains(breaks) {
        true => Err(()),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::instance_type;

    fn node(name: &str) -> Node {
        Node::of(name, instance_type("m5.large").expect("known"))
    }

    #[test]
    fn what_is_refused_leaves_the_rest_as_it_was() {
        let mut builder = Builder::new("a");
        builder.join(5, node("n"), false).expect("right");
        builder.add(5, "n", "ns/p", false, false).expect("right");
        assert_eq!(builder.leave(4, "n"), Err(Fault::Backwards { at_ms: 4, last_ms: 5 }));
        assert_eq!(builder.leave(TIME_MAX_MS + 1, "n"), Err(Fault::TooLate(TIME_MAX_MS + 1)));
        builder.add(6, "n", "ns/p", false, false).expect_err("it is there");
        builder.delete(6, "n", "ns/p").expect("it is there still");
        let trace = builder.finish(6).expect("right");
        assert_eq!((trace.events.len(), trace.pods.len()), (3, 1));
    }

    #[test]
    fn a_trace_does_not_end_before_its_last_event() {
        let mut builder = Builder::new("a");
        builder.join(5, node("n"), false).expect("right");
        assert_eq!(builder.finish(4), Err(Fault::Backwards { at_ms: 4, last_ms: 5 }));
        assert_eq!(Builder::new("a").finish(4), Err(Fault::Empty));
    }

    #[test]
    fn pods_of_a_node_that_leaves_are_gone() {
        let mut builder = Builder::new("a");
        builder.join(0, node("n"), false).expect("right");
        builder.join(0, node("m"), false).expect("right");
        builder.add(1, "n", "ns/p", false, false).expect("right");
        builder.leave(2, "n").expect("right");
        let gone = Fault::DeletedTwice { pod: "ns/p".to_owned(), gone_ms: 2 };
        assert_eq!(builder.delete(3, "m", "ns/p"), Err(gone));
        builder.add(3, "m", "ns/p", false, false).expect("it is another pod now");
    }

    #[test]
    fn seconds_are_written_with_no_digit_too_many() {
        let check = |ms, written: &str| {
            let fault = Fault::TooLate(ms).to_string();
            assert!(fault.starts_with(&format!("the time {written} s is")), "{fault}");
        };
        check(1_000, "1");
        check(1_500, "1.5");
        check(1_050, "1.05");
        check(1_005, "1.005");
        check(20, "0.02");
    }
}
