//! The shapes that settings come in, and what is none of them.

use super::*;

/// `NAME=VALUE` words of the only source in a text.
fn check(text: &str, env: &str) -> Source {
    let mut sources = Source::read("file", text).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(sources.len(), 1, "{text}: {sources:?}");
    let words: Vec<String> =
        sources[0].env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(words.join(" "), env, "{text}");
    sources.remove(0)
}

fn refuses(text: &str, says: &str) {
    let error = Source::read("file", text).expect_err("a mistake").to_string();
    assert!(error.starts_with("file") && error.contains(says), "{text}: {error}");
}

const DAEMON_SET: &str = r#"
kind: DaemonSet
metadata: {name: aws-node}
spec:
  template:
    spec:
      containers:
      - name: other
        env: [{name: MAX_ENI, value: "9"}]
      - name: aws-node
        env:
        - {name: WARM_IP_TARGET, value: "2"}
        - name: MINIMUM_IP_TARGET
          valueFrom: {fieldRef: {fieldPath: "metadata.annotations['m']"}}
"#;

#[test]
fn a_daemon_set_is_read() {
    let source = check(DAEMON_SET, "WARM_IP_TARGET=2");
    assert_eq!(source.name, "file, aws-node");
    assert_eq!(source.unknowable["MINIMUM_IP_TARGET"], "fieldRef");
    assert!(!source.is_on_top_of_the_chart);
}

#[test]
fn one_among_many_documents_is_found() {
    let text = format!("kind: ServiceAccount\n---\n{DAEMON_SET}\n---\n---\nkind: Service\n");
    check(&text, "WARM_IP_TARGET=2");
}

#[test]
fn lists_pods_and_specifications_are_read() {
    let container = r#"{"name": "aws-node", "env": [{"name": "MAX_ENI", "value": "3"}]}"#;
    let specification = format!(r#"{{"containers": [{container}]}}"#);
    let pod = format!(r#"{{"kind": "Pod", "spec": {specification}}}"#);
    let template = format!(r#"{{"template": {{"spec": {specification}}}}}"#);
    for text in [
        container,
        &specification,
        &pod,
        &template,
        &format!(r#"{{"kind": "List", "items": [{{"kind": "Service"}}, {pod}]}}"#),
    ] {
        check(text, "MAX_ENI=3");
    }
}

#[test]
fn an_add_ons_configuration_stands_on_the_chart() {
    let source =
        check(r#"{"env": {"WARM_IP_TARGET": "2", "MAX_ENI": 4}}"#, "MAX_ENI=4 WARM_IP_TARGET=2");
    assert!(source.is_on_top_of_the_chart);
    check("env:\n  ENABLE_PREFIX_DELEGATION: true\n", "ENABLE_PREFIX_DELEGATION=true");
    let described = r#"{"addon": {"configurationValues": "{\"env\": {\"MAX_ENI\": \"5\"}}"}}"#;
    check(described, "MAX_ENI=5");
}

#[test]
fn of_a_variable_set_twice_the_last_holds() {
    let text = r#"{"name": "aws-node", "env": [{"name": "MAX_ENI", "value": "3"},
                   {"name": "MAX_ENI", "value": "4"}, {"name": "WARM_ENI_TARGET"}]}"#;
    let source = check(text, "MAX_ENI=4 WARM_ENI_TARGET=");
    assert_eq!(source.doubled, ["MAX_ENI"]);
}

#[test]
fn the_config_map_for_windows_is_noticed() {
    let map = r#"{"kind": "ConfigMap", "metadata": {"name": "amazon-vpc-cni"},
        "data": {"warm-ip-target": "5", "minimum-ip-target": "9", "enable-windows-ipam": "true"}}"#;
    let source = check(map, "");
    assert_eq!(source.windows, ["minimum-ip-target", "warm-ip-target"]);
    let both = format!("{DAEMON_SET}\n---\n{map}");
    assert_eq!(check(&both, "WARM_IP_TARGET=2").windows.len(), 2);
}

#[test]
fn what_the_chart_writes_for_windows_is_nobodys_mistake() {
    let map = r#"{"kind": "ConfigMap", "metadata": {"name": "amazon-vpc-cni"}, "data":
        {"warm-prefix-target": "0", "warm-ip-target": "1", "minimum-ip-target": "3"}}"#;
    assert_eq!(check(&format!("{map}\n---\n{DAEMON_SET}"), "WARM_IP_TARGET=2").windows.len(), 0);
}

#[test]
fn a_configuration_may_be_a_text_of_its_own() {
    check(r#""{\"env\": {\"MAX_ENI\": \"5\"}}""#, "MAX_ENI=5");
    refuses(r#""{\"env\": [""#, "line");
}

#[test]
fn a_file_that_is_too_large_is_refused_in_words() {
    refuses(&"- 1\n".repeat(250_001), "aws-node -o yaml");
}

#[test]
fn a_copy_of_another_name_is_known_by_its_image() {
    let text = r#"{"spec": {"containers": [
        {"name": "aws-node-termination-handler", "image": "a/b:v1", "env": []},
        {"name": "aws-node-large", "image": "1.dkr.ecr.aws/amazon-k8s-cni:v1.20.4",
         "env": [{"name": "MAX_ENI", "value": "3"}]}]}}"#;
    check(text, "MAX_ENI=3");
}

#[test]
fn a_value_without_quotes_is_noticed_in_a_container() {
    let text = r#"{"name": "aws-node", "env": [{"name": "MAX_ENI", "value": 3}]}"#;
    assert_eq!(check(text, "MAX_ENI=3").unquoted, ["MAX_ENI"]);
    assert!(check(r#"{"env": {"MAX_ENI": 3}}"#, "MAX_ENI=3").unquoted.is_empty());
}

#[test]
fn several_daemon_sets_are_told_apart() {
    let other = DAEMON_SET.replace("{name: aws-node}", "{name: aws-node-large}");
    let sources = Source::read("file", &format!("{DAEMON_SET}\n---\n{other}")).expect("two");
    let names: Vec<&str> = sources.iter().map(|source| source.name.as_str()).collect();
    assert_eq!(names, ["file, aws-node", "file, aws-node-large"]);
}

#[test]
fn what_has_no_settings_is_refused() {
    refuses("", "no settings of aws-node");
    refuses("kind: Service", "a container aws-node, or the add-on's configuration");
    refuses("{\"env\": [", "line");
    refuses(r#"{"env": {"A": "1", "A": "2"}}"#, "duplicate mapping key: A");
    refuses("a: [1, 2", "line");
    refuses(r#"{"env": {"MAX_ENI": [1]}}"#, "env.MAX_ENI: a text is needed");
    refuses(r#"{"name": "aws-node", "env": [{"value": "3"}]}"#, "env[0]: a name is needed");
    refuses(r#"{"name": "aws-node", "env": {"MAX_ENI": "3"}}"#, "env: a list of names");
    refuses(r#"{"name": "aws-node", "env": [{"name": "A", "value": {}}]}"#, "A: a text is needed");
}
