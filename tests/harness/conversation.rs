//! Conversations written as data: how a file is read.
//!
//! A file has a head (`title:`, `rfc:`, `plane:`, then `config:` or `corefile:` with indented
//! lines) and one step per line below `steps:`; records stand indented below their step.
//! `tests/data/conversations.md` describes every step.

use std::net::SocketAddr;
use std::time::Duration;

use super::message::{DomainName, Message, Opt, Question, Record, flag};
use super::zone::{class_number, hex, rcode_number, type_number};

/// One file.
#[derive(Debug, Clone)]
pub struct Conversation {
    pub file: String,
    pub title: String,
    pub rfc: String,
    pub plane: Plane,
    /// A whole Corefile with words in place of addresses.
    pub corefile: String,
    pub steps: Vec<(usize, Step)>,
}

/// What the conversation runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plane {
    /// The engine alone, with a clock that the file moves.
    Engine,
    /// The real program and a scripted upstream, in real time.
    Program,
}

/// One thing that happens or is expected.
#[derive(Debug, Clone)]
pub enum Step {
    /// A client sends a query.
    Ask(Ask),
    /// A client sends any octets.
    Raw { client: String, tcp: bool, bytes: Vec<u8> },
    /// A client's next reply.
    Gets { client: String, reply: ReplyPattern },
    /// A client gets nothing for this long.
    GetsNothing { client: String, wait: Duration },
    /// The next question that reaches an upstream.
    Asked(QuestionPattern),
    /// Upstream's reply to the question that was asked last.
    Says { server: usize, saying: Saying },
    /// Upstream never answers the question that was asked last.
    Silent { server: usize },
    /// Upstream closes the connection of the question that was asked last.
    Closes { server: usize, reset: bool },
    /// No question is waiting at any upstream.
    NoQuestion,
    /// Time goes by.
    Passes(Duration),
}

/// A query.
#[derive(Debug, Clone)]
pub struct Ask {
    pub client: String,
    pub query: Message,
    pub tcp: bool,
    /// Where it comes from, if it matters (engine only).
    pub source: Option<SocketAddr>,
}

/// What a reply must be. A flag that is not named may be either.
#[derive(Debug, Clone, Default)]
pub struct ReplyPattern {
    pub rcode: u16,
    pub flags_set: u16,
    pub flags_clear: u16,
    pub records: RecordPattern,
    /// The reply is to this question rather than to the client's last one.
    pub question: Option<(DomainName, u16)>,
    pub without_question: bool,
    pub any_order: bool,
    pub extended_error: Option<u16>,
    pub len_max: Option<usize>,
    pub within: Option<Duration>,
    pub after: Option<Duration>,
    pub options: Option<usize>,
}

/// The records of a message; `None` for a section that may hold anything.
#[derive(Debug, Clone, Default)]
pub struct RecordPattern {
    pub answer: Option<Vec<RecordLine>>,
    pub authority: Option<Vec<RecordLine>>,
    pub additional: Option<Vec<RecordLine>>,
}

/// A record whose TTL may not matter (`*`).
#[derive(Debug, Clone)]
pub struct RecordLine {
    pub record: Record,
    pub any_ttl: bool,
}

/// What a question to upstream must be.
#[derive(Debug, Clone)]
pub struct QuestionPattern {
    pub server: Option<usize>,
    pub probe: bool,
    pub renewal: Option<bool>,
    pub name: DomainName,
    pub qtype: u16,
    pub qclass: u16,
    pub dnssec_ok: Option<bool>,
    pub checking_disabled: Option<bool>,
    pub recursion: Option<bool>,
    pub tcp: Option<bool>,
    pub edns: Option<bool>,
    pub udp_size: Option<u16>,
    pub options: Option<usize>,
    pub new_connection: Option<bool>,
    pub within: Option<Duration>,
    pub after: Option<Duration>,
}

/// What upstream says, built on the question it got.
#[derive(Debug, Clone, Default)]
pub struct Saying {
    pub rcode: u16,
    pub flags_set: u16,
    pub flags_clear: u16,
    pub records: RecordPattern,
    /// Octets after the ID, in place of everything else.
    pub raw: Option<Vec<u8>>,
    pub wrong_id: bool,
    pub elsewhere: bool,
    pub question: Option<(DomainName, u16)>,
    pub class: Option<u16>,
    pub opcode: u16,
    pub question_count: Option<usize>,
    pub without_edns: bool,
}

