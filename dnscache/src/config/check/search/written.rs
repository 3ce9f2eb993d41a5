//! `searchpath` as it stands in a server block: its mode and its options.

use crate::engine::wire::name::{LABEL_MAX, Name};

use super::super::super::corefile::{Directive, Token};
use super::super::super::{ConfigError, Position, SearchMode};
use super::super::arguments::{Arguments, unknown};
use super::super::zones;

/// One `searchpath [MODE] { ... }` as it was written.
pub(super) struct Written {
    pub(super) position: Position,
    /// `None`: `off`.
    pub(super) mode: Option<SearchMode>,
    /// And where it stands.
    pub(super) domain: Option<(Name, Position)>,
    /// `None`: those of the node.
    pub(super) search: Option<Vec<Name>>,
    pub(super) except: Vec<String>,
    pub(super) audit_one_in: u32,
}

impl Written {
    /// Reads the line and its options.
    pub(super) fn read(line: &Directive) -> Result<Self, ConfigError> {
        let mut args = Arguments::of(line);
        let mode = match args.next().map(|token| (token, token.text.as_str())) {
            None | Some((_, "rewrite")) => Some(SearchMode::Rewrite),
            Some((_, "cut")) => Some(SearchMode::Cut),
            Some((_, "off")) => None,
            Some((token, _)) => return Err(token.error("`off`, `cut` or `rewrite`")),
        };
        args.end()?;
        let mut written = Self {
            position: line.position.clone(),
            mode,
            domain: None,
            search: None,
            except: Vec::new(),
            audit_one_in: AUDIT_ONE_IN,
        };
        for option in &line.body {
            written.read_option(option)?;
        }
        Ok(written)
    }

    fn read_option(&mut self, option: &Directive) -> Result<(), ConfigError> {
        let mut args = Arguments::of(option);
        match option.name.as_str() {
            "domain" => self.domain = Some(domain(&mut args)?),
            "search" => search(&mut args, self.search.get_or_insert_default())?,
            "except" => {
                for token in args.need_rest("a namespace")? {
                    self.except.push(namespace(token)?);
                }
            }
            "audit" => self.audit_one_in = audit(&mut args)?,
            _ => return Err(unknown(option, "options of searchpath", &OPTIONS, &[])),
        }
        args.finish()
    }
}

/// `domain DOMAIN`, and where the domain stands.
fn domain(args: &mut Arguments<'_>) -> Result<(Name, Position), ConfigError> {
    let expected = "the cluster domain, such as `cluster.local`";
    let token = args.need(expected)?;
    let domain = zones::name(token)?;
    match domain.is_root() {
        true => Err(token.error(expected)),
        false => Ok((domain, token.position.clone())),
    }
}

/// `search DOMAIN...`; several lines are one list.
fn search(args: &mut Arguments<'_>, listed: &mut Vec<Name>) -> Result<(), ConfigError> {
    for token in args.need_rest("search domains (`.` for none)")? {
        if listed.len() == SEARCH_MAX {
            return Err(token.error(&format!("at most {SEARCH_MAX} search domains")));
        }
        listed.push(zones::name(token)?);
    }
    Ok(())
}

/// One name of `except`, in lower case.
fn namespace(token: &Token) -> Result<String, ConfigError> {
    // Neither an escape nor a dot at the end: the text is the label.
    let is_plain = token.text.len() <= LABEL_MAX && !token.text.contains(['.', '\\']);
    match is_plain && zones::name(token).is_ok() {
        true => Ok(token.text.to_ascii_lowercase()),
        false => Err(token
            .error("a namespace, which is one label of at most 63 octets such as `kube-system`")),
    }
}

/// `audit SHARE%` or `audit off`.
fn audit(args: &mut Arguments<'_>) -> Result<u32, ConfigError> {
    let expected = "a share from `0.01%` to `100%`, or `off`";
    let token = args.need(expected)?;
    if token.text == "off" {
        return Ok(0);
    }
    token.text.strip_suffix('%').and_then(one_in).ok_or_else(|| token.error(expected))
}

/// One in how many so many percent are; `None` if they are out of bounds or no plain number.
fn one_in(percent: &str) -> Option<u32> {
    let is_plain = percent.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let percent: f64 = percent.parse().ok().filter(|_| is_plain)?;
    AUDIT_PERCENT.contains(&percent).then(|| (100.0 / percent).round() as u32)
}

