//! One UDP socket on a random port, connected to an upstream, with several questions in flight.
//!
//! A task reads it and ends each question by calling whoever waits for it, so a reply costs one
//! wake-up for all that came with it. The socket takes no new question after [`QUESTIONS_MAX`] or
//! [`AGE_MAX`]; it closes once nobody waits for anything on it.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, oneshot};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};

use super::Trouble;
use super::query::{FLAG_TRUNCATED, Misfit, Outgoing, Query, is_unread};
use super::reserved::is_reserved;
use crate::clock;
use crate::engine::wire::header::HEADER_LEN;
use crate::slow::upstream::SILENCE;
use crate::slow::upstream::counts::PeerCounts;

/// Questions one port carries in its life. Opening and closing a port costs about 8 us of CPU, a
/// quarter of a microsecond per question.
pub const QUESTIONS_MAX: usize = 32;
/// How long a port takes new questions: too short to find it by probing, and no cost where it
/// ends a port before [`QUESTIONS_MAX`] does, because questions are few then.
pub const AGE_MAX: Duration = Duration::from_millis(250);

/// Somebody who waits for a reply.
pub trait Expect: Send {
    /// The exchange is over: the octets of the reply, the truncation bit set if it was longer than
    /// the size offered, or why there is none.
    fn end(self: Box<Self>, result: Result<&[u8], Trouble>);

    /// Nothing came for [`SILENCE`]; called once. Returns who waits on.
    fn hear_nothing(self: Box<Self>) -> Box<dyn Expect>;

    /// Whether nobody is interested any more.
    fn is_gone(&self) -> bool;
}

/// What the datagrams of one upstream are listened to with.
#[derive(Debug)]
pub struct Ear {
    /// Where forgeries are counted.
    pub counts: Arc<PeerCounts>,
    /// When a reply came that had our ID, no question, and FORMERR or NOTIMP, in milliseconds of
    /// [`clock::now`]; 0: never. It is dropped like any other reply without a question, but the
    /// next query may leave EDNS away.
    pub unread_at_millis: AtomicU64,
}

/// An open port.
pub struct Port {
    socket: AsyncFd<UdpSocket>,
    opened: Instant,
    ear: Arc<Ear>,
    questions: Mutex<Questions>,
    /// Told when the port failed: a sender may have taken the socket's only sign of it.
    failed: Notify,
}

#[derive(Default)]
struct Questions {
    /// Whether no new question is taken.
    is_closed: bool,
    taken: usize,
    /// Those without an answer. Questions nobody waits for any more stay in it, so that a late
    /// reply is not taken for a forgery.
    open: Vec<Question>,
}

struct Question {
    id: u16,
    query: Query,
    sent: Instant,
    heard_nothing: bool,
    /// `None`: given up.
    expect: Option<Box<dyn Expect>>,
}

/// A question and who waits for its reply, on their way to a port or back from it.
pub type Untold = (Query, Box<dyn Expect>);

/// Datagrams longer than this are cut; no query of ours offers more than 1,232 octets.
const DATAGRAM_MAX: usize = 4096;
/// Datagrams read before other tasks get a turn.
const DATAGRAMS_PER_TURN: usize = 64;
/// Random ports tried before there is none to be had.
const PORT_TRIES: usize = 16;
/// The first port that needs no privilege.
const PORT_MIN: u16 = 1024;
/// Ports that services of a node use and that a question should not sit on when they restart:
/// mDNS and our own default, VXLAN (IANA's and Linux's), Geneve, WireGuard (its own and Cilium's).
const AVOIDED_PORTS: [u16; 6] = [5353, 4789, 8472, 6081, 51820, 51871];

impl Port {
    /// Opens a port towards `server` and has a task read it. Must be called inside a tokio
    /// runtime.
    pub fn open(server: SocketAddr, ear: &Arc<Ear>) -> io::Result<Arc<Self>> {
        let socket = bind(server)?;
        connect(&socket, server)?;
        let port = Arc::new(Self {
            socket: watch(socket)?,
            opened: Instant::now(),
            ear: Arc::clone(ear),
            questions: Mutex::default(),
            failed: Notify::new(),
        });
        tokio::spawn(Arc::clone(&port).listen());
        Ok(port)
    }

