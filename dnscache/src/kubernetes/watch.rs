//! Follows the EndpointSlices of Services: lists them, then watches, and begins again after a
//! failure, never more often than `pause` says.
//!
//! What was known last stays known while the API server is away. An API server that says there are
//! no endpoints is believed: then the upstreams that are written in the Corefile are asked.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::StreamExt;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::{ListParams, WatchEvent, WatchParams};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::client::{self, Server, explain, within};
use super::endpoints::Slices;
use super::pause::Pauses;
use crate::clock;
use crate::config::ServiceName;

/// The Services that are followed, each once however many routes ask it.
#[derive(Default)]
pub struct Watches {
    followed: HashMap<ServiceName, Followed>,
    /// Where this process listens.
    own: Arc<ArcSwap<Vec<SocketAddr>>>,
}

/// A Service that is followed.
struct Followed {
    feed: watch::Receiver<Arc<[SocketAddr]>>,
    counts: Arc<WatchCounts>,
    task: JoinHandle<()>,
}

/// What is known about one watch.
#[derive(Debug)]
pub struct WatchCounts {
    /// `NAMESPACE/SERVICE`.
    pub service: String,
    /// Endpoints that are asked.
    pub endpoints: AtomicU64,
    /// Whether the API server tells of changes now.
    pub is_watching: AtomicBool,
    /// Times the API server could not be asked.
    pub failures: AtomicU64,
    /// Slices left out because there were too many.
    pub slices_ignored: AtomicU64,
    /// When the API server was heard last, in milliseconds of [`clock::now`]; 0: never.
    heard_at_millis: AtomicU64,
}

/// What the service account needs.
const RIGHTS: &str = "`list` and `watch` on `endpointslices` of `discovery.k8s.io`";
/// Objects asked for in one answer.
const PAGE_LEN: u32 = 100;
/// Answers to one list at most; what comes after them is left out.
const PAGES_MAX: usize = 10;
/// How long one watch lasts, in seconds. The upper end is what kube allows.
const WATCH_SECS: std::ops::Range<u32> = 200..290;
/// How much longer an end may take to arrive before the connection counts as dead.
const WATCH_GRACE: Duration = Duration::from_secs(10);
/// A watch that ends sooner is followed by a pause like that after a failure.
const WATCH_MIN: Duration = Duration::from_secs(30);
/// From one change of the endpoints to the next.
const PACE: Duration = Duration::from_millis(100);

impl Watches {
    /// Notes where this process is about to listen too.
    pub fn also_listen_on(&self, more: &[SocketAddr]) {
        self.listen_on([self.own.load().as_slice(), more].concat());
    }

    /// Notes where this process listens: never an upstream.
    pub fn listen_on(&self, own: Vec<SocketAddr>) {
        self.own.store(Arc::new(own));
    }

    /// The endpoints of a Service, none until the API server has named some. Must be called inside
    /// a tokio runtime.
    pub fn follow(&mut self, service: &ServiceName) -> watch::Receiver<Arc<[SocketAddr]>> {
        let own = &self.own;
        let followed =
            self.followed.entry(service.clone()).or_insert_with(|| Followed::start(service, own));
        followed.feed.clone()
    }

    /// Follows no Service any more that is not among these.
    pub fn keep<'s>(&mut self, services: impl Iterator<Item = &'s ServiceName>) {
        let wanted: Vec<_> = services.collect();
        self.followed.retain(|service, _| wanted.contains(&service));
    }

    /// The numbers of all watches, by service.
    pub fn counts(&self) -> Vec<Arc<WatchCounts>> {
        let mut counts: Vec<_> =
            self.followed.values().map(|followed| Arc::clone(&followed.counts)).collect();
        counts.sort_by(|one, other| one.service.cmp(&other.service));
        counts
    }
}

