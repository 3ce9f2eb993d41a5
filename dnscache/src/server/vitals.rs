//! How this instance is doing: whether it has had an answer, and whether its threads move.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Plan;
use crate::admin::control::{Patient, Probe};
use crate::engine::cache::key::{Flags, Key};
use crate::engine::wire::header::{class, rtype};
use crate::engine::{RouteId, Transport};
use crate::fast::Pulses;
use crate::slow::Told;
use crate::slow::upstream::Route;

/// What probes are told.
#[derive(Debug, Default)]
pub struct Vitals {
    has_answered: AtomicBool,
    is_ending: AtomicBool,
    /// A thread that does not move.
    stuck: Mutex<Option<String>>,
}

impl Vitals {
    /// Upstream has answered, or there is no upstream to wait for.
    pub fn answered(&self) {
        self.has_answered.store(true, Ordering::Relaxed);
    }

    /// The process has been told to end.
    pub fn ending(&self) {
        self.is_ending.store(true, Ordering::Relaxed);
    }

    fn set_stuck(&self, stuck: Option<String>) {
        *self.stuck.lock().unwrap_or_else(PoisonError::into_inner) = stuck;
    }
}

impl Patient for Vitals {
    /// Once upstream has answered, an outage does not make the instance unready: it goes on with
    /// what it knows, and nobody else would do better. Nor is it a reason to start it again.
    fn examine(&self, probe: Probe) -> Result<(), String> {
        if let Some(stuck) = &*self.stuck.lock().unwrap_or_else(PoisonError::into_inner) {
            return Err(stuck.clone());
        }
        match probe {
            Probe::Live => Ok(()),
            Probe::Ready if self.is_ending.load(Ordering::Relaxed) => Err("ending".to_owned()),
            Probe::Ready if self.has_answered.load(Ordering::Relaxed) => Ok(()),
            Probe::Ready => Err("upstream has not answered yet".to_owned()),
        }
    }
}

/// How long an upstream may take to answer before it is asked again.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// Pause between two questions: the start of pods may wait for the answer.
const ASK_PAUSE: Duration = Duration::from_millis(500);

/// Asks the upstreams of the first block that has any for the name servers of its zone, until they
/// answer.
pub async fn await_answer(
    plan: Arc<Plan>,
    route: impl Fn(RouteId) -> Option<Arc<Route>>,
    vitals: Arc<Vitals>,
) {
    let first = plan.engine.blocks().iter().find_map(|block| {
        let zone = block.config.zones.first()?.wire();
        let way = block.route(zone)?;
        Some((route(way.id)?, Key::new(way.id, zone, rtype::NS, class::IN, Flags::default())))
    });
    let Some((route, key)) = first else { return vitals.answered() };
    loop {
        let told = route.ask(&key, Transport::Udp, Instant::now() + ANSWER_MAX).await;
        if matches!(told, Told::Answer(_)) {
            return vitals.answered();
        }
        sleep(ASK_PAUSE).await;
    }
}

/// A worker that has not moved for so long is stuck: it reads at least five times a second.
const STILL_MAX: Duration = Duration::from_secs(10);
/// Pause between two looks.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// Keeps an eye on the threads of the UDP plane.
pub async fn watch_pulses(pulses: Arc<Pulses>, vitals: Arc<Vitals>) {
    let mut seen: Vec<(u64, u64, Instant)> = Vec::new();
    loop {
        let now = Instant::now();
        let beats = pulses.read();
        seen = beats
            .iter()
            .map(|beat| {
                let before = seen.iter().find(|(id, ..)| *id == beat.id);
                match before {
                    Some((id, count, since)) if *count == beat.count => (*id, *count, *since),
                    _ => (beat.id, beat.count, now),
                }
            })
            .collect();
        let still = beats.iter().zip(&seen).find(|(_, (.., since))| now - *since > STILL_MAX);
        vitals.set_stuck(still.map(|(beat, _)| {
            format!("the UDP worker {} has not moved for {} s", beat.name, STILL_MAX.as_secs())
        }));
        sleep(LOOK_PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_stands_still_is_found_and_one_that_ends_is_not() {
        let pulses = Arc::new(Pulses::default());
        let vitals = Arc::new(Vitals::default());
        let (moving, still) = (pulses.start("moving".into()), pulses.start("still".into()));
        let task = tokio::spawn(watch_pulses(Arc::clone(&pulses), Arc::clone(&vitals)));
        for _ in 0..9 {
            moving.beat();
            sleep(Duration::from_secs(1)).await;
            assert_eq!(vitals.examine(Probe::Live), Ok(()));
        }
        for _ in 0..4 {
            moving.beat();
            sleep(Duration::from_secs(1)).await;
        }
        let amiss = vitals.examine(Probe::Live).expect_err("one stands still");
        assert_eq!(amiss, "the UDP worker still has not moved for 10 s");
        assert_eq!(vitals.examine(Probe::Ready), Err(amiss));
        drop(still);
        moving.beat();
        sleep(Duration::from_secs(2)).await;
        assert_eq!(vitals.examine(Probe::Live), Ok(()));
        task.abort();
    }

    #[test]
    fn ready_is_from_the_first_answer_to_the_end() {
        let vitals = Vitals::default();
        assert_eq!(vitals.examine(Probe::Ready), Err("upstream has not answered yet".to_owned()));
        vitals.answered();
        assert_eq!(vitals.examine(Probe::Ready), Ok(()));
        vitals.ending();
        assert_eq!(vitals.examine(Probe::Ready), Err("ending".to_owned()));
        assert_eq!(vitals.examine(Probe::Live), Ok(()));
    }
}
