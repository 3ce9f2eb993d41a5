//! ipamd's rules one by one, and against the same arithmetic written down once more with signs.

use proptest::prelude::*;

use super::*;
use crate::model::pool::EniKind;

/// An 8 x 30 type, such as c5.9xlarge.
const SHAPE: Shape =
    Shape { slots: 29, enis_max: 8, unmanaged: 0, trunk_reserved: false, pods_max: 234 };
const NOW_MS: u64 = 1_000_000;
/// An ENI with a pod on each of its addresses.
const FULL: &[u32] = &[1; 29];

fn sip(warm_eni: u32, warm_ip: u32, minimum_ip: u32) -> Settings {
    Settings { warm_eni, warm_ip, minimum_ip, ..Settings::default() }
}

fn pd(warm_prefix: u32, warm_ip: u32, minimum_ip: u32) -> Settings {
    Settings { mode: Mode::Prefix, warm_prefix, warm_ip, minimum_ip, ..Settings::default() }
}

fn rules(settings: &Settings) -> Rules<'_> {
    Rules { settings, shape: SHAPE }
}

/// So many addresses held one by one, and so many of them in use.
fn held(total: u32, assigned: u32) -> Stats {
    Stats { total, assigned, enis: total.div_ceil(29).max(1), ..Stats::default() }
}

/// Prefixes with so many addresses in use each.
fn held_in_prefixes(used: &[u32]) -> Stats {
    Stats {
        total: 16 * used.len() as u32,
        assigned: used.iter().sum(),
        total_prefixes: used.len() as u32,
        free_prefixes: used.iter().filter(|used| **used == 0).count() as u32,
        enis: 1,
        cooling: 0,
    }
}

/// Short, over, too low, too high.
fn check(settings: &Settings, stats: Stats, expected: (u32, u32, bool, bool)) {
    let rules = rules(settings);
    let TargetState { short, over, .. } = rules.target_state(&stats);
    let found = (short, over, rules.is_too_low(&stats), rules.is_too_high(&stats));
    assert_eq!(found, expected, "{settings:?} {stats:?}");
}

/// A pool of old ENIs, the first one primary; for each its addresses' counts of pods.
fn pool(mode: Mode, enis: &[&[u32]]) -> Pool {
    let mut pool = Pool::new(mode, 30_000);
    for (id, used) in (0..).zip(enis) {
        pool.add_eni(id, EniKind { is_primary: id == 0, ..EniKind::default() }, 0);
        used.iter().for_each(|_| assert!(pool.add_cidr(id, mode == Mode::Prefix, 0)));
        let eni = pool.eni_mut(id).expect("it was added");
        for (cidr, used) in eni.cidrs.iter_mut().zip(*used) {
            cidr.assigned = *used;
        }
    }
    pool
}

fn keeps(settings: &Settings, pool: &Pool, eni: EniId) -> Option<Keep> {
    rules(settings).keeps(pool, pool.eni(eni).expect("it is there"), NOW_MS)
}

// Case 1.
#[test]
fn minimum_alone_never_asks_for_more_than_the_minimum() {
    let minimum = sip(1, 0, 10);
    check(&minimum, held(9, 9), (1, 0, true, false));
    check(&minimum, held(10, 10), (0, 0, false, false));
    check(&minimum, held(12, 10), (0, 2, false, true));
    check(&pd(1, 0, 22), held_in_prefixes(&[16, 16]), (0, 0, false, false));
}

// Case 2.
#[test]
fn warm_eni_0_asks_only_when_nothing_is_available() {
    let none = sip(0, 0, 0);
    check(&none, held(29, 28), (0, 0, false, false));
    check(&none, held(29, 29), (0, 0, true, false));
    let pool = pool(Mode::SecondaryIp, &[&[1; 29], &[0; 29]]);
    let stats = pool.stats(NOW_MS);
    assert!(rules(&none).wants_fewer_enis(&pool, &stats), "and what came is given back");
    assert_eq!(keeps(&none, &pool, 1), None);
}

// Case 2, with prefixes.
#[test]
fn warm_prefix_0_asks_for_a_prefix_and_finds_it_too_many() {
    let none = pd(0, 0, 0);
    check(&none, held_in_prefixes(&[]), (0, 0, true, false));
    check(&none, held_in_prefixes(&[0]), (0, 0, false, true));
    assert_eq!(rules(&none).to_release(&held_in_prefixes(&[0])), 1);
    check(&none, held_in_prefixes(&[1]), (0, 0, false, false));
}

// Case 3.
#[test]
fn cooling_addresses_count_as_available() {
    let stats = Stats { cooling: 5, ..held(10, 5) };
    check(&sip(1, 5, 0), stats, (0, 0, false, false));
    assert_eq!(stats.available(), 5);
}

// Case 5.
#[test]
fn a_shortage_beyond_one_eni_asks_for_one_enis_room() {
    let settings = sip(1, 80, 0);
    let pool = pool(Mode::SecondaryIp, &[&[1; 29]]);
    let stats = pool.stats(NOW_MS);
    assert_eq!(rules(&settings).growth(&pool, &stats), Growth::NewEni { count: 29 });
}

