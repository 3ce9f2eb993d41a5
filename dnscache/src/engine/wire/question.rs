//! A client's query, parsed in place.

use super::edns::ClientEdns;
use super::header::{HEADER_LEN, Header, flag, rcode, rtype};
use super::name::{LABEL_MAX, NAME_MAX, skip};
use crate::engine::DropReason;

/// A well-formed query of one question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question<'a> {
    /// The header as sent.
    pub header: Header,
    /// Name, type and class as asked: the octets a reply repeats.
    pub asked: &'a [u8],
    /// Type.
    pub qtype: u16,
    /// Class.
    pub qclass: u16,
    /// The OPT record, if there is one.
    pub edns: Option<ClientEdns>,
}

impl<'a> Question<'a> {
    /// The name as asked: uncompressed wire form, any case.
    pub fn name(&self) -> &'a [u8] {
        &self.asked[..self.asked.len() - 4]
    }

    /// Whether DNSSEC records are wanted.
    pub fn dnssec_ok(&self) -> bool {
        self.edns.is_some_and(|edns| edns.dnssec_ok)
    }

    /// Whether the client wants to know if the answer was validated (RFC 6840 section 5.7).
    pub fn wants_authentic(&self) -> bool {
        self.dnssec_ok() || self.header.has(flag::AD)
    }
}

/// What a packet turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// A query.
    Query(Question<'a>),
    /// Something to refuse with a response code.
    Refuse(Refused<'a>),
    /// Something that gets no reply.
    Drop(DropReason),
}

/// A message that is answered with a response code alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused<'a> {
    /// The header as sent.
    pub header: Header,
    /// Name, type and class, if they were understood.
    pub asked: Option<&'a [u8]>,
    /// The OPT record, if it was understood.
    pub edns: Option<ClientEdns>,
    /// Response code, up to twelve bits.
    pub rcode: u16,
}

/// BADVERS (RFC 6891 section 9): an EDNS version we do not speak.
pub const BADVERS: u16 = 16;

/// Parses a packet. Every octet must be accounted for: lying counts and trailing garbage are
/// FORMERR (RFC 1035 section 4.1.1).
#[inline]
pub fn parse(packet: &[u8]) -> Parsed<'_> {
    let Some(header) = Header::read(packet) else {
        return Parsed::Drop(DropReason::Short);
    };
    if header.has(flag::QR) {
        return Parsed::Drop(DropReason::Response);
    }
    let refuse = |rcode: u16, asked, edns| Parsed::Refuse(Refused { header, asked, edns, rcode });
    if header.flags & flag::OPCODE != 0 {
        return refuse(rcode::NOTIMP.into(), None, None);
    }
    let formerr = u16::from(rcode::FORMERR);
    let Some(asked) = one_question(packet, &header) else {
        return refuse(formerr, None, None);
    };
    let rest = header.counts[2] + header.counts[3].min(u16::MAX - 1);
    let Ok(edns) = additional(packet, HEADER_LEN + asked.len(), rest) else {
        return refuse(formerr, Some(asked), None);
    };
    if edns.is_some_and(|edns| edns.version > 0) {
        return refuse(BADVERS, Some(asked), edns);
    }
    let word = |back: usize| {
        let at = asked.len() - back;
        u16::from_be_bytes([asked[at], asked[at + 1]])
    };
    Parsed::Query(Question { header, asked, qtype: word(4), qclass: word(2), edns })
}

/// The octets of the only question; `None` unless there is exactly one, its name is uncompressed
/// (there is nothing before it to point to) and well-formed, and no other section but the
/// additional one is filled. IXFR brings an SOA in the authority section (RFC 1995 section 3); it
/// is let through here to be refused for what it is.
#[inline]
fn one_question<'a>(packet: &'a [u8], header: &Header) -> Option<&'a [u8]> {
    if header.counts[..2] != [1, 0] || header.counts[2] > 1 {
        return None;
    }
    let mut at = HEADER_LEN;
    loop {
        let len = usize::from(*packet.get(at)?);
        if len > LABEL_MAX {
            return None;
        }
        at += 1 + len;
        if at - HEADER_LEN > NAME_MAX {
            return None;
        }
        if len == 0 {
            break;
        }
    }
    let asked = packet.get(HEADER_LEN..at + 4)?;
    let is_transfer = asked[asked.len() - 4..][..2] == rtype::IXFR.to_be_bytes();
    (header.counts[2] == 0 || is_transfer).then_some(asked)
}

/// A section that is not well-formed.
struct Malformed;

