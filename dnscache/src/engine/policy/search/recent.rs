//! What clients asked a moment ago, as far as it bears on what they ask next: which walks are under
//! way, what was told about a lookup, which walks led nowhere.
//!
//! Tables of fixed size without locks, a word for each note: part of a hash, the moment, and what is
//! noted. Notes push each other out. What is lost that way costs a shortcut, or makes two types of
//! one lookup differ once, among eight thousand others within seconds.

use std::hash::{BuildHasher, Hasher};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::RandomState;

use crate::engine::wire::header::rtype;
use crate::engine::{Now, Reason};

/// Rows of each table.
const ROWS: usize = 8_192;
/// For how long a walk is remembered: resolvers between an application and us keep a denial no
/// longer.
const WALK_MILLIS: u64 = 600_000;
/// How long the questions of one lookup may lie apart: a libc's timeout.
const LOOKUP_MILLIS: u64 = 5_000;
/// Questions of one client that come within so many bits of milliseconds are sent together: its
/// lookups of one name may be mixed up then.
const BURST_BITS: u32 = 2;
/// For how long a boundary is not asked for again, whatever became of the question.
const BOUNDARY_MILLIS: u64 = 2_000;
/// For how long a walk that led nowhere is not tried again.
const FUTILE_MILLIS: u64 = 1_000;

/// What clients asked a moment ago.
#[derive(Debug)]
pub struct Recent {
    hasher: RandomState,
    /// By client and name, one row for all that is looked at together.
    clients: Table<4>,
    /// By socket and name: the types that were told.
    told: Table<1>,
    /// By client and name: the moment of the first question that was told.
    bursts: Table<1>,
    /// By name: boundaries that were asked for.
    boundaries: Table<1>,
}

/// Columns of `clients`.
const WALK: usize = 0;
const TOGETHER: usize = 1;
const FUTILE: [usize; 2] = [2, 3];

/// A client and a name it asks about.
#[derive(Debug, Clone, Copy)]
pub struct Lookup {
    /// Whatever its port is: some clients take another one for each type.
    client: u64,
    /// On this port: clients may look a name up several times at once.
    socket: u64,
}

impl Default for Recent {
    fn default() -> Self {
        let hasher = RandomState::default();
        Self {
            hasher,
            clients: Table::new(),
            told: Table::new(),
            bursts: Table::new(),
            boundaries: Table::new(),
        }
    }
}

impl Recent {
    /// The lookup to which a question belongs.
    pub fn lookup(&self, client: SocketAddr, name: &[u8]) -> Lookup {
        let hash = |port| self.hash(client.ip(), port, name);
        Lookup { client: hash(0), socket: hash(client.port()) }
    }

    /// Notes that a client may go on to ask for `next`, a name that could be read as the first
    /// question of another namespace's lookup.
    pub fn walk(&self, client: IpAddr, next: &[u8], now: Now) {
        let hash = self.hash(client, 0, next);
        self.clients.cell(hash, WALK).note(hash, 0, now);
    }

    /// Whether a client may ask a question as a step of another lookup.
    pub fn is_walking(&self, lookup: Lookup, now: Now) -> bool {
        self.clients.cell(lookup.client, WALK).read(lookup.client, WALK_MILLIS, now).is_some()
    }

    /// Whether a question belongs to a lookup whose other address type was answered without a
    /// shortcut a moment ago, and must be as well: half an answer would be taken for the whole. A
    /// type that is asked for again begins another lookup, on its port at once, on another port
    /// unless both were sent together: some clients take a port for each type.
    pub fn stays_plain(&self, lookup: Lookup, qtype: u16, now: Now) -> bool {
        let Some(bit) = type_bit(qtype) else { return false };
        let [socket, client] = self.told_cells(lookup);
        let on_port = socket.read(lookup.socket, LOOKUP_MILLIS, now).unwrap_or(0);
        if on_port & bit != 0 {
            socket.forget();
        } else if on_port != 0 {
            return true;
        }
        let on_any = client.read(lookup.client, LOOKUP_MILLIS, now).unwrap_or(0);
        if on_any & bit == 0 || self.is_burst(lookup, now) {
            return on_any != 0;
        }
        client.forget();
        false
    }

