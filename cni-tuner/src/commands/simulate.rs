//! `cni-tuner simulate`: a trace under one or many settings.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, bail};
use rayon::ThreadPoolBuilder;
use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};

use super::cases::{Case, CaseArgs, Search};
use super::files::Destination;
use super::output;
use super::progress::Progress;
use super::trace_source::TraceArgs;
use super::world_args::{WorldArgs, parse_step_ms};
use crate::model::simulate::simulate;
use crate::model::world::World;
use crate::report::{self, Comparison, Run, Scene};
use crate::trace::Trace;

/// The command's flags.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    trace: TraceArgs,
    /// Seed of every choice that is left to chance
    #[arg(long, allow_hyphen_values = true, value_name = "N", default_value = "1")]
    seed: u64,
    /// How many threads work; the results are the same with any number [default: one per CPU]
    #[arg(long, allow_hyphen_values = true, value_name = "N",
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// No progress bar, and no line about the files written
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    cases: CaseArgs,
    #[command(flatten)]
    world: WorldArgs,
    #[command(flatten)]
    outputs: OutputArgs,
}

/// Where results go.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Results")]
struct OutputArgs {
    /// Report as one HTML page with charts [default: cni-tuner-report.html, none with --json]
    #[arg(long, value_name = "FILE", conflicts_with = "no_html")]
    html: Option<PathBuf>,
    /// No HTML page
    #[arg(long)]
    no_html: bool,
    /// JSON to a file; without one, JSON to standard output in the place of the table
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = STANDARD_OUTPUT)]
    json: Option<PathBuf>,
    /// CSV, a line for each of the settings
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// CSV, a line for each node under each of the settings
    #[arg(long, value_name = "FILE")]
    nodes_csv: Option<PathBuf>,
    /// CSV, a line for each point of time under each of the settings
    #[arg(long, value_name = "FILE")]
    series_csv: Option<PathBuf>,
    /// The first chart of the page alone, as SVG
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Every node as well, in the table and in JSON
    #[arg(long)]
    per_node: bool,
    /// Time between two points of charts and of --series-csv [default: by the trace's length]
    #[arg(long, allow_hyphen_values = true, value_name = "DURATION", value_parser = parse_step_ms)]
    step: Option<u64>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let files = args.outputs.files()?;
    args.check_trace_stays(&files)?;
    let trace = args.trace.trace(args.seed)?;
    let world = args.world.world(&trace)?;
    args.cases.check(&trace)?;
    let step_ms = step_ms(args.outputs.step, trace.end_ms)?;
    let threads = ThreadPoolBuilder::new().num_threads(args.threads.map_or(0, usize::from));
    let threads = threads.build().context("--threads")?;
    let comparison = threads.install(|| args.compare(&trace, world, step_ms))?;
    for file in &files {
        file.destination.write(&(file.kind.text)(&comparison, &args.outputs))?;
    }
    output::print(&args.printed(&comparison, &files))?;
    Ok(ExitCode::SUCCESS)
}

impl Args {
    /// No result takes the place of the trace it was made from.
    fn check_trace_stays(&self, files: &[OutputFile]) -> anyhow::Result<()> {
        let Some(trace) = self.trace.file() else { return Ok(()) };
        match files.iter().find(|file| file.destination.replaces(trace)) {
            Some(file) => bail!(
                "{} would replace the trace {}; name another file",
                file.kind.flag,
                trace.display()
            ),
            None => Ok(()),
        }
    }

    fn compare(&self, trace: &Trace, world: World, step_ms: u64) -> anyhow::Result<Comparison> {
        let progress = Progress::new(self.quiet);
        let tell = |done: usize, total: usize| {
            progress.at("searching a recommendation", done as u64, total as u64);
        };
        let search = Search { trace, world: &world, seed: self.seed, progress: &tell };
        let cases = self.cases.cases(&search)?;
        let world = World { series_step_ms: step_ms, ..world };
        let scene = Scene::of(trace, &world, self.seed);
        let runs = run_all(cases, trace, &world, self.seed, &progress)?;
        Ok(Comparison { scene, runs })
    }

    /// What goes to standard output.
    fn printed(&self, comparison: &Comparison, files: &[OutputFile]) -> String {
        if self.outputs.is_json_printed() {
            return report::json(comparison, self.outputs.per_node);
        }
        let mut text = report::text_table(comparison);
        if self.outputs.per_node {
            text.push_str(&report::per_node_table(comparison));
        }
        if !self.quiet && !files.is_empty() {
            text.push('\n');
            for file in files {
                let path = file.destination.given().display();
                text.push_str(&format!("{}: {path}\n", file.kind.name));
            }
        }
        text
    }
}

