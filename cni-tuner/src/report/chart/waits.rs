//! How long pods wait for an address under each setting: median, p95, p99 and the longest.

use super::canvas::{Canvas, Colour, Side, picture};
use super::scale::{Scale, wait_ticks};
use super::{MARGIN, WIDTH, coloured, label};
use crate::model::outcome::Waits;
use crate::report::figures::wait;
use crate::report::{Comparison, Run};
use crate::words::{counted, grouped};

/// The picture, as SVG.
pub(in crate::report) fn svg(comparison: &Comparison) -> String {
    let rows = comparison.runs.len() as i32;
    let bottom = TOP + rows * ROW_HEIGHT;
    let longest_ms = comparison.runs.iter().map(|run| run.outcome.fleet.waits.max_ms).max();
    let ticks = wait_ticks(longest_ms.unwrap_or(0));
    let to = ticks.last().map_or(1, |tick| tick.value);
    let x = Scale { from: 0, to, start: LEFT, end: RIGHT };
    picture(WIDTH, bottom + 48, |canvas| {
        canvas.heading("How long pods wait for an address", (MARGIN, MARGIN + 8));
        canvas.text(KEY, (MARGIN, MARGIN + 30), Side::Left);
        for tick in &ticks {
            let at = x.at(tick.value);
            canvas.rule((at, TOP), (at, bottom));
            canvas.text(&tick.label, (at, bottom + 14), Side::Center);
        }
        for (row, (colour, run)) in coloured(comparison).enumerate() {
            draw_row(canvas, x, TOP + row as i32 * ROW_HEIGHT + ROW_HEIGHT / 2, colour, run);
        }
    })
}

fn draw_row(canvas: &Canvas<'_>, x: Scale, row: i32, colour: Colour, run: &Run) {
    let fleet = &run.outcome.fleet;
    canvas.coloured_text(&label(run), (MARGIN, row - 8), Side::Left, colour);
    canvas.text(&text(&fleet.waits, fleet.pods_never), (MARGIN, row + 9), Side::Left);
    if fleet.waits.count == 0 {
        return;
    }
    let Waits { p50_ms, p95_ms, p99_ms, max_ms, .. } = fleet.waits;
    let (p50, p95, p99, max) = (x.at(p50_ms), x.at(p95_ms), x.at(p99_ms), x.at(max_ms));
    canvas.bar((p50, row - 3), (p95.max(p50 + 1), row + 3), colour, 0.8);
    canvas.path(vec![(p95, row), (max.max(p95 + 1), row)], colour, 2);
    canvas.path(vec![(p50, row - 9), (p50, row + 9)], colour, 3);
    canvas.path(vec![(max, row - 6), (max, row + 6)], colour, 2);
    canvas.dot((p99, row), 6, colour, true);
}

fn text(waits: &Waits, pods_never: u64) -> String {
    let never = match pods_never {
        0 => String::new(),
        pods => format!(", {} never served", counted(grouped(pods), "pod")),
    };
    if waits.count == 0 {
        return format!("no pod was given an address{never}");
    }
    let (p50, p99) = (wait(waits.p50_ms), wait(waits.p99_ms));
    format!("p50 {p50}, p99 {p99}, max {}{never}", wait(waits.max_ms))
}

const KEY: &str = "thick stroke: median; box: to p95; dot: p99; thin line: to the longest";
const TOP: i32 = 62;
const ROW_HEIGHT: i32 = 44;
const LEFT: i32 = 400;
const RIGHT: i32 = WIDTH - MARGIN - 28;
