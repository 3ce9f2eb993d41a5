//! Snapshots written by one engine and taken in by another, whole and mutated.

use proptest::prelude::*;

use super::*;
use crate::config::environment::System;
use crate::config::{Origin, check::check, corefile};
use crate::engine::cache::entry::Entry;
use crate::engine::cache::key::{Flags, Key, name as name_in};
use crate::engine::policy::hot::Sighting;
use crate::engine::shelf::{Shelf, Surroundings};
use crate::engine::wire::answer::digest;
use crate::engine::wire::header::{HEADER_LEN, Header, flag};
use crate::engine::wire::name::Name;
use crate::engine::{Failure, ListenerId, Query, Scratch, Transport, Verdict};

const COREFILE: &str = "
cluster.local:53 {
    cache 300
    searchpath
    forward . 192.0.2.53
}
.:53 {
    cache 3600 {
        success 5000
        denial 5000 600
        serve_stale 1h
    }
    forward . 192.0.2.1 192.0.2.2
}
";
/// The first process's monotonic clock, the second's, and the wall clock.
const NOW: Now = Now::from_millis(90_000_000);
const LATER: Now = Now::from_millis(86_400_500);
const WALL: u64 = 1_800_000_000_000;
const A: u16 = 1;
const ROOM: u64 = 64 << 20;

fn engine(text: &str) -> Engine {
    let blocks = corefile::parse("Corefile", text, &System).expect("well-formed");
    let config = check(&blocks, Origin::BuiltIn, 53, &System).expect("makes sense");
    Shelf::default().assemble(&config, &Surroundings { host: String::new(), random: 7 })
}

fn question(name: &str, flags: u16, counts: [u16; 4]) -> Vec<u8> {
    let mut message = vec![0; HEADER_LEN];
    Header { id: 7, flags, counts }.write(&mut message);
    message.extend(Name::from_text(name).expect("a name").wire());
    message.extend([0, A as u8, 0, 1]);
    message
}

fn decide(engine: &Engine, name: &str, now: Now, out: &mut [u8]) -> Verdict {
    let packet = question(name, flag::RD, [1, 0, 0, 0]);
    let source = ([10, 0, 0, 1], 4_000).into();
    let (listener, transport) = (ListenerId(0), Transport::Udp);
    let query = Query { packet: &packet, source, listener, transport };
    engine.answer(&query, now, &mut Scratch::default(), out)
}

/// What upstream says to a name: one address; or that there is none, with an SOA of the root.
fn learn(engine: &Engine, name: &str, ttl_secs: u32, address: Option<u8>, now: Now) {
    let Verdict::Ask(ask) = decide(engine, name, now, &mut [0; 1_500]) else { return };
    engine.learn(&ask, &response(name, ttl_secs, address), now);
}

fn response(name: &str, ttl_secs: u32, address: Option<u8>) -> Vec<u8> {
    match address {
        Some(last) => {
            let mut message = question(name, flag::QR, [1, 1, 0, 0]);
            message.extend(b"\xc0\x0c\0\x01\0\x01");
            message.extend(ttl_secs.to_be_bytes());
            message.extend([0, 4, 192, 0, 2, last]);
            message
        }
        None => {
            let mut message = question(name, flag::QR | 3, [1, 0, 1, 0]);
            message.extend(b"\0\0\x06\0\x01");
            message.extend(ttl_secs.to_be_bytes());
            message.extend([&[0, 22, 0, 0][..], &[0; 16], &ttl_secs.to_be_bytes()].concat());
            message
        }
    }
}

/// Response code and TTL of the reply, if one is known.
fn known(engine: &Engine, name: &str, now: Now) -> Option<(u8, u32)> {
    let mut out = [0; 1_500];
    let Verdict::Reply(reply) = decide(engine, name, now, &mut out) else { return None };
    let ttl_at = match reply.facts.rcode {
        0 => reply.len - 10,
        _ => reply.len - 28,
    };
    let ttl = out[ttl_at..ttl_at + 4].try_into().expect("four octets");
    Some((reply.facts.rcode, u32::from_be_bytes(ttl)))
}

fn written(engine: &Engine, bytes_max: u64) -> (Vec<u8>, Written) {
    let mut out = Vec::new();
    let written = write(engine, NOW, WALL, bytes_max, &mut out).expect("a Vec takes everything");
    assert_eq!(written.bytes, out.len() as u64);
    (out, written)
}

