//! `cni-tuner lint`.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::builder::RangedU64ValueParser;
use serde::Serialize;

use crate::commands::explain::{name_of, read, wrapped};
use crate::commands::{limits::unknown, output};
use crate::lint::source::Source;
use crate::lint::{Finding, Group, Purpose, Severity, lint};
use crate::model::limits::{self, InstanceType};

/// The type that numbers are for where none is given.
const TYPE_EXAMPLE: &str = "m5.large";

/// The command's flags.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Manifests of the DaemonSet aws-node, add-on configurations or chart values (YAML or JSON); -
    /// for standard input
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// A variable of aws-node, on top of the files or by itself (repeatable)
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// An instance type the settings are for (repeatable) [default: m5.large]
    #[arg(long, value_name = "TYPE", value_delimiter = ',')]
    instance_type: Vec<String>,
    /// Pods with an address of their own that are expected on a node
    #[arg(long, value_parser = RangedU64ValueParser::<u32>::new().range(1..=100_000), allow_negative_numbers = true)]
    pods: Option<u32>,
    /// kubelet's limit of pods [default: what EKS's image sets for the type and mode]
    #[arg(long, value_parser = RangedU64ValueParser::<u32>::new().range(1..=100_000), allow_negative_numbers = true)]
    max_pods: Option<u32>,
    /// A node group and its instance types in the group's order (repeatable)
    #[arg(long, value_name = "NAME=TYPE,TYPE")]
    group: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let sources = sources(args)?;
    let purpose = purpose(args)?;
    let findings = lint(&sources, &purpose);
    let report = Report::of(&findings);
    if args.json {
        output::print_json(&report)?;
    } else {
        output::print(&text(&report, &purpose))?;
    }
    Ok(ExitCode::from(u8::from(report.errors > 0)))
}

fn sources(args: &Args) -> anyhow::Result<Vec<Source>> {
    let mut sources = Vec::new();
    for file in &args.files {
        sources.extend(Source::read(&name_of(file), &read(file)?)?);
    }
    if sources.is_empty() {
        let name = if args.env.is_empty() { "the chart's values" } else { "--env" };
        sources.push(Source { name: name.to_owned(), ..Source::chart() });
    }
    let mut names: Vec<&str> = Vec::new();
    for word in &args.env {
        let Some((name, value)) = word.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            bail!("--env {word}: NAME=VALUE is needed, such as WARM_IP_TARGET=5");
        };
        if names.contains(&name) {
            bail!("--env {name} is given twice");
        }
        names.push(name);
        sources.iter_mut().for_each(|source| source.set(name, value));
    }
    Ok(sources)
}

fn purpose(args: &Args) -> anyhow::Result<Purpose> {
    let mut groups: Vec<Group> = Vec::new();
    for word in &args.group {
        let group = group(word).with_context(|| format!("--group {word}"))?;
        if groups.iter().any(|known| known.name == group.name) {
            bail!("--group {word}: there are two groups {}", group.name);
        }
        groups.push(group);
    }
    let mut kinds = kinds(&args.instance_type).context("--instance-type")?;
    for kind in groups.iter().flat_map(|group| &group.kinds) {
        if !kinds.contains(kind) {
            kinds.push(kind);
        }
    }
    if kinds.is_empty() {
        kinds.extend(limits::find(TYPE_EXAMPLE));
    }
    Ok(Purpose { kinds, pods: args.pods, pods_max: args.max_pods, groups })
}

fn group(word: &str) -> anyhow::Result<Group> {
    let parts = word.split_once('=').filter(|(name, types)| !name.is_empty() && !types.is_empty());
    let Some((name, types)) = parts else {
        bail!("NAME=TYPE,TYPE is needed, such as workers=m5.large,m5a.large");
    };
    let types: Vec<String> = types.split(',').map(str::to_owned).collect();
    Ok(Group { name: name.to_owned(), kinds: kinds(&types)? })
}

/// The types of these names, each once.
fn kinds(names: &[String]) -> anyhow::Result<Vec<&'static InstanceType>> {
    let mut kinds: Vec<&InstanceType> = Vec::new();
    for name in names {
        let kind = limits::find(name).ok_or_else(|| unknown(name))?;
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    Ok(kinds)
}

/// The findings as JSON.
#[derive(Debug, Serialize)]
struct Report<'a> {
    errors: usize,
    warnings: usize,
    notes: usize,
    findings: &'a [Finding],
}

impl Report<'_> {
    fn of(findings: &[Finding]) -> Report<'_> {
        let count =
            |severity| findings.iter().filter(|finding| finding.severity == severity).count();
        Report {
            errors: count(Severity::Error),
            warnings: count(Severity::Warning),
            notes: count(Severity::Note),
            findings,
        }
    }
}

/// Values come from files: none may steer the terminal, or begin a line of its own.
fn printable(text: &str) -> String {
    text.replace(char::is_control, "\u{fffd}")
}

fn text(report: &Report, purpose: &Purpose) -> String {
    let mut text = String::new();
    for finding in report.findings {
        let Finding { severity, id, source, instance_types, setting, consequence, fix } = finding;
        let types = instance_types.join(", ");
        let on = if types.is_empty() { types } else { format!(" ({types})") };
        let [setting, source, consequence] =
            [setting, source, consequence].map(|text| printable(text));
        let _ = writeln!(text, "{}[{id}] {setting}{on}", severity.name());
        let _ = writeln!(text, "  in       {source}");
        let _ = writeln!(text, "  so that  {consequence}");
        let _ = writeln!(text, "  fix      {fix}\n");
    }
    let kinds: Vec<&str> = purpose.kinds.iter().map(|kind| kind.name).collect();
    let kinds = kinds.join(", ");
    if report.findings.is_empty() {
        let _ = writeln!(text, "Nothing was found; looked at for {kinds}.");
        return wrapped(&text);
    }
    let counts = [(report.errors, "error"), (report.warnings, "warning"), (report.notes, "note")];
    let counts =
        counts.map(|(count, of)| format!("{count} {of}{}", if count == 1 { "" } else { "s" }));
    let _ = writeln!(text, "{}; looked at for {kinds}.", counts.join(", "));
    wrapped(&text)
}
