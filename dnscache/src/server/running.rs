//! The parts while they run, and how a configuration is put in force.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::addresses::{is_without_ipv6, listen_addresses, workers};
use super::cluster::Cluster;
use super::condition::{Condition, ask_oneself, watch_pulses};
use super::counts::Counts;
use super::follow::{Event, Followers, HostsFile, Notes, read_hosts};
use super::output::Output;
use super::own::{follow_own_addresses, own_addresses};
use super::pages::AdminPages;
use super::readings::{fairness, sources};
use super::refresh::keep_fresh;
use super::snapshots::Snapshots;
use super::sockets::{HandingOver, Sockets};
use super::vital::spawn_vital;
use super::{Asked, DRAIN_MAX, Plan};
use crate::clients::{Clients, SHARES_MAX};
use crate::clock;
use crate::config::check::timeouts;
use crate::config::flags::Flags;
use crate::config::{self, Config, Origin};
use crate::counts::NodeCounts;
use crate::engine::shelf::{Shelf, Surroundings};
use crate::engine::{ListenerId, RouteId};
use crate::fast::{Bound, FastPlane};
use crate::handoff::{Door, door};
use crate::node::takeover::channel::Channel;
use crate::slow::bequest::Heirs;
use crate::slow::inflight::Limits;
use crate::slow::pace::Pace;
use crate::slow::slow_log::SlowLog;
use crate::slow::tcp::{self, TcpLimits};
use crate::slow::upstream::Route;
use crate::slow::{Routes, miss};

/// Errands the door holds: those of every client that is let in, so that no client fills it for the
/// others, and renewals. At a packet a microsecond that is nine milliseconds of a slow plane that
/// does not get a turn.
const DOOR_CAPACITY: usize = SHARES_MAX + 1_024;
/// Addresses that a reload can add before their workers share the atomic shard of the counts.
const SPARE_ADDRESSES: usize = 4;

/// Everything that runs.
pub struct Running {
    config: Config,
    /// The last configuration known to make no loop, to go back to from one that does.
    sound: Option<Config>,
    /// Probes of `loop` under the configuration in force that have not ended.
    probes: usize,
    /// The number of the configuration in force.
    generation: u64,
    /// The fingerprint of a configuration that made a loop.
    refused: Option<u64>,
    /// What was wrong with the configuration that was refused last.
    mistake: Option<String>,
    shelf: Arc<Mutex<Shelf>>,
    plans: Arc<ArcSwap<Plan>>,
    door: Door,
    fast: Option<FastPlane>,
    streams: HashMap<SocketAddr, Stream>,
    sockets: Sockets,
    heirs: Arc<Heirs>,
    condition: Arc<Condition>,
    /// Whether anybody can ask how it is doing.
    is_probed: bool,
    limits: Arc<TcpLimits>,
    clients: Arc<Clients>,
    slow_log: Arc<SlowLog>,
    routes: Routes<Route>,
    wires: HashMap<RouteId, Wire>,
    cluster: Cluster,
    misses: (CancellationToken, JoinHandle<()>),
    counts: Counts,
    output: Output,
    admin: AdminPages,
    followers: Followers,
    snapshots: Snapshots,
    events: (mpsc::Sender<Event>, mpsc::Receiver<Event>),
}

