//! Which questions are on their way upstream, and who waits for each.
//!
//! N identical questions in flight are one upstream question. How many clients may wait is decided
//! where they come in ([`clients`](crate::clients)), so that one that hoards questions (DNSBomb) or
//! asks for random names takes its own share and nobody else's. Pure data: the caller brings the
//! clock and carries out what is said here.

use std::collections::{BTreeSet, HashMap};

use foldhash::fast::RandomState;

use crate::clients::SHARES_MAX;
use crate::engine::Now;
use crate::engine::cache::key::Key;

/// How much may be in flight; a question over a bound is not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Distinct questions.
    pub questions_max: usize,
    /// Questions among them that nobody waited for when they were begun. A renewal that is not
    /// made costs a later client one wait at most, so clients' questions keep most of the room.
    pub renewals_max: usize,
}

impl Default for Limits {
    /// Room for every client that is let in, whatever it asks, and for renewals.
    fn default() -> Self {
        let renewals_max = 1_000;
        Self { questions_max: SHARES_MAX + renewals_max, renewals_max }
    }
}

/// Which bound kept a question from being asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bound {
    /// [`Limits::questions_max`].
    Questions,
    /// [`Limits::renewals_max`].
    Renewals,
}

/// A client that comes to wait.
#[derive(Debug, PartialEq, Eq)]
pub struct Arrival<W> {
    /// When it gets an expired answer instead of waiting on; `None`: it waits to the end.
    pub due: Option<Now>,
    /// The client itself.
    pub waiter: W,
}

/// What becomes of a question that joins.
#[derive(Debug, PartialEq, Eq)]
pub enum Joined<W> {
    /// It is the first: the caller asks upstream, then calls [`Table::finish`].
    Leads,
    /// It is on its way already, and the client waits for it.
    Waits,
    /// It is on its way already, and nobody waits.
    Known,
    /// A bound is reached: the client is given back.
    Refused(Bound, Option<W>),
}

/// The questions in flight, with clients `W` and with notes `N` about each question.
#[derive(Debug)]
pub struct Table<W, N = ()> {
    limits: Limits,
    questions: HashMap<Key, Question<W, N>, RandomState>,
    /// The earliest due moment of each question that has one; the number tells apart questions
    /// that are due together.
    timers: BTreeSet<Timer>,
    renewals: usize,
    serial: u64,
}

#[derive(Debug)]
struct Question<W, N> {
    serial: u64,
    notes: N,
    arrivals: Vec<Arrival<W>>,
    due: Option<Now>,
    is_renewal: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Timer {
    due: Now,
    serial: u64,
    key: Key,
}

impl<W, N: Default + Clone> Table<W, N> {
    /// An empty table.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            questions: HashMap::default(),
            timers: BTreeSet::new(),
            renewals: 0,
            serial: 0,
        }
    }

    /// Joins a question, with the client that waits for it or as a renewal.
    pub fn join(&mut self, key: &Key, arrival: Option<Arrival<W>>) -> Joined<W> {
        let is_first = !self.questions.contains_key(key);
        if let Some(bound) = self.bound_reached(is_first, arrival.is_none()) {
            return Joined::Refused(bound, arrival.map(|arrival| arrival.waiter));
        }
        if is_first {
            self.begin(key, arrival.is_none());
        }
        let has_arrived = arrival.is_some();
        if let Some(arrival) = arrival {
            self.admit(key, arrival);
        }
        match (is_first, has_arrived) {
            (true, _) => Joined::Leads,
            (false, true) => Joined::Waits,
            (false, false) => Joined::Known,
        }
    }

    /// Ends a question: whoever still waits for it.
    pub fn finish(&mut self, key: &Key) -> Vec<W> {
        let Some(question) = self.questions.remove(key) else {
            return Vec::new();
        };
        self.renewals -= usize::from(question.is_renewal);
        if let Some(due) = question.due {
            self.timers.remove(&Timer::of(due, question.serial, key));
        }
        question.arrivals.into_iter().map(|arrival| arrival.waiter).collect()
    }

    /// What is noted about a question, if it is in flight.
    pub fn notes(&self, key: &Key) -> Option<N> {
        self.questions.get(key).map(|question| question.notes.clone())
    }

    /// Ends every question: whoever still waits.
    pub fn finish_all(&mut self) -> Vec<W> {
        let keys: Vec<Key> = self.questions.keys().cloned().collect();
        keys.iter().flat_map(|key| self.finish(key)).collect()
    }

    /// When the next client is due for an expired answer.
    pub fn next_due(&self) -> Option<Now> {
        self.timers.first().map(|timer| timer.due)
    }

    /// The clients that are due for an expired answer, with the notes about their questions, which
    /// stay on their way.
    pub fn take_due(&mut self, now: Now) -> Vec<(W, N)> {
        let mut taken = Vec::new();
        while self.next_due().is_some_and(|due| due <= now) {
            let Some(Timer { serial, key, .. }) = self.timers.pop_first() else {
                break;
            };
            let Some(question) = self.questions.get_mut(&key) else {
                continue;
            };
            let is_due = |arrival: &Arrival<W>| arrival.due.is_some_and(|due| due <= now);
            let (due, rest): (Vec<_>, Vec<_>) = question.arrivals.drain(..).partition(is_due);
            question.arrivals = rest;
            taken.extend(due.into_iter().map(|due| (due.waiter, question.notes.clone())));
            question.due = question.arrivals.iter().filter_map(|rest| rest.due).min();
            if let Some(due) = question.due {
                self.timers.insert(Timer::of(due, serial, &key));
            }
        }
        taken
    }

    /// Questions in flight.
    pub fn len(&self) -> usize {
        self.questions.len()
    }

    /// Whether nothing is in flight.
    pub fn is_empty(&self) -> bool {
        self.questions.is_empty()
    }

    fn bound_reached(&self, is_first: bool, is_renewal: bool) -> Option<Bound> {
        let Limits { questions_max, renewals_max } = self.limits;
        if !is_first {
            return None;
        }
        if self.questions.len() >= questions_max {
            return Some(Bound::Questions);
        }
        (is_renewal && self.renewals >= renewals_max).then_some(Bound::Renewals)
    }

    fn begin(&mut self, key: &Key, is_renewal: bool) {
        self.serial += 1;
        self.renewals += usize::from(is_renewal);
        let question = Question {
            serial: self.serial,
            notes: N::default(),
            arrivals: Vec::new(),
            due: None,
            is_renewal,
        };
        self.questions.insert(key.clone(), question);
    }

    fn admit(&mut self, key: &Key, arrival: Arrival<W>) {
        let Some(question) = self.questions.get_mut(key) else {
            return;
        };
        if let Some(due) = arrival.due
            && question.due.is_none_or(|earliest| due < earliest)
        {
            if let Some(later) = question.due.replace(due) {
                self.timers.remove(&Timer::of(later, question.serial, key));
            }
            self.timers.insert(Timer::of(due, question.serial, key));
        }
        question.arrivals.push(arrival);
    }
}

