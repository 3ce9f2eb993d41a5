//! What the numbers of a comparison come to, in a few sentences.

use super::figures::{address_hours, percent, shortened, wait};
use super::{Comparison, Run};
use crate::model::outcome::Tally;
use crate::model::settings::Settings;
use crate::words::{counted, grouped};

/// Up to three sentences: which of the settings is the cheapest that fails nobody, what it is
/// against the default, and what the cheaper ones cost pods. Empty where nothing is compared.
pub fn conclusion(comparison: &Comparison) -> Vec<String> {
    let runs = &comparison.runs;
    if runs.len() < 2 || runs.iter().all(|run| run.outcome.fleet.pods == 0) {
        return Vec::new();
    }
    let Some(best) = runs.iter().min_by_key(|run| harm_then_cost(run)) else { return Vec::new() };
    let mut sentences = vec![about_best(best, runs)];
    let cheaper = |run: &&Run| {
        let cheaper = run.outcome.fleet.idle_address_ms() < best.outcome.fleet.idle_address_ms();
        cheaper && harm_then_cost(run).0 > harm_then_cost(best).0
    };
    let cheapest =
        runs.iter().filter(cheaper).min_by_key(|run| run.outcome.fleet.idle_address_ms());
    sentences.extend(cheapest.map(about_cheaper));
    sentences
}

/// The least harm to pods comes first, and then the fewest idle addresses.
fn harm_then_cost(run: &Run) -> ((u64, u64), u128) {
    let fleet = &run.outcome.fleet;
    ((fleet.pods_never, fleet.failed_adds), fleet.idle_address_ms())
}

/// The CNI's own default if it was run, otherwise the first of the runs.
fn reference<'a>(best: &Run, runs: &'a [Run]) -> Option<&'a Run> {
    let usual = |run: &&Run| run.assignment == Settings::default().into();
    let reference = runs.iter().find(usual).or(runs.first())?;
    (reference.label != best.label).then_some(reference)
}

fn about_best(best: &Run, runs: &[Run]) -> String {
    let idle = best.outcome.fleet.idle_address_ms();
    let mut text = distinction(best, runs);
    text.push_str(&format!("{} idle address-hours", address_hours(idle)));
    if let Some(reference) = reference(best, runs) {
        let other = reference.outcome.fleet.idle_address_ms();
        if let Some(share) = percent(idle, other) {
            let label = named(&reference.label);
            text.push_str(&format!(", {share} of {label}'s {}", address_hours(other)));
        }
    }
    text + &format!("; {}.", waits_of_best(&best.outcome.fleet))
}

/// What the best has before all others. A run that leaves pods out can have fewer failed ADDs and
/// fewer idle addresses and is no better for it.
fn distinction(best: &Run, runs: &[Run]) -> String {
    let fleet = &best.outcome.fleet;
    let leaves_out_and_fails_less = |run: &Run| {
        let other = &run.outcome.fleet;
        other.pods_never > 0 && other.failed_adds < fleet.failed_adds.max(1)
    };
    let tempts = runs.iter().any(leaves_out_and_fails_less);
    let is_only = runs.iter().filter(|run| harm_then_cost(run).0 == (0, 0)).count() == 1;
    let name = name_with_equals(best, runs);
    match (fleet.pods_never, fleet.failed_adds) {
        (0, 0) if is_only && tempts => {
            format!("Only {name} serves every pod without a failed ADD: ")
        }
        (0, 0) if is_only => format!("Only {name} has no failed ADD: "),
        (0, 0) if tempts => format!(
            "Of those that serve every pod without a failed ADD, {name} holds the fewest idle \
             addresses: "
        ),
        (0, 0) => {
            format!("Of those without a failed ADD, {name} holds the fewest idle addresses: ")
        }
        (0, failed) if tempts => format!(
            "No setting serves every pod without a failed ADD; {name} serves every pod, with {} \
             failed, at ",
            grouped(failed),
        ),
        (0, failed) => format!(
            "No setting is without failed ADDs; {name} has the fewest ({}), at ",
            grouped(failed),
        ),
        (never, _) => format!(
            "Under every setting pods go without an address; {name} leaves the fewest ({}), at ",
            grouped(never)
        ),
    }
}

