//! What `GET /hot` tells: the names asked most, and what search lists cost. JSON, in the shapes
//! below; `dnscache top` reads it back into them.

use serde::{Deserialize, Serialize};

use crate::config::registry::record_type_name;
use crate::engine::policy::hot::{HotName, Way};

/// Names and numbers at one moment.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct HotReading {
    /// Seconds since the program started; what follows is counted since then.
    pub uptime_secs: f64,
    /// Questions of clients.
    pub questions: u64,
    /// Of them, those that only a search list made: expansions answered NXDOMAIN.
    pub search_noise: u64,
    /// Questions that clients did not have to ask because of a rewritten reply.
    pub questions_saved: u64,
    /// Questions answered with the name that exists.
    pub rewrites: u64,
    /// Questions denied because a name above does not exist.
    pub cuts: u64,
    /// Facts and records that were renewed because they are of a hot name.
    pub refreshes: u64,
    /// How many of these there may be in a second, as of now.
    pub refreshes_per_second_max: f64,
    /// Names that are followed, those beyond the page's limit included.
    pub followed: u64,
    /// The names that are followed, the hottest first.
    pub names: Vec<HotNameReading>,
}

/// A name that is asked often.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HotNameReading {
    /// In presentation form, with the final dot.
    pub name: String,
    /// Questions per second, over the last minute or so.
    pub per_second: f64,
    /// Questions, decayed: one counts half after 30 s.
    pub count: u64,
    /// Questions it spared clients since it is followed.
    pub saved: u64,
    /// Types asked.
    pub types: Vec<String>,
    /// How it was asked, the most frequent way first.
    pub ways: Vec<WayReading>,
    /// Whether applications that write this name would be spared their search list by a final dot.
    pub trailing_dot: bool,
}

/// A search domain under which a name was asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WayReading {
    /// In presentation form; the root if the name was asked as it is.
    pub suffix: String,
    /// The part of the name's questions that came this way, 0 to 1.
    pub share: f64,
}

impl From<&HotName> for HotNameReading {
    fn from(hot: &HotName) -> Self {
        Self {
            name: hot.name.to_string(),
            per_second: hot.per_second,
            count: hot.count,
            saved: hot.saved,
            types: hot.types.iter().map(|qtype| record_type_name(*qtype)).collect(),
            ways: by_suffix(&hot.ways),
            trailing_dot: hot.ways.iter().any(would_gain_from_a_dot),
        }
    }
}

/// With a dot behind it, the name would have been asked as it is at once.
fn would_gain_from_a_dot(way: &Way) -> bool {
    way.is_absolute && !way.suffix.is_root()
}

/// Ways that differ in the suffix only, with their shares.
fn by_suffix(ways: &[Way]) -> Vec<WayReading> {
    let all: u64 = ways.iter().map(|way| way.count).sum();
    let mut readings: Vec<WayReading> = Vec::with_capacity(ways.len());
    for way in ways {
        let suffix = way.suffix.to_string();
        let share = way.count as f64 / all.max(1) as f64;
        match readings.iter_mut().find(|reading| reading.suffix == suffix) {
            Some(reading) => reading.share += share,
            None => readings.push(WayReading { suffix, share }),
        }
    }
    readings.sort_by(|a, b| b.share.total_cmp(&a.share));
    readings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ListenerId;
    use crate::engine::wire::name::Name;

    fn way(suffix: &str, is_absolute: bool, listener: u16, count: u64) -> Way {
        let suffix = Name::from_text(suffix).expect("a name");
        Way { suffix, is_absolute, listener: ListenerId(listener), count }
    }

    fn reading(ways: Vec<Way>) -> HotNameReading {
        let name = Name::from_text("a\\027b.example").expect("a name");
        let types = vec![1, 28, 65, 4711];
        (&HotName { name, count: 100, per_second: 2.5, saved: 30, types, ways }).into()
    }

    #[test]
    fn ways_that_differ_in_listener_or_words_are_one() {
        let ways = vec![
            way("x.", true, 0, 40),
            way("y.", true, 0, 35),
            way("y.", false, 0, 15),
            way("y.", true, 1, 10),
        ];
        let expected = [("y.", 0.6), ("x.", 0.4)];
        let found = reading(ways).ways;
        assert_eq!(found.len(), expected.len());
        for (way, (suffix, share)) in found.iter().zip(expected) {
            assert_eq!(way.suffix, suffix);
            assert!((way.share - share).abs() < 1e-9, "{way:?}");
        }
    }

    #[test]
    fn a_dot_helps_whoever_wrote_the_whole_name() {
        assert!(reading(vec![way(".", true, 0, 9), way("x.", true, 0, 1)]).trailing_dot);
        for ways in [vec![], vec![way(".", true, 0, 9)], vec![way("x.", false, 0, 9)]] {
            assert!(!reading(ways).trailing_dot);
        }
    }

    #[test]
    fn names_are_escaped_and_types_named() {
        let reading = reading(vec![]);
        assert_eq!(reading.name, "a\\027b.example.");
        assert_eq!(reading.types, ["A", "AAAA", "HTTPS", "TYPE4711"]);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let names = vec![reading(vec![way("x.", true, 0, 1), way(".", true, 0, 2)])];
        let written = HotReading { uptime_secs: 1.5, questions: 7, names, ..HotReading::default() };
        let text = serde_json::to_string(&written).expect("JSON");
        assert_eq!(serde_json::from_str::<HotReading>(&text).expect("the same JSON"), written);
    }
}