impl Timer {
    fn of(due: Now, serial: u64, key: &Key) -> Self {
        Self { due, serial, key: key.clone() }
    }
}

impl Ord for Timer {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.serial).cmp(&(other.due, other.serial))
    }
}

impl PartialOrd for Timer {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::RouteId;
    use crate::engine::cache::key::Flags;

    const TIGHT: Limits = Limits { questions_max: 3, renewals_max: 1 };

    fn key(letter: u8) -> Key {
        let flags = Flags::default();
        Key::new(RouteId(0), &[1, b'a' + letter, 0], 1, 1, flags)
    }

    fn client(waiter: u32) -> Option<Arrival<u32>> {
        Some(Arrival { due: None, waiter })
    }

    fn due(waiter: u32, at_millis: u64) -> Option<Arrival<u32>> {
        Some(Arrival { due: Some(Now::from_millis(at_millis)), waiter })
    }

    fn assert_empty(table: &Table<u32>) {
        assert!(table.is_empty());
        assert!(table.timers.is_empty());
        assert_eq!(table.renewals, 0);
    }

    #[test]
    fn one_of_many_leads_and_all_are_answered_once() {
        let mut table = Table::<u32>::new(Limits::default());
        assert_eq!(table.join(&key(0), client(0)), Joined::Leads);
        for waiter in 1..1_000 {
            assert_eq!(table.join(&key(0), client(waiter)), Joined::Waits);
        }
        assert_eq!(table.len(), 1);
        assert_eq!(table.finish(&key(0)), (0..1_000).collect::<Vec<_>>());
        assert!(table.finish(&key(0)).is_empty());
        assert_empty(&table);
    }

    #[test]
    fn different_questions_lead_each() {
        let mut table = Table::<u32>::new(TIGHT);
        assert_eq!(table.join(&key(0), client(0)), Joined::Leads);
        assert_eq!(table.join(&key(1), client(1)), Joined::Leads);
        assert_eq!(table.finish(&key(1)), [1]);
        assert_eq!(table.finish(&key(0)), [0]);
    }

    #[test]
    fn a_finished_question_is_led_anew() {
        let mut table = Table::<u32>::new(TIGHT);
        table.join(&key(0), client(0));
        table.finish(&key(0));
        assert_eq!(table.join(&key(0), client(1)), Joined::Leads);
    }

    #[test]
    fn distinct_questions_are_bounded_but_known_ones_can_be_joined() {
        let mut table = Table::<u32>::new(TIGHT);
        for letter in 0..3 {
            table.join(&key(letter), client(letter.into()));
        }
        let refused = table.join(&key(3), client(3));
        assert_eq!(refused, Joined::Refused(Bound::Questions, Some(3)));
        assert_eq!(table.join(&key(2), client(4)), Joined::Waits);
    }

