//! Traces from files: JSON Lines or CSV, read as a stream, line by line.
//!
//! Both formats have the same fields. Blank lines and lines that begin with `#` are skipped.
//!
//! | field | events | what it says |
//! |---|---|---|
//! | `time` | all | seconds from the trace's start, or RFC 3339 with the first event as the start |
//! | `event` | all | `join`, `add`, `delete`, `cordon`, `uncordon`, `spot_notice`, `restart` (of aws-node), `leave`, `end` |
//! | `node` | all but `end` | the node's name |
//! | `pod` | `add`, `delete` | namespace/name |
//! | `host_network` | `add` | whether the pod is on the host's network and needs no address |
//! | `running` | `join`, `add` | whether it was there before the trace began |
//! | `instance_type` | `join` | as AWS writes it |
//! | `group` | `join` | the node group; if missing, the instance type's name |
//! | `spot` | `join` | whether it is a Spot instance |
//! | `pods_max` | `join` | kubelet's limit; if missing, the type's with secondary addresses |
//! | `subnet` | `join` | the subnet's name; if missing, nodes are spread over all |
//!
//! Without an `end` a trace ends [`TAIL_MS`] after its last event.

mod lines;
mod clock;
mod field;
mod row;
mod json;
mod table;
mod mistake;
#[cfg(test)]
mod tests;

use std::io::BufRead;

use lines::Lines;
use row::Row;

use super::{Builder, Fault, Node, TIME_MAX_MS, Trace};
use crate::model::limits::InstanceType;

pub(super) use field::Field;
pub use mistake::{Error, Mistake};
pub(super) use row::Kind;

/// How long a trace without an `end` goes on after its last event, so that what happens last is
/// seen to its end: ten minutes, in which even `WARM_IP_TARGET=1` serves 100 pods.
pub const TAIL_MS: u64 = 600_000;

/// How a trace is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// An object on each line.
    JsonLines,
    /// A header, then values with commas between them.
    Csv,
}

impl Format {
    /// What a file's name says: `.jsonl`, `.ndjson` and `.json` are JSON Lines, `.csv` is CSV.
    pub fn of_name(file: &str) -> Option<Format> {
        let (_, ending) = file.rsplit_once('.')?;
        match ending.to_ascii_lowercase().as_str() {
            "jsonl" | "ndjson" | "json" => Some(Format::JsonLines),
            "csv" => Some(Format::Csv),
            _ => None,
        }
    }

    /// What the first line says.
    fn of_line(line: &str) -> Format {
        match line.starts_with(['{', '[']) {
            true => Format::JsonLines,
            false => Format::Csv,
        }
    }
}

/// Reads a trace. `file` is its name in messages and, without folders, in results; `format` is
/// told from the first line if it is not given; `absent` is the type of nodes that never join, which
/// are then there from the start.
///
/// # Errors
///
/// The first line that is no event, or an event that cannot be.
pub fn read(
    source: impl BufRead,
    file: &str,
    format: Option<Format>,
    absent: Option<&'static InstanceType>,
) -> Result<Trace, Error> {
    let mut lines = Lines::of(source);
    let mut reader = Reader::new(file, format, absent);
    loop {
        let done = lines.next().and_then(|line| match line {
            Some(line) => reader.line(line).map(|()| true),
            None => Ok(false),
        });
        match done {
            Ok(true) => {}
            Ok(false) => break,
            Err(mistake) => return Err(Error::at(file, lines.number, mistake)),
        }
    }
    // What is missing is missing from the last line.
    let line = lines.number.saturating_sub(1).max(1);
    reader.finish().map_err(|fault| Error::at(file, line, Mistake::Trace(fault)))
}

/// What the lines so far have come to.
struct Reader {
    format: Option<Format>,
    header: Option<table::Header>,
    clock: clock::Clock,
    builder: Builder,
    absent: Option<&'static InstanceType>,
    end_ms: Option<u64>,
}

impl Reader {
    fn new(file: &str, format: Option<Format>, absent: Option<&'static InstanceType>) -> Reader {
        Reader {
            format,
            header: None,
            clock: clock::Clock::default(),
            builder: Builder::new(file.rsplit('/').next().unwrap_or(file)),
            absent,
            end_ms: None,
        }
    }

    fn line(&mut self, line: &str) -> Result<(), Mistake> {
        let format = *self.format.get_or_insert_with(|| Format::of_line(line));
        match (format, &self.header) {
            (Format::JsonLines, _) => self.event(&json::row(line)?),
            (Format::Csv, Some(header)) => {
                let row = header.row(line)?;
                self.event(&row)
            }
            (Format::Csv, None) => {
                self.header = Some(table::Header::read(line)?);
                Ok(())
            }
        }
    }

    fn event(&mut self, row: &Row) -> Result<(), Mistake> {
        let kind = row.kind()?;
        let at_ms = self.clock.read(row.time()?)?;
        if self.end_ms.is_some() {
            return Err(Mistake::AfterEnd);
        }
        if kind == Kind::End {
            self.end_ms = Some(at_ms);
            return Ok(());
        }
        let name = row.needed(Field::Node, kind)?;
        if kind == Kind::Join {
            let node = self.node(name, row)?;
            self.builder.join(at_ms, node, row.is(Field::Running)?)?;
            return Ok(());
        }
        self.know(name)?;
        match kind {
            Kind::Add => {
                let pod = row.needed(Field::Pod, kind)?;
                let (host_network, running) =
                    (row.is(Field::HostNetwork)?, row.is(Field::Running)?);
                self.builder.add(at_ms, name, pod, host_network, running)?;
            }
            Kind::Delete => {
                row.is(Field::HostNetwork)?;
                self.builder.delete(at_ms, name, row.needed(Field::Pod, kind)?)?;
            }
            Kind::Cordon => self.builder.cordon(at_ms, name)?,
            Kind::Uncordon => self.builder.uncordon(at_ms, name)?,
            Kind::SpotNotice => self.builder.spot_notice(at_ms, name)?,
            Kind::Restart => self.builder.restart(at_ms, name)?,
            Kind::Leave => self.builder.leave(at_ms, name)?,
            Kind::Join | Kind::End => unreachable!("handled above"),
        }
        Ok(())
    }

    fn node(&self, name: &str, row: &Row) -> Result<Node, Mistake> {
        let instance_type = match (row.text(Field::InstanceType)?, self.absent) {
            (Some(written), _) => super::instance_type(written)?,
            (None, Some(absent)) => absent,
            (None, None) => return Err(Mistake::FieldMissing("instance_type", "join")),
        };
        let mut node = Node::of(name, instance_type);
        if let Some(group) = row.text(Field::Group)? {
            group.clone_into(&mut node.group);
        }
        if let Some(pods_max) = row.whole(Field::PodsMax)? {
            node.pods_max = u32::try_from(pods_max).map_err(|_| Fault::PodsMax(pods_max))?;
        }
        node.spot = row.is(Field::Spot)?;
        node.subnet = row.text(Field::Subnet)?.map(str::to_owned);
        Ok(node)
    }

    /// A node that never joined was there from the start, if its type is known.
    fn know(&mut self, name: &str) -> Result<(), Fault> {
        if let (false, Some(absent)) = (self.builder.is_known(name), self.absent) {
            self.builder.join_from_start(Node::of(name, absent))?;
        }
        Ok(())
    }

    fn finish(self) -> Result<Trace, Fault> {
        let tail_ms = (self.builder.last_ms() + TAIL_MS).min(TIME_MAX_MS);
        self.builder.finish(self.end_ms.unwrap_or(tail_ms))
    }
}
