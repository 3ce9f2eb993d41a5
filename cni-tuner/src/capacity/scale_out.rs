//! How long it takes to add many nodes at once: the calls of all of them against the account's token
//! buckets by arithmetic, which is the least it can take, and the same on the simulator, where
//! throttled nodes try again every few seconds.

use std::collections::BTreeMap;

use crate::capacity::node::NodeLoad;
use crate::capacity::{Group, GroupFit, SubnetSpace, fit};
use crate::model::ec2::{Action, Bucket, Ec2};
use crate::model::outcome::Outcome;
use crate::model::settings::Settings;
use crate::model::simulate::simulate;
use crate::model::subnet::SubnetPlan;
use crate::model::world::World;
use crate::trace::{Event, Node, Trace, What};

/// Instances that `RunInstances` starts: EC2 counts them in a bucket of their own (EC2 developer
/// guide, "Request throttling").
const RUN_INSTANCES: (&str, Bucket) =
    ("RunInstances", Bucket { capacity: 1_000, refill_per_sec: 2 });

/// The simulator is left out beyond this much, which would take it minutes: pods, and nodes times the
/// seconds that the buckets alone take.
const SIMULATED_PODS_MAX: u64 = 200_000;
const SIMULATED_NODE_SECS_MAX: u64 = 2_000_000;
/// Any seed is as good.
const SEED: u64 = 1;
/// A node alone is watched for so long; one that adds address by address may take two hours.
const ALONE_MS: u64 = 4 * 3_600_000;
/// After its last pod has its address a node still fills its warm pool.
const FILLING_MS: u64 = 25_000;
/// How often the time given to the simulator is doubled while pods still wait.
const DOUBLINGS_MAX: u32 = 3;

/// New nodes, all at once, with their pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScaleOut {
    /// How many.
    pub nodes: u32,
    /// Their pods with an address of their own.
    pub pods: u64,
    /// Calls of each action and the time its bucket takes for them; the slowest first.
    pub budgets: Vec<Budget>,
    /// How long the last pod waits on a node that has the account to itself, milliseconds.
    pub alone_ms: u64,
    /// The whole on the simulator; none where there is no room for all nodes, or where they are too
    /// many for it.
    pub simulated: Option<Simulated>,
}

/// The calls of one action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// EC2's name of it.
    pub action: &'static str,
    /// Calls, or instances for `RunInstances`.
    pub calls: u64,
    /// What the account lets pass; the CNI may have only a part of it ([`Ec2::share_percent`]).
    pub bucket: Bucket,
    /// The least time until the last one passes, seconds; 0 if the full bucket has them all.
    pub secs: u64,
}

/// What the simulator saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Simulated {
    /// The longest wait for an address among the pods that got one, milliseconds.
    pub wait_max_ms: u64,
    /// When the fleet first held as many addresses as it ever did, milliseconds.
    pub filled_ms: u64,
    /// Pods that still had none at the end.
    pub pods_never: u64,
    /// How long it ran, milliseconds.
    pub duration_ms: u64,
    /// Calls that were throttled.
    pub throttled: u64,
}

/// For how many of that many new nodes, spread evenly over the groups, there is room.
pub fn room_for(nodes: u32, groups: &[Group], subnets: &[SubnetSpace], settings: &Settings) -> u32 {
    let count = groups.len() as u32;
    let share = |at: u32| nodes / count + u32::from(at < nodes % count);
    let groups: Vec<Group> = groups
        .iter()
        .zip(0..)
        .map(|(group, at)| Group { nodes: Some(share(at)), ..group.clone() })
        .collect();
    fit(subnets, &groups, settings).groups.iter().map(GroupFit::nodes).sum()
}

impl ScaleOut {
    /// Of so many nodes, spread evenly over the groups and their types, into subnets that have room
    /// for `room` of them.
    pub fn of(
        nodes: u32,
        room: u32,
        groups: &[GroupFit],
        subnets: &[SubnetSpace],
        settings: &Settings,
        ec2: &Ec2,
    ) -> ScaleOut {
        let settings = Settings { sweeps_leaked: false, ..settings.clone() };
        let fleet = fleet(nodes, groups);
        let world = World {
            ec2: ec2.clone(),
            subnets: plans(subnets),
            series_step_ms: 1_000,
            ..World::default()
        };
        let alone: BTreeMap<&str, Outcome> =
            fleet.iter().map(|load| (load.kind.name, alone(load, &settings, &world))).collect();
        let pods = fleet.iter().map(|load| u64::from(load.pods)).sum();
        let budgets = budgets(&fleet, &alone, &world.ec2);
        let alone_ms = alone.values().map(|outcome| outcome.fleet.waits.max_ms).max().unwrap_or(0);
        let slowest_secs = budgets.first().map_or(0, |budget| budget.secs);
        let node_secs = u64::from(nodes) * (slowest_secs + alone_ms / 1_000);
        let is_feasible =
            room >= nodes && pods <= SIMULATED_PODS_MAX && node_secs <= SIMULATED_NODE_SECS_MAX;
        let end_ms = 2 * (alone_ms + slowest_secs * 1_000) + 600_000;
        let simulated = is_feasible.then(|| together(&fleet, &settings, &world, end_ms));
        ScaleOut { nodes, pods, budgets, alone_ms, simulated }
    }

