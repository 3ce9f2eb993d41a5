//! A pool that is too high gives addresses back (`decreaseDatastorePool`), ENIs are freed
//! (`tryFreeENI`), and what happens to both when an instance ends in between.

use std::collections::BTreeMap;

use rand::seq::{IndexedRandom as _, SliceRandom as _};

use super::Run;
use super::calls::{Call, Reply, Request};
use super::growth::Growing;
use super::node::{Home, Node, Strayed};
use super::turns::Stage;
use crate::model::ec2::Action;
use crate::model::pool::{Cidr, Eni, EniId};
use crate::model::settings::Mode;

/// Addresses are released, ENI by ENI.
#[derive(Debug)]
pub(super) struct Releasing {
    /// ENIs that are still to be looked at, the next one last.
    enis: Vec<EniId>,
    /// How many are still too many.
    over: u32,
}

/// An ENI is freed.
#[derive(Debug)]
pub(super) struct Freeing {
    /// It is in the pool no more.
    eni: Eni,
    step: Step,
    /// Tries of this step that failed.
    failures: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Describe,
    Detach,
    /// Not a call: EC2 takes a moment to detach it.
    Settle,
    Delete,
}

/// An ENI whose instance ended before it was attached for good, or after it was detached.
#[derive(Debug)]
pub(super) struct Leaked {
    since_ms: u64,
    home: Home,
    cidrs: Vec<Cidr>,
}

#[cfg(test)]
impl Leaked {
    /// Addresses it keeps from others, its own among them.
    pub(super) fn addresses(&self) -> u32 {
        let own = u32::from(self.home.block.is_some());
        own + self.cidrs.iter().map(Cidr::size).sum::<u32>()
    }
}

/// Between detaching an ENI and deleting it ipamd sleeps.
const SETTLE_MS: u64 = 2_000;
/// Detaching and deleting are tried so often,
const TRIES_MAX: u32 = 12;
/// after pauses that begin with these and double,
const DETACH_PAUSE_MS: u64 = 200;
const DELETE_PAUSE_MS: u64 = 500;
/// up to this.
const PAUSE_MAX_MS: u64 = 60_000;
/// Leaked ENIs are deleted once they are older than this.
const LEAKED_AGE_MS: u64 = 300_000;

