//! What is around a node: subnets, token buckets, failed calls, the ends of instances, limits.

use super::*;

/// Releases that fail leave addresses on the ENI that the pool does not know; the next top-up is told
/// that the ENI is full, and looks.
#[test]
fn addresses_that_strayed_are_found_when_their_eni_is_full() {
    let mut world = by_second();
    let bucket = world.ec2.buckets.get_mut(&Action::UnassignPrivateIpAddresses).expect("a bucket");
    (bucket.capacity, bucket.refill_per_sec) = (1, 0);
    let story = Story::at_rest("t3.medium").running(5).end_first(MINUTE_MS, 2);
    let story = story.end_first(3 * MINUTE_MS, 5).burst(3 * MINUTE_MS + 45_000, 5);
    let tally = story.run_in(targets(1, 0), &world).fleet;
    assert!(tally.throttled[&Action::UnassignPrivateIpAddresses] >= 3);
    assert!(calls(&tally, Action::DescribeNetworkInterfaces) > 1);
    assert_eq!(tally.pods_never, 0);
}

#[test]
fn a_full_subnet_stops_growth_for_two_minutes() {
    let subnets = vec![SubnetPlan { prefix_len: 27, ..SubnetPlan::default() }];
    let world = World { subnets, ..by_second() };
    let outcome = Story::at_rest("c5.9xlarge").burst(MINUTE_MS, 40).run_in(targets(5, 0), &world);
    assert_eq!(outcome.subnets[0].free_min, 0);
    assert!(outcome.fleet.insufficient > 0);
    let asked: Vec<u64> =
        outcome.series.iter().filter(|p| p.calls > 0).map(|p| p.at_ms / SECOND_MS).collect();
    let pauses = asked.windows(2).filter(|pair| pair[1] - pair[0] >= 119).count();
    assert!(pauses > 20, "{asked:?}");
}

#[test]
fn prefixes_need_whole_blocks() {
    let subnets = vec![SubnetPlan { prefix_len: 24, taken: 120, ..SubnetPlan::default() }];
    let world = World { subnets, ..World::default() };
    let outcome = Story::fresh("c5.9xlarge").burst(MINUTE_MS, 20).run_in(prefixes(1, 0), &world);
    assert!(outcome.subnets[0].free_end > 100);
    assert_eq!(outcome.fleet.waits.count, 0);
    assert!(outcome.fleet.insufficient > 0);
}

#[test]
fn another_subnet_of_the_zone_gives_an_eni_when_the_first_is_full() {
    let small = SubnetPlan { name: "a".to_owned(), prefix_len: 27, ..SubnetPlan::default() };
    let large = SubnetPlan { name: "b".to_owned(), prefix_len: 24, ..SubnetPlan::default() };
    let world = World { subnets: vec![small, large], ..World::default() };
    let story = Story::fresh("c5.9xlarge").burst(MINUTE_MS, 40);
    let found = story.run_in(Settings::default(), &world);
    assert_eq!((found.fleet.pods_never, found.fleet.waits.count), (0, 40));
    let blind = Settings { subnet_discovery: false, ..Settings::default() };
    assert!(story.run_in(blind, &world).fleet.pods_never > 0);
}

#[test]
fn nodes_that_boot_together_share_the_accounts_buckets() {
    let mut story = Story::with("c5.9xlarge", 300, false);
    for node in 0..300 {
        story = story.burst_on(node, 20 * SECOND_MS, 3);
    }
    let outcome = story.run_in(Settings::default(), &by_second());
    assert!(outcome.fleet.throttled_total() > 100);
    let is_done = |point: &&Point| point.held == 300 * 58;
    let done_ms = outcome.series.iter().find(is_done).expect("all get there").at_ms;
    // 300 second ENIs: 50 at once and 5 a second are 50 s at best; tries in vain add to it.
    assert!((50_000..600_000).contains(&done_ms), "{done_ms}");
}

#[test]
fn a_failed_start_is_tried_again() {
    let mut world = World::default();
    let bucket = world.ec2.buckets.get_mut(&Action::CreateTags).expect("a bucket");
    (bucket.capacity, bucket.refill_per_sec) = (1, 1);
    let outcome = Story::with("m5.large", 60, false).run_in(Settings::default(), &world);
    assert!(outcome.fleet.failed_starts > 0);
    assert_eq!(outcome.series.last().expect("a point").held, 60 * 9);
}