// Case 7.
#[test]
fn max_pods_is_compared_with_what_is_held_before_a_step() {
    let settings = sip(1, 50, 0);
    let rules = Rules { settings: &settings, shape: Shape { pods_max: 40, ..SHAPE } };
    assert!(rules.is_too_low(&held(39, 10)), "though the step may bring 21 more");
    assert!(!rules.is_too_low(&held(40, 10)));
}

// Case 8.
#[test]
fn prefixes_with_one_pod_each_are_never_too_many() {
    check(&pd(1, 1, 0), held_in_prefixes(&[1, 1, 1]), (0, 0, false, false));
    check(&pd(1, 1, 0), held_in_prefixes(&[3, 0, 0]), (0, 2, false, true));
    check(&pd(1, 0, 0), held_in_prefixes(&[1, 1, 1]), (0, 0, false, false));
}

// Case 9.
#[test]
fn default_wants_a_second_eni_from_the_first_pod_on() {
    let default = Settings::default();
    check(&default, held(0, 0), (0, 0, true, false));
    check(&default, held(29, 0), (0, 0, false, false));
    check(&default, held(29, 1), (0, 0, true, false));
    check(&default, held(58, 29), (0, 0, false, false));
    check(&default, held(58, 30), (0, 0, true, false));
}

// Case 12.
#[test]
fn excluded_enis_and_the_other_mode_do_not_count() {
    let mut pool = pool(Mode::SecondaryIp, &[&[1, 0], &[0, 0, 0]]);
    pool.add_cidr(0, true, 0);
    pool.eni_mut(1).expect("it is there").kind.is_excluded = true;
    let stats = pool.stats(NOW_MS);
    assert_eq!((stats.total, stats.total_prefixes, stats.enis), (2, 0, 2));
    let eni = pool.eni(1).expect("it is there");
    assert!(!rules(&Settings::default()).has_room(eni));
}

// Case 13.
#[test]
fn warm_prefix_1_holds_an_eni_that_the_targets_do_not_need() {
    let pool = pool(Mode::Prefix, &[&[3], &[0]]);
    let needed = Some(Keep::WarmPrefix { elsewhere: 0, needed: 1 });
    assert_eq!(keeps(&pd(1, 5, 0), &pool, 1), Some(Keep::WarmIp { elsewhere: 13, needed: 16 }));
    assert_eq!(keeps(&pd(1, 0, 5), &pool, 1), needed);
    assert_eq!(keeps(&pd(0, 0, 5), &pool, 1), None);
    assert_eq!(keeps(&pd(1, 0, 0), &pool, 1), needed);
}

#[test]
fn an_eni_is_kept_for_the_first_reason_that_holds() {
    let mut pool = pool(Mode::SecondaryIp, &[&[1; 20], &[1, 0]]);
    let warm = sip(1, 3, 0);
    assert_eq!(keeps(&warm, &pool, 0), Some(Keep::Primary));
    assert_eq!(keeps(&warm, &pool, 1), Some(Keep::HasPods { pods: 1 }));
    let eni = pool.eni_mut(1).expect("it is there");
    eni.cidrs[0].assigned = 0;
    eni.cidrs[0].given_back_ms = vec![NOW_MS - 30_000];
    assert_eq!(keeps(&warm, &pool, 1), Some(Keep::Cooling));
    pool.eni_mut(1).expect("it is there").added_ms = NOW_MS - 59_999;
    assert_eq!(keeps(&warm, &pool, 1), Some(Keep::TooYoung { age_ms: 59_999 }));
    let eni = pool.eni_mut(1).expect("it is there");
    eni.added_ms = NOW_MS - 60_000;
    eni.cidrs[0].given_back_ms = vec![NOW_MS - 30_001];
    assert_eq!(keeps(&warm, &pool, 1), Some(Keep::WarmIp { elsewhere: 0, needed: 3 }));
    let minimum = sip(1, 0, 21);
    assert_eq!(keeps(&minimum, &pool, 1), Some(Keep::MinimumIp { elsewhere: 20, needed: 21 }));
    assert_eq!(keeps(&sip(1, 0, 20), &pool, 1), None);
    pool.eni_mut(1).expect("it is there").kind.is_trunk = true;
    assert_eq!(keeps(&sip(1, 0, 20), &pool, 1), Some(Keep::Trunk));
    pool.eni_mut(1).expect("it is there").kind = EniKind { is_efa: true, ..EniKind::default() };
    assert_eq!(keeps(&sip(1, 0, 20), &pool, 1), Some(Keep::Efa));
}

