//! How many questions a lookup takes, and that both questions of one are answered alike.

use std::thread;
use std::time::{Duration, Instant};

use super::{REWRITE, STYLES, Stage, pod};
use crate::cluster::exchange::Exchange;
use crate::cluster::sample;
use crate::cluster::walk::Style;
use crate::cluster::world::{domain_name, rtype, text_of};
use crate::harness::message::{DomainName, Message, Question, flag};

/// External names that nothing in the search list stands in front of.
const EXTERNAL: [&str; 7] = [
    "www.amazon.com",
    "edge.amazon.com",
    "mail.amazon.com",
    "api.github.com",
    "www.example.org",
    "six.example.org",
    "deep.below.example.org",
];
/// A namespace without Services that are called as parts of these names are.
const NAMESPACE: &str = "payments";

/// From the third pass on: 2 questions by the client, none upstream.
#[test]
fn a_warm_lookup_takes_two_questions_and_none_upstream() {
    // An audit asks upstream, however warm a lookup is.
    let search = REWRITE.replace("\n }", "\n audit off\n }");
    let stage = Stage::start(&search, sample::world(30, 30));
    for style in STYLES {
        pass(&stage, style);
        pass(&stage, style);
        let asked_before = stage.upstream.questions_settled();
        for name in &pass(&stage, style) {
            assert_eq!(name.1, 2, "{style:?}: {} takes {} questions", name.0, name.1);
        }
        let asked = stage.upstream.questions_settled() - asked_before;
        assert_eq!(asked, 0, "{:?}", stage.upstream.recent());
    }
}

/// Nothing is renewed for anybody here: the client's first question waits for what has expired.
#[test]
fn a_lookup_of_expired_facts_takes_two_questions() {
    let search = format!("{REWRITE}\n hotnames off");
    let stage = Stage::start(&search, sample::world(2, 1));
    pass(&stage, Style::Glibc);
    pass(&stage, Style::Glibc);
    // Denials expire in the first pause, addresses as well in the second.
    for pause_ms in [1_100, 2_100] {
        let asked_before = stage.upstream.questions_settled();
        thread::sleep(Duration::from_millis(pause_ms));
        for name in &pass(&stage, Style::Glibc) {
            assert_eq!(name.1, 2, "{} takes {} questions after {pause_ms} ms", name.0, name.1);
        }
        assert!(stage.upstream.questions_settled() > asked_before, "nothing had expired");
    }
}

/// Names and the questions their lookups took; each is found.
fn pass(stage: &Stage, style: Style) -> Vec<(&'static str, usize)> {
    let (resolver, mut client) = (pod(style, NAMESPACE), stage.client());
    let questions = |name: &&'static str| {
        let seen = resolver.addresses(&mut client, name);
        let truth = stage.truth(&resolver, name, &[rtype::A, rtype::AAAA]);
        assert!(seen.outcome == truth.outcome, "{}", stage.explain(&seen, &truth));
        (*name, seen.steps.len())
    };
    let passed = EXTERNAL.iter().map(questions).collect();
    // What comes within milliseconds may be the other half of a lookup, and is told the same.
    thread::sleep(Duration::from_millis(20));
    passed
}

/// musl goes on when either type is denied, so an A found beside an AAAA denied is an A lost.
#[test]
fn a_and_aaaa_of_one_lookup_tell_the_same_story() {
    let stage = Stage::start(REWRITE, sample::world(1, 1));
    let names =
        EXTERNAL.iter().chain(&["web.payments", "books.default", "api.payments.svc", "m.test"]);
    let suffixed: Vec<String> = names
        .flat_map(|name| ["default", "payments"].map(|ns| format!("{name}.{ns}.svc.cluster.local")))
        .collect();
    let end = Instant::now() + Duration::from_millis(1_600);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut client = stage.client();
                while Instant::now() < end {
                    suffixed.iter().for_each(|name| same_story(&mut client, name));
                }
            });
        }
    });
}

fn same_story(client: &mut impl Exchange, name: &str) {
    let mut queries = [rtype::A, rtype::AAAA].map(|qtype| Message {
        flags: flag::RD,
        questions: vec![Question { name: domain_name(name), qtype, qclass: 1 }],
        ..Message::default()
    });
    let replies = client.exchange(&mut queries);
    let stories: Vec<_> = replies.iter().flatten().map(story).collect();
    assert_eq!(stories.len(), 2, "silence about {name}");
    assert_eq!(stories[0], stories[1], "{name}:\n{replies:#?}");
}

/// Whether the name is there, and what it is an alias of.
fn story(reply: &Message) -> (u16, Option<String>) {
    let alias = reply.answer.iter().find(|record| record.rtype == rtype::CNAME);
    (reply.rcode(), alias.map(|record| text_of(&DomainName(record.data.clone()))))
}
