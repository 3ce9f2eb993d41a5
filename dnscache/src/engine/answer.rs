//! What is known about a question: the steps from a packet to a verdict.

use std::sync::Arc;

use super::block::{Block, BlockCache};
use super::cache::key::{self, Flags, Key, KeyBuffer};
use super::cache::lifetime::STALE_TTL_SECS;
use super::cache::record::{Kind, Record};
use super::cache::shared::Resident;
use super::facts::Way;
use super::policy::hot::Sampler;
use super::policy::route::Route;
use super::policy::{acl, hosts, local};
use super::shortcut::marked;
use super::wire::answer::is_forwardable_class;
use super::wire::edns::{PLAIN_UDP_MAX, extended_error};
use super::wire::header::{class, flag, rcode, rtype};
use super::wire::name::{Name, parent, wire_is_at_or_below};
use super::wire::question::{Parsed, Question, parse};
use super::wire::reply::{Opt, Shape, bare, refusal, stored};
use super::wire::ttl::Age;
use super::wire::{UDP_REPLY_MAX, header};
use super::{
    Ask, BlockId, DropReason, Engine, Facts, Now, Outcome, Query, Reason, Reply, Scratch, Shortcut,
    Source, Transport, Verdict,
};
use crate::config::AclAction;

/// Source ports from which no client asks, but from which a forged packet makes two servers answer
/// each other for ever: none, echo, daytime, quotd, chargen, and other name servers.
const UNANSWERED_PORTS: [u16; 6] = [0, 7, 13, 17, 19, 53];

impl Engine {
    /// Decides about one packet; a reply is written to `out`, which holds at least
    /// [`UDP_REPLY_MAX`] octets for UDP and 65,535 for TCP. Never allocates on a hit.
    pub fn answer(
        &self,
        query: &Query<'_>,
        now: Now,
        scratch: &mut Scratch,
        out: &mut [u8],
    ) -> Verdict {
        if let Some(reason) = self.unanswerable(query) {
            return Verdict::Drop(reason);
        }
        match parse(query.packet) {
            Parsed::Drop(reason) => Verdict::Drop(reason),
            Parsed::Refuse(refused) => {
                let facts = Facts { rcode: (refused.rcode & 0xff) as u8, ..NOBODY };
                let len = refusal(out, &refused, UDP_REPLY_MAX as u16);
                Verdict::Reply(Reply { len, facts, renew: None })
            }
            Parsed::Query(question) => self.decide_in(None, query, &question, now, scratch, out),
        }
    }

    /// [`Engine::answer`] for a client that waited for facts of `earlier` (see [`Company::first`]).
    /// If they were not `learned`, its question is asked as it is.
    pub fn answer_again(
        &self,
        query: &Query<'_>,
        (earlier, learned): (&Ask, bool),
        now: Now,
        scratch: &mut Scratch,
        out: &mut [u8],
    ) -> Verdict {
        let Parsed::Query(question) = parse(query.packet) else {
            return Verdict::Drop(DropReason::Short);
        };
        let rounds = earlier.company.as_ref().map_or(0, |company| company.rounds);
        let rounds = Some(if learned { rounds } else { 0 });
        self.decide_in(rounds, query, &question, now, scratch, out)
    }

    fn decide_in(
        &self,
        rounds: Option<u8>,
        query: &Query<'_>,
        question: &Question<'_>,
        now: Now,
        scratch: &mut Scratch,
        out: &mut [u8],
    ) -> Verdict {
        let (desk, key) = self.desk((query, question), rounds, now, scratch, out);
        key.set_name(question.name());
        self.decide(desk, key)
    }

