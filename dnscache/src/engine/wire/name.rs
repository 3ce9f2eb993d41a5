//! Domain names: the owned form used by configuration and policy, and how names are walked in a
//! message (RFC 1035 sections 3.1 and 4.1.4).

use std::borrow::Borrow;
use std::fmt;

/// Octets of the longest name on the wire, the root label included (RFC 1035 section 3.1).
pub const NAME_MAX: usize = 255;
/// Octets of the longest label.
pub const LABEL_MAX: usize = 63;

/// An absolute domain name in uncompressed wire form, letters in lower case.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Box<[u8]>);

/// Why a text is not a domain name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing between two dots.
    #[error("a label is empty")]
    EmptyLabel,
    /// A label over 63 octets.
    #[error("a label is longer than 63 octets")]
    LongLabel,
    /// A name over 255 octets.
    #[error("the name is longer than 255 octets")]
    LongName,
    /// A backslash without three digits up to 255 or a character after it.
    #[error("a backslash is followed by neither a character nor a number up to 255")]
    BadEscape,
}

impl Name {
    /// The root.
    pub fn root() -> Self {
        Self(Box::new([0]))
    }

    /// Reads presentation form (RFC 1035 section 5.1: `\.` and `\DDD` escapes). The final dot may
    /// be missing; the result is absolute all the same.
    pub fn from_text(text: &str) -> Result<Self, NameError> {
        if text == "." {
            return Ok(Self::root());
        }
        let mut wire = Vec::with_capacity(text.len() + 2);
        let mut label: Vec<u8> = Vec::with_capacity(LABEL_MAX);
        let mut bytes = text.bytes().peekable();
        let mut ended = false;
        while let Some(byte) = bytes.next() {
            ended = false;
            match byte {
                b'.' => {
                    push_label(&mut wire, &mut label)?;
                    ended = true;
                }
                b'\\' => label.push(unescape(&mut bytes)?),
                other => label.push(other.to_ascii_lowercase()),
            }
        }
        if !ended {
            push_label(&mut wire, &mut label)?;
        }
        wire.push(0);
        if wire.len() > NAME_MAX {
            return Err(NameError::LongName);
        }
        Ok(Self(wire.into()))
    }

    /// Takes uncompressed wire form that is known to be well-formed, and lowers its case.
    /// `None` if it is not well-formed after all.
    pub fn from_wire(wire: &[u8]) -> Option<Self> {
        let mut at = 0;
        loop {
            let len = usize::from(*wire.get(at)?);
            if len > LABEL_MAX || at >= NAME_MAX {
                return None;
            }
            at += 1 + len;
            if len == 0 {
                break;
            }
        }
        (at == wire.len() && at <= NAME_MAX).then(|| Self(wire.to_ascii_lowercase().into()))
    }

    /// The uncompressed, lower-case wire form.
    pub fn wire(&self) -> &[u8] {
        &self.0
    }

    /// Whether this is the root.
    pub fn is_root(&self) -> bool {
        self.0.len() == 1
    }

    /// Whether this name is `zone` or below it.
    pub fn is_at_or_below(&self, zone: &Name) -> bool {
        wire_is_at_or_below(&self.0, &zone.0)
    }

    /// The labels, leftmost first, without the root.
    pub fn labels(&self) -> impl Iterator<Item = &[u8]> {
        labels(&self.0)
    }
}

/// The labels of an uncompressed wire name, leftmost first, without the root.
pub fn labels(wire: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = wire;
    std::iter::from_fn(move || {
        let (&len, tail) = rest.split_first()?;
        let len = usize::from(len);
        if len == 0 || len > tail.len() {
            return None;
        }
        let (label, after) = tail.split_at(len);
        rest = after;
        Some(label)
    })
}

/// Whether the lower-case wire name `name` is `zone` (also lower-case) or below it. A shared tail
/// of octets is not enough: it must begin at a label.
pub fn wire_is_at_or_below(name: &[u8], zone: &[u8]) -> bool {
    let Some(start) = name.len().checked_sub(zone.len()) else {
        return false;
    };
    if name[start..] != *zone {
        return false;
    }
    if zone.len() == 1 {
        return true; // The root holds every name.
    }
    let mut at = 0;
    while at < start {
        at += 1 + usize::from(name[at]);
    }
    at == start
}

/// The name without its first label; the root is its own parent. `wire` is uncompressed.
pub fn parent(wire: &[u8]) -> &[u8] {
    match wire.first().map_or(0, |len| usize::from(*len)) {
        0 => wire,
        len => wire.get(1 + len..).unwrap_or(wire),
    }
}

/// Where the name that starts at `at` ends in `message`, compressed or not; `None` if it runs past
/// the end or holds a label type other than plain and pointer. Pointers are not followed.
pub fn skip(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match usize::from(*message.get(at)?) {
            0 => return Some(at + 1),
            len if len <= LABEL_MAX => at += 1 + len,
            pointer if pointer >= 0xc0 => return (at + 2 <= message.len()).then_some(at + 2),
            _ => return None,
        }
    }
}

/// Appends the name that starts at `at` to `into`, uncompressed and in lower case, and returns
/// where it ends in `message`. `None` for a name that is too long, runs past the end or whose
/// pointers do not lead strictly backwards (so a loop ends at once).
pub fn expand(message: &[u8], at: usize, into: &mut Vec<u8>) -> Option<usize> {
    expand_spelling(message, at, into, |octet| octet.to_ascii_lowercase())
}

