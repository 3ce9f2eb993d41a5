//! One resource record in the text form of zone files (RFC 1035 section 5.1, RFC 3597 section 5).

use std::net::{Ipv4Addr, Ipv6Addr};

use super::header::{class, rtype};
use super::name::Name;
use super::reply::Fixed;
use crate::config::registry::{class_number, record_type};

/// A record that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Owner.
    pub owner: Name,
    /// Type, class and TTL.
    pub fixed: Fixed,
    /// RDATA with names uncompressed.
    pub rdata: Vec<u8>,
}

/// Types whose RDATA can be read from text; all others are written as `\# LENGTH HEX`.
pub const READABLE: [&str; 14] = [
    "A", "AAAA", "CAA", "CNAME", "DNAME", "HINFO", "MX", "NAPTR", "NS", "PTR", "SOA", "SPF", "SRV",
    "TXT",
];

/// TTL of a record that has none.
const TTL_DEFAULT_SECS: u32 = 3_600;
/// Octets of the longest RDATA.
const RDATA_MAX: usize = 4_096;

/// Why a text is no record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoRecord {
    /// The text ends too early.
    #[error("it ends where {0} should follow")]
    Short(&'static str),
    /// A word is not what it should be.
    #[error("`{0}` is not {1}")]
    Wrong(String, &'static str),
    /// More words than the type has.
    #[error("`{0}` is more than its type has")]
    More(String),
    /// A quote or parenthesis without its end.
    #[error("a quote or parenthesis is left open")]
    Open,
    /// The RDATA would be too long.
    #[error("its data is too long")]
    Long,
}

/// Reads `OWNER [TTL] [CLASS] TYPE RDATA`; TTL and class in either order. Names are absolute,
/// whether they end with a dot or not.
pub fn record(text: &str) -> Result<Resource, NoRecord> {
    let mut words = Words(split(text)?.into_iter());
    let owner = words.name("an owner")?;
    let (mut ttl_secs, mut class) = (None, None);
    let rtype = loop {
        let Word { text, .. } = words.next("a type")?;
        if ttl_secs.is_none()
            && let Some(found) = ttl(&text)
        {
            ttl_secs = Some(found);
        } else if class.is_none()
            && let Some(found) = class_number(&text)
        {
            class = Some(found);
        } else {
            break record_type(&text).ok_or(NoRecord::Wrong(text, "a record type"))?;
        }
    };
    let rdata = rdata(rtype, &mut words)?;
    if let Some(word) = words.0.next() {
        return Err(NoRecord::More(word.text));
    }
    let (class, ttl_secs) = (class.unwrap_or(class::IN), ttl_secs.unwrap_or(TTL_DEFAULT_SECS));
    Ok(Resource { owner, fixed: Fixed { rtype, class, ttl_secs }, rdata })
}

fn rdata(rtype: u16, words: &mut Words) -> Result<Vec<u8>, NoRecord> {
    let mut rdata = Vec::new();
    if words.0.as_slice().first().is_some_and(|word| word.text == "\\#" && !word.quoted) {
        return words.generic();
    }
    match rtype {
        rtype::A => rdata.extend(words.parse::<Ipv4Addr>("an IPv4 address")?.octets()),
        rtype::AAAA => rdata.extend(words.parse::<Ipv6Addr>("an IPv6 address")?.octets()),
        rtype::NS | rtype::CNAME | rtype::PTR | rtype::DNAME => {
            rdata.extend(words.name("a name")?.wire());
        }
        rtype::MX => {
            rdata.extend(words.parse::<u16>("a preference")?.to_be_bytes());
            rdata.extend(words.name("a mail server")?.wire());
        }
        rtype::SRV => {
            for what in ["a priority", "a weight", "a port"] {
                rdata.extend(words.parse::<u16>(what)?.to_be_bytes());
            }
            rdata.extend(words.name("a target")?.wire());
        }
        rtype::SOA => words.soa(&mut rdata)?,
        rtype::TXT | SPF => words.strings(1..=usize::MAX, &mut rdata)?,
        rtype::HINFO => words.strings(2..=2, &mut rdata)?,
        CAA => {
            rdata.push(words.parse("flags")?);
            words.strings(1..=1, &mut rdata)?;
            rdata.extend(words.octets("a value")?);
        }
        NAPTR => {
            for what in ["an order", "a preference"] {
                rdata.extend(words.parse::<u16>(what)?.to_be_bytes());
            }
            words.strings(3..=3, &mut rdata)?;
            rdata.extend(words.name("a replacement")?.wire());
        }
        _ => {
            return Err(NoRecord::Short(
                "`\\# LENGTH HEX`, since the type has no other form here,",
            ));
        }
    }
    if rdata.len() > RDATA_MAX { Err(NoRecord::Long) } else { Ok(rdata) }
}

const NAPTR: u16 = 35;
const SPF: u16 = 99;
const CAA: u16 = 257;

/// A word of a record; backslashes stand as they were written.
struct Word {
    text: String,
    quoted: bool,
}

struct Words(std::vec::IntoIter<Word>);

impl Words {
    fn next(&mut self, what: &'static str) -> Result<Word, NoRecord> {
        self.0.next().ok_or(NoRecord::Short(what))
    }

    fn name(&mut self, what: &'static str) -> Result<Name, NoRecord> {
        let Word { text, .. } = self.next(what)?;
        Name::from_text(&text).map_err(|_| NoRecord::Wrong(text, what))
    }

    fn parse<T: std::str::FromStr>(&mut self, what: &'static str) -> Result<T, NoRecord> {
        let Word { text, .. } = self.next(what)?;
        text.parse().map_err(|_| NoRecord::Wrong(text, what))
    }

    /// The octets of a character-string, without its length.
    fn octets(&mut self, what: &'static str) -> Result<Vec<u8>, NoRecord> {
        let Word { text, .. } = self.next(what)?;
        unescaped(&text).ok_or(NoRecord::Wrong(text, what))
    }

    /// Character-strings (RFC 1035 section 3.3), as many as `count` allows.
    fn strings(
        &mut self,
        count: std::ops::RangeInclusive<usize>,
        rdata: &mut Vec<u8>,
    ) -> Result<(), NoRecord> {
        for index in 0..*count.end() {
            if self.0.len() == 0 && index >= *count.start() {
                return Ok(());
            }
            let octets = self.octets("a text")?;
            rdata.push(octets.len().try_into().map_err(|_| NoRecord::Long)?);
            rdata.extend(octets);
            if rdata.len() > RDATA_MAX {
                return Err(NoRecord::Long);
            }
        }
        Ok(())
    }

    fn soa(&mut self, rdata: &mut Vec<u8>) -> Result<(), NoRecord> {
        rdata.extend(self.name("a primary server")?.wire());
        rdata.extend(self.name("a mailbox")?.wire());
        rdata.extend(self.parse::<u32>("a serial number")?.to_be_bytes());
        for what in ["a refresh time", "a retry time", "an expiry time", "a minimum TTL"] {
            let Word { text, .. } = self.next(what)?;
            rdata.extend(ttl(&text).ok_or(NoRecord::Wrong(text, what))?.to_be_bytes());
        }
        Ok(())
    }

    /// `\# LENGTH HEX`.
    fn generic(&mut self) -> Result<Vec<u8>, NoRecord> {
        self.next("`\\#`")?;
        let len: usize = self.parse("a length")?;
        let hex: String = self.0.by_ref().map(|word| word.text).collect();
        let digit = |octet: u8| char::from(octet).to_digit(16);
        let octet = |pair: &[u8]| match *pair {
            [high, low] => Some((digit(high)? << 4 | digit(low)?) as u8),
            _ => None,
        };
        let octets: Option<Vec<u8>> = hex.as_bytes().chunks(2).map(octet).collect();
        octets
            .filter(|octets| octets.len() == len && len <= RDATA_MAX)
            .ok_or(NoRecord::Wrong(hex, "as many octets in hex as its length says"))
    }
}

/// Seconds, with Bind's units if there are any (`1h30m`).
fn ttl(text: &str) -> Option<u32> {
    if !text.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    let (mut sum, mut number) = (0_u32, None::<u32>);
    for octet in text.bytes() {
        let unit = match octet.to_ascii_lowercase() {
            digit @ b'0'..=b'9' => {
                let so_far = number.unwrap_or(0).checked_mul(10)?;
                number = Some(so_far.checked_add(u32::from(digit - b'0'))?);
                continue;
            }
            b's' => 1,
            b'm' => 60,
            b'h' => 3_600,
            b'd' => 86_400,
            b'w' => 604_800,
            _ => return None,
        };
        sum = sum.checked_add(number.take()?.checked_mul(unit)?)?;
    }
    sum.checked_add(number.unwrap_or(0)).filter(|&secs| secs <= i32::MAX as u32)
}

/// Cuts a record into words: quotes hold white space, parentheses and line ends are white space,
/// `;` begins a comment.
fn split(text: &str) -> Result<Vec<Word>, NoRecord> {
    let mut words = Vec::new();
    let mut characters = text.chars().peekable();
    let mut depth = 0_u32;
    while let Some(&first) = characters.peek() {
        match first {
            '(' => depth += 1,
            ')' => depth = depth.checked_sub(1).ok_or(NoRecord::Open)?,
            ';' => {
                let _ = characters.by_ref().find(|&character| character == '\n');
                continue;
            }
            '"' => {
                characters.next();
                words.push(Word { text: quoted(&mut characters)?, quoted: true });
                continue;
            }
            blank if blank.is_whitespace() => {}
            _ => {
                words.push(Word { text: plain(&mut characters), quoted: false });
                continue;
            }
        }
        characters.next();
    }
    if depth == 0 { Ok(words) } else { Err(NoRecord::Open) }
}

fn quoted(characters: &mut impl Iterator<Item = char>) -> Result<String, NoRecord> {
    let mut text = String::new();
    while let Some(character) = characters.next() {
        match character {
            '"' => return Ok(text),
            '\\' => {
                text.push('\\');
                text.push(characters.next().ok_or(NoRecord::Open)?);
            }
            other => text.push(other),
        }
    }
    Err(NoRecord::Open)
}

fn plain(characters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> String {
    let mut text = String::new();
    while let Some(character) =
        characters.next_if(|&c| !c.is_whitespace() && !matches!(c, '(' | ')' | ';' | '"'))
    {
        text.push(character);
        if character == '\\' {
            text.extend(characters.next());
        }
    }
    text
}

/// The octets of a text with `\DDD` and `\X`; `None` for a number over 255 or a backslash at the
/// end.
fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'\\' {
            octets.push(first);
            continue;
        }
        let is_number = after.first()?.is_ascii_digit();
        let (escaped, after) = rest.split_at_checked(if is_number { 3 } else { 1 })?;
        octets.push(match is_number {
            true => std::str::from_utf8(escaped).ok()?.parse().ok()?,
            false => escaped[0],
        });
        rest = after;
    }
    Some(octets)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Resource {
        record(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn owner_ttl_and_class_are_read_in_either_order() {
        for text in [
            "a.test. 60 IN A 192.0.2.1",
            "A.test IN 60 A 192.0.2.1",
            "a.test 1m A 192.0.2.1 ; comment",
            "a.test (60\n IN A 192.0.2.1)",
        ] {
            let record = read(text);
            assert_eq!(record.owner.to_string(), "a.test.");
            assert_eq!(record.fixed, Fixed { rtype: 1, class: 1, ttl_secs: 60 }, "{text}");
            assert_eq!(record.rdata, [192, 0, 2, 1]);
        }
        assert_eq!(read("a A 192.0.2.1").fixed.ttl_secs, TTL_DEFAULT_SECS);
        assert_eq!(read("a 60 CH TXT x").fixed.class, 3);
    }

    #[test]
    fn data_is_written_as_on_the_wire() {
        for (text, rdata) in [
            ("a AAAA ::1", &b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01"[..]),
            ("a CNAME b.c.", b"\x01b\x01c\0"),
            ("a MX 10 m", b"\0\x0a\x01m\0"),
            ("a SRV 1 2 3 t", b"\0\x01\0\x02\0\x03\x01t\0"),
            ("a TXT one \"t w\\\"o\" \\065", b"\x03one\x05t w\"o\x01A"),
            ("a HINFO x \"\"", b"\x01x\0"),
            ("a CAA 0 issue \"ca.test\"", b"\0\x05issueca.test"),
            ("a NAPTR 1 2 u sip \"\" .", b"\0\x01\0\x02\x01u\x03sip\0\0"),
            (
                "a SOA n h (1 60 2m 1h 1d)",
                b"\x01n\0\x01h\0\0\0\0\x01\0\0\0\x3c\0\0\0\x78\0\0\x0e\x10\0\x01\x51\x80",
            ),
            ("a TYPE65280 \\# 3 ab cdef", b"\xab\xcd\xef"),
            ("a A \\# 4 c0000201", b"\xc0\0\x02\x01"),
        ] {
            assert_eq!(read(text).rdata, rdata, "{text}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (text, error) in [
            ("", "it ends where an owner should follow"),
            ("a 60 IN", "it ends where a type should follow"),
            ("a 60 IN B", "`B` is not a record type"),
            ("a A 192.0.2.300", "`192.0.2.300` is not an IPv4 address"),
            ("a A 192.0.2.3 x", "`x` is more than its type has"),
            ("a MX m", "`m` is not a preference"),
            ("a..b A 192.0.2.1", "`a..b` is not an owner"),
            ("a TXT \"x", "a quote or parenthesis is left open"),
            ("a SOA n h (1 2 3 4", "a quote or parenthesis is left open"),
            ("a TXT \\256", "`\\256` is not a text"),
            (
                "a HTTPS 1 .",
                "it ends where `\\# LENGTH HEX`, since the type has no other form here, should follow",
            ),
            ("a A \\# 3 c00002010", "`c00002010` is not as many octets in hex as its length says"),
        ] {
            assert_eq!(record(text).expect_err(text).to_string(), error);
        }
        assert_eq!(record(&format!("a TXT {}", "x".repeat(256))), Err(NoRecord::Long));
    }

    proptest! {
        #[test]
        fn random_text_never_panics(text in "[a-zA-Z0-9 .;()\"\\\\#\n-]{0,60}") {
            let _ = record(&text);
            let _ = record(&format!("a 60 IN TXT {text}"));
        }
    }
}
