//! What is done with one packet: every way out of the fast plane, in one place.

use std::net::UdpSocket;
use std::sync::Arc;

use super::batch::{Batch, Packet, ReturnPath};
use super::sys;
use super::worker::{Decide, Settled};
use crate::clients::Ticket;
use crate::counts::PlaneCounts;
use crate::engine::{
    Ask, Glimpse, ListenerId, Now, Outcome, Query, Reply, Scratch, Transport, Verdict,
};
use crate::handoff::{Door, Errand, ReplyPath, Waiting};
use crate::logging;
use crate::logging::Quiet;
use crate::server::Plan;

/// Carries out the engine's verdicts for one worker.
pub(super) struct Desk {
    /// The address its packets were sent to.
    pub(super) listener: ListenerId,
    /// For replies that come later.
    pub(super) socket: Arc<UdpSocket>,
    /// To the slow plane.
    pub(super) door: Door,
    /// Where to count what belongs to no block.
    pub(super) counts: Arc<PlaneCounts>,
    /// Under which number; see [`super::FastPlane::new`].
    pub(super) shard: usize,
    /// What the engine keeps between packets.
    pub(super) scratch: Scratch,
    /// What was foreseen of the batch under way.
    pub(super) glimpses: Vec<Glimpse>,
    /// The log line about a full door.
    pub(super) refusals: Quiet,
}

/// Packets of a batch from which on their waits for memory overlap enough to pay for it.
const LOOK_AHEAD_MIN: usize = 4;

/// The slow plane's shard, which adds atomically: late replies are sent by its tasks.
const SLOW_SHARD: usize = 0;

impl Decide<Plan> for Desk {
    fn decide(&mut self, plan: &Arc<Plan>, now: Now, packet: &mut Packet<'_>) -> Option<Settled> {
        let query = self.query(packet);
        match plan.engine.answer(&query, now, &mut self.scratch, packet.reply) {
            Verdict::Reply(reply) => Some(self.settle(plan, now, reply)),
            Verdict::Ask(ask) => {
                self.count_miss(plan, &query, &ask);
                let (ask, outcome) = self.pass(plan, ask, &query, packet.return_path(), now)?;
                let (engine, scratch) = (&plan.engine, &mut self.scratch);
                let reply = engine.reply(&query, &ask, &outcome, now, scratch, packet.reply);
                Some(self.settle(plan, now, reply))
            }
            Verdict::Drop(reason) => {
                self.counts.dropped(self.shard, reason);
                None
            }
        }
    }

    fn look_ahead(&mut self, plan: &Plan, batch: &mut Batch, received: usize) {
        let engine = &plan.engine;
        if received < LOOK_AHEAD_MIN || !engine.looks_ahead() {
            return;
        }
        self.glimpses.clear();
        for index in 0..received {
            let packet = batch.packet(index).map_or(&[][..], |packet| packet.bytes);
            self.glimpses.extend(engine.glimpse(packet, &mut self.scratch, sys::fetch));
        }
        self.glimpses.iter().for_each(|glimpse| engine.approach(*glimpse, sys::fetch));
    }

    fn account(&mut self, plan: &Plan, packet: &Packet<'_>, settled: &Settled, duration_us: u64) {
        let Settled { len, facts } = settled;
        let Some(block) = facts.block.map(|block| usize::from(block.0)) else {
            return self.counts.stray(self.shard, facts);
        };
        let (request_len, ipv6) = (packet.bytes.len(), packet.client.is_ipv6());
        if let Some(counts) = plan.counts.get(block) {
            counts.replied(self.shard, facts, false, ipv6, request_len, *len, duration_us);
        }
        if let Some(Some(log)) = plan.logs.get(block) {
            let reply = packet.reply.get(..*len).unwrap_or_default();
            logging::query(log, &self.query(packet), facts, request_len, reply, duration_us);
        }
    }
}

impl Desk {
    fn query<'a>(&self, packet: &Packet<'a>) -> Query<'a> {
        Query {
            packet: packet.bytes,
            source: packet.client,
            listener: self.listener,
            transport: Transport::Udp,
        }
    }

    /// Passes the renewal on, if the reply asks for one. A full door loses it, which costs nobody
    /// an answer: the question is asked again when its answer has expired.
    fn settle(&mut self, plan: &Arc<Plan>, now: Now, reply: Reply) -> Settled {
        if let Some(ask) = reply.renew {
            let errand = Errand { plan: Arc::clone(plan), ask, client: None };
            if self.door.pass(errand).is_err() {
                self.count_refusal(now);
            }
        }
        Settled { len: reply.len, facts: reply.facts }
    }

    /// Passes a question on, if its client may have another and the door has room. Gives it back
    /// with what the client gets otherwise.
    fn pass(
        &mut self,
        plan: &Arc<Plan>,
        ask: Ask,
        query: &Query<'_>,
        path: ReturnPath,
        now: Now,
    ) -> Option<(Ask, Outcome)> {
        let Ok(ticket) = self.door.admit(query, &ask, now) else {
            let outcome = plan.engine.hold_back(&ask, now);
            return Some((ask, outcome));
        };
        let client = Some(self.waiting(query, path, now, ticket));
        let errand = Errand { plan: Arc::clone(plan), ask, client };
        let refused = self.door.pass(errand).err()?;
        self.count_refusal(now);
        let outcome = plan.engine.turn_away(&refused.ask, now);
        Some((refused.ask, outcome))
    }

    /// The client as the slow plane needs it: with a copy of its query and the way back.
    fn waiting(
        &self,
        query: &Query<'_>,
        path: ReturnPath,
        received: Now,
        ticket: Ticket,
    ) -> Waiting {
        Waiting {
            packet: query.packet.into(),
            source: query.source,
            listener: query.listener,
            transport: query.transport,
            received,
            reply: self.late_reply(path),
            ticket,
            taken: received,
            rounds: 0,
        }
    }

    fn late_reply(&self, path: ReturnPath) -> ReplyPath {
        let (socket, counts) = (Arc::clone(&self.socket), Arc::clone(&self.counts));
        Box::new(move |reply| {
            if sys::send_one(&socket, &path, reply).is_err() {
                counts.send_failed(SLOW_SHARD);
            }
        })
    }

    fn count_miss(&self, plan: &Plan, query: &Query<'_>, ask: &Ask) {
        if let Some(counts) = plan.counts.get(usize::from(ask.block.0)) {
            counts.missed(self.shard, ask, false, query.source.is_ipv6(), query.packet.len());
        }
    }

    fn count_refusal(&mut self, now: Now) {
        self.counts.door_full(self.shard);
        if let Some(errands) = self.refusals.count(now, 1) {
            tracing::warn!(errands, "too many questions wait for upstream; refused at once");
        }
    }
}
