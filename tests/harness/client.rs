//! Clients that send any octets, over UDP and TCP.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use super::message::Message;

/// How long a client waits unless told otherwise: a little more than the program's own deadline.
pub const PATIENCE: Duration = Duration::from_secs(7);

/// A UDP client with its own port.
pub struct UdpClient {
    socket: UdpSocket,
}

impl UdpClient {
    /// A client of the server at `server`.
    pub fn new(server: SocketAddr) -> Self {
        let from: IpAddr = match server {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        };
        Self::from_address(from, server)
    }

    /// A client that asks from `from`.
    pub fn from_address(from: IpAddr, server: SocketAddr) -> Self {
        let socket = UdpSocket::bind((from, 0)).expect("a free port");
        socket.connect(server).expect("a loopback address");
        Self { socket }
    }

    pub fn send(&self, bytes: &[u8]) {
        // A refusal of an earlier datagram (ICMP) is reported here; the next attempt is clean.
        if self.socket.send(bytes).is_err() {
            let _ = self.socket.send(bytes);
        }
    }

    /// The next datagram, or `None` when `patience` is over.
    pub fn receive(&self, patience: Duration) -> Option<Vec<u8>> {
        let end = Instant::now() + patience;
        let mut buffer = vec![0; 65_535];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            self.socket.set_read_timeout(Some(left)).expect("a timeout above zero");
            if let Ok(len) = self.socket.recv(&mut buffer) {
                buffer.truncate(len);
                return Some(buffer);
            }
        }
    }

    /// Asks once and waits.
    pub fn ask(&self, query: &Message) -> Option<Message> {
        self.send(&query.write());
        let reply = self.receive(PATIENCE)?;
        Some(Message::read(&reply).unwrap_or_else(|e| panic!("a malformed reply: {e}: {reply:?}")))
    }
}

/// A TCP client with one connection.
pub struct TcpClient {
    pub stream: TcpStream,
}

impl TcpClient {
    pub fn new(server: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&server, Duration::from_secs(5));
        let stream = stream.unwrap_or_else(|e| panic!("{server}: {e}"));
        stream.set_nodelay(true).expect("a TCP socket");
        Self { stream }
    }

    /// Sends one message with its length in front (RFC 7766 section 8).
    pub fn send(&mut self, bytes: &[u8]) {
        let framed = [&(bytes.len() as u16).to_be_bytes(), bytes].concat();
        // A closed connection shows itself when the reply is awaited.
        let _ = self.stream.write_all(&framed);
    }

    /// The next message; `None` when `patience` is over or the connection was closed.
    pub fn receive(&mut self, patience: Duration) -> Option<Vec<u8>> {
        self.stream.set_read_timeout(Some(patience)).expect("a timeout above zero");
        let mut prefix = [0; 2];
        self.stream.read_exact(&mut prefix).ok()?;
        let mut message = vec![0; usize::from(u16::from_be_bytes(prefix))];
        self.stream.read_exact(&mut message).ok()?;
        Some(message)
    }

    /// Asks once and waits.
    pub fn ask(&mut self, query: &Message) -> Option<Message> {
        self.send(&query.write());
        let reply = self.receive(PATIENCE)?;
        Some(Message::read(&reply).unwrap_or_else(|e| panic!("a malformed reply: {e}: {reply:?}")))
    }

    /// Whether the server closes the connection before `patience` is over.
    pub fn is_closed_within(&mut self, patience: Duration) -> bool {
        self.stream.set_read_timeout(Some(patience)).expect("a timeout above zero");
        let mut octet = [0; 256];
        loop {
            match self.stream.read(&mut octet) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => {
                    use std::io::ErrorKind::{TimedOut, WouldBlock};
                    return !matches!(error.kind(), TimedOut | WouldBlock);
                }
            }
        }
    }
}

/// Fetches a page over HTTP/1.1 and returns the status code and the body.
pub fn http_page(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    http_exchange(
        address,
        &format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"),
    )
}

/// Sends any text to an HTTP server and reads until it closes: status code and body.
pub fn http_exchange(address: SocketAddr, request: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(15))).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut reply = Vec::new();
    let _ = stream.read_to_end(&mut reply);
    let reply = String::from_utf8_lossy(&reply);
    let (head, body) = reply.split_once("\r\n\r\n")?;
    let status = head.split_whitespace().nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}
