//! `health` asks itself once a second, as CoreDNS's does: when our own `/health` over loopback is
//! slow or fails, the node is overloaded, and that is what people's alerts watch.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::sheet::{Labels, Sheet};
use crate::counts::HistogramReading;
use crate::logging::Quiet;

/// Asks `/health` on `address` once a second and notes what came of it, until it is dropped or
/// aborted.
///
/// While a second instance shares the port, it may be the one that answers; that says as much
/// about the node.
pub async fn run(address: SocketAddr, checks: &SelfChecks) {
    static FAILED: Quiet = Quiet::new();
    let address = reachable(address);
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick is immediate.
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let began = Instant::now();
        let outcome = ask(address).await;
        checks.note(began.elapsed(), outcome.is_ok());
        if let Err(error) = outcome
            && let Some(times) = FAILED.count(crate::clock::now(), 1)
        {
            tracing::warn!(%address, %error, times, "our own health page did not answer");
        }
    }
}

const PERIOD: Duration = Duration::from_secs(1);
/// CoreDNS's patience with itself.
const PATIENCE: Duration = Duration::from_secs(3);

/// Where a listener on `address` can be reached from here.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

async fn ask(address: SocketAddr) -> io::Result<()> {
    timeout(PATIENCE, exchange(address))
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn exchange(address: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream
        .write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await?;
    let mut status = [0; b"HTTP/1.1 200".len()];
    stream.read_exact(&mut status).await?;
    if status != *b"HTTP/1.1 200" {
        return Err(io::Error::other("the status was not 200"));
    }
    // Reading to the end leaves the wait after the close to the side that closed first.
    let mut rest = [0; 512];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

/// What the checks found.
#[derive(Debug, Default)]
pub struct SelfChecks {
    buckets: [AtomicU64; BOUNDS.len()],
    count: AtomicU64,
    sum_us: AtomicU64,
    failures: AtomicU64,
}

/// CoreDNS's bounds for this histogram, in seconds.
const BOUNDS: [f64; 5] = [0.000_25, 0.002_5, 0.025, 0.25, 2.5];

impl SelfChecks {
    fn note(&self, took: Duration, succeeded: bool) {
        let secs = took.as_secs_f64();
        if let Some(bucket) = BOUNDS.iter().position(|&bound| secs <= bound) {
            self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.sum_us.fetch_add(took_us, Ordering::Relaxed);
        self.failures.fetch_add(u64::from(!succeeded), Ordering::Relaxed);
    }

    /// Writes them as CoreDNS names them.
    pub(super) fn write(&self, sheet: &mut Sheet<'_>) -> fmt::Result {
        let name = "coredns_health_request_duration_seconds";
        let help = "Time our own health page took to answer in seconds.";
        sheet.histograms(name, help, &BOUNDS, [(Labels::new(), self.read())])?;
        let failures = self.failures.load(Ordering::Relaxed);
        let help = "Times our own health page did not answer.";
        sheet.counter("coredns_health_request_failures", help, failures)
    }

    fn read(&self) -> HistogramReading {
        HistogramReading {
            buckets: self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect(),
            count: self.count.load(Ordering::Relaxed),
            sum: self.sum_us.load(Ordering::Relaxed) as f64 / 1e6,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::net::TcpListener;

    use super::*;
    use crate::admin::http::Server;
    use crate::admin::pages::Pages;

    #[tokio::test]
    async fn a_healthy_process_answers_itself() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let pages = Pages { health: true, ..Pages::default() };
        let server = Server::start(listener, Arc::new(pages));
        assert!(ask(address).await.is_ok());
        server.stop().await;
        assert!(ask(address).await.is_err());
    }

    #[tokio::test]
    async fn another_status_is_a_failure() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let _server = Server::start(listener, Arc::new(Pages::default()));
        assert!(ask(address).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn checks_go_on_after_a_failure() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        drop(listener);
        let checks = SelfChecks::default();
        let _ = timeout(3 * PERIOD + PERIOD / 2, run(address, &checks)).await;
        assert_eq!(checks.read().count, 3);
        assert_eq!(checks.failures.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn durations_fall_into_their_buckets() {
        let checks = SelfChecks::default();
        checks.note(Duration::from_micros(250), true);
        checks.note(Duration::from_micros(251), true);
        checks.note(Duration::from_secs(3), false);
        let reading = checks.read();
        assert_eq!(reading.buckets, [1, 1, 0, 0, 0]);
        assert_eq!(reading.count, 3);
        assert_eq!(checks.failures.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn an_unspecified_address_is_asked_over_loopback() {
        for (listened, asked) in [
            ("0.0.0.0:8080", "127.0.0.1:8080"),
            ("[::]:8080", "[::1]:8080"),
            ("169.254.20.10:8080", "169.254.20.10:8080"),
        ] {
            let address: SocketAddr = listened.parse().expect("an address");
            assert_eq!(reachable(address).to_string(), asked);
        }
    }
}
