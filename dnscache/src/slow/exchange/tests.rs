//! The pool of ports against scripted servers on the loopback.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::port::{Ear, Expect, Port, connect, may_leave_from};
use super::{Connection, Datagrams, Query, Trouble};
use crate::engine::RouteId;
use crate::engine::cache::key::{Flags, Key};
use crate::slow::upstream::UpstreamCounts;

fn query() -> Query {
    let name = b"\x03www\x07example\x03org\x00";
    Query::new(&Key::new(RouteId(0), name, 1, 1, Flags::default()), Some(1232))
}

/// Sends every query back as a reply, `after` it came.
async fn echo(address: &str, after: Duration) -> (SocketAddr, JoinHandle<()>) {
    let socket = UdpSocket::bind(address).await.expect("a socket");
    let address = socket.local_addr().expect("an address");
    let serving = tokio::spawn(async move {
        let mut buffer = [0; 512];
        while let Ok((len, source)) = socket.recv_from(&mut buffer).await {
            sleep(after).await;
            buffer[2] |= 0x80;
            let _ = socket.send_to(&buffer[..len], source).await;
        }
    });
    (address, serving)
}

struct Pool {
    datagrams: Datagrams,
    counts: Arc<UpstreamCounts>,
    ear: Arc<Ear>,
}

fn pool(server: SocketAddr) -> Pool {
    let counts = Arc::new(UpstreamCounts::default());
    let ear = Arc::new(Ear { counts: counts.peer(server), unread_at_millis: AtomicU64::new(0) });
    Pool { datagrams: Datagrams::new(server, Arc::clone(&ear)), counts, ear }
}

impl Pool {
    fn dropped(&self) -> u64 {
        self.counts.snapshot().upstreams[0].dropped.iter().map(|(_, count)| count).sum()
    }

    async fn closes(&self) {
        let began = Instant::now();
        while self.datagrams.open_len() > 0 {
            assert!(began.elapsed() < Duration::from_secs(3), "ports stay open");
            sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test]
async fn a_pool_that_is_idle_has_no_sockets() {
    let (server, _serving) = echo("127.0.0.1:0", Duration::ZERO).await;
    let pool = pool(server);
    for _ in 0..100 {
        assert!(pool.datagrams.ask(query()).await.is_ok());
    }
    assert!(pool.datagrams.open_len() > 0);
    pool.closes().await;
    assert!(pool.datagrams.ask(query()).await.is_ok());
}

#[tokio::test]
async fn an_upstream_with_an_ipv6_address_is_asked_too() {
    let (server, _serving) = echo("[::1]:0", Duration::ZERO).await;
    assert!(pool(server).datagrams.ask(query()).await.is_ok());
}

#[tokio::test]
async fn questions_given_up_leave_nothing_behind() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let pool = pool(silent.local_addr().expect("an address"));
    for _ in 0..100 {
        let asked = timeout(Duration::from_millis(2), pool.datagrams.ask(query()));
        assert!(asked.await.is_err());
    }
    pool.closes().await;
}

#[tokio::test]
async fn a_reply_that_comes_too_late_is_no_forgery() {
    let (server, _serving) = echo("127.0.0.1:0", Duration::from_millis(60)).await;
    let pool = pool(server);
    assert!(timeout(Duration::from_millis(20), pool.datagrams.ask(query())).await.is_err());
    sleep(Duration::from_millis(100)).await;
    assert_eq!(pool.dropped(), 0);
}

#[tokio::test]
async fn a_closed_upstream_ends_all_questions_of_its_port() {
    let closed = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let pool = pool(closed.local_addr().expect("an address"));
    drop(closed);
    let asked = || timeout(Duration::from_secs(1), pool.datagrams.ask(query()));
    for _ in 0..50 {
        let (one, two, three) = tokio::join!(asked(), asked(), asked());
        for result in [one, two, three] {
            assert_eq!(result.expect("known at once"), Err(Trouble::Unreachable));
        }
    }
    pool.closes().await;
}

/// Panics when it is told.
struct Clumsy;

impl Expect for Clumsy {
    fn end(self: Box<Self>, _: Result<&[u8], Trouble>) {
        panic!("as told");
    }

    fn hear_nothing(self: Box<Self>) -> Box<dyn Expect> {
        panic!("as told");
    }

