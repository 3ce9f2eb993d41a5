//! Real C libraries with the search list of a pod, in network namespaces: what a lookup costs and
//! whether it finds what upstream says.
//!
//! Every test prints a table; `--nocapture` shows it. `DNSCACHE_LONG_RUN_SECS=600` makes the long
//! run as long as the claim about it (ten minutes); without it, it ends after a minute.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::c_program::Library;
use crate::harness::node::{Counts, Lookup, Node, Outcome, Pass, Place};
use crate::harness::nsd_zones::{EXTERNAL_NAMES, Lifetimes, NAMESPACES, Zones};

const AT_ONCE: Duration = Duration::ZERO;

/// Nothing expires during six passes, so that they show what is known and not what is renewed.
const LONG: Lifetimes = Lifetimes { positive_secs: 30, negative_secs: 30 };

/// As the reference manifest has it: a negative is gone before its name's next turn.
const SHORT_NEGATIVES: Lifetimes = Lifetimes { positive_secs: 30, negative_secs: 5 };

#[test]
#[ignore = "needs root for network namespaces, ip, nsd, cc and musl-gcc"]
fn from_the_third_pass_on_glibc_asks_two_questions_and_upstream_none() {
    two_questions_from_the_third_pass_on(Library::Glibc);
}

#[test]
#[ignore = "needs root for network namespaces, ip, nsd, cc and musl-gcc"]
fn from_the_third_pass_on_musl_asks_two_questions_and_upstream_none() {
    two_questions_from_the_third_pass_on(Library::Musl);
}

fn two_questions_from_the_third_pass_on(library: Library) {
    let zones = Zones::new(LONG);
    let node = Node::start(&zones);
    let names = zones.external_names();
    println!("{library:?}, {EXTERNAL_NAMES} external names\n{}", Pass::TABLE_HEAD);
    let passes: Vec<Pass> = (1..=6)
        .map(|number| {
            let pass = node.pass(library, &names, AT_ONCE);
            println!("{number:9} {pass}");
            pass
        })
        .collect();
    for pass in &passes {
        all_are_right(&zones, &pass.lookups);
    }
    for (at, pass) in passes.iter().enumerate().skip(2) {
        let Counts { asked, upstream, audits, .. } = pass.counts;
        assert_eq!(asked, 2 * pass.lookups.len() as u64, "pass {}", at + 1);
        assert_eq!(upstream - audits, 0, "pass {}", at + 1);
        let (first_us, now_us) = (passes[0].percentile_us(50), pass.percentile_us(50));
        assert!(4 * now_us <= first_us, "pass {}: {now_us} us, the first {first_us}", at + 1);
    }
}

/// One lookup for each of 200 names every 7 s, while negatives live 5 s and addresses 30 s. The
/// two libraries take turns, a round each. How long: `DNSCACHE_LONG_RUN_SECS`, 60 s without it.
#[test]
#[ignore = "needs root for network namespaces, ip, nsd, cc and musl-gcc, and a minute"]
fn names_asked_every_seven_seconds_stay_at_two_questions() {
    const ROUND: Duration = Duration::from_secs(7);
    let zones = Zones::new(SHORT_NEGATIVES);
    let node = Node::start(&zones);
    let names = zones.external_names();
    let pace = ROUND / EXTERNAL_NAMES as u32;
    let rounds = long_run().as_secs().div_ceil(ROUND.as_secs()).max(4) as u32;
    println!("both libraries in turn, {rounds} rounds of 7 s\n{}", Pass::TABLE_HEAD);
    let ((), samples) = sampled(&node, || {
        let began = Instant::now();
        for round in 0..rounds {
            thread::sleep((round * ROUND).saturating_sub(began.elapsed()));
            let library = [Library::Glibc, Library::Musl][round as usize % 2];
            let pass = node.pass(library, &names, pace);
            println!("{round:3} {library:?} {pass}");
            all_are_right(&zones, &pass.lookups);
            if round >= 2 {
                assert_eq!(pass.counts.asked, 2 * names.len() as u64, "round {round}");
            }
        }
    });
    renewals_are_within_their_budget(&samples);
    let page = node.metrics();
    let counted = page.lines().any(|line| line.starts_with("dnscache_hot_refreshes_total"));
    assert!(counted, "no metric of renewals:\n{page}");
    let renewals = samples.last().expect("samples").counts.refreshes;
    assert!(renewals > 0, "nothing was renewed in advance");
}

