//! What two instances say to each other, as octets.
//!
//! A message is one packet: version, kind, and what the kind has. The version is that of this
//! protocol; an instance that meets another one starts as if it were alone.

use std::net::SocketAddr;

/// The only version there is.
const VERSION: u8 = 1;

/// Octets of the longest message: a connection with all but one octet of the longest DNS message
/// and its length, and what stands before them.
pub const MESSAGE_MAX: usize = 2 + 1 + ADDRESS_MAX + 2 + u16::MAX as usize;

/// Octets of an address as text: `[`, 39 for IPv6, `%` and a scope, `]:`, and 5 for the port.
const ADDRESS_MAX: usize = 64;

/// What a listening socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// DNS over TCP.
    Dns,
    /// The admin pages.
    Pages,
}

/// What one instance says to the other. A descriptor goes beside those that say so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// From the one that starts: tell me what you have.
    Hello,
    /// A listening socket; with its descriptor.
    Listener(Purpose, SocketAddr),
    /// The cache as it is now, as a file in memory; with its descriptor.
    Snapshot,
    /// That was everything.
    AllGiven,
    /// From the one that started: I serve.
    Serving,
    /// A client's connection to this address, between two questions, and the octets that were read
    /// from it and not yet answered; with its descriptor.
    Connection(SocketAddr, Vec<u8>),
    /// Everything was handed over; the one that says it ends.
    Farewell,
}

impl Message {
    /// The message as octets.
    pub fn encode(&self) -> Vec<u8> {
        let mut octets = vec![VERSION, self.kind()];
        match self {
            Self::Listener(_, address) => put_address(&mut octets, *address),
            Self::Connection(address, received) => {
                put_address(&mut octets, *address);
                octets.extend_from_slice(received);
            }
            Self::Hello | Self::Snapshot | Self::AllGiven | Self::Serving | Self::Farewell => {}
        }
        octets
    }

    /// The message that `octets` are; `None`: not one of this version.
    pub fn decode(octets: &[u8]) -> Option<Self> {
        let [VERSION, kind, rest @ ..] = octets else { return None };
        let bare = |message| rest.is_empty().then_some(message);
        let listener = |purpose| {
            let (address, rest) = take_address(rest)?;
            rest.is_empty().then_some(Self::Listener(purpose, address))
        };
        match kind {
            1 => bare(Self::Hello),
            2 => listener(Purpose::Dns),
            3 => listener(Purpose::Pages),
            4 => bare(Self::Snapshot),
            5 => bare(Self::AllGiven),
            6 => bare(Self::Serving),
            7 => {
                let (address, rest) = take_address(rest)?;
                Some(Self::Connection(address, rest.to_vec()))
            }
            8 => bare(Self::Farewell),
            _ => None,
        }
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Hello => 1,
            Self::Listener(Purpose::Dns, _) => 2,
            Self::Listener(Purpose::Pages, _) => 3,
            Self::Snapshot => 4,
            Self::AllGiven => 5,
            Self::Serving => 6,
            Self::Connection(..) => 7,
            Self::Farewell => 8,
        }
    }
}

fn put_address(octets: &mut Vec<u8>, address: SocketAddr) {
    let text = address.to_string();
    octets.push(u8::try_from(text.len()).expect("an address has fewer than 64 octets"));
    octets.extend_from_slice(text.as_bytes());
}

fn take_address(octets: &[u8]) -> Option<(SocketAddr, &[u8])> {
    let (len, rest) = octets.split_first()?;
    let (text, rest) = rest.split_at_checked(usize::from(*len))?;
    Some((str::from_utf8(text).ok()?.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn every_kind() -> Vec<Message> {
        let four = "169.254.20.10:53".parse().expect("an address");
        let six = "[fd00:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535".parse().expect("an address");
        vec![
            Message::Hello,
            Message::Listener(Purpose::Dns, four),
            Message::Listener(Purpose::Pages, six),
            Message::Snapshot,
            Message::AllGiven,
            Message::Serving,
            Message::Connection(six, vec![0; usize::from(u16::MAX) + 1]),
            Message::Connection(four, Vec::new()),
            Message::Farewell,
        ]
    }

    #[test]
    fn every_message_comes_out_as_it_went_in_and_fits() {
        for message in every_kind() {
            let octets = message.encode();
            assert!(octets.len() <= MESSAGE_MAX);
            assert_eq!(Message::decode(&octets), Some(message));
        }
    }

    #[test]
    fn other_versions_and_broken_messages_are_none() {
        for message in every_kind() {
            let mut octets = message.encode();
            octets[0] += 1;
            assert_eq!(Message::decode(&octets), None);
        }
        for octets in [&[][..], &[1], &[1, 0], &[1, 99], &[1, 1, 0], &[1, 2], &[1, 2, 9, b'1']] {
            assert_eq!(Message::decode(octets), None, "{octets:?}");
        }
    }

    proptest! {
        #[test]
        fn any_octets_are_a_message_or_none(octets in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Some(message) = Message::decode(&octets) {
                prop_assert_eq!(Message::decode(&message.encode()), Some(message));
            }
        }
    }
}
