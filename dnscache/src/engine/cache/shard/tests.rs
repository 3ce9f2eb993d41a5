//! The shard against a plain map, and who stays when it is full.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::engine::Now;
use crate::engine::cache::key::{Flags, Key};
use crate::engine::cache::record::Head;

fn key(number: u32) -> Key {
    let digits = format!("{number:08}");
    let name = [&[8], digits.as_bytes(), b"\0"].concat();
    Key::new(RouteId(number % 2), &name, 1, 1, Flags::default())
}

/// A few numbers share their hash, as others' numbers may.
fn hash(number: u32) -> u32 {
    (number / 2).wrapping_mul(0x9e37_79b1)
}

fn octets(number: u32, message: &[u8]) -> Box<[u8]> {
    let head = Head {
        kind: if number.is_multiple_of(3) { Kind::Success } else { Kind::Denial },
        rcode: 0,
        is_authentic: false,
        stored: Now::default(),
        lifetime_millis: 1,
        rotation: None,
        synthesised: None,
    };
    record::write(&key(number), message, std::iter::empty(), &head)
}

fn keep(shard: &mut Shard, number: u32, message: &[u8]) {
    shard.keep(hash(number), &octets(number, message));
}

/// The message of a number, as a client's question would find it.
fn ask(shard: &mut Shard, number: u32) -> Option<Vec<u8>> {
    let place = shard.find(hash(number), key(number).as_bytes())?;
    record::note_use(shard.octets_mut(place));
    Some(shard.record(place).message().to_vec())
}

/// What must hold at any time.
fn check(shard: &Shard) {
    assert_eq!(shard.records().count(), shard.index.len());
    let entering = shard.entrance.records().count();
    assert_eq!(entering, shard.entering);
    let counted: u64 = shard.census.iter().map(|residents| residents.entries).sum();
    assert_eq!(counted, shard.index.len() as u64);
    for record in shard.records() {
        let place = shard.find(record.hash(), record.key()).expect("each record can be found");
        assert_eq!(shard.record(place).message(), record.message());
    }
}

#[derive(Debug, Clone)]
enum Step {
    Keep(u32, usize),
    Ask(u32),
    Forget(u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0u32..60, 0usize..700).prop_map(|(number, len)| Step::Keep(number, len)),
        4 => (0u32..60).prop_map(Step::Ask),
        1 => (0u32..60).prop_map(Step::Forget),
    ];
    prop::collection::vec(step, 0..300)
}

proptest! {
    #[test]
    fn what_is_found_is_what_was_kept_last(
        steps in steps(),
        octets_max in 0usize..20_000,
        entries_max in prop_oneof![1usize..30, Just(usize::MAX)],
    ) {
        let mut shard = Shard::new(octets_max, entries_max);
        let mut kept: HashMap<u32, Vec<u8>> = HashMap::new();
        for (turn, step) in steps.into_iter().enumerate() {
            match step {
                Step::Keep(number, len) => {
                    let message = vec![turn as u8; len];
                    keep(&mut shard, number, &message);
                    kept.insert(number, message);
                }
                Step::Ask(number) => {
                    if let Some(message) = ask(&mut shard, number) {
                        prop_assert_eq!(Some(&message), kept.get(&number));
                    }
                }
                Step::Forget(number) => {
                    shard.forget(hash(number), key(number).as_bytes());
                    kept.remove(&number);
                    prop_assert_eq!(ask(&mut shard, number), None);
                }
            }
            prop_assert!(shard.index.len() <= entries_max);
            check(&shard);
        }
    }
}

#[test]
fn names_in_use_survive_a_flood_of_names_asked_once() {
    let mut shard = Shard::new(200_000, usize::MAX);
    let hot = 0..100;
    hot.clone().for_each(|number| keep(&mut shard, number, &[1; 60]));
    for flood in 1_000..100_000 {
        keep(&mut shard, flood, &[2; 60]);
        if flood % 50 == 0 {
            let asked = flood / 50 % 100;
            assert!(ask(&mut shard, asked).is_some(), "{asked} was pushed out by {flood}");
        }
    }
    check(&shard);
    assert!(shard.allocated() <= 200_000, "{} octets", shard.allocated());
}

#[test]
fn names_no_longer_in_use_make_room() {
    let mut shard = Shard::new(1 << 20, 100);
    for generation in 0..20 {
        let names = generation * 80..(generation + 1) * 80;
        for _ in 0..5 {
            for number in names.clone() {
                if ask(&mut shard, number).is_none() {
                    keep(&mut shard, number, &[3; 60]);
                }
            }
        }
        let found = names.clone().filter(|number| ask(&mut shard, *number).is_some()).count();
        assert!(found >= 70, "{found} of 80 in generation {generation}");
    }
    check(&shard);
}

#[test]
fn a_store_that_is_not_full_keeps_everything() {
    let mut shard = Shard::new(4 << 20, usize::MAX);
    (0..15_000).for_each(|number| keep(&mut shard, number, &[1; 60]));
    let found = (0..15_000).filter(|number| ask(&mut shard, *number).is_some()).count();
    assert_eq!(found, 15_000);
}

