//! The text of a record with parts to be filled in: the part of Go's templates that is offered.

use std::net::IpAddr;

use regex::Captures;

use crate::config::registry::{class_name, record_type_name};
use crate::engine::policy::pattern::Pattern;
use crate::engine::wire::name::Name;

/// What may stand between `{{` and `}}`.
pub const OFFERED: &str = ".Name, .Zone, .Class, .Type, .Remote, .Match (as `index .Match 1`), \
     .Group.NAME, or `parseInt VALUE BASE BITS` of one of these";

/// Octets of a template as written, and of what it is filled in to.
pub const TEXT_MAX: usize = 4_096;

/// A text with parts to be filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Written(String),
    Value(Value),
    /// `parseInt VALUE BASE BITS`.
    Number(Value, u32, u32),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Name,
    Zone,
    Class,
    Type,
    Remote,
    Match(usize),
    Group(String),
}

/// What there is to fill in.
#[derive(Debug, Clone, Copy)]
pub struct Given<'a> {
    /// `.Name`: the name asked in lower case, with its final dot.
    pub name: &'a str,
    /// `.Zone`.
    pub zone: &'a Name,
    /// `.Class`.
    pub class: u16,
    /// `.Type`.
    pub rtype: u16,
    /// `.Remote`: the client's address.
    pub remote: IpAddr,
    /// The pattern that matched; `None` if there are none.
    pub pattern: Option<&'a Pattern>,
    /// What it matched.
    pub found: Option<&'a Captures<'a>>,
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// `{{` without its end.
    #[error("`{{{{` without `}}}}`")]
    Open,
    /// Something that is not offered.
    #[error("`{{{{ {0} }}}}`")]
    NotOffered(String),
    /// Too long.
    #[error("more than {TEXT_MAX} octets")]
    Long,
}

impl Text {
    /// Reads a template. White space is trimmed beside `{{-` and `-}}`.
    pub fn read(written: &str) -> Result<Self, Unreadable> {
        if written.len() > TEXT_MAX {
            return Err(Unreadable::Long);
        }
        let mut pieces = Vec::new();
        let mut rest = written;
        let mut trims = false;
        while let Some((before, after)) = rest.split_once("{{") {
            let (inside, after) = after.split_once("}}").ok_or(Unreadable::Open)?;
            let (opens_trimming, inside) = without_dash(inside, true);
            let (closes_trimming, inside) = without_dash(inside, false);
            push_written(&mut pieces, before, trims, opens_trimming);
            pieces.push(action(inside.trim())?);
            (rest, trims) = (after, closes_trimming);
        }
        push_written(&mut pieces, rest, trims, false);
        Ok(Self(pieces))
    }

    /// Whether nothing in it is filled in.
    pub fn is_constant(&self) -> bool {
        self.0.iter().all(|piece| matches!(piece, Piece::Written(_)))
    }

    /// The first group it names that none of `patterns` has, as it would be written.
    pub fn missing_group(&self, patterns: &[Pattern]) -> Option<String> {
        let is_missing = |value: &Value| match value {
            // Without a pattern the whole name is the match.
            Value::Match(0) => None,
            Value::Match(number) => (!patterns.iter().any(|pattern| *number < pattern.groups()))
                .then(|| format!("index .Match {number}")),
            Value::Group(name) => (!has_group(patterns, name)).then(|| format!(".Group.{name}")),
            _ => None,
        };
        self.0.iter().find_map(|piece| match piece {
            Piece::Value(value) | Piece::Number(value, ..) => is_missing(value),
            Piece::Written(_) => None,
        })
    }

    /// The text with everything filled in; `None` if that cannot be done: a match without that
    /// group, no number where one is parsed, or a text too long.
    pub fn fill_in(&self, given: &Given<'_>) -> Option<String> {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Written(written) => text.push_str(written),
                Piece::Value(value) => text.push_str(&value.of(given)?),
                Piece::Number(value, base, bits) => {
                    let number = u64::from_str_radix(&value.of(given)?, *base).ok()?;
                    let fits = *bits >= u64::BITS || number >> bits == 0;
                    text.push_str(&fits.then_some(number)?.to_string());
                }
            }
            if text.len() > TEXT_MAX {
                return None;
            }
        }
        Some(text)
    }
}

impl Value {
    fn of(&self, given: &Given<'_>) -> Option<String> {
        let group = |found: Option<regex::Match<'_>>| {
            found.map_or_else(String::new, |group| group.as_str().to_owned())
        };
        Some(match self {
            Self::Name => given.name.to_owned(),
            Self::Zone => given.zone.to_string(),
            Self::Class => class_name(given.class),
            Self::Type => record_type_name(given.rtype),
            Self::Remote => given.remote.to_canonical().to_string(),
            Self::Match(0) if given.pattern.is_none() => given.name.to_owned(),
            Self::Match(number) => {
                let (pattern, found) = (given.pattern?, given.found?);
                (*number < pattern.groups()).then(|| group(found.get(*number)))?
            }
            Self::Group(name) => {
                let number = name.parse::<usize>().ok();
                let found = given.found?;
                group(number.map_or_else(|| found.name(name), |number| found.get(number)))
            }
        })
    }
}

fn has_group(patterns: &[Pattern], name: &str) -> bool {
    let number = name.parse::<usize>().ok();
    patterns.iter().any(|pattern| {
        number.map_or_else(|| pattern.has_group(name), |number| number < pattern.groups())
    })
}

