//! The boundary cases of ipamd, by name.

use super::*;

/// Case 4.
#[test]
fn one_warm_address_gives_a_burst_one_address_a_pass() {
    let outcome =
        Story::at_rest("c5.9xlarge").burst(MINUTE_MS, 29).run_in(targets(1, 0), &by_second());
    let held = |secs: u64| held_at(&outcome, MINUTE_MS + secs * SECOND_MS);
    assert_eq!(held(0), 1);
    // A pass takes 5 s and the call about half a second; kubelet's tries 12 s apart find what
    // gathered meanwhile.
    assert!((7..=12).contains(&held(60)), "{}", held(60));
    assert!(outcome.fleet.failed_adds >= 100, "{}", outcome.fleet.failed_adds);
    let last_ms = outcome.fleet.waits.max_ms;
    assert!((130_000..200_000).contains(&last_ms), "{last_ms}");
    assert_eq!(outcome.fleet.pods_never, 0);
}

/// `W=w, M=m`, the first m addresses are there from the start.
#[test]
fn a_minimum_of_the_burst_lets_nobody_wait() {
    let outcome = Story::at_rest("c5.9xlarge").burst(MINUTE_MS, 100).run(targets(1, 101));
    assert_eq!((outcome.fleet.failed_adds, outcome.fleet.waits.max_ms), (0, 0));
}

/// Case 1.
#[test]
fn a_minimum_without_a_warm_target_never_grows() {
    let outcome = Story::at_rest("c5.9xlarge").burst(MINUTE_MS, 35).run(prefixes(0, 22));
    assert_eq!(outcome.fleet.held_max, 32);
    assert_eq!((outcome.fleet.waits.count, outcome.fleet.pods_never), (32, 3));
    let waiting = outcome.series.last().map(|point| point.waiting);
    assert_eq!(waiting, Some(3), "at the end they still wait");
}

/// Case 2.
#[test]
fn no_warm_eni_allocates_and_frees_for_ever_at_a_full_eni() {
    let settings = Settings { warm_eni: 0, ..Settings::default() };
    let attaches =
        |pods| Story::at_rest("c5.9xlarge").running(pods).run(settings.clone()).fleet.eni_attaches;
    assert_eq!((attaches(28), attaches(30)), (0, 0));
    assert!(attaches(29) > 30, "{}", attaches(29));
    assert!(attaches(58) > 30, "{}", attaches(58));
}

/// Case 2.
#[test]
fn no_warm_prefix_adds_and_releases_for_ever_on_an_empty_node() {
    let settings = Settings { mode: Mode::Prefix, warm_prefix: 0, ..Settings::default() };
    let tally = Story::fresh("c5.9xlarge").run(settings).fleet;
    assert!(calls(&tally, Action::UnassignPrivateIpAddresses) > 80);
    assert!(calls(&tally, Action::AssignPrivateIpAddresses) > 80);
}

/// Case 3: the pool looks full while nothing can be assigned.
#[test]
fn cooling_addresses_count_as_available_and_serve_nobody() {
    let story = Story::at_rest("c5.9xlarge").running(20).end_first(MINUTE_MS, 20);
    let outcome = story.burst(MINUTE_MS + SECOND_MS, 20).run_in(targets(2, 0), &by_second());
    // 22 held, 20 cooling, 2 ready: 18 pods fail, though 20 addresses are available.
    assert_eq!(outcome.fleet.pods_failed, 18);
    assert_eq!(outcome.fleet.held_max, 22);
    // What is worse: they are released as surplus while pods wait, and come back two a pass.
    assert!(calls(&outcome.fleet, Action::UnassignPrivateIpAddresses) > 0);
    let last_ms = outcome.fleet.waits.max_ms;
    assert!((60_000..150_000).contains(&last_ms), "{last_ms}");
}

#[test]
fn without_a_cooldown_addresses_serve_again_at_once() {
    let story = Story::at_rest("c5.9xlarge").running(20).end_first(MINUTE_MS, 20);
    let settings = Settings { cooldown_ms: 0, ..targets(2, 0) };
    let outcome = story.burst(MINUTE_MS + SECOND_MS, 20).run(settings);
    assert_eq!(outcome.fleet.failed_adds, 0);
}

