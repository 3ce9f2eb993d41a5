//! What happened between us and the upstreams, as plain numbers for the metrics.
//!
//! The numbers belong to addresses, not to routes, and outlive reloads: two `forward`s to one
//! address share them, as they share a label.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::packets::{PacketBudget, PacketReading};
use crate::config::PacketLimit;
use crate::slow::exchange::Misfit;

/// Counts of all upstreams of the process.
#[derive(Debug, Default)]
pub struct UpstreamCounts {
    /// Questions that found every upstream of their route unhealthy
    /// (`coredns_forward_healthcheck_broken_total`).
    pub healthcheck_broken: AtomicU64,
    /// Questions refused by `max_concurrent` (`coredns_forward_max_concurrent_rejects_total`).
    pub max_concurrent_rejects: AtomicU64,
    peers: Mutex<Vec<(SocketAddr, Arc<PeerCounts>)>>,
    others: Arc<PeerCounts>,
}

/// Addresses that get numbers of their own. resolv.conf and a Service may name new ones for as long
/// as we run: one that is asked no more makes room, and those beyond this share the label [`OTHERS`].
const PEERS_MAX: usize = 64;

/// The label of all upstreams beyond the first 64.
pub const OTHERS: &str = "other";

/// Upper bounds of the duration buckets in seconds: CoreDNS's, 0.25 ms doubled fifteen times.
pub const DURATION_BUCKETS_SECS: [f64; BUCKETS] = {
    let mut bounds = [0.000_25; BUCKETS];
    let mut index = 1;
    while index < BUCKETS {
        bounds[index] = bounds[index - 1] * 2.0;
        index += 1;
    }
    bounds
};

const BUCKETS: usize = 16;
/// Response codes 0 to 16 (BADVERS); anything above is counted with 16.
const RCODES: usize = 17;

impl UpstreamCounts {
    /// The counts of the upstream at `address`.
    pub fn peer(&self, address: SocketAddr) -> Arc<PeerCounts> {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, counts)) = peers.iter().find(|(known, _)| *known == address) {
            return Arc::clone(counts);
        }
        if peers.len() >= PEERS_MAX {
            let unused = peers.iter().position(|(_, counts)| Arc::strong_count(counts) == 1);
            let Some(unused) = unused else { return Arc::clone(&self.others) };
            peers.remove(unused);
        }
        let counts =
            Arc::new(PeerCounts { packets: budget(&peers, address.ip()), ..PeerCounts::default() });
        peers.push((address, Arc::clone(&counts)));
        counts
    }

    /// Whether these are the counts that all addresses beyond the first 64 share.
    pub fn are_shared(&self, counts: &Arc<PeerCounts>) -> bool {
        Arc::ptr_eq(counts, &self.others)
    }

    /// Puts the limits in force that addresses are known to have, instead of those of a
    /// configuration that is gone.
    pub fn forget_packet_limits(&self) {
        let peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        peers.iter().for_each(|(_, counts)| counts.packets.limit(PacketLimit::Known));
    }

    /// All numbers as they are now, upstreams in the order in which they were first used.
    pub fn snapshot(&self) -> UpstreamSnapshot {
        let peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut upstreams: Vec<_> =
            peers.iter().map(|(address, counts)| counts.snapshot(address.to_string())).collect();
        if peers.len() >= PEERS_MAX {
            upstreams.push(self.others.snapshot(OTHERS.to_owned()));
        }
        UpstreamSnapshot {
            upstreams,
            packets: packets(&peers),
            healthcheck_broken: self.healthcheck_broken.load(Ordering::Relaxed),
            max_concurrent_rejects: self.max_concurrent_rejects.load(Ordering::Relaxed),
        }
    }
}

