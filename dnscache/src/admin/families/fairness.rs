//! The metrics of what keeps one client, or one upstream's limit, from harming everybody: limits of
//! clients, slow questions, packets to upstreams that take only so many.

use std::fmt;

use super::one_label;
use crate::admin::sheet::Sheet;
use crate::admin::sources::PacketBudgetReading;
use crate::clients::Reading;

/// Writes what clients have in flight and what was turned away; who they are is told on `/clients`.
pub(in crate::admin) fn clients(sheet: &mut Sheet<'_>, reading: &Reading) -> fmt::Result {
    sheet.counters(
        "dnscache_client_limited",
        "Questions turned away because of a limit on clients, by reason.",
        reading.limited.map(|(reason, count)| (one_label("reason", reason), count)),
    )?;
    let help = "Clients known by what they asked of upstreams.";
    sheet.gauge("dnscache_clients", help, reading.known as u64)?;
    let help = "Shares of the bound on questions in flight that clients hold.";
    sheet.gauge("dnscache_client_shares", help, reading.shares as u64)?;
    let help = "Shares of the bound on questions in flight that there are.";
    sheet.gauge("dnscache_client_shares_max", help, reading.shares_max as u64)
}

/// Writes how many questions were slow.
pub(in crate::admin) fn slow_questions(
    sheet: &mut Sheet<'_>,
    counts: &[(&'static str, u64)],
) -> fmt::Result {
    sheet.counters(
        "dnscache_slow_questions",
        "Questions whose client waited longer than slowlog says, by where most of the time went.",
        counts.iter().map(|(stage, count)| (one_label("stage", stage), *count)),
    )
}

/// Writes what goes to upstreams that take only so many packets.
pub(super) fn packets(sheet: &mut Sheet<'_>, readings: &[PacketBudgetReading]) -> fmt::Result {
    let each = |value: fn(&PacketBudgetReading) -> u64| {
        readings.iter().map(move |reading| (one_label("to", &reading.to), value(reading)))
    };
    let help = "Packets sent to an upstream that takes only so many.";
    sheet.counters("dnscache_upstream_packets", help, each(|reading| reading.sent))?;
    let help = "Packets sent in the last second.";
    sheet.gauges(
        "dnscache_upstream_packets_per_second",
        help,
        each(|reading| reading.last_second),
    )?;
    let help = "The most packets sent in one second of the last minute or two.";
    sheet.gauges(
        "dnscache_upstream_packets_per_second_peak",
        help,
        each(|reading| reading.peak),
    )?;
    let help = "Packets the upstream takes in a second.";
    sheet.gauges(
        "dnscache_upstream_packets_per_second_max",
        help,
        each(|reading| reading.limit),
    )?;
    let help = "Packets in a second that may be spent on names nothing is known about.";
    let name = "dnscache_upstream_packets_per_second_max_unknown";
    sheet.gauges(name, help, each(|reading| reading.limit_of_strangers))?;
    let help = "Questions that waited until the upstream took packets again.";
    sheet.counters("dnscache_upstream_packets_delayed", help, each(|reading| reading.delayed))?;
    let help = "Questions turned away because the upstream takes no more packets.";
    sheet.counters("dnscache_upstream_packets_refused", help, each(|reading| reading.refused))
}
