//! The report as one HTML page that needs nothing else: no script, no font, no picture from
//! elsewhere. It follows the reader's light or dark scheme.

use std::fmt::Write as _;

use super::environment::run_text;
use super::figures::{printable, span, wait};
use super::metrics::METRICS;
use super::{Comparison, Run, Scene, chart};
use crate::model::outcome::LatePod;
use crate::words::{counted, grouped};

/// The page.
pub fn page(comparison: &Comparison) -> String {
    let title = format!("cni-tuner: {}", escaped(&comparison.scene.trace));
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <h1>{title}</h1>\n",
    );
    for part in [
        about(&comparison.scene),
        conclusion(comparison),
        figure(&chart::story(comparison), "Addresses held over time, and pods that wait"),
        figures(comparison),
        settings(comparison),
        figure(&chart::waits(comparison), "How long pods wait for an address"),
        figure(&chart::calls(comparison), "EC2 calls by kind and over time"),
        figure(&chart::front(comparison), "Idle address-hours against waits"),
        late_pods(comparison),
        facts(&comparison.scene),
    ] {
        page.push_str(&part);
    }
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

fn about(scene: &Scene) -> String {
    format!(
        "<p>{} started on {} in {}, simulated under the settings below.</p>\n",
        counted(grouped(scene.pods), "pod"),
        counted(grouped(scene.nodes), "node"),
        span(scene.duration_ms),
    )
}

fn conclusion(comparison: &Comparison) -> String {
    let sentences = super::conclusion(comparison);
    if sentences.is_empty() {
        return String::new();
    }
    format!("<p class=\"conclusion\">{}</p>\n", escaped(&sentences.join(" ")))
}

fn figure(svg: &str, what: &str) -> String {
    let svg = svg.replacen("<svg ", &format!("<svg role=\"img\" aria-label=\"{what}\" "), 1);
    format!("<figure>\n{svg}</figure>\n")
}

fn figures(comparison: &Comparison) -> String {
    let heads = comparison.runs.iter().map(|run| tagged("th", &run.label));
    let mut rows = format!("<tr><th></th>{}</tr>\n", heads.collect::<String>());
    for metric in &METRICS {
        let cells = comparison.runs.iter().map(|run| tagged("td", &(metric.of)(&run.outcome)));
        let cells: String = cells.collect();
        let _ = writeln!(rows, "<tr>{}{cells}</tr>", tagged("th", metric.name));
    }
    section("Figures", &format!("<table class=\"figures\">\n{rows}</table>\n"))
}

fn settings(comparison: &Comparison) -> String {
    let mut rows =
        String::from("<tr><th></th><th>setting</th><th>environment of aws-node</th></tr>\n");
    for (at, run) in comparison.runs.iter().enumerate() {
        let chart::Colour(red, green, blue) = chart::colour(at);
        let _ = writeln!(
            rows,
            "<tr><td><span class=\"swatch\" style=\"background:rgb({red},{green},{blue})\"></span>\
             </td>{}<td class=\"env\">{}</td></tr>",
            tagged("td", &run.label),
            escaped(&run_text(run)),
        );
    }
    section("Settings", &format!("<table>\n{rows}</table>\n"))
}

/// The pods that waited longest under each setting that made any wait.
fn late_pods(comparison: &Comparison) -> String {
    let late = |run: &&Run| run.outcome.worst.iter().any(is_late);
    let tables: String = comparison.runs.iter().filter(late).map(late_table).collect();
    if tables.is_empty() { tables } else { section("Pods that waited longest", &tables) }
}

fn is_late(pod: &LatePod) -> bool {
    pod.failed_adds > 0 || pod.wait_ms.is_none()
}

fn late_table(run: &Run) -> String {
    let mut rows = String::from(
        "<tr><th>pod</th><th>node</th><th>started</th><th>waited</th><th>failed ADDs</th></tr>\n",
    );
    for pod in run.outcome.worst.iter().filter(|pod| is_late(pod)).take(LATE_PODS_MAX) {
        let cells = [
            pod.pod.clone(),
            pod.node.clone(),
            format!("after {}", span(pod.at_ms)),
            pod.wait_ms.map_or_else(|| "never served".to_owned(), wait),
            grouped(pod.failed_adds),
        ];
        let cells: String = cells.iter().map(|cell| tagged("td", cell)).collect();
        let _ = writeln!(rows, "<tr>{cells}</tr>");
    }
    format!("<h3>{}</h3>\n<table>\n{rows}</table>\n", escaped(&run.label))
}

