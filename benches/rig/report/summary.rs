//! Medians over rounds.

use std::collections::BTreeMap;

use super::Row;

/// One server in one scenario, over all rounds.
#[derive(Debug, Clone)]
pub struct Summary {
    pub scenario: &'static str,
    pub server: &'static str,
    pub cpu_us: Spread,
    /// The median of the ratios of each round, which is steadier than the ratio of the medians:
    /// what slows a whole round down slows both of its parts.
    pub echo_ratio: Option<Spread>,
    pub unbound_ratio: Option<Spread>,
    pub queries_per_sec: Spread,
    /// p50, p99 and p99.9.
    pub latency_us: Option<[Spread; 3]>,
    /// Over all rounds.
    pub lost: u64,
    /// Over all rounds.
    pub wrong: u64,
    pub rss_bytes: Spread,
    pub extra: Vec<(&'static str, Spread)>,
}

/// A median and the values around it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// `None` without values.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_unstable_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = match values.len() % 2 {
            1 => values[middle],
            _ => (values[middle - 1] + values[middle]) / 2.0,
        };
        Some(Spread { median, min, max })
    }
}

/// One summary per scenario and server, in the order in which they were first measured.
pub fn summaries(rows: &[Row]) -> Vec<Summary> {
    let unbound: BTreeMap<(&str, u32), f64> = rows
        .iter()
        .filter(|row| row.server == "unbound")
        .map(|row| ((row.scenario, row.round), row.cpu_us))
        .collect();
    pairs(rows)
        .into_iter()
        .filter_map(|(scenario, server)| {
            let rows: Vec<&Row> =
                rows.iter().filter(|r| r.scenario == scenario && r.server == server).collect();
            summary(&rows, &unbound)
        })
        .collect()
}

/// Scenarios in the order of their first row, and in each its servers in that order.
fn pairs(rows: &[Row]) -> Vec<(&'static str, &'static str)> {
    let mut scenarios = Vec::new();
    let mut pairs = Vec::new();
    for row in rows {
        if !scenarios.contains(&row.scenario) {
            scenarios.push(row.scenario);
        }
        if !pairs.contains(&(row.scenario, row.server)) {
            pairs.push((row.scenario, row.server));
        }
    }
    pairs.sort_by_key(|(scenario, _)| scenarios.iter().position(|other| other == scenario));
    pairs
}

fn summary(rows: &[&Row], unbound: &BTreeMap<(&str, u32), f64>) -> Option<Summary> {
    let first = rows.first()?;
    let spread =
        |value: &dyn Fn(&Row) -> Option<f64>| Spread::of(rows.iter().filter_map(|row| value(row)));
    let latency = |at: usize| spread(&|row| Some(row.latency_us?[at]));
    let latency_us = match (latency(0), latency(1), latency(2)) {
        (Some(p50), Some(p99), Some(p999)) => Some([p50, p99, p999]),
        _ => None,
    };
    let unbound_ratio = |row: &Row| {
        let other = unbound.get(&(row.scenario, row.round)).filter(|cpu_us| **cpu_us > 0.0)?;
        Some(row.cpu_us / other)
    };
    Some(Summary {
        scenario: first.scenario,
        server: first.server,
        cpu_us: spread(&|row| Some(row.cpu_us))?,
        echo_ratio: spread(&|row| row.echo_ratio),
        unbound_ratio: spread(&unbound_ratio),
        queries_per_sec: spread(&|row| Some(row.queries_per_sec))?,
        latency_us,
        lost: rows.iter().map(|row| row.lost).sum(),
        wrong: rows.iter().map(|row| row.wrong).sum(),
        rss_bytes: spread(&|row| Some(row.rss_bytes as f64))?,
        extra: extras(rows),
    })
}

/// The figures by name, in the order of their first appearance.
fn extras(rows: &[&Row]) -> Vec<(&'static str, Spread)> {
    let mut names = Vec::new();
    for (name, _) in rows.iter().flat_map(|row| &row.extra) {
        if !names.contains(name) {
            names.push(*name);
        }
    }
    let values = |name: &str| {
        let all = rows.iter().flat_map(|row| &row.extra);
        let named = all.filter(|(other, _)| *other == name).map(|(_, value)| *value);
        Spread::of(named.collect::<Vec<f64>>())
    };
    names.into_iter().filter_map(|name| Some((name, values(name)?))).collect()
}