/// Counts of one upstream.
#[derive(Debug, Default)]
pub struct PeerCounts {
    durations: [Durations; RCODES],
    healthcheck_failures: AtomicU64,
    connection_hits: [AtomicU64; 2],
    connection_misses: [AtomicU64; 2],
    dropped: [AtomicU64; Misfit::ALL.len()],
    /// What the address takes, whatever the port. Addresses beyond the first 64 have no limit.
    pub packets: Arc<PacketBudget>,
}

/// The budget of an address: one for all its ports.
fn budget(peers: &[(SocketAddr, Arc<PeerCounts>)], address: IpAddr) -> Arc<PacketBudget> {
    let known = peers.iter().find(|(peer, _)| peer.ip() == address);
    known.map_or_else(
        || Arc::new(PacketBudget::of(address)),
        |(_, counts)| Arc::clone(&counts.packets),
    )
}

/// The budgets that have a limit, each once.
fn packets(peers: &[(SocketAddr, Arc<PeerCounts>)]) -> Vec<(IpAddr, PacketReading)> {
    let mut readings: Vec<(IpAddr, PacketReading)> = Vec::new();
    for (address, counts) in peers {
        let is_told = readings.iter().any(|(told, _)| *told == address.ip());
        if let Some(reading) = counts.packets.read().filter(|_| !is_told) {
            readings.push((address.ip(), reading));
        }
    }
    readings
}

#[derive(Debug, Default)]
struct Durations {
    buckets: [AtomicU64; BUCKETS],
    count: AtomicU64,
    sum_us: AtomicU64,
}

impl PeerCounts {
    /// Counts a reply with this response code (16 and above are one), `duration` after the query.
    pub fn replied(&self, rcode: u8, duration: Duration) {
        let durations = &self.durations[usize::from(rcode).min(RCODES - 1)];
        let seconds = duration.as_secs_f64();
        if let Some(bucket) = DURATION_BUCKETS_SECS.iter().position(|&bound| seconds <= bound) {
            add_one(&durations.buckets[bucket]);
        }
        add_one(&durations.count);
        let duration_us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        durations.sum_us.fetch_add(duration_us, Ordering::Relaxed);
    }

    /// Counts a health probe without a reply.
    pub fn probe_failed(&self) {
        add_one(&self.healthcheck_failures);
    }

    /// Counts a question that found an open connection (`hit`) or had to open one.
    pub fn connection(&self, tls: bool, hit: bool) {
        let counters = if hit { &self.connection_hits } else { &self.connection_misses };
        add_one(&counters[usize::from(tls)]);
    }

    /// Counts a message that was not the reply awaited.
    pub fn dropped(&self, misfit: Misfit) {
        add_one(&self.dropped[misfit as usize]);
    }

    fn snapshot(&self, to: String) -> PeerSnapshot {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let connections = |index: usize, proto| ConnectionSnapshot {
            proto,
            hits: read(&self.connection_hits[index]),
            misses: read(&self.connection_misses[index]),
        };
        PeerSnapshot {
            to,
            requests: (0u8..)
                .zip(&self.durations)
                .filter_map(|(rcode, durations)| durations.snapshot(rcode))
                .collect(),
            healthcheck_failures: read(&self.healthcheck_failures),
            connections: [connections(0, "tcp"), connections(1, "tcp-tls")],
            dropped: Misfit::ALL
                .map(|misfit| (misfit.label(), read(&self.dropped[misfit as usize]))),
        }
    }
}

impl Durations {
    fn snapshot(&self, rcode: u8) -> Option<DurationSnapshot> {
        let count = self.count.load(Ordering::Relaxed);
        (count > 0).then(|| DurationSnapshot {
            rcode,
            buckets: self.buckets.each_ref().map(|bucket| bucket.load(Ordering::Relaxed)),
            count,
            sum_secs: self.sum_us.load(Ordering::Relaxed) as f64 / 1e6,
        })
    }
}

