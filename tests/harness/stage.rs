//! Plays a conversation: what every stage can do, and how replies and questions are judged.

use std::time::Duration;

use super::conversation::{
    Ask, Conversation, QuestionPattern, RecordLine, RecordPattern, ReplyPattern, Saying, Step,
};
use super::message::{DomainName, Message, Record};
use super::zone::{rcode_name, type_name};

/// What a conversation is played on.
pub trait Stage {
    /// Sends a query; the stage chooses the ID.
    fn ask(&mut self, ask: &Ask) -> Result<(), String>;
    /// Sends any octets.
    fn raw(&mut self, client: &str, tcp: bool, bytes: &[u8]) -> Result<(), String>;
    /// Checks the client's next reply.
    fn gets(&mut self, client: &str, reply: &ReplyPattern) -> Result<(), String>;
    /// Checks that the client gets nothing.
    fn gets_nothing(&mut self, client: &str, wait: Duration) -> Result<(), String>;
    /// Checks the next question that reaches upstream.
    fn asked(&mut self, pattern: &QuestionPattern) -> Result<(), String>;
    /// Answers the question that was asked last.
    fn says(&mut self, server: usize, saying: &Saying) -> Result<(), String>;
    /// Leaves the question that was asked last without an answer.
    fn silent(&mut self, server: usize) -> Result<(), String>;
    /// Closes the connection of the question that was asked last.
    fn closes(&mut self, server: usize, reset: bool) -> Result<(), String>;
    /// Checks that no question waits upstream.
    fn no_question(&mut self) -> Result<(), String>;
    /// Lets time go by.
    fn passes(&mut self, duration: Duration) -> Result<(), String>;
    /// Checks that nothing is left that no step spoke of.
    fn ends(&mut self) -> Result<(), String>;
}

/// Plays all steps; the error names file and line.
pub fn play(conversation: &Conversation, stage: &mut dyn Stage) -> Result<(), String> {
    for (line, step) in &conversation.steps {
        let done = match step {
            Step::Ask(ask) => stage.ask(ask),
            Step::Raw { client, tcp, bytes } => stage.raw(client, *tcp, bytes),
            Step::Gets { client, reply } => stage.gets(client, reply),
            Step::GetsNothing { client, wait } => stage.gets_nothing(client, *wait),
            Step::Asked(pattern) => stage.asked(pattern),
            Step::Says { server, saying } => stage.says(*server, saying),
            Step::Silent { server } => stage.silent(*server),
            Step::Closes { server, reset } => stage.closes(*server, *reset),
            Step::NoQuestion => stage.no_question(),
            Step::Passes(duration) => stage.passes(*duration),
        };
        done.map_err(|what| format!("{}:{line}: {what}", conversation.file))?;
    }
    stage.ends().map_err(|what| format!("{}: at the end: {what}", conversation.file))
}

/// What a client sent last, for judging the reply to it.
#[derive(Debug, Clone)]
pub struct Sent {
    pub query: Message,
    pub tcp: bool,
}

/// Judges a reply by everything that holds for every reply and by the pattern. TTLs may be up to
/// `ttl_slack_secs` smaller than written, for time that really passes.
pub fn judge_reply(
    bytes: &[u8],
    sent: Option<&Sent>,
    pattern: &ReplyPattern,
    ttl_slack_secs: u32,
) -> Result<(), String> {
    let reply = Message::read(bytes).map_err(|e| format!("the reply is malformed: {e}"))?;
    let complain = |what: String| Err(format!("{what}; the whole reply:\n{}", describe(&reply)));
    if let Some(what) = general_fault(bytes.len(), &reply, sent, pattern) {
        return complain(what);
    }
    if reply.rcode() != pattern.rcode {
        let (got, expected) = (rcode_name(reply.rcode()), rcode_name(pattern.rcode));
        return complain(format!("the client got {got}, not {expected}"));
    }
    if reply.flags & pattern.flags_set != pattern.flags_set {
        return complain("a flag is missing".into());
    }
    if reply.flags & pattern.flags_clear != 0 {
        return complain("a flag is set that should not be".into());
    }
    if let Some(code) = pattern.extended_error
        && !reply.extended_errors().contains(&code)
    {
        return complain(format!("no extended error {code}"));
    }
    if pattern.len_max.is_some_and(|len_max| bytes.len() > len_max) {
        return complain(format!("{} octets", bytes.len()));
    }
    let options = reply.opt.as_ref().map_or(0, |opt| opt.options.len());
    if pattern.options.is_some_and(|count| count != options) {
        return complain(format!("{options} EDNS options"));
    }
    judge_records(&reply, &pattern.records, pattern.any_order, ttl_slack_secs).or_else(complain)
}

