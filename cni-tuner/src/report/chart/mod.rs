//! Charts as SVG, with text that stays text.
//!
//! There is no background, and every colour has enough contrast on white and on black, so that a
//! chart can be read in either theme. Positions are whole pixels, worked out in whole numbers.

mod canvas;

mod scale;

mod timeline;

mod story;

mod waits;

mod calls;

mod front;

pub(super) use self::canvas::Colour;
use super::figures::shortened;
use super::{Comparison, Run};

pub use story::svg as story;

pub(super) use calls::svg as calls;
pub(super) use front::svg as front;
pub(super) use waits::svg as waits;

/// The colour of the run at that place. With more runs than colours they come around again; labels
/// and the order still tell them apart.
pub(super) fn colour(at: usize) -> Colour {
    COLOURS[at % COLOURS.len()]
}

/// What a run is called where there is room for so many letters.
fn label(run: &Run) -> String {
    shortened(&run.label, LABEL_LETTERS)
}

/// The runs with their colours.
fn coloured(comparison: &Comparison) -> impl Iterator<Item = (Colour, &Run)> {
    comparison.runs.iter().enumerate().map(|(at, run)| (colour(at), run))
}

const WIDTH: i32 = 960;
const MARGIN: i32 = 12;
const LABEL_LETTERS: usize = 34;

/// 3.2 to 1 or better on white and on black.
const COLOURS: [Colour; 8] = [
    Colour(0xD9, 0x5F, 0x02),
    Colour(0x3B, 0x82, 0xC4),
    Colour(0xA8, 0x6F, 0xC9),
    Colour(0x1F, 0x98, 0x6A),
    Colour(0xD6, 0x4B, 0x63),
    Colour(0x8F, 0x80, 0x1A),
    Colour(0x1B, 0x93, 0xA3),
    Colour(0xA0, 0x70, 0x50),
];

#[cfg(test)]
mod tests {
    use super::super::samples::{HOSTILE, Sample, comparison, three};
    use super::*;

    fn charts(comparison: &Comparison) -> [String; 4] {
        [story(comparison), waits(comparison), calls(comparison), front(comparison)]
    }

    /// Contrast by WCAG 2, of a colour against a lighter or darker one.
    fn contrast(a: Colour, b: Colour) -> f64 {
        let luminance = |Colour(red, green, blue): Colour| {
            let part = |value: u8| {
                let value = f64::from(value) / 255.0;
                if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
            };
            0.2126 * part(red) + 0.7152 * part(green) + 0.0722 * part(blue)
        };
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn colours_can_be_seen_on_white_and_on_black() {
        for colour in COLOURS.into_iter().chain([canvas::TEXT]) {
            for ground in [Colour(255, 255, 255), Colour(0, 0, 0)] {
                let contrast = contrast(colour, ground);
                assert!(contrast >= 3.2, "{colour:?} on {ground:?}: {contrast:.2}");
            }
        }
    }

    #[test]
    fn names_are_escaped() {
        for svg in charts(&three()) {
            assert!(svg.contains("&lt;script&gt;"), "{svg}");
            assert!(!svg.contains("<script") && !svg.contains('\u{1b}'), "{svg}");
            assert!(!svg.contains(HOSTILE));
        }
    }

    #[test]
    fn nothing_is_drawn_outside_of_the_picture() {
        let mut empty = comparison(&[Sample::NONE]);
        empty.runs[0].outcome = crate::model::outcome::Outcome {
            duration_ms: 0,
            events: 0,
            fleet: Default::default(),
            nodes: Vec::new(),
            subnets: Vec::new(),
            series: Vec::new(),
            worst: Vec::new(),
        };
        empty.scene.duration_ms = 0;
        empty.scene.burst_ms = None;
        for svg in charts(&three()).into_iter().chain(charts(&empty)) {
            for coordinate in coordinates(&svg) {
                assert!((0..=2_000).contains(&coordinate), "{coordinate} in {svg}");
            }
        }
    }

    /// Every x and y of a picture.
    fn coordinates(svg: &str) -> Vec<i32> {
        let names = [" x=\"", " y=\"", " x1=\"", " x2=\"", " y1=\"", " y2=\"", " cx=\"", " cy=\""];
        let names = names.into_iter().chain([" points=\"", " width=\"", " height=\""]);
        let values = names.flat_map(|name| svg.split(name).skip(1).collect::<Vec<_>>());
        let values = values.map(|rest| rest.split('"').next().unwrap());
        values
            .flat_map(|value| value.split([' ', ',']).filter(|part| !part.is_empty()))
            .map(|part| part.parse().unwrap())
            .collect()
    }

    #[test]
    fn the_same_runs_give_the_same_picture() {
        assert_eq!(charts(&three()), charts(&three()));
    }
}
