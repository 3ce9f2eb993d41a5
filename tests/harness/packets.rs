//! Packets written as data: hexadecimal digits with notes, and what must come of them.
//!
//! ```text
//! ; what is wrong with the packet
//! expect: FORMERR           drop, a response code, or `answer` for a query that is well-formed
//! expect-tcp: drop          if it differs over TCP
//! 0000 0000                 header; digits up to `;`, `*N` repeats the group before it
//! ```

use super::zone::{hex, rcode_number};

/// One file.
#[derive(Debug, Clone)]
pub struct Packet {
    pub file: String,
    pub bytes: Vec<u8>,
    pub udp: Expected,
    pub tcp: Expected,
    /// Further `word: text` lines.
    pub notes: Vec<(String, String)>,
}

/// What must come of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// No reply.
    Drop,
    /// A reply with this response code.
    Rcode(u16),
    /// Any reply with this response code, which repeats no question.
    RcodeWithoutQuestion(u16),
}

impl Packet {
    /// Reads one file; the error names file and line.
    pub fn read(file: &str, text: &str) -> Result<Self, String> {
        let mut bytes = Vec::new();
        let (mut udp, mut tcp, mut notes) = (None, None, Vec::new());
        for (at, line) in text.lines().enumerate() {
            let fault = |what: String| format!("{file}:{}: {what}", at + 1);
            let line = line.split(';').next().unwrap_or("").trim();
            match line.split_once(':') {
                Some(("expect", outcome)) => udp = Some(read_expected(outcome).map_err(fault)?),
                Some(("expect-tcp", outcome)) => {
                    tcp = Some(read_expected(outcome).map_err(fault)?);
                }
                Some((word, text)) => notes.push((word.to_owned(), text.trim().to_owned())),
                None => add_groups(&mut bytes, line).map_err(fault)?,
            }
        }
        let udp = udp.ok_or(format!("{file}:1: an `expect:` line is missing"))?;
        Ok(Self { file: file.to_owned(), bytes, udp, tcp: tcp.unwrap_or(udp), notes })
    }
}

/// Adds the octets of one line; `*N` after a group repeats it to N times, `"text"` is ASCII.
fn add_groups(bytes: &mut Vec<u8>, line: &str) -> Result<(), String> {
    let mut last: Vec<u8> = Vec::new();
    for word in line.split_whitespace() {
        if let Some(count) = word.strip_prefix('*') {
            let count: usize = count.parse().map_err(|_| format!("{word:?} is no repetition"))?;
            bytes.extend(last.repeat(count.saturating_sub(1)));
            continue;
        }
        last = match word.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            Some(text) => text.as_bytes().to_vec(),
            None => hex(word)?,
        };
        bytes.extend(&last);
    }
    Ok(())
}

fn read_expected(text: &str) -> Result<Expected, String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    match words[..] {
        ["drop"] => Some(Expected::Drop),
        [rcode] => rcode_number(rcode).map(Expected::Rcode),
        [rcode, "no-question"] => rcode_number(rcode).map(Expected::RcodeWithoutQuestion),
        _ => None,
    }
    .ok_or(format!("{text:?} is no outcome"))
}
