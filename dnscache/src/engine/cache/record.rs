//! The layout of one answer in memory: a fixed head, the key, the message, the offsets of its TTLs.
//!
//! An answer is the same octets wherever it is: in a store's log, or owned by a question under way
//! ([`super::entry::Entry`]). So keeping one is a copy, and reading one follows no pointers.

use super::key::Key;
use super::renewal::Renewal;
use crate::engine::wire::answer::Rotation;
use crate::engine::wire::header::Header;
use crate::engine::wire::ttl::{self, Age};
use crate::engine::{Now, RouteId};

/// What kind of answer it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Records of the type asked, or an alias on the way there.
    Success,
    /// NXDOMAIN or NODATA.
    Denial,
    /// SERVFAIL, remembered so that upstream is not asked again at once (RFC 9520).
    Failure,
}

/// Octets of the head.
pub const HEAD_LEN: usize = 72;
/// Records begin at multiples of this many octets, and their lengths are multiples of it.
pub const ALIGN: usize = 8;

/// Where the fields of the head stand; numbers are in the machine's own order.
mod field {
    pub const LEN: usize = 0;
    pub const IS_LIVE: usize = 4;
    pub const USES: usize = 5;
    pub const KIND: usize = 6;
    pub const RCODE: usize = 7;
    pub const HITS: usize = 8;
    pub const SERIAL: usize = 12;
    pub const STORED: usize = 16;
    pub const LIFETIME: usize = 24;
    pub const KEY_LEN: usize = 32;
    pub const MESSAGE_LEN: usize = 34;
    pub const TTLS: usize = 36;
    pub const ROTATION: usize = 38;
    pub const HASH: usize = 44;
    pub const RENEWAL: usize = 48;
}

/// The bit beside the kind that says that upstream set AD.
const AUTHENTIC: u8 = 0x80;
/// The bit beside the kind that says that it was put together here; the mark of who did so stands
/// where hits are counted, since such an answer is not renewed.
const SYNTHESISED: u8 = 0x40;
/// The bits of the kind itself.
const KIND: u8 = 0x3f;
/// Uses are counted up to this; more would only make a name stay longer after its time.
const USES_MAX: u8 = 3;

/// What stands in the head of a new record.
#[derive(Debug, Clone, Copy)]
pub struct Head {
    /// What kind of answer it is.
    pub kind: Kind,
    /// Response code.
    pub rcode: u8,
    /// Upstream's AD bit.
    pub is_authentic: bool,
    /// When it was learned.
    pub stored: Now,
    /// How long it lives.
    pub lifetime_millis: u64,
    /// Address records that may be rotated.
    pub rotation: Option<Rotation>,
    /// If it was put together from other answers: the mark of whoever did so.
    pub synthesised: Option<u32>,
}

/// Writes a record; `ttl_offsets` are where the TTLs stand in `message`, which is at most 65,535
/// octets.
pub fn write(
    key: &Key,
    message: &[u8],
    ttl_offsets: impl ExactSizeIterator<Item = u16>,
    head: &Head,
) -> Box<[u8]> {
    let key = key.as_bytes();
    let ttls = ttl_offsets.len();
    let len = (HEAD_LEN + key.len() + message.len() + 2 * ttls).next_multiple_of(ALIGN);
    let mut octets = Vec::with_capacity(len);
    octets.resize(HEAD_LEN, 0);
    octets.extend_from_slice(key);
    octets.extend_from_slice(message);
    octets.extend(ttl_offsets.flat_map(u16::to_ne_bytes));
    octets.resize(len, 0);
    let authentic = if head.is_authentic { AUTHENTIC } else { 0 };
    let kind = match head.kind {
        Kind::Success => 0,
        Kind::Denial => 1,
        Kind::Failure => 2,
    };
    octets[field::IS_LIVE] = 1;
    let synthesised = if head.synthesised.is_some() { SYNTHESISED } else { 0 };
    octets[field::KIND] = kind | authentic | synthesised;
    put(&mut octets, field::HITS, head.synthesised.unwrap_or(0).to_ne_bytes());
    octets[field::RCODE] = head.rcode;
    put(&mut octets, field::STORED, head.stored.millis().to_ne_bytes());
    put(&mut octets, field::LIFETIME, head.lifetime_millis.to_ne_bytes());
    put(&mut octets, field::KEY_LEN, (key.len() as u16).to_ne_bytes());
    put(&mut octets, field::MESSAGE_LEN, (message.len() as u16).to_ne_bytes());
    put(&mut octets, field::TTLS, (ttls as u16).to_ne_bytes());
    if let Some(Rotation { start, record_len, count }) = head.rotation {
        for (place, number) in [start, record_len, count].into_iter().enumerate() {
            put(&mut octets, field::ROTATION + 2 * place, number.to_ne_bytes());
        }
    }
    octets.into()
}