impl Run<'_> {
    /// Begins to give back `over` addresses or prefixes.
    pub(super) fn release(&mut self, node: usize, over: u32) {
        let state = &mut self.nodes[node];
        let mut enis: Vec<EniId> = state.pool.enis().iter().map(|eni| eni.id).collect();
        // Map order.
        enis.shuffle(&mut state.random);
        self.release_next(node, Releasing { enis, over });
    }

    fn release_next(&mut self, node: usize, mut releasing: Releasing) {
        while let Some(eni) = releasing.enis.pop() {
            if releasing.over == 0 {
                break;
            }
            let state = &mut self.nodes[node];
            let cidrs = state.pool.release(eni, releasing.over, &mut state.random);
            if cidrs.is_empty() {
                continue;
            }
            state.last_action_ms = Some(self.now_ms);
            releasing.over -= cidrs.len() as u32;
            state.stage = Stage::Releasing(releasing);
            return self.ask(node, Request::Unassign { eni, cidrs });
        }
        self.nodes[node].last_release_ms = Some(self.now_ms);
        self.pool_changed(node);
    }

    /// A call of a release is over.
    pub(super) fn released(&mut self, node: usize, releasing: Releasing, reply: Option<Reply>) {
        if let Some(Reply::Throttled(Request::Unassign { eni, cidrs })) = reply {
            let since_ms = self.now_ms;
            self.nodes[node].strayed.push(Strayed { eni, cidrs, since_ms });
        }
        self.release_next(node, releasing);
    }

    /// Looks for an ENI to free, if this pass does; whether one was found.
    pub(super) fn look_for_eni(&mut self, node: usize) -> bool {
        let now_ms = self.now_ms;
        let state = &mut self.nodes[node];
        if !state.looks_for_eni || !state.manages_enis() {
            return false;
        }
        let rules = state.rules();
        let goes = |eni: &&Eni| rules.keeps(&state.pool, eni, now_ms).is_none();
        let able: Vec<EniId> = state.pool.enis().iter().filter(goes).map(|eni| eni.id).collect();
        let Some(id) = able.choose(&mut state.random).copied() else { return false };
        let Some(mut eni) = state.pool.remove_eni(id) else { return false };
        // What the pool forgot is on the ENI all the same, and goes with it.
        let strayed = state.strayed.extract_if(.., |strayed| strayed.eni == id);
        eni.cidrs.extend(strayed.flat_map(|strayed| strayed.cidrs));
        state.last_action_ms = Some(now_ms);
        self.free(node, eni);
        true
    }

    /// Begins to free an ENI that is no longer in the pool.
    pub(super) fn free(&mut self, node: usize, eni: Eni) {
        let freeing = Freeing { eni, step: Step::Describe, failures: 0 };
        self.free_step(node, freeing, Request::Plain(Action::DescribeNetworkInterfaces));
    }

    fn free_step(&mut self, node: usize, freeing: Freeing, request: Request) {
        self.nodes[node].stage = Stage::Freeing(freeing);
        self.ask(node, request);
    }

    /// A step of freeing an ENI is over.
    pub(super) fn freed(&mut self, node: usize, mut freeing: Freeing, reply: Option<Reply>) {
        let is_done = matches!(reply, Some(Reply::Done(_)));
        match (freeing.step, reply) {
            (Step::Describe, Some(_)) if is_done => self.detach(node, freeing),
            (Step::Describe, _) => {
                self.nodes[node].strays.push(freeing.eni);
                self.freeing_ends(node);
            }
            (Step::Detach, Some(_)) if is_done => {
                self.nodes[node].tally.eni_detaches += 1;
                self.nodes[node].stage =
                    Stage::Freeing(Freeing { step: Step::Settle, failures: 0, ..freeing });
                self.turn_in(node, SETTLE_MS);
            }
            (Step::Detach | Step::Delete, Some(_)) if !is_done => {
                freeing.failures += 1;
                self.pause_and_retry(node, freeing);
            }
            (Step::Detach, _) => self.detach(node, freeing),
            (Step::Delete, Some(_)) => self.freeing_ends(node),
            (Step::Settle | Step::Delete, _) => self.delete(node, freeing),
        }
    }

    fn detach(&mut self, node: usize, freeing: Freeing) {
        let freeing = Freeing { step: Step::Detach, ..freeing };
        self.free_step(node, freeing, Request::Plain(Action::DetachNetworkInterface));
    }

    fn delete(&mut self, node: usize, freeing: Freeing) {
        let (eni, cidrs) = (freeing.eni.id, freeing.eni.cidrs.clone());
        let freeing = Freeing { step: Step::Delete, ..freeing };
        self.free_step(node, freeing, Request::Delete { eni, cidrs });
    }

    /// Detaching or deleting failed: it is tried again, or given up. An ENI that stays attached comes
    /// back into the pool; one that is detached is leaked.
    fn pause_and_retry(&mut self, node: usize, freeing: Freeing) {
        if freeing.failures < TRIES_MAX {
            let first_ms =
                if freeing.step == Step::Detach { DETACH_PAUSE_MS } else { DELETE_PAUSE_MS };
            let pause_ms = (first_ms << (freeing.failures - 1)).min(PAUSE_MAX_MS);
            self.nodes[node].stage = Stage::Freeing(freeing);
            return self.turn_in(node, pause_ms);
        }
        match freeing.step {
            Step::Detach => self.nodes[node].strays.push(freeing.eni),
            _ => self.leak(node, freeing.eni.id, freeing.eni.cidrs),
        }
        self.freeing_ends(node);
    }

    fn freeing_ends(&mut self, node: usize) {
        match self.nodes[node].is_ready {
            true => self.end_pass(node),
            false => self.become_ready(node),
        }
    }
}

