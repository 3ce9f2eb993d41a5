//! Keeps the cache over restarts: takes in what the instance before this one hands over, or the
//! snapshot an earlier process has left, and writes one every so often and one at the end.
//!
//! Whatever goes wrong costs a warm start and no answer: it is said once, counted, and that is it.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Seek as _, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::task::JoinHandle;

use super::Plan;
use crate::clock;
use crate::config::Config;
use crate::config::flags::{SNAPSHOT_DEFAULT, SnapshotFlags, SnapshotPlace};
use crate::counts::SnapshotCounts;
use crate::engine::Engine;
use crate::engine::shelf::{Shelf, Surroundings};
use crate::node::snapshot::{self, Restored, Unusable, Written, file};

/// How long writing the last snapshot may take: a disk that hangs must not keep the process from
/// ending.
const LAST_MAX: Duration = Duration::from_secs(4);

/// Snapshots of one process; `None`: it makes none.
pub struct Snapshots {
    desk: Option<Arc<Desk>>,
    interval: Duration,
    writing: Option<JoinHandle<()>>,
}

/// What writes them, one at a time.
struct Desk {
    path: PathBuf,
    bytes_max: u64,
    counts: Arc<SnapshotCounts>,
    state: Mutex<State>,
    /// Set when there is no more time.
    is_over: AtomicBool,
}

#[derive(Default)]
struct State {
    /// Which plan was written last, and how often it had learned something.
    written: Option<(usize, u64)>,
    /// What was wrong at the last try, so that it is said once.
    fault: Option<String>,
}

impl Snapshots {
    /// What the flags ask for.
    pub fn new(flags: &SnapshotFlags, counts: Arc<SnapshotCounts>) -> Self {
        let path = match &flags.place {
            Some(SnapshotPlace::Off) => None,
            Some(SnapshotPlace::File(path)) => Some(path.clone()),
            None => default_path(),
        };
        let desk = path.map(|path| {
            let (state, is_over) = (Mutex::default(), AtomicBool::new(false));
            Arc::new(Desk { path, bytes_max: flags.bytes_max, counts, state, is_over })
        });
        if let (Some(desk), Some(_)) = (&desk, &flags.place) {
            desk.try_folder();
        }
        Self { desk, interval: flags.interval, writing: None }
    }

    /// A shelf with the stores that a configuration wants, filled with what the instance before this
    /// one hands over, or else from the snapshot if there is one. Reads files, so it blocks.
    pub fn shelf(
        &self,
        config: &Config,
        surroundings: &Surroundings,
        handed_over: Option<File>,
    ) -> Shelf {
        let mut shelf = Shelf::default();
        if handed_over.is_none() && self.desk.is_none() {
            return shelf;
        }
        let engine = shelf.assemble(config, surroundings);
        if handed_over.is_some_and(|handed_over| take_over(&engine, handed_over)) {
            return shelf;
        }
        if let Some(desk) = &self.desk {
            desk.load(&engine);
        }
        shelf
    }

    /// Writes one every so often from now on, if anything was learned meanwhile.
    pub fn keep_writing(&mut self, plans: &Arc<ArcSwap<Plan>>) {
        let Some(desk) = self.desk.clone().filter(|_| !self.interval.is_zero()) else { return };
        let (plans, interval) = (Arc::clone(plans), self.interval);
        self.writing = Some(tokio::spawn(async move {
            loop {
                tokio::time::sleep(interval).await;
                let (desk, plan) = (Arc::clone(&desk), plans.load_full());
                // A panic in it must not end the loop; it has been reported where it happened.
                let _ = tokio::task::spawn_blocking(move || desk.write(&plan)).await;
            }
        }));
    }

    /// Writes the last one.
    pub async fn write_last(mut self, plans: &ArcSwap<Plan>) {
        if let Some(writing) = self.writing.take() {
            writing.abort();
        }
        let Some(desk) = self.desk.take() else { return };
        let (writer, plan) = (Arc::clone(&desk), plans.load_full());
        let writing = tokio::task::spawn_blocking(move || {
            writer.state().written = None;
            writer.write(&plan);
        });
        if tokio::time::timeout(LAST_MAX, writing).await.is_err() {
            desk.is_over.store(true, Ordering::Relaxed);
            tracing::warn!(
                "snapshot {}: not written within {} s at the end; the one before it stays",
                desk.path.display(),
                LAST_MAX.as_secs()
            );
        }
    }
}

/// Octets of a cache that is handed over at most: it is in the memory of both instances for a
/// moment.
const HANDED_OVER_MAX: u64 = 64 << 20;

/// The cache as a file in memory, for a successor; `None` if it cannot be made, which costs the
/// successor a warm start from memory and nothing else.
pub fn hand_over(engine: &Engine) -> Option<File> {
    let written = in_memory().and_then(|mut file| {
        let mut out = BufWriter::new(&mut file);
        snapshot::write(engine, clock::now(), clock::wall_millis(), HANDED_OVER_MAX, &mut out)?;
        out.flush()?;
        drop(out);
        file.rewind()?;
        Ok(file)
    });
    let told = written.inspect_err(|error| {
        tracing::warn!(%error, "the cache cannot be handed to the successor");
    });
    told.ok()
}

