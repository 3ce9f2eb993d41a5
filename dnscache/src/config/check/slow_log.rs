//! `slowlog`: from when on a question is slow enough for a line in the log.

use std::time::Duration;

use super::super::corefile::{Directive, ServerBlock};
use super::super::{ConfigError, Position};
use super::arguments::{Arguments, duration, error_at};

/// What `slowlog` means without an argument, and without being there: below a second nothing was
/// tried twice.
pub(super) const THRESHOLD: Duration = Duration::from_secs(1);

/// The `slowlog` of the process: whatever blocks have one, all say the same.
#[derive(Default)]
pub(super) struct SlowLog(Option<(Position, Option<Duration>)>);

impl SlowLog {
    /// Reads the directive of one server block, if it is there.
    pub(super) fn read(&mut self, server: &ServerBlock) -> Result<(), ConfigError> {
        let Some(line) = server.directives.iter().find(|line| line.name == "slowlog") else {
            return Ok(());
        };
        let threshold = slow_log(line)?;
        match &self.0 {
            None => self.0 = Some((line.position.clone(), threshold)),
            Some((_, first)) if *first == threshold => {}
            Some((first, _)) => {
                let expected = format!("the same as at {first}: a process has one `slowlog`");
                return Err(error_at(&line.position, &line.name, &expected));
            }
        }
        Ok(())
    }

    /// What they say; `None`: off.
    pub(super) fn threshold(self) -> Option<Duration> {
        self.0.map_or(Some(THRESHOLD), |(_, threshold)| threshold)
    }
}

/// `slowlog [DURATION|off]`.
fn slow_log(line: &Directive) -> Result<Option<Duration>, ConfigError> {
    let mut args = Arguments::of(line);
    let threshold = match args.next() {
        None => Some(THRESHOLD),
        Some(token) if token.text == "off" => None,
        Some(token) => {
            let threshold = duration(token, "how long a slow question takes (or `off`)")?;
            if !(THRESHOLD_MIN..=THRESHOLD_MAX).contains(&threshold) {
                return Err(token.error("a duration from `1ms` to `5s`: no question takes longer"));
            }
            Some(threshold)
        }
    };
    args.finish()?;
    Ok(threshold)
}

/// Times are told in milliseconds.
const THRESHOLD_MIN: Duration = Duration::from_millis(1);
/// Every question is over by then.
const THRESHOLD_MAX: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::super::tests::{config, error, refusal};

    fn millis(lines: &str) -> Option<u128> {
        config(&format!(". {{\n{lines}\n}}")).slow_log.map(|threshold| threshold.as_millis())
    }

    #[test]
    fn a_second_is_slow_unless_said_otherwise() {
        assert_eq!(millis("errors"), Some(1_000));
        assert_eq!(millis("slowlog"), Some(1_000));
        assert_eq!(millis("slowlog 250ms"), Some(250));
        assert_eq!(millis("slowlog off"), None);
    }

    #[test]
    fn nonsense_is_refused_where_it_stands() {
        for (lines, expected) in [
            ("slowlog 6s", "a duration from `1ms` to `5s`: no question takes longer"),
            ("slowlog 0s", "a duration from `1ms` to `5s`"),
            ("slowlog 5", "how long a slow question takes (or `off`), a duration such as"),
            ("slowlog 1s 2s", "the end of `slowlog`"),
        ] {
            let message = error(lines);
            assert!(message.contains(expected), "{message}");
        }
        assert_eq!(
            refusal("a {\nslowlog\n}\nb {\nslowlog 2s\n}"),
            "Corefile:5:1: found `slowlog`, expected the same as at Corefile:2:1: a process has one `slowlog`"
        );
    }
}
