//! `dnscache top`: the names asked most and what search lists cost, from a running cache.
//!
//! ```text
//!    fetch (GET /hot) --> reading --> rows (order, words) --+--> text (--once)
//!                                                           +--> view --> live (terminal, keys)
//! ```
//!
//! What comes over HTTP is shown as if a stranger had written it: names come from the wire, and an
//! address may be anybody's.

mod fetch;
mod live;
mod rows;
mod text;
mod view;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;

use crate::config::duration;
use rows::Sort;

/// What was asked for behind `dnscache top`.
#[derive(Debug, Clone, PartialEq, Parser)]
#[command(name = "dnscache top", bin_name = "dnscache top", disable_version_flag = true)]
#[command(about = "Shows the names a running cache is asked for most, and what search lists cost")]
#[command(after_help = "Keys: q quits, s changes the order, arrows and page keys scroll.")]
pub struct Options {
    /// Where the cache serves /metrics: the address of its `prometheus` directive
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9253")]
    pub address: String,

    /// Print plain text and exit
    #[arg(long)]
    pub once: bool,

    /// Pause between two looks
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = interval)]
    pub interval: Duration,

    /// What names are ordered by
    #[arg(long, value_enum, default_value_t)]
    pub sort: Sort,

    /// Names that --once prints
    #[arg(long, value_name = "NAMES", default_value = "20")]
    pub limit: usize,
}

/// Carries out `dnscache top`; `words` are its command line from `top` on.
pub fn run(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    let options = match Options::try_parse_from(words) {
        Ok(options) => options,
        Err(error) => {
            // There is nobody left to tell if this cannot be written.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    match show(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "dnscache top: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn show(options: &Options) -> anyhow::Result<()> {
    let has_terminal = io::stdout().is_terminal() && io::stdin().is_terminal();
    if !(options.once || has_terminal) {
        anyhow::bail!("the live view needs a terminal; `dnscache top --once` prints plain text");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("starting a thread to ask with")?;
    let outcome = if options.once {
        runtime.block_on(fetch::fetch(&options.address)).map_err(Into::into).and_then(|reading| {
            print(&text::page(&options.address, &reading, options.sort, options.limit))
        })
    } else {
        live::run(options, &runtime)
    };
    runtime.shutdown_background();
    outcome
}

/// A reader that has seen enough (`| head`) is no mistake.
fn print(page: &str) -> anyhow::Result<()> {
    match io::stdout().write_all(page.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error).context("printing"),
        _ => Ok(()),
    }
}

/// Between a fifth of a second, which spares the cache, and an hour.
fn interval(text: &str) -> Result<Duration, String> {
    let read = match text.parse::<u32>() {
        Ok(seconds) => Some(Duration::from_secs(seconds.into())),
        Err(_) => duration::parse(text),
    };
    read.filter(|read| (INTERVAL_MIN..=INTERVAL_MAX).contains(read))
        .ok_or_else(|| "expected a duration from 200ms to 1h, such as 2s".to_owned())
}

const INTERVAL_MIN: Duration = Duration::from_millis(200);
const INTERVAL_MAX: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn read(words: &[&str]) -> Result<Options, String> {
        let words = std::iter::once("top").chain(words.iter().copied());
        Options::try_parse_from(words).map_err(|error| error.to_string())
    }

    #[test]
    fn the_command_is_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn options_have_defaults_and_bounds() {
        let options = read(&[]).expect("defaults");
        assert_eq!(options.address, "127.0.0.1:9253");
        assert_eq!((options.once, options.interval), (false, Duration::from_secs(2)));
        assert_eq!(options.sort, Sort::Rate);
        for (text, millis) in [("500ms", 500), ("3", 3000), ("1m", 60_000)] {
            let options = read(&["--interval", text]).expect("an interval");
            assert_eq!(options.interval, Duration::from_millis(millis));
        }
        for text in ["0", "1ms", "2h", "-1s", "soon"] {
            let error = read(&[&format!("--interval={text}")]).expect_err("no interval");
            assert!(error.contains("200ms to 1h"), "{error}");
        }
        assert_eq!(read(&["--sort", "saved"]).expect("an order").sort, Sort::Saved);
        assert!(read(&["--sort", "colour"]).expect_err("no order").contains("saved"));
    }
}
