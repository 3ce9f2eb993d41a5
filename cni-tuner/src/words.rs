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

/// The most columns that text for people takes.
pub const COLUMNS: usize = 100;

/// A line in lines of at most [`COLUMNS`], broken between words, without an end of its own. Those after
/// the first begin behind `indent` blanks. Nothing is broken where no more than that stands, and a word
/// that is longer than a line stays whole.
pub fn wrapped(line: &str, indent: usize) -> String {
    let (mut out, mut width) = (String::new(), 0);
    for (at, word) in line.split(' ').enumerate() {
        let length = word.chars().count();
        if at > 0 && width > indent && width + 1 + length > COLUMNS {
            out += "\n";
            out += &" ".repeat(indent);
            width = indent;
        } else if at > 0 {
            out += " ";
            width += 1;
        }
        out += word;
        width += length;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_stand_in_groups_of_three() {
        for (number, text) in
            [(0, "0"), (999, "999"), (1_000, "1,000"), (65_531, "65,531"), (1_234_567, "1,234,567")]
        {
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

    #[test]
    fn lines_break_between_words_and_go_on_behind_the_indent() {
        let text = wrapped(&["word"; 40].join(" "), 4);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines.iter().all(|line| line.len() <= COLUMNS), "{text}");
        assert!(lines[1].starts_with("    word") && !text.ends_with('\n'), "{text}");
        assert_eq!(lines.iter().map(|line| line.split_whitespace().count()).sum::<usize>(), 40);
    }

    #[test]
    fn a_word_longer_than_a_line_stays_whole_and_blanks_stay() {
        let long = "x".repeat(150);
        assert_eq!(wrapped(&format!(" a  b {long} c"), 2), format!(" a  b\n  {long}\n  c"));
        assert_eq!(wrapped(&long, 8), long);
        assert_eq!(wrapped("", 8), "");
    }
}
