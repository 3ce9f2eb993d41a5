//! What a node holds once its pool has come to rest: pods are placed one by one, each after ipamd has
//! nothing more to do, with an EC2 that answers at once. Some settings never come to rest; then the
//! cycle is the result.
//!
//! Passes are 5 s apart as in `StartNodeIPPoolManager`, with its gates: addresses are released only
//! if the last release is more than 30 s ago, ENIs freed only once they are 60 s old.

use std::collections::BTreeMap;
use std::fmt;

use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand_chacha::ChaCha8Rng;

use crate::model::ipamd::{ENI_AGE_MIN_MS, Growth, HALF_PERIOD_MS, RELEASE_INTERVAL_MS, Rules};
use crate::model::pool::{Cidr, Eni, EniId, EniKind, Place, Pool, Stats};
use crate::model::settings::Mode;
use crate::words::counted;

/// Passes of the loop (5 s each) that a pool gets to come to rest after a pod. The slowest known way
/// there takes a pass for each ENI; a cycle is found after three turns of about a minute.
const PASSES_MAX: usize = 1_000;

/// How often the pool must look the same after a change until that counts as a cycle: gates may make
/// the first turn differ from the next.
const VISITS_OF_A_CYCLE: usize = 3;

/// A node at rest, or in a cycle.
#[derive(Debug, Clone)]
pub struct Rest {
    /// The addresses it holds. Every ENI counts as added at 0 ms; every [`Cidr::block`] is 0. In a
    /// cycle: as it is when the pool holds most.
    pub pool: Pool,
    /// Where the pods' addresses lie, in the order they came.
    pub places: Vec<Place>,
    /// Pods that never get an address, because the pool rests without a free one.
    pub unplaced: u32,
    /// What goes on for ever after the last pod; none: the pool is at rest.
    pub cycle: Option<Cycle>,
}

/// What ipamd does again and again although no pod comes or goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cycle {
    /// The time one turn takes, milliseconds; none: it never rests, nor does it repeat itself.
    pub period_ms: Option<u64>,
    /// What happens in one turn, which begins with growth. Empty without a period.
    pub turn: Vec<Step>,
    /// The fewest addresses held.
    pub held_min: u32,
    /// The most addresses held.
    pub held_max: u32,
}

/// Something ipamd does to the pool, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Milliseconds since the turn began.
    pub at_ms: u64,
    /// What it does.
    pub deed: Deed,
    /// Addresses held afterwards.
    pub held: u32,
}

/// What ipamd can do to its pool; counts are addresses, or prefixes in [`Mode::Prefix`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// So many more on an ENI that has room.
    TopUp(u32, Mode),
    /// A new ENI with so many.
    NewEni(u32, Mode),
    /// So many given back, from so many ENIs.
    Release {
        /// Addresses or prefixes.
        count: u32,
        /// Which of the two.
        mode: Mode,
        /// ENIs touched: a call each.
        enis: u32,
    },
    /// An ENI freed with so many on it.
    FreeEni(u32, Mode),
}

impl Rest {
    /// Of a node with its primary ENI and `efa_enis` Elastic Fabric Adapters, on which `pods` pods
    /// that need an address are started one after the other.
    pub fn of(rules: Rules, efa_enis: u32, pods: u32, random: &mut ChaCha8Rng) -> Rest {
        let mut node = Node::start(rules, efa_enis, random);
        let mut places = Vec::new();
        let mut cycle = node.come_to_rest();
        while (places.len() as u32) < pods {
            let Some(place) = node.pool.assign(node.now_ms, node.random) else { break };
            places.push(place);
            cycle = node.come_to_rest();
        }
        let unplaced = pods - places.len() as u32;
        let mut pool = node.pool;
        let ids: Vec<EniId> = pool.enis().iter().map(|eni| eni.id).collect();
        for id in ids {
            if let Some(eni) = pool.eni_mut(id) {
                eni.added_ms = 0;
            }
        }
        Rest { pool, places, unplaced, cycle }
    }

    /// What is held.
    pub fn stats(&self) -> Stats {
        // Nothing was ever given back, so the time makes no difference.
        self.pool.stats(0)
    }

    /// ENIs attached.
    pub fn enis(&self) -> u32 {
        self.stats().enis
    }

    /// Addresses for pods: those attached one by one, or 16 for each prefix.
    pub fn ips(&self) -> u32 {
        self.stats().total
    }

    /// Prefixes attached; 0 with secondary addresses.
    pub fn prefixes(&self) -> u32 {
        self.stats().total_prefixes
    }

    /// Addresses that pods have.
    pub fn assigned(&self) -> u32 {
        self.stats().assigned
    }

    /// Addresses that no pod has.
    pub fn unused(&self) -> u32 {
        self.stats().available()
    }

    /// Whether nothing more happens.
    pub fn is_settled(&self) -> bool {
        self.cycle.is_none()
    }
}

/// A node whose EC2 calls succeed at once.
struct Node<'a> {
    rules: Rules<'a>,
    pool: Pool,
    random: &'a mut ChaCha8Rng,
    now_ms: u64,
    released_ms: Option<u64>,
    eni_next: EniId,
}