    /// Takes a question in and gives it an ID nobody else has here; gives it back if the port has
    /// carried enough. [`Port::transmit`] sends it.
    pub fn admit(&self, (query, expect): Untold) -> Result<u16, Untold> {
        let sent = Instant::now();
        let mut questions = self.questions();
        if questions.is_closed || sent.duration_since(self.opened) >= AGE_MAX {
            return Err((query, expect));
        }
        let id = questions.fresh_id();
        questions.taken += 1;
        questions.is_closed = questions.taken >= QUESTIONS_MAX;
        let expect = Some(expect);
        questions.open.push(Question { id, query, sent, heard_nothing: false, expect });
        Ok(id)
    }

    /// Sends an admitted question, or gives it back. After any error but a full buffer the port is
    /// of no use: it may be one the kernel kept for us about an earlier datagram.
    pub fn transmit(&self, id: u16, mut outgoing: Outgoing) -> Result<(), (Trouble, Untold)> {
        let Err(error) = self.socket.get_ref().send(outgoing.with_id(id)) else {
            return Ok(());
        };
        let trouble = Trouble::from(&error);
        let own = self.questions().remove(id);
        if trouble != Trouble::Exhausted {
            self.fail(trouble);
        }
        match own {
            Some(Question { query, expect: Some(expect), .. }) => Err((trouble, (query, expect))),
            // The reader met the error first and has told it.
            _ => Ok(()),
        }
    }

    /// Reads the port until its time is over and nobody waits.
    async fn listen(self: Arc<Self>) {
        let mut alarm = std::pin::pin!(sleep_until(self.opened + AGE_MAX));
        while !self.is_over() {
            tokio::select! {
                ready = self.socket.ready(READING) => {
                    let Ok(mut ready) = ready else {
                        return self.fail(Trouble::Unreachable);
                    };
                    match self.read() {
                        Ok(true) => yield_now().await,
                        Ok(false) => ready.clear_ready(),
                        Err(error) => self.fail(Trouble::from(&error)),
                    }
                }
                () = self.failed.notified() => {}
                () = &mut alarm => {
                    let next = self.look_after(Instant::now());
                    alarm.as_mut().reset(next);
                }
            }
        }
    }

    /// Reads what is there; says whether there may be more.
    fn read(&self) -> io::Result<bool> {
        let mut space = [0; DATAGRAM_MAX];
        for _ in 0..DATAGRAMS_PER_TURN {
            match self.socket.get_ref().recv(&mut space) {
                // What is still queued when nobody waits is read with the next reply.
                Ok(len) if self.take_in(&mut space[..len]) => {}
                Ok(_) => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Ends the question a datagram answers, if any; says whether anybody still waits.
    fn take_in(&self, datagram: &mut [u8]) -> bool {
        let mut questions = self.questions();
        let answered = questions.answered_by(datagram);
        let goes_on = questions.is_awaited();
        drop(questions);
        match answered {
            Ok(Question { query, expect: Some(expect), .. }) => {
                end(expect, Ok(query.within_offer(datagram)));
            }
            Ok(_) => {}
            Err(misfit) => self.ear.drop_misfit(misfit, datagram),
        }
        goes_on
    }

    /// Tells those who have heard nothing for long, forgets those who are gone, and says when to
    /// look again.
    fn look_after(&self, now: Instant) -> Instant {
        let mut questions = self.questions();
        questions.is_closed |= now.duration_since(self.opened) >= AGE_MAX;
        let mut next = now + SILENCE;
        for question in &mut questions.open {
            question.expect.take_if(|expect| expect.is_gone());
            if !question.heard_nothing && question.expect.is_some() {
                if question.sent + SILENCE <= now {
                    question.heard_nothing = true;
                    question.expect = question.expect.take().and_then(hear_nothing);
                } else {
                    next = next.min(question.sent + SILENCE);
                }
            }
        }
        next
    }

    /// Ends all questions and takes no new one.
    fn fail(&self, trouble: Trouble) {
        let open = {
            let mut questions = self.questions();
            questions.is_closed = true;
            std::mem::take(&mut questions.open)
        };
        self.failed.notify_one();
        for expect in open.into_iter().filter_map(|question| question.expect) {
            end(expect, Err(trouble));
        }
    }

    fn is_over(&self) -> bool {
        let questions = self.questions();
        questions.is_closed && !questions.is_awaited()
    }

    fn questions(&self) -> MutexGuard<'_, Questions> {
        self.questions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A datagram, or an error: a socket with a pending error is not readable to tokio, so a refused
/// datagram would otherwise be noticed only with the next reply.
const READING: Interest = Interest::READABLE.add(Interest::ERROR);

/// Not through tokio's own socket, which also asks for word of every datagram that has left: a
/// wake-up for each question.
#[expect(
    deprecated,
    reason = "its successor asks for a promise that every std socket keeps: to own \
    its descriptor and to hand out the same one for life"
)]
fn watch(socket: UdpSocket) -> io::Result<AsyncFd<UdpSocket>> {
    AsyncFd::with_interest(socket, READING)
}

impl Questions {
    /// An unpredictable ID that no question of this port has.
    fn fresh_id(&self) -> u16 {
        loop {
            let id = rand::random();
            if self.open.iter().all(|question| question.id != id) {
                return id;
            }
        }
    }

    /// Takes out the question that `datagram` answers.
    fn answered_by(&mut self, datagram: &[u8]) -> Result<Question, Misfit> {
        let id = datagram.first_chunk().ok_or(Misfit::Short)?;
        let id = u16::from_be_bytes(*id);
        let place = self.open.iter().position(|question| question.id == id).ok_or(Misfit::Id)?;
        self.open[place].query.fits(datagram)?;
        Ok(self.open.swap_remove(place))
    }

    fn remove(&mut self, id: u16) -> Option<Question> {
        let place = self.open.iter().position(|question| question.id == id)?;
        Some(self.open.swap_remove(place))
    }

    fn is_awaited(&self) -> bool {
        self.open.iter().any(|question| question.expect.is_some())
    }
}

impl Ear {
    fn drop_misfit(&self, misfit: Misfit, datagram: &[u8]) {
        if misfit == Misfit::QuestionCount && is_unread(datagram) {
            self.unread_at_millis.store(clock::now().millis(), Ordering::Relaxed);
        }
        self.counts.dropped(misfit);
    }
}

impl Query {
    /// The reply to this query; one that is longer than what the query offered is cut to its
    /// question, with TC set, so that it is asked for again over TCP instead of being cut in the
    /// middle of a record.
    fn within_offer<'d>(&self, reply: &'d mut [u8]) -> &'d [u8] {
        if reply.len() <= self.reply_max() {
            return reply;
        }
        reply[2] |= FLAG_TRUNCATED;
        reply[6..HEADER_LEN].fill(0);
        &reply[..self.head_len()]
    }
}

