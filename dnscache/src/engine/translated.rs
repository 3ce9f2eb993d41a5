//! `dns64` in the order of steps: AAAA for names that have only A (RFC 6147 section 5).
//!
//! The question is decided about as always. If its reply has no AAAA, the question for A is decided
//! about in the same way, and its addresses go out as AAAA. Either question may have to be asked
//! upstream first; the client waits for it (`Company::first`) and is then decided about anew, with
//! what that question came to in hand, so that an answer that is not kept counts too.

use super::block::Block;
use super::cache::key::{Flags, Key, KeyBuffer};
use super::desk::{Desk, Guise};
use super::facts::together;
use super::policy::dns64::{Dns64, TTL_WITHOUT_SOA_SECS};
use super::wire::header::{Header, class, flag, rcode, rtype};
use super::wire::question::Question;
use super::wire::reply::Section;
use super::wire::retell::{Told, answers, soa_ttl_secs};
use super::{Ask, BlockId, Company, Outcome, Reply, Shortcut, Source, Verdict};

/// What a client waits for under `dns64`.
#[derive(Debug, Clone)]
pub enum Translation {
    /// The answer to its own question, for AAAA.
    Native(Box<Ask>),
    /// The answer for A; and what came of its own question, if it waited for that as well.
    Mapped(Box<Ask>, Option<(Box<Ask>, Outcome)>),
}

/// A question that was asked and what came of it.
type Answered<'a> = (&'a Ask, &'a Outcome);

impl Desk<'_> {
    /// `dns64` of the block, if it is for this question; if it is for this client, search lists are
    /// left alone: they would tell A and AAAA of one lookup different stories.
    pub(super) fn translation<'b>(&mut self, block: &'b Block) -> Option<&'b Dns64> {
        let dns64 = block.config.dns64.as_ref()?;
        if !dns64.serves(self.query.source.ip()) {
            return None;
        }
        self.guise = Guise::Translated;
        let Question { qtype, qclass, .. } = *self.question;
        // A client that validates by itself wants what is signed (RFC 6147 section 5.5).
        let validates = self.question.dnssec_ok() && self.question.header.has(flag::CD);
        (qtype == rtype::AAAA && qclass == class::IN && !validates).then_some(dns64)
    }

    /// [`Desk::settle`] under `dns64`.
    pub(super) fn settle_translated(
        &mut self,
        id: BlockId,
        block: &Block,
        dns64: &Dns64,
        key: &mut KeyBuffer,
    ) -> Verdict {
        let (native, mapped): (Option<Answered<'_>>, Option<Answered<'_>>) =
            match self.waited.take() {
                None => (None, None),
                Some((Translation::Native(ask), outcome)) => (Some((&**ask, outcome)), None),
                Some((Translation::Mapped(ask, native), outcome)) => {
                    let native = native.as_ref().map(|(ask, outcome)| (&**ask, outcome));
                    (native, Some((&**ask, outcome)))
                }
            };
        let first = match self.settle_or_conclude(id, block, native, key) {
            Verdict::Reply(reply) => reply,
            Verdict::Ask(ask) => return put_off(Translation::Native(Box::new(ask)), key),
            dropped @ Verdict::Drop(_) => return dropped,
        };
        if !self.wants_mapping(&first, dns64) {
            return Verdict::Reply(first);
        }
        let ttl_max_secs = soa_ttl_secs(&self.out[..first.len]).unwrap_or(TTL_WITHOUT_SOA_SECS);
        let asked = asked_for_a(self.question);
        let question = Question { asked: &asked, qtype: rtype::A, ..*self.question };
        let mut inner = self.asking(&question, Guise::Translated);
        let second = match inner.settle_or_conclude(id, block, mapped, key) {
            Verdict::Reply(reply) => reply,
            Verdict::Ask(ask) => {
                let native = native.map(|(ask, outcome)| (Box::new(ask.clone()), outcome.clone()));
                return put_off(Translation::Mapped(Box::new(ask), native), key);
            }
            dropped @ Verdict::Drop(_) => return dropped,
        };
        let renew = together(first.renew.into_iter().chain(second.renew.clone()).collect());
        let mapped_reply = self.translate(block, dns64, second, ttl_max_secs);
        let reply = mapped_reply.or_else(|| self.native_again(id, block, native, key));
        let refuse =
            |desk: &mut Self| desk.refuse(id, block, rcode::SERVFAIL, None, Source::Refusal);
        Verdict::Reply(Reply { renew, ..reply.unwrap_or_else(|| refuse(self)) })
    }

    /// The reply to a client that waits no longer: the question it waited for came to nothing, or
    /// it has waited long enough for an expired answer (RFC 8767 section 5).
    pub(super) fn conclude_translated(
        &mut self,
        id: BlockId,
        translation: &Translation,
        outcome: &Outcome,
        key: &mut KeyBuffer,
    ) -> Reply {
        let block = self.engine.block(id);
        let mut desk = self.asking(self.question, Guise::Translated);
        desk.waited = Some((translation, outcome));
        desk.is_last_word = true;
        let dns64 = block.config.dns64.as_ref();
        match dns64.map(|dns64| desk.settle_translated(id, block, dns64, key)) {
            Some(Verdict::Reply(reply)) => reply,
            _ => desk.refuse(id, block, rcode::SERVFAIL, None, Source::Refusal),
        }
    }

    /// What came of the question on the desk, or what is known about it.
    fn settle_or_conclude(
        &mut self,
        id: BlockId,
        block: &Block,
        answered: Option<Answered<'_>>,
        key: &mut KeyBuffer,
    ) -> Verdict {
        if let Some((ask, outcome)) = answered {
            return Verdict::Reply(self.conclude_rewritten(ask, outcome));
        }
        key.set_name(self.question.name());
        match self.settle(id, block, key) {
            Verdict::Ask(ask) if self.is_last_word => {
                let stale = ask.stale.clone().map(Outcome::Stale);
                let outcome = stale.unwrap_or(NOT_KNOWN);
                Verdict::Reply(self.conclude_rewritten(&ask, &outcome))
            }
            verdict => verdict,
        }
    }

    /// Whether the reply that was written is one that addresses of IPv4 take the place of: any but
    /// NXDOMAIN, of which RFC 6147 section 5.1.2 says that it is the last word.
    fn wants_mapping(&self, reply: &Reply, dns64: &Dns64) -> bool {
        let written = &self.out[..reply.len];
        let is_whole = Header::read(written).is_some_and(|header| !header.has(flag::TC));
        let is_empty = dns64.translate_all || !answers(written, rtype::AAAA);
        is_whole && is_empty && reply.facts.rcode != rcode::NXDOMAIN
    }

    /// Makes AAAA of the reply for A that was written. `None` if there is no address in it; a
    /// failure stays one.
    fn translate(
        &mut self,
        block: &Block,
        dns64: &Dns64,
        reply: Reply,
        ttl_max_secs: u32,
    ) -> Option<Reply> {
        let written = &self.out[..reply.len];
        let is_whole = Header::read(written).is_some_and(|header| !header.has(flag::TC));
        let has_addresses = answers(written, rtype::A);
        let code = reply.facts.rcode;
        let is_denial = matches!(code, rcode::NOERROR | rcode::NXDOMAIN);
        if is_whole && !has_addresses && is_denial {
            return None;
        }
        let len = self.tell_again(block, reply.len, code, |section, told| {
            is_kept(told) && {
                map(section, told, dns64, ttl_max_secs);
                true
            }
        })?;
        let mut reply = Reply { len, renew: None, ..reply };
        reply.facts.qtype = rtype::AAAA;
        if has_addresses {
            reply.facts.source = Source::Dns64;
        }
        Some(reply)
    }

    /// The reply to the client's own question, written once more.
    fn native_again(
        &mut self,
        id: BlockId,
        block: &Block,
        native: Option<Answered<'_>>,
        key: &mut KeyBuffer,
    ) -> Option<Reply> {
        match self.settle_or_conclude(id, block, native, key) {
            Verdict::Reply(reply) => Some(reply),
            // It ran out a moment ago.
            Verdict::Ask(_) | Verdict::Drop(_) => None,
        }
    }
}

