//! One TCP connection of a client: queries in, replies out in whatever order they are ready
//! (RFC 7766 section 6.2).
//!
//! What is known is answered at once, what is not goes through the door, and the reply comes back
//! through a queue. A connection reads on only while it has room: few enough questions in flight
//! and few enough octets the client has yet to read; so a client that asks faster than it reads is
//! slowed down by TCP itself. An idle connection holds no buffers.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::{Buf as _, BufMut as _, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::bequest::{Bequest, Heirs};
use super::pace::{Pace, Times};
use super::tcp::TcpLimits;
use super::{Desk, SHARD};
use crate::counts::{Closed, PlaneCounts};
use crate::engine::{Ask, ListenerId, Now, Query, Transport, Verdict};
use crate::handoff::{Door, Errand, ReplyPath, Waiting};
use crate::server::Plan;

/// How long queries are still read after shutdown began: those on their way are answered.
const LAST_CALL: Duration = Duration::from_millis(100);
/// How long a connection we close waits for the client to close as well. Closing while octets of
/// the client are unread would reset it and could cost the client its last replies.
const LINGER: Duration = Duration::from_millis(500);
/// Octets that are read and thrown away meanwhile.
const LINGER_LEN: u64 = 64 * 1024;

/// Questions of one connection in flight; more are read when there are fewer.
const IN_FLIGHT_MAX: usize = 128;
/// No more queries are read while this many octets of replies are unsent.
const UNSENT_PAUSE: usize = 16 * 1024;
/// A connection with more is closed: its questions in flight came back to a client that does not
/// read. An answer is a few hundred octets, so this is all questions in flight at once.
const UNSENT_MAX: usize = 128 * 1024;
/// Octets read at once.
const READ_LEN: usize = 4 * 1024;
/// Octets of the length before each message (RFC 1035 section 4.2.2).
const PREFIX_LEN: usize = 2;

/// What the connections of one listener share.
pub struct Server {
    /// The listener, as engines know it.
    pub id: ListenerId,
    /// Its address.
    pub address: SocketAddr,
    /// The plan in force.
    pub plan: Arc<ArcSwap<Plan>>,
    /// Where questions go that are not answered from what is known.
    pub door: Door,
    /// The bounds of all listeners.
    pub limits: Arc<TcpLimits>,
    /// How long clients may take.
    pub pace: Arc<Pace>,
    /// Where to count.
    pub counts: Arc<PlaneCounts>,
    /// Who goes on with the connections when this process ends.
    pub heirs: Arc<Heirs>,
    /// The clock.
    pub now: fn() -> Now,
}