/// A dash at one end, which must be beside white space, and what is left without it.
fn without_dash(inside: &str, at_start: bool) -> (bool, &str) {
    let left = match at_start {
        true => inside.strip_prefix('-').filter(|rest| rest.starts_with(char::is_whitespace)),
        false => inside.strip_suffix('-').filter(|rest| rest.ends_with(char::is_whitespace)),
    };
    (left.is_some(), left.unwrap_or(inside))
}

fn push_written(pieces: &mut Vec<Piece>, text: &str, trims_start: bool, trims_end: bool) {
    let text = if trims_start { text.trim_start() } else { text };
    let text = if trims_end { text.trim_end() } else { text };
    if !text.is_empty() {
        pieces.push(Piece::Written(text.to_owned()));
    }
}

fn action(inside: &str) -> Result<Piece, Unreadable> {
    let not_offered = || Unreadable::NotOffered(inside.to_owned());
    let words: Vec<&str> = inside.split_whitespace().collect();
    match words[..] {
        ["parseInt", ref value @ .., base, bits] => {
            let value = value_of(value).ok_or_else(not_offered)?;
            let number = |word: &str, most: u32| word.parse().ok().filter(|&value| value <= most);
            let base = number(base, 36).filter(|&base| base >= 2).ok_or_else(not_offered)?;
            let bits = number(bits, u64::BITS).filter(|&bits| bits > 0).ok_or_else(not_offered)?;
            Ok(Piece::Number(value, base, bits))
        }
        ref words => value_of(words).map(Piece::Value).ok_or_else(not_offered),
    }
}

fn value_of(words: &[&str]) -> Option<Value> {
    match words {
        [".Name"] => Some(Value::Name),
        [".Zone"] => Some(Value::Zone),
        [".Class"] => Some(Value::Class),
        [".Type"] => Some(Value::Type),
        [".Remote"] => Some(Value::Remote),
        ["index", ".Match", number] => number.parse().ok().map(Value::Match),
        // In parentheses, as an argument.
        ["(index", ".Match", number] => number.strip_suffix(')')?.parse().ok().map(Value::Match),
        [word] => {
            let name = word.strip_prefix(".Group.")?;
            let is_word = |name: &str| {
                !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            };
            is_word(name).then(|| Value::Group(name.to_owned()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    fn filled_in(written: &str) -> Option<String> {
        let pattern = Pattern::new("^ip(?P<b>[0-9a-f]*)[.](x)?").expect("a pattern");
        let found = pattern.captures("ip7b.example.");
        let given = Given {
            name: "ip7b.example.",
            zone: &Name::from_text("example").expect("a name"),
            class: 1,
            rtype: 28,
            remote: Ipv4Addr::new(192, 0, 2, 7).to_ipv6_mapped().into(),
            pattern: Some(&pattern),
            found: found.as_ref(),
        };
        Text::read(written).expect(written).fill_in(&given)
    }

    #[test]
    fn values_are_filled_in() {
        for (written, expected) in [
            ("plain", "plain"),
            ("", ""),
            ("{{ .Name }} {{.Zone}}", "ip7b.example. example."),
            ("{{ .Class }}/{{ .Type }}/{{ .Remote }}", "IN/AAAA/192.0.2.7"),
            ("{{ index .Match 0 }}|{{ index .Match 1 }}|{{ index .Match 2 }}", "ip7b.|7b|"),
            ("{{ .Group.b }}{{ .Group.1 }}", "7b7b"),
            ("10.{{ parseInt .Group.b 16 8 }}", "10.123"),
            ("a \n {{- .Zone -}} \t b", "aexample.b"),
            ("a {{ .Zone -}} b", "a example.b"),
        ] {
            assert_eq!(filled_in(written).as_deref(), Some(expected), "{written}");
        }
        assert_eq!(filled_in("{{ parseInt .Group.b 10 8 }}"), None);
        assert_eq!(filled_in("{{ parseInt .Group.b 16 6 }}"), None);
        assert_eq!(filled_in("{{ index .Match 3 }}"), None);
    }

    #[test]
    fn what_is_not_offered_is_named() {
        for (written, error) in [
            ("{{ if .Name }}x{{ end }}", "`{{ if .Name }}`"),
            ("{{ .Meta \"x\" }}", "`{{ .Meta \"x\" }}`"),
            ("{{ .Name | printf }}", "`{{ .Name | printf }}`"),
            ("{{ index .Match one }}", "`{{ index .Match one }}`"),
            ("{{ parseInt .Group.b 99 8 }}", "`{{ parseInt .Group.b 99 8 }}`"),
            ("{{ }}", "`{{  }}`"),
            ("{{ .Name", "`{{` without `}}`"),
        ] {
            assert_eq!(Text::read(written).expect_err(written).to_string(), error);
        }
        assert_eq!(Text::read(&"x".repeat(TEXT_MAX + 1)), Err(Unreadable::Long));
    }

    #[test]
    fn groups_that_no_pattern_has_are_noticed() {
        let patterns = [Pattern::new("(?P<a>x)").expect("a pattern")];
        let missing = |written| Text::read(written).expect(written).missing_group(&patterns);
        assert_eq!(missing("{{ .Group.a }}{{ index .Match 1 }}{{ index .Match 0 }}"), None);
        assert_eq!(missing("{{ .Group.b }}").as_deref(), Some(".Group.b"));
        assert_eq!(missing("{{ index .Match 2 }}").as_deref(), Some("index .Match 2"));
    }

    proptest! {
        #[test]
        fn random_templates_never_panic(written in "[{}. a-zA-Z0-9()|-]{0,60}") {
            let _ = Text::read(&written);
        }
    }
}