    /// A desk with the query on it, and the buffer in which its key is built.
    fn desk<'a>(
        &'a self,
        (query, question): (&'a Query<'a>, &'a Question<'a>),
        rounds: Option<u8>,
        now: Now,
        scratch: &'a mut Scratch,
        out: &'a mut [u8],
    ) -> (Desk<'a>, &'a mut KeyBuffer) {
        let Scratch { turn, key, fact_key, names, sampler } = scratch;
        let engine = self;
        let desk =
            Desk { engine, query, question, now, rounds, turn, fact_key, names, sampler, out };
        (desk, key)
    }

    /// Writes the reply to one client that waited for `ask`; `out` as for [`Engine::answer`].
    pub fn reply(
        &self,
        query: &Query<'_>,
        ask: &Ask,
        outcome: &Outcome,
        now: Now,
        scratch: &mut Scratch,
        out: &mut [u8],
    ) -> Reply {
        let Parsed::Query(question) = parse(query.packet) else {
            // Only well-formed queries become an `Ask`; nothing is sent for anything else.
            return Reply { len: 0, facts: NOBODY, renew: None };
        };
        let block = self.block(ask.block);
        let (mut desk, _) = self.desk((query, &question), Some(0), now, scratch, out);
        let mut reply = match outcome {
            Outcome::Fresh(entry) => {
                let reply = desk.serve(block, ask.block, entry.record(), Source::Forward);
                if exists(&reply.facts) {
                    desk.see(ask.key.name(), ROOT, false, 0);
                }
                reply
            }
            Outcome::Stale(entry) => {
                if let Some(cache) = &block.cache {
                    cache.mark(&ask.key, entry, |renewal| renewal.keeps_waiting(ask.asked, now));
                }
                desk.serve(block, ask.block, entry.record(), Source::Stale)
            }
            Outcome::Failed { rcode, extended_error } => {
                desk.refuse(ask.block, block, *rcode, *extended_error, Source::Refusal)
            }
        };
        reply.facts.shortcut = ask.shortcut;
        reply
    }

    /// Why a query gets no reply whatever it says.
    fn unanswerable(&self, query: &Query<'_>) -> Option<DropReason> {
        if query.transport == Transport::Tcp {
            return None;
        }
        if UNANSWERED_PORTS.contains(&query.source.port()) {
            return Some(DropReason::SourcePort);
        }
        let listener = self.listeners.get(usize::from(query.listener.0));
        let is_own = listener.is_some_and(|listener| listener.address == query.source);
        is_own.then_some(DropReason::Own)
    }

    /// Whether a lower-case wire name may be a step through a search list beyond the cluster's.
    fn is_below_host_domain(&self, name: &[u8]) -> bool {
        let is_below = |domain: &Name| wire_is_at_or_below(name, domain.wire());
        self.host_domains.iter().any(is_below)
    }

    /// Decides about a well-formed query: whose is it, may it be asked, is the answer ours to give,
    /// is it known?
    fn decide(&self, mut desk: Desk<'_>, key: &mut KeyBuffer) -> Verdict {
        let zones =
            self.listeners.get(usize::from(desk.query.listener.0)).map(|listener| &listener.zones);
        let place = place_of(key.name(), desk.question.qtype);
        let found = zones.and_then(|zones| zones.find(place).or_else(|| zones.find(key.name())));
        let Some(id) = found else {
            return desk.refuse_strangely();
        };
        let block = self.block(id);
        if let Some(probe) = block.probe.as_ref().filter(|_| desk.question.qtype == rtype::HINFO) {
            probe.notice(key.name());
        }
        if let Some(verdict) = desk.judge(id, block, key.name()) {
            return verdict;
        }
        if let Some(reply) = desk.answer_specially(id, block, &self.host) {
            return Verdict::Reply(reply);
        }
        if let Some(reply) = desk.answer_from_hosts(id, block, key.name()) {
            return Verdict::Reply(reply);
        }
        let place = place_of(key.name(), desk.question.qtype);
        let Some(route) = block.route(place).or_else(|| block.route(key.name())) else {
            return Verdict::Reply(desk.answer_without_route(id, block));
        };
        desk.look_up(Way { id, block, route }, key)
    }
}

/// The end of every name.
const ROOT: &[u8] = &[0];

/// Whether the reply says that the name exists.
fn exists(facts: &Facts) -> bool {
    let is_answer =
        matches!(facts.source, Source::CacheSuccess | Source::CacheDenial | Source::Forward);
    is_answer && facts.rcode == rcode::NOERROR
}

/// Facts of a packet no block was found for.
const NOBODY: Facts = Facts {
    block: None,
    qtype: 0,
    rcode: rcode::REFUSED,
    dnssec_ok: false,
    source: Source::Refusal,
    shortcut: Shortcut::NotAnExpansion,
};

