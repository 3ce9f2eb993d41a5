//! resolv.conf (resolv.conf(5)): nameservers, search domains, ndots.

use std::net::IpAddr;
use std::path::Path;

use crate::engine::wire::name::Name;

use super::environment::read_text;

/// What a resolv.conf says.
#[derive(Debug, Clone, PartialEq)]
pub struct ResolvConf {
    /// `nameserver` lines in file order; more than libc's three are kept.
    pub nameservers: Vec<Nameserver>,
    /// The last `search` line, or the last `domain` line, whichever comes later.
    pub search: Vec<Name>,
    /// `options ndots:N`, at most 15 as in libc; 1 if not set.
    pub ndots: u8,
    /// Lines and words left out, each with its line number, at most a hundred.
    pub warnings: Vec<String>,
}

/// One `nameserver`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nameserver {
    /// Its address; the port is 53.
    pub address: IpAddr,
    /// The zone of a link-local IPv6 address (`eth0` or a number).
    pub scope: Option<String>,
}

impl Default for ResolvConf {
    fn default() -> Self {
        Self { nameservers: Vec::new(), search: Vec::new(), ndots: 1, warnings: Vec::new() }
    }
}

/// Reads the file at `path`, at most [`FILE_BYTES_MAX`] octets; the error is a text.
pub fn read(path: &Path) -> Result<ResolvConf, String> {
    read_text(path, FILE_BYTES_MAX).map(|text| parse(&text))
}

/// Reads the text of a resolv.conf. Never fails: what makes no sense is left out and named in the
/// warnings. Keywords libc knows and this program has no use for are passed over silently.
pub fn parse(text: &str) -> ResolvConf {
    let mut conf = ResolvConf::default();
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        let line = line.split(['#', ';']).next().unwrap_or_default();
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("nameserver") => conf.nameserver(words.next(), number),
            Some("search") => conf.search(words, number),
            Some("domain") => conf.search(words.take(1), number),
            Some("options") => words.for_each(|word| conf.option(word, number)),
            Some("sortlist" | "lookup" | "family") | None => {}
            Some(other) => {
                conf.warn(number, format_args!("`{}` is not a keyword", other.escape_debug()));
            }
        }
    }
    conf
}

impl ResolvConf {
    fn nameserver(&mut self, word: Option<&str>, number: usize) {
        let Some(word) = word else {
            return self.warn(number, format_args!("no address after `nameserver`"));
        };
        match Nameserver::from_text(word) {
            None => self.warn(number, format_args!("`{}` is not an address", word.escape_debug())),
            Some(known) if self.nameservers.contains(&known) => {}
            Some(_) if self.nameservers.len() == NAMESERVERS_MAX => {
                self.warn(number, format_args!("more than {NAMESERVERS_MAX} nameservers"));
            }
            Some(new) => self.nameservers.push(new),
        }
    }

    fn search<'a>(&mut self, words: impl Iterator<Item = &'a str>, number: usize) {
        self.search.clear();
        for word in words {
            match Name::from_text(word) {
                Ok(_) if self.search.len() == SEARCH_MAX => {
                    return self
                        .warn(number, format_args!("more than {SEARCH_MAX} search domains"));
                }
                Ok(domain) => self.search.push(domain),
                Err(error) => self.warn(number, format_args!("`{}`: {error}", word.escape_debug())),
            }
        }
    }

    fn option(&mut self, word: &str, number: usize) {
        let Some(value) = word.strip_prefix("ndots:") else {
            return;
        };
        match value.parse::<u32>() {
            Ok(ndots) => self.ndots = ndots.min(NDOTS_MAX) as u8,
            Err(_) => self.warn(number, format_args!("`{}` needs a number", word.escape_debug())),
        }
    }

    fn warn(&mut self, number: usize, what: std::fmt::Arguments<'_>) {
        if self.warnings.len() < WARNINGS_MAX {
            self.warnings.push(format!("line {number}: {what}"));
        }
    }
}

