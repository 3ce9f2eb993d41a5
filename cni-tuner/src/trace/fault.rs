//! What can be wrong with a trace, whoever made it.

use super::{NODES_PER_TRACE_MAX, PODS_PER_NODE_MAX, TIME_MAX_MS};

/// What was meant for something else may be long; its beginning tells which it is.
pub(super) fn shortened(mut text: String) -> String {
    if let Some((at, _)) = text.char_indices().nth(60) {
        text.truncate(at);
        text.push_str("...");
    }
    text
}

/// Why something cannot be part of a trace. Each message says what is wrong, then what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A moment before the one before it.
    #[error(
        "the time {} s is before {} s, the time of the event above; put the events in the order of \
         time", Secs(*.at_ms), Secs(*.last_ms)
    )]
    Backwards {
        /// The event's time.
        at_ms: u64,
        /// The time of the event before.
        last_ms: u64,
    },
    /// A moment past every trace's bound.
    #[error(
        "the time {} s is too far from the start; a trace spans at most {} days, in seconds from \
         its start", Secs(*.0), TIME_MAX_MS / 86_400_000
    )]
    TooLate(u64),
    /// A node's name that cannot be one.
    #[error("{0:?} is not a node's name; write 1 to 253 characters without spaces")]
    NodeName(String),
    /// A pod's name that cannot be one.
    #[error("{0:?} is not a pod's name; write namespace/name, up to 512 characters without spaces")]
    PodName(String),
    /// The name of a group or a subnet that cannot be one.
    #[error("{0:?} is not a name of a {1}; write 1 to 253 characters without spaces")]
    OtherName(String, &'static str),
    /// kubelet's limit is out of bounds.
    #[error("pods_max {0} is not a number of pods a node can have; write 1 to {PODS_PER_NODE_MAX}")]
    PodsMax(u64),
    /// A type that is not in the table.
    #[error("there is no instance type {name:?}{near}; `cni-tuner limits` knows them")]
    InstanceType {
        /// What was written.
        name: String,
        /// " (did you mean ...?)" or nothing.
        near: String,
    },
    /// A second join.
    #[error("node {0} joins, but it is up already; let it leave before it joins again")]
    JoinsTwice(String),
    /// An event on a node nobody has heard of.
    #[error(
        "node {0} has not joined; join it in a line above, or name a type for nodes that never join \
         with --instance-type"
    )]
    NodeUnknown(String),
    /// An event on a node that has left.
    #[error("node {node} left at {} s; join it again before more happens on it", Secs(*.left_ms))]
    NodeLeft {
        /// The node.
        node: String,
        /// When it left.
        left_ms: u64,
    },
    /// A node that ran before the start, after the start.
    #[error(
        "node {node} joins at {} s with running true; a node that ran before the trace began joins \
         at the trace's start, any other has running false", Secs(*.at_ms)
    )]
    RunningNodeLate {
        /// The node.
        node: String,
        /// When it joins.
        at_ms: u64,
    },
    /// A pod that ran before the start, on a node that did not.
    #[error(
        "pod {pod} is running, but node {node} was not; give the node's join running true, or the \
         pod running false"
    )]
    RunningPodOnNewNode {
        /// The pod.
        pod: String,
        /// Its node.
        node: String,
    },
    /// A pod that ran before the start, after the start.
    #[error(
        "pod {pod} is added at {} s with running true; a pod that ran before the trace began is \
         added at the trace's start, any other has running false", Secs(*.at_ms)
    )]
    RunningPodLate {
        /// The pod.
        pod: String,
        /// When it is added.
        at_ms: u64,
    },
    /// A second add.
    #[error(
        "pod {pod} is added, but it is on node {node} already; delete it before it is added again"
    )]
    AddedTwice {
        /// The pod.
        pod: String,
        /// Where it is.
        node: String,
    },
    /// A delete without an add.
    #[error(
        "pod {0} is deleted before it was added; add it in a line above, with running true at the \
         trace's start if it was there before"
    )]
    DeletedBeforeAdded(String),
    /// A second delete.
    #[error("pod {pod} has been gone since {} s; delete a pod once, or add it again", Secs(*.gone_ms))]
    DeletedTwice {
        /// The pod.
        pod: String,
        /// When it was deleted, or its node left.
        gone_ms: u64,
    },
    /// A delete where the pod is not.
    #[error("pod {pod} is deleted on node {node}, but it was added to node {home}; name that one")]
    DeletedElsewhere {
        /// The pod.
        pod: String,
        /// Where it is said to be.
        node: String,
        /// Where it is.
        home: String,
    },
    /// More pods than kubelet takes.
    #[error(
        "pod {pod} does not fit: node {node} has {pods_max} pods already, its pods_max; spread the \
         pods, or give the node's join a larger pods_max"
    )]
    Full {
        /// The pod.
        pod: String,
        /// Its node.
        node: String,
        /// The node's limit.
        pods_max: u32,
    },
    /// A notice for a node that cannot get one.
    #[error("node {0} gets a Spot notice, but is no Spot instance; give its join spot true")]
    NotSpot(String),
    /// Too many nodes.
    #[error("there are too many nodes; a trace has at most {NODES_PER_TRACE_MAX}")]
    TooManyNodes,
    /// Too many pods.
    #[error("there are too many pods; a trace has at most {}", super::PODS_PER_TRACE_MAX)]
    TooManyPods,
    /// Nothing happens.
    #[error("the trace is empty; it needs nodes that join and pods that are added")]
    Empty,
}

/// Milliseconds as seconds, no digit more than needed.
pub(super) struct Secs(pub(super) u64);

impl std::fmt::Display for Secs {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (whole, rest) = (self.0 / 1000, self.0 % 1000);
        write!(out, "{whole}")?;
        match (rest % 10, rest % 100) {
            _ if rest == 0 => Ok(()),
            (_, 0) => write!(out, ".{}", rest / 100),
            (0, _) => write!(out, ".{:02}", rest / 10),
            _ => write!(out, ".{rest:03}"),
        }
    }
}
