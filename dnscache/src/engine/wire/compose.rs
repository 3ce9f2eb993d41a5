//! A reply put together record by record, its names compressed (RFC 1035 section 4.1.4).

use super::edns;
use super::header::{HEADER_LEN, Header, flag, rtype};
use super::name::labels;
use super::reply::{Fixed, Opt, Section};
use super::survey::Layout;

/// Octets a pointer can reach.
const POINTER_REACH: usize = 0x4000;
/// Places that names may point to; names beyond them are written out.
const PLACES_MAX: usize = 48;

/// A reply being put together. What does not fit is left out: the whole answer with TC, so that
/// nobody takes a part for it (RFC 2181 section 9), and additional records without a word.
pub struct Composer<'a> {
    out: &'a mut [u8],
    header: Header,
    end: usize,
    question_end: usize,
    /// Octets that the question and records may take.
    room: usize,
    places: [u16; PLACES_MAX],
    places_len: usize,
    is_full: bool,
}

impl<'a> Composer<'a> {
    /// Starts a reply with this ID, these flags and this question (name, type and class); `room` is
    /// what may be written before the OPT record.
    pub fn start(out: &'a mut [u8], id: u16, flags: u16, asked: &[u8], room: usize) -> Self {
        let question_end = HEADER_LEN + asked.len();
        out[HEADER_LEN..question_end].copy_from_slice(asked);
        let room = room.min(out.len());
        let header = Header { id, flags, counts: [1, 0, 0, 0] };
        let mut composer = Self {
            out,
            header,
            end: question_end,
            question_end,
            room,
            places: [0; PLACES_MAX],
            places_len: 0,
            is_full: false,
        };
        composer.remember(HEADER_LEN, &asked[..asked.len() - 4]);
        composer
    }

    /// Adds a record; owner and RDATA have their names uncompressed. Sections come in order.
    pub fn add(&mut self, section: Section, owner: &[u8], fixed: Fixed, rdata: &[u8]) {
        if self.is_full {
            return;
        }
        let (end, places_len) = (self.end, self.places_len);
        if self.put_record(owner, fixed, rdata).is_some() {
            self.header.counts[section as usize] += 1;
            return;
        }
        self.is_full = true;
        (self.end, self.places_len) = (end, places_len);
        if section != Section::Additional {
            self.end = self.question_end;
            self.header.counts = [1, 0, 0, 0];
            self.header.flags |= flag::TC;
        }
    }

    /// Whether the reply says that it is not whole.
    pub fn is_truncated(&self) -> bool {
        self.header.flags & flag::TC != 0
    }

    /// Ends the reply with an OPT record that was written before; returns its octets.
    pub fn finish_with(mut self, opt: &[u8]) -> usize {
        if let Some(place) = self.out.get_mut(self.end..self.end + opt.len())
            && !opt.is_empty()
        {
            place.copy_from_slice(opt);
            self.end += opt.len();
            self.header.counts[Section::Additional as usize] += 1;
        }
        self.header.write(self.out);
        self.end
    }

    /// Ends the reply with an OPT record, whose extended error may have a text; returns its octets.
    pub fn finish(self, opt: Option<Opt>, text: &str) -> usize {
        let Some(opt) = opt else { return self.finish_with(&[]) };
        let mut octets = [0; edns::OPT_LEN + 6 + EXTENDED_TEXT_MAX];
        let code = opt.extended_error;
        let mut len = edns::write(&mut octets, opt.udp_size, opt.dnssec_ok, 0, code);
        if code.is_some() && !text.is_empty() && text.len() <= EXTENDED_TEXT_MAX {
            octets[len..len + text.len()].copy_from_slice(text.as_bytes());
            len += text.len();
            let rdata_len = (len - edns::OPT_LEN) as u16;
            octets[9..11].copy_from_slice(&rdata_len.to_be_bytes());
            octets[13..15].copy_from_slice(&(rdata_len - 4).to_be_bytes());
        }
        self.finish_with(&octets[..len])
    }

    /// `None` if there is no room for it.
    fn put_record(&mut self, owner: &[u8], fixed: Fixed, rdata: &[u8]) -> Option<()> {
        self.put_name(owner)?;
        self.put(&fixed.rtype.to_be_bytes())?;
        self.put(&fixed.class.to_be_bytes())?;
        self.put(&fixed.ttl_secs.to_be_bytes())?;
        let len_at = self.end;
        self.put(&[0, 0])?;
        self.put_rdata(fixed.rtype, rdata)?;
        let len = u16::try_from(self.end - len_at - 2).ok()?;
        self.out[len_at..len_at + 2].copy_from_slice(&len.to_be_bytes());
        Some(())
    }

    fn put_rdata(&mut self, rtype: u16, rdata: &[u8]) -> Option<()> {
        if !may_be_compressed(rtype) {
            return self.put(rdata);
        }
        let layout = Layout::of(rtype);
        let (before, mut rest) = rdata.split_at_checked(layout.before)?;
        self.put(before)?;
        for _ in 0..layout.names {
            let (name, after) = rest.split_at_checked(name_len(rest)?)?;
            self.put_name(name)?;
            rest = after;
        }
        self.put(rest)
    }

    /// Writes a name, its end as a pointer if that end stands in the reply already.
    fn put_name(&mut self, name: &[u8]) -> Option<()> {
        let mut at = 0;
        let start = self.end;
        while *name.get(at)? != 0 {
            if let Some(place) = self.place_of(&name[at..]) {
                self.put(&name[..at])?;
                self.put(&(0xc000 | place).to_be_bytes())?;
                self.remember(start, &name[..at]);
                return Some(());
            }
            at += 1 + usize::from(name[at]);
        }
        self.put(name)?;
        self.remember(start, name);
        Some(())
    }

