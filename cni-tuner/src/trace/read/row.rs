//! One event as a line says it: the fields, each of the right kind, and only those it can have.

use super::Mistake;
use super::field::{Field, Value};
use crate::trace::fault::shortened;

/// What a line says, its fields not yet compared with each other.
#[derive(Debug, Default)]
pub(super) struct Row<'a> {
    /// JSON's null is a value here, so that a field that stands there twice is found.
    values: [Option<Value<'a>>; Field::ALL.len()],
}

/// The names of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::trace) enum Kind {
    Join,
    Add,
    Delete,
    Cordon,
    Uncordon,
    SpotNotice,
    Restart,
    Leave,
    End,
}

impl Kind {
    const ALL: [Kind; 9] = [
        Kind::Join,
        Kind::Add,
        Kind::Delete,
        Kind::Cordon,
        Kind::Uncordon,
        Kind::SpotNotice,
        Kind::Restart,
        Kind::Leave,
        Kind::End,
    ];

    pub(in crate::trace) fn name(self) -> &'static str {
        match self {
            Kind::Join => "join",
            Kind::Add => "add",
            Kind::Delete => "delete",
            Kind::Cordon => "cordon",
            Kind::Uncordon => "uncordon",
            Kind::SpotNotice => "spot_notice",
            Kind::Restart => "restart",
            Kind::Leave => "leave",
            Kind::End => "end",
        }
    }

    /// Whether an event of this kind can have the field. A delete may repeat what the add said of
    /// the network, because recorders write all events alike.
    fn has(self, field: Field) -> bool {
        match field {
            Field::Time | Field::Event => true,
            Field::Node => self != Kind::End,
            Field::Pod | Field::HostNetwork => matches!(self, Kind::Add | Kind::Delete),
            Field::Running => matches!(self, Kind::Join | Kind::Add),
            Field::InstanceType | Field::Group | Field::Spot | Field::PodsMax | Field::Subnet => {
                self == Kind::Join
            }
        }
    }
}

impl<'a> Row<'a> {
    /// Takes a field.
    pub(super) fn set(&mut self, field: Field, value: Value<'a>) -> Result<(), Mistake> {
        let place = &mut self.values[field as usize];
        if place.is_some() {
            return Err(Mistake::FieldTwice(field.name()));
        }
        *place = Some(value);
        Ok(())
    }

    /// A field's value; JSON's null is none.
    fn value(&self, field: Field) -> Option<&Value<'a>> {
        self.values[field as usize].as_ref().filter(|value| **value != Value::Null)
    }

    /// What happens, once it is clear that no field stands there in vain. A `false` says nothing,
    /// so it may stand anywhere.
    pub(super) fn kind(&self) -> Result<Kind, Mistake> {
        let name = self.text(Field::Event)?.ok_or(Mistake::FieldMissing("event", "an event"))?;
        let found = Kind::ALL.into_iter().find(|kind| kind.name() == name);
        let kind = found.ok_or_else(|| {
            let names = Kind::ALL.map(Kind::name);
            let near = crate::trace::near(name, names.into_iter());
            Mistake::UnknownEvent {
                name: shortened(name.to_owned()),
                near,
                known: names.join(", "),
            }
        })?;
        for field in Field::ALL.into_iter().filter(|field| !kind.has(*field)) {
            if self.value(field).is_some_and(|value| !says_false(value)) {
                return Err(Mistake::FieldOutOfPlace(field.name(), kind.name()));
            }
        }
        Ok(kind)
    }

    /// The time as it stands there.
    pub(super) fn time(&self) -> Result<&Value<'a>, Mistake> {
        self.value(Field::Time).ok_or(Mistake::FieldMissing("time", "an event"))
    }

    /// A field that an event of this kind must have.
    pub(super) fn needed(&self, field: Field, kind: Kind) -> Result<&str, Mistake> {
        self.text(field)?.ok_or(Mistake::FieldMissing(field.name(), kind.name()))
    }

    /// A field of text, if it is there.
    pub(super) fn text(&self, field: Field) -> Result<Option<&str>, Mistake> {
        match self.value(field) {
            None => Ok(None),
            Some(Value::Text(text) | Value::Plain(text)) => Ok(Some(text)),
            Some(other) => Err(wrong(field, other, "text in quotes")),
        }
    }

    /// A field that is true or false; false if it is not there.
    pub(super) fn is(&self, field: Field) -> Result<bool, Mistake> {
        match self.value(field) {
            None => Ok(false),
            Some(Value::Bool(is)) => Ok(*is),
            Some(Value::Plain(text)) if text.eq_ignore_ascii_case("true") => Ok(true),
            Some(Value::Plain(text)) if text.eq_ignore_ascii_case("false") => Ok(false),
            Some(other) => Err(wrong(field, other, "true or false")),
        }
    }

    /// A field that is a whole number, if it is there.
    pub(super) fn whole(&self, field: Field) -> Result<Option<u64>, Mistake> {
        let Some(value) = self.value(field) else {
            return Ok(None);
        };
        let whole = match value {
            // 2^53: below it every whole number has a float of its own.
            Value::Number(number) => {
                (number.fract() == 0.0 && (0.0..9e15).contains(number)).then_some(*number as u64)
            }
            Value::Plain(text) => text.parse().ok(),
            _ => None,
        };
        whole.map(Some).ok_or_else(|| wrong(field, value, "a whole number"))
    }
}

fn says_false(value: &Value) -> bool {
    match value {
        Value::Bool(is) => !is,
        Value::Plain(text) => text.eq_ignore_ascii_case("false"),
        _ => false,
    }
}

fn wrong(field: Field, value: &Value, right: &'static str) -> Mistake {
    Mistake::WrongKind { field: field.name(), value: shortened(value.to_string()), right }
}
