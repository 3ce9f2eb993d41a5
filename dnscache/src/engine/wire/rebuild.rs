//! The kept part of an answer as a message of its own.
//!
//! Usually everything but upstream's OPT is kept: then it is one copy. Otherwise records are
//! written anew with their names expanded, since a compressed name may point into what was left
//! out (RFC 1035 section 4.1.4, RFC 3597 section 4).

use super::answer::{Digest, Meaning, Rotation};
use super::header::{HEADER_LEN, Header, rtype};
use super::name;
use super::survey::{Layout, Record, Survey};

/// The longest message that still leaves room for our OPT over TCP.
const MESSAGE_MAX: usize = 65_535 - 17;

/// Builds the message of `kept` records; `None` if it would be too long. The digest's response
/// code, AD bit and meaning are left for the caller to fill in.
pub fn rebuild(message: &[u8], survey: &Survey, kept: &[Record]) -> Option<Digest> {
    let (bytes, places) = match prefix_len(survey, kept) {
        Some(len) => (message[..len].to_vec(), kept.iter().map(Place::unmoved).collect()),
        None => written_anew(message, survey, kept)?,
    };
    if bytes.len() > MESSAGE_MAX {
        return None;
    }
    let mut digest = Digest {
        ttls: ttls(kept, &places),
        rotation: rotation(survey, kept, &places),
        message: bytes,
        rcode: 0,
        authentic: false,
        meaning: Meaning::Data,
    };
    let count = |section| kept.iter().filter(|record| record.section == section).count() as u16;
    Header { id: 0, flags: 0, counts: [1, count(1), count(2), count(3)] }
        .write(&mut digest.message);
    Some(digest)
}

/// The length of the message up to the last kept record, if nothing before it is left out.
fn prefix_len(survey: &Survey, kept: &[Record]) -> Option<usize> {
    let is_prefix = survey.records.iter().zip(kept).all(|(found, kept)| found.start == kept.start);
    is_prefix.then(|| kept.last().map_or(survey.question_end, |record| record.end))
}

/// Where a record stands in the new message.
struct Place {
    start: usize,
    fixed_at: usize,
    end: usize,
}

impl Place {
    fn unmoved(record: &Record) -> Self {
        Self { start: record.start, fixed_at: record.fixed_at, end: record.end }
    }
}

fn written_anew(message: &[u8], survey: &Survey, kept: &[Record]) -> Option<(Vec<u8>, Vec<Place>)> {
    let mut bytes = message[..survey.question_end].to_vec();
    let mut places = Vec::with_capacity(kept.len());
    let asked = &message[HEADER_LEN..survey.question_end - 4];
    for record in kept {
        let start = bytes.len();
        let owner = survey.owner(record);
        if owner.eq_ignore_ascii_case(asked) {
            bytes.extend([0xc0, HEADER_LEN as u8]);
        } else {
            bytes.extend(owner);
        }
        let fixed_at = bytes.len();
        bytes.extend(&message[record.fixed_at..record.rdata_at - 2]);
        let len_at = bytes.len();
        bytes.extend([0, 0]);
        expand_rdata(message, record, &mut bytes)?;
        let rdata_len = u16::try_from(bytes.len() - len_at - 2).ok()?;
        bytes[len_at..len_at + 2].copy_from_slice(&rdata_len.to_be_bytes());
        places.push(Place { start, fixed_at, end: bytes.len() });
    }
    Some((bytes, places))
}

/// Appends a record's RDATA with its names expanded.
fn expand_rdata(message: &[u8], record: &Record, bytes: &mut Vec<u8>) -> Option<()> {
    let layout = Layout::of(record.rtype);
    let mut at = layout.first_name(message, record.rdata_at, record.end)?;
    bytes.extend(message.get(record.rdata_at..at)?);
    for _ in 0..layout.names {
        at = name::expand(message, at, bytes)?;
    }
    bytes.extend(message.get(at..record.end)?);
    Some(())
}

/// Offsets of the TTL fields and their values.
fn ttls(kept: &[Record], places: &[Place]) -> Vec<(u16, u32)> {
    let after_type_and_class = 4;
    let offset = |place: &Place| (place.fixed_at + after_type_and_class) as u16;
    kept.iter().zip(places).map(|(record, place)| (offset(place), record.ttl_secs)).collect()
}

/// The first run of two or more address records of one owner and equal length in the answer.
fn rotation(survey: &Survey, kept: &[Record], places: &[Place]) -> Option<Rotation> {
    let is_address =
        |record: &Record| record.is_answer() && matches!(record.rtype, rtype::A | rtype::AAAA);
    let first = kept.iter().position(is_address)?;
    let len = |index: usize| places[index].end - places[index].start;
    let alike = |index: &usize| {
        is_address(&kept[*index])
            && survey.owner(&kept[*index]) == survey.owner(&kept[first])
            && len(*index) == len(first)
    };
    let count = (first..kept.len()).take_while(alike).count();
    (count > 1).then(|| Rotation {
        start: places[first].start as u16,
        record_len: len(first) as u16,
        count: count as u16,
    })
}
