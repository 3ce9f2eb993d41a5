//! One server block as the engine sees it: its directives, and the stores they share.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::Now;
use super::cache::entry::Entry;
use super::cache::key::Key;
use super::cache::lifetime::Bounds;
use super::cache::record::Kind;
use super::cache::renewal::Renewal;
use super::cache::shared::{Resident, Store};
use super::policy::hosts::HostsTable;
use super::policy::loops::LoopProbe;
use super::policy::route::Route;
use super::policy::search::SearchPolicy;
use super::wire::name::{Name, wire_is_at_or_below};
use crate::config;

/// One server block.
#[derive(Debug)]
pub struct Block {
    /// Its directives.
    pub config: config::Block,
    /// Its `forward`s, longest zone first.
    pub routes: Vec<Route>,
    /// Its `cache`.
    pub cache: Option<BlockCache>,
    /// Its `hosts` table, replaced when the file changes.
    pub hosts: Option<Arc<ArcSwap<HostsTable>>>,
    /// Its `loop` probe.
    pub probe: Option<Arc<LoopProbe>>,
    /// Its `searchpath`.
    pub search: Option<SearchPolicy>,
    /// Whether its `acl` may say something else to a client than that of the block whose search
    /// list led here.
    pub has_own_acl: bool,
}

impl Block {
    /// The way a lower-case wire name is forwarded.
    pub fn route(&self, name: &[u8]) -> Option<&Route> {
        self.routes.iter().find(|route| route.takes(name))
    }
}

/// What `cache` says, and where answers are kept: one store for both kinds unless the directive
/// gives either a capacity of its own.
#[derive(Debug)]
pub struct BlockCache {
    /// The directive.
    pub config: config::Cache,
    /// Where positive answers are.
    pub success: Store,
    /// Where negative answers and failures are.
    pub denial: Store,
}

impl BlockCache {
    /// What is known under a key, fresh if anything fresh is known. A fresh answer of either kind
    /// comes before an expired one, and of two expired ones the positive comes first.
    #[inline]
    pub fn find(&self, key: &[u8], now: Now) -> Option<Resident<'_>> {
        if self.success.is(&self.denial) {
            return self.success.find(key);
        }
        let positive = self.success.find(key);
        let has_positive = positive.is_some();
        let fresh = |found: &Resident<'_>| found.record().is_fresh(now);
        // Each is let go before the next is looked at: one lock at a time.
        if let Some(positive) = positive.filter(fresh) {
            return Some(positive);
        }
        let negative = self.denial.find(key).filter(|found| !has_positive || fresh(found));
        negative.or_else(|| self.success.find(key))
    }

    /// Changes the marks of renewal of an entry, if it is still what is known.
    pub fn mark(&self, key: &Key, known: &Entry, change: impl FnOnce(&mut Renewal)) {
        let store = match known.record().kind() {
            Kind::Success => &self.success,
            Kind::Denial | Kind::Failure => &self.denial,
        };
        store.mark(key.as_bytes(), known, change);
    }

    /// Bounds of positive lifetimes.
    pub fn success_bounds(&self) -> Bounds {
        bounds(&self.config.success)
    }

    /// Bounds of negative lifetimes.
    pub fn denial_bounds(&self) -> Bounds {
        bounds(&self.config.denial)
    }

    /// How long after its expiry an answer may be served, in milliseconds; 0: not at all.
    pub fn stale_window_millis(&self) -> u64 {
        self.config.serve_stale.as_ref().map_or(0, |stale| stale.window.as_millis() as u64)
    }

    /// How long a client waits for a fresh answer where there is an expired one, in milliseconds.
    pub fn client_timer_millis(&self) -> u64 {
        self.config.serve_stale.as_ref().map_or(0, |stale| stale.client_timer.as_millis() as u64)
    }

    /// Whether answers of a kind are kept for a lower-case wire name.
    pub fn keeps(&self, part: &config::CachePart, name: &[u8]) -> bool {
        let is_under =
            |zones: &[Name]| zones.iter().any(|zone| wire_is_at_or_below(name, zone.wire()));
        let is_served = self.config.zones.is_empty() || is_under(&self.config.zones);
        let is_disabled =
            part.disabled.as_ref().is_some_and(|zones| zones.is_empty() || is_under(zones));
        is_served && !is_disabled
    }
}

fn bounds(part: &config::CachePart) -> Bounds {
    Bounds { ttl_max_secs: part.ttl_max_secs, ttl_min_secs: part.ttl_min_secs }
}