/// Case 5.
#[test]
fn a_shortage_beyond_one_eni_takes_a_pass_for_each() {
    let outcome = Story::fresh("c5.9xlarge").run_in(targets(0, 80), &by_second());
    let mut steps: Vec<u32> = outcome.series.iter().map(|point| point.held).collect();
    steps.dedup();
    assert_eq!(steps, [0, 29, 58, 80]);
}

/// Case 6.
#[test]
fn a_cordoned_node_releases_and_neither_grows_nor_detaches() {
    let story = Story::at_rest("c5.9xlarge").running(60);
    let story = story.then(MINUTE_MS, What::Cordon).end_first(2 * MINUTE_MS, 60);
    let tally = story.burst(30 * MINUTE_MS, 20).run(targets(2, 0)).fleet;
    assert!(calls(&tally, Action::UnassignPrivateIpAddresses) > 0);
    assert_eq!(calls(&tally, Action::DetachNetworkInterface), 0);
    assert_eq!(calls(&tally, Action::AssignPrivateIpAddresses), 0);
    assert_eq!(tally.pods_never, 18);
}

#[test]
fn a_cordoned_node_that_manages_its_enis_does_both() {
    let settings = Settings { manages_unschedulable: true, ..targets(2, 0) };
    let story = Story::at_rest("c5.9xlarge").running(60);
    let story = story.then(MINUTE_MS, What::Cordon).end_first(2 * MINUTE_MS, 60);
    let tally = story.burst(30 * MINUTE_MS, 20).run(settings).fleet;
    assert!(tally.eni_detaches > 0);
    assert_eq!(tally.pods_never, 0);
}

#[test]
fn a_node_that_is_uncordoned_grows_again() {
    let story = Story::at_rest("c5.9xlarge").then(MINUTE_MS, What::Cordon);
    let story = story.burst(2 * MINUTE_MS, 10).then(20 * MINUTE_MS, What::Uncordon);
    let tally = story.run(targets(2, 0)).fleet;
    assert_eq!((tally.pods_never, tally.waits.count), (0, 10));
    assert!(tally.waits.max_ms > 18 * MINUTE_MS);
}

/// Case 7.
#[test]
fn the_pool_overshoots_the_limit_of_pods() {
    let mut story = Story::at_rest("c5.9xlarge");
    story.trace.nodes[0].pods_max = 40;
    let outcome = story.burst(MINUTE_MS, 30).run(Settings::default());
    assert_eq!(outcome.fleet.held_max, 58);
}

/// Case 8.
#[test]
fn prefixes_with_a_pod_each_are_never_released() {
    let mut story = Story::at_rest("c5.9xlarge").running(48);
    // Prefixes fill one after the other: one pod of each of three stays.
    for pod in (0..48).filter(|pod| pod % 20 != 0) {
        story.event(MINUTE_MS, 0, What::Delete { pod });
    }
    let outcome = story.lasting(3 * HOUR_MS).run(prefixes(1, 0));
    let last = outcome.series.last().expect("a point");
    assert_eq!((last.used, last.held), (3, 48));
}

/// Case 10.
#[test]
fn a_throttled_node_grows_by_one_address_when_only_the_second_call_passes() {
    let mut world = by_second();
    // A token each 100 s: it serves the first call of a pass, which asks for five, or the second.
    world.ec2.share_percent = 1;
    let bucket = world.ec2.buckets.get_mut(&Action::AssignPrivateIpAddresses).expect("a bucket");
    (bucket.capacity, bucket.refill_per_sec) = (1, 1);
    let story = Story::at_rest("c5.9xlarge").burst(MINUTE_MS, 200);
    let outcome = story.run_in(targets(5, 0), &world);
    let held = outcome.series.windows(2).map(|pair| pair[1].held - pair[0].held);
    let steps: Vec<u32> = held.filter(|step| *step > 0).collect();
    assert!(steps.contains(&1) && steps.contains(&5), "{steps:?}");
    assert!(outcome.fleet.throttled_total() > 0);
}

