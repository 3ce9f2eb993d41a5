//! `cron`: many short jobs start on the minute, again and again.

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use super::agenda::Agenda;
use super::draw::around_ms;
use super::fleet::{Fleet, PodIndex};
use super::{Error, Generator, Kind, Parameter, Parameters};
use crate::trace::Trace;

pub(super) const GENERATOR: Generator = Generator {
    name: "cron",
    about: "bursts of short jobs every few minutes, on nodes that run",
    parameters: &[
        Parameter::nodes("4"),
        Parameter::instance_type("m5.2xlarge"),
        Parameter {
            name: "every",
            default: "10m",
            kind: Kind::Time(1_000, 86_400_000),
            about: "from one burst to the next",
        },
        Parameter {
            name: "jobs",
            default: "80",
            kind: Kind::Count(1, 100_000),
            about: "jobs of a burst, one pod each, over all nodes",
        },
        Parameter::spread("2s", "from a burst's first pod to its last one"),
        Parameter {
            name: "life",
            default: "45s",
            kind: Kind::Time(1, 86_400_000),
            about: "how long a job runs, give or take a half",
        },
        Parameter::hours("24"),
        Parameter::HOST_NETWORK,
        Parameter::DAEMONS,
    ],
    make,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cue {
    Tick,
    Start,
    End(PodIndex),
}

fn make(parameters: &Parameters, mut rng: ChaCha8Rng) -> Result<Trace, Error> {
    let end_ms = parameters.end_ms();
    let (every_ms, spread_ms) = (parameters.time_ms("every"), parameters.time_ms("spread"));
    let (jobs, life_ms) = (parameters.count("jobs"), parameters.time_ms("life"));
    let mut fleet = Fleet::new(parameters);
    // Bursts that can be there together.
    let bursts = 1 + (life_ms + life_ms / 2 + spread_ms) / every_ms;
    super::check_room(parameters, &fleet, jobs * bursts as usize)?;
    let group = fleet.open_group("cron");
    for _ in 0..parameters.count("nodes") {
        fleet.running(group, parameters.instance_type(), false)?;
    }
    let mut agenda = Agenda::until(end_ms);
    agenda.at(every_ms, Cue::Tick);
    let mut made = 0;
    while let Some((now_ms, cue)) = agenda.next() {
        match cue {
            Cue::Tick => {
                agenda.at(now_ms + every_ms, Cue::Tick);
                for _ in 0..jobs {
                    agenda.at(now_ms + rng.random_range(0..=spread_ms), Cue::Start);
                }
            }
            Cue::Start => {
                made += 1;
                let name = format!("cron/job-{made:06}");
                let pod = fleet.schedule_or_refuse(now_ms, group, &name, &mut rng)?;
                agenda.at(now_ms + around_ms(life_ms, &mut rng), Cue::End(pod));
            }
            Cue::End(pod) => fleet.delete(now_ms, pod)?,
        }
    }
    fleet.finish(end_ms)
}
