//! Records as zone files write them (RFC 1035 section 5, RFC 3597), and small zones made of them.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::message::{DomainName, Message, Question, Record, flag};

/// Types the tests name.
const TYPES: [(&str, u16); 24] = [
    ("A", 1),
    ("NS", 2),
    ("CNAME", 5),
    ("SOA", 6),
    ("PTR", 12),
    ("HINFO", 13),
    ("MX", 15),
    ("TXT", 16),
    ("AAAA", 28),
    ("SRV", 33),
    ("DNAME", 39),
    ("OPT", 41),
    ("DS", 43),
    ("RRSIG", 46),
    ("NSEC", 47),
    ("DNSKEY", 48),
    ("NSEC3", 50),
    ("SVCB", 64),
    ("HTTPS", 65),
    ("IXFR", 251),
    ("AXFR", 252),
    ("MAILB", 253),
    ("MAILA", 254),
    ("ANY", 255),
];

/// A type by name or as `TYPE123`.
pub fn type_number(word: &str) -> Result<u16, String> {
    let known = TYPES.iter().find(|(name, _)| *name == word).map(|(_, number)| *number);
    known
        .or_else(|| word.strip_prefix("TYPE")?.parse().ok())
        .ok_or(format!("{word:?} is not a type"))
}

/// The name of a type.
pub fn type_name(number: u16) -> String {
    let known = TYPES.iter().find(|(_, known)| *known == number);
    known.map_or(format!("TYPE{number}"), |(name, _)| (*name).to_owned())
}

/// A class by name or as `CLASS123`.
pub fn class_number(word: &str) -> Option<u16> {
    match word {
        "IN" => Some(1),
        "CH" => Some(3),
        "HS" => Some(4),
        "NONE" => Some(254),
        "ANY" => Some(255),
        _ => word.strip_prefix("CLASS")?.parse().ok(),
    }
}

/// A response code by name or number.
pub fn rcode_number(word: &str) -> Option<u16> {
    const NAMES: [&str; 6] = ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"];
    let known = NAMES.iter().position(|name| *name == word).map(|at| at as u16);
    known.or((word == "BADVERS").then_some(16)).or_else(|| word.strip_prefix("RCODE")?.parse().ok())
}

/// The name of a response code.
pub fn rcode_name(rcode: u16) -> String {
    const NAMES: [&str; 6] = ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"];
    match (NAMES.get(usize::from(rcode)), rcode) {
        (Some(name), _) => (*name).to_owned(),
        (None, 16) => "BADVERS".to_owned(),
        (None, other) => format!("RCODE{other}"),
    }
}

impl Record {
    /// Reads `NAME TTL [CLASS] TYPE RDATA`. A TTL may be given as a number up to 2^32 - 1.
    pub fn from_text(text: &str) -> Result<Self, String> {
        let mut words = Words(text);
        let name = DomainName::from_text(words.next()?)?;
        let ttl = words.next()?;
        let ttl_secs = ttl.parse().map_err(|_| format!("{ttl:?} is not a TTL"))?;
        let mut word = words.next()?;
        let class = match class_number(word) {
            Some(class) => {
                word = words.next()?;
                class
            }
            None => 1,
        };
        let rtype = type_number(word)?;
        let data = data_from_text(rtype, &mut words)?;
        Ok(Self { name, rtype, class, ttl_secs, data })
    }
}

fn data_from_text(rtype: u16, words: &mut Words<'_>) -> Result<Vec<u8>, String> {
    if words.0.trim_start().starts_with("\\#") {
        return generic_data(rtype, words);
    }
    let mut out = Vec::new();
    match rtype {
        1 => out.extend(words.parse::<Ipv4Addr>()?.octets()),
        28 => out.extend(words.parse::<Ipv6Addr>()?.octets()),
        2 | 5 | 12 | 39 => out.extend(DomainName::from_text(words.next()?)?.0),
        15 => {
            out.extend(words.parse::<u16>()?.to_be_bytes());
            out.extend(DomainName::from_text(words.next()?)?.0);
        }
        33 => {
            for _ in 0..3 {
                out.extend(words.parse::<u16>()?.to_be_bytes());
            }
            out.extend(DomainName::from_text(words.next()?)?.0);
        }
        6 => {
            out.extend(DomainName::from_text(words.next()?)?.0);
            out.extend(DomainName::from_text(words.next()?)?.0);
            for _ in 0..5 {
                out.extend(words.parse::<u32>()?.to_be_bytes());
            }
        }
        13 | 16 => {
            while let Ok(word) = words.next() {
                let text = word.trim_matches('"');
                out.push(u8::try_from(text.len()).map_err(|_| "a string over 255 octets")?);
                out.extend(text.as_bytes());
            }
        }
        _ => return Err(format!("write {} as \\# LENGTH HEX", type_name(rtype))),
    }
    Ok(out)
}

/// `\# LENGTH HEX`, or `\# LENGTH fill` for that many octets of filling (strings in a TXT).
fn generic_data(rtype: u16, words: &mut Words<'_>) -> Result<Vec<u8>, String> {
    words.next()?;
    let len: usize = words.parse()?;
    let rest: String = words.0.split_whitespace().collect();
    if rest == "fill" {
        return Ok(if rtype == 16 { strings(len) } else { vec![0x78; len] });
    }
    let data = hex(&rest)?;
    if data.len() == len { Ok(data) } else { Err(format!("{} octets, not {len}", data.len())) }
}

