//! Joins the parts: start, reload, drain.
//!
//! [`run`] is the whole life of the process. `running` has the parts while they run and puts a
//! configuration in force; `cluster` asks the Kubernetes API; `follow` keeps an eye on files and loops; `output` writes down what a
//! template became; `readings` tells the metrics where the numbers are.

mod running;
mod addresses;
mod cluster;
mod follow;
mod output;
mod own;
mod pages;
mod readings;
mod refresh;
mod sockets;
mod condition;
mod counts;
mod snapshots;
mod vital;

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::admin::control::Control;
use crate::config::flags::Flags;
use crate::config::{self, Config, Origin};
use crate::counts::{BlockCounts, NodeCounts};
use crate::engine::Engine;
use crate::node::Node;
use crate::node::takeover::Inheritance;
use crate::node::takeover::elder::Succession;
use addresses::listen_addresses;
use running::Running;
use sockets::Sockets;

/// What one configuration makes the planes do; replaced whole by a reload.
pub struct Plan {
    /// Decides about packets.
    pub engine: Engine,
    /// Where to count them, by `BlockId`.
    pub counts: Vec<Arc<BlockCounts>>,
    /// What is written about each of them, by `BlockId`; `None`: no query log.
    pub logs: Vec<Option<config::Log>>,
}

/// Serves until a signal ends it.
///
/// # Errors
/// What keeps the program from starting, said so that the operator can mend it.
pub fn run(flags: &Flags) -> anyhow::Result<()> {
    let config = config::load(flags)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(slow_threads().get())
        .thread_name("slow")
        .enable_all()
        .build()
        .context("starting the threads of the slow plane")?;
    let outcome = runtime.block_on(live(flags, config));
    // A read that hangs (a file system that is away) must not keep the process from ending.
    runtime.shutdown_timeout(SHUTDOWN_MAX);
    outcome
}

/// Threads of the slow plane: misses wait for the network, so one per core is plenty, and two let
/// a scrape or a reload pass beside them on the smallest machine.
fn slow_threads() -> NonZeroUsize {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    NonZeroUsize::new(cores.clamp(2, 8)).expect("at least 2")
}

async fn live(flags: &Flags, config: Config) -> anyhow::Result<()> {
    for warning in &flags.warnings {
        tracing::warn!("{warning}");
    }
    let mut signals = Signals::listen().context("listening for signals")?;
    let counts = Arc::default();
    // Addresses are there before sockets are bound to them, and go after the last answer.
    let mut node = Node::enter(flags, Arc::clone(&counts)).await?;
    let outcome = serve(flags, config, &mut node, counts, &mut signals).await;
    node.leave().await;
    outcome
}

/// From the first socket to the last answer.
async fn serve(
    flags: &Flags,
    config: Config,
    node: &mut Node,
    counts: Arc<NodeCounts>,
    signals: &mut Signals,
) -> anyhow::Result<()> {
    // Before any socket is open: a mistake found later costs the instance beside this one questions.
    let _pid_file = flags.pid_file.as_deref().map(PidFile::write).transpose()?;
    let addresses = listen_addresses(&config);
    let mut inheritance = tokio::select! {
        inheritance = Inheritance::claim(&addresses) => inheritance,
        // Nothing is served yet, so there is nothing to wait for.
        () = signals.no_patience() => {
            tracing::info!("told to end before anything was served");
            return Ok(());
        }
    };
    let elder = inheritance.elder.take();
    let mut running = Running::start(flags, config, Sockets::new(inheritance), counts).await?;
    // Sockets are open, so questions may be led to them.
    node.keep();
    let (estate, foster) = (running.sockets().estate(), running.sockets().foster());
    let succession = Succession::begin(elder, estate, foster);
    let _control = open_control(flags, &running);
    announce(&running);
    loop {
        tokio::select! {
            wish = signals.next() => match wish {
                Wish::Reload => running.reload(flags, Asked::BySignal).await,
                Wish::Drain => break,
                Wish::Quit => return Ok(()),
            },
            event = running.next_event() => match event {
                follow::Event::LookAtCorefile => running.reload(flags, Asked::ByTimer).await,
                follow::Event::Panicked { part } => anyhow::bail!(
                    "{part}: the task panicked (see above); ending, to be started again"
                ),
                follow::Event::Sound { generation } => running.probe_ended_well(generation),
                follow::Event::Loop { generation, place } => running.break_loop(generation, &place).await?,
            },
        }
    }
    drain(running, succession, node, signals).await;
    Ok(())
}

