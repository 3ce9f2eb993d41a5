//! A search list walked over what is known, instead of by the client.
//!
//! A shortcut is taken only while every answer it skips is a live, proven negative. Facts that
//! have expired prove nothing; but if they all tell of a shortcut, they are worth asking for again
//! together, before the client has to walk.

use super::{Expansion, SearchPolicy, compose};
use crate::engine::Reason;
use crate::engine::wire::header::rtype;
use crate::engine::wire::name::Name;

/// What answers there are.
pub trait Facts {
    /// What is known about a lower-case wire name and a type of class IN, without DO and CD.
    fn known(&mut self, name: &[u8], qtype: u16) -> Option<Fact>;

    /// Whether something else than upstream has a word in what is answered about a name.
    fn is_withheld(&mut self, name: &[u8]) -> bool;

    /// Whether two names are answered by the same upstreams for the same block: what is learned
    /// about one is no fact about the other otherwise.
    fn is_same_way(&mut self, one: &[u8], other: &[u8]) -> bool;
}

/// One answer from upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fact {
    /// What it says.
    pub says: Says,
    /// How long it still holds, in milliseconds; 0: it has expired.
    pub left_millis: u64,
}

/// What an answer says about a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    /// NXDOMAIN.
    Absent {
        /// Whether the name itself does not exist, so that nothing below it does (RFC 8020); not
        /// so for an alias of a name that does not (RFC 6604).
        covers: bool,
    },
    /// The name exists, without records of the type asked.
    NoData,
    /// There are such records.
    Data,
    /// Upstream did not say, and is not asked again so soon.
    Failed,
}

impl Fact {
    fn is_live(&self) -> bool {
        self.left_millis > 0
    }

    fn exists(&self) -> bool {
        matches!(self.says, Says::NoData | Says::Data)
    }

    fn is_absent(&self) -> bool {
        matches!(self.says, Says::Absent { .. })
    }

    /// Whether nothing below the name exists either.
    fn covers(&self) -> bool {
        self.says == Says::Absent { covers: true }
    }
}

/// A question about a fact.
pub type Missing = (Name, u16);

/// What the facts say about a lookup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Story {
    /// Everything before this candidate is proven absent, and its answer to the type is known.
    Found {
        /// Its place after the first candidate: an index into [`SearchPolicy::suffixes`].
        candidate: usize,
        /// How long the shortest-lived of the facts still holds, in milliseconds.
        left_millis: u64,
        /// Candidates that were skipped by a boundary alone.
        by_boundary: u8,
    },
    /// These were facts for a shortcut once, or are all that is missing for it.
    Lapsed {
        /// What to ask for.
        missing: Vec<Missing>,
        /// The candidate to which it led, as in `Found`.
        candidate: usize,
    },
    /// There is no shortcut.
    None(Reason),
}

/// What is known about one candidate.
enum Status {
    Absent {
        left_millis: u64,
        by_boundary: bool,
    },
    Data {
        left_millis: u64,
    },
    /// It has no records of this type.
    NoData {
        left_millis: u64,
    },
    /// It was absent.
    WasAbsent(Missing),
    /// It exists or did so, and this would tell.
    Probable(Missing),
    Unknown(Reason),
}

/// Types under which a name's absence is usually known, whatever type is asked.
const USUAL_TYPES: [u16; 2] = [rtype::A, rtype::AAAA];

