//! Each finding where it belongs, and not where it does not.

use super::*;
use crate::model::limits::find;

fn kind(name: &str) -> &'static InstanceType {
    find(name).unwrap_or_else(|| panic!("{name} is in the table"))
}

fn purpose(kinds: &[&str], pods: u32) -> Purpose {
    let kinds = kinds.iter().map(|name| kind(name)).collect();
    Purpose { kinds, pods: Some(pods).filter(|pods| *pods > 0), pods_max: None, groups: Vec::new() }
}

/// The chart's values with these variables on top.
fn source(env: &str) -> Source {
    let mut source = Source { name: "test".to_owned(), ..Source::chart() };
    for word in env.split_whitespace() {
        let (name, value) = word.split_once('=').expect("NAME=VALUE");
        source.set(name, value);
    }
    source
}

fn look(env: &str, types: &[&str], pods: u32) -> Vec<Finding> {
    lint(&[source(env)], &purpose(types, pods))
}

/// The finding of that id on a c5.9xlarge with so many pods, 0 for no number; what it says.
fn check(env: &str, pods: u32, id: &str, severity: Severity, says: &str) {
    check_on("c5.9xlarge", env, pods, id, severity, says);
}

fn check_on(of: &str, env: &str, pods: u32, id: &str, severity: Severity, says: &str) {
    let findings = look(env, &[of], pods);
    let finding = findings.iter().find(|finding| finding.id == id);
    let finding = finding.unwrap_or_else(|| panic!("{env}: no {id} in {findings:#?}"));
    assert_eq!(finding.severity, severity, "{finding:?}");
    assert!(finding.consequence.contains(says), "{finding:?}");
    assert!(!finding.fix.is_empty(), "{finding:?}");
}

/// No finding of that id.
fn check_none(env: &str, pods: u32, id: &str) {
    let findings = look(env, &["c5.9xlarge"], pods);
    assert!(findings.iter().all(|finding| finding.id != id), "{env}: {findings:#?}");
}

const PD: &str = "ENABLE_PREFIX_DELEGATION=true";

#[test]
fn the_trunks_slot_gives_pods_no_addresses() {
    let says = "18 fit: its ENIs take 18 addresses for pods (a slot is kept for the trunk ENI)";
    let (env, id) = ("ENABLE_POD_ENI=true", "pods-do-not-fit");
    check_on("m5.large", env, 25, id, Severity::Error, says);
    check_none(env, 203, id);
}

#[test]
fn max_eni_bounds_what_a_group_is_compared_by() {
    let groups =
        vec![Group { name: "a".to_owned(), kinds: vec![kind("m5.24xlarge"), kind("c5.9xlarge")] }];
    let found = lint(&[source("MAX_ENI=2")], &Purpose { groups, ..purpose(&["c5.9xlarge"], 0) });
    let of_group = found.iter().find(|finding| finding.id == "mixed-node-group");
    let says = &of_group.expect("a finding").consequence;
    assert!(says.contains("addresses for 98 pods; a c5.9xlarge has 58: up to 40 pods"), "{says}");
}

#[test]
fn a_huge_warm_target_with_prefixes_is_a_finding() {
    let env = &format!("{PD} WARM_IP_TARGET=4294967295");
    check(env, 0, "warm-ip-beyond-max-pods", Severity::Warning, "an empty node holds 464");
}

#[test]
fn a_fix_is_something_that_can_be_written() {
    let found = look("MAX_ENI=0", &["c5.9xlarge"], 0);
    assert_eq!(found[0].fix, "the value that was meant, or no MAX_ENI at all");
}

// Case 1.
#[test]
fn a_minimum_without_a_warm_target_starves() {
    let env = &format!("{PD} MINIMUM_IP_TARGET=22");
    let says = "32 of 35 pods get an address";
    check(env, 35, "minimum-without-warm", Severity::Error, says);
    check(env, 20, "minimum-without-warm", Severity::Warning, "none beyond the first 32");
    check("MINIMUM_IP_TARGET=10", 0, "minimum-without-warm", Severity::Error, "10 of 232 pods");
    check_none("MINIMUM_IP_TARGET=10 WARM_IP_TARGET=1", 30, "minimum-without-warm");
    check_none("MINIMUM_IP_TARGET=300", 30, "minimum-without-warm");
}