/// A TCP listener being served.
struct Stream {
    pace: Arc<Pace>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// A route and what it was made of.
struct Wire {
    made_of: (config::Forward, u16),
    route: Arc<Route>,
}

/// An address whose sockets are open and not read yet.
struct Ground {
    address: SocketAddr,
    datagrams: Bound,
    stream: TcpListener,
}

impl Running {
    /// Puts the first configuration in force.
    ///
    /// # Errors
    /// An address that cannot be listened on, an upstream that cannot be used.
    pub async fn start(
        flags: &Flags,
        config: Config,
        mut sockets: Sockets,
        node: Arc<NodeCounts>,
    ) -> anyhow::Result<Self> {
        let workers = workers(flags, &config);
        let (clients, slow_log) = (Arc::<Clients>::default(), Arc::<SlowLog>::default());
        let (door, errands) = door(DOOR_CAPACITY, Arc::clone(&clients));
        let shards = 1 + workers.get() * (listen_addresses(&config).len() + SPARE_ADDRESSES);
        let counts = Counts::new(shards, node);
        let empty = Plan {
            engine: Shelf::default().assemble(&nothing(&config), &surroundings()),
            counts: Vec::new(),
            logs: Vec::new(),
        };
        let plans = Arc::new(ArcSwap::from_pointee(empty));
        sockets.hand_over_cache_of(&plans);
        let routes = Routes::default();
        let stop = CancellationToken::new();
        let carried = miss::run(
            errands,
            Arc::clone(&routes),
            Limits::default(),
            Arc::clone(&counts.planes),
            Arc::clone(&slow_log),
            stop.clone(),
        );
        let events = mpsc::channel(EVENTS_MAX);
        let misses = (stop, spawn_vital("asking upstream", events.0.clone(), carried));
        let fast = FastPlane::new(
            workers,
            shards,
            Arc::clone(&plans),
            door.clone(),
            Arc::clone(&counts.planes),
        );
        let snapshots = Snapshots::new(&flags.snapshot, Arc::clone(&counts.snapshots));
        // Before any address is taken: who comes first is answered from it.
        let handed_over = sockets.take_snapshot();
        let shelf =
            tokio::task::block_in_place(|| snapshots.shelf(&config, &surroundings(), handed_over));
        let mut running = Self {
            shelf: Arc::new(Mutex::new(shelf)),
            snapshots,
            plans,
            door,
            fast: Some(fast),
            streams: HashMap::new(),
            sockets,
            heirs: Arc::default(),
            condition: Arc::default(),
            is_probed: flags.control.path().is_some(),
            limits: Arc::new(TcpLimits::for_this_process()),
            clients,
            slow_log,
            routes,
            wires: HashMap::new(),
            cluster: Cluster::default(),
            misses,
            admin: AdminPages::new(flags.metrics_page()),
            output: Output::new(Arc::clone(&counts.node)),
            counts,
            followers: Followers::none(),
            events,
            config: nothing(&config),
            sound: None,
            probes: 0,
            generation: 0,
            refused: None,
            mistake: None,
        };
        if let Some(fast) = &running.fast {
            tokio::spawn(watch_pulses(fast.pulses(), running.condition()));
        }
        if let Some(marks) = flags.kubernetes.marks()? {
            let (plans, routes) = (Arc::clone(&running.plans), Arc::clone(&running.routes));
            running.cluster.mark_node(marks, plans, routes);
        }
        running.put_in_force(config).await?;
        running.sockets.let_go_of_the_rest();
        anyhow::ensure!(!running.streams.is_empty(), "no address can be served");
        running.snapshots.keep_writing(&running.plans);
        Ok(running)
    }

    /// Addresses served, in the order of the configuration.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        listen_addresses(&self.config)
    }

    /// How it is doing.
    pub fn condition(&self) -> Arc<Condition> {
        Arc::clone(&self.condition)
    }

    /// Where listening sockets come from and go.
    pub fn sockets(&self) -> &Sockets {
        &self.sockets
    }

    /// Where the configuration in force came from.
    pub fn origin(&self) -> &Origin {
        &self.config.origin
    }

    /// The next thing that must be acted upon.
    pub async fn next_event(&mut self) -> Event {
        self.events.1.recv().await.expect("the sender lives in the same struct")
    }

    /// Reads the configuration again and puts it in force if it is another one. A broken one is
    /// named in the log and changes nothing.
    pub async fn reload(&mut self, flags: &Flags, asked: Asked) {
        let loaded = config::load_again(flags, &self.config.origin).map_err(anyhow::Error::from);
        if let Ok(config) = &loaded {
            self.output.tell(&config.origin);
        }
        let outcome = match loaded {
            // A timer would go back and forth between this one and the one before.
            Ok(config) if asked == Asked::ByTimer && self.refused == Some(config.fingerprint) => {
                return;
            }
            Ok(config) if config.fingerprint == self.config.fingerprint => {
                if asked == Asked::BySignal {
                    tracing::info!("reload: the configuration is the one in force");
                }
                return;
            }
            Ok(config) => self.put_in_force(config).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(()) => tracing::info!(
                fingerprint = self.config.fingerprint,
                "reload: the new configuration is in force"
            ),
            Err(error) => self.refuse(format!("{error:#}"), asked),
        }
    }

