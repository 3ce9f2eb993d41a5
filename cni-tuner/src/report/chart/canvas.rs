//! Shapes and text on an SVG in memory.

use plotters::backend::SVGBackend;
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::element::{Circle, Drawable, PathElement, PointCollection, Polygon, Rectangle, Text};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, FontStyle, IntoTextStyle, RGBColor, ShapeStyle, TextStyle};

/// Red, green, blue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::report) struct Colour(pub u8, pub u8, pub u8);

impl Colour {
    fn style(self, opacity: f64) -> ShapeStyle {
        ShapeStyle::from(RGBColor(self.0, self.1, self.2).mix(opacity))
    }
}

/// Of all text.
pub(in crate::report) const TEXT: Colour = Colour(0x7A, 0x7A, 0x7A);
/// Of axes and ticks, which stay behind everything else.
pub(super) const GRID: Colour = Colour(0x8C, 0x8C, 0x8C);

/// Which end of a text stands at its point.
pub(super) use plotters::style::text_anchor::HPos as Side;

/// A point, in pixels from the left and from the top.
pub(super) type At = (i32, i32);

/// A picture that is being drawn.
pub(super) struct Canvas<'a> {
    area: DrawingArea<SVGBackend<'a>, Shift>,
}

/// The picture of that size that `draw` draws.
pub(super) fn picture(width: i32, height: i32, draw: impl FnOnce(&Canvas<'_>)) -> String {
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, (width as u32, height as u32)).into_drawing_area();
    let canvas = Canvas { area };
    draw(&canvas);
    canvas.area.present().expect(IN_MEMORY);
    drop(canvas);
    svg
}

impl<'a> Canvas<'a> {
    fn put<'e, E>(&self, element: &'e E)
    where
        &'e E: PointCollection<'e, At>,
        E: Drawable<SVGBackend<'a>>,
    {
        self.area.draw(element).expect(IN_MEMORY);
    }

    /// A line of small text, centred on its height.
    pub(super) fn text(&self, text: &str, at: At, side: Side) {
        self.styled(text, at, side, SMALL, FontStyle::Normal, TEXT);
    }

    /// A line of small text in a colour of its own.
    pub(super) fn coloured_text(&self, text: &str, at: At, side: Side, colour: Colour) {
        self.styled(text, at, side, SMALL, FontStyle::Bold, colour);
    }

    /// A heading.
    pub(super) fn heading(&self, text: &str, at: At) {
        self.styled(text, at, HPos::Left, LARGE, FontStyle::Bold, TEXT);
    }

    fn styled(&self, text: &str, at: At, side: Side, size: i32, weight: FontStyle, colour: Colour) {
        let style: TextStyle = ("sans-serif", size, weight).into_text_style(&self.area);
        let colour = RGBColor(colour.0, colour.1, colour.2);
        let style = style.color(&colour).pos(Pos::new(side, VPos::Center));
        self.put(&Text::new(text, at, style));
    }

    /// A line through points.
    pub(super) fn path(&self, points: Vec<At>, colour: Colour, width: u32) {
        self.put(&PathElement::new(points, colour.style(1.0).stroke_width(width)));
    }

    /// A thin line that stays behind everything else.
    pub(super) fn rule(&self, from: At, to: At) {
        self.put(&PathElement::new(vec![from, to], GRID.style(0.35).stroke_width(1)));
    }

    /// A filled box.
    pub(super) fn bar(&self, from: At, to: At, colour: Colour, opacity: f64) {
        self.put(&Rectangle::new([from, to], colour.style(opacity).filled()));
    }

    /// A filled shape.
    pub(super) fn shape(&self, points: Vec<At>, colour: Colour, opacity: f64) {
        self.put(&Polygon::new(points, colour.style(opacity).filled()));
    }

    /// A disc, or a ring where it is not filled.
    pub(super) fn dot(&self, at: At, radius: i32, colour: Colour, is_filled: bool) {
        let style = colour.style(0.9).stroke_width(2);
        self.put(&Circle::new(at, radius, if is_filled { style.filled() } else { style }));
    }
}

/// About how wide a small text is.
pub(super) fn text_width(text: &str) -> i32 {
    text.chars().count() as i32 * 7
}

const SMALL: i32 = 13;
const LARGE: i32 = 15;
const IN_MEMORY: &str = "a picture in memory takes every shape";
