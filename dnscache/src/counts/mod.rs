//! What happened, as plain numbers: one shard per worker, summed when somebody looks.
//!
//! A worker's shard has one writer, so an increment is a load and a store of a line no other core
//! writes; the slow plane's tasks share shard 0 and add atomically. Nothing here allocates, locks
//! or computes with fractions after the start. `admin` gives the numbers their names.

mod block;
mod cell;
mod kinds;
mod node;
mod plane;
mod refresh;
mod search;
mod snapshot;

pub use block::{BlockCounts, BlockReading};
pub use cell::HistogramReading;
pub use kinds::{DURATION_BOUNDS, SIZE_BOUNDS, rcode_label, type_label};
pub use node::{NodeCounts, NodeReading, Repair, SetupError};
pub use plane::{Closed, PlaneCounts, PlaneReading, Rejected};
pub use refresh::RefreshCounts;
pub use search::{SearchReading, reason_label};
pub use snapshot::{LastWritten, Loaded, SnapshotCount, SnapshotCounts};
