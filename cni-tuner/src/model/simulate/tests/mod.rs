//! The simulator as a whole.

mod boundaries;
mod random;
mod surroundings;

use super::*;
use crate::model::ec2::Action;
use crate::model::ipamd::HALF_PERIOD_MS;
use crate::model::outcome::{Point, Tally};
use crate::model::settings::Mode;
use crate::model::subnet::SubnetPlan;
use crate::model::world::World;
use crate::trace::{Event, Node as TracedNode, What, generate};

const SECOND_MS: u64 = 1_000;
const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 3_600_000;

/// A trace written down by hand: one node unless said otherwise.
struct Story {
    trace: Trace,
}

impl Story {
    /// A node that was there before.
    fn at_rest(instance_type: &str) -> Story {
        Story::with(instance_type, 1, true)
    }

    /// A node that starts.
    fn fresh(instance_type: &str) -> Story {
        Story::with(instance_type, 1, false)
    }

    fn with(instance_type: &str, nodes: u32, running: bool) -> Story {
        let instance_type = crate::trace::instance_type(instance_type).expect("a type");
        let node = |at| TracedNode::of(&format!("node-{at}"), instance_type);
        let join = |node| Event { at_ms: 0, node, what: What::Join { running } };
        let trace = Trace {
            name: "story".to_owned(),
            nodes: (0..nodes).map(node).collect(),
            pods: Vec::new(),
            events: (0..nodes).map(join).collect(),
            end_ms: HOUR_MS,
        };
        Story { trace }
    }

    fn pod(&mut self) -> u32 {
        self.trace.pods.push(format!("default/pod-{}", self.trace.pods.len()));
        self.trace.pods.len() as u32 - 1
    }

    fn event(&mut self, at_ms: u64, node: u32, what: What) {
        let at = self.trace.events.partition_point(|event| event.at_ms <= at_ms);
        self.trace.events.insert(at, Event { at_ms, node, what });
    }

    /// So many pods that were there before, on the first node.
    fn running(mut self, count: u32) -> Story {
        for _ in 0..count {
            let pod = self.pod();
            self.event(0, 0, What::Add { pod, host_network: false, running: true });
        }
        self
    }

    /// So many pods start on a node at one moment.
    fn burst_on(mut self, node: u32, at_ms: u64, count: u32) -> Story {
        for _ in 0..count {
            let pod = self.pod();
            self.event(at_ms, node, What::Add { pod, host_network: false, running: false });
        }
        self
    }

    fn burst(self, at_ms: u64, count: u32) -> Story {
        self.burst_on(0, at_ms, count)
    }

    /// The first `count` pods end at one moment.
    fn end_first(mut self, at_ms: u64, count: u32) -> Story {
        for pod in 0..count {
            self.event(at_ms, 0, What::Delete { pod });
        }
        self
    }

    fn then(mut self, at_ms: u64, what: What) -> Story {
        self.event(at_ms, 0, what);
        self
    }

    fn lasting(mut self, end_ms: u64) -> Story {
        self.trace.end_ms = end_ms;
        self
    }

    fn run(&self, settings: Settings) -> Outcome {
        self.run_in(settings, &World::default())
    }

    fn run_in(&self, settings: Settings, world: &World) -> Outcome {
        run(&self.trace, settings, world, true)
    }
}

pub(super) fn run(
    trace: &Trace,
    settings: Settings,
    world: &World,
    skips_idle_passes: bool,
) -> Outcome {
    let assignment = settings.into();
    let mut run = Run::new(trace, &assignment, world, 1);
    run.skips_idle_passes = skips_idle_passes;
    run.play(&mut |_| true).expect("nobody stops it");
    run.check_books();
    run.finish()
}

