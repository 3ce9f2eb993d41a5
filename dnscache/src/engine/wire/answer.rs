//! What upstream said, looked at before it is believed.
//!
//! [`classify`] decides what kind of message it is; [`digest`] takes the parts that answer the
//! question and leaves everything else behind: records of other names (RFC 5452 section 6),
//! upstream's OPT, counts that do not fit. A message of which all is kept is kept byte for byte.

use super::bailiwick::Keep;
use super::header::{HEADER_LEN, Header, class, flag, rcode, rtype};
use super::name::{self, wire_is_at_or_below};
use super::rebuild;
use super::survey::{Record, Survey};
use crate::engine::cache::key::Key;

/// What kind of message upstream sent to a question, decided without keeping anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// NOERROR or NXDOMAIN, well-formed: worth learning. The response code.
    Answer(u8),
    /// TC is set: ask again over TCP.
    Truncated,
    /// Any other response code (SERVFAIL, REFUSED, FORMERR, NOTIMP, BADVERS as 16, ...).
    Failure(u8),
    /// Breaks the rules: counts that lie, loops, foreign question, a referral, ...
    Broken,
}

/// Classifies a message that upstream sent to the question `key`.
pub fn classify(key: &Key, message: &[u8]) -> Class {
    match digest(key, message) {
        Ok(digest) => Class::Answer(digest.rcode),
        Err(class) => class,
    }
}

/// The part of a message that answers the question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    /// Header, question and kept records, without OPT. ID and flags have no meaning.
    pub message: Vec<u8>,
    /// Where the TTLs of the kept records stand in it, and what they are (RFC 2181 section 8: a
    /// TTL with the top bit set is zero).
    pub ttls: Vec<(u16, u32)>,
    /// NOERROR or NXDOMAIN.
    pub rcode: u8,
    /// Upstream's AD bit.
    pub authentic: bool,
    /// What the answer says.
    pub meaning: Meaning,
    /// Address records that may be rotated.
    pub rotation: Option<Rotation>,
}

/// What an answer says about the name and type asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// Records of the type asked, at the end of the chain.
    Data,
    /// NXDOMAIN or NODATA with the SOA that gives it a lifetime in seconds (RFC 2308 section 5):
    /// the smaller of the SOA's TTL and its MINIMUM, and where the SOA's TTL stands.
    Denied {
        /// Lifetime in seconds.
        ttl_secs: u32,
        /// Offset of the SOA's TTL in `Digest::message`.
        soa_ttl_at: u16,
    },
    /// NXDOMAIN without an SOA.
    DeniedWithoutSoa,
    /// An alias without its target, or nothing at all, and no SOA: passed on, not kept, because
    /// the next question may find it whole.
    Incomplete,
}

/// A run of equally long address records of one owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// Where the first record starts.
    pub start: u16,
    /// Octets of one record.
    pub record_len: u16,
    /// How many there are, at least 2.
    pub count: u16,
}

/// Takes from `message` what answers the question `key`.
///
/// # Errors
/// The class of a message that is no answer.
pub fn digest(key: &Key, message: &[u8]) -> Result<Digest, Class> {
    let header = response_header(message)?;
    let question_end = matching_question(key, message, &header)?;
    if header.has(flag::TC) {
        return Err(Class::Truncated);
    }
    let survey = Survey::read(message, question_end, &header).ok_or(Class::Broken)?;
    match survey.extended_rcode(header.rcode()) {
        code @ (0 | 3) => pick(key, message, &header, &survey, code as u8),
        code => Err(Class::Failure(u8::try_from(code).unwrap_or(rcode::SERVFAIL))),
    }
}

