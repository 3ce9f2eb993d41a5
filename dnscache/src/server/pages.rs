//! The admin pages while the program runs: which addresses serve which, over reloads.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::admin::http::Server;
use crate::admin::listen::{self, Selection};
use crate::admin::metrics::{Build, Metrics};
use crate::admin::pages::{Pages, Readiness};
use crate::admin::self_check::{self, SelfChecks};
use crate::admin::sources::Sources;
use crate::bind::BindError;
use crate::config::Config;
use crate::config::flags::MetricsPage;
use crate::server::sockets::Sockets;

/// The part of readiness that a first configuration in force completes.
const CONFIGURATION: &str = "configuration";

/// The admin pages and their servers.
pub struct AdminPages {
    /// Where metrics are served whatever the configuration says.
    page: MetricsPage,
    metrics: Arc<Metrics>,
    readiness: Arc<Readiness>,
    self_checks: Arc<SelfChecks>,
    servers: BTreeMap<SocketAddr, (Selection, Server)>,
    checking: Option<(SocketAddr, JoinHandle<()>)>,
}

/// Addresses of a configuration, those among them that were opened for it with their sockets.
pub struct Opened {
    wanted: BTreeMap<SocketAddr, Selection>,
    listeners: Vec<(SocketAddr, Selection, TcpListener)>,
}

impl AdminPages {
    /// No page is served yet.
    pub fn new(page: MetricsPage) -> Self {
        Self {
            page,
            metrics: Arc::new(Metrics::new(Build::this())),
            readiness: Arc::new(Readiness::awaiting([CONFIGURATION])),
            self_checks: Arc::default(),
            servers: BTreeMap::new(),
            checking: None,
        }
    }

    /// What the self-check of `health` found.
    pub fn self_checks(&self) -> Arc<SelfChecks> {
        Arc::clone(&self.self_checks)
    }

    /// Opens the addresses of a configuration that are not served as it wants them.
    ///
    /// # Errors
    /// An address cannot be listened on; nothing changes.
    pub fn open(&self, config: &Config, sockets: &Sockets) -> Result<Opened, BindError> {
        let mut wanted = listen::selections(config, &self.page.listen);
        let mut listeners = Vec::new();
        for (address, selection) in wanted.clone() {
            let is_served =
                self.servers.get(&address).is_some_and(|(served, _)| *served == selection);
            if is_served {
                continue;
            }
            match sockets.pages(address, selection) {
                Ok(listener) => listeners.push((address, selection, listener)),
                Err(error) if self.is_optional(&address, config) => {
                    tracing::warn!(
                        "{error}; metrics are not served there (-metrics-listen-address names \
                         another place, or none with \"\")"
                    );
                    wanted.remove(&address);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Opened { wanted, listeners })
    }

    /// Whether nobody asked for pages on this address.
    fn is_optional(&self, address: &SocketAddr, config: &Config) -> bool {
        !self.page.is_asked_for && !listen::selections(config, &[]).contains_key(address)
    }

    /// Serves the addresses that were opened, with numbers from `sources`, and no others.
    pub async fn serve(&mut self, opened: Opened, sources: Sources, sockets: &Sockets) {
        self.metrics.replace_sources(sources);
        self.readiness.done(CONFIGURATION);
        for (address, selection, listener) in opened.listeners {
            sockets.serves_pages(address, &listener);
            let server = Server::start(listener, Arc::new(self.pages(selection)));
            if let Some((_, replaced)) = self.servers.insert(address, (selection, server)) {
                replaced.stop().await;
            }
        }
        let gone: Vec<_> = self
            .servers
            .keys()
            .filter(|served| !opened.wanted.contains_key(served))
            .copied()
            .collect();
        for address in gone {
            if let Some((_, server)) = self.servers.remove(&address) {
                sockets.leaves_pages(address);
                server.stop().await;
            }
        }
        self.check_health();
    }

    /// From now on not ready, so that nobody sends anything new.
    pub fn begin_drain(&self) {
        self.readiness.ending();
    }

    /// Stops serving.
    pub async fn close(self) {
        if let Some((_, checking)) = self.checking {
            checking.abort();
        }
        for (_, (_, server)) in self.servers {
            server.stop().await;
        }
    }

    fn pages(&self, selection: Selection) -> Pages {
        Pages {
            metrics: selection.metrics.then(|| Arc::clone(&self.metrics)),
            hot: selection.hot,
            health: selection.health,
            ready: selection.ready.then(|| Arc::clone(&self.readiness)),
        }
    }

    /// Keeps the self-check on the first address that serves `/health`.
    fn check_health(&mut self) {
        let address = self
            .servers
            .iter()
            .find(|(_, (selection, _))| selection.health)
            .map(|(address, _)| *address);
        if self.checking.as_ref().map(|(checked, _)| *checked) == address {
            return;
        }
        if let Some((_, checking)) = self.checking.take() {
            checking.abort();
        }
        self.checking = address.map(|address| {
            let checks = self.self_checks();
            (address, tokio::spawn(async move { self_check::run(address, &checks).await }))
        });
    }
}