/// A panic of one who waits is theirs alone: dropped without a word, they know that it was over.
fn end(expect: Box<dyn Expect>, result: Result<&[u8], Trouble>) {
    let _ = catch_unwind(AssertUnwindSafe(|| expect.end(result)));
}

fn hear_nothing(expect: Box<dyn Expect>) -> Option<Box<dyn Expect>> {
    catch_unwind(AssertUnwindSafe(|| expect.hear_nothing())).ok()
}

impl Expect for oneshot::Sender<Result<Vec<u8>, Trouble>> {
    fn end(self: Box<Self>, result: Result<&[u8], Trouble>) {
        // Nobody to tell: the question was answered elsewhere.
        let _ = self.send(result.map(<[u8]>::to_vec));
    }

    fn hear_nothing(self: Box<Self>) -> Box<dyn Expect> {
        self
    }

    fn is_gone(&self) -> bool {
        self.is_closed()
    }
}

/// Has a socket hear `server` alone, without waiting. What strangers have sent to it by then is
/// dropped.
pub(super) fn connect(socket: &UdpSocket, server: SocketAddr) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    socket.connect(server)?;
    while socket.recv(&mut [0]).is_ok() {}
    Ok(())
}

/// Whether a question to `server` may leave from `port`. Its own port would be a socket connected
/// to itself if `server` is an address of this machine and nobody listens there, and would keep
/// a server that is restarted from its port.
pub(super) fn may_leave_from(port: u16, server: SocketAddr) -> bool {
    port >= PORT_MIN && port != server.port() && !AVOIDED_PORTS.contains(&port)
}

/// A socket on a port drawn evenly from all that may be used.
fn bind(server: SocketAddr) -> io::Result<UdpSocket> {
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for tried in 0..PORT_TRIES {
        let port = rand::random_range(PORT_MIN..=u16::MAX);
        // If nearly all are reserved, one of them is better than none.
        if !may_leave_from(port, server) || (tried < PORT_TRIES / 2 && is_reserved(port)) {
            continue;
        }
        let local: SocketAddr = match server {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, port).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, port).into(),
        };
        match UdpSocket::bind(local) {
            Ok(socket) => return Ok(socket),
            // Somebody else's, or kept from us by a rule of this machine.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied
                ) =>
            {
                last = error;
            }
            Err(error) => return Err(error),
        }
    }
    Err(last)
}