impl Conversation {
    /// Reads one file; the error names file and line.
    pub fn read(file: &str, text: &str) -> Result<Self, String> {
        let mut conversation = Conversation {
            file: file.to_owned(),
            title: String::new(),
            rfc: String::new(),
            plane: Plane::Engine,
            corefile: String::new(),
            steps: Vec::new(),
        };
        let mut part = Part::Head;
        for (at, line) in text.lines().enumerate() {
            let done = conversation.take_line(&mut part, at + 1, line);
            done.map_err(|what| format!("{file}:{}: {what}", at + 1))?;
        }
        if conversation.title.is_empty() || conversation.steps.is_empty() {
            return Err(format!("{file}:1: a title and steps are needed"));
        }
        if part_needs_closing(&conversation.corefile) {
            conversation.corefile.push_str("}\n");
        }
        Ok(conversation)
    }

    fn take_line(&mut self, part: &mut Part, number: usize, line: &str) -> Result<(), String> {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(';') {
            return Ok(());
        }
        let indented = line.starts_with([' ', '\t']);
        match (*part, indented) {
            (Part::Corefile, true) => self.corefile.push_str(&format!("{line}\n")),
            (Part::Steps, true) => self.add_record(trimmed)?,
            (Part::Steps, false) => self.steps.push((number, Step::read(trimmed)?)),
            (_, false) => *part = self.take_head(trimmed)?,
            (Part::Head, true) => return Err("an indented line belongs to no part".into()),
        }
        Ok(())
    }

    fn take_head(&mut self, line: &str) -> Result<Part, String> {
        let (word, rest) = line.split_once(':').ok_or("expected `word: text`")?;
        let rest = rest.trim();
        match word {
            "title" => self.title = rest.to_owned(),
            "rfc" => self.rfc = rest.to_owned(),
            "plane" if rest == "engine" => self.plane = Plane::Engine,
            "plane" if rest == "program" => self.plane = Plane::Program,
            "config" => {
                self.corefile = ".:PORT {\n    bind IP\n".to_owned();
                return Ok(Part::Corefile);
            }
            "corefile" => return Ok(Part::Corefile),
            "steps" => return Ok(Part::Steps),
            _ => return Err(format!("{word:?} is no part of a head")),
        }
        Ok(Part::Head)
    }

    fn add_record(&mut self, line: &str) -> Result<(), String> {
        let records = match self.steps.last_mut() {
            Some((_, Step::Gets { reply, .. })) => &mut reply.records,
            Some((_, Step::Says { saying, .. })) => &mut saying.records,
            _ => return Err("records belong below `gets` or `says`".into()),
        };
        let (section, rest) = line.split_once(' ').ok_or("expected a section and a record")?;
        let lines = match section {
            "answer" => &mut records.answer,
            "authority" => &mut records.authority,
            "additional" => &mut records.additional,
            _ => return Err(format!("{section:?} is not a section")),
        };
        match (rest.trim(), lines) {
            ("...", lines) => *lines = None,
            (text, Some(lines)) => lines.push(RecordLine::read(text)?),
            (_, None) => return Err("nothing can follow `...` in a section".into()),
        }
        Ok(())
    }
}

/// A `config:` head opens a block that the file does not close.
fn part_needs_closing(corefile: &str) -> bool {
    corefile.starts_with(".:PORT {\n    bind IP\n")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Head,
    Corefile,
    Steps,
}

impl RecordPattern {
    fn empty() -> Self {
        Self { answer: Some(vec![]), authority: Some(vec![]), additional: Some(vec![]) }
    }
}

impl RecordLine {
    fn read(text: &str) -> Result<Self, String> {
        let mut words = text.splitn(3, ' ');
        let (name, ttl) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let any_ttl = ttl == "*";
        let ttl = if any_ttl { "0" } else { ttl };
        let text = format!("{name} {ttl} {}", words.next().unwrap_or(""));
        Ok(Self { record: Record::from_text(&text)?, any_ttl })
    }
}

