//! The identity of a question: route, flags, type, class and name.

use std::sync::Arc;

use crate::engine::RouteId;
use crate::engine::wire::name::NAME_MAX;

/// Octets before the name: route (4), flags (1), type (2), class (2).
const PREFIX_LEN: usize = 9;
/// Where type, class and name begin.
const QUESTION_AT: usize = 5;
/// Octets of the longest key.
pub const KEY_MAX: usize = PREFIX_LEN + NAME_MAX;

const FLAG_DO: u8 = 1;
const FLAG_CD: u8 = 2;
const FLAG_SYNTHESISED: u8 = 4;

/// A question's identity, owned and cheap to clone. Two questions with equal keys have the same
/// answer; DO and CD are part of it because answers differ with them (RFC 4035 section 3.2), the
/// route because what one zone's upstream says is no fact about another's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key(Arc<[u8]>);

impl std::borrow::Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl Key {
    /// Builds the key of a question; `name` is an uncompressed wire name in any case.
    pub fn new(route: RouteId, name: &[u8], qtype: u16, qclass: u16, flags: Flags) -> Self {
        let mut buffer = KeyBuffer::default();
        buffer.set_name(name);
        Self(buffer.complete(route, qtype, qclass, flags).into())
    }

    /// Its octets.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The route it is asked through.
    pub fn route(&self) -> RouteId {
        RouteId(u32::from_be_bytes([self.0[0], self.0[1], self.0[2], self.0[3]]))
    }

    /// Whether DNSSEC records are asked for (DO).
    pub fn dnssec_ok(&self) -> bool {
        self.0[4] & FLAG_DO != 0
    }

    /// Whether upstream is told not to validate (CD).
    pub fn checking_disabled(&self) -> bool {
        self.0[4] & FLAG_CD != 0
    }

    /// Type asked.
    pub fn qtype(&self) -> u16 {
        u16::from_be_bytes([self.0[5], self.0[6]])
    }

    /// Class asked.
    pub fn qclass(&self) -> u16 {
        u16::from_be_bytes([self.0[7], self.0[8]])
    }

    /// Name asked: uncompressed wire form in lower case.
    pub fn name(&self) -> &[u8] {
        &self.0[PREFIX_LEN..]
    }
}

impl From<&[u8]> for Key {
    /// Owns what [`KeyBuffer::complete`] wrote.
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
}

/// The octets of a key that say what is asked: type, class and name. By these keys are hashed, so
/// that the hash is known before the route is.
pub fn question(key: &[u8]) -> &[u8] {
    &key[QUESTION_AT..]
}

/// The name in a key.
pub fn name(key: &[u8]) -> &[u8] {
    &key[PREFIX_LEN..]
}

/// The flags in the key of a question, which is not one of a synthesised answer.
pub fn flags(key: &[u8]) -> Flags {
    Flags {
        dnssec_ok: key[4] & FLAG_DO != 0,
        checking_disabled: key[4] & FLAG_CD != 0,
        synthesised: None,
    }
}

/// The flags of a query that change its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags {
    /// DO (RFC 3225).
    pub dnssec_ok: bool,
    /// CD (RFC 4035 section 3.2.2).
    pub checking_disabled: bool,
    /// Not the question itself, but what was put together from answers to others for it: it stands
    /// beside what upstream says. The number is that of the address its clients asked, below
    /// [`SYNTHESISED_MAX`]: other addresses may lead to other upstreams.
    pub synthesised: Option<u8>,
}

/// Addresses for whose clients answers are put together.
pub const SYNTHESISED_MAX: u8 = 32;
/// Where the number of the address stands.
const SYNTHESISED_AT: u32 = 3;

/// Room for a key, so that a lookup allocates nothing. The name comes first, because
/// it decides about the route.
#[derive(Debug)]
pub struct KeyBuffer {
    octets: [u8; KEY_MAX],
    len: usize,
}

impl Default for KeyBuffer {
    fn default() -> Self {
        Self { octets: [0; KEY_MAX], len: PREFIX_LEN }
    }
}

impl KeyBuffer {
    /// Takes an uncompressed wire name of at most 255 octets.
    pub fn set_name(&mut self, name: &[u8]) {
        self.len = PREFIX_LEN + name.len();
        let target = &mut self.octets[PREFIX_LEN..self.len];
        // In one pass: reading back what was just written would wait for it.
        for (octet, asked) in target.iter_mut().zip(name) {
            *octet = asked.to_ascii_lowercase();
        }
    }

    /// The name in lower case.
    pub fn name(&self) -> &[u8] {
        &self.octets[PREFIX_LEN..self.len]
    }

    /// Takes a question; returns the part of its key that does not depend on routes and flags.
    pub fn set_question(&mut self, name: &[u8], qtype: u16, qclass: u16) -> &[u8] {
        self.set_name(name);
        question(self.complete(RouteId(0), qtype, qclass, Flags::default()))
    }

    /// Adds the rest of the question; returns the octets of the key.
    pub fn complete(&mut self, route: RouteId, qtype: u16, qclass: u16, flags: Flags) -> &[u8] {
        self.octets[..4].copy_from_slice(&route.0.to_be_bytes());
        self.octets[4] = (u8::from(flags.dnssec_ok) * FLAG_DO)
            | (u8::from(flags.checking_disabled) * FLAG_CD)
            | flags.synthesised.map_or(0, |address| FLAG_SYNTHESISED | address << SYNTHESISED_AT);
        self.octets[5..7].copy_from_slice(&qtype.to_be_bytes());
        self.octets[7..9].copy_from_slice(&qclass.to_be_bytes());
        &self.octets[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &[u8], qtype: u16, dnssec_ok: bool, checking_disabled: bool) -> Key {
        Key::new(
            RouteId(7),
            name,
            qtype,
            1,
            Flags { dnssec_ok, checking_disabled, synthesised: None },
        )
    }

    #[test]
    fn a_key_holds_all_that_was_asked() {
        let key = key(b"\x01A\0", 28, true, false);
        assert_eq!((key.route(), key.name()), (RouteId(7), &b"\x01a\0"[..]));
        assert_eq!((key.qtype(), key.qclass()), (28, 1));
        assert_eq!((key.dnssec_ok(), key.checking_disabled()), (true, false));
    }

    #[test]
    fn what_changes_the_answer_changes_the_key() {
        let plain = key(b"\x01a\0", 1, false, false);
        assert_eq!(plain, key(b"\x01A\0", 1, false, false));
        for other in [
            key(b"\x01b\0", 1, false, false),
            key(b"\x01a\0", 28, false, false),
            key(b"\x01a\0", 1, true, false),
            key(b"\x01a\0", 1, false, true),
            Key::new(RouteId(8), b"\x01a\0", 1, 1, Flags::default()),
            Key::new(RouteId(7), b"\x01a\0", 1, 9, Flags::default()),
        ] {
            assert_ne!(plain, other);
        }
    }
}
