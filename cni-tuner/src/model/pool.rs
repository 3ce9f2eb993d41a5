//! The addresses of one node as ipamd's datastore keeps them: ENIs, the addresses or prefixes on
//! them, which are in use and which cool down.
//!
//! Where ipamd walks a Go map, whose order is random, the choice here is drawn from a seeded source:
//! a tidy order would pack pods more densely than a node does.

use rand::seq::IndexedRandom as _;
use rand_chacha::ChaCha8Rng;

use crate::model::settings::Mode;

/// Addresses in a prefix (/28).
pub const PREFIX_ADDRESSES: u32 = 16;

/// ipamd's datastore.
#[derive(Debug, Clone)]
pub struct Pool {
    mode: Mode,
    cooldown_ms: u64,
    enis: Vec<Eni>,
    cidr_next: u32,
}

/// Which ENI, for as long as it is in the pool.
pub type EniId = u32;

/// An ENI of the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Eni {
    /// Its number; ENIs of one pool never share one.
    pub id: EniId,
    /// What it is beside a carrier of addresses.
    pub kind: EniKind,
    /// When this process of ipamd added it, milliseconds.
    pub added_ms: u64,
    /// What is attached to it.
    pub cidrs: Vec<Cidr>,
}

/// What ipamd must know of an ENI before it uses or frees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EniKind {
    /// The instance's first; it is never freed.
    pub is_primary: bool,
    /// The trunk of security groups for pods; it gets no addresses and is never freed.
    pub is_trunk: bool,
    /// An Elastic Fabric Adapter; it is never freed.
    pub is_efa: bool,
    /// Kept from pods: its addresses are not counted.
    pub is_excluded: bool,
}

/// An address (/32) or a prefix (/28) of an ENI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cidr {
    /// Its number; those of one pool never share one.
    pub id: u32,
    /// Whether it is a prefix.
    pub is_prefix: bool,
    /// The /28 of the subnet that it lies in.
    pub block: u32,
    /// Addresses of it that pods have.
    pub assigned: u32,
    /// When addresses of it were given back that may still cool down, first ones first.
    pub given_back_ms: Vec<u64>,
}

/// Where a pod's address lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// On which ENI.
    pub eni: EniId,
    /// In which [`Cidr`].
    pub cidr: u32,
}

/// What ipamd's decisions look at. Only addresses of the mode in force on ENIs for pods count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Addresses held.
    pub total: u32,
    /// Those that pods have.
    pub assigned: u32,
    /// Those that nobody has and nobody gets yet. They count as available.
    pub cooling: u32,
    /// Prefixes held.
    pub total_prefixes: u32,
    /// Prefixes no pod has an address of, cooling ones among them.
    pub free_prefixes: u32,
    /// ENIs of all kinds.
    pub enis: u32,
}

impl Stats {
    /// Addresses that ipamd takes for available, cooling ones included.
    pub fn available(&self) -> u32 {
        self.total - self.assigned
    }
}

impl Pool {
    /// A pool without ENIs.
    pub fn new(mode: Mode, cooldown_ms: u64) -> Pool {
        Pool { mode, cooldown_ms, enis: Vec::new(), cidr_next: 0 }
    }

    /// How addresses are attached.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The ENIs in the order they came.
    pub fn enis(&self) -> &[Eni] {
        &self.enis
    }

    /// The ENI of that number.
    pub fn eni(&self, id: EniId) -> Option<&Eni> {
        self.enis.iter().find(|eni| eni.id == id)
    }

    /// Adds an ENI without addresses; `id` must be new.
    pub fn add_eni(&mut self, id: EniId, kind: EniKind, now_ms: u64) {
        debug_assert!(self.eni(id).is_none(), "ENI {id} is there already");
        self.enis.push(Eni { id, kind, added_ms: now_ms, cidrs: Vec::new() });
    }

    /// Takes an ENI away with all that is on it; none if it is not there.
    pub fn remove_eni(&mut self, id: EniId) -> Option<Eni> {
        let at = self.enis.iter().position(|eni| eni.id == id)?;
        Some(self.enis.remove(at))
    }

