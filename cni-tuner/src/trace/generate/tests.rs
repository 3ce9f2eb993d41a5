//! Every generator with its defaults, and what it is told badly.

use super::*;
use crate::trace::summary::Summary;
use crate::trace::{Event, What};

fn made(specification: &str) -> Trace {
    make_specified(specification, 7).unwrap_or_else(|error| panic!("{specification}: {error}"))
}

fn refused(specification: &str, said: &str) {
    let error = make_specified(specification, 7).expect_err(specification).to_string();
    assert!(error.contains(said), "{specification}: {error}");
}

fn count(trace: &Trace, which: impl Fn(&Event) -> bool) -> usize {
    trace.events.iter().filter(|event| which(event)).count()
}

#[test]
fn every_generator_makes_a_trace_from_its_defaults() {
    for name in NAMES.into_iter().filter(|name| *name != "fleet") {
        let trace = make(name, "", 1).unwrap_or_else(|error| panic!("{name}: {error}"));
        let Summary { pods, nodes, .. } = Summary::of(&trace);
        assert!(trace.name == name && pods >= 100 && nodes >= 1, "{name}: {pods} on {nodes}");
    }
}

#[test]
fn the_day_of_a_fleet_has_500_nodes_and_100_000_pods() {
    let summary = Summary::of(&made("fleet"));
    let of_workload = summary.pods - 500 * 8;
    assert_eq!((summary.nodes, of_workload, summary.duration_secs), (500, 100_000, 86_400.0));
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_seed_another() {
    for name in NAMES {
        let small = match name {
            "fleet" => "nodes=20,pods=500",
            "batch" => "nodes=20",
            _ => "hours=1",
        };
        let make = |seed| make(name, small, seed).expect("it was made above");
        assert!(make(3) == make(3), "{name}");
        assert!(make(3) != make(4), "{name}");
    }
}

/// Whatever a person gives within the bounds, the answer is a trace or a reason; nothing panics.
#[test]
fn extreme_values_give_a_trace_or_a_reason() {
    for generator in GENERATORS {
        for parameter in generator.parameters {
            let values = match parameter.kind {
                Kind::Count(min, max) => vec![min.to_string(), max.min(min + 700).to_string()],
                Kind::Number(min, max) => vec![min.to_string(), max.min(min + 50.0).to_string()],
                Kind::Time(min, max) => vec![format!("{min}ms"), format!("{max}ms")],
                Kind::Type | Kind::Types => vec!["t2.nano".to_owned(), "p5.48xlarge".to_owned()],
            };
            for value in values {
                let small = ["hours=1", "nodes=10", "pods=200"].into_iter().filter(|small| {
                    let (name, _) = small.split_once('=').expect("written above");
                    let has = generator.parameters.iter().any(|other| other.name == name);
                    has && name != parameter.name
                });
                let given = format!("{}={value}", parameter.name);
                let all: Vec<&str> = small.chain([given.as_str()]).collect();
                let all = all.join(",");
                if let Err(error) = make(generator.name, &all, 1) {
                    let said = error.to_string();
                    assert!(
                        matches!(error, Error::Together { .. }),
                        "{}:{all}: {said}",
                        generator.name
                    );
                }
            }
        }
    }
}

#[test]
fn what_is_told_badly_is_refused_with_what_would_be_right() {
    refused("enviroment", "did you mean environment?");
    refused("nothing", "there are environment, rollout, cron, ci, web, spot, batch, fleet");
    refused("environment:pod=3", "no parameter \"pod\" (did you mean pods?); it has nodes");
    refused("environment:pods", "\"pods\" is not a parameter; write key=value");
    refused("environment:pods=1,pods=2", "pods twice");
    refused("environment:pods=-1", "pods is a whole number from 1 to 100000");
    refused("environment:pods=1e99", "pods is a whole number");
    refused("environment:hours=NaN", "hours is a number from 0.1 to 744");
    refused("environment:hours=inf", "hours is a number");
    refused("environment:at=-5m", "at is a time from 0s to 744h");
    refused("environment:at=5 weeks", "such as 90s, 5m, 24h");
    refused("environment:at=", "at is a time");
    refused("environment:instance_type=m5.lage", "did you mean m5.large");
    refused("spot:types=m5.large+", "types is a type");
    refused("rollout:surge=0,unavailable=0", "give one of them more");
    refused("web:low=9,high=8", "give a low that is not above");
    refused("batch:pods_per_node=300", "300 pods_per_node do not fit on c5.4xlarge");
    refused("fleet:nodes=5", "give more nodes");
}

#[test]
fn times_are_read_in_every_unit() {
    for (written, at_ms) in [("90", 90_000), ("90s", 90_000), ("1.5m", 90_000), ("500ms", 500)] {
        let trace = made(&format!("environment:at={written},spread=0,replaced_per_hour=0"));
        let last = trace.events.last().expect("pods start");
        assert_eq!(last.at_ms, at_ms, "{written}");
    }
}

#[test]
fn a_rollout_replaces_every_pod_and_keeps_enough_of_them() {
    let trace = made("rollout:deployments=2,replicas=40,nodes=4,surge=25,unavailable=25,hours=1");
    let (mut old, mut new, mut most) = (80, 0, 0);
    for event in &trace.events {
        match event.what {
            What::Add { pod, running: false, .. } => {
                new += usize::from(trace.pods[pod as usize].contains("-v2-"));
            }
            What::Delete { .. } => old -= 1,
            _ => {}
        }
        most = most.max(old + new);
    }
    assert_eq!((old, new), (0, 80), "all are replaced");
    assert!((80..=80 + 10 + 20).contains(&most), "surge, and those that end: {most}");
}

#[test]
fn cron_jobs_come_in_bursts_and_end() {
    let trace = made("cron:hours=1,every=10m,jobs=80,nodes=4");
    let summary = Summary::of(&trace);
    let started = summary.pods - summary.pods_running;
    // Six bursts, and what of the sixth falls within the trace.
    assert!((400..=480).contains(&started), "{started}");
    let burst = summary.burst_10_secs.expect("bursts");
    assert!((20..=25).contains(&burst.pods), "80 over 4 nodes: {burst:?}");
    assert!(summary.shortest_pod_life_secs.expect("jobs end") >= 22.5);
}

#[test]
fn runners_are_fewer_at_night() {
    let trace = made("ci:per_hour=600,night=0.1");
    let started = |from_hour: u64, to_hour: u64| {
        let hours = from_hour * 3_600_000..to_hour * 3_600_000;
        count(&trace, |event| {
            hours.contains(&event.at_ms) && matches!(event.what, What::Add { running: false, .. })
        })
    };
    let (night, noon) = (started(0, 2), started(11, 13));
    assert!(night * 4 < noon, "{night} at midnight, {noon} at noon");
    assert!(noon.abs_diff(1_190) < 150, "nearly 600 an hour: {noon}");
}

#[test]
fn web_replicas_follow_the_day() {
    let trace = made("web:services=4,low=5,high=20,nodes=4");
    let mut there: usize = 0;
    let mut at_hour = [0; 25];
    for event in &trace.events {
        match event.what {
            What::Add { pod, .. } if trace.pods[pod as usize].starts_with("web/") => there += 1,
            What::Delete { .. } => there -= 1,
            _ => continue,
        }
        let hour = (event.at_ms / 3_600_000) as usize;
        at_hour[hour] = at_hour[hour].max(there);
    }
    assert!((20..=28).contains(&at_hour[0]), "{at_hour:?}");
    assert!((70..=80).contains(&at_hour[9]), "{at_hour:?}");
    assert!((20..=32).contains(&at_hour[22]), "{at_hour:?}");
}

#[test]
fn spot_nodes_go_two_minutes_after_their_notice_and_are_replaced() {
    let trace = made("spot:hours=8");
    let mut notices = std::collections::BTreeMap::new();
    for event in &trace.events {
        match event.what {
            What::SpotNotice => {
                notices.insert(event.node, event.at_ms);
            }
            What::Leave => assert_eq!(event.at_ms, notices[&event.node] + 120_000),
            What::Add { .. } => {
                assert!(!notices.contains_key(&event.node), "a pod on a node that goes");
            }
            _ => {}
        }
    }
    let joins = count(&trace, |event| event.what == What::Join { running: false });
    assert!((25..75).contains(&notices.len()), "6 an hour: {}", notices.len());
    assert!(joins.abs_diff(notices.len()) <= 1, "{joins} for {}", notices.len());
    let summary = Summary::of(&trace);
    assert_eq!(summary.groups[0].instance_types.len(), 4, "mixed types");
    assert_eq!(summary.nodes_spot, summary.nodes);
}

#[test]
fn pods_come_some_seconds_after_their_node() {
    let trace = made("batch:nodes=20,ready_after=30s,hours=3");
    let mut joined_ms = std::collections::BTreeMap::new();
    for event in &trace.events {
        match event.what {
            What::Join { running } => {
                assert!(!running, "none is there before");
                joined_ms.insert(event.node, event.at_ms);
            }
            What::Add { host_network: false, .. } => {
                assert!(event.at_ms >= joined_ms[&event.node] + 30_000);
            }
            _ => {}
        }
    }
    assert_eq!(count(&trace, |event| event.what == What::Leave), 20, "back to none");
}

#[test]
fn the_fleet_has_the_pods_it_was_asked_for() {
    let trace = made("fleet:nodes=50,pods=9000");
    let summary = Summary::of(&trace);
    assert_eq!((summary.nodes, summary.groups.len()), (50, 5));
    assert_eq!(summary.pods, 9_000 + 50 * 8, "and the daemons");
    assert_eq!(summary.pods_running, 900 + 50 * 8);
}
