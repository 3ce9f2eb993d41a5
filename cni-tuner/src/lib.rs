//! Finds the warm-pool targets of the Amazon VPC CNI, proves them on a model, and says why.
//!
//! ```text
//!   trace/    what pods and nodes did, or might do (a file, or a generator)
//!     |
//!     v
//!   model/    limits > settings > pool > ipamd > ec2 > simulate: the VPC CNI, with a clock of its own
//!     |
//!     v
//!   plan/     demand > candidates > search > recommendation, each with its reasons
//!     |
//!     v
//!   report/   tables, JSON, CSV, HTML with charts
//! ```
//!
//! `model/`, `plan/` and `lint/` are pure: the same input gives the same output, byte for byte.
//! `commands/` reads files and writes what a person asked for.

#![forbid(unsafe_code)]

pub mod trace;

pub mod model;

pub mod plan;

pub mod lint;

pub mod capacity;

pub mod report;

pub mod commands;

mod words;
