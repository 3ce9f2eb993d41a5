//! One answer, ready to send.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use super::renewal::Renewal;
use super::shared::Tally;
use crate::engine::Now;
use crate::engine::wire::answer::{Digest, Meaning, Rotation};
use crate::engine::wire::header::{HEADER_LEN, rcode};
use crate::engine::wire::ttl::{self, Age};

/// What kind of answer an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Records of the type asked, or an alias on the way there.
    Success,
    /// NXDOMAIN or NODATA.
    Denial,
    /// SERVFAIL, remembered so that upstream is not asked again at once (RFC 9520).
    Failure,
}

/// One answer, ready to send but for ID, spelling of the question, flags, OPT and ages.
///
/// Immutable but for the marks of renewal, which planes set concurrently.
#[derive(Debug)]
pub struct Entry {
    /// The message, then the offsets of its TTLs as big-endian 16-bit numbers.
    octets: Box<[u8]>,
    message_len: u16,
    rcode: u8,
    kind: Kind,
    authentic: bool,
    rotation: Option<Rotation>,
    stored: Now,
    lifetime_millis: u64,
    hits: AtomicU32,
    renewal: Renewal,
    /// Where its leaving is counted, once it is in a store.
    tally: OnceLock<Arc<Tally>>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(tally) = self.tally.get() {
            tally.count_out();
        }
    }
}

impl Entry {
    /// An answer from upstream; its TTLs are settled.
    pub fn answer(digest: Digest, lifetime_secs: u32, now: Now) -> Self {
        let kind = match digest.meaning {
            Meaning::Data => Kind::Success,
            Meaning::Incomplete if !digest.ttls.is_empty() => Kind::Success,
            _ => Kind::Denial,
        };
        let mut octets = digest.message;
        let message_len = octets.len() as u16;
        for (at, ttl_secs) in &digest.ttls {
            let at = usize::from(*at);
            octets[at..at + 4].copy_from_slice(&ttl_secs.to_be_bytes());
        }
        octets.extend(digest.ttls.iter().flat_map(|(at, _)| at.to_be_bytes()));
        let mut entry = Self::bare(now, u64::from(lifetime_secs) * 1_000);
        entry.octets = octets.into();
        entry.message_len = message_len;
        entry.rcode = digest.rcode;
        entry.kind = kind;
        entry.authentic = digest.authentic;
        entry.rotation = digest.rotation;
        entry
    }

    /// A remembered failure to answer with this response code; `question` are name, type and class
    /// in wire form.
    pub fn failure(question: &[u8], rcode: u8, now: Now, lifetime_millis: u64) -> Self {
        let mut octets = vec![0; HEADER_LEN];
        octets[5] = 1;
        octets.extend(question);
        let mut entry = Self::bare(now, lifetime_millis);
        entry.message_len = octets.len() as u16;
        entry.octets = octets.into();
        entry.rcode = rcode;
        entry.kind = Kind::Failure;
        entry
    }

    fn bare(stored: Now, lifetime_millis: u64) -> Self {
        Self {
            octets: Box::default(),
            message_len: 0,
            rcode: rcode::NOERROR,
            kind: Kind::Success,
            authentic: false,
            rotation: None,
            stored,
            lifetime_millis,
            hits: AtomicU32::new(0),
            renewal: Renewal::default(),
            tally: OnceLock::new(),
        }
    }

    /// The marks of its renewal.
    pub fn renewal(&self) -> &Renewal {
        &self.renewal
    }

    /// Notes that a store keeps it, and where that is counted.
    pub fn move_in(&self, tally: Arc<Tally>) {
        // An entry is kept once; were it kept again, it would still leave once.
        let _ = self.tally.set(tally);
    }

    /// Notes that another entry takes its place.
    pub fn succeeded(&self) {
        if let Some(tally) = self.tally.get() {
            tally.count_succession();
        }
    }

    /// The message without OPT; its ID and flags have no meaning.
    pub fn message(&self) -> &[u8] {
        &self.octets[..usize::from(self.message_len)]
    }

    /// Response code.
    pub fn rcode(&self) -> u8 {
        self.rcode
    }

    /// What kind of answer it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether upstream said it is authentic (AD).
    pub fn is_authentic(&self) -> bool {
        self.authentic
    }

    /// Octets it keeps allocated.
    pub fn allocated_len(&self) -> usize {
        size_of::<Self>() + self.octets.len()
    }

    /// Whether it is within its lifetime.
    pub fn is_fresh(&self, now: Now) -> bool {
        now.since(self.stored) < self.lifetime_millis
    }

    /// Whether it has expired no longer than `window_millis` ago and may be served stale.
    pub fn is_servable_stale(&self, now: Now, window_millis: u64) -> bool {
        let age_millis = now.since(self.stored);
        self.kind != Kind::Failure
            && age_millis < self.lifetime_millis.saturating_add(window_millis)
    }

    /// Whole seconds since it was stored, which its TTLs are counted down by.
    pub fn age(&self, now: Now) -> Age {
        Age::Seconds(u32::try_from(now.since(self.stored) / 1_000).unwrap_or(u32::MAX))
    }

    /// Rewrites the TTLs of its message, copied to the front of `out`.
    pub fn rewrite_ttls(&self, out: &mut [u8], age: Age) {
        let offsets = self.octets[usize::from(self.message_len)..].chunks_exact(2);
        ttl::rewrite(
            out,
            offsets.map(|pair| usize::from(u16::from_be_bytes([pair[0], pair[1]]))),
            age,
        );
    }

    /// Turns its address records by `turn` places in its message, copied to the front of `out`.
    pub fn rotate(&self, out: &mut [u8], turn: u32) {
        let Some(rotation) = self.rotation else {
            return;
        };
        let start = usize::from(rotation.start);
        let len = usize::from(rotation.record_len);
        let count = usize::from(rotation.count);
        out[start..start + len * count].rotate_left(turn as usize % count * len);
    }

    /// Counts a hit and says whether it is one that renews: in the last `percentage` of its life,
    /// at least the `amount`th.
    pub fn is_due(&self, now: Now, amount: u32, percentage: u8) -> bool {
        if self.kind == Kind::Failure {
            return false;
        }
        if amount > 1 && self.hits.fetch_add(1, Ordering::Relaxed) + 1 < amount {
            return false;
        }
        let left_millis = self.lifetime_millis.saturating_sub(now.since(self.stored));
        left_millis * 100 <= self.lifetime_millis * u64::from(percentage)
    }
}
