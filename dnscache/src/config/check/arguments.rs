//! The words of one line, taken from left to right; every complaint names the word and its place.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::super::corefile::{Directive, Token};
use super::super::{ConfigError, Position, duration};

/// The words after the name of a directive or option that were not taken yet.
pub(super) struct Arguments<'a> {
    line: &'a Directive,
    rest: &'a [Token],
}

impl<'a> Arguments<'a> {
    pub(super) fn of(line: &'a Directive) -> Self {
        Self { line, rest: &line.args }
    }

    /// The next word, if there is one.
    pub(super) fn next(&mut self) -> Option<&'a Token> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    /// The next word, which stays the next.
    pub(super) fn peek(&self) -> Option<&'a Token> {
        self.rest.first()
    }

    /// How many words are left.
    pub(super) fn len(&self) -> usize {
        self.rest.len()
    }

    /// The next word; without one, `expected` is what is missing.
    pub(super) fn need(&mut self, expected: &str) -> Result<&'a Token, ConfigError> {
        self.next().ok_or_else(|| self.missing(expected))
    }

    /// All remaining words.
    pub(super) fn rest(&mut self) -> &'a [Token] {
        std::mem::take(&mut self.rest)
    }

    /// All remaining words, of which there must be one at least.
    pub(super) fn need_rest(&mut self, expected: &str) -> Result<&'a [Token], ConfigError> {
        match self.rest.is_empty() {
            true => Err(self.missing(expected)),
            false => Ok(self.rest()),
        }
    }

    /// There must be no word left.
    pub(super) fn end(&self) -> Result<(), ConfigError> {
        match self.rest.first() {
            Some(extra) => Err(extra.error(&format!("the end of `{}`", self.line.name))),
            None => Ok(()),
        }
    }

    /// There must be neither a word nor a brace left.
    pub(super) fn finish(&self) -> Result<(), ConfigError> {
        self.end()?;
        match self.line.body.first() {
            Some(inner) => {
                let expected = format!("no braces after `{}`", self.line.name);
                Err(error_at(&inner.position, &inner.name, &expected))
            }
            None => Ok(()),
        }
    }

    fn missing(&self, expected: &str) -> ConfigError {
        let last = self.line.args.last();
        ConfigError {
            position: last.map_or(&self.line.position, |token| &token.position).clone(),
            found: format!("nothing after `{}`", last.map_or(&self.line.name, |token| &token.text)),
            expected: expected.to_owned(),
        }
    }
}

/// The error that `found` stands at `position` where something else should.
pub(super) fn error_at(position: &Position, found: &str, expected: &str) -> ConfigError {
    ConfigError {
        position: position.clone(),
        found: format!("`{found}`"),
        expected: expected.to_owned(),
    }
}

/// A whole number; `what` says what it counts.
pub(super) fn number(
    token: &Token,
    range: RangeInclusive<u32>,
    what: &str,
) -> Result<u32, ConfigError> {
    let digits = !token.text.is_empty() && token.text.bytes().all(|byte| byte.is_ascii_digit());
    let value = token.text.parse().ok().filter(|value| digits && range.contains(value));
    value.ok_or_else(|| {
        let (least, most) = range.into_inner();
        let range = match most {
            u32::MAX => format!("{least} or more"),
            _ => format!("{least} to {most}"),
        };
        token.error(&format!("{what}, a whole number ({range})"))
    })
}

/// A duration as Go writes it; `what` says of what.
pub(super) fn duration(token: &Token, what: &str) -> Result<Duration, ConfigError> {
    duration::parse(&token.text)
        .ok_or_else(|| token.error(&format!("{what}, a duration such as `5s`, `500ms` or `1h30m`")))
}

/// The error that a directive or option does not exist: lists those that do. `absent` are those
/// CoreDNS has and this program has not.
pub(super) fn unknown(
    line: &Directive,
    what: &str,
    known: &[&str],
    absent: &[&str],
) -> ConfigError {
    let mut expected = match known.is_empty() {
        true => format!("no {what}"),
        false => format!("one of {} ({what})", known.join(", ")),
    };
    if absent.contains(&line.name.as_str()) {
        expected.push_str("; dnscache does not offer this one");
    } else if let Some(near) = nearest(&line.name, known) {
        expected.push_str(&format!("; did you mean `{near}`?"));
    }
    error_at(&line.position, &line.name, &expected)
}

/// The candidate that a slip of the finger or two away from `word`, if there is one.
pub(super) fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let word: Vec<char> = word.to_lowercase().chars().take(WORD_LEN_MAX + 1).collect();
    // In a short word two slips leave nothing to recognise it by.
    let slips_max = match word.len() {
        0..=2 => return None,
        3..=5 => 1,
        6..=WORD_LEN_MAX => 2,
        _ => return None,
    };
    let measured = candidates.iter().map(|&candidate| (slips(&word, candidate), candidate));
    measured.filter(|&(slips, _)| slips <= slips_max).min().map(|(_, candidate)| candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours between two words (the optimal
/// string alignment distance).
fn slips(word: &[char], candidate: &str) -> usize {
    let candidate: Vec<char> = candidate.chars().collect();
    let mut before_last = vec![0; candidate.len() + 1];
    let mut last: Vec<usize> = (0..=candidate.len()).collect();
    for (row, &letter) in word.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, &other) in candidate.iter().enumerate() {
            let replaced = last[column] + usize::from(letter != other);
            let mut least = replaced.min(last[column + 1] + 1).min(current[column] + 1);
            if row > 0 && column > 0 && letter == candidate[column - 1] && word[row - 1] == other {
                least = least.min(before_last[column - 1] + 1);
            }
            current.push(least);
        }
        before_last = std::mem::replace(&mut last, current);
    }
    last[candidate.len()]
}

/// Characters of a word that could still be a misspelt directive.
const WORD_LEN_MAX: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_recognised() {
        const KNOWN: [&str; 4] = ["cache", "forward", "loadbalance", "log"];
        for (word, near) in [
            ("cahce", Some("cache")),
            ("Cache", Some("cache")),
            ("forwad", Some("forward")),
            ("fowrad", Some("forward")),
            ("loadbalancer", Some("loadbalance")),
            ("logs", Some("log")),
            ("lo", None),
            ("kubernetes", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, &KNOWN), near, "{word:?}");
        }
        assert_eq!(nearest(&"x".repeat(100_000), &KNOWN), None);
    }
}
