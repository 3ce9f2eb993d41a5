//! What the chunks of a snapshot hold, item by item.
//!
//! ```text
//!   route     length: u16, the operator's words for it
//!   hot name  name, count: u64, saved: u64, n: u8 types: u16 each, n: u8 ways: suffix,
//!             is absolute: u8, listen address as text, count: u64; before the first one of a
//!             chunk the window behind the counts in milliseconds: u64
//!   boundary  the words for its block, name, milliseconds left: u64, milliseconds in all: u64
//!   answer    flags: u8 (DO 1, CD 2, uses << 4), route: u16, lifetime in seconds: u32,
//!             age in milliseconds: u32, length: u16, message
//!   end       number of answers: u64
//! ```
//!
//! A text is its length in 16 bits and UTF-8; a name is a text's length and wire form.

use std::net::SocketAddr;

use super::Unusable;
use crate::engine::keepsake::Keepsake;
use crate::engine::policy::hot::{HotName, Way};
use crate::engine::wire::name::Name;
use crate::engine::{Engine, ListenerId, RouteId};

const FLAG_DO: u8 = 1;
const FLAG_CD: u8 = 2;
const USES_AT: u32 = 4;
/// Octets of an answer beside its message.
const ANSWER_HEAD_LEN: usize = 1 + 2 + 4 + 4 + 2;

/// Octets that an answer takes.
pub fn answer_len(answer: &Keepsake<'_>) -> usize {
    ANSWER_HEAD_LEN + answer.message.len()
}

/// Appends an answer that came by the route of this number. `None` if it is older than a snapshot can
/// say, which is longer than any is kept.
pub fn put_answer(out: &mut Vec<u8>, route: u16, answer: &Keepsake<'_>) -> Option<()> {
    let age_millis = u32::try_from(answer.age_millis).ok()?;
    let len = u16::try_from(answer.message.len()).ok()?;
    let flags = (u8::from(answer.dnssec_ok) * FLAG_DO)
        | (u8::from(answer.checking_disabled) * FLAG_CD)
        | answer.uses << USES_AT;
    out.push(flags);
    out.extend(route.to_be_bytes());
    out.extend(answer.lifetime_secs.to_be_bytes());
    out.extend(age_millis.to_be_bytes());
    out.extend(len.to_be_bytes());
    out.extend_from_slice(answer.message);
    Some(())
}

/// Appends octets and their length. What is longer than that can say is cut, and then equals nothing
/// that it is compared with later.
pub fn put_text(out: &mut Vec<u8>, octets: &[u8]) {
    let octets = &octets[..octets.len().min(usize::from(u16::MAX))];
    out.extend((octets.len() as u16).to_be_bytes());
    out.extend_from_slice(octets);
}

/// Appends a hot name.
pub fn put_hot_name(out: &mut Vec<u8>, name: &HotName, engine: &Engine) {
    put_text(out, name.name.wire());
    out.extend(name.count.to_be_bytes());
    out.extend(name.saved.to_be_bytes());
    out.push(name.types.len() as u8);
    out.extend(name.types.iter().flat_map(|qtype| qtype.to_be_bytes()));
    let address = |way: &Way| Some(engine.listeners().get(usize::from(way.listener.0))?.address);
    let ways: Vec<_> = name.ways.iter().filter_map(|way| Some((way, address(way)?))).collect();
    out.push(ways.len() as u8);
    for (way, address) in ways {
        put_text(out, way.suffix.wire());
        out.push(way.is_absolute.into());
        put_text(out, address.to_string().as_bytes());
        out.extend(way.count.to_be_bytes());
    }
}

/// Appends a boundary.
pub fn put_boundary(out: &mut Vec<u8>, block: &str, name: &Name, left_millis: u64, millis: u64) {
    put_text(out, block.as_bytes());
    put_text(out, name.wire());
    out.extend(left_millis.to_be_bytes());
    out.extend(millis.to_be_bytes());
}

/// A boundary that is switched off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffBoundary {
    /// The words for its block.
    pub block: String,
    /// The boundary.
    pub name: Name,
    /// For how many more milliseconds.
    pub left_millis: u64,
    /// For how many in all.
    pub millis: u64,
}

