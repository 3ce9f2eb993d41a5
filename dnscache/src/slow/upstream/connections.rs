//! The open connections to one upstream: few, shared by many questions, closed when idle.
//!
//! A connection leaves this pool when it was idle for `expire`, when it ended, or when a question
//! on it stayed unanswered while nothing else was heard: a peer that vanished (a deleted pod
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
    expire: Duration,
    counts: Arc<PeerCounts>,
    pool: Mutex<Pool>,
    /// Told when a question leaves a connection.
    room: Notify,
    failures: Quiet,
    /// Places for connections of a single question.
    alone: Semaphore,
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

/// Connections of a single question at once.
const ALONE_MAX: usize = 32;

impl Connections {
    /// No connection yet; the first question opens one.
    pub fn new(
        server: SocketAddr,
        security: Security,
        expire: Duration,
        counts: Arc<PeerCounts>,
    ) -> Arc<Self> {
        Arc::new(Self {
            server,
            security,
            expire,
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
    /// Only so many at once: with more it shares one after all.
    pub async fn ask_alone(
        self: &Arc<Self>,
        query: &Query,
        note: Option<Note<'_>>,
    ) -> Result<Vec<u8>, Trouble> {
        let Ok(_place) = self.alone.try_acquire() else { return self.ask(query, note).await };
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
        tokio::spawn(attend(Arc::downgrade(self), Arc::downgrade(&seats), self.expire, drive));
        self.pool().open.push(seats);
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
        if idle < self.expire {
            return Some(self.expire - idle);
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

/// Drives a connection until it ends or was idle for `expire`. It holds the connection weakly:
/// when pool and questions have let go of it, it closes by itself.
async fn attend(
    pool: Weak<Connections>,
    seats: Weak<Seats>,
    expire: Duration,
    drive: impl Future<Output = ()>,
) {
    let mut drive = std::pin::pin!(drive);
    let mut pause = expire;
    loop {
        tokio::select! {
            () = &mut drive => break,
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
