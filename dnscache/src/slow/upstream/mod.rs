//! The upstreams of one `forward`, and questions to them.
//!
//! `entrance` counts what is on its way, `select` puts the upstreams in order, `question` asks the
//! first of them, `walk` takes a question that is not answered by that past all of them, `peer` asks
//! one of them and keeps an eye on its health, `connections` holds its open TCP and TLS connections,
//! `resolv` follows resolv.conf and takes endpoints in, `packets` keeps within what an upstream
//! takes, `counts` has the numbers.

mod connections;
pub mod counts;
mod entrance;
pub mod packets;
mod peer;
mod question;
mod resolv;
mod select;
mod walk;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep};

pub use counts::UpstreamCounts;
use entrance::{Entrance, Full, Place};
use peer::{Care, Carrier, Peer, Tasks};
use question::Question;
use resolv::{Target, Targets};

use crate::config::{Forward, PacketLimit, Policy, TransportPolicy};
use crate::engine::cache::key::Key;
use crate::engine::policy::route::RouteHealth;
use crate::engine::{Failure, Transport};
use crate::slow::exchange::{Security, TlsTarget, tls_config};
use crate::slow::{Asking, Told};

/// The upstreams of one `forward`.
pub struct Route {
    config: Forward,
    makings: Makings,
    targets: Mutex<Targets>,
    peers: ArcSwap<Vec<Arc<Peer>>>,
    turn: AtomicUsize,
    entrance: Arc<Entrance>,
}

/// An upstream that says nothing for this long lets the next one be asked, and counts as failing
/// if nothing else was heard from it either.
pub const SILENCE: Duration = Duration::from_millis(800);
/// How often resolv.conf is read.
const READ_PAUSE: Duration = Duration::from_secs(1);

impl Route {
    /// Prepares the upstreams of `config`: reads its resolv.conf and certificates, and starts
    /// following the former. `bufsize` is the EDNS size offered, in octets. No upstream is talked
    /// to yet. Must be called inside a tokio runtime. Errors name the file at fault.
    pub fn start(
        config: &Forward,
        bufsize: u16,
        health: Arc<RouteHealth>,
        counts: Arc<UpstreamCounts>,
    ) -> anyhow::Result<Arc<Self>> {
        let targets = Targets::read(&config.to)?;
        let makings = Makings::new(config, bufsize, health, counts)?;
        let list = targets.list();
        anyhow::ensure!(!list.is_empty(), "{}: forward names no upstream", config.position);
        let peers: Vec<_> =
            list.iter().map(|target| makings.peer(target)).collect::<anyhow::Result<_>>()?;
        makings.care.enrol(&peers);
        let has_files = targets.has_files();
        let route = Arc::new(Self {
            config: config.clone(),
            makings,
            targets: Mutex::new(targets),
            peers: ArcSwap::from_pointee(peers),
            turn: AtomicUsize::new(0),
            entrance: Entrance::new(config.max_concurrent),
        });
        if has_files {
            route.makings.care.tasks.spawn(follow_files(Arc::downgrade(&route)));
        }
        Ok(route)
    }

    /// Asks the endpoints that `feed` names in the place of the written upstreams, whenever it
    /// names any. They stay as they are when the feed ends. Must be called inside a tokio runtime.
    pub fn follow_endpoints(self: &Arc<Self>, feed: watch::Receiver<Arc<[SocketAddr]>>) {
        self.makings.care.tasks.spawn(follow_endpoints(Arc::downgrade(self), feed));
    }

    /// Asks the upstreams; `client` says how the client asked. Ends by `deadline` with an answer,
    /// or with the reason why there is none.
    pub async fn ask(self: &Arc<Self>, key: &Key, client: Transport, deadline: Instant) -> Told {
        let (sender, receiver) = oneshot::channel();
        let journey = Arc::default();
        let asking = Asking { client, deadline, holder: None, is_known: true, journey };
        self.ask_then(key, asking, |told| {
            // Nobody to tell: the caller has given up.
            let _ = sender.send(told);
        });
        receiver.await.unwrap_or(Told::Failed(Failure::Silent))
    }

