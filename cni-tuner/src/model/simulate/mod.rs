//! The simulation: a trace, settings and a seed in, an outcome out.
//!
//! Discrete events on a virtual clock. Nodes share EC2's token buckets and the subnets, so one run is
//! one thread; runs are independent of each other. Every node draws from a source of its own.
//!
//! ```text
//!   trace event ---> pods: kubelet asks for an address, gives it back
//!                      |  the pool changed
//!                      v
//!   turn ----------> node: one step of the pool loop: pass, call, pause
//!                      |  a call
//!                      v
//!                    calls: the account's bucket, the subnet, what it takes, another try
//! ```

mod calls;
mod growth;
mod node;
mod pods;
mod queue;
mod record;
mod removal;
mod turns;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use self::node::Node;
use self::pods::Pod;
use self::queue::{Due, Queue};
use self::record::Record;
use self::removal::Leaked;
use crate::model::ec2::Account;
use crate::model::outcome::Outcome;
use crate::model::rest::Rest;
use crate::model::settings::Settings;
use crate::model::subnet::Subnet;
use crate::model::world::{Assignment, World};
use crate::trace::{Trace, What};

/// Runs a trace to its end. `progress` is told the virtual time now and then, milliseconds since the
/// trace's start, and stops the run by answering false.
///
/// # Errors
///
/// [`Stopped`] when `progress` said so.
pub fn simulate(
    trace: &Trace,
    assignment: &Assignment,
    world: &World,
    seed: u64,
    progress: &mut dyn FnMut(u64) -> bool,
) -> Result<Outcome, Stopped> {
    let mut run = Run::new(trace, assignment, world, seed);
    run.play(progress)?;
    Ok(run.finish())
}

/// The same outcome, apart from the number of events, with every pass of every node made, idle or
/// not: what tests and benches hold [`simulate`] against.
pub fn simulate_every_pass(
    trace: &Trace,
    assignment: &Assignment,
    world: &World,
    seed: u64,
) -> Outcome {
    let mut run = Run::new(trace, assignment, world, seed);
    run.skips_idle_passes = false;
    run.play(&mut |_| true).expect("nobody stops it");
    run.finish()
}

/// The run was stopped before its end; there is no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the simulation was stopped before its end")]
pub struct Stopped;

/// The clock shows this at the start of a trace, so that what was there before can be old.
const START_MS: u64 = 3_600_000;
/// How many events are handled between two looks at `progress`.
const EVENTS_BETWEEN_LOOKS: u64 = 4_096;

/// Nodes of one instance type, with one limit of pods, so many running ones, and these settings.
type RestKey = (&'static str, u32, u32, Settings);

/// A simulation on its way.
struct Run<'a> {
    trace: &'a Trace,
    world: &'a World,
    now_ms: u64,
    queue: Queue,
    nodes: Vec<Node>,
    pods: Vec<Pod>,
    /// Each node's pods of before the trace, until it joins.
    running: Vec<Vec<u32>>,
    account: Account,
    subnets: Vec<Subnet>,
    /// Draws where in the subnets addresses lie.
    random: ChaCha8Rng,
    leaked: Vec<Leaked>,
    /// What nodes of before the trace hold; those that are alike hold the same.
    rests: BTreeMap<RestKey, Rest>,
    record: Record,
    /// Passes that would change nothing are not made.
    skips_idle_passes: bool,
}

impl<'a> Run<'a> {
    fn new(trace: &'a Trace, assignment: &'a Assignment, world: &'a World, seed: u64) -> Run<'a> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let plans = world.subnets.iter();
        let subnets: Vec<Subnet> = plans.map(|plan| Subnet::new(plan, &mut random)).collect();
        let nodes = (0..trace.nodes.len())
            .map(|index| Node::new(trace, index, assignment, world, seed))
            .collect();
        Run {
            trace,
            world,
            now_ms: START_MS,
            queue: Queue::default(),
            nodes,
            pods: vec![Pod::default(); trace.pods.len()],
            running: pods::running_pods(trace),
            account: Account::new(&world.ec2, START_MS),
            record: Record::new(world, &subnets),
            subnets,
            random,
            leaked: Vec::new(),
            rests: BTreeMap::new(),
            skips_idle_passes: true,
        }
    }

    fn play(&mut self, progress: &mut dyn FnMut(u64) -> bool) -> Result<(), Stopped> {
        let end_ms = START_MS + self.trace.end_ms;
        let trace = self.trace;
        let mut events = trace.events.iter().peekable();
        loop {
            let traced_ms = events.peek().map(|event| START_MS + event.at_ms);
            let queued_ms = self.queue.next_ms();
            let Some(at_ms) = traced_ms.into_iter().chain(queued_ms).min() else { break };
            if at_ms > end_ms {
                break;
            }
            self.record.pass_time(at_ms, &self.subnets);
            self.now_ms = at_ms;
            if traced_ms == Some(at_ms) {
                let event = events.next().expect("an event was seen");
                self.happen(event.node as usize, event.what);
            } else if let Some((_, node, due)) = self.queue.pop() {
                self.fall_due(node, due);
            }
            self.record.events += 1;
            let looks = self.record.events.is_multiple_of(EVENTS_BETWEEN_LOOKS);
            if looks && !progress(at_ms - START_MS) {
                return Err(Stopped);
            }
        }
        self.now_ms = end_ms;
        self.record.pass_time(end_ms, &self.subnets);
        self.record.end_time(end_ms, &self.subnets);
        Ok(())
    }

    fn happen(&mut self, node: usize, what: What) {
        match what {
            What::Join { running } => self.join(node, running),
            What::Add { host_network: true, .. } => {}
            What::Add { pod, running, .. } => self.add_pod(node, pod, running),
            What::Delete { pod } => self.delete_pod(node, pod),
            What::Cordon | What::SpotNotice => self.cordon(node, true),
            What::Uncordon => self.cordon(node, false),
            What::Restart => self.restart(node),
            What::Leave => self.leave(node),
        }
    }

    fn fall_due(&mut self, node: usize, due: Due) {
        match due {
            Due::Retry { pod, ticket } => self.retry_pod(node, pod, ticket),
            Due::Sweep => self.sweep(node),
            Due::Turn { ticket } => self.turn(node, ticket),
        }
    }

    fn finish(mut self) -> Outcome {
        let waiting = self.record.point.waiting;
        for index in 0..self.nodes.len() {
            if self.nodes[index].is_up {
                self.settle_node(index);
            }
        }
        // That these pods wait in vain is known at the end; at that moment they still wait.
        self.record.point.waiting = waiting;
        self.record.into_outcome(self.trace, self.world, self.nodes, &self.subnets)
    }
}