#[test]
#[ignore = "needs root for network namespaces, ip, nsd, cc and musl-gcc"]
fn glibc_finds_through_the_cache_what_upstream_says() {
    finds_what_upstream_says(Library::Glibc);
}

#[test]
#[ignore = "needs root for network namespaces, ip, nsd, cc and musl-gcc"]
fn musl_finds_through_the_cache_what_upstream_says() {
    finds_what_upstream_says(Library::Musl);
}

/// Addresses and errors of some 300 names are those of a pod that asks nsd directly, with an empty
/// cache and with one that knows ever more.
fn finds_what_upstream_says(library: Library) {
    let zones = Zones::new(SHORT_NEGATIVES);
    let node = Node::start(&zones);
    let names = mixed(names_of_every_kind(&zones));
    let right = node.look_up(Place::Direct, library, &names, AT_ONCE);
    services_are_found(&zones, &right);
    let found = right.iter().filter(|lookup| lookup.is_found()).count();
    println!("{library:?}: {} names, {found} of them exist\n{}", names.len(), Pass::TABLE_HEAD);
    for number in 1..=4 {
        let pass = node.pass(library, &names, AT_ONCE);
        println!("{number:9} {pass}");
        let differences: Vec<String> = right
            .iter()
            .zip(&pass.lookups)
            .filter(|(right, told)| right.outcome != told.outcome)
            .map(|(right, told)| {
                format!("{}: {:?}, upstream: {:?}", told.name, told.outcome, right.outcome)
            })
            .collect();
        assert!(differences.is_empty(), "pass {number}:\n{}", differences.join("\n"));
    }
}

/// Services by every length of their name, endpoints, the host's own names, external ones; the
/// same that do not exist; and what is only part of a name.
fn names_of_every_kind(zones: &Zones) -> Vec<String> {
    let mut names = Vec::new();
    for full in zones.cluster_names() {
        let short = full.trim_end_matches(".svc.cluster.local");
        names.extend([short, &format!("{short}.svc"), &full].map(str::to_owned));
    }
    for own in ["web", "api", "ledger", "queue", "cache", "search", "dev", "WEB", "Api.Payments"] {
        names.push(own.to_owned());
    }
    names.extend(NAMESPACES.iter().flat_map(|namespace| {
        let gone = format!("gone.{namespace}");
        [gone.clone(), format!("{gone}.svc"), format!("{gone}.svc.cluster.local"), {
            format!("below.web.{namespace}")
        }]
    }));
    names.extend((0..20).flat_map(|number| {
        [format!("gone{number}"), format!("web.gone{number}"), format!("gone{number}.com")]
    }));
    names.extend(zones.external_names().into_iter().step_by(4));
    names.extend(zones.external_names().into_iter().step_by(10).map(|name| name + "."));
    names.extend(ODDITIES.iter().map(|name| (*name).to_owned()));
    names
}

/// Names that are a part of others, lie below one that exists, or look like something else.
const ODDITIES: &[&str] = &[
    "default",
    "payments",
    "svc",
    "default.svc",
    "payments.svc",
    "cluster.local",
    "svc.cluster.local",
    "default.svc.cluster.local",
    "web.default.svc.cluster.local.",
    "web.default.svc.cluster",
    "db-9.db.data",
    "db-9.db.data.svc",
    "db-0.db",
    "below.db-0.db.data",
    "_http._tcp.web",
    "_http._tcp.web.default",
    "git.tools.dev",
    "gone.tools.dev",
    "tools.dev",
    "dev.dev",
    "rest.shop0.com",
    "shop0.com",
    "below.api4.shop0.com",
    "ip-10-0-0-7",
    "ip-10-0-0-8",
    "ip-10-0-0-7.ec2.internal",
    "ip-10-0-0-8.ec2.internal",
    "ec2.internal",
    "a.b.c.d.e.f.g",
    "a.b.c.d.e.f.com",
];

