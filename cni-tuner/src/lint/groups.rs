//! Node groups that mix instance types of different limits. Cluster Autoscaler simulates a new node of
//! a group by the group's first type only.

use crate::lint::{Finding, Severity, finding};
use crate::model::ipamd::Shape;
use crate::model::limits::InstanceType;
use crate::model::settings::Settings;

/// A node group.
#[derive(Debug, Clone)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Its instance types, in the order it lists them. Not empty.
    pub kinds: Vec<&'static InstanceType>,
}

pub(super) fn findings(settings: &Settings, groups: &[Group]) -> Vec<Finding> {
    groups.iter().filter_map(|group| mixed(settings, group)).collect()
}

fn mixed(settings: &Settings, group: &Group) -> Option<Finding> {
    let room = |kind: &InstanceType| {
        let mode = kind.mode(settings.mode);
        let pods_max = kind.pods_max(mode, settings.custom_networking);
        let enis = Shape::of(kind, settings, pods_max).enis_max;
        let for_pods = enis.saturating_sub(u32::from(settings.custom_networking));
        (for_pods * kind.pod_addresses_per_eni(mode)).min(pods_max)
    };
    let first = group.kinds.first()?;
    let least = group.kinds.iter().min_by_key(|kind| room(kind))?;
    let most = group.kinds.iter().max_by_key(|kind| room(kind))?;
    let (of_first, of_least, of_most) = (room(first), room(least), room(most));
    if of_least == of_most {
        return None;
    }
    let names: Vec<&str> = group.kinds.iter().map(|kind| kind.name).collect();
    let setting = format!("node group {}: {}", group.name, names.join(", "));
    let fix = "a node group for each number of addresses, or types that have the same";
    if of_first > of_least {
        let consequence = format!(
            "Cluster Autoscaler takes every new node for a {}, with addresses for {of_first} pods; \
             a {} has {of_least}: up to {} pods are expected on it that find no address",
            first.name,
            least.name,
            of_first - of_least
        );
        return Some(finding(Severity::Error, "mixed-node-group", setting, consequence, fix));
    }
    let consequence = format!(
        "Cluster Autoscaler takes every new node for a {}, with addresses for {of_first} pods; \
         a {} has {of_most}: more nodes are started than are needed",
        first.name, most.name
    );
    Some(finding(Severity::Warning, "mixed-node-group", setting, consequence, fix))
}
