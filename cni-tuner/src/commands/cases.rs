//! The settings a trace is run under, as they are typed: aws-node's variables, or a word for known
//! ones.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, bail};

use crate::model::settings::Settings;
use crate::model::world::{Assignment, World};
use crate::plan;
use crate::plan::demand::Demand;
use crate::plan::goal::Goal;
use crate::plan::recommend::Verdict;
use crate::report::label_of;
use crate::trace::Trace;

/// The flags that name settings.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Settings")]
pub(super) struct CaseArgs {
    /// Settings to run under: WARM_IP_TARGET=2,MINIMUM_IP_TARGET=12, the word default, or the word
    /// recommended (searched for this trace), with a name of your own before it as in
    /// "ours:WARM_IP_TARGET=2"; repeatable [default: the CNI's default, WARM_IP_TARGET=1, the
    /// expected pods as minimum, and the recommendation]
    #[arg(long = "setting", value_name = "[LABEL:]NAME=VALUE,...")]
    settings: Vec<String>,
    /// Settings of one node group's nodes under every --setting: GROUP:NAME=VALUE,...; repeatable
    #[arg(long = "setting-for", value_name = "GROUP:NAME=VALUE,...")]
    groups: Vec<String>,
}

/// Settings with what they are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Case {
    /// No two of a comparison are called the same.
    pub(super) label: String,
    /// The settings.
    pub(super) assignment: Assignment,
    /// Where they come from, if they were not typed.
    pub(super) note: Option<&'static str>,
}

/// What a trace's settings are searched with.
pub(super) struct Search<'a> {
    pub(super) trace: &'a Trace,
    pub(super) world: &'a World,
    pub(super) seed: u64,
    /// Told how many of how many simulations are done.
    pub(super) progress: &'a plan::Progress<'a>,
}

impl CaseArgs {
    /// Finds mistakes without a search.
    ///
    /// # Errors
    ///
    /// A word that is no setting, settings or labels given twice, a group the trace does not have.
    pub(super) fn check(&self, trace: &Trace) -> anyhow::Result<()> {
        let mut labels = BTreeSet::new();
        for typed in self.typed()? {
            if !labels.insert(typed.label.clone()) {
                bail!(
                    "--setting: two are called {:?}; put a name before one, as in other:{}",
                    typed.label,
                    "WARM_IP_TARGET=1",
                );
            }
        }
        self.by_group(trace).map(|_| ())
    }

    /// The settings to run under, in the order they were given.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check), and a recommendation where none keeps to the plan's limits.
    pub(super) fn cases(&self, search: &Search<'_>) -> anyhow::Result<Vec<Case>> {
        let by_group = self.by_group(search.trace)?;
        let typed = if self.settings.is_empty() { story(search.trace) } else { self.typed()? };
        let mut cases = Vec::new();
        for Typed { label, choice } in typed {
            let (everywhere, note) = match choice {
                Choice::Settings(settings) => (settings, None),
                Choice::Recommended if by_group.is_empty() => recommended(search)?,
                Choice::Recommended => (recommended(search)?.0, Some(WITHOUT_GROUPS)),
            };
            let assignment = Assignment { everywhere, by_group: by_group.clone() };
            cases.push(Case { label, assignment, note });
        }
        Ok(cases)
    }

    fn typed(&self) -> anyhow::Result<Vec<Typed>> {
        let parse = |word: &String| Typed::parse(word).with_context(|| format!("--setting {word}"));
        self.settings.iter().map(parse).collect()
    }

    fn by_group(&self, trace: &Trace) -> anyhow::Result<BTreeMap<String, Settings>> {
        let known: BTreeSet<&str> = trace.nodes.iter().map(|node| node.group.as_str()).collect();
        let mut by_group = BTreeMap::new();
        for word in &self.groups {
            let flag = || format!("--setting-for {word}");
            let parts = word.rsplit_once(':').context("no \":\" after the group's name");
            let (group, pairs) = parts.with_context(flag)?;
            if !known.contains(group) {
                let known = known.into_iter().collect::<Vec<_>>().join(", ");
                return Err(anyhow::anyhow!("the trace has no group {group:?}, but {known}"))
                    .with_context(flag);
            }
            let settings = parse_pairs(pairs).with_context(flag)?;
            if by_group.insert(group.to_owned(), settings).is_some() {
                bail!("--setting-for: {group:?} is given twice");
            }
        }
        Ok(by_group)
    }
}

/// Settings as typed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Typed {
    label: String,
    choice: Choice,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Choice {
    Settings(Settings),
    /// What a search finds for the trace.
    Recommended,
}

