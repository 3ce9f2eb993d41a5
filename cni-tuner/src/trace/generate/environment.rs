//! `environment`: everything a team needs to try its change, started at once on one node. OLX met
//! the warm pool's limits with it: 100 pods on a c5.9xlarge, with `WARM_IP_TARGET=1`.

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use super::agenda::Agenda;
use super::draw::gap_ms;
use super::fleet::{Fleet, GroupIndex, PodIndex};
use super::{Error, Generator, Kind, Parameter, Parameters};
use crate::trace::Trace;

pub(super) const GENERATOR: Generator = Generator {
    name: "environment",
    about: "all pods of an environment start at once on nodes that run, and stay (built in)",
    parameters: &[
        Parameter::nodes("1"),
        Parameter::instance_type("c5.9xlarge"),
        Parameter {
            name: "pods",
            default: "100",
            kind: Kind::Count(1, 100_000),
            about: "pods of the environment, over all nodes",
        },
        Parameter::at("5m", "when the pods start"),
        Parameter::spread("1s", "from the first pod's start to the last one's"),
        Parameter {
            name: "replaced_per_hour",
            default: "4",
            kind: Kind::Number(0.0, 3_600.0),
            about: "pods that are deleted and replaced in an hour",
        },
        Parameter::hours("24"),
        Parameter::HOST_NETWORK,
        Parameter::DAEMONS,
    ],
    make,
};

fn make(parameters: &Parameters, mut rng: ChaCha8Rng) -> Result<Trace, Error> {
    let end_ms = parameters.end_ms();
    let mut fleet = Fleet::new(parameters);
    check(parameters, &fleet)?;
    let group = fleet.open_group("environment");
    for _ in 0..parameters.count("nodes") {
        fleet.running(group, parameters.instance_type(), false)?;
    }
    let mut agenda = Agenda::until(end_ms);
    let (at_ms, spread_ms) = (parameters.time_ms("at"), parameters.time_ms("spread"));
    for number in 1..=parameters.count("pods") {
        let start = Cue::Start(Service { number, times: 0 });
        agenda.at(at_ms + rng.random_range(0..=spread_ms), start);
    }
    let per_hour = parameters.number("replaced_per_hour");
    agenda.at(at_ms + spread_ms + gap_ms(per_hour, &mut rng), Cue::Replace);
    let mut scene = Scene { fleet, group, agenda, rng, per_hour, there: Vec::new() };
    while let Some((now_ms, cue)) = scene.agenda.next() {
        match cue {
            Cue::Start(service) => scene.start(now_ms, service)?,
            Cue::Replace => scene.replace(now_ms)?,
        }
    }
    scene.fleet.finish(end_ms)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cue {
    Start(Service),
    Replace,
}

/// One of the environment's services, and how often its pod was replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Service {
    number: usize,
    times: usize,
}

struct Scene {
    fleet: Fleet,
    group: GroupIndex,
    agenda: Agenda<Cue>,
    rng: ChaCha8Rng,
    per_hour: f64,
    /// The pods that are there now.
    there: Vec<(PodIndex, Service)>,
}

impl Scene {
    fn start(&mut self, now_ms: u64, service: Service) -> Result<(), Error> {
        let name = format!("environment/service-{:03}-{}", service.number, service.times);
        let pod = self.fleet.schedule_or_refuse(now_ms, self.group, &name, &mut self.rng)?;
        self.there.push((pod, service));
        Ok(())
    }

    /// One pod goes; its successor comes within two seconds.
    fn replace(&mut self, now_ms: u64) -> Result<(), Error> {
        self.agenda.at(now_ms + gap_ms(self.per_hour, &mut self.rng), Cue::Replace);
        if self.there.is_empty() {
            return Ok(());
        }
        let at = self.rng.random_range(0..self.there.len());
        let (pod, Service { number, times }) = self.there.swap_remove(at);
        let successor = Cue::Start(Service { number, times: times + 1 });
        self.agenda.at(now_ms + self.rng.random_range(500..=2_000), successor);
        self.fleet.delete(now_ms, pod)
    }
}

/// The environment must fit on its nodes, and start before the trace ends.
fn check(parameters: &Parameters, fleet: &Fleet) -> Result<(), Error> {
    super::check_room(parameters, fleet, parameters.count("pods"))?;
    if parameters.time_ms("at") + parameters.time_ms("spread") >= parameters.end_ms() {
        let what = "the pods start after the trace's end; give more hours, or an earlier at";
        return Err(parameters.contradiction(what));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::environment;
    use crate::trace::What;

    #[test]
    fn the_built_in_environment_starts_within_a_second_and_stays() {
        let trace = environment("", 1).expect("the defaults are right");
        assert_eq!((trace.nodes.len(), trace.end_ms), (1, 86_400_000));
        assert_eq!(
            (trace.nodes[0].instance_type.name, trace.nodes[0].pods_max),
            ("c5.9xlarge", 234)
        );
        let added = |from_ms, to_ms| {
            let in_time = trace.events.iter().filter(|e| (from_ms..to_ms).contains(&e.at_ms));
            in_time.filter(|event| matches!(event.what, What::Add { .. })).count()
        };
        assert_eq!((added(0, 1), added(1, 300_000), added(300_000, 301_001)), (8, 0, 100));
        let deleted = trace.events.iter().filter(|e| matches!(e.what, What::Delete { .. })).count();
        assert!((50..=150).contains(&deleted), "4 an hour: {deleted}");
        assert!(added(301_001, 86_400_001).abs_diff(deleted) <= 1, "each has a successor");
    }

    #[test]
    fn more_pods_than_fit_are_refused() {
        let error = environment("pods=227", 1).expect_err("234 - 8 is 226");
        let said = "environment: 227 pods do not fit on 1 x c5.9xlarge, each with room for 226 \
                    beside its daemons; give nodes=2, or fewer pods";
        assert_eq!(error.to_string(), said);
        environment("pods=226", 1).expect("fits exactly");
        environment("pods=227,nodes=2", 1).expect("fits on two");
    }

    #[test]
    fn a_start_after_the_end_is_refused() {
        let error = environment("at=2h,hours=1", 1).expect_err("too late");
        assert!(error.to_string().contains("after the trace's end"), "{error}");
    }
}
