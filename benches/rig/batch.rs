//! Datagrams by the batch: `recvmmsg` and `sendmmsg` over buffers allocated once.

use std::array;
use std::io::{IoSlice, IoSliceMut};
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, SockaddrLike, recvmmsg, sendmmsg};

/// Datagrams per system call.
pub const BATCH_LEN: usize = 64;
/// Longer datagrams are cut; no answer here is as long.
pub const DATAGRAM_MAX: usize = 1280;

/// Received datagrams, with their senders where `S` is an address and without where it is `()`.
pub struct Incoming<S> {
    headers: MultiHeaders<S>,
    bytes: Box<[[u8; DATAGRAM_MAX]; BATCH_LEN]>,
    lens: [usize; BATCH_LEN],
    senders: [Option<S>; BATCH_LEN],
}

impl<S: Copy + SockaddrLike> Incoming<S> {
    /// Allocates the buffers.
    pub fn new() -> Self {
        Self {
            headers: MultiHeaders::preallocate(BATCH_LEN, None),
            bytes: vec![[0; DATAGRAM_MAX]; BATCH_LEN].try_into().expect("as long as the batch"),
            lens: [0; BATCH_LEN],
            senders: [None; BATCH_LEN],
        }
    }

    /// Receives a batch and says how many datagrams it has.
    pub fn receive(&mut self, socket: &UdpSocket, flags: MsgFlags) -> nix::Result<usize> {
        let mut buffers = self.bytes.iter_mut();
        let mut pieces: [[IoSliceMut<'_>; 1]; BATCH_LEN] = array::from_fn(|_| {
            let buffer = buffers.next().expect("as many buffers as pieces");
            [IoSliceMut::new(buffer)]
        });
        let descriptor = socket.as_raw_fd();
        let messages = recvmmsg(descriptor, &mut self.headers, &mut pieces, flags, None)?;
        let mut count = 0;
        for message in messages {
            (self.lens[count], self.senders[count]) = (message.bytes, message.address);
            count += 1;
        }
        Ok(count)
    }

    /// Datagram `at` of the last batch and who sent it.
    pub fn datagram(&mut self, at: usize) -> (&mut [u8], Option<S>) {
        let len = self.lens[at].min(DATAGRAM_MAX);
        (&mut self.bytes[at][..len], self.senders[at])
    }
}

impl Incoming<SockaddrIn> {
    /// Sends the first `count` datagrams of the last batch back to where they came from.
    pub fn send_back(
        &self,
        socket: &UdpSocket,
        headers: &mut MultiHeaders<SockaddrIn>,
        count: usize,
    ) {
        send(socket, headers, count, &self.senders, |at| &self.bytes[at][..self.lens[at]]);
    }
}

/// Replies to a batch, written one after the other.
pub struct Outgoing {
    headers: MultiHeaders<SockaddrIn>,
    bytes: Box<[[u8; DATAGRAM_MAX]; BATCH_LEN]>,
    lens: [usize; BATCH_LEN],
    receivers: [Option<SockaddrIn>; BATCH_LEN],
    count: usize,
}

impl Outgoing {
    /// Allocates the buffers.
    pub fn new() -> Self {
        Self {
            headers: MultiHeaders::preallocate(BATCH_LEN, None),
            bytes: vec![[0; DATAGRAM_MAX]; BATCH_LEN].try_into().expect("as long as the batch"),
            lens: [0; BATCH_LEN],
            receivers: [None; BATCH_LEN],
            count: 0,
        }
    }

    /// Queues what `write` puts into the buffer, if it returns a length. At most one reply per
    /// datagram of a batch is queued, so there is always room.
    pub fn queue(
        &mut self,
        receiver: Option<SockaddrIn>,
        write: impl FnOnce(&mut [u8]) -> Option<usize>,
    ) {
        if let Some(len) = write(&mut self.bytes[self.count]) {
            (self.lens[self.count], self.receivers[self.count]) = (len, receiver);
            self.count += 1;
        }
    }

    /// Sends what is queued.
    pub fn send(&mut self, socket: &UdpSocket) {
        let (bytes, lens) = (&self.bytes, &self.lens);
        send(socket, &mut self.headers, self.count, &self.receivers, |at| &bytes[at][..lens[at]]);
        self.count = 0;
    }
}

/// One `sendmmsg` on a blocking socket. It stops early only at a datagram that cannot be sent at
/// all, and its client counts what is missing.
fn send<'a>(
    socket: &UdpSocket,
    headers: &mut MultiHeaders<SockaddrIn>,
    count: usize,
    receivers: &[Option<SockaddrIn>; BATCH_LEN],
    datagram: impl Fn(usize) -> &'a [u8],
) {
    if count == 0 {
        return;
    }
    let pieces: [[IoSlice<'_>; 1]; BATCH_LEN] =
        array::from_fn(|at| [IoSlice::new(if at < count { datagram(at) } else { &[] })]);
    let descriptor = socket.as_raw_fd();
    let sent =
        sendmmsg(descriptor, headers, &pieces[..count], receivers, [], MsgFlags::empty()).err();
    if let Some(error) = sent.filter(|error| *error != Errno::ECONNREFUSED) {
        eprintln!("load: cannot send: {error}");
    }
}