const OPTIONS: [&str; 4] = ["domain", "search", "except", "audit"];
/// Kubernetes allows as many in a pod (KEP-2595); `resolv_conf` reads no more either.
const SEARCH_MAX: usize = 32;
/// One percent.
pub(super) const AUDIT_ONE_IN: u32 = 100;
const AUDIT_PERCENT: std::ops::RangeInclusive<f64> = 0.01..=100.0;

#[cfg(test)]
mod tests {
    use super::super::super::super::SearchPath;
    use super::super::super::tests::{block, error};
    use super::*;

    fn search(directive: &str) -> SearchPath {
        block(&format!("cache\nforward . ::1\n{directive}")).search.expect("searchpath")
    }

    #[test]
    fn options_are_read() {
        let search = search(
            "searchpath cut {\n domain k8s.Cluster.local\n search b.test a.test b.test .\n \
             search x.k8s.cluster.local cluster.local\n except Legacy kube-system\n except _x\n \
             audit off\n}",
        );
        assert_eq!(search.mode, SearchMode::Cut);
        assert_eq!(search.domain.to_string(), "k8s.cluster.local.");
        assert_eq!(
            search.host_domains.iter().map(Name::to_string).collect::<Vec<_>>(),
            ["b.test.", "a.test.", "cluster.local."]
        );
        assert_eq!(search.except, ["legacy", "kube-system", "_x"]);
        assert_eq!(search.audit_one_in, 0);
    }

    #[test]
    fn a_share_is_one_in_so_many() {
        for (share, one_in) in
            [("1%", 100), ("0.01%", 10_000), ("100%", 1), ("2.5%", 40), ("3%", 33), (".5%", 200)]
        {
            assert_eq!(search(&format!("searchpath {{\n audit {share}\n}}")).audit_one_in, one_in);
        }
        for share in ["0%", "0.001%", "100.1%", "1", "%", "-1%", "1e1%", "inf%", "1.2.3%", ""] {
            let message = error(&format!("searchpath {{\n audit \"{share}\"\n}}"));
            assert!(message.ends_with("a share from `0.01%` to `100%`, or `off`"), "{message}");
        }
    }

    #[test]
    fn nonsense_is_refused_where_it_stands() {
        let many = format!("searchpath {{\n search {}\n}}", "a ".repeat(33));
        let long = format!("searchpath {{\n except {}\n}}", "x".repeat(64));
        for (lines, expected) in [
            ("searchpath on", "Corefile:2:12: found `on`, expected `off`, `cut` or `rewrite`"),
            ("searchpath cut x", "Corefile:2:16: found `x`, expected the end of `searchpath`"),
            (
                "searchpath {\n domains a\n}",
                "Corefile:3:2: found `domains`, expected one of domain, search, except, audit (options of searchpath); did you mean `domain`?",
            ),
            (
                "searchpath {\n domain .\n}",
                "Corefile:3:9: found `.`, expected the cluster domain, such as `cluster.local`",
            ),
            (
                "searchpath {\n domain\n}",
                "Corefile:3:2: found nothing after `domain`, expected the cluster domain, such as `cluster.local`",
            ),
            (
                "searchpath {\n search\n}",
                "Corefile:3:2: found nothing after `search`, expected search domains (`.` for none)",
            ),
            (
                "searchpath {\n search a..b\n}",
                "Corefile:3:9: found `a..b`, expected a domain name (a label is empty)",
            ),
            (&many, "Corefile:3:73: found `a`, expected at most 32 search domains"),
            (
                "searchpath {\n except a.b\n}",
                "Corefile:3:9: found `a.b`, expected a namespace, which is one label of at most 63 octets such as `kube-system`",
            ),
            (
                "searchpath {\n audit 1% x\n}",
                "Corefile:3:11: found `x`, expected the end of `audit`",
            ),
        ] {
            assert_eq!(error(lines), expected);
        }
        assert!(error(&long).contains("one label of at most 63 octets"));
        assert!(error("searchpath {\n except \"a\\\\b\"\n}").contains("a namespace"));
    }
}