impl Nameserver {
    /// Reads `ADDRESS` or `ADDRESS%SCOPE`.
    pub fn from_text(text: &str) -> Option<Self> {
        let (address, scope) = match text.split_once('%') {
            None => (text.parse().ok()?, None),
            Some((_, "")) => return None,
            Some((address, scope)) => (IpAddr::V6(address.parse().ok()?), Some(scope.to_owned())),
        };
        Some(Self { address, scope })
    }
}

/// Octets of the largest resolv.conf.
pub const FILE_BYTES_MAX: u64 = 64 * 1024;
/// Nameservers kept: as many as a `forward` takes.
const NAMESERVERS_MAX: usize = 15;
/// Search domains kept: Kubernetes allows 32 (KEP-2595).
const SEARCH_MAX: usize = 32;
/// Warnings kept of one file.
const WARNINGS_MAX: usize = 100;
/// libc's upper bound.
const NDOTS_MAX: u32 = 15;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_pods_file_is_read() {
        let conf = parse(
            "search default.svc.cluster.local svc.cluster.local Example.org.\n\
             nameserver 169.254.20.10\r\n# x\n; y\n\
             options ndots:5 edns0 timeout:1\nnameserver fe80::1%eth0\n",
        );
        let shown: Vec<_> = conf.search.iter().map(Name::to_string).collect();
        assert_eq!(shown, ["default.svc.cluster.local.", "svc.cluster.local.", "example.org."]);
        assert_eq!(conf.ndots, 5);
        assert_eq!(
            conf.nameservers,
            [
                Nameserver { address: "169.254.20.10".parse().expect("an address"), scope: None },
                Nameserver {
                    address: "fe80::1".parse().expect("an address"),
                    scope: Some("eth0".to_owned()),
                },
            ]
        );
        assert_eq!(conf.warnings, [""; 0]);
    }

    #[test]
    fn the_later_of_search_and_domain_counts() {
        let search = |text: &str| -> Vec<String> {
            parse(text).search.iter().map(Name::to_string).collect()
        };
        assert_eq!(search("domain a\nsearch b c"), ["b.", "c."]);
        assert_eq!(search("search b c\ndomain a x"), ["a."]);
        assert!(search("search a\nsearch").is_empty());
    }

    #[test]
    fn bad_lines_are_named_and_the_rest_counts() {
        let conf = parse(
            "nameserver\nnameserver x\nnameserver 1.1.1.1%x\nnameserver fe80::1%\n\
                          nameservers 1.1.1.1\noptions ndots:x\nsearch a..b ok\nnameserver 192.0.2.1 x",
        );
        assert_eq!(conf.nameservers.len(), 1);
        assert_eq!(conf.search.len(), 1);
        assert_eq!(conf.ndots, 1);
        let lines: Vec<_> = conf.warnings.iter().map(|text| &text[..7]).collect();
        let expected: Vec<_> = (1..=7).map(|line| format!("line {line}:")).collect();
        assert_eq!(lines, expected.iter().map(|text| &text[..7]).collect::<Vec<_>>());
    }

    #[test]
    fn everything_is_bounded() {
        let nameservers: String =
            (0..100).map(|last| format!("nameserver 192.0.2.{last}\n")).collect();
        assert_eq!(parse(&nameservers).nameservers.len(), NAMESERVERS_MAX);
        assert_eq!(parse(&format!("search {}", "a ".repeat(100))).search.len(), SEARCH_MAX);
        assert_eq!(parse(&"x\n".repeat(1000)).warnings.len(), WARNINGS_MAX);
        assert_eq!(parse("options ndots:99").ndots, 15);
    }

    #[test]
    fn the_same_nameserver_counts_once() {
        assert_eq!(parse("nameserver 1.1.1.1\nnameserver 1.1.1.1").nameservers.len(), 1);
    }

    #[test]
    fn a_long_file_is_an_error() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("resolv.conf");
        std::fs::write(&path, "#".repeat(64 * 1024 + 1)).expect("written");
        assert!(read(&path).is_err());
        std::fs::write(&path, "nameserver ::1").expect("written");
        assert_eq!(read(&path).expect("read").nameservers.len(), 1);
    }

    proptest! {
        #[test]
        fn random_text_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            parse(&String::from_utf8_lossy(&bytes));
        }
    }
}
