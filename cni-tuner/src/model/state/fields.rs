//! A JSON object read field by field, so that every mistake names the field it is in.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::model::environment::nearest;

/// JSON in which no object has a field twice; `serde_json` by itself keeps the last one.
pub(super) struct Document(pub(super) Value);

/// The fields of an object that were not read yet.
pub(super) struct Fields {
    /// Where the object stands: empty, or `enis[1].`.
    path: String,
    fields: Map<String, Value>,
    known: Vec<&'static str>,
}

/// What is wrong with a field, with its path.
pub(super) type Mistake = String;

impl Fields {
    pub(super) fn of(path: String, value: Value) -> Result<Fields, Mistake> {
        match value {
            Value::Object(fields) => Ok(Fields { path, fields, known: Vec::new() }),
            other => {
                let of = if path.is_empty() { "the state" } else { path.trim_end_matches('.') };
                Err(format!("{of}: an object is needed, not {}", kind(&other)))
            }
        }
    }

    /// The field of that name with its path in front.
    pub(super) fn at(&self, name: &str) -> String {
        format!("{}{name}", self.path)
    }

    /// A field; null is the same as none.
    pub(super) fn take(&mut self, name: &'static str) -> Option<Value> {
        self.known.push(name);
        self.fields.remove(name).filter(|value| !value.is_null())
    }

    /// A whole number up to `max`.
    pub(super) fn count(&mut self, name: &'static str, max: u32) -> Result<Option<u32>, Mistake> {
        let Some(value) = self.take(name) else { return Ok(None) };
        count_of(&value, max).map(Some).map_err(|needs| format!("{}: {needs}", self.at(name)))
    }

    /// A number of seconds, as milliseconds.
    pub(super) fn secs(&mut self, name: &'static str, max: u32) -> Result<Option<u64>, Mistake> {
        let Some(value) = self.take(name) else { return Ok(None) };
        match value.as_f64().filter(|secs| (0.0..=f64::from(max)).contains(secs)) {
            Some(secs) => Ok(Some((secs * 1000.0) as u64)),
            None => Err(format!("{}: {value}: seconds from 0 to {max} are needed", self.at(name))),
        }
    }

    /// True or false; false where it is missing.
    pub(super) fn switch(&mut self, name: &'static str) -> Result<bool, Mistake> {
        Ok(self.choice(name)?.unwrap_or(false))
    }

    /// True, false or nothing.
    pub(super) fn choice(&mut self, name: &'static str) -> Result<Option<bool>, Mistake> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(on)) => Ok(Some(on)),
            Some(other) => Err(format!("{}: {other}: true or false is needed", self.at(name))),
        }
    }

    /// A text that is not empty and has no control characters: it is printed as it is.
    pub(super) fn text(&mut self, name: &'static str) -> Result<Option<String>, Mistake> {
        let is_printable = |text: &str| !text.is_empty() && !text.contains(char::is_control);
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) if is_printable(&text) => Ok(Some(text)),
            Some(other) => {
                let other = other.to_string().replace(char::is_control, "\u{fffd}");
                Err(format!("{}: {other}: a text is needed", self.at(name)))
            }
        }
    }

    /// No field may be left.
    pub(super) fn finish(self) -> Result<(), Mistake> {
        let Some(name) = self.fields.keys().next() else { return Ok(()) };
        let meant = match nearest(name, self.known.iter().copied()) {
            Some(near) => format!("is {near} meant?"),
            None => format!("there are {}", self.known.join(", ")),
        };
        Err(format!("{}: there is no such field; {meant}", self.at(name)))
    }
}

/// A whole number up to `max`, or what is needed instead.
pub(super) fn count_of(value: &Value, max: u32) -> Result<u32, Mistake> {
    let count = value.as_u64().and_then(|count| u32::try_from(count).ok());
    let count = count.filter(|count| *count <= max);
    count.ok_or_else(|| format!("{value}: a whole number from 0 to {max} is needed"))
}

pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Document, D::Error> {
        deserializer.deserialize_any(DocumentVisitor).map(Document)
    }
}

struct DocumentVisitor;

impl<'de> Visitor<'de> for DocumentVisitor {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Document(value)) = list.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some((name, Document(value))) = object.next_entry::<String, Document>()? {
            if fields.insert(name.clone(), value).is_some() {
                return Err(A::Error::custom(format_args!("`{name}` stands there twice")));
            }
        }
        Ok(Value::Object(fields))
    }
}
