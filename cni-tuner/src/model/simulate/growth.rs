//! A pool that is too low grows (`increaseDatastorePool`): addresses on an ENI that has room, or a new
//! ENI with its addresses.

use rand::seq::SliceRandom as _;

use super::Run;
use super::calls::{Reply, Request};
use super::turns::Stage;
use crate::model::ec2::Action;
use crate::model::ipamd::{self, INSUFFICIENT_PAUSE_MS};
use crate::model::pool::{Cidr, Eni, EniId, EniKind};
use crate::model::settings::Mode;

/// Whether a pool that is to grow does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Growth {
    /// A call is under way.
    Begun,
    /// There is nothing to be done, or it may not be done.
    None,
}

/// How far growth has come.
#[derive(Debug)]
pub(super) enum Growing {
    /// Addresses were asked for on an ENI.
    TopUp(TopUp),
    /// An ENI is made.
    NewEni(NewEni),
}

/// Addresses on ENIs that have room.
#[derive(Debug)]
pub(super) struct TopUp {
    pub(super) eni: EniId,
    /// Those that were not tried yet, the next one last.
    others: Vec<EniId>,
    want: u32,
    attempt: Attempt,
}

/// The call of a top-up that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attempt {
    /// For all that is wanted and fits.
    First,
    /// After that failed: for one.
    Second,
    /// The ENI is full, whatever the pool thinks: what is on it is looked up.
    Describe,
}

/// An ENI with addresses.
#[derive(Debug)]
pub(super) struct NewEni {
    pub(super) eni: EniId,
    count: u32,
    /// The subnets it may be in, the next one last.
    subnets: Vec<usize>,
    /// The blocks of its addresses, once it is there.
    pub(super) blocks: Vec<u32>,
    step: Step,
}

/// The call of a new ENI that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    DescribeSubnets,
    Create,
    DescribeInstances,
    Attach,
    Modify,
    /// Not a call: it shows in the instance's metadata.
    Visible,
    /// `setupENI` describes the subnets once more.
    SetUp,
    /// Something failed; it is deleted.
    Delete,
}

