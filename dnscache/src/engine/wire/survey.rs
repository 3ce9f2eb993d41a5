//! Every record of a message, found and checked without copying it.

use super::header::{HEADER_LEN, Header, TCP_MESSAGE_MAX, rtype};
use super::name;

/// The most records a message can have: each takes eleven octets at least, with the root as its
/// owner. More were promised only to have us make room for them.
const RECORDS_MAX: usize = (TCP_MESSAGE_MAX - HEADER_LEN) / 11;

/// The most signatures an answer may have. Honest ones have a few for each set of records; floods
/// of them are made to keep validators busy (KeyTrap).
const SIGNATURES_MAX: usize = 256;

/// One record, as places in the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// 1 answer, 2 authority, 3 additional.
    pub section: u8,
    /// Type.
    pub rtype: u16,
    /// Class.
    pub class: u16,
    /// TTL in seconds; zero if the top bit was set (RFC 2181 section 8).
    pub ttl_secs: u32,
    /// Where the record starts.
    pub start: usize,
    /// Where the owner ends and type, class, TTL and length begin.
    pub fixed_at: usize,
    /// Where the RDATA starts.
    pub rdata_at: usize,
    /// Where the record ends.
    pub end: usize,
    owner: (u32, u32),
    target: Option<(u32, u32)>,
}

impl Record {
    /// Whether it has this type and class.
    pub fn is(&self, rtype: u16, class: u16) -> bool {
        self.rtype == rtype && self.class == class
    }

    /// Whether it stands in the answer section.
    pub fn is_answer(&self) -> bool {
        self.section == 1
    }
}

/// The records of a message, with their names expanded.
#[derive(Debug)]
pub struct Survey {
    /// In message order.
    pub records: Vec<Record>,
    /// Where the question ends.
    pub question_end: usize,
    /// Upper bits of the response code, from OPT.
    rcode_high: u8,
    /// Expanded names, in lower case.
    names: Vec<u8>,
    /// MINIMUM of each SOA, by record index.
    minimums: Vec<(usize, u32)>,
}

impl Survey {
    /// Walks all sections from `question_end`. `None` unless the counts are exactly right, every
    /// name ends, and RDATA has the shape its type demands.
    pub fn read(message: &[u8], question_end: usize, header: &Header) -> Option<Self> {
        let total: usize = header.counts[1..].iter().map(|count| usize::from(*count)).sum();
        if total > RECORDS_MAX {
            return None;
        }
        let mut survey = Self {
            records: Vec::with_capacity(total.min(message.len() / 11)),
            question_end,
            rcode_high: 0,
            names: Vec::with_capacity(64),
            minimums: Vec::new(),
        };
        let mut at = question_end;
        for section in 1..=3u8 {
            for _ in 0..header.counts[usize::from(section)] {
                at = survey.take(message, section, at)?;
            }
        }
        let is_signature = |record: &&Record| record.rtype == rtype::RRSIG;
        let signatures = survey.records.iter().filter(is_signature).count();
        (at == message.len() && signatures <= SIGNATURES_MAX).then_some(survey)
    }

    /// Takes the record that starts at `start`; returns where it ends.
    fn take(&mut self, message: &[u8], section: u8, start: usize) -> Option<usize> {
        let owner_at = self.names.len();
        let fixed_at = name::expand(message, start, &mut self.names)?;
        let owner = (owner_at as u32, self.names.len() as u32);
        let head: &[u8; 10] = message.get(fixed_at..)?.first_chunk()?;
        let rdata_at = fixed_at + 10;
        let end = rdata_at + usize::from(u16::from_be_bytes([head[8], head[9]]));
        message.get(rdata_at..end)?;
        let ttl = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
        let mut record = Record {
            section,
            rtype: u16::from_be_bytes([head[0], head[1]]),
            class: u16::from_be_bytes([head[2], head[3]]),
            ttl_secs: if ttl > i32::MAX as u32 { 0 } else { ttl },
            start,
            fixed_at,
            rdata_at,
            end,
            owner,
            target: None,
        };
        if record.rtype == rtype::OPT {
            self.rcode_high = head[4];
        } else {
            record.target = self.check_rdata(message, &record)?;
        }
        self.records.push(record);
        Some(end)
    }

    /// Checks RDATA against its type; gives the name it points to, if it does. `None` if it does
    /// not have the shape its type demands.
    fn check_rdata(&mut self, message: &[u8], record: &Record) -> Option<Option<(u32, u32)>> {
        let len = record.end - record.rdata_at;
        match record.rtype {
            rtype::A if record.class == 1 => return (len == 4).then_some(None),
            rtype::AAAA if record.class == 1 => return (len == 16).then_some(None),
            rtype::RRSIG => return Some(self.signer(message, record)),
            _ => {}
        }
        let layout = Layout::of(record.rtype);
        let start = self.names.len();
        let mut at = layout.first_name(message, record.rdata_at, record.end)?;
        for _ in 0..layout.names {
            if at >= record.end {
                return None;
            }
            at = name::expand(message, at, &mut self.names)?;
        }
        let first_end = start + name_len(&self.names[start..]);
        let rest = record.end.checked_sub(at)?;
        if rest < layout.after || (rest > layout.after && !layout.open_ended) {
            return None;
        }
        if record.rtype == rtype::SOA {
            let minimum: &[u8; 4] = message[record.end - 4..record.end].first_chunk()?;
            self.minimums.push((self.records.len(), u32::from_be_bytes(*minimum)));
        }
        Some((layout.names > 0).then_some((start as u32, first_end as u32)))
    }

