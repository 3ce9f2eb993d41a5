//! The chart of a run: three panels of bars, as SVG with text that stays text.
//!
//! There is no background, and every colour has enough contrast on white and on black, so that
//! the chart can be read in either theme.

use anyhow::anyhow;
use plotters::backend::SVGBackend;
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::element::{PathElement, Rectangle, Text};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, FontStyle, IntoTextStyle, RGBColor, TextStyle};

use super::summary::{Spread, Summary};
use super::table::figure;

/// The whole chart.
pub fn svg(summaries: &[Summary]) -> anyhow::Result<String> {
    let panels = panels(summaries);
    let height = panels.iter().map(Panel::height).sum::<i32>() + MARGIN;
    let mut text = String::new();
    {
        let size = (WIDTH as u32, height as u32);
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        let mut top = MARGIN;
        for panel in &panels {
            draw(&area, panel, top).map_err(|error| anyhow!("chart: {error}"))?;
            top += panel.height();
        }
        area.present().map_err(|error| anyhow!("chart: {error}"))?;
    }
    Ok(text)
}

/// Bars on one scale, in groups.
struct Panel {
    title: &'static str,
    groups: Vec<Group>,
    /// Where a line across all bars stands.
    mark: Option<f64>,
}

/// The servers in one scenario.
struct Group {
    scenario: &'static str,
    bars: Vec<(&'static str, Spread)>,
}

impl Panel {
    fn height(&self) -> i32 {
        let bars: usize = self.groups.iter().map(|group| group.bars.len()).sum();
        TITLE_HEIGHT + BAR_STEP * bars as i32 + GROUP_GAP * self.groups.len() as i32 + PANEL_GAP
    }

    /// The value at the right edge. A server far beyond the others is cut there: its figure stands
    /// beside the bar, and the others stay comparable.
    fn edge(&self) -> f64 {
        let bars = || self.groups.iter().flat_map(|group| &group.bars);
        let limit = Spread::of(bars().map(|(_, spread)| spread.median))
            .map_or(1.0, |all| all.median * EDGE_PER_MEDIAN);
        let within = bars().map(|(_, spread)| spread.max).filter(|value| *value <= limit);
        within.fold(self.mark.unwrap_or(0.0), f64::max).max(f64::MIN_POSITIVE)
    }
}

/// What is shown: hits against the echo, misses in microseconds, memory of full caches. A panel
/// without a bar is left out.
fn panels(summaries: &[Summary]) -> Vec<Panel> {
    let is_miss = |summary: &&Summary| summary.scenario.starts_with("miss");
    let hits = groups(summaries.iter().filter(|s| !is_miss(s) && s.server != "echo"), |summary| {
        summary.echo_ratio
    });
    let misses =
        groups(summaries.iter().filter(is_miss).filter(|s| s.server != "echo"), |s| Some(s.cpu_us));
    let full = |summary: &&Summary| FULL_CACHES.contains(&summary.scenario);
    let memory = groups(summaries.iter().filter(full).filter(|s| s.server != "echo"), |summary| {
        let Spread { median, min, max } = summary.rss_bytes;
        Some(Spread { median: median / 1e6, min: min / 1e6, max: max / 1e6 })
    });
    let panels = [
        Panel {
            title: "CPU per answer, as a multiple of a batched UDP echo",
            groups: hits,
            mark: Some(1.0),
        },
        Panel { title: "CPU per miss, in microseconds", groups: misses, mark: None },
        Panel { title: "Resident memory, in MB", groups: memory, mark: None },
    ];
    panels.into_iter().filter(|panel| !panel.groups.is_empty()).collect()
}

/// The summaries that have a value, by scenario.
fn groups<'a>(
    summaries: impl Iterator<Item = &'a Summary>,
    value: impl Fn(&Summary) -> Option<Spread>,
) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for summary in summaries {
        let Some(spread) = value(summary) else { continue };
        let bar = (summary.server, spread);
        match groups.last_mut().filter(|group| group.scenario == summary.scenario) {
            Some(group) => group.bars.push(bar),
            None => groups.push(Group { scenario: summary.scenario, bars: vec![bar] }),
        }
    }
    groups
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

