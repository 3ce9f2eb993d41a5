//! The table under floods, over time, and at its bounds.

use proptest::prelude::*;

use super::*;

const START: Now = Now::from_millis(1_000_000);

/// One question about `name`, asked as it is.
pub(super) fn sighting(name: &[u8]) -> Sighting<'_> {
    Sighting {
        name,
        suffix: &[0],
        is_absolute: true,
        qtype: 1,
        listener: ListenerId(0),
        weight: 1,
        skipped: 0,
    }
}

fn wire(text: &str) -> Vec<u8> {
    Name::from_text(text).expect("a name").wire().to_vec()
}

fn note(table: &mut HotTable, text: &str, times: u32, now: Now) {
    for _ in 0..times {
        table.note(&sighting(&wire(text)), now);
    }
}

fn names(table: &mut HotTable, now: Now) -> Vec<String> {
    table.hottest(now).iter().map(|hot| hot.name.to_string()).collect()
}

/// `prefix-NUMBER.example.`, built where a million of them cost little.
fn numbered(prefix: u8, number: u32, into: &mut Vec<u8>) {
    into.clear();
    into.extend([11, prefix, b'-', b'0']);
    into.extend(format!("{number:08}").bytes());
    into.extend(b"\x07example\0");
}

/// A million names once each within a minute, and among them `hot` names `times` each.
fn flood(table: &mut HotTable, hot: u32, times: u32, from: Now) -> Now {
    const STRANGERS: u32 = 1_000_000;
    let (mut stranger, mut known) = (Vec::new(), Vec::new());
    let every = STRANGERS / (hot * times);
    for number in 0..STRANGERS {
        let now = from.plus_millis(u64::from(number) * 60_000 / u64::from(STRANGERS));
        numbered(b's', number, &mut stranger);
        table.note(&sighting(&stranger), now);
        if number % every == 0 {
            numbered(b'h', number / every % hot, &mut known);
            table.note(&sighting(&known), now);
        }
    }
    from.plus_millis(60_000)
}

fn hot_among(table: &mut HotTable, now: Now) -> usize {
    names(table, now).iter().filter(|name| name.starts_with("h-")).count()
}

#[test]
fn a_million_names_do_not_push_out_500_that_are_asked_ten_times_a_minute() {
    let mut table = HotTable::new(500);
    let mut name = Vec::new();
    for number in (0..500).chain(0..500).chain(0..500) {
        numbered(b'h', number, &mut name);
        table.note(&sighting(&name), START);
    }
    assert_eq!(hot_among(&mut table, START), 500);
    let bytes = table.bytes();
    let end = flood(&mut table, 500, 10, START.plus_millis(1000));
    assert_eq!(hot_among(&mut table, end), 500);
    // The search for the coldest notes which they are, a few octets each.
    assert!(table.bytes() <= bytes + 1024, "{} octets after {bytes}", table.bytes());
}

#[test]
fn hot_names_are_found_in_the_middle_of_a_flood() {
    let mut table = HotTable::new(2_000);
    let end = flood(&mut table, 500, 40, START);
    assert!(hot_among(&mut table, end) >= 490, "{}", hot_among(&mut table, end));
    let hottest = names(&mut table, end);
    let first = hottest.iter().take(400).filter(|name| name.starts_with("h-")).count();
    assert!(first >= 390, "{first} of the first 400");
    assert!(table.len() <= 2_000);
}

#[test]
fn counts_halve_every_half_minute_and_names_leave() {
    let mut table = HotTable::new(10);
    note(&mut table, "warm.example", 40, START);
    note(&mut table, "brief.example", 2, START);
    let count = |table: &mut HotTable, secs: u64| {
        let hottest = table.hottest(START.plus_millis(secs * 1000));
        hottest.first().map_or(0, |hot| hot.count)
    };
    assert_eq!(count(&mut table, 29), 40);
    assert_eq!(count(&mut table, 30), 20);
    assert_eq!(table.len(), 2);
    assert_eq!(count(&mut table, 60), 10);
    assert_eq!(names(&mut table, START.plus_millis(60_000)), ["warm.example."]);
    assert_eq!(count(&mut table, 5 * 30), 1);
    assert_eq!(count(&mut table, 6 * 30), 0);
    assert!(table.is_empty() && table.places.is_empty());
}

#[test]
fn a_long_silence_is_as_many_halvings() {
    let mut table = HotTable::new(10);
    note(&mut table, "a.example", 1000, START);
    let later = START.plus_millis(86_400_000);
    assert_eq!(names(&mut table, later), [""; 0]);
    note(&mut table, "a.example", 2, later);
    assert_eq!(table.hottest(later)[0].count, 2);
}

