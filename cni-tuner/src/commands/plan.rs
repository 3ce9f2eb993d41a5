//! `cni-tuner plan`: the best settings for a trace, with reasons.

mod json;
mod text;

use std::num::NonZeroUsize;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::ValueEnum;

use super::output::{print, print_json};
use super::progress::Progress;
use super::trace_source::TraceArgs;
use super::world_args::{WorldArgs, parse_duration_ms};
use crate::model::settings::{Mode, Settings};
use crate::plan::demand::Demand;
use crate::plan::each::{Each, each};
use crate::plan::goal::Goal;
use crate::plan::{Question, recommend};
use crate::trace::Trace;

/// The command's flags.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    source: TraceArgs,

    /// A variable of aws-node as it is set now; repeatable [default: the CNI's defaults]
    #[arg(long = "env", value_name = "NAME=VALUE")]
    env: Vec<String>,

    #[command(flatten)]
    part: Part,

    /// A plan for every node group by itself, and what splitting would save
    #[arg(long)]
    each: bool,

    /// The modes that may be recommended [default: the one in force, because another one needs new
    /// nodes]
    #[arg(long, value_name = "MODE", value_delimiter = ',')]
    modes: Vec<ModeArg>,

    /// Pods beyond those of the trace that must be served too, in percent of them: the trace is a
    /// sample
    #[arg(long, value_name = "PERCENT", default_value = "10", allow_negative_numbers = true,
          value_parser = clap::value_parser!(u32).range(0..=100))]
    headroom: u32,

    /// The first of the three seeds of the simulations; a generator's seed too
    #[arg(long, default_value_t = 1, allow_negative_numbers = true)]
    seed: u64,

    /// Simulations at a time; the result is the same with any number [default: one for each core]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    threads: Option<NonZeroUsize>,

    /// As JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    goal: GoalArgs,

    #[command(flatten)]
    world: WorldArgs,
}

/// Which nodes of the trace count.
#[derive(Debug, clap::Args)]
#[group(multiple = true)]
struct Part {
    /// Only the nodes of this node group
    #[arg(long, value_name = "NAME", conflicts_with = "busiest")]
    group: Option<String>,

    /// Only the nodes of this instance type
    #[arg(long, value_name = "TYPE")]
    only_type: Option<String>,

    /// Only the node group with the most pods
    #[arg(long)]
    busiest: bool,
}

/// What the recommended setting must keep to.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
struct GoalArgs {
    /// 99 of 100 pods wait no longer for their address
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = parse_duration_ms,
          allow_hyphen_values = true)]
    slo_wait_p99: u64,

    /// EC2 calls of all nodes in the busiest hour of the trace [default: any number]
    #[arg(long, value_name = "CALLS", allow_negative_numbers = true)]
    api_budget: Option<u64>,

    /// Free addresses that always remain in every subnet
    #[arg(long, value_name = "N", default_value_t = 0, allow_negative_numbers = true)]
    subnet_free: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ModeArg {
    /// Secondary addresses
    Sip,
    /// Prefixes of 16 addresses
    Pd,
}

impl From<ModeArg> for Mode {
    fn from(mode: ModeArg) -> Mode {
        match mode {
            ModeArg::Sip => Mode::SecondaryIp,
            ModeArg::Pd => Mode::Prefix,
        }
    }
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let trace = args.part.of(args.source.trace(args.seed)?)?;
    if Demand::of(&trace, 0).fleet.pods == 0 {
        bail!(
            "{}: no pod here needs an address of its own, so there is nothing to plan for; give a \
             trace with pods, or other nodes of it",
            trace.name
        );
    }
    let in_force = Settings::default().with_words(&args.env).context("--env")?;
    let world = args.world.world(&trace)?;
    let question = Question {
        trace: &trace,
        in_force: &in_force,
        world: &world,
        goal: args.goal.goal(),
        modes: modes(&args.modes, &trace, &in_force)?,
        headroom_percent: args.headroom,
        seed: args.seed,
    };
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(args.threads.map_or(0, NonZeroUsize::get))
        .build()
        .context("--threads: starting them")?;
    let bar = Progress::new(false);
    let progress = |done, of| bar.at("simulations", done as u64, of as u64);
    if args.each {
        let found = pool.install(|| each(&question, &progress));
        drop(bar);
        return show_each(args, &question, &found);
    }
    let plan = pool.install(|| recommend(&question, &progress));
    drop(bar);
    match args.json {
        true => print_json(&json::plan(&question, &plan))?,
        false => print(&text::plan(&question, &plan))?,
    }
    Ok(exit_code(plan.recommended().is_some()))
}

