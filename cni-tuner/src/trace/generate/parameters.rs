//! What a generator can be told: names, defaults and bounds, and how they are written.

use super::Error;
use crate::model::limits::InstanceType;
use crate::trace::Fault;

/// One thing a generator can be told.
#[derive(Debug)]
pub struct Parameter {
    /// What stands left of the `=`.
    pub name: &'static str,
    /// What holds where it is not given, written as a person would.
    pub default: &'static str,
    /// What is right.
    pub kind: Kind,
    /// What it says, for a list.
    pub about: &'static str,
}

impl Parameter {
    /// The nodes that run on all day.
    pub(super) const fn nodes(default: &'static str) -> Parameter {
        let about = "nodes, all there before the start";
        Parameter { name: "nodes", default, kind: Kind::Count(1, 5_000), about }
    }

    /// What they are.
    pub(super) const fn instance_type(default: &'static str) -> Parameter {
        let about = "the nodes' type";
        Parameter { name: "instance_type", default, kind: Kind::Type, about }
    }

    /// A trace's length.
    pub(super) const fn hours(default: &'static str) -> Parameter {
        let about = "how long the trace is";
        Parameter { name: "hours", default, kind: Kind::Number(0.1, 744.0), about }
    }

    /// When something begins.
    pub(super) const fn at(default: &'static str, about: &'static str) -> Parameter {
        Parameter { name: "at", default, kind: Kind::Time(0, 31 * DAY_MS), about }
    }

    /// How far apart things are that happen at once.
    pub(super) const fn spread(default: &'static str, about: &'static str) -> Parameter {
        Parameter { name: "spread", default, kind: Kind::Time(0, 3_600_000), about }
    }

    /// From a node's join to its first pods.
    pub(super) const READY_AFTER: Parameter = Parameter {
        name: "ready_after",
        default: "20s",
        kind: Kind::Time(0, 3_600_000),
        about: "from a node's join to its first pods with an address",
    };

    /// Daemons without an address.
    pub(super) const HOST_NETWORK: Parameter = Parameter {
        name: "host_network",
        default: "4",
        kind: Kind::Count(0, 50),
        about: "daemons on the host's network (aws-node, ...), on each node",
    };

    /// Daemons with an address.
    pub(super) const DAEMONS: Parameter = Parameter {
        name: "daemons",
        default: "4",
        kind: Kind::Count(0, 50),
        about: "daemons with an address of their own, on each node",
    };
}

const DAY_MS: u64 = 86_400_000;

/// What stands right of the `=`.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// A whole number between these, both among them.
    Count(u64, u64),
    /// A number between these, both among them.
    Number(f64, f64),
    /// A time between these, both among them, milliseconds; written `90`, `90s`, `1.5m`, `500ms`,
    /// `24h`.
    Time(u64, u64),
    /// One instance type.
    Type,
    /// Instance types with `+` between them.
    Types,
}

/// The values of all parameters of a generator, checked.
#[derive(Debug)]
pub struct Parameters {
    generator: &'static str,
    values: Vec<(&'static str, Value)>,
}

#[derive(Debug)]
enum Value {
    Count(u64),
    Number(f64),
    Time(u64),
    Types(Vec<&'static InstanceType>),
}

impl Parameters {
    /// Reads `key=value,key=value`; what is not given has its default.
    ///
    /// # Errors
    ///
    /// A key that is unknown or stands there twice, a value that is wrong.
    pub(super) fn read(
        generator: &'static str,
        known: &'static [Parameter],
        text: &str,
    ) -> Result<Parameters, Error> {
        let mut given: Vec<(&str, &str)> = Vec::new();
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let Some((name, value)) = pair.split_once('=') else {
                return Err(Error::NotAPair(pair.to_owned()));
            };
            let name = name.trim();
            if given.iter().any(|(other, _)| *other == name) {
                return Err(Error::Twice { generator, name: name.to_owned() });
            }
            if !known.iter().any(|parameter| parameter.name == name) {
                return Err(Error::unknown_parameter(generator, name, known));
            }
            given.push((name, value.trim()));
        }
        let value_of = |parameter: &Parameter| {
            let given = given.iter().find(|(name, _)| *name == parameter.name);
            let text = given.map_or(parameter.default, |(_, value)| *value);
            let value = parameter.kind.read(text).map_err(|right| Error::Value {
                generator,
                name: parameter.name,
                value: text.to_owned(),
                right,
            })?;
            Ok((parameter.name, value))
        };
        let values = known.iter().map(value_of).collect::<Result<_, Error>>()?;
        Ok(Parameters { generator, values })
    }