impl SearchPolicy {
    /// The live denial of a name above a name (or of itself), and how long it holds.
    pub fn denial<'n>(
        &self,
        facts: &mut impl Facts,
        name: &'n [u8],
        qtype: u16,
    ) -> Option<(&'n [u8], u64)> {
        let (boundary, left_millis) = self.trusted(name, qtype).find_map(|boundary| {
            let fact = facts.known(boundary, rtype::A)?;
            (fact.covers() && fact.is_live()).then_some((boundary, fact.left_millis))
        })?;
        let is_believed = boundary.len() == name.len()
            || (facts.is_same_way(boundary, name) && !is_known_to_exist(facts, name));
        is_believed.then_some((boundary, left_millis))
    }

    /// The boundaries whose absence is that of a name and type. Addresses are what a boundary is
    /// asked for; of the very name, only they are denied by that: CoreDNS has names of one type
    /// that it denies for others (`dns-version.D`).
    fn trusted<'n>(
        &self,
        name: &'n [u8],
        qtype: u16,
    ) -> impl Iterator<Item = &'n [u8]> + use<'n, '_> {
        let is_address = USUAL_TYPES.contains(&qtype);
        self.boundaries(name).iter().filter(move |boundary| {
            (is_address || boundary.len() < name.len()) && !self.state.is_off(boundary)
        })
    }

    /// Boundaries of a name to ask for beside the name: those that nobody asked for yet, that were
    /// absent, and the namespace whose existence an expansion needs. Nothing is asked below one
    /// that is unknown: a flood of random names is doubled at most.
    pub fn unknown_boundaries(
        &self,
        facts: &mut impl Facts,
        name: &[u8],
        qtype: u16,
    ) -> Vec<Missing> {
        let needs_namespace = self.rewrites() && self.expansion(name).is_some();
        let is_itself = |boundary: &[u8]| boundary.len() == name.len() && qtype == rtype::A;
        let mut wanted = Vec::new();
        for boundary in self.boundaries(name).iter().filter(|boundary| !is_itself(boundary)) {
            if !facts.is_same_way(boundary, name) {
                break;
            }
            let fact = facts.known(boundary, rtype::A);
            let is_wanted = match fact {
                None => true,
                Some(Fact { left_millis: 1.., .. }) => false,
                Some(Fact { says: Says::Failed, .. }) => false,
                Some(Fact { says: Says::Absent { .. }, .. }) => true,
                Some(Fact { says: Says::NoData | Says::Data, .. }) => needs_namespace,
            };
            if is_wanted && !self.state.is_off(boundary) {
                wanted.extend(missing(boundary, rtype::A));
            }
            if fact.is_none() {
                break;
            }
        }
        wanted
    }

    /// Walks the list of a lookup; `name` is room for its candidates.
    pub fn walk(
        &self,
        facts: &mut impl Facts,
        asked: &Expansion<'_>,
        qtype: u16,
        name: &mut Vec<u8>,
    ) -> Story {
        let mut sum = Sum { left_millis: u64::MAX, by_boundary: 0, lapsed: Vec::new() };
        match facts.known(asked.namespace, rtype::A) {
            Some(Fact { says: Says::Absent { .. }, .. }) => {
                return Story::None(Reason::NoNamespace);
            }
            Some(Fact { says: Says::Failed, .. }) => return Story::None(Reason::Failing),
            Some(Fact { left_millis: 0, .. }) => {
                sum.lapsed.extend(missing(asked.namespace, rtype::A));
            }
            Some(Fact { left_millis, .. }) => sum.left_millis = left_millis,
            None => return Story::None(Reason::Unknown),
        }
        if self.is_below_service(facts, asked.name) {
            return Story::None(Reason::BelowService);
        }
        match self.status(facts, asked.name, qtype) {
            Status::Data { .. } | Status::NoData { .. } | Status::Probable(_) => {
                return Story::None(Reason::Exists);
            }
            status => {
                if let Some(story) = sum.add(status, 0) {
                    return story;
                }
            }
        }
        for (candidate, suffix) in self.suffixes.iter().enumerate() {
            if !compose(asked.words, suffix.wire(), name) {
                return Story::None(Reason::Unknown);
            }
            let status = match self.status(facts, name, qtype) {
                Status::NoData { left_millis } => {
                    let is_last = candidate + 1 == self.suffixes.len();
                    without_data(facts, name, (qtype, left_millis), is_last)
                }
                status => status,
            };
            if let Some(story) = sum.add(status, candidate) {
                return story;
            }
        }
        Story::None(Reason::NoneExists)
    }

    /// The facts that the story of a lookup rests on, whose `candidate` is given: the namespace, one
    /// denial for each name that is skipped, the answer itself.
    pub fn rests_on(
        &self,
        facts: &mut impl Facts,
        asked: &Expansion<'_>,
        (qtype, candidate): (u16, usize),
    ) -> Vec<Missing> {
        let mut found: Vec<Missing> = missing(asked.namespace, rtype::A).into_iter().collect();
        let mut name = asked.name.to_vec();
        for suffix in self.suffixes.iter().take(candidate + 1) {
            let boundary = self.lapsed_denial(facts, &name, qtype);
            let mut exact =
                || USUAL_TYPES.into_iter().find(|usual| facts.known(&name, *usual).is_some());
            found.extend(boundary.or_else(|| missing(&name, exact()?)));
            compose(asked.words, suffix.wire(), &mut name);
        }
        found.extend(missing(&name, qtype));
        found
    }

    fn status(&self, facts: &mut impl Facts, name: &[u8], qtype: u16) -> Status {
        if facts.is_withheld(name) {
            return Status::Unknown(Reason::OtherDirective);
        }
        if let Some((_, left_millis)) = self.denial(facts, name, qtype) {
            return Status::Absent { left_millis, by_boundary: true };
        }
        match self.exact(facts, name, qtype) {
            Status::Unknown(reason) => match self.lapsed_denial(facts, name, qtype) {
                Some(boundary) => Status::WasAbsent(boundary),
                None if self
                    .boundaries(name)
                    .iter()
                    .any(|boundary| self.state.is_off(boundary)) =>
                {
                    Status::Unknown(Reason::SwitchedOff)
                }
                None => Status::Unknown(reason),
            },
            // One boundary asked for again serves many names.
            Status::WasAbsent(exact) => {
                Status::WasAbsent(self.lapsed_denial(facts, name, qtype).unwrap_or(exact))
            }
            known => known,
        }
    }

    /// A boundary that was absent when it was asked for last.
    fn lapsed_denial(&self, facts: &mut impl Facts, name: &[u8], qtype: u16) -> Option<Missing> {
        let was_absent = |boundary: &&[u8]| {
            let fact = facts.known(boundary, rtype::A);
            fact.is_some_and(|fact| fact.covers())
        };
        let boundary = self.trusted(name, qtype).find(was_absent)?;
        facts.is_same_way(boundary, name).then(|| missing(boundary, rtype::A)).flatten()
    }

    /// Whether the name is below a Service that exists: what it asks for is one of that Service's
    /// endpoints, and if it is not there, it is nowhere else either.
    fn is_below_service(&self, facts: &mut impl Facts, name: &[u8]) -> bool {
        let service = self.boundaries(name).iter().nth(1);
        let fact = service.and_then(|service| facts.known(service, rtype::A));
        fact.is_some_and(|fact| fact.exists())
    }

    /// What answers to questions for the name itself say.
    fn exact(&self, facts: &mut impl Facts, name: &[u8], qtype: u16) -> Status {
        let own = facts.known(name, qtype);
        match own {
            Some(Fact { says: Says::Failed, .. }) => return Status::Unknown(Reason::Failing),
            Some(Fact { says: Says::Data, left_millis: left_millis @ 1.. }) => {
                return Status::Data { left_millis };
            }
            Some(Fact { says: Says::NoData, left_millis: left_millis @ 1.. }) => {
                return Status::NoData { left_millis };
            }
            _ => {}
        }
        let mut other = |usual| {
            let is_other = usual != qtype;
            is_other.then(|| Some((usual, facts.known(name, usual)?))).flatten()
        };
        let [first, second] = USUAL_TYPES.map(&mut other);
        let known = [own.map(|fact| (qtype, fact)), first, second];
        let find = |is_it: fn(&Fact) -> bool| known.iter().flatten().find(|(_, fact)| is_it(fact));
        let ask = |qtype| missing(name, qtype);
        let unknown = Status::Unknown(Reason::Unknown);
        // Some servers deny a name for the types it lacks (RFC 4074 section 4.2): as long as one
        // type says that it exists or did so, no other proves that it does not.
        if find(|fact| fact.exists() && fact.is_live()).is_some() {
            let is_denied = own.is_some_and(|own| own.is_live());
            return if is_denied { unknown } else { ask(qtype).map_or(unknown, Status::Probable) };
        }
        if let Some((qtype, _)) = find(Fact::exists) {
            return ask(*qtype).map_or(unknown, Status::Probable);
        }
        if let Some((_, fact)) = find(|fact| fact.is_absent() && fact.is_live()) {
            return Status::Absent { left_millis: fact.left_millis, by_boundary: false };
        }
        let lapsed = find(Fact::is_absent).and_then(|(qtype, _)| ask(*qtype));
        lapsed.map_or(unknown, Status::WasAbsent)
    }
}

