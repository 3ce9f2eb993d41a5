//! `template`: replies built from the question.
//!
//! Go's template language has loops, functions and pipelines; a name server's answers need a name,
//! a zone, and parts of a name. [`text`] reads that much and refuses the rest when it is loaded.

pub mod text;

use super::pattern::Pattern;
use crate::engine::wire::header::{class, rtype};
use crate::engine::wire::name::{Name, wire_is_at_or_below};
use crate::engine::wire::presentation::{self, Resource};
use crate::engine::wire::reply::Section;
use crate::engine::wire::text::NameText;
use text::{Given, Text};

/// One `template`.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    /// The class asked; `ANY` (255): every class.
    pub class: u16,
    /// The type asked; `ANY` (255): every type.
    pub rtype: u16,
    /// The zones whose names it is for.
    pub zones: Vec<Name>,
    /// `match`; the first that matches decides. None: every name.
    pub patterns: Vec<Pattern>,
    /// `answer`, `authority` and `additional`, in that order of sections.
    pub records: Vec<(Section, Text)>,
    /// `rcode`.
    pub rcode: u8,
    /// `ederror`: code and text.
    pub extended_error: Option<(u16, String)>,
    /// `fallthrough`; `None`: what matches no pattern is SERVFAIL; empty: it is for those after
    /// this, else only if it is in one of these zones.
    pub fallthrough: Option<Vec<Name>>,
}

/// What a template says about a question.
#[derive(Debug, PartialEq)]
pub enum Said<'t> {
    /// These records.
    Reply {
        /// The template.
        template: &'t Template,
        /// Its records, in order of sections.
        records: Vec<(Section, Resource)>,
    },
    /// Its zone holds the name, but none of its patterns matches.
    NoMatch,
    /// A template could not be filled in.
    NotFilledIn,
    /// What it was filled in to is no record.
    NoRecord,
}

/// A question, for templates.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The name in lower case, uncompressed.
    pub name: &'a [u8],
    /// The name as text, in lower case with its final dot.
    pub text: &'a str,
    /// Type.
    pub qtype: u16,
    /// Class.
    pub qclass: u16,
    /// The client.
    pub remote: std::net::IpAddr,
}

/// What the first of `templates` that has a say says; `None` if none has.
pub fn say<'t>(templates: &'t [Template], asked: Asked<'_>) -> Option<Said<'t>> {
    for template in templates {
        let Some(zone) = template.zone_of(asked) else { continue };
        let Some(groups) = template.find(asked.text) else {
            if template.falls_through(asked.name) {
                continue;
            }
            return Some(Said::NoMatch);
        };
        return Some(template.fill_in(asked, zone, &groups));
    }
    None
}

/// Whether any of `templates` may have a say about a name, for some class and type.
pub fn concerns(templates: &[Template], name: &[u8]) -> bool {
    let has_say = |template: &Template, text: &NameText| {
        template.find(text.as_str()).is_some() || !template.falls_through(name)
    };
    let mut holding = templates.iter().filter(|template| template.zone(name).is_some()).peekable();
    holding.peek().is_some() && {
        let text = NameText::of(name);
        holding.any(|template| has_say(template, &text))
    }
}

/// The parts of a name that matched.
struct Groups<'t, 'a> {
    pattern: Option<&'t Pattern>,
    found: Option<regex::Captures<'a>>,
}

impl Template {
    /// The longest of its zones that holds a name.
    fn zone(&self, name: &[u8]) -> Option<&Name> {
        let holding = self.zones.iter().filter(|zone| wire_is_at_or_below(name, zone.wire()));
        holding.max_by_key(|zone| zone.wire().len())
    }

    /// The zone of a question that is of its class and type.
    fn zone_of(&self, asked: Asked<'_>) -> Option<&Name> {
        let is_for = |own, asked, any| own == any || asked == any || own == asked;
        let is_asked = is_for(self.class, asked.qclass, class::ANY)
            && is_for(self.rtype, asked.qtype, rtype::ANY);
        is_asked.then(|| self.zone(asked.name)).flatten()
    }

