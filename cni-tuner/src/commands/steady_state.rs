//! `cni-tuner steady-state`.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::bail;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use crate::commands::explain::wrapped;
use crate::commands::target_args::{TargetArgs, from_1_to, up_to};
use crate::commands::{limits::unknown, output};
use crate::model::ipamd::{Rules, Shape};
use crate::model::limits::{self, InstanceType};
use crate::model::rest::Rest;
use crate::model::settings::{Mode, Settings};

/// The command's flags.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The node's instance type, such as m5.4xlarge
    #[arg(long, value_name = "TYPE")]
    instance_type: String,
    /// Pods that need an address of their own, started one by one
    #[arg(long, value_parser = up_to(100_000), allow_negative_numbers = true)]
    pods: u32,
    /// kubelet's limit of pods [default: what EKS's image sets for the type and mode]
    #[arg(long, value_parser = from_1_to(100_000), allow_negative_numbers = true)]
    max_pods: Option<u32>,
    /// The seed of ipamd's random choices among ENIs and prefixes
    #[arg(long, default_value_t = 1, allow_negative_numbers = true)]
    seed: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    targets: TargetArgs,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let Some(kind) = limits::find(&args.instance_type) else {
        bail!(unknown(&args.instance_type));
    };
    let asked = args.targets.settings();
    let settings = asked.on(kind);
    let pods_max = pods_max(args, kind, &settings)?;
    let rules = Rules { settings: &settings, shape: Shape::of(kind, &settings, pods_max) };
    let mut random = ChaCha8Rng::seed_from_u64(args.seed);
    let rest = Rest::of(rules, 0, args.pods, &mut random);
    if args.json {
        output::print_json(&SteadyState::of(&rest))?;
    } else {
        let falls_back = asked.mode != settings.mode;
        output::print(&text(kind, &rules, args.pods, &rest, falls_back))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// kubelet's limit; an error if the pods are more than that.
fn pods_max(args: &Args, kind: &InstanceType, settings: &Settings) -> anyhow::Result<u32> {
    let usual = kind.pods_max(settings.mode, settings.custom_networking);
    let pods_max = args.max_pods.unwrap_or(usual);
    if args.pods <= pods_max {
        return Ok(pods_max);
    }
    match args.max_pods {
        Some(_) => bail!("--pods {}: kubelet takes at most {pods_max} (--max-pods)", args.pods),
        None => bail!(
            "--pods {}: on a {} kubelet takes at most {pods_max} in this mode; give --max-pods if \
             yours takes more",
            args.pods,
            kind.name
        ),
    }
}

/// The result as JSON. `cycle` and `waiting` stand there only if they have something to say.
#[derive(Debug, Serialize)]
struct SteadyState {
    enis: u32,
    ips: u32,
    prefixes: u32,
    assigned: u32,
    unused: u32,
    settled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    cycle: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting: Option<u32>,
}

impl SteadyState {
    fn of(rest: &Rest) -> SteadyState {
        SteadyState {
            enis: rest.enis(),
            ips: rest.ips(),
            prefixes: rest.prefixes(),
            assigned: rest.assigned(),
            unused: rest.unused(),
            settled: rest.is_settled(),
            cycle: rest.cycle.as_ref().map(ToString::to_string),
            waiting: (rest.unplaced > 0).then_some(rest.unplaced),
        }
    }
}

fn text(kind: &InstanceType, rules: &Rules, pods: u32, rest: &Rest, falls_back: bool) -> String {
    let (settings, shape) = (rules.settings, rules.shape);
    let mode = match settings.mode {
        Mode::SecondaryIp => "secondary addresses",
        Mode::Prefix => "prefixes",
    };
    let (name, pods_max) = (kind.name, shape.pods_max);
    let of_pods = if pods == 1 { "pod" } else { "pods" };
    let mut text =
        format!("{name}, {mode}, {pods} {of_pods} with an address, max pods {pods_max}\n");
    if falls_back {
        text += "The type cannot have prefixes: ipamd falls back to secondary addresses.\n";
    }
    let mut row = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<12}{value}");
    };
    row("ENIs", format!("{} of {}", rest.enis(), shape.enis_max));
    row("addresses", rest.ips().to_string());
    if settings.mode == Mode::Prefix {
        row("prefixes", rest.prefixes().to_string());
    }
    row("assigned", rest.assigned().to_string());
    row("unused", rest.unused().to_string());
    if rest.unplaced > 0 {
        row("waiting", format!("{} of {pods} pods never get an address", rest.unplaced));
    }
    match &rest.cycle {
        None => row("settled", "yes".to_owned()),
        Some(cycle) => row("settled", format!("no, {cycle}")),
    }
    if let Some(calls) = rest.cycle.as_ref().and_then(|cycle| cycle.calls_per_hour()) {
        row("", format!("about {calls} EC2 calls per hour, for nothing"));
    }
    wrapped(&text)
}
