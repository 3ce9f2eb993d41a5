//! What nodes hold at rest, and which settings never let them rest.

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::model::ipamd::Shape;
use crate::model::settings::Settings;

const C5_9XLARGE: Shape =
    Shape { slots: 29, enis_max: 8, unmanaged: 0, trunk_reserved: false, pods_max: 234 };

fn rest(settings: Settings, shape: Shape, pods: u32, seed: u64) -> Rest {
    let rules = Rules { settings: &settings, shape };
    Rest::of(rules, 0, pods, &mut ChaCha8Rng::seed_from_u64(seed))
}

fn of(settings: Settings, pods: u32) -> Rest {
    rest(settings, C5_9XLARGE, pods, 1)
}

/// ENIs and addresses at rest, whatever the random choices.
fn check(settings: &Settings, pods: u32, enis: u32, ips: u32) {
    for seed in 0..4 {
        let rest = rest(settings.clone(), C5_9XLARGE, pods, seed);
        assert!(rest.is_settled(), "{pods} pods: {:?}", rest.cycle);
        assert_eq!((rest.enis(), rest.ips()), (enis, ips), "{pods} pods, seed {seed}");
        assert_eq!(rest.assigned(), pods.min(ips));
        assert_eq!(rest.unused(), ips - rest.assigned());
        assert_eq!(rest.places.len() as u32 + rest.unplaced, pods);
    }
}

fn addresses(warm_ip: u32, minimum_ip: u32) -> Settings {
    Settings { warm_ip, minimum_ip, ..Settings::default() }
}

fn prefixes(warm_prefix: u32, warm_ip: u32, minimum_ip: u32) -> Settings {
    Settings { mode: Mode::Prefix, warm_prefix, warm_ip, minimum_ip, ..Settings::default() }
}

// Case 9.
#[test]
fn default_holds_one_eni_without_pods_and_two_from_the_first_pod() {
    let default = Settings::default();
    check(&default, 0, 1, 29);
    check(&default, 1, 2, 58);
    check(&default, 29, 2, 58);
    check(&default, 30, 3, 87);
    check(&default, 232, 8, 232);
}

#[test]
fn targets_hold_what_they_say() {
    check(&addresses(5, 0), 0, 1, 5);
    check(&addresses(5, 0), 10, 1, 15);
    check(&addresses(1, 11), 10, 1, 11);
    check(&addresses(1, 11), 11, 1, 12);
    check(&addresses(2, 60), 10, 3, 60);
    check(&prefixes(1, 0, 0), 0, 1, 16);
    check(&prefixes(1, 0, 0), 1, 1, 32);
    check(&prefixes(0, 1, 0), 16, 1, 32);
}

// Case 1.
#[test]
fn minimum_without_warm_never_grows_past_the_minimum() {
    let rest = of(prefixes(1, 0, 22), 35);
    assert_eq!((rest.prefixes(), rest.ips(), rest.assigned(), rest.unplaced), (2, 32, 32, 3));
    let rest = of(addresses(0, 22), 35);
    assert_eq!((rest.ips(), rest.assigned(), rest.unplaced), (22, 22, 13));
}

// Case 2.
#[test]
fn warm_eni_0_never_rests_at_exact_multiples_of_an_eni() {
    let settings = Settings { warm_eni: 0, ..Settings::default() };
    for pods in [29, 58] {
        let rest = of(settings.clone(), pods);
        let cycle = rest.cycle.as_ref().expect("no fixed point");
        assert!(matches!(
            cycle.turn.iter().map(|step| step.deed).collect::<Vec<_>>()[..],
            [Deed::FreeEni(29, _), Deed::NewEni(29, _)]
                | [Deed::NewEni(29, _), Deed::FreeEni(29, _)]
        ));
        assert!((60_000..=75_000).contains(&cycle.period_ms.expect("it repeats itself")));
        assert_eq!((cycle.held_min, cycle.held_max), (pods, pods + 29));
        assert_eq!((rest.ips(), rest.unplaced), (pods + 29, 0));
    }
    check(&settings, 28, 1, 29);
    check(&settings, 30, 2, 58);
}

// Case 2, the other half.
#[test]
fn warm_prefix_0_adds_and_releases_a_prefix_for_ever_even_on_an_empty_node() {
    for pods in [0, 16] {
        let rest = of(prefixes(0, 0, 0), pods);
        let cycle = rest.cycle.expect("no fixed point");
        assert_eq!((cycle.held_min, cycle.held_max), (pods, pods + 16));
        assert!((30_000..=45_000).contains(&cycle.period_ms.expect("it repeats itself")));
    }
    check(&prefixes(0, 0, 0), 3, 1, 16);
}

// Case 7.
#[test]
fn max_pods_is_compared_before_the_step_and_overshot() {
    let shape = Shape { pods_max: 40, ..C5_9XLARGE };
    let rest = rest(Settings { warm_eni: 2, ..Settings::default() }, shape, 5, 1);
    assert_eq!((rest.enis(), rest.ips()), (2, 58));
}

#[test]
fn max_eni_bounds_the_node() {
    let node = rest(Settings::default(), Shape { enis_max: 2, ..C5_9XLARGE }, 70, 1);
    assert!(node.is_settled());
    assert_eq!((node.enis(), node.ips(), node.unplaced), (2, 58, 12));
}

#[test]
fn custom_networking_leaves_the_primary_eni_empty() {
    check(&Settings { custom_networking: true, ..Settings::default() }, 0, 2, 29);
    check(&Settings { custom_networking: true, ..Settings::default() }, 1, 3, 58);
}

#[test]
fn efa_enis_carry_addresses_and_stay() {
    let settings = addresses(1, 0);
    let rules = Rules { settings: &settings, shape: C5_9XLARGE };
    let rest = Rest::of(rules, 2, 3, &mut ChaCha8Rng::seed_from_u64(1));
    assert_eq!((rest.enis(), rest.ips()), (3, 4));
}

#[test]
fn the_same_seed_gives_the_same_node() {
    let places = |seed| rest(prefixes(1, 0, 0), C5_9XLARGE, 100, seed).places;
    assert_eq!(places(7), places(7));
    assert_ne!(places(7), places(8));
}

#[test]
fn a_cycle_says_what_happens_and_what_it_costs() {
    let settings = Settings { warm_eni: 0, ..Settings::default() };
    let cycle = of(settings, 29).cycle.expect("no fixed point");
    let text = "every 65 s: a new ENI with 29 addresses (58 held), \
                an ENI freed with 29 addresses (29 held)";
    assert_eq!(cycle.to_string(), text);
    assert_eq!(cycle.turn.iter().map(|step| step.at_ms).collect::<Vec<_>>(), [0, 60_000]);
    // Six calls for the ENI and three to free it, 55 times an hour.
    assert_eq!(cycle.calls_per_hour(), Some(498));
}
