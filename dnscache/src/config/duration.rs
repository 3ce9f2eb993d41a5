//! Durations as Go writes them: `1h30m`, `0.5s`, `500ms`.

use std::time::Duration;

/// Reads a duration: one or more decimal numbers with a unit each (`ns us µs ms s m h`), or a bare
/// `0`. `None` for anything else, negative durations included, and for more than 292 years, which
/// is where Go's end.
pub fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut nanos = 0_u64;
    loop {
        let (part, after) = parse_part(rest)?;
        nanos = nanos.checked_add(part).filter(|&sum| sum <= i64::MAX as u64)?;
        if after.is_empty() {
            return Some(Duration::from_nanos(nanos));
        }
        rest = after;
    }
}

/// Nanoseconds of the first number and unit, and what follows them.
fn parse_part(text: &str) -> Option<(u64, &str)> {
    let (whole, rest) = split_digits(text);
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => split_digits(rest),
        None => ("", rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let (unit_len, unit_nanos) = unit(rest)?;
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let nanos = whole.checked_mul(unit_nanos)?.checked_add(fraction_of(fraction, unit_nanos))?;
    Some((nanos, &rest[unit_len..]))
}

/// `0.fraction` of a unit, rounded down to whole nanoseconds.
fn fraction_of(fraction: &str, unit_nanos: u64) -> u64 {
    let mut nanos = 0;
    let mut digit_nanos = u128::from(unit_nanos) * 10_u128.pow(6);
    for digit in fraction.bytes() {
        digit_nanos /= 10;
        nanos += u128::from(digit - b'0') * digit_nanos;
    }
    (nanos / 10_u128.pow(6)) as u64
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

/// Octets and nanoseconds of the unit that `text` begins with.
fn unit(text: &str) -> Option<(usize, u64)> {
    // Longer names first: `ms` is not `m`.
    const UNITS: [(&str, u64); 8] = [
        ("ns", 1),
        ("us", 1_000),
        ("\u{b5}s", 1_000),
        ("\u{3bc}s", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
    ];
    UNITS.iter().find(|(name, _)| text.starts_with(name)).map(|&(name, nanos)| (name.len(), nanos))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn go_durations_are_read() {
        for (text, millis) in [
            ("0", 0),
            ("0s", 0),
            ("5s", 5_000),
            ("+5s", 5_000),
            ("0.5s", 500),
            (".5s", 500),
            ("5.s", 5_000),
            ("500ms", 500),
            ("1h30m", 5_400_000),
            ("1h1m1s1ms", 3_661_001),
            ("1500us", 1),
            ("1500\u{b5}s", 1),
            ("1.5h", 5_400_000),
        ] {
            assert_eq!(parse(text).map(|read| read.as_millis()), Some(millis), "{text:?}");
        }
        assert_eq!(parse("0.000000001s"), Some(Duration::from_nanos(1)));
        assert_eq!(parse("0.3s"), Some(Duration::from_millis(300)));
    }

    #[test]
    fn other_texts_are_not_durations() {
        for text in [
            "",
            "30",
            "s",
            ".s",
            "-5s",
            "5 s",
            "5sec",
            "5s5",
            "1d",
            "1e3s",
            "+",
            "9223372036855s",
            "99999999999999999999s",
            "9223372036854775808ns",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn random_text_never_panics(text in "[0-9.a-zµ+-]{0,40}") {
            let _ = parse(&text);
        }

        #[test]
        fn what_rust_prints_in_whole_seconds_is_read(secs in 0_u64..9_000_000_000) {
            prop_assert_eq!(parse(&format!("{secs}s")), Some(Duration::from_secs(secs)));
        }
    }
}