fn facts(scene: &Scene) -> String {
    let facts = [
        ("trace", scene.trace.clone()),
        ("duration", span(scene.duration_ms)),
        ("nodes", grouped(scene.nodes)),
        ("pods that start and want an address", grouped(scene.pods)),
        ("node groups", scene.groups.join(", ")),
        ("instance types", scene.instance_types.join(", ")),
        ("subnets", scene.subnets.join("; ")),
        ("kubelet tries again after", span(scene.kubelet_retry_ms)),
        ("points of time are apart", span(scene.series_step_ms)),
        ("seed", scene.seed.to_string()),
        ("made by", concat!("cni-tuner ", env!("CARGO_PKG_VERSION")).to_owned()),
    ];
    let rows = facts
        .iter()
        .map(|(name, value)| format!("<tr>{}{}</tr>\n", tagged("th", name), tagged("td", value)));
    let rows: String = rows.collect();
    section("What was simulated", &format!("<table>\n{rows}</table>\n"))
}

fn section(title: &str, body: &str) -> String {
    format!("<section>\n<h2>{title}</h2>\n<div class=\"wide\">\n{body}</div>\n</section>\n")
}

fn tagged(tag: &str, text: &str) -> String {
    format!("<{tag}>{}</{tag}>", escaped(text))
}

/// Text that a browser shows as it is.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in printable(text).chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            letter => escaped.push(letter),
        }
    }
    escaped
}

const LATE_PODS_MAX: usize = 5;

/// Charts bring their own colours, which can be seen in both schemes; their text takes the page's.
const STYLE: &str = "\
:root {
  color-scheme: light dark;
  --ink: #1c1f23; --paper: #ffffff; --faint: #f2f4f6; --line: #d0d7de;
}
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ec; --paper: #14171a; --faint: #1e2328; --line: #363d45; }
}
body { margin: 0; background: var(--paper); color: var(--ink); }
body { font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1rem 0 .3rem; overflow-wrap: anywhere; }
.conclusion { background: var(--faint); border-left: 4px solid #1f986a; padding: .75rem 1rem; }
figure { margin: 1.5rem 0; overflow-x: auto; }
figure svg { max-width: 100%; height: auto; min-width: 46rem; }
svg text[fill=\"#7A7A7A\"] { fill: var(--ink); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--line); }
th, td { text-align: left; vertical-align: top; }
th { font-weight: 600; }
td { overflow-wrap: anywhere; min-width: 2rem; }
.figures td, .figures tr:first-child th { text-align: right; }
.env { font-family: ui-monospace, monospace; font-size: .9em; }
.swatch { display: inline-block; width: 1.4rem; height: .35rem; vertical-align: middle; }
";

#[cfg(test)]
mod tests {
    use super::super::samples::{Sample, comparison, three};
    use super::*;

    #[test]
    fn the_page_stands_alone() {
        let page = page(&three());
        assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"));
        assert_eq!(page.matches("<svg ").count(), 4);
        for word in ["<script", "<link", "<img", "@import", "url(", "src=", "href="] {
            assert!(!page.contains(word), "{word}");
        }
        let addresses = page.matches("http").count();
        assert_eq!(addresses, page.matches("http://www.w3.org/2000/svg").count());
    }

    #[test]
    fn names_are_shown_and_never_read_as_markup() {
        let page = page(&three());
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
        assert!(!page.contains('\u{1b}'));
        assert!(page.contains("&amp;amp;"), "a reference in a name stays a name");
    }

    #[test]
    fn every_tag_is_closed() {
        let page = page(&three());
        for tag in ["table", "tr", "td", "th", "section", "figure", "svg", "div", "p", "h2"] {
            let opened = page.matches(&format!("<{tag}>")).count()
                + page.matches(&format!("<{tag} ")).count();
            assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
        }
    }

    #[test]
    fn the_seed_the_version_and_the_settings_are_named() {
        let page = page(&three());
        for text in [
            "<th>seed</th><td>1</td>",
            concat!("cni-tuner ", env!("CARGO_PKG_VERSION")),
            ">WARM_IP_TARGET=1</td>",
            "<th>failed ADDs</th><td>0</td><td>300</td><td>0</td>",
        ] {
            assert!(page.contains(text), "{text}");
        }
    }

    #[test]
    fn pods_that_did_not_wait_are_not_listed() {
        let mut quiet = comparison(&[Sample::NONE]);
        quiet.runs[0].outcome.worst.clear();
        assert!(!page(&quiet).contains("waited longest"));
        assert!(page(&three()).contains("waited longest"));
    }
}
