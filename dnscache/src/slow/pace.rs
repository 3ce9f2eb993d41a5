//! How long TCP clients of one address may take (`timeouts`). A reload changes it for the
//! connections that begin afterwards.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::config::Timeouts;

/// The pace in force.
#[derive(Debug)]
pub struct Pace {
    read_millis: AtomicU64,
    write_millis: AtomicU64,
    idle_millis: AtomicU64,
}

/// What it is for one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    /// A query that was begun has to be complete after this.
    pub(super) read: Duration,
    /// A reply has to be read by the client after this.
    pub(super) write: Duration,
    /// A connection without a question is closed after this.
    pub(super) idle: Duration,
}

impl Pace {
    /// As the configuration has it.
    pub fn new(timeouts: Timeouts) -> Self {
        let pace = Self {
            read_millis: AtomicU64::new(0),
            write_millis: AtomicU64::new(0),
            idle_millis: AtomicU64::new(0),
        };
        pace.set(timeouts);
        pace
    }

    /// As another configuration has it.
    pub fn set(&self, timeouts: Timeouts) {
        let store = |to: &AtomicU64, time: Option<Duration>, usual: Duration| {
            to.store(time.unwrap_or(usual).as_millis() as u64, Ordering::Relaxed);
        };
        store(&self.read_millis, timeouts.read, READ);
        store(&self.write_millis, timeouts.write, WRITE);
        store(&self.idle_millis, timeouts.idle, IDLE);
    }

    pub(super) fn times(&self) -> Times {
        let load = |from: &AtomicU64| Duration::from_millis(from.load(Ordering::Relaxed));
        Times {
            read: load(&self.read_millis),
            write: load(&self.write_millis),
            idle: load(&self.idle_millis),
        }
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self::new(Timeouts::default())
    }
}

/// The times without `timeouts`, those of CoreDNS.
const READ: Duration = Duration::from_secs(3);
const WRITE: Duration = Duration::from_secs(5);
const IDLE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_as_usual() {
        let pace = Pace::default();
        assert_eq!(pace.times(), Times { read: READ, write: WRITE, idle: IDLE });
        let idle = Duration::from_secs(60);
        pace.set(Timeouts { idle: Some(idle), ..Timeouts::default() });
        assert_eq!(pace.times(), Times { read: READ, write: WRITE, idle });
    }
}
