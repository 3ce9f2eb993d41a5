//! The metrics of what is asked of the Kubernetes API.

use std::fmt;

use super::one_label;
use crate::admin::sheet::Sheet;
use crate::admin::sources::{EndpointsReading, KubernetesReading};

/// Writes what is known of endpoints, and whether the node is marked.
pub(in crate::admin) fn kubernetes(
    sheet: &mut Sheet<'_>,
    reading: &KubernetesReading,
) -> fmt::Result {
    let each = |value: fn(&EndpointsReading) -> u64| {
        let services = reading.endpoints.iter();
        services.map(move |service| (one_label("service", &service.service), value(service)))
    };
    let help = "Endpoints of a Service that are asked; 0: the written upstreams are.";
    sheet.gauges("dnscache_endpoints", help, each(|service| service.endpoints))?;
    let help = "Whether the Kubernetes API tells of changes of the endpoints now.";
    sheet.gauges(
        "dnscache_endpoints_watching",
        help,
        each(|service| service.is_watching.into()),
    )?;
    let ages = reading
        .endpoints
        .iter()
        .filter_map(|service| Some((one_label("service", &service.service), service.age_secs?)));
    let help = "Time since the Kubernetes API was last heard about the endpoints.";
    sheet.gauges("dnscache_endpoints_age_seconds", help, ages)?;
    let help = "Times the Kubernetes API could not be asked for the endpoints.";
    sheet.counters("dnscache_endpoints_failures", help, each(|service| service.failures))?;
    let help = "EndpointSlices left out because there were too many.";
    sheet.counters("dnscache_endpoints_slices_ignored", help, each(|service| service.ignored))?;
    let Some((is_done, failures)) = reading.mark else { return Ok(()) };
    let help = "Whether the node is marked as ready.";
    sheet.gauge("dnscache_node_marked", help, u64::from(is_done))?;
    sheet.counter("dnscache_node_mark_failures", "Failed attempts to mark the node.", failures)
}

#[cfg(test)]
mod tests {
    use crate::admin::metrics::{Build, Metrics};
    use crate::admin::sources::{EndpointsReading, KubernetesReading, Sources};
    use crate::admin::text_form::TextForm;

    fn page(reading: KubernetesReading) -> String {
        let metrics = Metrics::new(Build::this());
        let kubernetes = Some(Box::new(move || reading.clone()) as _);
        metrics.replace_sources(Sources { kubernetes, ..Sources::default() });
        metrics.scrape(TextForm::OpenMetrics)
    }

    #[test]
    fn endpoints_are_told_apart_by_their_service() {
        let known = EndpointsReading {
            service: "a/b".to_owned(),
            endpoints: 3,
            is_watching: true,
            age_secs: Some(1.5),
            failures: 2,
            ignored: 1,
        };
        let unknown =
            EndpointsReading { service: "a/c".to_owned(), age_secs: None, ..known.clone() };
        let page = page(KubernetesReading { endpoints: vec![known, unknown], mark: None });
        for line in [
            "dnscache_endpoints{service=\"a/b\"} 3",
            "dnscache_endpoints_watching{service=\"a/b\"} 1",
            "dnscache_endpoints_age_seconds{service=\"a/b\"} 1.5",
            "dnscache_endpoints_failures_total{service=\"a/c\"} 2",
            "dnscache_endpoints_slices_ignored_total{service=\"a/c\"} 1",
        ] {
            assert!(page.lines().any(|found| found == line), "missing: {line}\nin:\n{page}");
        }
        assert!(!page.contains("age_seconds{service=\"a/c\"}"), "never heard is no age");
        assert!(!page.contains("dnscache_node"), "a node that is left alone has no metrics");
    }

    #[test]
    fn a_node_is_marked_or_not() {
        let page = page(KubernetesReading { endpoints: Vec::new(), mark: Some((false, 4)) });
        assert!(page.contains("dnscache_node_marked 0\n"), "{page}");
        assert!(page.contains("dnscache_node_mark_failures_total 4\n"), "{page}");
    }
}
