//! The lines of a file, with a bound on their length.

use std::io::{BufRead, Read as _};

use super::Mistake;

/// No line is longer, in bytes. One event needs some hundred.
pub(super) const LINE_BYTES_MAX: usize = 64 * 1024;

/// Spreadsheets write it in front of UTF-8.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Reads lines that say something: no blank ones, no comments (`#`).
#[derive(Debug)]
pub(super) struct Lines<R> {
    source: R,
    bytes: Vec<u8>,
    /// The number of the line that was read last, from 1.
    pub(super) number: u64,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn of(source: R) -> Lines<R> {
        Lines { source, bytes: Vec::new(), number: 0 }
    }

    /// The next line without its end and the spaces around it; none after the last.
    pub(super) fn next(&mut self) -> Result<Option<&str>, Mistake> {
        while self.fetch()? {
            let text = self.bytes.trim_ascii();
            if !text.is_empty() && !text.starts_with(b"#") {
                return match str::from_utf8(self.bytes.trim_ascii()) {
                    Ok(text) => Ok(Some(text)),
                    Err(_) => Err(Mistake::NotUtf8),
                };
            }
        }
        Ok(None)
    }

    /// Reads a line whatever it says; false at the end.
    fn fetch(&mut self) -> Result<bool, Mistake> {
        self.bytes.clear();
        self.number += 1;
        let mut part = (&mut self.source).take(LINE_BYTES_MAX as u64 + 1);
        let read = part.read_until(b'\n', &mut self.bytes);
        read.map_err(|error| Mistake::Unreadable(error.to_string()))?;
        if self.bytes.len() > LINE_BYTES_MAX {
            return Err(Mistake::LineTooLong);
        }
        if self.bytes.starts_with(BYTE_ORDER_MARK) {
            self.bytes.drain(..BYTE_ORDER_MARK.len());
            return Ok(true);
        }
        Ok(!self.bytes.is_empty())
    }
}
