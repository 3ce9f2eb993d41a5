//! Shortcuts through search lists: the steps a question below the cluster domain takes.
//!
//! What upstream says about the very name comes first, if it exists. Otherwise the list of the
//! lookup is walked over what is known ([`walk`](super::policy::search::walk)), and the reply says
//! where it ends. If that cannot be said, a denial of a name above cuts the question short. The
//! rest is asked, with the boundaries beside it.

use std::sync::Arc;

use super::cache::entry::Entry;
use super::cache::key::{Flags, Key, KeyBuffer, SYNTHESISED_MAX};
use super::cache::record::{Kind, Record};
use super::desk::{Desk, Guise};
use super::facts::{CachedFacts, Way, together};
use super::policy::hot::Sighting;
use super::policy::search::recent::Lookup;
use super::policy::search::walk::{Fact, Facts, Missing, Says, Story, is_known_to_exist};
use super::policy::search::{Expansion, SearchPolicy, compose};
use super::wire::answer::Meaning;
use super::wire::denial::denial;
use super::wire::edns::extended_error;
use super::wire::header::{class, flag, rcode, rtype};
use super::wire::name::NAME_MAX;
use super::wire::rebuild::behind_alias;
use super::wire::ttl::Age;
use super::{Ask, Company, Facts as Counted, Reason, Reply, Shortcut, Source, Verdict};

/// Rounds beyond the facts that are missing at first: one for a fact that runs out meanwhile, one
/// for a type that turns out to be unknown.
const ROUNDS_MORE: u8 = 2;

/// The name asked, beside the buffer in which keys are built.
struct Asked {
    octets: [u8; NAME_MAX],
    len: usize,
}

impl Asked {
    fn of(name: &[u8]) -> Self {
        let mut asked = Self { octets: [0; NAME_MAX], len: name.len() };
        asked.octets[..name.len()].copy_from_slice(name);
        asked
    }

    fn name(&self) -> &[u8] {
        &self.octets[..self.len]
    }
}

/// What was synthesised for a question before.
enum Synthesised {
    /// It holds: the reply is written.
    Holds(Reply),
    /// It does not hold any more, and may be served if upstream is silent.
    Expired { entry: Arc<Entry>, mark: Mark, has_failed: bool },
    /// Nothing.
    None,
}

impl Synthesised {
    /// It, unless it told of another candidate: a name before that one may exist by now, or that
    /// one may not be the first any more.
    fn leading_to(self, candidate: usize) -> Self {
        match self {
            Self::Expired { mark, .. } if usize::from(mark.skipped) != candidate + 1 => Self::None,
            other => other,
        }
    }
}