fn in_memory() -> io::Result<File> {
    let descriptor = rustix::fs::memfd_create("dnscache", rustix::fs::MemfdFlags::CLOEXEC)?;
    Ok(descriptor.into())
}

/// Takes in what the instance before this one hands over; whether that went well.
fn take_over(engine: &Engine, handed_over: File) -> bool {
    let started = Instant::now();
    let read = snapshot::Snapshot::read(BufReader::new(handed_over), HANDED_OVER_MAX);
    match read.and_then(|found| found.restore(engine, clock::now(), clock::wall_millis())) {
        Ok(Restored { answers, names, .. }) => {
            let millis = started.elapsed().as_millis();
            tracing::info!("{answers} answers and {names} hot names taken over in {millis} ms");
            true
        }
        Err(error) => {
            tracing::warn!("the cache of the instance before this one is ignored: {error}");
            false
        }
    }
}

impl Drop for Snapshots {
    fn drop(&mut self) {
        if let Some(writing) = &self.writing {
            writing.abort();
        }
    }
}

/// The default file, if its folder is there: whoever wants snapshots without a flag makes it.
fn default_path() -> Option<PathBuf> {
    let path = Path::new(SNAPSHOT_DEFAULT);
    let is_there = path.parent().is_some_and(Path::is_dir);
    if !is_there {
        tracing::debug!("snapshot: none, because there is no folder for {SNAPSHOT_DEFAULT}");
    }
    is_there.then(|| path.to_owned())
}

impl Desk {
    /// Says at the start what would be found out at the first writing.
    fn try_folder(&self) {
        if let Err(error) = file::try_folder(&self.path) {
            self.fail(&mut self.state(), "the cache will not be kept over restarts", &error);
        }
    }

    fn load(&self, engine: &Engine) {
        let started = Instant::now();
        file::sweep(&self.path);
        let restored = file::read(&self.path, self.bytes_max).and_then(|found| {
            let restore = |found: snapshot::Snapshot| {
                found.restore(engine, clock::now(), clock::wall_millis())
            };
            found.map(restore).transpose()
        });
        match restored {
            Ok(Some(restored)) => self.tell(&restored, started.elapsed()),
            Ok(None) => {}
            Err(error) => self.ignore(&error),
        }
    }

    fn tell(&self, restored: &Restored, took: Duration) {
        let Restored { answers, expired, unwanted, names, age_millis, bytes } = *restored;
        self.counts.loaded(answers, bytes, age_millis, took);
        let left_out = match expired + unwanted {
            0 => String::new(),
            _ => format!(" ({expired} have expired, {unwanted} fit no forward of this Corefile)"),
        };
        tracing::info!(
            "snapshot {}: {answers} answers and {names} hot names taken over{left_out}, written \
             {} s ago, in {} ms",
            self.path.display(),
            age_millis / 1_000,
            took.as_millis()
        );
    }

    fn ignore(&self, error: &Unusable) {
        self.counts.failed();
        let path = self.path.display();
        tracing::warn!("snapshot {path} is ignored: {error}; starting with an empty cache");
    }

    /// Writes one unless nothing was learned since the last.
    fn write(&self, plan: &Arc<Plan>) {
        let mut state = self.state();
        let known = (Arc::as_ptr(plan) as usize, plan.engine.learned());
        if state.written == Some(known) {
            return;
        }
        let (started, at_millis) = (Instant::now(), clock::wall_millis());
        match self.put(&plan.engine, at_millis) {
            Ok(Written { answers, left_out, bytes, .. }) => {
                self.counts.written(answers, left_out, bytes, at_millis, started.elapsed());
                state.written = Some(known);
                if state.fault.take().is_some() {
                    tracing::info!("snapshot {}: written again", self.path.display());
                }
            }
            Err(error) => self.fail(&mut state, "the one before it stays", &error),
        }
    }

    fn put(&self, engine: &Engine, at_millis: u64) -> io::Result<Written> {
        file::replace(&self.path, |out| {
            let mut out = InTime { out, is_over: &self.is_over };
            snapshot::write(engine, clock::now(), at_millis, self.bytes_max, &mut out)
        })
    }

    /// Counts a fault and says it, if it is another one than the last time.
    fn fail(&self, state: &mut State, consequence: &str, error: &dyn Display) {
        self.counts.failed();
        let fault = error.to_string();
        if state.fault.as_ref() != Some(&fault) {
            tracing::warn!(
                "snapshot {}: cannot be written: {fault}; {consequence}. Name a file in a writable \
                 folder, or switch it off with -snapshot off",
                self.path.display()
            );
            state.fault = Some(fault);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes as long as there is time.
struct InTime<'w, W> {
    out: &'w mut W,
    is_over: &'w AtomicBool,
}

impl<W: Write> Write for InTime<'_, W> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        if self.is_over.load(Ordering::Relaxed) {
            return Err(io::Error::from(io::ErrorKind::TimedOut));
        }
        self.out.write(octets)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
