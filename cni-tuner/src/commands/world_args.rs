//! Flags that describe what is around the nodes: subnets, EC2's speed and limits, kubelet.

use std::collections::BTreeSet;

use anyhow::{Context as _, bail};

use crate::model::ec2::{Action, Bucket, Ec2, Latency};
use crate::model::subnet::SubnetPlan;
use crate::model::world::World;
use crate::trace::Trace;

/// The flags of every command that simulates. What is not given stays as published
/// ([`World::default`]).
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "World")]
pub(super) struct WorldArgs {
    /// A subnet nodes are in: /20, a CIDR or NAME=/20, with ",taken=N" for addresses that others
    /// hold and ",zone=NAME" where it shares an availability zone with another; repeatable
    /// [default: one /16, or one for each the trace names]
    #[arg(long = "subnet", value_name = "[NAME=]/LEN[,OPTION=VALUE]...",
          value_parser = parse_subnet)]
    subnets: Vec<SubnetArg>,
    /// The time between two tries of kubelet to start a pod
    #[arg(long, allow_hyphen_values = true, value_name = "DURATION", default_value = "12s",
          value_parser = parse_pause_ms)]
    kubelet_retry: u64,
    /// ENIs on each node that the CNI leaves alone (tag node.k8s.amazonaws.com/no_manage)
    #[arg(long, allow_hyphen_values = true, value_name = "N", default_value = "0",
          value_parser = clap::value_parser!(u32).range(0..=64))]
    unmanaged_enis: u32,
    /// EFA ENIs on each node, which are never freed
    #[arg(long, allow_hyphen_values = true, value_name = "N", default_value = "0",
          value_parser = clap::value_parser!(u32).range(0..=64))]
    efa_enis: u32,
    #[command(flatten)]
    ec2: Ec2Args,
}

/// The flags of EC2's API, of every command that looks at its limits.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "EC2's API")]
pub(super) struct Ec2Args {
    /// How much of the account's EC2 request limits is left to the CNI
    #[arg(long, allow_hyphen_values = true, value_name = "PERCENT", default_value = "100",
          value_parser = clap::value_parser!(u8).range(1..=100))]
    ec2_share: u8,
    /// How long an EC2 action takes, median and 95th percentile: CreateNetworkInterface=800ms:2s;
    /// repeatable
    #[arg(long = "latency", value_name = "ACTION=MEDIAN[:P95]", value_parser = parse_latency)]
    latencies: Vec<(Action, Latency)>,
    /// How long after it was attached an ENI shows in the instance's metadata, median and 95th
    /// percentile [default: 2s:4.5s]
    #[arg(long, value_name = "MEDIAN[:P95]", value_parser = parse_times)]
    eni_visible: Option<Latency>,
    /// The token bucket of an EC2 action, its size and refill per second:
    /// AssignPrivateIpAddresses=100/5; repeatable
    #[arg(long = "bucket", value_name = "ACTION=SIZE/REFILL", value_parser = parse_bucket)]
    buckets: Vec<(Action, Bucket)>,
}

impl Ec2Args {
    /// EC2 as published but for what was given.
    ///
    /// # Errors
    ///
    /// A latency or bucket that is given twice.
    pub(super) fn ec2(&self) -> anyhow::Result<Ec2> {
        once("--latency", self.latencies.iter().map(|(action, _)| *action))?;
        once("--bucket", self.buckets.iter().map(|(action, _)| *action))?;
        let mut ec2 = Ec2 { share_percent: u32::from(self.ec2_share), ..Ec2::default() };
        ec2.eni_visible = self.eni_visible.unwrap_or(ec2.eni_visible);
        ec2.latencies.extend(self.latencies.iter().copied());
        ec2.buckets.extend(self.buckets.iter().copied());
        Ok(ec2)
    }
}

impl WorldArgs {
    /// The world a trace runs in. Without `--subnet` it has a /16 of each name in the trace.
    ///
    /// # Errors
    ///
    /// A subnet, latency or bucket that is given twice; a node in a subnet that is not given, or
    /// without room for the ENIs it is to have.
    pub(super) fn world(&self, trace: &Trace) -> anyhow::Result<World> {
        self.check_room(trace)?;
        Ok(World {
            ec2: self.ec2.ec2()?,
            subnets: self.subnets(trace)?,
            kubelet_retry_ms: self.kubelet_retry,
            unmanaged_enis: self.unmanaged_enis,
            efa_enis: self.efa_enis,
            ..World::default()
        })
    }