impl Typed {
    fn parse(word: &str) -> anyhow::Result<Typed> {
        let (label, rest) = match word.split_once(':') {
            Some((label, _)) if label.trim().is_empty() => bail!("the name before \":\" is empty"),
            Some((label, rest)) => (Some(label.trim().to_owned()), rest),
            None => (None, word),
        };
        Ok(match rest.trim() {
            "recommended" => Typed {
                label: label.unwrap_or_else(|| "recommended".to_owned()),
                choice: Choice::Recommended,
            },
            rest => {
                let settings = parse_pairs(rest)?;
                Typed::of(label.unwrap_or_else(|| label_of(&settings)), settings)
            }
        })
    }

    fn of(label: impl Into<String>, settings: Settings) -> Typed {
        Typed { label: label.into(), choice: Choice::Settings(settings) }
    }
}

fn parse_pairs(text: &str) -> anyhow::Result<Settings> {
    match text.trim() {
        "default" => Ok(Settings::default()),
        "" => bail!("nothing is set; the CNI's own settings are called default"),
        text => {
            let words = text.split([',', ' ']).filter(|word| !word.is_empty());
            Ok(Settings::default().with_words(words)?)
        }
    }
}

/// The settings people use, and what is better: the default, the one that saves addresses and
/// starves bursts, the rule of thumb, and what a search finds.
fn story(trace: &Trace) -> Vec<Typed> {
    let usual = Settings::default();
    let expected = Demand::of(trace, usual.cooldown_ms).fleet.peak_on_node.max;
    let minimum_ip = u32::try_from(expected).unwrap_or(u32::MAX);
    let warm_one = Settings { warm_ip: 1, ..usual.clone() };
    let rule = Settings { minimum_ip, ..warm_one.clone() };
    let mut typed = vec![Typed::of("default", usual), Typed::of("W=1", warm_one)];
    if minimum_ip > 0 {
        typed.push(Typed::of(format!("W=1 M={minimum_ip}"), rule));
    }
    typed.push(Typed { label: "recommended".to_owned(), choice: Choice::Recommended });
    typed
}

/// What a search finds: a setting that keeps to a plan's usual limits, or else the one that comes
/// closest, and which of them it is.
fn recommended(search: &Search<'_>) -> anyhow::Result<(Settings, Option<&'static str>)> {
    let question = plan::Question {
        trace: search.trace,
        in_force: &Settings::default(),
        world: search.world,
        goal: Goal::default(),
        modes: Vec::new(),
        headroom_percent: HEADROOM_PERCENT,
        seed: search.seed,
    };
    match plan::recommend(&question, search.progress).verdict {
        Verdict::Found(found) => Ok((found.trial.settings, Some(FOUND))),
        Verdict::NoneMeets(misses) => {
            let nearest = misses.into_iter().next();
            let nearest = nearest.context("the search for a recommendation tried no setting")?;
            Ok((nearest.trial.settings, Some(CLOSEST)))
        }
    }
}

/// As `cni-tuner plan` without flags.
const HEADROOM_PERCENT: u32 = 10;
const FOUND: &str = "the fewest idle addresses that serve 10% more pods without a failed ADD, too";
const WITHOUT_GROUPS: &str = "searched as if it held for every group";
const CLOSEST: &str = "none serves 10% more pods without a failed ADD; this comes closest";

#[cfg(test)]
mod tests {
    use super::*;

    fn check(word: &str, label: &str, settings: Settings) {
        assert_eq!(Typed::parse(word).unwrap(), Typed::of(label, settings), "{word}");
    }

    #[test]
    fn settings_are_aws_nodes_variables_or_known_words() {
        let usual = Settings::default;
        check("default", "default", usual());
        check("WARM_IP_TARGET=1", "W=1", Settings { warm_ip: 1, ..usual() });
        let both = Settings { warm_ip: 2, minimum_ip: 12, ..usual() };
        check("WARM_IP_TARGET=2,MINIMUM_IP_TARGET=12", "W=2 M=12", both.clone());
        check("WARM_IP_TARGET=2 MINIMUM_IP_TARGET=12", "W=2 M=12", both.clone());
        check(" ours : MINIMUM_IP_TARGET=12,WARM_IP_TARGET=2", "ours", both);
        check("usual:default", "usual", usual());
        let recommended = Typed::parse("best:recommended").unwrap();
        assert_eq!((recommended.label.as_str(), recommended.choice), ("best", Choice::Recommended));
    }

    fn check_refused(word: &str, part: &str) {
        let error = format!("{:#}", Typed::parse(word).unwrap_err());
        assert!(error.contains(part), "{word}: {error}");
    }

    #[test]
    fn slips_are_refused_with_what_would_be_right() {
        check_refused("WARM_IP_TARGT=1", "is WARM_IP_TARGET meant?");
        check_refused("WARM_IP_TARGET=-1", "a whole number");
        check_refused("WARM_IP_TARGET=NaN", "a whole number");
        check_refused("WARM_IP_TARGET=1,WARM_IP_TARGET=2", "set twice");
        check_refused("recomended", "NAME=VALUE");
        check_refused("", "nothing is set");
        check_refused(":WARM_IP_TARGET=1", "the name before");
    }
}