/// aws/amazon-vpc-cni-k8s #608: an instance that ends between detaching and deleting leaves an ENI
/// behind, which another node deletes an hour later.
#[test]
fn an_instance_that_ends_while_it_frees_an_eni_leaks_it() {
    let mut leaked = 0;
    for quarter in 0..80 {
        let mut story = Story::with("c5.9xlarge", 2, true).running(60).end_first(MINUTE_MS, 60);
        story = story.then(MINUTE_MS + quarter * 250, What::Leave);
        let outcome = story.lasting(4 * HOUR_MS).run(targets(2, 0));
        leaked += outcome.fleet.enis_leaked;
        let other = 2 + 1;
        assert_eq!(outcome.subnets[0].free_end, outcome.subnets[0].capacity - other);
    }
    assert!(leaked > 0);
}

#[test]
fn trunk_unmanaged_and_efa_enis_leave_less_room() {
    let settings = Settings { pod_eni: true, ..Settings::default() };
    let world = World { unmanaged_enis: 1, efa_enis: 1, ..World::default() };
    let story = || Story::at_rest("c5.9xlarge").burst(MINUTE_MS, 200).lasting(HOUR_MS);
    let free = story().run(Settings::default()).fleet;
    let cramped = story().run_in(settings, &world).fleet;
    assert_eq!(free.held_max, 232);
    // Eight ENIs: one is unmanaged, one slot is the trunk's; the EFA carries addresses.
    assert_eq!(cramped.held_max, 6 * 29);
    assert!(cramped.pods_never > 0);
}

#[test]
fn custom_networking_gives_pods_nothing_from_the_primary_eni() {
    let settings = Settings { custom_networking: true, ..Settings::default() };
    let outcome = Story::fresh("m5.large").burst(10 * MINUTE_MS, 18).run(settings);
    assert_eq!(outcome.fleet.held_max, 18);
    assert_eq!(outcome.fleet.waits.count, 18);
}

/// awsutils.IsPrefixDelegationSupported.
#[test]
fn types_without_prefixes_fall_back_to_addresses() {
    let outcome = Story::at_rest("m4.large").running(1).run(prefixes(1, 0));
    assert_eq!(outcome.fleet.held_max, 2);
}

#[test]
fn nodes_that_were_there_look_for_leaked_enis_all_through_the_hour() {
    let outcome = Story::with("m5.large", 60, true).run(Settings::default());
    let early = outcome.series.iter().filter(|point| point.at_ms <= 5 * MINUTE_MS);
    let calls: u32 = early.map(|point| point.calls).sum();
    assert!(calls < 20, "{calls}");
    assert_eq!(outcome.fleet.calls_total(), 60);
}

/// `run` looks whether a node that is gone left anything in the books.
#[test]
fn an_eni_that_can_be_neither_attached_nor_deleted_is_leaked() {
    let world = stingy(&[Action::AttachNetworkInterface, Action::DeleteNetworkInterface]);
    let story = Story::at_rest("m5.large").burst(MINUTE_MS, 25).then(HOUR_MS / 2, What::Leave);
    let tally = story.run_in(Settings::default(), &world).fleet;
    assert_eq!(tally.eni_attaches, 1);
    assert!(tally.enis_leaked > 1, "{}", tally.enis_leaked);
}

#[test]
fn addresses_that_strayed_go_with_their_eni() {
    let world = stingy(&[Action::UnassignPrivateIpAddresses]);
    let story = Story::at_rest("c5.9xlarge").running(60).end_first(MINUTE_MS, 60);
    let tally = story.then(HOUR_MS / 2, What::Leave).run_in(targets(2, 0), &world).fleet;
    assert!(tally.throttled[&Action::UnassignPrivateIpAddresses] >= 3);
    assert!(tally.eni_detaches > 0);
}

/// `tryAssignIPs` goes on to the next ENI without an error, and there is none.
#[test]
fn a_full_subnet_is_asked_in_every_pass_where_there_may_be_no_further_eni() {
    let subnets = vec![SubnetPlan { prefix_len: 27, ..SubnetPlan::default() }];
    let world = World { subnets, ..World::default() };
    let asked = |subnet_discovery| {
        let settings = Settings { enis_max: Some(1), subnet_discovery, ..targets(5, 0) };
        let tally = Story::at_rest("c5.9xlarge").burst(MINUTE_MS, 40).run_in(settings, &world);
        calls(&tally.fleet, Action::AssignPrivateIpAddresses)
    };
    let (with, without) = (asked(true), asked(false));
    assert!((1_000..1_500).contains(&with), "{with}");
    assert!((50..80).contains(&without), "{without}");
}
