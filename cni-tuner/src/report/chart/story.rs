//! The comparison in one picture: the figures of each setting, the addresses it holds over the
//! whole trace, and the minutes around the burst.

use super::canvas::{Canvas, GRID, Side, TEXT, picture};
use super::timeline::{Frame, Timeline, Value};
use super::{MARGIN, WIDTH, coloured, label};
use crate::model::outcome::{Point, Tally};
use crate::report::environment::environment_text;
use crate::report::figures::{address_hours, shortened, span};
use crate::report::metrics::wait_of;
use crate::report::{Comparison, Run, Scene};
use crate::words::{counted, grouped};

/// The picture, as SVG.
pub fn svg(comparison: &Comparison) -> String {
    let legend = RUN_HEIGHT * comparison.runs.len() as i32 + 2 * ROW_HEIGHT;
    let top = MARGIN + TITLE_HEIGHT + legend + 38;
    let zoom_ms = zoom(comparison);
    picture(WIDTH, top + 2 * (PANEL_HEIGHT + PANEL_GAP), |canvas| {
        canvas.heading(&title(&comparison.scene), (MARGIN, MARGIN + 8));
        draw_legend(canvas, comparison);
        let whole = Frame { left: LEFT, right: RIGHT, top, bottom: top + PANEL_HEIGHT };
        draw_whole(canvas, comparison, zoom_ms, whole);
        let top = whole.bottom + PANEL_GAP;
        draw_close(canvas, comparison, zoom_ms, top);
    })
}

fn title(scene: &Scene) -> String {
    let (pods, nodes) =
        (counted(grouped(scene.pods), "pod"), counted(grouped(scene.nodes), "node"));
    let types = match scene.instance_types.as_slice() {
        [one] => (*one).to_owned(),
        types => counted(grouped(types.len()), "instance type"),
    };
    let name = shortened(&scene.trace, 40);
    format!("{name}: {pods} started on {nodes} ({types}) in {}", span(scene.duration_ms))
}

/// A row for each of the settings, with what it costs and whom it fails.
fn draw_legend(canvas: &Canvas<'_>, comparison: &Comparison) {
    let mut row = MARGIN + TITLE_HEIGHT + ROW_HEIGHT / 2;
    for (name, column) in FIGURE_COLUMNS {
        canvas.text(name, (column, row), Side::Right);
    }
    row += ROW_HEIGHT;
    for (colour, run) in coloured(comparison) {
        canvas.bar((MARGIN, row - 2), (MARGIN + 22, row + 2), colour, 1.0);
        canvas.coloured_text(&label(run), (MARGIN + 30, row), Side::Left, colour);
        let environment = shortened(&environment_text(&run.assignment), ENVIRONMENT_LETTERS);
        canvas.text(&environment, (MARGIN + 30, row + 16), Side::Left);
        for (figure, (_, column)) in figures(run).iter().zip(FIGURE_COLUMNS) {
            canvas.text(figure, (column, row), Side::Right);
        }
        row += RUN_HEIGHT;
    }
    canvas.bar((MARGIN, row - 6), (MARGIN + 22, row + 6), GRID, 0.3);
    let under = most_served(comparison).map(|run| format!("in use by pods, under {}", label(run)));
    canvas.text(&under.unwrap_or_default(), (MARGIN + 30, row), Side::Left);
}

const FIGURE_COLUMNS: [(&str, i32); 6] = [
    ("failed ADDs", 400),
    ("pods never served", 540),
    ("wait p99", 635),
    ("wait max", 725),
    ("idle address-hours", 865),
    ("EC2 calls", 948),
];

fn figures(run: &Run) -> [String; FIGURE_COLUMNS.len()] {
    let fleet = &run.outcome.fleet;
    [
        grouped(fleet.failed_adds),
        grouped(fleet.pods_never),
        wait_of(fleet, |waits| waits.p99_ms),
        wait_of(fleet, |waits| waits.max_ms),
        address_hours(fleet.idle_address_ms()),
        grouped(fleet.calls_total()),
    ]
}

fn draw_whole(
    canvas: &Canvas<'_>,
    comparison: &Comparison,
    marked_ms: Option<(u64, u64)>,
    frame: Frame,
) {
    let panel = Timeline {
        title: "pod addresses held, by the time since the start",
        span_ms: (0, comparison.scene.duration_ms),
        marked_ms,
        ground: in_use(comparison),
        lines: lines(comparison, |point| point.held),
    };
    panel.draw(canvas, frame);
}

/// Two panels side by side, over the burst or else the whole trace: addresses held, and pods that
/// wait for one.
fn draw_close(canvas: &Canvas<'_>, comparison: &Comparison, zoom_ms: Option<(u64, u64)>, top: i32) {
    let is_close = zoom_ms.is_some();
    let span_ms = zoom_ms.unwrap_or((0, comparison.scene.duration_ms));
    let middle = i32::midpoint(LEFT, RIGHT);
    let bottom = top + PANEL_HEIGHT;
    let held = Timeline {
        title: if is_close {
            "pod addresses held, around the busiest minutes"
        } else {
            "pod addresses held"
        },
        span_ms,
        marked_ms: None,
        ground: in_use(comparison),
        lines: lines(comparison, |point| point.held),
    };
    held.draw(canvas, Frame { left: LEFT, right: middle - 20, top, bottom });
    let waiting = Timeline {
        title: "pods that wait for an address",
        span_ms,
        marked_ms: None,
        ground: Vec::new(),
        lines: lines(comparison, |point| point.waiting),
    };
    let frame = Frame { left: middle + 40, right: RIGHT, top, bottom };
    waiting.draw(canvas, frame);
    if comparison.runs.iter().all(|run| no_pod_waits(&run.outcome.fleet)) {
        let centre = (i32::midpoint(frame.left, frame.right), i32::midpoint(top, bottom));
        canvas.coloured_text("no pod waits", centre, Side::Center, TEXT);
    }
}