impl Step {
    fn read(line: &str) -> Result<Self, String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["ask", ref rest @ ..] => Ok(Step::Ask(Ask::read(rest)?)),
            ["raw", ref rest @ ..] => raw(rest),
            ["no", "question", "upstream"] => Ok(Step::NoQuestion),
            ["time", "passes", duration] => Ok(Step::Passes(read_duration(duration)?)),
            ["renewal", "asked", ref rest @ ..] => {
                let mut pattern = QuestionPattern::read(None, rest)?;
                pattern.renewal = Some(true);
                Ok(Step::Asked(pattern))
            }
            [server, "probed"] => {
                let mut pattern =
                    QuestionPattern::read(Some(server_number(server)?), &[".", "NS"])?;
                pattern.probe = true;
                Ok(Step::Asked(pattern))
            }
            ["someone", "asked", ref rest @ ..] => {
                Ok(Step::Asked(QuestionPattern::read(None, rest)?))
            }
            [server, "asked", ref rest @ ..] => {
                Ok(Step::Asked(QuestionPattern::read(Some(server_number(server)?), rest)?))
            }
            [server, "says", ref rest @ ..] => {
                Ok(Step::Says { server: server_number(server)?, saying: Saying::read(rest)? })
            }
            [server, "silent"] => Ok(Step::Silent { server: server_number(server)? }),
            [server, "closes"] => Ok(Step::Closes { server: server_number(server)?, reset: false }),
            [server, "resets"] => Ok(Step::Closes { server: server_number(server)?, reset: true }),
            [client, "gets", "nothing", ref rest @ ..] => {
                let wait = rest.first().map_or(Ok(Duration::from_millis(200)), |word| {
                    read_duration(word.trim_start_matches("within="))
                })?;
                Ok(Step::GetsNothing { client: client.to_owned(), wait })
            }
            [client, "gets", ref rest @ ..] => {
                Ok(Step::Gets { client: client.to_owned(), reply: ReplyPattern::read(rest)? })
            }
            _ => Err(format!("{line:?} is not a step")),
        }
    }
}

fn raw(words: &[&str]) -> Result<Step, String> {
    let mut client = "client".to_owned();
    let (mut tcp, mut digits) = (false, String::new());
    let mut words = words.iter();
    while let Some(&word) = words.next() {
        match word {
            "from" => client = words.next().ok_or("`from` whom?")?.to_string(),
            "tcp" => tcp = true,
            _ => digits.push_str(word),
        }
    }
    Ok(Step::Raw { client, tcp, bytes: hex(&digits)? })
}

impl Ask {
    fn read(words: &[&str]) -> Result<Self, String> {
        let [name, qtype, options @ ..] = words else {
            return Err("expected a name and a type".into());
        };
        let question =
            Question { name: DomainName::from_text(name)?, qtype: type_number(qtype)?, qclass: 1 };
        let mut query =
            Message { flags: flag::RD, questions: vec![question], ..Message::default() };
        let (mut client, mut tcp, mut source) = ("client".to_owned(), false, None);
        let mut options = options.iter();
        while let Some(&option) = options.next() {
            match option {
                "from" => client = options.next().ok_or("`from` whom?")?.to_string(),
                "tcp" => tcp = true,
                _ => match option.split_once('=') {
                    Some(("source", address)) => source = Some(parse(address)?),
                    _ => ask_option(&mut query, option)?,
                },
            }
        }
        Ok(Self { client, query, tcp, source })
    }
}

