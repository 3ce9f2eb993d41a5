//! `cni-tuner capacity`: how many nodes and pods fit, and what binds first.

use serde_json::Value;

use super::{fails, prints, run};

const SUBNET: [&str; 2] = ["--subnet", "10.0.0.0/16"];
const GROUP: [&str; 2] = ["--group", "web=c5.9xlarge,pods=10"];
const TIGHT: [&str; 4] = ["--warm-ip-target", "1", "--minimum-ip-target", "11"];

fn words<'a>(parts: &[&[&'a str]]) -> Vec<&'a str> {
    [&["capacity"], &parts.concat()[..]].concat()
}

fn json(parts: &[&[&str]]) -> Value {
    let output = run(&words(&[parts, &[&["--json"]]].concat()));
    let error = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("JSON; {error}"))
}

#[test]
fn a_16_under_the_default_and_under_a_tight_setting() {
    let wide = json(&[&SUBNET, &GROUP]);
    assert_eq!((&wide["total"]["nodes"], &wide["total"]["pods"]), (&1092.into(), &10_920.into()));
    assert_eq!(wide["groups"][0]["types"][0]["addresses"], 60);
    assert_eq!(wide["binds_first"], "subnet_addresses");
    let tight = json(&[&SUBNET, &GROUP, &TIGHT]);
    assert_eq!((&tight["total"]["nodes"], &tight["total"]["pods"]), (&5460.into(), &54_600.into()));
    assert_eq!(tight["groups"][0]["types"][0]["addresses"], 12);
}

#[test]
fn a_16_of_full_nodes_holds_about_sixty_thousand_pods() {
    let full = json(&[&SUBNET, &["--group", "web=c5.9xlarge"]]);
    assert_eq!((&full["total"]["nodes"], &full["total"]["pods"]), (&273.into(), &63_336.into()));
    assert_eq!(full["groups"][0]["types"][0]["pods_bound_by"], "enis");
}

#[test]
fn the_table_has_the_same_numbers() {
    let text = prints(&words(&[&SUBNET, &GROUP]));
    assert!(text.contains("Settings: the CNI's defaults (WARM_ENI_TARGET=1)"), "{text}");
    assert!(text.contains("Binds first: the subnets' addresses."), "{text}");
    let group = text.lines().find(|line| line.starts_with("web ")).expect("a line for the group");
    let columns: Vec<&str> = group.split_whitespace().collect();
    let expected =
        ["web", "c5.9xlarge", "1,092", "10", "10,920", "2", "60", "48", "65,520", "52,416"];
    assert_eq!(columns, expected);
}

#[test]
fn five_hundred_nodes_wait_for_attach_network_interface() {
    let scale_out = &json(&[&SUBNET, &GROUP, &["--scale-out", "500"]])["scale_out"];
    assert_eq!(scale_out["binds"], "AttachNetworkInterface");
    assert_eq!(scale_out["secs_at_least"], 90);
    let simulated_ms = scale_out["simulated"]["pools_filled_ms"].as_u64().expect("simulated");
    assert!(simulated_ms >= 90_000, "{scale_out}");
    let tight = &json(&[&SUBNET, &GROUP, &TIGHT, &["--scale-out", "500"]])["scale_out"];
    assert_eq!(tight["binds"], "AssignPrivateIpAddresses");
}

#[test]
fn an_account_with_larger_buckets_is_faster() {
    let buckets = ["--bucket", "AttachNetworkInterface=1000/50", "--scale-out", "500"];
    let scale_out = &json(&[&SUBNET, &GROUP, &buckets])["scale_out"];
    assert_ne!(scale_out["binds"], "AttachNetworkInterface");
    let half = ["--ec2-share", "50", "--scale-out", "500"];
    assert_eq!(json(&[&SUBNET, &GROUP, &half])["scale_out"]["secs_at_least"], 190);
}

