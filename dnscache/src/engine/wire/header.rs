//! The twelve octets every message starts with (RFC 1035 section 4.1.1).

/// Octets of the longest message over TCP (RFC 1035 section 4.2.2).
pub const TCP_MESSAGE_MAX: usize = 65_535;
/// Octets of a header.
pub const HEADER_LEN: usize = 12;

/// Response codes (RFC 1035 section 4.1.1, RFC 6891 section 9) as the header's low four bits.
pub mod rcode {
    /// No error.
    pub const NOERROR: u8 = 0;
    /// The query was not understood.
    pub const FORMERR: u8 = 1;
    /// The server could not find out.
    pub const SERVFAIL: u8 = 2;
    /// The name does not exist.
    pub const NXDOMAIN: u8 = 3;
    /// The opcode is not supported.
    pub const NOTIMP: u8 = 4;
    /// The server will not answer this.
    pub const REFUSED: u8 = 5;
}

/// Record types this program acts upon (IANA DNS parameters).
pub mod rtype {
    /// IPv4 address.
    pub const A: u16 = 1;
    /// Name server.
    pub const NS: u16 = 2;
    /// Alias.
    pub const CNAME: u16 = 5;
    /// Start of authority.
    pub const SOA: u16 = 6;
    /// Pointer.
    pub const PTR: u16 = 12;
    /// Host information; carries the minimal answer to ANY (RFC 8482).
    pub const HINFO: u16 = 13;
    /// Mail exchange.
    pub const MX: u16 = 15;
    /// Text.
    pub const TXT: u16 = 16;
    /// IPv6 address.
    pub const AAAA: u16 = 28;
    /// Service.
    pub const SRV: u16 = 33;
    /// Non-terminal alias (RFC 6672).
    pub const DNAME: u16 = 39;
    /// EDNS pseudo-record.
    pub const OPT: u16 = 41;
    /// Delegation signer.
    pub const DS: u16 = 43;
    /// Signature.
    pub const RRSIG: u16 = 46;
    /// Denial of existence.
    pub const NSEC: u16 = 47;
    /// Hashed denial of existence.
    pub const NSEC3: u16 = 50;
    /// Service binding (RFC 9460).
    pub const SVCB: u16 = 64;
    /// Service binding of HTTPS (RFC 9460).
    pub const HTTPS: u16 = 65;
    /// Absence of a name, in bitmaps only (RFC 9824).
    pub const NXNAME: u16 = 128;
    /// Key exchange (RFC 2930).
    pub const TKEY: u16 = 249;
    /// Incremental zone transfer (RFC 1995).
    pub const IXFR: u16 = 251;
    /// The last of the types for questions only, but for ANY: TKEY, TSIG, IXFR, AXFR, MAILB, MAILA.
    pub const MAILA: u16 = 254;
    /// Everything (RFC 8482).
    pub const ANY: u16 = 255;
}

/// Classes.
pub mod class {
    /// Internet.
    pub const IN: u16 = 1;
    /// Chaosnet, used for questions about the server itself.
    pub const CH: u16 = 3;
    /// None (RFC 2136), which no question has.
    pub const NONE: u16 = 254;
    /// Every class, in questions.
    pub const ANY: u16 = 255;
}

/// Flag bits of the header's second 16 bits.
pub mod flag {
    /// Response.
    pub const QR: u16 = 0x8000;
    /// Mask of the opcode.
    pub const OPCODE: u16 = 0x7800;
    /// Authoritative answer.
    pub const AA: u16 = 0x0400;
    /// Truncated.
    pub const TC: u16 = 0x0200;
    /// Recursion desired.
    pub const RD: u16 = 0x0100;
    /// Recursion available.
    pub const RA: u16 = 0x0080;
    /// Authentic data (RFC 4035 section 3.2.3).
    pub const AD: u16 = 0x0020;
    /// Checking disabled (RFC 4035 section 3.2.2).
    pub const CD: u16 = 0x0010;
    /// Mask of the response code.
    pub const RCODE: u16 = 0x000f;
}

/// A header, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Message ID.
    pub id: u16,
    /// Flags, opcode and response code as they stand.
    pub flags: u16,
    /// Counts of question, answer, authority and additional.
    pub counts: [u16; 4],
}

impl Header {
    /// Reads the front of `message`; `None` when it is shorter than a header.
    pub fn read(message: &[u8]) -> Option<Self> {
        let bytes = message.first_chunk::<HEADER_LEN>()?;
        let word = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        Some(Self { id: word(0), flags: word(2), counts: [word(4), word(6), word(8), word(10)] })
    }

    /// Writes itself to the front of `out`, which holds at least twelve octets.
    pub fn write(&self, out: &mut [u8]) {
        let words =
            [self.id, self.flags, self.counts[0], self.counts[1], self.counts[2], self.counts[3]];
        for (target, word) in out.chunks_exact_mut(2).zip(words) {
            target.copy_from_slice(&word.to_be_bytes());
        }
    }

    /// Whether a flag is set.
    pub fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    /// The response code's low four bits.
    pub fn rcode(&self) -> u8 {
        (self.flags & flag::RCODE) as u8
    }
}
