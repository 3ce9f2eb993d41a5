//! The DNS cache of a Kubernetes node.
//!
//! ```text
//!    pod -- UDP --> fast/worker --> engine.answer(bytes, now) --+-- Reply --> send batch --> pod
//!                   (batch in)        wire > policy > cache     +-- Drop
//!                                                               +-- Ask ----> handoff (bounded)
//!                                                                               |
//!    pod -- TCP --> slow/tcp -----> engine.answer -- Ask -----------------------+
//!                                                                               v
//!                      slow/miss:  join > ask upstream > engine.learn(bytes, now) > reply --> pod
//! ```
//!
//! The modules stand in the order a packet meets them.

#![deny(unsafe_code)]

pub mod config;
pub mod fast;
pub mod engine;
pub mod clients;
pub mod handoff;
pub mod slow;
pub mod node;
pub mod server;
pub mod counts;
pub mod admin;
pub mod top;
pub mod probe;
pub mod kubernetes;
pub mod logging;
pub mod bind;
pub mod places;
pub mod clock;
