//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use super::scenarios::Scenario;
use super::servers::Kind;

/// Load benchmark: dnscache beside a UDP echo and other DNS servers, on loopback.
#[derive(Debug, Clone, Parser)]
#[command(name = "load")]
pub struct Options {
    /// Scenarios, comma separated [default: all]
    #[arg(long, value_delimiter = ',', value_parser = scenario)]
    pub scenarios: Vec<Scenario>,
    /// Servers, comma separated [default: all that are found]
    #[arg(long, value_delimiter = ',', value_parser = server)]
    pub servers: Vec<Kind>,
    /// Length of one measurement: three fifths for capacity, two for latency [default: 2]
    #[arg(long)]
    seconds: Option<f64>,
    /// Measurements of each server in each scenario [default: 5]
    #[arg(long)]
    rounds: Option<u32>,
    /// Core of the servers [default: the first]
    #[arg(long)]
    pub server_core: Option<usize>,
    /// Cores of load and upstream, comma separated [default: all others]
    #[arg(long, value_delimiter = ',')]
    pub load_cores: Vec<usize>,
    /// dnscache's -workers
    #[arg(long, default_value_t = 1)]
    pub workers: usize,
    /// Questions outstanding while capacity is measured
    #[arg(long, default_value_t = 192)]
    pub window: usize,
    /// One short round with a tenth of the names: everything is tried, little is proven
    #[arg(long)]
    pub quick: bool,
    /// Write the results to benches/runs/NAME [default name: date and machine]
    #[arg(long, num_args = 0..=1)]
    pub save: Option<Option<PathBuf>>,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    /// Those of this process; ends it with a message where they are wrong.
    pub fn read() -> anyhow::Result<Self> {
        let options = Self::parse();
        anyhow::ensure!(options.rounds() > 0, "--rounds: at least one");
        anyhow::ensure!((0.1..=600.0).contains(&options.seconds()), "--seconds: 0.1 to 600");
        anyhow::ensure!((4..=4096).contains(&options.window), "--window: 4 to 4096");
        anyhow::ensure!((1..=256).contains(&options.workers), "--workers: 1 to 256");
        Ok(options)
    }

    /// Capacity is measured for this long.
    pub fn capacity_time(&self) -> Duration {
        Duration::from_secs_f64(self.seconds() * 0.6)
    }

    /// Latency is measured for this long.
    pub fn latency_time(&self) -> Duration {
        Duration::from_secs_f64(self.seconds() * 0.4)
    }

    pub fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.quick { 1 } else { 5 })
    }

    /// Length of one measurement, both halves.
    pub fn seconds(&self) -> f64 {
        self.seconds.unwrap_or(if self.quick { 0.5 } else { 2.0 })
    }

    /// How many names stand for `names` of a scenario.
    pub fn names(&self, names: usize) -> usize {
        if self.quick { (names / 10).max(names.min(1000)) } else { names }
    }

    /// Scenarios to run.
    pub fn chosen_scenarios(&self) -> Vec<Scenario> {
        if self.scenarios.is_empty() { Scenario::ALL.to_vec() } else { self.scenarios.clone() }
    }

    /// Servers to measure, those that are not there included.
    pub fn chosen_servers(&self) -> Vec<Kind> {
        if self.servers.is_empty() { Kind::ALL.to_vec() } else { self.servers.clone() }
    }
}

fn scenario(text: &str) -> Result<Scenario, String> {
    let found = Scenario::ALL.into_iter().find(|scenario| scenario.name() == text);
    found.ok_or_else(|| format!("there are {}", Scenario::ALL.map(Scenario::name).join(", ")))
}

fn server(text: &str) -> Result<Kind, String> {
    let found = Kind::ALL.into_iter().find(|kind| kind.name() == text);
    found.ok_or_else(|| format!("there are {}", Kind::ALL.map(Kind::name).join(", ")))
}
