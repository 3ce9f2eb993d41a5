//! `ci`: runners of a build system: they come at random, more by day, and live some minutes.

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use super::agenda::Agenda;
use super::draw::{busyness, gap_ms, life_ms};
use super::fleet::{Fleet, PodIndex};
use super::{Error, Generator, Kind, Parameter, Parameters, RETRY_MS};
use crate::trace::Trace;

pub(super) const GENERATOR: Generator = Generator {
    name: "ci",
    about: "build runners at random, some minutes long, more by day, on nodes that run",
    parameters: &[
        Parameter::nodes("6"),
        Parameter::instance_type("m5.2xlarge"),
        Parameter {
            name: "per_hour",
            default: "600",
            kind: Kind::Number(0.1, 50_000.0),
            about: "runners in an hour at noon",
        },
        Parameter {
            name: "night",
            default: "0.1",
            kind: Kind::Number(0.0, 1.0),
            about: "what midnight, when the trace begins, is to noon",
        },
        Parameter {
            name: "life",
            default: "8m",
            kind: Kind::Time(1_000, 86_400_000),
            about: "how long a runner lives on average; some much longer",
        },
        Parameter::hours("24"),
        Parameter::HOST_NETWORK,
        Parameter::DAEMONS,
    ],
    make,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cue {
    Arrive,
    Start(usize),
    End(PodIndex),
}

fn make(parameters: &Parameters, mut rng: ChaCha8Rng) -> Result<Trace, Error> {
    let end_ms = parameters.end_ms();
    let (per_hour, night) = (parameters.number("per_hour"), parameters.number("night"));
    let mean_ms = parameters.time_ms("life");
    let mut fleet = Fleet::new(parameters);
    // What is there at noon on average (Little's law).
    super::check_room(parameters, &fleet, (per_hour * mean_ms as f64 / 3_600_000.0) as usize)?;
    let group = fleet.open_group("ci");
    for _ in 0..parameters.count("nodes") {
        fleet.running(group, parameters.instance_type(), false)?;
    }
    let mut agenda = Agenda::until(end_ms);
    agenda.at(gap_ms(per_hour, &mut rng), Cue::Arrive);
    let mut runners = 0;
    while let Some((now_ms, cue)) = agenda.next() {
        match cue {
            Cue::Arrive => {
                agenda.at(now_ms + gap_ms(per_hour, &mut rng), Cue::Arrive);
                // Noon's rate, thinned to that of the hour.
                if rng.random_bool(busyness(now_ms, night)) {
                    runners += 1;
                    agenda.at(now_ms, Cue::Start(runners));
                }
            }
            Cue::Start(number) => {
                let name = format!("ci/runner-{number:06}");
                match fleet.schedule(now_ms, group, &name, &mut rng)? {
                    Some(pod) => agenda.at(now_ms + life_ms(mean_ms, &mut rng), Cue::End(pod)),
                    None => agenda.at(now_ms + RETRY_MS, Cue::Start(number)),
                }
            }
            Cue::End(pod) => fleet.delete(now_ms, pod)?,
        }
    }
    fleet.finish(end_ms)
}
