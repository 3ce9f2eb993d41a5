//! The scenarios, and the order in which everything is run: scenario by scenario, in each round
//! by round, in each server by server, beginning with another one each round.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::generator::{Idle, Pace};
use super::machine::Machine;
use super::measure::{self, CLIENTS, Capacity, Load, Transport};
use super::names::{Expect, Question, Template};
use super::options::Options;
use super::report::{Row, Run};
use super::servers::{self, Kind, Launch, Program, Server};
use super::upstream::Upstream;
use super::workload::{
    Fresh, Mixed, Repeated, Search, SearchQuestions, Workload, Zipf, external, search_path,
};
use super::{cores, special};

/// What is asked, and how the server stands to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    Hit,
    Hit100k,
    Hit100kZipf,
    Hit1m,
    Negative,
    Search,
    Miss,
    MissTcp,
    Tcp,
    Mixed,
    Flood,
    Workers,
}

/// Names of the small scenarios: the working set of a busy node.
pub const NAMES: usize = 1000;
/// How many questions a server asked upstream while all it was asked had been in its cache: it has
/// let go of some since, and its CPU is not that of a hit alone.
const ASKED_UPSTREAM: &str = "asked_upstream";
/// External hosts looked up through the search path.
const HOSTS: usize = 500;

impl Scenario {
    pub const ALL: [Self; 12] = [
        Self::Hit,
        Self::Hit100k,
        Self::Hit100kZipf,
        Self::Hit1m,
        Self::Negative,
        Self::Search,
        Self::Miss,
        Self::MissTcp,
        Self::Tcp,
        Self::Mixed,
        Self::Flood,
        Self::Workers,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Hit100k => "hit-100k",
            Self::Hit100kZipf => "hit-100k-zipf",
            Self::Hit1m => "hit-1m",
            Self::Negative => "negative",
            Self::Search => "search",
            Self::Miss => "miss",
            Self::MissTcp => "miss-tcp",
            Self::Tcp => "tcp",
            Self::Mixed => "mixed",
            Self::Flood => "flood",
            Self::Workers => "workers",
        }
    }

    /// Whether every answer should come from the cache.
    fn is_cached(self) -> bool {
        !matches!(self, Self::Miss | Self::MissTcp | Self::Mixed | Self::Flood | Self::Workers)
    }

    /// Whether a server can do it at all.
    fn is_for(self, kind: Kind) -> bool {
        match (self, kind.name()) {
            (Self::Workers, name) => name == "dnscache",
            // Only these can be told to ask upstream over TCP.
            (Self::MissTcp, name) => ["dnscache", "node-cache"].contains(&name),
            (Self::Miss | Self::Tcp | Self::Flood, "echo") => false,
            // It forks for each TCP connection.
            (Self::Tcp, "dnsmasq") => false,
            _ => true,
        }
    }

    /// Distinct names of the cached part.
    fn names(self, options: &Options) -> usize {
        options.names(match self {
            Self::Hit100k | Self::Hit100kZipf => 100_000,
            Self::Hit1m => 1_000_000,
            Self::Search => HOSTS,
            _ => NAMES,
        })
    }

    /// Names the server's cache must have room for.
    fn capacity(self, options: &Options) -> usize {
        match self {
            Self::Miss | Self::MissTcp | Self::Mixed | Self::Flood => 1_000_000,
            _ => self.names(options).max(100_000),
        }
    }

    fn load(self, options: &Options) -> Load {
        let transport = if self == Self::Tcp { Transport::Tcp } else { Transport::Udp };
        let idle = match self {
            Self::Miss | Self::MissTcp | Self::Mixed => Idle::Sleep,
            _ => Idle::Spin,
        };
        Load { transport, clients: CLIENTS, window: options.window, idle }
    }

    /// What fills the cache: templates and how many numbers of each.
    fn warm(self, options: &Options) -> (Vec<Template>, usize) {
        let templates = match self {
            Self::Miss | Self::MissTcp => Vec::new(),
            Self::Negative => vec![search_path(Expect::Absent)],
            Self::Mixed => vec![external(Expect::Address), search_path(Expect::Absent)],
            Self::Search => Search::candidates(false),
            _ => vec![external(Expect::Address)],
        };
        (templates, self.names(options))
    }

    fn workload(self, options: &Options, kind: Kind) -> Box<dyn Workload> {
        let names = self.names(options);
        let is_echo = kind == Kind::Echo;
        let expect = |expect| if is_echo { Expect::Echo } else { expect };
        let known = external(expect(Expect::Address));
        let absent = search_path(expect(Expect::Absent));
        let fresh = Template::new(b'm', super::names::ZONE, super::names::TYPE_A, known.expect);
        match self {
            Self::Hit100kZipf => Box::new(Zipf::new(known, names)),
            Self::Negative => Box::new(Repeated::new(absent, names)),
            Self::Miss | Self::MissTcp => Box::new(Fresh::new(fresh)),
            Self::Mixed => Box::new(Mixed::new([known, absent, fresh], names)),
            _ => Box::new(Repeated::new(known, names)),
        }
    }
}

