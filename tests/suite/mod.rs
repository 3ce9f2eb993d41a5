//! The tests, a file per subject.

mod admin;
mod alterations;
mod commandline;
mod conversations;
mod libc;
mod load;
mod manifest;
mod packets;
mod peers;
mod properties;
mod reload;
mod search_paths;
mod stale;
mod tcp;
mod top;
mod upstreams;