// Case 2.
#[test]
fn no_warm_eni_and_no_warm_prefix_never_rest() {
    check(
        "WARM_ENI_TARGET=0",
        0,
        "warm-eni-zero",
        Severity::Error,
        "with 29, 58, 87 pods it never rests: every 65 s",
    );
    check("WARM_ENI_TARGET=0", 116, "warm-eni-zero", Severity::Error, "with 116, 29, 58, 87 pods");
    check_on("t3.nano", "WARM_ENI_TARGET=0", 0, "warm-eni-zero", Severity::Error, "with 1 pods");
    check_none("WARM_ENI_TARGET=0 WARM_IP_TARGET=2", 0, "warm-eni-zero");
    let zero = &format!("{PD} WARM_PREFIX_TARGET=0");
    check(
        zero,
        0,
        "warm-prefix-zero",
        Severity::Error,
        "with 0, 16, 32 pods it never rests: every 35 s",
    );
    check_none(PD, 0, "warm-prefix-zero");
}

#[test]
fn a_manifest_without_warm_prefix_target_has_ipamds_0() {
    let mut manifest = source(PD);
    manifest.is_on_top_of_the_chart = false;
    let findings = lint(&[manifest], &purpose(&["c5.9xlarge"], 0));
    assert_eq!(findings[0].id, "warm-prefix-zero");
    assert_eq!(findings[0].setting, "WARM_PREFIX_TARGET is not set (ipamd's code then takes 0)");
}

// Case 4.
#[test]
fn a_small_warm_target_makes_a_burst_wait() {
    let says = "holds 1 address and gains about 1 in each pass of 5 s, 495 s for 100 pods";
    check("WARM_IP_TARGET=1", 100, "warm-ip-small", Severity::Warning, says);
    let env = &format!("{PD} WARM_IP_TARGET=1");
    let says = "holds 16 addresses and gains about 16 in each pass of 5 s, 30 s for 100 pods";
    check(env, 100, "warm-ip-small", Severity::Warning, says);
    check_none("WARM_IP_TARGET=1 MINIMUM_IP_TARGET=101", 100, "warm-ip-small");
    check_none("WARM_IP_TARGET=40", 100, "warm-ip-small");
}

#[test]
fn pods_that_do_not_fit_are_an_error() {
    check("", 300, "pods-do-not-fit", Severity::Error, "232 fit");
    check_none("", 232, "pods-do-not-fit");
    check("MAX_ENI=2", 70, "max-eni-too-low", Severity::Error, "58 of 70 pods");
    check("MAX_ENI=2", 0, "max-eni-too-low", Severity::Note, "58 of 232 pods");
    check_none("MAX_ENI=3", 70, "max-eni-too-low");
    check("MAX_ENI=8", 0, "max-eni-without-effect", Severity::Note, "allows 8 ENIs");
}

// Case 3.
#[test]
fn cooldowns_of_0_and_of_minutes_are_told() {
    check("IP_COOLDOWN_PERIOD=0", 0, "cooldown-zero", Severity::Warning, "0 s after");
    let env = "IP_COOLDOWN_PERIOD=300 WARM_IP_TARGET=3";
    check(
        env,
        0,
        "cooldown-long",
        Severity::Warning,
        "after 3 pods have ended, the pool looks full for 300 s",
    );
    check_none("IP_COOLDOWN_PERIOD=300", 0, "cooldown-long");
    check_none("WARM_IP_TARGET=3", 0, "cooldown-long");
}

