//! Settings of aws-node that starve pods, never let a node rest, waste addresses or are ignored: each
//! with what follows from it in numbers of the model, and the fix.

pub mod source;

mod burst;

mod starves;

mod wastes;

mod ignored;

mod names;

mod groups;

use std::collections::BTreeMap;

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use crate::lint::source::Source;
use crate::model::environment::{Reading, Variable, parse_bool};
use crate::model::ipamd::{Rules, Shape};
use crate::model::limits::InstanceType;
use crate::model::rest::Rest;
use crate::model::settings::{Mode, Settings};

pub use groups::Group;

/// Pods that examples speak of where no number is expected.
const PODS_EXAMPLE: u32 = 30;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Pods get no address, the node never rests, or a value is not taken as it is written.
    Error,
    /// It costs addresses, calls or time.
    Warning,
    /// Worth knowing.
    Note,
}

impl Severity {
    /// `error`, `warning`, `note`.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        }
    }
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is, for programs: stays the same from version to version.
    pub id: &'static str,
    /// Where the settings are from.
    pub source: String,
    /// The instance types the numbers are for; empty if they do not depend on it.
    pub instance_types: Vec<&'static str>,
    /// The setting.
    pub setting: String,
    /// What follows from it, in numbers.
    pub consequence: String,
    /// What to do.
    pub fix: String,
}

/// What the settings are meant for.
#[derive(Debug, Clone)]
pub struct Purpose {
    /// The nodes' instance types. Not empty.
    pub kinds: Vec<&'static InstanceType>,
    /// The pods with an address of their own that are expected on a node.
    pub pods: Option<u32>,
    /// kubelet's limit, if it is not what EKS's images set.
    pub pods_max: Option<u32>,
    /// Node groups of several types.
    pub groups: Vec<Group>,
}

/// Looks at the settings of every source, worst findings first.
pub fn lint(sources: &[Source], purpose: &Purpose) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        let mut of_source = names::findings(source);
        let env = effective(source);
        let reading = Settings::from_env(&env);
        of_source.extend(names::of_remarks(&reading));
        of_source.extend(ignored::of_switches(&env, &reading.settings, purpose));
        if !is_on(&env, "ENABLE_IPv6") {
            let kinds = purpose.kinds.iter();
            let of_kinds: Vec<Finding> =
                kinds.flat_map(|kind| of_kind(&env, &reading, kind, purpose)).collect();
            of_source.extend(doubtful(source, merged(of_kinds)));
            of_source.extend(groups::findings(&reading.settings, &purpose.groups));
        }
        findings
            .extend(of_source.into_iter().map(|of| Finding { source: source.name.clone(), ..of }));
    }
    findings.sort_by_key(|finding| finding.severity);
    findings
}

fn of_kind(
    env: &BTreeMap<String, String>,
    reading: &Reading,
    kind: &'static InstanceType,
    purpose: &Purpose,
) -> Vec<Finding> {
    let settings = reading.settings.on(kind);
    let usual = kind.pods_max(settings.mode, settings.custom_networking);
    let pods_max = purpose.pods_max.unwrap_or(usual);
    let case = Case { env, settings, kind, pods_max, pods: purpose.pods };
    let found = starves::RULES.iter().chain(&wastes::RULES).chain(&ignored::RULES);
    let found = found.filter_map(|rule| rule(&case));
    found.map(|of| Finding { instance_types: vec![kind.name], ..of }).collect()
}

/// What is the same for several types is said once.
fn merged(findings: Vec<Finding>) -> Vec<Finding> {
    let mut merged: Vec<Finding> = Vec::new();
    for finding in findings {
        let is_same = |known: &&mut Finding| {
            let instance_types = known.instance_types.clone();
            **known == Finding { instance_types, ..finding.clone() }
        };
        match merged.iter_mut().find(is_same) {
            Some(known) => known.instance_types.extend(finding.instance_types),
            None => merged.push(finding),
        }
    }
    merged
}