/// What is wrong with a reply whatever was expected of it.
fn general_fault(
    len: usize,
    reply: &Message,
    sent: Option<&Sent>,
    pattern: &ReplyPattern,
) -> Option<String> {
    if reply.flags & 0x8000 == 0 {
        return Some("QR is not set".into());
    }
    let sent = sent?;
    if reply.id != sent.query.id {
        return Some(format!("the ID is {}, not {}", reply.id, sent.query.id));
    }
    if pattern.without_question {
        if !reply.questions.is_empty() {
            return Some("a question is echoed".into());
        }
    } else if reply.questions != sent.query.questions {
        return Some("the question is not as asked".into());
    }
    if reply.opt.is_some() != sent.query.opt.is_some() {
        return Some("OPT goes out exactly if one came in".into());
    }
    let dnssec_ok = |message: &Message| message.opt.as_ref().is_some_and(|opt| opt.dnssec_ok);
    if dnssec_ok(reply) != dnssec_ok(&sent.query) {
        return Some("DO is not returned as it came".into());
    }
    if (reply.flags ^ sent.query.flags) & 0x7900 != 0 {
        return Some("opcode and RD are not as asked".into());
    }
    let asked = sent.query.opt.as_ref().map_or(512, |opt| opt.udp_size.clamp(512, 1232));
    if !sent.tcp && len > usize::from(asked) {
        return Some(format!("{len} octets to a client that takes {asked}"));
    }
    None
}

fn judge_records(
    reply: &Message,
    pattern: &RecordPattern,
    any_order: bool,
    slack: u32,
) -> Result<(), String> {
    for (section, got, expected) in [
        ("answer", &reply.answer, &pattern.answer),
        ("authority", &reply.authority, &pattern.authority),
        ("additional", &reply.additional, &pattern.additional),
    ] {
        let Some(expected) = expected else { continue };
        let fits = got.len() == expected.len()
            && if any_order {
                expected.iter().all(|line| got.iter().any(|record| line.fits(record, slack)))
            } else {
                expected.iter().zip(got).all(|(line, record)| line.fits(record, slack))
            };
        if !fits {
            let lines: Vec<String> = expected.iter().map(|line| line.record.to_string()).collect();
            return Err(format!(
                "the {section} section is not as expected:\n      {}",
                lines.join("\n      ")
            ));
        }
    }
    Ok(())
}

impl RecordLine {
    fn fits(&self, got: &Record, slack: u32) -> bool {
        let ttl = self.record.ttl_secs;
        let ttl_fits = self.any_ttl || (ttl.saturating_sub(slack)..=ttl).contains(&got.ttl_secs);
        ttl_fits
            && self.record.name.same(&got.name)
            && (self.record.rtype, self.record.class) == (got.rtype, got.class)
            && self.record.data == got.data
    }
}

/// A message as lines of text.
pub fn describe(message: &Message) -> String {
    let mut out = format!(
        "      ID {} flags {:04x} {}",
        message.id,
        message.flags,
        rcode_name(message.rcode())
    );
    for question in &message.questions {
        out += &format!("\n      question {} {}", question.name, type_name(question.qtype));
    }
    for (section, records) in [
        ("answer", &message.answer),
        ("authority", &message.authority),
        ("additional", &message.additional),
    ] {
        for record in records {
            out += &format!("\n      {section} {record}");
        }
    }
    if let Some(opt) = &message.opt {
        out += &format!("\n      {opt:?}");
    }
    out
}

/// Judges name, type and class of a question to upstream.
pub fn judge_question(
    pattern: &QuestionPattern,
    name: &DomainName,
    qtype: u16,
    qclass: u16,
) -> Result<(), String> {
    let got = (name.0.to_ascii_lowercase(), qtype, qclass);
    if got == (pattern.name.0.to_ascii_lowercase(), pattern.qtype, pattern.qclass) {
        return Ok(());
    }
    let expected = format!("{} {}", pattern.name, type_name(pattern.qtype));
    Err(format!("upstream was asked {name} {}, not {expected}", type_name(qtype)))
}

/// Judges one yes-or-no property of a question, if the pattern speaks of it.
pub fn judge_flag(what: &str, expected: Option<bool>, got: bool) -> Result<(), String> {
    match expected {
        Some(expected) if expected != got => {
            Err(format!("{what}: {got} in the question to upstream, not {expected}"))
        }
        _ => Ok(()),
    }
}
