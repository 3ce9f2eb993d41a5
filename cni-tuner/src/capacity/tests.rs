//! What fits into subnets, and why not more.

use super::*;
use crate::model::limits;
use crate::model::settings::Mode;

fn subnet(range: &str, free: Option<u32>) -> SubnetSpace {
    let range: Ipv4Net = range.parse().expect("a CIDR");
    let free = free.unwrap_or_else(|| capacity_of(&range));
    SubnetSpace { name: range.to_string(), range, free }
}

fn group(types: &[&str], nodes: Option<u32>, pods: Option<u32>) -> Group {
    let kind = |name: &&str| limits::find(name).expect("a known type");
    let types: Vec<_> = types.iter().map(kind).collect();
    Group { name: types[0].name.to_owned(), types, nodes, pods, pods_max: None }
}

fn tight() -> Settings {
    Settings { warm_ip: 1, minimum_ip: 11, ..Settings::default() }
}

fn prefixes() -> Settings {
    Settings { mode: Mode::Prefix, ..Settings::default() }
}

fn check(range: &str, group: Group, settings: &Settings, nodes: u32, limit: NodesLimit) -> Fit {
    let fit = fit(&[subnet(range, None)], &[group], settings);
    assert_eq!((fit.groups[0].nodes(), fit.groups[0].limit), (nodes, limit), "{fit:?}");
    fit
}

#[test]
fn a_16_holds_1092_nodes_under_the_default() {
    let c5 = group(&["c5.9xlarge"], None, Some(10));
    let fit = check("10.0.0.0/16", c5, &Settings::default(), 1092, NodesLimit::Addresses);
    assert_eq!(fit.subnets[0].free, 65_531 - 1092 * 60);
    assert_eq!(fit.nodes_unbroken, None);
}

#[test]
fn a_16_holds_five_times_as_many_under_a_tight_setting() {
    let c5 = group(&["c5.9xlarge"], None, Some(10));
    check("10.0.0.0/16", c5, &tight(), 5460, NodesLimit::Addresses);
}

#[test]
fn a_16_of_full_nodes_holds_63336_pods() {
    let c5 = group(&["c5.9xlarge"], None, None);
    let fit = check("10.0.0.0/16", c5, &Settings::default(), 273, NodesLimit::Addresses);
    assert_eq!(fit.groups[0].nodes() * fit.groups[0].types[0].0.pods, 63_336);
}

#[test]
fn nodes_asked_for_are_placed_before_the_others() {
    let groups = [group(&["c5.9xlarge"], None, Some(10)), group(&["m5.large"], Some(20), Some(5))];
    let fit = fit(&[subnet("10.0.0.0/23", None)], &groups, &Settings::default());
    // 507 addresses less 20 nodes with two ENIs of 10 addresses: 107 for nodes of 60.
    assert_eq!((fit.groups[1].nodes(), fit.groups[1].limit), (20, NodesLimit::Asked));
    assert_eq!((fit.groups[0].nodes(), fit.groups[0].limit), (1, NodesLimit::Addresses));
}

#[test]
fn groups_without_a_number_share_what_is_left() {
    let groups = [group(&["c5.9xlarge"], None, Some(10)), group(&["m5.4xlarge"], None, Some(10))];
    let fit = fit(&[subnet("10.0.0.0/20", None)], &groups, &Settings::default());
    assert_eq!(fit.groups.iter().map(GroupFit::nodes).collect::<Vec<_>>(), [34, 34]);
}

#[test]
fn types_of_a_group_take_turns() {
    let mixed = group(&["c5.9xlarge", "m5.large"], Some(5), Some(5));
    let fit = check("10.0.0.0/20", mixed, &Settings::default(), 5, NodesLimit::Asked);
    let nodes: Vec<u32> = fit.groups[0].types.iter().map(|(_, nodes)| *nodes).collect();
    assert_eq!(nodes, [3, 2]);
}

#[test]
fn no_node_is_split_between_subnets() {
    let subnets = [subnet("10.0.0.0/26", None), subnet("10.0.1.0/26", None)];
    let groups = [group(&["c5.9xlarge"], None, Some(31))];
    // 59 addresses in each: 118 together would do for a node of 90.
    let fit = fit(&subnets, &groups, &Settings::default());
    assert_eq!((fit.groups[0].nodes(), fit.groups[0].limit), (0, NodesLimit::Addresses));
}

#[test]
fn nodes_are_balanced_over_subnets() {
    let subnets = [subnet("10.0.0.0/24", None), subnet("10.0.1.0/24", None)];
    let groups = [group(&["c5.9xlarge"], Some(4), Some(10))];
    let fit = fit(&subnets, &groups, &Settings::default());
    assert_eq!(fit.subnets.iter().map(|left| left.free).collect::<Vec<_>>(), [131, 131]);
}

#[test]
fn scattered_addresses_leave_no_whole_prefix() {
    // Of 4,096 addresses 1,000 are taken, anywhere: 256 blocks, hardly one of them whole.
    let c5 = [group(&["c5.9xlarge"], None, Some(10))];
    let fit = fit(&[subnet("10.0.0.0/20", Some(3_091))], &c5, &prefixes());
    assert_eq!(fit.groups[0].limit, NodesLimit::Prefixes);
    assert!(fit.groups[0].nodes() < 5, "{fit:?}");
    assert!(fit.subnets[0].free > 2_900);
}

#[test]
fn the_enis_own_addresses_break_prefixes_up_unless_they_are_kept_apart() {
    let c5 = group(&["c5.9xlarge"], None, Some(10));
    let fit = fit(&[subnet("10.0.0.0/20", None)], &[c5], &prefixes());
    let unbroken = fit.nodes_unbroken.expect("prefixes");
    // 254 whole blocks and 27 addresses beside them; two blocks and one address a node.
    assert_eq!(unbroken, 123);
    assert!((80..unbroken).contains(&fit.groups[0].nodes()), "{fit:?}");
}

#[test]
fn a_28_has_no_whole_prefix() {
    let c5 = group(&["c5.9xlarge"], None, Some(1));
    check("10.0.0.0/28", c5, &prefixes(), 0, NodesLimit::Addresses);
    let tiny = Settings { warm_prefix: 0, warm_ip: 1, ..prefixes() };
    let c5 = group(&["c5.9xlarge"], None, Some(1));
    check("10.0.0.0/27", c5, &tiny, 0, NodesLimit::Prefixes);
}

#[test]
fn the_same_question_has_the_same_answer() {
    let ask = || {
        let groups = [group(&["c5.9xlarge", "m5.large"], None, Some(10))];
        fit(&[subnet("10.0.0.0/20", Some(4_000))], &groups, &prefixes())
    };
    assert_eq!(ask(), ask());
}