/// One query on the desk: everything the steps share.
pub(super) struct Desk<'a> {
    pub(super) engine: &'a Engine,
    pub(super) query: &'a Query<'a>,
    pub(super) question: &'a Question<'a>,
    pub(super) now: Now,
    /// How often the question may still be put off until facts are learned; `None` if it is decided
    /// for the first time.
    pub(super) rounds: Option<u8>,
    turn: &'a mut u32,
    pub(super) fact_key: &'a mut KeyBuffer,
    pub(super) names: &'a mut Vec<u8>,
    pub(super) sampler: &'a mut Sampler,
    pub(super) out: &'a mut [u8],
}

impl Desk<'_> {
    /// `acl`: the verdict, unless the query is allowed.
    fn judge(&mut self, id: BlockId, block: &Block, name: &[u8]) -> Option<Verdict> {
        if block.config.acl.is_empty() {
            return None;
        }
        let prohibited = Some(extended_error::PROHIBITED);
        match acl::judge(&block.config.acl, self.query.source.ip(), name, self.question.qtype) {
            AclAction::Allow => None,
            AclAction::Drop => Some(Verdict::Drop(DropReason::Acl)),
            AclAction::Block => Some(Verdict::Reply(self.refuse(
                id,
                block,
                rcode::REFUSED,
                prohibited,
                Source::Acl,
            ))),
            AclAction::Filter => {
                let filtered = Some(extended_error::FILTERED);
                Some(Verdict::Reply(self.refuse(id, block, rcode::NOERROR, filtered, Source::Acl)))
            }
        }
    }

    /// Classes and types that are never forwarded: other classes than IN, questions about the
    /// server, transfers and pseudo-types (REFUSED), NXNAME (FORMERR, RFC 9824), ANY (RFC 8482).
    fn answer_specially(&mut self, id: BlockId, block: &Block, host: &str) -> Option<Reply> {
        let Question { qtype, qclass, .. } = *self.question;
        let shape = self.shape(block, None);
        if let (class::CH, Some(chaos)) = (qclass, &block.config.chaos)
            && let Some(len) = local::chaos(self.out, self.question, shape, chaos, host)
        {
            return Some(self.reply(id, len, rcode::NOERROR, Source::Chaos));
        }
        if qtype == rtype::NXNAME {
            return Some(self.refuse(id, block, rcode::FORMERR, None, Source::Refusal));
        }
        if !is_forwardable_class(qclass) || is_meta_type(qtype) {
            return Some(self.refuse(id, block, rcode::REFUSED, None, Source::Refusal));
        }
        if qtype == rtype::ANY {
            let len = local::any(self.out, self.question, shape);
            return Some(self.reply(id, len, rcode::NOERROR, Source::Any));
        }
        None
    }

    /// `hosts`: what the table says, NXDOMAIN if it is the last word.
    fn answer_from_hosts(&mut self, id: BlockId, block: &Block, name: &[u8]) -> Option<Reply> {
        let (table, config) = (block.hosts.as_ref()?, block.config.hosts.as_ref()?);
        if self.question.qclass != class::IN || !hosts::covers(config, name) {
            return None;
        }
        let qtype = self.question.qtype;
        let found = table.load().find(name, qtype, config.reverse);
        let cap = block.cache.as_ref().map_or(u32::MAX, |cache| cache.config.success.ttl_max_secs);
        let shape = self.shape(block, None);
        if let Some(len) =
            local::hosts(self.out, self.question, shape, &found, config.ttl_secs.min(cap))
        {
            return Some(self.reply(id, len, rcode::NOERROR, Source::Hosts));
        }
        // An address without an entry is somebody else's, whatever `fallthrough` says.
        let goes_on = qtype == rtype::PTR || hosts::goes_on(config, name);
        (!goes_on).then(|| self.refuse(id, block, rcode::NXDOMAIN, None, Source::Hosts))
    }

    /// Nothing forwards this name: `whoami`, or REFUSED.
    fn answer_without_route(&mut self, id: BlockId, block: &Block) -> Reply {
        if !block.config.whoami {
            return self.refuse(id, block, rcode::REFUSED, None, Source::Refusal);
        }
        let shape = self.shape(block, None);
        let len =
            local::whoami(self.out, self.question, shape, self.query.source, self.query.transport);
        self.reply(id, len, rcode::NOERROR, Source::Whoami)
    }

    /// The cache: a fresh answer, an expired one whose renewal failed, or a question for upstream.
    fn look_up(&mut self, way: Way<'_>, key: &mut KeyBuffer) -> Verdict {
        let flags = Flags {
            dnssec_ok: self.question.dnssec_ok(),
            checking_disabled: self.question.header.has(flag::CD),
            synthesised: None,
        };
        match &way.block.search {
            Some(policy) if policy.is_below(key.name()) => {
                self.look_up_below(way, policy, flags, key)
            }
            _ => {
                let is_step = self.engine.is_below_host_domain(key.name());
                let verdict = self.look_up_plainly(way, flags, key);
                if is_step { marked(verdict, Reason::HostDomain) } else { verdict }
            }
        }
    }

    /// What upstream said to the very question, or a question for upstream.
    pub(super) fn look_up_plainly(
        &mut self,
        way: Way<'_>,
        flags: Flags,
        key: &mut KeyBuffer,
    ) -> Verdict {
        if let Some(verdict) = self.look_up_known(way, flags, key) {
            return verdict;
        }
        let key =
            key.complete(way.route.id, self.question.qtype, self.question.qclass, flags).into();
        let ask = way.ask(key, self.now);
        self.ask_if_desired(way.id, way.block, ask)
    }

    /// The cache, for what upstream said to the very question; `None` if that was never asked.
    pub(super) fn look_up_known(
        &mut self,
        way: Way<'_>,
        flags: Flags,
        key: &mut KeyBuffer,
    ) -> Option<Verdict> {
        let Way { id, block, route } = way;
        let key = key.complete(route.id, self.question.qtype, self.question.qclass, flags);
        let now = self.now;
        let ask = |stale, client_timer_millis, renewal| {
            let ask = way.ask(Key::from(key), now);
            Ask { stale, client_timer_millis, renewal, ..ask }
        };
        let cache = block.cache.as_ref()?;
        let mut found = cache.find(key, now)?;
        let copy = |found: &Resident<'_>| Some(Arc::new(found.record().into()));
        if found.record().is_fresh(now) {
            let source = hit_source(found.record());
            let mut reply = self.serve(block, id, found.record(), source);
            if is_renewal_due(cache, route, &mut found, now) {
                reply.renew = Some(ask(copy(&found), 0, true));
            }
            drop(found);
            if exists(&reply.facts) {
                self.see(key::name(key), ROOT, false, 0);
            }
            return Some(Verdict::Reply(reply));
        }
        if !found.record().is_servable_stale(now, cache.stale_window_millis()) {
            return Some(self.ask_if_desired(id, block, ask(None, 0, false)));
        }
        let client_timer_millis = cache.client_timer_millis();
        let may_wait = client_timer_millis > 0 && !route.health.is_silent();
        if may_wait && !found.record().renewal().has_failed() {
            let ask = ask(copy(&found), client_timer_millis, false);
            return Some(self.ask_if_desired(id, block, ask));
        }
        let mut reply = self.serve(block, id, found.record(), Source::Stale);
        if found.change_renewal(|renewal| renewal.claim(now, &route.health)) {
            reply.renew = Some(ask(copy(&found), 0, true));
        }
        Some(Verdict::Reply(reply))
    }

    /// Asks upstream only for clients that want recursion (RFC 1035 section 4.1.1).
    fn ask_if_desired(&mut self, id: BlockId, block: &Block, ask: Ask) -> Verdict {
        if self.question.header.has(flag::RD) {
            return Verdict::Ask(ask);
        }
        Verdict::Reply(self.refuse(id, block, rcode::REFUSED, None, Source::Refusal))
    }

    /// Writes a record as the reply.
    pub(super) fn serve(
        &mut self,
        block: &Block,
        id: BlockId,
        entry: Record<'_>,
        source: Source,
    ) -> Reply {
        let extended = match (source, entry.kind()) {
            (Source::Stale, _) if entry.rcode() == rcode::NXDOMAIN => {
                Some(extended_error::STALE_NXDOMAIN_ANSWER)
            }
            (Source::Stale, _) => Some(extended_error::STALE_ANSWER),
            (_, Kind::Failure) => Some(extended_error::CACHED_ERROR),
            (Source::SearchPath, _) if block.config.debug => Some(extended_error::SYNTHESIZED),
            _ => None,
        };
        let age = match source {
            Source::Stale => Age::Expired(STALE_TTL_SECS),
            _ if source != Source::SearchPath && keeps_ttl(block) => Age::Kept,
            _ => entry.age(self.now),
        };
        let shape = self.shape(block, extended);
        let Some(shape) = shape.fitting(entry.message().len()) else {
            let len = bare(
                self.out,
                self.question,
                self.shape(block, None),
                entry.rcode().into(),
                flag::TC,
            );
            return self.reply(id, len, entry.rcode(), source);
        };
        let is_authentic =
            entry.is_authentic() && self.question.wants_authentic() && source != Source::Stale;
        let extra = if is_authentic { flag::AD } else { 0 };
        let len = stored(self.out, entry.message(), self.question, shape, entry.rcode(), extra);
        if block.config.rotate {
            *self.turn = self.turn.wrapping_add(1);
            entry.rotate(self.out, *self.turn);
        }
        entry.rewrite_ttls(self.out, age);
        self.reply(id, len, entry.rcode(), source)
    }

    /// A reply of a response code and no records.
    fn refuse(
        &mut self,
        id: BlockId,
        block: &Block,
        rcode: u8,
        extended: Option<u16>,
        source: Source,
    ) -> Reply {
        let shape = self.shape(block, extended);
        let len = bare(self.out, self.question, shape, rcode.into(), 0);
        self.reply(id, len, rcode, source)
    }

    /// REFUSED, because no block answers for the name.
    fn refuse_strangely(&mut self) -> Verdict {
        let shape = self.shape_within(UDP_REPLY_MAX as u16, None);
        let len = bare(self.out, self.question, shape, rcode::REFUSED.into(), 0);
        let facts =
            Facts { qtype: self.question.qtype, dnssec_ok: self.question.dnssec_ok(), ..NOBODY };
        Verdict::Reply(Reply { len, facts, renew: None })
    }

    pub(super) fn reply(&self, id: BlockId, len: usize, rcode: u8, source: Source) -> Reply {
        let facts = Facts {
            block: Some(id),
            qtype: self.question.qtype,
            rcode,
            dnssec_ok: self.question.dnssec_ok(),
            source,
            shortcut: Shortcut::NotAnExpansion,
        };
        Reply { len, facts, renew: None }
    }

    pub(super) fn shape(&self, block: &Block, extended: Option<u16>) -> Shape {
        self.shape_within(block.config.bufsize, extended)
    }

    /// What a reply to this client may look like: no larger than it says it can take, nor than we
    /// are willing to send.
    fn shape_within(&self, bufsize: u16, extended: Option<u16>) -> Shape {
        let edns = self.question.edns;
        let udp_max = edns.map_or(PLAIN_UDP_MAX, |edns| {
            usize::from(edns.udp_size.min(bufsize)).max(PLAIN_UDP_MAX)
        });
        let len_max = match self.query.transport {
            Transport::Udp => udp_max,
            Transport::Tcp => header::TCP_MESSAGE_MAX,
        };
        let opt = edns.map(|edns| Opt {
            udp_size: bufsize,
            dnssec_ok: edns.dnssec_ok,
            extended_error: extended,
        });
        Shape { len_max, opt }
    }
}