#[test]
fn a_fleet_that_fits_ends_with_success_and_one_that_does_not_with_1() {
    let fits = ["--group", "web=c5.9xlarge,nodes=1092,pods=10"];
    let text = prints(&words(&[&SUBNET, &fits]));
    assert!(text.contains("Binds first: nothing; all that was asked for fits."), "{text}");
    for group in ["web=c5.9xlarge,nodes=1093,pods=10", "web=c5.9xlarge,nodes=1,pods=233"] {
        let output = run(&words(&[&SUBNET, &["--group", group]]));
        assert_eq!(output.status.code(), Some(1), "{group}");
        assert!(!output.stdout.is_empty(), "{group}");
    }
    let output = run(&words(&[&SUBNET, &GROUP, &["--scale-out", "1093"]]));
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn what_binds_pods_is_named() {
    for (group, flags, binds) in [
        ("web=c5.9xlarge,nodes=1,pods=100,max-pods=50", &[][..], "max_pods"),
        ("web=c5.9xlarge,nodes=1,pods=100", &["--max-eni", "2"], "enis"),
        ("web=c5.9xlarge,nodes=1,pods=100", &["--minimum-ip-target", "22"], "targets"),
        ("web=c5.9xlarge,nodes=1,pods=249", &["--mode", "pd"], "max_pods"),
    ] {
        let answer = json(&[&SUBNET, &["--group", group], flags]);
        assert_eq!(answer["binds_first"], binds, "{group} {flags:?}");
        assert_eq!(answer["fits"], false);
    }
}

#[test]
fn a_scattered_subnet_has_no_whole_prefixes() {
    let subnet = ["--subnet", "a=10.0.0.0/20,free=3000"];
    let answer = json(&[&subnet, &GROUP, &["--mode", "pd"]]);
    assert_eq!(answer["groups"][0]["nodes_bound_by"], "subnet_prefixes");
    // 187 whole /28s and eight addresses beside them: 90 nodes take two each, and six for their ENIs.
    assert_eq!(answer["total"]["nodes_unbroken"], 90);
    assert!(answer["total"]["nodes"].as_u64() < Some(5));
    let text = prints(&words(&[&SUBNET, &GROUP, &["--mode", "pd"]]));
    assert!(text.contains("by a subnet CIDR reservation"), "{text}");
}

#[test]
fn pods_per_node_holds_where_a_group_does_not_say() {
    let groups = ["--group", "a=m5.large", "--group", "b=m5.large,pods=3", "--pods-per-node", "7"];
    let answer = json(&[&SUBNET, &groups]);
    let pods = |at: usize| answer["groups"][at]["types"][0]["pods_per_node"].as_u64();
    assert_eq!((pods(0), pods(1)), (Some(7), Some(3)));
}

#[test]
fn the_same_question_has_the_same_bytes() {
    let question = words(&[&SUBNET, &GROUP, &["--scale-out", "200", "--mode", "pd"]]);
    assert_eq!(prints(&question), prints(&question));
}

#[test]
fn no_line_is_longer_than_100_columns() {
    let long = [
        "--subnet",
        "a-subnet-with-a-name=10.0.0.0/20",
        "--group",
        "a-group-with-a-name=c5.9xlarge,c4.8xlarge,m5.large,pods=16",
        "--warm-prefix-target",
        "0",
        "--mode",
        "pd",
        "--scale-out",
        "3",
    ];
    let output = run(&words(&[&long]));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(text.contains("It never comes to rest") && text.contains("Scale-out"), "{text}");
    assert_eq!(text.lines().find(|line| line.chars().count() > 100), None, "{text}");
}

#[test]
fn mistakes_say_what_would_be_right() {
    for (parts, part) in [
        (&[&SUBNET[..]][..], "--group"),
        (&[&GROUP], "--subnet"),
        (&[&["--subnet", "10.0.0.1/16"], &GROUP], "within 10.0.0.0/16"),
        (&[&["--subnet", "10.0.0.0/8"], &GROUP], "from /16 to /28"),
        (&[&["--subnet", "10.0.0.0/24,free=300"], &GROUP], "251 addresses to give"),
        (&[&SUBNET, &["--subnet", "a=10.0.9.0/24"], &GROUP], "overlap"),
        (&[&SUBNET, &["--group", "web=c5.8xlarge"]], "did you mean"),
        (&[&SUBNET, &["--group", "web=c5.9xlarge,nodes=0"]], "from 1 to 100000"),
        (&[&SUBNET, &GROUP, &GROUP], "web is given twice"),
        (&[&SUBNET, &GROUP, &["--pods-per-node", "-1"]], "-1 is not in"),
        (&[&SUBNET, &GROUP, &["--scale-out", "0"]], "0 is not in"),
        (&[&SUBNET, &GROUP, &["--warm-ip-target", "99999999999"]], "is not in"),
        (&[&SUBNET, &GROUP, &["--mode", "ipv6"]], "possible values: sip, pd"),
        (&[&SUBNET, &GROUP, &["--bucket", "RunInstances=1/1"]], "did you mean"),
    ] {
        let error = fails(&words(parts), 2);
        assert!(error.contains(part), "{parts:?}: {error}");
    }
}
