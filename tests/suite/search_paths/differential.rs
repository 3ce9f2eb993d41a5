//! Random lookups through the program and directly: no difference in what they end with.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::drawing::{Drawing, Drawn};
use super::{CUT, OFF, REWRITE, Stage, pod};
use crate::cluster::exchange::Server;
use crate::cluster::sample::{self, NAMESPACES};
use crate::cluster::walk::{Lookup, Outcome, Style};
use crate::cluster::world::{rtype, text_of};

const CLIENTS: usize = 4;
/// Short, so that facts expire while they are in use.
const POSITIVE_TTL_SECS: u32 = 2;
const NEGATIVE_TTL_SECS: u32 = 1;
const NXDOMAIN: u16 = 3;
/// Differences that are explained; a run with more stops.
const EXPLAINED_MAX: usize = 5;

#[test]
fn a_differential_run_finds_no_difference() {
    compare(REWRITE, 3_000, 1);
}

#[test]
fn a_differential_run_of_cuts_finds_no_difference() {
    compare(CUT, 1_000, 2);
}

#[test]
fn a_differential_run_with_namespaces_left_out_finds_no_difference() {
    let search = "searchpath rewrite {\n search ec2.internal\n except payments com\n }";
    compare(search, 500, 3);
}

/// Without shortcuts the run judges itself: the walk, the world and the cache agree.
#[test]
fn a_differential_run_without_shortcuts_finds_no_difference() {
    compare(OFF, 500, 4);
}

/// The comparison itself: an answer that upstream no longer gives is found.
#[test]
fn an_answer_that_is_out_of_date_is_a_difference() {
    let stage = Stage::start(OFF, sample::world(30, 30));
    let mut client = stage.client();
    let drawn = Drawn {
        name: "web.payments".into(),
        types: vec![rtype::A, rtype::AAAA],
        style: Style::Glibc,
        namespace: "default",
        dnssec_ok: false,
    };
    assert!(compared(&stage, &mut client, &drawn).is_ok());
    stage.world.change().delete_service("payments", "web");
    let difference = compared(&stage, &mut client, &drawn).err().expect("a difference");
    assert!(difference.contains("web.payments.svc.cluster.local"), "{difference}");
}

#[test]
#[ignore = "needs a minute"]
fn a_differential_run_of_100_000_finds_no_difference() {
    compare(REWRITE, 100_000, 5);
}

#[test]
#[ignore = "needs a minute"]
fn a_differential_run_of_100_000_cuts_finds_no_difference() {
    compare(CUT, 100_000, 6);
}

/// Makes `count` lookups drawn from `seed`, and panics with all there is to know of the first
/// differences.
fn compare(search: &str, count: usize, seed: u64) {
    let stage = Stage::start(search, sample::world(POSITIVE_TTL_SECS, NEGATIVE_TTL_SECS));
    let tally = Tally::default();
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (stage, tally) = (&stage, &tally);
            let seed = seed * 1_000 + client as u64;
            scope.spawn(move || one_client(stage, count / CLIENTS, seed, tally));
        }
    });
    let Tally { differences, found, read_otherwise } = tally;
    let differences = differences.into_inner().expect("no client panics");
    assert!(
        differences.is_empty(),
        "{} or more differences of {count} lookups with `{search}`:\n{}",
        differences.len(),
        differences.join("\n")
    );
    // Denials alone would be no comparison; nor would names that are all there.
    let found = found.into_inner();
    assert!((count / 5..count * 4 / 5).contains(&found), "{found} of {count} lookups found");
    let read_otherwise = read_otherwise.into_inner();
    assert!(read_otherwise <= count / 20, "{read_otherwise} of {count} lookups read otherwise");
}

/// What became of all lookups.
#[derive(Default)]
struct Tally {
    differences: Mutex<Vec<String>>,
    found: AtomicUsize,
    /// Those that were answered as the same question of another pod is; see [`other_readings`].
    read_otherwise: AtomicUsize,
}

fn one_client(stage: &Stage, count: usize, seed: u64, tally: &Tally) {
    let (mut drawing, mut client) = (Drawing::new(seed), stage.client());
    for number in 0..count {
        let drawn = drawing.next();
        match compared(stage, &mut client, &drawn) {
            Ok(Compared { is_found, is_read_otherwise }) => {
                tally.found.fetch_add(usize::from(is_found), Ordering::Relaxed);
                tally.read_otherwise.fetch_add(usize::from(is_read_otherwise), Ordering::Relaxed);
            }
            Err(difference) => {
                let mut differences = tally.differences.lock().expect("no client panics");
                let head = format!("--- seed {seed}, lookup {number}: {drawn:?}");
                differences.push(format!("{head}\n{difference}"));
                if differences.len() >= EXPLAINED_MAX {
                    return;
                }
            }
        }
    }
}

/// A lookup that ended as it should.
struct Compared {
    is_found: bool,
    is_read_otherwise: bool,
}

/// Makes a lookup both ways; the error is all there is to know of a difference.
fn compared(stage: &Stage, client: &mut Server, drawn: &Drawn) -> Result<Compared, String> {
    let resolver = drawn.resolver();
    let seen = resolver.resolve(client, &drawn.name, &drawn.types);
    let truth = stage.truth(&resolver, &drawn.name, &drawn.types);
    let is_found = matches!(seen.outcome, Outcome::Found { .. });
    let is_read_otherwise = seen.outcome != truth.outcome;
    if is_read_otherwise && !other_readings(stage, drawn, &truth).contains(&seen.outcome) {
        let again = resolver.resolve(client, &drawn.name, &drawn.types);
        return Err(format!("{}and once more:\n{again}", stage.explain(&seen, &truth)));
    }
    Ok(Compared { is_found, is_read_otherwise })
}

/// What lookups by other pods end with that send one of these questions first. A question such as
/// `github.com.payments.svc.cluster.local` that upstream denies is the same octets whether a pod of
/// `payments` looks up `github.com` or somebody wrote all of it: a server that answers the former
/// answers the latter alike.
fn other_readings(stage: &Stage, drawn: &Drawn, truth: &Lookup) -> Vec<Outcome> {
    let denied = truth.steps.iter().filter(|(_, reply)| {
        reply.as_ref().is_some_and(|reply| reply.rcode() == NXDOMAIN && reply.answer.is_empty())
    });
    let read = denied.filter_map(|(question, _)| expansion(&text_of(&question.name)));
    let others = read.filter(|(name, namespace)| {
        *namespace != drawn.namespace || !drawn.name.eq_ignore_ascii_case(name)
    });
    others
        .map(|(name, namespace)| {
            stage.truth(&pod(drawn.style, namespace), &name, &drawn.types).outcome
        })
        .collect()
}

/// The name that a pod looked up to ask this first, and the pod's namespace.
fn expansion(question: &str) -> Option<(String, &'static str)> {
    let front = question.strip_suffix(".svc.cluster.local")?;
    let (name, namespace) = front.rsplit_once('.')?;
    let namespace = NAMESPACES.into_iter().find(|known| *known == namespace)?;
    name.contains('.').then(|| (name.to_owned(), namespace))
}
