//! What is found out about boundaries while the program runs: which are switched off, and whose turn
//! it is to be audited.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;

use super::recent::Recent;
use crate::engine::Now;
use crate::engine::wire::name::Name;

/// How long a boundary stays off after its first contradiction; twice as long after each further.
const OFF_MILLIS: u64 = 60_000;
/// And at most.
const OFF_MILLIS_MAX: u64 = 3_600_000;
/// Boundaries remembered that contradicted themselves; more than that, and the oldest is forgotten.
const OFF_MAX: usize = 1_024;
/// Boundaries whose replies are counted apart.
const TURNS: usize = 4_096;
/// Audits have at least this between them: twenty a second, whatever clients ask.
const AUDIT_PAUSE_MILLIS: u64 = 50;

/// What is found out under one `searchpath`; kept over reloads.
#[derive(Debug)]
pub struct SearchState {
    hasher: RandomState,
    /// Goes up when something is not believed any more; replies synthesised before do not count.
    generation: AtomicU32,
    has_off: AtomicBool,
    off: Mutex<HashMap<Name, Off>>,
    contradictions: AtomicU64,
    audits: AtomicU64,
    audited_at_millis: AtomicU64,
    turns: Box<[AtomicU32]>,
    /// What clients asked a moment ago.
    pub recent: Recent,
    /// The clock as it was last told, for who has none.
    now_millis: AtomicU64,
}

/// A boundary that contradicted itself.
#[derive(Debug, Clone, Copy)]
struct Off {
    until: Now,
    millis: u64,
}

impl Default for SearchState {
    fn default() -> Self {
        Self {
            hasher: RandomState::default(),
            generation: AtomicU32::new(0),
            has_off: AtomicBool::new(false),
            off: Mutex::default(),
            contradictions: AtomicU64::new(0),
            audits: AtomicU64::new(0),
            audited_at_millis: AtomicU64::new(0),
            turns: (0..TURNS).map(|_| AtomicU32::new(0)).collect(),
            recent: Recent::default(),
            now_millis: AtomicU64::new(0),
        }
    }
}

impl SearchState {
    /// The generation of what is synthesised now; 24 bits.
    pub fn generation(&self) -> u32 {
        self.generation.load(Ordering::Relaxed) & 0xff_ffff
    }

