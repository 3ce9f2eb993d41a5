//! Network interfaces by name, for `bind eth0` and `fe80::1%eth0`.
//!
//! The index is read from sysfs, the addresses from the kernel with one RTM_GETADDR dump
//! (rtnetlink(7)): the one way to see them that needs neither a library nor `unsafe`.

use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

/// The index of an interface; `None` if there is none of that name.
pub(super) fn index(name: &str) -> Option<u32> {
    // A name with a slash or of dots only would leave the directory.
    if name.is_empty() || name.len() > NAME_LEN_MAX || name.contains('/') || name.starts_with("..")
    {
        return None;
    }
    std::fs::read_to_string(format!("/sys/class/net/{name}/ifindex")).ok()?.trim().parse().ok()
}

/// In the place of an index: all interfaces. The kernel gives no interface this one.
pub(super) const EVERY_INTERFACE: u32 = 0;

/// The addresses of an interface, in the kernel's order (the primary one first).
pub(super) fn addresses(index: u32) -> io::Result<Vec<IpAddr>> {
    let mut socket =
        Socket::new(Domain::from(AF_NETLINK), Type::RAW, Some(Protocol::from(NETLINK_ROUTE)))?;
    // The kernel answers at once; the timeout only keeps a broken sandbox from hanging the start.
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    socket.write_all(&dump_request())?;
    let mut found = Vec::new();
    let mut buffer = vec![0; DATAGRAM_LEN_MAX];
    for _ in 0..DATAGRAMS_MAX {
        let len = socket.read(&mut buffer)?;
        if read_datagram(&buffer[..len], index, &mut found)? {
            return Ok(found);
        }
    }
    Err(io::Error::other("the kernel lists more addresses than can be real"))
}

/// A request for all addresses of both families: `nlmsghdr` and `ifaddrmsg`.
fn dump_request() -> [u8; 24] {
    let mut request = [0; 24];
    request[0..4].copy_from_slice(&24_u32.to_ne_bytes());
    request[4..6].copy_from_slice(&RTM_GETADDR.to_ne_bytes());
    request[6..8].copy_from_slice(&NLM_F_REQUEST_DUMP.to_ne_bytes());
    request[8..12].copy_from_slice(&1_u32.to_ne_bytes());
    request
}

/// Takes the addresses of interface `index` out of one datagram; true when the dump is complete.
fn read_datagram(mut bytes: &[u8], index: u32, found: &mut Vec<IpAddr>) -> io::Result<bool> {
    while let Some(header) = bytes.first_chunk::<16>() {
        let len = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let kind = u16::from_ne_bytes([header[4], header[5]]);
        let Some(body) = bytes.get(16..len) else {
            return Err(io::Error::other("the kernel's address list is cut off"));
        };
        match kind {
            NLMSG_DONE => return Ok(true),
            NLMSG_ERROR => return Err(io::Error::other("the kernel refuses to list addresses")),
            RTM_NEWADDR => found.extend(read_address(body, index)),
            _ => {}
        }
        bytes = bytes.get(aligned(len)..).unwrap_or_default();
    }
    Ok(false)
}

/// The address in an `ifaddrmsg` and its attributes, if it belongs to interface `index`. On a
/// point-to-point link IFA_ADDRESS is the peer, so IFA_LOCAL goes first.
fn read_address(body: &[u8], index: u32) -> Option<IpAddr> {
    let header = body.first_chunk::<8>()?;
    let own = u32::from_ne_bytes([header[4], header[5], header[6], header[7]]);
    if index != EVERY_INTERFACE && own != index {
        return None;
    }
    let mut attributes = &body[8..];
    let mut address = None;
    while let Some(header) = attributes.first_chunk::<4>() {
        let len = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]);
        let value = attributes.get(4..len)?;
        match kind {
            IFA_LOCAL => return from_octets(value),
            IFA_ADDRESS => address = from_octets(value),
            _ => {}
        }
        attributes = attributes.get(aligned(len)..).unwrap_or_default();
    }
    address
}

fn from_octets(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => <[u8; 4]>::try_from(value).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(value).ok().map(IpAddr::from),
        _ => None,
    }
}

/// Messages and attributes begin at multiples of four octets.
fn aligned(len: usize) -> usize {
    len.next_multiple_of(4)
}

/// Octets of an interface's name (IFNAMSIZ without its final NUL).
const NAME_LEN_MAX: usize = 15;
/// The kernel sends dumps in pieces of at most this many octets.
const DATAGRAM_LEN_MAX: usize = 64 * 1024;
/// Room for some hundred thousand addresses.
const DATAGRAMS_MAX: usize = 1024;

// rtnetlink(7), netlink(7).
const AF_NETLINK: i32 = 16;
const NETLINK_ROUTE: i32 = 0;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const NLM_F_REQUEST_DUMP: u16 = 0x301;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_loopback_interface_has_its_address() {
        let index = index("lo").expect("every Linux has lo");
        let found = addresses(index).expect("listed");
        assert!(found.contains(&"127.0.0.1".parse().expect("an address")), "{found:?}");
        let all = addresses(EVERY_INTERFACE).expect("listed");
        assert!(found.iter().all(|address| all.contains(address)), "{all:?}");
    }

    #[test]
    fn names_that_are_paths_are_not_interfaces() {
        for name in ["", ".", "..", "../net/lo", "lo/../lo", "no-such-one", "name-longer-than-any"]
        {
            assert_eq!(index(name), None, "{name:?}");
        }
    }

    #[test]
    fn the_local_end_of_a_link_is_its_address() {
        let mut body = vec![2, 32, 0, 0];
        body.extend(7_u32.to_ne_bytes());
        for (kind, last) in [(IFA_ADDRESS, 1), (IFA_LOCAL, 2)] {
            body.extend(8_u16.to_ne_bytes());
            body.extend(kind.to_ne_bytes());
            body.extend([192, 0, 2, last]);
        }
        assert_eq!(read_address(&body, 7), Some(IpAddr::from([192, 0, 2, 2])));
        assert_eq!(read_address(&body, 8), None);
    }

    proptest! {
        #[test]
        fn random_datagrams_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_datagram(&bytes, 1, &mut Vec::new());
            let _ = read_address(&bytes, 1);
        }
    }
}
