//! A client's socket, UDP or TCP, as the generator sees it.

use std::io;
use std::os::fd::BorrowedFd;

/// Sends bursts of queries and hands over replies; never waits.
pub trait Link {
    /// Sends `packets`, queries of `packet_len` octets each one after the other. What the kernel
    /// refuses counts as lost in the end.
    fn send(&mut self, packets: &[u8], packet_len: usize);

    /// Hands each reply that is there, up to a batch, to `reply` and says how many there were.
    fn receive(&mut self, reply: &mut dyn FnMut(&[u8])) -> io::Result<usize>;

    /// To wait for replies with.
    fn descriptor(&self) -> BorrowedFd<'_>;
}
