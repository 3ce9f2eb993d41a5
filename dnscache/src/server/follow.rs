//! Keeps an eye on things that change while the program runs: the Corefile, hosts files, and
//! whether the upstreams lead back here.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::Plan;
use crate::config::{self, Config, Origin, hosts_file};
use crate::engine::block::Block;
use crate::engine::cache::key::{Flags, Key};
use crate::engine::policy::hosts::HostsTable;
use crate::engine::policy::loops::LoopProbe;
use crate::engine::wire::header::{class, rtype};
use crate::engine::{Engine, Failure, RouteId, Transport};
use crate::slow::Told;
use crate::slow::upstream::Route;

/// Something the server must act upon.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// It is time to look at the Corefile.
    LookAtCorefile,
    /// Questions come back to us.
    Loop {
        /// Under which configuration, by its number.
        generation: u64,
        /// Through which zone and listen address.
        place: String,
    },
    /// A task the program cannot do without has panicked.
    Panicked {
        /// What it did.
        part: &'static str,
    },
    /// One probe of `loop` did not come back.
    Sound {
        /// Under which configuration, by its number.
        generation: u64,
    },
}

/// The tasks that keep watch over one configuration; dropping it ends them.
pub struct Followers {
    /// Dropping the set is what ends them.
    tasks: JoinSet<()>,
}

impl Followers {
    /// Nobody keeps watch.
    pub fn none() -> Self {
        Self { tasks: JoinSet::new() }
    }

    /// Adds a task that ends with the others.
    pub fn also(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Starts to watch what the configuration in force names. `hosts` are its files, read before.
    /// Says how many probes of `loop` are on their way too.
    pub fn start(
        config: &Config,
        plan: &Arc<Plan>,
        routes: &HashMap<RouteId, Arc<Route>>,
        hosts: Vec<HostsFile>,
        notes: &Notes,
    ) -> (Self, usize) {
        let (mut tasks, mut probes) = (JoinSet::new(), 0);
        if let Some(reload) = &config.reload {
            tasks.spawn(look_at_corefile(reload.clone(), notes.events.clone()));
        }
        if let Origin::Template(_) = config.origin {
            tasks.spawn(look_at_corefile(LOOK_AT_TEMPLATE, notes.events.clone()));
        }
        for file in hosts.into_iter().filter(HostsFile::is_followed) {
            tasks.spawn(file.follow());
        }
        for block in plan.engine.blocks() {
            let way = block.config.zones.first().and_then(|zone| block.route(zone.wire()));
            let route = way.and_then(|way| Some((way.id, routes.get(&way.id)?)));
            if let (Some(probe), Some((id, route))) = (&block.probe, route) {
                let place = format!("{} of {}", block.config.server_label, zone_of(&block.config));
                let (probe, route) = (Arc::clone(probe), Arc::clone(route));
                tasks.spawn(look_for_loop(probe, id, route, place, notes.clone()));
                probes += 1;
            }
        }
        (Self { tasks }, probes)
    }
}

/// Where followers of one configuration report.
#[derive(Debug, Clone)]
pub struct Notes {
    /// To whom.
    pub events: mpsc::Sender<Event>,
    /// Under which configuration, by its number.
    pub generation: u64,
}

/// Reads the hosts files of an engine that is not in force yet. A table whose file cannot be read
/// starts with what the one before it held.
pub async fn read_hosts(engine: &Engine, before: &Engine) -> Vec<HostsFile> {
    let mut files = Vec::new();
    for block in engine.blocks() {
        let (Some(config), Some(table)) = (&block.config.hosts, &block.hosts) else { continue };
        // The table holds inline entries as well, so only one of an equal directive will do.
        let is_same = |other: &&Block| {
            other.config.server_label == block.config.server_label
                && other.config.hosts.as_ref() == Some(config)
        };
        let known = before.blocks().iter().find(is_same).and_then(|other| other.hosts.as_ref());
        let mut file = HostsFile::new(config.clone(), Arc::clone(table));
        file.read_if_changed().await;
        if let (None, Some(known)) = (file.seen, known) {
            table.store(known.load_full());
        }
        files.push(file);
    }
    files
}

fn zone_of(block: &config::Block) -> String {
    block.zones.first().map_or_else(|| ".".to_owned(), ToString::to_string)
}

/// Says when to look at the Corefile: every interval, give or take the jitter, so that the nodes
/// of a cluster do not all reload at once.
async fn look_at_corefile(reload: config::Reload, events: mpsc::Sender<Event>) {
    let jitter_millis = reload.jitter.as_millis() as u64;
    let shortest = reload.interval.saturating_sub(reload.jitter);
    loop {
        let extra = rand::random_range(0..=jitter_millis.saturating_mul(2));
        sleep(shortest + Duration::from_millis(extra)).await;
        if events.send(Event::LookAtCorefile).await.is_err() {
            return;
        }
    }
}

/// How often a template and the kube-dns ConfigMap are looked at, whatever `reload` says: as often
/// as node-cache does it. Reading them again costs a millisecond; what is told apart is their
/// content, because a mounted ConfigMap changes by a link.
const LOOK_AT_TEMPLATE: config::Reload =
    config::Reload { interval: Duration::from_secs(10), jitter: Duration::from_secs(1) };

/// A hosts file and the table it fills.
pub struct HostsFile {
    config: config::Hosts,
    table: Arc<ArcSwap<HostsTable>>,
    seen: Option<(SystemTime, u64)>,
}

impl HostsFile {
    fn new(config: config::Hosts, table: Arc<ArcSwap<HostsTable>>) -> Self {
        Self { config, table, seen: None }
    }

