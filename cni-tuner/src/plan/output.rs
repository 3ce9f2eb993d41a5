//! How a setting is applied: the environment of aws-node, the command lines, the add-on's JSON.

use serde_json::{Map, Value, json};

use crate::model::settings::{Mode, Settings};

/// What is to be done to aws-node's environment: names with their values, or none where the name
/// must go.
pub type Changes = Vec<(&'static str, Option<String>)>;

/// The changes that put a setting in force. Both address targets are always named, so that none of
/// an earlier setting stays behind; `WARM_ENI_TARGET` and `WARM_PREFIX_TARGET` only where they
/// decide, and the mode only where it changes.
pub fn changes(settings: &Settings, in_force: &Settings) -> Changes {
    let target = |value: u32| (value > 0).then(|| value.to_string());
    let mut changes: Changes = vec![
        ("WARM_IP_TARGET", target(settings.warm_ip)),
        ("MINIMUM_IP_TARGET", target(settings.minimum_ip)),
    ];
    let is_prefix = settings.mode == Mode::Prefix;
    if settings.mode != in_force.mode {
        changes.push(("ENABLE_PREFIX_DELEGATION", Some(is_prefix.to_string())));
    }
    if !settings.is_targeted() && !is_prefix {
        changes.push(("WARM_ENI_TARGET", Some(settings.warm_eni.to_string())));
    }
    // Beside W and M it still decides which ENI may be freed.
    if is_prefix {
        changes.push(("WARM_PREFIX_TARGET", Some(settings.warm_prefix.to_string())));
    }
    changes
}

/// The environment in lines: `NAME=value`, or that the name is not set.
pub fn environment(changes: &Changes) -> Vec<String> {
    let line = |(name, value): &(&str, Option<String>)| match value {
        Some(value) => format!("{name}={value}"),
        None => format!("{name} not set"),
    };
    changes.iter().map(line).collect()
}

/// The `kubectl` line that changes the DaemonSet; a name with a hyphen behind it is removed.
pub fn kubectl(changes: &Changes) -> String {
    let word = |(name, value): &(&str, Option<String>)| match value {
        Some(value) => format!("{name}={value}"),
        None => format!("{name}-"),
    };
    let words: Vec<String> = changes.iter().map(word).collect();
    format!("kubectl set env daemonset/aws-node -n kube-system {}", words.join(" "))
}

/// The configuration of the EKS add-on `vpc-cni`. It replaces the one that is there: what must go is
/// left out, and what is in force beside the targets stays.
pub fn addon(changes: &Changes, in_force: &Settings) -> Value {
    let kept = kept(changes, in_force);
    let set = changes.iter().filter_map(|(name, value)| Some((*name, value.clone()?)));
    let all = kept.into_iter().chain(set);
    let env: Map<String, Value> =
        all.map(|(name, value)| (name.to_owned(), Value::from(value))).collect();
    json!({ "env": env })
}

/// What is in force, is not a default, and neither changes nor is a target.
fn kept(changes: &Changes, in_force: &Settings) -> Vec<(&'static str, String)> {
    let usual = Settings::default().env();
    let is_changed = |name: &str| changes.iter().any(|(changed, _)| *changed == name);
    let is_target = |name: &str| name.ends_with("_TARGET");
    let mut kept = in_force.env();
    kept.retain(|set| !usual.contains(set) && !is_changed(set.0) && !is_target(set.0));
    kept
}

/// The `aws` line that changes the add-on.
pub fn aws(changes: &Changes, in_force: &Settings) -> String {
    format!(
        "aws eks update-addon --cluster-name CLUSTER --addon-name vpc-cni \\\n    \
         --resolve-conflicts PRESERVE --configuration-values '{}'",
        addon(changes, in_force)
    )
}

/// What to know before applying it, one sentence each.
pub fn traps(settings: &Settings, in_force: &Settings) -> Vec<&'static str> {
    let mut traps = vec![
        "Use one way only: an update of the add-on may undo what kubectl set.",
        "update-addon replaces the whole configuration: keep what else yours sets under \"env\". A \
         variable that kubectl set stays on the DaemonSet until kubectl takes it away (NAME-).",
        "Either way restarts aws-node, one node in ten at a time. It forgets which addresses cool \
         and how old ENIs are, and new pods on that node wait meanwhile: do it in a quiet hour.",
    ];
    if settings.mode != in_force.mode {
        traps.push(
            "Another mode needs new nodes: addresses of the old mode stay on those that run, and \
             kubelet's limit of pods does not change there.",
        );
    }
    traps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::candidates::targets;

    fn check(settings: &Settings, kubectl_words: &str, addon_json: &str) {
        let changes = changes(settings, &Settings::default());
        let start = "kubectl set env daemonset/aws-node -n kube-system ";
        assert_eq!(kubectl(&changes), format!("{start}{kubectl_words}"));
        let in_force = &Settings::default();
        assert_eq!(addon(&changes, in_force).to_string(), addon_json);
        assert!(aws(&changes, in_force).ends_with(&format!("'{addon_json}'")));
    }

    #[test]
    fn what_is_in_force_stays_in_the_add_ons_configuration() {
        let in_force = Settings {
            mode: Mode::Prefix,
            enis_max: Some(4),
            warm_eni: 3,
            minimum_ip: 99,
            ..Settings::default()
        };
        let wanted = Settings { warm_ip: 2, minimum_ip: 0, ..in_force.clone() };
        let env = addon(&changes(&wanted, &in_force), &in_force).to_string();
        let expected = r#"{"env":{"ENABLE_PREFIX_DELEGATION":"true","MAX_ENI":"4","WARM_IP_TARGET":"2","WARM_PREFIX_TARGET":"1"}}"#;
        assert_eq!(env, expected);
    }

    #[test]
    fn both_targets_are_set() {
        check(
            &targets(&Settings::default(), 2, 12),
            "WARM_IP_TARGET=2 MINIMUM_IP_TARGET=12",
            r#"{"env":{"MINIMUM_IP_TARGET":"12","WARM_IP_TARGET":"2"}}"#,
        );
    }

    #[test]
    fn a_target_that_must_go_is_removed() {
        check(
            &targets(&Settings::default(), 2, 0),
            "WARM_IP_TARGET=2 MINIMUM_IP_TARGET-",
            r#"{"env":{"WARM_IP_TARGET":"2"}}"#,
        );
        check(
            &Settings { warm_eni: 2, ..Settings::default() },
            "WARM_IP_TARGET- MINIMUM_IP_TARGET- WARM_ENI_TARGET=2",
            r#"{"env":{"WARM_ENI_TARGET":"2"}}"#,
        );
    }

    #[test]
    fn another_mode_is_named_with_its_trap() {
        let prefix = Settings { mode: Mode::Prefix, ..Settings::default() };
        check(
            &prefix,
            "WARM_IP_TARGET- MINIMUM_IP_TARGET- ENABLE_PREFIX_DELEGATION=true \
             WARM_PREFIX_TARGET=1",
            r#"{"env":{"ENABLE_PREFIX_DELEGATION":"true","WARM_PREFIX_TARGET":"1"}}"#,
        );
        let with_mode = traps(&prefix, &Settings::default());
        assert_eq!(with_mode.len(), traps(&prefix, &prefix).len() + 1);
    }

    #[test]
    fn lines_say_what_is_not_set() {
        let changes = changes(&targets(&Settings::default(), 2, 0), &Settings::default());
        assert_eq!(environment(&changes), ["WARM_IP_TARGET=2", "MINIMUM_IP_TARGET not set"]);
    }
}
