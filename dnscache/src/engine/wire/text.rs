//! A name as text on the stack, for rules that look at names as people write them.

use super::name::{NAME_MAX, labels};

/// Octets of the longest text: every octet of a name as `\DDD`, and the dots.
const TEXT_MAX: usize = 4 * NAME_MAX;

/// Presentation form of a name (RFC 1035 section 5.1) in lower case, with its final dot.
pub struct NameText {
    octets: [u8; TEXT_MAX],
    len: usize,
}

impl NameText {
    /// The text of an uncompressed wire name.
    pub fn of(wire: &[u8]) -> Self {
        let mut text = Self { octets: [0; TEXT_MAX], len: 0 };
        for label in labels(wire) {
            for &octet in label {
                text.push_octet(octet.to_ascii_lowercase());
            }
            text.push(b'.');
        }
        if text.len == 0 {
            text.push(b'.');
        }
        text
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        // Only ASCII is written.
        std::str::from_utf8(&self.octets[..self.len]).unwrap_or_default()
    }

    fn push_octet(&mut self, octet: u8) {
        match octet {
            b'.' | b'\\' | b'"' | b'(' | b')' | b';' | b'@' | b' ' | b'\'' => {
                self.push(b'\\');
                self.push(octet);
            }
            0x21..=0x7e => self.push(octet),
            other => {
                self.push(b'\\');
                [other / 100, other / 10 % 10, other % 10]
                    .into_iter()
                    .for_each(|digit| self.push(b'0' + digit));
            }
        }
    }

    fn push(&mut self, octet: u8) {
        // A name of 255 octets has fewer, but nothing may rest on that.
        if let Some(place) = self.octets.get_mut(self.len) {
            *place = octet;
            self.len += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::wire::name::Name;

    #[test]
    fn names_are_written_in_lower_case_with_escapes() {
        for (wire, text) in [
            (&b"\0"[..], "."),
            (b"\x03WwW\x07example\0", "www.example."),
            (b"\x03a.b\x01\\\0", "a\\.b.\\\\."),
            (b"\x02\x00\xff\0", "\\000\\255."),
        ] {
            assert_eq!(NameText::of(wire).as_str(), text);
        }
    }

    proptest! {
        #[test]
        fn text_reads_back_as_the_name(
            labels in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..=63), 0..=3)
        ) {
            let mut wire: Vec<u8> =
                labels.iter().flat_map(|label| [&[label.len() as u8][..], label].concat()).collect();
            wire.push(0);
            let name = Name::from_wire(&wire).expect("a name");
            prop_assert_eq!(Name::from_text(NameText::of(&wire).as_str()), Ok(name));
        }
    }
}
