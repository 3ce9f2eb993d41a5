//! What each setting asks of EC2: calls by what they are for, those that were throttled, and when.

use std::collections::BTreeMap;

use super::canvas::{Canvas, Colour, Side, TEXT, picture, text_width};
use super::scale::{Scale, count_ticks, time_step};
use super::timeline::{Frame, Timeline, Value};
use super::{MARGIN, WIDTH, colour, coloured, label};
use crate::model::ec2::Action;
use crate::model::outcome::Point;
use crate::report::figures::span;
use crate::report::{Comparison, Run};
use crate::words::grouped;

/// The picture, as SVG.
pub(in crate::report) fn svg(comparison: &Comparison) -> String {
    let rows = comparison.runs.len() as i32;
    let bottom = TOP + rows * ROW_HEIGHT;
    let panel_top = bottom + 74;
    let largest = comparison.runs.iter().map(|run| run.outcome.fleet.calls_total()).max();
    let ticks = count_ticks(largest.unwrap_or(0));
    let to = ticks.last().map_or(1, |tick| tick.value);
    let x = Scale { from: 0, to, start: LEFT, end: RIGHT };
    let panels = if is_throttled(comparison) { 2 } else { 1 };
    picture(WIDTH, panel_top + panels * PANEL_STEP - 34, |canvas| {
        canvas.heading("EC2 calls", (MARGIN, MARGIN + 8));
        draw_key(canvas);
        for tick in &ticks {
            let at = x.at(tick.value);
            canvas.rule((at, TOP), (at, bottom));
            canvas.text(&tick.label, (at, bottom + 14), Side::Center);
        }
        for (row, (colour, run)) in coloured(comparison).enumerate() {
            draw_row(canvas, x, TOP + row as i32 * ROW_HEIGHT + ROW_HEIGHT / 2, colour, run);
        }
        draw_times(canvas, comparison, panel_top, "calls", |point| point.calls);
        if is_throttled(comparison) {
            let top = panel_top + PANEL_STEP;
            draw_times(canvas, comparison, top, "throttled calls", |point| point.throttled);
        }
    })
}

fn is_throttled(comparison: &Comparison) -> bool {
    comparison.runs.iter().any(|run| run.outcome.fleet.throttled_total() > 0)
}

fn draw_key(canvas: &Canvas<'_>) {
    let mut left = MARGIN;
    for (at, kind) in KINDS.iter().enumerate() {
        canvas.bar((left, MARGIN + 24), (left + 12, MARGIN + 36), kind_colour(at), 0.9);
        canvas.text(kind.name, (left + 18, MARGIN + 30), Side::Left);
        left += 18 + text_width(kind.name) + 18;
    }
}

/// Kinds have other colours than the first settings.
fn kind_colour(at: usize) -> Colour {
    colour(at + 4)
}

fn draw_row(canvas: &Canvas<'_>, x: Scale, row: i32, colour: Colour, run: &Run) {
    let fleet = &run.outcome.fleet;
    canvas.coloured_text(&label(run), (MARGIN, row - 8), Side::Left, colour);
    let (calls, throttled) = (fleet.calls_total(), fleet.throttled_total());
    let text = format!("{} calls, {} of them throttled", grouped(calls), grouped(throttled));
    canvas.text(&text, (MARGIN, row + 9), Side::Left);
    let mut sum = 0;
    for (at, kind) in KINDS.iter().enumerate() {
        let count = kind.count(&fleet.calls);
        let (from, to) = (x.at(sum), x.at(sum + count));
        if to > from {
            canvas.bar((from, row - 9), (to, row + 4), kind_colour(at), 0.9);
        }
        sum += count;
    }
    if throttled > 0 {
        let to = x.at(throttled).max(x.start + 2);
        canvas.bar((x.start, row + 7), (to, row + 11), TEXT, 1.0);
    }
}

/// Calls that are made for the same end.
struct Kind {
    name: &'static str,
    actions: &'static [Action],
}

impl Kind {
    fn count(&self, calls: &BTreeMap<Action, u64>) -> u64 {
        self.actions.iter().filter_map(|action| calls.get(action)).sum()
    }
}

const KINDS: [Kind; 4] = [
    Kind {
        name: "addresses (Assign, Unassign)",
        actions: &[Action::AssignPrivateIpAddresses, Action::UnassignPrivateIpAddresses],
    },
    Kind {
        name: "ENIs added (Create, Attach, Modify)",
        actions: &[
            Action::CreateNetworkInterface,
            Action::AttachNetworkInterface,
            Action::ModifyNetworkInterfaceAttribute,
        ],
    },
    Kind {
        name: "ENIs freed (Detach, Delete)",
        actions: &[Action::DetachNetworkInterface, Action::DeleteNetworkInterface],
    },
    Kind {
        name: "Describe*, CreateTags",
        actions: &[
            Action::DescribeNetworkInterfaces,
            Action::DescribeSubnets,
            Action::DescribeInstances,
            Action::CreateTags,
        ],
    },
];

fn draw_times(
    canvas: &Canvas<'_>,
    comparison: &Comparison,
    top: i32,
    what: &str,
    value: fn(&Point) -> u32,
) {
    let duration_ms = comparison.scene.duration_ms;
    let step_ms = time_step(duration_ms.max(1), 144).max(comparison.scene.series_step_ms);
    let line = |(colour, run)| (colour, binned(run, step_ms, value));
    let panel = Timeline {
        title: &format!("{what} in every {}, since the start", span(step_ms)),
        span_ms: (0, duration_ms),
        marked_ms: None,
        ground: Vec::new(),
        lines: coloured(comparison).map(line).collect(),
    };
    let left = MARGIN + 50;
    panel.draw(canvas, Frame { left, right: RIGHT, top, bottom: top + PANEL_HEIGHT });
}

/// The sum of a count in every step. What a point counts was before it.
fn binned(run: &Run, step_ms: u64, value: fn(&Point) -> u32) -> Vec<Value> {
    let mut bins: BTreeMap<u64, u64> = BTreeMap::new();
    for point in &run.outcome.series {
        let bin = point.at_ms.saturating_sub(1) / step_ms * step_ms;
        *bins.entry(bin).or_default() += u64::from(value(point));
    }
    bins.into_iter().collect()
}

const TOP: i32 = 62;
const ROW_HEIGHT: i32 = 44;
const PANEL_HEIGHT: i32 = 150;
const PANEL_STEP: i32 = PANEL_HEIGHT + 74;
const LEFT: i32 = 330;
const RIGHT: i32 = WIDTH - MARGIN - 28;

#[cfg(test)]
mod tests {
    use super::super::super::samples::three;
    use super::*;

    #[test]
    fn every_action_is_of_one_kind() {
        for action in Action::ALL {
            let kinds = KINDS.iter().filter(|kind| kind.actions.contains(&action)).count();
            assert_eq!(kinds, 1, "{}", action.name());
        }
    }

    #[test]
    fn calls_fall_into_the_step_they_were_made_in() {
        let run = &three().runs[1];
        let binned = binned(run, 600_000, |point| point.calls);
        let sum: u64 = binned.iter().map(|(_, calls)| calls).sum();
        assert_eq!(sum, 1);
        assert!(binned.contains(&(31_800_000, 1)), "{binned:?}");
    }
}
