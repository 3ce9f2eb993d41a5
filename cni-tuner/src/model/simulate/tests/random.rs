//! Random traces under random settings in random worlds, EC2 slow and stingy: the books balance, and
//! passes that are not made would have changed nothing.

use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::super::*;
use super::run;
use crate::model::ec2::{Action, Bucket, Ec2, Latency};
use crate::model::outcome::{Point, Tally};
use crate::model::settings::Mode;
use crate::model::subnet::SubnetPlan;
use crate::trace::{Event, Node as TracedNode};

const TYPES: [&str; 5] = ["t3.small", "t3.medium", "m5.large", "m4.large", "c5.9xlarge"];
const LAST_MS: u64 = 900_000;

fn random_time_ms(random: &mut ChaCha8Rng, from_ms: u64) -> u64 {
    let at_ms = random.random_range(from_ms..=LAST_MS.max(from_ms));
    // Half of all coincide with passes of nodes that begin on a multiple, and with each other.
    if random.random() { at_ms.next_multiple_of(2_500) } else { at_ms }
}

fn random_events(random: &mut ChaCha8Rng, node: u32, pods: &mut Vec<String>) -> Vec<Event> {
    let is_old = random.random_bool(0.5);
    let begin_ms = if is_old { 0 } else { random_time_ms(random, 0) };
    let end_ms = random.random_bool(0.6).then(|| random_time_ms(random, begin_ms));
    let event = |at_ms, what| Event { at_ms, node, what };
    let mut events = vec![event(begin_ms, What::Join { running: is_old })];
    let mut add = |at_ms: u64, running: bool, random: &mut ChaCha8Rng, events: &mut Vec<Event>| {
        let pod = pods.len() as u32;
        pods.push(format!("default/pod-{pod}"));
        let host_network = random.random_bool(0.05);
        events.push(event(at_ms, What::Add { pod, host_network, running }));
        if random.random_bool(0.7) {
            let gone_ms = random_time_ms(random, at_ms + 1);
            events.push(event(gone_ms, What::Delete { pod }));
        }
    };
    if is_old {
        let count = random.random_range(0..40);
        (0..count).for_each(|_| add(0, true, random, &mut events));
    }
    for _ in 0..random.random_range(0..4) {
        let (at_ms, count) = (random_time_ms(random, begin_ms), random.random_range(0..40));
        (0..count).for_each(|_| add(at_ms, false, random, &mut events));
    }
    let happenings = [What::Cordon, What::Uncordon, What::Uncordon, What::Restart];
    for _ in 0..random.random_range(0..5) {
        let what = *happenings.choose(random).expect("some");
        events.push(event(random_time_ms(random, begin_ms), what));
    }
    events.sort_by_key(|event| event.at_ms);
    if let Some(end_ms) = end_ms {
        events.retain(|event| event.at_ms <= end_ms);
        events.push(event(end_ms, What::Leave));
    }
    events
}

fn random_trace(random: &mut ChaCha8Rng) -> Trace {
    let (mut nodes, mut pods, mut events) = (Vec::new(), Vec::new(), Vec::new());
    for at in 0..random.random_range(1..7) {
        let name = TYPES.choose(random).expect("a type");
        let instance_type = crate::trace::instance_type(name).expect("a type");
        let mut node = TracedNode::of(&format!("node-{at}"), instance_type);
        if random.random_bool(0.3) {
            node.pods_max = random.random_range(1..60);
        }
        nodes.push(node);
        events.extend(random_events(random, at, &mut pods));
    }
    events.sort_by_key(|event: &Event| event.at_ms);
    let last_ms = events.last().map_or(0, |event| event.at_ms);
    let longer_ms = *[0, 1, 100_000, 1_000_000].choose(random).expect("some");
    Trace { name: "random".to_owned(), nodes, pods, events, end_ms: last_ms + longer_ms }
}