    fn is_followed(&self) -> bool {
        !self.config.reload.is_zero() && self.config.file.is_some()
    }

    async fn follow(mut self) {
        loop {
            sleep(self.config.reload).await;
            self.read_if_changed().await;
        }
    }

    /// Reads the file if its time or length changed. A file that cannot be read leaves the table as
    /// it is; so does a missing one, which may be on its way.
    async fn read_if_changed(&mut self) {
        let Some(path) = self.config.file.clone() else { return };
        let stamp =
            tokio::fs::metadata(&path).await.and_then(|data| Ok((data.modified()?, data.len())));
        match stamp {
            Ok(stamp) if self.seen == Some(stamp) => {}
            Ok(stamp) => self.seen = self.read(&path).await.then_some(stamp),
            Err(error) => {
                if self.seen.take().is_some() || self.table.load().is_empty() {
                    tracing::warn!(path = %path.display(), %error, "hosts file cannot be read; what was read before stays in force");
                }
            }
        }
    }

    /// Reads the file into the table; whether it could be read.
    async fn read(&self, path: &Path) -> bool {
        let owned: PathBuf = path.to_owned();
        let read = tokio::task::spawn_blocking(move || hosts_file::read(&owned)).await;
        let Ok(Ok(parsed)) = read else {
            tracing::warn!(path = %path.display(), "hosts file cannot be read; what was read before stays in force");
            return false;
        };
        for warning in &parsed.warnings {
            tracing::warn!(path = %path.display(), "{warning}");
        }
        let mut table = HostsTable::default();
        for (address, names) in self.config.inline.iter().chain(&parsed.entries) {
            table.add(*address, names.clone());
        }
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        table.set_read_at_secs(since_1970.map_or(0.0, |since| since.as_secs_f64()));
        self.table.store(Arc::new(table));
        true
    }
}

/// How long the probe of `loop` is sent, and how often, until an upstream answers it.
const PROBE_TIME: Duration = Duration::from_secs(30);
const PROBE_PAUSE: Duration = Duration::from_secs(2);

/// Sends the probe of a block upstream and reports if it comes in again as a query.
async fn look_for_loop(
    probe: Arc<LoopProbe>,
    id: RouteId,
    route: Arc<Route>,
    place: String,
    notes: Notes,
) {
    let key = Key::new(id, probe.name.wire(), rtype::HINFO, class::IN, Flags::default());
    let end = Instant::now() + PROBE_TIME;
    while Instant::now() < end {
        let told = route.ask(&key, Transport::Udp, Instant::now() + PROBE_PAUSE).await;
        if probe.seen() > 0 {
            let found = Event::Loop { generation: notes.generation, place };
            let _ = notes.events.send(found).await;
            return;
        }
        if matches!(told, Told::Answer(_) | Told::Failed(Failure::Answered(_))) {
            break;
        }
        sleep(PROBE_PAUSE).await;
    }
    let _ = notes.events.send(Event::Sound { generation: notes.generation }).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_template_is_looked_at_every_ten_seconds_or_so() {
        let (events, mut looks) = mpsc::channel(1);
        tokio::spawn(look_at_corefile(LOOK_AT_TEMPLATE, events));
        for _ in 0..20 {
            let before = Instant::now();
            assert_eq!(looks.recv().await, Some(Event::LookAtCorefile));
            let secs = before.elapsed().as_secs_f64();
            assert!((8.9..=11.1).contains(&secs), "{secs} s");
        }
    }
}
