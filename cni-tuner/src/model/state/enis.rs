//! The ENIs of a reported state.

use serde_json::Value;

use crate::model::ipamd::ENI_AGE_MIN_MS;
use crate::model::pool::{Cidr, EniId, EniKind, PREFIX_ADDRESSES, Pool};
use crate::model::settings::Mode;
use crate::model::state::fields::{Fields, count_of, kind};
use crate::model::state::{AGE_MAX_SECS, COUNT_MAX, ENIS_MAX};

/// An ENI as it was reported.
pub(super) struct Reported {
    pub(super) name: String,
    pub(super) kind: EniKind,
    /// Whether it was said to be the primary one or not to be.
    primary: Option<bool>,
    age_ms: u64,
    /// Addresses that are attached one by one.
    ips: u32,
    /// For each prefix how many of its addresses pods have.
    prefixes: Vec<u32>,
    /// Addresses attached one by one that pods have.
    assigned_ips: u32,
    cooling: u32,
}

impl Reported {
    /// Reads the list; every node has at least its primary ENI.
    pub(super) fn all(
        list: Option<Value>,
        mode: Mode,
        slots: u32,
        notes: &mut Vec<String>,
    ) -> Result<Vec<Reported>, String> {
        let list = match list {
            None => return Err("enis: the list of the node's ENIs is needed".to_owned()),
            Some(Value::Array(list)) => list,
            Some(other) => return Err(format!("enis: a list is needed, not {}", kind(&other))),
        };
        if list.len() > ENIS_MAX {
            let there = list.len();
            return Err(format!("enis: there are {there}; no instance takes more than {ENIS_MAX}"));
        }
        let mut enis = Vec::new();
        for (at, value) in list.into_iter().enumerate() {
            enis.push(Reported::read(at, value, mode, slots, notes)?);
        }
        check_names(&enis)?;
        choose_primary(&mut enis, notes)?;
        Ok(enis)
    }

    fn read(
        at: usize,
        value: Value,
        mode: Mode,
        slots: u32,
        notes: &mut Vec<String>,
    ) -> Result<Reported, String> {
        let mut fields = Fields::of(format!("enis[{at}]."), value)?;
        let name = fields.text("id")?.unwrap_or_else(|| format!("eni-{at}"));
        let primary = fields.choice("primary")?;
        let kind = EniKind {
            is_primary: primary == Some(true),
            is_trunk: fields.switch("trunk")?,
            is_efa: fields.switch("efa")?,
            is_excluded: fields.switch("excluded")?,
        };
        let age_ms = fields.secs("age_s", AGE_MAX_SECS)?.unwrap_or(ENI_AGE_MIN_MS);
        let ips = fields.count("ips", COUNT_MAX)?;
        let prefixes = fields.take("prefixes");
        let assigned = fields.count("assigned", COUNT_MAX)?;
        let cooling = fields.count("cooling", COUNT_MAX)?.unwrap_or(0);
        let where_is = |name: &str| format!("enis[{at}].{name}");
        fields.finish()?;
        let packed = Packed { prefixes, assigned, mode, at };
        let (prefixes, assigned_ips) = packed.unpack(ips.is_some(), notes)?;
        let ips = ips.unwrap_or(0);
        let eni = Reported { name, kind, primary, age_ms, ips, prefixes, assigned_ips, cooling };
        eni.check(mode, slots, &where_is)?;
        Ok(eni)
    }

    /// What is in use and what cools down must be there, and what is there must have room.
    fn check(
        &self,
        mode: Mode,
        slots: u32,
        where_is: &dyn Fn(&str) -> String,
    ) -> Result<(), String> {
        if self.assigned_ips > self.ips {
            return Err(format!(
                "{}: {}, but the ENI has {} addresses (ips)",
                where_is("assigned"),
                self.assigned_ips,
                self.ips
            ));
        }
        let held = self.ips + self.prefixes.len() as u32;
        if held > slots {
            let name = if self.prefixes.is_empty() { "ips" } else { "prefixes" };
            return Err(format!(
                "{}: {held}, but an ENI has room for {slots} beside its own address",
                where_is(name)
            ));
        }
        let free = match mode {
            Mode::SecondaryIp => self.ips - self.assigned_ips,
            Mode::Prefix => self.prefixes.iter().map(|used| PREFIX_ADDRESSES - used).sum(),
        };
        if self.cooling > free {
            return Err(format!(
                "{}: {}, but the ENI has only {free} free",
                where_is("cooling"),
                self.cooling
            ));
        }
        Ok(())
    }