/// A label may be as long as a command line.
fn named(label: &str) -> String {
    shortened(label, LABEL_LETTERS)
}

const LABEL_LETTERS: usize = 60;

/// The best's name, and one that is no worse if there is any.
fn name_with_equals(best: &Run, runs: &[Run]) -> String {
    let name = named(&best.label);
    let is_equal =
        |run: &&Run| run.label != best.label && harm_then_cost(run) == harm_then_cost(best);
    match runs.iter().find(is_equal) {
        Some(equal) => format!("{name}, like {},", named(&equal.label)),
        None => name,
    }
}

fn waits_of_best(fleet: &Tally) -> String {
    let (pods, others) = match fleet.pods_never {
        0 => ("pod", "pods"),
        _ => ("other pod", "of the others"),
    };
    let (p99_ms, max_ms) = (fleet.waits.p99_ms, fleet.waits.max_ms);
    match (fleet.waits.count, max_ms, p99_ms) {
        (0, ..) => "no pod is served".to_owned(),
        (_, 0, _) => format!("no {pods} waits"),
        (_, _, 0) => format!("99 of 100 {others} do not wait, the slowest {}", wait(max_ms)),
        _ => format!("99 of 100 {others} wait at most {}", wait(p99_ms)),
    }
}

fn about_cheaper(run: &Run) -> String {
    let fleet = &run.outcome.fleet;
    let mut text = format!(
        "{} holds fewer idle addresses ({} address-hours), and {} of {} met a failed ADD \
         ({} in all)",
        named(&run.label),
        address_hours(fleet.idle_address_ms()),
        grouped(fleet.pods_failed),
        counted(grouped(fleet.pods), "pod"),
        grouped(fleet.failed_adds),
    );
    let mut slowest = "the slowest";
    if fleet.pods_never > 0 {
        text.push_str(&format!(", {} never got an address", grouped(fleet.pods_never)));
        slowest = "the slowest of the others";
    }
    if fleet.waits.count > 0 {
        text.push_str(&format!("; {slowest} waited {}", wait(fleet.waits.max_ms)));
    }
    text + "."
}

#[cfg(test)]
mod tests {
    use super::super::samples::{Sample, comparison};
    use super::*;
    use crate::model::outcome::Waits;

    fn check(samples: &[Sample], expected: &[&str]) {
        assert_eq!(conclusion(&comparison(samples)), expected);
    }

    const DEFAULT: Sample = Sample { label: "default", idle_hours: 1_000, ..Sample::NONE };
    const WARM_1: Sample = Sample {
        label: "W=1",
        warm_ip: 1,
        idle_hours: 24,
        failed_adds: 300,
        pods_failed: 93,
        wait_ms: 500_000,
        ..Sample::NONE
    };
    const DEFAULT_NEVER: Sample = Sample { pods_never: 70, ..DEFAULT };
    const BOTH: Sample = Sample { label: "both", warm_ip: 5, idle_hours: 400, ..Sample::NONE };

    #[test]
    fn the_cheapest_that_fails_nobody_is_named_and_what_the_cheaper_ones_cost() {
        check(
            &[DEFAULT, WARM_1, BOTH],
            &[
                "Of those without a failed ADD, both holds the fewest idle addresses: 400.0 idle \
                 address-hours, 40% of default's 1,000.0; no pod waits.",
                "W=1 holds fewer idle addresses (24.0 address-hours), and 93 of 100 pods met a \
                 failed ADD (300 in all); the slowest waited 8 m 20 s.",
            ],
        );
    }

