//! The metrics of upstreams, under the `proxy` names of CoreDNS and under the older `forward` ones.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use super::fairness::packets;
use super::one_label;
use crate::admin::sheet::{Labels, Sheet};
use crate::admin::sources::{ForwardReading, UpstreamReading};
use crate::counts::{DURATION_BOUNDS, HistogramReading};

/// Writes what happened between us and the upstreams.
pub(in crate::admin) fn forwards(sheet: &mut Sheet<'_>, reading: &ForwardReading) -> fmt::Result {
    sheet.counter(
        "coredns_forward_healthcheck_broken",
        "Questions that found every upstream unhealthy.",
        reading.healthcheck_broken,
    )?;
    sheet.counter(
        "coredns_forward_max_concurrent_rejects",
        "Questions refused because max_concurrent was reached.",
        reading.max_concurrent_rejects,
    )?;
    packets(sheet, &reading.packets)?;
    let upstreams = Upstreams::of(&reading.upstreams);
    exchanges(sheet, &upstreams)?;
    connections(sheet, &upstreams)?;
    let failures: Vec<_> = upstreams.healthcheck_failures.iter().collect();
    let help = "Health probes of an upstream that failed.";
    sheet.counters(
        "coredns_proxy_healthcheck_failures",
        help,
        failures.iter().map(|(at, count)| (proxy_labels(at), **count)),
    )?;
    sheet.counters(
        "coredns_forward_healthcheck_failures",
        help,
        failures.iter().map(|((_, to), count)| (one_label("to", to), **count)),
    )?;
    sheet.counters(
        "dnscache_forged_replies",
        "Messages from an upstream's address that were not the reply awaited, by reason.",
        upstreams.forged.iter().map(|((to, reason), count)| {
            (vec![("to", Cow::Borrowed(*to)), ("reason", Cow::Borrowed(*reason))], *count)
        }),
    )
}

/// The upstreams' numbers by labels: two `forward`s to one address share a series.
#[derive(Default)]
struct Upstreams<'r> {
    durations: BTreeMap<(Upstream<'r>, &'r str), HistogramReading>,
    healthcheck_failures: BTreeMap<Upstream<'r>, u64>,
    connections: BTreeMap<(Upstream<'r>, &'r str), (u64, u64)>,
    forged: BTreeMap<(&'r str, &'r str), u64>,
}

/// The labels `proxy_name` and `to`.
type Upstream<'r> = (&'r str, &'r str);

impl<'r> Upstreams<'r> {
    fn of(readings: &'r [UpstreamReading]) -> Self {
        let mut sums = Self::default();
        for reading in readings {
            let upstream = (reading.proxy_name.as_str(), reading.to.as_str());
            for (rcode, durations) in &reading.durations {
                sums.durations.entry((upstream, rcode)).or_default().merge(durations);
            }
            *sums.healthcheck_failures.entry(upstream).or_default() += reading.healthcheck_failures;
            for connection in &reading.connections {
                let sum = sums.connections.entry((upstream, &connection.proto)).or_default();
                *sum = (sum.0 + connection.hits, sum.1 + connection.misses);
            }
            for (reason, count) in &reading.forged {
                *sums.forged.entry((&reading.to, reason)).or_default() += count;
            }
        }
        sums
    }
}

/// `coredns_forward_*` are the older names of the same numbers; CoreDNS still has them.
fn exchanges(sheet: &mut Sheet<'_>, upstreams: &Upstreams<'_>) -> fmt::Result {
    let help = "Time each exchange with an upstream took in seconds.";
    let proxied = upstreams.durations.iter().map(|((upstream, rcode), durations)| {
        let mut labels = proxy_labels(upstream);
        labels.push(("rcode", Cow::Borrowed(*rcode)));
        (labels, durations.clone())
    });
    let name = "coredns_proxy_request_duration_seconds";
    sheet.histograms(name, help, &DURATION_BOUNDS, proxied)?;
    let answered = || {
        upstreams.durations.iter().map(|(((_, to), rcode), durations)| {
            (vec![("to", Cow::Borrowed(*to)), ("rcode", Cow::Borrowed(*rcode))], durations)
        })
    };
    let durations = answered().map(|(labels, durations)| (labels, durations.clone()));
    let name = "coredns_forward_request_duration_seconds";
    sheet.histograms(name, help, &DURATION_BOUNDS, durations)?;
    let counts = answered().map(|(labels, durations)| (labels, durations.count));
    sheet.counters(
        "coredns_forward_responses",
        "Replies by upstream and response code.",
        counts,
    )?;
    let mut requests: BTreeMap<_, u64> = BTreeMap::new();
    for (((_, to), _), durations) in &upstreams.durations {
        *requests.entry(*to).or_default() += durations.count;
    }
    let requests = requests.into_iter().map(|(to, count)| (one_label("to", to), count));
    sheet.counters(
        "coredns_forward_requests",
        "Questions by upstream that were answered.",
        requests,
    )
}

fn connections(sheet: &mut Sheet<'_>, upstreams: &Upstreams<'_>) -> fmt::Result {
    let each = |value: fn(&(u64, u64)) -> u64| {
        upstreams.connections.iter().map(move |((upstream, proto), sum)| {
            let mut labels = proxy_labels(upstream);
            labels.push(("proto", Cow::Borrowed(*proto)));
            (labels, value(sum))
        })
    };
    let help = "Questions that found an open connection.";
    sheet.counters("coredns_proxy_conn_cache_hits", help, each(|sum| sum.0))?;
    let help = "Questions that had to open a connection.";
    sheet.counters("coredns_proxy_conn_cache_misses", help, each(|sum| sum.1))
}

fn proxy_labels<'l>(upstream: &Upstream<'l>) -> Labels<'l> {
    vec![("proxy_name", upstream.0.into()), ("to", upstream.1.into())]
}