fn restore(octets: &[u8], engine: &Engine, down_millis: u64) -> Result<Restored, Unusable> {
    Snapshot::read(octets, ROOM)?.restore(engine, LATER, WALL + down_millis)
}

/// How many entries there are in all stores.
fn entries(engine: &Engine) -> u64 {
    let usages = engine.stores().into_iter().map(|store| store.usage());
    usages.flat_map(|usage| usage.residents).map(|residents| residents.entries).sum()
}

#[test]
fn answers_come_back_with_their_ages_and_the_time_between_counted() {
    let before = engine(COREFILE);
    learn(&before, "a.example", 100, Some(1), Now::from_millis(NOW.millis() - 30_000));
    learn(&before, "gone.example", 60, None, Now::from_millis(NOW.millis() - 5_000));
    learn(&before, "x.default.svc.cluster.local", 80, Some(2), NOW);
    let (octets, written) = written(&before, ROOM);
    assert_eq!((written.answers, written.left_out), (3, 0));
    let after = engine(COREFILE);
    let restored = restore(&octets, &after, 10_000).expect("a whole snapshot");
    assert_eq!((restored.answers, restored.expired, restored.unwanted), (3, 0, 0));
    assert_eq!((restored.age_millis, restored.bytes), (10_000, octets.len() as u64));
    assert_eq!(known(&after, "a.example", LATER), Some((0, 60)));
    assert_eq!(known(&after, "gone.example", LATER), Some((3, 45)));
    assert_eq!(known(&after, "x.default.svc.cluster.local", LATER), Some((0, 70)));
    // It expires when it would have.
    assert_eq!(known(&after, "gone.example", LATER.plus_millis(45_000)), None);
}

#[test]
fn what_has_expired_is_kept_where_it_may_be_served_stale() {
    let text = COREFILE.replace("cache 300", "cache 300 {\n serve_stale off\n }");
    let before = engine(&text);
    learn(&before, "a.example", 60, Some(1), NOW);
    learn(&before, "x.default.svc.cluster.local", 60, Some(2), NOW);
    let (octets, _) = written(&before, ROOM);
    for (down_secs, kept) in [(59, 2), (61, 1), (3_600 + 59, 1), (3_600 + 61, 0), (200_000, 0)] {
        let after = engine(&text);
        let restored = restore(&octets, &after, down_secs * 1_000).expect("a whole snapshot");
        assert_eq!((restored.answers, restored.expired), (kept, 2 - kept), "{down_secs}");
    }
}

#[test]
fn lifetimes_obey_the_configuration_in_force_and_never_grow() {
    let before = engine(COREFILE);
    learn(&before, "a.example", 100, Some(1), NOW);
    let (octets, _) = written(&before, ROOM);
    for (cache, ttl_secs) in [("cache 20", 20), ("cache {\n success 9984 3600 500\n}", 100)] {
        let text = format!(".:53 {{\n {cache}\n forward . 192.0.2.1 192.0.2.2\n}}\n");
        let after = engine(&text);
        restore(&octets, &after, 0).expect("a whole snapshot");
        assert_eq!(known(&after, "a.example", LATER), Some((0, ttl_secs)), "{cache}");
    }
}

#[test]
fn answers_of_another_forward_are_left_out() {
    let before = engine(COREFILE);
    learn(&before, "a.example", 100, Some(1), NOW);
    learn(&before, "x.default.svc.cluster.local", 80, Some(2), NOW);
    let (octets, _) = written(&before, ROOM);
    for (from, to, kept) in [
        ("192.0.2.53", "192.0.2.54", 1),
        ("192.0.2.1 192.0.2.2", "192.0.2.2 192.0.2.1", 1),
        ("cluster.local:53", "cluster.example:53", 1),
        (
            "forward . 192.0.2.1 192.0.2.2",
            "forward . 192.0.2.1 192.0.2.2 {\n except example\n }",
            1,
        ),
        ("cache 300", "cache 30", 2),
    ] {
        let after = engine(&COREFILE.replace(from, to));
        let restored = restore(&octets, &after, 0).expect("a whole snapshot");
        assert_eq!((restored.answers, restored.unwanted), (kept, 2 - kept), "{to}");
    }
}

