//! The system calls of the fast plane, and the only `unsafe` of the program.
//!
//! [`Slots`] is the memory of one worker: 64 datagrams in, 64 replies out, and the headers that
//! tell the kernel where they are. It is one heap block that never moves and is reached only
//! through one raw pointer, so the pointers in the headers are written once and stay true; a call
//! only resets the few fields the kernel changed. Everything a caller can reach is safe.
//!
//! What to do about errors is not decided here but in `batch`.

#![expect(unsafe_code, reason = "recvmmsg and sendmmsg have no safe wrapper in std or socket2")]

use std::fmt;
use std::io;
use std::mem::{MaybeUninit, size_of};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;
use std::ptr::{self, NonNull};

use libc::{c_int, iovec, mmsghdr, msghdr, sockaddr_in, sockaddr_in6, sockaddr_storage};
use socket2::SockAddr;

use super::local::{CONTROL_LEN, Local};
use crate::engine::wire::{UDP_QUERY_MAX, UDP_REPLY_MAX};

/// Datagrams per system call.
pub const BATCH_LEN: usize = 64;

/// The memory of one worker: received datagrams, their replies, and the kernel's view of both.
pub struct Slots {
    /// Allocated in [`Slots::new`], freed in `drop`, never moved and never shared.
    memory: NonNull<Memory>,
    /// How many slots hold a datagram of the last [`Slots::receive`].
    received: usize,
    /// How many replies wait for [`Slots::send`].
    queued: usize,
    source: ReplySource,
}

/// Which address replies leave from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplySource {
    /// The one the socket is bound to.
    Socket,
    /// The one the query was sent to, as the kernel reported it: the socket is bound to an
    /// unspecified address and [`report_destination`] was called for it.
    Destination,
}

/// How long [`Slots::receive`] waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// For the first datagram, up to the socket's read timeout.
    ForOne,
    /// Not at all.
    No,
}

/// What [`Slots::send`] does when the socket's send buffer is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// Wait, up to the socket's write timeout.
    Wait,
    /// Fail with `WouldBlock`.
    Fail,
}

/// One datagram and the slot for its reply.
pub struct Packet<'a> {
    /// The datagram, whole.
    pub bytes: &'a [u8],
    /// Who sent it.
    pub client: SocketAddr,
    /// Where a reply may be written, [`UDP_REPLY_MAX`] octets.
    pub reply: &'a mut [u8],
    control: &'a [u8],
}

impl Packet<'_> {
    /// Where a reply goes that is sent later, by [`send_one`].
    pub fn return_path(&self) -> ReturnPath {
        ReturnPath { client: self.client, local: Local::read(self.control) }
    }
}

/// Where a reply goes and which address it leaves from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReturnPath {
    client: SocketAddr,
    /// `None`: the address the socket is bound to.
    local: Option<Local>,
}

/// Everything the kernel reads and writes, in one block.
///
/// All-zero bytes are a valid value: there are only integers, byte arrays and raw pointers.
#[repr(C)]
struct Memory {
    datagrams: [[u8; UDP_QUERY_MAX]; BATCH_LEN],
    replies: [[u8; UDP_REPLY_MAX]; BATCH_LEN],
    clients: [sockaddr_storage; BATCH_LEN],
    controls: [Control; BATCH_LEN],
    datagram_pieces: [iovec; BATCH_LEN],
    reply_pieces: [iovec; BATCH_LEN],
    /// What `recvmmsg` fills, by slot.
    incoming: [mmsghdr; BATCH_LEN],
    /// The header of each slot's reply, complete but for lengths.
    answering: [mmsghdr; BATCH_LEN],
    /// What `sendmmsg` sends: the `answering` headers of the slots that have a reply.
    outgoing: [mmsghdr; BATCH_LEN],
}

/// Room for one control message, aligned as the kernel lays it out.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL_LEN]);

// SAFETY: `memory` is owned by this value alone, like a Box, and holds nothing bound to a thread;
// the raw pointers inside point into the block itself.
unsafe impl Send for Slots {}

impl Slots {
    /// Allocates the memory of one worker, about 400 KiB, touched as far as batches fill it.
    pub fn new(source: ReplySource) -> Self {
        let block = Box::<Memory>::new_zeroed();
        // SAFETY: all-zero bytes are a valid `Memory`, see there.
        let memory = NonNull::from(Box::leak(unsafe { block.assume_init() }));
        let mut slots = Self { memory, received: 0, queued: 0, source };
        (0..BATCH_LEN).for_each(|index| slots.point(index));
        slots
    }

