//! `cni-tuner limits`.

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::{anyhow, bail};
use serde::Serialize;

use crate::commands::output;
use crate::model::limits::{self, InstanceType};
use crate::model::settings::Mode;

/// How many types a note names before it only counts the others.
const NAMED_MAX: usize = 3;

/// The command's flags.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Instance types (m5.4xlarge), families (m5) or patterns ('m5.*', '*.metal')
    #[arg(value_name = "TYPE", required_unless_present = "all", conflicts_with = "all")]
    types: Vec<String>,
    /// Every type in the table
    #[arg(long)]
    all: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let kinds = if args.all { sorted(limits::all().iter()) } else { chosen(&args.types)? };
    if args.json {
        output::print_json(&kinds.iter().map(|kind| Limits::of(kind)).collect::<Vec<Limits>>())?;
    } else {
        output::print(&text(&kinds))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The types that the words name, each once, in the order of the words.
fn chosen(words: &[String]) -> anyhow::Result<Vec<&'static InstanceType>> {
    let mut kinds = Vec::new();
    let mut names = BTreeSet::new();
    for word in words {
        let matching = matching(word);
        if matching.is_empty() {
            bail!(unknown(word));
        }
        kinds.extend(matching.into_iter().filter(|kind| names.insert(kind.name)));
    }
    Ok(kinds)
}

fn matching(word: &str) -> Vec<&'static InstanceType> {
    let kinds = limits::all().iter();
    sorted(kinds.filter(|kind| kind.family() == word || matches(word.as_bytes(), kind.name)))
}

/// Smaller ones first within a family.
fn sorted(kinds: impl Iterator<Item = &'static InstanceType>) -> Vec<&'static InstanceType> {
    let mut kinds: Vec<&InstanceType> = kinds.collect();
    kinds.sort_by_key(|kind| (kind.family(), kind.vcpus, kind.bare_metal, kind.name));
    kinds
}

/// Whether a pattern matches a whole name: `*` stands for any letters, `?` for one.
fn matches(pattern: &[u8], name: &str) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some((b'*', rest)) => (0..=name.len()).any(|skipped| matches(rest, &name[skipped..])),
        Some((b'?', rest)) => !name.is_empty() && matches(rest, &name[1..]),
        Some((letter, rest)) => {
            name.as_bytes().first() == Some(letter) && matches(rest, &name[1..])
        }
    }
}

/// Why a word names no type, and which it may have meant.
pub(super) fn unknown(name: &str) -> anyhow::Error {
    let near = limits::suggest(name);
    if near.is_empty() {
        return anyhow!(
            "`{name}`: no such instance type; `cni-tuner limits --all` lists all {}",
            limits::all().len()
        );
    }
    anyhow!("`{name}`: no such instance type; did you mean {}?", near.join(", "))
}

/// One type as JSON. Null: the type has no prefix delegation, or its branch ENIs are not known.
#[derive(Debug, Serialize)]
struct Limits {
    instance_type: &'static str,
    vcpus: u32,
    enis: u32,
    addresses_per_eni: u32,
    #[serde(flatten)]
    pods: Pods,
    custom_networking: Pods,
    hypervisor: &'static str,
    bare_metal: bool,
    prefix_delegation: bool,
    default_network_card: u32,
    network_cards: Vec<Card>,
    branch_enis: Option<u32>,
    trunking: Option<bool>,
}

/// What its ENIs give to pods, with custom networking or without.
#[derive(Debug, Serialize)]
struct Pods {
    pod_addresses: u32,
    max_pods: u32,
    max_pods_prefix: Option<u32>,
    max_pods_prefix_uncapped: Option<u32>,
}

#[derive(Debug, Serialize)]
struct Card {
    index: u32,
    enis: u32,
}

impl Limits {
    fn of(kind: &InstanceType) -> Limits {
        let cards = kind.cards.iter();
        Limits {
            instance_type: kind.name,
            vcpus: kind.vcpus,
            enis: kind.enis_max,
            addresses_per_eni: kind.addresses_per_eni,
            pods: Pods::of(kind, false),
            custom_networking: Pods::of(kind, true),
            hypervisor: kind.hypervisor.name(),
            bare_metal: kind.bare_metal,
            prefix_delegation: kind.prefixes_supported,
            default_network_card: kind.default_card,
            network_cards: cards
                .map(|card| Card { index: card.index, enis: card.enis_max })
                .collect(),
            branch_enis: kind.branch_enis,
            trunking: kind.trunking,
        }
    }
}

impl Pods {
    fn of(kind: &InstanceType, custom: bool) -> Pods {
        let prefixes = kind.prefixes_supported;
        Pods {
            pod_addresses: kind.pod_addresses(Mode::SecondaryIp, custom),
            max_pods: kind.pods_max(Mode::SecondaryIp, custom),
            max_pods_prefix: prefixes.then(|| kind.pods_max(Mode::Prefix, custom)),
            max_pods_prefix_uncapped: prefixes
                .then(|| kind.pods_max_uncapped(Mode::Prefix, custom)),
        }
    }
}

