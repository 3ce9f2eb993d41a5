//! The metrics of server blocks: queries, replies, cache and acl; those of search paths are beside.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use super::{alterations, kind_labels, search};
use crate::admin::sheet::{Labels, Sample, Sheet};
use crate::admin::sources::BlockSource;
use crate::counts::{BlockCounts, BlockReading, DURATION_BOUNDS, HistogramReading, SIZE_BOUNDS};

/// Writes what the server blocks counted.
pub(in crate::admin) fn blocks(sheet: &mut Sheet<'_>, blocks: &[BlockSource]) -> fmt::Result {
    let readings: Vec<_> = blocks.iter().map(|block| (block, block.counts.read())).collect();
    directives(sheet, blocks)?;
    queries(sheet, &readings)?;
    replies(sheet, &readings)?;
    cache_counts(sheet, &readings)?;
    search::counts(sheet, &readings)?;
    acl_counts(sheet, &readings)?;
    alterations::counts(sheet, &readings)
}

pub(super) type Readings<'b> = [(&'b BlockSource, BlockReading)];

fn directives(sheet: &mut Sheet<'_>, blocks: &[BlockSource]) -> fmt::Result {
    let enabled = blocks.iter().flat_map(|block| {
        let with_name = |name: &&'static str| {
            let mut labels = block_labels(&block.counts);
            labels.push(("name", Cow::Borrowed(*name)));
            (labels, 1_u64)
        };
        block.directives.iter().map(with_name)
    });
    sheet.gauges("coredns_plugin_enabled", "Directives in use, by server block.", enabled)
}

fn queries(sheet: &mut Sheet<'_>, readings: &Readings<'_>) -> fmt::Result {
    let requests = readings.iter().flat_map(|(block, reading)| {
        reading.requests.iter().map(|request| {
            let mut labels = block_labels(&block.counts);
            labels.push(("proto", transport_label(request.tcp).into()));
            labels.push(("family", if request.ipv6 { "2" } else { "1" }.into()));
            labels.push(("type", request.type_label.into()));
            (labels, request.count)
        })
    });
    sheet.counters("coredns_dns_requests", "Queries by protocol, family and type.", requests)?;
    let dnssec_ok = readings
        .iter()
        .map(|(block, reading)| (block_labels(&block.counts), reading.requests_dnssec_ok));
    sheet.counters("coredns_dns_do_requests", "Queries with the DO bit set.", dnssec_ok)?;
    sheet.histograms(
        "coredns_dns_request_size_bytes",
        "Size of queries in bytes.",
        &SIZE_BOUNDS,
        by_transport(readings, |reading| &reading.request_sizes),
    )
}

fn replies(sheet: &mut Sheet<'_>, readings: &Readings<'_>) -> fmt::Result {
    let durations = readings.iter().flat_map(|(block, reading)| {
        reading.durations.iter().map(|(type_label, durations)| {
            let mut labels = block_labels(&block.counts);
            labels.push(("type", Cow::Borrowed(*type_label)));
            (labels, durations.clone())
        })
    });
    sheet.histograms(
        "coredns_dns_request_duration_seconds",
        "Time from query to reply in seconds.",
        &DURATION_BOUNDS,
        durations,
    )?;
    sheet.histograms(
        "coredns_dns_response_size_bytes",
        "Size of replies in bytes.",
        &SIZE_BOUNDS,
        by_transport(readings, |reading| &reading.reply_sizes),
    )?;
    sheet.counters(
        "coredns_dns_responses",
        "Replies by response code and by the directive that answered.",
        by_answerer(readings),
    )
}

fn by_answerer<'r>(readings: &'r Readings<'_>) -> impl Iterator<Item = Sample<'r, u64>> {
    readings.iter().flat_map(|(block, reading)| {
        // Several answerers share one label (live and expired answers both are `cache`).
        let mut sums = BTreeMap::new();
        for reply in &reading.replies {
            *sums.entry((reply.rcode_label(), reply.plugin_label())).or_insert(0_u64) +=
                reply.count;
        }
        sums.into_iter().map(|((rcode, plugin), count)| {
            let mut labels = block_labels(&block.counts);
            labels.push(("rcode", rcode));
            labels.push(("plugin", plugin.into()));
            (labels, count)
        })
    })
}

