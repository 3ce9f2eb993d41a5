//! From a name to the block and the upstreams that answer for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::engine::wire::name::{Name, wire_is_at_or_below};
use crate::engine::{BlockId, Now, RouteId};

/// What the planes share about one route's upstreams: the slow plane writes, the engine reads.
#[derive(Debug, Default)]
pub struct RouteHealth {
    recovered_at_millis: AtomicU64,
    is_silent: AtomicBool,
}

impl RouteHealth {
    /// Notes that upstream answers again after it had been silent: answers whose renewal failed
    /// before this moment are tried again at once.
    pub fn recovered(&self, now: Now) {
        self.recovered_at_millis.store(now.millis(), Ordering::Relaxed);
        self.is_silent.store(false, Ordering::Relaxed);
    }

    /// Notes that no upstream answers.
    pub fn fell_silent(&self) {
        self.is_silent.store(true, Ordering::Relaxed);
    }

    /// Whether no upstream answered when one was asked last: then an expired answer is served
    /// without keeping the client waiting (RFC 8767 section 5).
    pub fn is_silent(&self) -> bool {
        self.is_silent.load(Ordering::Relaxed)
    }

    /// Whether upstream came back after `moment`.
    pub fn recovered_since(&self, moment: Now) -> bool {
        self.recovered_at_millis.load(Ordering::Relaxed) > moment.millis()
    }
}

/// One `forward` as the engine sees it.
#[derive(Debug, Clone)]
pub struct Route {
    /// Which upstreams.
    pub id: RouteId,
    /// What the operator wrote about it, by which another process knows it.
    pub words: Arc<str>,
    /// Names at or below this are forwarded.
    pub from: Name,
    /// Names at or below these are not.
    pub except: Vec<Name>,
    /// What is known about its upstreams.
    pub health: Arc<RouteHealth>,
}

impl Route {
    /// Whether the lower-case wire name goes this way.
    pub fn takes(&self, name: &[u8]) -> bool {
        wire_is_at_or_below(name, self.from.wire())
            && !self.except.iter().any(|zone| wire_is_at_or_below(name, zone.wire()))
    }
}

/// Zones and the blocks that answer for them, for one listen address.
#[derive(Debug, Clone, Default)]
pub struct ZoneTable {
    /// Longest zone first. A node has a handful of zones, so a walk over them is cheaper than
    /// hashing every suffix of the name.
    zones: Vec<(Name, BlockId)>,
}

impl ZoneTable {
    /// Adds a zone.
    pub fn add(&mut self, zone: Name, block: BlockId) {
        self.zones.push((zone, block));
        self.zones.sort_by_key(|(zone, _)| std::cmp::Reverse(zone.wire().len()));
    }

    /// The block of the longest zone that holds the lower-case wire name.
    pub fn find(&self, name: &[u8]) -> Option<BlockId> {
        self.zones
            .iter()
            .find(|(zone, _)| wire_is_at_or_below(name, zone.wire()))
            .map(|(_, block)| *block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::from_text(text).expect("a name")
    }

    #[test]
    fn the_longest_zone_wins() {
        let mut table = ZoneTable::default();
        for (block, zone) in [".", "cluster.local", "svc.cluster.local"].iter().enumerate() {
            table.add(name(zone), BlockId(block as u16));
        }
        let find = |text: &str| table.find(name(text).wire()).map(|block| block.0);
        assert_eq!(find("example.org"), Some(0));
        assert_eq!(find("a.cluster.local"), Some(1));
        assert_eq!(find("svc.cluster.local"), Some(2));
        assert_eq!(find("xcluster.local"), Some(0));
        assert_eq!(ZoneTable::default().find(name("a").wire()), None);
    }

    #[test]
    fn except_is_not_forwarded() {
        let route = Route {
            id: RouteId(1),
            words: "example.org".into(),
            from: name("example.org"),
            except: vec![name("internal.example.org")],
            health: Arc::default(),
        };
        assert!(route.takes(name("www.example.org").wire()));
        assert!(!route.takes(name("a.internal.example.org").wire()));
        assert!(!route.takes(name("example.com").wire()));
    }

    #[test]
    fn recovery_counts_only_after_the_failure() {
        let health = RouteHealth::default();
        assert!(!health.recovered_since(Now::from_millis(5)));
        health.recovered(Now::from_millis(10));
        assert!(health.recovered_since(Now::from_millis(5)));
        assert!(!health.recovered_since(Now::from_millis(10)));
    }

    #[test]
    fn silence_ends_with_the_recovery() {
        let health = RouteHealth::default();
        assert!(!health.is_silent());
        health.fell_silent();
        assert!(health.is_silent());
        health.recovered(Now::from_millis(10));
        assert!(!health.is_silent());
    }
}