    fn place_of(&self, name: &[u8]) -> Option<u16> {
        let places = &self.places[..self.places_len];
        places.iter().copied().find(|&place| is_name_at(self.out, place.into(), name))
    }

    /// Notes where each label of a name begins that was written at `at`.
    fn remember(&mut self, mut at: usize, name: &[u8]) {
        for label in labels(name) {
            if at >= POINTER_REACH || self.places_len == PLACES_MAX {
                return;
            }
            self.places[self.places_len] = at as u16;
            self.places_len += 1;
            at += 1 + label.len();
        }
    }

    fn put(&mut self, octets: &[u8]) -> Option<()> {
        let end = self.end + octets.len();
        if end > self.room {
            return None;
        }
        self.out[self.end..end].copy_from_slice(octets);
        self.end = end;
        Some(())
    }
}

/// Octets that the text of an extended error may have.
pub const EXTENDED_TEXT_MAX: usize = 128;

/// Octets of the uncompressed name that begins `octets`.
pub fn name_len(octets: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let len = usize::from(*octets.get(at)?);
        at += 1 + len;
        if len == 0 {
            return Some(at);
        }
    }
}

/// Types whose names in RDATA may be compressed (RFC 3597 section 4).
fn may_be_compressed(rtype: u16) -> bool {
    matches!(rtype, rtype::NS | rtype::CNAME | rtype::SOA | rtype::PTR | rtype::MX)
}

/// Whether the name at `at` of what was written is `name`, in any case.
fn is_name_at(written: &[u8], mut at: usize, name: &[u8]) -> bool {
    let mut rest = name;
    loop {
        let len = usize::from(written[at]);
        if len >= 0xc0 {
            at = (len & 0x3f) << 8 | usize::from(written[at + 1]);
            continue;
        }
        if len == 0 || rest.is_empty() {
            return rest == [0];
        }
        let Some(label) = rest.get(..=len) else { return false };
        if !written[at..=at + len].eq_ignore_ascii_case(label) {
            return false;
        }
        rest = &rest[1 + len..];
        at += 1 + len;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::wire::name::Name;

    fn wire(text: &str) -> Vec<u8> {
        Name::from_text(text).expect("a name").wire().to_vec()
    }

    const A: Fixed = Fixed { rtype: rtype::A, class: 1, ttl_secs: 60 };

    fn asked(name: &str) -> Vec<u8> {
        [&wire(name)[..], b"\0\x01\0\x01"].concat()
    }

    #[test]
    fn names_point_to_what_stands_before_them() {
        let mut out = [0; 512];
        let mut composer = Composer::start(&mut out, 7, flag::QR, &asked("www.example"), 512);
        let alias = Fixed { rtype: rtype::CNAME, ..A };
        composer.add(Section::Answer, &wire("www.example"), alias, &wire("cdn.example"));
        composer.add(Section::Answer, &wire("cdn.example"), A, &[192, 0, 2, 1]);
        composer.add(Section::Answer, &wire("x.cdn.example"), A, &[192, 0, 2, 2]);
        let len = composer.finish_with(&[]);
        let records = b"\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x06\x03cdn\xc0\x10\
            \xc0\x29\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x01\
            \x01x\xc0\x29\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x02";
        assert_eq!(&out[HEADER_LEN + 17..len], records);
        assert_eq!(&out[4..12], b"\0\x01\0\x03\0\0\0\0");
    }

    #[test]
    fn an_answer_without_room_is_left_out_as_a_whole() {
        let mut out = [0; 512];
        let mut composer = Composer::start(&mut out, 7, flag::QR, &asked("a"), 12 + 7 + 16 + 15);
        composer.add(Section::Answer, &wire("a"), A, &[192, 0, 2, 1]);
        assert!(!composer.is_truncated());
        composer.add(Section::Answer, &wire("a"), A, &[192, 0, 2, 2]);
        assert!(composer.is_truncated());
        composer.add(Section::Additional, &wire("b"), A, &[]);
        assert_eq!(composer.finish_with(b"\0\0\x29\x04\xd0\0\0\0\0\0\0"), 12 + 7 + 11);
        assert_eq!(&out[2..12], b"\x82\0\0\x01\0\0\0\0\0\x01");
    }

    #[test]
    fn an_additional_record_without_room_is_not_missed() {
        let mut out = [0; 512];
        let mut composer = Composer::start(&mut out, 7, flag::QR, &asked("a"), 12 + 7 + 16);
        composer.add(Section::Answer, &wire("a"), A, &[192, 0, 2, 1]);
        composer.add(Section::Additional, &wire("b"), A, &[192, 0, 2, 2]);
        assert!(!composer.is_truncated());
        assert_eq!(composer.finish_with(&[]), 12 + 7 + 16);
    }

    #[test]
    fn an_extended_error_has_its_text() {
        let mut out = [0; 512];
        let composer = Composer::start(&mut out, 7, flag::QR, &asked("a"), 512);
        let opt = Opt { udp_size: 1232, dnssec_ok: false, extended_error: Some(21) };
        let len = composer.finish(Some(opt), "why");
        assert_eq!(&out[19..len], b"\0\0\x29\x04\xd0\0\0\0\0\0\x09\0\x0f\0\x05\0\x15why");
    }
}
