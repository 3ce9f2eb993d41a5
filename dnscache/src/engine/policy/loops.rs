//! `loop`: our own questions coming back to us.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::engine::wire::name::Name;

/// A name nobody else asks for. It is asked upstream once at the start; when it comes in as a
/// query, the upstream leads back here.
#[derive(Debug)]
pub struct LoopProbe {
    /// The name, random labels below the block's zone.
    pub name: Name,
    seen: AtomicU32,
}

impl LoopProbe {
    /// A probe with this name.
    pub fn new(name: Name) -> Self {
        Self { name, seen: AtomicU32::new(0) }
    }

    /// Counts the query if it is the probe; the name is in lower-case wire form.
    pub fn notice(&self, name: &[u8]) {
        if self.name.wire() == name {
            self.seen.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often it came in.
    pub fn seen(&self) -> u32 {
        self.seen.load(Ordering::Relaxed)
    }
}
