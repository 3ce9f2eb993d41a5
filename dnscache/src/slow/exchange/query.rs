//! The query sent for a key, and whether a reply belongs to it.

use crate::engine::cache::key::Key;
use crate::engine::wire::edns::{self, OPT_LEN, PLAIN_UDP_MAX};
use crate::engine::wire::header::{HEADER_LEN, Header, flag, rcode};
use crate::engine::wire::name::NAME_MAX;

/// What is sent upstream for one key. It is built from the key alone, so nothing a client put
/// into its own query (options, cookies, subnets, case) travels on.
#[derive(Debug, Clone)]
pub struct Query {
    /// Header, question, OPT.
    octets: Box<[u8]>,
    /// Octets of the header and the question.
    head_len: usize,
    reply_max: u16,
}

/// A query on its way out.
pub(super) struct Outgoing {
    octets: [u8; QUERY_MAX],
    len: usize,
}

/// Why a message is not the reply that is awaited (RFC 5452 section 9.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misfit {
    /// Shorter than a header.
    Short,
    /// Another message ID.
    Id,
    /// A query (QR=0).
    NotResponse,
    /// An opcode other than QUERY.
    Opcode,
    /// No question, or more than one.
    QuestionCount,
    /// Another name, type or class.
    Question,
}

impl Query {
    /// Builds the query for `key`: RD set, AD set so that upstream says whether it validated
    /// (RFC 6840 section 5.7), CD as in the key. `payload` is the EDNS size in octets; `None`
    /// sends no EDNS and therefore no DO.
    pub fn new(key: &Key, payload: Option<u16>) -> Self {
        let cd = if key.checking_disabled() { flag::CD } else { 0 };
        let mut octets = Vec::with_capacity(HEADER_LEN + key.name().len() + 4 + OPT_LEN);
        octets.resize(HEADER_LEN, 0);
        Header {
            id: 0,
            flags: flag::RD | flag::AD | cd,
            counts: [1, 0, 0, u16::from(payload.is_some())],
        }
        .write(&mut octets);
        octets.extend_from_slice(key.name());
        octets.extend_from_slice(&key.qtype().to_be_bytes());
        octets.extend_from_slice(&key.qclass().to_be_bytes());
        let head_len = octets.len();
        if let Some(payload) = payload {
            octets.resize(head_len + edns::written_len(None), 0);
            edns::write(&mut octets[head_len..], payload, key.dnssec_ok(), 0, None);
        }
        Self {
            octets: octets.into(),
            head_len,
            reply_max: payload.unwrap_or(0).max(PLAIN_UDP_MAX as u16),
        }
    }

    /// The query with RD as wanted.
    #[must_use]
    pub fn with_recursion(mut self, is_desired: bool) -> Self {
        self.octets[2] &= !FLAG_RECURSION;
        self.octets[2] |= if is_desired { FLAG_RECURSION } else { 0 };
        self
    }

    /// The message with an ID of zero.
    pub(super) fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// A copy to be sent, in a datagram or framed.
    pub(super) fn outgoing(&self) -> Outgoing {
        let mut octets = [0; QUERY_MAX];
        octets[..self.octets.len()].copy_from_slice(&self.octets);
        Outgoing { octets, len: self.octets.len() }
    }

    /// Octets of the longest reply that may come in a datagram.
    pub(super) fn reply_max(&self) -> usize {
        self.reply_max.into()
    }

    /// Whether `reply` answers this query, apart from its ID. The name is compared without regard
    /// to case; a compressed name in a question does not match, since nothing precedes it that it
    /// could point to.
    pub fn fits(&self, reply: &[u8]) -> Result<(), Misfit> {
        let Some(header) = reply.first_chunk::<HEADER_LEN>() else {
            return Err(Misfit::Short);
        };
        if header[2] & FLAG_RESPONSE == 0 {
            return Err(Misfit::NotResponse);
        }
        if header[2] & OPCODE_BITS != 0 {
            return Err(Misfit::Opcode);
        }
        if question_count(header) != 1 {
            return Err(Misfit::QuestionCount);
        }
        let question = &self.octets[HEADER_LEN..self.head_len];
        let (name, type_and_class) = question.split_at(question.len() - 4);
        let fits =
            reply[HEADER_LEN..].split_at_checked(name.len()).is_some_and(|(theirs, rest)| {
                theirs.eq_ignore_ascii_case(name) && rest.starts_with(type_and_class)
            });
        if fits { Ok(()) } else { Err(Misfit::Question) }
    }

    /// Octets of the header and the question.
    pub(super) fn head_len(&self) -> usize {
        self.head_len
    }
}

impl Outgoing {
    pub(super) fn with_id(&mut self, id: u16) -> &[u8] {
        self.octets[..2].copy_from_slice(&id.to_be_bytes());
        &self.octets[..self.len]
    }
}

impl Misfit {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Self; 6] = [
        Self::Short,
        Self::Id,
        Self::NotResponse,
        Self::Opcode,
        Self::QuestionCount,
        Self::Question,
    ];

    /// The name used as a metric label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Short => "short",
            Self::Id => "id",
            Self::NotResponse => "not_response",
            Self::Opcode => "opcode",
            Self::QuestionCount => "question_count",
            Self::Question => "question",
        }
    }
}

