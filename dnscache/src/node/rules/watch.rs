//! Tells when somebody takes something out of our tables of nftables: the kernel's notifications
//! about rules (`NFNLGRP_NFTABLES`).
//!
//! Only for the nftables backend. kube-proxy rewrites thousands of rules of iptables at a time, and
//! every one of them would be a message; there the sync interval must do.

use std::io;
use std::sync::Arc;

use rtnetlink::sys::protocols::NETLINK_NETFILTER;
use rtnetlink::sys::{AsyncSocket as _, AsyncSocketExt as _, SocketAddr, TokioSocket};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::nft::TABLE;

/// A task that listens; dropped, it ends.
pub struct Watch(JoinHandle<()>);

impl Watch {
    /// Listens from now on.
    ///
    /// # Errors
    /// This kernel has no such notifications.
    pub fn start(told: Arc<Notify>) -> io::Result<Self> {
        let mut socket = TokioSocket::new(NETLINK_NETFILTER)?;
        socket.socket_mut().bind(&SocketAddr::new(0, 1 << (GROUP_NFTABLES - 1)))?;
        Ok(Self(tokio::spawn(listen(socket, told))))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn listen(socket: TokioSocket, told: Arc<Notify>) {
    loop {
        match socket.recv_from_full().await {
            Ok((datagram, _)) if is_about_ours(&datagram) => told.notify_one(),
            Ok(_) => {}
            // More than the socket holds: one of those that are lost may be about ours.
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => told.notify_one(),
            Err(error) => {
                tracing::debug!(%error, "no notifications of nftables any more");
                return;
            }
        }
    }
}

/// Whether one of the messages of a datagram says that something of our tables was deleted.
fn is_about_ours(datagram: &[u8]) -> bool {
    let mut rest = datagram;
    while let Some((message, kind, after)) = next_message(rest) {
        if DELETIONS.contains(&kind) && table_name(message).is_some_and(is_ours) {
            return true;
        }
        rest = after;
    }
    false
}

/// The payload of the first message, its type, and what follows it (netlink(7)).
fn next_message(octets: &[u8]) -> Option<(&[u8], u16, &[u8])> {
    let len = u32::from_ne_bytes(octets.get(..4)?.try_into().ok()?) as usize;
    let kind = u16::from_ne_bytes(octets.get(4..6)?.try_into().ok()?);
    let payload = octets.get(MESSAGE_HEAD..len)?;
    Some((payload, kind, octets.get(len.next_multiple_of(4)..).unwrap_or_default()))
}

/// The value of the attribute that all messages about tables, chains and rules begin with.
fn table_name(payload: &[u8]) -> Option<&[u8]> {
    let attributes = payload.get(NETFILTER_HEAD..)?;
    let len = usize::from(u16::from_ne_bytes(attributes.get(..2)?.try_into().ok()?));
    let kind = u16::from_ne_bytes(attributes.get(2..4)?.try_into().ok()?);
    (kind == ATTRIBUTE_TABLE).then(|| attributes.get(4..len))?
}

/// Whether a name with its final zero is that of the node's table or of one of a process.
fn is_ours(name: &[u8]) -> bool {
    name.starts_with(TABLE.as_bytes())
}

const GROUP_NFTABLES: u32 = 7;
/// Octets of `nlmsghdr` and of `nfgenmsg`.
const MESSAGE_HEAD: usize = 16;
const NETFILTER_HEAD: usize = 4;
/// `NFTA_TABLE_NAME`, `NFTA_CHAIN_TABLE` and `NFTA_RULE_TABLE` are the same.
const ATTRIBUTE_TABLE: u16 = 1;
/// `NFT_MSG_DELTABLE`, `NFT_MSG_DELCHAIN` and `NFT_MSG_DELRULE` of the subsystem nftables.
const DELETIONS: [u16; 3] = [0x0a02, 0x0a05, 0x0a08];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(kind: u16, attribute: u16, table: &[u8]) -> Vec<u8> {
        let mut octets = Vec::new();
        let attribute_len = 4 + table.len();
        let len = MESSAGE_HEAD + NETFILTER_HEAD + attribute_len;
        octets.extend((len as u32).to_ne_bytes());
        octets.extend(kind.to_ne_bytes());
        octets.resize(MESSAGE_HEAD + NETFILTER_HEAD, 0);
        octets.extend((attribute_len as u16).to_ne_bytes());
        octets.extend(attribute.to_ne_bytes());
        octets.extend(table);
        octets.resize(len.next_multiple_of(4), 0);
        octets
    }

    #[test]
    fn deletions_from_our_tables_are_noticed() {
        for (kind, attribute, table, expected) in [
            (0x0a08, 1, &b"dnscache\0"[..], true),
            (0x0a02, 1, b"dnscache-1234abcd\0", true),
            (0x0a05, 1, b"kube-proxy\0", false),
            (0x0a06, 1, b"dnscache\0", false),
            (0x0a08, 2, b"dnscache\0", false),
        ] {
            let one = message(kind, attribute, table);
            assert_eq!(is_about_ours(&one), expected, "{kind:x} {attribute} {table:?}");
            let others = message(0x0a06, 1, b"kube-proxy\0");
            assert_eq!(is_about_ours(&[others, one].concat()), expected);
        }
    }

    proptest! {
        #[test]
        fn random_octets_never_panic(octets in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = is_about_ours(&octets);
        }

        #[test]
        fn a_shortened_message_never_panics(len in 0_usize..32) {
            let whole = message(0x0a08, 1, b"dnscache\0");
            let _ = is_about_ours(&whole[..len.min(whole.len())]);
        }
    }
}
