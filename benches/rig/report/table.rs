//! The medians as a table, for a terminal and for markdown.

use std::fmt::Write as _;

use super::summary::{Spread, Summary};

/// Columns in line, separated by spaces; a blank line between scenarios.
pub fn plain(summaries: &[Summary]) -> String {
    let lines = cells(summaries);
    let widths = widths(&lines);
    let mut text = String::new();
    for (at, line) in lines.iter().enumerate() {
        if at > 0 && lines[at - 1][0] != line[0] {
            text.push('\n');
        }
        let padded: Vec<String> = (0..line.len()).map(|i| pad(i, &line[i], widths[i])).collect();
        writeln!(text, "{}", padded.join("  ").trim_end()).expect("a string takes any text");
    }
    text
}

/// The same lines as a markdown table.
pub fn markdown(summaries: &[Summary]) -> String {
    let lines = cells(summaries);
    let widths = widths(&lines);
    let mut text = String::new();
    for (at, line) in lines.iter().enumerate() {
        let padded: Vec<String> = (0..line.len()).map(|i| pad(i, &line[i], widths[i])).collect();
        writeln!(text, "| {} |", padded.join(" | ")).expect("a string takes any text");
        if at == 0 {
            let rules: Vec<String> = (0..line.len()).map(|i| rule(i, widths[i])).collect();
            writeln!(text, "|{}|", rules.join("|")).expect("a string takes any text");
        }
    }
    text
}

const COLUMNS: [&str; 11] = [
    "scenario",
    "server",
    "CPU us/query",
    "min-max",
    "x echo",
    "x unbound",
    "q/s",
    "p50/p99/p99.9 us",
    "lost",
    "wrong",
    "RSS MB",
];

/// Columns of names are aligned to the left, all others to the right.
const NAME_COLUMNS: usize = 2;

type Line = Vec<String>;

/// The head and a line per summary. The column of extras is there only if somebody has any.
fn cells(summaries: &[Summary]) -> Vec<Line> {
    let with_extras = summaries.iter().any(|summary| !summary.extra.is_empty());
    let mut head: Line = COLUMNS.map(str::to_owned).to_vec();
    head.extend(with_extras.then(|| "also".to_owned()));
    let line = |summary: &Summary| {
        let mut line = line(summary);
        line.extend(with_extras.then(|| extras(summary)));
        line
    };
    std::iter::once(head).chain(summaries.iter().map(line)).collect()
}

fn line(summary: &Summary) -> Line {
    let cpu = summary.cpu_us;
    vec![
        summary.scenario.to_owned(),
        summary.server.to_owned(),
        figure(cpu.median),
        format!("{}-{}", figure(cpu.min), figure(cpu.max)),
        ratio(summary.echo_ratio),
        ratio(summary.unbound_ratio),
        thousands(summary.queries_per_sec.median),
        summary.latency_us.map_or("-".to_owned(), |latency| {
            latency.map(|spread| format!("{:.0}", spread.median)).join("/")
        }),
        summary.lost.to_string(),
        summary.wrong.to_string(),
        figure(summary.rss_bytes.median / 1e6),
    ]
}

fn extras(summary: &Summary) -> String {
    let parts = summary.extra.iter();
    let parts = parts.map(|(name, spread)| format!("{name} {}", figure(spread.median)));
    parts.collect::<Vec<String>>().join(", ")
}

fn ratio(spread: Option<Spread>) -> String {
    spread.map_or("-".to_owned(), |spread| format!("{:.2}", spread.median))
}

/// Three digits that matter, more before the point if need be.
pub fn figure(value: f64) -> String {
    match value.abs() {
        size if size < 10.0 => format!("{value:.2}"),
        size if size < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// `1234567` as `1,234,567`.
fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn widths(lines: &[Line]) -> Vec<usize> {
    let columns = lines.first().map_or(0, Vec::len);
    (0..columns).map(|i| lines.iter().map(|line| line[i].len()).max().unwrap_or(0)).collect()
}

fn is_left(column: usize) -> bool {
    column < NAME_COLUMNS || column == COLUMNS.len()
}

fn pad(column: usize, cell: &str, width: usize) -> String {
    if is_left(column) { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
}

fn rule(column: usize, width: usize) -> String {
    let dashes = "-".repeat(width + 1);
    if is_left(column) { format!(":{dashes}") } else { format!("{dashes}:") }
}
