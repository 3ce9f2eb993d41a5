//! Which settings are worth a try for a demand.

use std::collections::BTreeSet;

use crate::model::settings::{Mode, Settings};
use crate::plan::demand::Profile;

/// The settings that may be tried: a coarse grid, and the way from one of them to finer ones.
#[derive(Debug, Clone)]
pub struct Space {
    /// The coarse grid.
    pub coarse: Vec<Settings>,
    /// No target is greater: more addresses than this no node can use.
    pub target_max: u32,
}

/// How many values of a target the coarse grid has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// Values of `WARM_IP_TARGET`.
    pub warm_ip: usize,
    /// Values of `MINIMUM_IP_TARGET`.
    pub minimum_ip: usize,
}

impl Space {
    /// The settings worth a try. They are those in force but for the mode and the warm targets.
    /// `MINIMUM_IP_TARGET` never stands without `WARM_IP_TARGET`, and no target that makes ENIs or
    /// prefixes come and go for ever is tried (`WARM_ENI_TARGET=0`, `WARM_PREFIX_TARGET=0`).
    pub fn of(
        profile: &Profile,
        in_force: &Settings,
        modes: &[Mode],
        grid: Grid,
        target_max: u32,
    ) -> Space {
        let coarse = modes.iter().flat_map(|mode| {
            let base = Settings { mode: *mode, ..in_force.clone() };
            let mut settings = untargeted(&base);
            for warm_ip in thin(warm_ips(profile, target_max), grid.warm_ip) {
                for minimum_ip in thin(minimum_ips(profile, target_max), grid.minimum_ip) {
                    settings.push(targets(&base, warm_ip, minimum_ip));
                }
            }
            settings
        });
        let unique: BTreeSet<Settings> = coarse.collect();
        Space { coarse: unique.into_iter().collect(), target_max }
    }

    /// Settings near one, the nearer the later the round: one target less or more, and one traded
    /// for the other.
    pub fn around(&self, settings: &Settings, round: u32) -> Vec<Settings> {
        if !settings.is_targeted() {
            return Vec::new();
        }
        let (warm_ip, minimum_ip) = (i64::from(settings.warm_ip), i64::from(settings.minimum_ip));
        let step = |target: i64| (target >> (round + 2)).max(1);
        let (by_warm, by_minimum) = (step(warm_ip), step(minimum_ip));
        [
            (-by_warm, 0),
            (0, -by_minimum),
            (-by_warm, by_minimum),
            (by_warm, -by_minimum),
            (by_warm, 0),
            (0, by_minimum),
        ]
        .into_iter()
        .map(|(warm, minimum)| {
            let within = |target: i64, least| target.clamp(least, self.target_max.into()) as u32;
            targets(settings, within(warm_ip + warm, 1), within(minimum_ip + minimum, 0))
        })
        .collect()
    }
}

/// Both targets. A minimum that `WARM_IP_TARGET` alone keeps anyway is left out.
pub fn targets(base: &Settings, warm_ip: u32, minimum_ip: u32) -> Settings {
    let minimum_ip = if minimum_ip <= warm_ip { 0 } else { minimum_ip };
    Settings { warm_ip, minimum_ip, ..base.clone() }
}

/// Why a setting is never recommended, however well it does on a trace.
pub fn hazard(settings: &Settings) -> Option<&'static str> {
    match settings.mode {
        _ if settings.minimum_ip > 0 && settings.warm_ip == 0 => {
            Some("MINIMUM_IP_TARGET without WARM_IP_TARGET never grows beyond the minimum")
        }
        _ if settings.is_targeted() => None,
        Mode::SecondaryIp if settings.warm_eni == 0 => {
            Some("WARM_ENI_TARGET=0 attaches and frees an ENI for ever when all others are full")
        }
        Mode::Prefix if settings.warm_prefix == 0 => {
            Some("WARM_PREFIX_TARGET=0 adds and releases a prefix for ever when all are full")
        }
        _ => None,
    }
}

/// Whole ENIs or prefixes kept warm.
fn untargeted(base: &Settings) -> Vec<Settings> {
    let base = Settings { warm_ip: 0, minimum_ip: 0, ..base.clone() };
    let with = |warm| match base.mode {
        Mode::SecondaryIp => Settings { warm_eni: warm, ..base.clone() },
        Mode::Prefix => Settings { warm_prefix: warm, ..base.clone() },
    };
    (1..=3).map(with).collect()
}

/// `WARM_IP_TARGET` for the bursts, alone and on top of what cools meanwhile.
fn warm_ips(profile: &Profile, most: u32) -> BTreeSet<u32> {
    let bursts = [profile.burst_1s, profile.burst_10s, profile.burst_60s];
    let quantiles = bursts.iter().flat_map(|burst| [burst.p50, burst.p90, burst.max]);
    let cooling = profile.cooling;
    let with_cooling = bursts.iter().flat_map(|burst| {
        [burst.p50 + cooling.p50, burst.p90 + cooling.p90, burst.max + cooling.max]
    });
    let whole = [profile.peak_on_node.max, profile.peak_with_cooling.max];
    let values = [1, 2, 3, 5].into_iter().chain(quantiles).chain(with_cooling).chain(whole);
    values.map(|value| value.clamp(1, most.into()) as u32).collect()
}