    fn check_room(&self, trace: &Trace) -> anyhow::Result<()> {
        let enis = 1 + self.efa_enis + self.unmanaged_enis;
        let Some(node) = trace.nodes.iter().find(|node| node.instance_type.enis_max < enis) else {
            return Ok(());
        };
        let instance_type = node.instance_type;
        bail!(
            "--efa-enis {} and --unmanaged-enis {} are {enis} ENIs with the primary one, but node {:?} \
             is a {}, which has room for {}",
            self.efa_enis,
            self.unmanaged_enis,
            node.name,
            instance_type.name,
            instance_type.enis_max,
        )
    }

    fn subnets(&self, trace: &Trace) -> anyhow::Result<Vec<SubnetPlan>> {
        if self.subnets.is_empty() {
            return Ok(subnets_named(trace));
        }
        let plans: Vec<SubnetPlan> =
            self.subnets.iter().enumerate().map(|(at, subnet)| subnet.plan(at)).collect();
        let mut names = BTreeSet::new();
        for plan in &plans {
            if !names.insert(plan.name.as_str()) {
                bail!("--subnet: {:?} is given twice", plan.name);
            }
        }
        let stray = trace.nodes.iter().find_map(|node| {
            let subnet = node.subnet.as_deref().filter(|name| !names.contains(name))?;
            Some((node, subnet))
        });
        if let Some((node, subnet)) = stray {
            let names: Vec<&str> = names.into_iter().collect();
            bail!(
                "node {:?} of the trace is in subnet {subnet:?}, and --subnet gives only {}",
                node.name,
                names.join(", "),
            );
        }
        Ok(plans)
    }
}

/// A /16 for each subnet the trace names, which nodes without a name are spread over; at least one.
fn subnets_named(trace: &Trace) -> Vec<SubnetPlan> {
    let named: BTreeSet<&str> =
        trace.nodes.iter().filter_map(|node| node.subnet.as_deref()).collect();
    if named.is_empty() {
        return vec![SubnetPlan::default()];
    }
    let plan = |(at, name): (usize, &str)| SubnetPlan {
        name: name.to_owned(),
        zone: zone_name(at),
        ..SubnetPlan::default()
    };
    named.into_iter().enumerate().map(plan).collect()
}

fn once(flag: &str, actions: impl Iterator<Item = Action>) -> anyhow::Result<()> {
    let mut seen = BTreeSet::new();
    for action in actions {
        if !seen.insert(action) {
            bail!("{flag}: {} is given twice", action.name());
        }
    }
    Ok(())
}

/// A zone of its own for each subnet that names none.
fn zone_name(at: usize) -> String {
    format!("zone-{at}")
}

/// A subnet as typed; one without a name is called by its place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct SubnetArg {
    name: Option<String>,
    zone: Option<String>,
    prefix_len: u8,
    taken: u32,
}

impl SubnetArg {
    fn plan(&self, at: usize) -> SubnetPlan {
        let name = self.name.clone().unwrap_or_else(|| format!("subnet-{at}"));
        let zone = self.zone.clone().unwrap_or_else(|| zone_name(at));
        SubnetPlan { name, zone, prefix_len: self.prefix_len, taken: self.taken }
    }
}

fn parse_subnet(word: &str) -> anyhow::Result<SubnetArg> {
    let mut parts = word.split(',');
    let size = parts.next().unwrap_or_default();
    let (name, size) = match size.split_once('=') {
        Some(("", _)) => bail!("the name before \"=\" is empty"),
        Some((name, size)) => (Some(name.to_owned()), size),
        None => (None, size),
    };
    let (cidr, prefix_len) = parse_size(size)?;
    let mut subnet = SubnetArg { name: name.or(cidr), prefix_len, ..SubnetArg::default() };
    for part in parts {
        match part.split_once('=') {
            Some(("taken", number)) => subnet.taken = parse_taken(number)?,
            Some(("zone", zone)) if !zone.is_empty() => subnet.zone = Some(zone.to_owned()),
            _ => bail!("{part:?} is neither taken=N nor zone=NAME, as in /20,taken=500,zone=a"),
        }
    }
    let capacity = subnet.plan(0).capacity();
    if subnet.taken > capacity {
        bail!("taken={}, but a /{prefix_len} has {capacity} addresses to give", subnet.taken);
    }
    Ok(subnet)
}