#[test]
fn enis_to_free_are_looked_for_by_mode() {
    let wants = |settings: &Settings, enis: &[&[u32]]| {
        let pool = pool(settings.mode, enis);
        rules(settings).wants_fewer_enis(&pool, &pool.stats(NOW_MS))
    };
    assert!(wants(&sip(1, 1, 0), &[&[1]]), "always with targets");
    assert!(!wants(&Settings::default(), &[&[0; 29], &[1; 29]]));
    assert!(!wants(&Settings::default(), &[&[1; 29], &[0; 29], &[0; 28]]));
    assert!(wants(&Settings::default(), &[&[1; 29], &[0; 29], &[0; 29]]));
    assert!(wants(&pd(1, 0, 0), &[&[1], &[0]]), "an ENI has no pods");
    assert!(!wants(&pd(1, 0, 0), &[&[0], &[1]]), "the primary one does not count");
    assert!(wants(&pd(0, 0, 0), &[&[0; 29], &[1]]), "464 available are at least 1 x 464");
}

#[test]
fn growth_fills_enis_before_it_adds_one() {
    let default = Settings::default();
    let of = |settings: &Settings, enis: &[&[u32]]| {
        let pool = pool(settings.mode, enis);
        rules(settings).growth(&pool, &pool.stats(NOW_MS))
    };
    assert_eq!(of(&default, &[&[1; 28]]), Growth::TopUp { enis: vec![0], want: 29 });
    assert_eq!(of(&default, &[&[1; 29]]), Growth::NewEni { count: 29 });
    assert_eq!(of(&sip(1, 3, 0), &[&[1; 29]]), Growth::NewEni { count: 3 });
    assert_eq!(of(&sip(1, 3, 0), &[&[0; 3]]), Growth::Stuck(Stuck::NothingWanted));
    assert_eq!(of(&pd(3, 0, 0), &[&[0, 2]]), Growth::TopUp { enis: vec![0], want: 2 });
    assert_eq!(of(&pd(1, 40, 0), &[&[16; 29]]), Growth::NewEni { count: 3 });
    assert_eq!(of(&pd(1, 0, 0), &[&[16; 29]]), Growth::NewEni { count: 1 });
    assert_eq!(of(&default, &[FULL; 8]), Growth::Stuck(Stuck::EnisMax));
    let custom = Settings { custom_networking: true, ..default };
    assert_eq!(of(&custom, &[&[]]), Growth::NewEni { count: 29 });
}

#[test]
fn room_for_enis_is_less_by_those_of_others() {
    let default = Settings::default();
    let may = |shape: Shape, enis: u32| {
        Rules { settings: &default, shape }.may_add_eni(&Stats { enis, ..Stats::default() })
    };
    assert!(may(SHAPE, 7) && !may(SHAPE, 8));
    let unmanaged = Shape { unmanaged: 2, ..SHAPE };
    assert!(may(unmanaged, 5) && !may(unmanaged, 6));
    let reserved = Shape { trunk_reserved: true, ..SHAPE };
    assert!(may(reserved, 6) && !may(reserved, 7));
}

/// `datastoreTargetState` as the reference writes it, with signed numbers.
fn reference(settings: &Settings, stats: &Stats) -> (i64, i64) {
    let (w, m) = (i64::from(settings.warm_ip), i64::from(settings.minimum_ip));
    if w == 0 && m == 0 {
        return (0, 0);
    }
    let (total, assigned) = (i64::from(stats.total), i64::from(stats.assigned));
    let avail = total - assigned;
    let short = (w - avail).max(0).max(m - total);
    let over = (avail - w).max(0).min(total - m).max(0);
    if settings.mode == Mode::SecondaryIp {
        return (short, over);
    }
    let prefixes = |addresses: i64| (addresses + 15).div_euclid(16);
    let held = i64::from(stats.total_prefixes);
    let over = i64::from(stats.free_prefixes).min(held - prefixes(assigned + w)).max(0);
    (prefixes(short), over.min(held - prefixes(m)).max(0))
}

proptest! {
    #[test]
    fn target_state_is_the_references(
        is_prefix: bool,
        warm_ip in 0_u32..80,
        minimum_ip in 0_u32..120,
        used in prop::collection::vec(0_u32..=16, 0..12),
        free in 0_u32..60,
    ) {
        let (settings, stats) = if is_prefix {
            (pd(1, warm_ip, minimum_ip), held_in_prefixes(&used))
        } else {
            let assigned = used.iter().sum::<u32>();
            (sip(1, warm_ip, minimum_ip), held(assigned + free, assigned))
        };
        let found = rules(&settings).target_state(&stats);
        let expected = reference(&settings, &stats);
        prop_assert_eq!((i64::from(found.short), i64::from(found.over)), expected);
    }

    #[test]
    fn huge_targets_do_not_overflow(warm in 0_u32.., minimum in 0_u32.., is_prefix: bool) {
        let mode = if is_prefix { Mode::Prefix } else { Mode::SecondaryIp };
        let settings = Settings { mode, warm_eni: warm, ..pd(warm, warm, minimum) };
        let pool = pool(mode, &[&[1, 0], &[0]]);
        let stats = pool.stats(NOW_MS);
        let rules = rules(&settings);
        let _ = (rules.growth(&pool, &stats), rules.is_too_high(&stats));
        let _ = (rules.wants_fewer_enis(&pool, &stats), keeps(&settings, &pool, 1));
    }
}
