//! The metrics: which reading goes out under which name, with which labels.
//!
//! Names, labels and buckets of `coredns_*` are those of CoreDNS 1.13, so that dashboards and
//! alerts written for it go on working; `dnscache_*` is what it has no name for. Counters stand
//! here without `_total`, which the encoder appends.

mod alterations;
mod blocks;
mod fairness;
mod forwards;
mod node;
mod kubernetes;
mod search;
mod snapshot;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

pub(super) use blocks::blocks;
pub(super) use fairness::{clients, slow_questions};
pub(super) use forwards::forwards;
pub(super) use kubernetes::kubernetes;
pub(super) use node::node;
pub(super) use search::{refreshes, searches};
pub(super) use snapshot::snapshots;

use super::sheet::{Labels, Sheet};
use super::sources::{CacheReading, HostsReading, ReloadReading};
use crate::counts::{PlaneCounts, PlaneReading};

/// Writes what the planes counted.
pub(super) fn planes(sheet: &mut Sheet<'_>, counts: &PlaneCounts) -> fmt::Result {
    let reading = counts.read();
    sheet.counter("coredns_panics", "Panics caught.", reading.panicked)?;
    unanswered(sheet, &reading)?;
    sheet.counters(
        "dnscache_stray_replies",
        "Replies to queries that were malformed or for no zone of ours, by response code.",
        reading.strays.iter().map(|(rcode, count)| (one_label("rcode", rcode), *count)),
    )?;
    let help = "Queries answered SERVFAIL because too many questions were under way.";
    sheet.counter("dnscache_handoff_full", help, reading.door_full)?;
    let help = "Queries that joined a question already in flight.";
    sheet.counter("dnscache_coalesced_queries", help, reading.coalesced)?;
    let help = "Questions not asked because too many were in flight.";
    sheet.counter("dnscache_waiting_full", help, reading.waiting_full)?;
    let help = "Clients waiting for an upstream.";
    sheet.gauge("dnscache_waiting_clients", help, reading.clients_waiting)?;
    let help = "TCP connections open.";
    sheet.gauge("dnscache_tcp_connections", help, reading.connections_open)
}

/// Packets, replies and connections that came to nothing.
fn unanswered(sheet: &mut Sheet<'_>, reading: &PlaneReading) -> fmt::Result {
    if reading.dropped_by_acl > 0 {
        // A packet that is not answered is not looked at closely enough to know its block.
        let labels = ["server", "zone", "view"].map(|key| (key, "".into())).to_vec();
        let help = "Queries dropped by acl.";
        sheet.counters("coredns_acl_dropped_requests", help, [(labels, reading.dropped_by_acl)])?;
    }
    sheet.counters(
        "dnscache_dropped_packets",
        "Packets that got no reply, by reason.",
        reading.dropped.map(|(reason, count)| (one_label("reason", reason), count)),
    )?;
    sheet.counters(
        "dnscache_tcp_connections_rejected",
        "TCP connections not served, by the bound that was reached.",
        reading.rejected.map(|(reason, count)| (one_label("reason", reason), count)),
    )?;
    sheet.counters(
        "dnscache_tcp_connections_closed",
        "TCP connections that ended, by what ended them.",
        reading.closed.map(|(reason, count)| (one_label("reason", reason), count)),
    )?;
    let help = "Replies the kernel did not take.";
    sheet.counter("dnscache_send_failures", help, reading.send_failed)?;
    let help = "Queries longer than the receive buffer.";
    sheet.counter("dnscache_oversized_queries", help, reading.oversized)
}

/// Writes what the caches hold.
pub(super) fn caches(sheet: &mut Sheet<'_>, reading: &CacheReading) -> fmt::Result {
    let mut sums: BTreeMap<_, (u64, u64)> = BTreeMap::new();
    for part in &reading.parts {
        let labels = (part.server.as_str(), part.kind, part.zones.as_str());
        let (entries, evictions) = sums.entry(labels).or_default();
        *entries += part.entries;
        *evictions += part.evictions;
    }
    let each = |value: fn(&(u64, u64)) -> u64| {
        sums.iter()
            .map(move |((server, kind, zones), sum)| (kind_labels(server, kind, zones), value(sum)))
    };
    sheet.gauges("coredns_cache_entries", "Answers in the cache.", each(|sum| sum.0))?;
    let help = "Answers removed from the cache to make room.";
    sheet.counters("coredns_cache_evictions", help, each(|sum| sum.1))?;
    sheet.gauge("dnscache_cache_bytes", "Bytes the cache holds.", reading.bytes)?;
    sheet.gauge("dnscache_cache_bytes_max", "Bytes the cache may hold.", reading.bytes_max)
}

/// Writes what `hosts` knows.
pub(super) fn hosts(sheet: &mut Sheet<'_>, reading: &HostsReading) -> fmt::Result {
    sheet.gauge("coredns_hosts_entries", "Entries of hosts files.", reading.entries)?;
    let reloaded = reading.reloaded_at_secs.map(|secs| (Labels::new(), secs));
    let help = "When a hosts file was last read.";
    sheet.gauges("coredns_hosts_reload_timestamp_seconds", help, reloaded)
}

/// Writes what `reload` did.
pub(super) fn reload(sheet: &mut Sheet<'_>, reading: &ReloadReading) -> fmt::Result {
    sheet.counter("coredns_reload_failed", "Configurations that were refused.", reading.failed)?;
    let version = reading.version.as_ref().map(|(hash, value)| {
        (
            vec![("hash", Cow::Borrowed(hash.as_str())), ("value", Cow::Borrowed(value.as_str()))],
            1_u64,
        )
    });
    let help = "Hash of the configuration in force.";
    sheet.gauges("coredns_reload_version_info", help, version)
}

fn kind_labels<'l>(server: &'l str, kind: &'l str, zones: &'l str) -> Labels<'l> {
    vec![
        ("server", server.into()),
        ("type", kind.into()),
        ("zones", zones.into()),
        ("view", "".into()),
    ]
}

fn one_label<'l>(key: &'static str, value: &'l str) -> Labels<'l> {
    vec![(key, Cow::Borrowed(value))]
}