    /// [`Route::ask`] for a caller that does not wait: `tell` gets the end. Must be called inside
    /// a tokio runtime.
    pub fn ask_then(
        self: &Arc<Self>,
        key: &Key,
        asking: Asking,
        tell: impl FnOnce(Told) + Send + 'static,
    ) {
        let in_flight = match self.entrance.enter(asking.holder) {
            Ok(place) => InFlight { route: Arc::clone(self), _place: place },
            Err(full) => {
                self.makings.counts.max_concurrent_rejects.fetch_add(1, Ordering::Relaxed);
                return tell(Told::Failed(match full {
                    Full::Everybody => Failure::Overloaded,
                    Full::Client => Failure::Exhausted,
                }));
            }
        };
        let Some(peers) = self.order() else {
            return tell(Told::Failed(Failure::Silent));
        };
        let carrier = self.carrier(asking.client);
        Question { in_flight, key: key.clone(), peers, carrier, asking, tell }.ask();
    }

    /// The upstreams in the order in which to ask them; `None` if all are down and `failfast`
    /// says not to ask.
    fn order(&self) -> Option<Vec<Arc<Peer>>> {
        let peers = self.peers.load();
        let healthy: Vec<bool> = peers.iter().map(|peer| !peer.is_down()).collect();
        if !healthy.contains(&true) {
            self.makings.counts.healthcheck_broken.fetch_add(1, Ordering::Relaxed);
            if self.config.failfast {
                return None;
            }
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut random = rand::rng();
        let mut order = select::order(self.config.policy, turn, &healthy, &mut random);
        if self.config.policy == Policy::Random {
            let well = healthy.iter().filter(|is_healthy| **is_healthy).count();
            let latency_us = |index: usize| peers[index].latency_us();
            select::prefer_quick(&mut order[..well], latency_us, &mut random);
        }
        Some(order.into_iter().map(|index| Arc::clone(&peers[index])).collect())
    }

    /// Puts the limit on packets that this route has into force, if it has one of its own.
    pub fn limit_packets(&self) {
        self.peers.load().iter().for_each(|peer| self.makings.limit_packets(peer));
    }

    /// The upstreams as they are now.
    fn peers(&self) -> Arc<Vec<Arc<Peer>>> {
        self.peers.load_full()
    }

    /// Stops probes and no longer follows resolv.conf or endpoints. Questions still in flight end as usual.
    pub fn close(&self) {
        self.makings.care.tasks.stop();
    }

    fn carrier(&self, client: Transport) -> Carrier {
        match (self.config.transport, client) {
            (TransportPolicy::ForceTcp, _) | (TransportPolicy::AsClient, Transport::Tcp) => {
                Carrier::Stream
            }
            (TransportPolicy::PreferUdp, _) | (TransportPolicy::AsClient, Transport::Udp) => {
                Carrier::Datagram
            }
        }
    }

    fn targets(&self) -> MutexGuard<'_, Targets> {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads resolv.conf again. It may take as long as a file system takes.
    fn read_files(&self) {
        let mut targets = self.targets();
        if targets.read_again() {
            self.replace(targets.list());
        }
    }

    /// Takes in which endpoints there are.
    fn take_endpoints(&self, endpoints: &[SocketAddr]) {
        let mut targets = self.targets();
        if targets.replace_endpoints(endpoints) {
            self.replace(targets.list());
        }
    }

    /// Puts `list` in the place of the current upstreams. Those that stay keep their connections
    /// and what is known about their health.
    fn replace(&self, list: Vec<Target>) {
        let old = self.peers.load_full();
        let known = |target: &Target| {
            old.iter()
                .find(|peer| peer.address == target.address && peer.tls == target.tls)
                .cloned()
        };
        let made: anyhow::Result<Vec<_>> = list
            .iter()
            .map(|target| known(target).map_or_else(|| self.makings.peer(target), Ok))
            .collect();
        match made {
            Ok(peers) => {
                let upstreams: Vec<_> = peers.iter().map(|peer| peer.address.to_string()).collect();
                tracing::info!(zone = %self.config.from, upstreams = upstreams.join(" "), "upstreams changed");
                let peers = Arc::new(peers);
                self.makings.care.enrol(&peers);
                self.peers.store(Arc::clone(&peers));
                // Only now: a question that finds its upstream gone looks for the new ones.
                let gone =
                    old.iter().filter(|peer| !peers.iter().any(|kept| Arc::ptr_eq(kept, peer)));
                gone.for_each(|peer| peer.leave());
            }
            Err(error) => tracing::warn!("upstreams stay as they were: {error:#}"),
        }
    }
}

impl Drop for Route {
    fn drop(&mut self) {
        self.close();
    }
}

/// A question in flight, counted until dropped.
struct InFlight {
    route: Arc<Route>,
    _place: Place,
}

impl InFlight {
    fn route(&self) -> &Route {
        &self.route
    }
}

/// What a new upstream of the route is made with.
struct Makings {
    care: Arc<Care>,
    counts: Arc<UpstreamCounts>,
    tls: Option<Arc<rustls::ClientConfig>>,
    server_name: Option<String>,
    packets: PacketLimit,
}

impl Makings {
    fn new(
        config: &Forward,
        bufsize: u16,
        health: Arc<RouteHealth>,
        counts: Arc<UpstreamCounts>,
    ) -> anyhow::Result<Self> {
        let wants_tls = config
            .to
            .iter()
            .any(|to| matches!(to, crate::config::Upstream::Address { tls: true, .. }));
        let tls = match wants_tls {
            true => Some(tls_config(&config.tls.clone().unwrap_or_default())?),
            false => None,
        };
        let care = Care {
            payload: bufsize.clamp(512, 1232),
            max_fails: config.max_fails,
            health_check: config.health_check,
            expire: config.expire,
            max_age: config.max_age,
            probe_over_tcp: config.transport == TransportPolicy::ForceTcp,
            probe_name: config.health_check_domain.clone(),
            probe_recursion: config.health_check_recursion,
            health,
            tasks: Tasks::new(),
            roll: Mutex::default(),
        };
        let (server_name, packets) = (config.tls_server_name.clone(), config.packets);
        Ok(Self { care: Arc::new(care), counts, tls, server_name, packets })
    }

