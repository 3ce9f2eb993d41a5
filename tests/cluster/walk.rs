//! A stub resolver that walks a search list as a libc does.

use std::collections::BTreeSet;
use std::fmt;

use super::exchange::Exchange;
use super::world::{domain_name, rtype, text_of};
use crate::harness::message::{DomainName, Message, Opt, Question, Record, flag};
use crate::harness::zone::{rcode_name, type_name};

const SERVFAIL: u16 = 2;
const NXDOMAIN: u16 = 3;
/// Aliases followed in one reply.
const ALIASES_MAX: usize = 16;

/// What `resolv.conf` says, and who reads it.
#[derive(Debug, Clone)]
pub struct Resolver {
    pub style: Style,
    pub search: Vec<String>,
    pub ndots: usize,
    /// Whether queries carry an OPT with DO set.
    pub dnssec_ok: bool,
}

/// Which libc.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Goes on past NODATA and SERVFAIL and remembers them; with `ndots` dots or more, the name
    /// itself comes first (`__res_context_search`).
    Glibc,
    /// NXDOMAIN for either type goes on, everything else ends the walk; with `ndots` dots or more
    /// there is no search (`name_from_dns_search`).
    Musl,
}

/// What a lookup ended with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Records of the types asked, and the name they are at.
    Found {
        name: String,
        data: BTreeSet<(u16, Vec<u8>)>,
    },
    NoData,
    NoName,
    /// This response code.
    Failed(u16),
    Silence,
}

/// A lookup and how it went.
pub struct Lookup {
    pub outcome: Outcome,
    /// What was asked, and the replies.
    pub steps: Vec<(Question, Option<Message>)>,
}

/// What the replies about one name of the walk mean.
enum Step {
    End(Outcome),
    GoOn(Outcome),
}

impl Resolver {
    /// A pod's: the search list of its namespace and one domain of the host, `ndots:5`.
    pub fn of_pod(style: Style, namespace: &str, domain: &str, host_domain: &str) -> Self {
        let cluster = [format!("{namespace}.svc.{domain}"), format!("svc.{domain}")];
        let search = cluster.into_iter().chain([domain.to_owned(), host_domain.to_owned()]);
        Self { style, search: search.collect(), ndots: 5, dnssec_ok: false }
    }

    /// Looks up both kinds of addresses, as `getaddrinfo` does.
    pub fn addresses(&self, server: &mut impl Exchange, name: &str) -> Lookup {
        self.resolve(server, name, &[rtype::A, rtype::AAAA])
    }

    /// Looks up some types together.
    pub fn resolve(&self, server: &mut impl Exchange, name: &str, types: &[u16]) -> Lookup {
        let mut steps = Vec::new();
        let outcome = match self.style {
            Style::Glibc => {
                self.walk_glibc(name, |name| glibc_step(&self.ask(server, name, types, &mut steps)))
            }
            Style::Musl => {
                self.walk_musl(name, |name| musl_step(&self.ask(server, name, types, &mut steps)))
            }
        };
        Lookup { outcome, steps }
    }

    fn walk_glibc(&self, name: &str, mut step: impl FnMut(&str) -> Step) -> Outcome {
        let is_whole = name.ends_with('.');
        let is_first = is_whole || dots(name) >= self.ndots;
        let mut first_failure = None;
        if is_first {
            match step(name) {
                Step::End(outcome) if outcome.is_success() || is_whole => return outcome,
                Step::GoOn(outcome) if is_whole => return outcome,
                Step::End(outcome) | Step::GoOn(outcome) => first_failure = Some(outcome),
            }
        }
        let mut passed = Vec::new();
        let searched = self.search.iter().map(|domain| (format!("{name}.{domain}"), true));
        let last = (!is_first).then(|| (name.to_owned(), false));
        let mut is_search_over = false;
        for (candidate, is_search) in searched.chain(last) {
            if is_search_over && is_search {
                continue;
            }
            match step(&candidate) {
                Step::End(outcome) if outcome.is_success() => return outcome,
                // Ends the search, after which the name itself is still tried.
                Step::End(outcome) => {
                    is_search_over = true;
                    passed.push(outcome);
                }
                Step::GoOn(outcome) => passed.push(outcome),
            }
        }
        let memorable = [Outcome::NoData, Outcome::Failed(SERVFAIL)];
        let remembered = memorable.into_iter().find(|outcome| passed.contains(outcome));
        first_failure.or(remembered).or(passed.pop()).unwrap_or(Outcome::NoName)
    }

