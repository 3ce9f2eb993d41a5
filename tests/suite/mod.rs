//! The tests, a file per subject.

mod admin;
mod commandline;
mod conversations;
mod endpoints;
mod libc;
mod load;
mod manifest;
mod outages;
mod packets;
mod peers;
mod properties;
mod reload;
mod search_paths;
mod stale;
mod tcp;
mod top;
mod upstreams;
