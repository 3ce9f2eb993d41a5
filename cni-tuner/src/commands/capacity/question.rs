//! Subnets and node groups as they are typed, and what is wrong with them.

use std::collections::BTreeSet;

use anyhow::{Context as _, bail};
use ipnet::{IpNet, Ipv4Net};

use crate::capacity::{Group, NODES_MAX, SubnetSpace, capacity_of};
use crate::commands::limits::unknown;
use crate::model::limits::{self, InstanceType};

/// More pods than any node has addresses for.
pub(super) const PODS_MAX: u32 = 100_000;

/// `[NAME=]CIDR[,free=N]`.
pub(super) fn parse_subnet(word: &str) -> anyhow::Result<SubnetSpace> {
    let (place, free) = match word.split_once(',') {
        Some((place, option)) => (place, Some(option)),
        None => (word, None),
    };
    let (name, cidr) = match place.split_once('=') {
        Some(("", _)) => bail!("the name before \"=\" is empty"),
        Some(named) => named,
        None => (place, place),
    };
    let range = parse_range(cidr)?;
    let capacity = capacity_of(&range);
    let free = free.map_or(Ok(capacity), |option| parse_free(option, capacity, &range))?;
    Ok(SubnetSpace { name: name.to_owned(), range, free })
}

fn parse_range(cidr: &str) -> anyhow::Result<Ipv4Net> {
    let range: IpNet =
        cidr.parse().ok().with_context(|| format!("{cidr:?} is no CIDR such as 10.0.0.0/20"))?;
    let IpNet::V4(range) = range else {
        bail!("{cidr} is IPv6, where ipamd keeps no warm pool; give an IPv4 CIDR");
    };
    if !(16..=28).contains(&range.prefix_len()) {
        bail!("/{}: AWS allows subnets from /16 to /28", range.prefix_len());
    }
    if range.trunc() != range {
        bail!("{cidr} is an address within {}; give that", range.trunc());
    }
    Ok(range)
}

fn parse_free(option: &str, capacity: u32, range: &Ipv4Net) -> anyhow::Result<u32> {
    let number = option.strip_prefix("free=").with_context(|| {
        format!("{option:?} after the comma; only free=N may stand there, as in {range},free=100")
    })?;
    let free: u32 = number
        .parse()
        .ok()
        .with_context(|| format!("free={number} is no number of addresses from 0 to {capacity}"))?;
    if free > capacity {
        bail!(
            "free={free}, but a /{} has {capacity} addresses to give (AWS keeps 5)",
            range.prefix_len()
        );
    }
    Ok(free)
}

/// `NAME=TYPE[,TYPE...][,nodes=N][,pods=N][,max-pods=N]`.
pub(super) fn parse_group(word: &str) -> anyhow::Result<Group> {
    let example = "web=m5.4xlarge,nodes=20,pods=30";
    let (name, rest) = word
        .split_once('=')
        .with_context(|| format!("{word:?}: write NAME=TYPE, as in {example}"))?;
    if name.is_empty() || name.contains(',') {
        bail!("{name:?} is no name of a group; write NAME=TYPE, as in {example}");
    }
    let mut group =
        Group { name: name.to_owned(), types: Vec::new(), nodes: None, pods: None, pods_max: None };
    for item in rest.split(',') {
        match item.split_once('=') {
            None => group.types.push(parse_type(item, &group.types)?),
            Some((option, value)) => set(&mut group, option, value)?,
        }
    }
    if group.types.is_empty() {
        bail!("group {name}: no instance type; write NAME=TYPE, as in {example}");
    }
    Ok(group)
}

fn parse_type(
    name: &str,
    known: &[&'static InstanceType],
) -> anyhow::Result<&'static InstanceType> {
    let Some(kind) = limits::find(name) else { bail!(unknown(name)) };
    if known.contains(&kind) {
        bail!("{name} is named twice");
    }
    Ok(kind)
}

fn set(group: &mut Group, option: &str, value: &str) -> anyhow::Result<()> {
    let (slot, least, most) = match option {
        "nodes" => (&mut group.nodes, 1, NODES_MAX),
        "pods" => (&mut group.pods, 0, PODS_MAX),
        "max-pods" => (&mut group.pods_max, 1, PODS_MAX),
        _ => bail!("{option}={value}: the options are nodes=N, pods=N and max-pods=N"),
    };
    let number: Option<u32> = value.parse().ok();
    let number = number
        .filter(|number| (least..=most).contains(number))
        .with_context(|| format!("{option}={value} is no number from {least} to {most}"))?;
    if slot.replace(number).is_some() {
        bail!("{option} is given twice");
    }
    Ok(())
}

/// No two subnets share a name or an address.
pub(super) fn check_subnets(subnets: &[SubnetSpace]) -> anyhow::Result<()> {
    for (at, subnet) in subnets.iter().enumerate() {
        for other in &subnets[..at] {
            if subnet.name == other.name {
                bail!("--subnet: {} is given twice", subnet.name);
            }
            if subnet.range.contains(&other.range) || other.range.contains(&subnet.range) {
                bail!("--subnet: {} and {} overlap", named(other), named(subnet));
            }
        }
    }
    Ok(())
}