    fn walk_musl(&self, name: &str, mut step: impl FnMut(&str) -> Step) -> Outcome {
        let is_searched = !name.ends_with('.') && dots(name) < self.ndots;
        let domains = self.search.iter().filter(|_| is_searched);
        for candidate in domains.map(|domain| format!("{name}.{domain}")).chain([name.to_owned()]) {
            if let Step::End(outcome) = step(&candidate) {
                return outcome;
            }
        }
        Outcome::NoName
    }

    fn ask(
        &self,
        server: &mut impl Exchange,
        name: &str,
        types: &[u16],
        steps: &mut Vec<(Question, Option<Message>)>,
    ) -> Vec<Reading> {
        let mut queries: Vec<Message> =
            types.iter().map(|qtype| self.query(name, *qtype)).collect();
        let replies = server.exchange(&mut queries);
        let readings = replies.iter().map(|reply| Reading::of(reply.as_ref())).collect();
        let questions = queries.into_iter().flat_map(|query| query.questions);
        steps.extend(questions.zip(replies));
        readings
    }

    fn query(&self, name: &str, qtype: u16) -> Message {
        let opt = Opt { udp_size: 1232, dnssec_ok: true, ..Opt::default() };
        Message {
            flags: flag::RD,
            questions: vec![Question { name: domain_name(name), qtype, qclass: 1 }],
            opt: self.dnssec_ok.then_some(opt),
            ..Message::default()
        }
    }
}

impl Outcome {
    /// Whether there were records in the answer: those asked for, or aliases that lead nowhere.
    /// (NODATA without any goes on.)
    fn is_success(&self) -> bool {
        matches!(self, Self::Found { .. } | Self::NoData)
    }
}

fn dots(name: &str) -> usize {
    name.matches('.').count()
}

/// One reply, as far as a libc looks at it.
#[derive(Debug, PartialEq, Eq)]
enum Reading {
    Silence,
    Rcode(u16),
    /// NOERROR without any record in the answer section.
    Empty,
    /// NOERROR with records: those of the type asked at the end of the aliases, if any.
    Records {
        name: String,
        data: BTreeSet<(u16, Vec<u8>)>,
    },
}

impl Reading {
    fn of(reply: Option<&Message>) -> Self {
        let Some(reply) = reply else { return Self::Silence };
        let Some(question) = reply.questions.first() else { return Self::Silence };
        match reply.rcode() {
            0 if reply.answer.is_empty() => Self::Empty,
            0 => Self::of_answer(question, &reply.answer),
            rcode => Self::Rcode(rcode),
        }
    }

    fn of_answer(question: &Question, answer: &[Record]) -> Self {
        let mut name = question.name.clone();
        for _ in 0..ALIASES_MAX {
            let is_alias_asked = question.qtype == rtype::CNAME;
            let alias = of_type(answer, &name, rtype::CNAME).next().filter(|_| !is_alias_asked);
            let Some(alias) = alias else { break };
            name = DomainName(alias.data.clone());
        }
        let records = of_type(answer, &name, question.qtype);
        let data = records.map(|record| (record.rtype, record.data.clone())).collect();
        Self::Records { name: text_of(&name), data }
    }

    fn rcode(&self) -> Option<u16> {
        match self {
            Self::Silence => None,
            Self::Rcode(rcode) => Some(*rcode),
            Self::Empty | Self::Records { .. } => Some(0),
        }
    }
}

fn of_type<'a>(
    answer: &'a [Record],
    name: &'a DomainName,
    rtype: u16,
) -> impl Iterator<Item = &'a Record> {
    answer.iter().filter(move |record| record.name.same(name) && record.rtype == rtype)
}

/// All records of all types; NODATA if aliases were all there was.
fn records(readings: &[Reading]) -> Outcome {
    let with_data = readings.iter().filter_map(|reading| match reading {
        Reading::Records { name, data } if !data.is_empty() => Some((name, data)),
        _ => None,
    });
    let found: Vec<_> = with_data.collect();
    let Some((name, _)) = found.first() else { return Outcome::NoData };
    let data = found.iter().flat_map(|(_, data)| data.iter().cloned()).collect();
    Outcome::Found { name: (*name).clone(), data }
}

fn glibc_step(readings: &[Reading]) -> Step {
    if readings.iter().any(|reading| matches!(reading, Reading::Records { .. })) {
        return Step::End(records(readings));
    }
    // Of two replies, the first that is no success says what went wrong.
    match readings.iter().map(Reading::rcode).find(|rcode| *rcode != Some(0)) {
        None => Step::GoOn(Outcome::NoData),
        Some(None) => Step::End(Outcome::Silence),
        Some(Some(NXDOMAIN)) => Step::GoOn(Outcome::NoName),
        Some(Some(SERVFAIL)) => Step::GoOn(Outcome::Failed(SERVFAIL)),
        Some(Some(rcode)) => Step::End(Outcome::Failed(rcode)),
    }
}

