//! The life of a node and its pool loop (`nodeInit`, `StartNodeIPPoolManager`), a step each turn.
//!
//! A pass that does nothing is followed by passes that do nothing until a pod comes or goes, the node
//! is cordoned, or one of ipamd's gates opens; those passes are not made.

use super::Run;
use super::calls::{Reply, Request};
use super::growth::{Growing, Growth};
use super::node::{Home, Strayed};
use super::queue::Due;
use super::removal::{Freeing, Releasing};
use crate::model::ec2::Action;
use crate::model::ipamd::{
    ENI_AGE_MIN_MS, HALF_PERIOD_MS, INSUFFICIENT_PAUSE_MS, Keep, RECONCILE_COOLDOWN_MS,
    RECONCILE_INTERVAL_MS, RELEASE_INTERVAL_MS, Rules,
};
use crate::model::pool::{EniId, EniKind};
use crate::model::rest::Rest;

/// Where a node's loop stands: what its next turn does.
#[derive(Debug)]
pub(super) enum Stage {
    /// aws-node starts; so many of [`BOOT_CALLS`] are made.
    Boot(usize),
    /// A pass.
    Pass,
    /// Addresses are added, or an ENI.
    Growing(Growing),
    /// Addresses are released.
    Releasing(Releasing),
    /// An ENI is freed.
    Freeing(Freeing),
    /// The pool is compared with the instance's metadata.
    Reconcile,
}

/// What a new node asks before its pool gets its first addresses.
const BOOT_CALLS: [Action; 3] =
    [Action::DescribeNetworkInterfaces, Action::CreateTags, Action::DescribeSubnets];
/// What a node asks whose ENI has its tags already.
const LATER_BOOT_CALLS: [Action; 2] = [Action::DescribeNetworkInterfaces, Action::DescribeSubnets];
/// kubelet starts a container that failed again after this, twice as long each time.
const CRASH_PAUSE_MS: u64 = 10_000;
/// But never later than this.
const CRASH_PAUSE_MAX_MS: u64 = 300_000;
/// Every node looks for leaked ENIs once in this time, from a moment on that is drawn.
const SWEEP_INTERVAL_MS: u64 = 3_600_000;
const SWEEP_START_MAX_MS: u64 = 300_000;

