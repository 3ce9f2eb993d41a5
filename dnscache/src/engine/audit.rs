//! Checks of synthesised replies: what upstream says to the very question, afterwards.

use super::cache::key::{Flags, KeyBuffer};
use super::facts::CachedFacts;
use super::policy::search::walk::{Facts, Says};
use super::wire::header::{class, rcode, rtype};
use super::wire::name::Name;
use super::{Ask, Engine, ListenerId, Now, Outcome};

/// Something exists although a reply said that it does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contradiction {
    /// What exists.
    pub name: Name,
    /// The name above it that upstream denied; switched off for a while.
    pub boundary: Option<Name>,
}

impl Engine {
    /// Takes in what became of a question that checks a synthesised reply. What is contradicted is
    /// not believed any more: its fact is dropped, its boundary switched off, and replies that
    /// rested on it do not count.
    pub fn audited(&self, ask: &Ask, outcome: &Outcome, now: Now) -> Option<Contradiction> {
        let policy = self.block(ask.audits?.0).search.as_ref()?;
        let Outcome::Fresh(entry) = outcome else { return None };
        if entry.record().rcode() == rcode::NXDOMAIN {
            return None;
        }
        let name = ask.key.name();
        let mut key = KeyBuffer::default();
        let (_, listener) = ask.audits?;
        let mut facts = CachedFacts { engine: self, listener, now, key: &mut key };
        let is_denied = |boundary: &&[u8]| {
            let fact = facts.known(boundary, rtype::A);
            fact.is_some_and(|fact| matches!(fact.says, Says::Absent { .. }))
        };
        let boundary = policy.boundaries(name).iter().find(is_denied).and_then(Name::from_wire);
        if let Some(boundary) = &boundary {
            self.forget(listener, boundary);
        }
        policy.state.contradict(boundary.clone(), now);
        Some(Contradiction { name: Name::from_wire(name)?, boundary })
    }

    /// Forgets what upstream said about a boundary.
    fn forget(&self, listener: ListenerId, name: &Name) {
        let Some(way) = self.way(listener, name.wire()) else { return };
        let Some(cache) = &way.block.cache else { return };
        let mut key = KeyBuffer::default();
        key.set_name(name.wire());
        let key = key.complete(way.route.id, rtype::A, class::IN, Flags::default());
        cache.success.forget(key);
        cache.denial.forget(key);
    }
}
