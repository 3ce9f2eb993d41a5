//! The search: many settings on the simulator, coarse then fine, the last ones under several seeds.
//!
//! ```text
//!   scout    the coarse grid, then finer around the best; one seed, on a sample of a large trace
//!     v
//!   prove    the best of them on all nodes, with the headroom's pods, under every seed; where they
//!            fail, their neighbours
//!     v
//!   settle   what is proven, on the trace as it is, and the same with more warm addresses
//! ```

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::model::settings::Settings;
use crate::plan::Progress;
use crate::plan::candidates::{Space, hazard, targets};
use crate::plan::front::{front, thin};
use crate::plan::goal::{Goal, Rank, Score};
use crate::plan::recommend::Trial;
use crate::plan::runs::{Load, Runs, SEEDS, Simulate};

/// How many settings are tried. Every number bounds a round, so that the most simulations there
/// will be are known beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effort {
    /// Scouting rounds around the best so far, after the coarse grid.
    pub fine_rounds: u32,
    /// Settings tried in each of them.
    pub fine: usize,
    /// Rounds of proofs.
    pub proof_rounds: u32,
    /// Settings tried in each of them.
    pub proofs: usize,
    /// Proven settings that are run on the trace as it is.
    pub finalists: usize,
    /// Settings with more warm addresses that are tried at the end.
    pub more_warm: usize,
    /// Settings of the Pareto front that are run under all seeds.
    pub front: usize,
}

/// A setting that costs no more than this part (of 100) above the cheapest counts as equally cheap.
const NEARLY_EQUAL_PERCENT: u128 = 5;

/// Settings of the front that a plan shows.
const FRONT_SHOWN: usize = 10;

/// Values of `WARM_IP_TARGET` that are tried on top of the best setting.
const WARM_TRIED: [u32; 8] = [2, 3, 4, 6, 8, 12, 16, 24];

/// What a search found. Scores are the worst of all seeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The best setting that keeps to the goal under every seed and both loads; none: none does.
    pub best: Option<Finalist>,
    /// The settings that came last, best first.
    pub finalists: Vec<Finalist>,
    /// The known settings, in the order given.
    pub known: Vec<Trial>,
    /// The Pareto front of all that were tried under every seed.
    pub front: Vec<Trial>,
    /// Settings that were tried.
    pub tried: usize,
    /// Simulations that were run.
    pub simulations: usize,
}

/// A setting under both loads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finalist {
    /// The setting, and how it does on the trace as it is.
    pub trial: Trial,
    /// How it does with the headroom's pods.
    pub raised: Score,
}

/// Everything a search needs besides the simulator.
#[derive(Debug, Clone)]
pub struct Search<'a> {
    /// What may be tried.
    pub space: &'a Space,
    /// Settings that are shown beside the result, whatever they do.
    pub known: &'a [Settings],
    /// The setting in force: at nearly equal cost it stays.
    pub in_force: &'a Settings,
    /// What the best must keep to.
    pub goal: &'a Goal,
    /// What a sample's best must keep to; none: there is no sample.
    pub sample_goal: Option<&'a Goal>,
    /// How much is tried.
    pub effort: Effort,
    /// Whether there is a headroom; without one both loads are the same and run once.
    pub has_headroom: bool,
}

type Scores = BTreeMap<Settings, Score>;

