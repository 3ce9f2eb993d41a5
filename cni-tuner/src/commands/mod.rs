//! The command line: one file for each command.

mod capacity;
mod cases;
mod explain;
mod files;
mod lint;
mod limits;
mod output;
mod plan;
mod progress;
mod simulate;
mod steady_state;
mod target_args;
mod trace;
mod world_args;
mod trace_source;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What `cni-tuner` can be asked.
#[derive(Debug, Parser)]
#[command(name = "cni-tuner", version, about, arg_required_else_help = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// What instance types allow: ENIs, addresses, pods
    Limits(limits::Args),
    /// What ipamd makes of one node's state, and what it does next
    Explain(explain::Args),
    /// What a node holds at rest with a number of pods
    SteadyState(steady_state::Args),
    /// Settings of aws-node that starve, livelock, waste or are ignored
    Lint(lint::Args),
    /// Writes a trace by rule, or checks and sums up one that is there
    Trace(trace::Args),
    /// Runs a trace under one or many settings
    Simulate(simulate::Args),
    /// The best settings for a trace, with reasons
    Plan(plan::Args),
    /// How many nodes and pods fit, and what binds first
    Capacity(capacity::Args),
}

/// Reads the command line, does what it says, and returns the exit code: 0, 1 for what a command
/// found to be wrong, 2 for a mistake in the command line or in a file it names.
pub fn run(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(words) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::from(error.use_stderr()) * 2);
        }
    };
    let done = match cli.command {
        Command::Limits(args) => limits::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::SteadyState(args) => steady_state::run(&args),
        Command::Lint(args) => lint::run(&args),
        Command::Trace(args) => trace::run(&args),
        Command::Simulate(args) => simulate::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Capacity(args) => capacity::run(&args),
    };
    done.unwrap_or_else(|error| {
        // With standard error closed there is nobody to tell; the exit code says it too.
        let _ = writeln!(io::stderr(), "cni-tuner: {error:#}");
        ExitCode::from(2)
    })
}