/// Walks the additional section from `at` to the end of the packet and reads its OPT record.
fn additional(packet: &[u8], mut at: usize, count: u16) -> Result<Option<ClientEdns>, Malformed> {
    let mut edns = None;
    for _ in 0..count {
        let fixed = skip(packet, at).ok_or(Malformed)?;
        let head: &[u8; 10] = packet.get(fixed..).and_then(<[u8]>::first_chunk).ok_or(Malformed)?;
        let rdata_len = usize::from(u16::from_be_bytes([head[8], head[9]]));
        let end = fixed + 10 + rdata_len;
        let rdata = packet.get(fixed + 10..end).ok_or(Malformed)?;
        if u16::from_be_bytes([head[0], head[1]]) == rtype::OPT {
            let is_root = fixed == at + 1;
            if edns.is_some() || !is_root {
                return Err(Malformed);
            }
            let class = u16::from_be_bytes([head[2], head[3]]);
            let ttl = [head[4], head[5], head[6], head[7]];
            edns = Some(ClientEdns::read(class, ttl, rdata).ok_or(Malformed)?);
        }
        at = end;
    }
    if at == packet.len() { Ok(edns) } else { Err(Malformed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &[u8] = b"\x12\x34\x01\x00\0\x01\0\0\0\0\0\0\x03wWw\x07example\0\0\x01\0\x01";

    fn with(packet: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
        let mut changed = packet.to_vec();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        changed
    }

    fn with_opt(opt: &[u8], count: u8) -> Vec<u8> {
        let mut packet = with(PLAIN, 11, &[count]);
        packet.extend_from_slice(opt);
        packet
    }

    fn rcode_of(packet: &[u8]) -> u16 {
        match parse(packet) {
            Parsed::Refuse(refused) => refused.rcode,
            other => panic!("expected a refusal, got {other:?}"),
        }
    }

    #[test]
    fn a_plain_query_is_understood() {
        let Parsed::Query(question) = parse(PLAIN) else { panic!("a query") };
        assert_eq!(question.name(), b"\x03wWw\x07example\0");
        assert_eq!((question.qtype, question.qclass, question.edns), (1, 1, None));
        assert_eq!(question.header.id, 0x1234);
    }

    #[test]
    fn edns_is_understood_and_its_options_ignored() {
        let packet = with_opt(b"\0\0\x29\x10\0\0\0\x80\0\0\x06\xff\xfe\0\x02ab", 1);
        let Parsed::Query(question) = parse(&packet) else { panic!("a query") };
        assert_eq!(question.edns, Some(ClientEdns { udp_size: 4096, version: 0, dnssec_ok: true }));
        assert!(question.wants_authentic());
    }

    #[test]
    fn what_is_no_query_is_dropped() {
        assert_eq!(parse(&PLAIN[..11]), Parsed::Drop(DropReason::Short));
        assert_eq!(parse(&with(PLAIN, 2, b"\x81")), Parsed::Drop(DropReason::Response));
    }

    #[test]
    fn defects_are_refused() {
        let opt = b"\0\0\x29\x10\0\0\0\0\0\0\0";
        let twice = [&opt[..], opt].concat();
        for (defect, packet, rcode) in [
            ("opcode STATUS", with(PLAIN, 2, b"\x10"), 4),
            ("no question", with(PLAIN, 5, b"\0"), 1),
            ("two questions", with(PLAIN, 5, b"\x02"), 1),
            ("an answer", with(PLAIN, 7, b"\x01"), 1),
            ("an authority", with(PLAIN, 9, b"\x01"), 1),
            ("a promised additional", with(PLAIN, 11, b"\x01"), 1),
            ("a long label", with(PLAIN, 12, b"\x40"), 1),
            ("a pointer", with(PLAIN, 12, b"\xc0\x0c"), 1),
            ("cut", PLAIN[..PLAIN.len() - 1].to_vec(), 1),
            ("garbage", [PLAIN, b"x"].concat(), 1),
            ("two OPTs", with_opt(&twice, 2), 1),
            ("OPT with a name", with_opt(b"\x01a\0\0\x29\x10\0\0\0\0\0\0\0", 1), 1),
            ("OPT with lying options", with_opt(b"\0\0\x29\x10\0\0\0\0\0\0\x04\0\x0a\0\x01", 1), 1),
            ("EDNS version 1", with_opt(b"\0\0\x29\x10\0\0\x01\0\0\0\0", 1), BADVERS),
        ] {
            assert_eq!(rcode_of(&packet), rcode, "{defect}");
        }
    }

    #[test]
    fn a_name_of_255_octets_is_the_longest() {
        let label = [&[63][..], &[b'a'; 63]].concat();
        let name =
            |last: usize| [label.repeat(3), vec![last as u8], vec![b'b'; last], vec![0]].concat();
        let packet = |name: &[u8]| [&PLAIN[..12], name, b"\0\x01\0\x01"].concat();
        assert!(matches!(parse(&packet(&name(61))), Parsed::Query(_)));
        assert_eq!(rcode_of(&packet(&name(62))), 1);
    }
}
