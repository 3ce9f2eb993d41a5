//! One query on the desk, and how its reply is written.

use super::block::Block;
use super::cache::key::KeyBuffer;
use super::cache::lifetime::STALE_TTL_SECS;
use super::cache::record::{Kind, Record};
use super::policy::hot::Sampler;
use super::translated::Translation;
use super::wire::edns::{PLAIN_UDP_MAX, extended_error};
use super::wire::header::{flag, rcode};
use super::wire::question::Question;
use super::wire::reply::{Opt, Shape, bare, stored};
use super::wire::ttl::Age;
use super::wire::{UDP_REPLY_MAX, header};
use super::{
    Ask, BlockId, Engine, Facts, Now, Outcome, Query, Reply, Shortcut, Source, Transport, Verdict,
};

/// Facts of a packet no block was found for.
pub(super) const NOBODY: Facts = Facts {
    block: None,
    qtype: 0,
    rcode: rcode::REFUSED,
    dnssec_ok: false,
    source: Source::Refusal,
    shortcut: Shortcut::NotAnExpansion,
};

/// The end of every name.
pub(super) const ROOT: &[u8] = &[0];

/// Whether the reply says that the name exists.
pub(super) fn exists(facts: &Facts) -> bool {
    let is_answer =
        matches!(facts.source, Source::CacheSuccess | Source::CacheDenial | Source::Forward);
    is_answer && facts.rcode == rcode::NOERROR
}

/// One query on the desk: everything the steps share.
pub(super) struct Desk<'a> {
    pub(super) engine: &'a Engine,
    pub(super) query: &'a Query<'a>,
    pub(super) question: &'a Question<'a>,
    pub(super) now: Now,
    /// How often the question may still be put off until facts are learned; `None` if it is decided
    /// for the first time.
    pub(super) rounds: Option<u8>,
    /// What the question is to the client's own.
    pub(super) guise: Guise,
    /// What a client under `dns64` waited for, if it did.
    pub(super) waited: Option<(&'a Translation, &'a Outcome)>,
    /// Whether the client waits no longer, whatever is not known yet.
    pub(super) is_last_word: bool,
    pub(super) turn: &'a mut u32,
    pub(super) fact_key: &'a mut KeyBuffer,
    pub(super) names: &'a mut Vec<u8>,
    pub(super) sampler: &'a mut Sampler,
    pub(super) out: &'a mut [u8],
}

/// What the question on the desk is to the client's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guise {
    /// The very question.
    Own,
    /// The question, of a client for whom addresses are translated by `dns64`.
    Translated,
    /// What `rewrite` made of it.
    Rewritten,
}

impl<'a> Desk<'a> {
    /// The desk with another question on it.
    pub(super) fn asking<'b>(&'b mut self, question: &'b Question<'b>, guise: Guise) -> Desk<'b>
    where
        'a: 'b,
    {
        Desk {
            engine: self.engine,
            query: self.query,
            question,
            now: self.now,
            rounds: self.rounds,
            guise,
            waited: None,
            is_last_word: self.is_last_word,
            turn: self.turn,
            fact_key: self.fact_key,
            names: self.names,
            sampler: self.sampler,
            out: self.out,
        }
    }

    /// What a client gets that waited for `ask`.
    pub(super) fn conclude(&mut self, ask: &Ask, outcome: &Outcome) -> Reply {
        let block = self.engine.block(ask.block);
        match outcome {
            Outcome::Fresh(entry) => {
                let reply = self.serve(block, ask.block, entry.record(), Source::Forward);
                if exists(&reply.facts) {
                    self.see(ask.key.name(), ROOT, false, 0);
                }
                reply
            }
            Outcome::Stale(entry) => {
                if let Some(cache) = &block.cache {
                    let now = self.now;
                    cache.mark(&ask.key, entry, |renewal| renewal.keeps_waiting(ask.asked, now));
                }
                self.serve(block, ask.block, entry.record(), Source::Stale)
            }
            Outcome::Failed { rcode, extended_error } => {
                self.refuse(ask.block, block, *rcode, *extended_error, Source::Refusal)
            }
        }
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
    pub(super) fn refuse(
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
    pub(super) fn refuse_strangely(&mut self) -> Verdict {
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
