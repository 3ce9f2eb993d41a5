//! One upstream: how it is asked, what it can do, and whether it is well.
//!
//! An upstream is failing from the first exchange that found no one (no connection, or silence
//! while nothing else was heard from it) until anything is heard from it. Silence about one name
//! while other questions are answered is that name's trouble, not the upstream's.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::SILENCE;
use super::connections::{Connections, Keeping};
use super::counts::PeerCounts;
use super::packets::STREAM_COST;
use crate::clock;
use crate::engine::cache::key::{Flags, Key};
use crate::engine::policy::route::RouteHealth;
use crate::engine::wire::header::{class, rtype};
use crate::engine::wire::name::Name;
use crate::engine::{Now, RouteId};
use crate::logging::Quiet;
use crate::slow::exchange::{Datagrams, Ear, Expect, Query, Security, Trouble};
use crate::slow::journey::Note;

/// One upstream of a route.
pub struct Peer {
    /// Address and port.
    pub address: SocketAddr,
    /// Whether it is asked over TLS only.
    pub tls: bool,
    /// Its numbers.
    pub counts: Arc<PeerCounts>,
    care: Arc<Care>,
    connections: Arc<Connections>,
    datagrams: Datagrams,
    ear: Arc<Ear>,
    /// Failed exchanges and probes since anything was heard.
    fails: AtomicU32,
    /// Whether a probe task runs.
    probing: AtomicBool,
    /// Whether the log says that it fails.
    announced: AtomicBool,
    /// Whether it left the route.
    gone: AtomicBool,
    lines: Quiet,
    /// When anything was heard last, in milliseconds of [`clock::now`].
    heard_at_millis: AtomicU64,
    /// Until when it is asked without EDNS, in milliseconds of [`clock::now`].
    plain_until_millis: AtomicU64,
    /// What it took lately to answer, in microseconds, smoothed; 0: not known.
    latency_us: AtomicU32,
}

/// What the peers of one route have in common.
pub struct Care {
    /// EDNS size offered, in octets.
    pub payload: u16,
    /// `max_fails`.
    pub max_fails: u32,
    /// `health_check`.
    pub health_check: Option<Duration>,
    /// `expire`.
    pub expire: Duration,
    /// `max_age`.
    pub max_age: Option<Duration>,
    /// Whether probes of a plain upstream go over TCP.
    pub probe_over_tcp: bool,
    /// The name whose NS records a probe asks for.
    pub probe_name: Name,
    /// Whether a probe asks for recursion.
    pub probe_recursion: bool,
    /// Told when an upstream is back.
    pub health: Arc<RouteHealth>,
    /// The route's background tasks.
    pub tasks: Tasks,
    /// The upstreams of the route, to see whether all of them fail.
    pub roll: Mutex<Vec<Weak<Peer>>>,
}

/// How one exchange travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// A datagram.
    Datagram,
    /// A connection, over TLS if the upstream is.
    Stream,
}

/// How one question is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manner {
    /// How it travels.
    pub carrier: Carrier,
    /// Whether a stream is opened for it alone.
    pub alone: bool,
    /// Whether it carries EDNS.
    pub edns: bool,
    /// Whether it asks for recursion.
    pub recursion: bool,
}

/// How long an upstream that does not understand EDNS is asked without it.
const PLAIN_MILLIS: u64 = 600_000;
/// How long EDNS is left away after a reply that looked as if it were not understood: until the
/// question concerned was asked again.
const DOUBT_MILLIS: u64 = 3_000;
/// How long a probe waits.
const PROBE_PATIENCE: Duration = Duration::from_secs(1);
/// Probes are never closer together than this, whatever the Corefile says.
const PROBE_PAUSE_MIN: Duration = Duration::from_millis(50);
/// How old a connection without TLS gets unless `max_age` says otherwise. Behind a Service address
/// it is tied to one CoreDNS; a minute or two is soon enough to spread load after CoreDNS was
/// scaled, and a handshake in that time costs nothing. A TLS upstream is rarely a Service.
const PLAIN_AGE_MAX: Duration = Duration::from_secs(120);

/// An answer changes what is known of an upstream's latency by this part.
const SMOOTHING: u32 = 8;

impl Care {
    /// Notes who the upstreams of the route are from now on.
    pub fn enrol(&self, peers: &[Arc<Peer>]) {
        let mut roll = self.roll();
        *roll = peers.iter().map(Arc::downgrade).collect();
        if self.health.is_silent() && peers.iter().any(|peer| !peer.is_failing()) {
            self.health.recovered(clock::now());
        }
    }

    /// Notes that an upstream which had failed was heard.
    fn recovered(&self, now: Now) {
        // Under the lock, so that nobody who still saw it fail says so afterwards.
        let _roll = self.roll();
        self.health.recovered(now);
    }