/// The items of a payload, taken from its front. Each method fails with the name it was given if the
/// item is not there as it should be.
#[derive(Debug)]
pub struct Items<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Items<'a> {
    /// The items of a payload; `what` they are, for whoever hears that one is malformed.
    pub fn of(payload: &'a [u8], what: &'static str) -> Self {
        Self { rest: payload, what }
    }

    /// Whether all are taken.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next answer, and the number of its route, which `route_of` knows or not.
    pub fn answer(
        &mut self,
        route_of: impl Fn(usize) -> Result<Option<RouteId>, Unusable>,
    ) -> Result<Option<Keepsake<'a>>, Unusable> {
        let [flags] = self.octets()?;
        let route = route_of(usize::from(self.u16()?))?;
        let lifetime_secs = u32::from_be_bytes(self.octets()?);
        let age_millis = u64::from(u32::from_be_bytes(self.octets()?));
        let message = self.run()?;
        Ok(route.map(|route| Keepsake {
            route,
            dnssec_ok: flags & FLAG_DO != 0,
            checking_disabled: flags & FLAG_CD != 0,
            uses: flags >> USES_AT,
            lifetime_secs,
            age_millis,
            message,
        }))
    }

    /// The next hot name; ways by listen addresses that are not served now are left out.
    pub fn hot_name(&mut self, engine: &Engine) -> Result<HotName, Unusable> {
        let name = self.name()?;
        let (count, saved) = (self.u64()?, self.u64()?);
        let [types] = self.octets()?;
        let types = (0..types).map(|_| self.u16()).collect::<Result<_, _>>()?;
        let [ways] = self.octets()?;
        let ways = (0..ways).map(|_| self.way(engine)).collect::<Result<Vec<_>, _>>()?;
        let ways = ways.into_iter().flatten().collect();
        Ok(HotName { name, count, per_second: 0.0, saved, types, ways })
    }

    /// The next boundary.
    pub fn boundary(&mut self) -> Result<OffBoundary, Unusable> {
        let block = self.text()?.to_owned();
        let name = self.name()?;
        Ok(OffBoundary { block, name, left_millis: self.u64()?, millis: self.u64()? })
    }

    /// The next text.
    pub fn text(&mut self) -> Result<&'a str, Unusable> {
        let octets = self.run()?;
        std::str::from_utf8(octets).map_err(|_| self.malformed())
    }

    /// The next number.
    pub fn u64(&mut self) -> Result<u64, Unusable> {
        self.octets().map(u64::from_be_bytes)
    }

    /// The error that this item is not what it should be.
    pub fn malformed(&self) -> Unusable {
        Unusable::Malformed(self.what)
    }

    fn way(&mut self, engine: &Engine) -> Result<Option<Way>, Unusable> {
        let suffix = self.name()?;
        let [is_absolute] = self.octets()?;
        let address: SocketAddr = self.text()?.parse().map_err(|_| self.malformed())?;
        let count = self.u64()?;
        let listener = engine.listeners().iter().position(|known| known.address == address);
        Ok(listener.map(|index| Way {
            suffix,
            is_absolute: is_absolute != 0,
            listener: ListenerId(index as u16),
            count,
        }))
    }

    fn name(&mut self) -> Result<Name, Unusable> {
        let octets = self.run()?;
        Name::from_wire(octets).ok_or_else(|| self.malformed())
    }

    fn u16(&mut self) -> Result<u16, Unusable> {
        self.octets().map(u16::from_be_bytes)
    }

    fn run(&mut self) -> Result<&'a [u8], Unusable> {
        let len = usize::from(self.u16()?);
        let (run, rest) = self.rest.split_at_checked(len).ok_or_else(|| self.malformed())?;
        self.rest = rest;
        Ok(run)
    }

    fn octets<const LEN: usize>(&mut self) -> Result<[u8; LEN], Unusable> {
        let (octets, rest) = self.rest.split_first_chunk().ok_or_else(|| self.malformed())?;
        self.rest = rest;
        Ok(*octets)
    }
}
