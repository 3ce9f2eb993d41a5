//! `cni-tuner simulate`.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{fails, prints, run};

/// The program in a folder of its own.
fn in_folder(folder: &Path, words: &[&str]) -> std::process::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cni-tuner"));
    command.arg("simulate").args(words).current_dir(folder).output().expect("the program starts")
}

fn prints_in(folder: &Path, words: &[&str]) -> String {
    let output = in_folder(folder, words);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn names_in(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

fn json(words: &[&str]) -> serde_json::Value {
    let all = ["simulate", "--json"].iter().chain(words).copied().collect::<Vec<_>>();
    serde_json::from_str(&prints(&all)).expect("JSON")
}

/// A figure of each of the settings.
fn figures(found: &serde_json::Value, pointer: &str) -> Vec<u64> {
    let settings = found["settings"].as_array().expect("settings");
    let figure = |run: &serde_json::Value| run.pointer(pointer).and_then(|value| value.as_u64());
    settings.iter().map(|run| figure(run).expect("a number")).collect()
}

#[test]
fn a_burst_of_a_hundred_pods_is_told_under_four_settings() {
    let found = json(&[]);
    let labels: Vec<&str> = found["settings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| run["label"].as_str().unwrap())
        .collect();
    assert_eq!((labels[0], labels[1], labels[3]), ("default", "W=1", "recommended"));
    let failed = figures(&found, "/fleet/failed_adds");
    let idle = figures(&found, "/fleet/idle_address_ms");
    let waits = figures(&found, "/fleet/wait_ms/p99");
    assert!(failed[1] >= 100 && waits[1] > 60_000, "W=1 starves: {failed:?} {waits:?}");
    assert_eq!(failed[3], 0, "the recommendation fails nobody");
    assert!(idle[3] * 2 < idle[0], "and holds under half of the default's idle: {idle:?}");
    assert_eq!(figures(&found, "/fleet/pods_never"), [0; 4]);
    let minimum = &found["settings"][2]["env"]["MINIMUM_IP_TARGET"];
    let most = figures(&found, "/fleet/used_max")[0];
    assert_eq!(minimum.as_str().unwrap(), most.to_string(), "as many as were expected");
}

#[test]
fn without_arguments_there_is_a_table_and_a_report() {
    let folder = tempfile::tempdir().unwrap();
    let text = prints_in(folder.path(), &[]);
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    for word in [
        "failed ADDs",
        "wait p99",
        "idle address-hours",
        "EC2 calls",
        "Only recommended has no failed ADD",
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert!(text.ends_with("\nreport: cni-tuner-report.html\n"), "{text}");
    assert_eq!(names_in(folder.path()), ["cni-tuner-report.html"]);
    let page = fs::read_to_string(folder.path().join("cni-tuner-report.html")).unwrap();
    assert_eq!(page.matches("<svg ").count(), 4);
    assert!(!page.contains("<script"));
}

#[test]
fn every_form_goes_to_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let text = prints_in(
        folder.path(),
        &[
            "--setting=default",
            "--html=a.html",
            "--json=b.json",
            "--csv=c.csv",
            "--nodes-csv=d.csv",
            "--series-csv=e.csv",
            "--svg=f.svg",
            "--step=10m",
        ],
    );
    assert_eq!(names_in(folder.path()), ["a.html", "b.json", "c.csv", "d.csv", "e.csv", "f.svg"]);
    assert!(text.contains("\nCSV over time: e.csv\n"), "{text}");
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    let found: serde_json::Value = serde_json::from_str(&read("b.json")).unwrap();
    assert_eq!(found["world"]["series_step_ms"], 600_000);
    assert_eq!(read("c.csv").lines().count(), 2);
    assert_eq!(read("d.csv").lines().count(), 2);
    assert_eq!(read("e.csv").lines().count(), 1 + 145, "a day in steps of ten minutes");
    assert!(read("f.svg").starts_with("<svg "));
}

#[test]
fn the_same_seed_gives_the_same_bytes_with_any_number_of_threads() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let forms = ["--json=a.json", "--series-csv=b.csv", "--seed=7"];
    let texts = folders.each_ref().map(|folder| {
        let threads =
            if folder.path() == folders[0].path() { "--threads=1" } else { "--threads=2" };
        prints_in(folder.path(), &[&[threads][..], &forms].concat())
    });
    assert_eq!(texts[0], texts[1]);
    for name in ["a.json", "b.csv", "cni-tuner-report.html"] {
        let [one, two] =
            folders.each_ref().map(|folder| fs::read(folder.path().join(name)).unwrap());
        assert!(one == two, "{name} differs");
    }
}

#[test]
fn settings_are_run_in_the_order_they_are_given() {
    let found = json(&[
        "--setting=ours:WARM_IP_TARGET=2,MINIMUM_IP_TARGET=12",
        "--setting=default",
        "--setting=WARM_ENI_TARGET=2",
    ]);
    let labels: Vec<&str> = found["settings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| run["label"].as_str().unwrap())
        .collect();
    assert_eq!(labels, ["ours", "default", "WE=2"]);
    assert_eq!(
        found["settings"][0]["env"],
        serde_json::json!({ "WARM_IP_TARGET": "2", "MINIMUM_IP_TARGET": "12" }),
    );
    let held = figures(&found, "/fleet/held_max");
    assert!(held[2] > held[1], "one more ENI is kept warm: {held:?}");
}

#[test]
fn one_setting_is_a_list() {
    let text = prints(&["simulate", "--no-html", "--setting=WARM_IP_TARGET=5"]);
    assert!(text.ends_with("\n W=5  WARM_IP_TARGET=5\n"), "{text}");
    let text = prints(&["simulate", "--no-html", "--setting=default", "--per-node"]);
    assert!(text.contains("default, by node:\n"), "{text}");
}

#[test]
fn what_is_around_the_nodes_counts() {
    let setting = "--setting=WARM_IP_TARGET=1";
    let waits =
        |words: &[&str]| figures(&json(&[&[setting], words].concat()), "/fleet/wait_ms/p99")[0];
    let usual = waits(&[]);
    let slow = waits(&["--latency=AssignPrivateIpAddresses=20s:30s"]);
    assert!(slow > usual * 2, "{slow} against {usual}");
    let small = json(&["--setting=default", "--subnet=tiny=/26"]);
    assert_eq!(small["settings"][0]["subnets"][0]["name"], "tiny");
    assert!(figures(&small, "/fleet/pods_never")[0] > 0, "59 addresses are too few");
}

#[test]
fn names_of_a_trace_stay_names() {
    let folder = tempfile::tempdir().unwrap();
    let hostile = "<script>alert(1),&amp;'";
    let file = "<script>\n\u{1b}[31m\".jsonl";
    let line = |fields: serde_json::Value| format!("{fields}\n");
    let trace = [
        line(serde_json::json!({
            "time": 0, "event": "join", "node": hostile, "running": true,
            "instance_type": "m5.large",
        })),
        line(serde_json::json!({ "time": 60, "event": "add", "node": hostile, "pod": hostile })),
        line(serde_json::json!({ "time": 600, "event": "end" })),
    ];
    fs::write(folder.path().join(file), trace.concat()).unwrap();
    let text = prints_in(
        folder.path(),
        &[
            &format!("--trace={file}"),
            "--setting=default",
            "--per-node",
            "--nodes-csv=nodes.csv",
            "--json=all.json",
        ],
    );
    assert!(!text.contains('\u{1b}') && text.contains("<script>"), "{text}");
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    assert!(!read("cni-tuner-report.html").contains("<script"));
    let found: serde_json::Value = serde_json::from_str(&read("all.json")).unwrap();
    assert_eq!(found["settings"][0]["nodes"][0]["name"], hostile);
    assert!(found["trace"]["name"].as_str().unwrap().contains(file));
    let nodes = read("nodes.csv");
    let mut nodes = csv::Reader::from_reader(nodes.as_bytes());
    let first = nodes.records().next().unwrap().unwrap();
    assert_eq!(&first[1], hostile);
}

#[test]
fn a_node_in_a_subnet_that_is_not_there_is_a_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let trace = "time,event,node,instance_type,subnet\n0,join,n,m5.large,a\n60,end,,,\n";
    fs::write(folder.path().join("t.csv"), trace).unwrap();
    let usual = prints_in(folder.path(), &["--trace=t.csv", "--setting=default", "--json"]);
    let usual: serde_json::Value = serde_json::from_str(&usual).unwrap();
    assert_eq!(usual["world"]["subnets"], serde_json::json!(["a /16"]));
    let output = in_folder(folder.path(), &["--trace=t.csv", "--subnet=b=/20"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("\"n\" of the trace is in subnet \"a\", and --subnet gives only b"));
}

#[test]
fn mistakes_are_named_before_anything_is_run() {
    let cases: [(&[&str], &str); 14] = [
        (&["--setting=WARM_IP_TARGT=1"], "is WARM_IP_TARGET meant?"),
        (&["--setting=WARM_IP_TARGET=-1"], "--setting WARM_IP_TARGET=-1"),
        (&["--setting=default", "--setting=default"], "two are called \"default\""),
        (&["--setting-for=none:WARM_IP_TARGET=1"], "the trace has no group \"none\""),
        (&["--setting-for=WARM_IP_TARGET=1"], "no \":\" after the group's name"),
        (&["--html=none/a.html"], "--html: cannot write none/a.html"),
        (&["--csv=a", "--html=a"], "--csv and --html name the same file"),
        (&["--html=a.html", "--no-html"], "cannot be used with"),
        (&["--threads=0"], "0 is not in 1..=1024"),
        (&["--seed", "-1"], "invalid value '-1' for '--seed <N>'"),
        (&["--kubelet-retry", "-2s"], "\"-2s\" is not a duration"),
        (&["--step=0s"], "give at least 1ms"),
        (&["--subnet=/8"], "from /16 to /28"),
        (&["--trace=none.jsonl"], "none.jsonl"),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (words, part) in cases {
        let output = in_folder(folder.path(), words);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {error}");
        assert!(error.contains(part), "{words:?}: {error}");
        assert!(output.stdout.is_empty());
    }
    assert_eq!(names_in(folder.path()), Vec::<String>::new(), "nothing is left behind");
    assert!(fails(&["simulate", "--ec2-share=101"], 2).contains("101 is not in 1..=100"));
}

#[test]
fn a_reader_that_leaves_is_no_mistake() {
    let shell = format!("'{}' simulate --no-html | head -n 1", env!("CARGO_BIN_EXE_cni-tuner"));
    let output = Command::new("sh").args(["-c", &shell]).output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(run(&["simulate", "--no-html", "--quiet"]).status.success());
}

#[test]
fn a_result_never_takes_the_place_of_the_trace() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("day.jsonl");
    prints(&["trace", "generate", "environment:pods=5,hours=1", "--out", trace.to_str().unwrap()]);
    let before = fs::read_to_string(&trace).unwrap();
    let output = in_folder(folder.path(), &["--trace", "day.jsonl", "--json", "./day.jsonl"]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("--json would replace the trace day.jsonl; name another"), "{said}");
    assert_eq!(fs::read_to_string(&trace).unwrap(), before);
    assert_eq!(names_in(folder.path()), ["day.jsonl"]);
}

#[test]
fn a_recommendation_that_groups_do_not_follow_says_so() {
    let text = prints(&[
        "simulate",
        "--no-html",
        "--setting",
        "recommended",
        "--setting-for",
        "environment:WARM_IP_TARGET=1",
    ]);
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("(searched as if it held for every group)"), "{text}");
    assert!(!words.contains("10% more pods"), "{text}");
}