    #[test]
    fn one_that_alone_fails_nobody_is_named() {
        let found = conclusion(&comparison(&[WARM_1, BOTH]));
        assert!(found[0].starts_with("Only both has no failed ADD: 400.0 idle"), "{found:?}");
    }

    #[test]
    fn where_all_fail_the_least_harm_is_named() {
        let never = Sample { label: "M=9", warm_ip: 2, pods_never: 7, ..WARM_1 };
        check(
            &[never, WARM_1],
            &["No setting is without failed ADDs; W=1 has the fewest (300), at 24.0 idle \
               address-hours, 100% of M=9's 24.0; 99 of 100 pods wait at most 8 m 20 s."],
        );
        let worse = Sample { label: "M=8", pods_never: 9, ..never };
        let found = conclusion(&comparison(&[never, worse]));
        assert!(found[0].contains("M=9 leaves the fewest (7)"), "{found:?}");
    }

    #[test]
    fn one_that_leaves_pods_out_is_no_better_for_its_fewer_failures() {
        let never =
            Sample { label: "M=38", pods_never: 2, failed_adds: 102, idle_hours: 9, ..BOTH };
        let found = conclusion(&comparison(&[WARM_1, never]));
        let expected = "No setting serves every pod without a failed ADD; W=1 serves every pod, \
                        with 300 failed, at 24.0";
        assert!(found[0].starts_with(expected), "{found:?}");
        assert!(found[1].contains("2 never got an address; the slowest of the others waited"));
        let silent = Sample { failed_adds: 0, ..never };
        let found = conclusion(&comparison(&[BOTH, silent]));
        assert!(found[0].starts_with("Only both serves every pod without"), "{found:?}");
        let found = conclusion(&comparison(&[BOTH, DEFAULT, silent]));
        assert!(found[0].starts_with("Of those that serve every pod"), "{found:?}");
    }

    #[test]
    fn pods_that_are_never_served_are_not_said_not_to_wait() {
        let never = Sample { label: "M=9", pods_never: 7, failed_adds: 9, ..WARM_1 };
        let at_once = Sample { wait_ms: 0, ..never };
        let ends = |samples: &[Sample], end: &str| {
            let found = conclusion(&comparison(samples));
            assert!(found[0].ends_with(end), "{found:?}");
        };
        ends(&[at_once, DEFAULT_NEVER], "; no other pod waits.");
        ends(&[never, DEFAULT_NEVER], "; 99 of 100 of the others wait at most 8 m 20 s.");
        let mut unserved = comparison(&[never, DEFAULT_NEVER]);
        unserved.runs.iter_mut().for_each(|run| run.outcome.fleet.waits = Waits::default());
        let found = conclusion(&unserved);
        assert!(found[0].ends_with("; no pod is served."), "{found:?}");
    }

    #[test]
    fn a_long_label_loses_its_end() {
        const LONG: &str = "0123456789012345678901234567890123456789012345678901234567890123456789";
        let found = conclusion(&comparison(&[DEFAULT, Sample { label: LONG, ..BOTH }]));
        assert!(
            found[0].contains("012345678\u{2026} holds") && !found[0].contains(LONG),
            "{found:?}"
        );
    }

    #[test]
    fn equal_settings_are_named_together() {
        let twin = Sample { label: "twin", ..BOTH };
        let found = conclusion(&comparison(&[BOTH, twin]));
        assert!(found[0].contains("both, like twin, holds the fewest"), "{found:?}");
    }

    #[test]
    fn one_run_is_compared_with_nothing() {
        check(&[DEFAULT], &[]);
    }

    #[test]
    fn the_default_that_wins_is_not_compared_with_itself() {
        let dear = Sample { idle_hours: 2_000, ..BOTH };
        check(
            &[DEFAULT, dear],
            &["Of those without a failed ADD, default holds the fewest idle addresses: \
               1,000.0 idle address-hours; no pod waits."],
        );
    }
}
