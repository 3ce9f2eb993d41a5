//! DNS messages as bytes: parsed in place, written in place, nothing allocated for a query.

pub mod answer;
mod bailiwick;
pub mod compose;
pub mod denial;
pub mod edns;
pub mod header;
pub mod name;
pub mod presentation;
pub mod question;
pub mod rebuild;
pub mod reply;
pub mod retell;
pub mod survey;
pub mod text;
pub mod ttl;

/// The largest UDP reply in octets, and the EDNS size offered upstream (DNS Flag Day 2020).
pub const UDP_REPLY_MAX: usize = 1232;

/// A UDP query may be this long: RFC 6891 section 6.2.3 says 4,096 octets are a good size to
/// accept, and padding (RFC 7830) makes queries long.
pub const UDP_QUERY_MAX: usize = 4096;
