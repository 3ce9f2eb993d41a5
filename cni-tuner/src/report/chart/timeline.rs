//! A panel of lines over time.

use super::canvas::{At, Canvas, Colour, GRID, Side};
use super::scale::{Scale, clock_ticks, count_ticks};

/// Where a panel's axes are, in pixels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    pub(super) left: i32,
    pub(super) right: i32,
    pub(super) top: i32,
    pub(super) bottom: i32,
}

/// What a panel shows.
pub(super) struct Timeline<'a> {
    /// What the values are, with their unit.
    pub(super) title: &'a str,
    /// The span of time.
    pub(super) span_ms: (u64, u64),
    /// A span that stands out.
    pub(super) marked_ms: Option<(u64, u64)>,
    /// Values that are shown as ground below the lines.
    pub(super) ground: Vec<Value>,
    /// The lines.
    pub(super) lines: Vec<(Colour, Vec<Value>)>,
}

/// A moment and the value that holds from then on.
pub(super) type Value = (u64, u64);

impl Timeline<'_> {
    /// Draws the axes and everything between them.
    pub(super) fn draw(&self, canvas: &Canvas<'_>, frame: Frame) {
        let ticks = count_ticks(self.largest());
        let (from, to) = self.span_ms;
        let x = Scale { from, to, start: frame.left, end: frame.right };
        let to = ticks.last().map_or(1, |tick| tick.value);
        let y = Scale { from: 0, to, start: frame.bottom, end: frame.top };
        canvas.text(self.title, (frame.left, frame.top - 14), Side::Left);
        for tick in &ticks {
            let at = y.at(tick.value);
            canvas.rule((frame.left, at), (frame.right, at));
            canvas.text(&tick.label, (frame.left - 8, at), Side::Right);
        }
        self.draw_times(canvas, frame, x);
        self.draw_values(canvas, frame, x, y);
    }

    fn draw_times(&self, canvas: &Canvas<'_>, frame: Frame, x: Scale) {
        if let Some((from, to)) = self.marked_ms {
            let left = x.at(from);
            let right = x.at(to).max(left + 2);
            canvas.bar((left, frame.top), (right, frame.bottom), GRID, 0.2);
        }
        let room = (frame.right - frame.left) / 64;
        for tick in clock_ticks(x.from, x.to, u64::from(room.unsigned_abs()).max(2)) {
            let at = x.at(tick.value);
            canvas.rule((at, frame.bottom), (at, frame.bottom + 5));
            canvas.text(&tick.label, (at, frame.bottom + 16), Side::Center);
        }
    }

    fn draw_values(&self, canvas: &Canvas<'_>, frame: Frame, x: Scale, y: Scale) {
        let ground = steps(&self.ground, x, y);
        if let (Some(first), Some(last)) = (ground.first(), ground.last()) {
            let ends = [(last.0, frame.bottom), (first.0, frame.bottom)];
            canvas.shape(ground.iter().copied().chain(ends).collect(), GRID, 0.3);
        }
        for (colour, values) in &self.lines {
            let points = steps(values, x, y);
            if !points.is_empty() {
                canvas.path(points, *colour, 2);
            }
        }
    }

    fn largest(&self) -> u64 {
        let lines = self.lines.iter().map(|(_, values)| values);
        let values = lines.chain([&self.ground]).flat_map(|values| within(values, self.span_ms));
        values.map(|(_, value)| *value).max().unwrap_or(0)
    }
}

/// The values of a span, and the one that holds at its start.
fn within(values: &[Value], (from_ms, to_ms): (u64, u64)) -> &[Value] {
    let start = values.partition_point(|(at_ms, _)| *at_ms <= from_ms).saturating_sub(1);
    let end = values.partition_point(|(at_ms, _)| *at_ms <= to_ms);
    &values[start.min(end)..end]
}

/// The corners of a line that goes from value to value in steps; what falls onto the same column of
/// pixels is reduced to its first, least, largest and last.
fn steps(values: &[Value], x: Scale, y: Scale) -> Vec<At> {
    let mut columns: Vec<(i32, [i32; 4])> = Vec::new();
    for (at_ms, value) in within(values, (x.from, x.to)) {
        let (column, row) = (x.at(*at_ms), y.at(*value));
        match columns.last_mut().filter(|(last, _)| *last == column) {
            Some((_, [_, least, largest, last])) => {
                (*least, *largest, *last) = ((*least).min(row), (*largest).max(row), row);
            }
            None => columns.push((column, [row; 4])),
        }
    }
    let mut points: Vec<At> = Vec::new();
    for (column, rows) in columns {
        if let Some((_, row)) = points.last().copied() {
            add(&mut points, (column, row));
        }
        for row in rows {
            add(&mut points, (column, row));
        }
    }
    if let Some((_, row)) = points.last().copied() {
        add(&mut points, (x.end, row));
    }
    points
}

/// Adds a corner; the one before it goes if it lies on the way.
fn add(points: &mut Vec<At>, point: At) {
    if points.last() == Some(&point) {
        return;
    }
    if let [.., before, last] = points.as_slice() {
        let level = before.1 == last.1 && last.1 == point.1;
        let upright = before.0 == last.0 && last.0 == point.0;
        let onward = (last.1 - before.1).signum() == (point.1 - last.1).signum();
        if level || (upright && onward) {
            points.pop();
        }
    }
    points.push(point);
}

#[cfg(test)]
mod tests {
    use super::*;

    const X: Scale = Scale { from: 0, to: 100, start: 0, end: 10 };
    const Y: Scale = Scale { from: 0, to: 10, start: 10, end: 0 };

    fn check(values: &[Value], expected: &[At]) {
        assert_eq!(steps(values, X, Y), expected);
    }

    #[test]
    fn a_value_holds_until_the_next() {
        check(&[], &[]);
        check(&[(0, 4)], &[(0, 6), (10, 6)]);
        check(&[(0, 0), (50, 10)], &[(0, 10), (5, 10), (5, 0), (10, 0)]);
    }

    #[test]
    fn a_peak_within_one_column_is_kept() {
        check(&[(0, 1), (50, 2), (51, 9), (52, 2)], &[(0, 9), (5, 9), (5, 1), (5, 8), (10, 8)]);
    }

    #[test]
    fn a_span_begins_with_what_holds_there() {
        let x = Scale { from: 40, to: 60, start: 0, end: 10 };
        let values = [(0, 3), (50, 5), (70, 9)];
        assert_eq!(steps(&values, x, Y), [(0, 7), (5, 7), (5, 5), (10, 5)]);
    }

    #[test]
    fn a_long_quiet_line_has_two_corners() {
        let values: Vec<Value> = (0..1_000).map(|at| (at, 5)).collect();
        let x = Scale { from: 0, to: 999, start: 0, end: 800 };
        assert_eq!(steps(&values, x, Y), [(0, 5), (800, 5)]);
    }
}