fn keeps_ttl(block: &Block) -> bool {
    block.cache.as_ref().is_some_and(|cache| cache.config.keep_ttl)
}

fn hit_source(record: Record<'_>) -> Source {
    match record.kind() {
        Kind::Success => Source::CacheSuccess,
        Kind::Denial => Source::CacheDenial,
        Kind::Failure => Source::CacheFailure,
    }
}

/// Whether this hit renews the entry: once for all hits of its last part.
fn is_renewal_due(cache: &BlockCache, route: &Route, found: &mut Resident<'_>, now: Now) -> bool {
    let Some(prefetch) = &cache.config.prefetch else {
        return false;
    };
    if found.record().kind() == Kind::Failure {
        return false;
    }
    if prefetch.amount > 1 && found.count_hit() < prefetch.amount {
        return false;
    }
    found.record().is_old(now, prefetch.percentage)
        && found.change_renewal(|renewal| renewal.claim(now, &route.health))
}

/// The name by which a question finds its zone: a DS record belongs to the parent's side of a zone
/// cut (RFC 4035 section 3.1.4.1).
fn place_of(name: &[u8], qtype: u16) -> &[u8] {
    match qtype {
        rtype::DS => parent(name),
        _ => name,
    }
}

/// Types that only make sense between servers, or in a message's own machinery.
fn is_meta_type(qtype: u16) -> bool {
    matches!(qtype, 0 | rtype::OPT | rtype::TKEY..=rtype::MAILA)
}
