//! dnsperf as a second load generator, to check the figures of the bench's own.
//!
//! It reads its questions from a file and goes through them again and again, so it measures hits.
//! The CPU time is the server's, read before and after, divided by the questions dnsperf says
//! were answered.

use std::fmt::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use super::servers::{Server, which};

/// What dnsperf says about one run, and what the server used for it.
#[derive(Debug, Clone)]
pub struct DnsperfFigures {
    pub sent: u64,
    pub completed: u64,
    pub lost: u64,
    pub queries_per_sec: f64,
    /// Mean time from question to answer, in microseconds.
    pub latency_us: f64,
    /// Replies per response code, as dnsperf names them.
    pub rcodes: Vec<(String, u64)>,
    /// User and system time of the server per answered question, in microseconds.
    pub cpu_us: f64,
}

/// Asks `server` these questions (name and type), over and over for `seconds`, as fast as it
/// answers. Fails if dnsperf is not here or does not finish.
pub fn measure(
    server: &Server,
    questions: &[(String, &'static str)],
    seconds: u64,
) -> anyhow::Result<DnsperfFigures> {
    let program =
        which("dnsperf").context("no `dnsperf` on PATH (Debian package dnsperf brings it)")?;
    ensure!(!questions.is_empty(), "dnsperf needs a question");
    let folder = tempfile::tempdir().context("a folder for dnsperf's questions")?;
    let file = folder.path().join("questions");
    std::fs::write(&file, lines(questions)).context("dnsperf's questions")?;
    let mut command = Command::new(program);
    command.arg("-s").arg(server.address.ip().to_string());
    command.arg("-p").arg(server.address.port().to_string());
    command.arg("-l").arg(seconds.to_string()).arg("-d").arg(&file);
    command.args(["-c", CLIENTS, "-T", "1", "-q", OUTSTANDING, "-b", SOCKET_BUFFER_KIB]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let cpu_before = server.cpu();
    let child = command.spawn().context("dnsperf")?;
    let output = child.wait_with_output().context("dnsperf")?;
    let cpu = server.cpu().saturating_sub(cpu_before);
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "dnsperf ended with {}: {errors}", output.status);
    let mut figures = parse(&text).with_context(|| format!("dnsperf printed:\n{text}{errors}"))?;
    figures.cpu_us = cpu.as_secs_f64() * 1e6 / figures.completed.max(1) as f64;
    Ok(figures)
}

/// Sockets to ask from.
const CLIENTS: &str = "8";
/// Questions under way at once: enough to keep a server busy, few enough for any receive buffer.
const OUTSTANDING: &str = "100";
const SOCKET_BUFFER_KIB: &str = "4096";

/// dnsperf's input: a name and a type per line.
fn lines(questions: &[(String, &'static str)]) -> String {
    let mut text = String::new();
    for (name, kind) in questions {
        writeln!(text, "{name} {kind}").expect("a string takes any text");
    }
    text
}

/// Reads the statistics dnsperf ends with; the server's CPU time is not among them.
fn parse(text: &str) -> anyhow::Result<DnsperfFigures> {
    let number = |key: &str| -> anyhow::Result<f64> {
        let value = value(text, key).with_context(|| format!("no line `{key}`"))?;
        let first = value.split_whitespace().next().unwrap_or_default();
        first.parse().with_context(|| format!("{key} {value}"))
    };
    Ok(DnsperfFigures {
        sent: number("Queries sent:")? as u64,
        completed: number("Queries completed:")? as u64,
        lost: number("Queries lost:")? as u64,
        queries_per_sec: number("Queries per second:")?,
        latency_us: number("Average Latency (s):")? * 1e6,
        rcodes: value(text, "Response codes:").map(rcodes).unwrap_or_default(),
        cpu_us: 0.0,
    })
}

fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.trim().strip_prefix(key)).map(str::trim)
}

/// `NOERROR 90 (90.00%), NXDOMAIN 10 (10.00%)`.
fn rcodes(list: &str) -> Vec<(String, u64)> {
    let read = |part: &str| {
        let mut words = part.split_whitespace();
        Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
    };
    list.split(',').filter_map(read).collect()
}