    fn peer(&self, target: &Target) -> anyhow::Result<Arc<Peer>> {
        let security = match &self.tls {
            Some(tls) if target.tls => {
                let name = target.server_name.as_deref().or(self.server_name.as_deref());
                Security::Tls(TlsTarget::new(Arc::clone(tls), name, target.address.ip())?)
            }
            _ => Security::Plain,
        };
        let counts = self.counts.peer(target.address);
        let peer = Peer::new(target.address, security, counts, Arc::clone(&self.care));
        self.limit_packets(&peer);
        Ok(peer)
    }

    fn limit_packets(&self, peer: &Peer) {
        if self.packets != PacketLimit::Known && !self.counts.are_shared(&peer.counts) {
            peer.counts.packets.limit(self.packets);
        }
    }
}

/// Follows the files of a route until the route is gone.
async fn follow_files(route: Weak<Route>) {
    loop {
        sleep(READ_PAUSE).await;
        let Some(route) = route.upgrade() else { return };
        if tokio::task::spawn_blocking(move || route.read_files()).await.is_err() {
            return;
        }
    }
}

/// Takes in what a feed of endpoints says until it ends or the route is gone.
async fn follow_endpoints(route: Weak<Route>, mut feed: watch::Receiver<Arc<[SocketAddr]>>) {
    feed.mark_changed();
    while feed.changed().await.is_ok() {
        let endpoints = Arc::clone(&feed.borrow_and_update());
        let Some(route) = route.upgrade() else { return };
        route.take_endpoints(&endpoints);
    }
}

#[cfg(test)]
mod tests;