/// Where a target's value cannot be known, nothing that follows from the targets is certain.
fn doubtful(source: &Source, findings: Vec<Finding>) -> Vec<Finding> {
    let is_unknown = source.unknowable.keys().any(|name| Variable::find(name).is_some());
    if !is_unknown && source.elsewhere.is_empty() {
        return findings;
    }
    let doubted = |of: Finding| Finding {
        severity: Severity::Note,
        consequence: format!("if the values that cannot be known are ipamd's: {}", of.consequence),
        ..of
    };
    findings.into_iter().map(doubted).collect()
}

/// The environment as the pods will have it: the chart sets `WARM_PREFIX_TARGET` where it is not
/// overridden.
fn effective(source: &Source) -> BTreeMap<String, String> {
    let mut env = source.env.clone();
    if source.is_on_top_of_the_chart && !source.unknowable.contains_key("WARM_PREFIX_TARGET") {
        env.entry("WARM_PREFIX_TARGET".to_owned()).or_insert_with(|| "1".to_owned());
    }
    env
}

fn is_on(env: &BTreeMap<String, String>, name: &str) -> bool {
    env.get(name).is_some_and(|value| parse_bool(value) == Some(true))
}

/// A rule: at most one finding about a node.
type Rule = fn(&Case) -> Option<Finding>;

/// A node of one type under the settings.
struct Case<'a> {
    env: &'a BTreeMap<String, String>,
    settings: Settings,
    kind: &'static InstanceType,
    pods_max: u32,
    pods: Option<u32>,
}

impl Case<'_> {
    /// What it holds at rest with so many pods.
    fn rest(&self, pods: u32) -> Rest {
        self.rest_under(&self.settings, pods)
    }

    /// What it would hold under other settings.
    fn rest_under(&self, settings: &Settings, pods: u32) -> Rest {
        let shape = Shape::of(self.kind, settings, self.pods_max);
        Rest::of(Rules { settings, shape }, 0, pods, &mut ChaCha8Rng::seed_from_u64(1))
    }

    /// The most pods with addresses that the type's ENIs and kubelet allow, whatever the targets.
    fn capacity(&self) -> u32 {
        self.addresses().min(self.pods_max)
    }

    /// Addresses for pods on all the ENIs that the type allows. With `ENABLE_POD_ENI` a slot is kept
    /// for the trunk, which gives pods none.
    fn addresses(&self) -> u32 {
        let settings = &self.settings;
        let beside_primary = self.kind.enis_max - 1;
        let enis = 1 + beside_primary.saturating_sub(u32::from(settings.pod_eni));
        let for_pods = enis - u32::from(settings.custom_networking);
        for_pods * self.kind.pod_addresses_per_eni(settings.mode)
    }

    /// The expected pods, or an example that fits; never more than the node takes.
    fn pods_or_example(&self) -> u32 {
        self.pods.unwrap_or(PODS_EXAMPLE).min(self.capacity())
    }

    /// The targets of AWS's best practices: a minimum slightly above the pods, two warm.
    fn advised(&self, pods: u32) -> Settings {
        let minimum_ip = (pods + pods.div_ceil(10).max(2)).min(self.capacity());
        Settings { warm_ip: 2, minimum_ip, ..self.settings.clone() }
    }

    fn is_prefix(&self) -> bool {
        self.settings.mode == Mode::Prefix
    }
}

/// A finding about no type in particular; [`lint`] fills in the rest.
fn finding(
    severity: Severity,
    id: &'static str,
    setting: impl Into<String>,
    consequence: impl Into<String>,
    fix: impl Into<String>,
) -> Finding {
    Finding {
        severity,
        id,
        source: String::new(),
        instance_types: Vec::new(),
        setting: setting.into(),
        consequence: consequence.into(),
        fix: fix.into(),
    }
}

#[cfg(test)]
mod tests;
