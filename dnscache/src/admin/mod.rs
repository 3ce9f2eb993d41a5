//! What operators and probes see over HTTP: `/metrics`, `/health`, `/ready`, `/hot` and `/clients`.
//!
//! ```text
//!    counts, caches, upstreams --> sources --> metrics (names, text) --+
//!                                                                      v
//!                               listen (addresses) --> http --> pages (what a path answers)
//!                                                       ^
//!                                  self_check ----------+   (our own /health, once a second)
//! ```
//!
//! Nothing here changes anything: the pages are read, and only from the addresses that the
//! configuration names.

pub mod clients;
mod families;
pub mod control;
pub mod hot;
pub mod http;
pub mod listen;
pub mod metrics;
pub mod pages;
mod process;
pub mod self_check;
mod sheet;
pub mod sources;
pub mod text_form;
mod throttling;