impl Run<'_> {
    /// A node is up.
    pub(super) fn join(&mut self, node: usize, is_running: bool) {
        self.nodes[node].is_up = true;
        self.record.point.nodes += 1;
        if self.nodes[node].settings.sweeps_leaked {
            // One that was there before is anywhere between two looks.
            let within_ms = if is_running { SWEEP_INTERVAL_MS } else { SWEEP_START_MAX_MS };
            let first_ms = self.nodes[node].jitter(within_ms / 2, 1.0);
            self.queue.push(self.now_ms + first_ms, node, Due::Sweep);
        }
        if is_running {
            return self.join_at_rest(node);
        }
        self.attach_first_enis(node);
        self.boot(node);
    }

    /// The ENIs an instance comes with: its primary one, and its Elastic Fabric Adapters.
    fn attach_first_enis(&mut self, node: usize) {
        let now_ms = self.now_ms;
        for at in 0..=self.world.efa_enis {
            let id = self.nodes[node].number_eni();
            let kind = EniKind { is_primary: at == 0, is_efa: at > 0, ..EniKind::default() };
            self.nodes[node].pool.add_eni(id, kind, now_ms);
            self.house(node, id);
        }
    }

    fn house(&mut self, node: usize, eni: u32) {
        let subnet = self.nodes[node].subnet;
        let block = self.subnets[subnet].take_address(&mut self.random);
        self.nodes[node].tally.insufficient += u64::from(block.is_none());
        self.settle_in(node, eni, Home { subnet, block });
    }

    /// The node was there before the trace: its pool is at rest with the pods it has.
    fn join_at_rest(&mut self, node: usize) {
        let pods = std::mem::take(&mut self.running[node]);
        let rest = self.rest_of(node, pods.len() as u32);
        let state = &mut self.nodes[node];
        state.pool = rest.pool;
        state.eni_next = state.pool.enis().iter().map(|eni| eni.id + 1).max().unwrap_or(0);
        state.is_ready = true;
        state.is_tagged = true;
        let enis: Vec<u32> = state.pool.enis().iter().map(|eni| eni.id).collect();
        for eni in enis {
            self.house(node, eni);
            self.fill_from_subnet(node, eni);
        }
        for (pod, place) in pods.into_iter().zip(rest.places) {
            // In a subnet that is too small some have none; they wait like new ones.
            if self.nodes[node].pool.has(place) {
                self.move_in(node, pod, place);
            }
        }
        self.nodes[node].stage = Stage::Pass;
        let phase_ms = self.nodes[node].jitter(HALF_PERIOD_MS, 1.0);
        self.turn_in(node, phase_ms);
    }

    fn rest_of(&mut self, node: usize, pods: u32) -> Rest {
        let (efa_enis, traced) = (self.world.efa_enis, &self.trace.nodes[node]);
        let state = &mut self.nodes[node];
        let key = (traced.instance_type.name, traced.pods_max, pods, state.settings.clone());
        let rest = self.rests.entry(key).or_insert_with(|| {
            let rules = Rules { settings: &state.settings, shape: state.shape };
            Rest::of(rules, efa_enis, pods, &mut state.random)
        });
        rest.clone()
    }

    /// Puts the addresses of an ENI where they are in the subnet; those that do not fit are not there.
    fn fill_from_subnet(&mut self, node: usize, eni: u32) {
        let cidrs = self.nodes[node].pool.eni(eni).map_or(0, |eni| eni.cidrs.len());
        let subnet = self.nodes[node].subnet;
        for at in 0..cidrs {
            let Reply::Done(blocks) = self.take(node, subnet, 1) else {
                let eni = self.nodes[node].pool.eni_mut(eni).expect("it was just counted");
                return eni.cidrs.truncate(at);
            };
            let eni = self.nodes[node].pool.eni_mut(eni).expect("it was just counted");
            eni.cidrs[at].block = blocks[0];
        }
    }

    /// aws-node starts (`nodeInit`).
    fn boot(&mut self, node: usize) {
        self.nodes[node].stage = Stage::Boot(1);
        self.ask(node, Request::Plain(self.boot_calls(node)[0]));
    }

    fn boot_calls(&self, node: usize) -> &'static [Action] {
        if self.nodes[node].is_tagged { &LATER_BOOT_CALLS } else { &BOOT_CALLS }
    }

    fn booted(&mut self, node: usize, made: usize, reply: Option<Reply>) {
        match reply {
            // The pause after a failed start is over.
            None => self.boot(node),
            Some(Reply::Done(_)) if made < self.boot_calls(node).len() => {
                self.nodes[node].stage = Stage::Boot(made + 1);
                self.ask(node, Request::Plain(self.boot_calls(node)[made]));
            }
            Some(Reply::Done(_)) => self.prescale(node),
            Some(_) => self.crash(node),
        }
    }

    /// One step of growth before the node is reported ready (`handlePreScaling`).
    fn prescale(&mut self, node: usize) {
        let state = &self.nodes[node];
        let stats = state.pool.stats(self.now_ms);
        if state.rules().is_too_low(&stats) && self.grow(node) == Growth::Begun {
            return;
        }
        self.become_ready(node);
    }

    /// A start failed; kubelet starts aws-node again later.
    pub(super) fn crash(&mut self, node: usize) {
        let state = &mut self.nodes[node];
        state.tally.failed_starts += 1;
        let pause_ms = (CRASH_PAUSE_MS << state.crashes.min(10)).min(CRASH_PAUSE_MAX_MS);
        state.crashes += 1;
        state.stage = Stage::Boot(0);
        self.turn_in(node, pause_ms);
    }

    /// Pods can be given addresses from now on.
    pub(super) fn become_ready(&mut self, node: usize) {
        let state = &mut self.nodes[node];
        state.is_ready = true;
        state.is_tagged = true;
        state.crashes = 0;
        state.stage = Stage::Pass;
        let serves = state.serves_pods();
        self.turn_in(node, HALF_PERIOD_MS);
        if serves {
            self.start_waiting_pods(node);
        }
    }

    /// aws-node starts anew. A call under way is served all the same, and what it brought is found
    /// at the start.
    pub(super) fn restart(&mut self, node: usize) {
        let is_idle = self.nodes[node].idle_since_ms.take().is_some();
        self.nodes[node].is_restarting = true;
        if is_idle {
            self.turn_in(node, 0);
        }
    }

    /// What a start finds: all that is attached, and who has which address. When addresses were
    /// given back and how old ENIs are is forgotten.
    fn begin_anew(&mut self, node: usize) {
        self.find_stray_enis(node);
        self.find(node, |_| true);
        let state = &mut self.nodes[node];
        state.pool.forget_times(self.now_ms);
        state.is_restarting = false;
        state.is_ready = false;
        state.last_action_ms = None;
        state.last_release_ms = None;
        state.last_insufficient_ms = None;
        self.boot(node);
    }

    /// The node gets the taint of a cordon, or loses it.
    pub(super) fn cordon(&mut self, node: usize, is_cordoned: bool) {
        self.nodes[node].is_cordoned = is_cordoned;
        self.wake(node);
    }

    /// The next turn of a node is due.
    pub(super) fn turn(&mut self, node: usize, ticket: u32) {
        if !self.nodes[node].is_up || self.nodes[node].ticket != ticket {
            return;
        }
        let reply = match self.nodes[node].call.take() {
            None => None,
            Some(call) => match self.go_on(node, call) {
                None => return,
                reply => reply,
            },
        };
        match std::mem::replace(&mut self.nodes[node].stage, Stage::Pass) {
            Stage::Pass | Stage::Reconcile if self.nodes[node].is_restarting => {
                self.begin_anew(node);
            }
            Stage::Boot(made) => self.booted(node, made, reply),
            Stage::Pass => self.pass(node),
            Stage::Growing(growing) => self.grown(node, growing, reply),
            Stage::Releasing(releasing) => self.released(node, releasing, reply),
            Stage::Freeing(freeing) => self.freed(node, freeing, reply),
            Stage::Reconcile => self.reconcile(node),
        }
    }

    /// One pass of the loop.
    fn pass(&mut self, node: usize) {
        let now_ms = self.now_ms;
        let state = &mut self.nodes[node];
        state.idle_since_ms = None;
        let stats = state.pool.stats(now_ms);
        let rules = state.rules();
        let (is_too_low, is_too_high) = (rules.is_too_low(&stats), rules.is_too_high(&stats));
        state.looks_for_eni = rules.wants_fewer_enis(&state.pool, &stats);
        if is_too_low {
            if self.grow(node) == Growth::Begun {
                return;
            }
        } else if is_too_high && self.may_release(node) {
            let over = self.nodes[node].rules().to_release(&stats);
            return self.release(node, over);
        }
        if !self.look_for_eni(node) {
            self.idle(node);
        }
    }

    fn may_release(&self, node: usize) -> bool {
        let last_ms = self.nodes[node].last_release_ms;
        last_ms.is_none_or(|last_ms| self.now_ms - last_ms > RELEASE_INTERVAL_MS)
    }

    /// The growth or the release of a pass is over; the look for an ENI to free comes next.
    pub(super) fn pool_changed(&mut self, node: usize) {
        if !self.look_for_eni(node) {
            self.end_pass(node);
        }
    }

    /// The pass is over.
    pub(super) fn end_pass(&mut self, node: usize) {
        self.nodes[node].stage = Stage::Reconcile;
        self.turn_in(node, HALF_PERIOD_MS);
    }

    /// What is attached and not in the pool is found, if the pool has not changed for a while
    /// (`nodeIPPoolReconcile`).
    fn reconcile(&mut self, node: usize) {
        let now_ms = self.now_ms;
        let state = &mut self.nodes[node];
        let is_due = |last_ms: u64| now_ms - last_ms > RECONCILE_INTERVAL_MS;
        if state.last_action_ms.is_none_or(is_due) {
            self.take_back_strays(node);
        }
        self.nodes[node].stage = Stage::Pass;
        self.turn_in(node, HALF_PERIOD_MS);
    }

    fn take_back_strays(&mut self, node: usize) {
        let now_ms = self.now_ms;
        self.find_stray_enis(node);
        let is_old = |since_ms: u64| now_ms - since_ms > RECONCILE_COOLDOWN_MS;
        self.find(node, |strayed| is_old(strayed.since_ms));
    }

    fn find_stray_enis(&mut self, node: usize) {
        let now_ms = self.now_ms;
        let state = &mut self.nodes[node];
        for eni in std::mem::take(&mut state.strays) {
            state.pool.add_eni(eni.id, eni.kind, now_ms);
            eni.cidrs.iter().for_each(|cidr| {
                state.pool.add_cidr(eni.id, cidr.is_prefix, cidr.block);
            });
            state.last_action_ms = Some(now_ms);
        }
    }

    /// What strayed on an ENI is in the pool again.
    pub(super) fn find_strayed(&mut self, node: usize, eni: EniId) {
        self.find(node, |strayed| strayed.eni == eni);
    }

    fn find(&mut self, node: usize, is_found: impl Fn(&Strayed) -> bool) {
        let state = &mut self.nodes[node];
        for strayed in state.strayed.extract_if(.., |strayed| is_found(strayed)) {
            for cidr in strayed.cidrs {
                state.pool.add_cidr(strayed.eni, cidr.is_prefix, cidr.block);
            }
            state.last_action_ms = Some(self.now_ms);
        }
    }

    /// A pass did nothing. The next one is made when something has changed or a gate has opened.
    fn idle(&mut self, node: usize) {
        let (now_ms, skips) = (self.now_ms, self.skips_idle_passes);
        let state = &mut self.nodes[node];
        if !state.strays.is_empty() || !state.strayed.is_empty() {
            return self.end_pass(node);
        }
        state.stage = Stage::Pass;
        state.idle_since_ms = Some(now_ms);
        if !skips {
            return self.turn_in(node, 2 * HALF_PERIOD_MS);
        }
        // Without a turn that is due, whatever was due before is void.
        state.ticket = state.ticket.wrapping_add(1);
        if let Some(gate_ms) = self.next_gate_ms(node) {
            self.wake_at(node, gate_ms);
        }
    }

    /// When time alone may make a pass do something.
    fn next_gate_ms(&self, node: usize) -> Option<u64> {
        let state = &self.nodes[node];
        let now_ms = self.now_ms;
        let after = |last_ms: Option<u64>, pause_ms: u64| last_ms.map(|last| last + pause_ms + 1);
        let enis = state.pool.enis().iter().filter(|_| state.looks_for_eni);
        let enis = enis.filter_map(|eni| match state.rules().keeps(&state.pool, eni, now_ms)? {
            Keep::TooYoung { .. } => Some(eni.added_ms + ENI_AGE_MIN_MS),
            Keep::Cooling => state.pool.cooled_at_ms(eni, now_ms),
            _ => None,
        });
        let release = after(state.last_release_ms, RELEASE_INTERVAL_MS);
        let insufficient = after(state.last_insufficient_ms, INSUFFICIENT_PAUSE_MS);
        enis.chain(release).chain(insufficient).filter(|at_ms| *at_ms > now_ms).min()
    }

    /// Something changed on a node whose loop had nothing to do: its next pass is made.
    pub(super) fn wake(&mut self, node: usize) {
        if self.skips_idle_passes && self.nodes[node].idle_since_ms.is_some() {
            self.wake_at(node, self.now_ms);
        }
    }

    /// The first pass of an idle loop at or after a moment is made.
    fn wake_at(&mut self, node: usize, at_ms: u64) {
        let Some(idle_since_ms) = self.nodes[node].idle_since_ms else { return };
        const PERIOD_MS: u64 = 2 * HALF_PERIOD_MS;
        let periods = (at_ms - idle_since_ms).div_ceil(PERIOD_MS).max(1);
        self.turn_in(node, idle_since_ms + periods * PERIOD_MS - self.now_ms);
    }

    /// A node looks for leaked ENIs, now and once an hour from now on.
    pub(super) fn sweep(&mut self, node: usize) {
        if !self.nodes[node].is_up {
            return;
        }
        self.queue.push(self.now_ms + SWEEP_INTERVAL_MS, node, Due::Sweep);
        if self.admit(node, Action::DescribeNetworkInterfaces) {
            self.delete_leaked(node);
        }
    }

    /// Closes a node's account, at its end or the trace's.
    pub(super) fn settle_node(&mut self, node: usize) {
        self.nodes[node].account(self.now_ms);
        self.give_up_pods(node);
    }

    /// The instance ends; EC2 takes what was attached to it.
    pub(super) fn leave(&mut self, node: usize) {
        self.settle_node(node);
        self.evict_pods(node);
        self.nodes[node].is_up = false;
        self.record.point.nodes -= 1;
        self.terminate(node);
    }
}
