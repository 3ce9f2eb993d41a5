//! Keeps interface and rules as they should be while the program runs.
//!
//! One task owns both, so nothing it does can overlap with what is done at the end: it is told to
//! stop, gives up what it is waiting for, hands both back, and only then are they taken away.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::interface::{Interface, InterfaceError};
use super::rules::apply::{Backend, Rules};
use super::rules::watch::Watch as RulesWatch;
use crate::counts::{NodeCounts, Repair, SetupError};

/// What is kept.
pub struct Kept {
    /// The interface, if it is ours to set up.
    pub interface: Option<Interface>,
    /// The packet rules, if they are ours to set up.
    pub rules: Option<Rules>,
}

/// The task that keeps it.
pub struct Keeper {
    stop: CancellationToken,
    task: JoinHandle<Kept>,
}

impl Keeper {
    /// Starts with a check at once; later ones follow at every `interval` and soon after somebody
    /// has changed something.
    pub fn start(kept: Kept, interval: Duration, counts: Arc<NodeCounts>) -> Self {
        let stop = CancellationToken::new();
        let disturbed = match &kept.interface {
            Some(interface) => interface.disturbed(),
            None => Arc::default(),
        };
        let watch = Watch {
            kept,
            counts,
            stop: stop.clone(),
            pace: Pace::new(interval),
            disturbed,
            listening: None,
            said: None,
            stood: false,
        };
        Self { stop, task: tokio::spawn(watch.run()) }
    }

    /// Stops it; when this returns, what depends on this process is gone. It may be given up.
    pub async fn stop(&self) {
        self.stop.cancel();
        while !self.task.is_finished() {
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    /// Stops it and hands back what it kept.
    pub async fn end(self) -> Kept {
        self.stop.cancel();
        self.task.await.unwrap_or(Kept { interface: None, rules: None })
    }
}

struct Watch {
    kept: Kept,
    counts: Arc<NodeCounts>,
    stop: CancellationToken,
    pace: Pace,
    /// Told when somebody has taken something away.
    disturbed: Arc<Notify>,
    /// Who tells about rules, where that is to be had.
    listening: Option<RulesWatch>,
    /// The complaint written last, so that a lasting one is written once.
    said: Option<String>,
    /// Whether the rules have stood before, so that putting them in place is a repair.
    stood: bool,
}

/// What came of one look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    InOrder,
    Repaired,
    Failed,
}

impl Watch {
    async fn run(mut self) -> Kept {
        while !self.stop.is_cancelled() {
            let look = self.look().await;
            self.pace.note(look, Instant::now());
            self.wait().await;
        }
        if let Some(rules) = &mut self.kept.rules {
            rules.close().await;
        }
        self.kept
    }

    /// Until the next look is due.
    async fn wait(&self) {
        let timer = tokio::time::sleep(self.pace.pause());
        let called = async {
            self.disturbed.notified().await;
            // Who takes a link away takes its addresses too; one look sees it all.
            let at = Instant::now() + SETTLING;
            tokio::time::sleep_until(self.pace.not_before().map_or(at, |first| at.max(first)))
                .await;
        };
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = timer => {}
            () = called => {}
        }
    }

    async fn look(&mut self) -> Look {
        let interface = self.look_at_interface().await;
        let rules = self.look_at_rules().await;
        let looks = [interface, rules];
        if !looks.contains(&Look::Failed) {
            self.said = None;
        }
        [Look::Failed, Look::Repaired]
            .into_iter()
            .find(|look| looks.contains(look))
            .unwrap_or(Look::InOrder)
    }

    async fn look_at_interface(&mut self) -> Look {
        let Some(interface) = &self.kept.interface else { return Look::InOrder };
        // An answer of the kernel may be lost when more happens than its socket holds.
        let made = tokio::select! {
            made = interface.ensure() => made,
            () = self.stop.cancelled() => return Look::Failed,
            () = tokio::time::sleep(ANSWER_MAX) => Err(interface.silent(ANSWER_MAX)),
        };
        match made {
            Ok(made) if made.is_empty() => Look::InOrder,
            Ok(made) => {
                self.counts.repaired(Repair::Interface);
                tracing::warn!("the node's interface was not as it should be: {}", made.join(", "));
                Look::Repaired
            }
            Err(error) => {
                count(&self.counts, &error);
                self.complain(error.to_string());
                Look::Failed
            }
        }
    }

