//! What a run found: a table for the terminal, and the folder that keeps it.
//!
//! Every round of every server is one [`Row`]. Tables and charts show medians over the rounds; the
//! CSV keeps every row, so that anyone can draw other conclusions.

use std::path::Path;

use anyhow::Context;

use super::machine::Machine;

mod chart;
mod csv;
mod date;
mod readme;
mod summary;
mod table;

/// One server in one scenario in one round.
#[derive(Debug, Clone)]
pub struct Row {
    pub scenario: &'static str,
    pub server: &'static str,
    /// From 0.
    pub round: u32,
    /// User and system time of the server per query, in microseconds.
    pub cpu_us: f64,
    pub queries_per_sec: f64,
    /// p50, p99 and p99.9 at half of the capacity, in microseconds.
    pub latency_us: Option<[f64; 3]>,
    /// Queries without a reply.
    pub lost: u64,
    /// Replies that were not the expected ones.
    pub wrong: u64,
    pub rss_bytes: u64,
    /// `cpu_us` over that of the echo in the same round.
    pub echo_ratio: Option<f64>,
    /// Figures only this scenario has, by name.
    pub extra: Vec<(&'static str, f64)>,
}

impl Row {
    /// One of its own figures.
    pub fn extra(&self, name: &str) -> Option<f64> {
        self.extra.iter().find(|(known, _)| *known == name).map(|(_, figure)| *figure)
    }
}

/// A whole run.
#[derive(Debug, Clone)]
pub struct Run {
    pub machine: Machine,
    /// The command line that started it.
    pub command: String,
    /// Servers that were not measured, and why.
    pub missing: Vec<String>,
    /// The name and version of every server that was.
    pub versions: Vec<(&'static str, String)>,
    pub rows: Vec<Row>,
    /// How long each measurement took, in seconds.
    pub seconds: u64,
}

impl Run {
    /// The medians for a terminal: one line per scenario and server.
    pub fn table(&self) -> String {
        table::plain(&summary::summaries(&self.rows))
    }

    /// What its folder is called unless somebody says otherwise: the day in UTC and the machine.
    pub fn default_name(&self) -> String {
        format!("{}-{}", date::today_utc(), self.machine.name)
    }

    /// Writes `README.md`, `results.csv` and `chart.svg` to `dir`, which is made if need be.
    pub fn write(&self, dir: &Path) -> anyhow::Result<()> {
        let summaries = summary::summaries(&self.rows);
        std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
        let files = [
            ("README.md", readme::text(self, &summaries)),
            ("results.csv", csv::text(&self.rows)),
            ("chart.svg", chart::svg(&summaries)?),
        ];
        for (name, text) in files {
            let path = dir.join(name);
            std::fs::write(&path, text).with_context(|| path.display().to_string())?;
        }
        Ok(())
    }
}