    /// Writes the pointers of slot `index`, once.
    fn point(&mut self, index: usize) {
        let memory = self.memory.as_ptr();
        // SAFETY: `memory` is a live allocation of ours and `index` is below BATCH_LEN (arrays
        // check it). The pointers stored are derived from `memory` without a reference in
        // between and the block never moves, so they stay valid until `drop`.
        unsafe {
            (*memory).datagram_pieces[index] = iovec {
                iov_base: (&raw mut (*memory).datagrams[index]).cast(),
                iov_len: UDP_QUERY_MAX,
            };
            (*memory).reply_pieces[index] =
                iovec { iov_base: (&raw mut (*memory).replies[index]).cast(), iov_len: 0 };
            let incoming = &raw mut (*memory).incoming[index].msg_hdr;
            (*incoming).msg_name = (&raw mut (*memory).clients[index]).cast();
            (*incoming).msg_iov = &raw mut (*memory).datagram_pieces[index];
            (*incoming).msg_iovlen = 1;
            if self.source == ReplySource::Destination {
                (*incoming).msg_control = (&raw mut (*memory).controls[index]).cast();
            }
            (*memory).answering[index].msg_hdr = *incoming;
            (*memory).answering[index].msg_hdr.msg_iov = &raw mut (*memory).reply_pieces[index];
        }
        self.rearm(index);
    }

    /// Resets what the kernel changed in the header of slot `index`.
    fn rearm(&mut self, index: usize) {
        let control_len = match self.source {
            ReplySource::Socket => 0,
            ReplySource::Destination => CONTROL_LEN,
        };
        let header = &mut self.memory().incoming[index].msg_hdr;
        header.msg_namelen = size_of::<sockaddr_storage>() as _;
        header.msg_controllen = control_len as _;
        header.msg_flags = 0;
    }

    fn memory(&mut self) -> &mut Memory {
        // SAFETY: the block is initialised and ours alone; `&mut self` makes this the only
        // reference, and the kernel uses the pointers inside only during a call.
        unsafe { self.memory.as_mut() }
    }

    /// Receives up to [`BATCH_LEN`] datagrams and says how many; replies queued for the last
    /// batch are forgotten. On an error no slot holds a datagram.
    pub fn receive(&mut self, socket: &UdpSocket, wait: Wait) -> io::Result<usize> {
        (0..self.received).for_each(|index| self.rearm(index));
        (self.received, self.queued) = (0, 0);
        let flags = match wait {
            Wait::ForOne => libc::MSG_WAITFORONE,
            Wait::No => libc::MSG_DONTWAIT,
        };
        let headers = self.memory().incoming.as_mut_ptr();
        let descriptor = socket.as_raw_fd();
        // SAFETY: `headers` are BATCH_LEN valid headers whose names, pieces and control buffers
        // lie in our block with the lengths `point` and `rearm` gave them; `&mut self` keeps
        // anyone else out during the call. A null timeout means none.
        let received = unsafe {
            libc::recvmmsg(descriptor, headers, BATCH_LEN as _, flags as _, ptr::null_mut())
        };
        let Ok(received) = usize::try_from(received) else {
            return Err(io::Error::last_os_error());
        };
        self.received = received.min(BATCH_LEN);
        Ok(self.received)
    }