    /// Counts a configuration that cannot be used and says so; a timer that finds the same mistake
    /// again and again says it once.
    fn refuse(&mut self, mistake: String, asked: Asked) {
        if asked == Asked::ByTimer && self.mistake.as_ref() == Some(&mistake) {
            return;
        }
        self.counts.reloads_failed.fetch_add(1, Ordering::Relaxed);
        self.output.refused(&self.config.origin);
        tracing::error!("reload: {mistake}; the old configuration stays in force");
        self.mistake = Some(mistake);
    }

    /// Notes that one probe of the configuration of this number did not come back. When none is
    /// left, that configuration is one to go back to.
    pub fn probe_ended_well(&mut self, generation: u64) {
        if generation == self.generation {
            self.probes = self.probes.saturating_sub(1);
            self.note_if_sound();
        }
    }

    fn note_if_sound(&mut self) {
        if self.probes == 0 {
            self.sound = Some(self.config.clone());
        }
    }

    /// Ends a loop through ourselves that was found under the configuration of this number: back
    /// to the last one that made none. If there was none yet, an error ends the process, as
    /// operators of node-cache expect.
    pub async fn break_loop(&mut self, generation: u64, place: &str) -> anyhow::Result<()> {
        if generation != self.generation {
            return Ok(());
        }
        let message = format!(
            "loop: questions to {place} come back to this server: its forward leads here; \
             name upstreams that do not forward to it"
        );
        let Some(sound) = self.sound.clone() else { anyhow::bail!(message) };
        if sound.fingerprint == self.config.fingerprint {
            // It made none before, so what changed is not in this file.
            tracing::error!("{message}");
            return Ok(());
        }
        tracing::error!("{message}; going back to the last configuration without a loop");
        self.counts.reloads_failed.fetch_add(1, Ordering::Relaxed);
        self.refused = Some(self.config.fingerprint);
        if let Err(error) = self.put_in_force(sound).await {
            tracing::error!("that configuration cannot be put in force again: {error:#}");
        }
        Ok(())
    }

    /// Tells the world that the end is near; returns how long to go on all the same.
    pub fn begin_drain(&mut self) -> Duration {
        self.followers = Followers::none();
        self.admin.begin_drain();
        self.condition.ending();
        self.config.health.as_ref().map_or(Duration::ZERO, |health| health.lameduck)
    }

    /// Answers what was received, then closes everything; an heir is given the connections.
    pub async fn drain(mut self, heir: Option<Arc<Channel>>) {
        let handing_over = heir.map(|heir| HandingOver::begin(heir, &self.heirs));
        for stream in self.streams.values() {
            stream.stop.cancel();
        }
        if let Some(fast) = self.fast.take() {
            tokio::task::block_in_place(|| fast.drain());
        }
        // Without a door nothing new comes to the misses, so they end when the last is answered.
        drop(self.door);
        let (stop, misses) = self.misses;
        stop.cancel();
        let ending = async {
            for (_, stream) in self.streams {
                let _ = stream.task.await;
            }
            if let Some(handing_over) = handing_over {
                handing_over.finish().await;
            }
            let _ = misses.await;
        };
        if tokio::time::timeout(DRAIN_MAX, ending).await.is_err() {
            tracing::warn!("some clients were still waiting at the end");
        }
        self.snapshots.write_last(&self.plans).await;
        self.admin.close().await;
    }

