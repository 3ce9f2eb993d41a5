//! One answer that a question under way owns: what upstream just said, or what is known and to be
//! renewed.

use super::key::Key;
use super::record::{self, Head, Kind, Record};
use crate::engine::Now;
use crate::engine::wire::answer::{Digest, Meaning};
use crate::engine::wire::header::{HEADER_LEN, flag};

/// One answer, ready to send but for ID, spelling of the question, flags, OPT and ages.
#[derive(Debug, Clone)]
pub struct Entry(Box<[u8]>);

impl Entry {
    /// An answer from upstream; its TTLs are settled.
    pub fn answer(key: &Key, digest: Digest, lifetime_secs: u32, now: Now) -> Self {
        Self::of(key, digest, u64::from(lifetime_secs) * 1_000, None, now)
    }

    /// An answer that an earlier process had, learned at `stored` and used so often.
    pub fn remembered(
        key: &Key,
        digest: Digest,
        lifetime_secs: u32,
        uses: u8,
        stored: Now,
    ) -> Self {
        let mut entry = Self::answer(key, digest, lifetime_secs, stored);
        record::set_uses(&mut entry.0, uses);
        entry
    }

    /// An answer that was put together from others by `mark`.
    pub fn synthesised(
        key: &Key,
        digest: Digest,
        lifetime_millis: u64,
        mark: u32,
        now: Now,
    ) -> Self {
        Self::of(key, digest, lifetime_millis, Some(mark), now)
    }

    fn of(
        key: &Key,
        mut digest: Digest,
        lifetime_millis: u64,
        synthesised: Option<u32>,
        now: Now,
    ) -> Self {
        for (at, ttl_secs) in &digest.ttls {
            let at = usize::from(*at);
            digest.message[at..at + 4].copy_from_slice(&ttl_secs.to_be_bytes());
        }
        let authentic = if digest.authentic { flag::AD } else { 0 };
        let flags = flag::QR | authentic | u16::from(digest.rcode);
        digest.message[2..4].copy_from_slice(&flags.to_be_bytes());
        let head = Head {
            kind: match digest.meaning {
                Meaning::Data => Kind::Success,
                Meaning::Incomplete if !digest.ttls.is_empty() => Kind::Success,
                _ => Kind::Denial,
            },
            rcode: digest.rcode,
            is_authentic: digest.authentic,
            stored: now,
            lifetime_millis,
            rotation: digest.rotation,
            synthesised,
        };
        Self(record::write(key, &digest.message, digest.ttls.iter().map(|(at, _)| *at), &head))
    }

    /// A remembered failure to answer `key` with this response code.
    pub fn failure(key: &Key, rcode: u8, now: Now, lifetime_millis: u64) -> Self {
        let mut message = vec![0; HEADER_LEN];
        message[5] = 1;
        message.extend(key.name());
        message.extend(key.qtype().to_be_bytes());
        message.extend(key.qclass().to_be_bytes());
        let head = Head {
            kind: Kind::Failure,
            rcode,
            is_authentic: false,
            stored: now,
            lifetime_millis,
            rotation: None,
            synthesised: None,
        };
        Self(record::write(key, &message, std::iter::empty(), &head))
    }

    /// What it says.
    pub fn record(&self) -> Record<'_> {
        Record::new(&self.0)
    }
}

impl From<Record<'_>> for Entry {
    /// Copies a record out of a store, with its number and marks.
    fn from(record: Record<'_>) -> Self {
        let mut octets: Box<[u8]> = record.octets().into();
        record::set_uses(&mut octets, 0);
        Self(octets)
    }
}
