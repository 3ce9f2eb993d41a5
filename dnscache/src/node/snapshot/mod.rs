//! The cache as it outlives a process: written to a stream or a file, and taken in by the next one.
//!
//! [`write`] goes over the stores while they are in use, a few microseconds' worth at a time;
//! [`Snapshot::read`] checks that a stream holds a whole snapshot, and [`Snapshot::restore`] takes in
//! what fits the configuration in force. Routes, blocks and addresses are written in the operator's
//! words, because their numbers are another process's.
//!
//! Lifetimes come from the monotonic clock, which two processes do not share: an answer is written
//! with its age, and the time since is taken from the wall clock. If that was set forward meanwhile,
//! answers expire early; if it was set back behind the moment of writing, nobody knows how old they
//! are, and none is used.

mod format;
mod items;
pub mod file;

use std::io::{self, Read, Write};
use std::sync::Arc;

use crate::engine::block::Block;
use crate::engine::cache::record;
use crate::engine::keepsake::{Keepsake, TakenIn, USES_MAX};
use crate::engine::policy::hot::HotName;
use crate::engine::shelf::zones_label;
use crate::engine::{Engine, Now, RouteId};
use format::{CHUNK_FULL, CHUNK_OVERHEAD, Kind, Verified, Writer};
use items::{Items, OffBoundary};

/// Why a snapshot is not used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// Its first octets are not a snapshot's.
    #[error("it is no snapshot of this program's")]
    Foreign,
    /// Another version of the program wrote it.
    #[error("its format is {0}, and this version reads format {own}", own = format::FORMAT)]
    OtherFormat(u16),
    /// It ends before its end.
    #[error("it is cut short")]
    CutShort,
    /// A checksum does not fit, at this octet.
    #[error("it is damaged: the checksum at octet {0} does not fit")]
    Damaged(u64),
    /// Whole, but something in it is not what it says to be.
    #[error("{0} in it is malformed, though its checksums fit")]
    Malformed(&'static str),
    /// A file goes on after the end of the snapshot.
    #[error("something follows its end")]
    GoesOn,
    /// More octets than are allowed.
    #[error("it is larger than the {0} octets that -snapshot-size allows")]
    TooLarge(u64),
    /// The wall clock stands before the moment it was written, in seconds.
    #[error("it was written {0} s in the future, so the clock was set back and ages are unknown")]
    Future(u64),
    /// Somebody else could have written it.
    #[error("{0}")]
    Untrusted(String),
    /// Reading it failed.
    #[error("{0}")]
    Unreadable(io::Error),
}

impl From<io::Error> for Unusable {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::CutShort,
            _ => Self::Unreadable(error),
        }
    }
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Written {
    /// Answers.
    pub answers: u64,
    /// Hot names.
    pub names: u64,
    /// Answers left out because the size is bounded; those used most stay.
    pub left_out: u64,
    /// Octets.
    pub bytes: u64,
}

/// What was taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Restored {
    /// Answers that are known now.
    pub answers: u64,
    /// Answers whose time is over.
    pub expired: u64,
    /// Answers whose `forward` is not configured any more, or which would not be asked for there.
    pub unwanted: u64,
    /// Hot names.
    pub names: u64,
    /// Milliseconds since it was written.
    pub age_millis: u64,
    /// Octets of the snapshot.
    pub bytes: u64,
}

/// Writes what an engine knows, at most `bytes_max` octets. The engine may go on being used.
///
/// # Errors
/// Those of `out`.
pub fn write(
    engine: &Engine,
    now: Now,
    wall_millis: u64,
    bytes_max: u64,
    out: &mut impl Write,
) -> io::Result<Written> {
    let routes = Routes::of(engine);
    let mut writer = Writer::begin(out, wall_millis)?;
    let mut written = Written::default();
    let mut chunk = Chunk::new(Kind::Routes);
    for words in &routes.words {
        items::put_text(&mut chunk.payload, words.as_bytes());
        chunk.write_if_full(&mut writer)?;
    }
    chunk.write(&mut writer)?;
    written.names = write_hot_names(engine, now, &mut writer)?;
    write_boundaries(engine, now, &mut writer)?;
    let spared = END_LEN + writer.bytes();
    write_answers(engine, now, bytes_max.saturating_sub(spared), &mut writer, &mut written)?;
    writer.chunk(Kind::End, &written.answers.to_be_bytes())?;
    written.bytes = writer.bytes();
    Ok(written)
}

