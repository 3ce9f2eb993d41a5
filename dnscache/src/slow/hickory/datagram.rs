//! One question over UDP: a fresh connected socket, one datagram out, forgeries dropped.
//!
//! Entropy against off-path forgery (RFC 5452 section 9.2): every question has its own socket on
//! a port hickory draws evenly from 1024 to 65535 (64,512 ports, less the few in
//! [`AVOIDED_PORTS`]: 15.97 bits) and a message ID drawn evenly (16 bits), together close to 32
//! bits, and only one question per name is in flight. The socket is connected, so the kernel
//! drops datagrams from other addresses and answers strangers as if the port were closed, which
//! leaves nothing to probe (SAD DNS), and an ICMP error about our datagram arrives at once.

use std::collections::HashSet;
use std::future::{Future, poll_fn};
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::StreamExt;
use hickory_net::NetError;
use hickory_net::runtime::iocompat::AsyncIoTokioAsStd;
use hickory_net::runtime::{DnsUdpSocket, RuntimeProvider, Spawn, TokioTime};
use hickory_net::udp::UdpClientStream;
use hickory_net::xfer::DnsRequestSender;
use tokio::io::{Interest, ReadBuf};
use tokio::net::{TcpStream, UdpSocket};

use super::Trouble;
use super::query::{FLAG_TRUNCATED, Misfit, Query, is_unread};
use crate::clock;
use crate::engine::wire::header::HEADER_LEN;
use crate::slow::upstream::counts::PeerCounts;

