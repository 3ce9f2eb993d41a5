//! What addresses cost and what they buy: idle address-hours against the wait of pods, a dot for
//! each setting, and the front of those that no other beats on both.

use super::canvas::{At, Canvas, Side, TEXT, picture, text_width};
use super::scale::{Scale, count_ticks, wait_ticks};
use super::{MARGIN, WIDTH, coloured, label};
use crate::report::{Comparison, Run};
use crate::words::{counted, grouped};

/// The picture, as SVG.
pub(in crate::report) fn svg(comparison: &Comparison) -> String {
    let idle = comparison.runs.iter().map(idle_thousandths).max();
    let longest_ms = comparison.runs.iter().map(|run| run.outcome.fleet.waits.p99_ms).max();
    let (columns, rows) =
        (count_ticks(idle.unwrap_or(0).div_ceil(HOUR)), wait_ticks(longest_ms.unwrap_or(0)));
    let to = columns.last().map_or(1, |tick| tick.value) * HOUR;
    let x = Scale { from: 0, to, start: LEFT, end: RIGHT };
    let to = rows.last().map_or(1, |tick| tick.value);
    let y = Scale { from: 0, to, start: BOTTOM, end: TOP };
    picture(WIDTH, BOTTOM + 56, |canvas| {
        canvas.heading("Idle addresses against waits", (MARGIN, MARGIN + 8));
        canvas.text(KEY, (MARGIN, MARGIN + 30), Side::Left);
        canvas.text("wait p99", (LEFT, TOP - 16), Side::Left);
        canvas.text("idle address-hours", (RIGHT, BOTTOM + 36), Side::Right);
        for tick in &columns {
            let at = x.at(tick.value * HOUR);
            canvas.rule((at, TOP), (at, BOTTOM));
            canvas.text(&tick.label, (at, BOTTOM + 16), Side::Center);
        }
        for tick in &rows {
            let at = y.at(tick.value);
            canvas.rule((LEFT, at), (RIGHT, at));
            canvas.text(&tick.label, (LEFT - 10, at), Side::Right);
        }
        draw_front(canvas, comparison, x, y);
        draw_dots(canvas, comparison, x, y);
    })
}

/// In thousandths of an address-hour, so that short traces are not all at 0.
fn idle_thousandths(run: &Run) -> u64 {
    let thousandths = run.outcome.fleet.idle_address_ms() / 3_600;
    u64::try_from(thousandths).unwrap_or(u64::MAX)
}

fn place(run: &Run, x: Scale, y: Scale) -> At {
    (x.at(idle_thousandths(run)), y.at(run.outcome.fleet.waits.p99_ms))
}

fn draw_front(canvas: &Canvas<'_>, comparison: &Comparison, x: Scale, y: Scale) {
    let mut points: Vec<At> = Vec::new();
    for run in front(&comparison.runs) {
        let at = place(run, x, y);
        if let Some((_, row)) = points.last().copied() {
            points.push((at.0, row));
        }
        points.push(at);
    }
    if points.len() > 1 {
        canvas.path(points, TEXT, 1);
    }
}

/// The runs that serve every pod and that no other such run beats on both counts, those with the
/// fewest idle addresses first.
fn front(runs: &[Run]) -> Vec<&Run> {
    let costs = |run: &Run| (run.outcome.fleet.idle_address_ms(), run.outcome.fleet.waits.p99_ms);
    let mut serving: Vec<&Run> =
        runs.iter().filter(|run| run.outcome.fleet.pods_never == 0).collect();
    serving.sort_by_key(|run| costs(run));
    let mut shortest_ms = None;
    serving.retain(|run| {
        let (_, wait_ms) = costs(run);
        let is_better = shortest_ms.is_none_or(|shortest_ms| wait_ms < shortest_ms);
        if is_better {
            shortest_ms = Some(wait_ms);
        }
        is_better
    });
    serving
}

fn draw_dots(canvas: &Canvas<'_>, comparison: &Comparison, x: Scale, y: Scale) {
    let calls = |run: &Run| run.outcome.fleet.calls_total();
    let most = comparison.runs.iter().map(calls).max().unwrap_or(0);
    let dot = |run: &Run| (place(run, x, y), radius(calls(run), most));
    let mut taken: Vec<Area> = comparison.runs.iter().map(|run| around(dot(run))).collect();
    for (colour, run) in coloured(comparison) {
        let (at, radius) = dot(run);
        canvas.dot(at, radius, colour, run.outcome.fleet.failed_adds == 0);
        let text =
            format!("{}, {}{}", label(run), counted(grouped(calls(run)), "call"), unserved(run));
        let (at, side) = free_place(at, radius, text_width(&text), &mut taken);
        canvas.coloured_text(&text, at, side, colour);
    }
}

/// The waits of a run count only those pods that were served.
fn unserved(run: &Run) -> String {
    match run.outcome.fleet.pods_never {
        0 => String::new(),
        pods => format!(", {} never served", counted(grouped(pods), "pod")),
    }
}