    #[test]
    fn a_refused_client_leaves_nothing_behind() {
        let mut table = Table::<u32>::new(Limits { questions_max: 0, ..TIGHT });
        let refused = table.join(&key(0), client(0));
        assert_eq!(refused, Joined::Refused(Bound::Questions, Some(0)));
        assert_empty(&table);
    }

    #[test]
    fn notes_are_kept_as_long_as_the_question() {
        let mut table = Table::<u32, std::rc::Rc<()>>::new(TIGHT);
        table.join(&key(0), due(1, 1_800));
        let notes = table.notes(&key(0)).expect("in flight");
        let due = table.take_due(Now::from_millis(1_800));
        assert!(std::rc::Rc::ptr_eq(&due[0].1, &notes));
        table.finish(&key(0));
        assert_eq!(table.notes(&key(0)), None);
    }

    #[test]
    fn renewals_have_a_bound_of_their_own() {
        let mut table = Table::<u32>::new(TIGHT);
        assert_eq!(table.join(&key(0), None), Joined::Leads);
        assert_eq!(table.join(&key(1), None), Joined::Refused(Bound::Renewals, None));
        assert_eq!(table.join(&key(1), client(0)), Joined::Leads);
        table.finish(&key(0));
        assert_eq!(table.join(&key(2), None), Joined::Leads);
    }

    #[test]
    fn a_second_renewal_is_known_and_a_client_waits_for_the_first() {
        let mut table = Table::<u32>::new(TIGHT);
        table.join(&key(0), None);
        assert_eq!(table.join(&key(0), None), Joined::Known);
        assert_eq!(table.join(&key(0), client(7)), Joined::Waits);
        assert_eq!(table.finish(&key(0)), [7]);
        assert_empty(&table);
    }

    #[test]
    fn each_client_is_due_by_its_own_arrival() {
        let mut table = Table::<u32>::new(TIGHT);
        table.join(&key(0), client(0));
        table.join(&key(0), due(1, 1_900));
        table.join(&key(0), due(2, 1_800));
        table.join(&key(1), due(3, 1_850));
        assert_eq!(table.next_due(), Some(Now::from_millis(1_800)));
        assert!(table.take_due(Now::from_millis(1_799)).is_empty());
        assert_eq!(table.take_due(Now::from_millis(1_850)), [(2, ()), (3, ())]);
        assert_eq!(table.next_due(), Some(Now::from_millis(1_900)));
        assert_eq!(table.take_due(Now::from_millis(1_900)), [(1, ())]);
        assert_eq!(table.next_due(), None);
        assert_eq!(table.finish(&key(0)), [0]);
        assert!(table.finish(&key(1)).is_empty());
        assert_empty(&table);
    }

    #[test]
    fn a_finished_question_is_never_due() {
        let mut table = Table::<u32>::new(TIGHT);
        table.join(&key(0), due(0, 1_800));
        assert_eq!(table.finish(&key(0)), [0]);
        assert_eq!(table.next_due(), None);
    }

    #[test]
    fn finish_all_leaves_nothing() {
        let mut table = Table::<u32>::new(TIGHT);
        table.join(&key(0), due(0, 1_800));
        table.join(&key(1), client(1));
        table.join(&key(2), None);
        let mut waiters = table.finish_all();
        waiters.sort_unstable();
        assert_eq!(waiters, [0, 1]);
        assert_empty(&table);
    }

    proptest! {
        #[test]
        fn every_client_comes_out_exactly_once(
            steps in prop::collection::vec((0_u8..5, 0_u8..5, 0_u64..50), 0..200)
        ) {
            let mut table = Table::<u32>::new(TIGHT);
            let mut out = Vec::new();
            for (waiter, (action, letter, millis)) in steps.iter().enumerate() {
                let arrival = match action {
                    0 => None,
                    1 => due(waiter as u32, *millis),
                    _ => client(waiter as u32),
                };
                match action {
                    3 => out.extend(table.finish(&key(*letter))),
                    4 => {
                        let due = table.take_due(Now::from_millis(*millis));
                        out.extend(due.into_iter().map(|(waiter, ())| waiter));
                    }
                    _ => {
                        let came = arrival.is_some();
                        match table.join(&key(*letter), arrival) {
                            Joined::Refused(_, waiter) => out.extend(waiter),
                            Joined::Known => prop_assert!(!came),
                            Joined::Leads | Joined::Waits => {}
                        }
                    }
                }
                prop_assert!(table.len() <= TIGHT.questions_max);
                prop_assert!(table.timers.len() <= table.len());
            }
            out.extend(table.finish_all());
            let came = steps.iter().enumerate().filter(|(_, step)| matches!(step.0, 1 | 2));
            let came: Vec<u32> = came.map(|(waiter, _)| waiter as u32).collect();
            out.sort_unstable();
            prop_assert_eq!(out, came);
            assert_empty(&table);
        }
    }
}