fn musl_step(readings: &[Reading]) -> Step {
    match readings.iter().map(Reading::rcode).find(|rcode| *rcode != Some(0)) {
        None => Step::End(records(readings)),
        Some(None) => Step::End(Outcome::Silence),
        Some(Some(NXDOMAIN)) => Step::GoOn(Outcome::NoName),
        Some(Some(rcode)) => Step::End(Outcome::Failed(rcode)),
    }
}

impl fmt::Display for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (question, reply) in &self.steps {
            write!(f, "  {} {} -> ", question.name, type_name(question.qtype))?;
            let Some(reply) = reply else {
                writeln!(f, "silence")?;
                continue;
            };
            write!(f, "{}", rcode_name(reply.rcode()))?;
            reply.answer.iter().try_for_each(|record| write!(f, " [{record}]"))?;
            reply.authority.iter().try_for_each(|record| {
                write!(f, " ({} {} {})", record.name, record.ttl_secs, type_name(record.rtype))
            })?;
            writeln!(f)?;
        }
        writeln!(f, "  = {:?}", self.outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::sample::{self, DOMAIN, HOST_DOMAIN};
    use crate::cluster::world::Shared;

    /// The candidates a lookup asked for, shortened to what stands before the name's suffix, and
    /// what it ended with.
    fn check(style: Style, namespace: &str, name: &str, expected: &[&str], found: Option<&str>) {
        let mut world = Shared::new(sample::world(30, 5));
        let resolver = Resolver::of_pod(style, namespace, DOMAIN, HOST_DOMAIN);
        let lookup = resolver.addresses(&mut world, name);
        let asked = lookup.steps.iter().step_by(2).map(|(question, _)| text_of(&question.name));
        assert_eq!(asked.collect::<Vec<_>>(), expected, "\n{lookup}");
        let ended_at = match &lookup.outcome {
            Outcome::Found { name, .. } => Some(name.as_str()),
            _ => None,
        };
        assert_eq!(ended_at, found, "\n{lookup}");
    }

    const GITHUB: [&str; 5] = [
        "github.com.default.svc.cluster.local",
        "github.com.svc.cluster.local",
        "github.com.cluster.local",
        "github.com.ec2.internal",
        "github.com",
    ];

    #[test]
    fn an_external_name_takes_the_whole_walk() {
        // `github.com.ec2.internal` leads to a host and is not one: NODATA, where musl stops.
        check(Style::Glibc, "default", "github.com", &GITHUB, Some("github.com"));
        check(Style::Musl, "default", "github.com", &GITHUB[..4], None);
    }

    #[test]
    fn a_walk_ends_at_the_first_name_that_has_an_address() {
        for style in [Style::Glibc, Style::Musl] {
            let asked =
                ["api.payments.default.svc.cluster.local", "api.payments.svc.cluster.local"];
            check(style, "default", "api.payments", &asked, Some(asked[1]));
            check(style, "payments", "api", &[asked[1]], Some(asked[1]));
        }
    }

    #[test]
    fn a_final_dot_ends_the_search_before_it_begins() {
        for style in [Style::Glibc, Style::Musl] {
            check(style, "default", "github.com.", &["github.com"], Some("github.com"));
        }
    }

    #[test]
    fn glibc_searches_after_a_name_with_many_dots_and_musl_does_not() {
        let name = "a.b.c.d.e.nowhere.test";
        let mut asked = vec![name.to_owned()];
        check(Style::Musl, "default", name, &[name], None);
        let domains = ["default.svc.cluster.local", "svc.cluster.local", "cluster.local"];
        asked.extend(domains.map(|domain| format!("{name}.{domain}")));
        asked.push(format!("{name}.ec2.internal"));
        let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
        check(Style::Glibc, "default", name, &asked, None);
    }

    #[test]
    fn the_trap_is_a_denial_above_data() {
        let mut world = Shared::new(sample::world(30, 5));
        let resolver = Resolver::of_pod(Style::Glibc, "default", DOMAIN, HOST_DOMAIN);
        let parent = "_tcp.web.default.svc.cluster.local.";
        let outcome = resolver.resolve(&mut world, parent, &[rtype::SRV]).outcome;
        assert_eq!(outcome, Outcome::NoName);
        let below = format!("_http.{parent}");
        let outcome = resolver.resolve(&mut world, &below, &[rtype::SRV]).outcome;
        assert!(matches!(outcome, Outcome::Found { .. }), "{outcome:?}");
    }
}
