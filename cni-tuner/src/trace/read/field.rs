//! One field of an event: its name, and its value as it stands in the file.

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer;
use serde::de::{MapAccess, SeqAccess, Visitor};

use super::Mistake;
use crate::trace::fault::shortened;

/// The fields of an event, in the order they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::trace) enum Field {
    Time,
    Event,
    Node,
    Pod,
    HostNetwork,
    Running,
    InstanceType,
    Group,
    Spot,
    PodsMax,
    Subnet,
}

impl Field {
    pub(in crate::trace) const ALL: [Field; 11] = [
        Field::Time,
        Field::Event,
        Field::Node,
        Field::Pod,
        Field::HostNetwork,
        Field::Running,
        Field::InstanceType,
        Field::Group,
        Field::Spot,
        Field::PodsMax,
        Field::Subnet,
    ];

    pub(in crate::trace) fn name(self) -> &'static str {
        match self {
            Field::Time => "time",
            Field::Event => "event",
            Field::Node => "node",
            Field::Pod => "pod",
            Field::HostNetwork => "host_network",
            Field::Running => "running",
            Field::InstanceType => "instance_type",
            Field::Group => "group",
            Field::Spot => "spot",
            Field::PodsMax => "pods_max",
            Field::Subnet => "subnet",
        }
    }

    pub(super) fn find(name: &str) -> Result<Field, Mistake> {
        let found = Field::ALL.into_iter().find(|field| field.name() == name);
        found.ok_or_else(|| {
            let names = Field::ALL.map(Field::name);
            let near = crate::trace::near(name, names.into_iter());
            Mistake::UnknownField {
                name: shortened(name.to_owned()),
                near,
                known: names.join(", "),
            }
        })
    }
}

/// A value as it stands in the file.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value<'a> {
    /// JSON's null: the same as no field.
    Null,
    /// JSON's true and false.
    Bool(bool),
    /// A number of JSON.
    Number(f64),
    /// A string of JSON.
    Text(Cow<'a, str>),
    /// A field of CSV, which can be anything.
    Plain(Cow<'a, str>),
    /// A list or an object of JSON, which no field is.
    Nested,
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => out.write_str("null"),
            Value::Bool(is) => write!(out, "{is}"),
            Value::Number(number) => write!(out, "{number}"),
            Value::Text(text) | Value::Plain(text) => write!(out, "{text:?}"),
            Value::Nested => out.write_str("a list or an object"),
        }
    }
}

impl<'de: 'a, 'a> serde::Deserialize<'de> for Value<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Value<'a>, D::Error> {
        from.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value<'de>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value<'de>, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, is: bool) -> Result<Value<'de>, E> {
        Ok(Value::Bool(is))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value<'de>, E> {
        Ok(Value::Number(number as f64))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value<'de>, E> {
        Ok(Value::Number(number as f64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value<'de>, E> {
        Ok(Value::Number(number))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value<'de>, A::Error> {
        while list.next_element::<serde::de::IgnoredAny>()?.is_some() {}
        Ok(Value::Nested)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value<'de>, A::Error> {
        while map.next_entry::<serde::de::IgnoredAny, serde::de::IgnoredAny>()?.is_some() {}
        Ok(Value::Nested)
    }
}
