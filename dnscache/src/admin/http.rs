//! The HTTP/1 server of the admin pages, with a bound on everything a client can hold.

use std::convert::Infallible;
use std::future::{Future, ready};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};

use super::pages::Pages;
use crate::places::Places;

/// A server of admin pages on one address. Dropping it stops it as [`Server::stop`] does, without
/// waiting for the end.
#[derive(Debug)]
pub struct Server {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Server {
    /// Serves `pages` on `listener` in a task of its own.
    pub fn start(listener: TcpListener, pages: Arc<Pages>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let stopped = async move {
            let mut stopped = stopped;
            // An error means that the sender is gone, which is a stop as well.
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        Self { stop, task: tokio::spawn(serve(listener, pages, stopped)) }
    }

    /// Accepts no more, lets requests under way end, and returns within [`DRAIN`].
    pub async fn stop(self) {
        self.stop.send_replace(true);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "an admin server ended badly");
        }
    }
}

/// Connections of one address; those beyond are closed at once. Probes and scrapers hold a few.
const CONNECTIONS_MAX: usize = 256;
/// Of them, those of one client address, so that it cannot make a probe of the kubelet's fail.
const CONNECTIONS_PER_CLIENT_MAX: usize = 32;
/// A request's head must have come after this; also how long a connection may be idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// From the start of a request, or of a connection, until its reply has been read.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Octets of a request's head.
const HEAD_MAX: usize = 16 * 1024;
/// Lines of a request's head.
const HEADERS_MAX: usize = 64;
/// How long requests under way may take when the server stops.
const DRAIN: Duration = Duration::from_secs(1);
/// Pause after an accept that failed, which it does again at once when descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `pages` on `listener` until `stopped`, then lets requests under way end.
pub async fn serve(listener: TcpListener, pages: Arc<Pages>, stopped: impl Future<Output = ()>) {
    let places = Arc::new(Places::new(CONNECTIONS_MAX, CONNECTIONS_PER_CLIENT_MAX));
    let (ending, ended) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut stopped = pin!(stopped);
    loop {
        tokio::select! {
            () = &mut stopped => break,
            accepted = listener.accept() => {
                let Some((stream, peer)) = settle(accepted).await else {
                    continue;
                };
                // Without a place the stream is dropped here, which closes it.
                if let Ok(place) = places.take(peer.ip()) {
                    let (pages, ended) = (Arc::clone(&pages), ended.clone());
                    connections.spawn(async move {
                        converse(stream, &pages, ended).await;
                        drop(place);
                    });
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    ending.send_replace(true);
    // What is not done by then is aborted when the set is dropped.
    let _ = timeout(DRAIN, async { while connections.join_next().await.is_some() {} }).await;
}

/// The accepted connection, if there is one; a failure is waited out.
async fn settle(accepted: io::Result<(TcpStream, SocketAddr)>) -> Option<(TcpStream, SocketAddr)> {
    match accepted {
        Ok(accepted) => Some(accepted),
        Err(error) => {
            static FAILED: crate::logging::Quiet = crate::logging::Quiet::new();
            if let Some(times) = FAILED.count(crate::clock::now(), 1) {
                tracing::warn!(%error, times, "cannot accept a connection for the admin pages");
            }
            sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

/// Serves one connection until it ends, is idle or too slow, or the server stops.
///
/// The head's timeout is hyper's. The other starts anew with every request, so it ends a client
/// that asks and does not read.
async fn converse(stream: TcpStream, pages: &Pages, mut ended: watch::Receiver<bool>) {
    let begun = Notify::new();
    let service = service_fn(|request| {
        begun.notify_one();
        ready(Ok::<_, Infallible>(pages.answer(&request)))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let mut deadline = pin!(sleep(REQUEST_TIMEOUT));
    let mut draining = false;
    loop {
        tokio::select! {
            // A client's error is its own business; there is nobody to tell.
            _ = connection.as_mut() => return,
            () = deadline.as_mut() => return,
            () = begun.notified() => deadline.as_mut().reset(Instant::now() + REQUEST_TIMEOUT),
            _ = ended.wait_for(|ended| *ended), if !draining => {
                draining = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use std::net::IpAddr;

    use super::*;
    use crate::admin::metrics::{Build, Metrics};

    async fn start() -> (SocketAddr, Server) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let metrics = Some(Arc::new(Metrics::new(Build::this())));
        let pages = Pages { metrics, health: true, ..Pages::default() };
        (address, Server::start(listener, Arc::new(pages)))
    }

    async fn connect(address: SocketAddr) -> TcpStream {
        TcpStream::connect(address).await.expect("a listener")
    }

    /// Sends `request` and reads until the server closes.
    async fn exchange(address: SocketAddr, request: &str) -> String {
        let mut stream = connect(address).await;
        stream.write_all(request.as_bytes()).await.expect("sent");
        rest(&mut stream).await
    }

    async fn rest(stream: &mut TcpStream) -> String {
        let mut reply = Vec::new();
        // A reset after the reply is a close as well.
        let _ = stream.read_to_end(&mut reply).await;
        String::from_utf8_lossy(&reply).into_owned()
    }

    fn get(path: &str) -> String {
        format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    }

    fn check(reply: &str, status: &str, body_end: &str) {
        assert!(reply.starts_with(&format!("HTTP/1.1 {status}")), "{reply}");
        assert!(reply.ends_with(body_end), "{reply}");
    }

    #[tokio::test]
    async fn pages_are_served() {
        let (address, server) = start().await;
        check(&exchange(address, &get("/health")).await, "200 OK", "\r\n\r\nOK");
        let metrics = exchange(address, &get("/metrics")).await;
        check(&metrics, "200 OK", "\n");
        assert!(metrics.contains("\ncoredns_build_info{"), "{metrics}");
        check(&exchange(address, &get("/ready")).await, "404", "404 page not found\n");
        server.stop().await;
    }

    #[tokio::test]
    async fn several_requests_share_a_connection() {
        let (address, _server) = start().await;
        let request = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n".repeat(3) + &get("/health");
        let replies = exchange(address, &request).await;
        assert_eq!(replies.matches("HTTP/1.1 200 OK").count(), 4, "{replies}");
    }

    #[tokio::test]
    async fn head_has_no_body() {
        let (address, _server) = start().await;
        let request = "HEAD /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let reply = exchange(address, request).await;
        check(&reply, "200 OK", "\r\n\r\n");
        assert!(reply.to_ascii_lowercase().contains("content-length: 2\r\n"), "{reply}");
    }

    #[tokio::test]
    async fn writing_is_refused() {
        let (address, _server) = start().await;
        let request = "POST /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc";
        let reply = exchange(address, request).await;
        check(&reply, "405", "method not allowed\n");
        assert!(reply.to_ascii_lowercase().contains("allow: get, head\r\n"), "{reply}");
    }

    #[tokio::test]
    async fn paths_with_dots_lead_nowhere() {
        let (address, _server) = start().await;
        for path in ["/../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/./metrics", "/metrics/.."] {
            check(&exchange(address, &get(path)).await, "404", "404 page not found\n");
        }
    }

    #[tokio::test]
    async fn what_is_not_http_is_refused() {
        let (address, _server) = start().await;
        for request in ["\0\0\x01\0\r\n\r\n", "GET\r\n\r\n", "GET /health HTTP/9.9\r\n\r\n"] {
            let reply = exchange(address, request).await;
            assert!(reply.is_empty() || reply.starts_with("HTTP/1.1 400"), "{reply}");
        }
        check(&exchange(address, &get("/health")).await, "200 OK", "OK");
    }

    #[tokio::test]
    async fn a_huge_head_is_refused() {
        let (address, _server) = start().await;
        for head in [
            format!("GET /health HTTP/1.1\r\nX: {}", "a".repeat(4 * HEAD_MAX)),
            format!("GET /{} HTTP/1.1\r\n", "a".repeat(4 * HEAD_MAX)),
            format!("GET /health HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(HEADERS_MAX + 1)),
        ] {
            let mut stream = connect(address).await;
            // The server may have closed before everything was sent.
            let _ = stream.write_all(head.as_bytes()).await;
            let reply = rest(&mut stream).await;
            assert!(!reply.contains("200 OK"), "{reply}");
            assert!(reply.is_empty() || reply.starts_with("HTTP/1.1 4"), "{reply}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_head_is_cut_off() {
        let (address, _server) = start().await;
        let mut stream = connect(address).await;
        let began = Instant::now();
        for octet in b"GET /health HTTP/1.1\r\nX-Slow: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" {
            if stream.write_all(&[*octet]).await.is_err() {
                break;
            }
            sleep(Duration::from_millis(500)).await;
        }
        assert!(!rest(&mut stream).await.contains("200 OK"));
        assert!((HEAD_TIMEOUT..REQUEST_TIMEOUT).contains(&began.elapsed()));
        check(&exchange(address, &get("/health")).await, "200 OK", "OK");
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_is_closed() {
        let (address, _server) = start().await;
        let began = Instant::now();
        let replies = exchange(address, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await;
        check(&replies, "200 OK", "OK");
        assert!((HEAD_TIMEOUT..REQUEST_TIMEOUT).contains(&began.elapsed()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_is_cut_off() {
        let (address, _server) = start().await;
        let mut stream = connect(address).await;
        let began = Instant::now();
        let requests = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1000);
        // Asks until its own buffer is full; nothing of the replies is read.
        let asking = async { while stream.write_all(requests.as_bytes()).await.is_ok() {} };
        let closed = timeout(10 * REQUEST_TIMEOUT, asking).await;
        assert!(closed.is_ok(), "still open after {:?}", began.elapsed());
    }

    #[tokio::test]
    async fn connections_beyond_a_clients_bound_are_closed_at_once() {
        let (address, _server) = start().await;
        let mut held = Vec::new();
        for _ in 0..CONNECTIONS_PER_CLIENT_MAX {
            let mut stream = connect(address).await;
            stream.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("sent");
            let mut first = [0; 12];
            stream.read_exact(&mut first).await.expect("served");
            held.push(stream);
        }
        assert_eq!(rest(&mut connect(address).await).await, "");
        drop(held.pop());
        let served = timeout(Duration::from_secs(5), async {
            while !exchange(address, &get("/health")).await.contains("200 OK") {}
        });
        served.await.expect("a place is free again");
    }

    #[test]
    fn one_client_leaves_room_for_others() {
        let places = Arc::new(Places::new(CONNECTIONS_MAX, CONNECTIONS_PER_CLIENT_MAX));
        let client = |host: usize| IpAddr::from([10, 0, 0, host as u8]);
        let take = |host| places.take(client(host)).ok();
        let held: Vec<_> = (0..CONNECTIONS_MAX).map_while(|_| take(0)).collect();
        assert_eq!(held.len(), CONNECTIONS_PER_CLIENT_MAX);
        let others: Vec<_> =
            (1..).flat_map(|host| [host; CONNECTIONS_PER_CLIENT_MAX]).map_while(take).collect();
        assert_eq!(held.len() + others.len(), CONNECTIONS_MAX);
        drop(held);
        assert!(take(0).is_some());
    }

    #[tokio::test]
    async fn stopping_frees_the_port_and_ends_idle_connections() {
        let (address, server) = start().await;
        let mut idle = connect(address).await;
        idle.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("sent");
        let mut first = [0; 12];
        idle.read_exact(&mut first).await.expect("served");
        server.stop().await;
        assert!(rest(&mut idle).await.ends_with("OK"));
        assert!(TcpStream::connect(address).await.is_err());
    }
}
