//! The ConfigMap `kube-dns` as it is mounted: `stubDomains` and `upstreamNameservers`, each a file
//! that holds JSON.
//!
//! Anybody who may write that ConfigMap writes a part of the Corefile, so nothing of it is believed
//! before it is known to be a domain or an address. A file that makes no sense is named, and what it
//! said before stays in force; the other file counts all the same.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::de::DeserializeOwned;

use crate::engine::wire::name::Name;

use super::environment::Environment;
use super::{ConfigError, Position};

/// What the ConfigMap says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KubeDns {
    /// Domains with servers of their own, in the order of their names.
    pub stub_domains: Vec<StubDomain>,
    /// What takes the place of the node's resolv.conf; empty: nothing does.
    pub upstream_nameservers: Vec<String>,
}

/// A domain with servers of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StubDomain {
    /// The domain as written.
    pub domain: String,
    /// Its servers, one at least, each as `forward` takes it.
    pub servers: Vec<String>,
    /// Where its name stands.
    pub position: Position,
}

/// Reads the ConfigMap mounted at `directory`. A file that makes no sense leaves its part as it was
/// `before` and is among the errors. A file that is not there says nothing.
pub fn read(
    directory: &str,
    before: &KubeDns,
    environment: &dyn Environment,
) -> (KubeDns, Vec<ConfigError>) {
    let names = match environment.file_names(directory) {
        Ok(names) => names,
        Err(reason) => {
            let position = start_of(directory);
            let found = format!("no directory that can be read ({reason})");
            let expected = "the kube-dns ConfigMap mounted there, or no -kubednscm".to_owned();
            return (before.clone(), vec![ConfigError { position, found, expected }]);
        }
    };
    let (mut read, mut errors) = (KubeDns::default(), Vec::new());
    let path_of =
        |name: &str| names.iter().any(|there| there == name).then(|| format!("{directory}/{name}"));
    if let Some(path) = path_of(STUB_DOMAINS) {
        read.stub_domains = stub_domains(&path, environment).unwrap_or_else(|error| {
            errors.push(error);
            before.stub_domains.clone()
        });
    }
    if let Some(path) = path_of(UPSTREAM_NAMESERVERS) {
        read.upstream_nameservers = nameservers(&path, environment).unwrap_or_else(|error| {
            errors.push(error);
            before.upstream_nameservers.clone()
        });
    }
    (read, errors)
}

fn stub_domains(path: &str, environment: &dyn Environment) -> Result<Vec<StubDomain>, ConfigError> {
    let expected = r#"JSON such as {"corp.example": ["10.1.2.3", "10.1.2.4:5353"]}"#;
    let (text, domains) = json::<BTreeMap<String, Vec<String>>>(path, expected, environment)?;
    if domains.len() > STUB_DOMAINS_MAX {
        let found = format!("{} domains", domains.len());
        let expected = format!("at most {STUB_DOMAINS_MAX}");
        return Err(ConfigError { position: start_of(path), found, expected });
    }
    let stub_domain = |(domain, servers): (String, Vec<String>)| {
        let position = place_of(&domain, &text, path);
        if !is_domain(&domain) {
            return Err(complaint(&position, &domain, "a domain such as `corp.example`"));
        }
        check_servers(&servers, &domain, &position)?;
        Ok(StubDomain { domain, servers, position })
    };
    domains.into_iter().map(stub_domain).collect()
}

fn nameservers(path: &str, environment: &dyn Environment) -> Result<Vec<String>, ConfigError> {
    let expected = r#"JSON such as ["10.1.2.3", "10.1.2.4:5353"]"#;
    let (text, servers) = json::<Vec<String>>(path, expected, environment)?;
    if let Some(first) = servers.first() {
        check_servers(&servers, "the root", &place_of(first, &text, path))?;
    }
    Ok(servers)
}

/// The text of a file and what it holds; a file of nothing but blanks holds nothing.
fn json<T: DeserializeOwned + Default>(
    path: &str,
    expected: &str,
    environment: &dyn Environment,
) -> Result<(String, T), ConfigError> {
    let unreadable = |reason| {
        let found = format!("a file that cannot be read ({reason})");
        ConfigError { position: start_of(path), found, expected: expected.to_owned() }
    };
    let text = environment.read_file(path).map_err(unreadable)?;
    if text.trim().is_empty() {
        return Ok((text, T::default()));
    }
    match serde_json::from_str(&text) {
        Ok(held) => Ok((text, held)),
        Err(error) => {
            let (line, column) = (error.line().max(1), error.column().max(1));
            let said = error.to_string();
            // The place is told by the position.
            let said = said.rsplit_once(" at line ").map_or(said.as_str(), |(said, _)| said);
            Err(ConfigError {
                position: Position { file: path.to_owned(), line, column },
                found: said.chars().take(SHOWN_MAX).collect(),
                expected: expected.to_owned(),
            })
        }
    }
}

