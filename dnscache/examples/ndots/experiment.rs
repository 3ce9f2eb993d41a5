//! The same lookups with every subject, pass after pass, each compared with upstream's own result.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use super::cluster::exchange::Server;
use super::cluster::sample::{DOMAIN, HOST_DOMAIN};
use super::cluster::upstream::WorldUpstream;
use super::cluster::walk::{Lookup, Resolver, Style};
use super::cluster::world::Shared;
use super::names;

/// Whom a client asks.
pub struct Subject {
    pub title: &'static str,
    pub server: SocketAddr,
    /// What the application writes behind a name.
    pub ending: &'static str,
}

/// One line of the table: means of one lookup.
pub struct Row {
    pub title: &'static str,
    pub pass: &'static str,
    pub by_client: f64,
    pub upstream: f64,
    /// The median.
    pub time_us: f64,
    /// Lookups that ended otherwise than upstream's.
    pub wrong: Vec<Lookup>,
}

/// What stays the same for all subjects.
pub struct Experiment<'a> {
    world: Shared,
    upstream: &'a WorldUpstream,
    resolver: Resolver,
    names: Vec<String>,
}

/// Passes after the first, whose results are taken together.
const WARM_PASSES: usize = 5;
/// The second pass is told apart: a cache may learn during the first what saves questions later.
const SETTLING_PASSES: usize = 1;
/// Longer than denials live (5 s), shorter than addresses (30 s).
const PAUSE: Duration = Duration::from_millis(5_500);

impl<'a> Experiment<'a> {
    pub fn new(world: Shared, upstream: &'a WorldUpstream) -> Self {
        let resolver = Resolver::of_pod(Style::Glibc, names::NAMESPACE, DOMAIN, HOST_DOMAIN);
        Self { world, upstream, resolver, names: names::external() }
    }

    /// The rows of every subject, subjects together.
    pub fn run(&self, subjects: &[Subject]) -> Vec<Row> {
        let mut of_subjects: Vec<Vec<Row>> =
            subjects.iter().map(|s| self.first_passes(s)).collect();
        thread::sleep(PAUSE);
        for (subject, rows) in subjects.iter().zip(&mut of_subjects) {
            rows.push(self.passes(subject, "denials expired", 1));
        }
        of_subjects.into_iter().flatten().collect()
    }

    fn first_passes(&self, subject: &Subject) -> Vec<Row> {
        let first = self.passes(subject, "first pass", 1);
        let second = self.passes(subject, "second pass", SETTLING_PASSES);
        let warm = self.passes(subject, "warm", WARM_PASSES);
        vec![first, second, warm]
    }

    fn passes(&self, subject: &Subject, pass: &'static str, count: usize) -> Row {
        let mut client = Server::new(subject.server);
        let asked_before = self.upstream.questions_settled();
        let (mut times_us, mut wrong) = (Vec::new(), Vec::new());
        for name in (0..count).flat_map(|_| &self.names) {
            let name = format!("{name}{}", subject.ending);
            let started = Instant::now();
            let lookup = self.resolver.addresses(&mut client, &name);
            times_us.push(started.elapsed().as_secs_f64() * 1e6);
            if lookup.outcome != self.resolver.addresses(&mut self.world.clone(), &name).outcome {
                wrong.push(lookup);
            }
        }
        let lookups = times_us.len() as f64;
        let asked = self.upstream.questions_settled() - asked_before;
        times_us.sort_by(f64::total_cmp);
        Row {
            title: subject.title,
            pass,
            by_client: client.sent as f64 / lookups,
            upstream: asked as f64 / lookups,
            time_us: times_us[times_us.len() / 2],
            wrong,
        }
    }
}