/// From 5 to 15 pixels; the area grows with the calls.
fn radius(calls: u64, most: u64) -> i32 {
    let share = u128::from(calls) * 100 / u128::from(most.max(1));
    5 + share.isqrt() as i32
}

/// Where a dot or a label stands: its upper left and its lower right corner.
type Area = (At, At);

fn around((at, radius): (At, i32)) -> Area {
    ((at.0 - radius, at.1 - radius), (at.0 + radius, at.1 + radius))
}

/// A place for a label beside its dot where nothing stands yet: to the right or to the left, and a
/// few pixels higher or lower as often as it takes.
fn free_place(at: At, radius: i32, width: i32, taken: &mut Vec<Area>) -> (At, Side) {
    let gap = radius + 6;
    let (right, left) = (at.0 + gap, at.0 - gap - width);
    let area = |left: i32, row: i32| ((left, row - 8), (left + width, row + 8));
    // A line of the front may lead through the middle of the dot.
    let rows = (0..40).flat_map(|step| [at.1 - 9 - step * 8, at.1 + 9 + step * 8]);
    let places = rows.flat_map(|row| [(right, row, Side::Left), (left, row, Side::Right)]);
    let is_free = |(left, row, _): &(i32, i32, Side)| {
        let area = area(*left, *row);
        let within = *left > LEFT && left + width < WIDTH - MARGIN;
        within && (TOP..BOTTOM).contains(row) && taken.iter().all(|other| are_apart(area, *other))
    };
    let (left, row, side) = places.into_iter().find(is_free).unwrap_or((right, at.1, Side::Left));
    taken.push(area(left, row));
    let anchor = if matches!(side, Side::Left) { left } else { left + width };
    ((anchor, row), side)
}

fn are_apart((from, to): Area, (other_from, other_to): Area) -> bool {
    to.0 < other_from.0 || other_to.0 < from.0 || to.1 <= other_from.1 || other_to.1 <= from.1
}

const KEY: &str =
    "ring: some ADDs failed; larger: more EC2 calls; line: settings no other beats on both counts";
/// An address-hour in thousandths.
const HOUR: u64 = 1_000;
const TOP: i32 = 84;
const BOTTOM: i32 = 400;
const LEFT: i32 = 90;
const RIGHT: i32 = WIDTH - MARGIN - 28;

#[cfg(test)]
mod tests {
    use super::super::super::samples::{Sample, comparison, three};
    use super::*;

    fn check(samples: &[Sample], expected: &[&str]) {
        let comparison = comparison(samples);
        let labels: Vec<&str> =
            front(&comparison.runs).iter().map(|run| run.label.as_str()).collect();
        assert_eq!(labels, expected);
    }

    #[test]
    fn less_than_an_hour_has_a_place_of_its_own() {
        let mut short = comparison(&[Sample::NONE]);
        let x = Scale { from: 0, to: HOUR, start: 0, end: 100 };
        let y = Scale { from: 0, to: 1, start: 0, end: 0 };
        let fleet = &mut short.runs[0].outcome.fleet;
        fleet.held_address_ms = fleet.used_address_ms + 720_000;
        assert_eq!(place(&short.runs[0], x, y).0, 20);
    }

    const DEAR: Sample = Sample { label: "dear", idle_hours: 9, ..Sample::NONE };
    const SLOW: Sample = Sample { label: "slow", wait_ms: 9, idle_hours: 1, ..Sample::NONE };

    #[test]
    fn the_front_is_what_nothing_else_beats() {
        check(&[DEAR, SLOW], &["slow", "dear"]);
        let beaten = Sample { label: "beaten", idle_hours: 10, ..DEAR };
        check(&[beaten, DEAR, SLOW], &["slow", "dear"]);
        let starving = Sample { label: "starving", pods_never: 1, idle_hours: 0, ..SLOW };
        check(&[DEAR, starving], &["dear"]);
        let svg = svg(&comparison(&[DEAR, starving]));
        assert!(svg.contains("calls, 1 pod never served\n"), "{svg}");
    }

    #[test]
    fn labels_do_not_lie_upon_each_other_nor_upon_dots() {
        let mut taken = vec![around(((200, 200), 5)), around(((260, 200), 9))];
        for _ in 0..8 {
            free_place((200, 200), 5, 100, &mut taken);
        }
        for (at, area) in taken.iter().enumerate() {
            for other in &taken[at + 1..] {
                assert!(are_apart(*area, *other), "{taken:?}");
            }
        }
    }

    #[test]
    fn a_setting_that_fails_pods_is_a_ring() {
        let svg = svg(&three());
        assert_eq!(svg.matches("<circle").count(), 3);
        assert_eq!(svg.matches("fill=\"none\" stroke=\"#3B82C4\"").count(), 1, "{svg}");
    }
}
