//! Calls to EC2: a token of the account's bucket, the subnet's addresses, what it takes, and the tries
//! of the SDK's standard retryer.

use super::Run;
use super::node::Home;
use super::queue::Due;
use crate::model::ec2::{ATTEMPTS_MAX, Action, THROTTLED_LATENCY_MS, backoff_ms};
use crate::model::pool::{Cidr, EniId};
use crate::model::settings::Mode;

/// What a node asks of EC2.
#[derive(Debug, Clone)]
pub(super) enum Request {
    /// So many more addresses or prefixes on an ENI.
    Assign { eni: EniId, count: u32 },
    /// These back, of an ENI.
    Unassign { eni: EniId, cidrs: Vec<Cidr> },
    /// A new ENI with so many addresses or prefixes, in a subnet.
    Create { eni: EniId, subnet: usize, count: u32 },
    /// An ENI that is not attached away, with all that is on it.
    Delete { eni: EniId, cidrs: Vec<Cidr> },
    /// A call that changes no addresses.
    Plain(Action),
}

/// How a call ended.
#[derive(Debug, Clone)]
pub(super) enum Reply {
    /// Well; with the blocks of the addresses or prefixes that were given.
    Done(Vec<u32>),
    /// InsufficientFreeAddressesInSubnet or InsufficientCidrBlocks.
    Insufficient,
    /// PrivateIpAddressLimitExceeded or AttachmentLimitExceeded: more is attached than the pool
    /// knows, and there is no room.
    LimitExceeded,
    /// RequestLimitExceeded, at every try.
    Throttled(Request),
}

/// A call under way, as it stands when the node's next turn is due.
#[derive(Debug)]
pub(super) enum Call {
    /// It ends.
    Ends(Reply),
    /// It was throttled; so many tries were made.
    Throttled(Request, u32),
    /// It is tried once more; so many tries were made before.
    Again(Request, u32),
}

impl Request {
    fn action(&self) -> Action {
        match self {
            Request::Assign { .. } => Action::AssignPrivateIpAddresses,
            Request::Unassign { .. } => Action::UnassignPrivateIpAddresses,
            Request::Create { .. } => Action::CreateNetworkInterface,
            Request::Delete { .. } => Action::DeleteNetworkInterface,
            Request::Plain(action) => *action,
        }
    }
}