/// [`expand`], but in the case in which the name is spelt.
pub fn expand_as_spelt(message: &[u8], at: usize, into: &mut Vec<u8>) -> Option<usize> {
    expand_spelling(message, at, into, |octet| octet)
}

#[inline]
fn expand_spelling(
    message: &[u8],
    at: usize,
    into: &mut Vec<u8>,
    spell: impl Fn(u8) -> u8,
) -> Option<usize> {
    let start = into.len();
    let mut cursor = at;
    let mut end = None;
    let mut barrier = at;
    loop {
        let len = usize::from(*message.get(cursor)?);
        match len {
            0 => {
                into.push(0);
                return Some(end.unwrap_or(cursor + 1));
            }
            1..=LABEL_MAX => {
                let label = message.get(cursor..cursor + 1 + len)?;
                if into.len() - start + label.len() >= NAME_MAX {
                    return None;
                }
                // A length is at most 63, which is no letter.
                into.extend(label.iter().map(|&octet| spell(octet)));
                cursor += 1 + len;
            }
            0xc0.. => {
                let low = usize::from(*message.get(cursor + 1)?);
                let target = (len & 0x3f) << 8 | low;
                if target >= barrier {
                    return None;
                }
                end.get_or_insert(cursor + 2);
                barrier = target;
                cursor = target;
            }
            _ => return None,
        }
    }
}

impl Borrow<[u8]> for Name {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str(".");
        }
        for label in self.labels() {
            for &byte in label {
                match byte {
                    b'.' | b'\\' | b'"' => write!(f, "\\{}", char::from(byte))?,
                    0x21..=0x7e => write!(f, "{}", char::from(byte))?,
                    other => write!(f, "\\{other:03}")?,
                }
            }
            f.write_str(".")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({self})")
    }
}

fn push_label(wire: &mut Vec<u8>, label: &mut Vec<u8>) -> Result<(), NameError> {
    match label.len() {
        0 => return Err(NameError::EmptyLabel),
        len if len > LABEL_MAX => return Err(NameError::LongLabel),
        len => wire.push(len as u8),
    }
    wire.append(label);
    if wire.len() >= NAME_MAX {
        return Err(NameError::LongName);
    }
    Ok(())
}

fn unescape(bytes: &mut impl Iterator<Item = u8>) -> Result<u8, NameError> {
    let first = bytes.next().ok_or(NameError::BadEscape)?;
    if !first.is_ascii_digit() {
        return Ok(first.to_ascii_lowercase());
    }
    let mut value = u32::from(first - b'0');
    for _ in 0..2 {
        let digit = bytes.next().filter(u8::is_ascii_digit).ok_or(NameError::BadEscape)?;
        value = value * 10 + u32::from(digit - b'0');
    }
    let value = u8::try_from(value).map_err(|_| NameError::BadEscape)?;
    Ok(value.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::from_text(text).expect("a well-formed name")
    }

    #[test]
    fn text_and_wire_round_trip() {
        for text in [".", "example.org.", "a\\.b.example.", "\\000\\255x.y."] {
            let parsed = name(text);
            assert_eq!(parsed.to_string(), text);
            assert_eq!(Name::from_wire(parsed.wire()), Some(parsed));
        }
    }

    #[test]
    fn case_and_final_dot_do_not_matter() {
        assert_eq!(name("Example.ORG"), name("example.org."));
    }

    #[test]
    fn malformed_text_is_refused() {
        for (text, error) in [
            ("", NameError::EmptyLabel),
            ("a..b", NameError::EmptyLabel),
            (".a", NameError::EmptyLabel),
            ("a\\25", NameError::BadEscape),
            ("a\\256", NameError::BadEscape),
            ("a\\", NameError::BadEscape),
        ] {
            assert_eq!(Name::from_text(text), Err(error), "{text:?}");
        }
        assert_eq!(Name::from_text(&"a".repeat(64)), Err(NameError::LongLabel));
        assert_eq!(Name::from_text(&"abc.".repeat(64)), Err(NameError::LongName));
    }

    #[test]
    fn pointers_are_followed_backwards_only() {
        let mut message = vec![0; 12];
        message.extend(b"\x03Org\0\x07example\xc0\x0c\xc0\x11");
        let mut expanded = Vec::new();
        assert_eq!(expand(&message, 17, &mut expanded), Some(27));
        assert_eq!(expanded, name("example.org").wire());
        expanded.clear();
        assert_eq!(expand(&message, 27, &mut expanded), Some(29));
        assert_eq!(expanded, name("example.org").wire());
        assert_eq!(skip(&message, 17), Some(27));
        for looping in
            [&b"\xc0\x00"[..], b"\x01a\xc0\x00", b"\xc0\x05", b"\x40a", b"\x05ab", b"\xc0"]
        {
            assert_eq!(expand(looping, 0, &mut Vec::new()), None, "{looping:?}");
        }
    }

    #[test]
    fn below_is_decided_at_label_boundaries() {
        assert!(name("a.example.org").is_at_or_below(&name("example.org")));
        assert!(name("example.org").is_at_or_below(&name("example.org")));
        assert!(name("anything").is_at_or_below(&Name::root()));
        assert!(!name("aexample.org").is_at_or_below(&name("example.org")));
        assert!(!name("org").is_at_or_below(&name("example.org")));
        // The octets of "example.org." also end the label "x\007example.org".
        assert!(!name("x\\007example.org").is_at_or_below(&name("example.org")));
    }
}
