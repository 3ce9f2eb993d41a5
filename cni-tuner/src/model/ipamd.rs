//! ipamd's rules: when a pool is too low or too high, and what is done about it. Each follows the
//! function of aws/amazon-vpc-cni-k8s `pkg/ipamd` it names, with what is odd in it: cooling addresses
//! count as available, nothing signals demand, `MINIMUM_IP_TARGET` alone never grows past itself.
//!
//! Its boundary cases, by the numbers that tests and lint's rules cite:
//!
//! 1. `MINIMUM_IP_TARGET` without `WARM_IP_TARGET` never grows past itself (#3685).
//! 2. `WARM_ENI_TARGET=0` allocates and frees for ever where pods fill ENIs exactly (#1451);
//!    `WARM_PREFIX_TARGET=0` does so on an empty node with prefixes.
//! 3. Cooling addresses count as available: the pool looks full while nothing can be assigned (#2896).
//! 4. A burst with `WARM_IP_TARGET` alone: each pass adds about so many.
//! 5. A shortage beyond the room of one ENI takes another pass for each ENI.
//! 6. A cordoned node still releases addresses, but neither grows nor detaches.
//! 7. The limit of pods is looked at before a step, so the pool may overshoot it (#2793).
//! 8. Only entirely free prefixes are released; one pod each keeps them.
//! 9. A default node without pods holds one ENI's addresses, with one pod two ENIs'.
//! 10. After a failed call one address is asked for; if that fails too, no ENI is made in the pass.
//! 11. A restart forgets cooldowns and the ages of ENIs, and not who has which address.
//! 12. ipamd's own total counts excluded ENIs and the other mode's addresses; its rules do not.
//! 13. `WARM_PREFIX_TARGET` holds ENIs even where the other two are set.

use crate::model::limits::InstanceType;
use crate::model::pool::{Eni, EniId, PREFIX_ADDRESSES, Pool, Stats};
use crate::model::settings::{Mode, Settings};

/// Time slept before and after each pass of the pool loop (half of `ipPoolMonitorInterval`).
pub const HALF_PERIOD_MS: u64 = 2_500;
/// Addresses are released only if more than this has passed since the last time
/// (`decreaseIPPoolInterval`).
pub const RELEASE_INTERVAL_MS: u64 = 30_000;
/// ENIs younger than this are not freed (`minENILifeTime`).
pub const ENI_AGE_MIN_MS: u64 = 60_000;
/// The pool is compared with the instance's metadata only if more than this has passed since it last
/// changed (`nodeIPPoolReconcileInterval`).
pub const RECONCILE_INTERVAL_MS: u64 = 60_000;
/// Addresses released within this time are left out of that comparison (`ipReconcileCooldown`).
pub const RECONCILE_COOLDOWN_MS: u64 = 60_000;
/// For this long after a subnet said "insufficient" nothing is asked for
/// (`insufficientCidrErrorCooldown`).
pub const INSUFFICIENT_PAUSE_MS: u64 = 120_000;

/// What ipamd knows of its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Addresses or prefixes an ENI has room for beside its own primary address.
    pub slots: u32,
    /// ENIs it may attach: the instance's limit or `MAX_ENI`, whichever is less.
    pub enis_max: u32,
    /// ENIs it leaves alone.
    pub unmanaged: u32,
    /// Whether one slot is kept for a trunk ENI that is not there yet.
    pub trunk_reserved: bool,
    /// kubelet's limit of pods.
    pub pods_max: u32,
}

impl Shape {
    /// Of an instance under given settings.
    pub fn of(instance_type: &InstanceType, settings: &Settings, pods_max: u32) -> Shape {
        let limit = instance_type.enis_max;
        Shape {
            slots: instance_type.slots_per_eni(),
            enis_max: settings.enis_max.map_or(limit, |max| max.min(limit)),
            unmanaged: 0,
            trunk_reserved: settings.pod_eni,
            pods_max,
        }
    }
}

/// The rules of one node.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// Its settings, with the mode that is in force on it.
    pub settings: &'a Settings,
    /// Its limits.
    pub shape: Shape,
}

/// How far the pool is from `WARM_IP_TARGET` and `MINIMUM_IP_TARGET` (`datastoreTargetState`), in
/// addresses, or in prefixes in [`Mode::Prefix`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TargetState {
    /// Whether one of the two is defined. If not, the rest is 0.
    pub enabled: bool,
    /// Too few by so many.
    pub short: u32,
    /// Too many by so many.
    pub over: u32,
}

/// How a pool that is too low is to grow (`increaseDatastorePool`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Growth {
    /// One of these ENIs gets up to so many more addresses or prefixes, as far as it has room.
    TopUp {
        /// Those with room.
        enis: Vec<EniId>,
        /// Addresses or prefixes wanted.
        want: u32,
    },
    /// A new ENI comes with so many addresses or prefixes.
    NewEni {
        /// Addresses or prefixes.
        count: u32,
    },
    /// Nothing can be done.
    Stuck(Stuck),
}

