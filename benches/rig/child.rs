//! What the child programs of the benchmark (echo, upstream) share.

use std::net::{SocketAddr, UdpSocket};

use anyhow::Context;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::sys::socket::{setsockopt, sockopt};

/// Asked of the kernel for each socket; it grants what `net.core.rmem_max` allows.
const BUFFER_BYTES: usize = 4 << 20;

/// Makes the kernel end this process together with the benchmark, however that ends.
pub fn die_with_parent() -> anyhow::Result<()> {
    set_pdeathsig(Signal::SIGKILL).context("cannot ask to end with the parent")
}

/// A blocking socket with large buffers.
pub fn udp_socket(address: SocketAddr) -> anyhow::Result<UdpSocket> {
    let socket = UdpSocket::bind(address).with_context(|| format!("cannot bind {address}"))?;
    enlarge(&socket)?;
    Ok(socket)
}

/// Gives a socket large buffers.
pub fn enlarge(socket: &UdpSocket) -> anyhow::Result<()> {
    setsockopt(socket, sockopt::RcvBuf, &BUFFER_BYTES).context("cannot size a receive buffer")?;
    setsockopt(socket, sockopt::SndBuf, &BUFFER_BYTES).context("cannot size a send buffer")
}