/// The header, if it is a response to a query.
fn response_header(message: &[u8]) -> Result<Header, Class> {
    let header = Header::read(message).ok_or(Class::Broken)?;
    let is_response = header.has(flag::QR) && header.flags & flag::OPCODE == 0;
    if !is_response {
        return Err(Class::Broken);
    }
    // A server that did not understand the query may return its header alone.
    let gave_up = matches!(header.rcode(), rcode::FORMERR | rcode::NOTIMP);
    if gave_up && header.counts == [0; 4] {
        return Err(Class::Failure(header.rcode()));
    }
    Ok(header)
}

/// Where the question ends, if it is the one that was asked.
fn matching_question(key: &Key, message: &[u8], header: &Header) -> Result<usize, Class> {
    let mut asked = Vec::with_capacity(key.name().len());
    let at = name::expand(message, HEADER_LEN, &mut asked).ok_or(Class::Broken)?;
    let fixed = message.get(at..at + 4).ok_or(Class::Broken)?;
    let expected = [key.qtype().to_be_bytes(), key.qclass().to_be_bytes()].concat();
    let uncompressed = at - HEADER_LEN == key.name().len();
    let matches = header.counts[0] == 1 && uncompressed && asked == key.name() && fixed == expected;
    if matches { Ok(at + 4) } else { Err(Class::Broken) }
}

/// How many aliases one answer may chain.
const CHAIN_MAX: usize = 16;

/// The names from the one asked to the end of its aliases.
pub(super) struct Chain<'s> {
    /// From the name asked on.
    pub(super) names: Vec<&'s [u8]>,
    /// Owners of DNAME records that led on.
    pub(super) redirects: Vec<&'s [u8]>,
}

impl<'s> Chain<'s> {
    /// Follows the aliases in the answer section; `None` for a chain that is too long, which is
    /// also how a loop ends.
    fn follow(key: &'s Key, survey: &'s Survey) -> Option<Self> {
        let mut chain = Self { names: vec![key.name()], redirects: Vec::new() };
        let wants_alias = matches!(key.qtype(), rtype::CNAME | rtype::ANY);
        while let Some(next) = (!wants_alias).then(|| chain.alias(key, survey)).flatten() {
            if chain.names.len() > CHAIN_MAX {
                return None;
            }
            chain.names.push(next);
        }
        for record in survey.answers().filter(|record| record.rtype == rtype::DNAME) {
            let owner = survey.owner(record);
            if chain.names.iter().any(|name| *name != owner && wire_is_at_or_below(name, owner)) {
                chain.redirects.push(owner);
            }
        }
        Some(chain)
    }

    fn alias(&self, key: &Key, survey: &'s Survey) -> Option<&'s [u8]> {
        let end = self.end();
        survey
            .answers()
            .find(|record| record.is(rtype::CNAME, key.qclass()) && survey.owner(record) == end)
            .and_then(|record| survey.target(record))
    }

    /// The name the data must have.
    pub(super) fn end(&self) -> &'s [u8] {
        self.names.last().expect("a chain starts with the name asked")
    }

    /// Whether a name is one of them, or one that redirected to them.
    pub(super) fn leads_through(&self, owner: &[u8]) -> bool {
        self.names.contains(&owner) || self.redirects.contains(&owner)
    }

    /// Whether `zone` holds one of the names.
    pub(super) fn is_under(&self, zone: &[u8]) -> bool {
        self.names.iter().any(|name| wire_is_at_or_below(name, zone))
    }
}

