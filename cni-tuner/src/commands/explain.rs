//! `cni-tuner explain`.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use crate::commands::output;
use crate::model::explain::Explanation;
use crate::model::rest::Rest;
use crate::model::settings::Mode;
use crate::model::state::State;
use crate::words;

/// The command's flags.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A node's state as JSON; - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let json = read(&args.file)?;
    let state = State::parse(&json).with_context(|| name_of(&args.file))?;
    let explanation = Explanation::of(&state);
    if args.json {
        output::print_json(&Explained::of(&state, &explanation))?;
    } else {
        output::print(&text(&state, &explanation))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What a file is called in messages.
pub(super) fn name_of(file: &Path) -> String {
    if file == Path::new("-") { "standard input".to_owned() } else { file.display().to_string() }
}

/// A state is a few kilobytes; more than this is another file.
const BYTES_MAX: u64 = 16 << 20;

/// The text of a file, or of standard input for `-`.
pub(super) fn read(file: &Path) -> anyhow::Result<String> {
    let source: Box<dyn io::Read> = if file == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        Box::new(fs::File::open(file).with_context(|| file.display().to_string())?)
    };
    let mut bytes = Vec::new();
    let read = source.take(BYTES_MAX + 1).read_to_end(&mut bytes);
    read.with_context(|| file.display().to_string())?;
    if bytes.len() as u64 > BYTES_MAX {
        bail!("{}: more than 16 MiB is no such file", file.display());
    }
    let text = String::from_utf8(bytes);
    text.map_err(|_| anyhow::anyhow!("{}: this is not text in UTF-8", name_of(file)))
}

/// The explanation as JSON.
#[derive(Debug, Serialize)]
struct Explained<'a> {
    enabled: bool,
    short: u32,
    over: u32,
    too_low: bool,
    too_high: bool,
    total_ips: u32,
    total_prefixes: u32,
    free_prefixes: u32,
    assigned: u32,
    cooling: u32,
    available: u32,
    action: &'static str,
    freeable_eni: Option<&'a str>,
    reason: &'a str,
    enis: Vec<Verdict<'a>>,
    notes: &'a [String],
}

#[derive(Debug, Serialize)]
struct Verdict<'a> {
    id: &'a str,
    freeable: bool,
    reason: &'a str,
}

impl<'a> Explained<'a> {
    fn of(state: &'a State, explanation: &'a Explanation) -> Explained<'a> {
        let (stats, target) = (explanation.stats, explanation.target);
        let verdicts = explanation.enis.iter().map(|verdict| Verdict {
            id: state.name(verdict.eni),
            freeable: verdict.is_freeable,
            reason: &verdict.reason,
        });
        Explained {
            enabled: target.enabled,
            short: target.short,
            over: target.over,
            too_low: explanation.is_too_low,
            too_high: explanation.is_too_high,
            total_ips: stats.total,
            total_prefixes: stats.total_prefixes,
            free_prefixes: stats.free_prefixes,
            assigned: stats.assigned,
            cooling: stats.cooling,
            available: stats.available(),
            action: explanation.action.name(),
            freeable_eni: explanation.freeable.map(|eni| state.name(eni)),
            reason: &explanation.reason,
            enis: verdicts.collect(),
            notes: &state.notes,
        }
    }
}

fn text(state: &State, explanation: &Explanation) -> String {
    let (stats, target) = (explanation.stats, explanation.target);
    let is_prefix = state.settings.mode == Mode::Prefix;
    let mut text = String::new();
    let mut row = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<11}{value}");
    };
    row("mode", if is_prefix { "prefixes".into() } else { "secondary addresses".into() });
    let es = if stats.total == 1 { "" } else { "es" };
    let mut held = format!("{} address{es} on {} ENIs", stats.total, stats.enis);
    if is_prefix {
        let _ = write!(
            held,
            ", {} prefixes, {} of them free",
            stats.total_prefixes, stats.free_prefixes
        );
    }
    row("held", held.replace(" 1 ENIs", " 1 ENI"));
    row("assigned", stats.assigned.to_string());
    row("available", format!("{}, {} of them cooling down", stats.available(), stats.cooling));
    let of = if is_prefix { " (prefixes)" } else { "" };
    if target.enabled {
        row("short", format!("{}{of}", target.short));
        row("over", format!("{}{of}", target.over));
    } else {
        row("targets", "WARM_IP_TARGET and MINIMUM_IP_TARGET are not set".to_owned());
    }
    row("too low", yes(explanation.is_too_low));
    row("too high", yes(explanation.is_too_high));
    row("next", format!("{}: {}", explanation.action.name(), explanation.reason));
    text += "\n";
    for verdict in &explanation.enis {
        let _ = writeln!(text, "{:<11}{}", state.name(verdict.eni), verdict.reason);
    }
    text += "\n";
    text += &at_rest(state, stats.assigned);
    for note in &state.notes {
        let _ = writeln!(text, "Note: {note}");
    }
    wrapped(&text)
}

fn yes(is: bool) -> String {
    if is { "yes".to_owned() } else { "no".to_owned() }
}

/// More pods than kubelet takes anywhere; they are placed one by one, which takes long for more.
const PODS_AT_REST_MAX: u32 = 2_000;

/// What such a node holds when nothing more changes: with these pods, and with the first one.
fn at_rest(state: &State, pods: u32) -> String {
    let efa_enis = state.pool.enis().iter().filter(|eni| eni.kind.is_efa).count() as u32;
    let random = || ChaCha8Rng::seed_from_u64(1);
    let rest = |pods: u32| Rest::of(state.rules(), efa_enis, pods, &mut random());
    let mut text = "At rest such a node holds\n".to_owned();
    let mut line = |with: &str, rest: &Rest| {
        let held = format!("  {} {with}", holds(state, rest));
        let _ = match &rest.cycle {
            None => writeln!(text, "{held}"),
            Some(cycle) => writeln!(text, "{held}, but it never rests: {cycle}"),
        };
    };
    line("with pods on the host's network only", &rest(0));
    line("with one pod that needs an address", &rest(1));
    if (2..=PODS_AT_REST_MAX).contains(&pods) {
        line(&format!("with {pods} pods that do"), &rest(pods));
    }
    text
}

/// `58 addresses (2 ENIs x 29)`, where all ENIs are full.
fn holds(state: &State, rest: &Rest) -> String {
    let per_eni = state.rules().addresses_per_eni();
    let (ips, enis) = (rest.ips(), rest.enis());
    let of_enis = if enis == 1 { "1 ENI".to_owned() } else { format!("{enis} ENIs") };
    if ips == enis * per_eni {
        return format!("{ips} addresses ({of_enis} x {per_eni})");
    }
    format!("{ips} addresses on {of_enis}")
}

/// Lines of at most 100 columns; what goes on is indented like the text above it.
pub(super) fn wrapped(text: &str) -> String {
    text.lines().map(|line| wrapped_line(line) + "\n").collect()
}

fn wrapped_line(line: &str) -> String {
    // A label ends with two blanks or more.
    let begin = line.len() - line.trim_start().len();
    let label = line[begin..].find("  ").filter(|at| *at <= 20);
    let behind = |at: usize| line[begin + at..].chars().take_while(|of| *of == ' ').count();
    let indent = label.map_or(begin + 2, |at| begin + at + behind(at));
    words::wrapped(line, indent)
}
