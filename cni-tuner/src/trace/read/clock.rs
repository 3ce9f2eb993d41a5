//! The times of a file: seconds from its start, or moments of the calendar; one kind per file.

use jiff::Timestamp;

use super::Mistake;
use super::field::Value;
use crate::trace::TIME_MAX_MS;
use crate::trace::fault::{Secs, shortened};

/// Turns what stands in the file into milliseconds since the trace's start.
#[derive(Debug, Default)]
pub(super) struct Clock {
    kind: Option<Kind>,
    last_ms: u64,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// Seconds from the start.
    Seconds,
    /// RFC 3339; the first event is the start.
    Calendar { start_ms: i64 },
}

/// One time as it stands in the file.
enum Written {
    Seconds(f64),
    Calendar(Timestamp),
}

impl Clock {
    /// Milliseconds since the start; they never run backwards.
    pub(super) fn read(&mut self, value: &Value) -> Result<u64, Mistake> {
        let written = written(value).ok_or_else(|| Mistake::Time(shortened(value.to_string())))?;
        let at_ms = match (written, self.kind) {
            (Written::Seconds(secs), None | Some(Kind::Seconds)) => {
                self.kind = Some(Kind::Seconds);
                within(value, secs * 1000.0)?
            }
            (Written::Calendar(at), None) => {
                self.kind = Some(Kind::Calendar { start_ms: at.as_millisecond() });
                0
            }
            (Written::Calendar(at), Some(Kind::Calendar { start_ms })) => {
                // Before the start is before the last event, too.
                let since_ms = at.as_millisecond() - start_ms;
                if since_ms < 0 {
                    return Err(self.backwards(value));
                }
                within(value, since_ms as f64)?
            }
            (Written::Seconds(_), Some(Kind::Calendar { .. })) => {
                return Err(Mistake::MixedTimes(shortened(value.to_string()), "RFC 3339"));
            }
            (Written::Calendar(_), Some(Kind::Seconds)) => {
                return Err(Mistake::MixedTimes(shortened(value.to_string()), "seconds"));
            }
        };
        if at_ms < self.last_ms {
            return Err(self.backwards(value));
        }
        self.last_ms = at_ms;
        Ok(at_ms)
    }

    fn backwards(&self, value: &Value) -> Mistake {
        let last = match self.kind {
            Some(Kind::Calendar { start_ms }) => {
                let at_ms = start_ms.saturating_add_unsigned(self.last_ms);
                Timestamp::from_millisecond(at_ms).map_or_else(|e| e.to_string(), |t| t.to_string())
            }
            _ => Secs(self.last_ms).to_string(),
        };
        Mistake::Backwards { time: shortened(value.to_string()), last }
    }
}

/// A number is seconds; text is a moment of the calendar. In CSV the text tells which it is.
fn written(value: &Value) -> Option<Written> {
    match value {
        Value::Number(secs) => Some(Written::Seconds(*secs)),
        Value::Text(text) => text.parse().ok().map(Written::Calendar),
        Value::Plain(text) => match text.parse() {
            Ok(secs) => Some(Written::Seconds(secs)),
            Err(_) => text.parse().ok().map(Written::Calendar),
        },
        _ => None,
    }
}

/// Whole milliseconds, if they are neither negative nor past every trace's end.
fn within(value: &Value, ms: f64) -> Result<u64, Mistake> {
    let ms = ms.round();
    // NaN is in no range.
    match (0.0..=TIME_MAX_MS as f64).contains(&ms) && !ms.is_sign_negative() {
        true => Ok(ms as u64),
        false => Err(Mistake::TimeOutOfBounds(shortened(value.to_string()))),
    }
}