/// What becomes of addresses when their instance ends, and of ENIs that nobody has.
impl Run<'_> {
    /// EC2 ends an instance: what is attached goes back to the subnets, what is not is leaked.
    pub(super) fn terminate(&mut self, node: usize) {
        let state = &mut self.nodes[node];
        let unattached = unattached(state);
        let mut attached: BTreeMap<EniId, Vec<Cidr>> = BTreeMap::new();
        let known = std::mem::take(&mut state.strays).into_iter().chain(state.pool.take_enis());
        for eni in known {
            attached.entry(eni.id).or_default().extend(eni.cidrs);
        }
        for strayed in std::mem::take(&mut state.strayed) {
            attached.entry(strayed.eni).or_default().extend(strayed.cidrs);
        }
        for (eni, cidrs) in in_flight(state) {
            attached.entry(eni).or_default().extend(cidrs);
        }
        let homes: Vec<EniId> = state.homes.keys().copied().collect();
        for eni in homes {
            let cidrs = attached.remove(&eni).unwrap_or_default();
            match unattached == Some(eni) {
                true => self.leak(node, eni, cidrs),
                false => self.drop_eni(node, eni, &cidrs),
            }
        }
    }

    /// An ENI is nobody's. Its addresses stay taken until somebody deletes it.
    pub(super) fn leak(&mut self, node: usize, eni: EniId, cidrs: Vec<Cidr>) {
        let now_ms = self.now_ms;
        let state = &mut self.nodes[node];
        let Some(home) = state.homes.remove(&eni) else { return };
        state.account(now_ms);
        let addresses: u32 = cidrs.iter().map(Cidr::size).sum();
        state.costs.held -= addresses;
        state.costs.primaries -= 1;
        state.tally.enis_leaked += 1;
        self.record.point.held -= addresses;
        self.record.enis -= 1;
        self.leaked.push(Leaked { since_ms: now_ms, home, cidrs });
    }

    /// A node that looks for leaked ENIs deletes the old ones.
    pub(super) fn delete_leaked(&mut self, node: usize) {
        let now_ms = self.now_ms;
        let mut kept = Vec::new();
        for leaked in std::mem::take(&mut self.leaked) {
            let is_old = now_ms - leaked.since_ms > LEAKED_AGE_MS;
            if !is_old || !self.admit(node, Action::DeleteNetworkInterface) {
                kept.push(leaked);
                continue;
            }
            let subnet = &mut self.subnets[leaked.home.subnet];
            leaked.cidrs.iter().for_each(|cidr| subnet.give_back(cidr.block, cidr.is_prefix));
            leaked.home.block.into_iter().for_each(|block| subnet.give_back(block, false));
        }
        self.leaked = kept;
    }
}

/// The ENI that would stay behind if the instance ended now: made and not yet attached for good, or
/// detached and not yet deleted.
fn unattached(state: &Node) -> Option<EniId> {
    let is_served = matches!(state.call, Some(Call::Ends(Reply::Done(_))));
    match &state.stage {
        Stage::Growing(Growing::NewEni(making)) => {
            (!making.is_attached_for_good(is_served)).then_some(making.eni)
        }
        Stage::Freeing(freeing) => {
            let is_detached = match freeing.step {
                Step::Describe => false,
                Step::Detach => is_served,
                Step::Settle | Step::Delete => true,
            };
            is_detached.then_some(freeing.eni.id)
        }
        _ => None,
    }
}

/// Addresses that a call under way has on its hands.
fn in_flight(state: &mut Node) -> Vec<(EniId, Vec<Cidr>)> {
    let is_prefix = state.pool.mode() == Mode::Prefix;
    let call = state.call.take();
    let stage = std::mem::replace(&mut state.stage, Stage::Pass);
    let given = match &call {
        Some(Call::Ends(Reply::Done(blocks))) => blocks.as_slice(),
        _ => &[],
    };
    let unserved = match &call {
        Some(Call::Throttled(Request::Unassign { eni, cidrs }, _))
        | Some(Call::Again(Request::Unassign { eni, cidrs }, _))
        | Some(Call::Ends(Reply::Throttled(Request::Unassign { eni, cidrs }))) => {
            vec![(*eni, cidrs.clone())]
        }
        _ => Vec::new(),
    };
    let cidrs = |blocks: &[u32]| blocks.iter().map(|b| Cidr::unused(*b, is_prefix)).collect();
    match stage {
        Stage::Growing(Growing::TopUp(top_up)) => vec![(top_up.eni, cidrs(given))],
        Stage::Growing(Growing::NewEni(making)) => {
            let blocks = if making.blocks.is_empty() { given } else { &making.blocks };
            vec![(making.eni, cidrs(blocks))]
        }
        Stage::Freeing(freeing) => vec![(freeing.eni.id, freeing.eni.cidrs)],
        _ => unserved,
    }
}