/// `MINIMUM_IP_TARGET` for the pods at once.
fn minimum_ips(profile: &Profile, most: u32) -> BTreeSet<u32> {
    let (time, peak) = (profile.pods_on_node, profile.peak_on_node);
    let cooling = profile.peak_with_cooling;
    let values =
        [0, time.p50, time.p90, time.p99, peak.p50, peak.p90, peak.max, cooling.p50, cooling.max];
    values.into_iter().map(|value| value.min(most.into()) as u32).collect()
}

/// At most `most` (two or more) of them, evenly, with the smallest and the greatest.
fn thin(values: BTreeSet<u32>, most: usize) -> Vec<u32> {
    let values: Vec<u32> = values.into_iter().collect();
    if values.len() <= most {
        return values;
    }
    (0..most).map(|at| values[at * (values.len() - 1) / (most - 1)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::demand::Spread;

    const GRID: Grid = Grid { warm_ip: 8, minimum_ip: 8 };

    fn burst_of(pods: u64) -> Profile {
        let spread = Spread { min: pods, p50: pods, p90: pods, p99: pods, max: pods };
        Profile {
            pods_on_node: spread,
            peak_on_node: spread,
            burst_1s: spread,
            burst_10s: spread,
            burst_60s: spread,
            peak_with_cooling: spread,
            ..Profile::default()
        }
    }

    fn space(profile: &Profile, modes: &[Mode]) -> Space {
        Space::of(profile, &Settings::default(), modes, GRID, 232)
    }

    fn has(space: &Space, warm_ip: u32, minimum_ip: u32) -> bool {
        let wanted = Settings { warm_ip, minimum_ip, ..Settings::default() };
        space.coarse.contains(&wanted)
    }

    #[test]
    fn the_grid_holds_the_pods_that_were_seen() {
        let space = space(&burst_of(100), &[Mode::SecondaryIp]);
        assert!(has(&space, 1, 100) && has(&space, 1, 0) && has(&space, 100, 0));
    }

    #[test]
    fn no_candidate_starves_or_livelocks() {
        let mut profile = burst_of(100);
        profile.burst_1s = Spread::default();
        let space = space(&profile, &[Mode::SecondaryIp, Mode::Prefix]);
        for settings in &space.coarse {
            assert_eq!(hazard(settings), None, "{settings:?}");
            for near in (0..6).flat_map(|round| space.around(settings, round)) {
                assert_eq!(hazard(&near), None, "{near:?}");
                assert!(near.warm_ip <= 232 && near.minimum_ip <= 232);
            }
        }
    }

    #[test]
    fn what_starves_or_livelocks_is_called_so() {
        let default = Settings::default();
        let minimum_only = Settings { minimum_ip: 22, ..default.clone() };
        assert!(hazard(&minimum_only).is_some_and(|why| why.contains("never grows")));
        let no_eni = Settings { warm_eni: 0, ..default.clone() };
        assert!(hazard(&no_eni).is_some_and(|why| why.contains("WARM_ENI_TARGET=0")));
        let prefix = Settings { mode: Mode::Prefix, warm_prefix: 0, ..default.clone() };
        assert!(hazard(&prefix).is_some_and(|why| why.contains("WARM_PREFIX_TARGET=0")));
        assert_eq!(hazard(&Settings { warm_eni: 0, warm_ip: 2, ..default }), None);
    }

    #[test]
    fn the_mode_in_force_is_kept_unless_another_is_asked_for() {
        let modes = |modes: &[Mode]| -> BTreeSet<Mode> {
            space(&burst_of(5), modes).coarse.iter().map(|settings| settings.mode).collect()
        };
        assert_eq!(modes(&[Mode::SecondaryIp]), BTreeSet::from([Mode::SecondaryIp]));
        assert_eq!(modes(&[Mode::SecondaryIp, Mode::Prefix]).len(), 2);
    }

    #[test]
    fn a_minimum_below_the_warm_target_is_left_out() {
        assert_eq!(targets(&Settings::default(), 5, 5).minimum_ip, 0);
        assert_eq!(targets(&Settings::default(), 5, 6).minimum_ip, 6);
    }

    #[test]
    fn thinning_keeps_both_ends() {
        assert_eq!(thin((0..100).collect(), 4), [0, 33, 66, 99]);
        assert_eq!(thin([7].into(), 4), [7]);
    }

    #[test]
    fn a_trace_without_pods_has_candidates() {
        assert!(!space(&Profile::default(), &[Mode::SecondaryIp]).coarse.is_empty());
    }
}
