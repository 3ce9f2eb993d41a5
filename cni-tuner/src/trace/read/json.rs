//! JSON Lines: each line an object.

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer as _;
use serde::de::{MapAccess, Visitor};

use super::Mistake;
use super::field::{Field, Value};
use super::row::Row;

/// The event a line says.
pub(super) fn row(line: &str) -> Result<Row<'_>, Mistake> {
    if !line.starts_with('{') {
        return Err(Mistake::NotAnObject);
    }
    let mut from = serde_json::Deserializer::from_str(line);
    let fields = from.deserialize_map(Fields).and_then(|fields| from.end().map(|()| fields));
    let fields = fields.map_err(|error| Mistake::NotJson(spoken(&error)))?;
    let mut row = Row::default();
    for (name, value) in fields {
        row.set(Field::find(&name)?, value)?;
    }
    Ok(row)
}

/// serde_json's words, its line left out: to it every line is the first.
fn spoken(error: &serde_json::Error) -> String {
    let said = error.to_string();
    match said.rsplit_once(" at line ") {
        Some((what, _)) => format!("{what} at column {}", error.column()),
        None => said,
    }
}

/// Reads an object as it stands there, keys that stand there twice among them.
struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Vec<(Cow<'de, str>, Value<'de>)>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::with_capacity(Field::ALL.len());
        while let Some((key, value)) = map.next_entry::<Value<'de>, Value<'de>>()? {
            if let Value::Text(key) = key {
                fields.push((key, value));
            }
        }
        Ok(fields)
    }
}
