//! One TCP or TLS connection that carries many questions at once (RFC 7766 section 6.2.1).

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use hickory_net::proto::op::{DnsRequest, DnsRequestOptions, Message, SerialMessage};
use hickory_net::runtime::iocompat::AsyncIoTokioAsStd;
use hickory_net::runtime::{DnsTcpStream, TokioRuntimeProvider};
use hickory_net::tcp::TcpClientStream;
use hickory_net::xfer::{DnsClientStream, DnsExchange, DnsHandle, DnsMultiplexer};
use hickory_net::{BufDnsStreamHandle, NetError};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use super::tls::TlsTarget;
use crate::engine::wire::header::HEADER_LEN;
use crate::slow::exchange::{FLAG_RESPONSE, Misfit, Query, Trouble, is_unread};
use crate::slow::upstream::counts::PeerCounts;

/// How a stream is protected.
#[derive(Debug, Clone)]
pub enum Security {
    /// TCP alone.
    Plain,
    /// DNS over TLS.
    Tls(TlsTarget),
}

/// An open connection. It closes once it is dropped and its last reply has come.
pub struct Connection {
    exchange: DnsExchange<TokioRuntimeProvider>,
    hearing: Arc<Hearing>,
}

/// Drives a connection; must be polled for as long as the connection is used, and ends with it.
pub type Drive = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Opens a connection to `server`. The error is for a person to read.
pub async fn dial(
    server: SocketAddr,
    security: &Security,
    counts: Arc<PeerCounts>,
) -> Result<(Connection, Drive), (Trouble, String)> {
    let hearing = Arc::new(Hearing {
        counts,
        opened: Instant::now(),
        last_us: AtomicU64::new(0),
        replied: AtomicBool::new(false),
    });
    match security {
        Security::Plain => {
            let stream = within(DIAL_PATIENCE, connect(server)).await?;
            Ok(multiplex(server, AsyncIoTokioAsStd(stream), hearing))
        }
        Security::Tls(TlsTarget { config, name }) => {
            let handshake = async {
                let stream = within(DIAL_PATIENCE, connect(server)).await?;
                let connector = TlsConnector::from(Arc::clone(config));
                within(TLS_PATIENCE, connector.connect(name.clone(), stream)).await
            };
            Ok(multiplex(server, AsyncIoTokioAsStd(handshake.await?), hearing))
        }
    }
}

impl Connection {
    /// Asks one question and waits for the reply that fits; anything else under its ID is counted
    /// and dropped. Waits for as long as the caller does.
    pub async fn ask(&self, query: &Query) -> Result<Vec<u8>, Trouble> {
        let mut replies = self.exchange.send(request(query).ok_or(Trouble::Broken)?);
        loop {
            let Some(Ok(response)) = replies.next().await else {
                return Err(self.ended());
            };
            let message = unmasked(response.into_buffer());
            match query.fits(&message) {
                Ok(()) => {
                    self.hearing.replied.store(true, Ordering::Relaxed);
                    return Ok(message);
                }
                Err(Misfit::QuestionCount) if is_unread(&message) => {
                    return Err(Trouble::Unread);
                }
                Err(Misfit::QuestionCount) => return Err(Trouble::Broken),
                Err(misfit) => self.hearing.counts.dropped(misfit),
            }
        }
    }

    /// Whether anything at all was received after `moment`. A connection on which nothing was is
    /// perhaps tied to a peer that vanished without a word.
    pub fn heard_since(&self, moment: Instant) -> bool {
        let last = self.hearing.last_us.load(Ordering::Relaxed);
        last > 0 && self.hearing.opened + Duration::from_micros(last) > moment
    }

    fn ended(&self) -> Trouble {
        if self.hearing.replied.load(Ordering::Relaxed) {
            Trouble::Lost
        } else {
            Trouble::Unreachable
        }
    }
}

/// Time for a TCP handshake: the first SYN and its repetition after a second, with room for the
/// way there and back.
const DIAL_PATIENCE: Duration = Duration::from_secs(2);
/// Time for a TLS handshake on an open connection.
const TLS_PATIENCE: Duration = Duration::from_secs(2);
/// Longer than any question lives, so that ending a wait is always the caller's decision.
const MULTIPLEXER_PATIENCE: Duration = Duration::from_secs(10);
/// Above what the pool puts on one connection, so that questions given up but not yet cleared
/// away by the multiplexer never make it refuse new ones.
const IN_FLIGHT_MAX: usize = 1024;

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

