//! What simulations found, for people and for programs: tables, JSON, CSV, HTML with charts.
//!
//! Everything here turns a [`Comparison`] into text. The text holds neither dates nor how long the
//! run took: the same trace, settings and seed give the same bytes. Names come from traces and may
//! hold anything, so whatever a terminal or a browser shows of them goes through
//! [`figures::printable`] or an escape.

pub mod figures;

mod environment;

mod conclusion;

mod metrics;

mod table;

mod json;

mod csv;

mod html;

mod chart;

#[cfg(test)]
mod samples;

use std::collections::BTreeSet;

use crate::model::outcome::Outcome;
use crate::model::world::{Assignment, World};
use crate::trace::{Trace, What};
use crate::words::grouped;

pub use chart::story as story_svg;
pub use conclusion::conclusion;
pub use csv::{nodes as nodes_csv, series as series_csv, summary as summary_csv};
pub use environment::{environment, label_of};
pub use html::page as html_page;
pub use json::json;
pub use table::{per_node as per_node_table, text as text_table};

/// One trace under one or many settings.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// What all the runs share.
    pub scene: Scene,
    /// A run for each of the settings, in the order they were given. Not empty.
    pub runs: Vec<Run>,
}

/// The trace under one assignment of settings.
#[derive(Debug, Clone)]
pub struct Run {
    /// What it is called; no two runs are called the same.
    pub label: String,
    /// The settings.
    pub assignment: Assignment,
    /// What there is to know of where they come from.
    pub note: Option<&'static str>,
    /// What they led to.
    pub outcome: Outcome,
}

/// What all runs of a comparison share.
#[derive(Debug, Clone, PartialEq)]
pub struct Scene {
    /// The trace's name.
    pub trace: String,
    /// Nodes that are ever there.
    pub nodes: usize,
    /// Pods that start within the trace and want an address of their own.
    pub pods: u64,
    /// The node groups, sorted.
    pub groups: Vec<String>,
    /// The instance types, sorted.
    pub instance_types: Vec<&'static str>,
    /// From the trace's start to its end, milliseconds.
    pub duration_ms: u64,
    /// The seed of the simulator's choices.
    pub seed: u64,
    /// The subnets, as `name /length`, with what others hold of them.
    pub subnets: Vec<String>,
    /// The time between two tries of kubelet, milliseconds.
    pub kubelet_retry_ms: u64,
    /// Between two points of the series, milliseconds.
    pub series_step_ms: u64,
    /// When most pods start within five minutes; none where no pod starts.
    pub burst_ms: Option<u64>,
}

impl Scene {
    /// What a trace, a world and a seed have to say about all runs.
    pub fn of(trace: &Trace, world: &World, seed: u64) -> Scene {
        let starts = starts_ms(trace);
        let groups: BTreeSet<&str> = trace.nodes.iter().map(|node| node.group.as_str()).collect();
        let types: BTreeSet<&str> =
            trace.nodes.iter().map(|node| node.instance_type.name).collect();
        Scene {
            trace: trace.name.clone(),
            nodes: trace.nodes.len(),
            pods: starts.len() as u64,
            groups: groups.into_iter().map(str::to_owned).collect(),
            instance_types: types.into_iter().collect(),
            duration_ms: trace.end_ms,
            seed,
            subnets: world.subnets.iter().map(subnet_text).collect(),
            kubelet_retry_ms: world.kubelet_retry_ms,
            series_step_ms: world.series_step_ms,
            burst_ms: busiest(&starts),
        }
    }
}

/// When pods start that want an address, first ones first. Those that had one before the trace
/// began do not start.
fn starts_ms(trace: &Trace) -> Vec<u64> {
    let starts =
        |what: &What| matches!(what, What::Add { host_network: false, running: false, .. });
    trace.events.iter().filter(|event| starts(&event.what)).map(|event| event.at_ms).collect()
}

/// The start of the five minutes that most of these sorted times fall into.
fn busiest(times_ms: &[u64]) -> Option<u64> {
    let mut best = (0, None);
    let mut end = 0;
    for (at, &from_ms) in times_ms.iter().enumerate() {
        while times_ms.get(end).is_some_and(|&to_ms| to_ms < from_ms + BURST_MS) {
            end += 1;
        }
        if end - at > best.0 {
            best = (end - at, Some(from_ms));
        }
    }
    best.1
}

fn subnet_text(subnet: &crate::model::subnet::SubnetPlan) -> String {
    let size = format!("{} /{}", subnet.name, subnet.prefix_len);
    match subnet.taken {
        0 => size,
        taken => format!("{size}, {} taken by others", grouped(taken)),
    }
}

/// Pods that start within this time belong together.
const BURST_MS: u64 = 300_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_burst_is_where_most_pods_start() {
        assert_eq!(busiest(&[]), None);
        assert_eq!(busiest(&[7]), Some(7));
        assert_eq!(busiest(&[0, 400_000, 500_000, 600_000, 900_000]), Some(400_000));
        assert_eq!(busiest(&[0, 0, 600_000, 600_001]), Some(0));
    }
}
