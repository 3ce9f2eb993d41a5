//! The tests, a file per subject.

mod admin;
mod alterations;
mod commandline;
mod conversations;
mod endpoints;
mod fairness;
mod libc;
mod load;
mod manifest;
mod mistakes;
mod node;
mod node_flags;
mod outages;
mod packets;
mod peers;
mod properties;
mod reload;
mod search_paths;
mod snapshot;
mod stale;
mod succession;
mod takeover;
mod tcp;
mod threats;
mod top;
mod upstreams;
