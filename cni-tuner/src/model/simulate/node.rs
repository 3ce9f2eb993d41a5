//! A node: its pool, where its loop stands, and what it has cost so far.

use std::collections::BTreeMap;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::calls::Call;
use super::turns::Stage;
use crate::model::ipamd::{Rules, Shape};
use crate::model::outcome::Tally;
use crate::model::pool::{Cidr, Eni, EniId, Pool};
use crate::model::settings::Settings;
use crate::model::world::{Assignment, World};
use crate::trace::Trace;

/// A node of the trace and the aws-node on it.
pub(super) struct Node {
    pub(super) settings: Settings,
    pub(super) shape: Shape,
    /// ENIs the instance has room for.
    devices: u32,
    pub(super) pool: Pool,
    /// Where each ENI's own primary address lies, attached or not.
    pub(super) homes: BTreeMap<EniId, Home>,
    pub(super) eni_next: EniId,
    /// The node's choices: map order, latencies, kubelet's jitter.
    pub(super) random: ChaCha8Rng,
    /// Which subnet its primary ENI is in.
    pub(super) subnet: usize,
    pub(super) is_up: bool,
    /// aws-node has started; pods can be given addresses.
    pub(super) is_ready: bool,
    /// Its ENI has the CNI's tags, since aws-node started for the first time.
    pub(super) is_tagged: bool,
    pub(super) is_cordoned: bool,
    /// aws-node is to start anew once no call is under way.
    pub(super) is_restarting: bool,
    pub(super) stage: Stage,
    pub(super) call: Option<Call>,
    /// The turn that is due carries this number; others are out of date.
    pub(super) ticket: u32,
    /// Since when the loop has nothing to do: the time of the last pass. The next passes would be
    /// whole periods later.
    pub(super) idle_since_ms: Option<u64>,
    /// Whether the pass under way ends with a look for an ENI to free.
    pub(super) looks_for_eni: bool,
    pub(super) last_action_ms: Option<u64>,
    pub(super) last_release_ms: Option<u64>,
    pub(super) last_insufficient_ms: Option<u64>,
    /// Failed starts of aws-node in a row.
    pub(super) crashes: u32,
    /// ENIs that are attached though the pool does not know them: freeing failed.
    pub(super) strays: Vec<Eni>,
    /// Addresses that are attached though the pool does not know them: releasing failed.
    pub(super) strayed: Vec<Strayed>,
    /// Pods that are here, those on the host's network not among them.
    pub(super) pods: Vec<u32>,
    pub(super) costs: Costs,
    pub(super) tally: Tally,
    pub(super) waits_ms: Vec<u64>,
}

/// Where an ENI's own primary address lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Home {
    pub(super) subnet: usize,
    /// None: the subnet was full when the instance started.
    pub(super) block: Option<u32>,
}

/// Addresses that the pool forgot and EC2 did not take back.
pub(super) struct Strayed {
    pub(super) eni: EniId,
    pub(super) cidrs: Vec<Cidr>,
    pub(super) since_ms: u64,
}

/// What the node holds now, and since when.
#[derive(Debug, Default)]
pub(super) struct Costs {
    pub(super) held: u32,
    pub(super) used: u32,
    pub(super) primaries: u32,
    since_ms: u64,
}

impl Node {
    pub(super) fn new(
        trace: &Trace,
        index: usize,
        assignment: &Assignment,
        world: &World,
        seed: u64,
    ) -> Node {
        let node = &trace.nodes[index];
        let settings = assignment.of(&node.group).on(node.instance_type);
        let mut shape = Shape::of(node.instance_type, &settings, node.pods_max);
        shape.unmanaged = world.unmanaged_enis;
        let named = node.subnet.as_ref();
        let named = named.and_then(|name| world.subnets.iter().position(|s| s.name == *name));
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(index as u64 + 1);
        Node {
            pool: Pool::new(settings.mode, settings.cooldown_ms),
            settings,
            shape,
            devices: node.instance_type.enis_max,
            homes: BTreeMap::new(),
            eni_next: 0,
            random,
            subnet: named.unwrap_or(index % world.subnets.len()),
            is_up: false,
            is_ready: false,
            is_tagged: false,
            is_cordoned: false,
            is_restarting: false,
            stage: Stage::Pass,
            call: None,
            ticket: 0,
            idle_since_ms: None,
            looks_for_eni: false,
            last_action_ms: None,
            last_release_ms: None,
            last_insufficient_ms: None,
            crashes: 0,
            strays: Vec::new(),
            strayed: Vec::new(),
            pods: Vec::new(),
            costs: Costs::default(),
            tally: Tally::default(),
            waits_ms: Vec::new(),
        }
    }

    pub(super) fn rules(&self) -> Rules<'_> {
        Rules { settings: &self.settings, shape: self.shape }
    }

    /// Whether ENIs and addresses may be added and ENIs freed: a cordoned node does neither.
    pub(super) fn manages_enis(&self) -> bool {
        !self.is_cordoned || self.settings.manages_unschedulable
    }

    /// Whether aws-node is there to give pods addresses.
    pub(super) fn serves_pods(&self) -> bool {
        self.is_ready && !self.is_restarting
    }

    /// Whether EC2 has room for so many more on an ENI, those that the pool forgot counted.
    pub(super) fn fits(&self, eni: EniId, count: u32) -> bool {
        let known = self.pool.eni(eni).map_or(0, |eni| eni.cidrs.len());
        let strayed = self.strayed.iter().filter(|strayed| strayed.eni == eni);
        let strayed: usize = strayed.map(|strayed| strayed.cidrs.len()).sum();
        (known + strayed) as u32 + count <= self.shape.slots
    }

    /// Whether the instance has room for the ENI that is about to be attached, those that the pool
    /// forgot counted.
    pub(super) fn has_device(&self) -> bool {
        self.homes.len() as u32 + self.shape.unmanaged <= self.devices
    }

    /// A number for an ENI that is about to be.
    pub(super) fn number_eni(&mut self) -> EniId {
        self.eni_next += 1;
        self.eni_next - 1
    }

    /// A time off by up to a part of itself to either side.
    pub(super) fn jitter(&mut self, time_ms: u64, part: f64) -> u64 {
        let factor = 1.0 + part * (self.random.random::<f64>() * 2.0 - 1.0);
        (time_ms as f64 * factor).round() as u64
    }

    /// Adds what was held until now to the tally; call before what is held changes.
    pub(super) fn account(&mut self, now_ms: u64) {
        let costs = &mut self.costs;
        let passed_ms = u128::from(now_ms - costs.since_ms);
        self.tally.held_address_ms += u128::from(costs.held) * passed_ms;
        self.tally.used_address_ms += u128::from(costs.used) * passed_ms;
        self.tally.primary_address_ms += u128::from(costs.primaries) * passed_ms;
        costs.since_ms = now_ms;
    }
}
