//! `spot`: a group of Spot instances of mixed types. EC2 takes nodes with two minutes' notice, their
//! pods move, and others join in their place.

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use super::agenda::Agenda;
use super::draw::gap_ms;
use super::fleet::{Fleet, GroupIndex, HostIndex, PodIndex};
use super::{Error, Generator, Kind, Parameter, Parameters, RETRY_MS};
use crate::model::limits::InstanceType;
use crate::trace::Trace;

pub(super) const GENERATOR: Generator = Generator {
    name: "spot",
    about: "Spot instances of mixed types, taken with two minutes' notice and replaced",
    parameters: &[
        Parameter::nodes("30"),
        Parameter {
            name: "types",
            default: "m5.xlarge+m5.2xlarge+c5.xlarge+r5.2xlarge",
            kind: Kind::Types,
            about: "the nodes' types in turn; replacements at random",
        },
        Parameter {
            name: "pods",
            default: "900",
            kind: Kind::Count(1, 100_000),
            about: "pods that are always wanted, over all nodes",
        },
        Parameter {
            name: "reclaimed_per_hour",
            default: "6",
            kind: Kind::Number(0.0, 1_000.0),
            about: "nodes that EC2 takes in an hour",
        },
        Parameter {
            name: "replaced_after",
            default: "60s",
            kind: Kind::Time(0, 3_600_000),
            about: "from a notice to the replacement's join",
        },
        Parameter::READY_AFTER,
        Parameter {
            name: "grace",
            default: "30s",
            kind: Kind::Time(0, 110_000),
            about: "the longest that an evicted pod takes to end",
        },
        Parameter::hours("8"),
        Parameter::HOST_NETWORK,
        Parameter::DAEMONS,
    ],
    make,
};

/// From the notice to the instance's end (EC2).
const NOTICE_MS: u64 = 120_000;

/// A termination handler polls for notices and then evicts; that takes a few seconds.
const EVICTED_AFTER_MS: u64 = 5_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cue {
    Reclaim,
    Evict(HostIndex),
    End(PodIndex),
    Leave(HostIndex),
    Join,
    Ready(HostIndex),
    Start(usize),
}

fn make(parameters: &Parameters, rng: ChaCha8Rng) -> Result<Trace, Error> {
    let end_ms = parameters.end_ms();
    let mut scene = Scene::new(parameters, rng)?;
    scene.wait_for_reclaim(0);
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
    /// Pods that were made, for their names.
    made: usize,
}

impl Scene<'_> {
    fn new(parameters: &Parameters, rng: ChaCha8Rng) -> Result<Scene<'_>, Error> {
        let mut fleet = Fleet::new(parameters);
        let group = fleet.open_group("spot");
        let types = parameters.types("types");
        let (nodes, pods) = (parameters.count("nodes"), parameters.count("pods"));
        let all = types.iter().cycle().take(nodes);
        let room: usize = all.clone().map(|kind| fleet.room(kind)).sum();
        if pods > room {
            let what = format!(
                "{pods} pods do not fit on {nodes} nodes with room for {room} beside their \
                 daemons; give more nodes, or fewer pods"
            );
            return Err(parameters.contradiction(what));
        }
        for kind in all {
            fleet.running(group, kind, true)?;
        }
        let agenda = Agenda::until(parameters.end_ms());
        let mut scene = Scene { parameters, fleet, group, agenda, rng, made: 0 };
        for _ in 0..pods {
            let host = scene.fleet.emptiest(group, &mut scene.rng);
            scene.made += 1;
            let name = pod_name(scene.made);
            scene.fleet.place_running(host.expect("the room was checked"), &name)?;
        }
        Ok(scene)
    }

    fn wait_for_reclaim(&mut self, now_ms: u64) {
        let per_hour = self.parameters.number("reclaimed_per_hour");
        self.agenda.at(now_ms + gap_ms(per_hour, &mut self.rng), Cue::Reclaim);
    }

    fn play(&mut self, now_ms: u64, cue: Cue) -> Result<(), Error> {
        match cue {
            Cue::Reclaim => self.reclaim(now_ms)?,
            Cue::Evict(host) => self.evict(now_ms, host),
            Cue::End(pod) => self.fleet.delete(now_ms, pod)?,
            Cue::Leave(host) => self.fleet.leave(now_ms, host)?,
            Cue::Join => {
                let kind = self.any_type();
                let host = self.fleet.join(now_ms, self.group, kind, true)?;
                let ready_ms = now_ms + self.parameters.time_ms("ready_after");
                self.agenda.at(ready_ms, Cue::Ready(host));
            }
            Cue::Ready(host) => self.fleet.ready(now_ms, host)?,
            Cue::Start(number) => {
                let name = pod_name(number);
                if self.fleet.schedule(now_ms, self.group, &name, &mut self.rng)?.is_none() {
                    // The replacement will have room.
                    self.agenda.at(now_ms + RETRY_MS, Cue::Start(number));
                }
            }
        }
        Ok(())
    }

    fn reclaim(&mut self, now_ms: u64) -> Result<(), Error> {
        self.wait_for_reclaim(now_ms);
        let Some(host) = self.fleet.any_ready(self.group, &mut self.rng) else {
            return Ok(());
        };
        self.agenda.at(now_ms + EVICTED_AFTER_MS, Cue::Evict(host));
        self.agenda.at(now_ms + NOTICE_MS, Cue::Leave(host));
        self.agenda.at(now_ms + self.parameters.time_ms("replaced_after"), Cue::Join);
        self.fleet.spot_notice(now_ms, host)
    }

    /// All pods of the node end within the grace; their successors start at once elsewhere.
    fn evict(&mut self, now_ms: u64, host: HostIndex) {
        let grace_ms = self.parameters.time_ms("grace");
        for pod in self.fleet.pods_on(host).to_vec() {
            self.made += 1;
            self.agenda.at(now_ms + self.rng.random_range(0..=grace_ms), Cue::End(pod));
            let start_ms = now_ms + self.rng.random_range(100..=2_000);
            self.agenda.at(start_ms, Cue::Start(self.made));
        }
    }

    fn any_type(&mut self) -> &'static InstanceType {
        let types = self.parameters.types("types");
        types[self.rng.random_range(0..types.len())]
    }
}

fn pod_name(number: usize) -> String {
    format!("spot/worker-{number:06}")
}
