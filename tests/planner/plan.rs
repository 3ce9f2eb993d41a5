//! `cni-tuner plan`.

use serde_json::Value;

use super::{fails, prints, run};

fn plan(words: &[&str]) -> Value {
    let words = [&["plan", "--json"], words].concat();
    serde_json::from_str(&prints(&words)).expect("JSON")
}

fn compared<'a>(plan: &'a Value, what: &str) -> &'a Value {
    let all = plan["compared"].as_array().expect("a list");
    all.iter().find(|one| one["what"] == what).unwrap_or_else(|| panic!("{what} is compared"))
}

fn idle(score: &Value) -> f64 {
    score["idle_address_hours"].as_f64().expect("a number")
}

#[test]
fn the_environment_gets_every_address_for_under_half_of_the_defaults_idle() {
    let plan = plan(&[]);
    let best = &plan["recommendation"];
    assert_eq!(best["score"]["failed_adds"], 0);
    assert_eq!(best["score"]["pods_never"], 0);
    assert_eq!(best["score_with_headroom"]["failed_adds"], 0);
    let default = &compared(&plan, "default")["score"];
    assert!(idle(&best["score"]) * 2.0 < idle(default), "{best} against {default}");
    let one = &compared(&plan, "warm_ip_1")["score"];
    assert!(one["failed_adds"].as_u64() > Some(100), "{one}");
    assert!(one["wait_p99_s"].as_f64() > Some(60.0), "{one}");
}

#[test]
fn a_recommendation_holds_under_seeds_it_was_not_searched_with() {
    let first = plan(&[]);
    let settings = &first["recommendation"]["settings"];
    let in_force = [
        format!("WARM_IP_TARGET={}", settings["warm_ip_target"]),
        format!("MINIMUM_IP_TARGET={}", settings["minimum_ip_target"]),
    ];
    for seed in ["11", "21", "31"] {
        let words = ["--seed", seed, "--env", &in_force[0], "--env", &in_force[1]];
        let other = plan(&words);
        let score = &compared(&other, "in_force")["score"];
        assert_eq!(score["failed_adds"], 0, "seed {seed}");
    }
}

#[test]
fn the_same_question_has_the_same_answer_with_any_number_of_threads() {
    let trace = ["plan", "--generate", "spot:hours=1,nodes=10,pods=200,reclaimed_per_hour=12"];
    for format in [&[][..], &["--json"]] {
        let with = |threads| prints(&[&trace, format, &["--threads", threads]].concat());
        let one = with("1");
        assert_eq!(one, with("2"));
        assert_eq!(one, with("1"));
    }
}