fn draw(area: &Area, panel: &Panel, top: i32) -> Drawn {
    label(area, panel.title, (MARGIN, top + TITLE_HEIGHT / 2), HPos::Left, FontStyle::Bold)?;
    let edge = panel.edge();
    let mut y = top + TITLE_HEIGHT;
    for group in &panel.groups {
        label(area, group.scenario, (MARGIN, y + BAR_STEP / 2), HPos::Left, FontStyle::Normal)?;
        for (server, spread) in &group.bars {
            let name_at = (BARS_LEFT - 8, y + BAR_STEP / 2);
            label(area, server, name_at, HPos::Right, FontStyle::Normal)?;
            bar(area, server, spread, y, edge)?;
            y += BAR_STEP;
        }
        y += GROUP_GAP;
    }
    if let Some(mark) = panel.mark {
        let x = x_of(mark, edge);
        let line = vec![(x, top + TITLE_HEIGHT - 2), (x, y - GROUP_GAP + 2)];
        area.draw(&PathElement::new(line, TEXT.stroke_width(1))).map_err(fault)?;
    }
    Ok(())
}

/// A bar as long as the median, a thin line from least to most, and the figure.
fn bar(area: &Area, server: &str, spread: &Spread, y: i32, edge: f64) -> Drawn {
    let (bottom, middle) = (y + BAR_STEP - 4, y + BAR_STEP / 2 - 1);
    let right = x_of(spread.median, edge);
    let corners = [(BARS_LEFT, y + 2), (right, bottom)];
    area.draw(&Rectangle::new(corners, colour(server).filled())).map_err(fault)?;
    let cut = spread.median > edge;
    let end = x_of(spread.max, edge);
    if !cut {
        let line = vec![(x_of(spread.min, edge), middle), (end, middle)];
        area.draw(&PathElement::new(line, TEXT.stroke_width(1))).map_err(fault)?;
    }
    let figure = figure(spread.median);
    let text = if cut { format!("\u{2192} {figure}") } else { figure };
    label(area, &text, (end.max(right) + 6, middle + 1), HPos::Left, FontStyle::Normal)
}

fn label(area: &Area, text: &str, at: (i32, i32), side: HPos, weight: FontStyle) -> Drawn {
    let style: TextStyle = ("sans-serif", FONT_SIZE, weight).into_text_style(area);
    let style = style.color(&TEXT).pos(Pos::new(side, VPos::Center));
    area.draw(&Text::new(text, at, style)).map_err(fault)
}

fn x_of(value: f64, edge: f64) -> i32 {
    BARS_LEFT + (f64::from(BARS_WIDTH) * (value / edge).clamp(0.0, 1.0)) as i32
}

/// The server that the bench is about stands out; the others are told apart by their names.
fn colour(server: &str) -> RGBColor {
    if server == "dnscache" { OWN } else { OTHER }
}

fn fault(error: impl std::fmt::Display) -> Box<dyn std::error::Error> {
    error.to_string().into()
}

const WIDTH: i32 = 820;
const MARGIN: i32 = 12;
const TITLE_HEIGHT: i32 = 30;
const BAR_STEP: i32 = 18;
const GROUP_GAP: i32 = 10;
const PANEL_GAP: i32 = 14;
const BARS_LEFT: i32 = 190;
/// Leaves room for the figure on the right.
const BARS_WIDTH: i32 = 550;
const FONT_SIZE: i32 = 16;
/// How far beyond the median of a panel a bar is still drawn to its end.
const EDGE_PER_MEDIAN: f64 = 3.0;
/// Scenarios whose memory says something about the cache.
const FULL_CACHES: [&str; 3] = ["hit-100k", "hit-100k-zipf", "hit-1m"];
/// 4.0 to 1 or better on white and on black.
const TEXT: RGBColor = RGBColor(0x7A, 0x7A, 0x7A);
const OWN: RGBColor = RGBColor(0xD9, 0x5F, 0x02);
const OTHER: RGBColor = RGBColor(0x6C, 0x8E, 0xBF);
