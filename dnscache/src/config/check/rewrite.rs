//! `rewrite`: another question in place of the one asked.

use std::ops::RangeInclusive;

use crate::engine::policy::pattern::{Pattern, Replacement};
use crate::engine::policy::rewrite::{Answers, Change, NameChange, Rule, Test};
use crate::engine::wire::name::Name;

use super::super::corefile::{Directive, Token};
use super::super::{ConfigError, registry};
use super::arguments::{Arguments, number, unknown};
use super::{response_code, zones};

/// `rewrite [continue|stop] FIELD ...`, in one line or with its words in braces.
pub(super) fn rewrite(line: &Directive) -> Result<Rule, ConfigError> {
    let flat = in_one_line(line);
    let mut args = Arguments::of(&flat);
    let mut field = args.need(FIELD)?;
    let mode = ["continue", "stop"].into_iter().find(|mode| is(field, mode));
    if mode.is_some() {
        field = args.need(FIELD)?;
    }
    let change = change(field, &mut args)?;
    args.finish()?;
    Ok(Rule { continues: mode == Some("continue"), change })
}

const FIELD: &str = "what to rewrite: one of name, type, class, ttl, rcode";
const FIELDS: [&str; 5] = ["name", "type", "class", "ttl", "rcode"];
/// What CoreDNS rewrites as well.
const FIELDS_ABSENT: [&str; 2] = ["edns0", "cname"];
const TESTS: [&str; 5] = ["exact", "prefix", "suffix", "substring", "regex"];
/// Octets of a text that is looked for in names, or put in its place.
const TEXT_MAX: usize = 1_024;

/// As CoreDNS does, takes the words in braces for words of the line, if that has fewer than two.
fn in_one_line(line: &Directive) -> Directive {
    if line.args.len() >= 2 || line.body.is_empty() {
        return line.clone();
    }
    let mut args = line.args.clone();
    let mut body = Vec::new();
    for inner in &line.body {
        let (position, text) = (inner.position.clone(), inner.name.clone());
        args.push(Token { position, text, written: None, quoted: false, starts_line: true });
        args.extend(inner.args.iter().cloned());
        body.extend(inner.body.iter().cloned());
    }
    Directive { args, body, ..line.clone() }
}

fn is(token: &Token, word: &str) -> bool {
    token.text.eq_ignore_ascii_case(word)
}

fn change(field: &Token, args: &mut Arguments<'_>) -> Result<Change, ConfigError> {
    match field.text.to_ascii_lowercase().as_str() {
        "name" => Ok(Change::Name(name(args)?)),
        "type" => Ok(Change::Type(rtype(args)?, rtype(args)?)),
        "class" => Ok(Change::Class(class(args)?, class(args)?)),
        "ttl" => {
            let test = test(args, 2)?;
            let (least, most) = ttl(args.need("a TTL in seconds")?)?.into_inner();
            Ok(Change::Ttl(test, least, most))
        }
        "rcode" => {
            let test = test(args, 3)?;
            let from = response_code(args.need("the response code to replace")?)?;
            let to = response_code(args.need("the response code in its place")?)?;
            Ok(Change::Rcode(test, from, to))
        }
        _ => {
            let (position, name) = (field.position.clone(), field.text.to_ascii_lowercase());
            let line = Directive { position, name, args: Vec::new(), body: Vec::new() };
            Err(unknown(&line, "what rewrite changes", &FIELDS, &FIELDS_ABSENT))
        }
    }
}

/// `[TEST] FROM TO [answer ...]`.
fn name(args: &mut Arguments<'_>) -> Result<NameChange, ConfigError> {
    let kind = kind(args, 2);
    let from = args.need("the name to rewrite")?;
    let to = args.need("the name in its place")?;
    Ok(match kind {
        "exact" => {
            let (from, to) = (zones::name(from)?, zones::name(to)?);
            NameChange::Exact(from, to, Answers { auto: true, ..answers(args)? })
        }
        "prefix" => NameChange::Prefix(text(from, 1)?, text(to, 0)?, answers(args)?),
        "suffix" => NameChange::Suffix(ending(from)?, ending(to)?, answers(args)?),
        "substring" => NameChange::Substring(text(from, 1)?, text(to, 0)?, answers(args)?),
        _ => {
            let pattern = pattern(from)?;
            let replacement = replacement(to, &pattern)?;
            NameChange::Regex(pattern, replacement, answers(args)?)
        }
    })
}

