//! Results as comma-separated values: a line for each setting, node, or point of time.

use csv::Writer;

use super::environment::environment_text;
use super::{Comparison, Run};
use crate::model::outcome::{NodeTally, Point, Tally};

/// A line for each of the settings.
pub fn summary(comparison: &Comparison) -> String {
    let heads = ["setting", "env", "subnet_free_min"];
    let lines = comparison.runs.iter().map(|run| {
        let free = run.outcome.subnets.iter().map(|subnet| subnet.free_min).min();
        let heads = [run.label.clone(), environment_text(&run.assignment), optional(free)];
        heads.into_iter().chain(figures(&run.outcome.fleet)).collect()
    });
    written(heads.into_iter().chain(FIGURES), lines)
}

/// A line for each node under each of the settings.
pub fn nodes(comparison: &Comparison) -> String {
    let heads = ["setting", "node", "group", "instance_type"];
    let line = |run: &Run, node: &NodeTally| {
        let type_name = node.instance_type.to_owned();
        let heads = [run.label.clone(), node.name.clone(), node.group.clone(), type_name];
        heads.into_iter().chain(figures(&node.tally)).collect()
    };
    let lines = comparison
        .runs
        .iter()
        .flat_map(|run| run.outcome.nodes.iter().map(move |node| line(run, node)));
    written(heads.into_iter().chain(FIGURES), lines)
}

/// A line for each point of time under each of the settings.
pub fn series(comparison: &Comparison) -> String {
    let line = |run: &Run, point: &Point| {
        let figures = [
            point.at_ms,
            u64::from(point.nodes),
            u64::from(point.held),
            u64::from(point.used),
            u64::from(point.waiting),
            u64::from(point.subnet_free),
            u64::from(point.calls),
            u64::from(point.throttled),
            u64::from(point.failed_adds),
            point.wait_max_ms,
        ];
        let figures = figures.iter().map(u64::to_string);
        [run.label.clone()].into_iter().chain(figures).collect()
    };
    let lines = comparison
        .runs
        .iter()
        .flat_map(|run| run.outcome.series.iter().map(move |point| line(run, point)));
    written(SERIES.into_iter(), lines)
}

const FIGURES: [&str; 21] = [
    "pods",
    "pods_failed",
    "pods_never",
    "failed_adds",
    "wait_p50_ms",
    "wait_p95_ms",
    "wait_p99_ms",
    "wait_max_ms",
    "idle_address_ms",
    "held_address_ms",
    "used_address_ms",
    "held_max",
    "used_max",
    "enis_max",
    "calls",
    "throttled",
    "insufficient",
    "eni_attaches",
    "eni_detaches",
    "enis_leaked",
    "failed_starts",
];

const SERIES: [&str; 11] = [
    "setting",
    "at_ms",
    "nodes",
    "held",
    "used",
    "waiting",
    "subnet_free",
    "calls",
    "throttled",
    "failed_adds",
    "wait_max_ms",
];

fn figures(tally: &Tally) -> [String; FIGURES.len()] {
    let waits = &tally.waits;
    let wait = |ms: u64| optional((waits.count > 0).then_some(ms));
    [
        tally.pods.to_string(),
        tally.pods_failed.to_string(),
        tally.pods_never.to_string(),
        tally.failed_adds.to_string(),
        wait(waits.p50_ms),
        wait(waits.p95_ms),
        wait(waits.p99_ms),
        wait(waits.max_ms),
        tally.idle_address_ms().to_string(),
        tally.held_address_ms.to_string(),
        tally.used_address_ms.to_string(),
        tally.held_max.to_string(),
        tally.used_max.to_string(),
        tally.enis_max.to_string(),
        tally.calls_total().to_string(),
        tally.throttled_total().to_string(),
        tally.insufficient.to_string(),
        tally.eni_attaches.to_string(),
        tally.eni_detaches.to_string(),
        tally.enis_leaked.to_string(),
        tally.failed_starts.to_string(),
    ]
}

/// Empty where there is no value.
fn optional(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

fn written<'a>(
    heads: impl Iterator<Item = &'a str>,
    lines: impl Iterator<Item = Vec<String>>,
) -> String {
    let mut writer = Writer::from_writer(Vec::new());
    writer.write_record(heads).expect("memory takes every line");
    for line in lines {
        writer.write_record(line).expect("every line has as many fields as the first");
    }
    let bytes = writer.into_inner().expect("memory takes every line");
    String::from_utf8(bytes).expect("fields are UTF-8")
}

#[cfg(test)]
mod tests {
    use super::super::samples::{HOSTILE, three};
    use super::*;

    /// The lines behind the first, by the first's names.
    fn read(text: &str) -> Vec<std::collections::BTreeMap<String, String>> {
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        reader.deserialize().collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn every_setting_has_a_line() {
        let lines = read(&summary(&three()));
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[1]["env"], "WARM_IP_TARGET=1");
        assert_eq!(lines[1]["wait_p99_ms"], "500000");
        assert_eq!(lines[1]["idle_address_ms"], "86400000");
        assert_eq!(lines[1]["subnet_free_min"], "3900");
        assert_eq!(lines[2]["setting"], HOSTILE);
    }

    #[test]
    fn every_node_has_a_line() {
        let lines = read(&nodes(&three()));
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[1]["node"], HOSTILE);
        assert_eq!(lines[1]["group"], "group, \"a\"");
        assert_eq!(lines[1]["failed_adds"], "300");
    }

    #[test]
    fn every_point_has_a_line() {
        let lines = read(&series(&three()));
        assert_eq!(lines.len(), 3 * 289);
        let burst = lines.iter().find(|line| line["waiting"] == "93").unwrap();
        assert_eq!((burst["setting"].as_str(), burst["at_ms"].as_str()), ("W=1", "32400000"));
    }
}
