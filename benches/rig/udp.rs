//! UDP clients: one connected socket each, bursts sent as one segmented datagram.
//!
//! With UDP_SEGMENT the kernel carries a burst through its network stack once and cuts it up at
//! the receiver's socket. That makes a query cheaper to send than to echo, so one load core is
//! enough to keep any server busy, and a server finds whole bursts in its queue.

use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use anyhow::Context;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use super::batch::Incoming;
use super::child;
use super::link::Link;

/// A connected socket.
pub struct Udp {
    socket: UdpSocket,
    incoming: Incoming<()>,
}

impl Udp {
    /// A socket of its own port, for `server` alone.
    pub fn connect(server: SocketAddr) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("no port for a client")?;
        socket.connect(server).with_context(|| format!("cannot reach {server}"))?;
        child::enlarge(&socket)?;
        Ok(Self { socket, incoming: Incoming::new() })
    }
}

impl Link for Udp {
    fn send(&mut self, packets: &[u8], packet_len: usize) {
        let segment_len = packet_len as u16;
        let pieces = [IoSlice::new(packets)];
        let control = [ControlMessage::UdpGsoSegments(&segment_len)];
        let control = if packets.len() > packet_len { &control[..] } else { &[] };
        let descriptor = self.socket.as_raw_fd();
        let sent = sendmsg::<()>(descriptor, &pieces, control, MsgFlags::empty(), None);
        if let Err(error) = sent
            && error != Errno::ECONNREFUSED
        {
            eprintln!("load: cannot send: {error}");
        }
    }

    fn receive(&mut self, reply: &mut dyn FnMut(&[u8])) -> io::Result<usize> {
        let count = match self.incoming.receive(&self.socket, MsgFlags::MSG_DONTWAIT) {
            Ok(count) => count,
            // A server that is gone, or not there yet: its replies are lost.
            Err(Errno::EAGAIN | Errno::ECONNREFUSED | Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        for at in 0..count {
            reply(self.incoming.datagram(at).0);
        }
        Ok(count)
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