/// One record, read where it lies.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a>(&'a [u8]);

impl<'a> Record<'a> {
    /// Reads what [`write`] wrote, possibly with more room behind it.
    pub fn new(octets: &'a [u8]) -> Self {
        Self(octets)
    }

    /// All its octets, without further room behind it.
    pub fn octets(self) -> &'a [u8] {
        let end = self.ttls_at() + self.ttls_len();
        &self.0[..end.next_multiple_of(ALIGN)]
    }

    /// The octets of its key.
    pub fn key(self) -> &'a [u8] {
        &self.0[HEAD_LEN..][..self.key_len()]
    }

    /// The route it was learned through.
    pub fn route(self) -> RouteId {
        RouteId(u32::from_be_bytes(take(self.0, HEAD_LEN)))
    }

    /// The message without OPT. An answer's flags are QR, AD and the response code, so that it can be
    /// looked at again as upstream's was; its ID has no meaning.
    pub fn message(self) -> &'a [u8] {
        &self.0[HEAD_LEN + self.key_len()..][..self.message_len()]
    }

    /// Whether its message has nothing in the answer section and something in the authority
    /// section: an NXDOMAIN like that denies the name asked itself (RFC 6604 section 3).
    pub fn has_authority_only(self) -> bool {
        Header::read(self.message())
            .is_some_and(|header| header.counts[1] == 0 && header.counts[2] > 0)
    }

    /// Response code.
    pub fn rcode(self) -> u8 {
        self.0[field::RCODE]
    }

    /// What kind of answer it is.
    pub fn kind(self) -> Kind {
        match self.0[field::KIND] & KIND {
            0 => Kind::Success,
            1 => Kind::Denial,
            _ => Kind::Failure,
        }
    }

    /// Whether upstream said it is authentic (AD).
    pub fn is_authentic(self) -> bool {
        self.0[field::KIND] & AUTHENTIC != 0
    }

    /// The mark of whoever put it together from other answers; `None` if upstream gave it.
    pub fn synthesised(self) -> Option<u32> {
        let is_synthesised = self.0[field::KIND] & SYNTHESISED != 0;
        is_synthesised.then(|| u32::from_ne_bytes(take(self.0, field::HITS)))
    }

    /// How long it still lives, in milliseconds; 0 if it has expired.
    pub fn left_millis(self, now: Now) -> u64 {
        self.lifetime_millis().saturating_sub(now.since(self.stored()))
    }

    fn serial(self) -> u32 {
        u32::from_ne_bytes(take(self.0, field::SERIAL))
    }

    /// Whether it is the very same answer, as opposed to a later one to the same question.
    pub fn is(self, other: Record<'_>) -> bool {
        (self.stored(), self.serial()) == (other.stored(), other.serial())
    }

    /// How often it was used, up to a small number.
    pub fn uses(self) -> u8 {
        uses(self.0)
    }

    /// The hash its store gave it.
    pub fn hash(self) -> u32 {
        u32::from_ne_bytes(take(self.0, field::HASH))
    }

    /// Whether it is within its lifetime.
    pub fn is_fresh(self, now: Now) -> bool {
        now.since(self.stored()) < self.lifetime_millis()
    }

    /// Whether it has expired no longer than `window_millis` ago and may be served stale.
    pub fn is_servable_stale(self, now: Now, window_millis: u64) -> bool {
        self.kind() != Kind::Failure
            && now.since(self.stored()) < self.lifetime_millis().saturating_add(window_millis)
    }

    /// Whole seconds since it was learned, which its TTLs are counted down by. What was put
    /// together here ages a little faster: it must not outlive what it rests on.
    pub fn age(self, now: Now) -> Age {
        let millis = now.since(self.stored());
        let seconds = match self.synthesised() {
            Some(_) => millis.div_ceil(1_000),
            None => millis / 1_000,
        };
        Age::Seconds(u32::try_from(seconds).unwrap_or(u32::MAX))
    }

    /// Whether it is in the last `percentage` of its life.
    pub fn is_old(self, now: Now, percentage: u8) -> bool {
        let lifetime_millis = self.lifetime_millis();
        let left_millis = lifetime_millis.saturating_sub(now.since(self.stored()));
        left_millis.saturating_mul(100) <= lifetime_millis.saturating_mul(u64::from(percentage))
    }

    /// Rewrites the TTLs of its message, copied to the front of `out`.
    pub fn rewrite_ttls(self, out: &mut [u8], age: Age) {
        let offsets = self.0[self.ttls_at()..][..self.ttls_len()].chunks_exact(2);
        let offsets = offsets.map(|pair| usize::from(u16::from_ne_bytes([pair[0], pair[1]])));
        ttl::rewrite(out, offsets, age);
    }

    /// Turns its address records by `turn` places in its message, copied to the front of `out`.
    pub fn rotate(self, out: &mut [u8], turn: u32) {
        let [start, len, count] = [0, 2, 4]
            .map(|place| usize::from(u16::from_ne_bytes(take(self.0, field::ROTATION + place))));
        if count > 0 {
            out[start..start + len * count].rotate_left(turn as usize % count * len);
        }
    }

    /// The marks of its renewal.
    pub fn renewal(self) -> Renewal {
        let moment = |place: usize| u64::from_ne_bytes(take(self.0, field::RENEWAL + 8 * place));
        Renewal { under_way_until: moment(0), failed_since: moment(1), paused_until: moment(2) }
    }

    /// When it was learned.
    pub fn stored(self) -> Now {
        Now::from_millis(u64::from_ne_bytes(take(self.0, field::STORED)))
    }

    /// How long it was to live, in milliseconds.
    pub fn lifetime_millis(self) -> u64 {
        u64::from_ne_bytes(take(self.0, field::LIFETIME))
    }

    fn key_len(self) -> usize {
        usize::from(u16::from_ne_bytes(take(self.0, field::KEY_LEN)))
    }

    fn message_len(self) -> usize {
        usize::from(u16::from_ne_bytes(take(self.0, field::MESSAGE_LEN)))
    }

    fn ttls_at(self) -> usize {
        HEAD_LEN + self.key_len() + self.message_len()
    }

    fn ttls_len(self) -> usize {
        2 * usize::from(u16::from_ne_bytes(take(self.0, field::TTLS)))
    }
}

