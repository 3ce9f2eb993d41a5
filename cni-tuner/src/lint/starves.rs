//! Settings under which pods wait for addresses, for a while or for ever, or a node never rests.

use crate::lint::burst::burst;
use crate::lint::{Case, Finding, Rule, Severity, finding};
use crate::model::pool::PREFIX_ADDRESSES;
use crate::model::rest::Cycle;
use crate::words::counted;

/// The pool loop's period, seconds.
const PASS_SECS: u32 = 5;
/// A burst that takes longer than this is worth a warning, seconds.
const BURST_SECS: u32 = 10;
/// Multiples of an ENI or a prefix that are tried for a cycle.
const MULTIPLES: u32 = 3;
/// Cooldowns from this on are called long, milliseconds.
const COOLDOWN_LONG_MS: u64 = 60_000;

pub(super) const RULES: [Rule; 8] = [
    minimum_without_warm,
    warm_eni_zero,
    warm_prefix_zero,
    pods_do_not_fit,
    max_eni_too_low,
    warm_ip_small,
    cooldown_zero,
    cooldown_long,
];

/// Case 1: a production incident (aws/amazon-vpc-cni-k8s #3685).
fn minimum_without_warm(case: &Case) -> Option<Finding> {
    let minimum = case.settings.minimum_ip;
    if minimum == 0 || case.settings.warm_ip != 0 {
        return None;
    }
    let capacity = case.capacity();
    let most = case.rest(capacity).assigned();
    if most >= capacity {
        return None;
    }
    let pods = case.pods.unwrap_or(capacity).min(capacity);
    let (severity, consequence) = if pods > most {
        let rest = format!("the pool never grows past {}", counted(most, "address"));
        (
            Severity::Error,
            format!("{most} of {} get an address, the others never: {rest}", counted(pods, "pod")),
        )
    } else {
        (
            Severity::Warning,
            format!("{} get an address, but none beyond the first {most}", counted(pods, "pod")),
        )
    };
    Some(finding(
        severity,
        "minimum-without-warm",
        format!("MINIMUM_IP_TARGET={minimum} without WARM_IP_TARGET"),
        consequence,
        format!("WARM_IP_TARGET=1 or more beside it, such as {}", advice(case)),
    ))
}

/// Case 2 (#1451).
fn warm_eni_zero(case: &Case) -> Option<Finding> {
    let settings = &case.settings;
    if settings.is_targeted() || case.is_prefix() || settings.warm_eni != 0 {
        return None;
    }
    let slots = case.kind.slots_per_eni();
    let (pods, cycle) = cycles(case, (1..=MULTIPLES).map(|enis| enis * slots))?;
    Some(finding(
        Severity::Error,
        "warm-eni-zero",
        "WARM_ENI_TARGET=0 without WARM_IP_TARGET",
        livelock(&pods, &cycle),
        format!("WARM_ENI_TARGET=1, or {}", advice(case)),
    ))
}

/// Case 2, with prefixes.
fn warm_prefix_zero(case: &Case) -> Option<Finding> {
    let settings = &case.settings;
    if settings.is_targeted() || !case.is_prefix() || settings.warm_prefix != 0 {
        return None;
    }
    let (pods, cycle) = cycles(case, (0..MULTIPLES).map(|count| count * PREFIX_ADDRESSES))?;
    let setting = match case.env.get("WARM_PREFIX_TARGET") {
        Some(_) => "WARM_PREFIX_TARGET=0 with ENABLE_PREFIX_DELEGATION",
        None => "WARM_PREFIX_TARGET is not set (ipamd's code then takes 0)",
    };
    let fix = "WARM_PREFIX_TARGET=1, as the chart has it";
    Some(finding(Severity::Error, "warm-prefix-zero", setting, livelock(&pods, &cycle), fix))
}

/// The numbers of pods with which the node never rests, and the cycle with the first of them. The
/// expected number comes first.
fn cycles(case: &Case, pods: impl Iterator<Item = u32>) -> Option<(Vec<u32>, Cycle)> {
    let capacity = case.capacity();
    let mut found: Vec<(u32, Cycle)> = Vec::new();
    for pods in case.pods.into_iter().chain(pods).filter(|pods| *pods <= capacity) {
        let is_new = found.iter().all(|(known, _)| *known != pods);
        let cycle = if is_new { case.rest(pods).cycle } else { None };
        found.extend(cycle.map(|cycle| (pods, cycle)));
    }
    let (_, cycle) = found.first()?.clone();
    Some((found.into_iter().map(|(pods, _)| pods).collect(), cycle))
}

fn livelock(pods: &[u32], cycle: &Cycle) -> String {
    let at: Vec<String> = pods.iter().map(u32::to_string).collect();
    let calls =
        cycle.calls_per_hour().map(|calls| format!("; {calls} EC2 calls an hour by each node"));
    format!("with {} pods it never rests: {cycle}{}", at.join(", "), calls.unwrap_or_default())
}

