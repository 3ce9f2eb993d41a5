//! Keeps hot names known: asks for their facts again before they run out, within a budget.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::{Instant, sleep};

use super::Plan;
use crate::clock;
use crate::config::HotNames;
use crate::counts::{BlockCounts, RefreshCounts};
use crate::handoff::{Door, Errand};

/// Pause between looks.
const PAUSE: Duration = Duration::from_millis(500);
/// Questions looked at in one look; more would not fit the largest budget.
const DUE_MAX: usize = 10_000;

/// Keeps hot names known until it is dropped.
pub async fn keep_fresh(
    config: HotNames,
    plans: Arc<ArcSwap<Plan>>,
    door: Door,
    counts: Arc<RefreshCounts>,
) {
    let mut budget = Budget::new(&config, questions_of(&plans.load()));
    let mut looked = Instant::now();
    loop {
        sleep(PAUSE).await;
        let plan = plans.load_full();
        let now = Instant::now();
        let grant = budget.grow(questions_of(&plan), now - looked);
        looked = now;
        let Some(hot) = plan.engine.hot() else { continue };
        let names = hot.hottest(clock::now());
        let due = plan.engine.due(&names, clock::now(), DUE_MAX);
        let (wanted, taken) = (due.len(), budget.take(due.len()));
        for ask in due.into_iter().take(taken) {
            // A full door has better things to do; what is not renewed now is asked when needed.
            let _ = door.pass(Errand { plan: Arc::clone(&plan), ask, client: None });
        }
        counts.looked(names.len(), taken, wanted - taken, grant);
    }
}

fn questions_of(plan: &Plan) -> u64 {
    plan.counts.iter().map(|counts: &Arc<BlockCounts>| counts.questions()).sum()
}

/// How many questions may be asked: so many a second, and so large a part of what clients ask.
#[derive(Debug)]
struct Budget {
    per_second: f64,
    part: f64,
    /// Clients' questions at the last look.
    questions: u64,
    left: f64,
}

impl Budget {
    fn new(config: &HotNames, questions: u64) -> Self {
        let per_second = f64::from(config.refresh_per_second);
        Self { per_second, part: f64::from(config.refresh_percent) / 100.0, questions, left: 0.0 }
    }

    /// Adds what a time with so many questions in all allows; says what that is per second. What is
    /// left over is kept for one second.
    fn grow(&mut self, questions: u64, elapsed: Duration) -> f64 {
        let seconds = elapsed.as_secs_f64().max(1e-3);
        let asked = questions.saturating_sub(self.questions) as f64;
        self.questions = questions;
        let per_second = self.per_second.min(asked / seconds * self.part);
        self.left = (self.left + per_second * seconds).min(self.per_second);
        per_second
    }

    /// Takes as many of `wanted` questions as there is room for.
    fn take(&mut self, wanted: usize) -> usize {
        let taken = wanted.min(self.left as usize);
        self.left -= taken as f64;
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn budget() -> Budget {
        Budget::new(&HotNames { size: 10, refresh_per_second: 50, refresh_percent: 10 }, 1_000)
    }

    #[test]
    fn it_is_a_part_of_what_clients_ask_and_bounded() {
        let mut budget = budget();
        assert_eq!(budget.grow(1_200, SECOND), 20.0);
        assert_eq!((budget.take(5), budget.take(100), budget.take(1)), (5, 15, 0));
        assert_eq!(budget.grow(1_000_000, SECOND), 50.0);
        assert_eq!(budget.take(100), 50);
    }

    #[test]
    fn nothing_is_saved_for_longer_than_a_second() {
        let mut budget = budget();
        for seconds in 1..100 {
            budget.grow(1_000 + seconds * 10_000, SECOND);
        }
        assert_eq!(budget.take(1_000), 50);
    }

    #[test]
    fn parts_of_a_question_add_up() {
        let mut budget = budget();
        let taken: usize = (1..=20)
            .map(|look| {
                budget.grow(1_000 + look * 5, SECOND / 2);
                budget.take(10)
            })
            .sum();
        assert_eq!(taken, 10);
    }

    #[test]
    fn counts_that_begin_anew_ask_for_nothing() {
        let mut budget = budget();
        assert_eq!(budget.grow(0, SECOND), 0.0);
        assert_eq!(budget.take(1), 0);
    }
}