    /// The least time until the last call passes its bucket, seconds.
    pub fn secs_at_least(&self) -> u64 {
        self.budgets.first().map_or(0, |budget| budget.secs)
    }

    /// The budget that takes longest; none if the full buckets have all calls.
    pub fn binding(&self) -> Option<&Budget> {
        self.budgets.first().filter(|budget| budget.secs > 0)
    }
}

/// The nodes in turns: a node of each group, each time of the group's next type.
fn fleet(nodes: u32, groups: &[GroupFit]) -> Vec<&NodeLoad> {
    let of = |at: usize| {
        let types = &groups[at % groups.len()].types;
        &types[at / groups.len() % types.len()].0
    };
    (0..nodes as usize).map(of).collect()
}

/// Each subnet in a zone of its own, as nodes are put into one subnet each.
fn plans(subnets: &[SubnetSpace]) -> Vec<SubnetPlan> {
    let plan = |subnet: &SubnetSpace| SubnetPlan {
        name: subnet.name.clone(),
        zone: subnet.name.clone(),
        prefix_len: subnet.range.prefix_len(),
        taken: subnet.capacity() - subnet.free,
    };
    subnets.iter().map(plan).collect()
}

/// A node that has the account and a large subnet to itself, until its pool is filled.
fn alone(load: &NodeLoad, settings: &Settings, world: &World) -> Outcome {
    let Ec2 { buckets, share_percent, .. } = Ec2::default();
    let ec2 = Ec2 { buckets, share_percent, ..world.ec2.clone() };
    let world = World { ec2, subnets: World::default().subnets, ..world.clone() };
    let wait_max_ms = run(&[load], settings, &world, ALONE_MS).fleet.waits.max_ms;
    run(&[load], settings, &world, wait_max_ms + FILLING_MS)
}

fn together(fleet: &[&NodeLoad], settings: &Settings, world: &World, end_ms: u64) -> Simulated {
    let mut outcome = run(fleet, settings, world, end_ms);
    for doublings in 1..=DOUBLINGS_MAX {
        if outcome.fleet.pods_never == 0 {
            break;
        }
        outcome = run(fleet, settings, world, end_ms << doublings);
    }
    let held_max = outcome.series.iter().map(|point| point.held).max().unwrap_or(0);
    let filled = outcome.series.iter().find(|point| point.held == held_max);
    Simulated {
        wait_max_ms: outcome.fleet.waits.max_ms,
        filled_ms: filled.map_or(0, |point| point.at_ms),
        pods_never: outcome.fleet.pods_never,
        duration_ms: outcome.duration_ms,
        throttled: outcome.fleet.throttled_total(),
    }
}

fn run(fleet: &[&NodeLoad], settings: &Settings, world: &World, end_ms: u64) -> Outcome {
    let trace = trace(fleet, end_ms);
    simulate(&trace, &settings.clone().into(), world, SEED, &mut |_| true)
        .expect("nobody stops this run")
}

/// Nodes that join as fast as `RunInstances` starts them, each with all its pods at once.
fn trace(fleet: &[&NodeLoad], end_ms: u64) -> Trace {
    let (mut nodes, mut pods, mut events) = (Vec::new(), Vec::new(), Vec::new());
    for (at, load) in fleet.iter().enumerate() {
        let node = at as u32;
        let at_ms = started_ms(u64::from(node));
        nodes.push(Node {
            name: format!("node-{at}"),
            instance_type: load.kind,
            group: String::new(),
            spot: false,
            pods_max: load.pods_max,
            subnet: None,
        });
        events.push(Event { at_ms, node, what: What::Join { running: false } });
        for number in 0..load.pods {
            let pod = pods.len() as u32;
            pods.push(format!("pod-{at}-{number}"));
            let what = What::Add { pod, host_network: false, running: false };
            events.push(Event { at_ms, node, what });
        }
    }
    let last_ms = events.last().map_or(0, |event| event.at_ms);
    Trace { name: "scale-out".to_owned(), nodes, pods, events, end_ms: end_ms.max(last_ms) }
}

/// When EC2 starts that node: the full bucket at once, the others as it refills.
fn started_ms(node: u64) -> u64 {
    let Bucket { capacity, refill_per_sec } = RUN_INSTANCES.1;
    (node + 1).saturating_sub(u64::from(capacity)) * 1_000 / u64::from(refill_per_sec)
}

