//! `cni-tuner trace`.

use std::fs;
use std::process::{Command, Stdio};

use super::{fails, prints, run};

/// A folder with one file in it.
fn file(name: &str, text: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(name);
    fs::write(&path, text).expect("a file");
    let path = path.to_str().expect("UTF-8").to_owned();
    (folder, path)
}

#[test]
fn the_built_in_trace_is_written_when_no_generator_is_named() {
    let text = prints(&["trace", "generate"]);
    assert_eq!(text, prints(&["trace", "generate", "environment", "--seed", "1"]));
    assert_ne!(text, prints(&["trace", "generate", "--seed", "2"]));
    let first = r#"{"time":0.0,"event":"join","node":"environment-0001","running":true,"#;
    assert!(text.starts_with(first), "{text}");
    assert!(text.ends_with("{\"time\":86400.0,\"event\":\"end\"}\n"), "{text}");
}

#[test]
fn a_generated_file_is_checked_and_converted() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    let (first, second, third) = (path("a.jsonl"), path("b.csv"), path("c.jsonl"));
    let specification = "environment:pods=20,hours=1";
    assert_eq!(prints(&["trace", "generate", specification, "--out", &first]), "");
    prints(&["trace", "convert", &first, "--out", &second]);
    prints(&["trace", "convert", &second, "--out", &third]);
    let text = |path: &str| fs::read_to_string(path).expect("written");
    assert_eq!(text(&first), text(&third));
    assert!(text(&second).starts_with("time,event,node,pod,host_network,running,instance_type,"));
    let csv = prints(&["trace", "convert", &first, "--format", "csv"]);
    assert_eq!(csv, text(&second));
    let told = prints(&["trace", "check", &second]);
    assert!(told.contains("burst in 10 s, one node   20 on environment-0001 at 300."), "{told}");
    let longest = told.lines().map(str::len).max();
    assert!(longest <= Some(100), "{longest:?}");
}

#[test]
fn a_summary_is_json_for_programs() {
    let text = "time,node,pod,event\n1,n1,a/b,add\n3,n1,a/b,delete\n";
    let (_folder, path) = file("pods.csv", text);
    let said = prints(&["trace", "check", &path, "--instance-type", "m5.large", "--json"]);
    let summary: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(summary["name"], "pods.csv");
    assert_eq!(summary["pods"], 1);
    assert_eq!(summary["shortest_pod_life_secs"], 2.0);
    assert_eq!(summary["groups"][0]["instance_types"]["m5.large"], 1);
    assert_eq!(summary["busiest_node"]["pods_max"], 29);
}

#[test]
fn every_generator_is_listed_with_its_parameters() {
    let text = prints(&["trace", "list"]);
    let said = prints(&["trace", "list", "--json"]);
    let list: Vec<serde_json::Value> = serde_json::from_str(&said).expect("JSON");
    assert!(list.len() >= 8, "{said}");
    for generator in &list {
        let name = generator["name"].as_str().expect("a name");
        assert!(text.contains(&format!("{name}: ")), "{name} is not in {text}");
        for parameter in generator["parameters"].as_array().expect("parameters") {
            let field = |name: &str| parameter[name].as_str().expect("text").to_owned();
            let set = format!("{}={}", field("name"), field("default"));
            assert!(text.contains(&set), "{set} is not in {text}");
        }
    }
    assert!(text.lines().all(|line| line.len() <= 100), "{text}");
}

#[test]
fn what_is_wrong_is_said_with_file_and_line() {
    let text = "time,node,pod,event\n1,n1,a/b,delete\n";
    let (_folder, path) = file("bad.csv", text);
    let error = fails(&["trace", "check", &path, "--instance-type", "m5.large"], 2);
    let said = format!("{path}:2: pod a/b is deleted before it was added; add it in a line above");
    assert!(error.starts_with(&format!("cni-tuner: {said}")), "{error}");
    let error = fails(&["trace", "convert", &path], 2);
    assert!(error.contains("bad.csv:2: node n1 has not joined"), "{error}");
    let error = fails(&["trace", "check", &path, "--instance-type", "m5.lage"], 2);
    assert!(error.contains("--instance-type") && error.contains("m5.large"), "{error}");
}

#[test]
fn files_that_are_none_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    let error = fails(&["trace", "check", &path("absent.csv")], 2);
    assert!(error.contains("cannot open the trace") && error.contains("absent.csv"), "{error}");
    let error = fails(&["trace", "check", &path("")], 2);
    assert!(error.contains("cannot be read") && error.contains("a file of text"), "{error}");
    let error = fails(&["trace", "generate", "--out", &path("no/such/folder")], 2);
    assert!(error.contains("cannot write"), "{error}");
}

#[test]
fn a_refused_trace_is_not_written_in_part() {
    let (folder, path) =
        file("bad.csv", "time,node,event,instance_type\n1,n1,join,m5.large\n0,n1,leave,\n");
    let out = folder.path().join("out.jsonl");
    let error = fails(&["trace", "convert", &path, "--out", out.to_str().expect("UTF-8")], 2);
    assert!(error.contains("bad.csv:3: the time \"0\" is before 1"), "{error}");
    assert!(!out.exists());
    let printed = run(&["trace", "convert", &path]);
    assert!(printed.stdout.is_empty(), "{printed:?}");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_mistake() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cni-tuner"));
    command.args(["trace", "generate", "cron"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && error.is_empty(), "{error}");
}

#[test]
fn generators_say_what_they_cannot_be_told() {
    let error = fails(&["trace", "generate", "environment:pods=none"], 2);
    let said = "environment cannot have pods=none; pods is a whole number from 1 to 100000";
    assert!(error.contains(said), "{error}");
}

/// Files of the defects that a recorder or a person makes most; each says where it is wrong.
#[test]
fn sample_files_are_taken_or_refused_as_their_names_say() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/traces");
    let mut seen = 0;
    for entry in fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
        let path = path.to_str().expect("UTF-8");
        seen += 1;
        match name.starts_with("good-") {
            true => assert!(prints(&["trace", "check", path]).contains("most pods at once")),
            false => {
                let error = fails(&["trace", "check", path], 2);
                let line = error.split(&format!("{name}:")).nth(1).unwrap_or(&error);
                assert!(line.starts_with(|c: char| c.is_ascii_digit()), "{name}: {error}");
            }
        }
    }
    assert!(seen >= 6, "{seen} files");
}