#[test]
fn a_clock_that_stands_still_or_lags_changes_nothing() {
    let mut table = HotTable::new(10);
    note(&mut table, "a.example", 3, START);
    note(&mut table, "a.example", 1, Now::from_millis(0));
    assert_eq!(table.hottest(START)[0].count, 4);
}

#[test]
fn rates_are_per_second_whatever_the_age_of_the_table() {
    let mut table = HotTable::new(10);
    for second in 0..600_u64 {
        let now = START.plus_millis(second * 1000);
        note(&mut table, "steady.example", 8, now);
        if [3, 45, 100, 359, 599].contains(&second) {
            let rate = table.hottest(now.plus_millis(999))[0].per_second;
            assert!((7.2..=8.8).contains(&rate), "{rate} after {second} s");
        }
    }
    let mut new = HotTable::new(10);
    note(&mut new, "a.example", 3, START);
    assert_eq!(new.hottest(START)[0].per_second, 3.0);
}

#[test]
fn a_name_asked_once_is_not_followed_unless_it_stands_for_several() {
    let mut table = HotTable::new(10);
    note(&mut table, "once.example", 1, START);
    assert!(table.is_empty());
    table.note(&Sighting { weight: 8, ..sighting(&wire("sampled.example")) }, START);
    assert_eq!(table.hottest(START)[0].count, 8);
}

#[test]
fn only_the_coldest_is_displaced_and_only_by_a_warmer_name() {
    let mut table = HotTable::new(3);
    for (name, times) in [("a.example", 9), ("b.example", 5), ("c.example", 7)] {
        note(&mut table, name, times, START);
    }
    note(&mut table, "d.example", 5, START);
    assert_eq!(names(&mut table, START), ["a.example.", "c.example.", "b.example."]);
    note(&mut table, "d.example", 1, START);
    assert_eq!(names(&mut table, START), ["a.example.", "c.example.", "d.example."]);
    assert_eq!(table.hottest(START)[2].count, 6);
    // It grew colder than the others in the meantime.
    note(&mut table, "d.example", 9, START);
    note(&mut table, "e.example", 8, START);
    assert_eq!(names(&mut table, START), ["d.example.", "a.example.", "e.example."]);
}

#[test]
fn ways_are_told_the_most_frequent_first() {
    let mut table = HotTable::new(3);
    let name = wire("amazon.com");
    let (pod, host) = (wire("default.svc.cluster.local"), wire("ec2.internal"));
    let pod = Sighting { suffix: &pod, skipped: 3, ..sighting(&name) };
    let host = Sighting { suffix: &host, weight: 2, is_absolute: false, ..sighting(&name) };
    for seen in [pod, host, pod, sighting(&name), pod, pod] {
        table.note(&seen, START);
    }
    let hot = table.hottest(START).remove(0);
    let ways: Vec<_> =
        hot.ways.iter().map(|way| (way.suffix.to_string(), way.is_absolute, way.count)).collect();
    let expected = [
        ("default.svc.cluster.local.".to_owned(), true, 3),
        ("ec2.internal.".to_owned(), false, 2),
        (".".to_owned(), true, 1),
    ];
    // The first question was counted, but forgotten how it came: the name was not followed yet.
    assert_eq!(ways, expected);
    assert_eq!((hot.count, hot.saved), (7, 9));
}

#[test]
fn at_most_four_ways_are_kept_and_the_frequent_ones_stay() {
    let mut table = HotTable::new(3);
    let name = wire("a.example");
    for round in 0..200 {
        for frequent in 0..3 {
            let suffix = wire(&format!("frequent{frequent}"));
            table.note(&Sighting { suffix: &suffix, ..sighting(&name) }, START);
        }
        let suffix = wire(&format!("rare{round}"));
        table.note(&Sighting { suffix: &suffix, ..sighting(&name) }, START);
    }
    let ways = table.hottest(START).remove(0).ways;
    assert_eq!(ways.len(), 4);
    assert!(ways[..3].iter().all(|way| way.suffix.to_string().starts_with("frequent")));
    assert!(ways[..3].iter().all(|way| way.count >= 198), "{ways:?}");
}

#[test]
fn listeners_are_told_apart() {
    let mut table = HotTable::new(3);
    let name = wire("a.example");
    for listener in [0, 1, 0, 1] {
        table.note(&Sighting { listener: ListenerId(listener), ..sighting(&name) }, START);
    }
    assert_eq!(table.hottest(START)[0].ways.len(), 2);
}

