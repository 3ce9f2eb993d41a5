//! Settings that hold more addresses than the pods need, or ask for more than there can be.

use crate::lint::{Case, Finding, Rule, Severity, finding};
use crate::model::ipamd::{Rules, Shape};
use crate::model::pool::PREFIX_ADDRESSES;
use crate::model::rest::Rest;
use crate::model::settings::Settings;
use crate::words::counted;

pub(super) const RULES: [Rule; 6] = [
    warm_eni_waste,
    targets_waste,
    warm_ip_whole_prefix,
    warm_ip_beyond_max_pods,
    minimum_beyond_type,
    minimum_beyond_max_pods,
];

fn warm_eni_waste(case: &Case) -> Option<Finding> {
    let settings = &case.settings;
    let pods = case.pods.filter(|pods| *pods <= case.capacity())?;
    if settings.is_targeted() || case.is_prefix() || settings.warm_eni == 0 {
        return None;
    }
    let rest = case.rest(pods);
    let advised = case.advised(pods);
    let less = case.rest_under(&advised, pods);
    if rest.unused() < less.unused().saturating_mul(2).max(8) {
        return None;
    }
    let warm = settings.warm_eni;
    Some(finding(
        Severity::Warning,
        "warm-eni-waste",
        format!("WARM_ENI_TARGET={warm}{}", if warm == 1 { ", the default" } else { "" }),
        held(pods, &rest),
        better(&advised, &less),
    ))
}

fn held(pods: u32, rest: &Rest) -> String {
    format!(
        "with {} a node holds {} on {}, {} of them unused",
        counted(pods, "pod"),
        counted(rest.ips(), "address"),
        counted(rest.enis(), "ENI"),
        rest.unused()
    )
}

fn better(advised: &Settings, less: &Rest) -> String {
    format!(
        "MINIMUM_IP_TARGET={} WARM_IP_TARGET={}: {} held, {} unused",
        advised.minimum_ip,
        advised.warm_ip,
        less.ips(),
        less.unused()
    )
}

/// Targets that hold more unused addresses than there are pods.
fn targets_waste(case: &Case) -> Option<Finding> {
    let settings = &case.settings;
    let pods = case.pods.filter(|pods| *pods <= case.capacity())?;
    if !settings.is_targeted() {
        return None;
    }
    let advised = case.advised(pods);
    let (rest, less) = (case.rest(pods), case.rest_under(&advised, pods));
    if rest.unused() < less.unused().saturating_mul(2).max(pods).max(2 * PREFIX_ADDRESSES) {
        return None;
    }
    Some(finding(
        Severity::Warning,
        "targets-waste",
        format!("WARM_IP_TARGET={} MINIMUM_IP_TARGET={}", settings.warm_ip, settings.minimum_ip),
        held(pods, &rest),
        better(&advised, &less),
    ))
}

fn warm_ip_whole_prefix(case: &Case) -> Option<Finding> {
    let warm = case.settings.warm_ip;
    if !case.is_prefix() || warm < PREFIX_ADDRESSES {
        return None;
    }
    let pods = case.pods_or_example();
    let below = Settings { warm_ip: PREFIX_ADDRESSES - 1, ..case.settings.clone() };
    let (rest, less) = (case.rest(pods), case.rest_under(&below, pods));
    if rest.ips() <= less.ips() {
        return None;
    }
    Some(finding(
        Severity::Warning,
        "warm-ip-whole-prefix",
        format!("WARM_IP_TARGET={warm} with ENABLE_PREFIX_DELEGATION"),
        format!(
            "whole prefixes of 16 are added: with {pods} pods a node holds {} prefixes, {} of {} \
             addresses unused",
            rest.prefixes(),
            rest.unused(),
            rest.ips()
        ),
        format!("WARM_IP_TARGET below 16: with 15 it holds {} prefixes", less.prefixes()),
    ))
}

fn warm_ip_beyond_max_pods(case: &Case) -> Option<Finding> {
    let (warm, pods_max) = (case.settings.warm_ip, case.pods_max);
    if warm <= pods_max {
        return None;
    }
    let rest = case.rest(0);
    Some(finding(
        Severity::Warning,
        "warm-ip-beyond-max-pods",
        format!("WARM_IP_TARGET={warm}, and kubelet takes {pods_max} pods"),
        format!(
            "an empty node holds {} addresses on {} ENIs, and every node as much as it can",
            rest.ips(),
            rest.enis()
        ),
        format!("a WARM_IP_TARGET of the pods that start within a few seconds, below {pods_max}"),
    ))
}

fn minimum_beyond_type(case: &Case) -> Option<Finding> {
    let minimum = case.settings.minimum_ip;
    let addresses = bound(case);
    if minimum <= addresses {
        return None;
    }
    Some(finding(
        Severity::Warning,
        "minimum-beyond-type",
        format!("MINIMUM_IP_TARGET={minimum}"),
        format!(
            "its ENIs take {addresses} addresses for pods: an empty node holds {} of them",
            case.rest(0).ips()
        ),
        format!("MINIMUM_IP_TARGET of the pods expected on a node, {addresses} at most"),
    ))
}

fn minimum_beyond_max_pods(case: &Case) -> Option<Finding> {
    let (minimum, pods_max) = (case.settings.minimum_ip, case.pods_max);
    if minimum <= pods_max || minimum > bound(case) {
        return None;
    }
    Some(finding(
        Severity::Warning,
        "minimum-beyond-max-pods",
        format!("MINIMUM_IP_TARGET={minimum}, and kubelet takes {pods_max} pods"),
        format!(
            "the pool stops growing at {pods_max} addresses, and an empty node holds {}",
            case.rest(0).ips()
        ),
        format!("MINIMUM_IP_TARGET of the pods expected on a node, {pods_max} at most"),
    ))
}

/// Addresses that the ENIs of the node can bring under `MAX_ENI`.
fn bound(case: &Case) -> u32 {
    let settings = &case.settings;
    let shape = Shape::of(case.kind, settings, case.pods_max);
    let enis = shape.enis_max.saturating_sub(u32::from(settings.custom_networking));
    enis * Rules { settings, shape }.addresses_per_eni()
}