/// Every server is an address, and there are as many as `forward` takes.
fn check_servers(servers: &[String], of: &str, position: &Position) -> Result<(), ConfigError> {
    if !(1..=SERVERS_MAX).contains(&servers.len()) {
        let found = format!("{} servers for `{of}`", servers.len());
        let expected = format!("1 to {SERVERS_MAX}");
        return Err(ConfigError { position: position.clone(), found, expected });
    }
    match servers.iter().find(|server| !is_server(server)) {
        None => Ok(()),
        Some(server) => {
            let expected =
                format!("the address of a server for `{of}`, such as 10.1.2.3 or 10.1.2.3:5353");
            Err(complaint(position, server, &expected))
        }
    }
}

fn is_domain(text: &str) -> bool {
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    text.bytes().all(is_fit) && Name::from_text(text).is_ok_and(|name| !name.is_root())
}

/// Whether this is `ADDRESS`, `ADDRESS:PORT` or `[ADDRESS]:PORT`, with `dns://` or `tls://` before
/// it; after TLS the name of a certificate may follow, `%NAME`.
fn is_server(text: &str) -> bool {
    let address = match text.split_once("://") {
        None | Some(("dns", _)) => text.strip_prefix("dns://").unwrap_or(text).to_owned(),
        Some(("tls", rest)) => without_certificate_name(rest),
        Some(_) => return false,
    };
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let ip: Result<IpAddr, _> = bare.unwrap_or(&address).parse();
    let ip = ip.or_else(|_| address.parse::<SocketAddr>().map(|address| address.ip()));
    ip.is_ok_and(|ip| !ip.is_unspecified() && !ip.is_multicast())
}

/// `ADDRESS%NAME:PORT` without the name, if that is one.
fn without_certificate_name(text: &str) -> String {
    let Some((address, name)) = text.split_once('%') else { return text.to_owned() };
    let (name, port) = match name.rsplit_once(':') {
        Some((name, port)) => (name.trim_end_matches(']'), format!(":{port}")),
        None => (name, String::new()),
    };
    match is_domain(name) {
        true => format!("{address}{port}"),
        false => text.to_owned(),
    }
}

/// Where a text of the file stands, its quote counted.
fn place_of(word: &str, text: &str, path: &str) -> Position {
    let at = text.find(&format!("\"{word}\"")).unwrap_or_default();
    let before = &text[..at];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    Position {
        file: path.to_owned(),
        line: 1 + before.matches('\n').count(),
        column: 1 + before[line_start..].chars().count(),
    }
}

fn start_of(file: &str) -> Position {
    Position { file: file.to_owned(), line: 1, column: 1 }
}

fn complaint(position: &Position, found: &str, expected: &str) -> ConfigError {
    let shown: String = found.chars().flat_map(char::escape_debug).take(SHOWN_MAX).collect();
    ConfigError {
        position: position.clone(),
        found: format!("`{shown}`"),
        expected: expected.to_owned(),
    }
}

/// The keys of the ConfigMap that mean something to us.
const STUB_DOMAINS: &str = "stubDomains";
const UPSTREAM_NAMESERVERS: &str = "upstreamNameservers";
/// Each becomes a server block; a ConfigMap of hostile size is refused.
const STUB_DOMAINS_MAX: usize = 1000;
/// What `forward` takes.
const SERVERS_MAX: usize = 15;
/// Characters of a value repeated in a message.
const SHOWN_MAX: usize = 80;

#[cfg(test)]
mod tests {
    use super::super::environment::tests::Literal;
    use super::*;

    fn of(stub_domains: &str, nameservers: &str) -> Literal {
        Literal::default()
            .file("cm/stubDomains", stub_domains)
            .file("cm/upstreamNameservers", nameservers)
    }

    fn error(stub_domains: &str) -> String {
        let (read, errors) = read("cm", &KubeDns::default(), &of(stub_domains, "[]"));
        assert_eq!(read.stub_domains, []);
        errors.first().unwrap_or_else(|| panic!("accepted: {stub_domains}")).to_string()
    }

