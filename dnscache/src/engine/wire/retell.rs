//! A reply told again as the reply to another question, record by record.
//!
//! What was written as the reply to a rewritten question goes out as the reply to the question
//! that the client asked; what was written about A goes out as AAAA.

use super::compose::{Composer, name_len};
use super::header::{HEADER_LEN, Header, rtype};
use super::name::{self, expand_as_spelt};
use super::reply::{Fixed, Section};
use super::survey::Layout;

/// A record between two replies: names uncompressed, in the case in which they were spelt.
#[derive(Debug, Default)]
pub struct Told {
    /// Owner.
    pub owner: Vec<u8>,
    /// Type.
    pub rtype: u16,
    /// Class.
    pub class: u16,
    /// TTL in seconds.
    pub ttl_secs: u32,
    /// RDATA.
    pub rdata: Vec<u8>,
}

impl Told {
    /// Where the first name in its RDATA stands; `None` for types without.
    pub fn first_name(&self) -> Option<std::ops::Range<usize>> {
        let layout = Layout::of(self.rtype);
        if layout.names == 0 {
            return None;
        }
        let start = layout.first_name(&self.rdata, 0, self.rdata.len())?;
        Some(start..start + name_len(self.rdata.get(start..)?)?)
    }
}

/// What a reply told again starts with.
#[derive(Debug, Clone, Copy)]
pub struct Telling<'a> {
    /// Name, type and class as the client asked.
    pub asked: &'a [u8],
    /// Flags and response code.
    pub flags: u16,
    /// Octets the reply may have.
    pub len_max: usize,
}

/// Tells the reply that begins `out` and has `len` octets again. `edit` changes each record but OPT,
/// and says whether it stays; `spare` is room for the reply as it was. `None`, with `out` spoilt,
/// if it was not well-formed.
pub fn retell(
    out: &mut [u8],
    len: usize,
    spare: &mut Vec<u8>,
    telling: Telling<'_>,
    mut edit: impl FnMut(Section, &mut Told) -> bool,
) -> Option<usize> {
    spare.clear();
    spare.extend_from_slice(out.get(..len)?);
    let message = &spare[..];
    let header = Header::read(message)?;
    let records_at = name::skip(message, HEADER_LEN)? + 4;
    let opt = opt_of(message, records_at, &header)?;
    let room = telling.len_max.saturating_sub(opt.len());
    let mut composer = Composer::start(out, header.id, telling.flags, telling.asked, room);
    let mut told = Told::default();
    let mut at = records_at;
    for section in [Section::Answer, Section::Authority, Section::Additional] {
        for _ in 0..header.counts[section as usize] {
            at = take(message, at, &mut told)?;
            if told.rtype != rtype::OPT && edit(section, &mut told) {
                let Told { rtype, class, ttl_secs, .. } = told;
                composer.add(section, &told.owner, Fixed { rtype, class, ttl_secs }, &told.rdata);
            }
        }
    }
    Some(composer.finish_with(opt))
}

/// What is looked for in a reply, such as a record type, is in its answer section.
pub fn answers(message: &[u8], rtype: u16) -> bool {
    find(message, Section::Answer, rtype).is_some()
}

/// The TTL of the first SOA in the authority section.
pub fn soa_ttl_secs(message: &[u8]) -> Option<u32> {
    find(message, Section::Authority, rtype::SOA)
}

/// The TTL of the first record of a type in a section.
fn find(message: &[u8], wanted: Section, rtype: u16) -> Option<u32> {
    let header = Header::read(message)?;
    let mut at = name::skip(message, HEADER_LEN)? + 4;
    for section in [Section::Answer, Section::Authority] {
        for _ in 0..header.counts[section as usize] {
            let fixed = name::skip(message, at)?;
            let head: &[u8; 10] = message.get(fixed..)?.first_chunk()?;
            if section == wanted && u16::from_be_bytes([head[0], head[1]]) == rtype {
                return Some(u32::from_be_bytes([head[4], head[5], head[6], head[7]]));
            }
            at = fixed + 10 + usize::from(u16::from_be_bytes([head[8], head[9]]));
        }
    }
    None
}

