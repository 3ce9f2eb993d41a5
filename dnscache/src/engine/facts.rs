//! What the caches say about a name, whichever block it belongs to.

use super::block::Block;
use super::cache::key::{Flags, Key, KeyBuffer};
use super::cache::record::{Kind, Record};
use super::policy::hosts::{self, Found};
use super::policy::route::Route;
use super::policy::search::walk::{Fact, Facts, Missing, Says};
use super::policy::{rewrite, template};
use super::wire::header::{class, rcode, rtype};
use super::{Ask, BlockId, Company, Engine, ListenerId, Now, Shortcut};

/// Facts for clients of one listen address.
pub(super) struct CachedFacts<'a> {
    pub(super) engine: &'a Engine,
    pub(super) listener: ListenerId,
    pub(super) now: Now,
    pub(super) key: &'a mut KeyBuffer,
}

/// Whose a name is, and how it is forwarded.
#[derive(Clone, Copy)]
pub(super) struct Way<'a> {
    pub(super) id: BlockId,
    pub(super) block: &'a Block,
    pub(super) route: &'a Route,
}

impl Way<'_> {
    /// A question that goes this way, of a client that waits for nothing else.
    pub(super) fn ask(self, key: Key, asked: Now) -> Ask {
        Ask {
            block: self.id,
            route: self.route.id,
            key,
            stale: None,
            is_known: false,
            client_timer_millis: 0,
            renewal: false,
            asked,
            shortcut: Shortcut::NotAnExpansion,
            company: None,
            audits: None,
        }
    }
}

impl Engine {
    /// The way of a lower-case wire name that was asked at `listener`.
    pub(super) fn way(&self, listener: ListenerId, name: &[u8]) -> Option<Way<'_>> {
        let id = self.listeners.get(usize::from(listener.0))?.zones.find(name)?;
        let block = self.block(id);
        Some(Way { id, block, route: block.route(name)? })
    }
}

impl CachedFacts<'_> {
    /// Gives what upstream said about a name and type to `read`.
    pub(super) fn record<R>(
        &mut self,
        name: &[u8],
        qtype: u16,
        read: impl FnOnce(Record<'_>) -> R,
    ) -> Option<R> {
        let way = self.engine.way(self.listener, name)?;
        let cache = way.block.cache.as_ref()?;
        self.key.set_name(name);
        let key = self.key.complete(way.route.id, qtype, class::IN, Flags::default());
        cache.find(key, self.now).map(|found| read(found.record()))
    }

    /// A question that nobody waits for, about a fact.
    pub(super) fn ask(&mut self, (name, qtype): &Missing) -> Option<Ask> {
        let way = self.engine.way(self.listener, name.wire())?;
        let copy = |record: Record<'_>| (record.kind() != Kind::Failure).then(|| record.into());
        let known = self.record(name.wire(), *qtype, copy).flatten();
        self.key.set_name(name.wire());
        let key = self.key.complete(way.route.id, *qtype, class::IN, Flags::default());
        let stale = known.map(std::sync::Arc::new);
        let is_known = stale.is_some();
        Some(Ask { stale, is_known, renewal: true, ..way.ask(key.into(), self.now) })
    }

    /// Questions about facts.
    pub(super) fn asks(&mut self, missing: &[Missing]) -> Vec<Ask> {
        missing.iter().filter_map(|missing| self.ask(missing)).collect()
    }
}

/// Questions that nobody waits for, as one errand.
pub(super) fn together(mut asks: Vec<Ask>) -> Option<Ask> {
    let mut last = asks.pop()?;
    if !asks.is_empty() {
        last.company = Some(Box::new(Company { beside: asks, ..Company::default() }));
    }
    Some(last)
}

impl Facts for CachedFacts<'_> {
    fn known(&mut self, name: &[u8], qtype: u16) -> Option<Fact> {
        let now = self.now;
        self.record(name, qtype, |record| fact(record, now)).flatten()
    }

    fn is_withheld(&mut self, name: &[u8]) -> bool {
        let Some(way) = self.engine.way(self.listener, name) else { return false };
        way.block.has_own_acl || is_in_hosts(way.block, name) || is_altered(way.block, name)
    }

    fn is_same_way(&mut self, one: &[u8], other: &[u8]) -> bool {
        if !self.engine.has_enclaves {
            return true;
        }
        let way = |name| {
            let way = self.engine.way(self.listener, name)?;
            Some((way.id, way.route.id))
        };
        way(one) == way(other)
    }
}

/// Whether `hosts` answers for a name: because it has an entry, or because it is the last word.
fn is_in_hosts(block: &Block, name: &[u8]) -> bool {
    let (Some(table), Some(config)) = (&block.hosts, &block.config.hosts) else { return false };
    hosts::covers(config, name)
        && (!hosts::goes_on(config, name)
            || table.load().find(name, rtype::A, false) != Found::Nothing)
}

/// Whether `rewrite`, `template` or `dns64` may make something else of what upstream says.
fn is_altered(block: &Block, name: &[u8]) -> bool {
    let config = &block.config;
    config.dns64.is_some()
        || rewrite::concerns(&config.rewrites, name)
        || template::concerns(&config.templates, name)
}

/// What a record says about its name. A failure that is remembered says that upstream is not to be
/// asked again so soon, and so does an expired answer whose renewal failed a moment ago.
pub(super) fn fact(record: Record<'_>, now: Now) -> Option<Fact> {
    let left_millis = record.left_millis(now);
    let paused_until = Now::from_millis(record.renewal().paused_until);
    let says = match (record.kind(), record.rcode()) {
        (Kind::Failure, _) if left_millis == 0 => return None,
        (Kind::Failure, _) => Says::Failed,
        _ if left_millis == 0 && now < paused_until => Says::Failed,
        (_, rcode::NXDOMAIN) => Says::Absent { covers: record.has_authority_only() },
        (Kind::Success, _) => Says::Data,
        (Kind::Denial, _) => Says::NoData,
    };
    Some(Fact { says, left_millis })
}
