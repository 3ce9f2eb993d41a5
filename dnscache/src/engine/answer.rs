//! What is known about a question: the steps from a packet to a verdict.

use std::sync::Arc;

use super::block::{Block, BlockCache};
use super::cache::key::{self, Flags, Key, KeyBuffer};
use super::cache::record::{Kind, Record};
use super::cache::shared::Resident;
use super::desk::{Desk, Guise, NOBODY, ROOT, exists};
use super::facts::Way;
use super::policy::route::Route;
use super::policy::{acl, hosts, local};
use super::shortcut::marked;
use super::wire::UDP_REPLY_MAX;
use super::wire::answer::is_forwardable_class;
use super::wire::edns::extended_error;
use super::wire::header::{class, flag, rcode, rtype};
use super::wire::name::{Name, parent, wire_is_at_or_below};
use super::wire::question::{Parsed, Question, parse};
use super::wire::reply::refusal;
use super::{
    Ask, BlockId, DropReason, Engine, Facts, Now, Outcome, Query, Reason, Reply, Scratch, Source,
    Transport, Verdict,
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
            Parsed::Query(question) => {
                let (desk, key) = self.desk((query, &question), None, now, scratch, out);
                key.set_name(question.name());
                self.decide(desk, key)
            }
        }
    }

    /// [`Engine::answer`] for a client that waited for facts of `earlier` (see [`Company::first`]).
    /// If the first of them came to nothing, its question is asked as it is.
    ///
    /// [`Company::first`]: super::Company::first
    pub fn answer_again(
        &self,
        query: &Query<'_>,
        (earlier, outcome): (&Ask, &Outcome),
        now: Now,
        scratch: &mut Scratch,
        out: &mut [u8],
    ) -> Verdict {
        let Parsed::Query(question) = parse(query.packet) else {
            return Verdict::Drop(DropReason::Short);
        };
        let rounds = earlier.company.as_ref().map_or(0, |company| company.rounds);
        let is_learned = matches!(outcome, Outcome::Fresh(_));
        let rounds = Some(if is_learned { rounds } else { 0 });
        let (mut desk, key) = self.desk((query, &question), rounds, now, scratch, out);
        let translation = earlier.company.as_ref().and_then(|company| company.translation.as_ref());
        desk.waited = translation.map(|translation| (translation, outcome));
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
        let desk = Desk {
            engine,
            query,
            question,
            now,
            rounds,
            guise: Guise::Own,
            waited: None,
            is_last_word: false,
            turn,
            fact_key,
            names,
            sampler,
            out,
        };
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
        let (mut desk, key) = self.desk((query, &question), Some(0), now, scratch, out);
        let translation = ask.company.as_ref().and_then(|company| company.translation.as_ref());
        let mut reply = match translation {
            Some(translation) => desk.conclude_translated(ask.block, translation, outcome, key),
            None => desk.conclude_rewritten(ask, outcome),
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
        // Clients draw their ports; a query from the port it goes to comes from a server like this
        // one, or is forged to make two of them talk to each other.
        let listener = self.listeners.get(usize::from(query.listener.0));
        let port = query.source.port();
        let is_own = listener.is_some_and(|listener| listener.address.port() == port);
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
        match desk.translation(block) {
            Some(dns64) => desk.settle_translated(id, block, dns64, key),
            None => desk.settle(id, block, key),
        }
    }
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

    /// The reply to a question that may be asked here, or the question for upstream.
    pub(super) fn settle(&mut self, id: BlockId, block: &Block, key: &mut KeyBuffer) -> Verdict {
        if let Some(reply) = self.answer_about_server(id, block) {
            return Verdict::Reply(reply);
        }
        if block.config.rewrites.is_empty() {
            return self.settle_as_asked(id, block, key);
        }
        self.settle_rewritten(id, block, key)
    }

    /// [`Desk::settle`] for a question that is not rewritten any more.
    pub(super) fn settle_as_asked(
        &mut self,
        id: BlockId,
        block: &Block,
        key: &mut KeyBuffer,
    ) -> Verdict {
        if let Some(reply) = self.refuse_meta_type(id, block) {
            return Verdict::Reply(reply);
        }
        if !block.config.templates.is_empty()
            && let Some(reply) = self.answer_from_templates(id, block, key.name())
        {
            return Verdict::Reply(reply);
        }
        if let Some(reply) = self.answer_specially(id, block) {
            return Verdict::Reply(reply);
        }
        if let Some(reply) = self.answer_from_hosts(id, block, key.name()) {
            return Verdict::Reply(reply);
        }
        let place = place_of(key.name(), self.question.qtype);
        let Some(route) = block.route(place).or_else(|| block.route(key.name())) else {
            return Verdict::Reply(self.answer_without_route(id, block));
        };
        self.look_up(Way { id, block, route }, key)
    }

    /// `chaos`: questions about the server itself.
    fn answer_about_server(&mut self, id: BlockId, block: &Block) -> Option<Reply> {
        let chaos = block.config.chaos.as_ref().filter(|_| self.question.qclass == class::CH)?;
        let shape = self.shape(block, None);
        let len = local::chaos(self.out, self.question, shape, chaos, &self.engine.host)?;
        Some(self.reply(id, len, rcode::NOERROR, Source::Chaos))
    }

    /// Types that nobody answers here: transfers and pseudo-types (REFUSED), NXNAME (FORMERR,
    /// RFC 9824).
    fn refuse_meta_type(&mut self, id: BlockId, block: &Block) -> Option<Reply> {
        let rcode = match self.question.qtype {
            rtype::NXNAME => rcode::FORMERR,
            qtype if is_meta_type(qtype) => rcode::REFUSED,
            _ => return None,
        };
        Some(self.refuse(id, block, rcode, None, Source::Refusal))
    }

    /// What is never forwarded: other classes than IN (REFUSED), ANY (RFC 8482).
    fn answer_specially(&mut self, id: BlockId, block: &Block) -> Option<Reply> {
        let Question { qtype, qclass, .. } = *self.question;
        let shape = self.shape(block, None);
        if !is_forwardable_class(qclass) {
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
            Some(policy) if policy.is_below(key.name()) && self.guise == Guise::Own => {
                self.look_up_below(way, policy, flags, key)
            }
            Some(policy) if policy.is_below(key.name()) => {
                marked(self.look_up_plainly(way, flags, key), Reason::OtherDirective)
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
        let cache = block.cache.as_ref()?;
        let mut found = cache.find(key, now)?;
        let is_known = found.record().kind() != Kind::Failure;
        let ask = |stale, client_timer_millis, renewal| {
            let ask = way.ask(Key::from(key), now);
            Ask { stale, is_known, client_timer_millis, renewal, ..ask }
        };
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