    /// The signer's name of a signature, which is never compressed (RFC 4034 section 3.1.7); `None`
    /// if it is not there: what a signature looks like is for validators to judge.
    fn signer(&mut self, message: &[u8], record: &Record) -> Option<(u32, u32)> {
        let start = self.names.len();
        let end = name::expand(&message[..record.end], record.rdata_at + 18, &mut self.names);
        end.map(|_| (start as u32, self.names.len() as u32))
    }

    /// The records of the answer section.
    pub fn answers(&self) -> impl Iterator<Item = &Record> {
        self.records.iter().take_while(|record| record.section == 1)
    }

    /// The records of the authority section.
    pub fn authorities(&self) -> impl Iterator<Item = &Record> {
        self.records.iter().filter(|record| record.section == 2)
    }

    /// The owner of a record: uncompressed, in lower case.
    pub fn owner(&self, record: &Record) -> &[u8] {
        self.name(record.owner)
    }

    /// The name a record points to: uncompressed, in lower case.
    pub fn target(&self, record: &Record) -> Option<&[u8]> {
        record.target.map(|range| self.name(range))
    }

    fn name(&self, (start, end): (u32, u32)) -> &[u8] {
        &self.names[start as usize..end as usize]
    }

    /// How long an SOA allows a negative answer to live (RFC 2308 section 5).
    pub fn negative_ttl_secs(&self, soa: &Record) -> u32 {
        let index = self.records.iter().position(|record| record.start == soa.start);
        let minimum = self
            .minimums
            .iter()
            .find(|(at, _)| Some(*at) == index)
            .map_or(0, |(_, minimum)| *minimum);
        let minimum = if minimum > i32::MAX as u32 { 0 } else { minimum };
        soa.ttl_secs.min(minimum)
    }

    /// The whole response code, from the header's four bits and OPT's eight.
    pub fn extended_rcode(&self, low: u8) -> u16 {
        u16::from(self.rcode_high) << 4 | u16::from(low)
    }
}

fn name_len(names: &[u8]) -> usize {
    let mut at = 0;
    while let Some(&len) = names.get(at) {
        at += 1 + usize::from(len);
        if len == 0 {
            break;
        }
    }
    at
}

/// Where names stand in the RDATA of a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Octets before the first name, character-strings not counted.
    pub before: usize,
    /// Character-strings (RFC 1035 section 3.3) after those.
    pub strings: usize,
    /// Names, one after the other.
    pub names: usize,
    /// Octets after the last name, at least.
    pub after: usize,
    /// Whether more octets may follow.
    pub open_ended: bool,
}

impl Layout {
    /// RDATA that is taken as it is.
    pub const OPAQUE: Self = Self { before: 0, strings: 0, names: 0, after: 0, open_ended: true };

    /// The layout of a type whose RDATA holds names that a receiver must be able to expand
    /// (RFC 3597 section 4) or that this program follows; opaque for all others.
    pub fn of(rtype: u16) -> Self {
        let closed =
            |before, names, after| Self { before, names, after, open_ended: false, ..Self::OPAQUE };
        match rtype {
            // NS, MD, MF, CNAME, MB, MG, MR, PTR, DNAME.
            2..=5 | 7..=9 | 12 | 39 => closed(0, 1, 0),
            // SOA: two names, five numbers.
            6 => closed(0, 2, 20),
            // MINFO, RP.
            14 | 17 => closed(0, 2, 0),
            // MX, AFSDB, RT, KX.
            15 | 18 | 21 | 36 => closed(2, 1, 0),
            // PX.
            26 => closed(2, 2, 0),
            // SRV: priority, weight, port.
            33 => closed(6, 1, 0),
            // NAPTR: order, preference, flags, services, expression, replacement.
            35 => Self { strings: 3, ..closed(4, 1, 0) },
            // SIG: what is signed and when, the signer's name, the signature.
            24 => Self { open_ended: true, ..closed(18, 1, 0) },
            // NXT: the next name, then a bitmap.
            30 => Self { open_ended: true, ..closed(0, 1, 0) },
            // SVCB, HTTPS: priority, then parameters after the name.
            64 | 65 => Self { open_ended: true, ..closed(2, 1, 0) },
            _ => Self::OPAQUE,
        }
    }

    /// Where the first name starts in RDATA that begins at `at`; `None` if it does not reach.
    pub fn first_name(&self, message: &[u8], at: usize, end: usize) -> Option<usize> {
        let mut at = at + self.before;
        for _ in 0..self.strings {
            at += 1 + usize::from(*message.get(at)?);
        }
        (at <= end).then_some(at)
    }
}