    /// Notes that a question is answered without a shortcut.
    pub fn tell_plainly(&self, lookup: Lookup, qtype: u16, now: Now) {
        let Some(bit) = type_bit(qtype) else { return };
        for (cell, hash) in self.told_cells(lookup).into_iter().zip([lookup.socket, lookup.client])
        {
            let earlier = cell.read(hash, LOOKUP_MILLIS, now).unwrap_or(0);
            cell.note(hash, earlier | bit, now);
        }
        if !self.is_burst(lookup, now) {
            self.bursts.cell(lookup.client, 0).note(burst(lookup, 0, now), 0, now);
        }
    }

    fn told_cells(&self, lookup: Lookup) -> [&Cell; 2] {
        [self.told.cell(lookup.socket, 0), self.clients.cell(lookup.client, TOGETHER)]
    }

    /// Whether something was told of this name a few milliseconds ago.
    fn is_burst(&self, lookup: Lookup, now: Now) -> bool {
        let cell = self.bursts.cell(lookup.client, 0);
        [0, 1].iter().any(|ago| cell.read(burst(lookup, *ago, now), LOOKUP_MILLIS, now).is_some())
    }

    /// Whether a boundary may be asked for: not if that was done a moment ago, even if nothing
    /// came of it that could be kept.
    pub fn may_ask(&self, boundary: &[u8], now: Now) -> bool {
        let hash = self.hash(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0, boundary);
        let cell = self.boundaries.cell(hash, 0);
        let may_ask = cell.read(hash, BOUNDARY_MILLIS, now).is_none();
        if may_ask {
            cell.note(hash, 0, now);
        }
        may_ask
    }

    /// Why the list of this very question was walked in vain a moment ago, if nothing was learned
    /// since: `learned` counts that.
    pub fn futile(&self, lookup: Lookup, qtype: u16, learned: u64, now: Now) -> Option<Reason> {
        let cell = self.clients.cell(lookup.client, futile_column(qtype));
        let noted = cell.read(attempt(lookup, qtype, learned), FUTILE_MILLIS, now)?;
        Reason::ALL.get(noted as usize).copied()
    }

    /// Notes that it was walked in vain.
    pub fn note_futile(&self, lookup: Lookup, (qtype, learned): (u16, u64), why: Reason, now: Now) {
        let cell = self.clients.cell(lookup.client, futile_column(qtype));
        cell.note(attempt(lookup, qtype, learned), why as u64, now);
    }

    fn hash(&self, client: IpAddr, port: u16, name: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        match client {
            IpAddr::V4(address) => hasher.write_u32(address.to_bits()),
            IpAddr::V6(address) => hasher.write_u128(address.to_bits()),
        }
        hasher.write_u16(port);
        hasher.write(name);
        hasher.finish()
    }
}

