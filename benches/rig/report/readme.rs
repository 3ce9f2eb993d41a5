//! The README of a run: what was measured, on what, how, and the medians.

use std::fmt::Write as _;

use super::Run;
use super::date::today_utc;
use super::summary::Summary;
use super::table;

/// The whole file.
pub fn text(run: &Run, summaries: &[Summary]) -> String {
    let rounds = run.rows.iter().map(|row| row.round + 1).max().unwrap_or(0);
    let seconds = run.seconds;
    [
        format!("# Load on {}, {}\n", run.machine.name, today_utc()),
        format!("```sh\n{}\n```\n", run.command),
        "![CPU per query and memory, by scenario and server](chart.svg)\n".to_owned(),
        table::markdown(summaries),
        machine(run),
        format!("## How\n\n{}", how(rounds, seconds)),
        servers(run),
        "`results.csv` holds every round.\n".to_owned(),
    ]
    .join("\n")
}

fn machine(run: &Run) -> String {
    let machine = &run.machine;
    format!(
        "## Machine\n\n- CPU: {}, {} cores\n- memory: {:.1} GiB\n- kernel: Linux {}\n- OS: {}\n",
        machine.cpu,
        machine.cores,
        machine.memory_bytes as f64 / f64::from(1 << 30),
        machine.kernel,
        machine.os
    )
}

fn how(rounds: u32, seconds: u64) -> String {
    format!(
        "Each of the {rounds} rounds measures every server once, one after the other, for \
         {seconds} s per measurement; figures are medians over the rounds. All traffic is on \
         loopback; the server and the load have a core each where the machine has them. CPU is \
         user and system time of the server's process, from its CPU clock, over the queries it \
         answered. `x echo` and `x unbound` are medians of the ratios within a round: the echo \
         sends every packet back in batches, so it costs what the kernel alone costs. Latency is \
         taken at half of the rate the server can carry. Every server forwards to one upstream \
         that belongs to the bench, on one thread where it can be told so, with room for four \
         times the names (dnsmasq, which takes its memory at once: a quarter more than the names), \
         without validation and query log, and with the metrics it keeps by default. \
         A server with `asked_upstream` had let go of names that were in its cache before, and its \
         CPU is not that of a hit alone. \
         `dnsperf_cpu_us` and `dnsperf_x_echo` are the same figures with dnsperf as the load, \
         whose batches are smaller.\n"
    )
}

fn servers(run: &Run) -> String {
    let mut text = String::from("## Servers\n\n");
    for (name, version) in &run.versions {
        writeln!(text, "- {name}: {version}").expect("a string takes any text");
    }
    for missing in &run.missing {
        writeln!(text, "- not measured: {missing}").expect("a string takes any text");
    }
    text
}