fn add_one(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// All numbers at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct UpstreamSnapshot {
    /// One per upstream address.
    pub upstreams: Vec<PeerSnapshot>,
    /// What addresses with a limit take.
    pub packets: Vec<(IpAddr, PacketReading)>,
    /// See [`UpstreamCounts::healthcheck_broken`].
    pub healthcheck_broken: u64,
    /// See [`UpstreamCounts::max_concurrent_rejects`].
    pub max_concurrent_rejects: u64,
}

/// The numbers of one upstream at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct PeerSnapshot {
    /// Address and port, or [`OTHERS`]: the label `to`.
    pub to: String,
    /// Replies by response code, codes never seen left out
    /// (`coredns_proxy_request_duration_seconds`).
    pub requests: Vec<DurationSnapshot>,
    /// `coredns_proxy_healthcheck_failures_total`.
    pub healthcheck_failures: u64,
    /// `coredns_proxy_conn_cache_{hits,misses}_total`. UDP has no connections to keep.
    pub connections: [ConnectionSnapshot; 2],
    /// Messages that were not the reply awaited, by reason.
    pub dropped: [(&'static str, u64); Misfit::ALL.len()],
}

/// Durations of exchanges that ended with one response code.
#[derive(Debug, Clone, PartialEq)]
pub struct DurationSnapshot {
    /// 0 to 15, or 16 for BADVERS and above.
    pub rcode: u8,
    /// Replies per bucket of [`DURATION_BUCKETS_SECS`], not cumulative; those slower than the
    /// last bound are in `count` only.
    pub buckets: [u64; BUCKETS],
    /// All replies.
    pub count: u64,
    /// Sum of all durations in seconds.
    pub sum_secs: f64,
}

/// How often an open connection could be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionSnapshot {
    /// The label `proto`.
    pub proto: &'static str,
    /// Questions that found one open.
    pub hits: u64,
    /// Questions that had to open one.
    pub misses: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_those_of_coredns() {
        assert_eq!(DURATION_BUCKETS_SECS[0], 0.000_25);
        assert_eq!(DURATION_BUCKETS_SECS[15], 8.192);
    }

    #[test]
    fn a_reply_is_counted_once_in_its_bucket() {
        let counts = PeerCounts::default();
        counts.replied(3, Duration::from_micros(250));
        counts.replied(3, Duration::from_micros(251));
        counts.replied(200, Duration::from_secs(60));
        let snapshot = counts.snapshot("x".to_owned());
        let codes: Vec<_> =
            snapshot.requests.iter().map(|request| (request.rcode, request.count)).collect();
        assert_eq!(codes, [(3, 2), (16, 1)]);
        assert_eq!(snapshot.requests[0].buckets[..3], [1, 1, 0]);
        assert_eq!(snapshot.requests[1].buckets, [0; BUCKETS]);
        assert!((snapshot.requests[1].sum_secs - 60.0).abs() < 1e-9);
    }

    #[test]
    fn labels_are_bounded() {
        let counts = UpstreamCounts::default();
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let asked: Vec<_> = (1..=200).map(|port| counts.peer(address(port))).collect();
        asked.iter().for_each(|counts| counts.probe_failed());
        let upstreams = counts.snapshot().upstreams;
        assert_eq!(upstreams.len(), PEERS_MAX + 1);
        assert_eq!(upstreams[PEERS_MAX].to, OTHERS);
        assert_eq!(upstreams[PEERS_MAX].healthcheck_failures, 200 - PEERS_MAX as u64);
        assert!(Arc::ptr_eq(&counts.peer(address(1)), &counts.peer(address(1))));
    }

    #[test]
    fn an_address_that_is_asked_no_more_makes_room() {
        let counts = UpstreamCounts::default();
        for port in 1..=500 {
            counts.peer(SocketAddr::from(([127, 0, 0, 1], port))).probe_failed();
        }
        let upstreams = counts.snapshot().upstreams;
        assert_eq!(upstreams[PEERS_MAX - 1].to, "127.0.0.1:500");
        assert_eq!(upstreams[PEERS_MAX].healthcheck_failures, 0);
    }
}
