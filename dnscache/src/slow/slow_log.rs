//! Questions whose client waited for long: a line that says where the time went, and a count.
//!
//! What a client waited for is divided into stages; the longest one is the label of the count. Lines
//! are bounded per second, those left out are counted in the next one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::journey::Journey;
use crate::config::registry::record_type_name;
use crate::counts::rcode_label;
use crate::engine::wire::name::Name;
use crate::engine::wire::question::{Parsed, parse};
use crate::engine::{Ask, Now, Outcome};
use crate::handoff::Waiting;

/// The slow questions of the process.
#[derive(Debug)]
pub struct SlowLog {
    /// [`OFF`]: no question is slow.
    threshold_millis: AtomicU64,
    counts: [AtomicU64; Stage::ALL.len()],
    lines: Mutex<Lines>,
}

/// Where time goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Before the slow plane took the question.
    Door,
    /// Waiting for facts about a search list.
    Search,
    /// Waiting until an upstream takes packets again.
    Held,
    /// Waiting for a connection.
    Connect,
    /// Waiting for upstreams.
    Upstream,
}

impl Stage {
    /// Every one, in order.
    pub const ALL: [Self; 5] =
        [Self::Door, Self::Search, Self::Held, Self::Connect, Self::Upstream];

    /// The label `stage`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Door => "door",
            Self::Search => "search",
            Self::Held => "held",
            Self::Connect => "connect",
            Self::Upstream => "upstream",
        }
    }
}

/// A client that got its reply.
pub struct Served<'a> {
    /// The client.
    pub client: &'a Waiting,
    /// Its question.
    pub ask: &'a Ask,
    /// What it got; `None`: a reply put together from facts, or by `dns64`.
    pub outcome: Option<&'a Outcome>,
    /// What it waited for last.
    pub journey: &'a Journey,
    /// When it began to wait for that.
    pub joined: Now,
    /// Whether somebody else had asked for that.
    pub is_shared: bool,
    /// Whether that was a fact and not its own question.
    pub is_put_off: bool,
}

/// Lines that may be written.
#[derive(Debug)]
struct Lines {
    left: u64,
    counted_at: Now,
    suppressed: u64,
}

const OFF: u64 = u64::MAX;
/// Lines per second, and how many at once after a pause: enough to see what a slow upstream does to
/// whom, and little enough to leave room for other lines.
const LINES_PER_SECOND: u64 = 2;
const LINES_BURST: u64 = 10;

impl Default for SlowLog {
    /// Off.
    fn default() -> Self {
        Self {
            threshold_millis: AtomicU64::new(OFF),
            counts: Default::default(),
            lines: Mutex::new(Lines {
                left: LINES_BURST,
                counted_at: Now::from_millis(0),
                suppressed: 0,
            }),
        }
    }
}

impl SlowLog {
    /// From now on so long is slow; `None`: nothing is.
    pub fn set_threshold(&self, threshold: Option<Duration>) {
        let millis = threshold.map_or(OFF, |threshold| threshold.as_millis() as u64);
        self.threshold_millis.store(millis, Ordering::Relaxed);
    }

    /// Notes a client that got its reply at `now`.
    pub fn note(&self, served: &Served<'_>, now: Now) {
        let waited_millis = now.since(served.client.received);
        if waited_millis < self.threshold_millis.load(Ordering::Relaxed) {
            return;
        }
        let stages = served.stages(now);
        // Of equals the last one: what came later held up what came before.
        let (stage, _) =
            stages.into_iter().max_by_key(|(_, millis)| *millis).expect("there are stages");
        self.counts[stage as usize].fetch_add(1, Ordering::Relaxed);
        if let Some(suppressed) = self.lines().take(now) {
            write(served, waited_millis, stage, &stages, suppressed);
        }
    }