    /// The datagram in slot `index` of the last batch; `None` if it was longer than
    /// [`UDP_QUERY_MAX`] and so is not whole (or if there is none).
    pub fn packet(&mut self, index: usize) -> Option<Packet<'_>> {
        if index >= self.received {
            return None;
        }
        let memory = self.memory();
        let incoming = &memory.incoming[index];
        if incoming.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 {
            return None;
        }
        let control_len = control_len(&incoming.msg_hdr);
        Some(Packet {
            bytes: memory.datagrams[index].get(..incoming.msg_len as usize)?,
            client: socket_address(&memory.clients[index])?,
            reply: &mut memory.replies[index],
            control: &memory.controls[index].0[..control_len],
        })
    }

    /// Queues the first `len` octets of slot `index`'s reply for [`Slots::send`], to go where the
    /// datagram came from. A reply longer than its slot is cut; one without a datagram, or one
    /// too many, is ignored.
    pub fn queue(&mut self, index: usize, len: usize) {
        let (source, queued) = (self.source, self.queued);
        if index >= self.received || queued >= BATCH_LEN {
            return;
        }
        let memory = self.memory();
        memory.reply_pieces[index].iov_len = len.min(UDP_REPLY_MAX);
        let came = &memory.incoming[index].msg_hdr;
        let mut goes = memory.answering[index];
        goes.msg_hdr.msg_namelen = came.msg_namelen;
        if source == ReplySource::Destination {
            let control = &mut memory.controls[index];
            let came_len = control_len(came);
            let goes_len =
                Local::read(&control.0[..came_len]).map_or(0, |local| local.write(&mut control.0));
            goes.msg_hdr.msg_controllen = goes_len as _;
        }
        memory.outgoing[queued] = goes;
        self.queued += 1;
    }

    /// How many replies are queued.
    pub fn queued(&self) -> usize {
        self.queued
    }

    /// Sends the queued replies from number `first` on in one call and says how many went, at
    /// least one; an error is about reply `first` alone.
    pub fn send(&mut self, socket: &UdpSocket, first: usize, full: WhenFull) -> io::Result<usize> {
        let queued = self.queued;
        let headers = self.memory().outgoing.get_mut(first..queued).unwrap_or_default();
        let flags = match full {
            WhenFull::Wait => 0,
            WhenFull::Fail => libc::MSG_DONTWAIT,
        };
        let (descriptor, len) = (socket.as_raw_fd(), headers.len());
        // SAFETY: `headers` are `len` valid headers; names, pieces and control messages lie in
        // our block and were given lengths inside their slots by `queue`.
        let sent =
            unsafe { libc::sendmmsg(descriptor, headers.as_mut_ptr(), len as _, flags as _) };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        // SAFETY: the block came from a Box in `new` and is freed only here.
        drop(unsafe { Box::from_raw(self.memory.as_ptr()) });
    }
}

impl fmt::Debug for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots")
            .field("received", &self.received)
            .field("queued", &self.queued)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

/// Sends one reply that was not ready when its batch left. Never waits: a full send buffer is
/// `WouldBlock`, and the client asks again.
pub fn send_one(socket: &UdpSocket, path: &ReturnPath, reply: &[u8]) -> io::Result<()> {
    let client = SockAddr::from(path.client);
    let mut control = Control([0; CONTROL_LEN]);
    let control_len = path.local.map_or(0, |local| local.write(&mut control.0));
    let mut piece = iovec { iov_base: reply.as_ptr().cast_mut().cast(), iov_len: reply.len() };
    let mut header = empty_header();
    header.msg_name = client.as_ptr().cast_mut().cast();
    header.msg_namelen = client.len();
    header.msg_iov = &raw mut piece;
    header.msg_iovlen = 1;
    if control_len > 0 {
        header.msg_control = control.0.as_mut_ptr().cast();
        header.msg_controllen = control_len as _;
    }
    loop {
        // SAFETY: the header points at `client`, `piece`, `reply` and `control`, all alive here,
        // with their lengths; sendmsg only reads through it.
        let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &header, libc::MSG_DONTWAIT) };
        if sent >= 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Asks the processor to bring the memory at `address` into its caches, without waiting for it.
#[inline]
pub fn fetch(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch is a hint: it reads nothing the program can see and faults nowhere. SSE,
    // which has it, is part of x86_64.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above; the instruction changes no register, flag or memory.
    unsafe {
        std::arch::asm!(
            "prfm pldl1keep, [{address}]",
            address = in(reg) address,
            options(nostack, preserves_flags, readonly)
        );
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = address;
}

/// Makes the kernel report, with every datagram, the address it was sent to.
pub fn report_destination(socket: &impl AsRawFd, ipv6: bool) -> io::Result<()> {
    match ipv6 {
        false => set_option(socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1),
        true => set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1),
    }
}

/// Sends IPv4 datagrams with DF and whatever routers on the way are said to want (RFC 9715 section
/// 3.1): nobody can have our replies sent in fragments, of which the second is easy to forge. A
/// datagram that is never fragmented also needs no identification from the kernel, which costs a
/// hash for each.
pub fn forbid_fragments(socket: &impl AsRawFd) -> io::Result<()> {
    set_option(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE)
}

