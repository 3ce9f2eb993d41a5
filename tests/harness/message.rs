//! DNS messages as the tests see them: read and written here, by rules of their own.
//!
//! Nothing of the program's own parser is used, so a mistake there cannot hide itself.

use std::fmt;

/// A whole message, names expanded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    pub id: u16,
    pub flags: u16,
    pub questions: Vec<Question>,
    pub answer: Vec<Record>,
    pub authority: Vec<Record>,
    pub additional: Vec<Record>,
    pub opt: Option<Opt>,
}

/// One entry of the question section; the name keeps its case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    pub name: DomainName,
    pub qtype: u16,
    pub qclass: u16,
}

/// One resource record; names inside `data` are expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub name: DomainName,
    pub rtype: u16,
    pub class: u16,
    pub ttl_secs: u32,
    pub data: Vec<u8>,
}

/// The EDNS pseudo-record (RFC 6891 section 6.1).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Opt {
    pub udp_size: u16,
    pub extended_rcode: u8,
    pub version: u8,
    pub dnssec_ok: bool,
    pub options: Vec<(u16, Vec<u8>)>,
}

/// Bits of the header's flag word.
pub mod flag {
    pub const QR: u16 = 0x8000;
    pub const AA: u16 = 0x0400;
    pub const TC: u16 = 0x0200;
    pub const RD: u16 = 0x0100;
    pub const RA: u16 = 0x0080;
    pub const AD: u16 = 0x0020;
    pub const CD: u16 = 0x0010;
}

const TYPE_OPT: u16 = 41;
const OPTION_EXTENDED_ERROR: u16 = 15;

impl Message {
    /// Reads a message; the error says what is wrong with it.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let mut reader = Reader { bytes, at: 0 };
        let mut message = Message { id: reader.u16()?, flags: reader.u16()?, ..Self::default() };
        let counts = [reader.u16()?, reader.u16()?, reader.u16()?, reader.u16()?];
        for _ in 0..counts[0] {
            let name = reader.name()?;
            let (qtype, qclass) = (reader.u16()?, reader.u16()?);
            message.questions.push(Question { name, qtype, qclass });
        }
        for (section, count) in counts[1..].iter().enumerate() {
            for _ in 0..*count {
                let record = reader.record()?;
                if record.rtype == TYPE_OPT {
                    message.take_opt(&record, section)?;
                    continue;
                }
                match section {
                    0 => message.answer.push(record),
                    1 => message.authority.push(record),
                    _ => message.additional.push(record),
                }
            }
        }
        if reader.at != bytes.len() {
            return Err(format!("{} octets after the last record", bytes.len() - reader.at));
        }
        Ok(message)
    }

    fn take_opt(&mut self, record: &Record, section: usize) -> Result<(), String> {
        if section != 2 || self.opt.is_some() || !record.name.is_root() {
            return Err("an OPT that is misplaced, named or the second".into());
        }
        let [extended_rcode, version, flags, _] = record.ttl_secs.to_be_bytes();
        let mut reader = Reader { bytes: &record.data, at: 0 };
        let mut options = Vec::new();
        while reader.at < record.data.len() {
            let (code, len) = (reader.u16()?, reader.u16()?);
            options.push((code, reader.take(usize::from(len))?.to_vec()));
        }
        let dnssec_ok = flags & 0x80 != 0;
        self.opt =
            Some(Opt { udp_size: record.class, extended_rcode, version, dnssec_ok, options });
        Ok(())
    }

    /// Writes the message; an owner name equal to the first question's is a pointer to it.
    pub fn write(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        let additional = self.additional.len() + usize::from(self.opt.is_some());
        for word in [
            self.id,
            self.flags,
            self.questions.len() as u16,
            self.answer.len() as u16,
            self.authority.len() as u16,
            additional as u16,
        ] {
            out.extend(word.to_be_bytes());
        }
        for question in &self.questions {
            out.extend(&question.name.0);
            out.extend(question.qtype.to_be_bytes());
            out.extend(question.qclass.to_be_bytes());
        }
        for record in self.answer.iter().chain(&self.authority).chain(&self.additional) {
            self.write_record(record, &mut out);
        }
        if let Some(opt) = &self.opt {
            opt.write(&mut out);
        }
        out
    }

    fn write_record(&self, record: &Record, out: &mut Vec<u8>) {
        match self.questions.first() {
            Some(question) if question.name.same(&record.name) && !record.name.is_root() => {
                out.extend([0xC0, 0x0C]);
            }
            _ => out.extend(&record.name.0),
        }
        out.extend(record.rtype.to_be_bytes());
        out.extend(record.class.to_be_bytes());
        out.extend(record.ttl_secs.to_be_bytes());
        out.extend((record.data.len() as u16).to_be_bytes());
        out.extend(&record.data);
    }

    /// The response code, extended bits included (RFC 6891 section 6.1.3).
    pub fn rcode(&self) -> u16 {
        let high = self.opt.as_ref().map_or(0, |opt| u16::from(opt.extended_rcode));
        high << 4 | self.flags & 0xF
    }

    /// Whether all of `bits` are set.
    pub fn has(&self, bits: u16) -> bool {
        self.flags & bits == bits
    }

    /// The INFO-CODEs of extended errors (RFC 8914).
    pub fn extended_errors(&self) -> Vec<u16> {
        let options = self.opt.iter().flat_map(|opt| &opt.options);
        options
            .filter(|(code, data)| *code == OPTION_EXTENDED_ERROR && data.len() >= 2)
            .map(|(_, data)| u16::from_be_bytes([data[0], data[1]]))
            .collect()
    }

    /// A reply to this query: ID, question, RD and CD copied, QR and RA set, an OPT if it had one.
    pub fn reply(&self) -> Message {
        Message {
            id: self.id,
            flags: flag::QR | flag::RA | self.flags & (flag::RD | flag::CD),
            questions: self.questions.clone(),
            opt: self.opt.as_ref().map(|opt| Opt {
                udp_size: 1232,
                dnssec_ok: opt.dnssec_ok,
                ..Opt::default()
            }),
            ..Message::default()
        }
    }
}

