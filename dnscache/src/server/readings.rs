//! Where the numbers of the metrics are, for one configuration in force.

use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use super::Plan;
use super::counts::Counts;
use crate::admin::hot::{HotNameReading, HotReading};
use crate::admin::self_check::SelfChecks;
use crate::admin::sources::{
    BlockSource, CachePartReading, CacheReading, ConnectionReading, ForwardReading, HostsReading,
    PacketBudgetReading, RefreshReading, ReloadReading, SearchStateReading, Sources,
    UpstreamReading,
};
use crate::clients::Clients;
use crate::clock;
use crate::config::{self, Config};
use crate::counts::{HistogramReading, RefreshCounts, SearchReading};
use crate::engine::block::Block;
use crate::engine::cache::shared::{Store, Usage};
use crate::engine::shelf::{Shelf, zones_label};
use crate::slow::slow_log::SlowLog;
use crate::slow::upstream::UpstreamCounts;
use crate::slow::upstream::counts::{DurationSnapshot, PeerSnapshot};
use crate::slow::upstream::packets::PacketReading;

/// The sources of a plan's numbers.
pub fn sources(
    config: &Config,
    plan: &Arc<Plan>,
    counts: &Counts,
    shelf: &Arc<Mutex<Shelf>>,
    self_checks: Arc<SelfChecks>,
) -> Sources {
    let blocks = config.blocks.iter().zip(&plan.counts).map(|(block, counts)| BlockSource {
        counts: Arc::clone(counts),
        directives: directives(config, block),
    });
    let (cached, shelf) = (Arc::clone(plan), Arc::clone(shelf));
    let upstreams = Arc::clone(&counts.upstreams);
    let (hosting, searching) = (Arc::clone(plan), Arc::clone(plan));
    let refreshing = Arc::clone(&counts.refreshes);
    let (asked, renewing) = (Arc::clone(plan), Arc::clone(&counts.refreshes));
    let snapshots = Arc::clone(&counts.snapshots);
    let (failed, fingerprint) = (Arc::clone(&counts.reloads_failed), config.fingerprint);
    Sources {
        blocks: blocks.collect(),
        planes: Some(Arc::clone(&counts.planes)),
        node: Some(Arc::clone(&counts.node)),
        caches: Some(Box::new(move || caches(&cached, &shelf))),
        searches: Some(Box::new(move || searches(&searching))),
        refreshes: Some(Box::new(move || refreshes(&refreshing))),
        forwards: Some(Box::new(move || forwards(&upstreams))),
        kubernetes: None,
        hosts: config.blocks.iter().any(|block| block.hosts.is_some()).then(
            || -> Box<dyn Fn() -> HostsReading + Send + Sync> { Box::new(move || hosts(&hosting)) },
        ),
        snapshots: Some(Box::new(move || snapshots.read())),
        reload: Some(Box::new(move || ReloadReading {
            failed: failed.load(Ordering::Relaxed),
            version: Some(("fingerprint".to_owned(), format!("{fingerprint:016x}"))),
        })),
        hot: Some(Box::new(move || hot(&asked, &renewing))),
        clients: None,
        slow_questions: None,
        self_checks: config.health.is_some().then_some(self_checks),
    }
}

/// Adds the sources of what keeps clients from each other's harm.
pub fn fairness(sources: &mut Sources, clients: &Arc<Clients>, slow_log: &Arc<SlowLog>) {
    let (clients, slow_log) = (Arc::clone(clients), Arc::clone(slow_log));
    sources.clients = Some(Box::new(move || clients.read(clock::now())));
    sources.slow_questions = Some(Box::new(move || slow_log.read().to_vec()));
}

/// The directives a block uses, under their names.
fn directives(config: &Config, block: &config::Block) -> Vec<&'static str> {
    let used = [
        ("acl", !block.acl.is_empty()),
        ("bufsize", usize::from(block.bufsize) != crate::engine::wire::UDP_REPLY_MAX),
        ("cache", block.cache.is_some()),
        ("chaos", block.chaos.is_some()),
        ("clients", config.clients.is_some()),
        ("debug", block.debug),
        ("dns64", block.dns64.is_some()),
        ("errors", block.errors),
        ("forward", !block.forwards.is_empty()),
        ("health", config.health.is_some()),
        ("hosts", block.hosts.is_some()),
        ("hotnames", config.hot.is_some()),
        ("loadbalance", block.rotate),
        ("log", block.log.is_some()),
        ("loop", block.detect_loop),
        ("prometheus", !config.prometheus.is_empty()),
        ("ready", !config.ready.is_empty()),
        ("reload", config.reload.is_some()),
        ("rewrite", !block.rewrites.is_empty()),
        ("searchpath", block.search.is_some()),
        ("timeouts", block.timeouts != config::Timeouts::default()),
        ("slowlog", config.slow_log.is_some()),
        ("template", !block.templates.is_empty()),
        ("whoami", block.whoami),
    ];
    used.into_iter().filter(|(_, is_used)| *is_used).map(|(name, _)| name).collect()
}