const HEADER: [&str; 12] = [
    "type",
    "vCPU",
    "ENIs",
    "IPs\neach",
    "pod\nIPs",
    "max\npods",
    "prefix\nmode",
    "custom\nnetwork",
    "custom,\nprefix",
    "hyper-\nvisor",
    "cards",
    "branch\nENIs",
];

fn text(kinds: &[&InstanceType]) -> String {
    let rows = kinds.iter().map(|kind| row(kind)).collect();
    output::table(&HEADER, rows) + "\n" + &notes(kinds).join("\n") + "\n"
}

fn row(kind: &InstanceType) -> Vec<String> {
    let plain = Pods::of(kind, false);
    let custom = Pods::of(kind, true);
    vec![
        kind.name.to_owned(),
        kind.vcpus.to_string(),
        kind.enis_max.to_string(),
        kind.addresses_per_eni.to_string(),
        plain.pod_addresses.to_string(),
        plain.max_pods.to_string(),
        or_dash(plain.max_pods_prefix),
        custom.max_pods.to_string(),
        or_dash(custom.max_pods_prefix),
        if kind.bare_metal { "metal" } else { kind.hypervisor.name() }.to_owned(),
        kind.cards.len().to_string(),
        or_dash(kind.branch_enis),
    ]
}

fn or_dash(number: Option<u32>) -> String {
    number.map_or("-".to_owned(), |number| number.to_string())
}

/// What the numbers mean, and what is special about some of the types.
fn notes(kinds: &[&InstanceType]) -> Vec<String> {
    let mut notes = vec![
        "max pods: ENIs x (IPs each - 1) + 2, since an ENI keeps one IP and two pods use the host's."
            .to_owned(),
        "prefix mode: the same with 16 IPs for each, but at most 110 up to 30 vCPUs and 250 above."
            .to_owned(),
        "custom network: the primary ENI gives pods nothing.".to_owned(),
    ];
    let several: Vec<&InstanceType> =
        kinds.iter().copied().filter(|kind| kind.cards.len() > 1).collect();
    if let [only] = several[..] {
        notes.push(several_cards_of_one(only));
    } else if !several.is_empty() {
        notes.push(format!(
            "several cards: pods get IPs from the default card's ENIs alone, which are those counted:\n  \
             {}.",
            named(&several)
        ));
    }
    let without: Vec<&InstanceType> =
        kinds.iter().copied().filter(|kind| !kind.prefixes_supported).collect();
    if !without.is_empty() {
        notes.push(format!(
            "no prefix delegation (ENABLE_PREFIX_DELEGATION changes nothing; IPs stay single):\n  {}.",
            named(&without)
        ));
    }
    notes
}

fn several_cards_of_one(kind: &InstanceType) -> String {
    format!(
        "{}: {} network cards with {} ENIs in all, but pods get IPs\n  from those of card {} alone: {}.",
        kind.name,
        kind.cards.len(),
        kind.enis_all_cards(),
        kind.default_card,
        kind.enis_max
    )
}

/// The first few names, and how many others there are.
fn named(kinds: &[&InstanceType]) -> String {
    let names: Vec<&str> = kinds.iter().take(NAMED_MAX).map(|kind| kind.name).collect();
    match kinds.len().saturating_sub(NAMED_MAX) {
        0 => names.join(", "),
        others => format!("{} and {others} more", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(words: &[&str]) -> Vec<&'static str> {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        let kinds = chosen(&words).unwrap_or_else(|error| panic!("{words:?}: {error}"));
        kinds.iter().map(|kind| kind.name).collect()
    }

    #[test]
    fn a_pattern_matches_whole_names() {
        for (pattern, name, is_match) in [
            ("m5.*", "m5.large", true),
            ("m5.*", "m5a.large", false),
            ("*.metal", "m5.metal", true),
            ("*.metal", "m7i.metal-24xl", false),
            ("m?.large", "m5.large", true),
            ("m?.large", "m5a.large", false),
            ("*", "m5.large", true),
            ("m5.large", "m5.large", true),
            ("m5.larg", "m5.large", false),
            ("?", "", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name), is_match, "{pattern} {name}");
        }
    }

    #[test]
    fn a_family_is_given_from_small_to_large() {
        let family = names(&["c5"]);
        assert_eq!(family.first(), Some(&"c5.large"));
        assert_eq!(family.last(), Some(&"c5.metal"));
        assert_eq!(family, names(&["c5.*"]));
    }

    #[test]
    fn a_type_named_twice_is_listed_once() {
        assert_eq!(names(&["m5.large", "c5.large", "m5.large"]), ["m5.large", "c5.large"]);
    }

    #[test]
    fn no_line_is_longer_than_100_columns() {
        let kinds: Vec<&InstanceType> = limits::all().iter().collect();
        let texts = kinds.iter().map(|kind| text(&[kind])).chain([text(&kinds)]);
        for text in texts {
            let long = text.lines().find(|line| line.chars().count() > 100);
            assert_eq!(long, None);
        }
    }
}