fn parse_taken(number: &str) -> anyhow::Result<u32> {
    number.parse().with_context(|| format!("taken={number:?} is not a number of addresses"))
}

/// The size of a subnet; with a name of its own where a whole CIDR is given.
fn parse_size(size: &str) -> anyhow::Result<(Option<String>, u8)> {
    let (cidr, prefix_len) = match size.strip_prefix('/') {
        Some(len) => (None, len.parse().ok()),
        None => {
            let net: Option<ipnet::Ipv4Net> = size.parse().ok();
            (Some(size.to_owned()), net.map(|net| net.prefix_len()))
        }
    };
    let prefix_len: u8 = prefix_len
        .with_context(|| format!("{size:?} is neither a length like /20 nor an IPv4 CIDR"))?;
    if !(16..=28).contains(&prefix_len) {
        bail!("/{prefix_len}: AWS allows subnets from /16 to /28");
    }
    Ok((cidr, prefix_len))
}

fn parse_latency(word: &str) -> anyhow::Result<(Action, Latency)> {
    let (action, times) = split_action(word, "CreateNetworkInterface=800ms:2s")?;
    Ok((action, parse_times(times)?))
}

/// `800ms:2s`, or `1s` for both.
fn parse_times(times: &str) -> anyhow::Result<Latency> {
    let (median, p95) = times.split_once(':').unwrap_or((times, times));
    let (median_ms, p95_ms) = (parse_duration_ms(median)?, parse_duration_ms(p95)?);
    if p95_ms < median_ms {
        bail!("the 95th percentile ({p95}) is below the median ({median})");
    }
    if p95_ms > CALL_MS_MAX {
        bail!("{p95} is more than an hour");
    }
    Ok(Latency { median_ms, p95_ms })
}

fn parse_bucket(word: &str) -> anyhow::Result<(Action, Bucket)> {
    let (action, rest) = split_action(word, "AssignPrivateIpAddresses=100/5")?;
    let (size, refill) = rest
        .split_once('/')
        .with_context(|| format!("{rest:?} is not SIZE/REFILL, as in 100/5"))?;
    let number = |word: &str| match word.parse::<u32>() {
        Ok(number @ 1..=1_000_000) => Ok(number),
        _ => bail!("{word:?} is not a number from 1 to 1000000"),
    };
    let bucket = Bucket { capacity: number(size)?, refill_per_sec: number(refill)? };
    Ok((action, bucket))
}

fn split_action<'a>(word: &'a str, example: &str) -> anyhow::Result<(Action, &'a str)> {
    let (name, rest) =
        word.split_once('=').with_context(|| format!("no \"=\"; write it like {example}"))?;
    Ok((parse_action(name)?, rest))
}

fn parse_action(name: &str) -> anyhow::Result<Action> {
    let known = Action::ALL.into_iter().find(|action| action.name().eq_ignore_ascii_case(name));
    known.with_context(|| {
        let nearest = Action::ALL
            .into_iter()
            .map(Action::name)
            .max_by(|a, b| strsim::jaro(a, name).total_cmp(&strsim::jaro(b, name)))
            .unwrap_or_default();
        format!("the CNI calls no action {name:?}; did you mean {nearest}?")
    })
}

fn parse_pause_ms(word: &str) -> anyhow::Result<u64> {
    match parse_duration_ms(word)? {
        0 => bail!("0 would try without a pause; give at least 1ms"),
        pause_ms if pause_ms > CALL_MS_MAX => bail!("{word} is more than an hour"),
        pause_ms => Ok(pause_ms),
    }
}

/// The time between two points of a series.
///
/// # Errors
///
/// No duration, or nothing to count time by.
pub(super) fn parse_step_ms(word: &str) -> anyhow::Result<u64> {
    match parse_duration_ms(word)? {
        0 => bail!("points of time cannot be 0 apart; give at least 1ms"),
        step_ms => Ok(step_ms),
    }
}

