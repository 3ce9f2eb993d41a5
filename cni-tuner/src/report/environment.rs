//! Settings as the environment of aws-node, and by a short name.

use super::Run;
use crate::model::settings::Settings;
use crate::model::world::Assignment;

/// What differs from the CNI's own defaults, as aws-node's variables.
pub fn environment(settings: &Settings) -> Vec<(&'static str, String)> {
    let usual = Settings::default().env();
    settings.env().into_iter().filter(|pair| !usual.contains(pair)).collect()
}

/// The settings of a run in a line, with its note.
pub(super) fn run_text(run: &Run) -> String {
    let environment = environment_text(&run.assignment);
    run.note.map_or(environment.clone(), |note| format!("{environment} ({note})"))
}

/// A line for people: `WARM_IP_TARGET=2 MINIMUM_IP_TARGET=12`, groups with settings of their own
/// behind it.
pub(super) fn environment_text(assignment: &Assignment) -> String {
    let mut text = pairs_text(&assignment.everywhere);
    for (group, settings) in &assignment.by_group {
        text.push_str(&format!("; {}: {}", super::figures::printable(group), pairs_text(settings)));
    }
    text
}

fn pairs_text(settings: &Settings) -> String {
    let pairs = environment(settings);
    if pairs.is_empty() {
        return "nothing set".to_owned();
    }
    let pairs: Vec<String> =
        pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join(" ")
}

/// A short name for settings that were given none: `W=1`, `W=1 M=101`, `default`.
pub fn label_of(settings: &Settings) -> String {
    let pairs = environment(settings);
    if pairs.is_empty() {
        return "default".to_owned();
    }
    let short = |(name, value): (&str, String)| match name {
        "WARM_IP_TARGET" => format!("W={value}"),
        "MINIMUM_IP_TARGET" => format!("M={value}"),
        "WARM_ENI_TARGET" => format!("WE={value}"),
        "WARM_PREFIX_TARGET" => format!("WP={value}"),
        "ENABLE_PREFIX_DELEGATION" => "PD".to_owned(),
        _ => format!("{name}={value}"),
    };
    pairs.into_iter().map(short).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::settings::Mode;

    fn check(settings: Settings, label: &str, text: &str) {
        assert_eq!(label_of(&settings), label);
        assert_eq!(environment_text(&settings.into()), text);
    }

    #[test]
    fn only_what_was_changed_is_named() {
        let usual = Settings::default;
        check(usual(), "default", "nothing set");
        check(Settings { warm_ip: 1, ..usual() }, "W=1", "WARM_IP_TARGET=1");
        check(
            Settings { warm_ip: 2, minimum_ip: 12, ..usual() },
            "W=2 M=12",
            "WARM_IP_TARGET=2 MINIMUM_IP_TARGET=12",
        );
        check(
            Settings { mode: Mode::Prefix, warm_prefix: 0, ..usual() },
            "PD WP=0",
            "ENABLE_PREFIX_DELEGATION=true WARM_PREFIX_TARGET=0",
        );
        check(
            Settings { sweeps_leaked: false, enis_max: Some(3), ..usual() },
            "MAX_ENI=3 DISABLE_LEAKED_ENI_CLEANUP=true",
            "MAX_ENI=3 DISABLE_LEAKED_ENI_CLEANUP=true",
        );
    }

    #[test]
    fn groups_with_settings_of_their_own_are_named() {
        let mut assignment = Assignment::from(Settings::default());
        assignment.by_group.insert("ci".to_owned(), Settings { warm_ip: 9, ..Settings::default() });
        assert_eq!(environment_text(&assignment), "nothing set; ci: WARM_IP_TARGET=9");
    }
}