    /// Puts a configuration in force: takes what it needs from the machine and makes its parts,
    /// any of which may fail and leaves everything as it was; then lets go of addresses that are
    /// gone, swaps the plan in, and serves what is new.
    async fn put_in_force(&mut self, config: Config) -> anyhow::Result<()> {
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        let streams = self.take_streams(&config)?;
        let pages = self.admin.open(&config, &self.sockets)?;
        let mut shelf = self.shelf().clone();
        let engine = shelf.assemble(&config, &surroundings());
        let wires = self.make_wires(&config, &engine)?;
        let hosts = read_hosts(&engine, &self.plans.load_full().engine).await;
        // Last of what may fail: from here on the kernel gives these sockets questions, and beside
        // another instance it would lose those that come before they are closed again.
        let grounds = self.take_grounds(streams)?;
        let counts = self.counts.of_blocks(&config);
        let logs = config.blocks.iter().map(|block| block.log.clone()).collect();
        let plan = Arc::new(Plan { engine, counts, logs });

        self.leave_addresses(&config);
        *self.shelf() = shelf;
        self.replace_routes(wires);
        self.cluster.put_in_force(&config, listen_addresses(&config));
        self.plans.store(Arc::clone(&plan));
        for (address, stream) in &self.streams {
            stream.pace.set(timeouts::of_address(&config.blocks, address));
        }
        self.clients.limit(config.clients.as_ref());
        self.clients.note_own(own_addresses());
        self.slow_log.set_threshold(config.slow_log);
        self.serve(grounds, &config);
        let mut sources =
            sources(&config, &plan, &self.counts, &self.shelf, self.admin.self_checks());
        fairness(&mut sources, &self.clients, &self.slow_log);
        sources.kubernetes = self.cluster.source();
        self.admin.serve(pages, sources, &self.sockets).await;
        self.follow(&config, &plan, hosts);
        self.output.tell(&config.origin);
        self.output.write(&config.origin);
        self.config = config;
        self.mistake = None;
        self.note_if_sound();
        Ok(())
    }

    /// Watches what this configuration names, and nothing of the one before.
    fn follow(&mut self, config: &Config, plan: &Arc<Plan>, hosts: Vec<HostsFile>) {
        self.generation += 1;
        let notes = Notes { events: self.events.0.clone(), generation: self.generation };
        (self.followers, self.probes) =
            Followers::start(config, plan, &self.routes.load(), hosts, &notes);
        if self.is_probed {
            let (foster, condition) = (self.sockets.foster(), self.condition());
            self.followers.also(ask_oneself(config.clone(), foster, condition));
        }
        self.followers.also(follow_own_addresses(Arc::clone(&self.clients)));
        if let Some(hot) = config.hot.clone() {
            let counts = Arc::clone(&self.counts.refreshes);
            let door = self.door.clone();
            self.followers.also(keep_fresh(hot, Arc::clone(&self.plans), door, counts));
        }
    }

