//! The open connections to one upstream: few, shared by many questions, closed when idle.
//!
//! A connection leaves this pool when it was idle for `expire`, when it ended, when its age came and
//! another one is open in its place, when the upstream left the route, or when a question on it stayed unanswered while nothing else was heard: a peer that vanished (a deleted pod
//! behind a Service address) would otherwise hold questions until TCP itself gives up, a quarter
//! of an hour later. Questions still waiting on it keep it until they end.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, sleep, timeout};

use super::SILENCE;
use super::counts::PeerCounts;
use super::packets::CONNECTION_COST;
use crate::logging::Quiet;
use crate::slow::exchange::{Connection, Query, Security, Trouble, dial};
use crate::slow::journey::Note;

/// The connections to one upstream.
pub struct Connections {
    server: SocketAddr,
    security: Security,
    keeping: Keeping,
    counts: Arc<PeerCounts>,
    pool: Mutex<Pool>,
    /// Told when a question leaves a connection.
    room: Notify,
    failures: Quiet,
    /// Places for connections of a single question.
    alone: Semaphore,
}

/// How long connections are kept.
#[derive(Debug, Clone, Copy)]
pub struct Keeping {
    /// One that was idle for this long is closed.
    pub idle_max: Duration,
    /// One is replaced when it is between half as old and as old as this; `None`: at no age.
    pub age_max: Option<Duration>,
}

/// Questions on one connection. What is lost with a connection is asked again, so one does not
/// carry everything.
const IN_FLIGHT_MAX: usize = 256;
/// Connections to one upstream; with all of them full, questions wait for their turn.
const OPEN_MAX: usize = 8;

#[derive(Default)]
struct Pool {
    open: Vec<Arc<Seats>>,
    dialing: Option<Dialing>,
}

/// A handshake under way, shared by everybody who waits for it.
type Dialing = Shared<BoxFuture<'static, Result<(), Trouble>>>;

/// An open connection and who uses it.
struct Seats {
    connection: Connection,
    taken: AtomicUsize,
    last_used: Mutex<Instant>,
}

/// Connections of a single question at once; more questions wait for their turn. At two round trips
/// a question these carry 1,600 a second to an upstream 20 ms away.
const ALONE_MAX: usize = 64;
/// From a connection that could not be replaced to the next attempt.
const REPLACE_PAUSE: Duration = Duration::from_secs(5);

impl Connections {
    /// No connection yet; the first question opens one.
    pub fn new(
        server: SocketAddr,
        security: Security,
        keeping: Keeping,
        counts: Arc<PeerCounts>,
    ) -> Arc<Self> {
        Arc::new(Self {
            server,
            security,
            keeping,
            counts,
            pool: Mutex::default(),
            room: Notify::new(),
            failures: Quiet::default(),
            alone: Semaphore::new(ALONE_MAX),
        })
    }

    /// Asks one question once and waits for as long as the caller does; notes when there was a
    /// connection.
    pub async fn ask(
        self: &Arc<Self>,
        query: &Query,
        note: Option<Note<'_>>,
    ) -> Result<Vec<u8>, Trouble> {
        let seat = self.seat().await?;
        connected(note);
        let sent = Instant::now();
        let mut reply = std::pin::pin!(seat.seats.connection.ask(query));
        let result = match timeout(SILENCE, &mut reply).await {
            Ok(result) => result,
            Err(_) => {
                if !seat.seats.connection.heard_since(sent) {
                    self.retire(&seat.seats);
                }
                reply.await
            }
        };
        if matches!(result, Err(Trouble::Lost | Trouble::Unreachable)) {
            self.retire(&seat.seats);
        }
        result
    }

