//! Words around numbers, as people read them.

use std::fmt::Display;

/// A number of things: `1 pod`, `2 pods`, `29 addresses`, `2 prefixes`.
pub fn counted(number: impl Display, one: &str) -> String {
    let number = number.to_string();
    let ending = match number.as_str() {
        "1" => "",
        _ if one.ends_with(['s', 'x']) => "es",
        _ => "s",
    };
    format!("{number} {one}{ending}")
}

/// Digits in groups of three: `12,345`.
pub fn grouped(number: impl Display) -> String {
    let text = number.to_string();
    let mut grouped = String::with_capacity(text.len() + text.len() / 3);
    for (at, digit) in text.chars().enumerate() {
        if at > 0 && (text.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_stand_in_groups_of_three() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn one_is_singular_and_all_else_plural() {
        assert_eq!(counted(1, "pod"), "1 pod");
        assert_eq!(counted(0, "pod"), "0 pods");
        assert_eq!(counted(29, "address"), "29 addresses");
        assert_eq!(counted(2, "prefix"), "2 prefixes");
        assert_eq!(counted("1,092", "node"), "1,092 nodes");
    }
}
