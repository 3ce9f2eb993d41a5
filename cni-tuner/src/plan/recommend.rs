//! The answer of a plan: one setting with its reasons, beside what else might be chosen.

use crate::model::settings::{Mode, Settings};
use crate::plan::Question;
use crate::plan::candidates::targets;
use crate::plan::demand::{Demand, Profile};
use crate::plan::goal::{Breach, Score};
use crate::plan::reason;
use crate::plan::search::{Finalist, Found};

/// What came out of a search.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The demand the trace shows.
    pub demand: Demand,
    /// The setting that is best, or the ones that come closest.
    pub verdict: Verdict,
    /// The settings it stands beside: the one in force, the CNI's default, rules of thumb.
    pub compared: Vec<Compared>,
    /// The Pareto front: idle addresses against waits and failures against EC2 calls, the fewest
    /// idle addresses first.
    pub front: Vec<Trial>,
    /// Settings that were tried.
    pub tried: usize,
    /// Simulations that were run.
    pub simulations: usize,
    /// Of how many nodes the sample was that the search began with; none: it began with all.
    pub sampled_nodes: Option<usize>,
}

impl Plan {
    /// The recommended setting, if one keeps to every limit.
    pub fn recommended(&self) -> Option<&Recommendation> {
        match &self.verdict {
            Verdict::Found(recommendation) => Some(recommendation),
            Verdict::NoneMeets(_) => None,
        }
    }
}

/// Whether a setting keeps to all limits.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// The best of those that do.
    Found(Box<Recommendation>),
    /// None does; these come closest, the closest first.
    NoneMeets(Vec<Miss>),
}

/// A setting and how it does on the trace, as bad as the worst of the seeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// The setting.
    pub settings: Settings,
    /// How it does.
    pub score: Score,
}

/// The setting to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recommendation {
    /// The setting and how it does.
    pub trial: Trial,
    /// How it does with the headroom's pods on top.
    pub raised: Score,
    /// Why it and no other.
    pub reason: Reason,
}

/// Why a setting is recommended: sentences, each with its numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reason {
    /// The demand it rests on.
    pub rests_on: Vec<String>,
    /// What it costs.
    pub costs: Vec<String>,
    /// What it prevents or spares.
    pub prevents: Vec<String>,
}

/// A setting that keeps to not all limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Miss {
    /// The setting and how it does.
    pub trial: Trial,
    /// The limits it breaks on the trace as it is.
    pub breaches: Vec<Breach>,
    /// The limits it breaks with the headroom's pods on top.
    pub breaches_raised: Vec<Breach>,
}

/// A setting that was not found but is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compared {
    /// What it is.
    pub what: Known,
    /// The setting and how it does.
    pub trial: Trial,
}

/// The known settings a recommendation stands beside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Known {
    /// What holds now.
    InForce,
    /// The CNI's default.
    Default,
    /// `WARM_IP_TARGET=1`.
    WarmIpOne,
    /// `MINIMUM_IP_TARGET` = the most pods seen on a node, `WARM_IP_TARGET=1`.
    ExpectedPods,
    /// AWS's rule: `MINIMUM_IP_TARGET` a fifth above it, `WARM_IP_TARGET=2`.
    AwsRule,
}

impl Known {
    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Known::InForce => "in_force",
            Known::Default => "default",
            Known::WarmIpOne => "warm_ip_1",
            Known::ExpectedPods => "expected_pods",
            Known::AwsRule => "aws_rule",
        }
    }
}

/// The known settings for a demand. They are those in force but for the warm targets; the default
/// keeps the mode in force as well. No target is above `target_max`.
pub fn known(in_force: &Settings, profile: &Profile, target_max: u32) -> Vec<(Known, Settings)> {
    let default = Settings::default();
    let default = Settings {
        warm_eni: default.warm_eni,
        warm_ip: default.warm_ip,
        minimum_ip: default.minimum_ip,
        warm_prefix: default.warm_prefix,
        ..in_force.clone()
    };
    let expected = profile.peak_on_node.max;
    let minimum = |pods: u64| pods.min(target_max.into()) as u32;
    let with = |warm_ip, minimum_ip| targets(&default, warm_ip, minimum_ip);
    vec![
        (Known::InForce, in_force.clone()),
        (Known::Default, default.clone()),
        (Known::WarmIpOne, with(1, 0)),
        (Known::ExpectedPods, with(1, minimum(expected))),
        (Known::AwsRule, with(2, minimum((expected * 12).div_ceil(10)))),
    ]
}

