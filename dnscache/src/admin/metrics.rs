//! The registry: collects everything at a scrape and writes it as text.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::Registry;

use super::clients::ClientsReading;
use super::hot::HotReading;
use super::sheet::Sheet;
use super::sources::Sources;
use super::text_form::TextForm;
use super::{families, process, throttling};

/// All metrics of the process. The registry is made once; a reload replaces the sources.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    sources: Arc<ArcSwap<Sources>>,
}

impl Metrics {
    /// Metrics of this build, without sources yet.
    pub fn new(build: Build) -> Self {
        let sources = Arc::new(ArcSwap::from_pointee(Sources::default()));
        let mut registry = Registry::default();
        let collected = Collected { build, sources: Arc::clone(&sources) };
        registry.register_collector(Box::new(collected));
        Self { registry, sources }
    }

    /// Asks these sources from now on.
    pub fn replace_sources(&self, sources: Sources) {
        self.sources.store(Arc::new(sources));
    }

    /// Reads all sources and writes them in the form asked for.
    pub fn scrape(&self, form: TextForm) -> String {
        let mut page = String::with_capacity(16 * 1024);
        // Writing to a String does not fail, and our own labels never refuse to be written.
        if text::encode(&mut page, &self.registry).is_err() {
            tracing::error!("metrics could not be written completely");
        }
        form.of(page)
    }

    /// What each client asks; `None` without a source for it.
    pub fn clients(&self) -> Option<ClientsReading> {
        self.sources.load().clients.as_ref().map(|read| ClientsReading::from(&read()))
    }

    /// The names asked most; `None` without a source for them.
    pub fn hot(&self) -> Option<HotReading> {
        self.sources.load().hot.as_ref().map(|read| read())
    }
}

/// What was built, for `coredns_build_info`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// Version of the program.
    pub version: &'static str,
    /// Commit it was built from; empty if unknown.
    pub revision: &'static str,
    /// Label `goversion`, which dashboards group by; what compiled it, empty if unknown.
    pub compiler: &'static str,
}

impl Build {
    /// The build this is. A release build sets `DNSCACHE_REVISION` and `DNSCACHE_COMPILER`.
    pub const fn this() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            revision: match option_env!("DNSCACHE_REVISION") {
                Some(revision) => revision,
                None => "",
            },
            compiler: match option_env!("DNSCACHE_COMPILER") {
                Some(compiler) => compiler,
                None => "",
            },
        }
    }
}

/// Asks the sources when the registry is written.
#[derive(Debug)]
struct Collected {
    build: Build,
    sources: Arc<ArcSwap<Sources>>,
}

impl Collector for Collected {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut sheet = Sheet::new(encoder);
        let sources = self.sources.load();
        self.build_info(&mut sheet)?;
        families::blocks(&mut sheet, &sources.blocks)?;
        if let Some(counts) = &sources.planes {
            families::planes(&mut sheet, counts)?;
        }
        if let Some(counts) = &sources.node {
            families::node(&mut sheet, counts)?;
        }
        if let Some(read) = &sources.caches {
            families::caches(&mut sheet, &read())?;
        }
        if let Some(read) = &sources.searches {
            families::searches(&mut sheet, &read())?;
        }
        if let Some(read) = &sources.refreshes {
            families::refreshes(&mut sheet, &read())?;
        }
        if let Some(read) = &sources.forwards {
            families::forwards(&mut sheet, &read())?;
        }
        if let Some(read) = &sources.kubernetes {
            families::kubernetes(&mut sheet, &read())?;
        }
        if let Some(read) = &sources.hosts {
            families::hosts(&mut sheet, &read())?;
        }
        if let Some(read) = &sources.snapshots {
            families::snapshots(&mut sheet, &read())?;
        }
        if let Some(read) = &sources.reload {
            families::reload(&mut sheet, &read())?;
        }
        if let Some(read) = &sources.clients {
            families::clients(&mut sheet, &read())?;
        }
        if let Some(read) = &sources.slow_questions {
            families::slow_questions(&mut sheet, &read())?;
        }
        if let Some(checks) = &sources.self_checks {
            checks.write(&mut sheet)?;
        }
        let lost = crate::logging::lines_lost();
        sheet.counter("dnscache_log_lines_lost", "Log lines nobody took in time.", lost)?;
        process::write(&mut sheet)?;
        throttling::write(&mut sheet)
    }
}