/// The names in an order in which neighbours have little in common, the same in every run.
fn mixed(names: Vec<String>) -> Vec<String> {
    // A stride with no divisor in common with the count visits each once.
    let count = names.len();
    let stride = (97..).find(|stride| !count.is_multiple_of(*stride) && is_prime(*stride));
    let stride = stride.expect("primes do not end");
    (0..count).map(|at| names[at * stride % count].clone()).collect()
}

fn is_prime(number: usize) -> bool {
    (2..number).all(|divisor| !number.is_multiple_of(divisor))
}

/// What all depends on: asked directly, Services have the addresses they were given.
fn services_are_found(zones: &Zones, lookups: &[Lookup]) {
    for full in zones.cluster_names() {
        let short = full.trim_end_matches(".svc.cluster.local");
        for name in [short, &format!("{short}.svc"), &full] {
            let lookup = lookups.iter().find(|lookup| lookup.name == name).expect("in the list");
            let right = Outcome::Addresses(zones.addresses(&full).to_vec());
            assert_eq!(lookup.outcome, right, "{name}");
        }
    }
}

fn all_are_right(zones: &Zones, lookups: &[Lookup]) {
    for lookup in lookups {
        let right = Outcome::Addresses(zones.addresses(&lookup.name).to_vec());
        assert_eq!(lookup.outcome, right, "{}", lookup.name);
    }
}

impl Lookup {
    fn is_found(&self) -> bool {
        matches!(self.outcome, Outcome::Addresses(_))
    }
}

fn long_run() -> Duration {
    let secs = std::env::var("DNSCACHE_LONG_RUN_SECS").map_or(60, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("DNSCACHE_LONG_RUN_SECS={text}: a number of seconds"))
    });
    Duration::from_secs(secs)
}

/// The program's counters at one moment.
struct Sample {
    at: Instant,
    counts: Counts,
}

/// Does `work` and reads the counters once a second meanwhile.
fn sampled<T>(node: &Node, work: impl FnOnce() -> T) -> (T, Vec<Sample>) {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let sampler = scope.spawn(|| {
            let mut samples = Vec::new();
            while !done.load(Ordering::SeqCst) {
                samples.push(Sample { at: Instant::now(), counts: node.counts() });
                thread::sleep(Duration::from_secs(1));
            }
            samples
        });
        // Set even when `work` panics, or the sampler would be waited for without an end.
        let _end = Ended(&done);
        let result = work();
        drop(_end);
        (result, sampler.join().expect("the sampler does not panic"))
    })
}

struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Over the whole run and over any ten seconds of it: at most 50 renewals a second, and one for
/// ten questions of clients, beside a burst of one second's worth.
fn renewals_are_within_their_budget(samples: &[Sample]) {
    const PER_SECOND: f64 = 50.0;
    const SHARE: f64 = 0.1;
    let last = samples.last().expect("samples");
    let windows = samples.iter().filter_map(|from| {
        let to = samples.iter().find(|to| to.at >= from.at + Duration::from_secs(10))?;
        Some((from, to))
    });
    for (from, to) in windows.chain([(&samples[0], last)]) {
        let secs = (to.at - from.at).as_secs_f64();
        let renewals = (to.counts.refreshes - from.counts.refreshes) as f64;
        let asked = (to.counts.asked - from.counts.asked) as f64;
        let allowed = (PER_SECOND * secs).min(SHARE * asked) + PER_SECOND;
        assert!(renewals <= allowed, "{renewals} renewals for {asked} questions in {secs:.1} s");
    }
}

#[test]
fn renewals_over_their_budget_are_seen() {
    let began = Instant::now();
    // A thousand questions of clients a second, and so many renewals for each second.
    let run = |renewals: &[u64]| {
        let mut counts = Counts::default();
        let after_each = renewals.iter().zip(1..).map(|(renewals, secs)| {
            counts.asked += 1_000;
            counts.refreshes += renewals;
            Sample { at: began + Duration::from_secs(secs), counts }
        });
        let samples: Vec<Sample> = after_each.collect();
        std::panic::catch_unwind(|| renewals_are_within_their_budget(&samples)).is_ok()
    };
    assert!(run(&[50; 30]));
    assert!(!run(&[60; 30]));
    let burst_in_the_middle = [[0; 15], [100; 15], [0; 15]].concat();
    assert!(!run(&burst_in_the_middle));
}