/// All settings side by side, in the order they were given.
fn run_all(
    cases: Vec<Case>,
    trace: &Trace,
    world: &World,
    seed: u64,
    progress: &Progress,
) -> anyhow::Result<Vec<Run>> {
    let total_ms = trace.end_ms * cases.len() as u64;
    let done_ms = AtomicU64::new(0);
    let run_one = |case: Case| {
        let mut seen_ms = 0;
        let mut tell = |now_ms: u64| {
            let step_ms = now_ms.saturating_sub(seen_ms);
            seen_ms = now_ms;
            let done_ms = done_ms.fetch_add(step_ms, Ordering::Relaxed) + step_ms;
            progress.at("simulating", done_ms, total_ms);
            true
        };
        let outcome = simulate(trace, &case.assignment, world, seed, &mut tell)?;
        let Case { label, assignment, note } = case;
        Ok(Run { label, assignment, note, outcome })
    };
    cases.into_par_iter().map(run_one).collect()
}

/// A form of the results that goes to a file.
struct Kind {
    flag: &'static str,
    name: &'static str,
    path: fn(&OutputArgs) -> Option<&Path>,
    text: fn(&Comparison, &OutputArgs) -> String,
}

const KINDS: [Kind; 6] = [
    Kind {
        flag: "--json",
        name: "JSON",
        path: |outputs| outputs.json.as_deref().filter(|path| *path != STANDARD_OUTPUT),
        text: |comparison, outputs| report::json(comparison, outputs.per_node),
    },
    Kind {
        flag: "--csv",
        name: "CSV",
        path: |outputs| outputs.csv.as_deref(),
        text: |comparison, _| report::summary_csv(comparison),
    },
    Kind {
        flag: "--nodes-csv",
        name: "CSV by node",
        path: |outputs| outputs.nodes_csv.as_deref(),
        text: |comparison, _| report::nodes_csv(comparison),
    },
    Kind {
        flag: "--series-csv",
        name: "CSV over time",
        path: |outputs| outputs.series_csv.as_deref(),
        text: |comparison, _| report::series_csv(comparison),
    },
    Kind {
        flag: "--svg",
        name: "chart",
        path: |outputs| outputs.svg.as_deref(),
        text: |comparison, _| report::story_svg(comparison),
    },
    Kind {
        flag: "--html",
        name: "report",
        path: OutputArgs::html_path,
        text: |comparison, _| report::html_page(comparison),
    },
];

/// A file that was found to be writable.
struct OutputFile {
    kind: &'static Kind,
    destination: Destination,
}

impl OutputArgs {
    /// The files to write, each of them known to be writable.
    fn files(&self) -> anyhow::Result<Vec<OutputFile>> {
        let mut files: Vec<OutputFile> = Vec::new();
        for kind in &KINDS {
            let Some(path) = (kind.path)(self) else { continue };
            let destination = Destination::open(path).context(kind.flag)?;
            let same = files.iter().find(|file| file.destination.is_same(&destination));
            if let Some(file) = same {
                bail!("{} and {} name the same file", file.kind.flag, kind.flag);
            }
            files.push(OutputFile { kind, destination });
        }
        Ok(files)
    }

    fn is_json_printed(&self) -> bool {
        self.json.as_deref() == Some(Path::new(STANDARD_OUTPUT))
    }

    fn html_path(&self) -> Option<&Path> {
        let usual = (!self.no_html && !self.is_json_printed()).then(|| Path::new(REPORT));
        self.html.as_deref().or(usual)
    }
}

/// The time between two points of the series: fine enough to see a burst, and not more points than
/// charts can show.
fn step_ms(asked_ms: Option<u64>, end_ms: u64) -> anyhow::Result<u64> {
    if let Some(step_ms) = asked_ms {
        if end_ms / step_ms > POINTS_MAX {
            bail!("--step: more than {POINTS_MAX} points of time in the trace; make it longer");
        }
        return Ok(step_ms);
    }
    let fits = |step_ms: &u64| end_ms / step_ms <= POINTS_USUAL;
    let coarse_ms = end_ms.div_ceil(POINTS_USUAL);
    Ok(STEPS_MS.into_iter().find(fits).unwrap_or(coarse_ms))
}

const STANDARD_OUTPUT: &str = "-";
const REPORT: &str = "cni-tuner-report.html";
const POINTS_MAX: u64 = 1_000_000;
/// A day in steps of five seconds.
const POINTS_USUAL: u64 = 17_280;
const STEPS_MS: [u64; 6] = [1_000, 5_000, 10_000, 30_000, 60_000, 300_000];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_as_fine_as_the_trace_allows() {
        let hour_ms = 3_600_000;
        let cases = [(0, 1_000), (hour_ms, 1_000), (24 * hour_ms, 5_000), (48 * hour_ms, 10_000)];
        for (end_ms, expected) in cases {
            assert_eq!(step_ms(None, end_ms).unwrap(), expected);
        }
        assert!(10 * 8_760 * hour_ms / step_ms(None, 10 * 8_760 * hour_ms).unwrap() <= 17_280);
    }

    #[test]
    fn steps_that_would_be_too_many_are_refused() {
        assert_eq!(step_ms(Some(1), 1_000_000).unwrap(), 1);
        let error = step_ms(Some(1), 1_000_001).unwrap_err().to_string();
        assert!(error.contains("more than 1000000 points"), "{error}");
    }
}
