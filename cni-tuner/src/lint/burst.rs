//! A burst of pods on one quiet node, on the simulator.

use crate::lint::Case;
use crate::model::outcome::Tally;
use crate::model::settings::Settings;
use crate::model::simulate::simulate;
use crate::model::world::World;
use crate::trace::{Builder, Fault, Node, Trace};

/// When the pods start: after everything before has settled.
const BURST_MS: u64 = 120_000;
/// Time the last pod gets, milliseconds: an hour.
const END_MS: u64 = BURST_MS + 3_600_000;
const SEED: u64 = 1;

/// What a node of the case counts when so many pods start on it at once, an hour long. None if it
/// does not take so many.
pub(super) fn burst(case: &Case, settings: &Settings, pods: u32) -> Option<Tally> {
    let trace = trace(case, pods).ok()?;
    let assignment = settings.clone().into();
    let outcome = simulate(&trace, &assignment, &World::default(), SEED, &mut |_| true);
    outcome.ok().map(|outcome| outcome.fleet)
}

fn trace(case: &Case, pods: u32) -> Result<Trace, Fault> {
    let mut trace = Builder::new("burst");
    let node = Node { pods_max: case.pods_max, ..Node::of("node", case.kind) };
    trace.join(0, node, true)?;
    for pod in 0..pods {
        trace.add(BURST_MS, "node", &format!("burst/pod-{pod}"), false, false)?;
    }
    trace.finish(END_MS)
}