    fn is_gone(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn who_panics_costs_the_port_nothing() {
    let (server, _serving) = echo("127.0.0.1:0", Duration::ZERO).await;
    let port = Port::open(server, &pool(server).ear).expect("a port");
    let (sender, receiver) = oneshot::channel();
    for expect in [Box::new(Clumsy) as Box<dyn Expect>, Box::new(sender)] {
        let query = query();
        let outgoing = query.outgoing();
        let id = port.admit((query, expect)).unwrap_or_else(|_| panic!("room"));
        assert!(port.transmit(id, outgoing).is_ok());
    }
    assert!(receiver.await.expect("told").is_ok());
}

/// Asks from `port`; the reply, or why there is none, comes to the receiver.
fn ask_from(port: &Port) -> oneshot::Receiver<Result<Vec<u8>, Trouble>> {
    let (sender, receiver) = oneshot::channel();
    let query = query();
    let outgoing = query.outgoing();
    let id = port.admit((query, Box::new(sender))).unwrap_or_else(|_| panic!("room"));
    assert!(port.transmit(id, outgoing).is_ok());
    receiver
}

/// A server that learns the port asking it, and says nothing.
struct Mute(std::net::UdpSocket);

impl Mute {
    fn new() -> Self {
        Self(std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket"))
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("an address")
    }

    /// Takes a query in: where it came from, and the reply it deserves.
    fn hear(&self) -> (SocketAddr, Vec<u8>) {
        let mut query = [0; 512];
        let (len, source) = self.0.recv_from(&mut query).expect("a query");
        query[2] |= 0x80;
        (source, query[..len].to_vec())
    }
}

#[tokio::test]
async fn a_flood_of_forgeries_leaves_other_tasks_their_turns() {
    let mute = Mute::new();
    let pool = pool(mute.address());
    let port = Port::open(mute.address(), &pool.ear).expect("a port");
    let answer = ask_from(&port);
    let (source, reply) = mute.hear();
    for _ in 0..150 {
        mute.0.send_to(b"forgery", source).expect("a forgery");
    }
    mute.0.send_to(&reply, source).expect("a reply");
    while pool.dropped() == 0 {
        tokio::task::yield_now().await;
    }
    assert!(pool.dropped() < 150, "all read in one turn");
    assert!(answer.await.expect("told").is_ok());
}

#[tokio::test]
async fn a_port_that_was_refused_closes_at_once() {
    let closed = Mute::new();
    let server = closed.address();
    let port = Port::open(server, &pool(server).ear).expect("a port");
    // The port's task has begun to wait.
    sleep(Duration::from_millis(10)).await;
    drop(closed);
    let first = ask_from(&port);
    let (sender, _second) = oneshot::channel();
    let query = query();
    let outgoing = query.outgoing();
    let id = port.admit((query, Box::new(sender))).unwrap_or_else(|_| panic!("room"));
    let told = port.transmit(id, outgoing).map_err(|(trouble, _)| trouble);
    assert_eq!(told, Err(Trouble::Unreachable), "the error of the first question's datagram");
    assert_eq!(first.await.expect("told"), Err(Trouble::Unreachable));
    let open = Arc::downgrade(&port);
    drop(port);
    sleep(Duration::from_millis(50)).await;
    assert_eq!(open.strong_count(), 0);
}

#[test]
fn what_strangers_sent_before_the_port_was_connected_is_not_read() {
    let (mute, stranger) = (Mute::new(), Mute::new());
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let ours = socket.local_addr().expect("an address");
    for _ in 0..3 {
        stranger.0.send_to(b"forgery", ours).expect("a forgery");
    }
    connect(&socket, mute.address()).expect("connected");
    let read = socket.recv(&mut [0; 16]).expect_err("nothing to read");
    assert_eq!(read.kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn no_question_leaves_from_the_port_it_goes_to_or_from_one_of_a_service() {
    let server = "127.0.0.1:5300".parse().expect("an address");
    for (port, may) in [(1023, false), (1024, true), (5300, false), (8472, false), (65535, true)] {
        assert_eq!(may_leave_from(port, server), may, "{port}");
    }
}

#[tokio::test]
async fn a_connection_nobody_uses_closes_even_if_its_peer_never_reads() {
    let (stream, _unread) = tokio::io::duplex(16);
    let counts = UpstreamCounts::default().peer("127.0.0.1:53".parse().expect("an address"));
    let (connection, drive) = Connection::over(stream, counts);
    let driving = tokio::spawn(drive);
    assert!(timeout(Duration::from_millis(20), connection.ask(&query())).await.is_err());
    drop(connection);
    assert!(timeout(Duration::from_secs(1), driving).await.is_ok(), "the connection stays open");
}