/// Octets of the chunk that ends a snapshot.
const END_LEN: u64 = CHUNK_OVERHEAD as u64 + 8;

/// Routes by their number in a snapshot.
struct Routes {
    ids: Vec<RouteId>,
    words: Vec<Arc<str>>,
}

impl Routes {
    fn of(engine: &Engine) -> Self {
        let routes = engine.blocks().iter().flat_map(|block| &block.routes);
        let (ids, words) = routes.map(|route| (route.id, Arc::clone(&route.words))).unzip();
        Self { ids, words }
    }

    fn number(&self, id: RouteId) -> Option<u16> {
        let number = self.ids.iter().position(|known| *known == id)?;
        u16::try_from(number).ok()
    }
}

/// A chunk in the making.
struct Chunk {
    kind: Kind,
    payload: Vec<u8>,
}

impl Chunk {
    fn new(kind: Kind) -> Self {
        Self { kind, payload: Vec::new() }
    }

    fn write_if_full<W: Write>(&mut self, writer: &mut Writer<'_, W>) -> io::Result<()> {
        if self.payload.len() < CHUNK_FULL { Ok(()) } else { self.write(writer) }
    }

    fn write<W: Write>(&mut self, writer: &mut Writer<'_, W>) -> io::Result<()> {
        if !self.payload.is_empty() {
            writer.chunk(self.kind, &self.payload)?;
            self.payload.clear();
        }
        Ok(())
    }
}

fn write_hot_names<W: Write>(
    engine: &Engine,
    now: Now,
    writer: &mut Writer<'_, W>,
) -> io::Result<u64> {
    let Some(hot) = engine.hot() else { return Ok(0) };
    let names = hot.hottest(now);
    let window_millis = hot.window_millis(now).to_be_bytes();
    let mut chunk = Chunk::new(Kind::HotNames);
    for name in &names {
        if chunk.payload.is_empty() {
            chunk.payload.extend(window_millis);
        }
        items::put_hot_name(&mut chunk.payload, name, engine);
        chunk.write_if_full(writer)?;
    }
    chunk.write(writer)?;
    Ok(names.len() as u64)
}

fn write_boundaries<W: Write>(
    engine: &Engine,
    now: Now,
    writer: &mut Writer<'_, W>,
) -> io::Result<()> {
    let mut chunk = Chunk::new(Kind::Boundaries);
    for block in engine.blocks() {
        let off = block.search.as_ref().map(|search| search.state.switched_off(now));
        for (name, left_millis, millis) in off.unwrap_or_default() {
            let words = words_of_search(block);
            items::put_boundary(&mut chunk.payload, &words, &name, left_millis, millis);
            chunk.write_if_full(writer)?;
        }
    }
    chunk.write(writer)
}

/// A block with `searchpath` in the operator's words.
fn words_of_search(block: &Block) -> String {
    let domain = block.config.search.as_ref().map(|search| search.domain.to_string());
    let (server, zones) = (&block.config.server_label, zones_label(&block.config));
    format!("{server} {zones} {}", domain.unwrap_or_default())
}

fn write_answers<W: Write>(
    engine: &Engine,
    now: Now,
    bytes_max: u64,
    writer: &mut Writer<'_, W>,
    written: &mut Written,
) -> io::Result<()> {
    let routes = Routes::of(engine);
    let mut bar = Bar::for_room(engine, now, bytes_max);
    let mut chunk = Chunk::new(Kind::Answers);
    each_answer(engine, now, |answer, is_fresh| {
        let Some(route) = routes.number(answer.route) else { return Ok(()) };
        let is_put = bar.admits(answer, is_fresh)
            && items::put_answer(&mut chunk.payload, route, answer).is_some();
        written.answers += u64::from(is_put);
        written.left_out += u64::from(!is_put);
        chunk.write_if_full(writer)
    })?;
    chunk.write(writer)
}

