//! Replies, written in place into a buffer the caller owns.

use super::edns;
use super::header::{HEADER_LEN, Header, flag};
use super::question::{Question, Refused};

/// The OPT record of a reply; there is one only if the query had one (RFC 6891 section 6.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opt {
    /// The UDP size we receive, in octets.
    pub udp_size: u16,
    /// The client's DO bit, returned (RFC 3225 section 3).
    pub dnssec_ok: bool,
    /// EDE INFO-CODE (RFC 8914).
    pub extended_error: Option<u16>,
}

/// How a reply to one client may look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Octets it may have at most.
    pub len_max: usize,
    /// Its OPT record.
    pub opt: Option<Opt>,
}

impl Shape {
    /// The shape without its extended error, which is worth less than the answer it would displace.
    fn without_extended_error(mut self) -> Self {
        if let Some(opt) = &mut self.opt {
            opt.extended_error = None;
        }
        self
    }

    /// Octets its OPT record takes.
    pub fn opt_len(&self) -> usize {
        self.opt.map_or(0, |opt| edns::written_len(opt.extended_error))
    }

    /// The shape in which `message_len` octets fit, or `None` if they do not fit at all.
    pub fn fitting(self, message_len: usize) -> Option<Self> {
        let bare = self.without_extended_error();
        [self, bare].into_iter().find(|shape| message_len + shape.opt_len() <= shape.len_max)
    }
}

/// The flags of a reply to `query`: what is copied, what is ours (`extra`), the response code.
pub fn reply_flags(query: &Header, extra: u16, rcode: u16) -> u16 {
    let copied = query.flags & (flag::OPCODE | flag::RD | flag::CD);
    flag::QR | flag::RA | copied | extra | (rcode & flag::RCODE)
}

/// Writes a reply of a question and nothing else; `extra` are flags such as TC.
pub fn bare(
    out: &mut [u8],
    question: &Question<'_>,
    shape: Shape,
    rcode: u16,
    extra: u16,
) -> usize {
    Records::start(out, question, rcode, extra).finish(shape)
}

/// Writes the reply to a message that is refused.
pub fn refusal(out: &mut [u8], refused: &Refused<'_>, udp_size: u16) -> usize {
    let opt = refused.edns.map(|client| Opt {
        udp_size,
        dnssec_ok: client.dnssec_ok,
        extended_error: None,
    });
    let asked = refused.asked.unwrap_or_default();
    let header = Header {
        id: refused.header.id,
        flags: reply_flags(&refused.header, 0, refused.rcode),
        counts: [u16::from(refused.asked.is_some()), 0, 0, 0],
    };
    let records = Records { end: HEADER_LEN + asked.len(), header, rcode: refused.rcode, out };
    records.out[HEADER_LEN..HEADER_LEN + asked.len()].copy_from_slice(asked);
    records.finish(Shape { len_max: edns::PLAIN_UDP_MAX, opt })
}

/// Writes a stored message as the reply to `question`: its ID, its spelling of the name, the flags
/// a reply to it has, an OPT record if `shape` has one. `shape` must fit (see [`Shape::fitting`]).
/// Returns the octets written; the caller then rewrites TTLs.
pub fn stored(
    out: &mut [u8],
    message: &[u8],
    question: &Question<'_>,
    shape: Shape,
    rcode: u8,
    extra: u16,
) -> usize {
    out[..message.len()].copy_from_slice(message);
    let asked_end = HEADER_LEN + question.asked.len();
    out[HEADER_LEN..asked_end].copy_from_slice(question.asked);
    let stored = Header::read(message).expect("a stored message starts with a header");
    let header = Header {
        id: question.header.id,
        flags: reply_flags(&question.header, extra, rcode.into()),
        counts: stored.counts,
    };
    Records { end: message.len(), header, rcode: rcode.into(), out }.finish(shape)
}

/// The three sections a record can stand in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// Answer.
    Answer = 1,
    /// Authority.
    Authority = 2,
    /// Additional.
    Additional = 3,
}

/// A reply being written record by record.
pub struct Records<'a> {
    out: &'a mut [u8],
    header: Header,
    rcode: u16,
    end: usize,
}

impl<'a> Records<'a> {
    /// Starts the reply to `question`. `out` holds at least 512 octets.
    pub fn start(out: &'a mut [u8], question: &Question<'_>, rcode: u16, extra: u16) -> Self {
        let end = HEADER_LEN + question.asked.len();
        out[HEADER_LEN..end].copy_from_slice(question.asked);
        let header = Header {
            id: question.header.id,
            flags: reply_flags(&question.header, extra, rcode),
            counts: [1, 0, 0, 0],
        };
        Self { out, header, rcode, end }
    }

    /// Adds a record of class `class`; `prefix` are labels put before the question's name to make
    /// the owner. Sections are filled in order. A record that would pass `len_max` octets sets TC
    /// and is left out.
    pub fn add(
        &mut self,
        section: Section,
        prefix: &[u8],
        fixed: Fixed,
        rdata: &[u8],
        len_max: usize,
    ) {
        self.add_at(section, prefix, HEADER_LEN, fixed, rdata, len_max);
    }

    /// [`Records::add`] for an owner that ends with the name at offset `owner_at`.
    pub fn add_at(
        &mut self,
        section: Section,
        prefix: &[u8],
        owner_at: usize,
        fixed: Fixed,
        rdata: &[u8],
        len_max: usize,
    ) {
        let len = prefix.len() + 2 + 10 + rdata.len();
        let room = len_max.min(self.out.len());
        if self.end + len > room {
            self.header.flags |= flag::TC;
            return;
        }
        let mut put = |bytes: &[u8]| {
            self.out[self.end..self.end + bytes.len()].copy_from_slice(bytes);
            self.end += bytes.len();
        };
        put(prefix);
        put(&(0xc000 | owner_at as u16).to_be_bytes());
        put(&fixed.rtype.to_be_bytes());
        put(&fixed.class.to_be_bytes());
        put(&fixed.ttl_secs.to_be_bytes());
        put(&(rdata.len() as u16).to_be_bytes());
        put(rdata);
        self.header.counts[section as usize] += 1;
    }

    /// Writes header and OPT record; returns the octets of the whole reply.
    pub fn finish(mut self, shape: Shape) -> usize {
        if let Some(opt) = shape.opt {
            let rcode_high = (self.rcode >> 4) as u8;
            self.end += edns::write(
                &mut self.out[self.end..],
                opt.udp_size,
                opt.dnssec_ok,
                rcode_high,
                opt.extended_error,
            );
            self.header.counts[Section::Additional as usize] += 1;
        }
        self.header.write(self.out);
        self.end
    }
}

/// The fixed fields of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fixed {
    /// Type.
    pub rtype: u16,
    /// Class.
    pub class: u16,
    /// TTL in seconds.
    pub ttl_secs: u32,
}
