//! `cni-tuner explain`.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::planner::{fails, prints};

const DEFAULT: &str = r#"{"instance_type": "c5.9xlarge", "enis": [{"id": "eni-a", "primary": true, "ips": 29, "assigned": 1}]}"#;

fn file(json: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(json.as_bytes()).expect("written");
    file
}

fn path(file: &tempfile::NamedTempFile) -> &str {
    file.path().to_str().expect("UTF-8")
}

#[test]
fn json_has_every_key() {
    let state = file(DEFAULT);
    let json = prints(&["explain", "--json", path(&state)]);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let expected = serde_json::json!({
        "enabled": false, "short": 0, "over": 0, "too_low": true, "too_high": false,
        "total_ips": 29, "total_prefixes": 0, "free_prefixes": 0, "assigned": 1, "cooling": 0,
        "available": 28, "action": "increase", "freeable_eni": null,
        "reason": "WARM_ENI_TARGET=1 asks for 1 x 29 = 29 available addresses and 28 are there; \
                   no ENI has room, so a new one comes with 29 addresses (ENI 2 of 8).",
        "enis": [{
            "id": "eni-a", "freeable": false, "reason": "stays: the primary ENI is never freed",
        }],
        "notes": ["max_pods is not given: 234 is taken."],
    });
    assert_eq!(json, expected);
}

#[test]
fn text_explains_the_published_58() {
    let state = file(DEFAULT);
    let text = prints(&["explain", path(&state)]);
    assert!(
        text.contains("29 addresses (1 ENI x 29) with pods on the host's network only"),
        "{text}"
    );
    assert!(
        text.contains("58 addresses (2 ENIs x 29) with one pod that needs an address"),
        "{text}"
    );
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
}

#[test]
fn a_freeable_eni_is_named() {
    let json = r#"{"mode": "sip", "warm_ip_target": 2, "ips_per_eni": 29, "max_eni": 8,
        "max_pods": 234, "enis": [
        {"id": "eni-a", "primary": true, "ips": 12, "assigned": 10, "age_s": 900},
        {"id": "eni-b", "ips": 0, "assigned": 0, "age_s": 61}]}"#;
    let state = file(json);
    let json = prints(&["explain", "--json", path(&state)]);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["action"], "free_eni");
    assert_eq!(json["freeable_eni"], "eni-b");
    assert_eq!(json["enabled"], true);
}

#[test]
fn standard_input_is_read_for_a_dash() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_cni-tuner"))
        .args(["explain", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    child.stdin.take().expect("a pipe").write_all(DEFAULT.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("it ends");
    assert!(String::from_utf8_lossy(&output.stdout).contains("too low    yes"));
}

#[test]
fn mistakes_name_the_file_and_the_field() {
    let state = file(r#"{"instance_type": "c5.9xlarge", "enis": [{"ips": 3, "assigned": 4}]}"#);
    let error = fails(&["explain", path(&state)], 2);
    assert!(error.contains(path(&state)), "{error}");
    assert!(error.contains("enis[0].assigned: 4, but the ENI has 3 addresses (ips)"), "{error}");
    let error = fails(&["explain", "/nowhere/state.json"], 2);
    assert!(error.contains("/nowhere/state.json"), "{error}");
    let broken = file("{\n \"mode\": sip}");
    assert!(fails(&["explain", path(&broken)], 2).contains("line 2"));
}

#[test]
fn more_pods_than_a_node_has_are_not_placed_one_by_one() {
    let eni = r#"{"prefixes": 256, "assigned": 4096}"#;
    let enis = vec![eni; 128].join(",");
    let json = format!(
        r#"{{"mode": "pd", "ips_per_eni": 256, "max_eni": 128, "max_pods": 100000, "enis": [{enis}]}}"#
    );
    let text = prints(&["explain", path(&file(&json))]);
    assert!(text.contains("with one pod that needs an address"), "{text}");
    assert!(!text.contains("524288 pods that do"), "{text}");
}