/// The records that lie one behind the other in `octets`, without gaps or further room.
pub fn each(octets: &[u8]) -> impl Iterator<Item = Record<'_>> {
    let mut rest = octets;
    std::iter::from_fn(move || {
        let record = (!rest.is_empty()).then(|| Record(Record(rest).octets()))?;
        rest = &rest[record.0.len()..];
        Some(record)
    })
}

/// The length of the gap that begins `octets`, or of the room that the record there takes.
pub fn len(octets: &[u8]) -> usize {
    u32::from_ne_bytes(take(octets, field::LEN)) as usize
}

/// Sets that length.
pub fn set_len(octets: &mut [u8], len: usize) {
    put(octets, field::LEN, (len as u32).to_ne_bytes());
}

/// Whether a record begins `octets`, as opposed to a gap.
pub fn is_live(octets: &[u8]) -> bool {
    octets[field::IS_LIVE] != 0
}

/// Makes a gap of what begins `octets`; its length stays.
pub fn bury(octets: &mut [u8]) {
    octets[field::IS_LIVE] = 0;
}

/// Gives a record its hash and its number.
pub fn identify(octets: &mut [u8], hash: u32, serial: u32) {
    put(octets, field::HASH, hash.to_ne_bytes());
    put(octets, field::SERIAL, serial.to_ne_bytes());
}

/// Notes a use.
pub fn note_use(octets: &mut [u8]) {
    let uses = &mut octets[field::USES];
    if *uses < USES_MAX {
        *uses += 1;
    }
}

/// How often it was used, up to a small number.
pub fn uses(octets: &[u8]) -> u8 {
    octets[field::USES]
}

/// Sets that.
pub fn set_uses(octets: &mut [u8], uses: u8) {
    octets[field::USES] = uses;
}

/// Counts a hit and says how many there were.
pub fn count_hit(octets: &mut [u8]) -> u32 {
    let hits = u32::from_ne_bytes(take(octets, field::HITS)).saturating_add(1);
    put(octets, field::HITS, hits.to_ne_bytes());
    hits
}

/// Writes the marks of renewal.
pub fn set_renewal(octets: &mut [u8], renewal: Renewal) {
    let Renewal { under_way_until, failed_since, paused_until } = renewal;
    for (place, moment) in [under_way_until, failed_since, paused_until].into_iter().enumerate() {
        put(octets, field::RENEWAL + 8 * place, moment.to_ne_bytes());
    }
}

fn take<const LEN: usize>(octets: &[u8], at: usize) -> [u8; LEN] {
    *octets[at..].first_chunk().expect("a record is longer than its head")
}

fn put<const LEN: usize>(octets: &mut [u8], at: usize, value: [u8; LEN]) {
    octets[at..at + LEN].copy_from_slice(&value);
}