/// The octets of the OPT record; empty without one.
fn opt_of<'m>(message: &'m [u8], mut at: usize, header: &Header) -> Option<&'m [u8]> {
    let records: u32 = header.counts[1..].iter().map(|&count| u32::from(count)).sum();
    for _ in 0..records {
        let fixed = name::skip(message, at)?;
        let head: &[u8; 10] = message.get(fixed..)?.first_chunk()?;
        let end = fixed + 10 + usize::from(u16::from_be_bytes([head[8], head[9]]));
        if u16::from_be_bytes([head[0], head[1]]) == rtype::OPT {
            return message.get(at..end);
        }
        at = end;
    }
    Some(&[])
}

/// Reads the record at `at` into `told`; returns where it ends.
fn take(message: &[u8], at: usize, told: &mut Told) -> Option<usize> {
    told.owner.clear();
    told.rdata.clear();
    let fixed = expand_as_spelt(message, at, &mut told.owner)?;
    let head: &[u8; 10] = message.get(fixed..)?.first_chunk()?;
    told.rtype = u16::from_be_bytes([head[0], head[1]]);
    told.class = u16::from_be_bytes([head[2], head[3]]);
    told.ttl_secs = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
    let start = fixed + 10;
    let end = start + usize::from(u16::from_be_bytes([head[8], head[9]]));
    // An empty RDATA is passed on as it is, whatever its type demands.
    let layout = if start == end { Layout::OPAQUE } else { Layout::of(told.rtype) };
    let mut name_at = layout.first_name(message, start, end)?;
    told.rdata.extend_from_slice(message.get(start..name_at)?);
    for _ in 0..layout.names {
        name_at = expand_as_spelt(message, name_at, &mut told.rdata)?;
    }
    told.rdata.extend_from_slice(message.get(name_at..end)?);
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPLY: &[u8] = b"\0\x07\x81\x80\0\x01\0\x02\0\0\0\x01\x01b\x04test\0\0\x01\0\x01\
        \xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x04\x01C\xc0\x0e\
        \xc0\x24\0\x01\0\x01\0\0\0\x1e\0\x04\xc0\0\x02\x01\
        \0\0\x29\x04\xd0\0\0\0\0\0\0";

    fn told(asked: &[u8], edit: impl FnMut(Section, &mut Told) -> bool) -> Vec<u8> {
        let mut out = vec![0; 512];
        out[..REPLY.len()].copy_from_slice(REPLY);
        let telling = Telling { asked, flags: 0x8180, len_max: 512 };
        let len = retell(&mut out, REPLY.len(), &mut Vec::new(), telling, edit).expect("a reply");
        out[..len].to_vec()
    }

    #[test]
    fn a_reply_told_again_unchanged_is_the_same() {
        assert_eq!(told(&REPLY[12..24], |_, _| true), REPLY);
    }

    #[test]
    fn names_stay_what_they_were_under_another_question() {
        let asked = b"\x01A\x03net\0\0\x01\0\x01";
        let expected = b"\0\x07\x81\x80\0\x01\0\x02\0\0\0\x01\x01A\x03net\0\0\x01\0\x01\
            \x01b\x04test\0\0\x05\0\x01\0\0\0\x3c\0\x04\x01C\xc0\x19\
            \xc0\x29\0\x01\0\x01\0\0\0\x1e\0\x04\xc0\0\x02\x01\
            \0\0\x29\x04\xd0\0\0\0\0\0\0";
        assert_eq!(told(asked, |_, _| true), expected);
    }

    #[test]
    fn records_are_found_and_left_out() {
        assert!(answers(REPLY, rtype::A) && !answers(REPLY, rtype::AAAA));
        assert_eq!(soa_ttl_secs(REPLY), None);
        let without = told(&REPLY[12..24], |_, told| told.rtype != rtype::CNAME);
        assert!(answers(&without, rtype::A) && !answers(&without, rtype::CNAME));
        assert_eq!(without[without.len() - 11..], REPLY[REPLY.len() - 11..]);
    }
}