fn budgets(fleet: &[&NodeLoad], alone: &BTreeMap<&str, Outcome>, ec2: &Ec2) -> Vec<Budget> {
    let calls = |action: &Action| -> u64 {
        fleet.iter().filter_map(|load| alone.get(load.kind.name)?.fleet.calls.get(action)).sum()
    };
    let of_cni = ec2.buckets.iter().map(|(action, bucket)| (action.name(), calls(action), *bucket));
    let of_ec2 = (RUN_INSTANCES.0, fleet.len() as u64, RUN_INSTANCES.1);
    let mut budgets: Vec<Budget> = of_cni
        .chain([of_ec2])
        .filter(|(_, calls, _)| *calls > 0)
        .map(|(action, calls, bucket)| {
            let share = if action == RUN_INSTANCES.0 { 100 } else { ec2.share_percent };
            Budget { action, calls, bucket, secs: secs(calls, bucket, share) }
        })
        .collect();
    budgets.sort_by_key(|budget| (u64::MAX - budget.secs, budget.action));
    budgets
}

/// The least time in which so many calls pass a part of a bucket that is full at first.
fn secs(calls: u64, bucket: Bucket, share_percent: u32) -> u64 {
    let share = u64::from(share_percent);
    let beyond = (calls * 100).saturating_sub(u64::from(bucket.capacity) * share);
    beyond.div_ceil(u64::from(bucket.refill_per_sec) * share)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capacity::{Group, fit};
    use crate::model::limits;

    fn subnets() -> Vec<SubnetSpace> {
        let range = "10.0.0.0/16".parse().expect("a CIDR");
        vec![SubnetSpace { name: "a".to_owned(), range, free: 65_531 }]
    }

    fn scale_out(nodes: u32, pods: u32, settings: &Settings, ec2: &Ec2) -> ScaleOut {
        let types = vec![limits::find("c5.9xlarge").expect("a known type")];
        let group =
            Group { name: "g".to_owned(), types, nodes: None, pods: Some(pods), pods_max: None };
        let fit = fit(&subnets(), &[group], settings);
        ScaleOut::of(nodes, nodes, &fit.groups, &subnets(), settings, ec2)
    }

    fn budget(scale_out: &ScaleOut, action: &str) -> (u64, u64) {
        let budget = scale_out.budgets.iter().find(|budget| budget.action == action);
        budget.map_or((0, 0), |budget| (budget.calls, budget.secs))
    }

    #[test]
    fn five_hundred_second_enis_take_90_s_at_best() {
        let scale_out = scale_out(500, 10, &Settings::default(), &Ec2::default());
        let binding = scale_out.binding().expect("a bucket binds");
        assert_eq!(binding.action, "AttachNetworkInterface");
        assert_eq!((binding.calls, binding.secs), (500, 90));
        assert_eq!(budget(&scale_out, "CreateNetworkInterface"), (500, 80));
        let simulated = scale_out.simulated.as_ref().expect("few enough pods");
        assert_eq!(simulated.pods_never, 0);
        assert!(simulated.filled_ms >= 90_000, "{simulated:?}");
        assert!(simulated.throttled > 0);
    }

    #[test]
    fn a_pool_on_one_eni_needs_no_attachment() {
        let settings = Settings { warm_ip: 1, minimum_ip: 11, ..Settings::default() };
        let scale_out = scale_out(500, 10, &settings, &Ec2::default());
        assert_eq!(budget(&scale_out, "AttachNetworkInterface"), (0, 0));
        assert_eq!(budget(&scale_out, "AssignPrivateIpAddresses"), (500, 80));
    }

    #[test]
    fn a_few_nodes_are_never_throttled() {
        let scale_out = scale_out(5, 10, &Settings::default(), &Ec2::default());
        assert_eq!(scale_out.binding(), None);
        assert_eq!(scale_out.simulated.map(|simulated| simulated.throttled), Some(0));
    }

    #[test]
    fn what_would_take_the_simulator_minutes_is_left_to_arithmetic() {
        let settings = Settings { warm_ip: 1, ..Settings::default() };
        let scale_out = scale_out(1_000, 38, &settings, &Ec2::default());
        assert_eq!(budget(&scale_out, "AssignPrivateIpAddresses"), (38_000, 7_580));
        assert_eq!(scale_out.simulated, None);
    }

    #[test]
    fn half_an_account_takes_more_than_twice_as_long() {
        let ec2 = Ec2 { share_percent: 50, ..Ec2::default() };
        let scale_out = scale_out(500, 10, &Settings::default(), &ec2);
        // (500 - 25) / 2.5
        assert_eq!(budget(&scale_out, "AttachNetworkInterface"), (500, 190));
    }

    #[test]
    fn instances_themselves_start_two_a_second_beyond_a_thousand() {
        assert_eq!([started_ms(0), started_ms(999), started_ms(1_000)], [0, 0, 500]);
        assert_eq!(secs(1_500, RUN_INSTANCES.1, 100), 250);
    }

    #[test]
    fn a_bucket_takes_the_time_of_what_it_does_not_hold() {
        let bucket = Bucket { capacity: 50, refill_per_sec: 5 };
        for (calls, expected) in [(0, 0), (50, 0), (51, 1), (55, 1), (56, 2), (500, 90)] {
            assert_eq!(secs(calls, bucket, 100), expected, "{calls}");
        }
    }
}