    /// Opens the TCP sockets of addresses that are not served yet.
    fn take_streams(&self, config: &Config) -> anyhow::Result<Vec<(SocketAddr, TcpListener)>> {
        let wanted = listen_addresses(config);
        let mut streams = Vec::new();
        for address in &wanted {
            if self.streams.contains_key(address) {
                continue;
            }
            match self.sockets.dns(*address) {
                Ok(stream) => streams.push((*address, stream)),
                Err(error) if is_without_ipv6(*address, &wanted, &error) => {
                    tracing::warn!("{address} is left out: this machine has no IPv6");
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(streams)
    }

    /// Opens the UDP sockets beside them.
    fn take_grounds(&self, streams: Vec<(SocketAddr, TcpListener)>) -> anyhow::Result<Vec<Ground>> {
        let fast = self.fast.as_ref().context("the server is ending")?;
        let mut grounds = Vec::new();
        for (address, stream) in streams {
            grounds.push(Ground { address, datagrams: fast.bind(address)?, stream });
        }
        Ok(grounds)
    }

    /// The routes of a configuration: those that are made of the same stay, with their connections.
    fn make_wires(
        &mut self,
        config: &Config,
        engine: &crate::engine::Engine,
    ) -> anyhow::Result<HashMap<RouteId, Wire>> {
        self.cluster.prepare(&listen_addresses(config));
        let mut wires = HashMap::new();
        for (block, made) in config.blocks.iter().zip(engine.blocks()) {
            for way in &made.routes {
                let forward = block.forwards.iter().find(|forward| forward.from == way.from);
                let forward = forward.context("a route has its forward")?;
                let made_of = (forward.clone(), block.bufsize);
                let route = match self.wires.get(&way.id) {
                    Some(wire) if wire.is_made_of(&made_of) => Arc::clone(&wire.route),
                    _ => {
                        let (health, counts) = (&way.health, &self.counts.upstreams);
                        let route = Route::start(
                            forward,
                            block.bufsize,
                            Arc::clone(health),
                            Arc::clone(counts),
                        )?;
                        self.cluster.feed(forward, &route);
                        route
                    }
                };
                wires.insert(way.id, Wire { made_of, route });
            }
        }
        Ok(wires)
    }

    /// Questions that were on their way when a route went keep it until the reload after this one.
    fn replace_routes(&mut self, wires: HashMap<RouteId, Wire>) {
        let mut known: HashMap<RouteId, Arc<Route>> =
            self.wires.iter().map(|(id, wire)| (*id, Arc::clone(&wire.route))).collect();
        known.extend(wires.iter().map(|(id, wire)| (*id, Arc::clone(&wire.route))));
        for (id, wire) in &self.wires {
            let stays = wires.get(id).is_some_and(|new| Arc::ptr_eq(&new.route, &wire.route));
            if !stays {
                wire.route.close();
            }
        }
        self.routes.store(Arc::new(known));
        self.wires = wires;
        self.counts.upstreams.forget_packet_limits();
        self.wires.values().for_each(|wire| wire.route.limit_packets());
    }

    /// Starts to read the new sockets.
    fn serve(&mut self, grounds: Vec<Ground>, config: &Config) {
        let Some(fast) = &mut self.fast else { return };
        for Ground { address, datagrams, stream } in grounds {
            let id = listener_id(&self.shelf, address);
            if let Err(error) = fast.start(id, datagrams) {
                tracing::error!("{error}; the address is not served until the next reload");
                continue;
            }
            let stop = CancellationToken::new();
            let pace = Arc::new(Pace::new(timeouts::of_address(&config.blocks, &address)));
            let adopted = self.sockets.serves_dns(address, &stream);
            let server = tcp::Server {
                id,
                address,
                plan: Arc::clone(&self.plans),
                door: self.door.clone(),
                limits: Arc::clone(&self.limits),
                pace: Arc::clone(&pace),
                counts: Arc::clone(&self.counts.planes),
                heirs: Arc::clone(&self.heirs),
                now: clock::now,
            };
            let serving = tcp::serve(stream, adopted, server, stop.clone());
            let task = spawn_vital("accepting TCP clients", self.events.0.clone(), serving);
            self.streams.insert(address, Stream { pace, stop, task });
        }
    }

    /// Stops serving addresses that the configuration does not name; what was received is answered.
    fn leave_addresses(&mut self, config: &Config) {
        let wanted = listen_addresses(config);
        let gone: Vec<SocketAddr> =
            self.streams.keys().filter(|address| !wanted.contains(address)).copied().collect();
        for address in gone {
            if let Some(stream) = self.streams.remove(&address) {
                self.sockets.leaves_dns(address);
                stream.stop.cancel();
            }
            let id = listener_id(&self.shelf, address);
            if let Some(fast) = &mut self.fast {
                tokio::task::block_in_place(|| fast.close(id));
            }
        }
    }

    fn shelf(&self) -> std::sync::MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Events that may wait for the server; they come seconds apart.
const EVENTS_MAX: usize = 16;

impl Wire {
    /// Whether it was made of this; where the directive stands does not matter.
    fn is_made_of(&self, (forward, bufsize): &(config::Forward, u16)) -> bool {
        let mut own = self.made_of.0.clone();
        own.position = forward.position.clone();
        own == *forward && self.made_of.1 == *bufsize
    }
}

fn listener_id(shelf: &Mutex<Shelf>, address: SocketAddr) -> ListenerId {
    shelf.lock().unwrap_or_else(std::sync::PoisonError::into_inner).listener(address)
}

/// What a configuration is without its blocks: what is in force before the first one.
fn nothing(config: &Config) -> Config {
    Config {
        blocks: Vec::new(),
        health: None,
        fingerprint: 0,
        warnings: Vec::new(),
        ..config.clone()
    }
}

fn surroundings() -> Surroundings {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    Surroundings { host: host.trim().to_owned(), random: rand::random() }
}