/// A connection.
pub(super) struct Connection {
    server: Arc<Server>,
    stream: TcpStream,
    peer: SocketAddr,
    times: Times,
    /// What was read and not yet answered: whole messages only while there is no room for them.
    received: BytesMut,
    /// When the incomplete message at its end was begun.
    begun: Option<Instant>,
    is_reading: bool,
    in_flight: usize,
    /// Given to each question in flight; room for all of them.
    sender: mpsc::Sender<Option<Box<[u8]>>>,
    /// One item for each question in flight: the reply, or that there is none.
    settled: mpsc::Receiver<Option<Box<[u8]>>>,
    outgoing: Outgoing,
    /// When it last had something to do.
    active: Instant,
    /// Whether an heir goes on with it when all that was asked is answered.
    is_bequeathed: bool,
    /// Why it is about to end.
    ending: Closed,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, peer: SocketAddr, server: Arc<Server>) -> Self {
        let (sender, settled) = mpsc::channel(IN_FLIGHT_MAX);
        // Without it replies wait for acknowledgements; that is slow, not wrong.
        let _ = stream.set_nodelay(true);
        let times = server.pace.times();
        Self {
            stream,
            peer,
            times,
            received: BytesMut::new(),
            begun: None,
            is_reading: true,
            in_flight: 0,
            sender,
            settled,
            outgoing: Outgoing::new(Arc::clone(&server.limits), times.write),
            active: Instant::now(),
            is_bequeathed: false,
            ending: Closed::Finished,
            server,
        }
    }

    /// Goes on with a connection of a predecessor.
    ///
    /// # Errors
    /// The client is gone.
    pub(super) fn adopt(bequest: Bequest, server: Arc<Server>) -> io::Result<Self> {
        let peer = bequest.stream.peer_addr()?;
        bequest.stream.set_nonblocking(true)?;
        let mut connection = Self::new(TcpStream::from_std(bequest.stream)?, peer, server);
        connection.received = bequest.received.as_slice().into();
        Ok(connection)
    }

    /// The client's address.
    pub(super) fn client(&self) -> IpAddr {
        self.peer.ip()
    }

    /// Serves it until it ends; soon after `stop` no more is read, but all that was asked is
    /// answered. If there is an heir by then, it goes on where this one stops.
    pub(super) async fn run(mut self, stop: CancellationToken) -> Closed {
        // Armed no later than the next deadline; deadlines mostly move away, so it fires early at
        // times and is armed again, which is cheaper than moving it for every query.
        let heirs = Arc::clone(&self.server.heirs);
        let mut timer = pin!(sleep_until(self.active + self.times.idle));
        let mut last_call = pin!(async {
            stop.cancelled().await;
            if !heirs.is_named() {
                sleep(LAST_CALL).await;
            }
        });
        loop {
            self.answer_received();
            if self.is_done() {
                return self.end().await;
            }
            let deadline = self.deadline();
            if let Some((at, _)) = deadline
                && at < timer.deadline()
            {
                timer.as_mut().reset(at);
            }
            let done = tokio::select! {
                biased;
                () = last_call.as_mut(), if self.is_reading => {
                    self.is_reading = false;
                    self.is_bequeathed = heirs.is_named();
                    Ok(())
                }
                Some(reply) = self.settled.recv() => self.settle(reply),
                _ = self.stream.writable(), if !self.outgoing.is_empty() => self.write(),
                _ = self.stream.readable(), if self.is_reading && self.has_room() => {
                    self.read()
                }
                () = timer.as_mut() => match deadline {
                    Some((at, why)) if at <= Instant::now() => Err(why),
                    _ => {
                        let at = deadline.map_or_else(|| Instant::now() + self.times.idle, |(at, _)| at);
                        timer.as_mut().reset(at);
                        Ok(())
                    }
                },
            };
            if let Err(why) = done {
                return why;
            }
        }
    }

    /// Answers the whole messages received, as long as there is room.
    fn answer_received(&mut self) {
        let mut received = std::mem::take(&mut self.received);
        let mut has_answered = false;
        while self.has_room()
            && let Some(message) = first_message(&received)
        {
            let len = message.len();
            has_answered = true;
            if self.answer(message) {
                received.advance(PREFIX_LEN + len);
            } else {
                self.ending = Closed::Garbage;
                self.is_reading = false;
                received.clear();
            }
        }
        if has_answered {
            self.active = Instant::now();
        }
        self.begun = match self.begun {
            _ if received.is_empty() || !self.has_room() => None,
            Some(begun) if !has_answered => Some(begun),
            _ => Some(Instant::now()),
        };
        if !received.is_empty() {
            self.received = received;
        }
    }

    /// Answers one message, or sends it through the door; whether it was a query.
    fn answer(&mut self, message: &[u8]) -> bool {
        let now = (self.server.now)();
        let plan = self.server.plan.load_full();
        let server = Arc::clone(&self.server);
        let desk = Desk {
            plan: &plan,
            counts: &server.counts,
            query: Query {
                packet: message,
                source: self.peer,
                listener: server.id,
                transport: Transport::Tcp,
            },
            received: now,
        };
        match desk.answer(now, |reply| self.outgoing.push(reply)) {
            Verdict::Reply(reply) => {
                if let Some(ask) = reply.renew {
                    self.renew(&plan, ask);
                }
                true
            }
            Verdict::Ask(ask) => {
                self.ask(&desk, &plan, ask);
                true
            }
            Verdict::Drop(reason) => {
                server.counts.dropped(SHARD, reason);
                false
            }
        }
    }

    /// Sends a question through the door; if its client may not have another or the door is full,
    /// the client hears so at once.
    fn ask(&mut self, desk: &Desk<'_>, plan: &Arc<Plan>, ask: Ask) {
        let (query, now) = (&desk.query, desk.received);
        desk.missed(&ask);
        let Ok(ticket) = self.server.door.admit(query, &ask, now) else {
            let outcome = plan.engine.hold_back(&ask, now);
            return desk.reply(&ask, &outcome, now, |reply| self.outgoing.push(reply));
        };
        self.in_flight += 1;
        let waiting = Waiting {
            packet: query.packet.into(),
            source: query.source,
            listener: query.listener,
            transport: query.transport,
            received: now,
            reply: self.reply_path(),
            ticket,
            taken: now,
            rounds: 0,
        };
        let errand = Errand { plan: Arc::clone(plan), ask, client: Some(waiting) };
        let Err(refused) = self.server.door.pass(errand) else {
            return;
        };
        desk.counts.door_full(SHARD);
        if let Some(client) = refused.client {
            let outcome = plan.engine.turn_away(&refused.ask, now);
            desk.reply(&refused.ask, &outcome, now, client.reply);
        }
    }

    /// Sends a renewal through the door; if the door is full, a later hit tries again.
    fn renew(&self, plan: &Arc<Plan>, ask: Ask) {
        let errand = Errand { plan: Arc::clone(plan), ask, client: None };
        if self.server.door.pass(errand).is_err() {
            self.server.counts.door_full(SHARD);
        }
    }

    fn reply_path(&self) -> ReplyPath {
        let pending = Pending(Some(self.sender.clone()));
        Box::new(move |message| pending.settle(message))
    }

    /// Takes what came of a question in flight.
    fn settle(&mut self, reply: Option<Box<[u8]>>) -> Result<(), Closed> {
        self.in_flight -= 1;
        self.active = Instant::now();
        if let Some(message) = reply {
            self.outgoing.push(&message);
        }
        if self.outgoing.is_overfull {
            return Err(Closed::SlowReader);
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), Closed> {
        self.active = Instant::now();
        self.outgoing.write(&self.stream)
    }

    /// Reads once; the end of the client's stream ends reading.
    fn read(&mut self) -> Result<(), Closed> {
        self.received.reserve(READ_LEN);
        match self.stream.try_read_buf(&mut self.received) {
            Ok(0) => self.is_reading = false,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return Err(Closed::Reset),
        }
        Ok(())
    }

    fn has_room(&self) -> bool {
        self.in_flight < IN_FLIGHT_MAX && self.outgoing.len() < UNSENT_PAUSE
    }

    /// Whether all that was asked is answered and no more will be.
    fn is_done(&self) -> bool {
        !self.is_reading && self.in_flight == 0 && self.outgoing.is_empty()
    }

    /// When it has to be closed unless something happens, and why.
    fn deadline(&self) -> Option<(Instant, Closed)> {
        let reply = self.outgoing.deadline().map(|at| (at, Closed::SlowReader));
        let query = self.begun.map(|begun| (begun + self.times.read, Closed::SlowQuery));
        let is_idle = self.in_flight == 0 && reply.is_none() && query.is_none();
        let idle = is_idle.then(|| (self.active + self.times.idle, Closed::Idle));
        [reply, query, idle].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// Hands the connection to the heir, if it is for one, or closes it.
    async fn end(self) -> Closed {
        if !self.is_bequeathed {
            return self.close().await;
        }
        let Self { server, stream, received, .. } = self;
        let Ok(stream) = stream.into_std() else { return Closed::Reset };
        let received = received.to_vec();
        server.heirs.leave(Bequest { listener: server.address, stream, received }).await;
        Closed::HandedOver
    }

    /// Closes our side and gives the client a moment to close its own.
    async fn close(mut self) -> Closed {
        let closing = async {
            self.stream.shutdown().await?;
            let mut unread = (&mut self.stream).take(LINGER_LEN);
            tokio::io::copy(&mut unread, &mut tokio::io::sink()).await
        };
        // Whether the client closes is its own affair.
        let _ = timeout(LINGER, closing).await;
        self.ending
    }
}

/// The first message of what was received, without its length, if it is whole.
fn first_message(received: &[u8]) -> Option<&[u8]> {
    let (prefix, rest) = received.split_first_chunk::<PREFIX_LEN>()?;
    rest.get(..usize::from(u16::from_be_bytes(*prefix)))
}

/// A question in flight; settles itself as unanswered when nobody answers it.
struct Pending(Option<mpsc::Sender<Option<Box<[u8]>>>>);

impl Pending {
    fn settle(mut self, message: &[u8]) {
        if let Some(sender) = self.0.take() {
            // The queue has room for every question in flight; a closed one has no client.
            let _ = sender.try_send(Some(message.into()));
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(sender) = self.0.take() {
            let _ = sender.try_send(None);
        }
    }
}

/// Replies on their way to the client.
struct Outgoing {
    limits: Arc<TcpLimits>,
    /// How long the client may take to read a reply.
    patience: Duration,
    octets: BytesMut,
    pushed: u64,
    written: u64,
    /// The octet that has to be written next, counted from the first, and by when.
    owed: Option<(u64, Instant)>,
    is_overfull: bool,
}

impl Outgoing {
    fn new(limits: Arc<TcpLimits>, patience: Duration) -> Self {
        Self {
            limits,
            patience,
            octets: BytesMut::new(),
            pushed: 0,
            written: 0,
            owed: None,
            is_overfull: false,
        }
    }

    /// Adds a message with its length before it.
    fn push(&mut self, message: &[u8]) {
        let Ok(len) = u16::try_from(message.len()) else {
            return;
        };
        self.octets.put_u16(len);
        self.octets.put_slice(message);
        let framed_len = PREFIX_LEN + message.len();
        self.pushed += framed_len as u64;
        self.owed.get_or_insert_with(|| (self.pushed, Instant::now() + self.patience));
        let is_within_total = self.limits.hold_unsent(framed_len);
        self.is_overfull |= !is_within_total || self.octets.len() > UNSENT_MAX;
    }

    /// Writes what the socket takes.
    fn write(&mut self, stream: &TcpStream) -> Result<(), Closed> {
        match stream.try_write(&self.octets) {
            Ok(len) => self.advance(len),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return Err(Closed::Reset),
        }
        Ok(())
    }

    fn advance(&mut self, len: usize) {
        self.octets.advance(len);
        self.limits.release_unsent(len);
        self.written += len as u64;
        if self.octets.is_empty() {
            self.octets = BytesMut::new();
            self.owed = None;
        } else if self.owed.is_some_and(|(octet, _)| self.written >= octet) {
            self.owed = Some((self.pushed, Instant::now() + self.patience));
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.owed.map(|(_, at)| at)
    }

    fn len(&self) -> usize {
        self.octets.len()
    }

    fn is_empty(&self) -> bool {
        self.octets.is_empty()
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.limits.release_unsent(self.octets.len());
    }
}

#[cfg(test)]
mod tests;
