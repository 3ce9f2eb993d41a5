//! `template`: replies built from the question.

use crate::engine::policy::template::Template;
use crate::engine::policy::template::text::{OFFERED, Text, Unreadable};
use crate::engine::wire::compose::EXTENDED_TEXT_MAX;
use crate::engine::wire::presentation::{self, NoRecord, READABLE};
use crate::engine::wire::reply::Section;

use super::super::corefile::{Directive, Token};
use super::super::{ConfigError, registry};
use super::arguments::{Arguments, error_at, number, unknown};
use super::rewrite::pattern;
use super::{response_code, zones};

/// `template CLASS TYPE [ZONE...] { ... }`. Without zones it is for those of its block, which are
/// filled in when they are known.
pub(super) fn template(line: &Directive) -> Result<Template, ConfigError> {
    let mut args = Arguments::of(line);
    let class = args.need("a class, usually IN")?;
    let rtype = args.need("a record type, or ANY")?;
    let mut template = Template {
        class: registry::class_number(&class.text)
            .ok_or_else(|| class.error("a class: IN, CH, HS or ANY"))?,
        rtype: registry::record_type(&rtype.text)
            .ok_or_else(|| rtype.error("a record type such as `AAAA` or `TYPE65`, or ANY"))?,
        zones: zones::list(args.rest())?,
        patterns: Vec::new(),
        records: Vec::new(),
        rcode: 0,
        extended_error: None,
        fallthrough: None,
    };
    let mut made = Vec::new();
    for option in &line.body {
        let mut args = Arguments::of(option);
        read_option(&mut template, &mut made, option, &mut args)?;
        args.finish()?;
    }
    check_groups(&template, &made)?;
    let has_rcode = line.body.iter().any(|option| option.name == "rcode");
    let has_reply = made.iter().any(|(section, ..)| *section != Section::Additional);
    if !has_rcode && !has_reply {
        let expected = "an `answer`, an `authority` or an `rcode` in its braces";
        return Err(error_at(&line.position, &line.name, expected));
    }
    made.sort_by_key(|(section, ..)| *section as usize);
    template.records = made.into_iter().map(|(section, text, _)| (section, text)).collect();
    Ok(template)
}

const OPTIONS: [&str; 7] =
    ["match", "answer", "additional", "authority", "rcode", "ederror", "fallthrough"];
/// Records and patterns of one template.
const RECORDS_MAX: usize = 64;
const PATTERNS_MAX: usize = 64;

type Made<'l> = (Section, Text, &'l Token);

fn read_option<'l>(
    template: &mut Template,
    made: &mut Vec<Made<'l>>,
    option: &'l Directive,
    args: &mut Arguments<'l>,
) -> Result<(), ConfigError> {
    match option.name.as_str() {
        "match" => {
            for token in args.need_rest("a regular expression")? {
                template.patterns.push(pattern(token)?);
                if template.patterns.len() > PATTERNS_MAX {
                    return Err(token.error("at most 64 of them in one template"));
                }
            }
        }
        "answer" => records(Section::Answer, made, args)?,
        "additional" => records(Section::Additional, made, args)?,
        "authority" => records(Section::Authority, made, args)?,
        "rcode" => template.rcode = response_code(args.need("a response code")?)?,
        "ederror" => {
            let code = number(args.need("an extended error (RFC 8914)")?, 0..=65535, "its code")?;
            let text = args.next().map_or(Ok(String::new()), reason)?;
            template.extended_error = Some((code as u16, text));
        }
        "fallthrough" => template.fallthrough = Some(zones::list(args.rest())?),
        // What it did is done without it since CoreDNS 1.2.
        "upstream" => drop(args.rest()),
        _ => return Err(unknown(option, "options of template", &OPTIONS, &[])),
    }
    Ok(())
}

fn reason(token: &Token) -> Result<String, ConfigError> {
    match token.text.len() <= EXTENDED_TEXT_MAX {
        true => Ok(token.text.clone()),
        false => Err(token.error(&format!("a reason of at most {EXTENDED_TEXT_MAX} octets"))),
    }
}

fn records<'l>(
    section: Section,
    made: &mut Vec<Made<'l>>,
    args: &mut Arguments<'l>,
) -> Result<(), ConfigError> {
    for token in args.need_rest("a record in quotes")? {
        let text = Text::read(&token.text).map_err(|error| unreadable(token, &error))?;
        if text.is_constant() {
            presentation::record(&token.text).map_err(|error| no_record(token, &error))?;
        }
        made.push((section, text, token));
        if made.len() > RECORDS_MAX {
            return Err(token.error("at most 64 records in one template"));
        }
    }
    Ok(())
}

