//! The search for the settings that serve a trace best, and the reasons for them.
//!
//! ```text
//!   demand      what the trace asks of a node: pods at once, bursts, churn (arithmetic only)
//!     v
//!   candidates  which settings are worth a try for that
//!     v
//!   search      tries them on the simulator, coarse then fine, the last ones under several seeds
//!     v
//!   front       those that nothing else beats on every count
//!     v
//!   recommend   one of them, with its reasons, beside the settings people use
//!     v
//!   output      how to apply it
//! ```

pub mod demand;

pub mod headroom;

pub mod candidates;

pub mod goal;

pub mod runs;

pub mod search;

pub mod front;

pub mod recommend;

pub mod reason;

pub mod each;

pub mod output;

use std::collections::BTreeMap;

use crate::model::settings::{Mode, Settings};
use crate::model::simulate::simulate;
use crate::model::world::{Assignment, World};
use crate::plan::candidates::{Grid, Space};
use crate::plan::demand::Demand;
use crate::plan::goal::{Goal, Score};
use crate::plan::recommend::{Known, Plan};
use crate::plan::runs::{Load, SEEDS};
use crate::plan::search::{Effort, Search};
use crate::trace::{Node, Trace};

/// What a plan is asked for.
#[derive(Debug, Clone)]
pub struct Question<'a> {
    /// What pods and nodes do.
    pub trace: &'a Trace,
    /// The settings in force. What the warm targets do not touch (cooldown, custom networking and so
    /// on) holds for every candidate.
    pub in_force: &'a Settings,
    /// What is around the nodes.
    pub world: &'a World,
    /// What the recommended setting must keep to.
    pub goal: Goal,
    /// The modes that may be recommended; empty: the one in force.
    pub modes: Vec<Mode>,
    /// Pods beyond those of the trace that must be served too, in percent of them.
    pub headroom_percent: u32,
    /// The seed of the simulations; the last rounds use the two after it as well.
    pub seed: u64,
}

/// How far a search is: simulations done, and the most there will be.
pub type Progress<'a> = dyn Fn(usize, usize) + Sync + 'a;

/// Searches the best setting for a trace: the fewest idle address-hours among those that keep to
/// the goal under every seed. The same question has the same answer with any number of threads.
pub fn recommend(question: &Question<'_>, progress: &Progress<'_>) -> Plan {
    let trace = question.trace;
    let modes = question.modes();
    let room: Vec<u32> = trace.nodes.iter().map(|node| question.room(node, &modes)).collect();
    let loads = Loads::of(question, &room);
    let profile = Demand::of(&loads.raised[0], question.in_force.cooldown_ms).fleet;
    let target_max = room.iter().copied().max().unwrap_or(1).max(1);
    let breadth = Breadth::of(trace);
    let space = Space::of(&profile, question.in_force, &modes, breadth.grid, target_max);
    let demand = Demand::of(trace, question.in_force.cooldown_ms);
    let known = recommend::known(question.in_force, &demand.fleet, target_max);
    let settings: Vec<Settings> = known.iter().map(|(_, settings)| settings.clone()).collect();
    let sample_goal = loads.sample.as_ref().map(|sample| question.goal.of_part(sample, trace));
    let search = Search {
        space: &space,
        known: &settings,
        in_force: question.in_force,
        goal: &question.goal,
        sample_goal: sample_goal.as_ref(),
        effort: breadth.effort,
        has_headroom: question.headroom_percent > 0,
    };
    let simulate = |settings: &Settings, load: Load, nth: u64| {
        let trace = loads.trace(trace, load, nth);
        run(trace, &settings.clone().into(), question.world, question.seed.wrapping_add(nth))
    };
    let found = search.run(&simulate, progress);
    let kinds: Vec<Known> = known.iter().map(|(kind, _)| *kind).collect();
    let mut plan = recommend::plan(question, demand, &kinds, found);
    plan.sampled_nodes = loads.sample.map(|sample| sample.nodes.len());
    plan
}

