//! The simulations of a search: many at a time, none twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use crate::model::settings::Settings;
use crate::plan::Progress;
use crate::plan::goal::Score;
use crate::plan::recommend::Trial;

/// Seeds that the last rounds use; earlier ones use the first.
pub const SEEDS: u64 = 3;

/// The pods a setting is tried with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Load {
    /// Some of the nodes, with the headroom's pods on top.
    Sample,
    /// The trace with the headroom's pods on top.
    Raised,
    /// The trace as it is.
    AsSeen,
}

/// Runs one simulation: a setting, a load, and which of the [`SEEDS`] (from 0). The search knows the
/// model by nothing else.
pub type Simulate<'a> = dyn Fn(&Settings, Load, u64) -> Score + Sync + 'a;

/// One simulation.
type Job = (Settings, Load, u64);

/// Simulations that are done, none of them twice.
pub(super) struct Runs<'a> {
    pub(super) simulate: &'a Simulate<'a>,
    pub(super) progress: &'a Progress<'a>,
    /// Without a headroom a raised load is the trace as it is.
    pub(super) has_headroom: bool,
    /// Without a sample it is the raised load.
    pub(super) has_sample: bool,
    /// The most simulations there will be.
    pub(super) most: usize,
    done: AtomicUsize,
    scores: BTreeMap<Job, Score>,
}

impl<'a> Runs<'a> {
    pub(super) fn new(
        simulate: &'a Simulate<'a>,
        progress: &'a Progress<'a>,
        has_headroom: bool,
        has_sample: bool,
        most: usize,
    ) -> Runs<'a> {
        let (done, scores) = (AtomicUsize::new(0), BTreeMap::new());
        Runs { simulate, progress, has_headroom, has_sample, most, done, scores }
    }

    /// How each does under one seed.
    pub(super) fn once(
        &mut self,
        settings: &[Settings],
        load: Load,
        nth: u64,
    ) -> Vec<(Settings, Score)> {
        let load = self.load(load);
        self.run(settings.iter().map(|one| (one.clone(), load, nth)).collect());
        let score = |one: &Settings| self.scores[&(one.clone(), load, nth)].clone();
        settings.iter().map(|one| (one.clone(), score(one))).collect()
    }

    /// How each does under all seeds; the worst counts.
    pub(super) fn trials(&mut self, settings: &[Settings], load: Load) -> Vec<Trial> {
        let load = self.load(load);
        let jobs = settings.iter().flat_map(|one| (0..SEEDS).map(|nth| (one.clone(), load, nth)));
        self.run(jobs.collect());
        let worst = |one: &Settings| {
            let scores = (0..SEEDS).map(|nth| &self.scores[&(one.clone(), load, nth)]);
            scores.cloned().reduce(|one, other| one.worst(&other)).unwrap_or_default()
        };
        settings.iter().map(|one| Trial { settings: one.clone(), score: worst(one) }).collect()
    }

    /// Simulations that are done.
    pub(super) fn done(&self) -> usize {
        self.scores.len()
    }

    /// Settings that were tried.
    pub(super) fn settings_tried(&self) -> usize {
        self.scores.keys().map(|(settings, _, _)| settings).collect::<BTreeSet<_>>().len()
    }

    fn load(&self, load: Load) -> Load {
        match load {
            Load::Sample if self.has_sample => Load::Sample,
            Load::Sample | Load::Raised if self.has_headroom => Load::Raised,
            _ => Load::AsSeen,
        }
    }

    /// Runs in parallel; scores are collected in the order of the jobs.
    fn run(&mut self, jobs: BTreeSet<Job>) {
        let new: Vec<Job> = jobs.into_iter().filter(|job| !self.scores.contains_key(job)).collect();
        let scores: Vec<Score> = new
            .par_iter()
            .map(|(settings, load, nth)| {
                let score = (self.simulate)(settings, *load, *nth);
                let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
                (self.progress)(done, self.most);
                score
            })
            .collect();
        self.scores.extend(new.into_iter().zip(scores));
    }
}