fn ask_option(query: &mut Message, option: &str) -> Result<(), String> {
    if let Some(class) = class_number(option) {
        query.questions[0].qclass = class;
        return Ok(());
    }
    let edns = Opt { udp_size: 1232, ..Opt::default() };
    match option.split_once('=').unwrap_or((option, "")) {
        ("-rd", _) => query.flags &= !flag::RD,
        ("+ad", _) => query.flags |= flag::AD,
        ("+cd", _) => query.flags |= flag::CD,
        ("+aa", _) => query.flags |= flag::AA,
        ("+tc", _) => query.flags |= flag::TC,
        ("+ra", _) => query.flags |= flag::RA,
        ("+do", _) => query.opt.get_or_insert(edns).dnssec_ok = true,
        ("edns", "") => query.opt = Some(query.opt.take().unwrap_or(edns)),
        ("edns", size) => query.opt.get_or_insert(edns).udp_size = parse(size)?,
        ("version", version) => query.opt.get_or_insert(edns).version = parse(version)?,
        ("opcode", opcode) => query.flags |= parse::<u16>(opcode)? << 11,
        ("option", option) => {
            let (code, digits) = option.split_once(':').ok_or("expected option=CODE:HEX")?;
            query.opt.get_or_insert(edns).options.push((parse(code)?, hex(digits)?));
        }
        ("padding", len) => {
            let padding = vec![0; parse(len)?];
            query.opt.get_or_insert(edns).options.push((12, padding));
        }
        _ => return Err(format!("{option:?} is no option of `ask`")),
    }
    Ok(())
}

impl ReplyPattern {
    fn read(words: &[&str]) -> Result<Self, String> {
        let [rcode, options @ ..] = words else { return Err("expected a response code".into()) };
        let rcode = rcode_number(rcode).ok_or(format!("{rcode:?} is not a response code"))?;
        let mut pattern = Self { rcode, records: RecordPattern::empty(), ..Self::default() };
        let mut options = options.iter();
        while let Some(&option) = options.next() {
            match option.split_once('=').unwrap_or((option, "")) {
                ("to", _) => pattern.question = Some(question_words(&mut options)?),
                ("no-question", _) => pattern.without_question = true,
                ("any-order", _) => pattern.any_order = true,
                ("ede", code) => pattern.extended_error = Some(parse(code)?),
                ("options", count) => pattern.options = Some(parse(count)?),
                ("size", len) => pattern.len_max = Some(parse(len.trim_start_matches('<'))?),
                ("within", duration) => pattern.within = Some(read_duration(duration)?),
                ("after", duration) => pattern.after = Some(read_duration(duration)?),
                _ => match option.strip_prefix('-') {
                    Some(name) => pattern.flags_clear |= flag_bit(name)?,
                    None => pattern.flags_set |= flag_bit(option)?,
                },
            }
        }
        Ok(pattern)
    }
}

impl QuestionPattern {
    fn read(server: Option<usize>, words: &[&str]) -> Result<Self, String> {
        let [name, qtype, options @ ..] = words else {
            return Err("expected a name and a type".into());
        };
        let mut pattern = Self {
            server,
            probe: false,
            renewal: None,
            name: DomainName::from_text(name)?,
            qtype: type_number(qtype)?,
            qclass: 1,
            dnssec_ok: None,
            checking_disabled: None,
            recursion: None,
            tcp: None,
            edns: None,
            udp_size: None,
            options: None,
            new_connection: None,
            within: None,
            after: None,
        };
        for option in options {
            pattern.take_option(option)?;
        }
        Ok(pattern)
    }

    fn take_option(&mut self, option: &str) -> Result<(), String> {
        match option.split_once('=').unwrap_or((option, "")) {
            ("+do", _) => self.dnssec_ok = Some(true),
            ("-do", _) => self.dnssec_ok = Some(false),
            ("+cd", _) => self.checking_disabled = Some(true),
            ("-cd", _) => self.checking_disabled = Some(false),
            ("+rd", _) => self.recursion = Some(true),
            ("tcp", _) => self.tcp = Some(true),
            ("udp", _) => self.tcp = Some(false),
            ("-edns", _) => self.edns = Some(false),
            ("edns", "") => self.edns = Some(true),
            ("edns", size) => self.udp_size = Some(parse(size)?),
            ("options", count) => self.options = Some(parse(count)?),
            ("same-connection", _) => self.new_connection = Some(false),
            ("new-connection", _) => self.new_connection = Some(true),
            ("for-client", _) => self.renewal = Some(false),
            ("within", duration) => self.within = Some(read_duration(duration)?),
            ("after", duration) => self.after = Some(read_duration(duration)?),
            _ => match class_number(option) {
                Some(class) => self.qclass = class,
                None => return Err(format!("{option:?} is no option of `asked`")),
            },
        }
        Ok(())
    }
}