/// What a question comes to that cannot be waited for.
const NOT_KNOWN: Outcome = Outcome::Failed { rcode: rcode::SERVFAIL, extended_error: None };

/// Signatures of addresses that are no longer there sign nothing.
fn is_kept(told: &Told) -> bool {
    told.rtype != rtype::RRSIG || told.rdata.first_chunk() != Some(&rtype::A.to_be_bytes())
}

fn map(section: Section, told: &mut Told, dns64: &Dns64, ttl_max_secs: u32) {
    if section != Section::Answer || told.rtype != rtype::A {
        return;
    }
    let Ok(address) = <[u8; 4]>::try_from(&told.rdata[..]) else { return };
    told.rtype = rtype::AAAA;
    told.ttl_secs = told.ttl_secs.min(ttl_max_secs);
    told.rdata = dns64.embed(address).to_vec();
}

/// The octets of the same question for A.
fn asked_for_a(question: &Question<'_>) -> Vec<u8> {
    let mut asked = question.name().to_vec();
    asked.extend(rtype::A.to_be_bytes());
    asked.extend(class::IN.to_be_bytes());
    asked
}

/// The client waits for the question in `translation`, no longer than that question's clients do
/// where an expired answer is known. Its own key is one that nothing is kept under, since what it
/// gets is put together every time.
fn put_off(translation: Translation, key: &mut KeyBuffer) -> Verdict {
    let (Translation::Native(awaited) | Translation::Mapped(awaited, _)) = &translation;
    let awaited = Ask::clone(awaited);
    let own = key.complete(awaited.route, rtype::AAAA, class::NONE, Flags::default());
    Verdict::Ask(Ask {
        key: Key::from(own),
        renewal: false,
        shortcut: Shortcut::NotAnExpansion,
        audits: None,
        company: Some(Box::new(Company {
            first: vec![awaited.clone()],
            translation: Some(translation),
            ..Company::default()
        })),
        ..awaited
    })
}