impl<'a> Node<'a> {
    /// `nodeInit`: the ENIs that came with the instance, and one step of growth before the node is
    /// ready (`handlePreScaling`).
    fn start(rules: Rules<'a>, efa_enis: u32, random: &'a mut ChaCha8Rng) -> Node<'a> {
        let pool = Pool::new(rules.settings.mode, rules.settings.cooldown_ms);
        let mut node = Node { rules, pool, random, now_ms: 0, released_ms: None, eni_next: 0 };
        node.add_eni(EniKind { is_primary: true, ..EniKind::default() });
        (0..efa_enis).for_each(|_| {
            node.add_eni(EniKind { is_efa: true, ..EniKind::default() });
        });
        if rules.is_too_low(&node.stats()) {
            node.increase();
        }
        node
    }

    fn stats(&self) -> Stats {
        self.pool.stats(self.now_ms)
    }

    /// Runs the loop until nothing is left to do, or until it is clear that there always is.
    fn come_to_rest(&mut self) -> Option<Cycle> {
        let mut steps: Vec<Step> = Vec::new();
        let mut visits: BTreeMap<Form, Vec<Visit>> = BTreeMap::new();
        for _ in 0..PASSES_MAX {
            if self.is_at_rest() {
                return None;
            }
            if !self.pass(&mut steps) {
                continue;
            }
            let visits = visits.entry(form(&self.pool)).or_default();
            visits.push(Visit { at_ms: self.now_ms, steps: steps.len() });
            if let [.., from, to] = visits[..]
                && visits.len() >= VISITS_OF_A_CYCLE
            {
                let cycle = Cycle::of(&steps[from.steps..], from.at_ms, Some(to.at_ms));
                self.run_until_held(cycle.held_max);
                return Some(cycle);
            }
        }
        Some(Cycle::of(&[], 0, None))
    }

    /// Whether no pass would ever do anything, however much time goes by.
    fn is_at_rest(&self) -> bool {
        let (rules, stats) = (&self.rules, self.stats());
        let works = if rules.is_too_low(&stats) {
            !matches!(rules.growth(&self.pool, &stats), Growth::Stuck(_))
        } else {
            rules.is_too_high(&stats)
        };
        let later_ms = self.now_ms + ENI_AGE_MIN_MS + rules.settings.cooldown_ms + 1;
        let frees = || {
            let mut enis = self.pool.enis().iter();
            rules.wants_fewer_enis(&self.pool, &stats)
                && enis.any(|eni| rules.keeps(&self.pool, eni, later_ms).is_none())
        };
        !works && !frees()
    }

    /// One pass of the loop; whether anything was done.
    fn pass(&mut self, steps: &mut Vec<Step>) -> bool {
        self.now_ms += HALF_PERIOD_MS;
        let (known, before) = (steps.len(), self.stats());
        if self.rules.is_too_low(&before) {
            let deed = self.increase();
            self.note(deed, steps);
        } else if self.rules.is_too_high(&before) && self.may_release() {
            let deed = self.decrease(&before);
            self.note(deed, steps);
        }
        if self.rules.wants_fewer_enis(&self.pool, &before) {
            let deed = self.free_one_eni();
            self.note(deed, steps);
        }
        self.now_ms += HALF_PERIOD_MS;
        steps.len() > known
    }

    fn note(&self, deed: Option<Deed>, steps: &mut Vec<Step>) {
        let held = self.stats().total;
        steps.extend(deed.map(|deed| Step { at_ms: self.now_ms, deed, held }));
    }

    fn increase(&mut self) -> Option<Deed> {
        let mode = self.rules.settings.mode;
        match self.rules.growth(&self.pool, &self.stats()) {
            Growth::TopUp { enis, want } => {
                let eni = *enis.choose(self.random)?;
                let used = self.pool.eni(eni)?.cidrs.len() as u32;
                let count = want.min(self.rules.shape.slots - used);
                self.attach(eni, count);
                Some(Deed::TopUp(count, mode))
            }
            Growth::NewEni { count } => {
                let eni = self.add_eni(EniKind::default());
                self.attach(eni, count);
                Some(Deed::NewEni(count, mode))
            }
            Growth::Stuck(_) => None,
        }
    }

    fn add_eni(&mut self, kind: EniKind) -> EniId {
        let id = self.eni_next;
        self.eni_next += 1;
        self.pool.add_eni(id, kind, self.now_ms);
        id
    }

    fn attach(&mut self, eni: EniId, count: u32) {
        let is_prefix = self.rules.settings.mode == Mode::Prefix;
        (0..count).for_each(|_| {
            self.pool.add_cidr(eni, is_prefix, 0);
        });
    }

    fn may_release(&self) -> bool {
        self.released_ms.is_none_or(|released_ms| self.now_ms - released_ms > RELEASE_INTERVAL_MS)
    }

    fn decrease(&mut self, stats: &Stats) -> Option<Deed> {
        self.released_ms = Some(self.now_ms);
        let mut over = self.rules.to_release(stats);
        let mut enis: Vec<EniId> = self.pool.enis().iter().map(|eni| eni.id).collect();
        enis.shuffle(self.random);
        let (mut count, mut touched) = (0, 0);
        for eni in enis {
            let released = self.pool.release(eni, over, self.random).len() as u32;
            over -= released;
            count += released;
            touched += u32::from(released > 0);
        }
        let mode = self.rules.settings.mode;
        (count > 0).then_some(Deed::Release { count, mode, enis: touched })
    }

    fn free_one_eni(&mut self) -> Option<Deed> {
        let is_free = |eni: &&Eni| self.rules.keeps(&self.pool, eni, self.now_ms).is_none();
        let free: Vec<EniId> = self.pool.enis().iter().filter(is_free).map(|eni| eni.id).collect();
        let eni = self.pool.remove_eni(*free.choose(self.random)?)?;
        Some(Deed::FreeEni(eni.cidrs.len() as u32, self.rules.settings.mode))
    }

    /// Goes on with the cycle until the pool holds that much, which it does within a turn.
    fn run_until_held(&mut self, held: u32) {
        for _ in 0..PASSES_MAX {
            if self.stats().total >= held {
                return;
            }
            self.pass(&mut Vec::new());
        }
    }
}