fn named(subnet: &SubnetSpace) -> String {
    let range = subnet.range.to_string();
    if subnet.name == range { range } else { format!("{} ({range})", subnet.name) }
}

/// No two groups share a name.
pub(super) fn check_groups(groups: &[Group]) -> anyhow::Result<()> {
    let mut names = BTreeSet::new();
    match groups.iter().find(|group| !names.insert(&group.name)) {
        Some(group) => bail!("--group: {} is given twice", group.name),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_subnet(word: &str, name: &str, free: u32) {
        let subnet = parse_subnet(word).unwrap_or_else(|error| panic!("{word}: {error:#}"));
        assert_eq!((subnet.name.as_str(), subnet.free), (name, free), "{word}");
    }

    #[test]
    fn subnets_have_a_cidr_and_maybe_a_name_and_free_addresses() {
        check_subnet("10.0.0.0/16", "10.0.0.0/16", 65_531);
        check_subnet("a=10.0.0.0/28", "a", 11);
        check_subnet("a=10.0.0.0/24,free=0", "a", 0);
        check_subnet("10.0.0.0/24,free=251", "10.0.0.0/24", 251);
    }

    fn check_refused<T: std::fmt::Debug>(found: anyhow::Result<T>, part: &str) {
        let error = format!("{:#}", found.unwrap_err());
        assert!(error.contains(part), "{error}");
    }

    #[test]
    fn subnets_that_cannot_be_are_refused() {
        for (word, part) in [
            ("", "no CIDR"),
            ("10.0.0.0", "no CIDR"),
            ("10.0.0/16", "no CIDR"),
            ("=10.0.0.0/16", "empty"),
            ("10.0.0.0/15", "from /16 to /28"),
            ("10.0.0.0/29", "from /16 to /28"),
            ("10.0.0.0/33", "no CIDR"),
            ("10.0.0.1/16", "within 10.0.0.0/16"),
            ("fd00::/64", "IPv6"),
            ("10.0.0.0/24,free=252", "251 addresses to give"),
            ("10.0.0.0/24,free=-1", "from 0 to 251"),
            ("10.0.0.0/24,free=99999999999", "from 0 to 251"),
            ("10.0.0.0/24,free=NaN", "from 0 to 251"),
            ("10.0.0.0/24,used=3", "only free=N"),
        ] {
            check_refused(parse_subnet(word), part);
        }
    }

    #[test]
    fn subnets_that_share_something_are_refused() {
        let subnets = |words: &[&str]| -> Vec<SubnetSpace> {
            words.iter().map(|word| parse_subnet(word).expect("a subnet")).collect()
        };
        let check = |words: &[&str]| check_subnets(&subnets(words));
        assert!(check(&["10.0.0.0/24", "10.0.1.0/24"]).is_ok());
        check_refused(check(&["a=10.0.0.0/24", "a=10.0.1.0/24"]), "a is given twice");
        let overlap = "a (10.0.0.0/16) and 10.0.1.0/24 overlap";
        check_refused(check(&["a=10.0.0.0/16", "10.0.1.0/24"]), overlap);
        check_refused(check(&["10.0.1.0/24", "10.0.0.0/16"]), "overlap");
    }

    #[test]
    fn groups_have_types_and_options_in_any_order() {
        let group = parse_group("web=m5.large,nodes=3,c5.large,pods=0,max-pods=20").expect("one");
        let names: Vec<&str> = group.types.iter().map(|kind| kind.name).collect();
        assert_eq!(names, ["m5.large", "c5.large"]);
        assert_eq!((group.nodes, group.pods, group.pods_max), (Some(3), Some(0), Some(20)));
    }

    #[test]
    fn groups_that_cannot_be_are_refused() {
        for (word, part) in [
            ("", "write NAME=TYPE"),
            ("m5.large", "write NAME=TYPE"),
            ("=m5.large", "no name of a group"),
            ("web=", "no such instance type"),
            ("web=nodes=3", "no instance type"),
            ("web=m5.5xlarge", "did you mean m5.4xlarge"),
            ("web=m5.large,m5.large", "named twice"),
            ("web=m5.large,nodes=0", "from 1 to 100000"),
            ("web=m5.large,nodes=100001", "from 1 to 100000"),
            ("web=m5.large,nodes=-3", "from 1 to 100000"),
            ("web=m5.large,pods=1.5", "from 0 to 100000"),
            ("web=m5.large,pods=1,pods=2", "pods is given twice"),
            ("web=m5.large,node=3", "the options are"),
        ] {
            check_refused(parse_group(word), part);
        }
        let twice =
            [parse_group("a=m5.large").expect("one"), parse_group("a=c5.large").expect("one")];
        check_refused(check_groups(&twice), "a is given twice");
    }
}
