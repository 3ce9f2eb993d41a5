//! What is written to standard output: events as text or JSON lines, and the query log.
//!
//! A line is handed to a thread of its own, so that a reader of our output who falls behind costs
//! log lines and never a reply. Events that can repeat per packet go through [`Quiet`].

mod lines;
mod query;
mod quiet;
mod text;

use std::io;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

pub use lines::{Writing, lines_lost};
pub use query::query;
pub use quiet::Quiet;

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// `2026-01-31T12:00:00.000000Z [INFO] message key=value`.
    #[default]
    Text,
    /// One JSON object per line: `timestamp`, `level`, `target`, `message` and the event's fields.
    Json,
}

/// Begins to write events of `level` and above to standard output; `quiet` raises it to warnings.
/// The query log, which a Corefile asks for by name, is written in any case.
///
/// What is returned must live until the end of the program: dropping it writes what is left.
/// Fails if logging has begun before or no thread can be started.
pub fn init(format: Format, level: LevelFilter, quiet: bool) -> anyhow::Result<Writing> {
    let (lines, writing) = lines::spawn(io::stdout())?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(directives(level, quiet))?)
        .with_ansi(false)
        .with_writer(lines);
    let begun = match format {
        Format::Text => builder.event_format(text::TextEvent).try_init(),
        Format::Json => builder
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .try_init(),
    };
    begun.map_err(|error| anyhow::anyhow!("cannot begin logging: {error}"))?;
    Ok(writing)
}

/// The filter. Libraries have events per packet and per connection, so they are heard only when
/// somebody debugs; what an operator must know of theirs, our own events say.
fn directives(level: LevelFilter, quiet: bool) -> String {
    let ours = if quiet { level.min(LevelFilter::WARN) } else { level };
    let theirs = if level >= LevelFilter::DEBUG { LevelFilter::INFO } else { LevelFilter::OFF };
    format!("{theirs},{}={ours},{}=info", env!("CARGO_PKG_NAME"), query::TARGET)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_leaves_warnings_and_the_query_log() {
        assert_eq!(directives(LevelFilter::INFO, false), "off,dnscache=info,query=info");
        assert_eq!(directives(LevelFilter::INFO, true), "off,dnscache=warn,query=info");
        assert_eq!(directives(LevelFilter::ERROR, true), "off,dnscache=error,query=info");
        assert_eq!(directives(LevelFilter::DEBUG, false), "info,dnscache=debug,query=info");
    }

    #[test]
    fn the_filter_is_well_formed() {
        for level in [LevelFilter::OFF, LevelFilter::INFO, LevelFilter::TRACE] {
            assert!(EnvFilter::try_new(directives(level, false)).is_ok());
        }
    }
}