#[test]
fn the_text_says_why_and_how() {
    let text = prints(&["plan"]);
    for part in [
        "Recommended: W=",
        "rests on ",
        "costs ",
        "prevents ",
        "at most 104 of them on a node at once",
        "kubectl set env daemonset/aws-node -n kube-system WARM_IP_TARGET=",
        "aws eks update-addon --cluster-name CLUSTER --addon-name vpc-cni",
        "{\"env\":{\"MINIMUM_IP_TARGET\":\"",
        "It forgets which addresses cool",
    ] {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
    let is_command = |line: &&str| line.contains("kubectl") || line.contains("--resolve-conflicts");
    let wide = text.lines().filter(|line| !is_command(line)).find(|line| line.len() > 100);
    assert_eq!(wide, None);
}

#[test]
fn the_setting_in_force_stays_if_nothing_is_better() {
    let best = plan(&[])["recommendation"]["settings"].clone();
    let warm_ip = format!("WARM_IP_TARGET={}", best["warm_ip_target"]);
    let minimum_ip = format!("MINIMUM_IP_TARGET={}", best["minimum_ip_target"]);
    let text = prints(&["plan", "--env", &warm_ip, "--env", &minimum_ip]);
    assert!(text.contains(", which is in force"), "{text}");
    assert!(text.contains("Nothing is to be changed."), "{text}");
    assert!(!text.contains("kubectl"), "{text}");
}

#[test]
fn limits_that_nothing_keeps_to_are_named_and_nothing_is_recommended() {
    // A /28 has 11 addresses for 30 pods.
    let trace = "environment:hours=0.2,pods=30";
    let output = run(&["plan", "--subnet", "/28", "--generate", trace]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(text.contains("No setting keeps to all limits. The closest"), "{text}");
    assert!(text.contains("failed ADDs (0 allowed)"), "{text}");
    assert!(!text.contains("Recommended"), "{text}");
    assert!(!text.contains("kubectl"), "{text}");
}

#[test]
fn json_without_a_recommendation_names_the_limits_broken() {
    let output = run(&["plan", "--json", "--subnet-free", "65500"]);
    assert_eq!(output.status.code(), Some(1));
    let plan: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(plan["recommendation"], Value::Null);
    let closest = &plan["closest"][0];
    assert_eq!(closest["breaches"][0]["limit"], "subnet_free", "{closest}");
}

#[test]
fn a_smaller_subnet_reserve_and_call_budget_are_kept_to() {
    let plan = plan(&["--subnet", "/24", "--subnet-free", "100", "--api-budget", "60"]);
    let score = &plan["recommendation"]["score"];
    assert!(score["subnet_free_min"].as_u64() >= Some(100), "{score}");
    assert!(score["calls_per_hour_max"].as_u64() <= Some(60), "{score}");
}

#[test]
fn prefixes_are_recommended_only_where_they_are_asked_for() {
    let modes = |words: &[&str]| -> Vec<String> {
        let plan = plan(words);
        let front = plan["front"].as_array().expect("a list").iter();
        front.map(|one| one["settings"]["mode"].as_str().expect("a mode").to_owned()).collect()
    };
    assert!(modes(&[]).iter().all(|mode| mode == "sip"));
    assert!(modes(&["--modes", "pd,pd"]).iter().any(|mode| mode == "pd"));
    let plan = plan(&["--modes", "pd"]);
    let best = &plan["recommendation"];
    assert_eq!(best["settings"]["mode"], "pd");
    let kubectl = best["apply"]["kubectl"].as_str().expect("a line");
    assert!(kubectl.contains("ENABLE_PREFIX_DELEGATION=true"), "{kubectl}");
}

#[test]
fn both_modes_are_tried_where_both_are_asked_for() {
    let words = ["--generate", "environment:hours=1"];
    let of = |modes| {
        let plan = plan(&[&words[..], &["--modes", modes]].concat());
        (idle(&plan["recommendation"]["score"]), plan["settings_tried"].as_u64())
    };
    let (both, sip, pd) = (of("pd,sip"), of("sip"), of("pd"));
    assert!(both.1 > sip.1, "{both:?} {sip:?}");
    assert!(both.0 <= sip.0.max(pd.0), "{both:?} {sip:?} {pd:?}");
}

#[test]
fn each_node_group_has_its_own_plan_and_the_saving_is_simulated() {
    let trace = "fleet:nodes=8,pods=400,hours=2";
    let text = prints(&["plan", "--each", "--generate", trace]);
    for part in ["node group", "One setting for all nodes", "Each its own, all groups side by side"]
    {
        assert!(text.contains(part), "{part:?} is missing in\n{text}");
    }
    let json = prints(&["plan", "--each", "--json", "--generate", trace]);
    let plan: Value = serde_json::from_str(&json).expect("JSON");
    let groups = plan["groups"].as_array().expect("a list");
    assert!(groups.len() > 1, "{plan}");
    assert_eq!(plan["split"]["failed_adds"], 0);
    let (split, one) = (idle(&plan["split"]), idle(&plan["together"]["recommendation"]["score"]));
    assert!(split <= one * 1.05, "{split} against {one}");
}

#[test]
fn a_part_of_the_trace_is_planned_alone() {
    let pods = |words: &[&str]| {
        let trace = ["--generate", "fleet:nodes=8,pods=400,hours=2"];
        let plan = plan(&[&trace, words].concat());
        plan["demand"]["fleet"]["pods"].as_u64().expect("a number")
    };
    let (all, busiest) = (pods(&[]), pods(&["--busiest"]));
    assert!(busiest < all && busiest * 5 >= all, "{busiest} of {all}");
}

#[test]
fn headroom_is_paid_for_in_idle_addresses() {
    let with = |percent| {
        let plan = plan(&["--headroom", percent, "--generate", "environment:hours=2"]);
        idle(&plan["recommendation"]["score"])
    };
    let (none, tenth, half) = (with("0"), with("10"), with("50"));
    assert!(none < tenth && tenth < half, "{none} {tenth} {half}");
}

#[test]
fn a_trace_without_demand_is_refused() {
    let trace = ["--generate", "environment:pods=1,daemons=0,hours=0.2,host_network=0"];
    prints(&[&["plan"], &trace[..]].concat());
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("hosts.jsonl");
    let lines = concat!(
        r#"{"time":0,"event":"join","node":"a","running":true,"instance_type":"m5.large"}"#,
        "\n",
        r#"{"time":1,"event":"add","node":"a","pod":"k/proxy","host_network":true}"#,
        "\n",
    );
    std::fs::write(&file, lines).expect("a file");
    let error = fails(&["plan", "--trace", file.to_str().expect("UTF-8")], 2);
    assert!(error.contains("nothing to plan for"), "{error}");
}

#[test]
fn what_cannot_be_asked_is_refused() {
    for (words, part) in [
        (&["--env", "WARM_IP_TARGTE=1"][..], "is WARM_IP_TARGET meant?"),
        (&["--env", "WARM_IP_TARGET=-1"], "a whole number"),
        (&["--env", "WARM_IP_TARGET=1", "--env", "WARM_IP_TARGET=2"], "set twice"),
        (&["--group", "nodes-a"], "the trace's node groups are environment"),
        (&["--only-type", "m5.large"], "the trace's instance types are c5.9xlarge"),
        (&["--group", "environment", "--only-type", "m5.large"], "no node is both"),
        (&["--slo-wait-p99", "2"], "not a duration"),
        (&["--slo-wait-p99", "-2s"], "not a duration"),
        (&["--api-budget", "-1"], "invalid"),
        (&["--subnet-free", "NaN"], "invalid"),
        (&["--headroom", "101"], "101 is not in 0..=100"),
        (&["--headroom", "-5"], "-5 is not in 0..=100"),
        (&["--modes", "ipv6"], "possible values: sip, pd"),
        (&["--threads", "0"], "number would be zero"),
        (&["--busiest", "--group", "a"], "cannot be used with"),
        (
            &["--generate", "environment:instance_type=m4.large,pods=5", "--modes", "pd"],
            "prefixes cannot be delegated to m4.large",
        ),
        (&["--trace", "no-such-file.jsonl"], "no-such-file.jsonl"),
    ] {
        let error = fails(&[&["plan"], words].concat(), 2);
        assert!(error.contains(part), "{words:?}: {error}");
    }
}
