//! The OPT pseudo-record (RFC 6891): what a client says in it and what we say back.

use super::header::rtype;

/// Octets of an OPT record without options.
pub const OPT_LEN: usize = 11;
/// Octets of an extended DNS error option without text (RFC 8914 section 2).
const EXTENDED_ERROR_LEN: usize = 6;
const OPTION_EXTENDED_ERROR: u16 = 15;
const DO_BIT: u16 = 0x8000;
/// A reply without EDNS holds at most this (RFC 1035 section 2.3.4).
pub const PLAIN_UDP_MAX: usize = 512;

/// Extended error INFO-CODEs this program sends (RFC 8914 section 4).
pub mod extended_error {
    /// An expired answer.
    pub const STALE_ANSWER: u16 = 3;
    /// An expired NXDOMAIN.
    pub const STALE_NXDOMAIN_ANSWER: u16 = 19;
    /// A failure remembered from before.
    pub const CACHED_ERROR: u16 = 13;
    /// Answered without its records by policy.
    pub const FILTERED: u16 = 17;
    /// Refused by policy.
    pub const PROHIBITED: u16 = 18;
    /// Cannot serve now, for example because a bound is reached.
    pub const NOT_READY: u16 = 14;
    /// No upstream answers.
    pub const NO_REACHABLE_AUTHORITY: u16 = 22;
    /// What upstream says breaks the rules.
    pub const INVALID_DATA: u16 = 24;
    /// Put together from answers to other questions.
    pub const SYNTHESIZED: u16 = 29;
}

/// What a client's OPT record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientEdns {
    /// UDP payload size in octets, as sent.
    pub udp_size: u16,
    /// EDNS version.
    pub version: u8,
    /// DNSSEC records wanted.
    pub dnssec_ok: bool,
}

impl ClientEdns {
    /// Reads class and TTL fields of an OPT record and checks that its options fill `rdata`
    /// exactly; `None` if they do not. The options themselves are not acted upon and never echoed.
    pub fn read(class: u16, ttl: [u8; 4], mut rdata: &[u8]) -> Option<Self> {
        while let Some((head, tail)) = rdata.split_first_chunk::<4>() {
            rdata = tail.get(usize::from(u16::from_be_bytes([head[2], head[3]]))..)?;
        }
        let flags = u16::from_be_bytes([ttl[2], ttl[3]]);
        rdata.is_empty().then_some(Self {
            udp_size: class,
            version: ttl[1],
            dnssec_ok: flags & DO_BIT != 0,
        })
    }
}

/// Octets of the OPT record that [`write`] would write.
pub fn written_len(extended: Option<u16>) -> usize {
    OPT_LEN + if extended.is_some() { EXTENDED_ERROR_LEN } else { 0 }
}

/// Writes our OPT record to the front of `out` and returns its octets. `rcode_high` are the upper
/// eight bits of a twelve-bit response code.
pub fn write(
    out: &mut [u8],
    udp_size: u16,
    dnssec_ok: bool,
    rcode_high: u8,
    extended: Option<u16>,
) -> usize {
    let flags = if dnssec_ok { DO_BIT } else { 0 };
    out[0] = 0;
    out[1..3].copy_from_slice(&rtype::OPT.to_be_bytes());
    out[3..5].copy_from_slice(&udp_size.to_be_bytes());
    out[5] = rcode_high;
    out[6] = 0;
    out[7..9].copy_from_slice(&flags.to_be_bytes());
    out[9..11].copy_from_slice(&0u16.to_be_bytes());
    let Some(code) = extended else { return OPT_LEN };
    out[9..11].copy_from_slice(&(EXTENDED_ERROR_LEN as u16).to_be_bytes());
    out[11..13].copy_from_slice(&OPTION_EXTENDED_ERROR.to_be_bytes());
    out[13..15].copy_from_slice(&2u16.to_be_bytes());
    out[15..17].copy_from_slice(&code.to_be_bytes());
    OPT_LEN + EXTENDED_ERROR_LEN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_must_fill_the_rdata() {
        let read = |rdata: &[u8]| ClientEdns::read(1232, [0, 0, 0x80, 0], rdata);
        let expected = ClientEdns { udp_size: 1232, version: 0, dnssec_ok: true };
        assert_eq!(read(b""), Some(expected));
        assert_eq!(read(b"\0\x0a\0\x02ab"), Some(expected));
        for short in [&b"\0\x0a\0\x03ab"[..], b"\0\x0a\0", b"\0\x0a\0\x01abc"] {
            assert_eq!(read(short), None, "{short:?}");
        }
    }

    #[test]
    fn extended_error_follows_rfc_8914() {
        let mut out = [0; 32];
        assert_eq!(write(&mut out, 1232, true, 1, Some(3)), 17);
        assert_eq!(&out[..17], b"\0\0\x29\x04\xd0\x01\0\x80\0\0\x06\0\x0f\0\x02\0\x03");
    }
}
