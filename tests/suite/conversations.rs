//! Plays every conversation of `tests/data/conversations`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::thread;

use crate::harness::conversation::{Conversation, Plane};
use crate::harness::data_files;
use crate::harness::engine_stage::EngineStage;
use crate::harness::program_stage::ProgramStage;
use crate::harness::stage::play;

/// How many conversations may be missing before somebody notices: none.
const CONVERSATIONS_MIN: usize = 60;
/// Programs that run at the same time; each conversation mostly waits.
const PROGRAMS_AT_ONCE: usize = 8;

#[test]
fn there_are_enough_and_each_names_its_rfc() {
    let conversations = conversations();
    assert!(conversations.len() >= CONVERSATIONS_MIN, "only {}", conversations.len());
    for conversation in conversations {
        let first = conversation.rfc.split_whitespace().next().unwrap_or("");
        let number = first.trim_end_matches([';', ',']).parse::<u16>();
        assert!(number.is_ok(), "{}: its rfc line is {:?}", conversation.file, conversation.rfc);
    }
}

#[test]
fn all_conversations_hold_on_the_engine() {
    let failures: Vec<String> = conversations()
        .iter()
        .filter(|conversation| conversation.plane == Plane::Engine)
        .filter_map(|conversation| on_engine(conversation).err())
        .collect();
    report(&failures);
}

#[test]
fn all_conversations_hold_on_the_program() {
    let mut pending = conversations();
    pending.retain(|conversation| conversation.plane == Plane::Program);
    let pending = Mutex::new(pending);
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..PROGRAMS_AT_ONCE {
            scope.spawn(|| {
                loop {
                    let next = pending.lock().expect("no panic while taking").pop();
                    let Some(conversation) = next else { return };
                    if let Err(what) = on_program(&conversation) {
                        failures.lock().expect("no panic while noting").push(what);
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().expect("no panic while noting");
    failures.sort();
    report(&failures);
}

/// The player must notice every kind of mistake, or the tests above show nothing.
#[test]
fn a_conversation_can_fail() {
    for (mistake, change, line) in [
        (
            "another address",
            (
                "client gets NOERROR\n    answer www.test. 9 A 192.0.2.1",
                "client gets NOERROR\n    answer www.test. 9 A 192.0.2.2",
            ),
            10,
        ),
        (
            "another TTL",
            (
                "client gets NOERROR\n    answer www.test. 9",
                "client gets NOERROR\n    answer www.test. 8",
            ),
            10,
        ),
        ("another response code", ("client gets NOERROR", "client gets NXDOMAIN"), 10),
        ("a flag that is not set", ("client gets NOERROR", "client gets NOERROR ad"), 10),
        ("another question", ("upstream asked www.test A", "upstream asked www.test AAAA"), 7),
        ("a missing question", ("upstream asked www.test A", "no question upstream"), 7),
        ("a reply too many", ("client gets NOERROR\n    answer www.test. 9 A 192.0.2.1", ""), 0),
        ("no reply", ("upstream says NOERROR\n    answer www.test. 9 A 192.0.2.1\n", ""), 8),
    ] {
        let changed = SMALL.replace(change.0, change.1);
        assert_ne!(changed, SMALL, "{mistake}");
        let conversation = Conversation::read("small.txt", &changed);
        let failure = conversation.and_then(|conversation| on_engine(&conversation));
        let failure = failure.expect_err(mistake);
        let place = if line > 0 { format!("small.txt:{line}:") } else { "small.txt: at".into() };
        assert!(failure.starts_with(&place), "{mistake}: {failure}");
    }
    let conversation = Conversation::read("small.txt", SMALL).expect("a conversation");
    assert_eq!(on_engine(&conversation), Ok(()));
}

#[test]
fn a_file_with_a_mistake_names_its_line() {
    for (text, place) in [
        ("title: a\nrfc: 1\nplane: engine\nsteps:\nclient jumps\n", "f:5:"),
        ("title: a\nplane: moon\n", "f:2:"),
        ("title: a\nrfc: 1\nsteps:\nask a.test A\n    answer a.test. 1 A 192.0.2.1\n", "f:5:"),
        ("title: a\nrfc: 1\nsteps:\nclient gets NOERROR\n    answer a.test. 1 A 192.0.2\n", "f:5:"),
        ("rfc: 1\nsteps:\nask a.test A\n", "f:1:"),
    ] {
        let fault = Conversation::read("f", text).expect_err(text);
        assert!(fault.starts_with(place), "{text}: {fault}");
    }
}

const SMALL: &str = "title: a small one
rfc: 1035
config:
    forward . UPSTREAM
steps:
ask www.test A
upstream asked www.test A
upstream says NOERROR
    answer www.test. 9 A 192.0.2.1
client gets NOERROR
    answer www.test. 9 A 192.0.2.1
";

fn conversations() -> Vec<Conversation> {
    let read = |(file, text): (String, String)| Conversation::read(&file, &text);
    let all: Result<Vec<Conversation>, String> =
        data_files("conversations").into_iter().map(read).collect();
    all.unwrap_or_else(|fault| panic!("{fault}"))
}

fn on_engine(conversation: &Conversation) -> Result<(), String> {
    let stage = EngineStage::new(conversation);
    let mut stage = stage.map_err(|what| format!("{}: {what}", conversation.file))?;
    play(conversation, &mut stage)
}

fn on_program(conversation: &Conversation) -> Result<(), String> {
    let played = catch_unwind(AssertUnwindSafe(|| {
        let mut stage = ProgramStage::new(conversation);
        play(conversation, &mut stage).map_err(|what| format!("{what}\n    log: {}", stage.log()))
    }));
    played.unwrap_or_else(|_| Err(format!("{}: it panicked", conversation.file)))
}

fn report(failures: &[String]) {
    assert!(failures.is_empty(), "{} failed:\n\n{}\n", failures.len(), failures.join("\n\n"));
}