/// Asks `server` once over UDP and waits up to `patience` for the reply that fits; everything
/// else that arrives is counted and dropped, and never ends the wait. Returns the reply's octets,
/// the truncation bit set if it was longer than the size offered.
pub async fn ask_datagram(
    server: SocketAddr,
    query: Arc<Query>,
    ear: Arc<Ear>,
    patience: Duration,
) -> Result<Vec<u8>, Trouble> {
    let id = rand::random::<u16>();
    let request = query.request(id);
    let expected = Arc::new(Expected { query, id, ear, whole: OnceLock::new() });
    let runtime = Runtime { expected: Arc::clone(&expected) };
    // One try: hickory starts `max_retries` sends in all, the first of them at once. Repeating a
    // question is for the caller, who knows the other upstreams.
    let mut exchange = UdpClientStream::builder(server, runtime)
        .with_timeout(Some(patience))
        .with_max_retries(1)
        .avoid_local_ports(Arc::clone(&AVOIDED_PORTS))
        .build();
    match exchange.send_message(request).next().await {
        Some(Ok(head)) => {
            Ok(expected.whole.get().map_or_else(|| head.into_buffer(), |whole| whole.to_vec()))
        }
        Some(Err(error)) => Err(trouble(&error)),
        None => Err(Trouble::Silent),
    }
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

/// Ports that services of a node use and that a question should not sit on when they restart:
/// mDNS and our own default, Geneve, VXLAN (IANA's and Linux's), WireGuard (its own and Cilium's).
static AVOIDED_PORTS: LazyLock<Arc<HashSet<u16>>> =
    LazyLock::new(|| Arc::new(HashSet::from([5353, 6081, 4789, 8472, 51820, 51871])));

/// Datagrams longer than this are cut; no query of ours offers more than 1,232 octets.
const DATAGRAM_MAX: usize = 4096;

fn trouble(error: &NetError) -> Trouble {
    match error {
        NetError::Io(error) => Trouble::from(&**error),
        NetError::Timeout => Trouble::Silent,
        _ => Trouble::Broken,
    }
}

/// What one socket waits for.
struct Expected {
    query: Arc<Query>,
    id: u16,
    ear: Arc<Ear>,
    /// The reply, once it is there and as long as what we offered allows.
    whole: OnceLock<Box<[u8]>>,
}

impl Expected {
    fn judge(&self, datagram: &[u8]) -> Result<(), Misfit> {
        let id = datagram.first_chunk::<2>().ok_or(Misfit::Short)?;
        if *id != self.id.to_be_bytes() {
            return Err(Misfit::Id);
        }
        self.query.fits(datagram)
    }

    fn drop_misfit(&self, misfit: Misfit, datagram: &[u8]) {
        if misfit == Misfit::QuestionCount && is_unread(datagram) {
            self.ear.unread_at_millis.store(clock::now().millis(), Ordering::Relaxed);
        }
        self.ear.counts.dropped(misfit);
    }

    /// Keeps a fitting datagram and gives hickory its header and question, which is all it needs:
    /// the records are the engine's to judge, and hickory refuses some that are well-formed
    /// (empty RDATA of an unknown type, RFC 3597). One that is longer than what we offered goes on
    /// without records and with TC set, so that it is asked for again over TCP instead of being
    /// cut in the middle of a record. Returns the octets written to `target`.
    fn pass_on(&self, datagram: &[u8], target: &mut [u8]) -> usize {
        let len = self.query.head_len().min(target.len());
        target[..len].copy_from_slice(&datagram[..len]);
        target[6..HEADER_LEN].fill(0);
        if datagram.len() > target.len() {
            target[2] |= FLAG_TRUNCATED;
        } else {
            // The wait ends with the first fitting reply.
            let _ = self.whole.set(datagram.into());
        }
        len
    }
}

/// A socket for one question, connected to the upstream.
struct Datagrams {
    socket: UdpSocket,
    server: SocketAddr,
    expected: Arc<Expected>,
}

impl Datagrams {
    /// Waits for an error of the socket. A socket with a pending error is not readable to tokio,
    /// so a refused datagram would otherwise be noticed only when the wait is over.
    async fn failed(&self) -> io::Error {
        loop {
            if let Err(error) = self.socket.ready(Interest::ERROR).await {
                return error;
            }
            let pending =
                self.socket.try_io(Interest::ERROR, || match self.socket.take_error()? {
                    Some(error) => Ok(error),
                    None => Err(io::ErrorKind::WouldBlock.into()),
                });
            match pending {
                Ok(error) => return error,
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return error,
                Err(_) => {}
            }
        }
    }
}

impl DnsUdpSocket for Datagrams {
    type Time = TokioTime;

    fn poll_recv_from(
        &self,
        cx: &mut Context<'_>,
        target: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        let mut space = [const { MaybeUninit::<u8>::uninit() }; DATAGRAM_MAX];
        loop {
            let mut room = ReadBuf::uninit(&mut space);
            ready!(self.socket.poll_recv(cx, &mut room))?;
            match self.expected.judge(room.filled()) {
                Ok(()) => {
                    return Poll::Ready(Ok((
                        self.expected.pass_on(room.filled(), target),
                        self.server,
                    )));
                }
                Err(misfit) => self.expected.drop_misfit(misfit, room.filled()),
            }
        }
    }

    fn recv_from<'life0, 'life1, 'async_trait>(
        &'life0 self,
        target: &'life1 mut [u8],
    ) -> Pin<Box<dyn Future<Output = io::Result<(usize, SocketAddr)>> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async move {
            tokio::select! {
                received = poll_fn(|cx| self.poll_recv_from(cx, target)) => received,
                error = self.failed() => Err(error),
            }
        })
    }

    fn poll_send_to(
        &self,
        cx: &mut Context<'_>,
        octets: &[u8],
        _: SocketAddr,
    ) -> Poll<io::Result<usize>> {
        self.socket.poll_send(cx, octets)
    }
}

/// The runtime hickory sees: tokio, with our sockets.
#[derive(Clone)]
struct Runtime {
    expected: Arc<Expected>,
}

impl RuntimeProvider for Runtime {
    type Handle = Spawner;
    type Timer = TokioTime;
    type Udp = Datagrams;
    type Tcp = AsyncIoTokioAsStd<TcpStream>;

    fn create_handle(&self) -> Spawner {
        Spawner
    }

    fn connect_tcp(
        &self,
        server: SocketAddr,
        _: Option<SocketAddr>,
        _: Option<Duration>,
    ) -> Pin<Box<dyn Send + Future<Output = io::Result<Self::Tcp>>>> {
        Box::pin(async move { TcpStream::connect(server).await.map(AsyncIoTokioAsStd) })
    }

    fn bind_udp(
        &self,
        local: SocketAddr,
        server: SocketAddr,
    ) -> Pin<Box<dyn Send + Future<Output = io::Result<Datagrams>>>> {
        let expected = Arc::clone(&self.expected);
        Box::pin(async move {
            let socket = UdpSocket::bind(local).await?;
            socket.connect(server).await?;
            Ok(Datagrams { socket, server, expected })
        })
    }
}

/// Spawns on the runtime of the caller.
#[derive(Clone, Copy)]
struct Spawner;

impl Spawn for Spawner {
    fn spawn_bg(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(task);
    }
}
