//! Services that come and go under traffic: what was known of them before does not outlive its
//! lifetime, however often it is asked for.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::{REWRITE, STYLES, Stage, pod};
use crate::cluster::sample;
use crate::cluster::walk::Outcome;
use crate::cluster::world::Service;
use crate::harness::load::{Load, Tally};
use crate::harness::message::Message;
use crate::harness::within;
use crate::harness::zone::query;

/// What happens to the Service `late` in `payments`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Created,
    Deleted,
}

/// For one answer to travel and for threads that wait for a processor.
const SLACK: Duration = Duration::from_millis(400);
/// The name as pods in `default` and `kube-system` look it up, and what they ask first.
const NAME: &str = "late.payments";
const NAMESPACES: [&str; 2] = ["default", "kube-system"];
/// The candidate that comes to exist, or exists no longer.
const CANDIDATE: &str = "late.payments.svc.cluster.local";

#[test]
fn a_service_created_is_visible_within_a_denials_lifetime() {
    watch(Change::Created, Duration::from_secs(1), 400);
}

#[test]
fn a_service_deleted_is_gone_within_an_answers_lifetime() {
    watch(Change::Deleted, Duration::from_secs(1), 400);
}

/// The denial cap of the reference manifest.
#[test]
#[ignore = "needs a minute and a core for 10,000 questions a second"]
fn a_service_created_is_visible_within_5_s_at_10_000_questions_a_second() {
    watch(Change::Created, Duration::from_secs(5), 10_000);
}

#[test]
#[ignore = "needs a minute and a core for 10,000 questions a second"]
fn a_service_deleted_is_gone_within_5_s_at_10_000_questions_a_second() {
    watch(Change::Deleted, Duration::from_secs(5), 10_000);
}

/// Keeps asking for the name while its Service changes; `lifetime` is that of every answer.
fn watch(change: Change, lifetime: Duration, per_second: u64) {
    let ttl_secs = lifetime.as_secs() as u32;
    let mut world = sample::world(ttl_secs, ttl_secs);
    if change == Change::Deleted {
        world.create_service("payments", "late", Service::at("10.96.0.99"));
    }
    let stage = Stage::start(REWRITE, world);
    let loads = start_loads(&stage, per_second);
    // What is known has been renewed under traffic: the steady state.
    let question = format!("{CANDIDATE}. A");
    let is_steady = within(lifetime * 4, || stage.upstream.count(&question) >= 2);
    assert!(is_steady, "{:?}", stage.upstream.recent());

    let (changed_at, old_until) = change_and_follow(&stage, change, lifetime);
    let tallies = loads.into_iter().map(Load::finish);
    let complaints: Vec<String> = tallies.filter_map(|tally: Tally| tally.complaint).collect();
    assert!(complaints.is_empty(), "{complaints:?}");
    let old_for = old_until.saturating_duration_since(changed_at);
    assert!(old_for <= lifetime + SLACK, "{change:?}: the old state was seen for {old_for:?}");
}

/// Half of the traffic asks the first name of the walk, half the one that changes.
fn start_loads(stage: &Stage, per_second: u64) -> [Load; 2] {
    let first = format!("{NAME}.default.svc.cluster.local");
    [first, CANDIDATE.to_owned()].map(|name| {
        let judge = |reply: &Message| match reply.rcode() {
            0 | 3 => Ok(()),
            rcode => Err(format!("rcode {rcode}")),
        };
        let query = query(1, &name, "A");
        Load::start(stage.program.address, &query, per_second / 2, Arc::new(judge))
    })
}

/// When the Service changed, and when a lookup last showed the state before.
fn change_and_follow(stage: &Stage, change: Change, lifetime: Duration) -> (Instant, Instant) {
    let resolvers: Vec<_> = STYLES.iter().zip(NAMESPACES).map(|(s, n)| pod(*s, n)).collect();
    let mut client = stage.client();
    let mut look = || resolvers.iter().map(|r| r.addresses(&mut client, NAME)).collect::<Vec<_>>();
    let is_old = |outcome: &Outcome| match outcome {
        Outcome::Found { .. } => change == Change::Deleted,
        Outcome::NoName => change == Change::Created,
        other => panic!("{NAME} ended with {other:?}"),
    };
    for seen in look() {
        assert!(is_old(&seen.outcome), "before the change:\n{seen}");
    }
    match change {
        Change::Created => {
            stage.world.change().create_service("payments", "late", Service::at("10.96.0.99"));
        }
        Change::Deleted => stage.world.change().delete_service("payments", "late"),
    }
    let changed_at = Instant::now();
    let (mut old_until, mut looks) = (changed_at, 0);
    // Long enough to notice a state that comes back.
    while changed_at.elapsed() < lifetime * 2 {
        if look().iter().any(|seen| is_old(&seen.outcome)) {
            old_until = Instant::now();
        }
        looks += 1;
        thread::sleep(Duration::from_millis(2));
    }
    assert!(looks > 20, "{looks} lookups are too few to tell");
    (changed_at, old_until)
}
