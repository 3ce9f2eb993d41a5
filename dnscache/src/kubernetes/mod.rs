//! What is asked of the Kubernetes API, all of it optional: which endpoints stand behind the
//! upstream Service, and marks on our own node once DNS answers.
//!
//! DNS never waits for any of this. `client` finds the API server, `endpoints` reads EndpointSlices,
//! `watch` follows them, `node` changes the node, `pause` says when to try again.

pub mod client;
pub mod endpoints;
pub mod node;
mod pause;
pub mod watch;
