//! How fast the planner is: events per second of the simulator, a day of a fleet, a search for
//! targets.
//!
//! `cargo bench -p cni-tuner` measures everything; `-- --test` runs everything once. `items` are the
//! events a simulation handles. A search runs on all processors, a simulation on one.

#![allow(missing_docs, reason = "benches are named for what they time")]

use cni_tuner::model::outcome::Outcome;
use cni_tuner::model::settings::{Mode, Settings};
use cni_tuner::model::simulate::{simulate, simulate_every_pass};
use cni_tuner::model::world::World;
use cni_tuner::plan::demand::Demand;
use cni_tuner::plan::goal::Goal;
use cni_tuner::plan::{Question, recommend};
use cni_tuner::trace::{Trace, generate};
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};

/// Settings that are far apart in what they have ipamd do.
const SETTINGS: [&str; 4] = ["default", "W=1", "W=2,M=50", "prefixes"];

fn main() {
    divan::main();
}

/// The environment of 100 pods, with a pod replaced every ten seconds.
#[divan::bench(args = SETTINGS)]
fn churn(bencher: Bencher, name: &str) {
    time(bencher, &trace("environment:replaced_per_hour=360"), &settings(name));
}

/// 500 nodes, 100,000 pods, a day.
#[divan::bench(args = SETTINGS, sample_count = 10)]
fn fleet_day(bencher: Bencher, name: &str) {
    time(bencher, &trace("fleet"), &settings(name));
}

/// The same day with every pass of every node made, idle or not.
#[divan::bench(args = SETTINGS, sample_count = 10)]
fn fleet_day_every_pass(bencher: Bencher, name: &str) {
    let (trace, assignment) = (trace("fleet"), settings(name).into());
    let run = || simulate_every_pass(black_box(&trace), &assignment, &World::default(), 1);
    bencher.counter(ItemsCount::new(run().events)).bench(run);
}

/// The day itself, without a simulation.
#[divan::bench(sample_count = 10)]
fn fleet_generated() -> Trace {
    trace("fleet")
}

#[divan::bench(sample_count = 10)]
fn plan_environment(bencher: Bencher) {
    search(bencher, &trace("environment"));
}

/// The node group of the fleet's day with the most pods.
#[divan::bench(sample_count = 3, sample_size = 1)]
fn plan_busiest_group(bencher: Bencher) {
    let fleet = trace("fleet");
    let groups = Demand::of(&fleet, 0).groups;
    let (busiest, _) = groups.iter().max_by_key(|(_, demand)| demand.pods).expect("a group");
    let part = fleet.only(|node| node.group == *busiest).expect("it has nodes");
    search(bencher, &part);
}

fn time(bencher: Bencher, trace: &Trace, settings: &Settings) {
    let events = run(trace, settings).events;
    bencher.counter(ItemsCount::new(events)).bench(|| run(black_box(trace), settings));
}

fn run(trace: &Trace, settings: &Settings) -> Outcome {
    let assignment = settings.clone().into();
    simulate(trace, &assignment, &World::default(), 1, &mut |_| true).expect("nobody stops it")
}

fn search(bencher: Bencher, trace: &Trace) {
    let (in_force, world) = (Settings::default(), World::default());
    let question = Question {
        trace,
        in_force: &in_force,
        world: &world,
        goal: Goal::default(),
        modes: Vec::new(),
        headroom_percent: 0,
        seed: 1,
    };
    bencher.bench(|| recommend(black_box(&question), &|_, _| {}));
}

fn trace(specification: &str) -> Trace {
    generate::make_specified(specification, 1).expect("a generator of ours")
}

fn settings(name: &str) -> Settings {
    let targets = |warm_ip, minimum_ip| Settings { warm_ip, minimum_ip, ..Settings::default() };
    match name {
        "default" => Settings::default(),
        "W=1" => targets(1, 0),
        "W=2,M=50" => targets(2, 50),
        _ => Settings { mode: Mode::Prefix, ..Settings::default() },
    }
}