/// The traces a search runs besides the one it is asked about.
struct Loads {
    /// With the headroom's pods, others under each seed.
    raised: Vec<Trace>,
    /// Some nodes of the first of them.
    sample: Option<Trace>,
}

impl Loads {
    fn of(question: &Question<'_>, room: &[u32]) -> Loads {
        let percent = question.headroom_percent;
        let raise = |nth| headroom::raise(question.trace, percent, room, nth);
        let variants = if percent == 0 { 1 } else { SEEDS };
        let raised: Vec<Trace> = (0..variants).map(raise).collect();
        let sample = sample(&raised[0]);
        Loads { raised, sample }
    }

    fn trace<'t>(&'t self, as_seen: &'t Trace, load: Load, nth: u64) -> &'t Trace {
        match (load, &self.sample) {
            (Load::AsSeen, _) => as_seen,
            (Load::Sample, Some(sample)) => sample,
            (Load::Sample | Load::Raised, _) => &self.raised[nth as usize % self.raised.len()],
        }
    }
}

/// Some nodes of a large trace, evenly of every node group and instance type; none: it is small
/// enough.
fn sample(trace: &Trace) -> Option<Trace> {
    let every = trace.events.len().div_ceil(EVENTS_OF_A_SAMPLE);
    if every < 2 {
        return None;
    }
    let mut seen: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut kept = Vec::with_capacity(trace.nodes.len());
    for node in &trace.nodes {
        let count = seen.entry((&node.group, node.instance_type.name)).or_insert(0);
        kept.push(count.is_multiple_of(every));
        *count += 1;
    }
    let mut kept = kept.into_iter();
    let part = trace.only(|_| kept.next().unwrap_or(false));
    part.filter(|part| part.nodes.len() < trace.nodes.len())
}

/// One simulation, scored.
fn run(trace: &Trace, assignment: &Assignment, world: &World, seed: u64) -> Score {
    let outcome = simulate(trace, assignment, world, seed, &mut |_| true);
    Score::of(&outcome.expect("a run that nobody stops comes to its end"))
}

impl Question<'_> {
    /// The modes that may be recommended.
    fn modes(&self) -> Vec<Mode> {
        match self.modes.is_empty() {
            true => vec![self.in_force.mode],
            false => self.modes.clone(),
        }
    }

    /// The pods with an address of their own that a node has room for, in any of these modes.
    fn room(&self, node: &Node, modes: &[Mode]) -> u32 {
        let (settings, instance_type) = (self.in_force, node.instance_type);
        let limit = instance_type.enis_max;
        let enis = settings.enis_max.map_or(limit, |max| max.min(limit));
        let others = self.world.unmanaged_enis
            + u32::from(settings.pod_eni)
            + u32::from(settings.custom_networking);
        let addresses =
            |mode: &Mode| enis.saturating_sub(others) * instance_type.pod_addresses_per_eni(*mode);
        modes.iter().map(addresses).min().unwrap_or(0).min(node.pods_max)
    }
}

/// How widely is searched: less for a long trace of many nodes, so that a plan takes about a minute
/// at most.
struct Breadth {
    grid: Grid,
    effort: Effort,
}

impl Breadth {
    fn of(trace: &Trace) -> Breadth {
        let is_large = trace.events.len() > EVENTS_OF_A_SAMPLE;
        let values = if is_large { 7 } else { 8 };
        let effort = Effort {
            fine_rounds: 6,
            fine: if is_large { 12 } else { 16 },
            proof_rounds: 5,
            proofs: if is_large { 6 } else { 8 },
            finalists: if is_large { 3 } else { 5 },
            more_warm: if is_large { 3 } else { 6 },
            front: if is_large { 6 } else { 8 },
        };
        Breadth { grid: Grid { warm_ip: values, minimum_ip: values }, effort }
    }
}