    fn roll(&self) -> MutexGuard<'_, Vec<Weak<Peer>>> {
        self.roll.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the route is silent, if nobody on it is left that does not fail.
    fn look_for_silence(&self) {
        let roll = self.roll();
        if roll.iter().filter_map(Weak::upgrade).all(|peer| peer.is_failing()) {
            self.health.fell_silent();
        }
    }
}

impl Peer {
    /// An upstream nothing is known about.
    pub fn new(
        address: SocketAddr,
        security: Security,
        counts: Arc<PeerCounts>,
        care: Arc<Care>,
    ) -> Arc<Self> {
        let ear =
            Arc::new(Ear { counts: Arc::clone(&counts), unread_at_millis: AtomicU64::new(0) });
        Arc::new(Self {
            address,
            tls: matches!(security, Security::Tls(_)),
            connections: {
                let plain = matches!(security, Security::Plain);
                let age_max = care.max_age.or(plain.then_some(PLAIN_AGE_MAX));
                let age_max = age_max.filter(|age| !age.is_zero());
                let keeping = Keeping { idle_max: care.expire, age_max };
                Connections::new(address, security, keeping, Arc::clone(&counts))
            },
            counts,
            care,
            datagrams: Datagrams::new(address, Arc::clone(&ear)),
            ear,
            fails: AtomicU32::new(0),
            probing: AtomicBool::new(false),
            announced: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            lines: Quiet::default(),
            heard_at_millis: AtomicU64::new(0),
            plain_until_millis: AtomicU64::new(0),
            latency_us: AtomicU32::new(0),
        })
    }

    /// Asks once and waits up to `patience`; notes what that says about the upstream.
    pub async fn ask(
        self: &Arc<Self>,
        key: &Key,
        manner: Manner,
        patience: Duration,
        note: Note<'_>,
    ) -> Result<Vec<u8>, Trouble> {
        let sent = clock::now();
        let mut exchange =
            std::pin::pin!(timeout(patience, self.exchange(key, manner, Some(note))));
        let ended = match timeout(SILENCE, &mut exchange).await {
            Ok(ended) => ended,
            Err(_) => {
                self.fell_silent(sent);
                exchange.await
            }
        };
        let result = ended.unwrap_or(Err(Trouble::Silent));
        self.take_note(result.as_ref().map(Vec::as_slice).map_err(|trouble| *trouble));
        result
    }

    /// Asks once in a datagram; `expect` is told how that ended and takes note of it. An error
    /// gives it back untold.
    pub fn send(
        &self,
        key: &Key,
        edns: bool,
        expect: Box<dyn Expect>,
    ) -> Result<(), (Trouble, Box<dyn Expect>)> {
        let query = Query::new(key, edns.then_some(self.care.payload));
        self.datagrams.send(query, expect)
    }

    /// Takes note of how an exchange ended.
    pub fn take_note(self: &Arc<Self>, result: Result<&[u8], Trouble>) {
        match result {
            Ok(_) | Err(Trouble::Broken | Trouble::Unread) => self.heard(),
            Err(Trouble::Unreachable) => self.failed(),
            Err(Trouble::Silent | Trouble::Lost | Trouble::Exhausted) => {}
        }
    }

    /// Whether the next query should carry EDNS.
    pub fn takes_edns(&self) -> bool {
        let now = clock::now().millis();
        let unread_at = self.ear.unread_at_millis.load(Ordering::Relaxed);
        now >= self.plain_until_millis.load(Ordering::Relaxed) && now >= unread_at + DOUBT_MILLIS
    }

    /// Notes that a query without EDNS was answered after one with EDNS was not understood.
    pub fn avoid_edns(&self) {
        let until = clock::now().plus_millis(PLAIN_MILLIS);
        self.plain_until_millis.store(until.millis(), Ordering::Relaxed);
    }

    /// Whether it failed `max_fails` times since anything was heard from it.
    pub fn is_down(&self) -> bool {
        self.care.max_fails > 0 && self.fails.load(Ordering::Relaxed) >= self.care.max_fails
    }

    /// Whether nothing was heard since it failed.
    fn is_failing(&self) -> bool {
        self.fails.load(Ordering::Relaxed) > 0
    }

    /// Notes that it is no upstream of the route any more: probes end, nobody asks it anew, and
    /// connections close when what was asked on them is answered.
    pub fn leave(&self) {
        self.gone.store(true, Ordering::Relaxed);
        self.connections.retire_all();
    }

    /// Whether anything was heard from it after `moment`.
    pub fn heard_since(&self, moment: Now) -> bool {
        self.heard_at_millis.load(Ordering::Relaxed) > moment.millis()
    }