impl Search<'_> {
    /// Searches. Simulations run in parallel; what is found does not depend on how many at a time.
    pub fn run(&self, simulate: &Simulate<'_>, progress: &Progress<'_>) -> Found {
        let (has_sample, most) = (self.sample_goal.is_some(), self.simulations_max());
        let mut runs = Runs::new(simulate, progress, self.has_headroom, has_sample, most);
        let scouted = self.scout(&mut runs);
        let proved = self.prove(&mut runs, &scouted);
        let finalists = self.settle(&mut runs, &proved);
        let known = runs.trials(self.known, Load::AsSeen);
        let mut shown = runs.trials(&self.front_settings(&scouted), Load::AsSeen);
        shown.extend(known.iter().cloned());
        shown.extend(finalists.iter().map(|finalist| finalist.trial.clone()));
        shown.retain(|one| self.may(&one.settings));
        progress(runs.done(), runs.done());
        Found {
            best: self.best(&finalists).cloned(),
            finalists,
            known,
            front: thin(&front(&shown), FRONT_SHOWN),
            tried: runs.settings_tried(),
            simulations: runs.done(),
        }
    }

    /// The coarse grid and the finer rounds.
    fn scout(&self, runs: &mut Runs<'_>) -> Scores {
        let coarse: BTreeSet<Settings> =
            self.space.coarse.iter().chain(self.known).cloned().collect();
        let coarse: Vec<Settings> = coarse.into_iter().collect();
        let mut tried: Scores = runs.once(&coarse, Load::Sample, 0).into_iter().collect();
        let goal = self.sample_goal.unwrap_or(self.goal);
        for round in 0..self.effort.fine_rounds {
            let next = self.next_around(&tried, goal, round, self.effort.fine);
            tried.extend(runs.once(&next, Load::Sample, 0));
        }
        tried
    }

    /// The untried neighbours of the best so far and of the cheapest in calls.
    fn next_around(&self, tried: &Scores, goal: &Goal, round: u32, most: usize) -> Vec<Settings> {
        let ranked = self.ranked(tried, goal);
        let few_calls = ranked
            .iter()
            .filter(|settings| tried[*settings].meets(goal))
            .min_by_key(|settings| tried[*settings].calls);
        let centres = ranked.iter().take(3).chain(few_calls);
        let near = centres.flat_map(|centre| self.space.around(centre, round));
        first_new(near, |one| tried.contains_key(one), most)
    }

    /// The best of the scouted on all nodes, under every seed as long as they keep to the goal. Then
    /// their neighbours: where the best fail, the nearest that do not; else the cheaper ones.
    fn prove(&self, runs: &mut Runs<'_>, scouted: &Scores) -> Scores {
        let order = self.in_order_of_proof(scouted);
        let mut proved = Scores::new();
        for round in 0..self.effort.proof_rounds {
            let ranked = self.ranked(&proved, self.goal);
            let near = ranked.iter().take(2).flat_map(|one| self.space.around(one, round));
            let most = self.effort.proofs;
            let next = near.chain(order.iter().cloned());
            let next = first_new(next, |one| proved.contains_key(one), most);
            self.try_all_seeds(runs, next, &mut proved);
        }
        proved
    }

    /// Tries settings with the headroom's pods, one seed after the other, and no further once one
    /// breaks a limit.
    fn try_all_seeds(&self, runs: &mut Runs<'_>, settings: Vec<Settings>, proved: &mut Scores) {
        let mut standing = settings;
        for nth in 0..SEEDS {
            for (one, score) in runs.once(&standing, Load::Raised, nth) {
                let worst = proved.get(&one).map_or(score.clone(), |other| other.worst(&score));
                proved.insert(one, worst);
            }
            standing.retain(|one| proved[one].meets(self.goal));
        }
    }

    /// The setting in force, the best, those of nearly equal cost that make the fewest calls, then
    /// all others from the best down.
    fn in_order_of_proof(&self, scouted: &Scores) -> Vec<Settings> {
        let goal = self.sample_goal.unwrap_or(self.goal);
        let ranked = self.ranked(scouted, goal);
        let Some(best) = ranked.first() else { return ranked };
        let limit = nearly(scouted[best].idle_address_ms);
        let mut few_calls: Vec<Settings> = ranked
            .iter()
            .filter(|one| scouted[*one].meets(goal) && scouted[*one].idle_address_ms <= limit)
            .cloned()
            .collect();
        few_calls.sort_by_key(|one| scouted[one].calls);
        let half = self.effort.proofs.div_ceil(2);
        let in_force = ranked.iter().filter(|one| *one == self.in_force);
        let first = in_force.chain(ranked.iter().take(half)).chain(few_calls.iter().take(half));
        first_new(first.chain(&ranked).cloned(), |_| false, usize::MAX)
    }

    /// What may be recommended, the best first.
    fn ranked(&self, tried: &Scores, goal: &Goal) -> Vec<Settings> {
        let mut ranked: Vec<(Rank, &Settings)> = tried
            .iter()
            .filter(|(settings, _)| hazard(settings).is_none() && self.may(settings))
            .map(|(settings, score)| (score.rank(goal), settings))
            .collect();
        ranked.sort();
        ranked.into_iter().map(|(_, settings)| settings.clone()).collect()
    }

    /// Known settings are tried in any case; only modes of the space may be recommended.
    fn may(&self, settings: &Settings) -> bool {
        self.space.coarse.iter().any(|one| one.mode == settings.mode)
    }

    /// The last ones on the trace as it is: the best that are proven, with the setting in force if
    /// it is, and then the best of them with more warm addresses.
    fn settle(&self, runs: &mut Runs<'_>, proved: &Scores) -> Vec<Finalist> {
        let ranked = self.ranked(proved, self.goal);
        let in_force =
            ranked.iter().filter(|one| *one == self.in_force && proved[*one].meets(self.goal));
        let last = ranked.iter().take(self.effort.finalists).chain(in_force).cloned();
        let last = first_new(last, |_| false, usize::MAX);
        let mut finalists = self.finalists(runs, last);
        let more_warm = self.more_warm(&finalists);
        finalists.extend(self.finalists(runs, more_warm));
        finalists.sort_by_key(|one| (self.worst_rank(one), one.trial.settings.clone()));
        finalists
    }

    /// Settings under all seeds and both loads.
    fn finalists(&self, runs: &mut Runs<'_>, settings: Vec<Settings>) -> Vec<Finalist> {
        let raised = runs.trials(&settings, Load::Raised);
        let seen = runs.trials(&settings, Load::AsSeen);
        let both = seen.into_iter().zip(raised);
        both.map(|(trial, raised)| Finalist { trial, raised: raised.score }).collect()
    }

    /// The best so far with more warm addresses. As long as the minimum covers them they cost
    /// nothing at rest, and a burst beyond the minimum is then served sooner than with one address
    /// for each pass of ipamd's loop.
    fn more_warm(&self, finalists: &[Finalist]) -> Vec<Settings> {
        let Some(best) = self.best(finalists) else { return Vec::new() };
        let settings = &best.trial.settings;
        let more = WARM_TRIED
            .into_iter()
            .filter(|warm_ip| settings.minimum_ip > *warm_ip && *warm_ip > settings.warm_ip)
            .map(|warm_ip| targets(settings, warm_ip, settings.minimum_ip));
        let is_known = |one: &Settings| finalists.iter().any(|other| other.trial.settings == *one);
        first_new(more, is_known, self.effort.more_warm)
    }

    /// The recommended one of those that keep to the goal: of all that cost no more than 5 % above
    /// the cheapest, the one in force, or else the one with the fewest calls, then attaches, then
    /// the most warm addresses.
    fn best<'f>(&self, finalists: &'f [Finalist]) -> Option<&'f Finalist> {
        let fit = || {
            finalists
                .iter()
                .filter(|one| one.trial.score.meets(self.goal) && one.raised.meets(self.goal))
                .filter(|one| hazard(&one.trial.settings).is_none())
        };
        let least = fit().map(|one| one.trial.score.idle_address_ms).min()?;
        fit().filter(|one| one.trial.score.idle_address_ms <= nearly(least)).min_by_key(|one| {
            let score = &one.trial.score;
            let is_new = one.trial.settings != *self.in_force;
            let (idle, calls, attaches) = (score.idle_address_ms, score.calls, score.eni_attaches);
            let fewer_warm = Reverse(one.trial.settings.warm_ip);
            (is_new, calls, attaches, fewer_warm, idle, one.trial.settings.clone())
        })
    }

    fn worst_rank(&self, finalist: &Finalist) -> Rank {
        finalist.trial.score.worst(&finalist.raised).rank(self.goal)
    }

    /// The front of all that was scouted, no longer than is run again.
    fn front_settings(&self, scouted: &Scores) -> Vec<Settings> {
        let trials: Vec<Trial> = scouted
            .iter()
            .filter(|(settings, _)| hazard(settings).is_none())
            .map(|(settings, score)| Trial { settings: settings.clone(), score: score.clone() })
            .collect();
        thin(&front(&trials), self.effort.front).into_iter().map(|one| one.settings).collect()
    }

    /// The most simulations there will be.
    fn simulations_max(&self) -> usize {
        let effort = self.effort;
        let scouted =
            self.space.coarse.len() + self.known.len() + effort.fine_rounds as usize * effort.fine;
        let proved = effort.proof_rounds as usize * effort.proofs;
        let settled = effort.finalists + 1 + effort.more_warm;
        let shown = self.known.len() + effort.front;
        scouted + (proved + 2 * settled + shown) * SEEDS as usize
    }
}