    fn find<'a>(&self, text: &'a str) -> Option<Groups<'_, 'a>> {
        if self.patterns.is_empty() {
            return Some(Groups { pattern: None, found: None });
        }
        self.patterns.iter().find_map(|pattern| {
            let found = pattern.captures(text)?;
            Some(Groups { pattern: Some(pattern), found: Some(found) })
        })
    }

    fn falls_through(&self, name: &[u8]) -> bool {
        let is_under =
            |zones: &Vec<Name>| zones.iter().any(|zone| wire_is_at_or_below(name, zone.wire()));
        self.fallthrough.as_ref().is_some_and(|zones| zones.is_empty() || is_under(zones))
    }

    fn fill_in(&self, asked: Asked<'_>, zone: &Name, groups: &Groups<'_, '_>) -> Said<'_> {
        let specific = |asked, own, any| if asked == any { own } else { asked };
        let given = Given {
            name: asked.text,
            zone,
            class: specific(asked.qclass, self.class, class::ANY),
            rtype: specific(asked.qtype, self.rtype, rtype::ANY),
            remote: asked.remote,
            pattern: groups.pattern,
            found: groups.found.as_ref(),
        };
        let mut records = Vec::with_capacity(self.records.len());
        for (section, text) in &self.records {
            let Some(text) = text.fill_in(&given) else { return Said::NotFilledIn };
            match presentation::record(&text) {
                Ok(record) => records.push((*section, record)),
                Err(_) => return Said::NoRecord,
            }
        }
        Said::Reply { template: self, records }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn name(text: &str) -> Name {
        Name::from_text(text).expect("a name")
    }

    fn template(patterns: &[&str], answer: &str) -> Template {
        Template {
            class: class::IN,
            rtype: rtype::A,
            zones: vec![name("example")],
            patterns: patterns.iter().map(|text| Pattern::new(text).expect("a pattern")).collect(),
            records: vec![(Section::Answer, Text::read(answer).expect("a template"))],
            rcode: 0,
            extended_error: None,
            fallthrough: None,
        }
    }

    /// The records in their text form: owner, TTL and RDATA octets.
    fn said(templates: &[Template], asked_name: &str, qtype: u16) -> String {
        let name = name(asked_name);
        let text = NameText::of(name.wire());
        let asked = Asked {
            name: name.wire(),
            text: text.as_str(),
            qtype,
            qclass: class::IN,
            remote: IpAddr::from(Ipv4Addr::new(192, 0, 2, 7)),
        };
        match say(templates, asked) {
            None => "nothing".to_owned(),
            Some(Said::Reply { records, .. }) => {
                let show = |(_, record): &(Section, Resource)| {
                    format!("{} {} {:?}", record.owner, record.fixed.ttl_secs, record.rdata)
                };
                records.iter().map(show).collect::<Vec<_>>().join("; ")
            }
            Some(other) => format!("{other:?}"),
        }
    }

    #[test]
    fn addresses_come_out_of_names() {
        let pattern = r"(^|[.])ip-10-(?P<b>[0-9]*)-(?P<c>[0-9]*)-(?P<d>[0-9]*)[.]example[.]$";
        let made = template(
            &[pattern],
            "{{ .Name }} 60 IN A 10.{{ .Group.b }}.{{ .Group.c }}.{{ .Group.d }}",
        );
        let made = [made];
        assert_eq!(said(&made, "ip-10-1-2-3.example", 1), "ip-10-1-2-3.example. 60 [10, 1, 2, 3]");
        assert_eq!(said(&made, "ip-10-1-2-999.example", 1), "NoRecord");
        assert_eq!(said(&made, "other.example", 1), "NoMatch");
        assert_eq!(said(&made, "ip-10-1-2-3.example", 28), "nothing");
        assert_eq!(said(&made, "ip-10-1-2-3.test", 1), "nothing");
        // A question for any type is a question for this one.
        assert!(said(&made, "ip-10-1-2-3.example", 255).ends_with("[10, 1, 2, 3]"));
    }

    #[test]
    fn what_falls_through_is_for_the_next() {
        let mut first = template(&["^a[.]"], "{{ .Name }} 1 IN A 192.0.2.1");
        let second = template(&[], "{{ .Name }} 2 IN A 192.0.2.2");
        let both = |first: &Template| [first.clone(), second.clone()];
        assert_eq!(said(&both(&first), "b.example", 1), "NoMatch");
        first.fallthrough = Some(vec![name("c.example")]);
        assert_eq!(said(&both(&first), "b.example", 1), "NoMatch");
        assert_eq!(said(&both(&first), "b.c.example", 1), "b.c.example. 2 [192, 0, 2, 2]");
        first.fallthrough = Some(Vec::new());
        assert_eq!(said(&both(&first), "b.example", 1), "b.example. 2 [192, 0, 2, 2]");
        assert_eq!(said(&both(&first), "a.example", 1), "a.example. 1 [192, 0, 2, 1]");
        // Who may be concerned is known without the type.
        for (asked, expected) in [("a.example", true), ("b.example", false), ("a.test", false)] {
            assert_eq!(concerns(&[first.clone()], name(asked).wire()), expected, "{asked}");
        }
        first.fallthrough = None;
        assert!(concerns(&[first], name("b.example").wire()));
    }
}
