//! Results as JSON, with every name as the trace has it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::environment::environment;
use super::{Comparison, Run, Scene};
use crate::model::ec2::Action;
use crate::model::outcome::{LatePod, NodeTally, SubnetTally, Tally, Waits};
use crate::model::settings::Settings;

/// The whole comparison as one object with a line break at its end; with `per_node` every run lists
/// its nodes.
pub fn json(comparison: &Comparison, per_node: bool) -> String {
    let document = Document::of(comparison, per_node);
    let text = serde_json::to_string_pretty(&document).expect("numbers and texts have a JSON form");
    text + "\n"
}

#[derive(Serialize)]
struct Document<'a> {
    version: &'static str,
    trace: TraceForm<'a>,
    world: WorldForm<'a>,
    seed: u64,
    settings: Vec<RunForm<'a>>,
    conclusion: Vec<String>,
}

impl<'a> Document<'a> {
    fn of(comparison: &'a Comparison, per_node: bool) -> Document<'a> {
        let Comparison { scene, runs } = comparison;
        Document {
            version: env!("CARGO_PKG_VERSION"),
            trace: TraceForm::of(scene),
            world: WorldForm {
                subnets: &scene.subnets,
                kubelet_retry_ms: scene.kubelet_retry_ms,
                series_step_ms: scene.series_step_ms,
            },
            seed: scene.seed,
            settings: runs.iter().map(|run| RunForm::of(run, per_node)).collect(),
            conclusion: super::conclusion(comparison),
        }
    }
}

#[derive(Serialize)]
struct TraceForm<'a> {
    name: &'a str,
    duration_ms: u64,
    nodes: usize,
    pods: u64,
    groups: &'a [String],
    instance_types: &'a [&'static str],
}

impl TraceForm<'_> {
    fn of(scene: &Scene) -> TraceForm<'_> {
        TraceForm {
            name: &scene.trace,
            duration_ms: scene.duration_ms,
            nodes: scene.nodes,
            pods: scene.pods,
            groups: &scene.groups,
            instance_types: &scene.instance_types,
        }
    }
}

#[derive(Serialize)]
struct WorldForm<'a> {
    subnets: &'a [String],
    kubelet_retry_ms: u64,
    series_step_ms: u64,
}

type Environment = BTreeMap<&'static str, String>;

fn environment_of(settings: &Settings) -> Environment {
    environment(settings).into_iter().collect()
}

#[derive(Serialize)]
struct RunForm<'a> {
    label: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'static str>,
    env: Environment,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    env_by_group: BTreeMap<&'a str, Environment>,
    fleet: TallyForm,
    subnets: Vec<SubnetForm<'a>>,
    late_pods: Vec<LatePodForm<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nodes: Option<Vec<NodeForm<'a>>>,
}

impl RunForm<'_> {
    fn of(run: &Run, per_node: bool) -> RunForm<'_> {
        let by_group = run.assignment.by_group.iter();
        let outcome = &run.outcome;
        RunForm {
            label: &run.label,
            note: run.note,
            env: environment_of(&run.assignment.everywhere),
            env_by_group: by_group
                .map(|(group, settings)| (group.as_str(), environment_of(settings)))
                .collect(),
            fleet: TallyForm::of(&outcome.fleet),
            subnets: outcome.subnets.iter().map(SubnetForm::of).collect(),
            late_pods: outcome.worst.iter().map(LatePodForm::of).collect(),
            nodes: per_node.then(|| outcome.nodes.iter().map(NodeForm::of).collect()),
        }
    }
}

#[derive(Serialize)]
struct TallyForm {
    pods: u64,
    pods_failed: u64,
    pods_never: u64,
    failed_adds: u64,
    wait_ms: WaitsForm,
    idle_address_ms: u128,
    held_address_ms: u128,
    used_address_ms: u128,
    primary_address_ms: u128,
    held_max: u32,
    used_max: u32,
    enis_max: u32,
    calls_total: u64,
    throttled_total: u64,
    calls: BTreeMap<&'static str, u64>,
    throttled: BTreeMap<&'static str, u64>,
    insufficient: u64,
    eni_attaches: u64,
    eni_detaches: u64,
    enis_leaked: u64,
    failed_starts: u64,
}