impl Run<'_> {
    /// Begins a call; the node's stage goes on with its reply.
    pub(super) fn ask(&mut self, node: usize, request: Request) {
        self.attempt(node, request, 0);
    }

    /// Lets a call go on; its reply, once it has ended.
    pub(super) fn go_on(&mut self, node: usize, call: Call) -> Option<Reply> {
        match call {
            Call::Ends(reply) => return Some(reply),
            Call::Again(request, attempts) => self.attempt(node, request, attempts),
            Call::Throttled(request, attempts) if attempts >= ATTEMPTS_MAX => {
                return Some(Reply::Throttled(request));
            }
            Call::Throttled(request, attempts) => {
                let pause_ms = backoff_ms(attempts, &mut self.nodes[node].random);
                self.nodes[node].call = Some(Call::Again(request, attempts));
                self.turn_in(node, pause_ms);
            }
        }
        None
    }

    fn attempt(&mut self, node: usize, request: Request, attempts: u32) {
        let action = request.action();
        if !self.admit(node, action) {
            self.nodes[node].call = Some(Call::Throttled(request, attempts + 1));
            return self.turn_in(node, THROTTLED_LATENCY_MS);
        }
        let latency = self.world.ec2.latencies.get(&action).copied();
        let random = &mut self.nodes[node].random;
        let latency_ms = latency.map_or(0, |latency| latency.draw(random));
        let reply = self.serve(node, request);
        self.nodes[node].call = Some(Call::Ends(reply));
        self.turn_in(node, latency_ms);
    }

    /// Counts a call and takes its token; false if it is throttled.
    pub(super) fn admit(&mut self, node: usize, action: Action) -> bool {
        let tally = &mut self.nodes[node].tally;
        *tally.calls.entry(action).or_default() += 1;
        self.record.point.calls += 1;
        let admits = self.account.admits(action, self.now_ms);
        if !admits {
            *tally.throttled.entry(action).or_default() += 1;
            self.record.point.throttled += 1;
        }
        admits
    }

    /// What EC2 does with a call that it lets pass.
    fn serve(&mut self, node: usize, request: Request) -> Reply {
        match request {
            Request::Assign { eni, count } if !self.nodes[node].fits(eni, count) => {
                Reply::LimitExceeded
            }
            Request::Assign { eni, count } => {
                let subnet = self.nodes[node].homes[&eni].subnet;
                self.take(node, subnet, count)
            }
            Request::Unassign { eni, cidrs } => {
                let subnet = self.nodes[node].homes[&eni].subnet;
                self.return_cidrs(node, subnet, &cidrs);
                Reply::Done(Vec::new())
            }
            Request::Create { eni, subnet, count } => self.create(node, eni, subnet, count),
            Request::Delete { eni, cidrs } => {
                self.drop_eni(node, eni, &cidrs);
                Reply::Done(Vec::new())
            }
            Request::Plain(Action::AttachNetworkInterface) if !self.nodes[node].has_device() => {
                Reply::LimitExceeded
            }
            Request::Plain(_) => Reply::Done(Vec::new()),
        }
    }

    fn create(&mut self, node: usize, eni: EniId, subnet: usize, count: u32) -> Reply {
        let Some(block) = self.subnets[subnet].take_address(&mut self.random) else {
            self.nodes[node].tally.insufficient += 1;
            return Reply::Insufficient;
        };
        let reply = self.take(node, subnet, count);
        if !matches!(reply, Reply::Done(_)) {
            self.subnets[subnet].give_back(block, false);
            return reply;
        }
        self.settle_in(node, eni, Home { subnet, block: Some(block) });
        reply
    }

    /// A node has an ENI more, attached or about to be.
    pub(super) fn settle_in(&mut self, node: usize, eni: EniId, home: Home) {
        self.nodes[node].account(self.now_ms);
        let state = &mut self.nodes[node];
        state.costs.primaries += 1;
        state.tally.enis_max = state.tally.enis_max.max(state.costs.primaries);
        state.homes.insert(eni, home);
        self.record.enis += 1;
        self.record.note_most();
        self.record.note_least(home.subnet, &self.subnets[home.subnet]);
    }

    /// Takes addresses or prefixes out of a subnet: all that are wanted, or none.
    pub(super) fn take(&mut self, node: usize, subnet: usize, count: u32) -> Reply {
        let pool = &mut self.subnets[subnet];
        let is_prefix = self.nodes[node].pool.mode() == Mode::Prefix;
        let free = if is_prefix { pool.free_prefixes() } else { pool.free() };
        if free < count {
            self.nodes[node].tally.insufficient += 1;
            return Reply::Insufficient;
        }
        let random = &mut self.random;
        let blocks: Vec<u32> = (0..count)
            .filter_map(|_| match is_prefix {
                true => pool.take_prefix(random),
                false => pool.take_address(random),
            })
            .collect();
        self.record.note_least(subnet, &self.subnets[subnet]);
        self.hold(node, count * if is_prefix { 16 } else { 1 });
        Reply::Done(blocks)
    }

    fn hold(&mut self, node: usize, addresses: u32) {
        let node = &mut self.nodes[node];
        node.account(self.now_ms);
        node.costs.held += addresses;
        node.tally.held_max = node.tally.held_max.max(node.costs.held);
        self.record.point.held += addresses;
        self.record.note_most();
    }

    /// Addresses or prefixes go back to their subnet.
    pub(super) fn return_cidrs(&mut self, node: usize, subnet: usize, cidrs: &[Cidr]) {
        let addresses: u32 = cidrs.iter().map(Cidr::size).sum();
        cidrs.iter().for_each(|cidr| self.subnets[subnet].give_back(cidr.block, cidr.is_prefix));
        let node = &mut self.nodes[node];
        node.account(self.now_ms);
        node.costs.held -= addresses;
        self.record.point.held -= addresses;
    }

    /// An ENI and all that is on it go back.
    pub(super) fn drop_eni(&mut self, node: usize, eni: EniId, cidrs: &[Cidr]) {
        let Some(home) = self.nodes[node].homes.remove(&eni) else { return };
        self.return_cidrs(node, home.subnet, cidrs);
        self.nodes[node].costs.primaries -= 1;
        self.record.enis -= 1;
        if let Some(block) = home.block {
            self.subnets[home.subnet].give_back(block, false);
        }
    }

    /// The node's next turn is due in so many milliseconds; an earlier one is void.
    pub(super) fn turn_in(&mut self, node: usize, pause_ms: u64) {
        let state = &mut self.nodes[node];
        state.ticket = state.ticket.wrapping_add(1);
        self.queue.push(self.now_ms + pause_ms, node, Due::Turn { ticket: state.ticket });
    }
}
