//! A reading in words: what the live view and the plain text have in common.

use clap::ValueEnum;

use crate::admin::hot::{HotNameReading, HotReading, WayReading};

/// What names are ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Sort {
    /// Questions per second, most first.
    #[default]
    Rate,
    /// Questions saved, most first.
    Saved,
    /// The alphabet, from the last label on.
    Name,
}

impl Sort {
    /// The order after this one, for a key that goes round.
    pub fn next(self) -> Self {
        match self {
            Self::Rate => Self::Saved,
            Self::Saved => Self::Name,
            Self::Name => Self::Rate,
        }
    }

    /// How a heading says it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Saved => "saved",
            Self::Name => "name",
        }
    }
}

/// The names in order. Those that are equal stay as they came, the hottest first.
pub fn sorted(reading: &HotReading, sort: Sort) -> Vec<&HotNameReading> {
    let mut names: Vec<&HotNameReading> = reading.names.iter().collect();
    match sort {
        Sort::Rate => names.sort_by(|a, b| b.per_second.total_cmp(&a.per_second)),
        Sort::Saved => names.sort_by_key(|name| std::cmp::Reverse(name.saved)),
        Sort::Name => names.sort_by(|a, b| a.name.rsplit('.').cmp(b.name.rsplit('.'))),
    }
    names
}

/// One name, a text for each column.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    /// Questions per second.
    pub per_second: String,
    /// Questions saved.
    pub saved: String,
    /// Types asked.
    pub types: String,
    /// The name.
    pub name: String,
    /// Under which suffixes it was asked.
    pub ways: String,
}

impl Row {
    /// The headings above rows.
    pub fn headings() -> Self {
        let [per_second, saved, types, name, ways] =
            ["per s", "saved", "types", "name", "asked under"].map(str::to_owned);
        Self { per_second, saved, types, name, ways }
    }

    /// The row of a name.
    pub fn of(name: &HotNameReading) -> Self {
        let ways: Vec<String> = name.ways.iter().map(way).collect();
        Self {
            per_second: format!("{:.1}", name.per_second),
            saved: grouped(name.saved),
            types: name.types.join(" "),
            name: name.name.clone(),
            ways: ways.join(", "),
        }
    }
}

fn way(way: &WayReading) -> String {
    let suffix = if way.suffix == "." { "as it is" } else { &way.suffix };
    format!("{suffix} {:.0}%", way.share * 100.0)
}

/// Names that an application should write with a dot behind them, in the order of `names`.
pub fn advice<'a>(names: &[&'a HotNameReading]) -> Vec<&'a str> {
    let gaining = names.iter().filter(|name| name.trailing_dot);
    gaining.map(|name| name.name.as_str()).collect()
}

/// What stands above the advice.
pub const ADVICE: &str =
    "Applications would ask once instead of walking the search list if they wrote";

/// What the numbers of the whole cache say, a line each.
pub fn summary(reading: &HotReading) -> [String; 3] {
    let asked_without_us = reading.questions.saturating_add(reading.questions_saved);
    [
        format!(
            "search noise  {} of {} questions ({})",
            grouped(reading.search_noise),
            grouped(reading.questions),
            percent(reading.search_noise, reading.questions),
        ),
        format!(
            "saved         {} questions more would have been asked ({}): {} rewrites, {} cuts",
            grouped(reading.questions_saved),
            percent(reading.questions_saved, asked_without_us),
            grouped(reading.rewrites),
            grouped(reading.cuts),
        ),
        format!(
            "kept fresh    {} names, {} refreshes (at most {} per second)",
            grouped(reading.followed),
            grouped(reading.refreshes),
            reading.refreshes_per_second_max,
        ),
    ]
}

/// The part of questions that only search lists made, 0 to 1.
pub fn noise_share(reading: &HotReading) -> f64 {
    share(reading.search_noise, reading.questions)
}

fn percent(part: u64, whole: u64) -> String {
    format!("{:.1}%", share(part, whole) * 100.0)
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { (part as f64 / whole as f64).min(1.0) }
}

/// A duration in its two largest units.
pub fn uptime(secs: f64) -> String {
    let secs = secs as u64;
    match (secs / 86_400, secs / 3600 % 24, secs / 60 % 60, secs % 60) {
        (0, 0, 0, secs) => format!("{secs}s"),
        (0, 0, minutes, secs) => format!("{minutes}m{secs:02}s"),
        (0, hours, minutes, _) => format!("{hours}h{minutes:02}m"),
        (days, hours, ..) => format!("{days}d{hours:02}h"),
    }
}

/// A number with a comma at each thousand.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn name(name: &str, per_second: f64, saved: u64, ways: &[(&str, f64)]) -> HotNameReading {
        let way = |&(suffix, share): &(&str, f64)| WayReading { suffix: suffix.to_owned(), share };
        HotNameReading {
            name: name.to_owned(),
            per_second,
            count: (per_second * 30.0) as u64,
            saved,
            types: vec!["A".to_owned(), "AAAA".to_owned()],
            trailing_dot: ways.iter().any(|(suffix, _)| *suffix != "." && saved > 0),
            ways: ways.iter().map(way).collect(),
        }
    }

    /// Three names: one that would gain from a dot, a Service, and one asked as it is.
    pub(in crate::top) fn reading() -> HotReading {
        let pod = "default.svc.cluster.local.";
        HotReading {
            uptime_secs: 3_725.0,
            questions: 10_000,
            search_noise: 2_500,
            questions_saved: 90_000,
            rewrites: 30_000,
            cuts: 1_200,
            refreshes: 1_234,
            refreshes_per_second_max: 50.0,
            followed: 3,
            names: vec![
                name("amazon.com.", 12.34, 86_400, &[(pod, 0.75), (".", 0.25)]),
                name("api.payments.svc.cluster.local.", 3.0, 0, &[(pod, 1.0)]),
                name("plain.example.", 0.5, 0, &[(".", 1.0)]),
            ],
        }
    }

    fn check(sort: Sort, expected: [&str; 3]) {
        let mut reading = reading();
        reading.names[2].saved = 100_000;
        let sorted = sorted(&reading, sort);
        let found: Vec<_> = sorted.iter().map(|name| &name.name[..5]).collect();
        assert_eq!(found, expected, "{sort:?}");
    }

    #[test]
    fn names_are_ordered_as_asked() {
        check(Sort::Rate, ["amazo", "api.p", "plain"]);
        check(Sort::Saved, ["plain", "amazo", "api.p"]);
        check(Sort::Name, ["amazo", "plain", "api.p"]);
    }

    #[test]
    fn orders_go_round() {
        let round = [Sort::Rate, Sort::Saved, Sort::Name, Sort::Rate];
        assert!(round.windows(2).all(|pair| pair[0].next() == pair[1]));
    }

    #[test]
    fn durations_show_two_units() {
        for (secs, expected) in
            [(5.9, "5s"), (65.0, "1m05s"), (3_725.0, "1h02m"), (266_400.0, "3d02h")]
        {
            assert_eq!(uptime(secs), expected);
        }
    }

    #[test]
    fn thousands_are_grouped() {
        for (number, expected) in
            [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")]
        {
            assert_eq!(grouped(number), expected);
        }
    }

    #[test]
    fn nothing_asked_is_no_noise() {
        assert_eq!(noise_share(&HotReading::default()), 0.0);
        let odd = HotReading { questions: 1, search_noise: 5, ..HotReading::default() };
        assert_eq!(noise_share(&odd), 1.0);
        assert!(summary(&HotReading::default())[0].ends_with("0 of 0 questions (0.0%)"));
    }
}