impl Followed {
    fn start(service: &ServiceName, own: &Arc<ArcSwap<Vec<SocketAddr>>>) -> Self {
        let (sender, feed) = watch::channel(Arc::from([]));
        let counts = Arc::new(WatchCounts::new(service));
        let watcher = Watcher {
            service: service.clone(),
            server: None,
            slices: Slices::default(),
            version: None,
            own: Arc::clone(own),
            sender,
            counts: Arc::clone(&counts),
            complained: false,
        };
        Self { feed, counts, task: tokio::spawn(watcher.run()) }
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl WatchCounts {
    fn new(service: &ServiceName) -> Self {
        Self {
            service: service.to_string(),
            endpoints: AtomicU64::new(0),
            is_watching: AtomicBool::new(false),
            failures: AtomicU64::new(0),
            slices_ignored: AtomicU64::new(0),
            heard_at_millis: AtomicU64::new(0),
        }
    }

    /// How long ago the API server was heard, in seconds; `None`: never.
    pub fn age_secs(&self) -> Option<f64> {
        let heard_at = self.heard_at_millis.load(Ordering::Relaxed);
        (heard_at > 0)
            .then(|| Duration::from_millis(clock::now().millis().saturating_sub(heard_at)))
            .map(|age| age.as_secs_f64())
    }

    fn heard(&self) {
        self.heard_at_millis.store(clock::now().millis().max(1), Ordering::Relaxed);
    }
}

/// Follows one Service.
struct Watcher {
    service: ServiceName,
    server: Option<Server>,
    slices: Slices,
    /// Up to where the API server has told everything; `None`: it must be listed.
    version: Option<String>,
    own: Arc<ArcSwap<Vec<SocketAddr>>>,
    sender: watch::Sender<Arc<[SocketAddr]>>,
    counts: Arc<WatchCounts>,
    /// Whether the log says that the API server cannot be asked.
    complained: bool,
}

impl Watcher {
    async fn run(mut self) {
        let mut pauses = Pauses::default();
        loop {
            let began = Instant::now();
            let ended = self.watch_once().await;
            if began.elapsed() >= WATCH_MIN {
                pauses.reset();
            }
            if let Err(reason) = ended {
                self.fail(&reason);
            }
            sleep(pauses.next()).await;
        }
    }

    /// Lists if need be, then watches until that ends, as it does every few minutes.
    async fn watch_once(&mut self) -> Result<(), String> {
        let server = match self.server.take() {
            Some(server) => server,
            None => client::find().await.map_err(|error| format!("{error:#}"))?,
        };
        let Server { client, is_local } = self.server.insert(server).clone();
        let api: Api<EndpointSlice> = Api::namespaced(client, &self.service.namespace);
        let version = match self.version.clone() {
            Some(version) => version,
            None => self.list(&api, is_local).await?,
        };
        let seconds = rand::random_range(WATCH_SECS);
        let params = WatchParams::default().labels(&self.selector()).timeout(seconds);
        let events = within(api.watch(&params, &version), RIGHTS).await?;
        self.begin_watching(version);
        let mut events = pin!(events);
        let silence_max = Duration::from_secs(seconds.into()) + WATCH_GRACE;
        loop {
            let event = timeout(silence_max, events.next());
            match event.await.map_err(|_| "the connection is dead".to_owned())? {
                Some(Ok(WatchEvent::Error(status))) if status.code == 410 => {
                    // It no longer knows what came after that version.
                    self.version = None;
                    return Ok(());
                }
                Some(event) => {
                    self.take(event.map_err(|error| explain(&error, RIGHTS))?, is_local)?
                }
                None => return Ok(()),
            }
            self.publish().await;
        }
    }

    /// Asks for everything there is, from the API server's own cache; returns its version.
    async fn list(&mut self, api: &Api<EndpointSlice>, loopback: bool) -> Result<String, String> {
        let mut params = ListParams::default().labels(&self.selector()).limit(PAGE_LEN).match_any();
        let mut slices = self.slices.emptied();
        let mut version = None;
        for _ in 0..PAGES_MAX {
            let page = within(api.list(&params), RIGHTS).await?;
            for slice in &page.items {
                self.note_taken(slices.take(slice, loopback));
            }
            version = page.metadata.resource_version;
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => break,
            }
        }
        self.slices = slices;
        self.counts.heard();
        self.publish().await;
        version.ok_or_else(|| "the API server gives its list no version".to_owned())
    }

    fn take(&mut self, event: WatchEvent<EndpointSlice>, loopback: bool) -> Result<(), String> {
        self.counts.heard();
        match event {
            WatchEvent::Added(slice) | WatchEvent::Modified(slice) => {
                let is_taken = self.slices.take(&slice, loopback);
                self.note_taken(is_taken);
                self.version = slice.metadata.resource_version.or(self.version.take());
            }
            WatchEvent::Deleted(slice) => {
                self.slices.remove(&slice);
                self.version = slice.metadata.resource_version.or(self.version.take());
            }
            WatchEvent::Bookmark(bookmark) => {
                self.version = Some(bookmark.metadata.resource_version);
            }
            WatchEvent::Error(status) => {
                return Err(explain(&kube::Error::Api(status), RIGHTS));
            }
        }
        Ok(())
    }

    /// Tells the routes which endpoints there are, if that is news.
    async fn publish(&mut self) {
        let chosen: Arc<[SocketAddr]> = self.slices.chosen(&self.own.load()).into();
        self.counts.endpoints.store(chosen.len() as u64, Ordering::Relaxed);
        let is_news = self.sender.send_if_modified(|known| {
            let is_news = *known != chosen;
            *known = Arc::clone(&chosen);
            is_news
        });
        if is_news {
            sleep(PACE).await;
        }
    }

    fn begin_watching(&mut self, version: String) {
        self.version = Some(version);
        self.counts.heard();
        self.complained = false;
        if !self.counts.is_watching.swap(true, Ordering::Relaxed) {
            let endpoints = self.sender.borrow().len();
            tracing::info!(service = %self.service, endpoints, "the endpoints of the Service are followed");
        }
    }

    /// Notes that the API server could not be asked. Everything is asked anew next time.
    fn fail(&mut self, reason: &str) {
        self.counts.failures.fetch_add(1, Ordering::Relaxed);
        self.counts.is_watching.store(false, Ordering::Relaxed);
        (self.server, self.version) = (None, None);
        if !std::mem::replace(&mut self.complained, true) {
            let endpoints = self.sender.borrow().len();
            let instead = match endpoints {
                0 => "the upstreams written in the Corefile are asked",
                _ => "those known last are asked",
            };
            tracing::warn!(service = %self.service, endpoints, "endpoints of the Service cannot be followed, {instead}: {reason}");
        }
    }

    fn note_taken(&self, is_taken: bool) {
        self.counts.slices_ignored.fetch_add(u64::from(!is_taken), Ordering::Relaxed);
    }

    fn selector(&self) -> String {
        format!("kubernetes.io/service-name={}", self.service.name)
    }
}