#[test]
fn renewing_what_is_known_takes_no_memory() {
    let mut shard = Shard::new(4 << 20, usize::MAX);
    for turn in 0..50_000u32 {
        keep(&mut shard, turn % 10, &vec![turn as u8; 100 - turn as usize % 7]);
    }
    check(&shard);
    assert_eq!(shard.entrance.allocated() + shard.main.allocated(), 256 * 1024);
}

#[test]
fn answers_of_changing_length_settle_in_the_room_of_their_longest() {
    let mut shard = Shard::new(4 << 20, usize::MAX);
    for turn in 0..50_000u32 {
        let len = hash(2 * turn) as usize % 600;
        keep(&mut shard, turn % 50, &vec![turn as u8; len]);
        assert_eq!(ask(&mut shard, turn % 50), Some(vec![turn as u8; len]));
    }
    check(&shard);
    assert_eq!(shard.entrance.allocated() + shard.main.allocated(), 256 * 1024);
}

#[test]
fn room_that_an_answer_no_longer_needs_is_given_back_when_it_moves() {
    let mut shard = Shard::new(100_000, usize::MAX);
    keep(&mut shard, 1, &[1; 5_000]);
    keep(&mut shard, 1, &[2; 50]);
    for newcomer in 1_000..3_000 {
        assert_eq!(ask(&mut shard, 1), Some(vec![2; 50]));
        keep(&mut shard, newcomer, &[3; 60]);
    }
    check(&shard);
    let place = shard.find(hash(1), key(1).as_bytes()).expect("it was asked for all the time");
    assert!(place.is_main());
    assert_eq!(record::len(shard.octets_mut(place)), octets(1, &[2; 50]).len());
}

#[test]
fn one_newcomer_moves_few_octets() {
    let mut shard = Shard::new(1 << 20, usize::MAX);
    let large = || 0..10u32;
    large().for_each(|number| keep(&mut shard, number, &[1; 60_000]));
    (0..3).for_each(|_| large().for_each(|number| drop(ask(&mut shard, number))));
    let tired = |shard: &Shard| {
        let uses = |record: Record<'_>| record::uses(record.octets());
        large()
            .filter_map(|number| shard.find(hash(number), key(number).as_bytes()))
            .filter(|place| place.is_main() && uses(shard.record(*place)) < 3)
            .count()
    };
    let mut before = tired(&shard);
    for newcomer in 1_000..1_500 {
        keep(&mut shard, newcomer, &[2; 1_000]);
        ask(&mut shard, newcomer);
        assert!(tired(&shard) <= before + 2, "{newcomer}: {before}, then {}", tired(&shard));
        before = tired(&shard);
    }
    check(&shard);
}

#[test]
fn evictions_are_counted_and_replacements_are_not() {
    let mut shard = Shard::new(1 << 20, 10);
    (0..25).for_each(|number| keep(&mut shard, number, &[1; 60]));
    (0..25).for_each(|number| keep(&mut shard, number % 5 + 20, &[2; 900]));
    let evicted: u64 = shard.census().iter().map(|residents| residents.evicted).sum();
    let entries: u64 = shard.census().iter().map(|residents| residents.entries).sum();
    assert_eq!((entries, evicted), (10, 15));
}

#[test]
fn the_largest_answer_fits_the_smallest_usual_store() {
    let mut shard = Shard::new(1 << 20, usize::MAX);
    keep(&mut shard, 1, &[1; 65_535]);
    assert_eq!(ask(&mut shard, 1).map(|message| message.len()), Some(65_535));
    let mut shard = Shard::new(10_000, usize::MAX);
    keep(&mut shard, 1, &[1; 65_535]);
    assert_eq!(ask(&mut shard, 1), None);
    check(&shard);
}

proptest! {
    #[test]
    fn a_walk_in_pieces_meets_all_that_stay(
        before in steps(),
        between in prop::collection::vec(steps(), 1..6),
        octets_max in 2_000usize..20_000,
    ) {
        let mut shard = Shard::new(octets_max, usize::MAX);
        before.iter().for_each(|step| take(&mut shard, step));
        let known: Vec<Vec<u8>> = shard.records().map(|record| record.octets().to_vec()).collect();
        let (mut cursor, mut copied) = (Some(Cursor::default()), Vec::new());
        let mut between = between.iter().flatten();
        while let Some(at) = cursor {
            let start = copied.len();
            cursor = shard.copy(at, 1_000, &mut copied);
            prop_assert!(copied.len() - start <= 1_000 + 1_000, "a piece is small");
            between.by_ref().take(20).for_each(|step| take(&mut shard, step));
        }
        let was_known = |record: &Record<'_>| {
            known.iter().any(|octets| Record::new(octets).is(*record))
        };
        for record in shard.records().filter(was_known) {
            let is_copied = record::each(&copied).any(|found| {
                found.is(record) && (found.key(), found.message()) == (record.key(), record.message())
            });
            prop_assert!(is_copied, "{:?}", record.key());
        }
    }
}

fn take(shard: &mut Shard, step: &Step) {
    match *step {
        Step::Keep(number, len) => keep(shard, number, &vec![number as u8; len]),
        Step::Ask(number) => {
            ask(shard, number);
        }
        Step::Forget(number) => shard.forget(hash(number), key(number).as_bytes()),
    }
}
