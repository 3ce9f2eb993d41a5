//! `fleet`: a day of a large fleet: node groups of several types, pods that stay, and jobs of some
//! pods each that come and go, more by day.

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use super::agenda::Agenda;
use super::draw::{busyness, life_ms};
use super::fleet::{Fleet, GroupIndex, PodIndex};
use super::{Error, Generator, Kind, Parameter, Parameters};
use crate::trace::Trace;

pub(super) const GENERATOR: Generator = Generator {
    name: "fleet",
    about: "a day of a large fleet: several groups, pods that stay, jobs that come and go",
    parameters: &[
        Parameter::nodes("500"),
        Parameter {
            name: "types",
            default: "m5.large+m5.xlarge+m5.2xlarge+m5.4xlarge+c5.9xlarge",
            kind: Kind::Types,
            about: "the types; each has a node group of its own, all of the same size",
        },
        Parameter {
            name: "pods",
            default: "100000",
            kind: Kind::Count(1, 2_000_000),
            about: "pods in all, daemons not counted",
        },
        Parameter {
            name: "staying",
            default: "0.1",
            kind: Kind::Number(0.0, 1.0),
            about: "the part of them that is there from the start and stays",
        },
        Parameter {
            name: "job",
            default: "8",
            kind: Kind::Count(1, 1_000),
            about: "pods of a job on average; they start within two seconds",
        },
        Parameter {
            name: "life",
            default: "2h",
            kind: Kind::Time(1_000, 31 * 86_400_000),
            about: "how long a job's pod lives on average; some much longer",
        },
        Parameter {
            name: "night",
            default: "0.3",
            kind: Kind::Number(0.0, 1.0),
            about: "what midnight, when the trace begins, is to noon",
        },
        Parameter::hours("24"),
        Parameter::HOST_NETWORK,
        Parameter::DAEMONS,
    ],
    make,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cue {
    Start(GroupIndex),
    End(PodIndex),
}

fn make(parameters: &Parameters, rng: ChaCha8Rng) -> Result<Trace, Error> {
    let end_ms = parameters.end_ms();
    let mut scene = Scene::new(parameters, rng)?;
    let pods = parameters.count("pods");
    let staying = (pods as f64 * parameters.number("staying")).round() as usize;
    for _ in 0..staying {
        scene.stay()?;
    }
    scene.plan_jobs(pods - staying);
    while let Some((now_ms, cue)) = scene.agenda.next() {
        match cue {
            Cue::Start(group) => scene.start(now_ms, group)?,
            Cue::End(pod) => scene.fleet.delete(now_ms, pod)?,
        }
    }
    scene.fleet.finish(end_ms)
}

struct Scene<'a> {
    parameters: &'a Parameters,
    fleet: Fleet,
    /// Room up to and with each group.
    room_up_to: Vec<usize>,
    agenda: Agenda<Cue>,
    rng: ChaCha8Rng,
    /// Pods that were made, for their names.
    made: usize,
}

impl Scene<'_> {
    fn new(parameters: &Parameters, rng: ChaCha8Rng) -> Result<Scene<'_>, Error> {
        let mut fleet = Fleet::new(parameters);
        let (nodes, types) = (parameters.count("nodes"), parameters.types("types"));
        let mut room_up_to = Vec::with_capacity(types.len());
        let mut room = 0;
        for (at, kind) in types.iter().enumerate() {
            let group = fleet.open_group(kind.name);
            for _ in nodes * at / types.len()..nodes * (at + 1) / types.len() {
                room += fleet.room(kind);
                fleet.running(group, kind, false)?;
            }
            room_up_to.push(room);
        }
        let agenda = Agenda::until(parameters.end_ms());
        Ok(Scene { parameters, fleet, room_up_to, agenda, rng, made: 0 })
    }

    /// A group, the larger the likelier.
    fn any_group(&mut self) -> Result<GroupIndex, Error> {
        match self.room_up_to.last() {
            Some(room) if *room > 0 => {
                let drawn = self.rng.random_range(0..*room);
                Ok(self.room_up_to.partition_point(|up_to| *up_to <= drawn))
            }
            _ => Err(full(self.parameters)),
        }
    }

    /// A pod that is there from the start.
    fn stay(&mut self) -> Result<(), Error> {
        let group = self.any_group()?;
        self.made += 1;
        let name = format!("fleet/service-{:06}", self.made);
        let (fleet, rng) = (&mut self.fleet, &mut self.rng);
        let host = groups_from(group, self.room_up_to.len())
            .find_map(|group| fleet.emptiest(group, rng))
            .ok_or_else(|| full(self.parameters))?;
        self.fleet.place_running(host, &name)?;
        Ok(())
    }

    /// Jobs at random, more by day, until all pods are given out.
    fn plan_jobs(&mut self, mut pods: usize) {
        let end_ms = self.parameters.end_ms();
        let (job, night) = (self.parameters.count("job"), self.parameters.number("night"));
        // The busiest that it gets, so that a short night is not drawn for ever.
        let busiest = busyness(end_ms.min(NOON_MS), night).max(f64::MIN_POSITIVE);
        while pods > 0 {
            let at_ms = self.rng.random_range(1..=end_ms.saturating_sub(JOB_SPREAD_MS).max(1));
            if !self.rng.random_bool((busyness(at_ms, night) / busiest).min(1.0)) {
                continue;
            }
            let size = self.rng.random_range(1..2 * job).min(pods);
            pods -= size;
            let Ok(group) = self.any_group() else { return };
            for _ in 0..size {
                let start_ms = at_ms + self.rng.random_range(0..=JOB_SPREAD_MS);
                self.agenda.at(start_ms, Cue::Start(group));
            }
        }
    }

    fn start(&mut self, now_ms: u64, group: GroupIndex) -> Result<(), Error> {
        self.made += 1;
        let name = format!("fleet/job-{:06}", self.made);
        for group in groups_from(group, self.room_up_to.len()) {
            if let Some(pod) = self.fleet.schedule(now_ms, group, &name, &mut self.rng)? {
                let mean_ms = self.parameters.time_ms("life");
                self.agenda.at(now_ms + life_ms(mean_ms, &mut self.rng), Cue::End(pod));
                return Ok(());
            }
        }
        Err(full(self.parameters))
    }
}

const NOON_MS: u64 = 43_200_000;

/// How far apart the pods of a job start.
const JOB_SPREAD_MS: u64 = 2_000;

/// That group, then those after it, all once.
fn groups_from(first: GroupIndex, count: usize) -> impl Iterator<Item = GroupIndex> {
    (first..count).chain(0..first)
}

fn full(parameters: &Parameters) -> Error {
    parameters.contradiction(
        "the pods do not all fit at once; give more nodes, larger types, fewer pods, or a shorter \
         life",
    )
}