impl Opt {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(0);
        out.extend(TYPE_OPT.to_be_bytes());
        out.extend(self.udp_size.to_be_bytes());
        out.extend([self.extended_rcode, self.version, u8::from(self.dnssec_ok) << 7, 0]);
        let mut data = Vec::new();
        for (code, value) in &self.options {
            data.extend(code.to_be_bytes());
            data.extend((value.len() as u16).to_be_bytes());
            data.extend(value);
        }
        out.extend((data.len() as u16).to_be_bytes());
        out.extend(data);
    }
}

/// A name in uncompressed wire form, case kept.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct DomainName(pub Vec<u8>);

impl DomainName {
    /// Reads presentation form; the final dot may be missing.
    pub fn from_text(text: &str) -> Result<Self, String> {
        let mut wire = Vec::new();
        for label in text.trim_end_matches('.').split('.').filter(|_| text != ".") {
            if label.is_empty() || label.len() > 63 {
                return Err(format!("{text:?} is not a domain name"));
            }
            wire.push(label.len() as u8);
            wire.extend(label.as_bytes());
        }
        wire.push(0);
        Ok(Self(wire))
    }

    pub fn is_root(&self) -> bool {
        self.0 == [0]
    }

    /// Equal but for the case of letters.
    pub fn same(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = &self.0[..];
        if self.is_root() {
            return f.write_str(".");
        }
        while let Some((&len, tail)) = rest.split_first() {
            if len == 0 {
                break;
            }
            let (label, after) = tail.split_at(usize::from(len).min(tail.len()));
            write!(f, "{}.", label.escape_ascii())?;
            rest = after;
        }
        Ok(())
    }
}

impl fmt::Debug for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], String> {
        let end = self.at + len;
        let taken = self.bytes.get(self.at..end).ok_or(format!("cut off at octet {}", self.at))?;
        self.at = end;
        Ok(taken)
    }

    fn u16(&mut self) -> Result<u16, String> {
        self.take(2).map(|octets| u16::from_be_bytes([octets[0], octets[1]]))
    }

    fn u32(&mut self) -> Result<u32, String> {
        Ok(u32::from(self.u16()?) << 16 | u32::from(self.u16()?))
    }

    /// Follows pointers backwards only, so it ends.
    fn name(&mut self) -> Result<DomainName, String> {
        let mut wire = Vec::new();
        let mut at = self.at;
        let mut end = None;
        loop {
            let len = *self.bytes.get(at).ok_or(format!("a name is cut off at octet {at}"))?;
            match len {
                0 => break,
                1..=63 => {
                    let next = at + 1 + usize::from(len);
                    let label = self.bytes.get(at..next).ok_or("a label is cut off")?;
                    wire.extend(label);
                    at = next;
                }
                0xC0.. => {
                    let low = *self.bytes.get(at + 1).ok_or("a pointer is cut off")?;
                    let target = usize::from(len & 0x3F) << 8 | usize::from(low);
                    if target >= at {
                        return Err(format!("a pointer at octet {at} does not point back"));
                    }
                    end.get_or_insert(at + 2);
                    at = target;
                }
                _ => return Err(format!("label type {len:#x} at octet {at}")),
            }
            if wire.len() > 254 {
                return Err("a name is longer than 255 octets".into());
            }
        }
        wire.push(0);
        self.at = end.unwrap_or(at + 1);
        Ok(DomainName(wire))
    }

    fn record(&mut self) -> Result<Record, String> {
        let name = self.name()?;
        let (rtype, class) = (self.u16()?, self.u16()?);
        let ttl_secs = self.u32()?;
        let len = usize::from(self.u16()?);
        let start = self.at;
        let data = self.data(rtype, len)?;
        if self.at != start + len {
            return Err(format!("RDATA of type {rtype} is not {len} octets long"));
        }
        Ok(Record { name, rtype, class, ttl_secs, data })
    }

    /// RDATA with the names of RFC 1035's types expanded.
    fn data(&mut self, rtype: u16, len: usize) -> Result<Vec<u8>, String> {
        match rtype {
            2 | 5 | 12 | 39 => Ok(self.name()?.0),
            15 => Ok([self.take(2)?, &self.name()?.0].concat()),
            6 => {
                let names = [self.name()?.0, self.name()?.0].concat();
                Ok([&names, self.take(20)?].concat())
            }
            _ => Ok(self.take(len)?.to_vec()),
        }
    }
}
