//! The whole program from outside, and the engine through its four verbs.
//!
//! `harness` holds what the tests stand on, `suite` a file per subject, `data` the conversations
//! and packets they play.

#![allow(missing_docs, reason = "tests are named for the fact they show")]

mod cluster;
mod harness;
mod suite;