fn show_each(args: &Args, question: &Question<'_>, found: &Each) -> anyhow::Result<ExitCode> {
    match args.json {
        true => print_json(&json::each(question, found))?,
        false => print(&text::each(question, found))?,
    }
    Ok(exit_code(found.split.is_some()))
}

fn exit_code(is_met: bool) -> ExitCode {
    ExitCode::from(u8::from(!is_met))
}

impl GoalArgs {
    fn goal(&self) -> Goal {
        Goal {
            wait_p99_ms: self.slo_wait_p99,
            calls_per_hour: self.api_budget,
            subnet_free: self.subnet_free,
        }
    }
}

impl Part {
    /// The part of the trace that counts.
    fn of(&self, trace: Trace) -> anyhow::Result<Trace> {
        let busiest = if self.busiest { Some(busiest(&trace)) } else { None };
        let group = self.group.clone().or(busiest);
        if group.is_none() && self.only_type.is_none() {
            return Ok(trace);
        }
        let is_group = |name: &str| group.as_deref().is_none_or(|group| group == name);
        let is_type = |name: &str| self.only_type.as_deref().is_none_or(|only| only == name);
        let part = trace.only(|node| is_group(&node.group) && is_type(node.instance_type.name));
        part.map_or_else(|| Err(self.none_left(&trace, group.as_deref())), Ok)
    }

    fn none_left(&self, trace: &Trace, group: Option<&str>) -> anyhow::Error {
        let demand = Demand::of(trace, 0);
        let list = |names: Vec<&String>| {
            names.iter().take(20).map(|name| name.as_str()).collect::<Vec<_>>().join(", ")
        };
        let groups = list(demand.groups.keys().collect());
        let types = list(demand.instance_types.keys().collect());
        match (group, self.only_type.as_deref()) {
            (Some(group), Some(only)) => {
                anyhow::anyhow!("--group {group}, --only-type {only}: no node is both")
            }
            (Some(group), None) => {
                anyhow::anyhow!("--group {group}: the trace's node groups are {groups}")
            }
            (None, only) => anyhow::anyhow!(
                "--only-type {}: the trace's instance types are {types}",
                only.unwrap_or_default()
            ),
        }
    }
}

/// The node group with the most pods.
fn busiest(trace: &Trace) -> String {
    let groups = Demand::of(trace, 0).groups;
    let most = groups
        .iter()
        .max_by(|(name, one), (other_name, other)| (one.pods, other_name).cmp(&(other.pods, name)));
    most.map(|(name, _)| name.clone()).unwrap_or_default()
}

/// The modes that may be recommended. Prefixes must be possible on every node.
fn modes(asked: &[ModeArg], trace: &Trace, in_force: &Settings) -> anyhow::Result<Vec<Mode>> {
    let mut modes: Vec<Mode> = asked.iter().map(|mode| Mode::from(*mode)).collect();
    modes.sort();
    modes.dedup();
    if modes.is_empty() {
        modes.push(in_force.mode);
    }
    let without = trace.nodes.iter().find(|node| !node.instance_type.prefixes_supported);
    if let (true, Some(node)) = (asked.contains(&ModeArg::Pd), without) {
        bail!(
            "--modes pd: prefixes cannot be delegated to {} (node {}); leave pd out, or leave such \
             nodes out with --group or --only-type",
            node.instance_type.name,
            node.name
        );
    }
    Ok(modes)
}
