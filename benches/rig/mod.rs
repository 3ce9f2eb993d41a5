//! The load benchmark, in the order a measurement passes: options, scenarios, what is asked
//! (`names`, `workload`), how it is asked (`generator` over `udp` or `tcp`), whom (`servers`, with
//! `echo` and `upstream` as children of this program), what came of it (`measure`, `report`).

pub mod options;
pub mod scenarios;
pub mod special;
pub mod names;
pub mod workload;
pub mod generator;
pub mod link;
pub mod udp;
pub mod tcp;
pub mod batch;
pub mod servers;
pub mod child;
pub mod echo;
pub mod upstream;
pub mod zone;
pub mod cores;
pub mod measure;
pub mod machine;
pub mod report;
pub mod dnsperf;

use std::process::ExitCode;

/// Runs what the command line asks for: the benchmark, or one of its child programs.
pub fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    let done = match words.get(1).map(String::as_str) {
        Some("echo") => echo::run(&words[2..]).map(|()| ExitCode::SUCCESS),
        Some("upstream") => upstream::run(&words[2..]).map(|()| ExitCode::SUCCESS),
        _ => options::Options::read().and_then(|options| scenarios::run(&options)),
    };
    done.unwrap_or_else(|e| {
        eprintln!("load: {e:#}");
        ExitCode::FAILURE
    })
}