/// A duration as people write it (`800ms`, `2s`, `1m 30s`, `24h`), in milliseconds.
///
/// # Errors
///
/// No unit, a negative one, or nothing a clock could count.
pub(super) fn parse_duration_ms(word: &str) -> anyhow::Result<u64> {
    let duration: Option<jiff::SignedDuration> = word.trim().parse().ok();
    duration
        .and_then(|duration| u64::try_from(duration.as_millis()).ok())
        .filter(|_| !word.trim().starts_with('-'))
        .with_context(|| format!("{word:?} is not a duration; write 800ms, 2s, 5m or 24h"))
}

/// No call and no pause of kubelet takes an hour; more is a slip of the unit.
const CALL_MS_MAX: u64 = 3_600_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn check_subnet(word: &str, expected: Result<(Option<&str>, u8, u32), &str>) {
        let found = parse_subnet(word).map_err(|error| format!("{error:#}"));
        match expected {
            Ok((name, prefix_len, taken)) => {
                let name = name.map(str::to_owned);
                assert_eq!(found, Ok(SubnetArg { name, zone: None, prefix_len, taken }));
            }
            Err(part) => assert!(found.clone().unwrap_err().contains(part), "{word}: {found:?}"),
        }
    }

    #[test]
    fn subnets_have_a_length_a_cidr_or_a_name() {
        check_subnet("/20", Ok((None, 20, 0)));
        check_subnet("10.0.0.0/20", Ok((Some("10.0.0.0/20"), 20, 0)));
        check_subnet("a=/28,taken=11", Ok((Some("a"), 28, 11)));
        check_subnet("a=10.0.0.0/16", Ok((Some("a"), 16, 0)));
    }

    #[test]
    fn subnets_that_cannot_be_are_refused() {
        check_subnet("", Err("neither a length"));
        check_subnet("20", Err("neither a length"));
        check_subnet("=/20", Err("empty"));
        check_subnet("/15", Err("from /16 to /28"));
        check_subnet("/29", Err("from /16 to /28"));
        check_subnet("fd00::/64", Err("neither a length"));
        check_subnet("/28,taken=12", Err("a /28 has 11 addresses"));
        check_subnet("/28,taken=-1", Err("not a number"));
        check_subnet("/28,tken=1", Err("neither taken=N nor zone=NAME"));
    }

    #[test]
    fn latencies_have_a_median_and_a_95th_percentile() {
        let parsed = parse_latency("createnetworkinterface=800ms:2s").unwrap();
        let action = Action::CreateNetworkInterface;
        assert_eq!(parsed, (action, Latency { median_ms: 800, p95_ms: 2_000 }));
        let (_, parsed) = parse_latency("AttachNetworkInterface=1s").unwrap();
        assert_eq!((parsed.median_ms, parsed.p95_ms), (1_000, 1_000));
    }

    fn check_refused(found: anyhow::Result<impl std::fmt::Debug>, part: &str) {
        let error = format!("{:#}", found.unwrap_err());
        assert!(error.contains(part), "{error}");
    }

    #[test]
    fn latencies_that_cannot_be_are_refused() {
        check_refused(parse_latency("CreateNetworkInterface"), "no \"=\"");
        check_refused(parse_latency("CreateNetworkIface=1s"), "mean CreateNetworkInterface?");
        check_refused(parse_latency("CreateTags=2s:1s"), "below the median");
        check_refused(parse_latency("CreateTags=800"), "not a duration");
        check_refused(parse_latency("CreateTags=-1s"), "not a duration");
        check_refused(parse_latency("CreateTags=1s:2h"), "more than an hour");
    }

    #[test]
    fn buckets_have_a_size_and_a_refill() {
        let action = Action::AssignPrivateIpAddresses;
        let expected = (action, Bucket { capacity: 100, refill_per_sec: 5 });
        assert_eq!(parse_bucket("AssignPrivateIpAddresses=100/5").unwrap(), expected);
        check_refused(parse_bucket("AssignPrivateIpAddresses=100"), "not SIZE/REFILL");
        check_refused(parse_bucket("AssignPrivateIpAddresses=0/5"), "from 1 to");
        check_refused(parse_bucket("AssignPrivateIpAddresses=100/NaN"), "from 1 to");
    }

    fn world_of(words: &[&str]) -> anyhow::Result<World> {
        #[derive(clap::Parser)]
        struct Cli {
            #[command(flatten)]
            world: WorldArgs,
        }
        let words = ["simulate"].iter().chain(words);
        let nothing =
            Trace { name: String::new(), nodes: vec![], pods: vec![], events: vec![], end_ms: 0 };
        let cli: Cli = clap::Parser::try_parse_from(words)?;
        cli.world.world(&nothing)
    }

    #[test]
    fn flags_fill_the_world() {
        let world = world_of(&[
            "--subnet=/20",
            "--subnet=b=/24,taken=100,zone=west",
            "--ec2-share=40",
            "--latency=CreateTags=1s",
            "--eni-visible=3s:4s",
            "--bucket=CreateTags=7/3",
            "--kubelet-retry=5s",
            "--unmanaged-enis=1",
            "--efa-enis=2",
        ])
        .unwrap();
        let names: Vec<&str> = world.subnets.iter().map(|subnet| subnet.name.as_str()).collect();
        assert_eq!(names, ["subnet-0", "b"]);
        let zones: Vec<&str> = world.subnets.iter().map(|subnet| subnet.zone.as_str()).collect();
        assert_eq!(zones, ["zone-0", "west"]);
        assert_eq!(world.subnets[1].taken, 100);
        assert_eq!(world.ec2.share_percent, 40);
        let latency = Latency { median_ms: 1_000, p95_ms: 1_000 };
        assert_eq!(world.ec2.latencies[&Action::CreateTags], latency);
        assert_eq!(world.ec2.eni_visible, Latency { median_ms: 3_000, p95_ms: 4_000 });
        let bucket = Bucket { capacity: 7, refill_per_sec: 3 };
        assert_eq!(world.ec2.buckets[&Action::CreateTags], bucket);
        assert_eq!(world.ec2.buckets.len(), Action::ALL.len());
        assert_eq!((world.kubelet_retry_ms, world.unmanaged_enis, world.efa_enis), (5_000, 1, 2));
    }

    #[test]
    fn enis_that_no_node_has_room_for_are_refused() {
        let large = crate::trace::instance_type("m5.large").unwrap();
        let nodes = vec![crate::trace::Node::of("n1", large)];
        let trace = Trace { name: String::new(), nodes, pods: vec![], events: vec![], end_ms: 0 };
        let of = |efa_enis, unmanaged_enis| {
            WorldArgs { efa_enis, unmanaged_enis, ..full_ec2() }.world(&trace)
        };
        assert!(of(1, 1).is_ok());
        check_refused(of(1, 2), "\"n1\" is a m5.large, which has room for 3");
        check_refused(of(64, 0), "65 ENIs with the primary one");
    }

    fn full_ec2() -> WorldArgs {
        let ec2 = Ec2Args { ec2_share: 100, ..Ec2Args::default() };
        WorldArgs { kubelet_retry: 12_000, ec2, ..WorldArgs::default() }
    }

    #[test]
    fn what_is_given_twice_is_refused() {
        check_refused(world_of(&["--subnet=a=/20", "--subnet=a=/21"]), "\"a\" is given twice");
        check_refused(
            world_of(&["--latency=CreateTags=1s", "--latency=CreateTags=2s"]),
            "CreateTags is given twice",
        );
        check_refused(world_of(&["--ec2-share=0"]), "0 is not in 1..=100");
    }

    #[test]
    fn durations_are_as_people_write_them() {
        for (word, ms) in [("800ms", 800), ("2s", 2_000), ("1m30s", 90_000), ("24h", 86_400_000)] {
            assert_eq!(parse_duration_ms(word).unwrap(), ms, "{word}");
        }
        for word in ["", "2", "-2s", "2 parsecs", "99999999999999999999h"] {
            check_refused(parse_duration_ms(word), "not a duration");
        }
        check_refused(parse_pause_ms("0s"), "at least 1ms");
    }
}