/// Character-strings that take `len` octets together.
fn strings(mut len: usize) -> Vec<u8> {
    let mut data = Vec::with_capacity(len);
    while len > 0 {
        let text_len = (len - 1).min(255);
        data.push(text_len as u8);
        data.resize(data.len() + text_len, 0x78);
        len -= 1 + text_len;
    }
    data
}

/// Octets from hexadecimal digits; white space between them is ignored.
pub fn hex(text: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<u32> = text
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_digit(16).ok_or(format!("{c:?} is not a hexadecimal digit")))
        .collect::<Result<_, _>>()?;
    if !digits.len().is_multiple_of(2) {
        return Err("an odd number of hexadecimal digits".into());
    }
    Ok(digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect())
}

/// Octets as hexadecimal digits.
pub fn hex_text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} ", self.name, self.ttl_secs, type_name(self.rtype))?;
        match (self.rtype, &self.data[..]) {
            (1, &[a, b, c, d]) => write!(f, "{}", Ipv4Addr::new(a, b, c, d)),
            (28, data) if data.len() == 16 => {
                let octets: [u8; 16] = data.try_into().map_err(|_| fmt::Error)?;
                write!(f, "{}", Ipv6Addr::from(octets))
            }
            (2 | 5 | 12 | 39, data) => write!(f, "{}", DomainName(data.to_vec())),
            (_, data) => write!(f, "\\# {} {}", data.len(), hex_text(data)),
        }
    }
}

struct Words<'a>(&'a str);

impl<'a> Words<'a> {
    /// The next word; one in double quotes may hold spaces.
    fn next(&mut self) -> Result<&'a str, String> {
        let text = self.0.trim_start();
        if text.is_empty() {
            return Err("the record ends too early".into());
        }
        let end = match text.strip_prefix('"') {
            Some(rest) => rest.find('"').map_or(text.len(), |at| at + 2),
            None => text.find(char::is_whitespace).unwrap_or(text.len()),
        };
        self.0 = &text[end..];
        Ok(&text[..end])
    }

    fn parse<T: std::str::FromStr>(&mut self) -> Result<T, String> {
        let word = self.next()?;
        word.parse().map_err(|_| format!("{word:?} does not fit here"))
    }
}

/// A zone small enough to search from end to end; what an upstream answers from.
#[derive(Debug, Clone, Default)]
pub struct Zone {
    records: Vec<Record>,
    soa: Option<Record>,
}

impl Zone {
    /// Reads one record per line; `;` starts a comment line. A name `*.REST` matches every name
    /// below REST that has no records of its own.
    pub fn from_text(text: &str) -> Self {
        let lines = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with(';'));
        let records: Vec<Record> = lines
            .map(|line| Record::from_text(line).unwrap_or_else(|e| panic!("{line}: {e}")))
            .collect();
        let soa = records.iter().find(|record| record.rtype == 6).cloned();
        Self { records, soa }
    }

    /// The authoritative reply to `query`: records, CNAME chains, NODATA or NXDOMAIN with the SOA.
    pub fn reply(&self, query: &Message) -> Message {
        let mut reply = query.reply();
        reply.flags |= flag::AA;
        let Some(question) = query.questions.first() else { return reply };
        let mut name = question.name.clone();
        for _ in 0..16 {
            let found = self.of_name(&name);
            if found.is_empty() {
                reply.flags |= 3;
                break;
            }
            let matching = |record: &&Record| record.rtype == question.qtype;
            let fitting: Vec<Record> = found.iter().filter(matching).cloned().collect();
            if !fitting.is_empty() {
                reply.answer.extend(fitting);
                return reply;
            }
            let Some(alias) = found.iter().find(|record| record.rtype == 5) else { break };
            reply.answer.push(alias.clone());
            name = DomainName(alias.data.clone());
        }
        reply.authority.extend(self.soa.clone());
        reply
    }

    fn of_name(&self, name: &DomainName) -> Vec<Record> {
        let exact: Vec<Record> =
            self.records.iter().filter(|record| record.name.same(name)).cloned().collect();
        if !exact.is_empty() {
            return exact;
        }
        let below = |record: &&Record| {
            record.name.0.starts_with(b"\x01*") && {
                let suffix = &record.name.0[2..];
                name.0.len() > suffix.len()
                    && name.0[name.0.len() - suffix.len()..].eq_ignore_ascii_case(suffix)
            }
        };
        let renamed = |record: &Record| Record { name: name.clone(), ..record.clone() };
        self.records.iter().filter(below).map(renamed).collect()
    }
}

/// A query for one name: RD set, no EDNS.
pub fn query(id: u16, name: &str, qtype: &str) -> Message {
    let name = DomainName::from_text(name).expect("a domain name");
    let qtype = type_number(qtype).expect("a type");
    Message {
        id,
        flags: flag::RD,
        questions: vec![Question { name, qtype, qclass: 1 }],
        ..Message::default()
    }
}
