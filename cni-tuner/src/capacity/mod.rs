//! How many nodes and pods fit into subnets, what binds first, and how fast nodes can be added.
//!
//! ```text
//!   node       what one node holds at rest, and what stops its pods  (model::rest)
//!     |
//!     v
//!   space      nodes are put into subnets until one does not fit     (model::subnet)
//!     |
//!     v
//!   scale_out  the EC2 calls of new nodes against the account's token buckets
//! ```

pub mod node;

pub mod space;

pub mod scale_out;

use ipnet::Ipv4Net;

use crate::capacity::node::NodeLoad;
use crate::capacity::space::Spaces;
use crate::model::limits::InstanceType;
use crate::model::settings::Settings;
use crate::model::subnet::SubnetPlan;

/// Where the search for more nodes ends if nothing else ends it.
pub const NODES_MAX: u32 = 100_000;

/// A subnet for nodes and pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubnetSpace {
    /// What it is called in results.
    pub name: String,
    /// Its range, /16 to /28.
    pub range: Ipv4Net,
    /// Addresses that nobody has; at most [`SubnetSpace::capacity`].
    pub free: u32,
}

impl SubnetSpace {
    /// Addresses it can give: all but the five that AWS keeps.
    pub fn capacity(&self) -> u32 {
        capacity_of(&self.range)
    }
}

/// Addresses a subnet of that range can give; the range is a /28 or larger.
pub fn capacity_of(range: &Ipv4Net) -> u32 {
    SubnetPlan { prefix_len: range.prefix_len(), ..SubnetPlan::default() }.capacity()
}

/// Nodes of one kind, or of several that take turns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// The types its nodes are spread over evenly. Not empty.
    pub types: Vec<&'static InstanceType>,
    /// How many nodes it is to have; none: as many as fit.
    pub nodes: Option<u32>,
    /// Pods with an address of their own on each node; none: as many as a node can have.
    pub pods: Option<u32>,
    /// kubelet's limit, host-network pods included; none: what EKS sets for the type.
    pub pods_max: Option<u32>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fit {
    /// Every group as it was given.
    pub groups: Vec<GroupFit>,
    /// What is left in every subnet.
    pub subnets: Vec<Left>,
    /// Nodes that fit if no /28 were broken up that need not be, by others or by ours; none if no node
    /// uses prefixes.
    pub nodes_unbroken: Option<u32>,
}

/// What of one group fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupFit {
    /// The group's name.
    pub name: String,
    /// Its types in their order, each with the nodes of it that fit.
    pub types: Vec<(NodeLoad, u32)>,
    /// How many it was to have.
    pub asked: Option<u32>,
    /// Why there are not more.
    pub limit: NodesLimit,
}

impl GroupFit {
    /// Nodes of all types.
    pub fn nodes(&self) -> u32 {
        self.types.iter().map(|(_, nodes)| nodes).sum()
    }

    /// Their pods.
    pub fn pods(&self) -> u64 {
        self.sum(|load| load.pods)
    }

    /// Addresses of the subnets that they hold.
    pub fn addresses(&self) -> u64 {
        self.sum(NodeLoad::addresses)
    }

    /// Addresses among those that no pod has and no ENI keeps.
    pub fn unused(&self) -> u64 {
        self.sum(NodeLoad::unused)
    }

    fn sum(&self, of: impl Fn(&NodeLoad) -> u32) -> u64 {
        self.types.iter().map(|(load, nodes)| u64::from(of(load)) * u64::from(*nodes)).sum()
    }
}

/// Why a group has no more nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NodesLimit {
    /// It has all that were asked for.
    Asked,
    /// No subnet has the addresses for one more.
    Addresses,
    /// A subnet has the addresses, but not as whole /28s.
    Prefixes,
    /// There are [`NODES_MAX`].
    NodesMax,
}

/// What is left in a subnet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// Free addresses before.
    pub free_before: u32,
    /// Free addresses afterwards.
    pub free: u32,
    /// Wholly free /28s afterwards.
    pub free_prefixes: u32,
}

/// Puts the groups into the subnets: first those that say how many nodes they have, in their order,
/// then the others by turns, a node each, until none of them fits any more.
pub fn fit(subnets: &[SubnetSpace], groups: &[Group], settings: &Settings) -> Fit {
    let loads: Vec<Vec<NodeLoad>> = groups.iter().map(|group| loads(group, settings)).collect();
    let mut spaces = Spaces::spread(subnets);
    let filled = fill(&mut spaces, groups, &loads);
    let has_prefixes = loads.iter().flatten().any(|load| load.prefixes > 0);
    let nodes_unbroken = has_prefixes.then(|| {
        let mut spaces = Spaces::unbroken(subnets);
        fill(&mut spaces, groups, &loads).iter().map(|filling| filling.placed).sum()
    });
    let subnets = subnets.iter().zip(spaces.left()).map(|(subnet, (free, free_prefixes))| Left {
        free_before: subnet.free,
        free,
        free_prefixes,
    });
    Fit {
        groups: groups
            .iter()
            .zip(loads)
            .zip(filled)
            .map(|((group, loads), filling)| filling.into_fit(group, loads))
            .collect(),
        subnets: subnets.collect(),
        nodes_unbroken,
    }
}

fn loads(group: &Group, settings: &Settings) -> Vec<NodeLoad> {
    let load = |kind: &&'static InstanceType| NodeLoad::of(kind, group, settings);
    group.types.iter().map(load).collect()
}

/// A group while its nodes are put into subnets.
#[derive(Debug, Clone, Copy, Default)]
struct Filling {
    placed: u32,
    limit: Option<NodesLimit>,
}

fn fill(spaces: &mut Spaces, groups: &[Group], loads: &[Vec<NodeLoad>]) -> Vec<Filling> {
    let mut fillings = vec![Filling::default(); groups.len()];
    for (at, group) in groups.iter().enumerate().filter(|(_, group)| group.nodes.is_some()) {
        while fillings[at].limit.is_none() {
            fillings[at].add(spaces, group, &loads[at]);
        }
    }
    while fillings.iter().any(|filling| filling.limit.is_none()) {
        for (at, group) in groups.iter().enumerate() {
            if fillings[at].limit.is_none() {
                fillings[at].add(spaces, group, &loads[at]);
            }
        }
    }
    fillings
}

impl Filling {
    /// Adds the next node, or finds why it cannot.
    fn add(&mut self, spaces: &mut Spaces, group: &Group, loads: &[NodeLoad]) {
        if group.nodes == Some(self.placed) {
            self.limit = Some(NodesLimit::Asked);
        } else if self.placed == NODES_MAX {
            self.limit = Some(NodesLimit::NodesMax);
        } else {
            match spaces.place(&loads[self.placed as usize % loads.len()]) {
                Ok(()) => self.placed += 1,
                Err(limit) => self.limit = Some(limit),
            }
        }
    }

    fn into_fit(self, group: &Group, loads: Vec<NodeLoad>) -> GroupFit {
        let (types, placed) = (loads.len() as u32, self.placed);
        // Types take turns, so the first ones may have one node more.
        let nodes = |at: usize| placed / types + u32::from((at as u32) < placed % types);
        GroupFit {
            name: group.name.clone(),
            types: loads.into_iter().enumerate().map(|(at, load)| (load, nodes(at))).collect(),
            asked: group.nodes,
            limit: self.limit.unwrap_or(NodesLimit::Asked),
        }
    }
}

#[cfg(test)]
mod tests;
