//! The address a datagram was sent to, in the control messages that tell it to us and to the
//! kernel (IP_PKTINFO, IPV6_PKTINFO).
//!
//! Only sockets bound to an unspecified address need it: their replies would otherwise leave from
//! whichever address the routing table likes, and the client would not know them.
//!
//! The layout is the kernel's, not a C library's: a `cmsghdr` is the length of the message as a
//! word, then level and type as ints, then the payload; the next message starts at a whole word.

use std::mem::{offset_of, size_of};
use std::net::{Ipv4Addr, Ipv6Addr};

use libc::{c_int, cmsghdr, in_pktinfo, in6_pktinfo};

/// An address of this machine that a datagram came to and its reply leaves from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Local {
    /// IPv4.
    V4(Ipv4Addr),
    /// IPv6 and the interface's index. The interface matters to link-local addresses only and is
    /// 0 for all others: naming it would force the reply out where the query came in, against
    /// the routing table.
    V6(Ipv6Addr, u32),
}

/// Room for either control message, with some to spare.
pub(super) const CONTROL_LEN: usize = 64;

const WORD_LEN: usize = size_of::<usize>();
const INT_LEN: usize = size_of::<c_int>();
const LEVEL_AT: usize = WORD_LEN;
const TYPE_AT: usize = LEVEL_AT + INT_LEN;
const PAYLOAD_AT: usize = (TYPE_AT + INT_LEN).next_multiple_of(WORD_LEN);
const V4_LEN: usize = size_of::<in_pktinfo>();
const V6_LEN: usize = size_of::<in6_pktinfo>();

// What is assumed above and below about the kernel's structs, held against libc's.
const _: () = {
    assert!(offset_of!(cmsghdr, cmsg_level) == LEVEL_AT);
    assert!(offset_of!(cmsghdr, cmsg_type) == TYPE_AT);
    assert!(offset_of!(in_pktinfo, ipi_spec_dst) == 4 && V4_LEN == 12);
    assert!(offset_of!(in6_pktinfo, ipi6_ifindex) == 16 && V6_LEN == 20);
    assert!((PAYLOAD_AT + V6_LEN).next_multiple_of(WORD_LEN) <= CONTROL_LEN);
};

impl Local {
    /// Reads what the kernel reported; `None` if it reported nothing whole. Only one option asks
    /// for control messages, so only the first is looked at.
    pub(super) fn read(control: &[u8]) -> Option<Self> {
        let level = c_int::from_ne_bytes(array_at(control, LEVEL_AT)?);
        let kind = c_int::from_ne_bytes(array_at(control, TYPE_AT)?);
        match (level, kind) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                // ipi_spec_dst is the address to answer from; ipi_addr, after it, differs when
                // the query was sent to a broadcast address.
                let info: [u8; V4_LEN] = array_at(control, PAYLOAD_AT)?;
                Some(Self::V4(array_at::<4>(&info, 4)?.into()))
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                let info: [u8; V6_LEN] = array_at(control, PAYLOAD_AT)?;
                let address = Ipv6Addr::from(array_at::<16>(&info, 0)?);
                let interface = u32::from_ne_bytes(array_at(&info, 16)?);
                let is_local = address.is_unicast_link_local();
                Some(Self::V6(address, if is_local { interface } else { 0 }))
            }
            _ => None,
        }
    }

    /// Writes the message that makes a reply leave from here; returns the length to give to the
    /// kernel.
    pub(super) fn write(self, control: &mut [u8; CONTROL_LEN]) -> usize {
        control.fill(0);
        let (level, kind, payload_len) = match self {
            Self::V4(address) => {
                control[PAYLOAD_AT + 4..][..4].copy_from_slice(&address.octets());
                (libc::IPPROTO_IP, libc::IP_PKTINFO, V4_LEN)
            }
            Self::V6(address, interface) => {
                control[PAYLOAD_AT..][..16].copy_from_slice(&address.octets());
                control[PAYLOAD_AT + 16..][..4].copy_from_slice(&interface.to_ne_bytes());
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, V6_LEN)
            }
        };
        control[..WORD_LEN].copy_from_slice(&(PAYLOAD_AT + payload_len).to_ne_bytes());
        control[LEVEL_AT..][..INT_LEN].copy_from_slice(&level.to_ne_bytes());
        control[TYPE_AT..][..INT_LEN].copy_from_slice(&kind.to_ne_bytes());
        (PAYLOAD_AT + payload_len).next_multiple_of(WORD_LEN)
    }
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(local: Local) -> Vec<u8> {
        let mut control = [0xff; CONTROL_LEN];
        let len = local.write(&mut control);
        control[..len].to_vec()
    }

    fn check(local: Local, payload_len: usize) {
        let control = written(local);
        assert_eq!(Local::read(&control), Some(local));
        for cut in 0..PAYLOAD_AT + payload_len {
            assert_eq!(Local::read(&control[..cut]), None, "cut to {cut} octets");
        }
    }

    #[test]
    fn addresses_survive_the_round_trip_and_cuts_are_refused() {
        check(Local::V4(Ipv4Addr::new(127, 0, 0, 2)), V4_LEN);
        check(Local::V6(Ipv6Addr::LOCALHOST, 0), V6_LEN);
        check(Local::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1), 7), V6_LEN);
    }

    #[test]
    fn interface_is_named_for_link_local_addresses_only() {
        let control = written(Local::V6(Ipv6Addr::LOCALHOST, 7));
        assert_eq!(Local::read(&control), Some(Local::V6(Ipv6Addr::LOCALHOST, 0)));
    }

    #[test]
    fn foreign_messages_are_ignored() {
        let mut control = written(Local::V4(Ipv4Addr::LOCALHOST));
        control[LEVEL_AT..][..INT_LEN].copy_from_slice(&libc::SOL_SOCKET.to_ne_bytes());
        assert_eq!(Local::read(&control), None);
    }
}