#[test]
fn failures_and_what_is_put_together_are_not_written() {
    let before = engine(COREFILE);
    let Verdict::Ask(ask) = decide(&before, "a.example", NOW, &mut [0; 1_500]) else {
        panic!("nothing is known")
    };
    before.learn_failure(&ask, Failure::Answered(2), NOW);
    assert_eq!((entries(&before), written(&before, ROOM).1.answers), (1, 0));

    let flags = Flags { synthesised: Some(0), ..Flags::default() };
    let name = Name::from_text("b.example").unwrap();
    let key = Key::new(ask.route, name.wire(), A, 1, flags);
    let said = response("b.example", 100, Some(1));
    let digest = digest(&key, &said).expect("an answer");
    before.stores()[0].keep(&Entry::synthesised(&key, digest, 100_000, 7, NOW));
    assert_eq!((entries(&before), written(&before, ROOM).1.answers), (2, 0));
}

#[test]
fn a_snapshot_of_the_future_is_not_used() {
    let (octets, _) = written(&engine(COREFILE), ROOM);
    let outcome = Snapshot::read(&octets[..], ROOM).expect("whole").restore(
        &engine(COREFILE),
        LATER,
        WALL - 1,
    );
    assert!(matches!(outcome, Err(Unusable::Future(1))), "{outcome:?}");
}

#[test]
fn what_is_newer_stays() {
    let before = engine(COREFILE);
    learn(&before, "a.example", 100, Some(1), NOW);
    let (octets, _) = written(&before, ROOM);
    let after = engine(COREFILE);
    learn(&after, "a.example", 300, Some(2), LATER);
    assert_eq!(restore(&octets, &after, 1_000).expect("whole").answers, 0);
    assert_eq!(known(&after, "a.example", LATER), Some((0, 300)));
}

#[test]
fn of_a_large_cache_what_is_used_most_is_written() {
    let before = engine(COREFILE);
    for number in 0..3_000 {
        learn(&before, &format!("n{number}.example"), 100, Some(1), NOW);
    }
    for number in (0..3_000).step_by(10) {
        known(&before, &format!("n{number}.example"), NOW);
    }
    let (whole, all) = written(&before, ROOM);
    assert_eq!((all.answers, all.left_out), (3_000, 0));
    let bytes_max = whole.len() as u64 / 5;
    let (octets, part) = written(&before, bytes_max);
    assert!(part.bytes <= bytes_max, "{part:?} of {bytes_max}");
    assert_eq!(part.answers + part.left_out, 3_000);
    assert!(part.answers > 500, "{part:?}");
    let after = engine(COREFILE);
    restore(&octets, &after, 0).expect("a whole snapshot");
    let found = (0..3_000)
        .step_by(10)
        .filter(|number| known(&after, &format!("n{number}.example"), LATER).is_some());
    assert_eq!(found.count(), 300);
}

#[test]
fn hot_names_and_boundaries_go_on() {
    let before = engine(COREFILE);
    let (name, suffix) = (Name::from_text("a.example").unwrap(), Name::root());
    let sighting = Sighting {
        name: name.wire(),
        suffix: suffix.wire(),
        is_absolute: true,
        qtype: A,
        listener: ListenerId(0),
        weight: 40,
        skipped: 0,
    };
    before.hot().expect("on by default").note(&sighting, Now::from_millis(NOW.millis() - 10_000));
    let boundary = Name::from_text("com.web.svc.cluster.local").unwrap();
    let search =
        |engine: &Engine| engine.blocks()[0].search.as_ref().unwrap().state.switched_off(LATER);
    let state = &before.blocks()[0].search.as_ref().expect("searchpath").state;
    state.contradict(Some(boundary.clone()), NOW);
    let (octets, written) = written(&before, ROOM);
    assert_eq!(written.names, 1);

    let after = engine(COREFILE);
    assert_eq!(restore(&octets, &after, 30_000).expect("whole").names, 1);
    let names = after.hot().expect("on by default").hottest(LATER);
    assert_eq!((names.len(), names[0].count, &names[0].types), (1, 20, &vec![A]));
    // 40 questions in ten seconds, and none in the thirty after.
    assert!((0.9..1.1).contains(&names[0].per_second), "{}", names[0].per_second);
    assert_eq!(search(&after), [(boundary, 30_000, 60_000)]);

    let after = engine(COREFILE);
    restore(&octets, &after, 60_000).expect("whole");
    assert!(search(&after).is_empty());
}

