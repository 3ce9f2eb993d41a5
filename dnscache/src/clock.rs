//! The one reader of the machine's clock for everything that has a lifetime.
//!
//! Lifetimes come from the monotonic clock, so setting the wall clock changes nothing.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use crate::engine::Now;

/// Reads the monotonic clock.
///
/// The epoch is the first call in this process, shifted by a day so that subtracting a lifetime
/// from an early reading stays above zero.
pub fn now() -> Now {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    let since = EPOCH.get_or_init(Instant::now).elapsed();
    Now::from_millis(DAY_MILLIS + since.as_millis() as u64)
}

/// Since the first reading in this process, which is taken at its start.
pub fn uptime() -> Duration {
    Duration::from_millis(now().millis() - DAY_MILLIS)
}

/// Reads the wall clock, in milliseconds since 1970: only for what another process reads.
pub fn wall_millis() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

const DAY_MILLIS: u64 = 86_400_000;
