//! Exchanges with one upstream through hickory-net; the only place that knows that library.
//!
//! hickory carries messages: it writes queries, picks source ports and message IDs, frames and
//! multiplexes streams. What it would decide is decided here instead: which datagrams are
//! forgeries, which replies are broken, and that a question is sent exactly once per call. Replies
//! leave as the octets that were received.

mod datagram;
mod query;
mod stream;
mod tls;

pub use datagram::{Ear, ask_datagram};
pub use query::{Misfit, Query};
pub use stream::{Connection, Security, dial};
pub use tls::{TlsTarget, tls_config};

/// Why an exchange gave no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing came in time.
    Silent,
    /// There is no way to the upstream: refused, unreachable, or no TLS session.
    Unreachable,
    /// A connection that had carried replies ended before this one came; the question deserves a
    /// fresh connection.
    Lost,
    /// A reply came that hickory cannot parse or that repeats no question.
    Broken,
    /// A reply without the question but with FORMERR or NOTIMP: how servers older than EDNS
    /// answer a query that carries it (RFC 6891 section 7).
    Unread,
    /// This machine has no port, descriptor or memory left for another exchange.
    Exhausted,
}

impl From<&std::io::Error> for Trouble {
    fn from(error: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        match (error.raw_os_error(), error.kind()) {
            (Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS), _)
            | (_, ErrorKind::AddrInUse | ErrorKind::AddrNotAvailable | ErrorKind::OutOfMemory) => {
                Self::Exhausted
            }
            (_, ErrorKind::TimedOut) => Self::Silent,
            _ => Self::Unreachable,
        }
    }
}