fn caches(plan: &Plan, shelf: &Mutex<Shelf>) -> CacheReading {
    let stores = shelf.lock().unwrap_or_else(PoisonError::into_inner).stores();
    let mut parts = Vec::new();
    for block in plan.engine.blocks() {
        let Some(cache) = &block.cache else { continue };
        for (kind, is_success, store) in
            [("success", true, &cache.success), ("denial", false, &cache.denial)]
        {
            let (entries, evictions) = residents(block, is_success, store);
            parts.push(CachePartReading {
                server: block.config.server_label.clone(),
                zones: zones_label(&block.config),
                kind,
                entries,
                evictions,
            });
        }
    }
    CacheReading {
        parts,
        bytes: stores.iter().map(|store| store.usage.bytes).sum(),
        bytes_max: stores.iter().map(|store| store.limit.bytes_max).sum(),
    }
}

/// Entries and evictions of one kind in one block.
fn residents(block: &Block, is_success: bool, store: &Store) -> (u64, u64) {
    let Usage { residents, .. } = store.usage();
    let of_block = residents.iter().filter(|tally| {
        tally.is_success == is_success && block.routes.iter().any(|route| route.id == tally.route)
    });
    of_block.fold((0, 0), |(entries, evicted), tally| {
        (entries + tally.entries, evicted + tally.evicted)
    })
}

/// What `/hot` tells.
fn hot(plan: &Plan, refreshes: &RefreshCounts) -> HotReading {
    let names = plan.engine.hot().map_or_else(Vec::new, |names| names.hottest(clock::now()));
    let blocks = plan.counts.iter().map(|counts| counts.read());
    let (mut questions, mut search) = (0, SearchReading::default());
    for block in blocks {
        questions += block.requests.iter().map(|requests| requests.count).sum::<u64>();
        search.noise += block.search.noise;
        search.skipped += block.search.skipped;
        search.rewrites += block.search.rewrites;
        search.cuts += block.search.cuts;
    }
    let refreshes = refreshes.read();
    HotReading {
        uptime_secs: clock::uptime().as_secs_f64(),
        questions,
        search_noise: search.noise,
        questions_saved: search.skipped,
        rewrites: search.rewrites,
        cuts: search.cuts,
        refreshes: refreshes.asked,
        refreshes_per_second_max: refreshes.budget_per_second,
        followed: names.len() as u64,
        names: names.iter().map(HotNameReading::from).collect(),
    }
}

fn forwards(counts: &UpstreamCounts) -> ForwardReading {
    let snapshot = counts.snapshot();
    ForwardReading {
        upstreams: snapshot.upstreams.iter().map(upstream).collect(),
        packets: snapshot.packets.iter().map(packets).collect(),
        healthcheck_broken: snapshot.healthcheck_broken,
        max_concurrent_rejects: snapshot.max_concurrent_rejects,
    }
}

fn packets((to, reading): &(IpAddr, PacketReading)) -> PacketBudgetReading {
    PacketBudgetReading {
        to: to.to_string(),
        sent: reading.sent,
        last_second: reading.last_second,
        peak: reading.peak,
        limit: reading.limit,
        limit_of_strangers: reading.strangers,
        delayed: reading.delayed,
        refused: reading.refused,
    }
}

fn upstream(peer: &PeerSnapshot) -> UpstreamReading {
    let connections = peer.connections.iter().map(|connection| ConnectionReading {
        proto: connection.proto.to_owned(),
        hits: connection.hits,
        misses: connection.misses,
    });
    UpstreamReading {
        to: peer.to.clone(),
        proxy_name: "forward".to_owned(),
        durations: peer.requests.iter().map(duration).collect(),
        healthcheck_failures: peer.healthcheck_failures,
        connections: connections.collect(),
        forged: peer.dropped.iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect(),
    }
}

fn duration(snapshot: &DurationSnapshot) -> (String, HistogramReading) {
    let reading = HistogramReading {
        buckets: snapshot.buckets.to_vec(),
        count: snapshot.count,
        sum: snapshot.sum_secs,
    };
    (crate::counts::rcode_label(snapshot.rcode).into_owned(), reading)
}

/// What the blocks with `searchpath` found out.
fn searches(plan: &Plan) -> Vec<SearchStateReading> {
    let reading = |block: &Block| {
        let state = &block.search.as_ref()?.state;
        Some(SearchStateReading {
            server: block.config.server_label.clone(),
            zone: zones_label(&block.config),
            audits: state.audits(),
            contradictions: state.contradictions(),
            boundaries_off: state.boundaries_off(clock::now()) as u64,
        })
    };
    plan.engine.blocks().iter().filter_map(reading).collect()
}

fn refreshes(counts: &RefreshCounts) -> RefreshReading {
    let count = counts.read();
    RefreshReading {
        names: count.names,
        refreshes: count.asked,
        skipped: count.left_out,
        budget_per_second: count.budget_per_second,
    }
}

fn hosts(plan: &Plan) -> HostsReading {
    let tables = plan.engine.blocks().iter().filter_map(|block| block.hosts.as_ref());
    HostsReading {
        entries: tables.clone().map(|table| table.load().len() as u64).sum(),
        reloaded_at_secs: tables.filter_map(|table| table.load().read_at_secs()).reduce(f64::max),
    }
}
