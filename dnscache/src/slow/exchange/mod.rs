//! One question to one upstream: what is sent, how it travels, and what is taken for the reply.
//!
//! `query` has the octets of a question and tells a reply from a forgery, whatever carries it;
//! `datagrams` spreads questions over UDP sockets on random ports, `port` is one such socket,
//! `reserved` knows ports to stay away from;
//! `stream` is a TCP or TLS connection, `tls` whom to trust there. Replies are the octets that
//! were received.

mod datagrams;
mod port;
mod query;
mod reserved;
mod stream;
mod tls;

pub use datagrams::Datagrams;
pub use port::{Ear, Expect};
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
    /// A reply came over a connection that repeats no question.
    Broken,
    /// A reply without the question but with FORMERR or NOTIMP: how servers older than EDNS
    /// answer a query that carries it (RFC 6891 section 7).
    Unread,
    /// This machine has no port, descriptor or memory left for another exchange.
    Exhausted,
}

impl Trouble {
    /// What a log line calls it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Unreachable => "unreachable",
            Self::Lost => "connection lost",
            Self::Broken => "broken reply",
            Self::Unread => "query not understood",
            Self::Exhausted => "no port or descriptor left",
        }
    }
}

impl From<&std::io::Error> for Trouble {
    fn from(error: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        match (error.raw_os_error(), error.kind()) {
            (Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS), _)
            | (
                _,
                ErrorKind::AddrInUse
                | ErrorKind::AddrNotAvailable
                | ErrorKind::OutOfMemory
                | ErrorKind::WouldBlock,
            ) => Self::Exhausted,
            (_, ErrorKind::TimedOut) => Self::Silent,
            _ => Self::Unreachable,
        }
    }
}

#[cfg(test)]
mod tests;
