//! What is around the nodes: EC2's speed and limits, the subnets, kubelet's patience.

use std::collections::BTreeMap;

use crate::model::ec2::Ec2;
use crate::model::settings::Settings;
use crate::model::subnet::SubnetPlan;

/// Everything a simulation stands on besides the trace, the settings and the seed.
#[derive(Debug, Clone)]
pub struct World {
    /// Latencies and token buckets of EC2's API, shared by all nodes.
    pub ec2: Ec2,
    /// The subnets nodes are spread over. Not empty.
    pub subnets: Vec<SubnetPlan>,
    /// Time between two tries of kubelet to set a pod's sandbox up, milliseconds.
    pub kubelet_retry_ms: u64,
    /// How far a try may be off that time to either side, as a part of it (0 to 1).
    pub kubelet_jitter: f64,
    /// ENIs on each node that the CNI leaves alone (tag `node.k8s.amazonaws.com/no_manage`).
    pub unmanaged_enis: u32,
    /// EFA-only or EFA ENIs on each node, which are never freed.
    pub efa_enis: u32,
    /// How far apart the points of the time series are, milliseconds. Not 0.
    pub series_step_ms: u64,
}

/// Which settings hold where: one aws-node DaemonSet for all nodes, or others for some node groups.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Assignment {
    /// Where no other is named.
    pub everywhere: Settings,
    /// By the node group's name.
    pub by_group: BTreeMap<String, Settings>,
}

impl Assignment {
    /// The settings of the nodes of a group.
    pub fn of(&self, group: &str) -> &Settings {
        self.by_group.get(group).unwrap_or(&self.everywhere)
    }
}

impl From<Settings> for Assignment {
    fn from(everywhere: Settings) -> Assignment {
        Assignment { everywhere, by_group: BTreeMap::new() }
    }
}

impl Default for World {
    /// Published figures: EC2's documented buckets and the CNI's documented latencies, one subnet of
    /// a whole /16, kubelet's tries 12 s apart (aws/amazon-vpc-cni-k8s #1724).
    fn default() -> World {
        World {
            ec2: Ec2::default(),
            subnets: vec![SubnetPlan::default()],
            kubelet_retry_ms: 12_000,
            kubelet_jitter: 0.1,
            unmanaged_enis: 0,
            efa_enis: 0,
            series_step_ms: 60_000,
        }
    }
}