/// The pool after a change.
#[derive(Clone, Copy)]
struct Visit {
    at_ms: u64,
    steps: usize,
}

/// What a pool looks like, whatever its ENIs are called: for each its kind and how many pods have
/// addresses of each of its addresses or prefixes.
type Form = Vec<(bool, bool, Vec<(bool, u32)>)>;

fn form(pool: &Pool) -> Form {
    let of_cidr = |cidr: &Cidr| (cidr.is_prefix, cidr.assigned);
    let of_eni = |eni: &Eni| {
        let mut cidrs: Vec<_> = eni.cidrs.iter().map(of_cidr).collect();
        cidrs.sort_unstable();
        (eni.kind.is_primary, eni.kind.is_efa, cidrs)
    };
    let mut form: Form = pool.enis().iter().map(of_eni).collect();
    form.sort_unstable();
    form
}

impl Cycle {
    /// Of the steps of one turn that began at a time and ended at another.
    fn of(steps: &[Step], from_ms: u64, to_ms: Option<u64>) -> Cycle {
        let held = || steps.iter().map(|step| step.held);
        let period_ms = to_ms.map(|to_ms| to_ms - from_ms);
        // A turn begins with what made the pool grow; that reads best.
        let first = steps.iter().position(|step| step.deed.grows()).unwrap_or(0);
        let begin_ms = steps.get(first).map_or(0, |step| step.at_ms);
        let since = |step: &Step| {
            let at_ms = step.at_ms.checked_sub(begin_ms);
            let next_ms = || step.at_ms + period_ms.unwrap_or(0) - begin_ms;
            Step { at_ms: at_ms.unwrap_or_else(next_ms), ..*step }
        };
        let turn = steps[first..].iter().chain(&steps[..first]).map(since).collect();
        let (held_min, held_max) = (held().min().unwrap_or(0), held().max().unwrap_or(0));
        Cycle { period_ms, turn, held_min, held_max }
    }

    /// EC2 calls that the cycle costs in an hour, by the node; none if it has no period.
    pub fn calls_per_hour(&self) -> Option<u64> {
        let calls: u64 = self.turn.iter().map(|step| step.deed.calls()).sum();
        Some(calls * 3_600_000 / self.period_ms?)
    }
}

impl Deed {
    fn grows(self) -> bool {
        matches!(self, Deed::TopUp(..) | Deed::NewEni(..))
    }

    /// EC2 calls it takes when none fails: six for a new ENI, three to free one.
    pub fn calls(self) -> u64 {
        match self {
            Deed::TopUp(..) => 1,
            Deed::NewEni(..) => 6,
            Deed::Release { enis, .. } => u64::from(enis),
            Deed::FreeEni(..) => 3,
        }
    }
}

impl fmt::Display for Cycle {
    /// One sentence without a full stop: what happens in a turn, and how long it takes.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.period_ms {
            Some(period_ms) => write!(out, "every {} s: ", period_ms / 1000)?,
            None => return write!(out, "it changes for ever and never repeats itself"),
        }
        for (at, step) in self.turn.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(out, "{comma}{} ({} held)", step.deed, step.held)?;
        }
        Ok(())
    }
}

impl fmt::Display for Deed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Deed::TopUp(count, mode) => write!(out, "{} attached", counted(count, mode.unit())),
            Deed::NewEni(count, mode) => {
                write!(out, "a new ENI with {}", counted(count, mode.unit()))
            }
            Deed::Release { count, mode, .. } => {
                write!(out, "{} released", counted(count, mode.unit()))
            }
            Deed::FreeEni(count, mode) => {
                write!(out, "an ENI freed with {}", counted(count, mode.unit()))
            }
        }
    }
}

#[cfg(test)]
mod tests;