/// Everything a scenario needs.
pub struct Stage<'a> {
    pub options: &'a Options,
    pub server_core: usize,
    pub all_cores: Vec<usize>,
    pub upstream: Upstream,
    pub scenario: Scenario,
}

/// Runs what the options choose; the exit code says whether all answers were right.
pub fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    let all_cores = cores::available()?;
    let (server_core, load_cores) = split_cores(options)?;
    cores::pin(&load_cores)?;
    let mut run = Run {
        machine: Machine::read(),
        command: command(),
        missing: Vec::new(),
        versions: Vec::new(),
        rows: Vec::new(),
        seconds: options.seconds().ceil() as u64,
    };
    let programs = find(options, &mut run);
    for scenario in options.chosen_scenarios() {
        let upstream = Upstream::start()?;
        let stage =
            Stage { options, server_core, all_cores: all_cores.clone(), upstream, scenario };
        let rows = stage.run(&programs, &mut run.missing);
        run.rows.extend(rows.with_context(|| format!("scenario {}", scenario.name()))?);
    }
    eprintln!("all in {} s", began.elapsed().as_secs());
    // Whoever closed the pipe has seen enough; the results are saved all the same.
    let _ = writeln!(std::io::stdout(), "{}", run.table());
    save(options, &run)?;
    Ok(verdict(&run.rows))
}

/// The command that repeats this run.
fn command() -> String {
    let options = std::env::args().skip(1).filter(|word| word != "--bench");
    ["cargo bench --bench load --".to_owned()]
        .into_iter()
        .chain(options)
        .collect::<Vec<_>>()
        .join(" ")
}

/// The servers' core and those of load and upstream; with one core they share it.
fn split_cores(options: &Options) -> anyhow::Result<(usize, Vec<usize>)> {
    let all = cores::available()?;
    let chosen = options.server_core.iter().chain(&options.load_cores);
    if let Some(core) = chosen.copied().find(|core| !all.contains(core)) {
        anyhow::bail!("core {core}: this process may use cores {all:?}");
    }
    let server = options.server_core.or(all.first().copied()).context("no core")?;
    let others: Vec<usize> = all.into_iter().filter(|core| *core != server).collect();
    let load = match (options.load_cores.as_slice(), others.as_slice()) {
        ([], []) => vec![server],
        ([], _) => others,
        (chosen, _) => chosen.to_vec(),
    };
    Ok((server, load))
}

fn find(options: &Options, run: &mut Run) -> Vec<Program> {
    let mut programs = Vec::new();
    for kind in options.chosen_servers() {
        match servers::find(kind) {
            Ok(program) => {
                run.versions.push((kind.name(), program.version.clone()));
                programs.push(program);
            }
            Err(missing) => {
                eprintln!("missing: {missing}");
                run.missing.push(missing.to_string());
            }
        }
    }
    programs
}

/// A server in a scenario, with what it is asked.
struct Contestant {
    server: Server,
    workload: Box<dyn Workload>,
}