/// Goes over what upstream said, as far as it is of use; some answers come twice.
fn each_answer(
    engine: &Engine,
    now: Now,
    mut visit: impl FnMut(&Keepsake<'_>, bool) -> io::Result<()>,
) -> io::Result<()> {
    let mut piece = Vec::new();
    for store in engine.stores() {
        let mut copying = store.copying();
        while copying.next_piece(&mut piece) {
            for record in record::each(&piece) {
                if let Some(answer) = engine.keepsake(record, now) {
                    visit(&answer, record.is_fresh(now))?;
                }
            }
        }
    }
    Ok(())
}

/// How useful an answer must be to be written, so that all of them fit.
#[derive(Debug, PartialEq, Eq)]
struct Bar {
    rank_min: usize,
    /// Octets for answers of the lowest rank.
    at_rank_min: u64,
    /// Octets for all.
    left: u64,
}

/// Ranks of answers: expired, then by their uses.
const RANKS: usize = 2 + USES_MAX as usize;

impl Bar {
    /// The bar with which the answers take at most so many octets. They are gone over twice only if
    /// it may matter.
    fn for_room(engine: &Engine, now: Now, bytes_max: u64) -> Self {
        let payloads = CHUNK_FULL as u64 * bytes_max / (CHUNK_FULL + CHUNK_OVERHEAD) as u64;
        let room = payloads.saturating_sub(CHUNK_OVERHEAD as u64);
        let used: u64 = engine.stores().iter().map(|store| store.usage().bytes).sum();
        let mut by_rank = [0; RANKS];
        if used > room {
            let count = |answer: &Keepsake<'_>, is_fresh| {
                by_rank[rank(answer, is_fresh)] += items::answer_len(answer) as u64;
                Ok(())
            };
            each_answer(engine, now, count).expect("counting does not fail");
        }
        Self::over(by_rank, room)
    }

    fn over(by_rank: [u64; RANKS], room: u64) -> Self {
        let mut left = room;
        for rank in (0..RANKS).rev() {
            if by_rank[rank] > left {
                return Self { rank_min: rank, at_rank_min: left, left: room };
            }
            left -= by_rank[rank];
        }
        Self { rank_min: 0, at_rank_min: room, left: room }
    }

    fn admits(&mut self, answer: &Keepsake<'_>, is_fresh: bool) -> bool {
        let (rank, len) = (rank(answer, is_fresh), items::answer_len(answer) as u64);
        let is_borderline = rank == self.rank_min;
        if rank < self.rank_min || len > self.left || (is_borderline && len > self.at_rank_min) {
            return false;
        }
        self.left -= len;
        if is_borderline {
            self.at_rank_min -= len;
        }
        true
    }
}

fn rank(answer: &Keepsake<'_>, is_fresh: bool) -> usize {
    if is_fresh { 1 + usize::from(answer.uses.min(USES_MAX)) } else { 0 }
}

/// A whole snapshot, held in memory as it was written.
#[derive(Debug)]
pub struct Snapshot(Verified);

impl Snapshot {
    /// Reads one from a stream, up to its end and not beyond.
    ///
    /// # Errors
    /// It is none, of another format, damaged, or longer than `bytes_max` octets.
    pub fn read(input: impl Read, bytes_max: u64) -> Result<Self, Unusable> {
        Verified::read(input, bytes_max).map(Self)
    }

    /// Takes in what is of use under the configuration of this engine. Every answer is looked at as if
    /// upstream had sent it. If anything is not as it should be, nothing of the snapshot stays.
    ///
    /// # Errors
    /// Something in it is malformed, or it was written in the future.
    pub fn restore(
        &self,
        engine: &Engine,
        now: Now,
        wall_millis: u64,
    ) -> Result<Restored, Unusable> {
        let since = wall_millis.checked_sub(self.0.written_millis);
        let since = since
            .ok_or_else(|| Unusable::Future((self.0.written_millis - wall_millis).div_ceil(1_000)));
        let age_millis = since?;
        let (names, window_millis) = self.hot_names(engine)?;
        let boundaries = self.boundaries()?;
        let routes = self.routes(engine)?;
        let mut restored = Restored { age_millis, bytes: self.0.bytes(), ..Restored::default() };
        let mut taken_in = 0;
        let outcome = self.each_answer(&routes, age_millis, |answer| {
            taken_in += 1;
            restored.count(answer.map_or(Ok(TakenIn::Unwanted), |told| engine.take_in(&told, now)))
        });
        if let Err(error) = outcome.and_then(|()| self.check_end(taken_in)) {
            self.take_back(engine, &routes);
            return Err(error);
        }
        restored.names = names.len() as u64;
        if let Some(hot) = engine.hot() {
            hot.go_on(&names, window_millis, age_millis, now);
        }
        for off in boundaries {
            go_on_without(engine, off, age_millis, now);
        }
        Ok(restored)
    }

