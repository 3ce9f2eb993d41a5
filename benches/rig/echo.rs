//! The yardstick: a batched UDP echo, whose cost is the kernel's own and nothing else.
//!
//! One blocking socket, one `recvmmsg` and one `sendmmsg` for up to 64 datagrams; of each only the
//! bit that makes it a response is set.

use std::net::{SocketAddr, UdpSocket};

use anyhow::Context;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn};

use super::batch::{BATCH_LEN, Incoming};
use super::child;

/// Runs the echo until it is killed: `echo --address A`.
pub fn run(words: &[String]) -> anyhow::Result<()> {
    let [flag, address] = words else { anyhow::bail!("usage: echo --address ADDRESS") };
    anyhow::ensure!(flag == "--address", "unknown option {flag}");
    child::die_with_parent()?;
    let address: SocketAddr = address.parse().context("not an address")?;
    let socket = child::udp_socket(address)?;
    serve(&socket)
}

fn serve(socket: &UdpSocket) -> anyhow::Result<()> {
    let mut incoming = Incoming::<SockaddrIn>::new();
    let mut headers = MultiHeaders::preallocate(BATCH_LEN, None);
    loop {
        let count = incoming.receive(socket, MsgFlags::MSG_WAITFORONE)?;
        for at in 0..count {
            if let Some(flags) = incoming.datagram(at).0.get_mut(2) {
                *flags |= 0x80;
            }
        }
        incoming.send_back(socket, &mut headers, count);
    }
}
