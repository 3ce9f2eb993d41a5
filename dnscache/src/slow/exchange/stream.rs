//! One TCP or TLS connection that carries many questions at once (RFC 7766 section 6.2.1).
//!
//! Questions are put into one buffer, which the task that drives the connection writes whenever
//! it gets a turn: those that come together leave together. Replies come in any order and are
//! given to whoever waits under their ID.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use foldhash::fast::RandomState;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use super::Trouble;
use super::query::{FLAG_RESPONSE, Misfit, Query, is_unread};
use super::tls::TlsTarget;
use crate::engine::wire::header::HEADER_LEN;
use crate::slow::upstream::counts::PeerCounts;

/// How a stream is protected.
#[derive(Debug, Clone)]
pub enum Security {
    /// TCP alone.
    Plain,
    /// DNS over TLS.
    Tls(TlsTarget),
}

/// An open connection. It closes once it is dropped.
pub struct Connection(Arc<Line>);

/// Drives a connection; must be polled for as long as the connection is used, and ends with it.
pub type Drive = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Opens a connection to `server`. The error is for a person to read.
pub async fn dial(
    server: SocketAddr,
    security: &Security,
    counts: Arc<PeerCounts>,
) -> Result<(Connection, Drive), (Trouble, String)> {
    let stream = within(DIAL_PATIENCE, connect(server)).await?;
    match security {
        Security::Plain => Ok(Connection::over(stream, counts)),
        Security::Tls(TlsTarget { config, name }) => {
            let connector = TlsConnector::from(Arc::clone(config));
            let handshake = connector.connect(name.clone(), stream);
            Ok(Connection::over(within(TLS_PATIENCE, handshake).await?, counts))
        }
    }
}

impl Connection {
    /// A connection over an open stream.
    pub(super) fn over<S>(stream: S, counts: Arc<PeerCounts>) -> (Self, Drive)
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let state = Mutex::new(State {
            outgoing: BytesMut::new(),
            open: HashMap::default(),
            last_heard: None,
            has_replied: false,
            is_over: false,
        });
        let line = Arc::new(Line { counts, state, work: Notify::new(), unused: Notify::new() });
        (Self(Arc::clone(&line)), Box::pin(drive(stream, line)))
    }

    /// Asks one question and waits for the reply that fits; anything else under its ID is counted
    /// and dropped. Waits for as long as the caller does.
    pub async fn ask(&self, query: &Query) -> Result<Vec<u8>, Trouble> {
        let (sender, receiver) = oneshot::channel();
        let Some(id) = self.0.state().admit(query, sender) else {
            return Err(self.0.state().ended());
        };
        let _place = Place { line: &self.0, id };
        self.0.work.notify_one();
        receiver.await.unwrap_or_else(|_| Err(self.0.state().ended()))
    }

    /// Whether anything at all was received after `moment`. A connection on which nothing was is
    /// perhaps tied to a peer that vanished without a word.
    pub fn heard_since(&self, moment: Instant) -> bool {
        self.0.state().last_heard.is_some_and(|last| last > moment)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.unused.notify_one();
    }
}

/// Time for a TCP handshake: the first SYN and its repetition after a second, with room for the
/// way there and back.
const DIAL_PATIENCE: Duration = Duration::from_secs(2);
/// Time for a TLS handshake on an open connection.
const TLS_PATIENCE: Duration = Duration::from_secs(2);
/// Octets of questions that may wait to be written: more than the questions of a full connection
/// take, so this is reached only if the upstream has stopped reading.
const OUTGOING_MAX: usize = 256 * 1024;
/// Octets read at a time, at least.
const READ_LEN: usize = 4096;
/// Octets of the length before each message.
const FRAME_LEN: usize = 2;

async fn connect(server: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn within<S>(
    patience: Duration,
    attempt: impl Future<Output = io::Result<S>>,
) -> Result<S, (Trouble, String)> {
    match timeout(patience, attempt).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err((Trouble::from(&error), error.to_string())),
        Err(_) => Err((Trouble::Silent, "no connection in time".to_owned())),
    }
}

/// What those who ask and the task that drives the connection share.
struct Line {
    counts: Arc<PeerCounts>,
    state: Mutex<State>,
    /// Told when there is something to write.
    work: Notify,
    /// Told when nobody uses the connection any more. Not the same as `work`: a writer that waits
    /// for a peer which does not read would never hear it.
    unused: Notify,
}

