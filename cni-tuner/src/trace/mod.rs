//! What nodes and pods did, in the order of time: read from a file or made by a generator.

mod fault;
mod build;
mod part;
pub mod read;
pub mod write;
pub mod summary;
pub mod generate;

use crate::model::limits::{self, InstanceType};
use crate::model::settings::Mode;

pub use build::Builder;
pub use fault::Fault;

/// No trace is longer: 400 days, milliseconds. A larger time is a mistake, mostly a time of day
/// where seconds from the start belong.
pub const TIME_MAX_MS: u64 = 400 * 86_400_000;

/// No trace has more nodes; EKS itself supports a fifth of that in a cluster.
pub const NODES_PER_TRACE_MAX: usize = 500_000;

/// No trace has more pods.
pub const PODS_PER_TRACE_MAX: usize = 50_000_000;

/// No node has more pods. Kubernetes is tested to 110, EKS to 250; nobody runs more than some
/// hundreds.
pub const PODS_PER_NODE_MAX: u32 = 2_000;

/// A trace that was checked: times do not run backwards, every node is known and up when something
/// happens on it, pods are deleted after they were added, and never more than fit. Made by
/// [`Builder`], or a part of one that was.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// What it is called in results: a file's name or a generator's.
    pub name: String,
    /// Every node that is ever there.
    pub nodes: Vec<Node>,
    /// The pods' names, by [`PodIndex`].
    pub pods: Vec<String>,
    /// What happened, first things first.
    pub events: Vec<Event>,
    /// When the trace ends; at or after its last event.
    pub end_ms: u64,
}

/// Where a node stands in [`Trace::nodes`].
pub type NodeIndex = u32;

/// Where a pod's name stands in [`Trace::pods`].
pub type PodIndex = u32;

/// A node, from the moment it joins until it leaves. A name that joins again is another node.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its instance type.
    pub instance_type: &'static InstanceType,
    /// The node group it belongs to.
    pub group: String,
    /// Whether it is a Spot instance.
    pub spot: bool,
    /// kubelet's limit (`Node.status.capacity.pods`), pods on the host's network included.
    pub pods_max: u32,
    /// The name of its subnet; none: nodes are spread evenly over all.
    pub subnet: Option<String>,
}

impl Node {
    /// A node of a type, all else as it is where nothing is said: the group is the type's name,
    /// kubelet's limit is what EKS's `eni-max-pods.txt` has for the type.
    pub fn of(name: &str, instance_type: &'static InstanceType) -> Node {
        Node {
            name: name.to_owned(),
            instance_type,
            group: instance_type.name.to_owned(),
            spot: false,
            pods_max: instance_type.pods_max(Mode::SecondaryIp, false),
            subnet: None,
        }
    }
}

/// Something that happened on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// When, milliseconds since the trace's start.
    pub at_ms: u64,
    /// Where.
    pub node: NodeIndex,
    /// What.
    pub what: What,
}

/// What can happen on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// The node is up and aws-node starts. With `running` it was there before the trace began: its
    /// aws-node runs and its pool is at rest.
    Join {
        /// Whether it was there before.
        running: bool,
    },
    /// kubelet is to start a pod.
    Add {
        /// Which.
        pod: PodIndex,
        /// A pod on the host's network needs no address.
        host_network: bool,
        /// The pod was there before the trace began and has its address. Only on a node that
        /// was, and at the same moment as its `Join`.
        running: bool,
    },
    /// The pod is gone and its address is free.
    Delete {
        /// Which.
        pod: PodIndex,
    },
    /// The node gets the taint `node.kubernetes.io/unschedulable`.
    Cordon,
    /// The node loses that taint.
    Uncordon,
    /// EC2 will take the Spot instance in two minutes; a termination handler cordons the node.
    SpotNotice,
    /// aws-node starts anew: it was updated, or it failed. Pods that start meanwhile wait for it.
    Restart,
    /// The instance ends, with all pods that are still on it.
    Leave,
}

/// What is longer is no misspelt name, and takes long to compare with all.
const MISSPELT_LEN_MAX: usize = 64;

/// " (did you mean ...?)" where a name is nearly another, else nothing.
fn near<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    if name.len() > MISSPELT_LEN_MAX {
        return String::new();
    }
    // People seldom get the first letter wrong.
    let begins_alike = |other: &str| name.chars().next() == other.chars().next();
    let score = |other: &&str| (strsim::damerau_levenshtein(name, other), !begins_alike(other));
    match known.min_by_key(score) {
        Some(other) if strsim::damerau_levenshtein(name, other) <= 1 + other.len() / 4 => {
            format!(" (did you mean {other}?)")
        }
        _ => String::new(),
    }
}

/// The type of that name.
///
/// # Errors
///
/// [`Fault::InstanceType`] with the nearest names.
pub fn instance_type(name: &str) -> Result<&'static InstanceType, Fault> {
    limits::find(name).ok_or_else(|| {
        let near = match name {
            name if name.len() > MISSPELT_LEN_MAX => Vec::new(),
            name => limits::suggest(name),
        };
        let near = match near.as_slice() {
            [] => String::new(),
            near => format!(" (did you mean {}?)", near.join(", ")),
        };
        Fault::InstanceType { name: fault::shortened(name.to_owned()), near }
    })
}
