//! The form of a snapshot: a head, then chunks, each with a checksum over everything up to it.
//!
//! ```text
//!   head   "dnscache"  format: u16  written: u64 (milliseconds since 1970)  checksum: u32
//!   chunk  kind: u8  length: u32  payload  checksum: u32
//!   ...
//!   chunk  kind 255: nothing comes after it
//! ```
//!
//! Numbers are in network order. The checksum (CRC-32) goes over every octet from the first one
//! on, so a chunk that is missing, changed, doubled or in another place is found, and so is an end
//! that is missing. It is there against accidents; who may write the file is for its owner and mode
//! to say.

use std::io::{self, Read, Write};
use std::ops::Range;

use crc32fast::Hasher;

use super::Unusable;

/// The first octets of every snapshot.
const MAGIC: [u8; 8] = *b"dnscache";
/// The form of head, chunks and items, and with it what an answer's message has been through. It
/// goes up with every change that an earlier or a later program would read wrongly.
pub const FORMAT: u16 = 1;
/// Octets of the head before its checksum.
const HEAD_LEN: usize = 8 + 2 + 8;
/// Octets of a chunk before its payload.
const CHUNK_HEAD_LEN: usize = 1 + 4;
/// Octets of a checksum.
const CHECKSUM_LEN: usize = 4;
/// Octets of a payload from which on a chunk is written.
pub const CHUNK_FULL: usize = 64 << 10;
/// Octets of the largest payload: one that was almost full, and the largest item.
const PAYLOAD_MAX: usize = 2 * CHUNK_FULL + 1_024;
/// Octets that a chunk takes beside its payload.
pub const CHUNK_OVERHEAD: usize = CHUNK_HEAD_LEN + CHECKSUM_LEN;

/// What a chunk holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Routes, numbered from 0 in the order in which they come.
    Routes,
    /// Names that are asked often.
    HotNames,
    /// Boundaries that are switched off.
    Boundaries,
    /// Answers.
    Answers,
    /// The end, with the number of answers.
    End,
}

impl Kind {
    const ALL: [(Self, u8); 5] = [
        (Self::Routes, 1),
        (Self::HotNames, 2),
        (Self::Boundaries, 3),
        (Self::Answers, 4),
        (Self::End, 255),
    ];

    fn number(self) -> u8 {
        Self::ALL.iter().find(|(kind, _)| *kind == self).expect("all of them").1
    }

    fn of(number: u8) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == number).map(|(kind, _)| *kind)
    }
}

/// Writes head and chunks.
pub struct Writer<'w, W> {
    out: &'w mut W,
    sum: Hasher,
    bytes: u64,
}

impl<'w, W: Write> Writer<'w, W> {
    /// Writes the head.
    ///
    /// # Errors
    /// Those of `out`, here and below.
    pub fn begin(out: &'w mut W, written_millis: u64) -> io::Result<Self> {
        let mut writer = Self { out, sum: Hasher::new(), bytes: 0 };
        writer.put(&MAGIC)?;
        writer.put(&FORMAT.to_be_bytes())?;
        writer.put(&written_millis.to_be_bytes())?;
        writer.seal()?;
        Ok(writer)
    }

    /// Writes a chunk; its payload is at most [`CHUNK_FULL`] and an item.
    pub fn chunk(&mut self, kind: Kind, payload: &[u8]) -> io::Result<()> {
        self.put(&[kind.number()])?;
        self.put(&(payload.len() as u32).to_be_bytes())?;
        self.put(payload)?;
        self.seal()
    }

    /// Octets written so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn put(&mut self, octets: &[u8]) -> io::Result<()> {
        self.sum.update(octets);
        self.bytes += octets.len() as u64;
        self.out.write_all(octets)
    }

    fn seal(&mut self) -> io::Result<()> {
        let sum = self.sum.clone().finalize();
        self.put(&sum.to_be_bytes())
    }
}

/// A snapshot that is whole, as it was written; what is in its chunks has not been looked at.
#[derive(Debug)]
pub struct Verified {
    /// When it was written, in milliseconds since 1970.
    pub written_millis: u64,
    octets: Vec<u8>,
    chunks: Vec<(Kind, Range<usize>)>,
}

impl Verified {
    /// Reads up to the end of a snapshot and not beyond, at most `bytes_max` octets. All of it is
    /// held in memory, so that nothing of it is used before the last checksum fits.
    ///
    /// # Errors
    /// It is no snapshot, one of another format, damaged or too large.
    pub fn read(mut input: impl Read, bytes_max: u64) -> Result<Self, Unusable> {
        let mut reading = Reading { octets: Vec::new(), sum: Hasher::new(), bytes_max };
        let head = reading.take(&mut input, HEAD_LEN)?;
        let octets = &reading.octets[head];
        let (magic, rest) = octets.split_at(MAGIC.len());
        let (format, written) = rest.split_at(2);
        if magic != MAGIC {
            return Err(Unusable::Foreign);
        }
        let format = u16::from_be_bytes([format[0], format[1]]);
        if format != FORMAT {
            return Err(Unusable::OtherFormat(format));
        }
        let written_millis = u64::from_be_bytes(written.try_into().expect("eight octets are left"));
        reading.check_seal(&mut input)?;
        let mut chunks = Vec::new();
        loop {
            let (kind, payload) = reading.chunk(&mut input)?;
            chunks.push((kind, payload));
            if kind == Kind::End {
                return Ok(Self { written_millis, octets: reading.octets, chunks });
            }
        }
    }

    /// The payloads of the chunks of a kind, in order.
    pub fn payloads(&self, kind: Kind) -> impl Iterator<Item = &[u8]> {
        let of_kind = self.chunks.iter().filter(move |(known, _)| *known == kind);
        of_kind.map(|(_, range)| &self.octets[range.clone()])
    }

    /// Octets of the whole.
    pub fn bytes(&self) -> u64 {
        self.octets.len() as u64
    }
}

/// What was read so far.
struct Reading {
    octets: Vec<u8>,
    sum: Hasher,
    bytes_max: u64,
}

impl Reading {
    fn chunk(&mut self, input: &mut impl Read) -> Result<(Kind, Range<usize>), Unusable> {
        let start = self.octets.len() as u64;
        let head = self.take(input, CHUNK_HEAD_LEN)?;
        let head = &self.octets[head];
        let kind = Kind::of(head[0]);
        let len = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        // What is not sealed yet may say anything; too large a length is not even tried.
        let (Some(kind), true) = (kind, len <= PAYLOAD_MAX) else {
            return Err(Unusable::Damaged(start));
        };
        let payload = self.take(input, len)?;
        self.check_seal(input)?;
        Ok((kind, payload))
    }

    fn check_seal(&mut self, input: &mut impl Read) -> Result<(), Unusable> {
        let sum = self.sum.clone().finalize();
        let seal = self.take(input, CHECKSUM_LEN)?;
        let is_whole = self.octets[seal.clone()] == sum.to_be_bytes();
        is_whole.then_some(()).ok_or(Unusable::Damaged(seal.start as u64))
    }

    fn take(&mut self, input: &mut impl Read, len: usize) -> Result<Range<usize>, Unusable> {
        let start = self.octets.len();
        if (start + len) as u64 > self.bytes_max {
            return Err(Unusable::TooLarge(self.bytes_max));
        }
        self.octets.resize(start + len, 0);
        input.read_exact(&mut self.octets[start..]).map_err(Unusable::from)?;
        self.sum.update(&self.octets[start..]);
        Ok(start..start + len)
    }
}
