//! `cni-tuner limits`: what instance types allow.

use std::io::Read as _;
use std::process::{Command, Stdio};

use super::{fails, prints};

fn json(words: &[&str]) -> serde_json::Value {
    let words = [&["limits", "--json"], words].concat();
    serde_json::from_str(&prints(&words)).expect("JSON")
}

/// The words of the line that begins with the type's name.
fn row(words: &[&str], name: &str) -> Vec<String> {
    let text = prints(words);
    let line = text.lines().find(|line| line.split(' ').next() == Some(name));
    let line = line.unwrap_or_else(|| panic!("no line for {name}: {text}"));
    line.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn an_m5_4xlarge_is_as_published() {
    let columns = row(&["limits", "m5.4xlarge"], "m5.4xlarge");
    let expected =
        ["m5.4xlarge", "16", "8", "30", "232", "234", "110", "205", "110", "nitro", "1", "54"];
    assert_eq!(columns, expected);
}

#[test]
fn json_has_what_the_table_leaves_out() {
    let types = json(&["m5.4xlarge", "c5.9xlarge"]);
    let m5 = &types[0];
    assert_eq!(m5["instance_type"], "m5.4xlarge");
    assert_eq!((&m5["enis"], &m5["addresses_per_eni"]), (&8.into(), &30.into()));
    assert_eq!((&m5["pod_addresses"], &m5["max_pods"]), (&232.into(), &234.into()));
    assert_eq!(
        (&m5["max_pods_prefix"], &m5["max_pods_prefix_uncapped"]),
        (&110.into(), &3714.into())
    );
    assert_eq!(m5["custom_networking"]["max_pods_prefix_uncapped"], 3250);
    assert_eq!(types[1]["max_pods_prefix"], 250);
}

#[test]
fn without_prefix_delegation_json_has_null_and_the_table_a_dash() {
    assert!(json(&["c4.8xlarge"])[0]["max_pods_prefix"].is_null());
    assert_eq!(row(&["limits", "c4.8xlarge"], "c4.8xlarge")[6], "-");
    assert!(prints(&["limits", "c4.8xlarge"]).contains("no prefix delegation"));
}

#[test]
fn several_network_cards_are_explained() {
    let text = prints(&["limits", "p5.48xlarge"]);
    let note = "p5.48xlarge: 32 network cards with 64 ENIs in all, but pods get IPs\n  \
                from those of card 0 alone: 2.";
    assert!(text.contains(note), "{text}");
}

#[test]
fn a_family_and_a_pattern_give_the_same() {
    assert_eq!(prints(&["limits", "m5"]), prints(&["limits", "m5.*"]));
    assert_eq!(json(&["m5"]).as_array().map(Vec::len), Some(9));
}

#[test]
fn all_gives_the_whole_table() {
    assert_eq!(json(&["--all"]).as_array().map(Vec::len), Some(1391));
}

#[test]
fn a_typo_is_met_with_near_matches_and_no_table() {
    let error = fails(&["limits", "m5.4xlarge", "m5.5xlarge"], 2);
    assert!(
        error.contains("`m5.5xlarge`: no such instance type; did you mean m5.4xlarge"),
        "{error}"
    );
    let output = super::run(&["limits", "m5.4xlarge", "m5.5xlarge"]);
    assert!(output.stdout.is_empty());
}

#[test]
fn nonsense_is_refused() {
    for words in [&["limits", "banana"][..], &["limits", "z9.*"], &["limits", ""]] {
        let error = fails(words, 2);
        assert!(error.contains("no such instance type"), "{words:?}: {error}");
    }
    fails(&["limits"], 2);
    fails(&["limits", "--all", "m5.large"], 2);
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cni-tuner"));
    command.args(["limits", "--all", "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    drop(child.stdout.take());
    let mut error = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut error).expect("UTF-8");
    assert_eq!(child.wait().expect("ended").code(), Some(0), "{error}");
    assert_eq!(error, "");
}
