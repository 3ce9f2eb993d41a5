//! Sockets that several workers, and several processes, can read side by side.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::num::NonZeroUsize;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use super::sys::{ReplySource, forbid_fragments, report_destination};
use crate::bind::BindError;

/// How long a worker may sleep in `recvmmsg` before it looks whether it must stop.
const READ_TIMEOUT: Duration = Duration::from_millis(200);

/// How long a full send buffer may hold a worker up, once per batch.
const WRITE_TIMEOUT: Duration = Duration::from_millis(50);

/// Asked for in each direction; the kernel grants what `net.core.rmem_max` and `wmem_max` allow.
/// At some 800 octets a small datagram takes in the kernel this is 5,000 queries, the burst a
/// worker can be late for.
const BUFFER_LEN: usize = 4 << 20;

/// Opens `count` sockets on `address`, all or none. With port 0 the first picks a free port and
/// the others follow.
///
/// From here on the kernel queues queries in them, so start reading soon.
///
/// # Errors
/// [`BindError`], whose message is for the operator.
pub fn bind_group(address: SocketAddr, count: NonZeroUsize) -> Result<Vec<UdpSocket>, BindError> {
    let first = bind(address)?;
    let actual = first.local_addr().map_err(BindError::of("UDP", address))?;
    let others = (1..count.get()).map(|_| bind(actual));
    std::iter::once(Ok(first)).chain(others).collect()
}

/// Opens one socket on `address` that others of the same user can share.
///
/// # Errors
/// [`BindError`], whose message is for the operator.
pub fn bind(address: SocketAddr) -> Result<UdpSocket, BindError> {
    open(address).map_err(BindError::of("UDP", address))
}

/// Which address replies sent through `socket` must leave from.
///
/// # Errors
/// The kernel does not know what the socket is bound to.
pub fn reply_source(socket: &UdpSocket) -> io::Result<ReplySource> {
    Ok(match socket.local_addr()?.ip().is_unspecified() {
        true => ReplySource::Destination,
        false => ReplySource::Socket,
    })
}

/// Takes `socket` out of the kernel's choice: queries arriving from now on go to the other
/// sockets on its address. What is queued can still be read, and replies can still be sent, so
/// nothing is lost that the socket was already given.
///
/// Closing does not do the same: it throws the queue away, and until the last late reply lets go
/// of the socket the kernel would go on filling a queue that nobody reads. Being connected does
/// (Linux 5.4 and later): a connected socket gets only its peer's datagrams, and this one's peer
/// is itself.
///
/// # Errors
/// The kernel refused; the socket goes on as before.
pub fn retire(socket: &UdpSocket) -> io::Result<()> {
    let mut own = socket.local_addr()?;
    match own.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => own.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => own.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    socket.connect(own)
}

/// SO_REUSEADDR is left alone on purpose: on a UDP socket it shares the address with any other
/// user's server that sets it too, and takes that server's queries away instead of reporting that
/// the address is in use. SO_REUSEPORT shares among sockets of one user only.
fn open(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // A port picked by the kernel may be one that a group of this user's sockets already shares,
    // unless sharing is asked for only afterwards.
    let picks_port = address.port() == 0;
    if !picks_port {
        socket.set_reuse_port(true)?;
    }
    prepare(&socket, address)?;
    socket.bind(&address.into())?;
    if picks_port {
        socket.set_reuse_port(true)?;
    }
    Ok(socket.into())
}

/// Sets what must be in force before the first datagram comes.
fn prepare(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    socket.set_read_timeout(Some(READ_TIMEOUT))?;
    socket.set_write_timeout(Some(WRITE_TIMEOUT))?;
    if let Err(error) =
        socket.set_recv_buffer_size(BUFFER_LEN).and(socket.set_send_buffer_size(BUFFER_LEN))
    {
        tracing::debug!(%address, %error, "socket buffers keep their size");
    }
    if address.is_ipv4() {
        forbid_fragments(socket)?;
    }
    if address.ip().is_unspecified() {
        report_destination(socket, address.is_ipv6())?;
    }
    Ok(())
}

