//! How a client's questions reach a server: over UDP as a libc sends them, or straight to the world.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use super::world::Shared;
use crate::harness::message::{Message, flag};

/// Somebody who answers questions that are asked together.
pub trait Exchange {
    /// The replies in the order of their questions; `None` for silence.
    fn exchange(&mut self, queries: &mut [Message]) -> Vec<Option<Message>>;
}

/// A server on loopback, asked from one port.
pub struct Server {
    address: SocketAddr,
    socket: UdpSocket,
    next_id: u16,
    /// Questions sent, repeated ones included.
    pub sent: usize,
}

/// How long one attempt waits, and how many there are: those of a resolv.conf without options.
const TIMEOUT: Duration = Duration::from_secs(5);
const ATTEMPTS: usize = 2;

impl Server {
    pub fn new(address: SocketAddr) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        socket.connect(address).expect("a loopback address");
        Self { address, socket, next_id: 1, sent: 0 }
    }

    /// Sends what is unanswered and waits for it.
    fn attempt(&mut self, queries: &[Message], replies: &mut [Option<Message>]) {
        for (query, _) in queries.iter().zip(&*replies).filter(|(_, reply)| reply.is_none()) {
            // A refusal shows as silence.
            let _ = self.socket.send(&query.write());
            self.sent += 1;
        }
        let end = Instant::now() + TIMEOUT;
        let mut buffer = [0; 4096];
        while replies.iter().any(Option::is_none) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            self.socket.set_read_timeout(Some(left)).expect("a timeout above zero");
            let Ok(len) = self.socket.recv(&mut buffer) else { continue };
            let reply = Message::read(&buffer[..len]).unwrap_or_else(|e| {
                panic!("a malformed reply from {}: {e}: {:02x?}", self.address, &buffer[..len])
            });
            let is_of =
                |query: &Message| query.id == reply.id && query.questions == reply.questions;
            // Late replies to an earlier question belong to nobody.
            let Some(at) = queries.iter().position(is_of) else { continue };
            replies[at] = Some(reply);
        }
    }

    /// Asks once more over TCP.
    fn whole(&mut self, query: &Message) -> Option<Message> {
        self.sent += 1;
        let mut stream = TcpStream::connect_timeout(&self.address, TIMEOUT).ok()?;
        stream.set_read_timeout(Some(TIMEOUT)).ok()?;
        let bytes = query.write();
        stream.write_all(&[&(bytes.len() as u16).to_be_bytes()[..], &bytes].concat()).ok()?;
        let mut prefix = [0; 2];
        stream.read_exact(&mut prefix).ok()?;
        let mut reply = vec![0; usize::from(u16::from_be_bytes(prefix))];
        stream.read_exact(&mut reply).ok()?;
        Message::read(&reply).ok()
    }
}

impl Exchange for Server {
    fn exchange(&mut self, queries: &mut [Message]) -> Vec<Option<Message>> {
        for query in &mut *queries {
            query.id = self.next_id;
            self.next_id = self.next_id.wrapping_add(1);
        }
        let mut replies = vec![None; queries.len()];
        for _ in 0..ATTEMPTS {
            if replies.iter().any(Option::is_none) {
                self.attempt(queries, &mut replies);
            }
        }
        for (query, reply) in queries.iter().zip(&mut replies) {
            if reply.as_ref().is_some_and(|reply| reply.has(flag::TC)) {
                *reply = self.whole(query);
            }
        }
        replies
    }
}

impl Exchange for Shared {
    fn exchange(&mut self, queries: &mut [Message]) -> Vec<Option<Message>> {
        let world = self.read();
        queries.iter().map(|query| Some(world.reply(query))).collect()
    }
}
