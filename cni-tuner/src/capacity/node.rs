//! What one node holds at rest, and what stops it from having more pods.

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use crate::capacity::Group;
use crate::model::ipamd::{Rules, Shape};
use crate::model::limits::InstanceType;
use crate::model::pool::PREFIX_ADDRESSES;
use crate::model::rest::Rest;
use crate::model::settings::{Mode, Settings};

/// Where the model draws at random: which ENI a pod's address is from. Any seed is as good.
const SEED: u64 = 1;

/// aws-node and kube-proxy count as pods to kubelet and need no address.
const PODS_WITHOUT_ADDRESS: u32 = 2;

/// One node with its pods, at rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeLoad {
    /// Its type.
    pub kind: &'static InstanceType,
    /// How addresses are attached to it, which is not what was asked where prefixes cannot be.
    pub mode: Mode,
    /// kubelet's limit.
    pub pods_max: u32,
    /// Pods with an address of their own that were asked for.
    pub pods_asked: Option<u32>,
    /// Those that get one.
    pub pods: u32,
    /// Why there are not more.
    pub limit: PodsLimit,
    /// ENIs attached.
    pub enis: u32,
    /// The ENIs' own primary addresses in these subnets. With custom networking the first ENI is in
    /// another one.
    pub primaries: u32,
    /// Addresses for pods.
    pub ips: u32,
    /// Prefixes they are in; 0 with secondary addresses.
    pub prefixes: u32,
    /// What never comes to rest, described; none: the node rests. It then counts as it is when it
    /// holds most.
    pub cycle: Option<String>,
}

/// Why a node has no more pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PodsLimit {
    /// It has all that were asked for.
    Asked,
    /// kubelet's limit of pods.
    MaxPods,
    /// All ENIs are there and full.
    Enis,
    /// The warm targets: the pool stays without a free address although there is room.
    Targets,
}

impl NodeLoad {
    /// A node of a group, under settings that hold for all nodes.
    pub fn of(kind: &'static InstanceType, group: &Group, settings: &Settings) -> NodeLoad {
        let settings = settings.on(kind);
        let by_type = kind.pods_max(settings.mode, settings.custom_networking);
        let pods_max = group.pods_max.unwrap_or(by_type);
        let allowed = pods_max.saturating_sub(PODS_WITHOUT_ADDRESS);
        let wanted = group.pods.unwrap_or(u32::MAX).min(allowed);
        let rules = Rules { settings: &settings, shape: Shape::of(kind, &settings, pods_max) };
        let rest = Rest::of(rules, 0, wanted, &mut ChaCha8Rng::seed_from_u64(SEED));
        let outside = u32::from(settings.custom_networking);
        NodeLoad {
            kind,
            mode: settings.mode,
            pods_max,
            pods_asked: group.pods,
            pods: rest.assigned(),
            limit: limit(&rules, &rest, group.pods),
            enis: rest.enis(),
            primaries: rest.enis().saturating_sub(outside),
            ips: rest.ips(),
            prefixes: rest.prefixes(),
            cycle: rest.cycle.as_ref().map(ToString::to_string),
        }
    }

    /// Addresses of the subnets that are not in a prefix.
    pub fn single_addresses(&self) -> u32 {
        self.primaries + self.ips - self.prefixes * PREFIX_ADDRESSES
    }

    /// All addresses of the subnets that it holds.
    pub fn addresses(&self) -> u32 {
        self.primaries + self.ips
    }

    /// Whether fewer pods get an address than were asked for.
    pub fn is_short(&self) -> bool {
        self.pods_asked.is_some_and(|asked| self.pods < asked)
    }

    /// Addresses for pods that no pod has.
    pub fn unused(&self) -> u32 {
        self.ips - self.pods
    }
}