impl Run<'_> {
    /// What nodes hold, what pools know and what subnets lack are one and the same.
    fn check_books(&self) {
        let all = |count: fn(&Node) -> u32| self.nodes.iter().map(count).sum::<u32>();
        let taken: u32 = self
            .world
            .subnets
            .iter()
            .zip(&self.subnets)
            .map(|(plan, subnet)| plan.capacity() - subnet.free() - plan.taken)
            .sum();
        let leaked: u32 = self.leaked.iter().map(Leaked::addresses).sum();
        // An instance that started in a full subnet has no address there.
        let housed = all(|n| n.homes.values().filter(|home| home.block.is_some()).count() as u32);
        assert_eq!(taken, all(|n| n.costs.held) + housed + leaked);
        assert_eq!(self.record.point.held, all(|node| node.costs.held));
        assert_eq!(self.record.point.used, all(|node| node.costs.used));
        assert_eq!(self.record.enis, all(|node| node.costs.primaries));
        let gone = self.nodes.iter().filter(|node| !node.is_up);
        for costs in gone.map(|node| &node.costs) {
            assert_eq!((costs.held, costs.used, costs.primaries), (0, 0, 0), "left behind");
        }
        for node in self.nodes.iter().filter(|node| node.is_up) {
            let stats = node.pool.stats(self.now_ms);
            assert_eq!(stats.assigned, node.costs.used);
            assert!(stats.total <= node.costs.held, "{} of {}", stats.total, node.costs.held);
        }
    }
}

fn targets(warm_ip: u32, minimum_ip: u32) -> Settings {
    Settings { warm_ip, minimum_ip, ..Settings::default() }
}

fn prefixes(warm_ip: u32, minimum_ip: u32) -> Settings {
    Settings { mode: Mode::Prefix, warm_prefix: 0, ..targets(warm_ip, minimum_ip) }
}

fn calls(tally: &Tally, action: Action) -> u64 {
    tally.calls.get(&action).copied().unwrap_or(0)
}

fn held_at(outcome: &Outcome, at_ms: u64) -> u32 {
    let point = |point: &&Point| point.at_ms == at_ms;
    outcome.series.iter().find(point).expect("a point").held
}

/// Addresses held second by second.
fn by_second() -> World {
    World { series_step_ms: SECOND_MS, ..World::default() }
}

#[test]
fn a_default_node_holds_29_addresses_and_58_from_its_first_pod() {
    let outcome = Story::fresh("c5.9xlarge").burst(10 * MINUTE_MS, 1).run(Settings::default());
    assert_eq!(held_at(&outcome, 9 * MINUTE_MS), 29);
    assert_eq!(held_at(&outcome, 12 * MINUTE_MS), 58);
    assert_eq!(outcome.fleet.waits.max_ms, 0);
}

#[test]
fn a_node_that_was_there_holds_58_from_the_start() {
    let outcome = Story::at_rest("c5.9xlarge").running(3).run(Settings::default());
    assert_eq!(outcome.series.iter().map(|point| point.held).min(), Some(58));
    assert_eq!(outcome.fleet.held_max, 58);
    assert_eq!((outcome.fleet.pods, outcome.fleet.used_max), (0, 3));
}

#[test]
fn starting_a_node_costs_its_documented_calls() {
    let quiet = Settings { sweeps_leaked: false, ..Settings::default() };
    let tally = Story::fresh("c5.9xlarge").run(quiet).fleet;
    assert_eq!(calls(&tally, Action::DescribeNetworkInterfaces), 1);
    assert_eq!(calls(&tally, Action::CreateTags), 1);
    assert_eq!(calls(&tally, Action::DescribeSubnets), 1);
    assert_eq!(calls(&tally, Action::AssignPrivateIpAddresses), 1);
    assert_eq!(tally.calls_total(), 4);
}

#[test]
fn a_restart_makes_no_tags() {
    let quiet = Settings { sweeps_leaked: false, ..Settings::default() };
    let tally = Story::at_rest("c5.9xlarge").then(MINUTE_MS, What::Restart).run(quiet).fleet;
    assert_eq!(calls(&tally, Action::CreateTags), 0);
    assert_eq!(tally.calls_total(), 2);
}

#[test]
fn a_new_eni_costs_six_calls() {
    let quiet = Settings { sweeps_leaked: false, ..Settings::default() };
    let story = Story::at_rest("c5.9xlarge");
    let before = story.run(quiet.clone()).fleet.calls_total();
    let tally = story.burst(MINUTE_MS, 1).run(quiet).fleet;
    assert_eq!((before, tally.calls_total()), (0, 6));
    assert_eq!(calls(&tally, Action::DescribeSubnets), 2);
    assert_eq!(tally.eni_attaches, 1);
}