/// A client and a name at a moment some steps ago.
fn burst(lookup: Lookup, ago: u64, now: Now) -> u64 {
    let step = (now.millis() >> BURST_BITS).wrapping_sub(ago);
    lookup.client ^ step.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// A and AAAA take turns.
fn futile_column(qtype: u16) -> usize {
    FUTILE[usize::from(qtype == rtype::AAAA)]
}

/// A question at a state of knowledge.
fn attempt(lookup: Lookup, qtype: u16, learned: u64) -> u64 {
    let salt = (learned << 16 | u64::from(qtype)).wrapping_add(1);
    lookup.client ^ salt.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The types of which a lookup asks for both.
fn type_bit(qtype: u16) -> Option<u64> {
    match qtype {
        rtype::A => Some(1),
        rtype::AAAA => Some(2),
        _ => None,
    }
}

/// Rows of cells, by hash.
#[derive(Debug)]
struct Table<const COLUMNS: usize>(Box<[[Cell; COLUMNS]]>);

impl<const COLUMNS: usize> Table<COLUMNS> {
    fn new() -> Self {
        Self((0..ROWS).map(|_| std::array::from_fn(|_| Cell::default())).collect())
    }

    fn cell(&self, hash: u64, column: usize) -> &Cell {
        &self.0[hash as usize % ROWS][column]
    }
}

/// A note about whoever has a hash: a part of the hash, then the moment, then the note.
#[derive(Debug, Default)]
struct Cell(AtomicU64);

const MOMENT_AT: u32 = 8;
const HASH_AT: u32 = 24;
/// Moments are so many bits of milliseconds long, and come round after four and a half hours.
const MOMENT_BITS: u32 = 8;
const MOMENT: u64 = 0xffff;
/// Set in every cell that holds a note, so that a note may be 0.
const IS_NOTED: u64 = 0x80;

impl Cell {
    /// What was noted about a hash within so many milliseconds, below 128.
    fn read(&self, hash: u64, millis: u64, now: Now) -> Option<u64> {
        let cell = self.0.load(Ordering::Relaxed);
        let is_it = cell >> HASH_AT == hash >> HASH_AT && cell & IS_NOTED != 0;
        let age = moment(now).wrapping_sub(cell >> MOMENT_AT) & MOMENT;
        (is_it && age <= millis >> MOMENT_BITS).then_some(cell & 0x7f)
    }

    fn note(&self, hash: u64, note: u64, now: Now) {
        let cell = hash >> HASH_AT << HASH_AT | moment(now) << MOMENT_AT | IS_NOTED | note;
        self.0.store(cell, Ordering::Relaxed);
    }

    fn forget(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

fn moment(now: Now) -> u64 {
    now.millis() >> MOMENT_BITS & MOMENT
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Now = Now::from_millis(1_000_000);

    fn from(last: u8, port: u16) -> SocketAddr {
        ([10, 0, 0, last], port).into()
    }

    #[test]
    fn both_types_of_a_lookup_stay_plain_and_the_next_lookup_is_free() {
        let recent = Recent::default();
        let lookup = |port| recent.lookup(from(1, port), b"n");
        let stays = |port, qtype, at| recent.stays_plain(lookup(port), qtype, at);
        assert!(!stays(4_000, 1, START));
        recent.tell_plainly(lookup(4_000), 1, START);
        // On the same port, and on another one where each type has its own.
        for port in [4_000, 4_001] {
            assert!(stays(port, 28, START) && stays(port, 28, START.plus_millis(4_900)));
            assert!(!stays(port, 28, START.plus_millis(5_300)), "that is another lookup");
        }
        assert!(!stays(4_000, 16, START), "only addresses come in pairs");
        // A second lookup that is sent with the first one does not set its other half free.
        assert!(stays(5_000, 1, START.plus_millis(1)));
        assert!(stays(4_001, 28, START.plus_millis(1)));
        // A later one is free, on whatever port.
        let later = START.plus_millis(20);
        recent.tell_plainly(lookup(4_000), 28, START);
        assert!(!stays(6_000, 1, later) && !stays(6_001, 28, later));
        assert!(!stays(4_000, 1, later) && !stays(4_000, 28, later));
    }

    #[test]
    fn a_boundary_is_asked_for_once_in_a_while() {
        let recent = Recent::default();
        let asked = [0, 100, 1_900, 2_400].map(|at| recent.may_ask(b"b", START.plus_millis(at)));
        assert_eq!(asked, [true, false, false, true]);
        assert!(recent.may_ask(b"c", START));
    }

    #[test]
    fn walks_are_known_by_client_and_name_for_ten_minutes() {
        let recent = Recent::default();
        let is_walking =
            |last, name: &[u8], at| recent.is_walking(recent.lookup(from(last, 4_000), name), at);
        recent.walk(from(1, 0).ip(), b"a", START);
        assert!(is_walking(1, b"a", START));
        assert!(is_walking(1, b"a", START.plus_millis(599_000)));
        assert!(!is_walking(1, b"a", START.plus_millis(602_000)));
        assert!(!is_walking(1, b"b", START) && !is_walking(2, b"a", START));
    }

    #[test]
    fn a_walk_in_vain_is_tried_again_after_a_second_or_when_something_was_learned() {
        let recent = Recent::default();
        let lookup = recent.lookup(from(1, 4_000), b"n");
        for why in Reason::ALL {
            recent.note_futile(lookup, (1, 7), why, START);
            assert_eq!(recent.futile(lookup, 1, 7, START.plus_millis(700)), Some(why));
        }
        assert_eq!(recent.futile(lookup, 1, 7, START.plus_millis(1_300)), None);
        assert_eq!(recent.futile(lookup, 1, 8, START), None);
        assert_eq!(recent.futile(lookup, 28, 7, START), None);
        assert_eq!(recent.futile(recent.lookup(from(2, 4_000), b"n"), 1, 7, START), None);
    }
}
