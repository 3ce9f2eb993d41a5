//! Why a setting is recommended, in sentences with their numbers.

use crate::plan::Question;
use crate::plan::demand::{Demand, Profile};
use crate::plan::goal::Score;
use crate::plan::recommend::{Compared, Known, Reason, Trial, short};
use crate::trace::Trace;
use crate::words::counted;

/// The reasons for a setting that was found, beside the known ones.
pub fn of(
    question: &Question<'_>,
    demand: &Demand,
    trial: &Trial,
    compared: &[Compared],
) -> Reason {
    Reason {
        rests_on: rests_on(question, &demand.fleet),
        costs: costs(question, &trial.score, compared),
        prevents: prevents(trial, compared),
    }
}

fn rests_on(question: &Question<'_>, profile: &Profile) -> Vec<String> {
    let peak = profile.peak_on_node;
    let on_node = profile.pods_on_node;
    let hours = question.trace.end_ms as f64 / 3.6e6;
    let mut lines = vec![
        format!(
            "{} with an address of their own on {} over {hours:.1} h",
            counted(profile.pods, "pod"),
            counted(profile.nodes, "node"),
        ),
        format!(
            "at most {} of them on a node at once; half of the time {} or fewer, 99 % of it {}",
            peak.max, on_node.p50, on_node.p99,
        ),
        format!(
            "up to {} pods added to a node within 1 s, {} within 10 s, {} within 60 s",
            profile.burst_1s.max, profile.burst_10s.max, profile.burst_60s.max,
        ),
    ];
    if profile.cooling.max > 0 {
        lines.push(format!(
            "up to {} addresses of a node still cooling when a pod is added",
            profile.cooling.max
        ));
    }
    if question.headroom_percent > 0 {
        lines.push(format!(
            "headroom: it also serves {} % more pods than were seen, on every node",
            question.headroom_percent
        ));
    }
    lines
}

fn costs(question: &Question<'_>, score: &Score, compared: &[Compared]) -> Vec<String> {
    let mut lines = vec![format!(
        "{} idle address-hours, {} idle addresses on average{}",
        hours(score.idle_address_ms),
        average(score.idle_address_ms, question.trace),
        share_of_default(score, compared),
    )];
    lines.push(format!(
        "{}, {} in the busiest hour; {} attached after a node's start",
        counted(score.calls, "EC2 call"),
        score.calls_per_hour_max,
        counted(score.eni_attaches, "ENI"),
    ));
    lines.push(format!(
        "at most {} held at once; no subnet below {} free ones",
        counted(score.held_max, "address"),
        score.subnet_free_min,
    ));
    lines
}

fn share_of_default(score: &Score, compared: &[Compared]) -> String {
    let default = compared.iter().find(|one| one.what == Known::Default);
    match default.map(|one| one.trial.score.idle_address_ms) {
        None | Some(0) => String::new(),
        Some(default) => {
            let percent = (score.idle_address_ms * 100).div_ceil(default);
            format!(" ({percent} % of the default's)")
        }
    }
}

fn prevents(trial: &Trial, compared: &[Compared]) -> Vec<String> {
    let (settings, score) = (&trial.settings, &trial.score);
    let mut seen = vec![settings];
    let mut lines = Vec::new();
    for one in compared {
        if seen.contains(&&one.trial.settings) {
            continue;
        }
        seen.push(&one.trial.settings);
        let other = &one.trial.score;
        let faults: Vec<String> = [
            (other.failed_adds > 0).then(|| {
                format!(
                    "{}, wait p99 {}",
                    counted(other.failed_adds, "failed ADD"),
                    seconds(other.wait_p99_ms)
                )
            }),
            (other.pods_never > 0)
                .then(|| format!("{} without any address", counted(other.pods_never, "pod"))),
            (other.idle_address_ms > score.idle_address_ms).then(|| {
                let more = other.idle_address_ms - score.idle_address_ms;
                format!("{} more idle address-hours", hours(more))
            }),
        ]
        .into_iter()
        .flatten()
        .collect();
        if !faults.is_empty() {
            let setting = short(&one.trial.settings);
            lines.push(format!("{} ({setting}): {}", title(one.what), faults.join("; ")));
        }
    }
    if let (2.., 1..) = (settings.warm_ip, settings.minimum_ip) {
        lines.push(format!(
            "a burst beyond the minimum is met with up to {} addresses in a pass of ipamd, not 1",
            settings.warm_ip
        ));
    }
    lines
}

/// What a known setting is called.
pub fn title(known: Known) -> &'static str {
    match known {
        Known::InForce => "in force",
        Known::Default => "the CNI's default",
        Known::WarmIpOne => "WARM_IP_TARGET=1",
        Known::ExpectedPods => "pods seen, one warm",
        Known::AwsRule => "AWS's rule",
    }
}

/// Address-hours with one decimal.
pub fn hours(address_ms: u128) -> String {
    let tenths = (address_ms + 180_000) / 360_000;
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// Seconds with one decimal.
pub fn seconds(time_ms: u64) -> String {
    let tenths = (time_ms + 50) / 100;
    format!("{}.{} s", tenths / 10, tenths % 10)
}

fn average(address_ms: u128, trace: &Trace) -> String {
    let tenths = address_ms * 10 / u128::from(trace.end_ms.max(1));
    format!("{}.{}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::settings::Settings;

    fn compared(what: Known, score: Score) -> Compared {
        let warm_ip = what as u32;
        Compared {
            what,
            trial: Trial { settings: Settings { warm_ip, ..Settings::default() }, score },
        }
    }

    #[test]
    fn what_others_do_worse_is_named_with_its_number() {
        let best = Score { idle_address_ms: 3_600_000, ..Score::default() };
        let fails = Score { failed_adds: 99, wait_p99_ms: 61_240, ..Score::default() };
        let wastes = Score { idle_address_ms: 2 * 3_600_000, ..Score::default() };
        let settings = Settings { warm_ip: 9, ..Settings::default() };
        let best = Trial { settings, score: best };
        let lines =
            prevents(&best, &[compared(Known::InForce, wastes), compared(Known::WarmIpOne, fails)]);
        assert_eq!(
            lines,
            [
                "in force (WARM_ENI=1): 1.0 more idle address-hours",
                "WARM_IP_TARGET=1 (W=2): 99 failed ADDs, wait p99 61.2 s",
            ]
        );
    }

    #[test]
    fn a_setting_that_is_known_under_two_names_is_named_once() {
        let wastes = Score { idle_address_ms: 1, ..Score::default() };
        let settings = Settings::default();
        let trial = Trial { settings, score: wastes };
        let one = Compared { what: Known::InForce, trial: trial.clone() };
        let two = Compared { what: Known::Default, trial };
        let settings = Settings { warm_ip: 9, ..Settings::default() };
        let best = Trial { settings, score: Score::default() };
        assert_eq!(prevents(&best, &[one, two]).len(), 1);
    }

    #[test]
    fn numbers_are_rounded_to_tenths() {
        assert_eq!(hours(3_600_000 + 179_999), "1.0");
        assert_eq!(hours(3_600_000 + 180_000), "1.1");
        assert_eq!(seconds(1_949), "1.9 s");
        assert_eq!(seconds(1_950), "2.0 s");
    }
}