#[test]
fn a_node_that_leaves_gives_everything_back() {
    let story = Story::fresh("c5.9xlarge").burst(MINUTE_MS, 100);
    let outcome = story.then(30 * MINUTE_MS, What::Leave).run(Settings::default());
    assert_eq!(outcome.subnets[0].free_end, outcome.subnets[0].capacity);
    assert_eq!(
        outcome.series.last().map(|point| (point.held, point.used, point.nodes)),
        Some((0, 0, 0))
    );
    assert_eq!(outcome.fleet.enis_leaked, 0);
}

#[test]
fn pods_that_end_before_they_have_an_address_are_counted() {
    let story = Story::at_rest("c5.9xlarge").burst(MINUTE_MS, 10);
    let tally = story.end_first(MINUTE_MS + 3_000, 10).run(targets(1, 0)).fleet;
    assert_eq!((tally.pods, tally.waits.count), (10, 10 - tally.pods_never));
    assert!(tally.pods_never >= 8);
}

#[test]
fn idle_passes_change_nothing() {
    let traces = [
        "environment:pods=200,hours=2",
        "spot:nodes=12,pods=300,reclaimed_per_hour=20,hours=2",
        "cron:hours=2",
    ];
    let all = [
        Settings::default(),
        targets(1, 0),
        targets(2, 30),
        Settings { warm_eni: 0, ..Settings::default() },
        prefixes(2, 0),
        Settings { mode: Mode::Prefix, ..Settings::default() },
    ];
    let subnets = vec![SubnetPlan { prefix_len: 22, taken: 300, ..SubnetPlan::default() }];
    let world = World { subnets, ..World::default() };
    for specification in traces {
        let trace = generate::make_specified(specification, 3).expect(specification);
        for settings in &all {
            let skipping = run(&trace, settings.clone(), &world, true);
            let plodding = run(&trace, settings.clone(), &world, false);
            assert!(skipping.events <= plodding.events);
            let same = Outcome { events: plodding.events, ..skipping };
            assert!(same == plodding, "{specification} {settings:?}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_outcome_and_another_does_not() {
    let trace = generate::environment("", 1).expect("a trace");
    let once = |seed| {
        let assignment = targets(1, 0).into();
        simulate(&trace, &assignment, &World::default(), seed, &mut |_| true).expect("an outcome")
    };
    assert!(once(1) == once(1));
    assert!(once(1) != once(2));
}

#[test]
fn a_run_that_is_stopped_has_no_outcome() {
    let trace = generate::environment("replaced_per_hour=1000", 1).expect("a trace");
    let assignment = targets(1, 0).into();
    let stopped = simulate(&trace, &assignment, &World::default(), 1, &mut |_| false);
    assert_eq!(stopped.err(), Some(Stopped));
}

#[test]
fn a_pass_is_five_seconds_apart_from_the_next() {
    assert_eq!(2 * HALF_PERIOD_MS, 5_000);
}

#[test]
fn while_aws_node_starts_anew_nobody_answers_pods() {
    let mut world = by_second();
    let slow = crate::model::ec2::Latency { median_ms: 100_000, p95_ms: 100_000 };
    world.ec2.latencies.insert(Action::DescribeNetworkInterfaces, slow);
    let story = Story::at_rest("c5.9xlarge").burst(MINUTE_MS, 30);
    let outcome = story.then(MINUTE_MS + 6_000, What::Restart).run_in(targets(1, 0), &world);
    let starts = |point: &&Point| (MINUTE_MS + 7_000..MINUTE_MS + 105_000).contains(&point.at_ms);
    let start: Vec<&Point> = outcome.series.iter().filter(starts).collect();
    assert!(start.iter().all(|point| point.failed_adds == 0 && point.used == start[0].used));
    assert_eq!(outcome.fleet.pods_never, 0);
}

/// A world in which only the first call of each of these actions passes.
fn stingy(actions: &[Action]) -> World {
    let mut world = by_second();
    for action in actions {
        let bucket = world.ec2.buckets.get_mut(action).expect("a bucket");
        (bucket.capacity, bucket.refill_per_sec) = (1, 0);
    }
    world
}

#[test]
fn pods_that_wait_at_the_end_are_in_the_last_point() {
    let outcome = Story::at_rest("c5.9xlarge").burst(MINUTE_MS, 35).run(prefixes(0, 22));
    assert_eq!(outcome.series.last().map(|point| point.waiting), Some(3));
}