    /// Takes all ENIs away.
    pub fn take_enis(&mut self) -> Vec<Eni> {
        std::mem::take(&mut self.enis)
    }

    /// Attaches an address or a prefix in a /28 of the subnet; false if the ENI is gone.
    pub fn add_cidr(&mut self, id: EniId, is_prefix: bool, block: u32) -> bool {
        let cidr = self.cidr_next;
        let Some(eni) = self.enis.iter_mut().find(|eni| eni.id == id) else { return false };
        self.cidr_next += 1;
        eni.cidrs.push(Cidr { id: cidr, ..Cidr::unused(block, is_prefix) });
        true
    }

    /// Changes an ENI's addresses directly, as a node's reported state says.
    pub fn eni_mut(&mut self, id: EniId) -> Option<&mut Eni> {
        self.enis.iter_mut().find(|eni| eni.id == id)
    }

    /// Gives a pod an address: of any ENI, from any of its addresses or prefixes that have one which
    /// does not cool down. None if there is no such address.
    pub fn assign(&mut self, now_ms: u64, random: &mut ChaCha8Rng) -> Option<Place> {
        let (mode, cooldown_ms) = (self.mode, self.cooldown_ms);
        let is_usable = |cidr: &Cidr| {
            cidr.is_prefix == (mode == Mode::Prefix) && cidr.usable(now_ms, cooldown_ms) > 0
        };
        let serves = |eni: &Eni| !eni.kind.is_excluded && eni.cidrs.iter().any(is_usable);
        let serving: Vec<usize> =
            (0..self.enis.len()).filter(|at| serves(&self.enis[*at])).collect();
        let eni = &mut self.enis[*serving.choose(random)?];
        let usable: Vec<usize> =
            (0..eni.cidrs.len()).filter(|at| is_usable(&eni.cidrs[*at])).collect();
        let cidr = &mut eni.cidrs[*usable.choose(random)?];
        cidr.assigned += 1;
        cidr.forget_cooled(now_ms, cooldown_ms);
        Some(Place { eni: eni.id, cidr: cidr.id })
    }

    /// Whether there is still such a place.
    pub fn has(&self, place: Place) -> bool {
        self.eni(place.eni).is_some_and(|eni| eni.cidrs.iter().any(|cidr| cidr.id == place.cidr))
    }

    /// A pod gives its address back, which begins to cool down.
    pub fn give_back(&mut self, place: Place, now_ms: u64) {
        let cooldown_ms = self.cooldown_ms;
        let eni = self.enis.iter_mut().find(|eni| eni.id == place.eni);
        let cidr = eni.and_then(|eni| eni.cidrs.iter_mut().find(|cidr| cidr.id == place.cidr));
        let Some(cidr) = cidr else { return };
        cidr.assigned = cidr.assigned.saturating_sub(1);
        cidr.forget_cooled(now_ms, cooldown_ms);
        cidr.given_back_ms.push(now_ms);
    }

    /// Takes up to `count` addresses or prefixes without pods off an ENI, cooling or not, in no
    /// order; what was taken.
    pub fn release(&mut self, id: EniId, count: u32, random: &mut ChaCha8Rng) -> Vec<Cidr> {
        let is_prefix = self.mode == Mode::Prefix;
        let Some(eni) = self.eni_mut(id) else { return Vec::new() };
        let is_free = |cidr: &Cidr| cidr.assigned == 0 && cidr.is_prefix == is_prefix;
        let free: Vec<u32> = eni.cidrs.iter().filter(|c| is_free(c)).map(|c| c.id).collect();
        let taken: Vec<u32> = free.sample(random, count as usize).copied().collect();
        eni.cidrs.extract_if(.., |cidr| taken.contains(&cidr.id)).collect()
    }