/// A trace with more events than this is large: its search is smaller, and begins with a sample of
/// about as many.
const EVENTS_OF_A_SAMPLE: usize = 30_000;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::model::limits;
    use crate::trace::{Event, What};

    fn crowded(nodes: usize, pods: u64) -> Trace {
        let mut trace = TraceBuilder::day(10_000_000);
        for _ in 0..nodes {
            trace = trace.node("same");
        }
        for at in 0..pods {
            trace = trace.pod(at as u32 % nodes as u32, at * 100, 50);
        }
        trace.build()
    }

    #[test]
    fn a_large_trace_has_a_sample_of_its_nodes() {
        let sample = sample(&crowded(9, 40_000)).expect("80,000 events are many");
        assert_eq!(sample.nodes.len(), 3);
        assert!(sample.events.len() < EVENTS_OF_A_SAMPLE);
    }

    #[test]
    fn a_small_trace_and_one_of_few_nodes_have_none() {
        assert_eq!(sample(&crowded(9, 10_000)), None);
        assert_eq!(sample(&crowded(1, 40_000)), None);
    }

    #[test]
    fn a_sample_has_its_share_of_the_calls() {
        let whole = TraceBuilder::day(10).node("a").node("b").build();
        let part = whole.only(|node| node.name == "a").expect("a node is left");
        let goal = Goal { calls_per_hour: Some(11), subnet_free: 7, ..Goal::default() };
        let of_part = goal.of_part(&part, &whole);
        assert_eq!((of_part.calls_per_hour, of_part.subnet_free), (Some(6), 0));
    }

    /// Writes small traces of m5.4xlarge nodes, which are there before the trace begins. A node's
    /// group is named like the node.
    pub(crate) struct TraceBuilder {
        trace: Trace,
    }

    impl TraceBuilder {
        pub(crate) fn day(end_ms: u64) -> TraceBuilder {
            let (nodes, pods, events) = (Vec::new(), Vec::new(), Vec::new());
            TraceBuilder { trace: Trace { name: "test".to_owned(), nodes, pods, events, end_ms } }
        }

        pub(crate) fn node(self, name: &str) -> TraceBuilder {
            self.join(name, 0, true)
        }

        pub(crate) fn node_at(self, name: &str, at_ms: u64) -> TraceBuilder {
            self.join(name, at_ms, false)
        }

        fn join(mut self, name: &str, at_ms: u64, running: bool) -> TraceBuilder {
            let node = self.trace.nodes.len() as u32;
            self.trace.nodes.push(Node {
                name: name.to_owned(),
                instance_type: limits::find("m5.4xlarge").expect("a known type"),
                group: name.to_owned(),
                spot: false,
                pods_max: 234,
                subnet: None,
            });
            self.event(at_ms, node, What::Join { running })
        }

        pub(crate) fn leave(self, node: u32, at_ms: u64) -> TraceBuilder {
            self.event(at_ms, node, What::Leave)
        }

        pub(crate) fn pod(self, node: u32, at_ms: u64, life_ms: u64) -> TraceBuilder {
            self.any_pod(node, at_ms, life_ms, false)
        }

        pub(crate) fn host_pod(self, node: u32, at_ms: u64, life_ms: u64) -> TraceBuilder {
            self.any_pod(node, at_ms, life_ms, true)
        }

        fn any_pod(mut self, node: u32, at_ms: u64, life_ms: u64, host: bool) -> TraceBuilder {
            let pod = self.trace.pods.len() as u32;
            self.trace.pods.push(format!("pod-{pod}"));
            let add = What::Add { pod, host_network: host, running: false };
            let self_ = self.event(at_ms, node, add);
            if at_ms + life_ms >= self_.trace.end_ms {
                return self_;
            }
            self_.event(at_ms + life_ms, node, What::Delete { pod })
        }

        fn event(mut self, at_ms: u64, node: u32, what: What) -> TraceBuilder {
            self.trace.events.push(Event { at_ms, node, what });
            self
        }

        pub(crate) fn build(mut self) -> Trace {
            self.trace.events.sort_by_key(|event| event.at_ms);
            self.trace
        }
    }
}
