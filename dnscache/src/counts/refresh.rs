//! The counts of what keeps hot names known.

use std::sync::atomic::{AtomicU64, Ordering};

/// How names in use are kept fresh, over reloads.
#[derive(Debug, Default)]
pub struct RefreshCounts {
    names: AtomicU64,
    asked: AtomicU64,
    left_out: AtomicU64,
    /// In thousandths.
    budget_per_second: AtomicU64,
}

/// What was counted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RefreshCount {
    /// Names followed at the last look.
    pub names: u64,
    /// Questions asked so far.
    pub asked: u64,
    /// Questions left out so far because the budget was used up.
    pub left_out: u64,
    /// Questions per second that the budget allowed at the last look.
    pub budget_per_second: f64,
}

impl RefreshCounts {
    /// Counts one look: names followed, questions asked and left out, questions per second allowed.
    pub fn looked(&self, names: usize, asked: usize, left_out: usize, budget_per_second: f64) {
        self.names.store(names as u64, Ordering::Relaxed);
        self.asked.fetch_add(asked as u64, Ordering::Relaxed);
        self.left_out.fetch_add(left_out as u64, Ordering::Relaxed);
        self.budget_per_second.store((budget_per_second * 1_000.0) as u64, Ordering::Relaxed);
    }

    /// Reads them.
    pub fn read(&self) -> RefreshCount {
        RefreshCount {
            names: self.names.load(Ordering::Relaxed),
            asked: self.asked.load(Ordering::Relaxed),
            left_out: self.left_out.load(Ordering::Relaxed),
            budget_per_second: self.budget_per_second.load(Ordering::Relaxed) as f64 / 1_000.0,
        }
    }
}
