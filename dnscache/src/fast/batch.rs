//! A batch as the worker sees it: receive many, write replies beside them, send many.
//!
//! Each datagram is settled on its own: one that cannot be sent is counted and skipped, and the
//! rest still goes. `sys` makes the calls; what their errors mean is decided here.

use std::io;
use std::net::UdpSocket;

pub use super::sys::{BATCH_LEN, Packet, ReplySource, ReturnPath, Wait};
use super::sys::{Slots, WhenFull};

/// Up to [`BATCH_LEN`] datagrams and their replies.
#[derive(Debug)]
pub struct Batch {
    slots: Slots,
}

/// What became of a batch's replies.
#[derive(Debug, Default)]
pub struct Sent {
    /// Replies the kernel took.
    pub sent: usize,
    /// Replies it refused.
    pub failed: usize,
    /// Why it refused the last of them.
    pub last_error: Option<io::Error>,
}

impl Batch {
    /// Allocates everything a worker will ever use; about 400 KiB, touched only as far as
    /// batches fill it.
    pub fn new(source: ReplySource) -> Self {
        Self { slots: Slots::new(source) }
    }

    /// Waits for datagrams and says how many came; 0 when the wait was cut short by the socket's
    /// timeout or a signal, and also when the kernel was short of memory, which passes.
    ///
    /// # Errors
    /// The socket cannot be read; unlikely to get better by itself.
    pub fn receive(&mut self, socket: &UdpSocket, wait: Wait) -> io::Result<usize> {
        match self.slots.receive(socket, wait) {
            Err(error) if is_passing(&error) => Ok(0),
            result => result,
        }
    }

    /// The datagram in slot `index`; `None` if it was longer than
    /// [`crate::engine::wire::UDP_QUERY_MAX`].
    pub fn packet(&mut self, index: usize) -> Option<Packet<'_>> {
        self.slots.packet(index)
    }

    /// Queues the first `len` octets written to slot `index`'s reply; once per slot.
    pub fn queue(&mut self, index: usize, len: usize) {
        self.slots.queue(index, len);
    }

    /// Sends the queued replies.
    pub fn send(&mut self, socket: &UdpSocket) -> Sent {
        let queued = self.slots.queued();
        send_each(queued, |first, full| self.slots.send(socket, first, full))
    }
}

/// Drives `send(first, ..)` until each of `count` replies has gone or failed. Makes at most one
/// call per reply, signals aside.
///
/// A full send buffer is waited for once per batch (up to the socket's write timeout): a device
/// that is merely busy loses nothing, and one that is stuck holds its worker up only that long.
fn send_each(count: usize, mut send: impl FnMut(usize, WhenFull) -> io::Result<usize>) -> Sent {
    let mut result = Sent::default();
    let mut full = WhenFull::Wait;
    let mut first = 0;
    while first < count {
        match send(first, full) {
            Ok(sent) if sent > 0 => {
                result.sent += sent;
                first += sent;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            refused => {
                let error = refused.err();
                if error.as_ref().is_some_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
                    full = WhenFull::Fail;
                }
                result.last_error = error;
                result.failed += 1;
                first += 1;
            }
        }
    }
    result
}