/// Points of time may be so far apart that they show nobody who waits between them.
fn no_pod_waits(fleet: &Tally) -> bool {
    fleet.pods_never == 0 && fleet.waits.max_ms == 0
}

fn lines(
    comparison: &Comparison,
    value: fn(&Point) -> u32,
) -> Vec<(super::canvas::Colour, Vec<Value>)> {
    coloured(comparison).map(|(colour, run)| (colour, values(run, value))).collect()
}

fn values(run: &Run, value: fn(&Point) -> u32) -> Vec<Value> {
    run.outcome.series.iter().map(|point| (point.at_ms, u64::from(value(point)))).collect()
}

/// What pods use where the most of them are served.
fn in_use(comparison: &Comparison) -> Vec<Value> {
    most_served(comparison).map(|run| values(run, |point| point.used)).unwrap_or_default()
}

/// The run whose use is the nearest there is to what pods want.
fn most_served(comparison: &Comparison) -> Option<&Run> {
    comparison.runs.iter().max_by_key(|run| run.outcome.fleet.used_address_ms)
}

/// The time from shortly before the burst until nobody waits any more; none where that would be
/// most of the trace, or where points are too far apart to show it.
fn zoom(comparison: &Comparison) -> Option<(u64, u64)> {
    let scene = &comparison.scene;
    let burst_ms = scene.burst_ms?;
    let runs = comparison.runs.iter();
    let calm_ms = runs.map(|run| waiting_until(run, burst_ms)).max()? + MINUTE_MS;
    let to_ms = calm_ms.max(burst_ms + AFTER_MS_MIN).min(scene.duration_ms);
    let from_ms = burst_ms.saturating_sub(BEFORE_MS);
    let is_part = (to_ms - from_ms) * 2 < scene.duration_ms;
    let is_seen = scene.series_step_ms <= MINUTE_MS;
    (is_part && is_seen).then_some((from_ms, to_ms))
}

/// When the pods of a burst have their addresses: nobody waits for a minute, or half an hour is
/// over.
fn waiting_until(run: &Run, burst_ms: u64) -> u64 {
    let near = burst_ms..=burst_ms + AFTER_MS_MAX;
    let waits = |point: &&Point| near.contains(&point.at_ms) && point.waiting > 0;
    let times_ms = run.outcome.series.iter().filter(waits).map(|point| point.at_ms);
    times_ms.fold(
        burst_ms,
        |until_ms, at_ms| {
            if at_ms <= until_ms + MINUTE_MS { at_ms } else { until_ms }
        },
    )
}

const MINUTE_MS: u64 = 60_000;
const BEFORE_MS: u64 = MINUTE_MS;
const AFTER_MS_MIN: u64 = 5 * MINUTE_MS;
const AFTER_MS_MAX: u64 = 30 * MINUTE_MS;

const TITLE_HEIGHT: i32 = 26;
const ROW_HEIGHT: i32 = 20;
/// Two lines: the figures, and the environment below the name.
const RUN_HEIGHT: i32 = 38;
const ENVIRONMENT_LETTERS: usize = 100;
const PANEL_HEIGHT: i32 = 190;
const PANEL_GAP: i32 = 62;
/// Room for the labels of the ticks.
const LEFT: i32 = 62;
const RIGHT: i32 = WIDTH - MARGIN - 10;

#[cfg(test)]
mod tests {
    use super::super::super::samples::{Sample, comparison, three};
    use super::*;

    /// With points that show a burst.
    fn fine() -> Comparison {
        let mut fine = three();
        fine.scene.series_step_ms = MINUTE_MS;
        fine
    }

    #[test]
    fn the_burst_is_seen_from_close_by() {
        let burst_ms = 32_400_000;
        assert_eq!(zoom(&fine()), Some((burst_ms - BEFORE_MS, burst_ms + AFTER_MS_MIN)));
    }

    #[test]
    fn a_short_trace_is_not_seen_twice() {
        let mut short = comparison(&[Sample::NONE]);
        short.scene.duration_ms = 600_000;
        short.scene.burst_ms = Some(60_000);
        assert_eq!(zoom(&short), None);
        short.scene.burst_ms = None;
        assert_eq!(zoom(&short), None);
        assert!(!svg(&short).contains("around the busiest minutes"));
    }

    #[test]
    fn what_lies_between_two_points_is_not_shown_from_close_by() {
        let mut coarse = fine();
        assert!(zoom(&coarse).is_some());
        coarse.scene.series_step_ms = MINUTE_MS + 1;
        assert_eq!(zoom(&coarse), None);
    }

    #[test]
    fn no_pod_waits_only_where_none_did() {
        let says_so = |sample: Sample| svg(&comparison(&[sample])).contains("\nno pod waits\n");
        assert!(says_so(Sample::NONE));
        let between_points = Sample { wait_ms: 25_000, ..Sample::NONE };
        assert!(!says_so(between_points));
        assert!(!says_so(Sample { pods_never: 1, ..Sample::NONE }));
    }

    #[test]
    fn every_setting_has_its_figures() {
        let svg = svg(&fine());
        for text in ["W=1", "1,000.0", "8 m 20 s", "24 h", "9:00"] {
            assert!(svg.contains(&format!("\n{text}\n")), "{text}: {svg}");
        }
    }
}