/// Chooses the records that answer the question, and says what they mean.
fn pick(
    key: &Key,
    message: &[u8],
    header: &Header,
    survey: &Survey,
    rcode: u8,
) -> Result<Digest, Class> {
    let chain = Chain::follow(key, survey).ok_or(Class::Broken)?;
    let end = chain.end();
    let has_data = rcode == rcode::NOERROR
        && survey
            .answers()
            .any(|record| record.is(key.qtype(), key.qclass()) && survey.owner(record) == end);
    let soa = survey
        .authorities()
        .find(|record| record.is(rtype::SOA, key.qclass()) && chain.is_under(survey.owner(record)));
    let meaning = match (has_data, soa, rcode) {
        (true, _, _) => Meaning::Data,
        (false, Some(soa), _) => {
            Meaning::Denied { ttl_secs: survey.negative_ttl_secs(soa), soa_ttl_at: 0 }
        }
        (false, None, rcode::NXDOMAIN) => Meaning::DeniedWithoutSoa,
        (false, None, _) if is_referral(&chain, survey, header) => return Err(Class::Broken),
        (false, None, _) if is_beside_the_point(&chain, survey) => return Err(Class::Broken),
        (false, None, _) => Meaning::Incomplete,
    };
    let keep = Keep::new(key, survey, &chain, has_data);
    let kept: Vec<Record> =
        survey.records.iter().filter(|record| keep.wants(record)).copied().collect();
    let mut digest = rebuild::rebuild(message, survey, &kept).ok_or(Class::Broken)?;
    digest.rcode = rcode;
    digest.authentic = header.has(flag::AD);
    digest.meaning = match meaning {
        Meaning::Denied { ttl_secs, .. } => {
            Meaning::Denied { ttl_secs, soa_ttl_at: digest.soa_ttl_at(&kept) }
        }
        other => other,
    };
    Ok(digest)
}

impl Digest {
    /// Where the TTL of the first SOA among the kept records stands.
    fn soa_ttl_at(&self, kept: &[Record]) -> u16 {
        let position =
            kept.iter().position(|record| record.rtype == rtype::SOA && !record.is_answer());
        position.and_then(|index| self.ttls.get(index)).map_or(0, |(at, _)| *at)
    }
}

/// Answers, but none that belongs to the question: not even an alias of its name.
fn is_beside_the_point(chain: &Chain<'_>, survey: &Survey) -> bool {
    chain.names.len() == 1 && survey.answers().next().is_some()
}

/// A pointer to other servers, which a forwarder's upstream has no business sending: name servers
/// of a zone above the name, no answer, no authority of its own (RFC 2308 section 2.2).
fn is_referral(chain: &Chain<'_>, survey: &Survey, header: &Header) -> bool {
    let names_servers = survey
        .authorities()
        .any(|record| record.rtype == rtype::NS && chain.is_under(survey.owner(record)));
    names_servers && !header.has(flag::AA) && survey.answers().next().is_none()
}