    async fn look_at_rules(&mut self) -> Look {
        let Some(rules) = &mut self.kept.rules else { return Look::InOrder };
        match rules.ensure(&self.stop).await {
            Ok(checked) => {
                let backend = checked.backend.name();
                self.counts.rules_stand(backend);
                listen(&mut self.listening, checked.backend, &self.disturbed);
                let is_first = !std::mem::replace(&mut self.stood, true);
                let done = checked.done.join(", ");
                match (is_first, checked.done.is_empty()) {
                    (true, true) => tracing::info!("packet rules are in place ({backend})"),
                    (true, false) => {
                        tracing::info!("packet rules are in place ({backend}): {done}")
                    }
                    (false, true) => {}
                    (false, false) => {
                        self.counts.repaired(Repair::Rules);
                        tracing::warn!("packet rules were not as they should be: {done}");
                        return Look::Repaired;
                    }
                }
                Look::InOrder
            }
            Err(error) if error.is_stopped() => Look::Failed,
            Err(error) => {
                let kind = if error.is_lock() { SetupError::RulesLock } else { SetupError::Rules };
                self.counts.failed(kind);
                self.complain(format!("packet rules: {error}"));
                Look::Failed
            }
        }
    }

    fn complain(&mut self, complaint: String) {
        if self.said.as_ref() != Some(&complaint) {
            tracing::error!("{complaint}; trying again until it works");
            self.said = Some(complaint);
        }
    }
}

/// Listens for changes of rules where they are few.
fn listen(listening: &mut Option<RulesWatch>, backend: Backend, disturbed: &Arc<Notify>) {
    match backend {
        Backend::Iptables => *listening = None,
        Backend::Nftables if listening.is_none() => {
            match RulesWatch::start(Arc::clone(disturbed)) {
                Ok(watch) => *listening = Some(watch),
                Err(error) => tracing::debug!(%error, "no notifications of nftables"),
            }
        }
        Backend::Nftables => {}
    }
}

/// Counts what went wrong with the interface under node-cache's names.
fn count(counts: &NodeCounts, error: &InterfaceError) {
    counts.failed(match error {
        InterfaceError::Netlink(..) => SetupError::InterfaceCheck,
        _ => SetupError::InterfaceAdd,
    });
}

/// When to look again.
#[derive(Debug, Clone)]
struct Pace {
    interval: Duration,
    failures: u32,
    /// Repairs that followed each other closely.
    repairs: u32,
    repaired_at: Option<Instant>,
}

impl Pace {
    fn new(interval: Duration) -> Self {
        Self { interval, failures: 0, repairs: 0, repaired_at: None }
    }

    fn note(&mut self, look: Look, now: Instant) {
        self.failures = if look == Look::Failed { self.failures + 1 } else { 0 };
        if look == Look::Repaired {
            let is_close = self.repaired_at.is_some_and(|before| now < before + self.close());
            self.repairs = if is_close { self.repairs + 1 } else { 1 };
            self.repaired_at = Some(now);
        }
    }

    /// How long to wait when nothing happens: a failure is tried again after a second, then two,
    /// then four, up to the interval.
    fn pause(&self) -> Duration {
        match self.failures {
            0 => self.interval,
            failures => doubled(failures - 1).min(self.interval),
        }
    }

    /// When a disturbance may be looked at: at once, but who undoes every repair is answered more
    /// slowly each time, down to once an interval.
    fn not_before(&self) -> Option<Instant> {
        self.repaired_at.map(|at| at + doubled(self.repairs.saturating_sub(2)).min(self.interval))
    }

    /// Repairs closer than this follow each other.
    fn close(&self) -> Duration {
        doubled(self.repairs + 2).min(self.interval * 2)
    }
}

/// A second, doubled so many times; a day at most.
fn doubled(times: u32) -> Duration {
    Duration::from_secs(1 << times.min(16))
}

const LOOK_PAUSE: Duration = Duration::from_millis(2);
/// A link that goes is told of in several messages within microseconds.
const SETTLING: Duration = Duration::from_millis(100);

/// How long the kernel may take to say and do what is asked of it; it takes microseconds.
const ANSWER_MAX: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn failures_are_tried_again_ever_more_slowly() {
        let mut pace = Pace::new(Duration::from_secs(60));
        let mut pauses = Vec::new();
        for _ in 0..8 {
            pace.note(Look::Failed, Instant::now());
            pauses.push(pace.pause().as_secs());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        pace.note(Look::InOrder, Instant::now());
        assert_eq!(pace.pause().as_secs(), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn somebody_who_undoes_every_repair_is_answered_ever_more_slowly() {
        let mut pace = Pace::new(Duration::from_secs(60));
        let mut gaps = Vec::new();
        for _ in 0..9 {
            let now = Instant::now();
            pace.note(Look::Repaired, now);
            let gap = pace.not_before().expect("a repair") - now;
            gaps.push(gap.as_secs());
            tokio::time::advance(gap).await;
        }
        assert_eq!(gaps, [1, 1, 2, 4, 8, 16, 32, 60, 60]);
        tokio::time::advance(Duration::from_secs(121)).await;
        pace.note(Look::Repaired, Instant::now());
        assert_eq!(pace.repairs, 1);
    }
}