    /// The generator they are for.
    pub(super) fn generator(&self) -> &'static str {
        self.generator
    }

    pub(super) fn count(&self, name: &str) -> usize {
        match self.value(name) {
            Value::Count(count) => *count as usize,
            other => unreachable!("{name} is declared as {other:?}"),
        }
    }

    pub(super) fn number(&self, name: &str) -> f64 {
        match self.value(name) {
            Value::Number(number) => *number,
            other => unreachable!("{name} is declared as {other:?}"),
        }
    }

    pub(super) fn time_ms(&self, name: &str) -> u64 {
        match self.value(name) {
            Value::Time(time_ms) => *time_ms,
            other => unreachable!("{name} is declared as {other:?}"),
        }
    }

    /// The trace's length, milliseconds.
    pub(super) fn end_ms(&self) -> u64 {
        (self.number("hours") * 3_600_000.0).round() as u64
    }

    /// The type of all nodes.
    pub(super) fn instance_type(&self) -> &'static InstanceType {
        self.types("instance_type")[0]
    }

    /// Values that do not go together.
    pub(super) fn contradiction(&self, what: impl Into<String>) -> Error {
        Error::Together { generator: self.generator, what: what.into() }
    }

    /// One or more.
    pub(super) fn types(&self, name: &str) -> &[&'static InstanceType] {
        match self.value(name) {
            Value::Types(types) => types,
            other => unreachable!("{name} is declared as {other:?}"),
        }
    }

    fn value(&self, name: &str) -> &Value {
        let found = self.values.iter().find(|(known, _)| *known == name);
        // Generators ask for what they declare; a test makes every one of them.
        &found.expect("a declared parameter").1
    }
}

impl Kind {
    /// The value, or what would be right.
    fn read(self, text: &str) -> Result<Value, String> {
        let value = match self {
            Kind::Count(min, max) => {
                text.parse().ok().filter(|count| (min..=max).contains(count)).map(Value::Count)
            }
            Kind::Number(min, max) => {
                text.parse().ok().filter(|number| (min..=max).contains(number)).map(Value::Number)
            }
            Kind::Time(min, max) => {
                read_time_ms(text).filter(|time| (min..=max).contains(time)).map(Value::Time)
            }
            Kind::Type => return Ok(Value::Types(vec![read_type(text)?])),
            Kind::Types => {
                let types = text.split('+').map(read_type).collect::<Result<_, _>>()?;
                return Ok(Value::Types(types));
            }
        };
        value.ok_or_else(|| self.to_string())
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Kind::Count(min, max) => write!(out, "a whole number from {min} to {max}"),
            Kind::Number(min, max) => write!(out, "a number from {min} to {max}"),
            Kind::Time(min, max) => write!(
                out,
                "a time from {} to {}, such as 90s, 5m, 24h",
                written_time(*min),
                written_time(*max)
            ),
            Kind::Type => write!(out, "an instance type"),
            Kind::Types => write!(out, "instance types with + between them"),
        }
    }
}

const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];

/// `90`, `90s`, `1.5m`, `500ms`, `24h` as milliseconds.
fn read_time_ms(text: &str) -> Option<u64> {
    let unit = UNITS.iter().find(|(unit, _)| text.ends_with(unit));
    let (number, scale) = match unit {
        Some((unit, scale)) => (&text[..text.len() - unit.len()], *scale),
        None => (text, 1000),
    };
    // Digits and a point only: no signs, no exponents, no "inf".
    if !number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') || number.len() > 12 {
        return None;
    }
    let number: f64 = number.parse().ok()?;
    Some((number * scale as f64).round() as u64)
}

fn written_time(time_ms: u64) -> String {
    let fits = |(_, scale): &&(&str, u64)| time_ms >= *scale && time_ms.is_multiple_of(*scale);
    let (unit, scale) = UNITS.iter().rev().find(fits).unwrap_or(&("s", 1000));
    format!("{}{unit}", time_ms / scale)
}

fn read_type(text: &str) -> Result<&'static InstanceType, String> {
    crate::trace::instance_type(text).map_err(|fault| match fault {
        Fault::InstanceType { near, .. } => format!("a type that `cni-tuner limits` knows{near}"),
        other => other.to_string(),
    })
}
