//! Variables that are misspelt, set twice, set to what ipamd cannot use, or set in the wrong place.

use crate::lint::source::Source;
use crate::lint::{Finding, Severity, finding};
use crate::model::environment::{Reading, Remark, VARIABLES, Variable, nearest};

/// Variables of aws-node that the model has no use for, so that they are not taken for misspelt ones.
const OTHERS: [&str; 44] = [
    "ADDITIONAL_ENI_TAGS",
    "ANNOTATE_POD_IP",
    "AWS_EC2_ENDPOINT",
    "AWS_EXTERNAL_SERVICE_CIDRS",
    "AWS_VPC_CNI_NODE_PORT_SUPPORT",
    "AWS_VPC_ENI_MTU",
    "AWS_VPC_K8S_CNI_CONFIGURE_RPFILTER",
    "AWS_VPC_K8S_CNI_CONNMARK",
    "AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS",
    "AWS_VPC_K8S_CNI_EXTERNALSNAT",
    "AWS_VPC_K8S_CNI_LOG_FILE",
    "AWS_VPC_K8S_CNI_LOGLEVEL",
    "AWS_VPC_K8S_CNI_RANDOMIZESNAT",
    "AWS_VPC_K8S_CNI_VETHPREFIX",
    "AWS_VPC_K8S_PLUGIN_LOG_FILE",
    "AWS_VPC_K8S_PLUGIN_LOG_LEVEL",
    "CLUSTER_ENDPOINT",
    "CLUSTER_NAME",
    "DISABLE_INTROSPECTION",
    "DISABLE_METRICS",
    "DISABLE_NETWORK_RESOURCE_PROVISIONING",
    "DISABLE_POD_V6",
    "DISABLE_TCP_EARLY_DEMUX",
    "ENABLE_BANDWIDTH_PLUGIN",
    "ENABLE_IMDS_ONLY_MODE",
    "ENABLE_IPv4",
    "ENABLE_IPv6",
    "ENABLE_MULTI_NIC",
    "ENABLE_NFTABLES",
    "ENABLE_V4_EGRESS",
    "ENABLE_V6_EGRESS",
    "ENI_CONFIG_ANNOTATION_DEF",
    "ENI_CONFIG_LABEL_DEF",
    "HOST_CNI_BIN_PATH",
    "HOST_CNI_CONFDIR_PATH",
    "INTROSPECTION_BIND_ADDRESS",
    "MY_NODE_NAME",
    "MY_POD_NAME",
    "MY_POD_NAMESPACE",
    "NETWORK_POLICY_ENFORCING_MODE",
    "POD_MTU",
    "POD_SECURITY_GROUP_ENFORCING_MODE",
    "VPC_CNI_VERSION",
    "VPC_ID",
];

/// What can be said of a source before its values are read.
pub(super) fn findings(source: &Source) -> Vec<Finding> {
    let names = source.env.keys().chain(source.unknowable.keys());
    let misspelt = names.filter_map(|name| misspelt(name));
    let doubled = source.doubled.iter().map(|name| doubled(name, source));
    let unknowable = source.unknowable.iter().filter_map(|(name, from)| unknowable(name, from));
    let elsewhere = source.elsewhere.iter().map(|from| elsewhere(from));
    let unquoted = source.unquoted.iter().map(|name| unquoted(name, source));
    let windows = (!source.windows.is_empty()).then(|| windows(&source.windows));
    let unknown = unknowable.chain(elsewhere);
    misspelt.chain(doubled).chain(unquoted).chain(unknown).chain(windows).collect()
}

/// Values that ipamd does not take as they are written.
pub(super) fn of_remarks(reading: &Reading) -> Vec<Finding> {
    let of = |remark: &Remark| {
        finding(
            Severity::Error,
            "invalid-value",
            format!("{}={}", remark.variable, remark.written),
            format!("ipamd cannot use it, says nothing, and takes {}", remark.taken),
            fix_of(remark),
        )
    };
    reading.remarks.iter().map(of).collect()
}

fn fix_of(remark: &Remark) -> String {
    if remark.taken.contains(' ') {
        return format!("the value that was meant, or no {} at all", remark.variable);
    }
    format!("{}={}, or the value that was meant", remark.variable, remark.taken)
}

fn misspelt(name: &str) -> Option<Finding> {
    let ours = VARIABLES.iter().map(|variable| variable.name);
    if ours.clone().chain(OTHERS).any(|known| known == name) {
        return None;
    }
    // A name of the same beginning is one that aws-node would be expected to know.
    let is_target = ["WARM_", "MINIMUM_", "MAX_ENI", "IP_COOLDOWN"];
    let near = nearest(name, ours.chain(OTHERS));
    if near.is_none() && !is_target.iter().any(|begin| name.starts_with(begin)) {
        return None;
    }
    let fix = match near {
        Some(near) => format!("{near}, which is probably meant"),
        None => "one of WARM_ENI_TARGET, WARM_IP_TARGET, MINIMUM_IP_TARGET, WARM_PREFIX_TARGET, \
                 MAX_ENI"
            .to_owned(),
    };
    let consequence = "aws-node has no such variable: it has no effect, and defaults hold";
    Some(finding(Severity::Error, "unknown-variable", name, consequence, fix))
}

fn doubled(name: &str, source: &Source) -> Finding {
    let last = source.env.get(name).map_or("the last one", String::as_str);
    finding(
        Severity::Warning,
        "variable-set-twice",
        name,
        format!("it is set more than once, and the last value holds: {last}"),
        "leave one of them",
    )
}

fn unquoted(name: &str, source: &Source) -> Finding {
    let value = source.env.get(name).map_or("", String::as_str);
    finding(
        Severity::Warning,
        "unquoted-value",
        format!("{name}: {value}"),
        "Kubernetes takes texts only as values: the manifest is refused, and what was in force stays",
        format!("value: \"{value}\", in quotes"),
    )
}

fn unknowable(name: &str, from: &str) -> Option<Finding> {
    Variable::find(name)?;
    Some(finding(
        Severity::Note,
        "value-not-known",
        format!("{name} from {from}"),
        "its value cannot be known here: the numbers hold for ipamd's default of it",
        format!("--env {name}=VALUE, to check a value"),
    ))
}

fn elsewhere(from: &str) -> Finding {
    finding(
        Severity::Note,
        "value-not-known",
        format!("variables from {from} (envFrom)"),
        "what it sets cannot be known here: the numbers hold for ipamd's default of what env lacks",
        "--env NAME=VALUE for each, to check the values",
    )
}

fn windows(keys: &[String]) -> Finding {
    finding(
        Severity::Warning,
        "windows-config-map",
        format!("ConfigMap amazon-vpc-cni: {}", keys.join(", ")),
        "only Windows nodes read it: on Linux nodes these have no effect",
        "the variables of the DaemonSet aws-node: WARM_IP_TARGET, MINIMUM_IP_TARGET",
    )
}
