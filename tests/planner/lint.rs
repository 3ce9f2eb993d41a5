//! `cni-tuner lint`.

use std::io::Write as _;

use crate::planner::{fails, prints, run};

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(text.as_bytes()).expect("written");
    file
}

/// What is printed, with that exit code.
fn lints(words: &str, code: i32) -> String {
    let words: Vec<&str> = ["lint"].into_iter().chain(words.split_whitespace()).collect();
    let output = run(&words);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{words:?}: {error}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn refuses(words: &str, says: &str) {
    let words: Vec<&str> = ["lint"].into_iter().chain(words.split_whitespace()).collect();
    let error = fails(&words, 2);
    assert!(error.contains(says), "{words:?}: {error}");
}

const MANIFEST: &str = r#"
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: aws-node, namespace: kube-system}
spec:
  template:
    spec:
      containers:
      - name: aws-node
        env:
        - {name: ENABLE_PREFIX_DELEGATION, value: "true"}
        - {name: MINIMUM_IP_TARGET, value: "22"}
"#;

#[test]
fn the_incident_of_a_minimum_alone_is_found_in_a_manifest() {
    let manifest = file(MANIFEST);
    let words = format!("{} --instance-type m5.4xlarge --pods 35", manifest.path().display());
    let text = lints(&words, 1);
    assert!(text.contains("error[minimum-without-warm]"), "{text}");
    assert!(text.contains("32 of 35 pods get an address, the others never"), "{text}");
    assert!(text.contains("WARM_IP_TARGET=1 or more beside it"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
}

#[test]
fn json_has_every_key() {
    let words = "--json --env WARM_ENI_TARGET=0 --instance-type c5.9xlarge";
    let json: serde_json::Value = serde_json::from_str(&lints(words, 1)).expect("JSON");
    assert_eq!(
        (&json["errors"], &json["warnings"], &json["notes"]),
        (&1.into(), &0.into(), &0.into())
    );
    let finding = &json["findings"][0];
    assert_eq!(finding["severity"], "error");
    assert_eq!(finding["id"], "warm-eni-zero");
    assert_eq!(finding["instance_types"], serde_json::json!(["c5.9xlarge"]));
    for key in ["source", "setting", "consequence", "fix"] {
        assert!(finding[key].as_str().is_some_and(|text| !text.is_empty()), "{key}: {finding}");
    }
}

#[test]
fn an_add_ons_configuration_is_read() {
    let values = file(r#"{"env": {"WARM_IP_TARGET": "1"}}"#);
    let words = format!("{} --instance-type c5.9xlarge --pods 100", values.path().display());
    let text = lints(&words, 0);
    assert!(text.contains("warning[warm-ip-small]"), "{text}");
    assert!(text.contains("0 tries fail, the last pod waits 0 s"), "{text}");
}

#[test]
fn variables_come_on_top_of_files() {
    let manifest = file(MANIFEST);
    let words = format!("{} --env WARM_IP_TARGET=8 --pods 35", manifest.path().display());
    assert!(!lints(&words, 0).contains("minimum-without-warm"));
}

#[test]
fn mixed_groups_are_an_error() {
    let text = lints("--group workers=m5.4xlarge,t3.medium", 1);
    assert!(
        text.contains("error[mixed-node-group] node group workers: m5.4xlarge, t3.medium"),
        "{text}"
    );
    assert!(text.contains("addresses for 232 pods"), "{text}");
}

#[test]
fn nothing_found_is_said() {
    let words =
        ["lint", "--env", "WARM_IP_TARGET=2", "--env", "MINIMUM_IP_TARGET=12", "--pods", "10"];
    assert_eq!(prints(&words), "Nothing was found; looked at for m5.large.\n");
}

#[test]
fn mistakes_are_refused() {
    refuses("/nowhere/aws-node.yaml", "/nowhere/aws-node.yaml");
    refuses("--env WARM_IP_TARGET", "NAME=VALUE is needed");
    refuses("--env MAX_ENI=1 --env MAX_ENI=2", "--env MAX_ENI is given twice");
    refuses("--instance-type m5.4xlarg", "did you mean m5.4xlarge");
    refuses("--group workers", "NAME=TYPE,TYPE is needed");
    refuses("--group a=m5.large --group a=c5.large", "there are two groups a");
    refuses("--group a=m5.lage", "did you mean m5.large");
    refuses("--pods 0", "0 is not in 1..=100000");
    refuses("--pods -5", "-5");
    let nothing = file("kind: Service\n");
    refuses(&nothing.path().display().to_string(), "no settings of aws-node");
    let broken = file("a: [1,");
    refuses(&broken.path().display().to_string(), "line");
}

#[test]
fn values_do_not_steer_the_terminal() {
    let output = run(&["lint", "--env", "WARM_IP_TARGET=a\u{1b}[31m\nerror[x]"]);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(text.contains("WARM_IP_TARGET=a\u{fffd}[31m\u{fffd}error[x]"), "{text}");
}

#[test]
fn a_number_without_quotes_is_warned_of() {
    let manifest = file(&MANIFEST.replace("\"22\"", "22"));
    let text = lints(&format!("{} --env WARM_IP_TARGET=1", manifest.path().display()), 0);
    assert!(text.contains("warning[unquoted-value] MINIMUM_IP_TARGET: 22"), "{text}");
}