impl Run<'_> {
    /// Begins to grow a pool that is too low.
    pub(super) fn grow(&mut self, node: usize) -> Growth {
        let now_ms = self.now_ms;
        let state = &mut self.nodes[node];
        let pauses = |last_ms: u64| now_ms - last_ms <= INSUFFICIENT_PAUSE_MS;
        if !state.manages_enis() || state.last_insufficient_ms.is_some_and(pauses) {
            return Growth::None;
        }
        let stats = state.pool.stats(now_ms);
        match state.rules().growth(&state.pool, &stats) {
            ipamd::Growth::Stuck(_) => Growth::None,
            ipamd::Growth::TopUp { mut enis, want } => {
                // Map order.
                enis.shuffle(&mut state.random);
                let eni = enis.pop().expect("a top-up names an ENI");
                self.top_up(node, TopUp { eni, others: enis, want, attempt: Attempt::First });
                Growth::Begun
            }
            ipamd::Growth::NewEni { count } => {
                self.make_eni(node, count);
                Growth::Begun
            }
        }
    }

    fn top_up(&mut self, node: usize, top_up: TopUp) {
        let state = &mut self.nodes[node];
        let held = state.pool.eni(top_up.eni).map_or(0, |eni| eni.cidrs.len() as u32);
        let room = state.shape.slots.saturating_sub(held);
        let (eni, want) = (top_up.eni, top_up.want);
        let request = match top_up.attempt {
            Attempt::First => Request::Assign { eni, count: room.min(want) },
            Attempt::Second => Request::Assign { eni, count: 1 },
            Attempt::Describe => Request::Plain(Action::DescribeNetworkInterfaces),
        };
        state.stage = Stage::Growing(Growing::TopUp(top_up));
        self.ask(node, request);
    }

    /// A step of growth is over.
    pub(super) fn grown(&mut self, node: usize, growing: Growing, reply: Option<Reply>) {
        match (growing, reply) {
            (Growing::TopUp(top_up), Some(reply)) => self.topped_up(node, top_up, reply),
            (Growing::NewEni(eni), reply) => self.eni_steps(node, eni, reply),
            (Growing::TopUp(_), None) => unreachable!("a top-up waits for nothing but its call"),
        }
    }

    fn topped_up(&mut self, node: usize, top_up: TopUp, reply: Reply) {
        let discovers = self.nodes[node].settings.subnet_discovery;
        match (top_up.attempt, reply) {
            (Attempt::Describe, Reply::Done(_)) => {
                self.find_strayed(node, top_up.eni);
                self.growth_ends(node, true);
            }
            (_, Reply::Done(blocks)) => {
                self.stock(node, top_up.eni, &blocks);
                self.growth_ends(node, true);
            }
            (_, Reply::LimitExceeded) => {
                self.top_up(node, TopUp { attempt: Attempt::Describe, ..top_up });
            }
            (Attempt::First, _) => {
                self.top_up(node, TopUp { attempt: Attempt::Second, ..top_up });
            }
            (_, Reply::Insufficient) if discovers => self.top_up_next(node, top_up),
            (_, Reply::Insufficient) => {
                self.nodes[node].last_insufficient_ms = Some(self.now_ms);
                self.growth_ends(node, true);
            }
            (_, Reply::Throttled(_)) => self.growth_ends(node, false),
        }
    }

    /// With subnet discovery another ENI may be in a subnet that has addresses, or a new one.
    fn top_up_next(&mut self, node: usize, mut top_up: TopUp) {
        if let Some(eni) = top_up.others.pop() {
            return self.top_up(node, TopUp { eni, attempt: Attempt::First, ..top_up });
        }
        let state = &self.nodes[node];
        let stats = state.pool.stats(self.now_ms);
        if state.rules().may_add_eni(&stats) {
            let count = top_up.want.min(state.shape.slots);
            return self.make_eni(node, count);
        }
        // Where there may be no further ENI, ipamd forgets the error and tries again in every pass.
        self.growth_ends(node, true);
    }

    /// New addresses are in the pool.
    fn stock(&mut self, node: usize, eni: EniId, blocks: &[u32]) {
        let state = &mut self.nodes[node];
        let is_prefix = state.pool.mode() == Mode::Prefix;
        for block in blocks {
            state.pool.add_cidr(eni, is_prefix, *block);
        }
        state.last_action_ms = Some(self.now_ms);
    }

    /// Growth is over, for this pass or for the start of aws-node, which fails if an address could
    /// not be had for another reason than a full subnet.
    fn growth_ends(&mut self, node: usize, is_well: bool) {
        match (self.nodes[node].is_ready, is_well) {
            (true, _) => self.pool_changed(node),
            (false, true) => self.become_ready(node),
            (false, false) => self.crash(node),
        }
    }

    fn make_eni(&mut self, node: usize, count: u32) {
        let eni = self.nodes[node].number_eni();
        let subnets = vec![self.nodes[node].subnet];
        let making =
            NewEni { eni, count, subnets, blocks: Vec::new(), step: Step::DescribeSubnets };
        if self.discovers_subnets(node) {
            return self.eni_step(node, making, Request::Plain(Action::DescribeSubnets));
        }
        self.create_eni(node, making);
    }

    fn discovers_subnets(&self, node: usize) -> bool {
        let settings = &self.nodes[node].settings;
        settings.subnet_discovery && !settings.custom_networking
    }

    /// Subnets of the node's zone, the one with most free addresses last.
    fn discovered_subnets(&self, node: usize) -> Vec<usize> {
        let plans = &self.world.subnets;
        let zone = &plans[self.nodes[node].subnet].zone;
        let mut found: Vec<usize> =
            (0..plans.len()).filter(|at| plans[*at].zone == *zone).collect();
        found.sort_by_key(|at| (self.subnets[*at].free(), std::cmp::Reverse(*at)));
        found
    }

    fn create_eni(&mut self, node: usize, mut making: NewEni) {
        let Some(subnet) = making.subnets.pop() else {
            self.nodes[node].last_insufficient_ms = Some(self.now_ms);
            return self.growth_ends(node, true);
        };
        making.step = Step::Create;
        let request = Request::Create { eni: making.eni, subnet, count: making.count };
        self.eni_step(node, making, request);
    }

    fn eni_step(&mut self, node: usize, making: NewEni, request: Request) {
        self.nodes[node].stage = Stage::Growing(Growing::NewEni(making));
        self.ask(node, request);
    }

    /// A step of a new ENI is over; the next one follows.
    fn eni_steps(&mut self, node: usize, mut making: NewEni, reply: Option<Reply>) {
        match (making.step, reply) {
            (Step::DescribeSubnets, Some(reply)) => {
                // Without an answer ipamd stays with the node's own subnet.
                if matches!(reply, Reply::Done(_)) {
                    making.subnets = self.discovered_subnets(node);
                }
                self.create_eni(node, making);
            }
            (Step::Create, Some(Reply::Done(blocks))) => {
                making.blocks = blocks;
                self.next_eni_step(
                    node,
                    making,
                    Step::DescribeInstances,
                    Action::DescribeInstances,
                );
            }
            (Step::Create, Some(Reply::Insufficient)) => self.create_eni(node, making),
            (Step::DescribeInstances, Some(Reply::Done(_))) => {
                self.next_eni_step(node, making, Step::Attach, Action::AttachNetworkInterface);
            }
            (Step::Attach, Some(Reply::Done(_))) => {
                self.nodes[node].tally.eni_attaches += 1;
                let action = Action::ModifyNetworkInterfaceAttribute;
                self.next_eni_step(node, making, Step::Modify, action);
            }
            (Step::Modify, Some(Reply::Done(_))) => self.await_metadata(node, making),
            (Step::Visible, None) if self.discovers_subnets(node) => {
                self.next_eni_step(node, making, Step::SetUp, Action::DescribeSubnets);
            }
            (Step::Visible, None) | (Step::SetUp, Some(_)) => self.take_eni_in(node, making),
            (Step::DescribeInstances | Step::Attach, _) => self.delete_new_eni(node, making),
            (Step::Modify, _) => self.free_new_eni(node, making),
            (Step::Delete, Some(Reply::Throttled(Request::Delete { eni, cidrs }))) => {
                self.leak(node, eni, cidrs);
                self.growth_ends(node, true);
            }
            // What could not be created is only logged.
            (Step::Create | Step::Delete, _) => self.growth_ends(node, true),
            (Step::DescribeSubnets | Step::Visible | Step::SetUp, _) => {
                unreachable!("pauses have no reply, and calls have one")
            }
        }
    }

    fn next_eni_step(&mut self, node: usize, making: NewEni, step: Step, action: Action) {
        self.eni_step(node, NewEni { step, ..making }, Request::Plain(action));
    }

    /// ipamd looks into the metadata after 100 ms, 200 ms, 400 ms and so on.
    fn await_metadata(&mut self, node: usize, making: NewEni) {
        const LOOKS_MAX: u32 = 12;
        const FIRST_PAUSE_MS: u64 = 100;
        let visible_ms = self.world.ec2.eni_visible.draw(&mut self.nodes[node].random);
        let mut waited_ms = 0;
        for look in 0..LOOKS_MAX {
            if waited_ms >= visible_ms {
                break;
            }
            waited_ms += self.nodes[node].jitter(FIRST_PAUSE_MS << look, 0.15);
        }
        let making = NewEni { step: Step::Visible, ..making };
        self.nodes[node].stage = Stage::Growing(Growing::NewEni(making));
        self.turn_in(node, waited_ms);
    }

    fn take_eni_in(&mut self, node: usize, making: NewEni) {
        self.nodes[node].pool.add_eni(making.eni, EniKind::default(), self.now_ms);
        self.stock(node, making.eni, &making.blocks);
        self.growth_ends(node, true);
    }
}