fn pods_do_not_fit(case: &Case) -> Option<Finding> {
    let pods = case.pods?;
    let capacity = case.capacity();
    if pods <= capacity {
        return None;
    }
    let addresses = case.addresses();
    let of_trunk = if case.settings.pod_eni { " (a slot is kept for the trunk ENI)" } else { "" };
    let fix = if case.is_prefix() || !case.kind.prefixes_supported {
        "fewer pods on a node, or a larger type"
    } else {
        "fewer pods on a node, a larger type, or ENABLE_PREFIX_DELEGATION=true"
    };
    Some(finding(
        Severity::Error,
        "pods-do-not-fit",
        format!("{} with an address on each node", counted(pods, "pod")),
        format!(
            "{capacity} fit: its ENIs take {addresses} addresses for pods{of_trunk}, kubelet takes \
             {} pods",
            case.pods_max
        ),
        fix,
    ))
}

fn max_eni_too_low(case: &Case) -> Option<Finding> {
    let max = case.settings.enis_max?;
    let pods = case.pods.unwrap_or(case.capacity()).min(case.capacity());
    let rest = case.rest(pods);
    let is_bound = rest.enis() >= max && max < case.kind.enis_max;
    if rest.unplaced == 0 || !is_bound {
        return None;
    }
    let severity = if case.pods.is_some() { Severity::Error } else { Severity::Note };
    let per_eni = case.kind.pod_addresses_per_eni(case.settings.mode);
    let needed = pods.div_ceil(per_eni) + u32::from(case.settings.custom_networking);
    Some(finding(
        severity,
        "max-eni-too-low",
        format!("MAX_ENI={max}"),
        format!("{} of {} get an address, the others never", rest.assigned(), counted(pods, "pod")),
        format!("MAX_ENI={needed}, or none: the type allows {}", case.kind.enis_max),
    ))
}

/// Case 4: about `W` addresses each pass, as the rate says and as the simulator finds it.
fn warm_ip_small(case: &Case) -> Option<Finding> {
    let warm = case.settings.warm_ip;
    if warm == 0 {
        return None;
    }
    let pods = case.pods_or_example();
    let there = case.rest(0).ips();
    let whole = warm.div_ceil(PREFIX_ADDRESSES).saturating_mul(PREFIX_ADDRESSES);
    let per_pass = if case.is_prefix() { whole } else { warm };
    let passes = pods.saturating_sub(there).div_ceil(per_pass);
    let secs = passes * PASS_SECS;
    if secs <= BURST_SECS {
        return None;
    }
    let advised = case.advised(pods);
    let (met, better) = (burst(case, &case.settings, pods)?, burst(case, &advised, pods)?);
    let last = match met.pods_never {
        0 => format!("the last gets its address after {} s", met.waits.max_ms / 1000),
        never => format!("{never} have no address after an hour"),
    };
    Some(finding(
        Severity::Warning,
        "warm-ip-small",
        format!("WARM_IP_TARGET={warm} MINIMUM_IP_TARGET={}", case.settings.minimum_ip),
        format!(
            "an empty node holds {} and gains about {per_pass} in each pass of {PASS_SECS} s, \
             {secs} s for {pods} pods started at once; simulated with EC2's usual speed, {last} and {} \
             tries fail",
            counted(there, "address"),
            met.failed_adds
        ),
        format!(
            "{}: {} tries fail, the last pod waits {} s",
            advice(case),
            better.failed_adds,
            better.waits.max_ms / 1000
        ),
    ))
}

fn cooldown_zero(case: &Case) -> Option<Finding> {
    (case.settings.cooldown_ms == 0).then(|| {
        finding(
            Severity::Warning,
            "cooldown-zero",
            "IP_COOLDOWN_PERIOD=0",
            "an address is given to the next pod 0 s after the last one left it: other nodes' \
             kube-proxy may still send that pod's connections there",
            "IP_COOLDOWN_PERIOD=30, the default, or at least what kube-proxy needs to follow",
        )
    })
}

/// Case 3: cooling addresses count as available (#2896).
fn cooldown_long(case: &Case) -> Option<Finding> {
    let settings = &case.settings;
    let (warm, secs) = (settings.warm_ip, settings.cooldown_ms / 1000);
    if warm == 0 || settings.cooldown_ms < COOLDOWN_LONG_MS {
        return None;
    }
    Some(finding(
        Severity::Warning,
        "cooldown-long",
        format!("IP_COOLDOWN_PERIOD={secs} with WARM_IP_TARGET={warm}"),
        format!(
            "addresses that cool down count as available: after {warm} pods have ended, the pool \
             looks full for {secs} s while there may be no address to give"
        ),
        "IP_COOLDOWN_PERIOD=30, or a WARM_IP_TARGET above the pods that end within the cooldown",
    ))
}

/// `MINIMUM_IP_TARGET=34 WARM_IP_TARGET=2` for the pods expected.
fn advice(case: &Case) -> String {
    let pods = case.pods_or_example();
    let advised = case.advised(pods);
    format!(
        "MINIMUM_IP_TARGET={} WARM_IP_TARGET={} for {pods} pods",
        advised.minimum_ip, advised.warm_ip
    )
}