    /// The routes of this engine by their number here.
    fn routes(&self, engine: &Engine) -> Result<Vec<Option<RouteId>>, Unusable> {
        let known = Routes::of(engine);
        let mut routes = Vec::new();
        for payload in self.0.payloads(Kind::Routes) {
            let mut items = Items::of(payload, "a forward");
            while !items.is_empty() {
                let words = items.text()?;
                let place = known.words.iter().position(|known| **known == *words);
                routes.push(place.map(|place| known.ids[place]));
            }
        }
        Ok(routes)
    }

    fn hot_names(&self, engine: &Engine) -> Result<(Vec<HotName>, u64), Unusable> {
        let (mut names, mut window_millis) = (Vec::new(), 0);
        for payload in self.0.payloads(Kind::HotNames) {
            let mut items = Items::of(payload, "a hot name");
            window_millis = items.u64()?;
            while !items.is_empty() {
                names.push(items.hot_name(engine)?);
            }
        }
        Ok((names, window_millis))
    }

    fn boundaries(&self) -> Result<Vec<OffBoundary>, Unusable> {
        let mut boundaries = Vec::new();
        for payload in self.0.payloads(Kind::Boundaries) {
            let mut items = Items::of(payload, "a boundary");
            while !items.is_empty() {
                boundaries.push(items.boundary()?);
            }
        }
        Ok(boundaries)
    }

    /// Goes over the answers, aged by the time since; `None` for one whose route is not known here.
    fn each_answer(
        &self,
        routes: &[Option<RouteId>],
        age_millis: u64,
        mut visit: impl FnMut(Option<Keepsake<'_>>) -> Result<(), Unusable>,
    ) -> Result<(), Unusable> {
        let route_of = |number: usize| routes.get(number).copied().ok_or(MALFORMED_ANSWER);
        for payload in self.0.payloads(Kind::Answers) {
            let mut items = Items::of(payload, ANSWER);
            while !items.is_empty() {
                let aged = items.answer(route_of)?.map(|told| Keepsake {
                    age_millis: told.age_millis.saturating_add(age_millis),
                    ..told
                });
                visit(aged)?;
            }
        }
        Ok(())
    }

    /// Whether the end says that there were so many answers.
    fn check_end(&self, answers: u64) -> Result<(), Unusable> {
        let mut ends = self.0.payloads(Kind::End);
        let said = ends.next().map_or(Ok(0), |payload| Items::of(payload, "the end").u64())?;
        if said == answers { Ok(()) } else { Err(Unusable::Malformed("the end")) }
    }

    /// Forgets what was taken in before something malformed was met.
    fn take_back(&self, engine: &Engine, routes: &[Option<RouteId>]) {
        let forget = |answer: Option<Keepsake<'_>>| {
            answer.iter().for_each(|told| engine.put_away(told));
            Ok(())
        };
        // It ends where taking in has ended.
        let _ = self.each_answer(routes, 0, forget);
    }
}

const ANSWER: &str = "an answer";
const MALFORMED_ANSWER: Unusable = Unusable::Malformed(ANSWER);

impl Restored {
    fn count(
        &mut self,
        outcome: Result<TakenIn, crate::engine::keepsake::Unfit>,
    ) -> Result<(), Unusable> {
        match outcome.map_err(|_| MALFORMED_ANSWER)? {
            TakenIn::Kept => self.answers += 1,
            TakenIn::Expired => self.expired += 1,
            TakenIn::Unwanted => self.unwanted += 1,
            TakenIn::Known => {}
        }
        Ok(())
    }
}

/// Keeps a boundary switched off for the rest of its time.
fn go_on_without(engine: &Engine, off: OffBoundary, age_millis: u64, now: Now) {
    let left_millis = off.left_millis.saturating_sub(age_millis);
    let block = engine.blocks().iter().find(|block| words_of_search(block) == off.block);
    if let Some(search) = block.and_then(|block| block.search.as_ref()).filter(|_| left_millis > 0)
    {
        search.state.go_on(off.name, left_millis, off.millis, now);
    }
}

#[cfg(test)]
mod tests;
