//! What is told about a lookup from every combination of what is known.

use std::collections::HashMap;

use super::*;
use crate::engine::Now;
use crate::engine::policy::search::tests::{name, policy};

/// Facts as a table, with a moment that moves.
#[derive(Default)]
struct Table {
    facts: HashMap<(Name, u16), (Says, u64)>,
    withheld: Vec<Name>,
    now_millis: u64,
}

impl Facts for Table {
    fn known(&mut self, name: &[u8], qtype: u16) -> Option<Fact> {
        let (says, until) = *self.facts.get(&(Name::from_wire(name)?, qtype))?;
        Some(Fact { says, left_millis: until.saturating_sub(self.now_millis) })
    }

    fn is_withheld(&mut self, name: &[u8]) -> bool {
        self.withheld.iter().any(|withheld| withheld.wire() == name)
    }

    fn is_same_way(&mut self, _: &[u8], _: &[u8]) -> bool {
        true
    }
}

const ABSENT: Says = Says::Absent { covers: true };
const ALIAS: Says = Says::Absent { covers: false };
const THERE: Says = Says::Data;
const EMPTY: Says = Says::NoData;

impl Table {
    fn of(facts: &[(&str, Says, u64)]) -> Self {
        let fact = |(text, says, until): &(&str, Says, u64)| {
            let (text, qtype) = text.strip_suffix("/AAAA").map_or((*text, 1), |text| (text, 28));
            ((name(text), qtype), (*says, *until))
        };
        Self { facts: facts.iter().map(fact).collect(), ..Self::default() }
    }

    fn with(mut self, more: &[(&str, Says, u64)]) -> Self {
        self.facts.extend(Self::of(more).facts);
        self
    }

    fn at(mut self, now_millis: u64) -> Self {
        self.now_millis = now_millis;
        self
    }
}

/// What a pod of `web` has learned after looking up `amazon.com` once.
fn learned() -> Table {
    Table::of(&[
        ("web.svc.cluster.local", THERE, 5_000),
        ("com.web.svc.cluster.local", ABSENT, 4_000),
        ("com.svc.cluster.local", ABSENT, 6_000),
        ("com.cluster.local", ABSENT, 7_000),
        ("amazon.com.ec2.internal", ABSENT, 8_000),
        ("amazon.com", THERE, 30_000),
    ])
}

fn story(facts: &mut Table, asked: &str, qtype: u16) -> Story {
    let (policy, name) = (policy(), name(asked));
    let expansion = policy.expansion(name.wire()).expect("an expansion");
    policy.walk(facts, &expansion, qtype, &mut Vec::new())
}

fn lapsed(facts: &mut Table, asked: &str, qtype: u16) -> Vec<String> {
    match story(facts, asked, qtype) {
        Story::Lapsed { missing, .. } => {
            missing.iter().map(|(name, qtype)| format!("{name}/{qtype}")).collect()
        }
        other => panic!("{other:?}"),
    }
}

const AMAZON: &str = "amazon.com.web.svc.cluster.local";

#[test]
fn a_walk_ends_at_the_first_name_that_exists_and_lives_as_long_as_its_facts() {
    let found = Story::Found { candidate: 3, left_millis: 4_000, by_boundary: 3 };
    assert_eq!(story(&mut learned(), AMAZON, 1), found);
    let mut middle = Table::of(&[
        ("web.svc.cluster.local", THERE, 9_000),
        ("payments.web.svc.cluster.local", ABSENT, 9_000),
        ("payments.svc.cluster.local", THERE, 9_000),
        ("redis.payments.svc.cluster.local", THERE, 3_000),
    ]);
    let found = Story::Found { candidate: 0, left_millis: 3_000, by_boundary: 1 };
    assert_eq!(story(&mut middle, "redis.payments.web.svc.cluster.local", 1), found);
}

#[test]
fn nothing_is_skipped_that_is_not_a_live_negative() {
    for gone in [
        "web.svc.cluster.local",
        "com.web.svc.cluster.local",
        "com.svc.cluster.local",
        "com.cluster.local",
        "amazon.com.ec2.internal",
        "amazon.com",
    ] {
        let mut facts = learned();
        facts.facts.remove(&(name(gone), 1));
        assert_eq!(story(&mut facts, AMAZON, 1), Story::None(Reason::Unknown), "{gone}");
    }
}

#[test]
fn an_exact_answer_of_any_usual_type_proves_absence() {
    let mut facts = learned().with(&[("amazon.com.ec2.internal/AAAA", ABSENT, 2_000)]);
    facts.facts.remove(&(name("amazon.com.ec2.internal"), 1));
    let found = Story::Found { candidate: 3, left_millis: 2_000, by_boundary: 3 };
    assert_eq!(story(&mut facts, AMAZON, 1), found);
}

