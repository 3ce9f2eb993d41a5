//! The figures a run is judged by, in the order people read them.

use super::figures::{address_hours, wait};
use crate::model::outcome::{Outcome, Tally, Waits};
use crate::words::grouped;

/// A figure of a run: what it is called and how it is read.
pub(super) struct Metric {
    /// With its unit, at most 26 letters.
    pub(super) name: &'static str,
    /// Of a fleet.
    pub(super) of: fn(&Outcome) -> String,
}

/// All of them.
pub(super) const METRICS: [Metric; 18] = [
    Metric { name: "failed ADDs", of: |run| grouped(run.fleet.failed_adds) },
    Metric { name: "pods that met one", of: |run| grouped(run.fleet.pods_failed) },
    Metric { name: "pods never served", of: |run| grouped(run.fleet.pods_never) },
    Metric { name: "wait p50", of: |run| wait_of(&run.fleet, |waits| waits.p50_ms) },
    Metric { name: "wait p95", of: |run| wait_of(&run.fleet, |waits| waits.p95_ms) },
    Metric { name: "wait p99", of: |run| wait_of(&run.fleet, |waits| waits.p99_ms) },
    Metric { name: "wait max", of: |run| wait_of(&run.fleet, |waits| waits.max_ms) },
    Metric { name: "idle address-hours", of: |run| address_hours(run.fleet.idle_address_ms()) },
    Metric { name: "held address-hours", of: |run| address_hours(run.fleet.held_address_ms) },
    Metric { name: "used address-hours", of: |run| address_hours(run.fleet.used_address_ms) },
    Metric { name: "most held at once", of: |run| grouped(run.fleet.held_max) },
    Metric { name: "most used at once", of: |run| grouped(run.fleet.used_max) },
    Metric { name: "EC2 calls", of: |run| grouped(run.fleet.calls_total()) },
    Metric { name: "throttled calls", of: |run| grouped(run.fleet.throttled_total()) },
    Metric { name: "insufficient addresses", of: |run| grouped(run.fleet.insufficient) },
    Metric { name: "ENIs attached", of: |run| grouped(run.fleet.eni_attaches) },
    Metric { name: "ENIs leaked", of: |run| grouped(run.fleet.enis_leaked) },
    Metric { name: "fewest free in a subnet", of: fewest_free },
];

/// A wait of the pods that got an address; `-` where none did.
pub(super) fn wait_of(tally: &Tally, part: fn(&Waits) -> u64) -> String {
    if tally.waits.count == 0 { "-".to_owned() } else { wait(part(&tally.waits)) }
}

fn fewest_free(run: &Outcome) -> String {
    let fewest = run.subnets.iter().map(|subnet| subnet.free_min).min();
    fewest.map_or_else(|| "-".to_owned(), grouped)
}