    /// A new process of ipamd knows the ENIs and who has which address, and no times: every ENI is
    /// as young as the process, and nothing cools down.
    pub fn forget_times(&mut self, now_ms: u64) {
        for eni in &mut self.enis {
            eni.added_ms = now_ms;
            eni.cidrs.iter_mut().for_each(|cidr| cidr.given_back_ms.clear());
        }
    }

    /// Counts what is there.
    pub fn stats(&self, now_ms: u64) -> Stats {
        let mut stats = Stats { enis: self.enis.len() as u32, ..Stats::default() };
        for cidr in self.enis.iter().filter(|eni| !eni.kind.is_excluded).flat_map(|eni| &eni.cidrs)
        {
            if cidr.is_prefix != (self.mode == Mode::Prefix) {
                continue;
            }
            stats.total += cidr.size();
            stats.assigned += cidr.assigned;
            stats.cooling += cidr.cooling(now_ms, self.cooldown_ms);
            stats.total_prefixes += u32::from(cidr.is_prefix);
            stats.free_prefixes += u32::from(cidr.is_prefix && cidr.assigned == 0);
        }
        stats
    }

    /// Whether an address of the ENI cools down.
    pub fn is_cooling(&self, eni: &Eni, now_ms: u64) -> bool {
        eni.cidrs.iter().any(|cidr| cidr.cooling(now_ms, self.cooldown_ms) > 0)
    }

    /// When the last address of the ENI has cooled down, if any still does: the first millisecond at
    /// which it does not.
    pub fn cooled_at_ms(&self, eni: &Eni, now_ms: u64) -> Option<u64> {
        let last = eni.cidrs.iter().filter_map(|cidr| cidr.given_back_ms.last()).max()?;
        let cooled_at_ms = last + self.cooldown_ms + 1;
        (cooled_at_ms > now_ms).then_some(cooled_at_ms)
    }
}

impl Eni {
    /// Addresses of it that pods have.
    pub fn assigned(&self) -> u32 {
        self.cidrs.iter().map(|cidr| cidr.assigned).sum()
    }

    /// Those of one mode.
    pub fn assigned_of(&self, mode: Mode) -> u32 {
        self.of_mode(mode).map(|cidr| cidr.assigned).sum()
    }

    /// Its addresses of one mode.
    pub fn total(&self, mode: Mode) -> u32 {
        self.of_mode(mode).map(Cidr::size).sum()
    }

    /// Its prefixes without pods.
    pub fn free_prefixes(&self) -> u32 {
        self.of_mode(Mode::Prefix).filter(|cidr| cidr.assigned == 0).count() as u32
    }

    fn of_mode(&self, mode: Mode) -> impl Iterator<Item = &Cidr> {
        self.cidrs.iter().filter(move |cidr| cidr.is_prefix == (mode == Mode::Prefix))
    }
}

impl Cidr {
    /// One that nobody has had, in a /28 of the subnet; outside of a pool it has no number.
    pub fn unused(block: u32, is_prefix: bool) -> Cidr {
        Cidr { id: 0, is_prefix, block, assigned: 0, given_back_ms: Vec::new() }
    }

    /// Its addresses.
    pub fn size(&self) -> u32 {
        if self.is_prefix { PREFIX_ADDRESSES } else { 1 }
    }

    /// Addresses that cool down: since they were given back no more time has passed than the
    /// cooldown takes.
    pub fn cooling(&self, now_ms: u64, cooldown_ms: u64) -> u32 {
        let cools = |given_back_ms: &&u64| now_ms - **given_back_ms <= cooldown_ms;
        self.given_back_ms.iter().rev().take_while(cools).count() as u32
    }

    fn usable(&self, now_ms: u64, cooldown_ms: u64) -> u32 {
        self.size() - self.assigned - self.cooling(now_ms, cooldown_ms)
    }

    fn forget_cooled(&mut self, now_ms: u64, cooldown_ms: u64) {
        self.given_back_ms.retain(|given_back_ms| now_ms - given_back_ms <= cooldown_ms);
    }
}

#[cfg(test)]
mod tests;
