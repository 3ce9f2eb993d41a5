//! The answer as JSON.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::capacity::node::{NodeLoad, PodsLimit};
use crate::capacity::scale_out::{Budget, ScaleOut, Simulated};
use crate::capacity::{GroupFit, Left, NodesLimit, SubnetSpace};
use crate::commands::capacity::{Answer, Wanted};

#[derive(Debug, Serialize)]
pub(super) struct Report {
    settings: BTreeMap<&'static str, String>,
    subnets: Vec<Subnet>,
    groups: Vec<Group>,
    total: Total,
    binds_first: &'static str,
    fits: bool,
    scale_out: Option<ScaleOutReport>,
}

/// Counts of addresses; `usable` leaves out the five that AWS keeps.
#[derive(Debug, Serialize)]
struct Subnet {
    name: String,
    cidr: String,
    usable: u32,
    free_before: u32,
    free_after: u32,
    free_prefixes_after: u32,
}

/// Null in `nodes_asked`: as many as fit.
#[derive(Debug, Serialize)]
struct Group {
    name: String,
    nodes: u32,
    nodes_asked: Option<u32>,
    nodes_bound_by: &'static str,
    pods: u64,
    types: Vec<Type>,
}

/// One instance type of a group; what is held is of each of its nodes.
#[derive(Debug, Serialize)]
struct Type {
    instance_type: &'static str,
    nodes: u32,
    max_pods: u32,
    pods_per_node: u32,
    pods_per_node_asked: Option<u32>,
    pods_bound_by: &'static str,
    enis: u32,
    ips: u32,
    prefixes: u32,
    addresses: u32,
    unused: u32,
    settled: bool,
}

/// Null in `nodes_unbroken`: no node uses prefixes.
#[derive(Debug, Serialize)]
struct Total {
    nodes: u64,
    pods: u64,
    addresses: u64,
    unused: u64,
    nodes_unbroken: Option<u32>,
}

/// Null in what follows `fits`: there is room for no node.
#[derive(Debug, Serialize)]
struct ScaleOutReport {
    nodes: u32,
    fits: u32,
    pods: Option<u64>,
    secs_at_least: Option<u64>,
    binds: Option<&'static str>,
    node_alone_ms: Option<u64>,
    actions: Vec<Action>,
    simulated: Option<SimulatedReport>,
}

#[derive(Debug, Serialize)]
struct Action {
    action: &'static str,
    calls: u64,
    bucket: u32,
    refill_per_sec: u32,
    secs_at_least: u64,
}

#[derive(Debug, Serialize)]
struct SimulatedReport {
    wait_max_ms: u64,
    pools_filled_ms: u64,
    pods_without_address: u64,
    throttled_calls: u64,
    duration_ms: u64,
}

impl Report {
    pub(super) fn of(answer: &Answer) -> Report {
        let subnets = answer.subnets.iter().zip(&answer.fit.subnets);
        Report {
            settings: answer.settings.env().into_iter().collect(),
            subnets: subnets.map(|(subnet, left)| Subnet::of(subnet, left)).collect(),
            groups: answer.fit.groups.iter().map(Group::of).collect(),
            total: Total::of(answer),
            binds_first: answer.binds_first().name(),
            fits: !answer.is_short(),
            scale_out: answer.scale_out.as_ref().map(ScaleOutReport::of),
        }
    }
}

impl Subnet {
    fn of(subnet: &SubnetSpace, left: &Left) -> Subnet {
        Subnet {
            name: subnet.name.clone(),
            cidr: subnet.range.to_string(),
            usable: subnet.capacity(),
            free_before: left.free_before,
            free_after: left.free,
            free_prefixes_after: left.free_prefixes,
        }
    }
}

impl Group {
    fn of(group: &GroupFit) -> Group {
        Group {
            name: group.name.clone(),
            nodes: group.nodes(),
            nodes_asked: group.asked,
            nodes_bound_by: nodes_bound_by(group.limit),
            pods: group.pods(),
            types: group.types.iter().map(|(load, nodes)| Type::of(load, *nodes)).collect(),
        }
    }
}

impl Type {
    fn of(load: &NodeLoad, nodes: u32) -> Type {
        Type {
            instance_type: load.kind.name,
            nodes,
            max_pods: load.pods_max,
            pods_per_node: load.pods,
            pods_per_node_asked: load.pods_asked,
            pods_bound_by: pods_bound_by(load.limit),
            enis: load.enis,
            ips: load.ips,
            prefixes: load.prefixes,
            addresses: load.addresses(),
            unused: load.unused(),
            settled: load.cycle.is_none(),
        }
    }
}

impl Total {
    fn of(answer: &Answer) -> Total {
        let groups = || answer.fit.groups.iter();
        Total {
            nodes: groups().map(|group| u64::from(group.nodes())).sum(),
            pods: groups().map(GroupFit::pods).sum(),
            addresses: groups().map(GroupFit::addresses).sum(),
            unused: groups().map(GroupFit::unused).sum(),
            nodes_unbroken: answer.fit.nodes_unbroken,
        }
    }
}

impl ScaleOutReport {
    fn of(wanted: &Wanted) -> ScaleOutReport {
        let steps = wanted.steps.as_ref();
        let actions = steps.map(|steps| steps.budgets.iter().map(Action::of).collect());
        ScaleOutReport {
            nodes: wanted.nodes,
            fits: wanted.room,
            pods: steps.map(|steps| steps.pods),
            secs_at_least: steps.map(ScaleOut::secs_at_least),
            binds: steps.and_then(ScaleOut::binding).map(|budget| budget.action),
            node_alone_ms: steps.map(|steps| steps.alone_ms),
            actions: actions.unwrap_or_default(),
            simulated: steps.and_then(|steps| steps.simulated.as_ref()).map(SimulatedReport::of),
        }
    }
}

impl Action {
    fn of(budget: &Budget) -> Action {
        Action {
            action: budget.action,
            calls: budget.calls,
            bucket: budget.bucket.capacity,
            refill_per_sec: budget.bucket.refill_per_sec,
            secs_at_least: budget.secs,
        }
    }
}

impl SimulatedReport {
    fn of(simulated: &Simulated) -> SimulatedReport {
        SimulatedReport {
            wait_max_ms: simulated.wait_max_ms,
            pools_filled_ms: simulated.filled_ms,
            pods_without_address: simulated.pods_never,
            throttled_calls: simulated.throttled,
            duration_ms: simulated.duration_ms,
        }
    }
}

fn nodes_bound_by(limit: NodesLimit) -> &'static str {
    match limit {
        NodesLimit::Asked => "asked",
        NodesLimit::Addresses => "subnet_addresses",
        NodesLimit::Prefixes => "subnet_prefixes",
        NodesLimit::NodesMax => "nodes_max",
    }
}

fn pods_bound_by(limit: PodsLimit) -> &'static str {
    match limit {
        PodsLimit::Asked => "asked",
        PodsLimit::MaxPods => "max_pods",
        PodsLimit::Enis => "enis",
        PodsLimit::Targets => "targets",
    }
}