/// Whether a failed receive is worth nothing but another try.
fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};
    use io::ErrorKind::{Interrupted, OutOfMemory, WouldBlock};
    let kind = error.kind();
    let waited = matches!(kind, Interrupted | WouldBlock | OutOfMemory);
    // ICMP errors about replies sent earlier are reported at the next call.
    let about_a_reply = matches!(kind, ConnectionRefused | HostUnreachable | NetworkUnreachable);
    waited || about_a_reply || error.raw_os_error() == Some(libc::ENOBUFS)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, SocketAddr};
    use std::time::Duration;

    use super::*;
    use crate::engine::wire::{UDP_QUERY_MAX, UDP_REPLY_MAX};
    use crate::fast::socket;

    fn server(address: &str) -> (UdpSocket, SocketAddr) {
        let address: SocketAddr = address.parse().expect("an address");
        let socket = socket::bind(address).expect("a loopback socket");
        let address = socket.local_addr().expect("bound");
        (socket, address)
    }

    fn client(address: &str) -> UdpSocket {
        let socket = UdpSocket::bind(address).expect("a loopback socket");
        socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
        socket
    }

    /// Receives until `count` datagrams came, answering each with its own octets reversed.
    fn echo_reversed(socket: &UdpSocket, batch: &mut Batch, count: usize) {
        let mut seen = 0;
        while seen < count {
            let received = batch.receive(socket, Wait::ForOne).expect("received");
            assert!(received > 0, "{seen} of {count} came");
            for index in 0..received {
                let packet = batch.packet(index).expect("whole");
                let len = packet.bytes.len();
                packet.reply[..len].copy_from_slice(packet.bytes);
                packet.reply[..len].reverse();
                batch.queue(index, len);
            }
            let sent = batch.send(socket);
            assert_eq!((sent.sent, sent.failed), (received, 0), "{:?}", sent.last_error);
            seen += received;
        }
    }

    fn check_echo(listen: &str, from: &str, ask: Option<IpAddr>) {
        if from.starts_with('[') && !socket::machine_has_ipv6() {
            return;
        }
        let (socket, address) = server(listen);
        let mut batch = Batch::new(socket::reply_source(&socket).expect("bound"));
        let asked = SocketAddr::new(ask.unwrap_or(address.ip()), address.port());
        let client = client(from);
        client.send_to(b"abc", asked).expect("sent");
        echo_reversed(&socket, &mut batch, 1);
        let mut reply = [0; 16];
        let (len, source) = client.recv_from(&mut reply).expect("a reply");
        assert_eq!(&reply[..len], b"cba");
        assert_eq!(source, asked, "the reply leaves from the address asked");
    }

    #[test]
    fn replies_go_back_over_ipv4_and_ipv6() {
        check_echo("127.0.0.1:0", "127.0.0.1:0", None);
        check_echo("[::1]:0", "[::1]:0", None);
    }

    #[test]
    fn replies_of_a_wildcard_socket_leave_from_the_address_asked() {
        let ask = |text: &str| Some(text.parse().expect("an address"));
        check_echo("0.0.0.0:0", "127.0.0.1:0", ask("127.0.0.2"));
        check_echo("0.0.0.0:0", "127.0.0.1:0", ask("127.0.0.3"));
        check_echo("[::]:0", "[::1]:0", ask("::1"));
    }

    #[test]
    fn late_replies_leave_from_the_address_asked() {
        for (listen, asked) in
            [("127.0.0.1:0", "127.0.0.1"), ("0.0.0.0:0", "127.0.0.2"), ("[::]:0", "::1")]
        {
            if listen.starts_with('[') && !socket::machine_has_ipv6() {
                continue;
            }
            let (socket, address) = server(listen);
            let asked = SocketAddr::new(asked.parse().expect("an address"), address.port());
            let client = client(if asked.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" });
            let mut batch = Batch::new(socket::reply_source(&socket).expect("bound"));
            client.send_to(b"q", asked).expect("sent");
            assert_eq!(batch.receive(&socket, Wait::ForOne).expect("received"), 1);
            let path = batch.packet(0).expect("whole").return_path();
            crate::fast::sys::send_one(&socket, &path, b"late").expect("sent");
            let mut reply = [0; 16];
            let (len, source) = client.recv_from(&mut reply).expect("a reply");
            assert_eq!((&reply[..len], source), (&b"late"[..], asked));
        }
    }

    #[test]
    fn each_of_many_datagrams_gets_its_own_reply() {
        const COUNT: usize = 3 * BATCH_LEN + 1;
        let (socket, address) = server("0.0.0.0:0");
        let mut batch = Batch::new(ReplySource::Destination);
        let clients: Vec<_> = (0..COUNT).map(|_| client("127.0.0.1:0")).collect();
        for (number, client) in clients.iter().enumerate() {
            let host = 1 + (number % 5) as u8;
            let asked = SocketAddr::from(([127, 0, 0, host], address.port()));
            client.connect(asked).expect("connected");
            client.send(&[(number >> 8) as u8, number as u8, host]).expect("sent");
        }
        echo_reversed(&socket, &mut batch, COUNT);
        for (number, client) in clients.iter().enumerate() {
            // Connected: a reply from an address it did not ask would not arrive.
            let mut reply = [0; 16];
            let len = client.recv(&mut reply).expect("a reply");
            let host = 1 + (number % 5) as u8;
            assert_eq!(reply[..len], [host, number as u8, (number >> 8) as u8]);
        }
    }

    #[test]
    fn full_batch_comes_in_one_call() {
        let (socket, address) = server("127.0.0.1:0");
        let client = client("127.0.0.1:0");
        for _ in 0..=BATCH_LEN {
            client.send_to(b"q", address).expect("sent");
        }
        let mut batch = Batch::new(ReplySource::Socket);
        assert_eq!(batch.receive(&socket, Wait::ForOne).expect("received"), BATCH_LEN);
        assert_eq!(batch.receive(&socket, Wait::No).expect("received"), 1);
        assert_eq!(batch.receive(&socket, Wait::No).expect("received"), 0);
    }

    #[test]
    fn longest_query_is_whole_and_a_longer_one_is_none() {
        let (socket, address) = server("127.0.0.1:0");
        let client = client("127.0.0.1:0");
        let mut batch = Batch::new(ReplySource::Socket);
        for len in [UDP_QUERY_MAX, UDP_QUERY_MAX + 1, 0, UDP_QUERY_MAX - 1] {
            client.send_to(&vec![7; len], address).expect("sent");
            assert_eq!(batch.receive(&socket, Wait::ForOne).expect("received"), 1);
            let seen = batch.packet(0).map(|packet| packet.bytes.to_vec());
            assert_eq!(seen, (len <= UDP_QUERY_MAX).then(|| vec![7; len]), "{len} octets");
        }
    }

    #[test]
    fn largest_reply_fits_and_a_claim_of_more_is_cut() {
        let (socket, address) = server("127.0.0.1:0");
        let client = client("127.0.0.1:0");
        let mut batch = Batch::new(ReplySource::Socket);
        for claimed in [UDP_REPLY_MAX, usize::MAX] {
            client.send_to(b"q", address).expect("sent");
            assert_eq!(batch.receive(&socket, Wait::ForOne).expect("received"), 1);
            batch.packet(0).expect("whole").reply.fill(9);
            batch.queue(0, claimed);
            assert_eq!(batch.send(&socket).sent, 1);
            let mut reply = [0; 2 * UDP_REPLY_MAX];
            assert_eq!(client.recv(&mut reply).expect("a reply"), UDP_REPLY_MAX);
        }
    }

    #[test]
    fn receive_returns_after_the_socket_timeout() {
        let (socket, _) = server("127.0.0.1:0");
        socket.set_read_timeout(Some(Duration::from_millis(1))).expect("a timeout");
        let mut batch = Batch::new(ReplySource::Socket);
        assert_eq!(batch.receive(&socket, Wait::ForOne).expect("a timeout is no error"), 0);
    }

    #[test]
    fn next_receive_forgets_replies_that_were_not_sent() {
        let (socket, address) = server("127.0.0.1:0");
        let client = client("127.0.0.1:0");
        client.send_to(b"q", address).expect("sent");
        let mut batch = Batch::new(ReplySource::Socket);
        assert_eq!(batch.receive(&socket, Wait::ForOne).expect("received"), 1);
        batch.queue(0, 1);
        assert_eq!(batch.receive(&socket, Wait::No).expect("nothing"), 0);
        let sent = batch.send(&socket);
        assert_eq!((sent.sent, sent.failed), (0, 0));
    }

    #[test]
    fn replies_the_kernel_refuses_are_counted() {
        if !socket::machine_has_ipv6() {
            return;
        }
        let (socket, address) = server("127.0.0.1:0");
        let (wrong_family, _) = server("[::1]:0");
        let client = client("127.0.0.1:0");
        (0..3).for_each(|_| assert_eq!(client.send_to(b"q", address).expect("sent"), 1));
        let mut batch = Batch::new(ReplySource::Socket);
        assert_eq!(batch.receive(&socket, Wait::ForOne).expect("received"), 3);
        (0..3).for_each(|index| batch.queue(index, 1));
        let sent = batch.send(&wrong_family);
        assert_eq!((sent.sent, sent.failed), (0, 3));
        assert!(sent.last_error.is_some());
    }

    /// Sends `refused.len()` replies, of which number N fails with `refused[N]` unless that is 0;
    /// returns what went and what failed.
    fn check_refusals(refused: &[i32], expected: (usize, usize)) {
        let mut gone = Vec::new();
        let sent = send_each(refused.len(), |first, _| {
            let ready = refused[first..].iter().take_while(|code| **code == 0).count();
            gone.extend(first..first + ready);
            if ready > 0 { Ok(ready) } else { Err(io::Error::from_raw_os_error(refused[first])) }
        });
        assert_eq!((sent.sent, sent.failed), expected);
        let healthy: Vec<_> = (0..refused.len()).filter(|at| refused[*at] == 0).collect();
        assert_eq!(gone, healthy, "each healthy reply went once");
        let last = refused.iter().rev().find(|code| **code != 0).copied();
        assert_eq!(sent.last_error.and_then(|error| error.raw_os_error()), last);
    }

    #[test]
    fn refused_replies_do_not_hold_back_the_others() {
        check_refusals(&[], (0, 0));
        check_refusals(&[0, 0, 0], (3, 0));
        check_refusals(&[libc::EPERM, 0, 0], (2, 1));
        check_refusals(&[0, libc::EHOSTUNREACH, 0, libc::ECONNREFUSED], (2, 2));
        check_refusals(&[libc::ENOBUFS, libc::EPERM, libc::EINVAL], (0, 3));
    }

    #[test]
    fn interrupted_send_is_tried_again() {
        let mut calls = 0;
        let sent = send_each(2, |first, _| {
            calls += 1;
            assert_eq!(first, 0);
            if calls == 1 { Err(io::ErrorKind::Interrupted.into()) } else { Ok(2) }
        });
        assert_eq!((calls, sent.sent, sent.failed), (2, 2, 0));
    }

    #[test]
    fn full_send_buffer_is_waited_for_once_per_batch() {
        let mut waits = Vec::new();
        let sent = send_each(3, |_, full| {
            waits.push(full);
            Err(io::ErrorKind::WouldBlock.into())
        });
        assert_eq!(waits, [WhenFull::Wait, WhenFull::Fail, WhenFull::Fail]);
        assert_eq!(sent.failed, 3);
    }

    #[test]
    fn send_that_takes_nothing_cannot_spin() {
        let sent = send_each(2, |_, _| Ok(0));
        assert_eq!((sent.sent, sent.failed), (0, 2));
    }
}
