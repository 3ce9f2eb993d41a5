//! Which facts about hot names are to be renewed before they run out.

use std::collections::HashMap;

use super::cache::key::KeyBuffer;
use super::cache::record::Record;
use super::facts::{CachedFacts, fact};
use super::policy::hot::{HotName, Way};
use super::policy::search::walk::{Fact, Missing, Says, Story};
use super::policy::search::{SearchPolicy, compose};
use super::wire::name::{Name, wire_is_at_or_below};
use super::{Ask, Engine, ListenerId, Now};

/// A fact is renewed when so much of its life is left, in percent,
const DUE_PERCENT: u64 = 10;
/// or so many milliseconds: two looks and an exchange with upstream.
const DUE_MILLIS: u64 = 1_250;
/// Uses in a fact's life from which on it is renewed.
const USES_MIN: f64 = 2.0;
/// Types of a name that are renewed.
const TYPES: usize = 3;
/// Ways of a name that are renewed.
const WAYS: usize = 3;

/// What is wanted of a fact.
#[derive(Debug, Clone, Copy)]
struct Demand {
    /// Questions per second that rest on it.
    per_second: f64,
    fact: Fact,
    lifetime_millis: u64,
}

impl Demand {
    /// Whether it runs out soon and is used often enough: a fact used more rarely costs less if it is
    /// asked for when it is needed.
    fn is_due(&self) -> bool {
        let margin_millis = (self.lifetime_millis * DUE_PERCENT / 100).max(DUE_MILLIS);
        let uses = self.per_second * self.lifetime_millis as f64 / 1_000.0;
        let may_be_asked = self.fact.says != Says::Failed;
        may_be_asked && self.fact.left_millis <= margin_millis && uses >= USES_MIN
    }
}

impl Engine {
    /// The questions that keep hot names known, the most useful first; at most `max`.
    pub fn due(&self, hot: &[HotName], now: Now, max: usize) -> Vec<Ask> {
        let mut key = KeyBuffer::default();
        let mut demands: HashMap<(ListenerId, Missing), Demand> = HashMap::new();
        for name in hot {
            for way in name.ways.iter().take(WAYS) {
                self.demand(name, way, now, &mut key, &mut demands);
            }
        }
        let mut due: Vec<_> = demands.into_iter().filter(|(_, demand)| demand.is_due()).collect();
        due.sort_by(|(_, one), (_, other)| other.per_second.total_cmp(&one.per_second));
        let mut ask = |((listener, missing), _): ((ListenerId, Missing), Demand)| {
            CachedFacts { engine: self, listener, now, key: &mut key }.ask(&missing)
        };
        due.into_iter().take(max).filter_map(&mut ask).collect()
    }

    /// Adds what one way of asking for a name rests on.
    fn demand(
        &self,
        name: &HotName,
        way: &Way,
        now: Now,
        key: &mut KeyBuffer,
        demands: &mut HashMap<(ListenerId, Missing), Demand>,
    ) {
        let all: u64 = name.ways.iter().map(|way| way.count).sum();
        let share = way.count as f64 / all.max(1) as f64;
        let types: Vec<u16> = name.types.iter().copied().take(TYPES).collect();
        let per_second = name.per_second * share / types.len().max(1) as f64;
        for qtype in types {
            for missing in self.rests_on(name, way, qtype, now, key) {
                let mut facts = CachedFacts { engine: self, listener: way.listener, now, key };
                let read =
                    |record: Record<'_>| Some((fact(record, now)?, record.lifetime_millis()));
                let known = facts.record(missing.0.wire(), missing.1, read).flatten();
                let Some((fact, lifetime_millis)) = known else { continue };
                let demand = Demand { per_second: 0.0, fact, lifetime_millis };
                demands.entry((way.listener, missing)).or_insert(demand).per_second += per_second;
            }
        }
    }

    /// What the answer to one type rests on.
    fn rests_on(
        &self,
        name: &HotName,
        way: &Way,
        qtype: u16,
        now: Now,
        key: &mut KeyBuffer,
    ) -> Vec<Missing> {
        if way.suffix.is_root() {
            return vec![(name.name.clone(), qtype)];
        }
        let found = self.way(way.listener, way.suffix.wire());
        let Some(policy) = found.and_then(|found| found.block.search.as_ref()) else {
            return Vec::new();
        };
        let mut facts = CachedFacts { engine: self, listener: way.listener, now, key };
        let (mut asked, mut candidate) = (Vec::new(), Vec::new());
        for end in ends(policy, way.is_absolute) {
            let words = words_before(name.name.wire(), end);
            if !words.is_some_and(|words| compose(words, way.suffix.wire(), &mut asked)) {
                continue;
            }
            let Some(expansion) = policy.expansion(&asked) else { continue };
            match policy.walk(&mut facts, &expansion, qtype, &mut candidate) {
                Story::Found { candidate, .. } | Story::Lapsed { candidate, .. } => {
                    return policy.rests_on(&mut facts, &expansion, (qtype, candidate));
                }
                Story::None(_) => {}
            }
        }
        Vec::new()
    }
}

/// What may follow the words in the name they led to.
fn ends(policy: &SearchPolicy, is_absolute: bool) -> &[Name] {
    let (root, others) = policy.suffixes().split_last().expect("the root ends every list");
    if is_absolute { std::slice::from_ref(root) } else { others }
}

/// The words of a name that ends so.
fn words_before<'n>(name: &'n [u8], end: &Name) -> Option<&'n [u8]> {
    let is_longer = name.len() > end.wire().len() && wire_is_at_or_below(name, end.wire());
    is_longer.then(|| &name[..name.len() - end.wire().len()])
}