impl Saying {
    fn read(words: &[&str]) -> Result<Self, String> {
        let mut saying = Self { records: RecordPattern::empty(), ..Self::default() };
        let [rcode, options @ ..] = words else { return Err("says what?".into()) };
        if *rcode == "raw" {
            saying.raw = Some(hex(&options.concat())?);
            return Ok(saying);
        }
        saying.rcode = rcode_number(rcode).ok_or(format!("{rcode:?} is not a response code"))?;
        let mut options = options.iter();
        while let Some(&option) = options.next() {
            match option.split_once('=').unwrap_or((option, "")) {
                ("id", "wrong") => saying.wrong_id = true,
                ("from", "elsewhere") => saying.elsewhere = true,
                ("question", _) => saying.question = Some(question_words(&mut options)?),
                ("class", class) => saying.class = class_number(class),
                ("opcode", opcode) => saying.opcode = parse(opcode)?,
                ("questions", count) => saying.question_count = Some(parse(count)?),
                ("-edns", _) => saying.without_edns = true,
                _ => match option.strip_prefix('-') {
                    Some(name) => saying.flags_clear |= flag_bit(name)?,
                    None => saying.flags_set |= flag_bit(option)?,
                },
            }
        }
        Ok(saying)
    }

    /// The octets upstream sends in reply to `query`.
    pub fn bytes(&self, query: &Message) -> Vec<u8> {
        let id = if self.wrong_id { query.id.wrapping_add(1) } else { query.id };
        if let Some(raw) = &self.raw {
            return [&id.to_be_bytes(), &raw[..]].concat();
        }
        let mut reply = query.reply();
        reply.id = id;
        reply.flags = (reply.flags | self.flags_set | self.opcode << 11 | self.rcode & 0xF)
            & !self.flags_clear;
        if let Some((name, qtype)) = &self.question {
            reply.questions = vec![Question { name: name.clone(), qtype: *qtype, qclass: 1 }];
        }
        if let (Some(class), Some(question)) = (self.class, reply.questions.first_mut()) {
            question.qclass = class;
        }
        if let (Some(count), Some(question)) =
            (self.question_count, reply.questions.first().cloned())
        {
            reply.questions = vec![question; count];
        }
        if self.without_edns {
            reply.opt = None;
        }
        if let Some(opt) = &mut reply.opt {
            opt.extended_rcode = (self.rcode >> 4) as u8;
        }
        let plain = |lines: &Option<Vec<RecordLine>>| -> Vec<Record> {
            lines.iter().flatten().map(|line| line.record.clone()).collect()
        };
        reply.answer = plain(&self.records.answer);
        reply.authority = plain(&self.records.authority);
        reply.additional = plain(&self.records.additional);
        reply.write()
    }
}

fn question_words<'a>(
    words: &mut impl Iterator<Item = &'a &'a str>,
) -> Result<(DomainName, u16), String> {
    let name = DomainName::from_text(words.next().ok_or("a name is missing")?)?;
    Ok((name, type_number(words.next().ok_or("a type is missing")?)?))
}

fn flag_bit(name: &str) -> Result<u16, String> {
    Ok(match name {
        "qr" => flag::QR,
        "aa" => flag::AA,
        "tc" => flag::TC,
        "rd" => flag::RD,
        "ra" => flag::RA,
        "ad" => flag::AD,
        "cd" => flag::CD,
        _ => return Err(format!("{name:?} is neither a flag nor an option of this step")),
    })
}

/// The server a word like `upstream` or `upstream2` names, from 1.
fn server_number(word: &str) -> Result<usize, String> {
    match word {
        "upstream" | "upstream1" => Ok(1),
        "upstream2" => Ok(2),
        "upstream3" => Ok(3),
        _ => Err(format!("{word:?} is no upstream")),
    }
}

fn read_duration(word: &str) -> Result<Duration, String> {
    let split = word.find(|c: char| !c.is_ascii_digit()).ok_or("a duration needs a unit")?;
    let number: u64 = parse(&word[..split])?;
    match &word[split..] {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number * 60)),
        "h" => Ok(Duration::from_secs(number * 3600)),
        unit => Err(format!("{unit:?} is not a unit of time")),
    }
}

fn parse<T: std::str::FromStr>(word: &str) -> Result<T, String> {
    word.parse().map_err(|_| format!("{word:?} does not fit here"))
}