/// Why a pool that is too low does not grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stuck {
    /// Every ENI is full and there may be no more of them.
    EnisMax,
    /// Nothing is wanted, although the pool is empty.
    NothingWanted,
}

/// Why an ENI is not freed (`getDeletableENI`), the first reason that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// It is the primary one.
    Primary,
    /// It was added less than a minute ago.
    TooYoung {
        /// Its age, milliseconds.
        age_ms: u64,
    },
    /// An address of it cools down.
    Cooling,
    /// Pods have addresses of it.
    HasPods {
        /// How many.
        pods: u32,
    },
    /// Without it fewer addresses would be free than `WARM_IP_TARGET`.
    WarmIp {
        /// Free addresses of the other ENIs.
        elsewhere: u32,
        /// How many there must be.
        needed: u32,
    },
    /// Without it there would be fewer addresses than `MINIMUM_IP_TARGET`.
    MinimumIp {
        /// Addresses of the other ENIs.
        elsewhere: u32,
        /// How many there must be.
        needed: u32,
    },
    /// Without it fewer prefixes would be free than `WARM_PREFIX_TARGET`, which counts here even
    /// where `WARM_IP_TARGET` or `MINIMUM_IP_TARGET` is set.
    WarmPrefix {
        /// Free prefixes of the other ENIs.
        elsewhere: u32,
        /// How many there must be.
        needed: u32,
    },
    /// It is the trunk.
    Trunk,
    /// It is an Elastic Fabric Adapter.
    Efa,
}

