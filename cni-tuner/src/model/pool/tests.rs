//! What is counted, what can be given to a pod, what cools down.

use rand::SeedableRng as _;

use super::*;

const COOLDOWN_MS: u64 = 30_000;

fn random() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(1)
}

/// ENIs with so many addresses or prefixes, the first one primary.
fn pool(mode: Mode, enis: &[u32]) -> Pool {
    let mut pool = Pool::new(mode, COOLDOWN_MS);
    for (id, count) in (0..).zip(enis) {
        pool.add_eni(id, EniKind { is_primary: id == 0, ..EniKind::default() }, 0);
        (0..*count).for_each(|_| assert!(pool.add_cidr(id, mode == Mode::Prefix, 0)));
    }
    pool
}

/// Held, assigned, cooling, usable.
fn check(pool: &Pool, now_ms: u64, expected: (u32, u32, u32, u32)) {
    let stats = pool.stats(now_ms);
    let found = (stats.total, stats.assigned, stats.cooling, stats.available() - stats.cooling);
    assert_eq!(found, expected, "at {now_ms} ms");
}

// Case 3.
#[test]
fn an_address_that_cools_is_available_but_not_given() {
    let mut pool = pool(Mode::SecondaryIp, &[1]);
    let place = pool.assign(0, &mut random()).expect("an address");
    assert_eq!(pool.assign(0, &mut random()), None);
    pool.give_back(place, 1_000);
    check(&pool, 1_000, (1, 0, 1, 0));
    assert_eq!(pool.stats(1_000).available(), 1);
    assert_eq!(pool.assign(31_000, &mut random()), None, "for the whole of the cooldown");
    check(&pool, 31_001, (1, 0, 0, 1));
    assert_eq!(pool.assign(31_001, &mut random()), Some(place));
}

#[test]
fn of_a_prefix_each_address_cools_by_itself() {
    let mut pool = pool(Mode::Prefix, &[1]);
    let mut random = random();
    let places: Vec<Place> = (0..16).filter_map(|_| pool.assign(0, &mut random)).collect();
    check(&pool, 0, (16, 16, 0, 0));
    pool.give_back(places[0], 1_000);
    pool.give_back(places[1], 20_000);
    check(&pool, 20_000, (16, 14, 2, 0));
    check(&pool, 40_000, (16, 14, 1, 1));
    assert!(pool.assign(40_000, &mut random).is_some());
    assert_eq!(pool.assign(40_000, &mut random), None);
    assert_eq!(pool.stats(40_000).free_prefixes, 0);
}

#[test]
fn pods_are_spread_over_enis_at_random() {
    let mut pool = pool(Mode::SecondaryIp, &[20, 20]);
    let mut random = random();
    (0..20).for_each(|_| assert!(pool.assign(0, &mut random).is_some()));
    let on_first = pool.enis()[0].assigned();
    assert!((1..20).contains(&on_first), "{on_first} of 20: a tidy order would fill one ENI");
}

#[test]
fn every_address_can_be_given_once() {
    for mode in [Mode::SecondaryIp, Mode::Prefix] {
        let mut pool = pool(mode, &[2, 3]);
        let held = pool.stats(0).total;
        let mut random = random();
        let given = (0..1_000).take_while(|_| pool.assign(0, &mut random).is_some()).count();
        assert_eq!(given as u32, held);
        check(&pool, 0, (held, held, 0, 0));
    }
}

#[test]
fn a_release_takes_free_ones_and_cooling_ones_but_none_in_use() {
    let mut pool = pool(Mode::SecondaryIp, &[5]);
    let mut random = random();
    let first = pool.assign(0, &mut random).expect("an address");
    let second = pool.assign(0, &mut random).expect("an address");
    pool.give_back(first, 0);
    assert_eq!(pool.release(0, 9, &mut random).len(), 4);
    check(&pool, 0, (1, 1, 0, 0));
    assert!(pool.has(second) && !pool.has(first));
    assert!(pool.release(0, 9, &mut random).is_empty());
    assert!(pool.release(7, 9, &mut random).is_empty(), "an ENI that is not there");
}

#[test]
fn a_release_takes_no_more_than_asked_for() {
    let mut pool = pool(Mode::Prefix, &[5]);
    assert_eq!(pool.release(0, 2, &mut random()).len(), 2);
    assert_eq!(pool.stats(0).total_prefixes, 3);
}

// Case 12.
#[test]
fn addresses_of_the_other_mode_and_of_excluded_enis_are_not_counted_or_given() {
    let mut pool = pool(Mode::Prefix, &[0, 2]);
    pool.add_cidr(0, false, 0);
    check(&pool, 0, (32, 0, 0, 32));
    pool.eni_mut(1).expect("it is there").kind.is_excluded = true;
    check(&pool, 0, (0, 0, 0, 0));
    assert_eq!(pool.assign(0, &mut random()), None);
}

// Case 11.
#[test]
fn a_restart_forgets_cooldowns_and_ages_and_keeps_assignments() {
    let mut pool = pool(Mode::SecondaryIp, &[2]);
    let mut random = random();
    let first = pool.assign(0, &mut random).expect("an address");
    let second = pool.assign(0, &mut random).expect("an address");
    pool.give_back(first, 90_000);
    pool.forget_times(100_000);
    check(&pool, 100_000, (2, 1, 0, 1));
    assert_eq!(pool.enis()[0].added_ms, 100_000);
    assert!(pool.has(second));
}

#[test]
fn an_eni_says_when_it_has_cooled_down() {
    let mut pool = pool(Mode::SecondaryIp, &[2]);
    let place = pool.assign(0, &mut random()).expect("an address");
    pool.give_back(place, 500);
    let eni = pool.eni(0).expect("it is there");
    assert_eq!(pool.cooled_at_ms(eni, 1_000), Some(30_501));
    assert!(pool.is_cooling(eni, 30_500) && !pool.is_cooling(eni, 30_501));
    assert_eq!(pool.cooled_at_ms(eni, 30_501), None);
}

#[test]
fn what_is_given_back_twice_or_after_its_eni_is_gone_changes_nothing() {
    let mut pool = pool(Mode::SecondaryIp, &[1, 1]);
    pool.eni_mut(0).expect("it is there").kind.is_excluded = true;
    let place = pool.assign(0, &mut random()).expect("an address");
    assert_eq!(place.eni, 1);
    assert!(pool.remove_eni(1).is_some_and(|eni| eni.assigned() == 1));
    pool.give_back(place, 0);
    check(&pool, 0, (0, 0, 0, 0));
    assert!(!pool.add_cidr(1, false, 0));
    assert_eq!(pool.remove_eni(1), None);
}