    /// Asks one question on a connection nobody shares, and waits for as long as the caller does:
    /// an upstream that closes connections after a reply or two does so to others' questions.
    /// Only so many at once: the others wait.
    pub async fn ask_alone(
        self: &Arc<Self>,
        query: &Query,
        note: Option<Note<'_>>,
    ) -> Result<Vec<u8>, Trouble> {
        let Ok(_place) = self.alone.acquire().await else { return Err(Trouble::Exhausted) };
        self.counts.packets.note(CONNECTION_COST);
        let dialed = dial(self.server, &self.security, Arc::clone(&self.counts)).await;
        let (connection, drive) =
            dialed.map_err(|(trouble, reason)| self.report(trouble, &reason))?;
        self.counts.connection(matches!(self.security, Security::Tls(_)), false);
        connected(note);
        let mut reply = std::pin::pin!(connection.ask(query));
        tokio::select! {
            result = &mut reply => result,
            () = drive => reply.await,
        }
    }

    /// A seat on an open connection, or on one that is opened for everybody who waits.
    async fn seat(self: &Arc<Self>) -> Result<Seat, Trouble> {
        let mut dialed = false;
        loop {
            // Before the look at the pool, so that nothing said after it is missed.
            let room = self.room.notified();
            let way = {
                let mut pool = self.pool();
                // A handshake clears itself away; one whose task failed is cleared away here.
                pool.dialing.take_if(|dialing| dialing.peek().is_some());
                match self.free_seat(&pool) {
                    Some(seat) => {
                        self.counts.connection(matches!(self.security, Security::Tls(_)), !dialed);
                        return Ok(seat);
                    }
                    None if pool.open.len() < OPEN_MAX => {
                        Some(pool.dialing.get_or_insert_with(|| self.dial()).clone())
                    }
                    None => None,
                }
            };
            match way {
                Some(dialing) => {
                    dialed = true;
                    dialing.await?;
                }
                None => room.await,
            }
        }
    }

    fn free_seat(self: &Arc<Self>, pool: &Pool) -> Option<Seat> {
        let seats =
            pool.open.iter().find(|seats| seats.taken.load(Ordering::Relaxed) < IN_FLIGHT_MAX)?;
        seats.taken.fetch_add(1, Ordering::Relaxed);
        Some(Seat { seats: Arc::clone(seats), pool: Arc::clone(self) })
    }

    /// Starts a handshake in a task of its own, so that it goes on when the question that wanted
    /// it is answered by another upstream.
    fn dial(self: &Arc<Self>) -> Dialing {
        let pool = Arc::downgrade(self);
        let (server, security, counts) =
            (self.server, self.security.clone(), Arc::clone(&self.counts));
        let task = tokio::spawn(async move {
            counts.packets.note(CONNECTION_COST);
            let dialed = dial(server, &security, counts).await;
            let Some(pool) = pool.upgrade() else {
                return Err(Trouble::Unreachable);
            };
            let result = dialed.map(|(connection, drive)| pool.open(connection, drive));
            pool.pool().dialing = None;
            result.map_err(|(trouble, reason)| pool.report(trouble, &reason))
        });
        task.map(|ended| ended.unwrap_or(Err(Trouble::Unreachable))).boxed().shared()
    }

    fn open(
        self: &Arc<Self>,
        connection: Connection,
        drive: impl Future<Output = ()> + Send + 'static,
    ) {
        let seats = Arc::new(Seats {
            connection,
            taken: AtomicUsize::new(0),
            last_used: Mutex::new(Instant::now()),
        });
        tokio::spawn(attend(Arc::downgrade(self), Arc::downgrade(&seats), self.keeping, drive));
        self.pool().open.push(seats);
    }

    /// Takes all connections out of use for new questions.
    pub fn retire_all(&self) {
        self.pool().open.clear();
        self.room.notify_waiters();
    }

    /// A handshake for a connection that is to take the place of one in use, or the one under way.
    fn dial_successor(self: &Arc<Self>) -> Dialing {
        let mut pool = self.pool();
        pool.dialing.take_if(|dialing| dialing.peek().is_some());
        pool.dialing.get_or_insert_with(|| self.dial()).clone()
    }