#[test]
fn waste_is_told_in_addresses() {
    let says = "with 10 pods a node holds 58 addresses on 2 ENIs, 48 of them unused";
    check("", 10, "warm-eni-waste", Severity::Warning, says);
    check_none("", 0, "warm-eni-waste");
    check_none("WARM_IP_TARGET=2 MINIMUM_IP_TARGET=12", 10, "warm-eni-waste");
    let says = "holds 110 addresses on 4 ENIs, 100 of them unused";
    check("WARM_IP_TARGET=100", 10, "targets-waste", Severity::Warning, says);
    check_none("WARM_IP_TARGET=30", 10, "targets-waste");
    check_none("WARM_IP_TARGET=100", 110, "targets-waste");
    let env = &format!("{PD} WARM_IP_TARGET=20");
    check(
        env,
        30,
        "warm-ip-whole-prefix",
        Severity::Warning,
        "holds 4 prefixes, 34 of 64 addresses unused",
    );
    check_none(&format!("{PD} WARM_IP_TARGET=15"), 30, "warm-ip-whole-prefix");
    check(
        "WARM_IP_TARGET=5000",
        0,
        "warm-ip-beyond-max-pods",
        Severity::Warning,
        "holds 232 addresses on 8 ENIs",
    );
    check(
        "MINIMUM_IP_TARGET=233 WARM_IP_TARGET=1",
        0,
        "minimum-beyond-type",
        Severity::Warning,
        "take 232 addresses",
    );
    let env = &format!("{PD} MINIMUM_IP_TARGET=300 WARM_IP_TARGET=1");
    check(env, 0, "minimum-beyond-max-pods", Severity::Warning, "holds 304");
}

#[test]
fn what_has_no_effect_is_told() {
    check(
        "WARM_ENI_TARGET=4 WARM_IP_TARGET=2",
        0,
        "warm-eni-ignored",
        Severity::Warning,
        "holds 32 addresses, with WARM_ENI_TARGET=1 32",
    );
    check(
        &format!("WARM_ENI_TARGET=4 {PD}"),
        0,
        "warm-eni-ignored",
        Severity::Warning,
        "WARM_PREFIX_TARGET counts",
    );
    check_none("WARM_ENI_TARGET=1 WARM_IP_TARGET=2", 0, "warm-eni-ignored");
    check("WARM_PREFIX_TARGET=3", 0, "warm-prefix-ignored", Severity::Note, "0 prefixes");
    let env = &format!("{PD} WARM_IP_TARGET=2");
    check(
        env,
        0,
        "warm-prefix-holds-enis",
        Severity::Note,
        "1 prefix entirely free (16 addresses)",
    );
    check_none(&format!("{env} WARM_PREFIX_TARGET=0"), 0, "warm-prefix-holds-enis");
    check_on(
        "m4.large",
        PD,
        0,
        "prefixes-unsupported",
        Severity::Warning,
        "2 ENIs x 9 = 18 addresses",
    );
    check(
        "AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG=true",
        0,
        "custom-networking",
        Severity::Note,
        "203 addresses instead of 232, max pods 205 instead of 234",
    );
    check(
        "ENABLE_IPv6=true WARM_IP_TARGET=2",
        0,
        "ipv6-ignores-targets",
        Severity::Warning,
        "WARM_IP_TARGET: without effect",
    );
    check_none("ENABLE_IPv6=true MINIMUM_IP_TARGET=2", 0, "minimum-without-warm");
    check_on(
        "p5.48xlarge",
        "ENABLE_MULTI_NIC=true",
        0,
        "multi-nic-targets",
        Severity::Note,
        "31 more network cards",
    );
    check_none("ENABLE_MULTI_NIC=true", 0, "multi-nic-targets");
}

#[test]
fn misspelt_and_invalid_variables_are_errors() {
    let of = |env: &str| {
        let finding = look(env, &["c5.9xlarge"], 0).remove(0);
        (finding.id, finding.severity, finding.fix)
    };
    let (id, severity, fix) = of("WARM_IP_TRAGET=2");
    assert_eq!((id, severity), ("unknown-variable", Severity::Error));
    assert_eq!(fix, "WARM_IP_TARGET, which is probably meant");
    assert_eq!(of("WARM_POOL_SIZE=2").0, "unknown-variable");
    assert_eq!(of("WARM_IP_TARGET=two").2, "WARM_IP_TARGET=0, or the value that was meant");
    check("MAX_ENI=0", 0, "invalid-value", Severity::Error, "takes the instance type's limit");
    check_none("AWS_VPC_K8S_CNI_LOGLEVEL=DEBUG MY_OWN=1 VPC_ID=x", 0, "unknown-variable");
}