#[test]
fn unusable_snapshots_are_told_apart() {
    let before = engine(COREFILE);
    learn(&before, "a.example", 100, Some(1), NOW);
    let (octets, _) = written(&before, ROOM);
    let read = |octets: &[u8]| Snapshot::read(octets, ROOM).expect_err("unusable").to_string();
    for len in 0..octets.len() {
        assert_eq!(read(&octets[..len]), "it is cut short", "{len}");
    }
    assert_eq!(read(b"<html><body>what is this doing here"), "it is no snapshot of this program's");
    let mut other = octets.clone();
    other[9] = 9;
    assert_eq!(read(&other), "its format is 9, and this version reads format 1");
    for at in 10..octets.len() {
        let mut damaged = octets.clone();
        damaged[at] ^= 4;
        assert!(read(&damaged).contains("it is "), "{at}");
    }
    let error = Snapshot::read(&octets[..], 100).expect_err("too large").to_string();
    assert_eq!(error, "it is larger than the 100 octets that -snapshot-size allows");
}

#[test]
fn what_follows_the_end_of_a_snapshot_in_a_stream_is_left_there() {
    let (mut octets, _) = written(&engine(COREFILE), ROOM);
    octets.extend(b"what comes next");
    let mut stream = &octets[..];
    Snapshot::read(&mut stream, ROOM).expect("a whole snapshot");
    assert_eq!(stream, b"what comes next");
}

/// The chunks of a snapshot, to be changed and sealed again.
fn chunks() -> Vec<(Kind, Vec<u8>)> {
    let before = engine(COREFILE);
    for number in 0..20 {
        learn(&before, &format!("n{number}.example"), 100, Some(number), NOW);
        learn(&before, &format!("n{number}.default.svc.cluster.local"), 9, None, NOW);
    }
    let verified = Verified::read(&written(&before, ROOM).0[..], ROOM).expect("whole");
    let kinds = [Kind::Routes, Kind::HotNames, Kind::Boundaries, Kind::Answers, Kind::End];
    let of = |kind| verified.payloads(kind).map(move |payload| (kind, payload.to_vec()));
    kinds.into_iter().flat_map(of).collect()
}

fn sealed(chunks: &[(Kind, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer::begin(&mut out, WALL).expect("a Vec takes everything");
    for (kind, payload) in chunks {
        writer.chunk(*kind, payload).expect("a Vec takes everything");
    }
    out
}

/// Every record answers the question of its key by the engine's own rules.
fn is_sound(engine: &Engine) -> bool {
    let (mut piece, mut sound) = (Vec::new(), true);
    for store in engine.stores() {
        let mut copying = store.copying();
        while copying.next_piece(&mut piece) {
            sound &= record::each(&piece).all(|record| {
                let asked =
                    record.message().get(HEADER_LEN..HEADER_LEN + name_in(record.key()).len());
                let is_its =
                    asked.is_some_and(|name| name.eq_ignore_ascii_case(name_in(record.key())));
                is_its && digest(&Key::from(record.key()), record.message()).is_ok()
            });
        }
    }
    sound
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutated_snapshots_with_fitting_checksums_are_taken_in_soundly_or_not_at_all(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3u8), 1..6),
        which in any::<prop::sample::Index>(),
    ) {
        let mut chunks = chunks();
        let chosen = which.index(chunks.len());
        let payload = &mut chunks[chosen].1;
        for (at, octet, how) in changes {
            if payload.is_empty() {
                break;
            }
            let at = at.index(payload.len());
            match how {
                0 => payload[at] = octet,
                1 => { payload.remove(at); }
                _ => payload.insert(at, octet),
            }
        }
        let after = engine(COREFILE);
        let outcome = restore(&sealed(&chunks), &after, 1_000);
        prop_assert!(is_sound(&after));
        match outcome {
            Ok(restored) => prop_assert!(restored.answers >= entries(&after)),
            Err(_) => prop_assert_eq!(entries(&after), 0),
        }
    }

    #[test]
    fn any_octets_are_no_snapshot(octets in prop::collection::vec(any::<u8>(), 0..300), seal in any::<bool>()) {
        let octets = if seal { sealed(&[(Kind::Answers, octets), (Kind::End, vec![0; 8])]) } else { octets };
        let after = engine(COREFILE);
        if let Ok(restored) = restore(&octets, &after, 0) {
            prop_assert_eq!(restored.answers, 0);
        }
        prop_assert_eq!(entries(&after), 0);
    }
}

#[test]
fn the_bar_is_where_the_room_ends() {
    let by_rank = [10, 20, 30, 40, 50];
    assert_eq!(Bar::over(by_rank, 150), Bar { rank_min: 0, at_rank_min: 150, left: 150 });
    assert_eq!(Bar::over(by_rank, 100), Bar { rank_min: 2, at_rank_min: 10, left: 100 });
    assert_eq!(Bar::over(by_rank, 7), Bar { rank_min: 4, at_rank_min: 7, left: 7 });
}