    /// Puts the ENI into a pool as it is at `now_ms`.
    pub(super) fn add_to(&self, pool: &mut Pool, id: EniId, now_ms: u64) {
        pool.add_eni(id, self.kind, now_ms - self.age_ms);
        (0..self.ips).for_each(|_| {
            pool.add_cidr(id, false, 0);
        });
        self.prefixes.iter().for_each(|_| {
            pool.add_cidr(id, true, 0);
        });
        let mode = pool.mode();
        let Some(eni) = pool.eni_mut(id) else { return };
        let used_ips = (0..self.ips).map(|at| u32::from(at < self.assigned_ips));
        for (cidr, used) in eni.cidrs.iter_mut().zip(used_ips.chain(self.prefixes.iter().copied()))
        {
            cidr.assigned = used;
        }
        // Addresses that cool down were in use a moment ago: they lie in prefixes in use, if any
        // have room.
        let of_mode = |cidr: &&mut Cidr| cidr.is_prefix == (mode == Mode::Prefix);
        let mut cidrs: Vec<&mut Cidr> = eni.cidrs.iter_mut().filter(of_mode).collect();
        cidrs.sort_by_key(|cidr| cidr.assigned == 0);
        let mut cooling = self.cooling;
        for cidr in cidrs {
            let count = cooling.min(cidr.size() - cidr.assigned);
            cidr.given_back_ms = vec![now_ms; count as usize];
            cooling -= count;
        }
    }
}

/// How `prefixes` and `assigned` stand in a state.
struct Packed {
    prefixes: Option<Value>,
    assigned: Option<u32>,
    mode: Mode,
    at: usize,
}

impl Packed {
    /// The assigned addresses of each prefix, and those that are not in prefixes.
    fn unpack(self, has_ips: bool, notes: &mut Vec<String>) -> Result<(Vec<u32>, u32), String> {
        let at = self.at;
        let prefixes = match self.prefixes {
            None if !has_ips && self.assigned.unwrap_or(0) > 0 => {
                let name = if self.mode == Mode::Prefix { "prefixes" } else { "ips" };
                return Err(format!("enis[{at}].{name}: missing, although pods have addresses"));
            }
            None => return Ok((Vec::new(), self.assigned.unwrap_or(0))),
            Some(Value::Array(list)) => list,
            Some(number) => {
                let count = count_of(&number, COUNT_MAX);
                let count = count.map_err(|needs| format!("enis[{at}].prefixes: {needs}"))?;
                // Those on an ENI of the other mode stand beside its addresses.
                let is_used = self.mode == Mode::Prefix;
                let assigned = self.assigned.unwrap_or(0);
                let packed = pack(at, count, if is_used { assigned } else { 0 }, notes)?;
                return Ok((packed, if is_used { 0 } else { assigned }));
            }
        };
        let mut used = Vec::new();
        for (of, value) in prefixes.iter().enumerate() {
            let count = count_of(value, PREFIX_ADDRESSES);
            used.push(count.map_err(|needs| format!("enis[{at}].prefixes[{of}]: {needs}"))?);
        }
        let sum: u32 = used.iter().sum();
        let assigned_ips = match self.assigned {
            Some(assigned) if assigned < sum || (assigned > sum && !has_ips) => {
                return Err(format!(
                    "enis[{at}].assigned: {assigned}, but its prefixes have {sum} assigned together"
                ));
            }
            Some(assigned) => assigned - sum,
            None => 0,
        };
        Ok((used, assigned_ips))
    }
}

/// So many assigned addresses in as few of the prefixes as hold them.
fn pack(at: usize, count: u32, assigned: u32, notes: &mut Vec<String>) -> Result<Vec<u32>, String> {
    let room = count * PREFIX_ADDRESSES;
    if assigned > room {
        return Err(format!(
            "enis[{at}].assigned: {assigned}, but its prefixes ({count}) have {room} addresses"
        ));
    }
    if assigned > 0 && count > 1 {
        notes.push(format!(
            "enis[{at}]: its {assigned} assigned addresses are taken to fill one of its {count} \
             prefixes after the other; `prefixes` may be a list of assigned counts instead."
        ));
    }
    let used = |at: u32| assigned.saturating_sub(at * PREFIX_ADDRESSES).min(PREFIX_ADDRESSES);
    Ok((0..count).map(used).collect())
}

fn check_names(enis: &[Reported]) -> Result<(), String> {
    for (at, eni) in enis.iter().enumerate() {
        if let Some(first) = enis[..at].iter().position(|other| other.name == eni.name) {
            return Err(format!("enis[{at}].id: {}: enis[{first}] has the same", eni.name));
        }
    }
    Ok(())
}

/// Exactly one is primary. If none is said to be, it is the first that is not said not to be.
fn choose_primary(enis: &mut [Reported], notes: &mut Vec<String>) -> Result<(), String> {
    let mut primaries = enis.iter().filter(|eni| eni.kind.is_primary);
    if let (Some(first), Some(second)) = (primaries.next(), primaries.next()) {
        let names = format!("{} and {}", first.name, second.name);
        return Err(format!("enis: {names} are both primary; a node has one primary ENI"));
    }
    if enis.iter().any(|eni| eni.kind.is_primary) {
        return Ok(());
    }
    let Some(first) = enis.iter_mut().find(|eni| eni.primary.is_none()) else {
        return Err("enis: none is primary; every node has one primary ENI".to_owned());
    };
    first.kind.is_primary = true;
    notes.push(format!("No ENI is said to be primary: {} is taken to be.", first.name));
    Ok(())
}