/// Whether `reply` repeats no question and says FORMERR or NOTIMP.
pub(super) fn is_unread(reply: &[u8]) -> bool {
    let Some(header) = reply.first_chunk::<HEADER_LEN>() else {
        return false;
    };
    question_count(header) == 0 && matches!(header[3] & RCODE_BITS, rcode::FORMERR | rcode::NOTIMP)
}

fn question_count(header: &[u8; HEADER_LEN]) -> u16 {
    u16::from_be_bytes([header[4], header[5]])
}

/// QR in the third octet of a header.
pub(super) const FLAG_RESPONSE: u8 = 0x80;
/// TC in the third octet of a header.
pub(super) const FLAG_TRUNCATED: u8 = 0x02;
/// RD in the third octet of a header.
const FLAG_RECURSION: u8 = 0x01;
/// Octets of the longest query.
const QUERY_MAX: usize = HEADER_LEN + NAME_MAX + 4 + OPT_LEN;
const OPCODE_BITS: u8 = 0x78;
const RCODE_BITS: u8 = 0x0f;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::RouteId;
    use crate::engine::cache::key::Flags;

    const NAME: &[u8] = b"\x03www\x07example\x03org\x00";

    fn key(dnssec_ok: bool, checking_disabled: bool) -> Key {
        Key::new(RouteId(7), NAME, 65, 1, Flags { dnssec_ok, checking_disabled, synthesised: None })
    }

    fn octets(query: &Query) -> Vec<u8> {
        query.outgoing().with_id(0x1234).to_vec()
    }

    fn reply() -> Vec<u8> {
        let mut reply = octets(&Query::new(&key(false, false), Some(1232)));
        reply[2] |= FLAG_RESPONSE;
        reply
    }

    fn check(change: impl FnOnce(&mut Vec<u8>), expected: Result<(), Misfit>) {
        let mut changed = reply();
        change(&mut changed);
        let query = Query::new(&key(false, false), Some(1232));
        assert_eq!(query.fits(&changed), expected);
    }

    #[test]
    fn a_query_is_made_of_the_key_alone() {
        let query = octets(&Query::new(&key(true, true), Some(1232)));
        let mut expected = b"\x12\x34\x01\x30\x00\x01\x00\x00\x00\x00\x00\x01".to_vec();
        expected.extend_from_slice(NAME);
        expected.extend_from_slice(b"\x00\x41\x00\x01");
        expected.extend_from_slice(b"\x00\x00\x29\x04\xd0\x00\x00\x80\x00\x00\x00");
        assert_eq!(query, expected);
    }

    #[test]
    fn without_edns_there_is_no_additional_record() {
        let query = octets(&Query::new(&key(true, false), None));
        assert_eq!(query.len(), HEADER_LEN + NAME.len() + 4);
        assert_eq!(query[10..12], [0, 0]);
    }

    #[test]
    fn any_label_octets_are_written_as_they_are() {
        let odd = Key::new(RouteId(0), b"\x04\x00.\\\xff\x00", 1, 1, Flags::default());
        let query = octets(&Query::new(&odd, None));
        assert_eq!(&query[HEADER_LEN..HEADER_LEN + 6], b"\x04\x00.\\\xff\x00");
    }

    #[test]
    fn the_reply_must_repeat_the_question() {
        check(|_| {}, Ok(()));
        check(|reply| reply[HEADER_LEN + 1] = b'W', Ok(()));
        check(|reply| reply.truncate(11), Err(Misfit::Short));
        check(|reply| reply[2] &= !FLAG_RESPONSE, Err(Misfit::NotResponse));
        check(|reply| reply[2] |= 0x28, Err(Misfit::Opcode));
        check(|reply| reply[5] = 0, Err(Misfit::QuestionCount));
        check(|reply| reply[5] = 2, Err(Misfit::QuestionCount));
        check(|reply| reply[HEADER_LEN + 1] = b'x', Err(Misfit::Question));
        check(|reply| reply[HEADER_LEN + NAME.len() + 1] = 1, Err(Misfit::Question));
        check(|reply| reply[HEADER_LEN + NAME.len() + 3] = 3, Err(Misfit::Question));
        check(|reply| reply.truncate(HEADER_LEN + 5), Err(Misfit::Question));
        check(|reply| reply.truncate(HEADER_LEN + NAME.len() + 3), Err(Misfit::Question));
    }

    #[test]
    fn labels_stand_in_the_order_of_their_counters() {
        for (index, misfit) in Misfit::ALL.into_iter().enumerate() {
            assert_eq!(misfit as usize, index);
        }
    }

    proptest! {
        #[test]
        fn any_octets_are_judged_without_panic(reply in proptest::collection::vec(any::<u8>(), 0..64)) {
            let query = Query::new(&key(false, false), None);
            let _ = (query.fits(&reply), is_unread(&reply));
        }
    }
}