impl Desk<'_> {
    /// A question below the cluster domain.
    pub(super) fn look_up_below(
        &mut self,
        way: Way<'_>,
        policy: &SearchPolicy,
        flags: Flags,
        key: &mut KeyBuffer,
    ) -> Verdict {
        policy.state.tell(self.now);
        if let Some(reason) = self.verbatim(policy, flags, key.name()) {
            return marked(self.look_up_plainly(way, flags, key), reason);
        }
        let asked = Asked::of(key.name());
        let name = asked.name();
        let first = policy.rewrites().then(|| policy.expansion(name)).flatten();
        let (reason, plain) = match first {
            None if policy.rewrites() => (Reason::NoNamespace, self.look_up_known(way, flags, key)),
            None => (Reason::CutsOnly, self.look_up_known(way, flags, key)),
            Some(expansion) => {
                let lookup = policy.state.recent.lookup(self.query.source, name);
                match self.shorten(way, policy, &expansion, lookup, flags, key) {
                    Ok(verdict) => return verdict,
                    Err((reason, plain)) => {
                        let (recent, qtype) = (&policy.state.recent, self.question.qtype);
                        recent.tell_plainly(lookup, qtype, self.now);
                        (reason, plain)
                    }
                }
            }
        };
        match plain {
            Some(Verdict::Reply(reply)) if is_final(&reply.facts) => {
                marked(Verdict::Reply(reply), Reason::Exists)
            }
            Some(Verdict::Reply(reply)) if reply.facts.source == Source::CacheDenial => {
                marked(Verdict::Reply(reply), reason)
            }
            plain => match self.cut(way, policy, name, plain.is_none()) {
                Some(reply) => Verdict::Reply(reply),
                None => {
                    let verdict = plain.unwrap_or_else(|| self.look_up_plainly(way, flags, key));
                    self.with_boundaries(marked(verdict, reason), policy, name)
                }
            },
        }
    }

    /// Why a question wants what upstream says, whatever else is known.
    fn verbatim(&self, policy: &SearchPolicy, flags: Flags, name: &[u8]) -> Option<Reason> {
        if policy.leaves_out(name) {
            return Some(Reason::LeftOut);
        }
        let is_plain = flags == Flags::default()
            && self.question.qclass == class::IN
            && self.question.qtype != rtype::DS
            && self.question.header.has(flag::RD);
        (!is_plain).then_some(Reason::Verbatim)
    }

    /// Shortens a lookup to its end. If that cannot be done: why, and what upstream said to the
    /// very question.
    fn shorten(
        &mut self,
        way: Way<'_>,
        policy: &SearchPolicy,
        expansion: &Expansion<'_>,
        lookup: Lookup,
        flags: Flags,
        key: &mut KeyBuffer,
    ) -> Result<Verdict, (Reason, Option<Verdict>)> {
        if let Err(reason) = self.may_shorten(policy, lookup) {
            return Err((reason, self.look_up_known(way, flags, key)));
        }
        let synthesised = self.recall_synthesised(way, policy, expansion, key);
        if let Synthesised::Holds(reply) = synthesised {
            return Ok(Verdict::Reply(reply));
        }
        let plain = self.look_up_known(way, flags, key);
        if matches!(&plain, Some(Verdict::Reply(reply)) if is_final(&reply.facts)) {
            return Err((Reason::Exists, plain));
        }
        self.walk(way, policy, expansion, &plain, synthesised, key).map_err(|reason| {
            let (recent, learned) = (&policy.state.recent, self.engine.learned());
            recent.note_futile(lookup, (self.question.qtype, learned), reason, self.now);
            (reason, plain)
        })
    }

    /// Whether a lookup may be shortened; the reason if not.
    fn may_shorten(&self, policy: &SearchPolicy, lookup: Lookup) -> Result<(), Reason> {
        if !may_be_aliased(self.question.qtype) {
            return Err(Reason::Verbatim);
        }
        let (recent, qtype, now) = (&policy.state.recent, self.question.qtype, self.now);
        if recent.is_walking(lookup, now) {
            return Err(Reason::OtherNamespace);
        }
        let stays_plain = recent.stays_plain(lookup, qtype, now);
        let futile = recent.futile(lookup, qtype, self.engine.learned(), now);
        if let Some(reason) = futile.filter(|_| self.rounds.is_none()) {
            return Err(reason);
        }
        if stays_plain { Err(Reason::OtherType) } else { Ok(()) }
    }

    /// What was synthesised for the question before.
    fn recall_synthesised(
        &mut self,
        way: Way<'_>,
        policy: &SearchPolicy,
        expansion: &Expansion<'_>,
        key: &mut KeyBuffer,
    ) -> Synthesised {
        let Some(cache) = &way.block.cache else { return Synthesised::None };
        let Some(own) = self.synthesised_key(way, key) else { return Synthesised::None };
        let Some(found) = cache.find(own, self.now) else { return Synthesised::None };
        let Some(mark) = found.record().synthesised().and_then(|mark| Mark::read(mark, policy))
        else {
            return Synthesised::None;
        };
        if found.record().is_fresh(self.now) {
            let reply = self.serve_synthesised(way, found.record(), mark);
            drop(found);
            if self.engine.has_tables && self.is_withheld(policy, expansion, mark) {
                return Synthesised::None;
            }
            return Synthesised::Holds(self.after_rewrite(way, policy, expansion, mark, reply));
        }
        match found.record().is_servable_stale(self.now, cache.stale_window_millis()) {
            true => Synthesised::Expired {
                entry: Arc::new(found.record().into()),
                mark,
                has_failed: found.record().renewal().has_failed() || way.route.health.is_silent(),
            },
            false => Synthesised::None,
        }
    }

    /// Whether a name that exists would be passed over by what was synthesised before.
    fn hides_something(
        &mut self,
        policy: &SearchPolicy,
        expansion: &Expansion<'_>,
        mark: Mark,
    ) -> bool {
        let skipped = usize::from(mark.skipped) - 1;
        self.is_one_of(policy, expansion, skipped, |facts, name| is_known_to_exist(facts, name))
    }

    /// Whether `hosts` or `acl` have a word by now in what was skipped or found.
    fn is_withheld(
        &mut self,
        policy: &SearchPolicy,
        expansion: &Expansion<'_>,
        mark: Mark,
    ) -> bool {
        let passed = mark.skipped.into();
        self.is_one_of(policy, expansion, passed, |facts, name| facts.is_withheld(name))
    }

    /// Whether this is so for one of the first `count` candidates after the name asked.
    fn is_one_of(
        &mut self,
        policy: &SearchPolicy,
        expansion: &Expansion<'_>,
        count: usize,
        is_it: impl Fn(&mut CachedFacts<'_>, &[u8]) -> bool,
    ) -> bool {
        let mut name = std::mem::take(self.names);
        let mut facts = self.facts();
        let found = policy.suffixes().iter().take(count).any(|suffix| {
            compose(expansion.words, suffix.wire(), &mut name) && is_it(&mut facts, &name)
        });
        *self.names = name;
        found
    }

    /// The key of what is synthesised; `None` at an address beyond those that keys can tell apart.
    fn synthesised_key<'k>(&self, way: Way<'_>, key: &'k mut KeyBuffer) -> Option<&'k [u8]> {
        let address = u8::try_from(self.query.listener.0).ok()?;
        let is_told_apart = address < SYNTHESISED_MAX;
        let flags = Flags { synthesised: Some(address), ..Flags::default() };
        is_told_apart
            .then(|| key.complete(way.route.id, self.question.qtype, self.question.qclass, flags))
    }

    /// Walks the list of a lookup; the reason if that leads nowhere.
    fn walk(
        &mut self,
        way: Way<'_>,
        policy: &SearchPolicy,
        expansion: &Expansion<'_>,
        plain: &Option<Verdict>,
        synthesised: Synthesised,
        key: &mut KeyBuffer,
    ) -> Result<Verdict, Reason> {
        let qtype = self.question.qtype;
        // Read before the facts are: what they say may be taken back while they are looked at.
        let generation = policy.state.generation();
        let mut name = std::mem::take(self.names);
        let story = policy.walk(&mut self.facts(), expansion, qtype, &mut name);
        *self.names = name;
        let reason = match story {
            Story::Found { candidate, left_millis, by_boundary } => {
                let mark = Mark { skipped: candidate as u8 + 1, generation };
                let entry = self.synthesise(way, policy, expansion, (mark, left_millis), key);
                if let Some(entry) = entry {
                    let mut reply = self.serve_synthesised(way, entry.record(), mark);
                    let (skipped, spared) = (mark.skipped, by_boundary);
                    reply.facts.shortcut = Shortcut::Rewritten { skipped, spared };
                    let reply = self.after_rewrite(way, policy, expansion, mark, reply);
                    return Ok(Verdict::Reply(reply));
                }
                Reason::Unknown
            }
            Story::Lapsed { missing, candidate } => {
                let synthesised = synthesised.leading_to(candidate);
                match self.renew_story(way, &missing, plain, synthesised, key) {
                    Some(verdict) => return Ok(verdict),
                    None => Reason::Unknown,
                }
            }
            Story::None(Reason::Failing) => {
                if let Synthesised::Expired { entry, mark, .. } = &synthesised
                    && !self.hides_something(policy, expansion, *mark)
                    && let Some(reply) = self.serve_stale_story(way, entry, &[], key)
                {
                    return Ok(Verdict::Reply(reply));
                }
                Reason::Failing
            }
            Story::None(reason) => reason,
        };
        self.note_steps(policy, expansion);
        Err(reason)
    }

    /// The facts of a shortcut have run out: they are asked for again, together, and the client
    /// waits for them. While upstream is silent it gets what was synthesised last (RFC 8767).
    fn renew_story(
        &mut self,
        way: Way<'_>,
        missing: &[Missing],
        plain: &Option<Verdict>,
        synthesised: Synthesised,
        key: &mut KeyBuffer,
    ) -> Option<Verdict> {
        let cache = way.block.cache.as_ref()?;
        let (stale, has_failed) = match synthesised {
            Synthesised::Expired { entry, has_failed, .. } => (Some(entry), has_failed),
            _ => (None, false),
        };
        let client_timer_millis = cache.client_timer_millis();
        if let Some(entry) = stale.as_ref().filter(|_| has_failed || client_timer_millis == 0) {
            return self.serve_stale_story(way, entry, missing, key).map(Verdict::Reply);
        }
        let is_stale =
            matches!(plain, Some(Verdict::Reply(reply)) if reply.facts.source == Source::Stale);
        if self.rounds == Some(0) || is_stale {
            return None;
        }
        let first = self.facts().asks(missing);
        if first.is_empty() {
            return None;
        }
        let rounds = self.rounds.map_or(first.len() as u8 + ROUNDS_MORE, |left| left - 1);
        let ask = way.ask(Key::from(self.synthesised_key(way, key)?), self.now);
        Some(Verdict::Ask(Ask {
            stale,
            is_known: true,
            client_timer_millis,
            shortcut: Shortcut::NotTaken(Reason::Unknown),
            company: Some(Box::new(Company { first, rounds, ..Company::default() })),
            ..ask
        }))
    }

    fn serve_stale_story(
        &mut self,
        way: Way<'_>,
        entry: &Arc<Entry>,
        missing: &[Missing],
        key: &mut KeyBuffer,
    ) -> Option<Reply> {
        let mut reply = self.serve(way.block, way.id, entry.record(), Source::Stale);
        let health = &way.route.health;
        let now = self.now;
        let key = Key::from(self.synthesised_key(way, key)?);
        let mut is_due = false;
        if let Some(cache) = &way.block.cache {
            cache.mark(&key, entry, |renewal| is_due = renewal.claim(now, health));
        }
        if is_due {
            reply.renew = together(self.facts().asks(missing));
        }
        Some(reply)
    }

    /// Puts the reply together that a walk has found, and keeps it for as long as its facts hold.
    fn synthesise(
        &mut self,
        way: Way<'_>,
        policy: &SearchPolicy,
        expansion: &Expansion<'_>,
        (mark, left_millis): (Mark, u64),
        key: &mut KeyBuffer,
    ) -> Option<Entry> {
        let candidate = usize::from(mark.skipped) - 1;
        let mut target = std::mem::take(self.names);
        let is_name = compose(expansion.words, policy.suffixes()[candidate].wire(), &mut target);
        let question =
            [expansion.name, &self.question.asked[self.question.name().len()..]].concat();
        let (now, qtype) = (self.now, self.question.qtype);
        let digest = |record: Record<'_>| {
            let Age::Seconds(age_secs) = record.age(now) else { return None };
            let ttl_secs = (left_millis / 1_000).try_into().unwrap_or(u32::MAX);
            let digest = behind_alias(&question, record.message(), ttl_secs, age_secs)?;
            (record.left_millis(now) >= left_millis).then_some((digest, record.kind()))
        };
        let built = self.facts().record(&target, qtype, digest).flatten().filter(|_| is_name);
        *self.names = target;
        let (mut digest, kind) = built?;
        if kind == Kind::Denial {
            digest.meaning = Meaning::DeniedWithoutSoa;
        }
        let key = Key::from(self.synthesised_key(way, key)?);
        let entry = Entry::synthesised(&key, digest, left_millis, mark.written(), now);
        way.block.cache.as_ref()?.keep(&key, &entry);
        Some(entry)
    }

    fn serve_synthesised(&mut self, way: Way<'_>, record: Record<'_>, mark: Mark) -> Reply {
        let mut reply = self.serve(way.block, way.id, record, Source::SearchPath);
        reply.facts.shortcut = Shortcut::Rewritten { skipped: mark.skipped, spared: 0 };
        reply
    }

    /// What comes with a rewritten reply: a sighting for `hotnames`, an audit when it is due.
    fn after_rewrite(
        &mut self,
        way: Way<'_>,
        policy: &SearchPolicy,
        expansion: &Expansion<'_>,
        mark: Mark,
        mut reply: Reply,
    ) -> Reply {
        let suffix = |index: usize| policy.suffixes()[index].wire();
        let candidate = usize::from(mark.skipped) - 1;
        if candidate < policy.suffixes().len()
            && compose(expansion.words, suffix(candidate), self.names)
        {
            let name = std::mem::take(self.names);
            let is_absolute = candidate + 1 == policy.suffixes().len();
            self.see(&name, &expansion.name[expansion.words.len()..], is_absolute, mark.skipped);
            *self.names = name;
        }
        let one_in = policy.config.audit_one_in;
        let boundary = policy.boundaries(expansion.name).iter().next_back();
        let boundary = boundary.unwrap_or(expansion.name);
        if let Some(turn) = policy.state.audit_turn(boundary, one_in, self.now) {
            // Each turn another one of the answers that were skipped.
            let mut name = expansion.name.to_vec();
            let step = turn as usize % usize::from(mark.skipped);
            if step == 0 || compose(expansion.words, suffix(step - 1), &mut name) {
                reply.renew = self.audit(way, &name);
            }
        }
        reply
    }

    /// NXDOMAIN, because a name above does not exist. `is_spared` says whether upstream would have
    /// been asked otherwise.
    fn cut(
        &mut self,
        way: Way<'_>,
        policy: &SearchPolicy,
        name: &[u8],
        is_spared: bool,
    ) -> Option<Reply> {
        let qtype = self.question.qtype;
        let (boundary, left_millis) = policy.denial(&mut self.facts(), name, qtype)?;
        let extended = way.block.config.debug.then_some(extended_error::SYNTHESIZED);
        let shape = self.shape(way.block, extended);
        let (question, now) = (self.question, self.now);
        let left_secs = (left_millis / 1_000).try_into().unwrap_or(u32::MAX);
        let Desk { engine, query, fact_key, out, names, .. } = self;
        let mut facts = CachedFacts { engine, listener: query.listener, now, key: fact_key };
        let write = |record: Record<'_>| {
            let Age::Seconds(age_secs) = record.age(now) else { return None };
            denial(out, question, shape, record.message(), (age_secs, left_secs), names)
        };
        let len = facts.record(boundary, rtype::A, write).flatten()?;
        let mut reply = self.reply(way.id, len, rcode::NXDOMAIN, Source::SearchPath);
        reply.facts.shortcut = Shortcut::Cut { is_spared };
        let is_itself = boundary.len() == name.len();
        if !is_itself
            && policy.state.audit_turn(boundary, policy.config.audit_one_in, now).is_some()
        {
            reply.renew = self.audit(way, name);
        }
        Some(reply)
    }

    /// The question by which a synthesised reply is checked.
    fn audit(&mut self, way: Way<'_>, name: &[u8]) -> Option<Ask> {
        let name = super::wire::name::Name::from_wire(name)?;
        let qtype = self.question.qtype;
        let mut ask = self.facts().ask(&(name, qtype))?;
        ask.audits = Some((way.id, self.query.listener));
        Some(ask)
    }

    /// Adds the boundaries that nobody asked for yet to a question for upstream.
    fn with_boundaries(&mut self, verdict: Verdict, policy: &SearchPolicy, name: &[u8]) -> Verdict {
        let Verdict::Ask(mut ask) = verdict else { return verdict };
        let qtype = self.question.qtype;
        let missing = policy.unknown_boundaries(&mut self.facts(), name, qtype);
        let (recent, now) = (&policy.state.recent, self.now);
        let missing: Vec<Missing> =
            missing.into_iter().filter(|(name, _)| recent.may_ask(name.wire(), now)).collect();
        let beside = self.facts().asks(&missing);
        if !beside.is_empty() {
            ask.company = Some(Box::new(Company { beside, ..Company::default() }));
        }
        Verdict::Ask(ask)
    }

    /// Notes which steps of this lookup could be taken for first questions of another namespace's:
    /// the client goes on to ask them.
    fn note_steps(&mut self, policy: &SearchPolicy, expansion: &Expansion<'_>) {
        let mut name = std::mem::take(self.names);
        for suffix in policy.suffixes() {
            if !compose(expansion.words, suffix.wire(), &mut name) {
                continue;
            }
            let Some(step) = policy.expansion(&name) else { continue };
            let namespace = self.facts().known(step.namespace, rtype::A);
            let is_absent =
                matches!(namespace, Some(Fact { says: Says::Absent { .. }, left_millis: 1.. }));
            if !is_absent {
                policy.state.recent.walk(self.query.source.ip(), &name, self.now);
            }
        }
        *self.names = name;
    }

    /// Counts a question about a name that exists, for `hotnames`.
    pub(super) fn see(&mut self, name: &[u8], suffix: &[u8], is_absolute: bool, skipped: u8) {
        // What a name is rewritten to may be nobody's own question.
        let Some(hot) = self.engine.hot().filter(|_| self.guise != Guise::Rewritten) else {
            return;
        };
        if let Some(weight) = self.sampler.weight(self.now) {
            let sighting = Sighting {
                name,
                suffix,
                is_absolute,
                qtype: self.question.qtype,
                listener: self.query.listener,
                weight,
                skipped,
            };
            hot.note(&sighting, self.now);
        }
    }

    fn facts(&mut self) -> CachedFacts<'_> {
        CachedFacts {
            engine: self.engine,
            listener: self.query.listener,
            now: self.now,
            key: self.fact_key,
        }
    }
}

