//! Connections to upstreams through hickory-net; the only place that knows that library.
//!
//! hickory frames and multiplexes messages on streams. What it would decide is decided here
//! instead: which replies are broken, and that a question is sent exactly once per call. Replies
//! leave as the octets that were received.

mod stream;
mod tls;

pub use stream::{Connection, Security, dial};
pub use tls::{TlsTarget, tls_config};