    /// Whether it is no upstream of the route any more.
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// Counts a reply with this response code, `took` after the question.
    pub fn replied(&self, rcode: u8, took: Duration) {
        self.counts.replied(rcode, took);
        self.took(took);
    }

    /// What it took lately to answer, in microseconds; 0: not known.
    pub fn latency_us(&self) -> u32 {
        self.latency_us.load(Ordering::Relaxed)
    }

    /// Takes one latency into account. Two threads at once may lose one of two samples, which
    /// matters to nobody.
    fn took(&self, took: Duration) {
        let sample = u32::try_from(took.as_micros()).unwrap_or(u32::MAX).max(1);
        let smoothed = match self.latency_us() {
            0 => sample,
            known => known - known / SMOOTHING + sample / SMOOTHING,
        };
        self.latency_us.store(smoothed.max(1), Ordering::Relaxed);
    }

    async fn exchange(
        self: &Arc<Self>,
        key: &Key,
        manner: Manner,
        note: Option<Note<'_>>,
    ) -> Result<Vec<u8>, Trouble> {
        let payload = manner.edns.then_some(self.care.payload);
        let query = Query::new(key, payload).with_recursion(manner.recursion);
        match manner.carrier {
            Carrier::Datagram => self.datagrams.ask(query).await,
            Carrier::Stream if manner.alone => self.connections.ask_alone(&query, note).await,
            Carrier::Stream => self.connections.ask(&query, note).await,
        }
    }

    /// Notes that a question sent at `sent` has waited for [`SILENCE`].
    pub fn fell_silent(self: &Arc<Self>, sent: Now) {
        self.took(SILENCE);
        if !self.heard_since(sent) {
            self.failed();
        }
    }

    fn failed(self: &Arc<Self>) {
        if self.fails.fetch_add(1, Ordering::Relaxed) == 0
            && let Some(times) = self.lines.count(clock::now(), 1)
        {
            self.announced.store(true, Ordering::Relaxed);
            tracing::warn!(upstream = %self.address, times, "upstream does not answer");
        }
        self.care.look_for_silence();
        self.start_probing();
    }

    fn heard(&self) {
        let now = clock::now();
        self.heard_at_millis.store(now.millis(), Ordering::Relaxed);
        if self.fails.swap(0, Ordering::Relaxed) > 0 {
            if self.announced.swap(false, Ordering::Relaxed) {
                tracing::info!(upstream = %self.address, "upstream answers again");
            }
            self.care.recovered(now);
        }
    }

    fn start_probing(self: &Arc<Self>) {
        let Some(pause) = self.care.health_check else {
            return;
        };
        if !self.probing.swap(true, Ordering::Relaxed) {
            self.care.tasks.spawn(Arc::clone(self).probe(pause.max(PROBE_PAUSE_MIN)));
        }
    }

    fn needs_probes(&self) -> bool {
        self.is_failing() && !self.is_gone()
    }

    /// Asks `. NS` until anything is heard, from the probe or from a question. When failures of
    /// questions started this, the first probe may well be answered: the upstream came back
    /// between the two, and is noted as recovered all the same.
    async fn probe(self: Arc<Self>, pause: Duration) {
        let name = self.care.probe_name.wire();
        let key = Key::new(RouteId(0), name, rtype::NS, class::IN, Flags::default());
        let carrier = match self.tls || self.care.probe_over_tcp {
            true => Carrier::Stream,
            false => Carrier::Datagram,
        };
        while self.needs_probes() {
            let manner = Manner {
                carrier,
                alone: false,
                edns: self.takes_edns(),
                recursion: self.care.probe_recursion,
            };
            self.counts.packets.note(match carrier {
                Carrier::Datagram => 1,
                Carrier::Stream => STREAM_COST,
            });
            let asked = self.exchange(&key, manner, None);
            match timeout(PROBE_PATIENCE, asked).await {
                Ok(Ok(_) | Err(Trouble::Broken | Trouble::Unread)) => self.heard(),
                Ok(Err(_)) | Err(_) => {
                    self.counts.probe_failed();
                    self.fails.fetch_add(1, Ordering::Relaxed);
                    sleep(pause).await;
                }
            }
        }
        self.probing.store(false, Ordering::Relaxed);
        // A failure between the last look at `fails` and here found this task still running.
        if self.needs_probes() {
            self.start_probing();
        }
    }
}

/// Background tasks that end when told to.
pub struct Tasks(Mutex<Option<JoinSet<()>>>);

impl Tasks {
    /// No task yet.
    pub fn new() -> Self {
        Self(Mutex::new(Some(JoinSet::new())))
    }

    /// Starts a task, unless [`Tasks::stop`] was called.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(tasks) = self.0.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            while tasks.try_join_next().is_some() {}
            tasks.spawn(task);
        }
    }

    /// Ends all tasks and starts no more.
    pub fn stop(&self) {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}
