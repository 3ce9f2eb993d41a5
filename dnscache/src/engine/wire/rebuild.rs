//! The kept part of an answer as a message of its own.
//!
//! Usually everything but upstream's OPT is kept: then it is one copy. Otherwise records are
//! written anew with their names expanded, since a compressed name may point into what was left
//! out (RFC 1035 section 4.1.4, RFC 3597 section 4).

use super::answer::{Digest, Meaning, Rotation};
use super::header::{HEADER_LEN, Header, class, rtype};
use super::name;
use super::survey::{Layout, Record, Survey};

/// The longest message that still leaves room for our OPT over TCP.
const MESSAGE_MAX: usize = 65_535 - 17;

/// Builds the message of `kept` records; `None` if it would be too long. The digest's response
/// code, AD bit and meaning are left for the caller to fill in.
pub fn rebuild(message: &[u8], survey: &Survey, kept: &[Record]) -> Option<Digest> {
    let (bytes, places) = match prefix_len(survey, kept) {
        Some(len) => (message[..len].to_vec(), kept.iter().map(Place::unmoved).collect()),
        None => {
            let asked = &message[HEADER_LEN..survey.question_end - 4];
            let question = message[..survey.question_end].to_vec();
            written_anew(question, (asked, HEADER_LEN), message, survey, kept)?
        }
    };
    joined(bytes, places, survey, kept, 0)
}

/// Puts an alias before the records of a stored message: the answer to `question` (name, type and
/// class) that says it is an alias of what `message` was asked for. TTLs are counted down by
/// `age_secs`, the alias has `ttl_secs`. `None` if the message is not well-formed or the answer
/// too long.
pub fn behind_alias(
    question: &[u8],
    message: &[u8],
    ttl_secs: u32,
    age_secs: u32,
) -> Option<Digest> {
    let header = Header::read(message)?;
    let mut target = Vec::with_capacity(64);
    let question_end = name::expand(message, HEADER_LEN, &mut target)? + 4;
    let survey = Survey::read(message, question_end, &header)?;
    let mut bytes = vec![0; HEADER_LEN];
    bytes.extend_from_slice(question);
    bytes.extend([0xc0, HEADER_LEN as u8]);
    bytes.extend([rtype::CNAME, class::IN].into_iter().flat_map(u16::to_be_bytes));
    let ttl_at = bytes.len() as u16;
    bytes.extend(ttl_secs.to_be_bytes());
    bytes.extend((target.len() as u16).to_be_bytes());
    let target_at = bytes.len();
    bytes.extend_from_slice(&target);
    let (bytes, places) =
        written_anew(bytes, (&target, target_at), message, &survey, &survey.records)?;
    let mut digest = joined(bytes, places, &survey, &survey.records, 1)?;
    for ((_, ttl), record) in digest.ttls.iter_mut().zip(&survey.records) {
        let left_secs = ttl.saturating_sub(age_secs);
        // Clients keep a denial as long as its SOA says, and this one rests on the alias.
        *ttl = if record.is_answer() { left_secs } else { left_secs.min(ttl_secs) };
    }
    digest.ttls.insert(0, (ttl_at, ttl_secs));
    Some(digest)
}

/// Completes a message whose records are written; `aliases` stand before them.
fn joined(
    bytes: Vec<u8>,
    places: Vec<Place>,
    survey: &Survey,
    kept: &[Record],
    aliases: u16,
) -> Option<Digest> {
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
    Header { id: 0, flags: 0, counts: [1, aliases + count(1), count(2), count(3)] }
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

/// Appends the kept records to what is written. Records of `name` point to where it stands.
fn written_anew(
    mut bytes: Vec<u8>,
    (name, name_at): (&[u8], usize),
    message: &[u8],
    survey: &Survey,
    kept: &[Record],
) -> Option<(Vec<u8>, Vec<Place>)> {
    let mut places = Vec::with_capacity(kept.len());
    for record in kept {
        let start = bytes.len();
        let owner = survey.owner(record);
        if owner.eq_ignore_ascii_case(name) {
            bytes.extend((0xc000 | name_at as u16).to_be_bytes());
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