/// Case 10.
#[test]
fn no_eni_is_made_in_a_pass_whose_top_up_failed() {
    let mut world = World::default();
    let bucket = world.ec2.buckets.get_mut(&Action::AssignPrivateIpAddresses).expect("a bucket");
    (bucket.capacity, bucket.refill_per_sec) = (1, 0);
    let story = Story::at_rest("c5.9xlarge").burst(MINUTE_MS, 10).burst(5 * MINUTE_MS, 20);
    let tally = story.run_in(targets(2, 0), &world).fleet;
    assert!(tally.throttled_total() > 0 && tally.pods_never > 0);
    assert_eq!(calls(&tally, Action::CreateNetworkInterface), 0);
}

/// No back-off across passes; up to twice three tries a pass.
#[test]
fn a_throttled_node_repeats_six_calls_in_every_pass() {
    let mut world = World::default();
    let bucket = world.ec2.buckets.get_mut(&Action::AssignPrivateIpAddresses).expect("a bucket");
    (bucket.capacity, bucket.refill_per_sec) = (1, 0);
    let story = Story::at_rest("c5.9xlarge").burst(MINUTE_MS, 10).burst(5 * MINUTE_MS, 10);
    let tally = story.run_in(targets(2, 0), &world).fleet;
    let (asked, throttled) = (
        calls(&tally, Action::AssignPrivateIpAddresses),
        tally.throttled[&Action::AssignPrivateIpAddresses],
    );
    assert_eq!(asked, throttled + 1);
    // Sixty minutes of passes that take 5 s and four pauses of 1 to 2 s on average.
    assert!((1_000..3_000).contains(&throttled), "{throttled}");
}

/// When the node has fewer ENIs than a moment before, in a series second by second.
fn first_freed_ms(outcome: &Outcome) -> Option<u64> {
    let enis = |point: &Point| 65_531 - point.subnet_free - point.held;
    outcome.series.windows(2).find(|pair| enis(&pair[1]) < enis(&pair[0])).map(|pair| pair[1].at_ms)
}

#[test]
fn an_eni_is_not_freed_in_its_first_minute() {
    let lives = (0..20).filter_map(|second| {
        let start_ms = MINUTE_MS + second * SECOND_MS;
        let story = Story::at_rest("c5.9xlarge").running(27).burst(start_ms, 3);
        let story = story.end_first(start_ms + 20_000, 30);
        let freed_ms = first_freed_ms(&story.run_in(targets(1, 0), &by_second()))?;
        Some(freed_ms - start_ms)
    });
    let lives: Vec<u64> = lives.collect();
    assert!(!lives.is_empty());
    // It came a pass and six calls after the burst.
    assert!(lives.iter().all(|life_ms| (60_000..90_000).contains(life_ms)), "{lives:?}");
}

/// Case 11: cooldown times do not survive a restart of ipamd.
#[test]
fn after_a_restart_nothing_cools_down() {
    let story = || Story::at_rest("c5.9xlarge").running(20).end_first(MINUTE_MS, 20);
    let failed = |story: Story| {
        let story = story.burst(MINUTE_MS + 10_000, 20);
        story.run(targets(2, 22)).fleet.failed_adds
    };
    assert!(failed(story()) > 0);
    assert_eq!(failed(story().then(MINUTE_MS + 1, What::Restart)), 0);
}

/// Case 11: nor do ages of ENIs.
#[test]
fn after_a_restart_enis_are_young() {
    let freed_ms = |story: Story| {
        let story = story.running(60).end_first(5 * MINUTE_MS, 60);
        first_freed_ms(&story.run_in(targets(2, 0), &by_second())).expect("one is freed")
    };
    let old_ms = freed_ms(Story::at_rest("c5.9xlarge"));
    let restarted = Story::at_rest("c5.9xlarge").then(5 * MINUTE_MS - 1, What::Restart);
    assert!(old_ms < 5 * MINUTE_MS + 45_000, "{old_ms}");
    assert!(freed_ms(restarted) >= 6 * MINUTE_MS);
}
