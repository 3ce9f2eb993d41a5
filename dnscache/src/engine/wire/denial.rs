//! NXDOMAIN for a name, from the NXDOMAIN of a name above it (RFC 8020).

use super::header::{HEADER_LEN, Header, class, rcode, rtype};
use super::name;
use super::question::Question;
use super::reply::{Fixed, Records, Section, Shape};

/// Writes NXDOMAIN for `question` with the SOA of `message`, which denies a name at or above the
/// one asked. The SOA's TTL is counted down by `age_secs` and at most `left_secs`. `spare` is room
/// for names. `None`, with nothing sent, if the message has no SOA of a zone above the name or the
/// reply has no room for it.
pub fn denial(
    out: &mut [u8],
    question: &Question<'_>,
    shape: Shape,
    message: &[u8],
    (age_secs, left_secs): (u32, u32),
    spare: &mut Vec<u8>,
) -> Option<usize> {
    spare.clear();
    let soa = Soa::find(message, spare)?;
    let asked = question.name();
    let owner = &spare[..soa.owner_len];
    let owner_start = asked.len().checked_sub(owner.len())?;
    let is_above = asked[owner_start..].eq_ignore_ascii_case(owner);
    let rdata_len = spare.len() - soa.owner_len;
    let len = HEADER_LEN + question.asked.len() + 12 + rdata_len;
    let shape = shape.fitting(len).filter(|_| is_above)?;
    let mut records = Records::start(out, question, rcode::NXDOMAIN.into(), 0);
    let ttl_secs = soa.ttl_secs.saturating_sub(age_secs).min(left_secs);
    let fixed = Fixed { rtype: rtype::SOA, class: class::IN, ttl_secs };
    let rdata = &spare[soa.owner_len..];
    let owner_at = HEADER_LEN + owner_start;
    records.add_at(Section::Authority, &[], owner_at, fixed, rdata, usize::MAX);
    Some(records.finish(shape))
}

/// An SOA whose owner and RDATA were written out.
struct Soa {
    owner_len: usize,
    ttl_secs: u32,
}

impl Soa {
    /// Finds the first SOA of the authority section; its owner and then its RDATA are appended to
    /// `into`, uncompressed.
    fn find(message: &[u8], into: &mut Vec<u8>) -> Option<Self> {
        let header = Header::read(message)?;
        let mut at = name::skip(message, HEADER_LEN)? + 4;
        let records = header.counts[1] + header.counts[2];
        for index in 0..records {
            let fixed_at = name::skip(message, at)?;
            let fixed: &[u8; 10] = message.get(fixed_at..)?.first_chunk()?;
            let rdata_at = fixed_at + 10;
            let end = rdata_at + usize::from(u16::from_be_bytes([fixed[8], fixed[9]]));
            let is_soa = u16::from_be_bytes([fixed[0], fixed[1]]) == rtype::SOA;
            if is_soa && index >= header.counts[1] {
                name::expand(message, at, into)?;
                let owner_len = into.len();
                let server_end = name::expand(message, rdata_at, into)?;
                let mailbox_end = name::expand(message, server_end, into)?;
                into.extend_from_slice(message.get(mailbox_end..end)?);
                let ttl_secs = u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]);
                return Some(Self { owner_len, ttl_secs });
            }
            at = end;
        }
        None
    }
}