impl Stage<'_> {
    fn run(&self, programs: &[Program], missing: &mut Vec<String>) -> anyhow::Result<Vec<Row>> {
        if self.scenario == Scenario::Workers {
            return special::workers(self, programs);
        }
        let mut contestants = Vec::new();
        for program in programs.iter().filter(|program| self.scenario.is_for(program.kind)) {
            match self.prepare(program) {
                Ok(contestant) => contestants.push(contestant),
                Err(error) => self.leave_out(program.kind, error, missing)?,
            }
        }
        let mut rows = Vec::new();
        for round in 0..self.options.rounds() {
            let count = contestants.len().max(1);
            contestants.rotate_left(usize::from(round > 0) % count);
            let mut of_round = Vec::new();
            for contestant in &mut contestants {
                match self.measure(contestant, round) {
                    Ok(row) => of_round.push(row),
                    Err(error) => self.leave_out(contestant.server.kind, error, missing)?,
                }
            }
            compare(&mut of_round);
            of_round.iter().for_each(progress);
            rows.extend(of_round);
        }
        rows.sort_by_key(|row| Kind::ALL.iter().position(|kind| kind.name() == row.server));
        Ok(rows)
    }

    /// A peer that fails is named, and the run goes on; our own failure ends it.
    fn leave_out(
        &self,
        kind: Kind,
        error: anyhow::Error,
        missing: &mut Vec<String>,
    ) -> anyhow::Result<()> {
        if is_ours(kind.name()) {
            return Err(error);
        }
        let text = format!("{} in {}: {error:#}", kind.name(), self.scenario.name());
        eprintln!("left out: {text}");
        missing.push(text);
        Ok(())
    }

    /// Starts a server and fills its cache.
    fn prepare(&self, program: &Program) -> anyhow::Result<Contestant> {
        let began = Instant::now();
        let (kind, name) = (program.kind, self.scenario.name());
        let server = self.start(program, Some(self.server_core), self.options.workers)?;
        let (templates, names) = self.scenario.warm(self.options);
        if kind != Kind::Echo && !templates.is_empty() {
            let left = measure::fill(&server, &self.upstream, &templates, &all(&templates, names))?;
            let seconds = began.elapsed().as_secs_f64();
            eprintln!("{name}: {} filled with {names} names in {seconds:.1} s", kind.name());
            if left > 0 {
                eprintln!("{name}: {} still asked {left} questions upstream", kind.name());
            }
        }
        let workload = self.scenario.workload(self.options, kind);
        Ok(Contestant { server, workload })
    }

    /// Starts a server for this scenario.
    pub fn start(
        &self,
        program: &Program,
        core: Option<usize>,
        workers: usize,
    ) -> anyhow::Result<Server> {
        let launch = Launch {
            upstream: self.upstream.address,
            force_tcp: self.scenario == Scenario::MissTcp,
            names: self.scenario.capacity(self.options),
            core,
            workers,
        };
        Server::start(program, &launch)
    }

    /// Starts a server that may run on all cores.
    pub fn start_everywhere(&self, program: &Program, workers: usize) -> anyhow::Result<Server> {
        cores::pinned(&self.all_cores, || self.start(program, None, workers))?
    }

    /// Has a server learn the names of the small scenarios.
    pub fn fill_hot(&self, server: &Server) -> anyhow::Result<u64> {
        let templates = [external(Expect::Address)];
        measure::fill(server, &self.upstream, &templates, &all(&templates, NAMES))
    }

    fn measure(&self, contestant: &mut Contestant, round: u32) -> anyhow::Result<Row> {
        let asked_before = self.upstream.questions()?;
        let mut row = self.measure_as_told(contestant, round)?;
        let asked = self.upstream.questions()? - asked_before;
        if self.scenario.is_cached() && asked > 0 {
            row.extra.push((ASKED_UPSTREAM, asked as f64));
        }
        Ok(row)
    }

    fn measure_as_told(&self, contestant: &mut Contestant, round: u32) -> anyhow::Result<Row> {
        let Contestant { server, workload } = contestant;
        match self.scenario {
            Scenario::Search => self.measure_search(server, round),
            Scenario::Flood => special::flood(self, server, round),
            _ => {
                let load = self.scenario.load(self.options);
                let capacity = self.capacity(server, &load, workload.as_mut())?;
                let mut row = self.row(server, &load, workload.as_mut(), &capacity, round)?;
                if self.scenario == Scenario::Hit {
                    row.extra.extend(special::second_opinion(server));
                }
                Ok(row)
            }
        }
    }

    /// Whole lookups for capacity, the questions they consist of for latency.
    fn measure_search(&self, server: &Server, round: u32) -> anyhow::Result<Row> {
        let (hosts, is_echo) = (self.scenario.names(self.options), server.kind == Kind::Echo);
        let load = self.scenario.load(self.options);
        let mut lookups = Search::new(hosts, load.clients, is_echo);
        let capacity = self.capacity(server, &load, &mut lookups)?;
        let candidates = lookups.candidates_per_lookup();
        let mut questions = SearchQuestions::new(hosts, candidates, is_echo);
        let mut row = self.row(server, &load, &mut questions, &capacity, round)?;
        row.extra.push(("questions_per_lookup", candidates * 2.0));
        row.extra.push(("cpu_us_per_lookup", candidates * 2.0 * capacity.cpu_us));
        Ok(row)
    }

    fn capacity(
        &self,
        server: &Server,
        load: &Load,
        workload: &mut dyn Workload,
    ) -> anyhow::Result<Capacity> {
        let time = self.options.capacity_time();
        measure::capacity(server, load, workload, time, &mut self.reload_in(server, time / 2))
    }

    /// Reloads the server once that much time is over, in the scenario that wants it.
    fn reload_in<'a>(&self, server: &'a Server, at: Duration) -> impl FnMut(Duration) + use<'a> {
        let mut is_due = self.scenario == Scenario::Mixed;
        move |now| {
            if is_due && now >= at {
                is_due = false;
                server.reload();
            }
        }
    }

    /// Latency at half of the capacity, and the row of both.
    fn row(
        &self,
        server: &Server,
        load: &Load,
        workload: &mut dyn Workload,
        capacity: &Capacity,
        round: u32,
    ) -> anyhow::Result<Row> {
        let time = self.options.latency_time();
        let rate = (capacity.outcome.rate() / 2.0).max(1.0);
        // A sleeper's own wake-up would be part of the latency.
        let idle = if load.idle == Idle::Sleep { Idle::Yield } else { load.idle };
        let mut generator = Load { idle, ..*load }.generator(server)?;
        let mut tick = self.reload_in(server, time / 2);
        let pace = Pace { per_second: rate, burst_min: 1, open_max: load.window };
        let paced = generator.pace(workload, &pace, time, &mut tick)?;
        Ok(Row {
            scenario: self.scenario.name(),
            server: server.kind.name(),
            round,
            cpu_us: capacity.cpu_us,
            queries_per_sec: capacity.outcome.rate(),
            latency_us: Some(paced.latency_us()),
            lost: capacity.outcome.lost + paced.lost,
            wrong: capacity.outcome.wrong + paced.wrong,
            rss_bytes: server.rss_bytes(),
            echo_ratio: None,
            extra: Vec::new(),
        })
    }
}