/// Opens the control socket. Without it probes fail and everything else works.
fn open_control(flags: &Flags, running: &Running) -> Option<Control> {
    let path = flags.control.path()?;
    let opened = Control::open(&path, running.condition());
    let told = opened.inspect_err(|error| {
        let path = path.display();
        tracing::warn!(
            "-control {path}: {error}; `dnscache probe` cannot ask this instance. Name a path in a \
             writable folder"
        );
    });
    told.ok()
}

/// Who asked for a reload: a timer reloads what has changed, a signal says so either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// SIGHUP or SIGUSR1.
    BySignal,
    /// `reload`.
    ByTimer,
}

/// Lameduck, then the end: what was received is answered. A successor that serves already makes
/// waiting needless and is given the clients' connections. A second signal does not wait.
async fn drain(
    mut running: Running,
    succession: Succession,
    node: &mut Node,
    signals: &mut Signals,
) {
    let in_order = async {
        let lameduck = running.begin_drain();
        let heir = succession.end().await;
        if heir.is_none() && !lameduck.is_zero() {
            tracing::info!(seconds = lameduck.as_secs_f32(), "going on for the time of lameduck");
            tokio::time::sleep(lameduck).await;
        }
        if heir.is_some() {
            node.succeeded();
        }
        node.release().await;
        running.drain(heir).await;
    };
    tokio::select! {
        () = in_order => tracing::info!("drained"),
        () = signals.no_patience() => tracing::warn!("told again to end: ending at once"),
    }
}

/// Says where it listens and, to somebody who tries it out, what to try.
fn announce(running: &Running) {
    let addresses = running.addresses();
    let listening: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let version = env!("CARGO_PKG_VERSION");
    tracing::info!("dnscache {version} listening on {} (UDP and TCP)", listening.join(", "));
    if let (Origin::BuiltIn, Some(first)) = (running.origin(), addresses.first()) {
        tracing::info!(
            "no -conf given: answers are cached and come from the nameservers in /etc/resolv.conf; \
             try: dig @{} -p {} example.com",
            first.ip(),
            first.port()
        );
    }
}

/// What a signal asks for.
enum Wish {
    Reload,
    Drain,
    Quit,
}

struct Signals {
    hangup: Signal,
    user: Signal,
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            user: signal(SignalKind::user_defined1())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
        })
    }

    async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.hangup.recv() => Wish::Reload,
            _ = self.user.recv() => Wish::Reload,
            _ = self.terminate.recv() => Wish::Drain,
            _ = self.interrupt.recv() => Wish::Drain,
            _ = self.quit.recv() => Wish::Quit,
        }
    }

    /// Waits for a signal that ends; reloads are over.
    async fn no_patience(&mut self) {
        while matches!(self.next().await, Wish::Reload) {}
    }
}

/// The process's number in a file, as long as it runs.
struct PidFile<'a>(&'a Path);

impl<'a> PidFile<'a> {
    fn write(path: &'a Path) -> anyhow::Result<Self> {
        std::fs::write(path, format!("{}\n", std::process::id())).with_context(|| {
            format!(
                "-pidfile {}: cannot be written; name a file in a writable folder",
                path.display()
            )
        })?;
        Ok(Self(path))
    }
}

impl Drop for PidFile<'_> {
    fn drop(&mut self) {
        let written = std::fs::read_to_string(self.0);
        if written.is_ok_and(|text| text.trim() != std::process::id().to_string()) {
            // A successor's, which was told the same path.
            return;
        }
        if let Err(error) = std::fs::remove_file(self.0) {
            tracing::warn!(path = %self.0.display(), %error, "the pid file stays behind");
        }
    }
}

/// How long threads of the runtime may take to end.
const SHUTDOWN_MAX: Duration = Duration::from_millis(500);
/// How long the planes may take to finish what is in flight.
const DRAIN_MAX: Duration = Duration::from_secs(6);
