//! Results as text, within 100 columns.

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment, ColumnConstraint, Table, Width};

use super::conclusion::conclusion;
use super::environment::run_text;
use super::figures::{address_hours, shortened, span};
use super::metrics::{METRICS, wait_of};
use super::{Comparison, Run, Scene};
use crate::words::{self, COLUMNS, counted, grouped};

/// What was run, the table of figures with a column for each of the settings (a plain list where
/// there is one), what the settings are, and the conclusion.
pub fn text(comparison: &Comparison) -> String {
    let mut text = wrapped(&scene_text(&comparison.scene), 0);
    text.push('\n');
    for runs in comparison.runs.chunks(RUNS_PER_TABLE) {
        text.push_str(&figures_table(runs));
        text.push('\n');
    }
    text.push_str(&settings_text(&comparison.runs));
    let sentences = conclusion(comparison);
    if !sentences.is_empty() {
        text.push('\n');
        text.push_str(&wrapped(&sentences.join(" "), 0));
    }
    text
}

/// A line for each of the settings, names and variables below each other.
fn settings_text(runs: &[Run]) -> String {
    let labels: Vec<String> = runs.iter().map(|run| shortened(&run.label, LABEL_LETTERS)).collect();
    let width = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0);
    let line = |(label, run): (&String, &Run)| {
        wrapped(&format!(" {label:width$}  {}", run_text(run)), width + 3)
    };
    labels.iter().zip(runs).map(line).collect()
}

fn scene_text(scene: &Scene) -> String {
    let pods = counted(grouped(scene.pods), "pod");
    let nodes = counted(grouped(scene.nodes), "node");
    let types = scene.instance_types.join(", ");
    let (name, duration) = (shortened(&scene.trace, NAME_LETTERS), span(scene.duration_ms));
    format!("Trace {name}: {pods} started on {nodes} ({types}) in {duration}, seed {}", scene.seed)
}

fn figures_table(runs: &[Run]) -> String {
    let mut table = bare_table();
    let label = |run: &Run| right(shortened(&run.label, LABEL_LETTERS));
    table.set_header([Cell::new("")].into_iter().chain(runs.iter().map(label)));
    for metric in &METRICS {
        let figures = runs.iter().map(|run| right((metric.of)(&run.outcome)));
        table.add_row([Cell::new(metric.name)].into_iter().chain(figures));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_constraint(ColumnConstraint::UpperBoundary(Width::Fixed(COLUMN_WIDTH)));
    }
    trimmed(&table)
}

/// Every node under every setting.
pub fn per_node(comparison: &Comparison) -> String {
    let mut text = String::new();
    for run in &comparison.runs {
        text.push_str(&format!("\n{}, by node:\n", shortened(&run.label, NAME_LETTERS)));
        text.push_str(&nodes_table(run));
    }
    text
}

fn nodes_table(run: &Run) -> String {
    let mut table = bare_table();
    let names = ["node", "group", "type"].map(Cell::new);
    let figures = ["pods", "failed", "never", "p99", "idle a-h", "held", "calls"];
    table.set_header(names.into_iter().chain(figures.map(right)));
    for node in &run.outcome.nodes {
        let tally = &node.tally;
        let figures = [
            grouped(tally.pods),
            grouped(tally.failed_adds),
            grouped(tally.pods_never),
            wait_of(tally, |waits| waits.p99_ms),
            address_hours(tally.idle_address_ms()),
            grouped(tally.held_max),
            grouped(tally.calls_total()),
        ];
        let names = [shortened(&node.name, 18), shortened(&node.group, 10), {
            shortened(node.instance_type, 13)
        }];
        table.add_row(names.map(Cell::new).into_iter().chain(figures.map(right)));
    }
    trimmed(&table)
}

fn bare_table() -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table
}

fn right(text: impl Into<String>) -> Cell {
    Cell::new(text.into()).set_alignment(CellAlignment::Right)
}

/// The table's lines without the blanks at their ends.
fn trimmed(table: &Table) -> String {
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// Lines of at most 100 columns, all but the first behind so many blanks. Names from a trace may be
/// longer than a line; they are cut.
fn wrapped(text: &str, indent: usize) -> String {
    let parts = text.split(' ').flat_map(|word| pieces(word, COLUMNS - indent));
    words::wrapped(&parts.collect::<Vec<_>>().join(" "), indent) + "\n"
}

/// A word in parts of at most so many letters.
fn pieces(word: &str, letters_max: usize) -> Vec<String> {
    let letters: Vec<char> = word.chars().collect();
    match letters.len() <= letters_max {
        true => vec![word.to_owned()],
        false => letters.chunks(letters_max).map(|part| part.iter().collect()).collect(),
    }
}

/// Four columns of figures fit beside their names.
const RUNS_PER_TABLE: usize = 4;
const COLUMN_WIDTH: u16 = 18;
/// Two lines of a column.
const LABEL_LETTERS: usize = 32;
const NAME_LETTERS: usize = 60;

#[cfg(test)]
mod tests {
    use super::super::samples::{Sample, comparison, three};
    use super::*;
    use crate::model::outcome::Waits;

    fn check_width(text: &str) {
        for line in text.lines() {
            assert!(line.chars().count() <= COLUMNS, "{line:?}");
            assert_eq!(line, line.trim_end());
        }
    }

    #[test]
    fn settings_stand_side_by_side() {
        let text = text(&three());
        check_width(&text);
        let line = text.lines().find(|line| line.contains("failed ADDs")).unwrap();
        assert_eq!(
            line.split_whitespace().collect::<Vec<_>>(),
            ["failed", "ADDs", "0", "300", "0"]
        );
        let line = text.lines().find(|line| line.contains("idle address-hours")).unwrap();
        assert!(line.ends_with(" 400.0"), "{line}");
        assert!(text.contains(" W=1  "), "{text}");
    }

    #[test]
    fn names_stay_in_their_place() {
        for text in [text(&three()), per_node(&three())] {
            check_width(&text);
            assert!(!text.contains('\u{1b}'), "{text}");
            assert!(text.contains("<script>"), "{text}");
        }
    }

    #[test]
    fn a_node_that_serves_no_pod_has_no_wait() {
        let mut unserved = comparison(&[Sample { label: "default", ..Sample::NONE }]);
        unserved.runs[0].outcome.nodes[0].tally.waits = Waits::default();
        let text = per_node(&unserved);
        assert!(text.contains(" - ") && !text.contains("0 ms"), "{text}");
    }

    #[test]
    fn one_setting_is_a_list_without_a_conclusion() {
        let text = text(&comparison(&[Sample { label: "default", ..Sample::NONE }]));
        check_width(&text);
        assert!(text.ends_with("\n default  nothing set\n"), "{text}");
    }

    #[test]
    fn many_settings_are_several_tables() {
        let sample =
            Sample { label: "a-rather-long-label-for-a-setting-of-aws-node", ..Sample::NONE };
        let text = text(&comparison(&[sample; 9]));
        check_width(&text);
        assert_eq!(text.matches("\n failed ADDs").count(), 3, "{text}");
    }

    #[test]
    fn lines_are_wrapped_between_words() {
        let text = wrapped(&["word"; 40].join(" "), 4);
        check_width(&text);
        assert_eq!(text.split_whitespace().count(), 40);
        assert!(text.lines().skip(1).all(|line| line.starts_with("    word")));
        assert_eq!(wrapped(" a  b", 0), " a  b\n");
        check_width(&wrapped(&format!(" a {}", "b".repeat(253)), 20));
    }
}
