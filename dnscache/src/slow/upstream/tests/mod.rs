//! Questions to scripted upstreams on the loopback.

mod changes;
mod datagrams;
mod health;
mod journeys;
mod order;
mod packets;
mod streams;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::*;
use crate::config::{Policy, Position, Upstream};
use crate::engine::RouteId;
use crate::engine::wire::name::Name;

/// How a query reached a fake upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Via {
    Udp,
    Tcp,
}

/// A query a fake upstream saw.
#[derive(Debug, Clone)]
struct Seen {
    via: Via,
    query: Vec<u8>,
    source: SocketAddr,
    at: Instant,
}

impl Seen {
    fn has_edns(&self) -> bool {
        self.query[11] == 1
    }
}

/// An upstream on one port, UDP and TCP, that does what its script says.
struct Fake {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    _tasks: JoinSet<()>,
}

/// Gets a query and how many were seen before it; returns the messages to send back.
type Script = Arc<dyn Fn(&Seen, usize) -> Vec<Vec<u8>> + Send + Sync>;

impl Fake {
    async fn start(script: impl Fn(&Seen, usize) -> Vec<Vec<u8>> + Send + Sync + 'static) -> Self {
        let (udp, tcp) = sockets().await;
        let address = udp.local_addr().expect("an address");
        let (seen, script): (_, Script) = (Arc::default(), Arc::new(script));
        let mut tasks = JoinSet::new();
        tasks.spawn(serve_udp(udp, Arc::clone(&seen), Arc::clone(&script)));
        tasks.spawn(serve_tcp(tcp, Arc::clone(&seen), script));
        Self { address, seen, _tasks: tasks }
    }

    /// Answers every question with the address 192.0.2.`last`.
    async fn good(last: u8) -> Self {
        Self::start(move |seen, _| vec![answer(&seen.query, last)]).await
    }

    async fn silent() -> Self {
        Self::start(|_, _| Vec::new()).await
    }

    /// Answers every question with this response code.
    async fn failing(code: u8) -> Self {
        Self::start(move |seen, _| vec![reply(&seen.query, code)]).await
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("a list").clone()
    }

    fn count(&self) -> usize {
        self.seen().len()
    }
}

async fn sockets() -> (UdpSocket, TcpListener) {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().expect("an address")).await {
            return (udp, tcp);
        }
    }
}

fn note(seen: &Mutex<Vec<Seen>>, via: Via, query: &[u8], source: SocketAddr) -> (Seen, usize) {
    let new = Seen { via, query: query.to_vec(), source, at: Instant::now() };
    let mut seen = seen.lock().expect("a list");
    seen.push(new.clone());
    (new, seen.len() - 1)
}

async fn serve_udp(socket: UdpSocket, seen: Arc<Mutex<Vec<Seen>>>, script: Script) {
    let mut buffer = [0; 4096];
    while let Ok((len, source)) = socket.recv_from(&mut buffer).await {
        let (new, before) = note(&seen, Via::Udp, &buffer[..len], source);
        for message in script(&new, before) {
            let _ = socket.send_to(&message, source).await;
        }
    }
}

async fn serve_tcp(listener: TcpListener, seen: Arc<Mutex<Vec<Seen>>>, script: Script) {
    let mut connections = JoinSet::new();
    while let Ok((mut stream, source)) = listener.accept().await {
        let (seen, script) = (Arc::clone(&seen), Arc::clone(&script));
        connections.spawn(async move {
            while let Some(query) = read_message(&mut stream).await {
                let (new, before) = note(&seen, Via::Tcp, &query, source);
                for message in script(&new, before) {
                    write_message(&mut stream, &message).await;
                }
            }
        });
    }
}

async fn read_message(stream: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
    let len = stream.read_u16().await.ok()?;
    let mut message = vec![0; usize::from(len)];
    stream.read_exact(&mut message).await.ok()?;
    Some(message)
}

async fn write_message(stream: &mut (impl AsyncWrite + Unpin), message: &[u8]) {
    let mut framed = u16::try_from(message.len()).expect("a message").to_be_bytes().to_vec();
    framed.extend_from_slice(message);
    let _ = stream.write_all(&framed).await;
    let _ = stream.flush().await;
}

/// A reply without records.
fn reply(query: &[u8], code: u8) -> Vec<u8> {
    let name_len = query[12..].iter().position(|&octet| octet == 0).expect("a root label") + 1;
    let mut reply = query[..12 + name_len + 4].to_vec();
    reply[2] = 0x81;
    reply[3] = 0x80 | code;
    reply[4..12].copy_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
    reply
}

/// A reply with the address 192.0.2.`last`.
fn answer(query: &[u8], last: u8) -> Vec<u8> {
    let mut reply = reply(query, 0);
    reply[7] = 1;
    reply.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, last]);
    reply
}

/// A reply that is changed before it is sent.
fn changed(mut reply: Vec<u8>, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    change(&mut reply);
    reply
}

fn forward(to: &[SocketAddr]) -> Forward {
    Forward {
        position: Position { file: "Corefile".to_owned(), line: 1, column: 1 },
        from: Name::root(),
        to: to
            .iter()
            .map(|&address| Upstream::Address { address, tls: false, server_name: None })
            .collect(),
        except: Vec::new(),
        transport: TransportPolicy::AsClient,
        policy: Policy::Sequential,
        max_fails: 2,
        packets: PacketLimit::Known,
        health_check: Some(Duration::from_millis(200)),
        expire: Duration::from_secs(10),
        max_concurrent: 0,
        max_attempts: 0,
        failover: Vec::new(),
        failfast: false,
        tls: None,
        tls_server_name: None,
        max_age: None,
        endpoints: None,
        health_check_domain: Name::root(),
        health_check_recursion: false,
    }
}

fn start(config: &Forward) -> Arc<Route> {
    Route::start(config, 1232, Arc::default(), Arc::default()).expect("a route")
}

fn key(name: &str) -> Key {
    Key::new(
        RouteId(0),
        Name::from_text(name).expect("a name").wire(),
        1,
        1,
        crate::engine::cache::key::Flags::default(),
    )
}

fn deadline() -> Instant {
    Instant::now() + Duration::from_millis(4800)
}

async fn ask(route: &Arc<Route>, name: &str) -> Told {
    route.ask(&key(name), Transport::Udp, deadline()).await
}

async fn ask_tcp(route: &Arc<Route>, name: &str) -> Told {
    route.ask(&key(name), Transport::Tcp, deadline()).await
}

/// The last octet of the answer's address.
#[track_caller]
fn last_octet(told: &Told) -> u8 {
    match told {
        Told::Answer(digest) => *digest.message.last().expect("an answer"),
        Told::Failed(failure) => panic!("no answer: {failure:?}"),
    }
}

#[track_caller]
fn assert_failed(told: &Told, expected: Failure) {
    assert!(matches!(told, Told::Failed(failure) if *failure == expected), "{told:?}");
}

/// Waits until `holds`, up to five seconds.
async fn eventually(holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(5), "it never came true");
        sleep(Duration::from_millis(10)).await;
    }
}