#[test]
fn types_that_are_not_asked_any_more_are_forgotten() {
    let mut table = HotTable::new(3);
    let name = wire("a.example");
    let ask = |table: &mut HotTable, qtype: u16, secs: u64| {
        let now = START.plus_millis(secs * 1000);
        table.note(&Sighting { qtype, weight: 100, ..sighting(&name) }, now);
        table.hottest(now)[0].types.clone()
    };
    assert_eq!(ask(&mut table, 16, 0), [16]);
    assert_eq!(ask(&mut table, 28, 20), [16, 28]);
    assert_eq!(ask(&mut table, 1, 60), [1, 16, 28]);
    assert_eq!(ask(&mut table, 28, 90), [1, 28]);
    for qtype in [33, 64, 65, 99] {
        ask(&mut table, qtype, 90);
    }
    assert_eq!(ask(&mut table, 28, 90), [28, 33, 64, 65], "the one idle type gave way");
}

#[test]
fn what_is_no_lower_case_name_is_not_followed() {
    let mut table = HotTable::new(3);
    let (endless, long) = ([3, b'a'], [1; 300]);
    for name in [&endless[..], &long, b"", b"\x01A\0", b"\x01a\0\0"] {
        for _ in 0..3 {
            table.note(&sighting(name), START);
        }
    }
    assert!(table.is_empty());
    // Nor does one take the place of another.
    let mut full = HotTable::new(1);
    note(&mut full, "a.example", 2, START);
    full.note(&Sighting { weight: 100, ..sighting(&endless) }, START);
    assert_eq!(names(&mut full, START), ["a.example."]);
}

#[test]
fn a_table_of_no_size_follows_nothing() {
    let mut table = HotTable::new(0);
    note(&mut table, "a.example", 100, START);
    assert!(table.is_empty());
}

#[test]
fn memory_has_a_bound_with_the_longest_names() {
    const SIZE: usize = 1_000;
    let mut table = HotTable::new(SIZE);
    let long = |number: usize| {
        let label = "x".repeat(63);
        wire(&format!("n{number:07}.{label}.{label}.{}.x", &label[..50]))
    };
    let suffixes: Vec<Vec<u8>> = (0..6).map(long).collect();
    for number in 0..3 * SIZE {
        for suffix in &suffixes {
            let name = long(number);
            table.note(&Sighting { suffix, ..sighting(&name) }, START);
        }
    }
    assert_eq!(table.len(), SIZE);
    // A name, four suffixes, and what is counted; lists grow by doubling.
    let bound = (256 << 10) + SIZE * (5 * 255 + 2 * (size_of::<Followed>() + 64));
    assert!(table.bytes() <= bound, "{} octets, {bound} allowed", table.bytes());
    assert!(size_of::<Followed>() <= 192, "{}", size_of::<Followed>());
}

fn step() -> impl Strategy<Value = (u8, u32, u8, u64)> {
    (0..40_u8, 1..20_u32, 0..7_u8, prop_oneof![4 => Just(0_u64), 1 => 1..40_000_u64])
}

proptest! {
    #[test]
    fn any_traffic_leaves_the_table_whole(
        size in 0..12_usize,
        steps in proptest::collection::vec(step(), 0..200),
    ) {
        let mut table = HotTable::new(size);
        let mut now = START;
        for (name, weight, way, millis) in steps {
            now = now.plus_millis(millis);
            let (name, suffix) = (wire(&format!("n{name}.example")), wire(&format!("s{way}")));
            let qtype = u16::from(way);
            table.note(&Sighting { suffix: &suffix, weight, qtype, ..sighting(&name) }, now);
            prop_assert!(table.len() <= size);
            prop_assert_eq!(table.counts.len(), table.followed.len());
            prop_assert_eq!(table.places.len(), table.followed.len());
            for (place, followed) in table.followed.iter().enumerate() {
                prop_assert_eq!(table.places.get(&followed.hash), Some(&(place as u32)));
            }
            prop_assert!(table.counts.iter().all(|count| *count >= table.coldest.count));
        }
        let hottest = table.hottest(now);
        prop_assert!(hottest.is_sorted_by(|a, b| a.count >= b.count));
        for hot in &hottest {
            prop_assert!(hot.count > 0 && hot.per_second > 0.0);
            prop_assert!(hot.ways.len() <= 4 && hot.types.len() <= 4);
            prop_assert!(hot.ways.is_sorted_by(|a, b| a.count >= b.count));
            prop_assert!(hot.ways.iter().map(|way| way.count).sum::<u64>() <= hot.count);
        }
    }

    #[test]
    fn with_room_for_all_counts_are_exact_within_a_half_life(
        asked in proptest::collection::vec(0..20_u8, 0..300),
    ) {
        let mut table = HotTable::new(100);
        let mut expected = [0_u64; 20];
        for name in asked {
            note(&mut table, &format!("n{name}.example"), 1, START);
            expected[usize::from(name)] += 1;
        }
        expected.sort_unstable_by(|a, b| b.cmp(a));
        let expected: Vec<u64> = expected.into_iter().filter(|count| *count >= 2).collect();
        let counts: Vec<u64> = table.hottest(START).iter().map(|hot| hot.count).collect();
        prop_assert_eq!(counts, expected);
    }
}
