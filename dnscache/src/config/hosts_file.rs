//! Hosts files (hosts(5)): an address and its names per line.

use std::net::IpAddr;
use std::path::Path;

use crate::engine::wire::name::Name;

use super::environment::read_text;

/// What a hosts file says.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HostsFile {
    /// The lines in file order.
    pub entries: Vec<(IpAddr, Vec<Name>)>,
    /// Lines and names left out, each with its line number, at most a hundred.
    pub warnings: Vec<String>,
}

/// Reads the hosts file at `path`, at most [`FILE_BYTES_MAX`] octets; the error is a text.
pub fn read(path: &Path) -> Result<HostsFile, String> {
    read_text(path, FILE_BYTES_MAX).map(|text| parse(&text))
}

/// Reads the text of a hosts file. Never fails: a line that makes no sense is left out and named
/// in the warnings, the others count.
pub fn parse(text: &str) -> HostsFile {
    let mut file = HostsFile::default();
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_ascii_whitespace();
        let Some(first) = words.next() else { continue };
        let number = index + 1;
        let Some(address) = address(first) else {
            file.warn(format!("line {number}: `{}` is not an address", first.escape_debug()));
            continue;
        };
        let names = words.filter_map(|word| file.name(word, number)).collect::<Vec<_>>();
        match names.is_empty() {
            true => file.warn(format!("line {number}: no name after {address}")),
            false => file.entries.push((address, names)),
        }
    }
    file
}

/// An address; the zone of `fe80::1%eth0` is dropped, because an answer has no place for it.
pub(super) fn address(text: &str) -> Option<IpAddr> {
    match text.split_once('%') {
        None => text.parse().ok(),
        Some((address, _)) => address.parse().ok().map(IpAddr::V6),
    }
}

impl HostsFile {
    fn name(&mut self, word: &str, number: usize) -> Option<Name> {
        match Name::from_text(word) {
            Ok(name) if !name.is_root() => Some(name),
            Ok(_) => {
                self.warn(format!("line {number}: the root cannot have an address"));
                None
            }
            Err(error) => {
                self.warn(format!("line {number}: `{}`: {error}", word.escape_debug()));
                None
            }
        }
    }

    fn warn(&mut self, warning: String) {
        if self.warnings.len() < WARNINGS_MAX {
            self.warnings.push(warning);
        }
    }
}

/// Octets of the largest hosts file; lists of blocked names reach several MiB.
pub const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Warnings kept of one file.
const WARNINGS_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> Vec<String> {
        let show = |(address, names): &(IpAddr, Vec<Name>)| {
            let names: Vec<_> = names.iter().map(Name::to_string).collect();
            format!("{address} {}", names.join(" "))
        };
        parse(text).entries.iter().map(show).collect()
    }

    #[test]
    fn addresses_and_names_are_read() {
        let text = "# comment\r\n127.0.0.1 localhost LocalHost.example # x\r\n\r\n\
                    ::1\tlocalhost\nfe80::1%lo0 link\n";
        assert_eq!(
            shown(text),
            ["127.0.0.1 localhost. localhost.example.", "::1 localhost.", "fe80::1 link."]
        );
        assert!(parse(text).warnings.is_empty());
    }

    #[test]
    fn bad_lines_are_named_and_the_rest_counts() {
        let text = "1.2.3 a\n192.0.2.1 a..b good\n192.0.2.2\n192.0.2.3 .\n1.2.3.4%x y\n192.0.2.4 d";
        assert_eq!(shown(text), ["192.0.2.1 good.", "192.0.2.4 d."]);
        let warnings = parse(text).warnings;
        for (at, start) in [
            "line 1: `1.2.3`",
            "line 2: `a..b`",
            "line 3: no name",
            "line 4: the root",
            "line 4: no name",
            "line 5: ",
        ]
        .iter()
        .enumerate()
        {
            assert!(warnings[at].starts_with(start), "{warnings:?}");
        }
    }

    #[test]
    fn warnings_are_bounded() {
        assert_eq!(parse(&"x y\n".repeat(5000)).warnings.len(), WARNINGS_MAX);
    }

    #[test]
    fn a_missing_file_is_an_error() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("hosts");
        assert!(read(&path).is_err());
        std::fs::write(&path, "192.0.2.1 a").expect("written");
        assert_eq!(read(&path).expect("read").entries.len(), 1);
    }

    proptest! {
        #[test]
        fn random_text_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            parse(&String::from_utf8_lossy(&bytes));
        }
    }
}
