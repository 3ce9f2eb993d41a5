//! Settings that have no effect, or another one than their name says.

use std::collections::BTreeMap;

use crate::lint::{Case, Finding, Purpose, Rule, Severity, finding, is_on};
use crate::model::pool::PREFIX_ADDRESSES;
use crate::model::settings::{Mode, Settings};
use crate::words::counted;

pub(super) const RULES: [Rule; 6] = [
    warm_eni_ignored,
    warm_prefix_ignored,
    warm_prefix_holds_enis,
    prefixes_unsupported,
    max_eni_without_effect,
    custom_networking,
];

/// What follows from switches, whatever the instance type.
pub(super) fn of_switches(
    env: &BTreeMap<String, String>,
    settings: &Settings,
    purpose: &Purpose,
) -> Vec<Finding> {
    ipv6(env, settings).into_iter().chain(multi_nic(env, purpose)).collect()
}

fn ipv6(env: &BTreeMap<String, String>, settings: &Settings) -> Option<Finding> {
    if !is_on(env, "ENABLE_IPv6") {
        return None;
    }
    let names = ["WARM_ENI_TARGET", "WARM_IP_TARGET", "MINIMUM_IP_TARGET"];
    let set: Vec<&str> = names.into_iter().filter(|name| env.contains_key(*name)).collect();
    let severity = if settings.is_targeted() { Severity::Warning } else { Severity::Note };
    let of = if set.is_empty() { "the warm targets".to_owned() } else { set.join(", ") };
    Some(finding(
        severity,
        "ipv6-ignores-targets",
        "ENABLE_IPv6=true",
        format!("{of}: without effect; a node gets one /80 prefix, and the pool loop ends at once"),
        "leave the targets out; nothing is to be tuned for IPv6",
    ))
}

fn multi_nic(env: &BTreeMap<String, String>, purpose: &Purpose) -> Option<Finding> {
    let kind = purpose.kinds.iter().find(|kind| kind.cards.len() > 1)?;
    if !is_on(env, "ENABLE_MULTI_NIC") {
        return None;
    }
    let others = kind.cards.len() - 1;
    Some(finding(
        Severity::Note,
        "multi-nic-targets",
        "ENABLE_MULTI_NIC=true",
        format!(
            "a {} has {others} more network cards, and on each of them WARM_IP_TARGET=1 and \
             MINIMUM_IP_TARGET=1 hold whatever is set: a burst gains 1 address in 5 s there",
            kind.name
        ),
        "start pods on such nodes one after the other",
    ))
}

fn warm_eni_ignored(case: &Case) -> Option<Finding> {
    let settings = &case.settings;
    let written = case.env.get("WARM_ENI_TARGET")?;
    if settings.warm_eni == 1 || !(settings.is_targeted() || case.is_prefix()) {
        return None;
    }
    let by = if settings.is_targeted() {
        "WARM_IP_TARGET or MINIMUM_IP_TARGET is"
    } else {
        "prefixes are delegated, so that WARM_PREFIX_TARGET counts, is"
    };
    let other = Settings { warm_eni: 1, ..settings.clone() };
    let pods = case.pods_or_example();
    let (rest, same) = (case.rest(pods).ips(), case.rest_under(&other, pods).ips());
    Some(finding(
        Severity::Warning,
        "warm-eni-ignored",
        format!("WARM_ENI_TARGET={written}"),
        format!(
            "it has no effect while {by} set: with {pods} pods a node holds {rest} addresses, \
             with WARM_ENI_TARGET=1 {same}"
        ),
        "leave it out, or unset the others",
    ))
}

fn warm_prefix_ignored(case: &Case) -> Option<Finding> {
    let warm = case.settings.warm_prefix;
    if case.is_prefix() || warm <= 1 {
        return None;
    }
    Some(finding(
        Severity::Note,
        "warm-prefix-ignored",
        format!("WARM_PREFIX_TARGET={warm}"),
        format!("addresses are attached one by one: 0 prefixes are held, not {warm}"),
        "ENABLE_PREFIX_DELEGATION=true, or leave it out",
    ))
}

/// Case 13.
fn warm_prefix_holds_enis(case: &Case) -> Option<Finding> {
    let settings = &case.settings;
    if !case.is_prefix() || !settings.is_targeted() || settings.warm_prefix == 0 {
        return None;
    }
    let warm = settings.warm_prefix;
    Some(finding(
        Severity::Note,
        "warm-prefix-holds-enis",
        format!("WARM_PREFIX_TARGET={warm} beside WARM_IP_TARGET or MINIMUM_IP_TARGET"),
        format!(
            "it no longer says when the pool grows, but an ENI is still freed only if the \
             others have {} entirely free ({} addresses)",
            counted(warm, "prefix"),
            warm.saturating_mul(PREFIX_ADDRESSES)
        ),
        "WARM_PREFIX_TARGET=0 beside WARM_IP_TARGET, to free ENIs by the targets alone",
    ))
}

fn prefixes_unsupported(case: &Case) -> Option<Finding> {
    if case.kind.prefixes_supported || !is_on(case.env, "ENABLE_PREFIX_DELEGATION") {
        return None;
    }
    let (enis, slots) = (case.kind.enis_max, case.kind.slots_per_eni());
    Some(finding(
        Severity::Warning,
        "prefixes-unsupported",
        "ENABLE_PREFIX_DELEGATION=true",
        format!(
            "the type cannot have prefixes and falls back to {enis} ENIs x {slots} = {} addresses; \
             a max-pods above {} starves pods",
            enis * slots,
            case.kind.pods_max(Mode::SecondaryIp, case.settings.custom_networking)
        ),
        "a type on Nitro for such nodes, or a node group with a max-pods of its own",
    ))
}

fn max_eni_without_effect(case: &Case) -> Option<Finding> {
    let max = case.settings.enis_max.filter(|max| *max >= case.kind.enis_max)?;
    Some(finding(
        Severity::Note,
        "max-eni-without-effect",
        format!("MAX_ENI={max}"),
        format!("the type allows {} ENIs, which bounds it already", case.kind.enis_max),
        "leave it out",
    ))
}

fn custom_networking(case: &Case) -> Option<Finding> {
    if !case.settings.custom_networking {
        return None;
    }
    let (kind, mode) = (case.kind, case.settings.mode);
    Some(finding(
        Severity::Note,
        "custom-networking",
        "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG=true",
        format!(
            "pods get nothing from the primary ENI: {} addresses instead of {}, max pods {} \
             instead of {}",
            kind.pod_addresses(mode, true),
            kind.pod_addresses(mode, false),
            kind.pods_max(mode, true),
            kind.pods_max(mode, false)
        ),
        format!("kubelet's max-pods of {} at most", kind.pods_max(mode, true)),
    ))
}