/// The first of them, each once, that are not known.
fn first_new(
    settings: impl Iterator<Item = Settings>,
    is_known: impl Fn(&Settings) -> bool,
    most: usize,
) -> Vec<Settings> {
    let mut new: Vec<Settings> = Vec::new();
    for one in settings {
        if new.len() == most {
            break;
        }
        if !is_known(&one) && !new.contains(&one) {
            new.push(one);
        }
    }
    new
}

/// The most idle addresses that count as nearly as few.
fn nearly(idle_address_ms: u128) -> u128 {
    idle_address_ms + idle_address_ms * NEARLY_EQUAL_PERCENT / 100
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::model::settings::Mode;
    use crate::plan::candidates::Grid;
    use crate::plan::demand::Profile;

    const EFFORT: Effort = Effort {
        fine_rounds: 6,
        fine: 16,
        proof_rounds: 5,
        proofs: 8,
        finalists: 5,
        more_warm: 6,
        front: 8,
    };

    /// A world in which `pods` come at once: held is the minimum or the warm addresses, and an ADD
    /// fails for every pod beyond. Bad luck (`nth` 1) wants one address more.
    fn burst(pods: u32) -> impl Fn(&Settings, Load, u64) -> Score + Sync {
        move |settings, load, nth| {
            let pods =
                pods + u32::from(nth == 1) + if load == Load::AsSeen { 0 } else { pods / 10 };
            let held = match settings.is_targeted() {
                true => settings.minimum_ip.max(settings.warm_ip),
                false => 58 * settings.warm_eni,
            };
            let failed_adds = u64::from(pods.saturating_sub(held));
            let idle_address_ms = u128::from(held) * 1_000 + u128::from(settings.warm_ip) * 500;
            let wait_p99_ms = failed_adds * 100;
            Score { failed_adds, idle_address_ms, wait_p99_ms, calls: 7, ..Score::default() }
        }
    }

    fn space() -> Space {
        let grid = Grid { warm_ip: 6, minimum_ip: 6 };
        let mut profile = Profile::default();
        profile.peak_on_node.max = 100;
        profile.burst_1s.max = 100;
        Space::of(&profile, &Settings::default(), &[Mode::SecondaryIp], grid, 232)
    }

    fn search(simulate: &Simulate<'_>, goal: &Goal, known: &[Settings]) -> Found {
        let in_force = Settings::default();
        let space = space();
        of(&space, &in_force, goal, known).run(simulate, &|_, _| {})
    }

    fn of<'a>(
        space: &'a Space,
        in_force: &'a Settings,
        goal: &'a Goal,
        known: &'a [Settings],
    ) -> Search<'a> {
        let (effort, sample_goal, has_headroom) = (EFFORT, None, true);
        Search { space, known, in_force, goal, sample_goal, effort, has_headroom }
    }

    fn minimum(warm_ip: u32, minimum_ip: u32) -> Settings {
        targets(&Settings::default(), warm_ip, minimum_ip)
    }

    #[test]
    fn the_fewest_idle_addresses_without_a_failed_add_win() {
        let found = search(&burst(100), &Goal::default(), &[]);
        let best = found.best.expect("one that fits");
        assert_eq!(best.raised.failed_adds, 0);
        // 110 pods and one more under the unlucky seed, and at most 5 % above that.
        assert!((111..=116).contains(&best.trial.settings.minimum_ip), "{best:?}");
        assert!(best.trial.score.idle_address_ms <= nearly(111_500), "{best:?}");
    }

    #[test]
    fn at_nearly_equal_cost_more_warm_addresses_are_safer() {
        let found = search(&burst(100), &Goal::default(), &[]);
        let best = found.best.expect("one that fits").trial.settings;
        let fewer = found.finalists.iter().map(|one| &one.trial.settings);
        assert!(fewer.clone().any(|one| one.warm_ip == 1 && one.minimum_ip == best.minimum_ip));
        assert!(best.warm_ip > 1, "{best:?}");
    }

    #[test]
    fn a_setting_that_fails_under_one_seed_only_is_not_the_best() {
        let found = search(&burst(100), &Goal::default(), &[minimum(1, 110)]);
        assert_eq!(found.known[0].score.failed_adds, 0, "enough for the trace as it is");
        let best = found.best.expect("one that fits");
        assert!(best.trial.settings.minimum_ip > 110, "{best:?}");
    }

    #[test]
    fn none_is_best_where_none_keeps_to_the_goal() {
        let goal = Goal { subnet_free: 1, ..Goal::default() };
        let found = search(&burst(100), &goal, &[]);
        assert_eq!(found.best, None);
        assert!(!found.finalists.is_empty());
    }

    #[test]
    fn the_setting_in_force_stays_at_nearly_equal_cost() {
        let best_with = |in_force: Settings| {
            let (space, goal) = (space(), Goal::default());
            let known = [in_force.clone()];
            let search = of(&space, &in_force, &goal, &known);
            search.run(&burst(100), &|_, _| {}).best.expect("one that fits").trial.settings
        };
        assert_eq!(best_with(minimum(1, 114)), minimum(1, 114));
        assert_ne!(best_with(minimum(1, 150)), minimum(1, 150));
    }

    #[test]
    fn what_starves_is_not_recommended_although_it_is_cheapest() {
        let starving = Settings { minimum_ip: 111, ..Settings::default() };
        let found = search(&burst(100), &Goal::default(), std::slice::from_ref(&starving));
        assert_eq!(found.known[0].score.failed_adds, 0);
        let best = found.best.expect("one that fits");
        assert!(best.trial.score.idle_address_ms > found.known[0].score.idle_address_ms);
        assert_ne!(best.trial.settings, starving);
    }

    #[test]
    fn one_thread_and_two_find_the_same() {
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            pool.expect("threads").install(|| search(&burst(100), &Goal::default(), &[]))
        };
        assert_eq!(with(1), with(2));
    }

    #[test]
    fn without_headroom_both_loads_are_one() {
        let (space, goal, in_force) = (space(), Goal::default(), Settings::default());
        let search = Search { has_headroom: false, ..of(&space, &in_force, &goal, &[]) };
        let simulate = |settings: &Settings, load: Load, seed: u64| {
            assert_eq!(load, Load::AsSeen);
            burst(100)(settings, load, seed)
        };
        let best = search.run(&simulate, &|_, _| {}).best.expect("one that fits");
        assert_eq!(best.trial.score, best.raised);
        assert!((101..=105).contains(&best.trial.settings.minimum_ip), "{best:?}");
    }

    #[test]
    fn no_simulation_runs_twice_and_no_more_than_were_announced() {
        let jobs = std::sync::Mutex::new(Vec::new());
        let most = AtomicUsize::new(0);
        let simulate = |settings: &Settings, load: Load, seed: u64| {
            jobs.lock().expect("a lock").push((settings.clone(), load, seed));
            burst(100)(settings, load, seed)
        };
        let (space, goal, in_force) = (space(), Goal::default(), Settings::default());
        let known = [in_force.clone()];
        let found = of(&space, &in_force, &goal, &known).run(&simulate, &|_, of| {
            most.fetch_max(of, Ordering::Relaxed);
        });
        let jobs = jobs.into_inner().expect("a lock");
        assert_eq!(jobs.iter().collect::<BTreeSet<_>>().len(), jobs.len());
        assert_eq!(jobs.len(), found.simulations);
        assert!(jobs.len() <= most.into_inner());
    }
}
