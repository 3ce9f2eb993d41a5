//! Numbers and names as people read them.

use crate::words::grouped;

/// Address-milliseconds as address-hours with one decimal, rounded: `1,392.5`.
pub fn address_hours(address_ms: u128) -> String {
    let tenths = (address_ms + TENTH_OF_HOUR_MS / 2) / TENTH_OF_HOUR_MS;
    format!("{}.{}", grouped(tenths / 10), tenths % 10)
}

/// A wait, with as much of it as matters: `0 ms`, `640 ms`, `12.4 s`, `8 m 20 s`, `2 h 05 m`.
pub fn wait(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        60_000..3_600_000 => format!("{} m {:02} s", ms / 60_000, ms / 1_000 % 60),
        _ => format!("{} h {:02} m", grouped(ms / 3_600_000), ms / 60_000 % 60),
    }
}

/// A span of a trace: `24 h`, `1 h 30 m`, `45 s`.
pub fn span(ms: u64) -> String {
    let parts = [(ms / 3_600_000, "h"), (ms / 60_000 % 60, "m"), (ms / 1_000 % 60, "s")];
    let parts: Vec<String> = parts
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{} {unit}", grouped(count)))
        .collect();
    if parts.is_empty() { format!("{ms} ms") } else { parts.join(" ") }
}

/// A share in whole percent: `44%`, `<1%`; none of nothing.
pub fn percent(part: u128, whole: u128) -> Option<String> {
    let share = (part * 100 + whole / 2).checked_div(whole)?;
    Some(if share == 0 && part > 0 { "<1%".to_owned() } else { format!("{share}%") })
}

/// A name without anything that a terminal or an XML reader would act on.
pub fn printable(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for letter in name.chars() {
        if letter.is_control() || turns_text(letter) || ('\u{fffe}'..='\u{ffff}').contains(&letter)
        {
            text.extend(letter.escape_default());
        } else {
            text.push(letter);
        }
    }
    text
}

/// Marks that make the text around them run the other way, lines and figures with it.
fn turns_text(letter: char) -> bool {
    matches!(letter, '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A printable name of at most so many letters; a longer one loses its end.
pub fn shortened(name: &str, letters_max: usize) -> String {
    let name = printable(name);
    if name.chars().count() <= letters_max {
        return name;
    }
    name.chars().take(letters_max.saturating_sub(1)).chain(['\u{2026}']).collect()
}

const TENTH_OF_HOUR_MS: u128 = 360_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_hours_are_rounded() {
        let cases = [(0, "0.0"), (3_600_000, "1.0"), (179_999, "0.0"), (180_000, "0.1")];
        for (ms, text) in cases {
            assert_eq!(address_hours(ms), text, "{ms}");
        }
        assert_eq!(address_hours(3_600_000 * 12_345), "12,345.0");
    }

    #[test]
    fn waits_have_the_unit_that_matters() {
        let cases = [
            (0, "0 ms"),
            (999, "999 ms"),
            (1_000, "1.0 s"),
            (59_999, "59.9 s"),
            (60_000, "1 m 00 s"),
            (500_000, "8 m 20 s"),
            (7_500_000, "2 h 05 m"),
        ];
        for (ms, text) in cases {
            assert_eq!(wait(ms), text);
        }
    }

    #[test]
    fn spans_leave_out_what_is_zero() {
        let cases =
            [(86_400_000, "24 h"), (5_400_000, "1 h 30 m"), (45_000, "45 s"), (12, "12 ms")];
        for (ms, text) in cases {
            assert_eq!(span(ms), text);
        }
    }

    #[test]
    fn percents_are_whole_and_of_something() {
        assert_eq!(percent(1, 3).as_deref(), Some("33%"));
        assert_eq!(percent(1, 1_000).as_deref(), Some("<1%"));
        assert_eq!(percent(0, 5).as_deref(), Some("0%"));
        assert_eq!(percent(1, 0), None);
    }

    #[test]
    fn names_cannot_act_on_a_terminal() {
        assert_eq!(printable("a\u{1b}[31m\nb\0"), "a\\u{1b}[31m\\nb\\u{0}");
        assert_eq!(printable("a\u{202e}b"), "a\\u{202e}b");
        assert_eq!(printable("caf\u{e9}, <x>"), "caf\u{e9}, <x>");
        assert_eq!(shortened("abcdef", 4), "abc\u{2026}");
        assert_eq!(shortened("abcd", 4), "abcd");
    }
}