fn random_settings(random: &mut ChaCha8Rng) -> Settings {
    let few = |random: &mut ChaCha8Rng| match random.random_range(0..4) {
        0 | 1 => 0,
        2 => random.random_range(1..4),
        _ => random.random_range(1..50),
    };
    Settings {
        mode: if random.random() { Mode::Prefix } else { Mode::SecondaryIp },
        warm_eni: random.random_range(0..3),
        warm_ip: few(random),
        minimum_ip: few(random),
        warm_prefix: random.random_range(0..3),
        enis_max: random.random_bool(0.3).then(|| random.random_range(1..4)),
        cooldown_ms: *[0, 1_000, 30_000, 30_000, 86_400_000].choose(random).expect("some"),
        manages_unschedulable: random.random_bool(0.2),
        custom_networking: random.random_bool(0.1),
        subnet_discovery: random.random_bool(0.7),
        pod_eni: random.random_bool(0.1),
        sweeps_leaked: random.random_bool(0.8),
    }
}

fn random_world(random: &mut ChaCha8Rng) -> World {
    let mut ec2 = Ec2::default();
    let stinginess = *[0.0, 0.2, 0.7].choose(random).expect("some");
    for action in Action::ALL {
        if random.random_bool(stinginess) {
            let (capacity, refill_per_sec) = (random.random_range(1..5), random.random_range(0..2));
            ec2.buckets.insert(action, Bucket { capacity, refill_per_sec });
        }
        if random.random_bool(0.2) {
            let median_ms = *[0, 1, 2_500, 9_000].choose(random).expect("some");
            ec2.latencies.insert(action, Latency { median_ms, p95_ms: median_ms * 2 });
        }
    }
    let subnet = |at: u32, random: &mut ChaCha8Rng| {
        let (name, zone) = (format!("subnet-{at}"), format!("zone-{}", at / 2));
        let plan = SubnetPlan { name, zone, prefix_len: random.random_range(20..=28), taken: 0 };
        SubnetPlan { taken: random.random_range(0..=plan.capacity()), ..plan }
    };
    let count = random.random_range(1..4);
    World {
        ec2,
        subnets: (0..count).map(|at| subnet(at, random)).collect(),
        kubelet_retry_ms: *[1_000, 2_500, 12_000].choose(random).expect("some"),
        kubelet_jitter: *[0.0, 0.1, 1.0].choose(random).expect("some"),
        unmanaged_enis: random.random_range(0..5) / 4,
        efa_enis: random.random_range(0..5) / 4,
        series_step_ms: *[1_000, 60_000, 86_400_000].choose(random).expect("some"),
    }
}

fn check_sums(outcome: &Outcome) {
    let sum = |value: fn(&Tally) -> u64| -> u64 {
        outcome.nodes.iter().map(|node| value(&node.tally)).sum()
    };
    let fleet = &outcome.fleet;
    assert_eq!(fleet.waits.count + fleet.pods_never, fleet.pods);
    assert_eq!(fleet.waits.count, sum(|tally| tally.waits.count));
    assert_eq!(fleet.calls_total(), sum(Tally::calls_total));
    assert!(fleet.held_address_ms >= fleet.used_address_ms);
    let over_time = |count: fn(&Point) -> u32| -> u64 {
        outcome.series.iter().map(|point| u64::from(count(point))).sum()
    };
    assert_eq!(fleet.calls_total(), over_time(|point| point.calls));
    assert_eq!(fleet.failed_adds, over_time(|point| point.failed_adds));
    for (action, throttled) in &fleet.throttled {
        assert!(*throttled <= fleet.calls[action]);
    }
    for point in &outcome.series {
        assert!(point.used <= point.held, "{point:?}");
    }
}

fn check(seed: u64) {
    let random = &mut ChaCha8Rng::seed_from_u64(seed);
    let (trace, settings, world) =
        (random_trace(random), random_settings(random), random_world(random));
    let skipping = run(&trace, settings.clone(), &world, true);
    let plodding = run(&trace, settings.clone(), &world, false);
    check_sums(&skipping);
    let same = Outcome { events: plodding.events, ..skipping };
    assert!(same == plodding, "seed {seed}: {settings:?}");
}

#[test]
fn books_balance_and_idle_passes_change_nothing_whatever_happens() {
    (0..60).for_each(check);
}