impl Collected {
    fn build_info(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let labels = vec![
            ("version", self.build.version.into()),
            ("revision", self.build.revision.into()),
            ("goversion", self.build.compiler.into()),
        ];
        let help = "What was built, from what, by what.";
        sheet.gauges("coredns_build_info", help, [(labels, 1_u64)])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::admin::self_check::SelfChecks;
    use crate::admin::sources::{
        BlockSource, CachePartReading, CacheReading, ConnectionReading, ForwardReading,
        HostsReading, RefreshReading, ReloadReading, SearchStateReading, UpstreamReading,
    };
    use crate::counts::{
        BlockCounts, HistogramReading, NodeCounts, PlaneCounts, Repair, SetupError,
    };
    use crate::engine::{BlockId, DropReason, Facts, Reason, Shortcut, Source};

    const BUILD: Build = Build { version: "1.2.3", revision: "abc", compiler: "" };

    fn facts(qtype: u16, rcode: u8, source: Source) -> Facts {
        Facts {
            block: Some(BlockId(0)),
            qtype,
            rcode,
            dnssec_ok: true,
            source,
            shortcut: Shortcut::NotAnExpansion,
        }
    }

    fn block() -> BlockSource {
        let server = "dns://169.254.20.10:53".to_owned();
        let counts = BlockCounts::new(server, "cluster.local.".to_owned(), 1);
        for (shard, qtype, rcode, source, reply_len, duration_us) in [
            (1, 1, 0, Source::CacheSuccess, 90, 200),
            (1, 28, 3, Source::CacheDenial, 150, 300),
            (0, 1, 5, Source::Acl, 60, 10),
            (0, 1, 2, Source::Refusal, 60, 5_000_000),
        ] {
            let facts = facts(qtype, rcode, source);
            counts.replied(shard, &facts, false, false, 60, reply_len, duration_us);
        }
        let stale = facts(1, 0, Source::Stale);
        counts.replied(0, &stale, true, true, 60, 90, 2_000_000);
        counts.renewed(1);
        counts.unusable(0);
        BlockSource { counts: Arc::new(counts), directives: vec!["cache", "acl"] }
    }

    /// A block whose queries are the steps of one lookup.
    fn searching() -> BlockSource {
        let counts = BlockCounts::new("dns://:53".to_owned(), "a.test.".to_owned(), 1);
        for (rcode, shortcut) in [
            (3, Shortcut::Cut { is_spared: true }),
            (3, Shortcut::Cut { is_spared: false }),
            (0, Shortcut::Rewritten { skipped: 4, spared: 7 }),
            (3, Shortcut::NotTaken(Reason::NoNamespace)),
            (0, Shortcut::NotAnExpansion),
        ] {
            let facts = Facts { shortcut, ..facts(1, rcode, Source::SearchPath) };
            counts.replied(1, &facts, false, false, 60, 90, 10);
        }
        BlockSource { counts: Arc::new(counts), directives: vec!["searchpath"] }
    }

    fn upstream(to: &str) -> UpstreamReading {
        let mut buckets = vec![0; 16];
        buckets[1] = 2;
        let durations = HistogramReading { buckets, count: 3, sum: 9.5 };
        UpstreamReading {
            to: to.to_owned(),
            proxy_name: "forward".to_owned(),
            durations: vec![("NOERROR".to_owned(), durations)],
            healthcheck_failures: 4,
            connections: vec![ConnectionReading { proto: "tcp".to_owned(), hits: 7, misses: 2 }],
            forged: vec![("id".to_owned(), 5)],
        }
    }

    fn cache_part(kind: &'static str) -> CachePartReading {
        let (server, zones) = ("dns://169.254.20.10:53".to_owned(), "cluster.local.".to_owned());
        CachePartReading { server, zones, kind, entries: 12, evictions: 3 }
    }

    fn everything() -> Metrics {
        let planes = PlaneCounts::new(1);
        planes.dropped(1, DropReason::Short);
        planes.dropped(1, DropReason::Acl);
        planes.stray(1, &facts(0, 1, Source::Refusal));
        planes.tcp_open(2);
        let caches = CacheReading {
            parts: vec![cache_part("success"), cache_part("denial"), cache_part("denial")],
            bytes: 1000,
            bytes_max: 67_108_864,
        };
        let node = NodeCounts::default();
        node.failed(SetupError::InterfaceAdd);
        node.repaired(Repair::Rules);
        node.rules_stand("nftables");
        let forwards = ForwardReading {
            upstreams: vec![upstream("10.96.0.10:53"), upstream("10.96.0.10:53")],
            packets: Vec::new(),
            healthcheck_broken: 1,
            max_concurrent_rejects: 2,
        };
        let contradicted = SearchStateReading {
            server: "dns://:53".to_owned(),
            zone: "a.test.".to_owned(),
            audits: 90,
            contradictions: 2,
            boundaries_off: 1,
        };
        let refreshed =
            RefreshReading { names: 500, refreshes: 40, skipped: 3, budget_per_second: 12.5 };
        let hosts = HostsReading { entries: 9, reloaded_at_secs: Some(1_700_000_000.0) };
        let reload =
            ReloadReading { failed: 1, version: Some(("hash".to_owned(), "00ff".to_owned())) };
        let metrics = Metrics::new(BUILD);
        metrics.replace_sources(Sources {
            blocks: vec![block(), searching()],
            planes: Some(Arc::new(planes)),
            node: Some(Arc::new(node)),
            caches: Some(Box::new(move || caches.clone())),
            searches: Some(Box::new(move || vec![contradicted.clone()])),
            refreshes: Some(Box::new(move || refreshed.clone())),
            forwards: Some(Box::new(move || forwards.clone())),
            kubernetes: None,
            hosts: Some(Box::new(move || hosts.clone())),
            snapshots: None,
            reload: Some(Box::new(move || reload.clone())),
            hot: None,
            clients: None,
            slow_questions: None,
            self_checks: Some(Arc::new(SelfChecks::default())),
        });
        metrics
    }

    #[track_caller]
    fn check_lines(page: &str, expected: &str) {
        let lines: BTreeSet<&str> = page.lines().collect();
        for line in expected.lines().map(str::trim).filter(|line| !line.is_empty()) {
            assert!(lines.contains(line), "missing: {line}\nin:\n{page}");
        }
    }

    /// Lines of families whose values do not depend on the machine.
    fn steady(page: &str) -> String {
        let varies = |line: &&str| {
            ["process_", "dnscache_cpu_", "log_lines_lost"].iter().any(|name| line.contains(name))
        };
        page.lines().filter(|line| !varies(line)).map(|line| format!("{line}\n")).collect()
    }

    #[test]
    fn metrics_without_sources_are_the_build_and_the_process() {
        assert_eq!(
            steady(&Metrics::new(BUILD).scrape(TextForm::OpenMetrics)),
            "# HELP coredns_build_info What was built, from what, by what.\n\
             # TYPE coredns_build_info gauge\n\
             coredns_build_info{version=\"1.2.3\",revision=\"abc\",goversion=\"\"} 1\n\
             # EOF\n"
        );
    }

    #[test]
    fn queries_have_the_names_of_coredns() {
        check_lines(
            &everything().scrape(TextForm::OpenMetrics),
            r##"
            # TYPE coredns_dns_requests counter
            coredns_dns_requests_total{server="dns://169.254.20.10:53",zone="cluster.local.",view="",proto="udp",family="1",type="A"} 3
            coredns_dns_requests_total{server="dns://169.254.20.10:53",zone="cluster.local.",view="",proto="udp",family="1",type="AAAA"} 1
            coredns_dns_requests_total{server="dns://169.254.20.10:53",zone="cluster.local.",view="",proto="tcp",family="2",type="A"} 1
            # TYPE coredns_dns_do_requests counter
            coredns_dns_do_requests_total{server="dns://169.254.20.10:53",zone="cluster.local.",view=""} 5
            # TYPE coredns_dns_request_duration_seconds histogram
            coredns_dns_request_duration_seconds_count{server="dns://169.254.20.10:53",zone="cluster.local.",view="",type="AAAA"} 1
            coredns_dns_request_duration_seconds_sum{server="dns://169.254.20.10:53",zone="cluster.local.",view="",type="AAAA"} 0.0003
            coredns_dns_request_duration_seconds_bucket{le="0.00025",server="dns://169.254.20.10:53",zone="cluster.local.",view="",type="AAAA"} 0
            coredns_dns_request_duration_seconds_bucket{le="0.0005",server="dns://169.254.20.10:53",zone="cluster.local.",view="",type="AAAA"} 1
            coredns_dns_request_duration_seconds_bucket{le="8.192",server="dns://169.254.20.10:53",zone="cluster.local.",view="",type="AAAA"} 1
            coredns_dns_request_duration_seconds_bucket{le="+Inf",server="dns://169.254.20.10:53",zone="cluster.local.",view="",type="AAAA"} 1
            # TYPE coredns_dns_request_size_bytes histogram
            coredns_dns_request_size_bytes_bucket{le="100.0",server="dns://169.254.20.10:53",zone="cluster.local.",view="",proto="udp"} 4
            # TYPE coredns_dns_response_size_bytes histogram
            coredns_dns_response_size_bytes_sum{server="dns://169.254.20.10:53",zone="cluster.local.",view="",proto="udp"} 360.0
            # TYPE coredns_dns_responses counter
            coredns_dns_responses_total{server="dns://169.254.20.10:53",zone="cluster.local.",view="",rcode="NOERROR",plugin="cache"} 2
            coredns_dns_responses_total{server="dns://169.254.20.10:53",zone="cluster.local.",view="",rcode="NXDOMAIN",plugin="cache"} 1
            coredns_dns_responses_total{server="dns://169.254.20.10:53",zone="cluster.local.",view="",rcode="REFUSED",plugin="acl"} 1
            coredns_dns_responses_total{server="dns://169.254.20.10:53",zone="cluster.local.",view="",rcode="SERVFAIL",plugin=""} 1
            # TYPE coredns_plugin_enabled gauge
            coredns_plugin_enabled{server="dns://169.254.20.10:53",zone="cluster.local.",view="",name="cache"} 1
            coredns_panics_total 0
            coredns_acl_blocked_requests_total{server="dns://169.254.20.10:53",zone="cluster.local.",view=""} 1
            coredns_acl_filtered_requests_total{server="dns://169.254.20.10:53",zone="cluster.local.",view=""} 0
            coredns_acl_allowed_requests_total{server="dns://169.254.20.10:53",view=""} 4
            coredns_acl_dropped_requests_total{server="",zone="",view=""} 1
            "##,
        );
    }

    #[test]
    fn the_node_has_the_names_of_node_cache() {
        check_lines(
            &everything().scrape(TextForm::OpenMetrics),
            r##"
            # TYPE coredns_nodecache_setup_errors counter
            coredns_nodecache_setup_errors_total{errortype="iptables"} 0
            coredns_nodecache_setup_errors_total{errortype="iptables_lock"} 0
            coredns_nodecache_setup_errors_total{errortype="interface_add"} 1
            coredns_nodecache_setup_errors_total{errortype="interface_check"} 0
            coredns_nodecache_setup_errors_total{errortype="configmap"} 0
            dnscache_node_repairs_total{what="interface"} 0
            dnscache_node_repairs_total{what="rules"} 1
            dnscache_node_rules{backend="nftables"} 1
            "##,
        );
    }

    #[test]
    fn the_cache_has_the_names_of_coredns() {
        check_lines(
            &everything().scrape(TextForm::OpenMetrics),
            r##"
            # TYPE coredns_cache_entries gauge
            coredns_cache_entries{server="dns://169.254.20.10:53",type="success",zones="cluster.local.",view=""} 12
            coredns_cache_entries{server="dns://169.254.20.10:53",type="denial",zones="cluster.local.",view=""} 24
            coredns_cache_evictions_total{server="dns://169.254.20.10:53",type="denial",zones="cluster.local.",view=""} 6
            coredns_cache_hits_total{server="dns://169.254.20.10:53",type="success",zones="cluster.local.",view=""} 2
            coredns_cache_hits_total{server="dns://169.254.20.10:53",type="denial",zones="cluster.local.",view=""} 1
            coredns_cache_misses_total{server="dns://169.254.20.10:53",zones="cluster.local.",view=""} 0
            coredns_cache_requests_total{server="dns://169.254.20.10:53",zones="cluster.local.",view=""} 3
            coredns_cache_prefetch_total{server="dns://169.254.20.10:53",zones="cluster.local.",view=""} 1
            coredns_cache_drops_total{server="dns://169.254.20.10:53",zones="cluster.local.",view=""} 1
            coredns_cache_served_stale_total{server="dns://169.254.20.10:53",zones="cluster.local.",view=""} 1
            dnscache_cache_bytes 1000
            dnscache_cache_bytes_max 67108864
            "##,
        );
    }

    #[test]
    fn search_paths_have_names_of_their_own() {
        check_lines(
            &everything().scrape(TextForm::OpenMetrics),
            r##"
            # TYPE dnscache_search_expansions counter
            dnscache_search_expansions_total{server="dns://:53",zone="a.test.",view=""} 4
            dnscache_search_noise_total{server="dns://:53",zone="a.test.",view=""} 3
            dnscache_search_cuts_total{server="dns://:53",zone="a.test.",view=""} 2
            dnscache_search_rewrites_total{server="dns://:53",zone="a.test.",view=""} 1
            dnscache_search_upstream_questions_avoided_total{server="dns://:53",zone="a.test.",view=""} 8
            dnscache_search_client_questions_saved_total{server="dns://:53",zone="a.test.",view=""} 4
            dnscache_search_not_taken_total{server="dns://:53",zone="a.test.",view="",reason="no-namespace"} 1
            dnscache_search_not_taken_total{server="dns://:53",zone="a.test.",view="",reason="unknown"} 0
            dnscache_search_audits_total{server="dns://:53",zone="a.test.",view=""} 90
            dnscache_search_contradictions_total{server="dns://:53",zone="a.test.",view=""} 2
            # TYPE dnscache_search_boundaries_off gauge
            dnscache_search_boundaries_off{server="dns://:53",zone="a.test.",view=""} 1
            coredns_dns_responses_total{server="dns://:53",zone="a.test.",view="",rcode="NXDOMAIN",plugin="searchpath"} 3
            "##,
        );
    }

    #[test]
    fn hot_names_have_names_of_their_own() {
        check_lines(
            &everything().scrape(TextForm::OpenMetrics),
            r##"
            # TYPE dnscache_hot_names gauge
            dnscache_hot_names 500
            dnscache_hot_refreshes_total 40
            dnscache_hot_refreshes_skipped_total 3
            # TYPE dnscache_hot_refresh_budget_per_second gauge
            dnscache_hot_refresh_budget_per_second 12.5
            "##,
        );
    }

    #[test]
    fn upstreams_have_the_names_of_coredns() {
        check_lines(
            &everything().scrape(TextForm::OpenMetrics),
            r##"
            coredns_forward_healthcheck_broken_total 1
            coredns_forward_max_concurrent_rejects_total 2
            # TYPE coredns_proxy_request_duration_seconds histogram
            coredns_proxy_request_duration_seconds_bucket{le="0.0005",proxy_name="forward",to="10.96.0.10:53",rcode="NOERROR"} 4
            coredns_proxy_request_duration_seconds_bucket{le="+Inf",proxy_name="forward",to="10.96.0.10:53",rcode="NOERROR"} 6
            coredns_proxy_request_duration_seconds_sum{proxy_name="forward",to="10.96.0.10:53",rcode="NOERROR"} 19.0
            coredns_proxy_healthcheck_failures_total{proxy_name="forward",to="10.96.0.10:53"} 8
            coredns_proxy_conn_cache_hits_total{proxy_name="forward",to="10.96.0.10:53",proto="tcp"} 14
            coredns_proxy_conn_cache_misses_total{proxy_name="forward",to="10.96.0.10:53",proto="tcp"} 4
            coredns_forward_requests_total{to="10.96.0.10:53"} 6
            coredns_forward_responses_total{to="10.96.0.10:53",rcode="NOERROR"} 6
            coredns_forward_request_duration_seconds_count{to="10.96.0.10:53",rcode="NOERROR"} 6
            coredns_forward_healthcheck_failures_total{to="10.96.0.10:53"} 8
            dnscache_forged_replies_total{to="10.96.0.10:53",reason="id"} 10
            "##,
        );
    }

    #[test]
    fn everything_else_has_its_name() {
        check_lines(
            &everything().scrape(TextForm::OpenMetrics),
            r##"
            coredns_health_request_duration_seconds_bucket{le="2.5"} 0
            coredns_health_request_failures_total 0
            coredns_reload_failed_total 1
            coredns_reload_version_info{hash="hash",value="00ff"} 1
            coredns_hosts_entries 9
            coredns_hosts_reload_timestamp_seconds 1700000000.0
            dnscache_dropped_packets_total{reason="short"} 1
            dnscache_dropped_packets_total{reason="own_address"} 0
            dnscache_stray_replies_total{rcode="FORMERR"} 1
            dnscache_handoff_full_total 0
            dnscache_send_failures_total 0
            dnscache_oversized_queries_total 0
            dnscache_coalesced_queries_total 0
            dnscache_waiting_full_total 0
            dnscache_tcp_connections 2
            dnscache_tcp_connections_rejected_total{reason="per_client"} 0
            dnscache_waiting_clients 0
            # TYPE process_cpu_seconds counter
            # TYPE process_resident_memory_bytes gauge
            # TYPE process_virtual_memory_bytes gauge
            # TYPE process_open_fds gauge
            # TYPE process_max_fds gauge
            # TYPE process_start_time_seconds gauge
            "##,
        );
    }

    #[test]
    fn no_suffix_is_doubled_and_no_series_or_family_comes_twice() {
        for form in [TextForm::OpenMetrics, TextForm::Prometheus] {
            let page = everything().scrape(form);
            assert!(!page.contains("_total_total"));
            let mut seen = BTreeSet::new();
            for line in page.lines() {
                let series = line.rsplit_once(' ').map_or(line, |(series, _)| series);
                assert!(seen.insert(series.to_owned()), "twice: {series}");
            }
        }
    }

    #[test]
    fn both_forms_have_the_same_samples() {
        let samples = |form| -> BTreeSet<String> {
            let page = steady(&everything().scrape(form));
            page.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
        };
        assert_eq!(samples(TextForm::Prometheus), samples(TextForm::OpenMetrics));
    }

    #[test]
    fn open_metrics_ends_with_its_mark_once() {
        let page = everything().scrape(TextForm::OpenMetrics);
        assert!(page.ends_with("\n# EOF\n"));
        assert_eq!(page.matches("# EOF").count(), 1);
    }

    #[test]
    fn a_reload_replaces_the_sources() {
        let metrics = everything();
        metrics.replace_sources(Sources::default());
        let page = metrics.scrape(TextForm::OpenMetrics);
        assert!(!page.contains("coredns_dns_requests"));
        assert!(page.contains("coredns_build_info"));
    }

    #[test]
    fn blocks_without_a_directive_have_none_of_its_metrics() {
        let metrics = Metrics::new(BUILD);
        let plain = BlockSource { directives: vec!["forward"], ..block() };
        metrics.replace_sources(Sources { blocks: vec![plain], ..Sources::default() });
        let page = metrics.scrape(TextForm::OpenMetrics);
        assert!(page.contains("coredns_dns_requests_total"));
        assert!(!page.contains("coredns_cache_") && !page.contains("coredns_acl_"));
        assert!(!page.contains("dnscache_search_") && !page.contains("dnscache_hot_"));
    }

    #[test]
    fn labels_are_escaped() {
        let metrics = Metrics::new(BUILD);
        let counts = BlockCounts::new("a\"b\n".to_owned(), "c\\d.".to_owned(), 0);
        let blocks = vec![BlockSource { counts: Arc::new(counts), directives: vec!["errors"] }];
        metrics.replace_sources(Sources { blocks, ..Sources::default() });
        check_lines(
            &metrics.scrape(TextForm::OpenMetrics),
            r##"coredns_plugin_enabled{server="a\"b\n",zone="c\\d.",view="",name="errors"} 1"##,
        );
    }
}
