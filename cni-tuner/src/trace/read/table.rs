//! CSV: a header with the fields' names, then a line for each event.

use std::borrow::Cow;

use super::Mistake;
use super::field::{Field, Value};
use super::row::Row;

/// The fields the columns stand for.
#[derive(Debug)]
pub(super) struct Header {
    fields: Vec<Field>,
}

impl Header {
    /// Reads the header line: any order, optional fields may be missing.
    pub(super) fn read(line: &str) -> Result<Header, Mistake> {
        let mut fields = Vec::new();
        let names = split(line)?;
        if names.iter().all(|name| Field::find(name).is_err()) {
            return Err(Mistake::NoHeader);
        }
        for name in names {
            let field = Field::find(&name)?;
            if fields.contains(&field) {
                return Err(Mistake::FieldTwice(field.name()));
            }
            fields.push(field);
        }
        for needed in [Field::Time, Field::Event, Field::Node] {
            if !fields.contains(&needed) {
                return Err(Mistake::ColumnMissing(needed.name()));
            }
        }
        Ok(Header { fields })
    }

    /// The event a line says; an empty field is a missing one.
    pub(super) fn row<'a>(&self, line: &'a str) -> Result<Row<'a>, Mistake> {
        let values = split(line)?;
        let (found, expected) = (values.len(), self.fields.len());
        if found != expected {
            return Err(Mistake::Columns { found, expected });
        }
        let mut row = Row::default();
        for (field, value) in self.fields.iter().zip(values) {
            if !value.is_empty() {
                row.set(*field, Value::Plain(value))?;
            }
        }
        Ok(row)
    }
}

/// The values between commas. Quotes are rare in names, so only lines with one are given to the
/// reader that knows them.
fn split(line: &str) -> Result<Vec<Cow<'_, str>>, Mistake> {
    if !line.contains('"') {
        return Ok(line.split(',').map(|value| Cow::Borrowed(value.trim())).collect());
    }
    if line.matches('"').count() % 2 == 1 {
        return Err(Mistake::OpenQuote);
    }
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(line.as_bytes());
    let mut record = csv::StringRecord::new();
    reader.read_record(&mut record).map_err(|error| Mistake::NotCsv(error.to_string()))?;
    Ok(record.iter().map(|value| Cow::Owned(value.trim().to_owned())).collect())
}