struct State {
    /// Framed questions not yet written.
    outgoing: BytesMut,
    /// Questions without a reply, by ID.
    open: HashMap<u16, Waiting, RandomState>,
    last_heard: Option<Instant>,
    /// Whether a question was answered.
    has_replied: bool,
    is_over: bool,
}

struct Waiting {
    query: Query,
    reply: oneshot::Sender<Result<Vec<u8>, Trouble>>,
}

/// A question's place under its ID, given back when nobody waits any more.
struct Place<'a> {
    line: &'a Line,
    id: u16,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.line.state().open.remove(&self.id);
    }
}

impl Line {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes questions for as long as it is polled.
    async fn write(&self, mut stream: impl AsyncWrite + Unpin) -> io::Result<()> {
        loop {
            self.work.notified().await;
            let mut outgoing = self.state().outgoing.split();
            if outgoing.has_remaining() {
                stream.write_all_buf(&mut outgoing).await?;
                stream.flush().await?;
            }
        }
    }

    /// Reads replies until the connection ends.
    async fn read(&self, mut stream: impl AsyncRead + Unpin) -> io::Result<()> {
        let mut octets = BytesMut::new();
        loop {
            octets.reserve(READ_LEN);
            if stream.read_buf(&mut octets).await? == 0 {
                return Ok(());
            }
            while let Some(frame) = octets.first_chunk::<FRAME_LEN>() {
                let len = usize::from(u16::from_be_bytes(*frame));
                let Some(message) = octets.get(FRAME_LEN..FRAME_LEN + len) else {
                    octets.reserve(FRAME_LEN + len - octets.len());
                    break;
                };
                if let Some(misfit) = self.state().take_in(message) {
                    self.counts.dropped(misfit);
                }
                octets.advance(FRAME_LEN + len);
            }
        }
    }
}

impl State {
    /// Takes a question in under an ID no other has; `None` when the connection is over, or its
    /// upstream does not read.
    fn admit(
        &mut self,
        query: &Query,
        reply: oneshot::Sender<Result<Vec<u8>, Trouble>>,
    ) -> Option<u16> {
        let mut outgoing = query.outgoing();
        let framed_len = FRAME_LEN + query.octets().len();
        if self.is_over || self.outgoing.len() + framed_len > OUTGOING_MAX {
            return None;
        }
        let id = self.fresh_id();
        let message = outgoing.with_id(id);
        self.outgoing.extend_from_slice(&(message.len() as u16).to_be_bytes());
        self.outgoing.extend_from_slice(message);
        self.open.insert(id, Waiting { query: query.clone(), reply });
        Some(id)
    }

    /// An unpredictable ID; few of them are in use.
    fn fresh_id(&self) -> u16 {
        loop {
            let id = rand::random();
            if !self.open.contains_key(&id) {
                return id;
            }
        }
    }

    /// Gives a message to whoever waits for it, or says what is wrong with it. One under an ID
    /// nobody waits under comes too late and is no fault.
    fn take_in(&mut self, message: &[u8]) -> Option<Misfit> {
        self.last_heard = Some(Instant::now());
        let Some(header) = message.first_chunk::<HEADER_LEN>() else {
            return Some(Misfit::Short);
        };
        if header[2] & FLAG_RESPONSE == 0 {
            return Some(Misfit::NotResponse);
        }
        let id = u16::from_be_bytes([header[0], header[1]]);
        let result = match self.open.get(&id)?.query.fits(message) {
            Ok(()) => Ok(message.to_vec()),
            Err(Misfit::QuestionCount) if is_unread(message) => Err(Trouble::Unread),
            Err(Misfit::QuestionCount) => Err(Trouble::Broken),
            Err(misfit) => return Some(misfit),
        };
        self.has_replied |= result.is_ok();
        // Whoever gave up in this moment needs no reply.
        let _ = self.open.remove(&id)?.reply.send(result);
        None
    }

    fn ended(&self) -> Trouble {
        if self.has_replied { Trouble::Lost } else { Trouble::Unreachable }
    }
}

/// Ends a connection's questions, however the task that drives it ends.
struct Ending(Arc<Line>);

impl Drop for Ending {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.is_over = true;
        state.open.clear();
    }
}

async fn drive<S: AsyncRead + AsyncWrite>(stream: S, line: Arc<Line>) {
    let ending = Ending(line);
    let (reader, writer) = tokio::io::split(stream);
    // The reason does not matter: the questions are told that the connection has ended.
    let _ = tokio::select! {
        read = ending.0.read(reader) => read,
        written = ending.0.write(writer) => written,
        () = ending.0.unused.notified() => Ok(()),
    };
}