impl Rules<'_> {
    /// Addresses one ENI can bring.
    pub fn addresses_per_eni(&self) -> u32 {
        match self.settings.mode {
            Mode::SecondaryIp => self.shape.slots,
            Mode::Prefix => self.shape.slots * PREFIX_ADDRESSES,
        }
    }

    /// `datastoreTargetState`.
    pub fn target_state(&self, stats: &Stats) -> TargetState {
        if !self.settings.is_targeted() {
            return TargetState::default();
        }
        let (warm, minimum) = (self.settings.warm_ip, self.settings.minimum_ip);
        let available = stats.available();
        let short = warm.saturating_sub(available).max(minimum.saturating_sub(stats.total));
        let (short, over) = match self.settings.mode {
            Mode::SecondaryIp => {
                let over = available.saturating_sub(warm).min(stats.total.saturating_sub(minimum));
                (short, over)
            }
            Mode::Prefix => {
                let beyond = |addresses: u32| {
                    stats.total_prefixes.saturating_sub(addresses.div_ceil(PREFIX_ADDRESSES))
                };
                let over = beyond(stats.assigned.saturating_add(warm)).min(beyond(minimum));
                (short.div_ceil(PREFIX_ADDRESSES), over.min(stats.free_prefixes))
            }
        };
        TargetState { enabled: true, short, over }
    }

    /// `isDatastorePoolTooLow`.
    pub fn is_too_low(&self, stats: &Stats) -> bool {
        if stats.total >= self.shape.pods_max {
            return false;
        }
        let target = self.target_state(stats);
        if target.enabled {
            return target.short > 0;
        }
        let (unit, count) = match self.settings.mode {
            Mode::SecondaryIp => (self.addresses_per_eni(), self.settings.warm_eni),
            Mode::Prefix => (PREFIX_ADDRESSES, self.settings.warm_prefix),
        };
        let available = stats.available();
        available < unit.saturating_mul(count) || (count == 0 && available == 0)
    }

    /// `isDatastorePoolTooHigh`.
    pub fn is_too_high(&self, stats: &Stats) -> bool {
        let target = self.target_state(stats);
        match (target.enabled, self.settings.mode) {
            (true, _) => target.over > 0,
            (false, Mode::Prefix) => stats.free_prefixes > self.settings.warm_prefix,
            (false, Mode::SecondaryIp) => false,
        }
    }

    /// Addresses or prefixes a pool that is too high gives back (`decreaseDatastorePool`).
    pub fn to_release(&self, stats: &Stats) -> u32 {
        let target = self.target_state(stats);
        match (target.enabled, self.settings.mode) {
            (true, _) => target.over,
            (false, Mode::Prefix) => stats.free_prefixes.saturating_sub(self.settings.warm_prefix),
            (false, Mode::SecondaryIp) => 0,
        }
    }

    /// How a pool that is too low grows (`increaseDatastorePool`).
    pub fn growth(&self, pool: &Pool, stats: &Stats) -> Growth {
        let target = self.target_state(stats);
        let want = self.wanted(&target, stats);
        if want == 0 {
            return Growth::Stuck(Stuck::NothingWanted);
        }
        let with_room = pool.enis().iter().filter(|eni| self.has_room(eni));
        let enis: Vec<EniId> = with_room.map(|eni| eni.id).collect();
        if !enis.is_empty() {
            return Growth::TopUp { enis, want };
        }
        if !self.may_add_eni(stats) {
            return Growth::Stuck(Stuck::EnisMax);
        }
        Growth::NewEni { count: want.min(self.shape.slots) }
    }

    fn wanted(&self, target: &TargetState, stats: &Stats) -> u32 {
        match (self.settings.mode, target.enabled) {
            (Mode::SecondaryIp, true) => target.short,
            (Mode::SecondaryIp, false) => self.shape.slots,
            (Mode::Prefix, true) => target.short.max(1),
            (Mode::Prefix, false) => {
                self.settings.warm_prefix.saturating_sub(stats.free_prefixes).max(1)
            }
        }
    }

    /// Whether addresses or prefixes can be added to the ENI (`GetAllocatableENIs`).
    pub fn has_room(&self, eni: &Eni) -> bool {
        let kind = eni.kind;
        let is_left_out = kind.is_primary && self.settings.custom_networking;
        let is_kept_from_pods = kind.is_trunk || kind.is_excluded || is_left_out;
        !is_kept_from_pods && (eni.cidrs.len() as u32) < self.shape.slots
    }

    /// Whether another ENI may be attached (`hasRoomForEni`).
    pub fn may_add_eni(&self, stats: &Stats) -> bool {
        let taken = stats.enis + self.shape.unmanaged + u32::from(self.shape.trunk_reserved);
        taken < self.shape.enis_max
    }

    /// Whether ipamd looks for an ENI to free (`shouldRemoveExtraENIs`).
    pub fn wants_fewer_enis(&self, pool: &Pool, stats: &Stats) -> bool {
        if self.settings.is_targeted() {
            return true;
        }
        let beyond = |count: u32| {
            let addresses = self.addresses_per_eni().saturating_mul(count.saturating_add(1));
            stats.available() >= addresses
        };
        match self.settings.mode {
            Mode::SecondaryIp => beyond(self.settings.warm_eni),
            Mode::Prefix => beyond(self.settings.warm_prefix) || has_empty_eni(pool),
        }
    }

    /// Why an ENI is not freed, or nothing if it can be (`getDeletableENI`).
    pub fn keeps(&self, pool: &Pool, eni: &Eni, now_ms: u64) -> Option<Keep> {
        let age_ms = now_ms - eni.added_ms;
        let pods = eni.assigned();
        if eni.kind.is_primary {
            return Some(Keep::Primary);
        }
        if age_ms < ENI_AGE_MIN_MS {
            return Some(Keep::TooYoung { age_ms });
        }
        if pool.is_cooling(eni, now_ms) {
            return Some(Keep::Cooling);
        }
        if pods > 0 {
            return Some(Keep::HasPods { pods });
        }
        self.keeps_for_targets(pool, eni)
            .or_else(|| eni.kind.is_trunk.then_some(Keep::Trunk))
            .or_else(|| eni.kind.is_efa.then_some(Keep::Efa))
    }

    fn keeps_for_targets(&self, pool: &Pool, eni: &Eni) -> Option<Keep> {
        let mode = self.settings.mode;
        let others = || {
            let is_other = |other: &&Eni| other.id != eni.id && !other.kind.is_excluded;
            pool.enis().iter().filter(is_other)
        };
        let rounded = |addresses: u32| match mode {
            Mode::SecondaryIp => addresses,
            Mode::Prefix => addresses.div_ceil(PREFIX_ADDRESSES).saturating_mul(PREFIX_ADDRESSES),
        };
        let (warm, minimum) = (rounded(self.settings.warm_ip), rounded(self.settings.minimum_ip));
        let total: u32 = others().map(|other| other.total(mode)).sum();
        let free = total - others().map(|other| other.assigned_of(mode)).sum::<u32>();
        if free < warm {
            return Some(Keep::WarmIp { elsewhere: free, needed: warm });
        }
        if total < minimum {
            return Some(Keep::MinimumIp { elsewhere: total, needed: minimum });
        }
        let needed = self.settings.warm_prefix;
        let elsewhere: u32 = others().map(Eni::free_prefixes).sum();
        let is_short = mode == Mode::Prefix && elsewhere < needed;
        is_short.then_some(Keep::WarmPrefix { elsewhere, needed })
    }
}

/// Whether an ENI that could be freed in principle has no pods.
fn has_empty_eni(pool: &Pool) -> bool {
    let may_go = |eni: &&Eni| !eni.kind.is_primary && !eni.kind.is_trunk && !eni.kind.is_efa;
    pool.enis().iter().filter(may_go).any(|eni| eni.assigned() == 0)
}

#[cfg(test)]
mod tests;