#[test]
fn a_type_that_is_unknown_of_a_name_that_exists_is_asked_for_alone() {
    assert_eq!(lapsed(&mut learned(), AMAZON, 28), ["amazon.com./28"]);
    assert_eq!(lapsed(&mut learned(), AMAZON, 16), ["amazon.com./16"]);
}

#[test]
fn a_missing_type_of_address_is_told_only_if_the_other_is_there() {
    let with =
        |a, aaaa| learned().with(&[("amazon.com", a, 9_000), ("amazon.com/AAAA", aaaa, 9_000)]);
    for qtype in [1, 28] {
        let found =
            |a, aaaa| matches!(story(&mut with(a, aaaa), AMAZON, qtype), Story::Found { .. });
        assert!(found(THERE, THERE) && found(THERE, EMPTY) && found(EMPTY, THERE));
        assert_eq!(story(&mut with(EMPTY, EMPTY), AMAZON, qtype), Story::None(Reason::NoData));
    }
    let mut one = learned().with(&[("amazon.com", EMPTY, 9_000)]);
    assert_eq!(lapsed(&mut one, AMAZON, 1), ["amazon.com./28"]);
}

#[test]
fn other_types_are_told_to_be_missing_at_the_end_of_the_list_only() {
    let mut last = learned();
    last.facts.insert((name("amazon.com"), 16), (EMPTY, 9_000));
    assert!(matches!(story(&mut last, AMAZON, 16), Story::Found { candidate: 3, .. }));
    let mut middle = learned();
    middle.facts.insert((name("amazon.com.ec2.internal"), 16), (EMPTY, 9_000));
    assert_eq!(story(&mut middle, AMAZON, 16), Story::None(Reason::NoData));
}