fn by_transport<'r>(
    readings: &'r Readings<'_>,
    pick: fn(&BlockReading) -> &[HistogramReading; 2],
) -> impl Iterator<Item = Sample<'r, HistogramReading>> {
    readings.iter().flat_map(move |(block, reading)| {
        let histograms = [false, true].into_iter().zip(pick(reading));
        histograms.filter(|(_, sizes)| sizes.count > 0).map(|(tcp, sizes)| {
            let mut labels = block_labels(&block.counts);
            labels.push(("proto", transport_label(tcp).into()));
            (labels, sizes.clone())
        })
    })
}

fn cache_counts(sheet: &mut Sheet<'_>, readings: &Readings<'_>) -> fmt::Result {
    let caches = || readings.iter().filter(|(block, _)| block.has("cache"));
    let each = |value: fn(&BlockReading) -> u64| {
        caches().map(move |(block, reading)| (zones_labels(&block.counts), value(reading)))
    };
    let hits = caches().flat_map(|(block, reading)| {
        let kinds = [("success", reading.hits_success()), ("denial", reading.hits_denial())];
        kinds.map(|(kind, count)| {
            let (server, zones) = (block.counts.server_label(), block.counts.zone_label());
            (kind_labels(server, kind, zones), count)
        })
    });
    sheet.counters("coredns_cache_hits", "Queries answered from the cache.", hits)?;
    sheet.counters(
        "coredns_cache_misses",
        "Queries the cache could not answer.",
        each(|reading| reading.misses),
    )?;
    sheet.counters(
        "coredns_cache_requests",
        "Queries the cache was asked.",
        each(|reading| reading.hits_success() + reading.hits_denial() + reading.misses),
    )?;
    sheet.counters(
        "coredns_cache_prefetch",
        "Answers renewed before they expired.",
        each(|reading| reading.renewals),
    )?;
    sheet.counters(
        "coredns_cache_drops",
        "Messages from upstream that were not kept because they break the rules.",
        each(|reading| reading.unusable),
    )?;
    sheet.counters(
        "coredns_cache_served_stale",
        "Queries answered with an expired answer.",
        each(BlockReading::served_stale),
    )
}

fn acl_counts(sheet: &mut Sheet<'_>, readings: &Readings<'_>) -> fmt::Result {
    let each = |value: fn(&BlockReading) -> u64| {
        let filtering = readings.iter().filter(|(block, _)| block.has("acl"));
        filtering.map(move |(block, reading)| (block_labels(&block.counts), value(reading)))
    };
    sheet.counters(
        "coredns_acl_blocked_requests",
        "Queries refused by acl.",
        each(BlockReading::acl_blocked),
    )?;
    sheet.counters(
        "coredns_acl_filtered_requests",
        "Queries answered without records by acl.",
        each(BlockReading::acl_filtered),
    )?;
    // One sum per `server`: this metric alone has no zone.
    let mut allowed = BTreeMap::new();
    for (block, reading) in readings.iter().filter(|(block, _)| block.has("acl")) {
        *allowed.entry(block.counts.server_label()).or_insert(0_u64) += reading.acl_allowed();
    }
    let allowed = allowed
        .into_iter()
        .map(|(server, count)| (vec![("server", server.into()), ("view", "".into())], count));
    sheet.counters("coredns_acl_allowed_requests", "Queries let through by acl.", allowed)
}

pub(super) fn block_labels(counts: &BlockCounts) -> Labels<'_> {
    vec![
        ("server", counts.server_label().into()),
        ("zone", counts.zone_label().into()),
        ("view", "".into()),
    ]
}

fn zones_labels(counts: &BlockCounts) -> Labels<'_> {
    vec![
        ("server", counts.server_label().into()),
        ("zones", counts.zone_label().into()),
        ("view", "".into()),
    ]
}

fn transport_label(tcp: bool) -> &'static str {
    if tcp { "tcp" } else { "udp" }
}