    /// Slow questions, by `stage` label.
    pub fn read(&self) -> [(&'static str, u64); Stage::ALL.len()] {
        let count = |stage: Stage| self.counts[stage as usize].load(Ordering::Relaxed);
        Stage::ALL.map(|stage| (stage.label(), count(stage)))
    }

    fn lines(&self) -> std::sync::MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Served<'_> {
    /// Milliseconds by stage.
    fn stages(&self, now: Now) -> [(Stage, u64); Stage::ALL.len()] {
        let door = self.client.taken.since(self.client.received);
        let (before, last) = (self.joined.since(self.client.taken), now.since(self.joined));
        let (search, upstream) = match (self.is_translated(), self.is_put_off) {
            // Under `dns64` nothing is waited for but the client's question, for AAAA and for A.
            (true, _) => (0, before + last),
            (false, true) => (before + last, 0),
            (false, false) => (before, last),
        };
        let part = |of: Duration| (of.as_millis() as u64).min(upstream);
        let (held, connect) = (part(self.journey.held()), part(self.journey.connecting()));
        [
            (Stage::Door, door),
            (Stage::Search, search),
            (Stage::Held, held),
            (Stage::Connect, connect),
            (Stage::Upstream, upstream.saturating_sub(held + connect)),
        ]
    }

    /// The name, in lower case, and the type as the client asked, before any `rewrite`.
    fn asked(&self) -> (Option<Name>, u16) {
        match parse(&self.client.packet) {
            Parsed::Query(question) => {
                (Name::from_wire(&question.name().to_ascii_lowercase()), question.qtype)
            }
            // Nobody waits for anything else.
            _ => (None, self.ask.key.qtype()),
        }
    }

    fn is_translated(&self) -> bool {
        self.ask.company.as_ref().is_some_and(|company| company.translation.is_some())
    }

    fn outcome(&self) -> String {
        match self.outcome {
            None if self.is_translated() => "decided by dns64".to_owned(),
            None => "put together from facts".to_owned(),
            Some(Outcome::Fresh(_)) => "answered".to_owned(),
            Some(Outcome::Stale(_)) => "expired answer".to_owned(),
            Some(Outcome::Failed { rcode, .. }) => rcode_label(*rcode).into_owned(),
        }
    }
}

#[cold]
fn write(
    served: &Served<'_>,
    waited_ms: u64,
    stage: Stage,
    stages: &[(Stage, u64); Stage::ALL.len()],
    suppressed: u64,
) {
    let Served { client, ask, journey, is_shared, .. } = served;
    let (name, qtype) = served.asked();
    let looked_up =
        Name::from_wire(ask.key.name()).filter(|looked_up| Some(looked_up) != name.as_ref());
    let name = name.map_or_else(String::new, |name| name.to_string());
    let spent: Vec<String> = stages
        .iter()
        .filter(|(_, millis)| *millis > 0)
        .map(|(stage, millis)| format!("{} {millis} ms", stage.label()))
        .collect();
    tracing::warn!(
        name,
        r#type = record_type_name(qtype),
        rewritten_to = looked_up.map(|name| name.to_string()),
        client = %client.source,
        waited_ms,
        most = stage.label(),
        spent = spent.join(", "),
        rounds = client.rounds,
        shared = is_shared,
        tries = %journey,
        outcome = served.outcome(),
        suppressed,
        "a question was slow"
    );
}

impl Lines {
    /// Takes a line, if there may be one; says how many were left out since the last.
    fn take(&mut self, now: Now) -> Option<u64> {
        let seconds = now.since(self.counted_at) / 1_000;
        if seconds > 0 {
            self.left = seconds.saturating_mul(LINES_PER_SECOND).saturating_add(self.left);
            self.left = self.left.min(LINES_BURST);
            self.counted_at = now;
        }
        if self.left == 0 {
            self.suppressed += 1;
            return None;
        }
        self.left -= 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_bounded_and_what_was_left_out_is_counted() {
        let slow_log = SlowLog::default();
        let take = |millis: u64| slow_log.lines().take(Now::from_millis(1_000_000 + millis));
        assert!((0..LINES_BURST).all(|_| take(0) == Some(0)));
        assert!((0..25).all(|_| take(999).is_none()));
        assert_eq!([take(1_000), take(1_000), take(1_000)], [Some(25), Some(0), None]);
        assert_eq!(take(3_600_000), Some(1));
        assert_eq!((0..1_000).filter(|_| take(3_600_000).is_some()).count(), 9);
    }
}