impl TallyForm {
    fn of(tally: &Tally) -> TallyForm {
        TallyForm {
            pods: tally.pods,
            pods_failed: tally.pods_failed,
            pods_never: tally.pods_never,
            failed_adds: tally.failed_adds,
            wait_ms: WaitsForm::of(&tally.waits),
            idle_address_ms: tally.idle_address_ms(),
            held_address_ms: tally.held_address_ms,
            used_address_ms: tally.used_address_ms,
            primary_address_ms: tally.primary_address_ms,
            held_max: tally.held_max,
            used_max: tally.used_max,
            enis_max: tally.enis_max,
            calls_total: tally.calls_total(),
            throttled_total: tally.throttled_total(),
            calls: by_name(&tally.calls),
            throttled: by_name(&tally.throttled),
            insufficient: tally.insufficient,
            eni_attaches: tally.eni_attaches,
            eni_detaches: tally.eni_detaches,
            enis_leaked: tally.enis_leaked,
            failed_starts: tally.failed_starts,
        }
    }
}

/// Every action, those without a call too: a program need not ask which are there.
fn by_name(counts: &BTreeMap<Action, u64>) -> BTreeMap<&'static str, u64> {
    let count = |action| counts.get(&action).copied().unwrap_or(0);
    Action::ALL.into_iter().map(|action| (action.name(), count(action))).collect()
}

/// Of the pods that got an address; percentiles are null where none did.
#[derive(Serialize)]
struct WaitsForm {
    count: u64,
    p50: Option<u64>,
    p95: Option<u64>,
    p99: Option<u64>,
    max: Option<u64>,
}

impl WaitsForm {
    fn of(waits: &Waits) -> WaitsForm {
        let some = |ms: u64| (waits.count > 0).then_some(ms);
        WaitsForm {
            count: waits.count,
            p50: some(waits.p50_ms),
            p95: some(waits.p95_ms),
            p99: some(waits.p99_ms),
            max: some(waits.max_ms),
        }
    }
}

#[derive(Serialize)]
struct SubnetForm<'a> {
    name: &'a str,
    capacity: u32,
    free_min: u32,
    free_prefixes_min: u32,
    free_end: u32,
}

impl SubnetForm<'_> {
    fn of(subnet: &SubnetTally) -> SubnetForm<'_> {
        SubnetForm {
            name: &subnet.name,
            capacity: subnet.capacity,
            free_min: subnet.free_min,
            free_prefixes_min: subnet.free_prefixes_min,
            free_end: subnet.free_end,
        }
    }
}

#[derive(Serialize)]
struct LatePodForm<'a> {
    pod: &'a str,
    node: &'a str,
    at_ms: u64,
    wait_ms: Option<u64>,
    failed_adds: u32,
}

impl LatePodForm<'_> {
    fn of(pod: &LatePod) -> LatePodForm<'_> {
        LatePodForm {
            pod: &pod.pod,
            node: &pod.node,
            at_ms: pod.at_ms,
            wait_ms: pod.wait_ms,
            failed_adds: pod.failed_adds,
        }
    }
}

#[derive(Serialize)]
struct NodeForm<'a> {
    name: &'a str,
    group: &'a str,
    instance_type: &'static str,
    #[serde(flatten)]
    tally: TallyForm,
}

impl NodeForm<'_> {
    fn of(node: &NodeTally) -> NodeForm<'_> {
        NodeForm {
            name: &node.name,
            group: &node.group,
            instance_type: node.instance_type,
            tally: TallyForm::of(&node.tally),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{HOSTILE, Sample, comparison, three};
    use super::*;

    fn parsed(comparison: &Comparison, per_node: bool) -> serde_json::Value {
        serde_json::from_str(&json(comparison, per_node)).unwrap()
    }

    #[test]
    fn figures_have_names_and_stay_whole() {
        let found = parsed(&three(), false);
        let starved = &found["settings"][1];
        assert_eq!(starved["env"], serde_json::json!({ "WARM_IP_TARGET": "1" }));
        assert_eq!(starved["fleet"]["failed_adds"], 300);
        assert_eq!(starved["fleet"]["idle_address_ms"], 24 * 3_600_000);
        assert_eq!(starved["fleet"]["wait_ms"]["p99"], 500_000);
        assert_eq!(starved["fleet"]["throttled"]["AssignPrivateIpAddresses"], 5);
        assert_eq!(starved["fleet"]["calls"]["CreateTags"], 0);
        assert!(starved.get("nodes").is_none());
    }

    #[test]
    fn names_come_through_unchanged() {
        let found = parsed(&three(), true);
        assert_eq!(found["trace"]["name"], HOSTILE);
        assert_eq!(found["settings"][0]["nodes"][0]["name"], HOSTILE);
        assert_eq!(found["settings"][0]["late_pods"][0]["pod"], HOSTILE);
    }

    #[test]
    fn without_a_pod_there_is_no_wait() {
        let mut empty = comparison(&[Sample::NONE]);
        empty.runs[0].outcome.fleet.waits = Waits::default();
        let found = parsed(&empty, false);
        assert_eq!(found["settings"][0]["fleet"]["wait_ms"]["p99"], serde_json::Value::Null);
    }
}
