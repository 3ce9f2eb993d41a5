//! What ipamd makes of a node's state: how far it is from its targets, what the next pass of the loop
//! does first, and which ENI could go. In numbers, with reasons.

mod words;

use crate::model::ipamd::{Growth, RELEASE_INTERVAL_MS, Rules, Stuck, TargetState};
use crate::model::pool::{Eni, EniId, Stats};
use crate::model::state::{NOW_MS, State};

/// ipamd's view of one node at one moment.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// What is held, in use, cooling.
    pub stats: Stats,
    /// How far it is from the targets.
    pub target: TargetState,
    /// `isDatastorePoolTooLow`.
    pub is_too_low: bool,
    /// `isDatastorePoolTooHigh`.
    pub is_too_high: bool,
    /// What the next pass does first.
    pub action: Action,
    /// The ENI the next pass could free, the first if there are several; none if there is none, or
    /// if the pass would not look for one.
    pub freeable: Option<EniId>,
    /// Why, in one sentence with the numbers.
    pub reason: String,
    /// Every ENI, in the order of the state.
    pub enis: Vec<Verdict>,
}

/// What a pass of the loop does first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// It asks EC2 for addresses or prefixes, on an ENI that is there or on a new one.
    Increase(Growth),
    /// It gives so many addresses or prefixes back.
    Decrease(u32),
    /// It frees an ENI.
    FreeEni(EniId),
    /// Nothing.
    None(Idle),
}

/// Why a pass does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idle {
    /// There is nothing to do.
    InBalance,
    /// The pool is too low, but cannot grow.
    Stuck(Stuck),
    /// The pool is too low, but the node is cordoned.
    Cordoned,
    /// The pool is too high, but the last release is less than 30 s ago.
    ReleasedLately {
        /// How long ago, milliseconds.
        since_ms: u64,
    },
}

/// What becomes of one ENI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Which.
    pub eni: EniId,
    /// Whether the next pass could free it.
    pub is_freeable: bool,
    /// Why, or why not.
    pub reason: String,
}

impl Explanation {
    /// Of a node's state.
    pub fn of(state: &State) -> Explanation {
        let rules = state.rules();
        let stats = state.pool.stats(NOW_MS);
        let enis: Vec<Verdict> =
            state.pool.enis().iter().map(|eni| verdict(state, eni, &stats)).collect();
        let freeable = enis.iter().find(|verdict| verdict.is_freeable).map(|verdict| verdict.eni);
        let action = action(state, &rules, &stats, freeable);
        Explanation {
            target: rules.target_state(&stats),
            is_too_low: rules.is_too_low(&stats),
            is_too_high: rules.is_too_high(&stats),
            reason: words::reason(state, &stats, &action),
            stats,
            action,
            freeable,
            enis,
        }
    }
}

impl Action {
    /// `increase`, `decrease`, `free_eni` or `none`.
    pub fn name(&self) -> &'static str {
        match self {
            Action::Increase(_) => "increase",
            Action::Decrease(_) => "decrease",
            Action::FreeEni(_) => "free_eni",
            Action::None(_) => "none",
        }
    }
}

fn action(state: &State, rules: &Rules, stats: &Stats, freeable: Option<EniId>) -> Action {
    let frees = |idle: Idle| freeable.map_or(Action::None(idle), Action::FreeEni);
    if rules.is_too_low(stats) {
        return match rules.growth(&state.pool, stats) {
            _ if state.is_cordoned && !rules.settings.manages_unschedulable => {
                Action::None(Idle::Cordoned)
            }
            Growth::Stuck(stuck) => frees(Idle::Stuck(stuck)),
            growth => Action::Increase(growth),
        };
    }
    if !rules.is_too_high(stats) {
        return frees(Idle::InBalance);
    }
    let since_ms = state.released_ms.map(|released_ms| NOW_MS - released_ms);
    match since_ms.filter(|since_ms| *since_ms <= RELEASE_INTERVAL_MS) {
        Some(since_ms) => frees(Idle::ReleasedLately { since_ms }),
        None => Action::Decrease(rules.to_release(stats)),
    }
}

fn verdict(state: &State, eni: &Eni, stats: &Stats) -> Verdict {
    let rules = state.rules();
    let keep = rules.keeps(&state.pool, eni, NOW_MS);
    let is_sought = rules.wants_fewer_enis(&state.pool, stats);
    let is_gated = state.is_cordoned && !rules.settings.manages_unschedulable;
    let reason = match &keep {
        Some(keep) => words::keep(state, eni, keep),
        None if is_gated => "could go, but a cordoned node frees no ENI".to_owned(),
        None if !is_sought => words::not_sought(&rules, stats),
        None => "can be freed: it has no pods, and the others hold enough without it".to_owned(),
    };
    Verdict { eni: eni.id, is_freeable: keep.is_none() && is_sought && !is_gated, reason }
}

/// Cooling addresses of an ENI.
fn cooling(state: &State, eni: &Eni) -> u32 {
    eni.cidrs.iter().map(|cidr| cidr.cooling(NOW_MS, state.settings.cooldown_ms)).sum()
}

#[cfg(test)]
mod tests;
