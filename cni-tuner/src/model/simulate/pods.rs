//! Pods as kubelet starts and ends them (`AddNetwork`, `DelNetwork`).

use super::Run;
use super::START_MS;
use super::queue::Due;
use crate::model::outcome::LatePod;
use crate::model::pool::Place;
use crate::trace::{Trace, What};

/// A pod of the trace.
#[derive(Debug, Clone, Default)]
pub(super) struct Pod {
    state: State,
    /// When kubelet was to start it.
    added_ms: u64,
    failed_adds: u32,
    /// The retry that is due carries this number; others are out of date.
    ticket: u32,
    /// Where it stands in its node's list.
    at: usize,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Gone,
    Waiting,
    Running(Place),
}

/// Each node's pods with an address from before the trace, in the order they are named at its start.
pub(super) fn running_pods(trace: &Trace) -> Vec<Vec<u32>> {
    let mut of_nodes = vec![Vec::new(); trace.nodes.len()];
    for event in trace.events.iter().take_while(|event| event.at_ms == 0) {
        if let What::Add { pod, running: true, host_network: false } = event.what {
            of_nodes[event.node as usize].push(pod);
        }
    }
    of_nodes
}

impl Run<'_> {
    /// kubelet is to start a pod that needs an address.
    pub(super) fn add_pod(&mut self, node: usize, pod: u32, is_running: bool) {
        let at = self.nodes[node].pods.len();
        let state = &mut self.pods[pod as usize];
        // Those that were there before the trace were moved in when their node joined.
        if is_running && matches!(state.state, State::Running(_)) {
            return;
        }
        let ticket = state.ticket.wrapping_add(1);
        let added_ms = self.now_ms;
        *state = Pod { state: State::Waiting, added_ms, ticket, at, ..Pod::default() };
        self.nodes[node].pods.push(pod);
        self.nodes[node].tally.pods += 1;
        self.record.point.waiting += 1;
        if self.nodes[node].serves_pods() {
            self.try_pod(node, pod);
        }
    }

    /// A pod has its address from before the trace.
    pub(super) fn move_in(&mut self, node: usize, pod: u32, place: Place) {
        let at = self.nodes[node].pods.len();
        self.nodes[node].pods.push(pod);
        self.pods[pod as usize] =
            Pod { state: State::Running(place), added_ms: self.now_ms, at, ..Pod::default() };
        self.use_more(node);
    }

    /// kubelet tries again, unless the pod is gone meanwhile. While aws-node starts nobody answers;
    /// the pod waits for it as a new one does.
    pub(super) fn retry_pod(&mut self, node: usize, pod: u32, ticket: u32) {
        let state = &self.pods[pod as usize];
        let waits = state.ticket == ticket && state.state == State::Waiting;
        if waits && self.nodes[node].serves_pods() {
            self.try_pod(node, pod);
        }
    }

    /// aws-node is there: pods that wait for it are started.
    pub(super) fn start_waiting_pods(&mut self, node: usize) {
        for pod in self.nodes[node].pods.clone() {
            if self.pods[pod as usize].state == State::Waiting {
                self.try_pod(node, pod);
            }
        }
    }

    /// One ADD: the pod gets an address, or the error and another try later.
    fn try_pod(&mut self, node: usize, pod: u32) {
        let now_ms = self.now_ms;
        let state = &mut self.nodes[node];
        match state.pool.assign(now_ms, &mut state.random) {
            Some(place) => self.start_pod(node, pod, place),
            None => self.fail_pod(node, pod),
        }
    }

    fn start_pod(&mut self, node: usize, pod: u32, place: Place) {
        let state = &mut self.pods[pod as usize];
        state.state = State::Running(place);
        let (wait_ms, failed_adds) = (self.now_ms - state.added_ms, state.failed_adds);
        self.nodes[node].waits_ms.push(wait_ms);
        let point = &mut self.record.point;
        point.waiting -= 1;
        point.wait_max_ms = point.wait_max_ms.max(wait_ms);
        if wait_ms > 0 || failed_adds > 0 {
            self.note_late(node, pod, Some(wait_ms));
        }
        self.use_more(node);
        self.wake(node);
    }

    fn fail_pod(&mut self, node: usize, pod: u32) {
        let pause_ms =
            self.nodes[node].jitter(self.world.kubelet_retry_ms, self.world.kubelet_jitter);
        let state = &mut self.pods[pod as usize];
        state.failed_adds += 1;
        state.ticket = state.ticket.wrapping_add(1);
        let tally = &mut self.nodes[node].tally;
        tally.failed_adds += 1;
        tally.pods_failed += u64::from(state.failed_adds == 1);
        self.record.point.failed_adds += 1;
        let due = Due::Retry { pod, ticket: state.ticket };
        self.queue.push(self.now_ms + pause_ms.max(1), node, due);
    }

    /// A pod is gone; its address cools down.
    pub(super) fn delete_pod(&mut self, node: usize, pod: u32) {
        let state = &mut self.pods[pod as usize];
        let before = std::mem::take(&mut state.state);
        let at = state.at;
        match before {
            // A pod on the host's network, or one that went with its node.
            State::Gone => return,
            State::Waiting => self.give_up_pod(node, pod),
            State::Running(place) => {
                self.use_less(node);
                self.nodes[node].pool.give_back(place, self.now_ms);
            }
        }
        let pods = &mut self.nodes[node].pods;
        pods.swap_remove(at);
        if let Some(moved) = pods.get(at) {
            self.pods[*moved as usize].at = at;
        }
        self.wake(node);
    }

    /// A pod never got an address.
    fn give_up_pod(&mut self, node: usize, pod: u32) {
        self.nodes[node].tally.pods_never += 1;
        self.record.point.waiting -= 1;
        self.note_late(node, pod, None);
    }

    /// The node or the trace ends: pods that wait have waited in vain.
    pub(super) fn give_up_pods(&mut self, node: usize) {
        for pod in self.nodes[node].pods.clone() {
            if self.pods[pod as usize].state == State::Waiting {
                self.pods[pod as usize].state = State::Gone;
                self.give_up_pod(node, pod);
            }
        }
    }

    /// The node ends, and its pods with it.
    pub(super) fn evict_pods(&mut self, node: usize) {
        for pod in std::mem::take(&mut self.nodes[node].pods) {
            let before = std::mem::take(&mut self.pods[pod as usize].state);
            if matches!(before, State::Running(_)) {
                self.use_less(node);
            }
        }
    }

    fn use_more(&mut self, node: usize) {
        let state = &mut self.nodes[node];
        state.account(self.now_ms);
        state.costs.used += 1;
        state.tally.used_max = state.tally.used_max.max(state.costs.used);
        self.record.point.used += 1;
        self.record.note_most();
    }

    fn use_less(&mut self, node: usize) {
        self.nodes[node].account(self.now_ms);
        self.nodes[node].costs.used -= 1;
        self.record.point.used -= 1;
    }

    fn note_late(&mut self, node: usize, pod: u32, wait_ms: Option<u64>) {
        let state = &self.pods[pod as usize];
        let late = LatePod {
            pod: self.trace.pods[pod as usize].clone(),
            node: self.trace.nodes[node].name.clone(),
            at_ms: state.added_ms - START_MS,
            wait_ms,
            failed_adds: state.failed_adds,
        };
        self.record.note_late(late);
    }
}