fn set_option(socket: &impl AsRawFd, level: c_int, option: c_int, value: c_int) -> io::Result<()> {
    // SAFETY: the value is a live c_int and its size is given.
    let done = unsafe {
        let value = (&raw const value).cast();
        libc::setsockopt(socket.as_raw_fd(), level, option, value, size_of::<c_int>() as _)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A header without name, data and control. Zeroed whole because some C libraries have private
/// padding in it.
fn empty_header() -> msghdr {
    // SAFETY: a msghdr is integers and raw pointers, for which zero is valid.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

/// Octets of control messages the kernel wrote.
#[allow(clippy::unnecessary_cast, reason = "the field's type differs between C libraries")]
fn control_len(header: &msghdr) -> usize {
    (header.msg_controllen as usize).min(CONTROL_LEN)
}

/// The address in `storage`; `None` for families other than IPv4 and IPv6.
fn socket_address(storage: &sockaddr_storage) -> Option<SocketAddr> {
    let storage_ptr = ptr::from_ref(storage);
    match c_int::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: a sockaddr_storage has the size and alignment of every socket address, the
            // family says which it is, and all its bytes are initialised.
            let address = unsafe { &*storage_ptr.cast::<sockaddr_in>() };
            let ip = Ipv4Addr::from(address.sin_addr.s_addr.to_ne_bytes());
            Some(SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(address.sin_port))))
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let address = unsafe { &*storage_ptr.cast::<sockaddr_in6>() };
            let ip = Ipv6Addr::from(address.sin6_addr.s6_addr);
            let port = u16::from_be(address.sin6_port);
            let (flow, scope) = (address.sin6_flowinfo, address.sin6_scope_id);
            Some(SocketAddr::V6(SocketAddrV6::new(ip, port, flow, scope)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_address(text: &str) {
        let expected: SocketAddr = text.parse().expect("an address");
        let raw = SockAddr::from(expected);
        let mut storage = MaybeUninit::<sockaddr_storage>::zeroed();
        // SAFETY: a SockAddr is at most as long as a sockaddr_storage; zeroed storage is valid.
        let storage = unsafe {
            let from = raw.as_ptr().cast::<u8>();
            ptr::copy_nonoverlapping(from, storage.as_mut_ptr().cast(), raw.len() as usize);
            storage.assume_init()
        };
        assert_eq!(socket_address(&storage), Some(expected));
    }

    #[test]
    fn socket_addresses_are_read_whole() {
        check_address("192.0.2.1:53");
        check_address("[2001:db8::1]:65535");
        check_address("[fe80::1%3]:5353");
    }

    #[test]
    fn unknown_address_family_has_no_address() {
        // SAFETY: zeroed storage is valid; its family is AF_UNSPEC.
        let storage = unsafe { MaybeUninit::<sockaddr_storage>::zeroed().assume_init() };
        assert_eq!(socket_address(&storage), None);
    }

    #[test]
    fn a_socket_told_so_sends_no_fragments() {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a loopback socket");
        forbid_fragments(&socket).expect("set");
        let (mut mode, mut len): (c_int, _) = (0, size_of::<c_int>() as _);
        // SAFETY: `mode` is a live c_int and `len` its size.
        let done = unsafe {
            let value = (&raw mut mode).cast();
            let (level, option) = (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER);
            libc::getsockopt(socket.as_raw_fd(), level, option, value, &raw mut len)
        };
        assert_eq!((done, mode), (0, libc::IP_PMTUDISC_PROBE));
    }

    #[test]
    fn slots_can_be_moved_without_moving_what_the_kernel_sees() {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a loopback socket");
        let client = UdpSocket::bind("127.0.0.1:0").expect("a loopback socket");
        let moved = Box::new(Slots::new(ReplySource::Socket));
        let mut slots = std::thread::spawn(move || *moved).join().expect("no panic");
        client.send_to(b"query", socket.local_addr().expect("bound")).expect("sent");
        assert_eq!(slots.receive(&socket, Wait::ForOne).expect("received"), 1);
        assert_eq!(slots.packet(0).expect("whole").bytes, b"query");
    }

    #[test]
    fn slots_outside_the_batch_hold_nothing() {
        let mut slots = Slots::new(ReplySource::Socket);
        for index in [0, BATCH_LEN - 1, BATCH_LEN, usize::MAX] {
            assert!(slots.packet(index).is_none());
            slots.queue(index, 1);
        }
        assert_eq!(slots.queued(), 0);
    }
}
