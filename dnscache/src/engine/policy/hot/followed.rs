//! What is kept about a name that is followed: how it was asked, and for which types.

use super::{HotName, Sighting, Way};
use crate::engine::wire::name::Name;

/// Ways that are kept of a name.
const WAYS: usize = 4;
/// Types that are kept of a name.
const TYPES: usize = 4;
/// Halvings of the counts after which a type that was not asked any more is forgotten: a minute
/// and at most half a minute more.
const TYPE_HALVINGS: u8 = 3;

/// A name that is followed. Its count is kept by the table, beside those of the others.
#[derive(Debug)]
pub(super) struct Followed {
    /// The name.
    pub name: Name,
    /// Its hash, by which the table finds it.
    pub hash: u64,
    saved: u64,
    types: [Option<AskedType>; TYPES],
    ways: [Option<Way>; WAYS],
}

#[derive(Debug, Clone, Copy)]
struct AskedType {
    qtype: u16,
    /// Halvings since it was last asked.
    idle: u8,
}

impl Followed {
    /// Begins to follow a name with a question about it. `None` if it is no name or has letters in
    /// upper case, in which it would not be found again.
    pub fn new(hash: u64, sighting: &Sighting<'_>) -> Option<Self> {
        let name = Name::from_wire(sighting.name).filter(|name| name.wire() == sighting.name)?;
        let (types, ways) = ([None; TYPES], [const { None }; WAYS]);
        let mut followed = Self { name, hash, saved: 0, types, ways };
        followed.note(sighting);
        Some(followed)
    }

    /// Goes on with a name that another table told of, as many halvings ago.
    pub fn told(hash: u64, told: &HotName, halvings: u32) -> Self {
        let (mut types, mut ways) = ([None; TYPES], [const { None }; WAYS]);
        for (place, qtype) in types.iter_mut().zip(&told.types) {
            *place = Some(AskedType { qtype: *qtype, idle: 0 });
        }
        for (place, way) in ways.iter_mut().zip(&told.ways) {
            *place = Some(way.clone());
        }
        let mut followed = Self { name: told.name.clone(), hash, saved: told.saved, types, ways };
        followed.halve(halvings);
        followed
    }

    /// Notes a question. Allocates only for a way that is new.
    pub fn note(&mut self, sighting: &Sighting<'_>) {
        let spared = u64::from(sighting.weight) * u64::from(sighting.skipped);
        self.saved = self.saved.saturating_add(spared);
        self.note_type(sighting.qtype);
        self.note_way(sighting);
    }

    fn note_type(&mut self, qtype: u16) {
        let asked = AskedType { qtype, idle: 0 };
        let known = self.types.iter_mut().flatten().find(|asked| asked.qtype == qtype);
        if let Some(known) = known {
            *known = asked;
        } else if let Some(place) = self.types.iter_mut().max_by_key(idleness)
            && idleness(&place) > 0
        {
            *place = Some(asked);
        }
    }

    /// With all places taken, a new way wears down the rarest until that gives up its place.
    fn note_way(&mut self, sighting: &Sighting<'_>) {
        let weight = u64::from(sighting.weight);
        if let Some(way) = self.ways.iter_mut().flatten().find(|way| way.is_of(sighting)) {
            way.count = way.count.saturating_add(weight);
            return;
        }
        let rarest = self.ways.iter_mut().min_by_key(|way| way.as_ref().map(|way| way.count));
        match rarest {
            Some(Some(way)) if way.count > weight => way.count -= weight,
            Some(place) => *place = Way::first(sighting),
            None => {}
        }
    }

    /// Halves the counts so many times and forgets what is not asked any more.
    pub fn halve(&mut self, times: u32) {
        for place in &mut self.ways {
            *place = place.take().and_then(|way| way.halved(times));
        }
        let idle = u8::try_from(times).unwrap_or(u8::MAX);
        for place in &mut self.types {
            *place = place.and_then(|asked| asked.later(idle));
        }
    }

    /// What there is to tell about the name.
    pub fn tell(&self, count: u32, window_secs: f64) -> HotName {
        let mut types: Vec<u16> = self.types.iter().flatten().map(|asked| asked.qtype).collect();
        types.sort_unstable();
        let mut ways: Vec<Way> = self.ways.iter().flatten().cloned().collect();
        ways.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.suffix.cmp(&b.suffix)));
        HotName {
            name: self.name.clone(),
            count: u64::from(count),
            per_second: f64::from(count) / window_secs,
            saved: self.saved,
            types,
            ways,
        }
    }

    /// Octets on the heap.
    pub fn heap_bytes(&self) -> usize {
        let suffixes = self.ways.iter().flatten().map(|way| way.suffix.wire().len());
        self.name.wire().len() + suffixes.sum::<usize>()
    }
}

/// The longer a place is without use, the sooner it is given away; empty places come first.
fn idleness(place: &&mut Option<AskedType>) -> u8 {
    place.map_or(u8::MAX, |asked| asked.idle)
}

impl AskedType {
    fn later(self, halvings: u8) -> Option<Self> {
        let idle = self.idle.saturating_add(halvings);
        (idle < TYPE_HALVINGS).then_some(Self { idle, ..self })
    }
}

impl Way {
    /// `None` if the suffix is no name.
    fn first(sighting: &Sighting<'_>) -> Option<Self> {
        Some(Self {
            suffix: Name::from_wire(sighting.suffix)?,
            is_absolute: sighting.is_absolute,
            listener: sighting.listener,
            count: u64::from(sighting.weight),
        })
    }

    fn is_of(&self, sighting: &Sighting<'_>) -> bool {
        self.listener == sighting.listener
            && self.is_absolute == sighting.is_absolute
            && self.suffix.wire() == sighting.suffix
    }

    fn halved(self, times: u32) -> Option<Self> {
        let count = self.count.checked_shr(times).unwrap_or(0);
        (count > 0).then_some(Self { count, ..self })
    }
}