/// Makes a plan of what a search found. `kinds` are the known settings in the order they were
/// given to it.
pub fn plan(question: &Question<'_>, demand: Demand, kinds: &[Known], found: Found) -> Plan {
    let known = kinds.iter().zip(found.known);
    let compared: Vec<Compared> =
        known.map(|(what, trial)| Compared { what: *what, trial }).collect();
    let verdict = match found.best {
        Some(Finalist { trial, raised }) => {
            let reason = reason::of(question, &demand, &trial, &compared);
            Verdict::Found(Box::new(Recommendation { trial, raised, reason }))
        }
        None => Verdict::NoneMeets(misses(question, found.finalists)),
    };
    let (front, tried, simulations) = (found.front, found.tried, found.simulations);
    Plan { demand, verdict, compared, front, tried, simulations, sampled_nodes: None }
}

/// How many settings are shown that come close.
const MISSES_SHOWN: usize = 3;

/// The closest, the closest first; of those that do the same only one.
fn misses(question: &Question<'_>, mut finalists: Vec<Finalist>) -> Vec<Miss> {
    finalists
        .dedup_by(|next, one| next.trial.score == one.trial.score && next.raised == one.raised);
    let miss = |one: Finalist| Miss {
        breaches: one.trial.score.breaches(&question.goal),
        breaches_raised: one.raised.breaches(&question.goal),
        trial: one.trial,
    };
    finalists.into_iter().map(miss).take(MISSES_SHOWN).collect()
}

/// A setting in a few letters, as tables show it: `W=1 M=110`, `WARM_ENI=1`, `PD WARM_PREFIX=1`.
pub fn short(settings: &Settings) -> String {
    let mode = if settings.mode == Mode::Prefix { "PD " } else { "" };
    let (warm_ip, minimum_ip) = (settings.warm_ip, settings.minimum_ip);
    match (warm_ip, minimum_ip) {
        (0, 0) if settings.mode == Mode::Prefix => {
            format!("{mode}WARM_PREFIX={}", settings.warm_prefix)
        }
        (0, 0) => format!("WARM_ENI={}", settings.warm_eni),
        (warm_ip, 0) => format!("{mode}W={warm_ip}"),
        (0, minimum_ip) => format!("{mode}M={minimum_ip}"),
        (warm_ip, minimum_ip) => format!("{mode}W={warm_ip} M={minimum_ip}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::demand::Spread;

    fn known_for(pods: u64, target_max: u32) -> Vec<String> {
        let peak_on_node = Spread { max: pods, ..Spread::default() };
        let profile = Profile { peak_on_node, ..Profile::default() };
        let in_force = Settings { warm_ip: 7, cooldown_ms: 5_000, ..Settings::default() };
        let known = known(&in_force, &profile, target_max);
        assert!(known.iter().all(|(_, settings)| settings.cooldown_ms == 5_000));
        known.iter().map(|(_, settings)| short(settings)).collect()
    }

    #[test]
    fn the_rules_of_thumb_follow_the_pods_seen() {
        assert_eq!(known_for(10, 232), ["W=7", "WARM_ENI=1", "W=1", "W=1 M=10", "W=2 M=12"]);
    }

    #[test]
    fn no_rule_asks_for_more_than_a_node_can_use() {
        assert_eq!(known_for(230, 232)[3..], ["W=1 M=230", "W=2 M=232"]);
    }

    #[test]
    fn prefix_mode_shows() {
        let prefix = Settings { mode: Mode::Prefix, ..Settings::default() };
        assert_eq!(short(&prefix), "PD WARM_PREFIX=1");
        assert_eq!(short(&targets(&prefix, 4, 32)), "PD W=4 M=32");
        assert_eq!(short(&Settings { minimum_ip: 9, ..Settings::default() }), "M=9");
    }
}
