//! TCP clients: one pipelined connection each, bursts written at once.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::Context;

use super::link::Link;

/// Octets read at once: above the longest frame, so that one always fits whole.
const FRAMES_MAX: usize = 1 << 17;

/// A connection.
pub struct Tcp {
    stream: TcpStream,
    /// Octets the connection has not taken yet.
    unsent: Vec<u8>,
    bytes: Vec<u8>,
    filled: usize,
}

impl Tcp {
    /// A connection to `server`.
    pub fn connect(server: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(server).with_context(|| format!("no TCP to {server}"))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self { stream, unsent: Vec::new(), bytes: vec![0; FRAMES_MAX], filled: 0 })
    }

    fn flush(&mut self) {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // The connection is gone; what it owed counts as lost.
                Err(_) => self.unsent.clear(),
            }
        }
    }
}

impl Link for Tcp {
    fn send(&mut self, packets: &[u8], packet_len: usize) {
        for packet in packets.chunks_exact(packet_len) {
            self.unsent.extend((packet_len as u16).to_be_bytes());
            self.unsent.extend(packet);
        }
        self.flush();
    }

    fn receive(&mut self, reply: &mut dyn FnMut(&[u8])) -> io::Result<usize> {
        self.flush();
        match self.stream.read(&mut self.bytes[self.filled..]) {
            Ok(count) => self.filled += count,
            // Nothing there; or the connection is gone, and what it owed counts as lost.
            Err(_) => return Ok(0),
        }
        let (mut at, mut count) = (0, 0);
        while let Some(len) = self.bytes[at..self.filled].first_chunk::<2>() {
            let len = usize::from(u16::from_be_bytes(*len));
            let Some(frame) = self.bytes[at..self.filled].get(2..2 + len) else { break };
            reply(frame);
            (at, count) = (at + 2 + len, count + 1);
        }
        self.bytes.copy_within(at..self.filled, 0);
        self.filled -= at;
        Ok(count)
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
