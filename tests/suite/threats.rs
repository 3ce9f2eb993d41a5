//! What is done to a caching forwarder, shown on the real program; `tests/threats.md` is the table
//! of all attacks and faults, with the tests that show each.

mod clients;
mod node;
mod upstreams;