/// Every template with every number below `names`.
fn all(templates: &[Template], names: usize) -> Vec<Question> {
    let templates = 0..templates.len() as u8;
    templates
        .flat_map(|template| (0..names as u32).map(move |number| Question { template, number }))
        .collect()
}

/// Whether a fault of this server fails the run.
fn is_ours(server: &str) -> bool {
    ["echo", "dnscache"].contains(&server)
}

/// Fills in the ratios to the echo of the same round, as both generators saw it.
fn compare(rows: &mut [Row]) {
    let Some(echo) = rows.iter().find(|row| row.server == Kind::Echo.name()) else { return };
    let (echo_us, echo_dnsperf_us) = (echo.cpu_us, echo.extra(special::SECOND_OPINION));
    for row in rows {
        row.echo_ratio = Some(row.cpu_us / echo_us);
        let dnsperf_us = row.extra(special::SECOND_OPINION);
        if let (Some(own), Some(echo)) = (dnsperf_us, echo_dnsperf_us) {
            row.extra.push(("dnsperf_x_echo", own / echo));
        }
    }
}

/// One line about a measurement, for whoever waits.
pub fn progress(row: &Row) {
    let Row { scenario, server, round, cpu_us, queries_per_sec, lost, wrong, .. } = row;
    let ratio = row.echo_ratio.map_or(String::new(), |ratio| format!(", {ratio:.2} x echo"));
    eprintln!(
        "{scenario} round {}: {server} {cpu_us:.3} us, {queries_per_sec:.0} q/s{ratio}, \
         lost {lost}, wrong {wrong}",
        round + 1
    );
}

fn save(options: &Options, run: &Run) -> anyhow::Result<()> {
    let Some(name) = &options.save else { return Ok(()) };
    let name = name.clone().unwrap_or_else(|| run.default_name().into());
    let runs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/runs");
    let folder = runs.join(name);
    run.write(&folder)?;
    eprintln!("written to {}", folder.display());
    Ok(())
}

/// Names every scenario in which we lost a query or answered one wrongly.
fn verdict(rows: &[Row]) -> ExitCode {
    let faults = rows.iter().filter(|row| is_ours(row.server) && row.lost + row.wrong > 0);
    let mut code = ExitCode::SUCCESS;
    for row in faults {
        let Row { scenario, server, round, lost, wrong, .. } = row;
        eprintln!("FAILED {scenario} round {}: {server} lost {lost}, wrong {wrong}", round + 1);
        code = ExitCode::FAILURE;
    }
    code
}