fn unreadable(token: &Token, error: &Unreadable) -> ConfigError {
    let found = format!("{error} in `{}`", token.text);
    let expected = match error {
        Unreadable::Open => "`}}` at its end".to_owned(),
        Unreadable::NotOffered(_) => format!("one of {OFFERED}"),
        Unreadable::Long => "a shorter record".to_owned(),
    };
    ConfigError { position: token.position.clone(), found, expected }
}

fn no_record(token: &Token, error: &NoRecord) -> ConfigError {
    token.error(&format!(
        "a record such as `example.org. 60 IN A 192.0.2.1` ({error}; types: {}; others as `\\# LENGTH HEX`)",
        READABLE.join(", ")
    ))
}

/// A group that no pattern has would be empty in every reply.
fn check_groups(template: &Template, made: &[Made<'_>]) -> Result<(), ConfigError> {
    for (_, text, token) in made {
        if let Some(missing) = text.missing_group(&template.patterns) {
            let found = format!("`{{{{ {missing} }}}}` in `{}`", token.text);
            let expected = "a group that a `match` of this template has".to_owned();
            return Err(ConfigError { position: token.position.clone(), found, expected });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{block, error};
    use super::*;

    #[test]
    fn a_template_is_read() {
        let block = block(
            "template IN a Example {\n match ^x[.](?P<a>.*)$ y\n additional \"n. A 192.0.2.1\"\n answer \"{{ .Name }} 60 IN CNAME {{ .Group.a }}\"\n rcode NXDOMAIN\n ederror 21 \"no such\"\n fallthrough in-addr.arpa\n}\ntemplate ANY ANY {\n rcode REFUSED\n}",
        );
        let template = &block.templates[0];
        assert_eq!((template.class, template.rtype, template.rcode), (1, 1, 3));
        assert_eq!(template.zones[0].to_string(), "example.");
        assert_eq!(template.patterns.len(), 2);
        let sections: Vec<_> = template.records.iter().map(|(section, _)| *section).collect();
        assert_eq!(sections, [Section::Answer, Section::Additional]);
        assert_eq!(template.extended_error, Some((21, "no such".to_owned())));
        assert_eq!(template.fallthrough.as_ref().map(Vec::len), Some(1));
        let all = &block.templates[1];
        assert_eq!((all.class, all.rtype, all.rcode), (255, 255, 5));
        assert_eq!(all.zones, block.zones);
    }

    #[test]
    fn nonsense_is_refused_where_it_stands() {
        for (lines, expected) in [
            (
                "template IN A {\n answer \"{{ if .Name }}x{{ end }}\"\n}",
                "Corefile:3:9: found `{{ if .Name }}` in `{{ if .Name }}x{{ end }}`, expected one of .Name, .Zone, .Class, .Type, .Remote, .Match (as `index .Match 1`), .Group.NAME, or `parseInt VALUE BASE BITS` of one of these",
            ),
            (
                "template IN A {\n match (x)\n answer \"{{ .Group.a }} A 192.0.2.1\"\n}",
                "Corefile:4:9: found `{{ .Group.a }}` in `{{ .Group.a }} A 192.0.2.1`, expected a group that a `match` of this template has",
            ),
            (
                "template IN A {\n match (x\n rcode NXDOMAIN\n}",
                "Corefile:3:8: found `(x`, expected a regular expression (unclosed group)",
            ),
            (
                "template IN A",
                "Corefile:2:1: found `template`, expected an `answer`, an `authority` or an `rcode` in its braces",
            ),
            (
                "template IN A {\n rcode BADVERS\n}",
                "Corefile:3:8: found `BADVERS`, expected a response code from 0 to 15, or its name: NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, YXDOMAIN, YXRRSET, NXRRSET, NOTAUTH, NOTZONE",
            ),
            ("template XX A", "Corefile:2:10: found `XX`, expected a class: IN, CH, HS or ANY"),
            (
                "template IN A {\n ansewr x\n}",
                "Corefile:3:2: found `ansewr`, expected one of match, answer, additional, authority, rcode, ederror, fallthrough (options of template); did you mean `answer`?",
            ),
        ] {
            assert_eq!(error(lines), expected);
        }
        let message = error("template IN A {\n answer \"x A 192.0.2.300\"\n}");
        let start = "Corefile:3:9: found `x A 192.0.2.300`, expected a record such as `example.org. 60 IN A 192.0.2.1` (`192.0.2.300` is not an IPv4 address; types: A, AAAA,";
        assert!(message.starts_with(start), "{message}");
    }
}
