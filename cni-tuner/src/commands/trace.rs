//! `cni-tuner trace`: makes traces, checks them, turns one format into the other.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Subcommand, ValueEnum};

use super::files::Destination;
use super::output::{print, print_json, table};
use super::trace_source::{absent_type, read_file};
use crate::trace::generate::{self, GENERATORS};
use crate::trace::read::Format;
use crate::trace::summary::{Burst, Summary};
use crate::trace::{Trace, write};

/// The command's flags.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Writes a trace made by rule
    Generate(Generate),
    /// The generators, with their parameters and defaults
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Reads a trace to its end and sums it up
    Check(Check),
    /// Writes a trace in the other format
    Convert(Convert),
}

#[derive(Debug, clap::Args)]
struct Generate {
    /// The generator, and what it is told: environment, or environment:pods=150,at=10m
    #[arg(value_name = "NAME[:KEY=VALUE,...]", default_value = generate::BUILT_IN)]
    specification: String,

    /// The same seed gives the same trace
    #[arg(long, default_value_t = 1)]
    seed: u64,

    #[command(flatten)]
    target: Target,
}

#[derive(Debug, clap::Args)]
struct Check {
    /// The trace: JSON Lines or CSV; "-" is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// The type of nodes that never join: they are there from the start
    #[arg(long, value_name = "TYPE")]
    instance_type: Option<String>,

    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Convert {
    /// The trace: JSON Lines or CSV; "-" is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// The type of nodes that never join: they are there from the start
    #[arg(long, value_name = "TYPE")]
    instance_type: Option<String>,

    #[command(flatten)]
    target: Target,
}

/// Where a trace is written, and how.
#[derive(Debug, clap::Args)]
struct Target {
    /// The file to write, whole or not at all [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// How it is written [default: as the file's name says, otherwise jsonl]
    #[arg(long)]
    format: Option<FormatName>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum FormatName {
    Jsonl,
    Csv,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.action {
        Action::Generate(args) => {
            args.target.write(|| Ok(generate::make_specified(&args.specification, args.seed)?))?;
        }
        Action::List { json: true } => print_json(&listed())?,
        Action::List { json: false } => print(&list())?,
        Action::Check(args) => {
            let absent = absent_type(args.instance_type.as_deref())?;
            let summary = Summary::of(&read_file(&args.file, absent)?);
            match args.json {
                true => print_json(&summary)?,
                false => print(&told(&summary))?,
            }
        }
        Action::Convert(args) => {
            let absent = absent_type(args.instance_type.as_deref())?;
            args.target.write(|| read_file(&args.file, absent))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl Target {
    /// Writes a trace, which is not made where it could not be written.
    fn write(&self, make: impl FnOnce() -> anyhow::Result<Trace>) -> anyhow::Result<()> {
        if let Some(file) = &self.out {
            let destination = Destination::open(file).context("--out")?;
            let trace = make()?;
            return destination.write_with(|out| put(&trace, self.format(), out));
        }
        match put(&make()?, self.format(), io::stdout().lock()) {
            // A reader that has seen enough (`| head`) is no mistake.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            done => done.context("writing the trace"),
        }
    }

    fn format(&self) -> Format {
        let of_name = |out: &Path| Format::of_name(&out.to_string_lossy());
        match self.format {
            Some(FormatName::Jsonl) => Format::JsonLines,
            Some(FormatName::Csv) => Format::Csv,
            None => self.out.as_deref().and_then(of_name).unwrap_or(Format::JsonLines),
        }
    }
}

fn put(trace: &Trace, format: Format, out: impl Write) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(64 * 1024, out);
    write::write(trace, format, &mut out)?;
    out.flush()
}

fn list() -> String {
    let mut text = String::new();
    for generator in GENERATORS {
        text += &format!("{}: {}\n", generator.name, generator.about);
        for parameter in generator.parameters {
            let set = format!("{}={}", parameter.name, parameter.default);
            // A list of types is too wide for its column; what it means comes in the next line.
            let gap = if set.len() > 28 { format!("\n{:32}", "") } else { String::new() };
            text += &format!("    {set:<28}{gap} {}\n", parameter.about);
        }
        text += "\n";
    }
    text += "cni-tuner trace generate NAME:key=value,key=value --seed N --out FILE\n";
    text
}

fn listed() -> serde_json::Value {
    let parameters = |generator: &generate::Generator| {
        let parameters = generator.parameters.iter().map(|parameter| {
            serde_json::json!({
                "name": parameter.name,
                "default": parameter.default,
                "right": parameter.kind.to_string(),
                "about": parameter.about,
            })
        });
        parameters.collect::<Vec<_>>()
    };
    GENERATORS
        .iter()
        .map(|generator| {
            serde_json::json!({
                "name": generator.name,
                "about": generator.about,
                "parameters": parameters(generator),
            })
        })
        .collect()
}

fn told(summary: &Summary) -> String {
    let burst = |burst: &Option<Burst>| match burst {
        Some(burst) => format!("{} on {} at {} s", burst.pods, burst.node, burst.at_secs),
        None => "none".to_owned(),
    };
    let life = summary.shortest_pod_life_secs;
    let busiest = summary.busiest_node.as_ref();
    let mut text = format!("{}: {}\n\n", summary.name, spoken_duration(summary.duration_secs));
    let facts = [
        ("events", summary.events.to_string()),
        ("nodes", spoken_nodes(summary)),
        ("pods", spoken_pods(summary)),
        ("most pods at once", summary.pods_at_once_max.to_string()),
        (
            "busiest node",
            busiest.map_or("none".to_owned(), |busiest| {
                let (pods, node) = (busiest.pods_at_once_max, &busiest.node);
                format!("{node}, {pods} pods at once of at most {}", busiest.pods_max)
            }),
        ),
        ("burst in 10 s, one node", burst(&summary.burst_10_secs)),
        ("burst in 60 s, one node", burst(&summary.burst_60_secs)),
        ("shortest pod life", life.map_or("none ended".to_owned(), |life| format!("{life} s"))),
    ];
    for (what, fact) in facts {
        text += &format!("{what:<26}{fact}\n");
    }
    text + "\n" + &groups(summary)
}

fn spoken_nodes(summary: &Summary) -> String {
    format!(
        "{} ({} from the start, {} Spot), at most {} at once",
        summary.nodes, summary.nodes_running, summary.nodes_spot, summary.nodes_at_once_max
    )
}

fn spoken_pods(summary: &Summary) -> String {
    format!(
        "{} ({} from the start, {} on the host's network)",
        summary.pods, summary.pods_running, summary.pods_host_network
    )
}

fn spoken_duration(secs: f64) -> String {
    match secs {
        _ if secs >= 7_200.0 => format!("{:.1} hours", secs / 3_600.0),
        _ if secs >= 120.0 => format!("{:.1} minutes", secs / 60.0),
        _ => format!("{secs} seconds"),
    }
}

fn groups(summary: &Summary) -> String {
    let header = ["group", "nodes", "at once", "pods", "at once", "on a node", "type"];
    let rows = summary.groups.iter().map(|group| {
        let counts = [
            group.nodes,
            group.nodes_at_once_max,
            group.pods,
            group.pods_at_once_max,
            group.node_pods_at_once_max,
        ];
        let mut types = group.instance_types.keys();
        let kind = match (types.next(), types.len()) {
            (Some(only), 0) => (*only).to_owned(),
            (_, others) => format!("{} types", others + 1),
        };
        let mut row = vec![group.name.clone()];
        row.extend(counts.map(|count| count.to_string()));
        row.push(kind);
        row
    });
    let mut text = table(&header, rows.collect());
    for group in summary.groups.iter().filter(|group| group.instance_types.len() > 1) {
        text += &format!("\nnodes of {}\n", group.name);
        for (name, nodes) in &group.instance_types {
            text += &format!("{nodes:>6} {name}\n");
        }
    }
    text
}
