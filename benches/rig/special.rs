//! Scenarios that are not about capacity: what a flood does to others, what workers cost.

use std::time::Duration;

use anyhow::Context;

use super::dnsperf;
use super::generator::{Idle, Pace};
use super::link::Link;
use super::measure::{self, CLIENTS, Load, Transport};
use super::names::{Expect, TYPE_A, Template, ZONE};
use super::report::Row;
use super::scenarios::{NAMES, Stage, progress};
use super::servers::{Program, Server};
use super::udp::Udp;
use super::workload::{Repeated, external, scattered};

/// Questions for hot names per second while the flood comes: far from any server's capacity.
const HOT_PER_SECOND: f64 = 10_000.0;
/// Questions for random names per second.
const FLOOD_PER_SECOND: f64 = 5000.0;
/// Names of the flood set aside for a round, more than its longest takes.
const NUMBERS_PER_ROUND: u32 = 4_000_000;
/// Clients where two workers share them by their ports.
const CLIENTS_OF_WORKERS: usize = 16;
/// Questions per burst where bursts must be alike.
const BURST_OF_WORKERS: usize = 32;

/// Names that do not exist, each asked once, from a client of its own.
struct Flood {
    link: Udp,
    template: Template,
    sent: u32,
    /// Number of the first name, another in each round.
    first: u32,
}

impl Flood {
    /// Sends what is due `now` and takes what came back.
    fn tick(&mut self, now: Duration) {
        let due = (now.as_secs_f64() * FLOOD_PER_SECOND) as u32;
        while self.sent < due {
            let mut packet = vec![0; self.template.packet_len()];
            self.template.write(self.sent as u16, scattered(self.first + self.sent), &mut packet);
            self.link.send(&packet, packet.len());
            self.sent += 1;
        }
        while self.link.receive(&mut |_| {}).is_ok_and(|count| count > 0) {}
    }
}

/// Latency of hot names at a fixed rate, first alone, then while random names pour in.
pub fn flood(stage: &Stage<'_>, server: &Server, round: u32) -> anyhow::Result<Row> {
    let load = Load {
        transport: Transport::Udp,
        clients: CLIENTS,
        window: stage.options.window,
        idle: Idle::Yield,
    };
    let time = stage.options.capacity_time();
    let mut hot = Repeated::new(external(Expect::Address), NAMES);
    let pace = Pace { per_second: HOT_PER_SECOND, burst_min: 1, open_max: load.window };
    let mut generator = load.generator(server)?;
    let alone = generator.pace(&mut hot, &pace, time, &mut |_| {})?;
    let mut flood = Flood {
        link: Udp::connect(server.address)?,
        template: Template::new(b'x', ZONE, TYPE_A, Expect::Absent),
        sent: 0,
        first: round * NUMBERS_PER_ROUND,
    };
    let cpu = server.cpu();
    let mut generator = load.generator(server)?;
    let flooded = generator.pace(&mut hot, &pace, time, &mut |now| flood.tick(now))?;
    let asked = flooded.asked + u64::from(flood.sent);
    let cpu_us = (server.cpu() - cpu).as_secs_f64() * 1e6 / asked as f64;
    let (before, during) = (alone.latency_us(), flooded.latency_us());
    Ok(Row {
        scenario: stage.scenario.name(),
        server: server.kind.name(),
        round,
        cpu_us,
        queries_per_sec: flooded.rate(),
        latency_us: Some(during),
        lost: alone.lost + flooded.lost,
        wrong: alone.wrong + flooded.wrong,
        rss_bytes: server.rss_bytes(),
        echo_ratio: None,
        extra: vec![
            ("p50_us_alone", before[0]),
            ("p99_us_alone", before[1]),
            ("p99_ratio", during[1] / before[1].max(0.001)),
        ],
    })
}

/// What [`second_opinion`] is called in a row.
pub const SECOND_OPINION: &str = "dnsperf_cpu_us";

/// The CPU per hit as dnsperf finds it, if that is here: a second generator must agree.
pub fn second_opinion(server: &Server) -> Option<(&'static str, f64)> {
    let names = (0..NAMES).map(|number| (format!("n{number:08}.{ZONE}"), "A"));
    match dnsperf::measure(server, &names.collect::<Vec<_>>(), 1) {
        Ok(figures) => {
            let dnsperf::DnsperfFigures { sent, completed, lost, .. } = figures;
            let (rate, latency, rcodes) =
                (figures.queries_per_sec, figures.latency_us, figures.rcodes);
            eprintln!(
                "dnsperf: {} {:.3} us, {rate:.0} q/s, mean latency {latency:.0} us; \
                 {completed} of {sent} answered, {lost} lost, {rcodes:?}",
                server.kind.name(),
                figures.cpu_us
            );
            Some((SECOND_OPINION, figures.cpu_us))
        }
        Err(error) => {
            eprintln!("no second opinion: {error:#}");
            None
        }
    }
}

/// CPU per question with two workers and with one, at the same rate in the same bursts: half of
/// what one worker can do. Both servers may use every core; the load sleeps between bursts.
pub fn workers(stage: &Stage<'_>, programs: &[Program]) -> anyhow::Result<Vec<Row>> {
    let Some(program) = programs.iter().find(|program| program.kind.name() == "dnscache") else {
        return Ok(Vec::new());
    };
    let load = Load {
        transport: Transport::Udp,
        clients: CLIENTS_OF_WORKERS,
        window: stage.options.window,
        idle: Idle::Sleep,
    };
    let servers = [1, 2].map(|workers| stage.start_everywhere(program, workers));
    let [one, two] = servers;
    let (one, two) = (one?, two?);
    let (time, mut rows) = (stage.options.capacity_time(), Vec::new());
    let mut hot = Repeated::new(external(Expect::Address), NAMES);
    for server in [&one, &two] {
        stage.fill_hot(server)?;
    }
    let most = measure::capacity(&one, &load, &mut hot, time, &mut |_| {})?;
    let pace = Pace {
        per_second: most.outcome.rate() / 2.0,
        burst_min: BURST_OF_WORKERS,
        open_max: load.window.max(2 * BURST_OF_WORKERS),
    };
    for round in 0..stage.options.rounds() {
        let mut paced = |server: &Server| -> anyhow::Result<_> {
            let mut generator = load.generator(server)?;
            let cpu = server.cpu();
            let outcome = generator.pace(&mut hot, &pace, time, &mut |_| {})?;
            let cpu_us = (server.cpu() - cpu).as_secs_f64() * 1e6 / outcome.answered.max(1) as f64;
            Ok((outcome, cpu_us))
        };
        // The order changes, so that neither always follows the other.
        let ((one, one_us), (of_two, two_us)) = if round % 2 == 0 {
            let first = paced(&one)?;
            (first, paced(&two)?)
        } else {
            let first = paced(&two)?;
            (paced(&one)?, first)
        };
        let row = Row {
            scenario: stage.scenario.name(),
            server: two.kind.name(),
            round,
            cpu_us: two_us,
            queries_per_sec: of_two.rate(),
            latency_us: None,
            lost: one.lost + of_two.lost,
            wrong: one.wrong + of_two.wrong,
            rss_bytes: two.rss_bytes(),
            echo_ratio: None,
            extra: vec![("one_worker_us", one_us), ("two_to_one", two_us / one_us)],
        };
        progress(&row);
        rows.push(row);
    }
    (!rows.is_empty()).then_some(rows).context("no round")
}
