//! `batch`: a cluster for large computations, from nothing to thousands of nodes and back: nodes
//! join in waves, each is filled at once, and leaves when its pods are done.

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use super::agenda::Agenda;
use super::draw::around_ms;
use super::fleet::{Fleet, GroupIndex, HostIndex, PodIndex};
use super::{Error, Generator, Kind, Parameter, Parameters};
use crate::trace::Trace;

pub(super) const GENERATOR: Generator = Generator {
    name: "batch",
    about: "nodes join in waves from none to thousands, each filled at once, and leave when done",
    parameters: &[
        Parameter {
            name: "nodes",
            default: "1000",
            kind: Kind::Count(1, 10_000),
            about: "nodes in all; none is there before the start",
        },
        Parameter::instance_type("c5.4xlarge"),
        Parameter {
            name: "waves",
            default: "5",
            kind: Kind::Count(1, 1_000),
            about: "parts that the nodes join in",
        },
        Parameter::at("5m", "when the first wave joins"),
        Parameter {
            name: "every",
            default: "5m",
            kind: Kind::Time(0, 86_400_000),
            about: "from one wave to the next",
        },
        Parameter::spread("60s", "from a wave's first node to its last one"),
        Parameter::READY_AFTER,
        Parameter {
            name: "pods_per_node",
            default: "20",
            kind: Kind::Count(1, 1_000),
            about: "pods that start together on each node",
        },
        Parameter {
            name: "life",
            default: "40m",
            kind: Kind::Time(1_000, 31 * 86_400_000),
            about: "how long a pod runs, give or take a half",
        },
        Parameter {
            name: "idle",
            default: "5m",
            kind: Kind::Time(0, 86_400_000),
            about: "how long a node without pods stays",
        },
        Parameter::hours("2"),
        Parameter::HOST_NETWORK,
        Parameter::DAEMONS,
    ],
    make,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cue {
    Join,
    Ready(HostIndex),
    Start(HostIndex, usize),
    End(PodIndex),
    Leave(HostIndex),
}

fn make(parameters: &Parameters, rng: ChaCha8Rng) -> Result<Trace, Error> {
    let end_ms = parameters.end_ms();
    let mut scene = Scene::new(parameters, rng)?;
    while let Some((now_ms, cue)) = scene.agenda.next() {
        scene.play(now_ms, cue)?;
    }
    scene.fleet.finish(end_ms)
}

struct Scene<'a> {
    parameters: &'a Parameters,
    fleet: Fleet,
    group: GroupIndex,
    agenda: Agenda<Cue>,
    rng: ChaCha8Rng,
    /// Pods of each host that have not ended.
    left: Vec<usize>,
}

impl Scene<'_> {
    fn new(parameters: &Parameters, rng: ChaCha8Rng) -> Result<Scene<'_>, Error> {
        let mut fleet = Fleet::new(parameters);
        let group = fleet.open_group("batch");
        check(parameters, &fleet)?;
        let agenda = Agenda::until(parameters.end_ms());
        let mut scene = Scene { parameters, fleet, group, agenda, rng, left: Vec::new() };
        let (nodes, waves) = (parameters.count("nodes"), parameters.count("waves"));
        for node in 0..nodes {
            let wave = (node * waves / nodes) as u64;
            let wave_ms = parameters.time_ms("at") + wave * parameters.time_ms("every");
            let join_ms = wave_ms + scene.rng.random_range(0..=parameters.time_ms("spread"));
            scene.agenda.at(join_ms, Cue::Join);
        }
        Ok(scene)
    }

    fn play(&mut self, now_ms: u64, cue: Cue) -> Result<(), Error> {
        match cue {
            Cue::Join => {
                let kind = self.parameters.instance_type();
                let host = self.fleet.join(now_ms, self.group, kind, false)?;
                self.left.push(self.parameters.count("pods_per_node"));
                let ready_ms = now_ms + self.parameters.time_ms("ready_after");
                self.agenda.at(ready_ms, Cue::Ready(host));
            }
            Cue::Ready(host) => {
                self.fleet.ready(now_ms, host)?;
                for number in 1..=self.parameters.count("pods_per_node") {
                    let start_ms = now_ms + self.rng.random_range(0..=1_000);
                    self.agenda.at(start_ms, Cue::Start(host, number));
                }
            }
            Cue::Start(host, number) => {
                let name = format!("batch/task-{:05}-{number:03}", host + 1);
                let pod = self.fleet.place(now_ms, host, &name)?;
                let life_ms = around_ms(self.parameters.time_ms("life"), &mut self.rng);
                self.agenda.at(now_ms + life_ms, Cue::End(pod));
            }
            Cue::End(pod) => self.end(now_ms, pod)?,
            Cue::Leave(host) => self.fleet.leave(now_ms, host)?,
        }
        Ok(())
    }

    fn end(&mut self, now_ms: u64, pod: PodIndex) -> Result<(), Error> {
        self.fleet.delete(now_ms, pod)?;
        let host = self.fleet.host_of(pod);
        self.left[host] -= 1;
        if self.left[host] == 0 {
            self.agenda.at(now_ms + self.parameters.time_ms("idle"), Cue::Leave(host));
        }
        Ok(())
    }
}

/// A node's pods must fit on it, and the first wave must join before the trace ends.
fn check(parameters: &Parameters, fleet: &Fleet) -> Result<(), Error> {
    let (pods, kind) = (parameters.count("pods_per_node"), parameters.instance_type());
    let room = fleet.room(kind);
    if pods > room {
        return Err(parameters.contradiction(format!(
            "{pods} pods_per_node do not fit on {}, which has room for {room} beside its daemons; \
             give fewer, or a larger instance_type",
            kind.name
        )));
    }
    if parameters.time_ms("at") + parameters.time_ms("spread") >= parameters.end_ms() {
        let what = "the first wave joins after the trace's end; give more hours, or an earlier at";
        return Err(parameters.contradiction(what));
    }
    Ok(())
}