fn multiplex<S: DnsTcpStream>(
    server: SocketAddr,
    stream: S,
    hearing: Arc<Hearing>,
) -> (Connection, Drive) {
    // Room for every question in flight: the multiplexer fails those that find none.
    let (handle, outbound) = BufDnsStreamHandle::with_buffer_size(server, IN_FLIGHT_MAX);
    let stream = hickory_net::tcp::TcpStream::from_stream_with_receiver(stream, server, outbound);
    let heard =
        Heard { stream: TcpClientStream::from_stream(stream), hearing: Arc::clone(&hearing) };
    let multiplexer = DnsMultiplexer::new(heard, handle)
        .with_timeout(MULTIPLEXER_PATIENCE)
        .with_max_active_requests(IN_FLIGHT_MAX);
    let (exchange, drive) = DnsExchange::from_stream(multiplexer);
    (Connection { exchange, hearing }, Box::pin(drive))
}

/// A query as hickory wants it, which draws an ID that no other question in flight has; `None` for
/// one hickory cannot read.
fn request(query: &Query) -> Option<DnsRequest> {
    let message = Message::from_vec(query.octets()).ok()?;
    Some(DnsRequest::new(message, DnsRequestOptions::default()))
}

/// What was heard on one connection.
struct Hearing {
    counts: Arc<PeerCounts>,
    opened: Instant,
    /// When the last message came, in microseconds after `opened`, at least 1; 0: none yet.
    last_us: AtomicU64,
    /// Whether a question was answered.
    replied: AtomicBool,
}

/// The messages of a connection on their way to the multiplexer, which knows IDs and nothing
/// else.
struct Heard<S: DnsTcpStream> {
    stream: TcpClientStream<S>,
    hearing: Arc<Hearing>,
}

impl<S: DnsTcpStream> DnsClientStream for Heard<S> {
    type Time = S::Time;

    fn name_server_addr(&self) -> SocketAddr {
        self.stream.name_server_addr()
    }
}

impl<S: DnsTcpStream> Stream for Heard<S> {
    type Item = Result<SerialMessage, NetError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let Some(message) = ready!(self.stream.poll_next_unpin(cx)).transpose()? else {
                return Poll::Ready(None);
            };
            let (octets, server) = message.into_parts();
            if let Some(octets) = self.hearing.take_in(octets) {
                return Poll::Ready(Some(Ok(SerialMessage::new(octets, server))));
            }
        }
    }
}

impl Hearing {
    /// Notes a message and says what the multiplexer gets: the message masked.
    fn take_in(&self, octets: Vec<u8>) -> Option<Vec<u8>> {
        let elapsed = u64::try_from(self.opened.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.last_us.store(elapsed.max(1), Ordering::Relaxed);
        if octets.len() < HEADER_LEN {
            self.counts.dropped(Misfit::Short);
            return None;
        }
        if octets[2] & FLAG_RESPONSE == 0 {
            self.counts.dropped(Misfit::NotResponse);
            return None;
        }
        Some(masked(octets))
    }
}

/// Where a header's four counts stand.
const COUNTS: std::ops::Range<usize> = 4..HEADER_LEN;

/// Moves the counts of a message to its end, so that hickory sees a header and nothing to parse:
/// records are the engine's to judge, and hickory drops without a word what it cannot parse, some
/// of which is well-formed (empty RDATA of an unknown type, RFC 3597).
fn masked(mut message: Vec<u8>) -> Vec<u8> {
    message.extend_from_within(COUNTS);
    message[COUNTS].fill(0);
    message
}

/// Undoes [`masked`].
fn unmasked(mut message: Vec<u8>) -> Vec<u8> {
    let counts = message.split_off(message.len().saturating_sub(COUNTS.len()));
    if let Some(place) = message.get_mut(COUNTS) {
        place.copy_from_slice(&counts);
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::RouteId;
    use crate::engine::cache::key::{Flags, Key};

    #[test]
    fn hickory_writes_a_query_as_it_is() {
        let flags = Flags { dnssec_ok: true, checking_disabled: true };
        for name in [&b"\x03www\x07example\x03org\x00"[..], b"\x04\x00.\\\xff\x00", b"\x00"] {
            for payload in [Some(1232), None] {
                let key = Key::new(RouteId(0), name, 65, 1, flags);
                let query = Query::new(&key, payload);
                let written = request(&query).and_then(|request| request.to_vec().ok());
                assert_eq!(written.as_deref(), Some(query.octets()));
            }
        }
    }
}
