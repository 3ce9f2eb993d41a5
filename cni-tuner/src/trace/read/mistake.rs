//! What can be wrong with a file.

use super::lines::LINE_BYTES_MAX;
use crate::trace::{Fault, TIME_MAX_MS};

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {mistake}")]
pub struct Error {
    /// The file, as it was named.
    pub file: String,
    /// Which line, from 1.
    pub line: u64,
    /// What.
    pub mistake: Mistake,
}

impl Error {
    pub(super) fn at(file: &str, line: u64, mistake: Mistake) -> Error {
        Error { file: file.to_owned(), line, mistake }
    }
}

/// What can be wrong with a line. Each message says what is wrong, then what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mistake {
    /// The file system does not give it.
    #[error("cannot be read ({0}); a trace is a file of text")]
    Unreadable(String),
    /// Not text.
    #[error("is not UTF-8; a trace is a file of text, one event a line")]
    NotUtf8,
    /// A line without an end.
    #[error("the line is longer than {LINE_BYTES_MAX} bytes; write one event a line")]
    LineTooLong,
    /// Not JSON.
    #[error("is not JSON ({0}); write one object a line")]
    NotJson(String),
    /// JSON, or anything else, but no object.
    #[error("is not an object; write one object {{...}} a line, without a list around them")]
    NotAnObject,
    /// Not CSV.
    #[error("is not CSV ({0}); write one event a line")]
    NotCsv(String),
    /// A quote is left open.
    #[error("a quote is not closed; each event stands in one line")]
    OpenQuote,
    /// More or fewer values than the header has.
    #[error("has {found} values; the header names {expected}")]
    Columns {
        /// Values in the line.
        found: usize,
        /// Names in the header.
        expected: usize,
    },
    /// A file of CSV that begins with an event.
    #[error("names no column; the first line of CSV is a header, such as time,event,node,pod")]
    NoHeader,
    /// The header leaves out what every event needs.
    #[error("the header has no column {0}; it needs time, event and node")]
    ColumnMissing(&'static str),
    /// A field nobody knows.
    #[error("there is no field {name:?}{near}; there are {known}")]
    UnknownField {
        /// What stands there.
        name: String,
        /// " (did you mean ...?)" or nothing.
        near: String,
        /// Those there are.
        known: String,
    },
    /// The same field again.
    #[error("the field {0} stands there twice; write it once")]
    FieldTwice(&'static str),
    /// An event nobody knows.
    #[error("there is no event {name:?}{near}; there are {known}")]
    UnknownEvent {
        /// What stands there.
        name: String,
        /// " (did you mean ...?)" or nothing.
        near: String,
        /// Those there are.
        known: String,
    },
    /// A field that must be there.
    #[error("the field {0} is missing; {1} needs it")]
    FieldMissing(&'static str, &'static str),
    /// A field that says nothing there.
    #[error("the field {0} says nothing about {1}; leave it out")]
    FieldOutOfPlace(&'static str, &'static str),
    /// Text for a number and so on.
    #[error("{field} is {value}; write {right}")]
    WrongKind {
        /// The field.
        field: &'static str,
        /// What stands there.
        value: String,
        /// What would be right.
        right: &'static str,
    },
    /// A time that is none.
    #[error(
        "time is {0}; write seconds from the trace's start (12.5), or RFC 3339 in quotes \
         (\"2026-08-20T10:00:00Z\")"
    )]
    Time(String),
    /// Negative, or beyond every trace's end.
    #[error(
        "the time {0} is out of bounds; write seconds from the trace's start, from 0 to {max} (400 days)",
        max = TIME_MAX_MS / 1000
    )]
    TimeOutOfBounds(String),
    /// Both kinds of time.
    #[error("the time {0} is of another kind than those above; write all times as {1}")]
    MixedTimes(String, &'static str),
    /// Not in the order of time.
    #[error(
        "the time {time} is before {last}, the event above; put the events in the order of time"
    )]
    Backwards {
        /// The time as it stands there.
        time: String,
        /// The event before.
        last: String,
    },
    /// Something happens after the end.
    #[error("an event stands after the trace's end; put the end last")]
    AfterEnd,
    /// An event that cannot be, after those before it.
    #[error(transparent)]
    Trace(#[from] Fault),
}