/// Tests over IPv6 have nothing to say on a machine that has it switched off.
#[cfg(test)]
pub(super) fn machine_has_ipv6() -> bool {
    UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use socket2::SockRef;

    use super::*;

    const FOUR: NonZeroUsize = NonZeroUsize::new(4).expect("4 is not 0");

    fn loopback() -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
    }

    fn ports(sockets: &[UdpSocket]) -> Vec<SocketAddr> {
        sockets.iter().map(|socket| socket.local_addr().expect("bound")).collect()
    }

    /// Sends one datagram from each of `count` ports; returns how many each socket got.
    fn spread(sockets: &[UdpSocket], count: usize) -> Vec<usize> {
        let address = sockets[0].local_addr().expect("bound");
        let before: Vec<_> = sockets.iter().map(drain).collect();
        assert!(before.iter().all(|count| *count == 0), "queues start empty: {before:?}");
        for _ in 0..count {
            let client = UdpSocket::bind(loopback()).expect("a loopback socket");
            client.send_to(b"q", address).expect("sent");
        }
        sockets.iter().map(drain).collect()
    }

    fn drain(socket: &UdpSocket) -> usize {
        socket.set_nonblocking(true).expect("set");
        let mut octets = [0; 16];
        std::iter::from_fn(|| socket.recv_from(&mut octets).ok()).count()
    }

    #[test]
    fn group_shares_one_port_and_its_queries() {
        let sockets = bind_group(loopback(), FOUR).expect("bound");
        let addresses = ports(&sockets);
        assert_eq!(addresses.len(), 4);
        assert_ne!(addresses[0].port(), 0);
        assert!(addresses.iter().all(|address| *address == addresses[0]));
        let shares = spread(&sockets, 256);
        assert_eq!(shares.iter().sum::<usize>(), 256);
        assert!(shares.iter().all(|share| *share > 0), "{shares:?}");
    }

    #[test]
    fn second_process_can_join_the_port() {
        let ours = bind_group(loopback(), FOUR).expect("bound");
        let theirs = bind_group(ours[0].local_addr().expect("bound"), FOUR).expect("joined");
        assert_eq!(ports(&ours), ports(&theirs));
    }

    #[test]
    fn retired_socket_keeps_its_queue_and_gets_no_more() {
        for ip in [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv4Addr::UNSPECIFIED)] {
            let sockets = bind_group(SocketAddr::new(ip, 0), FOUR).expect("bound");
            let port = sockets[0].local_addr().expect("bound").port();
            let client = UdpSocket::bind(loopback()).expect("a loopback socket");
            client.send_to(b"queued", (Ipv4Addr::LOCALHOST, port)).expect("sent");
            retire(&sockets[0]).expect("retired");
            retire(&sockets[1]).expect("retired");
            assert_eq!(sockets.iter().map(drain).sum::<usize>(), 1, "the queue is kept");
            for _ in 0..128 {
                let client = UdpSocket::bind(loopback()).expect("a loopback socket");
                client.send_to(b"q", (Ipv4Addr::LOCALHOST, port)).expect("sent");
            }
            let shares: Vec<_> = sockets.iter().map(drain).collect();
            assert_eq!((shares[0], shares[1]), (0, 0), "{ip}: {shares:?}");
            assert_eq!(shares.iter().sum::<usize>(), 128, "{ip}: {shares:?}");
        }
    }

    #[test]
    fn retired_socket_can_still_reply() {
        let socket = bind(loopback()).expect("bound");
        let client = UdpSocket::bind(loopback()).expect("a loopback socket");
        client.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
        let asked = socket.local_addr().expect("bound");
        retire(&socket).expect("retired");
        socket.send_to(b"late", client.local_addr().expect("bound")).expect("sent");
        let mut reply = [0; 16];
        assert_eq!(client.recv_from(&mut reply).expect("a reply"), (4, asked));
    }

    #[test]
    fn only_wildcard_sockets_answer_from_the_destination() {
        let check = |address: &str, expected| {
            let socket = bind(address.parse().expect("an address")).expect("bound");
            assert_eq!(reply_source(&socket).expect("bound"), expected, "{address}");
        };
        check("127.0.0.1:0", ReplySource::Socket);
        check("0.0.0.0:0", ReplySource::Destination);
        if machine_has_ipv6() {
            check("[::1]:0", ReplySource::Socket);
            check("[::]:0", ReplySource::Destination);
        }
    }

    #[test]
    fn ipv4_and_ipv6_wildcards_share_a_port() {
        if !machine_has_ipv6() {
            return;
        }
        let four = bind("0.0.0.0:0".parse().expect("an address")).expect("bound");
        let port = four.local_addr().expect("bound").port();
        bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))).expect("bound beside IPv4");
    }

    fn check_refusal(address: SocketAddr, expected: &str) {
        let error = bind(address).expect_err("refused").to_string();
        assert!(error.contains(&format!("{address} for UDP: ")), "{error}");
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn address_in_use_is_named() {
        let other = UdpSocket::bind(loopback()).expect("a loopback socket");
        check_refusal(other.local_addr().expect("bound"), "another program");
    }

    #[test]
    fn address_in_use_is_not_taken_from_one_that_reuses_addresses() {
        let other = UdpSocket::bind(loopback()).expect("a loopback socket");
        SockRef::from(&other).set_reuse_address(true).expect("set");
        check_refusal(other.local_addr().expect("bound"), "another program");
    }

    #[test]
    fn address_of_another_machine_is_named() {
        check_refusal("192.0.2.1:0".parse().expect("an address"), "no interface");
    }

    #[test]
    fn group_is_all_or_none() {
        let other = UdpSocket::bind(loopback()).expect("a loopback socket");
        let address = other.local_addr().expect("bound");
        assert!(bind_group(address, FOUR).is_err());
        drop(other);
        UdpSocket::bind(address).expect("nothing was left behind");
    }

    #[test]
    fn buffers_are_raised() {
        let plain = UdpSocket::bind(loopback()).expect("a loopback socket");
        let raised = bind(loopback()).expect("bound");
        let receive = |socket| SockRef::from(socket).recv_buffer_size().expect("known");
        assert!(receive(&raised) >= receive(&plain));
    }
}
