//! `rewrite` in the order of steps: another question is decided about, and what was written as its
//! reply becomes the reply to the client's.
//!
//! The question that is looked up, cached and asked upstream is the rewritten one; whatever answers
//! it, be it the cache, `hosts`, `template` or upstream, writes its reply as always. That reply is
//! then told again under the client's name. So answers are shared with those who ask by the other
//! name, and TTL rules change what clients are told, not how long an answer is kept.

use super::block::Block;
use super::cache::key::KeyBuffer;
use super::desk::{Desk, Guise};
use super::policy::rewrite::{NoName, Rewritten, rewrite};
use super::wire::header::{Header, flag, rcode};
use super::wire::question::Question;
use super::wire::retell::{Telling, retell};
use super::{Ask, BlockId, Outcome, Reply, Source, Verdict};

impl Desk<'_> {
    /// [`Desk::settle`] in a block with `rewrite`.
    pub(super) fn settle_rewritten(
        &mut self,
        id: BlockId,
        block: &Block,
        key: &mut KeyBuffer,
    ) -> Verdict {
        let rewritten = match self.rewritten(block) {
            Ok(None) => return self.settle_as_asked(id, block, key),
            Ok(Some(rewritten)) => rewritten,
            // As CoreDNS answers if a rule makes a name that is none.
            Err(NoName) => {
                let reply = self.refuse(id, block, rcode::SERVFAIL, None, Source::Refusal);
                return Verdict::Reply(reply);
            }
        };
        let question = self.question_of(&rewritten);
        key.set_name(question.name());
        match self.asking(&question, Guise::Rewritten).settle_as_asked(id, block, key) {
            Verdict::Reply(reply) => Verdict::Reply(self.restore(reply, block, &rewritten)),
            other => other,
        }
    }

    /// [`Desk::conclude`] for a question that was possibly rewritten when it was asked.
    pub(super) fn conclude_rewritten(&mut self, ask: &Ask, outcome: &Outcome) -> Reply {
        let block = self.engine.block(ask.block);
        if block.config.rewrites.is_empty() {
            return self.conclude(ask, outcome);
        }
        let Ok(Some(rewritten)) = self.rewritten(block) else {
            return self.conclude(ask, outcome);
        };
        let question = self.question_of(&rewritten);
        let reply = self.asking(&question, Guise::Rewritten).conclude(ask, outcome);
        self.restore(reply, block, &rewritten)
    }

    fn rewritten<'b>(&self, block: &'b Block) -> Result<Option<Rewritten<'b>>, NoName> {
        let Question { qtype, qclass, .. } = *self.question;
        rewrite(&block.config.rewrites, self.question.name(), qtype, qclass)
    }

    fn question_of<'b>(&self, rewritten: &'b Rewritten<'_>) -> Question<'b> {
        let Rewritten { asked, qtype, qclass, .. } = rewritten;
        let (header, edns) = (self.question.header, self.question.edns);
        Question { header, asked, qtype: *qtype, qclass: *qclass, edns }
    }

    /// Makes the client's reply of the one that was written to the rewritten question.
    fn restore(&mut self, reply: Reply, block: &Block, rewritten: &Rewritten<'_>) -> Reply {
        let code = rewritten.restore_rcode(reply.facts.rcode);
        let len = self.tell_again(block, reply.len, code, |_, told| {
            rewritten.restore(told);
            true
        });
        let mut reply = Reply { len: len.unwrap_or(0), ..reply };
        reply.facts.qtype = self.question.qtype;
        reply.facts.rcode = code;
        match len {
            Some(_) => reply,
            None => self.refuse_with(reply, block),
        }
    }

    /// Tells the reply that stands in `out` again, as the reply to the question on the desk, with
    /// another response code and its records changed by `edit`.
    pub(super) fn tell_again(
        &mut self,
        block: &Block,
        len: usize,
        code: u8,
        edit: impl FnMut(super::wire::reply::Section, &mut super::wire::retell::Told) -> bool,
    ) -> Option<usize> {
        let written = Header::read(self.out.get(..len)?)?;
        // What was signed was something else.
        let flags = written.flags & !(flag::AD | flag::RCODE) | u16::from(code);
        let len_max = self.shape(block, None).len_max;
        let telling = Telling { asked: self.question.asked, flags, len_max };
        retell(self.out, len, self.names, telling, edit)
    }

    /// SERVFAIL in place of a reply that could not be told again.
    pub(super) fn refuse_with(&mut self, reply: Reply, block: &Block) -> Reply {
        let id = reply.facts.block.unwrap_or(BlockId(0));
        let refused = self.refuse(id, block, rcode::SERVFAIL, None, Source::Refusal);
        Reply { renew: reply.renew, ..refused }
    }
}
