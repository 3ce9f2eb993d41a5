//! `template` in the order of steps: a reply built from the question.

use super::block::Block;
use super::desk::Desk;
use super::policy::template::{Asked, Said, Template, say};
use super::wire::compose::Composer;
use super::wire::header::{flag, rcode};
use super::wire::presentation::Resource;
use super::wire::reply::{Section, reply_flags};
use super::wire::text::NameText;
use super::{BlockId, Reply, Source};

impl Desk<'_> {
    /// What the block's templates say; `None` if none has a say. `name` is in lower case.
    pub(super) fn answer_from_templates(
        &mut self,
        id: BlockId,
        block: &Block,
        name: &[u8],
    ) -> Option<Reply> {
        let text = NameText::of(name);
        let asked = Asked {
            name,
            text: text.as_str(),
            qtype: self.question.qtype,
            qclass: self.question.qclass,
            remote: self.query.source.ip(),
        };
        let source = match say(&block.config.templates, asked)? {
            Said::Reply { template, records } => {
                let len = self.compose(block, template, &records);
                return Some(self.reply(id, len, template.rcode, Source::Template));
            }
            // As CoreDNS answers if nothing falls through.
            Said::NoMatch => Source::Refusal,
            Said::NotFilledIn => Source::TemplateNotFilledIn,
            Said::NoRecord => Source::TemplateNoRecord,
        };
        Some(self.refuse(id, block, rcode::SERVFAIL, None, source))
    }

    fn compose(
        &mut self,
        block: &Block,
        template: &Template,
        records: &[(Section, Resource)],
    ) -> usize {
        let error = template.extended_error.as_ref();
        let text = error.map_or("", |(_, text)| text);
        let shape = self.shape(block, error.map(|(code, _)| *code));
        let header = &self.question.header;
        let flags = reply_flags(header, flag::AA, template.rcode.into());
        let room = shape.len_max.saturating_sub(shape.opt_len() + text.len());
        let mut composer = Composer::start(self.out, header.id, flags, self.question.asked, room);
        for (section, Resource { owner, fixed, rdata }) in records {
            composer.add(*section, owner.wire(), *fixed, rdata);
        }
        composer.finish(shape.opt, text)
    }
}
