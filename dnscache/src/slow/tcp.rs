//! DNS over TCP (RFC 7766): listens, admits connections within bounds, and lets each be served by
//! a task of its own.
//!
//! Bounds are shared by all listeners, in total and per client address, so that one pod can take
//! its own share only; what happens on a connection is in [`connection`](super::connection).

use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::SHARD;
use super::bequest::Bequest;
use super::connection::Connection;
pub use super::connection::Server;
use crate::bind::BindError;
use crate::clock;
use crate::counts::{Closed, Rejected};
use crate::logging::Quiet;
use crate::places::{Place, Places};

/// Connections in total, where descriptors allow it.
const CONNECTIONS_MAX: usize = 4_096;
/// Connections of one client address.
const CONNECTIONS_PER_CLIENT_MAX: usize = 256;
/// The part of the process's descriptors that connections of clients may take: upstreams need
/// theirs even when every client connects.
const DESCRIPTOR_SHARE: usize = 4;
/// Octets of replies that all connections together hold for clients that are slow to read.
const UNSENT_MAX: usize = 64 * 1024 * 1024;
/// Connections the kernel keeps until they are accepted.
const BACKLOG: i32 = 1_024;
/// Octets the kernel holds per connection and direction (it doubles them for its own use). A round
/// trip on the node takes microseconds, so more would only be memory a slow reader can hold.
const SOCKET_BUFFER_LEN: usize = 64 * 1024;
/// Pause after an accept that failed for want of descriptors or memory, which would fail again at
/// once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves the clients of one listen address until `shutdown`, and those on connections that come
/// from a predecessor through `adopted`; then finishes what is in flight, hands connections to the
/// heir if one is named, and returns when none is left, within 11 s unless `timeouts` lets clients read
/// their replies more slowly. Dropping it ends the connections at once.
pub async fn serve(
    listener: TcpListener,
    adopted: mpsc::Receiver<Bequest>,
    server: Server,
    shutdown: CancellationToken,
) {
    accept_all(listener, adopted, Arc::new(server), shutdown).await;
}