/// What a synthesised answer is marked with.
#[derive(Debug, Clone, Copy)]
struct Mark {
    /// Candidates that were skipped.
    skipped: u8,
    /// See [`SearchState::generation`](super::policy::search::state::SearchState::generation).
    generation: u32,
}

impl Mark {
    fn written(self) -> u32 {
        self.generation << 8 | u32::from(self.skipped)
    }

    /// The mark of an answer that still counts.
    fn read(mark: u32, policy: &SearchPolicy) -> Option<Self> {
        let mark = Self { skipped: mark as u8, generation: mark >> 8 };
        (mark.generation == policy.state.generation() && mark.skipped > 0).then_some(mark)
    }
}

/// Types for which an alias may stand in the answer without being the answer.
fn may_be_aliased(qtype: u16) -> bool {
    !matches!(
        qtype,
        rtype::CNAME | rtype::DNAME | rtype::DS | rtype::RRSIG | rtype::NSEC | rtype::NSEC3
    )
}

/// Whether upstream said something else than that the name does not exist.
fn is_final(facts: &Counted) -> bool {
    match facts.source {
        Source::CacheSuccess | Source::CacheFailure => true,
        Source::CacheDenial => facts.rcode != rcode::NXDOMAIN,
        _ => false,
    }
}

/// The verdict, with the reason why no shortcut was taken.
pub(super) fn marked(mut verdict: Verdict, reason: Reason) -> Verdict {
    let shortcut = Shortcut::NotTaken(reason);
    match &mut verdict {
        Verdict::Reply(reply) => reply.facts.shortcut = shortcut,
        Verdict::Ask(ask) => ask.shortcut = shortcut,
        Verdict::Drop(_) => {}
    }
    verdict
}

#[cfg(test)]
mod tests;
