//! `cni-tuner capacity`.

mod json;
mod question;
mod text;

use std::process::ExitCode;

use crate::capacity::node::PodsLimit;
use crate::capacity::scale_out::{ScaleOut, room_for};
use crate::capacity::{self, Fit, Group, NodesLimit, SubnetSpace};
use crate::commands::output;
use crate::commands::target_args::{TargetArgs, from_1_to, up_to};
use crate::commands::world_args::Ec2Args;
use crate::model::settings::Settings;

/// The command's flags.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A subnet: its CIDR, with a name if it is to have one, and ",free=N" where others have some of
    /// its addresses; repeatable
    #[arg(long = "subnet", value_name = "[NAME=]CIDR[,free=N]", required = true,
          value_parser = question::parse_subnet)]
    subnets: Vec<SubnetSpace>,
    /// A node group: its name and instance types, which its nodes are spread over; ",nodes=N" where
    /// it is not to fill the subnets, ",pods=N" for the pods on each node, ",max-pods=N" for kubelet's
    /// limit; repeatable
    #[arg(long = "group", required = true, value_parser = question::parse_group,
          value_name = "NAME=TYPE[,TYPE...][,nodes=N][,pods=N][,max-pods=N]")]
    groups: Vec<Group>,
    /// Pods with an address of their own on each node, for groups that do not say [default: as many
    /// as a node can have]
    #[arg(long, value_name = "N", value_parser = up_to(question::PODS_MAX.into()),
          allow_negative_numbers = true)]
    pods_per_node: Option<u32>,
    /// Also say how long it takes to add this many nodes at once, spread evenly over the groups
    #[arg(long, value_name = "N", value_parser = from_1_to(capacity::NODES_MAX.into()),
          allow_negative_numbers = true)]
    scale_out: Option<u32>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    targets: TargetArgs,
    #[command(flatten)]
    ec2: Ec2Args,
}

/// All that the outputs are made of.
struct Answer {
    subnets: Vec<SubnetSpace>,
    settings: Settings,
    fit: Fit,
    scale_out: Option<Wanted>,
    ec2_share: u32,
}

/// A scale-out, and how much of it there is room for.
struct Wanted {
    nodes: u32,
    room: u32,
    /// None: there is room for no node at all.
    steps: Option<ScaleOut>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let answer = answer(args)?;
    if args.json {
        output::print_json(&json::Report::of(&answer))?;
    } else {
        output::print(&text::text(&answer))?;
    }
    Ok(if answer.is_short() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn answer(args: &Args) -> anyhow::Result<Answer> {
    question::check_subnets(&args.subnets)?;
    question::check_groups(&args.groups)?;
    let (subnets, settings, ec2) = (args.subnets.clone(), args.targets.settings(), args.ec2.ec2()?);
    let groups: Vec<Group> = args
        .groups
        .iter()
        .map(|group| Group { pods: group.pods.or(args.pods_per_node), ..group.clone() })
        .collect();
    let fit = capacity::fit(&subnets, &groups, &settings);
    let scale_out = args.scale_out.map(|nodes| {
        let room = room_for(nodes, &groups, &subnets, &settings);
        let is_any = room > 0;
        let steps =
            is_any.then(|| ScaleOut::of(nodes, room, &fit.groups, &subnets, &settings, &ec2));
        Wanted { nodes, room, steps }
    });
    Ok(Answer { subnets, settings, fit, scale_out, ec2_share: ec2.share_percent })
}

/// What keeps the fleet from being larger or sooner there: the first of these that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Binds {
    Targets,
    Enis,
    MaxPods,
    Addresses,
    Prefixes,
    Ec2Api,
    Nothing,
}

impl Binds {
    fn name(self) -> &'static str {
        match self {
            Binds::Targets => "targets",
            Binds::Enis => "enis",
            Binds::MaxPods => "max_pods",
            Binds::Addresses => "subnet_addresses",
            Binds::Prefixes => "subnet_prefixes",
            Binds::Ec2Api => "ec2_api",
            Binds::Nothing => "nothing",
        }
    }
}

impl Answer {
    /// Whether anything that was asked for does not fit.
    fn is_short(&self) -> bool {
        let is_group_short = self.fit.groups.iter().any(|group| {
            let lacks_pods = group.types.iter().any(|(load, _)| load.is_short());
            group.asked.is_some_and(|asked| group.nodes() < asked) || lacks_pods
        });
        is_group_short || self.scale_out.as_ref().is_some_and(|wanted| wanted.room < wanted.nodes)
    }

    /// A pod that gets no address is seen on the first node, before a subnet is full; the request
    /// limits only make nodes come later.
    fn binds_first(&self) -> Binds {
        let of_pods = self.pods_limit().map(|limit| match limit {
            PodsLimit::Targets => Binds::Targets,
            PodsLimit::Enis => Binds::Enis,
            PodsLimit::MaxPods | PodsLimit::Asked => Binds::MaxPods,
        });
        let limits = || self.fit.groups.iter().map(|group| group.limit);
        let of_nodes = if limits().any(|limit| limit == NodesLimit::Addresses) {
            Some(Binds::Addresses)
        } else if limits().any(|limit| limit == NodesLimit::Prefixes) {
            Some(Binds::Prefixes)
        } else {
            None
        };
        let steps = self.scale_out.as_ref().and_then(|wanted| wanted.steps.as_ref());
        let of_api = steps.and_then(ScaleOut::binding).map(|_| Binds::Ec2Api);
        of_pods.or(of_nodes).or(of_api).unwrap_or(Binds::Nothing)
    }

    /// Why pods that were asked for have no address; the worst reason.
    fn pods_limit(&self) -> Option<PodsLimit> {
        let loads = self.fit.groups.iter().flat_map(|group| &group.types).map(|(load, _)| load);
        loads.filter(|load| load.is_short()).map(|load| load.limit).max()
    }
}