/// Whether a class may be asked upstream at all: IN and those nobody has assigned, which pass
/// through; the classes of other systems and the pseudo-classes make no sense to forward.
pub fn is_forwardable_class(qclass: u16) -> bool {
    qclass == class::IN || !matches!(qclass, 0 | 2..=4 | 254 | 255)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::RouteId;
    use crate::engine::cache::key::Flags;
    use crate::engine::wire::name::Name;

    fn wire(text: &str) -> Vec<u8> {
        Name::from_text(text).expect("a name").wire().to_vec()
    }

    fn key(name: &str, qtype: u16) -> Key {
        Key::new(RouteId(0), &wire(name), qtype, class::IN, Flags::default())
    }

    fn record(owner: &[u8], rtype: u16, ttl_secs: u32, rdata: &[u8]) -> Vec<u8> {
        let fixed = [&rtype.to_be_bytes()[..], &[0, 1], &ttl_secs.to_be_bytes()].concat();
        [owner, &fixed, &(rdata.len() as u16).to_be_bytes(), rdata].concat()
    }

    fn soa(zone: &str, ttl_secs: u32, minimum_secs: u32) -> Vec<u8> {
        let rdata = [&[0, 0][..], &[0; 16], &minimum_secs.to_be_bytes()].concat();
        record(&wire(zone), rtype::SOA, ttl_secs, &rdata)
    }

    /// A response to `key` with these flags (besides QR) and sections.
    fn response(key: &Key, flags: u16, sections: [&[Vec<u8>]; 3]) -> Vec<u8> {
        let count = |section: &[Vec<u8>]| section.len() as u16;
        let counts = [1, count(sections[0]), count(sections[1]), count(sections[2])];
        let mut message = vec![0; HEADER_LEN];
        Header { id: 7, flags: flag::QR | flags, counts }.write(&mut message);
        message.extend(key.name());
        message.extend(key.qtype().to_be_bytes());
        message.extend(key.qclass().to_be_bytes());
        message.extend(sections.concat().concat());
        message
    }

    const QUESTION: &[u8] = b"\xc0\x0c";
    const OPT: &[u8] = b"\0\0\x29\x04\xd0\0\0\0\0\0\0";

    #[test]
    fn an_answer_is_kept_byte_for_byte_without_upstreams_opt() {
        let key = key("www.example.org", rtype::HTTPS);
        let unknown = record(QUESTION, rtype::HTTPS, 60, b"\0\x01\0\0\x01\0\x03\x02h2");
        let message = response(&key, flag::AD, [&[unknown], &[], &[OPT.to_vec()]]);
        let digest = digest(&key, &message).expect("an answer");
        assert_eq!(digest.message[12..], message[12..message.len() - OPT.len()]);
        assert_eq!(digest.ttls, [(12 + 17 + 4 + 6, 60)]);
        assert_eq!((digest.meaning, digest.authentic), (Meaning::Data, true));
    }

    #[test]
    fn foreign_records_are_left_behind_and_names_stay_whole() {
        let key = key("www.example.org", rtype::A);
        let foreign = record(&wire("victim.example"), rtype::A, 60, &[192, 0, 2, 66]);
        let alias = record(QUESTION, rtype::CNAME, 60, b"\x03cdn\xc0\x10");
        // The address' owner is compressed against the alias' RDATA, behind the foreign record.
        let alias_target = 12 + 21 + foreign.len() + 12;
        let owner = [0xc0 | (alias_target >> 8) as u8, alias_target as u8];
        let address = record(&owner, rtype::A, 30, &[192, 0, 2, 1]);
        let extra = record(&wire("ns.victim.example"), rtype::A, 60, &[192, 0, 2, 66]);
        let message = response(&key, 0, [&[foreign, alias, address], &[], &[extra]]);
        let digest = digest(&key, &message).expect("an answer");
        let expected = response(
            &key,
            0,
            [
                &[
                    record(QUESTION, rtype::CNAME, 60, &wire("cdn.example.org")),
                    record(&wire("cdn.example.org"), rtype::A, 30, &[192, 0, 2, 1]),
                ],
                &[],
                &[],
            ],
        );
        assert_eq!(digest.message[4..], expected[4..]);
        let ttl_at = |at: u16| {
            let at = usize::from(at);
            u32::from_be_bytes(digest.message[at..at + 4].try_into().expect("four octets"))
        };
        assert!(digest.ttls.iter().all(|(at, ttl_secs)| ttl_at(*at) == *ttl_secs));
    }

    #[test]
    fn denials_are_told_apart() {
        let key = key("a.example.org", rtype::A);
        fn meaning(key: &Key, flags: u16, sections: [&[Vec<u8>]; 3]) -> Result<Meaning, Class> {
            digest(key, &response(key, flags, sections)).map(|digest| digest.meaning)
        }
        let nxdomain = u16::from(rcode::NXDOMAIN);
        let zone = soa("example.org", 900, 20);
        let soa_ttl_at = 12 + 19 + 13 + 4;
        let denied = Meaning::Denied { ttl_secs: 20, soa_ttl_at };
        assert_eq!(meaning(&key, nxdomain, [&[], std::slice::from_ref(&zone), &[]]), Ok(denied));
        assert_eq!(meaning(&key, 0, [&[], &[zone], &[]]), Ok(denied));
        assert_eq!(meaning(&key, nxdomain, [&[], &[], &[]]), Ok(Meaning::DeniedWithoutSoa));
        // An SOA of somebody else's zone says nothing about this name.
        assert_eq!(
            meaning(&key, nxdomain, [&[], &[soa("example.com", 9, 9)], &[]]),
            Ok(Meaning::DeniedWithoutSoa)
        );
        assert_eq!(meaning(&key, 0, [&[], &[], &[]]), Ok(Meaning::Incomplete));
        let alias = record(QUESTION, rtype::CNAME, 60, &wire("b.example.org"));
        assert_eq!(meaning(&key, 0, [&[alias], &[], &[]]), Ok(Meaning::Incomplete));
        let delegation = record(&wire("example.org"), rtype::NS, 60, &wire("ns.example.org"));
        assert_eq!(meaning(&key, 0, [&[], &[delegation], &[]]), Err(Class::Broken));
    }

    #[test]
    fn broken_and_failed_answers_are_told_apart() {
        let key = key("a.example.org", rtype::A);
        let good = response(&key, 0, [&[record(QUESTION, rtype::A, 1, &[1, 2, 3, 4])], &[], &[]]);
        let changed = |at: usize, octet: u8| {
            let mut message = good.clone();
            message[at] = octet;
            message
        };
        let badvers = response(&key, 0, [&[], &[], &[b"\0\0\x29\x04\xd0\x01\0\0\0\0\0".to_vec()]]);
        let loops = [("a", "b"), ("b", "a")].map(|(from, to)| {
            record(
                &wire(&format!("{from}.example.org")),
                rtype::CNAME,
                1,
                &wire(&format!("{to}.example.org")),
            )
        });
        for (defect, message, class) in [
            ("none", good.clone(), Class::Answer(0)),
            ("TC", changed(2, 0x82), Class::Truncated),
            ("SERVFAIL", changed(3, 2), Class::Failure(2)),
            ("BADVERS", badvers, Class::Failure(16)),
            ("FORMERR alone", b"\0\x07\x80\x01\0\0\0\0\0\0\0\0".to_vec(), Class::Failure(1)),
            ("a query", changed(2, 0), Class::Broken),
            ("an opcode", changed(2, 0x90), Class::Broken),
            ("another type asked", changed(good.len() - 19, 28), Class::Broken),
            ("another name asked", changed(13, b'x'), Class::Broken),
            ("a count too many", changed(7, 2), Class::Broken),
            ("a count too few", changed(7, 0), Class::Broken),
            ("an address of three octets", changed(good.len() - 5, 3), Class::Broken),
            ("cut", good[..good.len() - 1].to_vec(), Class::Broken),
            ("a loop", response(&key, 0, [&loops, &[], &[]]), Class::Broken),
            ("nothing", Vec::new(), Class::Broken),
        ] {
            assert_eq!(classify(&key, &message), class, "{defect}");
        }
    }

    #[test]
    fn chains_are_bounded() {
        let key = key("n0.example", rtype::A);
        let chain = |len: usize| {
            let name = |index: usize| wire(&format!("n{index}.example"));
            let mut answers: Vec<Vec<u8>> = (0..len)
                .map(|index| record(&name(index), rtype::CNAME, 9, &name(index + 1)))
                .collect();
            answers.push(record(&name(len), rtype::A, 9, &[192, 0, 2, 1]));
            classify(&key, &response(&key, 0, [&answers, &[], &[]]))
        };
        assert_eq!(chain(CHAIN_MAX), Class::Answer(0));
        assert_eq!(chain(CHAIN_MAX + 1), Class::Broken);
    }

    #[test]
    fn address_records_of_one_owner_may_rotate() {
        let key = key("a.example.org", rtype::A);
        let addresses = [1, 2, 3].map(|last| record(QUESTION, rtype::A, 9, &[192, 0, 2, last]));
        let digest = digest(&key, &response(&key, 0, [&addresses, &[], &[]])).expect("an answer");
        assert_eq!(digest.rotation, Some(Rotation { start: 31, record_len: 16, count: 3 }));
    }
}