#[test]
fn groups_of_unequal_types_are_told() {
    let of = |names: &[&str], env: &str| {
        let kinds = names.iter().map(|name| kind(name)).collect();
        let groups = vec![Group { name: "workers".to_owned(), kinds }];
        let purpose = Purpose { groups, ..purpose(&["c5.9xlarge"], 0) };
        let findings = lint(&[source(env)], &purpose);
        findings.into_iter().find(|finding| finding.id == "mixed-node-group")
    };
    let mixed = of(&["m5.4xlarge", "t3.medium"], "").expect("a finding");
    assert_eq!(mixed.severity, Severity::Error);
    assert!(
        mixed.consequence.contains("for 232 pods; a t3.medium has 15: up to 217 pods"),
        "{mixed:?}"
    );
    let mixed = of(&["t3.medium", "m5.4xlarge"], "").expect("a finding");
    assert_eq!(mixed.severity, Severity::Warning);
    assert_eq!(of(&["m5.4xlarge", "c5.9xlarge"], ""), None);
    assert_eq!(of(&["m5.4xlarge", "t3.medium"], PD), None, "both are capped at 110");
    assert_eq!(of(&["m5.4xlarge"], ""), None);
}

#[test]
fn what_cannot_be_known_is_a_note() {
    let mut source = source("MINIMUM_IP_TARGET=10");
    source.unknowable.insert("WARM_IP_TARGET".to_owned(), "fieldRef".to_owned());
    let findings = lint(&[source], &purpose(&["c5.9xlarge"], 30));
    assert!(findings.iter().any(|finding| finding.id == "value-not-known"), "{findings:#?}");
    assert!(findings.iter().all(|finding| finding.severity == Severity::Note), "{findings:#?}");
}

#[test]
fn variables_from_elsewhere_leave_notes_only() {
    let text = r#"
kind: Pod
spec:
  containers:
    - name: aws-node
      envFrom:
        - configMapRef: {name: warm-targets}
      env:
        - {name: MINIMUM_IP_TARGET, value: "10"}
"#;
    let sources = Source::read("pod.yaml", text).expect("a pod");
    assert_eq!(sources[0].elsewhere, ["configMapRef warm-targets"]);
    let findings = lint(&sources, &purpose(&["c5.9xlarge"], 30));
    assert!(
        findings.iter().any(|finding| finding.setting.contains("warm-targets")),
        "{findings:#?}"
    );
    assert!(findings.iter().all(|finding| finding.severity == Severity::Note), "{findings:#?}");
}

#[test]
fn types_that_fare_alike_are_told_together() {
    let findings = look("WARM_ENI_TARGET=0", &["c5.9xlarge", "m5.4xlarge", "c5.large"], 0);
    let types: Vec<_> = findings.iter().map(|finding| finding.instance_types.clone()).collect();
    assert_eq!(types, [vec!["c5.9xlarge", "m5.4xlarge"], vec!["c5.large"]]);
}

#[test]
fn good_settings_have_no_findings() {
    assert_eq!(look("WARM_IP_TARGET=2 MINIMUM_IP_TARGET=12", &["c5.9xlarge"], 10), []);
    assert_eq!(look(PD, &["m5.4xlarge"], 100), []);
}

#[test]
fn the_worst_comes_first() {
    let findings = look("MAX_ENI=8 WARM_ENI_TARGET=0 IP_COOLDOWN_PERIOD=0", &["c5.9xlarge"], 0);
    let severities: Vec<Severity> = findings.iter().map(|finding| finding.severity).collect();
    assert_eq!(severities, [Severity::Error, Severity::Warning, Severity::Note]);
}