    fn report(&self, trouble: Trouble, reason: &str) -> Trouble {
        if let Some(times) = self.failures.count(crate::clock::now(), 1) {
            let (upstream, over) = (self.server, self.protocol());
            tracing::warn!(%upstream, over, times, "cannot connect to upstream: {reason}");
        }
        trouble
    }

    fn protocol(&self) -> &'static str {
        match self.security {
            Security::Plain => "tcp",
            Security::Tls(_) => "tls",
        }
    }

    /// Takes a connection out of use for new questions.
    fn retire(&self, seats: &Arc<Seats>) {
        self.pool().open.retain(|open| !Arc::ptr_eq(open, seats));
        // All of them: there is room for a connection, and with it for many questions.
        self.room.notify_waiters();
    }

    /// Takes a connection out of use if it was idle for long enough; otherwise says when to look
    /// again. Seats are taken under the same lock, so none can be taken in between.
    fn retire_if_idle(&self, seats: &Arc<Seats>) -> Option<Duration> {
        let mut pool = self.pool();
        let idle = match seats.taken.load(Ordering::Relaxed) {
            0 => seats.last_used.lock().unwrap_or_else(PoisonError::into_inner).elapsed(),
            _ => Duration::ZERO,
        };
        if idle < self.keeping.idle_max {
            return Some(self.keeping.idle_max - idle);
        }
        pool.open.retain(|open| !Arc::ptr_eq(open, seats));
        None
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn connected(note: Option<Note<'_>>) {
    if let Some(note) = note {
        note.connected();
    }
}

/// A place for one question on a connection.
struct Seat {
    seats: Arc<Seats>,
    pool: Arc<Connections>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        *self.seats.last_used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.seats.taken.fetch_sub(1, Ordering::Relaxed);
        self.pool.room.notify_one();
    }
}

/// Drives a connection until it ends, was idle for too long, or is replaced because of its age. It
/// holds the connection weakly: when pool and questions have let go of it, it closes by itself.
async fn attend(
    pool: Weak<Connections>,
    seats: Weak<Seats>,
    keeping: Keeping,
    drive: impl Future<Output = ()>,
) {
    let mut drive = std::pin::pin!(drive);
    let mut replacing = std::pin::pin!(replace(Weak::clone(&pool), Weak::clone(&seats), keeping));
    let mut is_replaced = false;
    let mut pause = keeping.idle_max;
    loop {
        tokio::select! {
            () = &mut drive => break,
            () = &mut replacing, if !is_replaced => {
                is_replaced = true;
                continue;
            }
            () = sleep(pause) => {}
        }
        let (Some(pool), Some(seats)) = (pool.upgrade(), seats.upgrade()) else {
            return drive.await;
        };
        match pool.retire_if_idle(&seats) {
            Some(later) => pause = later,
            None => return,
        }
    }
    if let (Some(pool), Some(seats)) = (pool.upgrade(), seats.upgrade()) {
        pool.retire(&seats);
    }
}

/// Waits for a connection's age, opens another one, and only then takes the old one out of use: no
/// question waits for a handshake, and none is lost, because those on the old one keep it until
/// they are answered.
async fn replace(pool: Weak<Connections>, seats: Weak<Seats>, keeping: Keeping) {
    let Some(age_max) = keeping.age_max else { return std::future::pending().await };
    // The nodes of a cluster must not all come back in one moment.
    sleep(age_max.mul_f64(rand::random_range(0.5..1.0))).await;
    loop {
        let Some(dialing) = pool.upgrade().map(|pool| pool.dial_successor()) else { return };
        if dialing.await.is_ok() {
            break;
        }
        sleep(REPLACE_PAUSE.min(age_max)).await;
    }
    if let (Some(pool), Some(seats)) = (pool.upgrade(), seats.upgrade()) {
        pool.retire(&seats);
    }
}
