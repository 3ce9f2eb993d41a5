//! `rollout`: deployments are updated one after the other, as Kubernetes rolls them: new pods up to
//! `surge` more, old ones away while no more than `unavailable` are missing.

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use super::agenda::Agenda;
use super::draw::around_ms;
use super::fleet::{Fleet, GroupIndex, PodIndex};
use super::{Error, Generator, Kind, Parameter, Parameters, RETRY_MS};
use crate::trace::Trace;

pub(super) const GENERATOR: Generator = Generator {
    name: "rollout",
    about: "rolling updates of deployments, one after the other, on nodes that run",
    parameters: &[
        Parameter::nodes("20"),
        Parameter::instance_type("m5.2xlarge"),
        Parameter {
            name: "deployments",
            default: "8",
            kind: Kind::Count(1, 1_000),
            about: "deployments, all updated once",
        },
        Parameter {
            name: "replicas",
            default: "80",
            kind: Kind::Count(1, 10_000),
            about: "pods of each deployment",
        },
        Parameter {
            name: "surge",
            default: "25",
            kind: Kind::Count(0, 100),
            about: "maxSurge, percent of the replicas, rounded up",
        },
        Parameter {
            name: "unavailable",
            default: "25",
            kind: Kind::Count(0, 100),
            about: "maxUnavailable, percent of the replicas, rounded down",
        },
        Parameter::at("10m", "when the first update begins"),
        Parameter {
            name: "every",
            default: "10m",
            kind: Kind::Time(0, 86_400_000),
            about: "from one deployment's update to the next one's",
        },
        Parameter {
            name: "ready",
            default: "20s",
            kind: Kind::Time(0, 3_600_000),
            about: "from a pod's start until it is ready, give or take a half",
        },
        Parameter {
            name: "grace",
            default: "5s",
            kind: Kind::Time(0, 3_600_000),
            about: "from a pod's deletion until it is gone, give or take a half",
        },
        Parameter::hours("2"),
        Parameter::HOST_NETWORK,
        Parameter::DAEMONS,
    ],
    make,
};

fn make(parameters: &Parameters, rng: ChaCha8Rng) -> Result<Trace, Error> {
    let end_ms = parameters.end_ms();
    let mut scene = Scene::new(parameters, rng)?;
    for deployment in 0..parameters.count("deployments") {
        let begin_ms = parameters.time_ms("at") + deployment as u64 * parameters.time_ms("every");
        scene.agenda.at(begin_ms, Cue::Step(deployment));
    }
    while let Some((now_ms, cue)) = scene.agenda.next() {
        match cue {
            Cue::Step(deployment) => scene.step(now_ms, deployment),
            Cue::Start(deployment, number) => scene.start(now_ms, deployment, number)?,
            Cue::Ready(deployment) => {
                scene.deployments[deployment].ready += 1;
                scene.step(now_ms, deployment);
            }
            Cue::Gone(pod) => scene.fleet.delete(now_ms, pod)?,
        }
    }
    scene.fleet.finish(end_ms)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cue {
    Step(usize),
    Start(usize, usize),
    Ready(usize),
    Gone(PodIndex),
}

struct Deployment {
    /// Pods of the version before that are not deleted yet.
    old: Vec<PodIndex>,
    /// Pods of the new version that were made.
    made: usize,
    /// Those of them that are ready.
    ready: usize,
}

struct Scene {
    fleet: Fleet,
    group: GroupIndex,
    agenda: Agenda<Cue>,
    rng: ChaCha8Rng,
    deployments: Vec<Deployment>,
    replicas: usize,
    surge: usize,
    unavailable: usize,
    ready_ms: u64,
    grace_ms: u64,
}

impl Scene {
    fn new(parameters: &Parameters, rng: ChaCha8Rng) -> Result<Scene, Error> {
        let replicas = parameters.count("replicas");
        let surge = (replicas * parameters.count("surge")).div_ceil(100);
        let unavailable = replicas * parameters.count("unavailable") / 100;
        if surge + unavailable == 0 {
            let what =
                "neither surge nor unavailable lets a single pod change; give one of them more";
            return Err(parameters.contradiction(what));
        }
        let mut fleet = Fleet::new(parameters);
        let group = fleet.open_group("rollout");
        let deployments = parameters.count("deployments");
        super::check_room(parameters, &fleet, deployments * replicas + surge)?;
        for _ in 0..parameters.count("nodes") {
            fleet.running(group, parameters.instance_type(), false)?;
        }
        let agenda = Agenda::until(parameters.end_ms());
        let (ready_ms, grace_ms) = (parameters.time_ms("ready"), parameters.time_ms("grace"));
        let mut scene = Scene {
            fleet,
            group,
            agenda,
            rng,
            deployments: Vec::new(),
            replicas,
            surge,
            unavailable,
            ready_ms,
            grace_ms,
        };
        for deployment in 0..deployments {
            scene.run(deployment)?;
        }
        Ok(scene)
    }

    /// A deployment whose pods are there from the start.
    fn run(&mut self, deployment: usize) -> Result<(), Error> {
        let mut old = Vec::with_capacity(self.replicas);
        for number in 1..=self.replicas {
            let host = self.fleet.emptiest(self.group, &mut self.rng);
            let name = format!("rollout/service-{:02}-v1-{number:03}", deployment + 1);
            old.push(self.fleet.place_running(host.expect("the room was checked"), &name)?);
        }
        self.deployments.push(Deployment { old, made: 0, ready: 0 });
        Ok(())
    }

    /// Makes and deletes what the two limits allow now.
    fn step(&mut self, now_ms: u64, deployment: usize) {
        let Deployment { old, made, ready } = &mut self.deployments[deployment];
        while *made < self.replicas && old.len() + *made < self.replicas + self.surge {
            *made += 1;
            let start_ms = now_ms + self.rng.random_range(0..=500);
            self.agenda.at(start_ms, Cue::Start(deployment, *made));
        }
        while old.len() + *ready > self.replicas - self.unavailable {
            let Some(pod) = old.pop() else { break };
            self.agenda.at(now_ms + around_ms(self.grace_ms, &mut self.rng), Cue::Gone(pod));
            // The pod that may come in its place.
            self.agenda.at(now_ms, Cue::Step(deployment));
        }
    }

    fn start(&mut self, now_ms: u64, deployment: usize, number: usize) -> Result<(), Error> {
        let name = format!("rollout/service-{:02}-v2-{number:03}", deployment + 1);
        match self.fleet.schedule(now_ms, self.group, &name, &mut self.rng)? {
            Some(_) => {
                let ready_ms = now_ms + around_ms(self.ready_ms, &mut self.rng);
                self.agenda.at(ready_ms, Cue::Ready(deployment));
            }
            // Old pods that are still ending leave room soon.
            None => self.agenda.at(now_ms + RETRY_MS, Cue::Start(deployment, number)),
        }
        Ok(())
    }
}