/// Whether an answer to a usual type says that a name exists.
pub fn is_known_to_exist(facts: &mut impl Facts, name: &[u8]) -> bool {
    USUAL_TYPES.into_iter().any(|usual| {
        let fact = facts.known(name, usual);
        fact.is_some_and(|fact| fact.exists() && fact.is_live())
    })
}

/// What becomes of a candidate that exists without the type asked. An alias to it ends the walk of
/// every libc, while some go on past a name without data. So one type of address is told to be
/// missing only if the other is there, and any other type only if nothing could follow.
fn without_data(
    facts: &mut impl Facts,
    name: &[u8],
    (qtype, left_millis): (u16, u64),
    is_last: bool,
) -> Status {
    let Some(other) = USUAL_TYPES.into_iter().find(|usual| *usual != qtype) else {
        return Status::Unknown(Reason::Unknown);
    };
    if !USUAL_TYPES.contains(&qtype) {
        return if is_last { Status::Data { left_millis } } else { Status::NoData { left_millis } };
    }
    match facts.known(name, other) {
        Some(Fact { says: Says::Data, left_millis: other_millis @ 1.. }) => {
            Status::Data { left_millis: left_millis.min(other_millis) }
        }
        Some(Fact { says: Says::Failed, .. }) => Status::Unknown(Reason::Failing),
        Some(Fact { left_millis: 1.., .. }) => Status::NoData { left_millis },
        Some(_) | None => {
            missing(name, other).map_or(Status::Unknown(Reason::Unknown), Status::Probable)
        }
    }
}