impl Run<'_> {
    /// An ENI that could not be attached is deleted.
    fn delete_new_eni(&mut self, node: usize, making: NewEni) {
        let cidrs = self.cidrs_of(node, &making);
        let request = Request::Delete { eni: making.eni, cidrs };
        self.eni_step(node, NewEni { step: Step::Delete, ..making }, request);
    }

    /// An ENI that would outlive its instance is freed.
    fn free_new_eni(&mut self, node: usize, making: NewEni) {
        let cidrs = self.cidrs_of(node, &making);
        let kind = EniKind::default();
        let (id, added_ms) = (making.eni, self.now_ms);
        self.free(node, Eni { id, kind, added_ms, cidrs });
    }

    fn cidrs_of(&self, node: usize, making: &NewEni) -> Vec<Cidr> {
        let is_prefix = self.nodes[node].pool.mode() == Mode::Prefix;
        making.blocks.iter().map(|block| Cidr::unused(*block, is_prefix)).collect()
    }
}

impl NewEni {
    /// Whether the instance's end would be its end too (DeleteOnTermination), given whether the call
    /// under way was served.
    pub(super) fn is_attached_for_good(&self, is_served: bool) -> bool {
        match self.step {
            Step::DescribeSubnets
            | Step::Create
            | Step::DescribeInstances
            | Step::Attach
            | Step::Delete => false,
            Step::Modify => is_served,
            Step::Visible | Step::SetUp => true,
        }
    }
}