    /// Has nothing count any more that was synthesised before.
    pub fn renounce(&self) {
        self.generation.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes the time, by which boundaries come on again.
    pub fn tell(&self, now: Now) {
        if self.has_off.load(Ordering::Relaxed) {
            self.now_millis.store(now.millis(), Ordering::Relaxed);
        }
    }

    /// Whether a boundary is switched off.
    #[inline]
    pub fn is_off(&self, boundary: &[u8]) -> bool {
        if !self.has_off.load(Ordering::Relaxed) {
            return false;
        }
        let now = Now::from_millis(self.now_millis.load(Ordering::Relaxed));
        self.lock().get(boundary).is_some_and(|off| now < off.until)
    }

    /// Switches a boundary off, because something exists below it, and counts that.
    pub fn contradict(&self, boundary: Option<Name>, now: Now) {
        self.contradictions.fetch_add(1, Ordering::Relaxed);
        if let Some(boundary) = boundary {
            let mut off = self.lock();
            let earlier = off.get(&boundary).map_or(OFF_MILLIS / 2, |earlier| earlier.millis);
            let millis = (earlier * 2).min(OFF_MILLIS_MAX);
            if off.len() >= OFF_MAX && !off.contains_key(&boundary) {
                let oldest =
                    off.iter().min_by_key(|(_, off)| off.until).map(|(name, _)| name.clone());
                oldest.map(|oldest| off.remove(&oldest));
            }
            off.insert(boundary, Off { until: now.plus_millis(millis), millis });
            self.has_off.store(true, Ordering::Relaxed);
            self.now_millis.store(now.millis(), Ordering::Relaxed);
        }
        self.renounce();
    }

    /// The boundaries that are switched off: for how many more milliseconds, and for how many in all.
    pub fn switched_off(&self, now: Now) -> Vec<(Name, u64, u64)> {
        let off = self.lock();
        let off = off.iter().filter(|(_, off)| now < off.until);
        off.map(|(name, off)| (name.clone(), off.until.since(now), off.millis)).collect()
    }

    /// Goes on with a boundary that another process had switched off.
    pub fn go_on(&self, boundary: Name, left_millis: u64, millis: u64, now: Now) {
        let millis = millis.clamp(OFF_MILLIS, OFF_MILLIS_MAX);
        let mut off = self.lock();
        if off.len() < OFF_MAX && !off.contains_key(&boundary) {
            let until = now.plus_millis(left_millis.min(millis));
            off.insert(boundary, Off { until, millis });
            self.has_off.store(true, Ordering::Relaxed);
            self.now_millis.fetch_max(now.millis(), Ordering::Relaxed);
        }
    }

    /// Whether the reply about to be synthesised below `boundary` is checked upstream: the first
    /// one, and then one in `one_in`. The number tells the turns apart.
    pub fn audit_turn(&self, boundary: &[u8], one_in: u32, now: Now) -> Option<u32> {
        if one_in == 0 {
            return None;
        }
        let turn = &self.turns[self.hash(boundary) as usize % TURNS];
        let count = turn.load(Ordering::Relaxed);
        let next = count.wrapping_add(1);
        if !count.is_multiple_of(one_in) {
            turn.store(next, Ordering::Relaxed);
            return None;
        }
        let last = self.audited_at_millis.load(Ordering::Relaxed);
        let is_too_soon = last > 0 && now.millis() < last + AUDIT_PAUSE_MILLIS;
        if is_too_soon {
            return None;
        }
        turn.store(next, Ordering::Relaxed);
        self.audited_at_millis.store(now.millis(), Ordering::Relaxed);
        self.audits.fetch_add(1, Ordering::Relaxed);
        Some(count / one_in)
    }

    /// Contradictions so far.
    pub fn contradictions(&self) -> u64 {
        self.contradictions.load(Ordering::Relaxed)
    }

    /// Audits so far.
    pub fn audits(&self) -> u64 {
        self.audits.load(Ordering::Relaxed)
    }

    /// Boundaries that are switched off.
    pub fn boundaries_off(&self, now: Now) -> usize {
        self.lock().values().filter(|off| now < off.until).count()
    }

    fn hash(&self, name: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(name);
        hasher.finish()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Name, Off>> {
        self.off.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::policy::search::tests::name;

    const START: Now = Now::from_millis(1_000_000);

    #[test]
    fn a_boundary_comes_on_again_and_is_off_longer_each_time() {
        let (state, boundary) = (SearchState::default(), name("com.web.svc.cluster.local"));
        let mut at = START;
        for minutes in [1, 2, 4] {
            state.contradict(Some(boundary.clone()), at);
            at = at.plus_millis(minutes * 60_000 - 1);
            state.tell(at);
            assert!(state.is_off(boundary.wire()), "{minutes}");
            at = at.plus_millis(1);
            state.tell(at);
            assert!(!state.is_off(boundary.wire()), "{minutes}");
        }
        assert_eq!((state.contradictions(), state.generation()), (3, 3));
    }

    #[test]
    fn what_is_off_is_bounded() {
        let state = SearchState::default();
        for number in 0..3_000_u64 {
            let boundary = name(&format!("n{number}.cluster.local"));
            state.contradict(Some(boundary), START.plus_millis(number));
        }
        assert_eq!(state.lock().len(), OFF_MAX);
        assert!(state.is_off(name("n2999.cluster.local").wire()));
    }

    #[test]
    fn the_first_reply_is_audited_and_then_one_in_so_many() {
        let state = SearchState::default();
        let audited = (0..300_u64)
            .filter(|step| state.audit_turn(b"x", 100, START.plus_millis(step * 60)).is_some())
            .collect::<Vec<_>>();
        assert_eq!(audited, [0, 100, 200]);
        assert_eq!(state.audit_turn(b"x", 0, START), None);
    }

    #[test]
    fn audits_are_bounded_and_made_up_for() {
        let state = SearchState::default();
        assert_eq!(state.audit_turn(b"x", 1, START), Some(0));
        assert_eq!(state.audit_turn(b"x", 1, START.plus_millis(49)), None);
        assert_eq!(state.audit_turn(b"x", 1, START.plus_millis(50)), Some(1));
        assert_eq!(state.audits(), 2);
    }
}