pub(super) async fn accept_all(
    listener: TcpListener,
    mut adopted: mpsc::Receiver<Bequest>,
    server: Arc<Server>,
    stop: CancellationToken,
) {
    let mut connections = JoinSet::new();
    static EXHAUSTED: Quiet = Quiet::new();
    let mut spare = Spare::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(ended) = connections.join_next() => note_end(&server, ended),
            Some(bequest) = adopted.recv() => {
                // One that cannot be gone on with is closed already.
                if let Ok(connection) = Connection::adopt(bequest, Arc::clone(&server)) {
                    admit(&server, connection, &stop, &mut connections);
                }
            }
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let connection = Connection::new(stream, peer, Arc::clone(&server));
                    admit(&server, connection, &stop, &mut connections);
                }
                Err(error) if is_clients_doing(&error) => {}
                Err(error) => {
                    let refused =
                        if is_exhaustion(&error) { spare.turn_away(&listener) } else { 1 };
                    (0..refused).for_each(|_| server.counts.tcp_rejected(Rejected::Descriptors));
                    if let Some(times) = EXHAUSTED.count(clock::now(), refused as u64) {
                        tracing::warn!(%error, times, "TCP connections cannot be accepted");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    while let Some(ended) = connections.join_next().await {
        note_end(&server, ended);
    }
}

/// A descriptor held for the moment when no other is left. Without it a client that cannot be
/// accepted would wait in the kernel's queue until it gives up, and hear nothing.
struct Spare(Option<File>);

impl Spare {
    fn new() -> Self {
        Self(File::open("/dev/null").ok())
    }

    /// Accepts the clients that wait and closes their connections at once; how many there were.
    fn turn_away(&mut self, listener: &TcpListener) -> usize {
        drop(self.0.take());
        let closed =
            (0..BACKLOG).map_while(|_| listener.accept().now_or_never()?.ok().map(drop)).count();
        // Somebody else may have taken the descriptor; then the next client waits.
        *self = Self::new();
        closed
    }
}

/// Begins to serve a connection, or closes it if there are too many.
fn admit(
    server: &Arc<Server>,
    connection: Connection,
    stop: &CancellationToken,
    connections: &mut JoinSet<Closed>,
) {
    match server.limits.admit(connection.client()) {
        Ok(admission) => {
            server.counts.tcp_open(1);
            let stop = stop.clone();
            connections.spawn(async move {
                let _admission = admission;
                connection.run(stop).await
            });
        }
        Err(why) => server.counts.tcp_rejected(why),
    }
}

fn note_end(server: &Server, ended: Result<Closed, JoinError>) {
    server.counts.tcp_open(-1);
    match ended {
        Ok(why) => server.counts.tcp_closed(why),
        Err(error) if error.is_panic() => server.counts.panicked(SHARD),
        Err(_) => {}
    }
}

/// Whether accepting failed because of what one client did: the next one is tried at once.
fn is_clients_doing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

/// Whether accepting failed because there are no descriptors left, here or on the machine.
fn is_exhaustion(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// Binds a listener that other sockets and processes can share the address with. Must be called
/// within a tokio runtime.
pub fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    listen(address).map_err(BindError::of("TCP", address))
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    // Accepted connections inherit the sizes.
    socket.set_send_buffer_size(SOCKET_BUFFER_LEN)?;
    socket.set_recv_buffer_size(SOCKET_BUFFER_LEN)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// The bounds of all listeners together, and how much of them is taken.
#[derive(Debug)]
pub struct TcpLimits {
    places: Arc<Places>,
    unsent: AtomicUsize,
}

impl TcpLimits {
    /// So many connections in total, and so many of one client address.
    pub fn new(connections_max: usize, connections_per_client_max: usize) -> Self {
        let places = Arc::new(Places::new(connections_max, connections_per_client_max));
        Self { places, unsent: AtomicUsize::new(0) }
    }

    /// The usual bounds, lower in a process that may open few files: 4,096 connections or a
    /// quarter of the descriptors, 256 of them or a quarter for one client.
    pub fn for_this_process() -> Self {
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let share = descriptors_max(&limits).map_or(usize::MAX, |max| max / DESCRIPTOR_SHARE);
        let total = CONNECTIONS_MAX.min(share);
        Self::new(total, CONNECTIONS_PER_CLIENT_MAX.min(total / 4))
    }

    /// Connections in total.
    pub fn connections_max(&self) -> usize {
        self.places.places_max()
    }

    /// Connections open now.
    pub fn connections(&self) -> usize {
        self.places.taken()
    }

    fn admit(&self, client: IpAddr) -> Result<Place, Rejected> {
        self.places.take(client)
    }

    /// Notes octets that wait to be sent; whether that is within the bound.
    pub(super) fn hold_unsent(&self, len: usize) -> bool {
        self.unsent.fetch_add(len, Ordering::Relaxed) + len <= UNSENT_MAX
    }

    /// Notes that such octets were sent or given up.
    pub(super) fn release_unsent(&self, len: usize) {
        self.unsent.fetch_sub(len, Ordering::Relaxed);
    }

    /// Octets that wait to be sent on all connections.
    pub fn unsent(&self) -> usize {
        self.unsent.load(Ordering::Relaxed)
    }
}

/// The soft limit on open files in the text of `/proc/self/limits`; `None`: no limit is known.
fn descriptors_max(limits: &str) -> Option<usize> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use arc_swap::ArcSwap;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;
    use crate::engine::ListenerId;
    use crate::engine::wire::header::rcode;
    use crate::slow::rehearsal;

    #[test]
    fn unsent_octets_are_bounded_over_all_connections() {
        let limits = TcpLimits::new(1, 1);
        assert!(limits.hold_unsent(UNSENT_MAX));
        assert!(!limits.hold_unsent(1));
        limits.release_unsent(2);
        assert!(limits.hold_unsent(1));
    }

    #[test]
    fn the_soft_limit_on_files_is_found() {
        let text = "Limit                     Soft Limit           Hard Limit           Units\n\
                    Max processes             63432                63432                processes\n\
                    Max open files            1024                 1048576              files\n";
        assert_eq!(descriptors_max(text), Some(1_024));
        assert_eq!(descriptors_max("Max open files  unlimited  unlimited  files"), None);
        assert_eq!(descriptors_max(""), None);
    }

    #[test]
    fn accepting_goes_on_after_what_a_client_did_and_pauses_after_exhaustion() {
        assert!(is_clients_doing(&io::ErrorKind::ConnectionAborted.into()));
        let too_many_open_files = io::Error::from_raw_os_error(24);
        assert!(!is_clients_doing(&too_many_open_files));
        assert!(is_exhaustion(&too_many_open_files));
        assert!(!is_exhaustion(&io::ErrorKind::ConnectionReset.into()));
    }

    #[tokio::test]
    async fn an_address_can_be_shared_and_a_foreign_one_is_refused_by_name() {
        let first = bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
        let address = first.local_addr().expect("bound");
        bind(address).expect("shared");
        let error = bind("192.0.2.1:53".parse().expect("an address")).expect_err("not ours");
        assert!(error.to_string().starts_with("cannot listen on 192.0.2.1:53 for TCP: "));
    }

    #[tokio::test]
    async fn who_waits_when_descriptors_are_out_is_turned_away() {
        let listener = bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
        let address = listener.local_addr().expect("bound");
        let mut spare = Spare::new();
        assert_eq!(spare.turn_away(&listener), 0);
        let mut clients = Vec::new();
        for _ in 0..3 {
            clients.push(TcpStream::connect(address).await.expect("in the queue"));
        }
        listener.accept().now_or_never();
        let mut refused = 0;
        while refused < 2 {
            refused += spare.turn_away(&listener);
            tokio::task::yield_now().await;
        }
        let last = clients.last_mut().expect("three");
        assert!(matches!(last.read(&mut [0]).await, Ok(0) | Err(_)));
        assert!(spare.0.is_some(), "there is a spare again");
    }

    #[tokio::test]
    async fn connections_over_the_bound_are_closed_and_the_others_served() {
        let listener = bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
        let address = listener.local_addr().expect("bound");
        let (door, _errands) = crate::handoff::door(1, Arc::default());
        let stop = CancellationToken::new();
        let (_elder, adopted) = mpsc::channel(1);
        let server = Server {
            id: ListenerId(0),
            address,
            plan: Arc::new(ArcSwap::new(rehearsal::plan(Duration::ZERO))),
            door,
            limits: Arc::new(TcpLimits::new(8, 2)),
            pace: Arc::default(),
            counts: Arc::default(),
            heirs: Arc::default(),
            now: clock::now,
        };
        let serving = tokio::spawn(serve(listener, adopted, server, stop.clone()));
        let mut connections = Vec::new();
        for _ in 0..3 {
            connections.push(TcpStream::connect(address).await.expect("a connection"));
        }
        let mut last = connections.pop().expect("three");
        assert!(matches!(last.read(&mut [0]).await, Ok(0) | Err(_)));
        for connection in &mut connections {
            // A query for the class CHAOS is refused without being asked anywhere.
            let query = rehearsal::query(1, "version.bind.");
            let query = [&query[..query.len() - 1], &[3]].concat();
            let len = query.len() as u16;
            let framed = [&len.to_be_bytes(), &query[..]].concat();
            connection.write_all(&framed).await.expect("sent");
            let mut reply = [0; 6];
            connection.read_exact(&mut reply).await.expect("a reply");
            assert_eq!(reply[5] & 0xf, rcode::REFUSED);
        }
        stop.cancel();
        drop(connections);
        serving.await.expect("no panic");
    }
}
