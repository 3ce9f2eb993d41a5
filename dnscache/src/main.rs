//! Flags in, exit code out.

use std::io::{self, Write as _};
use std::process::ExitCode;

use dnscache::config::flags::{Flags, LogFormat, LogLevel, plugins_text, version_text};
use dnscache::logging::{self, Format};
use dnscache::node::confine::{self, Tasks};
use dnscache::{probe, server, top};
use tracing::level_filters::LevelFilter;

fn main() -> ExitCode {
    let words = || std::env::args_os().skip(1);
    match words().next() {
        Some(word) if word == "top" => return top::run(words()),
        Some(word) if word == "probe" => return probe::run(words()),
        _ => {}
    }
    let flags = match Flags::read(std::env::args_os()) {
        Ok(flags) => flags,
        Err(error) => return finish_early(&error),
    };
    if flags.version || flags.plugins {
        print!("{}", if flags.version { version_text() } else { plugins_text() });
        return ExitCode::SUCCESS;
    }
    match start(&flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // With standard error closed there is nobody to tell; the exit code says it too.
            let _ = writeln!(io::stderr(), "dnscache: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(flags: &Flags) -> anyhow::Result<()> {
    let format = match flags.log_format {
        LogFormat::Text => Format::Text,
        LogFormat::Json => Format::Json,
    };
    let level = match flags.log_level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    // Before the first thread: each inherits from the one that starts it.
    let confined = flags.hardening.confine.then(|| confine::confine(Tasks::of(flags)));
    let _writing = logging::init(format, level, flags.quiet)?;
    if let Some(confined) = confined {
        confined.report();
    }
    server::run(flags)
}

/// Help goes to standard output and is a success; a mistake goes to standard error and is none.
fn finish_early(error: &clap::Error) -> ExitCode {
    // There is nobody left to tell if this cannot be written.
    let _ = error.print();
    if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
