//! Regular expressions over names, and what is put in place of a match.

use std::fmt;

use regex::{Captures, Regex, RegexBuilder};

/// Octets a compiled expression may take, and the cache of its automaton.
const COMPILED_MAX: usize = 256 * 1024;
/// Octets of an expression as written.
pub const WRITTEN_MAX: usize = 1_024;

/// A regular expression. Matching takes time linear in the name, whatever was written.
#[derive(Clone)]
pub struct Pattern(Regex);

impl Pattern {
    /// Compiles what was written; the error says why that cannot be done.
    pub fn new(written: &str) -> Result<Self, String> {
        if written.len() > WRITTEN_MAX {
            return Err(format!("it is longer than {WRITTEN_MAX} octets"));
        }
        let mut builder = RegexBuilder::new(written);
        builder.size_limit(COMPILED_MAX).dfa_size_limit(COMPILED_MAX);
        builder.build().map(Self).map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => "it would take too much memory".to_owned(),
            other => {
                let text = other.to_string();
                let last = text.lines().last().unwrap_or_default();
                last.trim().trim_start_matches("error: ").to_owned()
            }
        })
    }

    /// Whether it matches somewhere in `text`.
    pub fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text)
    }

    /// The groups of the first match. Nothing is allocated if there is none.
    pub fn captures<'t>(&self, text: &'t str) -> Option<Captures<'t>> {
        self.0.is_match(text).then(|| self.0.captures(text))?
    }

    /// How many groups it has, the whole match included.
    pub fn groups(&self) -> usize {
        self.0.captures_len()
    }

    /// Whether it has a group of this name.
    pub fn has_group(&self, name: &str) -> bool {
        self.0.capture_names().flatten().any(|known| known == name)
    }

    /// As it was written.
    pub fn written(&self) -> &str {
        self.0.as_str()
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.written() == other.written()
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({})", self.written())
    }
}

/// A text in which `{0}`, `{1}` and so on stand for the groups of a match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replacement(String);

impl Replacement {
    /// Takes a text; the error is the first number that `pattern` has no group for.
    pub fn new(text: String, pattern: &Pattern) -> Result<Self, usize> {
        let missing = pieces(&text).find_map(|piece| match piece {
            Piece::Group(number) if number >= pattern.groups() => Some(number),
            _ => None,
        });
        missing.map_or(Ok(Self(text)), Err)
    }

    /// The text with the groups of `found` put in place; a group that took no part is empty.
    pub fn fill_in(&self, found: &Captures<'_>) -> String {
        let piece = |piece| match piece {
            Piece::Text(text) => text,
            Piece::Group(number) => found.get(number).map_or("", |group| group.as_str()),
        };
        pieces(&self.0).map(piece).collect()
    }
}

#[derive(Debug, Clone, Copy)]
enum Piece<'t> {
    Text(&'t str),
    Group(usize),
}

/// What a replacement consists of; braces around anything but a number are text.
fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if let Some((number, after)) = group(rest) {
            rest = after;
            return Some(Piece::Group(number));
        }
        let end = rest
            .char_indices()
            .skip(1)
            .find(|&(at, _)| group(&rest[at..]).is_some())
            .map_or(rest.len(), |(at, _)| at);
        let (piece, after) = rest.split_at(end);
        rest = after;
        (!piece.is_empty()).then_some(Piece::Text(piece))
    })
}

/// The number in braces that begins `text`, and what follows it.
fn group(text: &str) -> Option<(usize, &str)> {
    let (number, after) = text.strip_prefix('{')?.split_once('}')?;
    let is_number = (1..=3).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| number.parse().ok().map(|number| (number, after)))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_put_in_place() {
        let pattern = Pattern::new(r"(.*)-(us-west-1)\.coredns\.rocks").expect("a pattern");
        let found = pattern.captures("ftp-us-west-1.coredns.rocks.").expect("a match");
        for (text, expected) in [
            ("{1}.service.{2}.consul", "ftp.service.us-west-1.consul"),
            ("{0}", "ftp-us-west-1.coredns.rocks"),
            ("{x}{}.{1", "{x}{}.{1"),
            ("", ""),
        ] {
            let replacement = Replacement::new(text.to_owned(), &pattern).expect("groups");
            assert_eq!(replacement.fill_in(&found), expected);
        }
        assert_eq!(Replacement::new("{3}.x".to_owned(), &pattern), Err(3));
    }

    #[test]
    fn expressions_are_bounded() {
        assert!(Pattern::new("a{1000}{1000}").is_err());
        assert!(Pattern::new(&"a".repeat(WRITTEN_MAX + 1)).is_err());
        assert!(Pattern::new("(").is_err());
        assert!(Pattern::new("a|b").is_ok());
    }
}