fn limit(rules: &Rules, rest: &Rest, asked: Option<u32>) -> PodsLimit {
    let (stats, mut enis) = (rest.stats(), rest.pool.enis().iter());
    let is_full = !rules.may_add_eni(&stats) && !enis.any(|eni| rules.has_room(eni));
    let is_out_of_addresses = rest.unused() == 0;
    if asked == Some(rest.assigned()) {
        PodsLimit::Asked
    } else if is_full && is_out_of_addresses {
        PodsLimit::Enis
    } else if rest.unplaced > 0 {
        PodsLimit::Targets
    } else {
        PodsLimit::MaxPods
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::limits;

    fn load(name: &str, pods: Option<u32>, settings: &Settings) -> NodeLoad {
        let kind = limits::find(name).expect("a known type");
        let group =
            Group { name: "g".to_owned(), types: vec![kind], nodes: None, pods, pods_max: None };
        NodeLoad::of(kind, &group, settings)
    }

    fn targets(warm_ip: u32, minimum_ip: u32) -> Settings {
        Settings { warm_ip, minimum_ip, ..Settings::default() }
    }

    fn check(name: &str, pods: Option<u32>, settings: &Settings, expected: (u32, u32, PodsLimit)) {
        let load = load(name, pods, settings);
        assert_eq!((load.pods, load.addresses(), load.limit), expected, "{load:?}");
    }

    #[test]
    fn the_default_holds_58_and_two_of_the_enis_own() {
        check("c5.9xlarge", Some(1), &Settings::default(), (1, 60, PodsLimit::Asked));
        check("c5.9xlarge", Some(29), &Settings::default(), (29, 60, PodsLimit::Asked));
        check("c5.9xlarge", Some(30), &Settings::default(), (30, 90, PodsLimit::Asked));
    }

    #[test]
    fn a_tight_setting_holds_what_is_used_and_a_little_more() {
        check("c5.9xlarge", Some(10), &targets(1, 11), (10, 12, PodsLimit::Asked));
    }

    #[test]
    fn without_a_number_a_node_is_full() {
        check("c5.9xlarge", None, &Settings::default(), (232, 240, PodsLimit::Enis));
    }

    #[test]
    fn more_than_kubelet_allows_is_not_there() {
        let prefixes = Settings { mode: Mode::Prefix, ..Settings::default() };
        let load = load("m5.4xlarge", Some(500), &prefixes);
        assert_eq!((load.pods, load.limit), (108, PodsLimit::MaxPods));
    }

    #[test]
    fn max_eni_stops_pods_before_kubelet_does() {
        let settings = Settings { enis_max: Some(2), ..Settings::default() };
        check("c5.9xlarge", Some(100), &settings, (58, 60, PodsLimit::Enis));
    }

    #[test]
    fn a_minimum_alone_starves_pods() {
        check("c5.9xlarge", Some(100), &targets(0, 22), (22, 23, PodsLimit::Targets));
    }

    #[test]
    fn custom_networking_puts_the_first_eni_elsewhere() {
        let settings = Settings { custom_networking: true, ..targets(1, 0) };
        let load = load("c5.9xlarge", Some(10), &settings);
        assert_eq!((load.enis, load.primaries, load.ips), (2, 1, 11));
    }

    #[test]
    fn prefixes_are_counted_whole() {
        let settings = Settings { mode: Mode::Prefix, ..Settings::default() };
        let load = load("c5.9xlarge", Some(10), &settings);
        assert_eq!((load.prefixes, load.ips, load.single_addresses()), (2, 32, 1));
        assert_eq!((load.addresses(), load.unused()), (33, 22));
    }

    #[test]
    fn a_type_without_prefixes_falls_back() {
        let settings = Settings { mode: Mode::Prefix, ..Settings::default() };
        let load = load("c4.8xlarge", Some(10), &settings);
        assert_eq!((load.mode, load.prefixes), (Mode::SecondaryIp, 0));
    }

    #[test]
    fn a_node_that_never_rests_counts_as_it_is_when_it_holds_most() {
        let settings = Settings { warm_eni: 0, ..Settings::default() };
        let load = load("c5.9xlarge", Some(29), &settings);
        assert!(load.cycle.is_some());
        assert_eq!(load.ips, 58);
    }
}
