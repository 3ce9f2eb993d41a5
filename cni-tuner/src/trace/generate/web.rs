//! `web`: services whose replicas follow the day, as a HorizontalPodAutoscaler lets them.

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use super::agenda::Agenda;
use super::draw::busyness;
use super::fleet::{Fleet, GroupIndex, PodIndex};
use super::{Error, Generator, Kind, Parameter, Parameters};
use crate::trace::Trace;

pub(super) const GENERATOR: Generator = Generator {
    name: "web",
    about: "services whose replicas follow a sine through the day, on nodes that run",
    parameters: &[
        Parameter::nodes("20"),
        Parameter::instance_type("m5.2xlarge"),
        Parameter {
            name: "services",
            default: "20",
            kind: Kind::Count(1, 1_000),
            about: "deployments, each with an autoscaler of its own",
        },
        Parameter {
            name: "low",
            default: "8",
            kind: Kind::Count(1, 10_000),
            about: "replicas of a service at midnight, when the trace begins",
        },
        Parameter {
            name: "high",
            default: "30",
            kind: Kind::Count(1, 10_000),
            about: "replicas of a service at noon",
        },
        Parameter {
            name: "every",
            default: "15s",
            kind: Kind::Time(1_000, 3_600_000),
            about: "how often an autoscaler looks",
        },
        Parameter {
            name: "noise",
            default: "0.05",
            kind: Kind::Number(0.0, 0.5),
            about: "how far the load is off the sine, to either side",
        },
        Parameter::hours("24"),
        Parameter::HOST_NETWORK,
        Parameter::DAEMONS,
    ],
    make,
};

/// An autoscaler leaves the replicas alone while they are this near to what is wanted
/// (kube-controller-manager, `--horizontal-pod-autoscaler-tolerance`).
const TOLERANCE: f64 = 0.1;

/// It does not take replicas away that were wanted so lately
/// (`--horizontal-pod-autoscaler-downscale-stabilization`).
const STABLE_MS: u64 = 300_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cue {
    Look(usize),
    Start(usize),
}

fn make(parameters: &Parameters, rng: ChaCha8Rng) -> Result<Trace, Error> {
    let end_ms = parameters.end_ms();
    let mut scene = Scene::new(parameters, rng)?;
    let every_ms = parameters.time_ms("every");
    for service in 0..scene.services.len() {
        let first_ms = scene.rng.random_range(1..=every_ms);
        scene.agenda.at(first_ms, Cue::Look(service));
    }
    while let Some((now_ms, cue)) = scene.agenda.next() {
        match cue {
            Cue::Look(service) => {
                scene.agenda.at(now_ms + every_ms, Cue::Look(service));
                scene.look(now_ms, service)?;
            }
            Cue::Start(service) => scene.start(now_ms, service)?,
        }
    }
    scene.fleet.finish(end_ms)
}

struct Service {
    pods: Vec<PodIndex>,
    /// Pods that were made, for their names.
    made: usize,
    /// Pods that start within a second.
    coming: usize,
    /// Until when nothing is taken away.
    stable_until_ms: u64,
}

struct Scene {
    fleet: Fleet,
    group: GroupIndex,
    agenda: Agenda<Cue>,
    rng: ChaCha8Rng,
    services: Vec<Service>,
    low: usize,
    high: usize,
    noise: f64,
}

impl Scene {
    fn new(parameters: &Parameters, rng: ChaCha8Rng) -> Result<Scene, Error> {
        let (low, high) = (parameters.count("low"), parameters.count("high"));
        if low > high {
            let what = format!("low={low} is above high={high}; give a low that is not above");
            return Err(parameters.contradiction(what));
        }
        let mut fleet = Fleet::new(parameters);
        let services = parameters.count("services");
        super::check_room(parameters, &fleet, services * high)?;
        let group = fleet.open_group("web");
        for _ in 0..parameters.count("nodes") {
            fleet.running(group, parameters.instance_type(), false)?;
        }
        let agenda = Agenda::until(parameters.end_ms());
        let noise = parameters.number("noise");
        let services = Vec::with_capacity(services);
        let mut scene = Scene { fleet, group, agenda, rng, services, low, high, noise };
        for service in 0..parameters.count("services") {
            scene.run(service)?;
        }
        Ok(scene)
    }

    /// A service whose pods are there from the start.
    fn run(&mut self, service: usize) -> Result<(), Error> {
        let mut pods = Vec::with_capacity(self.high);
        for number in 1..=self.low {
            let host = self.fleet.emptiest(self.group, &mut self.rng);
            let name = pod_name(service, number);
            pods.push(self.fleet.place_running(host.expect("the room was checked"), &name)?);
        }
        self.services.push(Service { pods, made: self.low, coming: 0, stable_until_ms: 0 });
        Ok(())
    }

    /// The autoscaler compares what is there with what the load wants.
    fn look(&mut self, now_ms: u64, service: usize) -> Result<(), Error> {
        let wanted = self.wanted(now_ms);
        let state = &mut self.services[service];
        let there = state.pods.len() + state.coming;
        let ratio = wanted as f64 / there as f64;
        if ratio > 1.0 + TOLERANCE {
            state.coming += wanted - there;
            state.stable_until_ms = now_ms + STABLE_MS;
            for _ in there..wanted {
                let start_ms = now_ms + self.rng.random_range(0..=1_000);
                self.agenda.at(start_ms, Cue::Start(service));
            }
        } else if ratio < 1.0 - TOLERANCE && now_ms >= state.stable_until_ms {
            let surplus = (there - wanted).min(state.pods.len().saturating_sub(self.low));
            for _ in 0..surplus {
                let pods = &mut self.services[service].pods;
                let pod = pods.swap_remove(self.rng.random_range(0..pods.len()));
                self.fleet.delete(now_ms, pod)?;
            }
        }
        Ok(())
    }

    /// Replicas that fit the load of that time.
    fn wanted(&mut self, now_ms: u64) -> usize {
        let off = self.rng.random_range(-self.noise..=self.noise);
        let load = busyness(now_ms, self.low as f64 / self.high as f64) * (1.0 + off);
        ((load * self.high as f64).ceil() as usize).clamp(self.low, self.high)
    }

    fn start(&mut self, now_ms: u64, service: usize) -> Result<(), Error> {
        let state = &mut self.services[service];
        state.coming -= 1;
        state.made += 1;
        let name = pod_name(service, state.made);
        let pod = self.fleet.schedule_or_refuse(now_ms, self.group, &name, &mut self.rng)?;
        self.services[service].pods.push(pod);
        Ok(())
    }
}

fn pod_name(service: usize, number: usize) -> String {
    format!("web/service-{:02}-{number:05}", service + 1)
}