/// The word that says how names are compared: the first, unless only `others` words are left or
/// it says nothing of the kind.
fn kind(args: &mut Arguments<'_>, others: usize) -> &'static str {
    let first = args.peek();
    let found = first.and_then(|first| TESTS.into_iter().find(|test| is(first, test)));
    match found {
        Some(test) if args.len() > others => {
            args.next();
            test
        }
        _ => "exact",
    }
}

/// `[TEST] NAME` before `others - 1` more words.
fn test(args: &mut Arguments<'_>, others: usize) -> Result<Test, ConfigError> {
    let kind = kind(args, others);
    let from = args.need("the names it is for")?;
    Ok(match kind {
        "exact" => Test::Exact(zones::name(from)?),
        "prefix" => Test::Prefix(text(from, 1)?),
        "suffix" => Test::Suffix(ending(from)?),
        "substring" => Test::Substring(text(from, 1)?),
        _ => Test::Regex(pattern(from)?),
    })
}

/// `answer auto`, `answer name FROM TO`, `answer value FROM TO`, as often as there are any.
fn answers(args: &mut Arguments<'_>) -> Result<Answers, ConfigError> {
    let mut answers = Answers::default();
    while let Some(word) = args.next() {
        if !is(word, "answer") {
            return Err(word.error("the end of `rewrite`, or `answer` and what it puts back"));
        }
        let what = args.need("auto, name or value")?;
        if is(what, "auto") {
            answers.auto = true;
            continue;
        }
        let rules = match what {
            name if is(name, "name") => &mut answers.owners,
            value if is(value, "value") => &mut answers.values,
            other => return Err(other.error("one of auto, name, value (after `answer`)")),
        };
        let pattern = pattern(args.need("a regular expression")?)?;
        let replacement = replacement(args.need("the name in its place")?, &pattern)?;
        rules.push((pattern, replacement));
        if rules.len() > ANSWERS_MAX {
            return Err(what.error("at most 16 of them"));
        }
    }
    Ok(answers)
}

const ANSWERS_MAX: usize = 16;

/// Part of a name, in lower case.
fn text(token: &Token, len_min: usize) -> Result<String, ConfigError> {
    let text = token.text.to_ascii_lowercase();
    let is_text = text.bytes().all(|octet| octet.is_ascii_graphic());
    match is_text && (len_min..=TEXT_MAX).contains(&text.len()) {
        true => Ok(text),
        false => Err(token.error("part of a domain name (ASCII without spaces)")),
    }
}

/// The end of a name, with the final dot that every name has.
fn ending(token: &Token) -> Result<String, ConfigError> {
    let mut text = text(token, 1)?;
    if !text.ends_with('.') {
        text.push('.');
    }
    let labels = text.strip_prefix('.').unwrap_or(&text);
    match labels.is_empty() || Name::from_text(labels).is_ok() {
        true => Ok(text),
        false => Err(token.error("the end of a domain name, such as `.example.org`")),
    }
}

/// A regular expression; what matches takes time linear in the name.
pub(super) fn pattern(token: &Token) -> Result<Pattern, ConfigError> {
    let complaint = |why| token.error(&format!("a regular expression ({why})"));
    Pattern::new(&token.text).map_err(complaint)
}

fn replacement(token: &Token, pattern: &Pattern) -> Result<Replacement, ConfigError> {
    let text = text(token, 1)?;
    Replacement::new(text, pattern).map_err(|missing| {
        let groups = pattern.groups() - 1;
        token.error(&format!("groups the regular expression has ({groups}), not `{{{missing}}}`"))
    })
}

fn rtype(args: &mut Arguments<'_>) -> Result<u16, ConfigError> {
    let token = args.need("a record type")?;
    registry::record_type(&token.text)
        .ok_or_else(|| token.error("a record type such as `AAAA` or `TYPE65`"))
}

fn class(args: &mut Arguments<'_>) -> Result<u16, ConfigError> {
    let token = args.need("a class")?;
    registry::class_number(&token.text).ok_or_else(|| token.error("a class: IN, CH, HS or ANY"))
}

/// `SECONDS`, `LEAST-MOST`, `LEAST-` or `-MOST`.
fn ttl(token: &Token) -> Result<RangeInclusive<u32>, ConfigError> {
    let expected =
        || token.error("a TTL in seconds, or bounds of it such as `5-300`, `5-`, `-300`");
    let part = |text: &str| {
        let token = Token { text: text.to_owned(), ..token.clone() };
        number(&token, 0..=i32::MAX as u32, "a TTL").map_err(|_| expected())
    };
    let (least, most) = match token.text.split_once('-') {
        None => (part(&token.text)?, part(&token.text)?),
        Some(("", "")) => return Err(expected()),
        Some((least, "")) => (part(least)?, i32::MAX as u32),
        Some(("", most)) => (0, part(most)?),
        Some((least, most)) => (part(least)?, part(most)?),
    };
    if least > most { Err(expected()) } else { Ok(least..=most) }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{block, error};
    use super::*;

    fn read(lines: &str) -> Rule {
        block(lines).rewrites.remove(0)
    }

    fn wire(text: &str) -> Name {
        Name::from_text(text).expect("a name")
    }

    #[test]
    fn an_exact_name_puts_back_what_it_changed() {
        for line in [
            "rewrite name Example.net example.org",
            "rewrite stop name exact example.net. example.org.",
            "rewrite {\n name example.net example.org\n}",
            "rewrite name example.net example.org answer auto",
        ] {
            let answers = Answers { auto: true, ..Answers::default() };
            let change = NameChange::Exact(wire("example.net"), wire("example.org"), answers);
            assert_eq!(read(line), Rule { continues: false, change: Change::Name(change) });
        }
    }

    #[test]
    fn names_are_told_apart_in_five_ways() {
        let none = Answers::default;
        for (line, change) in [
            (
                "rewrite continue name prefix A- b-",
                NameChange::Prefix("a-".into(), "b-".into(), none()),
            ),
            (
                "rewrite continue name suffix .A.b .c.",
                NameChange::Suffix(".a.b.".into(), ".c.".into(), none()),
            ),
            (
                "rewrite continue name substring a.b c.d answer auto",
                NameChange::Substring("a.b".into(), "c.d".into(), Answers { auto: true, ..none() }),
            ),
        ] {
            assert_eq!(read(line), Rule { continues: true, change: Change::Name(change) });
        }
        let rule = read(
            "rewrite stop {\n name regex (.*)-(x)\\.a\\.b {1}.s.{2}.c\n answer name (.*)\\.s\\.(x)\\.c {1}-{2}.a.b\n answer value (.*) {1}\n}",
        );
        let Change::Name(NameChange::Regex(pattern, _, answers)) = rule.change else {
            panic!("a regular expression")
        };
        assert_eq!(pattern.written(), "(.*)-(x)\\.a\\.b");
        assert_eq!((answers.auto, answers.owners.len(), answers.values.len()), (false, 1, 1));
    }

    #[test]
    fn other_fields_are_read() {
        let test = || Test::Exact(wire("a.b"));
        for (line, change) in [
            ("rewrite type ANY hinfo", Change::Type(255, 13)),
            ("rewrite class CH IN", Change::Class(3, 1)),
            ("rewrite ttl a.b 15", Change::Ttl(test(), 15, 15)),
            ("rewrite ttl exact a.b 5-60", Change::Ttl(test(), 5, 60)),
            ("rewrite ttl suffix .b -60", Change::Ttl(Test::Suffix(".b.".into()), 0, 60)),
            ("rewrite rcode a.b NXDOMAIN NOERROR", Change::Rcode(test(), 3, 0)),
            (
                "rewrite rcode regex .* servfail 3",
                Change::Rcode(Test::Regex(Pattern::new(".*").expect("a pattern")), 2, 3),
            ),
        ] {
            assert_eq!(read(line), Rule { continues: false, change }, "{line}");
        }
    }

    #[test]
    fn nonsense_is_refused_where_it_stands() {
        for (lines, expected) in [
            (
                "rewrite",
                "Corefile:2:1: found nothing after `rewrite`, expected what to rewrite: one of name, type, class, ttl, rcode",
            ),
            (
                "rewrite edns0 local set 0xffee x",
                "Corefile:2:9: found `edns0`, expected one of name, type, class, ttl, rcode (what rewrite changes); dnscache does not offer this one",
            ),
            (
                "rewrite nmae a b",
                "Corefile:2:9: found `nmae`, expected one of name, type, class, ttl, rcode (what rewrite changes); did you mean `name`?",
            ),
            (
                "rewrite name regex ( x",
                "Corefile:2:20: found `(`, expected a regular expression (unclosed group)",
            ),
            (
                "rewrite name regex (a) {2}.x",
                "Corefile:2:24: found `{2}.x`, expected groups the regular expression has (1), not `{2}`",
            ),
            (
                "rewrite name a b c",
                "Corefile:2:18: found `c`, expected the end of `rewrite`, or `answer` and what it puts back",
            ),
            (
                "rewrite name suffix .a .b answer all",
                "Corefile:2:34: found `all`, expected one of auto, name, value (after `answer`)",
            ),
            (
                "rewrite ttl a.b 60-5",
                "Corefile:2:17: found `60-5`, expected a TTL in seconds, or bounds of it such as `5-300`, `5-`, `-300`",
            ),
            (
                "rewrite type A B",
                "Corefile:2:16: found `B`, expected a record type such as `AAAA` or `TYPE65`",
            ),
            (
                "rewrite name a b {\n x\n}",
                "Corefile:3:2: found `x`, expected no braces after `rewrite`",
            ),
        ] {
            assert_eq!(error(lines), expected);
        }
    }
}