/// What the candidates so far come to.
struct Sum {
    left_millis: u64,
    by_boundary: u8,
    lapsed: Vec<Missing>,
}

impl Sum {
    /// Adds a candidate; the story, if it ends there.
    fn add(&mut self, status: Status, candidate: usize) -> Option<Story> {
        match status {
            Status::Absent { left_millis, by_boundary } => {
                self.left_millis = self.left_millis.min(left_millis);
                self.by_boundary += u8::from(by_boundary);
                None
            }
            Status::WasAbsent(question) => {
                self.lapsed.push(question);
                None
            }
            Status::Data { left_millis } if self.lapsed.is_empty() => Some(Story::Found {
                candidate,
                left_millis: self.left_millis.min(left_millis),
                by_boundary: self.by_boundary,
            }),
            Status::Data { .. } => Some(self.lapsed_story(candidate)),
            Status::NoData { .. } => Some(Story::None(Reason::NoData)),
            Status::Probable(question) => {
                self.lapsed.push(question);
                Some(self.lapsed_story(candidate))
            }
            Status::Unknown(reason) => Some(Story::None(reason)),
        }
    }

    fn lapsed_story(&mut self, candidate: usize) -> Story {
        let mut missing = std::mem::take(&mut self.lapsed);
        missing.sort();
        missing.dedup();
        Story::Lapsed { missing, candidate }
    }
}

fn missing(name: &[u8], qtype: u16) -> Option<Missing> {
    Some((Name::from_wire(name)?, qtype))
}

#[cfg(test)]
mod tests;