#[test]
fn what_has_lapsed_is_asked_for_together() {
    assert_eq!(lapsed(&mut learned().at(4_000), AMAZON, 1), ["com.web.svc.cluster.local./1"]);
    let all = [
        "web.svc.cluster.local./1",
        "com.cluster.local./1",
        "com.svc.cluster.local./1",
        "com.web.svc.cluster.local./1",
        "amazon.com./1",
        "amazon.com.ec2.internal./1",
    ];
    let mut found = lapsed(&mut learned().at(60_000), AMAZON, 1);
    found.sort();
    let mut expected = all.map(str::to_owned);
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn both_types_tell_the_same_story_at_every_moment() {
    let facts = [("amazon.com/AAAA", THERE, 30_000)];
    for millis in (0..40_000).step_by(250) {
        let stories =
            [1, 28].map(|qtype| story(&mut learned().with(&facts).at(millis), AMAZON, qtype));
        let kinds = stories.map(|story| std::mem::discriminant(&story));
        assert_eq!(kinds[0], kinds[1], "{millis}");
    }
}

#[test]
fn a_name_that_exists_itself_is_not_rewritten() {
    let mut facts = learned().with(&[(AMAZON, THERE, 9_000)]);
    for qtype in [1, 28] {
        assert_eq!(story(&mut facts, AMAZON, qtype), Story::None(Reason::Exists));
    }
}

/// RFC 4074 section 4.2 knows servers that deny a name for the types it lacks.
#[test]
fn a_type_that_is_denied_proves_nothing_while_another_says_that_the_name_exists() {
    let host = "amazon.com.ec2.internal";
    let denied = [("amazon.com.ec2.internal/AAAA", ABSENT, 9_000)];
    let mut facts = learned().with(&denied).with(&[(host, THERE, 9_000)]);
    assert!(matches!(story(&mut facts, AMAZON, 1), Story::Found { candidate: 2, .. }));
    assert_eq!(story(&mut facts, AMAZON, 28), Story::None(Reason::Unknown));
    let mut lapsed_host = learned().with(&denied).with(&[(host, THERE, 1)]).at(2);
    for qtype in [1, 28] {
        assert_eq!(lapsed(&mut lapsed_host, AMAZON, qtype), ["amazon.com.ec2.internal./1"]);
    }
}

#[test]
fn an_endpoint_that_is_away_is_nowhere_else() {
    let service = [("com.web.svc.cluster.local", EMPTY, 9_000), (AMAZON, ABSENT, 3_000)];
    let mut facts = learned().with(&service);
    assert_eq!(story(&mut facts, AMAZON, 1), Story::None(Reason::BelowService));
}

#[test]
fn what_upstream_does_not_say_is_not_asked_again_at_once() {
    for failing in ["web.svc.cluster.local", "amazon.com.ec2.internal", "amazon.com"] {
        let mut facts = learned().with(&[(failing, Says::Failed, 900)]);
        assert_eq!(story(&mut facts, AMAZON, 1), Story::None(Reason::Failing), "{failing}");
    }
}

#[test]
fn an_alias_to_nothing_denies_itself_and_nothing_below() {
    let mut facts = learned().with(&[("com.cluster.local", ALIAS, 9_000)]);
    assert_eq!(story(&mut facts, AMAZON, 1), Story::None(Reason::Unknown));
    let mut facts = facts.with(&[("amazon.com.cluster.local", ALIAS, 9_000)]);
    assert!(matches!(story(&mut facts, AMAZON, 1), Story::Found { candidate: 3, .. }));
}

#[test]
fn a_namespace_must_exist() {
    let mut facts = learned().with(&[("web.svc.cluster.local", ABSENT, 9_000)]);
    assert_eq!(story(&mut facts, AMAZON, 1), Story::None(Reason::NoNamespace));
}

#[test]
fn when_no_name_exists_there_is_nothing_to_tell() {
    let mut facts = learned().with(&[("amazon.com", ABSENT, 9_000)]);
    assert_eq!(story(&mut facts, AMAZON, 1), Story::None(Reason::NoneExists));
}

#[test]
fn other_directives_have_their_word() {
    let mut facts = learned();
    facts.withheld.push(name("amazon.com"));
    assert_eq!(story(&mut facts, AMAZON, 1), Story::None(Reason::OtherDirective));
}

#[test]
fn labels_with_an_underscore_are_no_boundaries() {
    // CoreDNS denies `_tcp` below a Service whose `_http._tcp` exists.
    let mut facts = Table::of(&[
        ("_tcp.redis.web.svc.cluster.local", ABSENT, 9_000),
        ("redis.web.svc.cluster.local", THERE, 9_000),
        ("_tcp.web.svc.cluster.local", ABSENT, 9_000),
    ]);
    for text in ["_http._tcp.redis.web.svc.cluster.local", "x._tcp.web.svc.cluster.local"] {
        assert_eq!(policy().denial(&mut facts, name(text).wire(), 33), None, "{text}");
    }
}

#[test]
fn a_denial_covers_what_is_below_while_it_lives() {
    let mut facts = learned();
    let asked = name(AMAZON);
    let found = policy().denial(&mut facts, asked.wire(), 1).map(|(_, left_millis)| left_millis);
    assert_eq!(found, Some(4_000));
    assert_eq!(policy().denial(&mut learned().at(4_000), asked.wire(), 1), None);
}

#[test]
fn an_address_that_is_denied_says_nothing_about_other_types_of_the_very_name() {
    let mut facts = Table::of(&[("dns-version.cluster.local", ABSENT, 9_000)]);
    let asked = name("dns-version.cluster.local");
    let mut denies = |qtype| policy().denial(&mut facts, asked.wire(), qtype).is_some();
    assert_eq!([1, 28, 16, 33].map(&mut denies), [true, true, false, false]);
}

#[test]
fn a_boundary_that_is_off_proves_nothing() {
    let (policy, asked) = (policy(), name(AMAZON));
    policy.state.contradict(Some(name("com.web.svc.cluster.local")), Now::from_millis(1));
    assert_eq!(policy.denial(&mut learned(), asked.wire(), 1), None);
    let expansion = policy.expansion(asked.wire()).expect("an expansion");
    let story = policy.walk(&mut learned(), &expansion, 1, &mut Vec::new());
    assert_eq!(story, Story::None(Reason::SwitchedOff));
    assert_eq!(policy.unknown_boundaries(&mut Table::default(), asked.wire(), 1).len(), 1);
}

#[test]
fn unknown_boundaries_are_asked_beside_the_name() {
    let policy = policy();
    let beside = |facts: &mut Table, text: &str, qtype: u16| -> Vec<String> {
        let missing = policy.unknown_boundaries(facts, name(text).wire(), qtype);
        missing.iter().map(|(name, _)| name.to_string()).collect()
    };
    let both = ["web.svc.cluster.local.", "com.web.svc.cluster.local."];
    assert_eq!(beside(&mut Table::default(), AMAZON, 1), both[..1]);
    let mut namespace = Table::of(&[("web.svc.cluster.local", EMPTY, 9_000)]);
    assert_eq!(beside(&mut namespace, AMAZON, 1), both[1..]);
    assert_eq!(beside(&mut namespace.at(9_000), AMAZON, 1), both);
    assert_eq!(beside(&mut learned(), AMAZON, 1), [""; 0]);
    assert_eq!(beside(&mut learned().at(4_500), AMAZON, 1), both[1..]);
    let service = "redis.web.svc.cluster.local";
    assert_eq!(beside(&mut Table::default(), service, 1), both[..1]);
    assert_eq!(beside(&mut Table::default(), service, 28), both[..1]);
    let mut namespace = Table::of(&[("web.svc.cluster.local", EMPTY, 9_000)]);
    assert_eq!(beside(&mut namespace, service, 28), ["redis.web.svc.cluster.local."]);
    // That a namespace exists serves no plain Service's name.
    assert_eq!(beside(&mut learned().at(9_000), service, 1), [""; 0]);
}