    #[test]
    fn both_files_are_read_and_either_may_be_missing() {
        let text = "{\n  \"b.example\": [\"10.0.0.1\", \"[fd00::1]:54\"],\n  \"a.example\": [\"tls://10.0.0.2%dns.example\"]\n}";
        let (both, errors) = read("cm", &KubeDns::default(), &of(text, r#"["10.0.0.3:53"]"#));
        assert_eq!(errors, []);
        assert_eq!(both.upstream_nameservers, ["10.0.0.3:53"]);
        let domains: Vec<_> = both
            .stub_domains
            .iter()
            .map(|stub| (stub.domain.as_str(), stub.servers.len(), stub.position.line))
            .collect();
        assert_eq!(domains, [("a.example", 1, 3), ("b.example", 2, 2)]);
        let other = Literal::default().file("cm/federations", "x");
        assert_eq!(read("cm", &both, &other), (KubeDns::default(), vec![]));
        assert_eq!(read("cm", &both, &of("", " \n")), (KubeDns::default(), vec![]));
    }

    #[test]
    fn a_broken_file_leaves_its_part_as_it_was() {
        let before = KubeDns {
            stub_domains: vec![StubDomain {
                domain: "old.example".to_owned(),
                servers: vec!["10.0.0.9".to_owned()],
                position: start_of("cm/stubDomains"),
            }],
            upstream_nameservers: vec!["10.0.0.8".to_owned()],
        };
        let (after, errors) = read("cm", &before, &of("{\"a\": [}", r#"["10.0.0.3"]"#));
        assert_eq!(after.stub_domains, before.stub_domains);
        assert_eq!(after.upstream_nameservers, ["10.0.0.3"]);
        let [error] = &errors[..] else { panic!("{errors:?}") };
        assert!(error.to_string().starts_with("cm/stubDomains:1:8: found "), "{error}");
        assert!(error.to_string().contains(r#"{"corp.example": ["#), "{error}");
        let (after, errors) = read("nowhere", &before, &Unreadable);
        assert_eq!((after, errors.len()), (before, 1));
        assert!(errors[0].to_string().contains("no -kubednscm"));
    }

    /// A machine whose directories are not there.
    struct Unreadable;

    impl Environment for Unreadable {
        fn read_file(&self, _: &str) -> Result<String, String> {
            Err("no such file".to_owned())
        }
        fn exists(&self, _: &str) -> bool {
            false
        }
        fn file_names(&self, _: &str) -> Result<Vec<String>, String> {
            Err("no such directory".to_owned())
        }
        fn variable(&self, _: &str) -> Option<String> {
            None
        }
        fn interface_index(&self, _: &str) -> Option<u32> {
            None
        }
        fn interface_addresses(&self, _: u32) -> Result<Vec<IpAddr>, String> {
            Ok(Vec::new())
        }
    }

    #[test]
    fn nothing_but_domains_and_addresses_gets_through() {
        for (text, found) in [
            (r#"{"": ["10.0.0.1"]}"#, "a domain such as"),
            (r#"{".": ["10.0.0.1"]}"#, "a domain such as"),
            (r#"{"a b": ["10.0.0.1"]}"#, "a domain such as"),
            (r#"{"a {": ["10.0.0.1"]}"#, "a domain such as"),
            (r#"{"a}\n. {\nforward . 10.0.0.1": ["10.0.0.1"]}"#, "a domain such as"),
            (r#"{"{$HOME}": ["10.0.0.1"]}"#, "a domain such as"),
            (r#"{"a": []}"#, "found 0 servers for `a`, expected 1 to 15"),
            (r#"{"a": ["10.0.0.1 {\n}\n}\n. {\nwhoami\n}"]}"#, "such as 10.1.2.3"),
            (r#"{"a": ["/etc/shadow"]}"#, "such as 10.1.2.3"),
            (r#"{"a": ["ns.example"]}"#, "such as 10.1.2.3"),
            (r#"{"a": ["https://10.0.0.1"]}"#, "such as 10.1.2.3"),
            (r#"{"a": ["10.0.0.1:99999"]}"#, "such as 10.1.2.3"),
            (r#"{"a": ["0.0.0.0"]}"#, "such as 10.1.2.3"),
            (r#"{"a": ["tls://10.0.0.1%x y"]}"#, "such as 10.1.2.3"),
            (r#"{"a": "10.0.0.1"}"#, "expected a sequence"),
            ("[]", "invalid type: sequence, expected a map"),
        ] {
            let error = error(text);
            assert!(error.contains(found), "{text}: {error}");
        }
    }

    #[test]
    fn hostile_sizes_are_refused() {
        let many = |count: usize| {
            let domains: Vec<_> =
                (0..count).map(|at| format!(r#""d{at}.example":["10.0.0.1"]"#)).collect();
            format!("{{{}}}", domains.join(","))
        };
        let (read_all, errors) = read("cm", &KubeDns::default(), &of(&many(1000), "[]"));
        assert_eq!((read_all.stub_domains.len(), errors.len()), (1000, 0));
        assert!(error(&many(1001)).contains("1001 domains, expected at most 1000"));
        let servers = vec!["\"10.0.0.1\""; 16].join(",");
        assert!(error(&format!("{{\"a\": [{servers}]}}")).contains("16 servers"));
        assert!(error(&"[".repeat(100_000)).contains("stubDomains:1:"));
        let long = error(&format!("{{\"{}\": []}}", "\u{1b}x ".repeat(10_000)));
        assert!(long.len() < 300 && !long.contains('\u{1b}'), "{long}");
    }
}
