//! The template of the Corefile: `__PILLAR__` tokens out, values in, as node-cache does it.
//!
//! Lines stay where they are, so a position in the filled-in text becomes one in the template by
//! its column alone (`Filled::place`); messages then name what the operator can edit, and the
//! token behind a value. A token without a value is left as it is: in a comment it does no harm,
//! and elsewhere the parser finds it, to which `Values::explain` adds what to do.

use std::net::IpAddr;

use super::corefile::{self, Directive, ServerBlock, Token};
use super::environment::Environment;
use super::kube_dns::{KubeDns, StubDomain};
use super::{ConfigError, Position};

/// What takes the place of tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Values {
    /// `__PILLAR__LOCAL__DNS__`.
    pub node_addresses: Vec<IpAddr>,
    /// `__PILLAR__CLUSTER__DNS__`, or what to do to have one.
    pub cluster_dns: Result<IpAddr, String>,
    /// `__PILLAR__UPSTREAM__SERVERS__`; empty: the node's resolv.conf.
    pub upstream_servers: Vec<String>,
    /// `__PROMETHEUS__ENDPOINT__`.
    pub prometheus: String,
}

/// A template with its tokens filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filled {
    /// The text.
    pub text: String,
    /// What was filled in, in the order of the text.
    fillings: Vec<Filling>,
}

/// A value in the place of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Filling {
    line: usize,
    /// Column and length of the value, in characters.
    column: usize,
    len: usize,
    /// The column of the token in the template.
    token_column: usize,
    token: &'static str,
}

/// The blocks of a template, and the text that says the same without tokens.
///
/// With `upstream_servers` of its own a `forward` to them loses its `force_tcp`: the template asks
/// the servers of the node that way, and those of the ConfigMap need not speak TCP.
pub fn read(
    file: &str,
    template: &str,
    values: &Values,
    environment: &dyn Environment,
) -> Result<(Vec<ServerBlock>, String), ConfigError> {
    let parse = |filled: &Filled| {
        corefile::parse_placed(file, &filled.text, &|token| filled.place(token), environment)
            .map_err(|error| values.explain(error))
    };
    let filled = values.fill_in(template);
    let blocks = parse(&filled)?;
    let forced = match values.upstream_servers.is_empty() {
        true => Vec::new(),
        false => forced_tcp(file, &blocks),
    };
    if forced.is_empty() {
        return Ok((blocks, filled.text));
    }
    let filled = values.fill_in(&blanked(template, &forced));
    Ok((parse(&filled)?, filled.text))
}

/// The block of a stub domain, and its text. An error if there is no address to listen on.
pub fn stub_block(
    stub: &StubDomain,
    node_addresses: &[IpAddr],
    port: u16,
    environment: &dyn Environment,
) -> Result<(Vec<ServerBlock>, String), ConfigError> {
    let StubDomain { domain, servers, position } = stub;
    if node_addresses.is_empty() {
        return Err(ConfigError {
            position: position.clone(),
            found: format!("`{domain}` and no address to answer it on"),
            expected: "-localip ADDRESSES on the command line".to_owned(),
        });
    }
    let (addresses, servers) = (spaced(node_addresses), servers.join(" "));
    let text = format!(
        "\n{domain}:{port} {{\n    errors\n    cache {STUB_TTL_SECS}\n    bind {addresses}\n    \
         forward . {servers}\n}}\n"
    );
    let place = |token: &mut Token| token.position = position.clone();
    let blocks = corefile::parse_placed(&position.file, &text, &place, environment)?;
    Ok((blocks, text))
}

/// The variable that holds the ClusterIP of a Service, as Kubernetes names it.
pub fn service_variable(service: &str) -> String {
    format!("{}_SERVICE_HOST", service.to_uppercase().replace('-', "_"))
}

impl Values {
    /// What the command line, the environment and the ConfigMap give.
    pub fn of(
        flags: &super::flags::Flags,
        kube_dns: &KubeDns,
        environment: &dyn Environment,
    ) -> Self {
        Self {
            node_addresses: flags.node_addresses.clone(),
            cluster_dns: cluster_dns(&flags.upstream_service, environment),
            upstream_servers: kube_dns.upstream_nameservers.clone(),
            prometheus: flags.prometheus_listen_address.clone(),
        }
    }

    fn fill_in(&self, template: &str) -> Filled {
        let mut filled = Filled { text: String::new(), fillings: Vec::new() };
        for (index, line) in template.split('\n').enumerate() {
            if index > 0 {
                filled.text.push('\n');
            }
            self.fill_in_line(line, index + 1, &mut filled);
        }
        filled
    }

    fn fill_in_line(&self, line: &str, number: usize, filled: &mut Filled) {
        let (line_start, mut done) = (filled.text.len(), 0);
        for (at, _) in line.match_indices(TOKEN_START) {
            let Some(token) = TOKENS.iter().find(|token| line[at..].starts_with(**token)) else {
                continue;
            };
            let (before, after) = (&line[..at], &line[at + token.len()..]);
            let Some(value) = self.value(token, before, after) else { continue };
            filled.text.push_str(&line[done..at]);
            filled.fillings.push(Filling {
                line: number,
                column: 1 + filled.text[line_start..].chars().count(),
                len: value.chars().count(),
                token_column: 1 + before.chars().count(),
                token,
            });
            filled.text.push_str(&value);
            done = at + token.len();
        }
        filled.text.push_str(&line[done..]);
    }

    /// The value of a token that stands between `before` and `after`.
    fn value(&self, token: &str, before: &str, after: &str) -> Option<String> {
        match token {
            LOCAL_DNS => self.local_dns(before, after),
            CLUSTER_DNS => self.cluster_dns.as_ref().ok().map(|address| written(*address, after)),
            UPSTREAM_SERVERS if self.upstream_servers.is_empty() => Some(RESOLV_CONF.to_owned()),
            UPSTREAM_SERVERS => Some(self.upstream_servers.join(" ")),
            // With addresses from -localip the DNS server's is among them.
            DNS_SERVER => Some(String::new()),
            PROMETHEUS_ENDPOINT => Some(self.prometheus.clone()),
            _ => None,
        }
    }

    /// All addresses; as a part of a word, such as `__PILLAR__LOCAL__DNS__:8080`, the first.
    fn local_dns(&self, before: &str, after: &str) -> Option<String> {
        let first = *self.node_addresses.first()?;
        let is_word = !before.ends_with(|c: char| !c.is_whitespace())
            && !after.starts_with(|c: char| !c.is_whitespace());
        Some(match is_word {
            true => spaced(&self.node_addresses),
            false => written(first, after),
        })
    }

    /// Adds what to do to an error about a token that was left.
    fn explain(&self, mut error: ConfigError) -> ConfigError {
        let no_addresses =
            "-localip ADDRESSES on the command line, which take its place".to_owned();
        let no_cluster_dns = self.cluster_dns.as_ref().err().cloned();
        let remedies = [
            (LOCAL_DNS, Some(no_addresses)),
            (CLUSTER_DNS, no_cluster_dns),
            (DNS_DOMAIN, Some(DNS_DOMAIN_REMEDY.to_owned())),
        ];
        let about = |token: &str| error.found.contains(token);
        let remedy =
            remedies.into_iter().find_map(|(token, remedy)| remedy.filter(|_| about(token)));
        if let (Some(remedy), true) = (remedy, error.expected == corefile::PLACEHOLDER_EXPECTED) {
            error.expected = remedy;
        }
        error
    }
}

/// Adds what to do to an error about a token in a Corefile that is no template.
pub fn explain_without_template(mut error: ConfigError) -> ConfigError {
    if error.expected == corefile::PLACEHOLDER_EXPECTED {
        error.expected = match error.found.contains(DNS_DOMAIN) {
            true => DNS_DOMAIN_REMEDY.to_owned(),
            false => {
                let expected = corefile::PLACEHOLDER_EXPECTED;
                format!(
                    "{expected}: they are filled in where a template is named with -basecorefile"
                )
            }
        };
    }
    error
}

impl Filled {
    /// Tells a word of the text where it stands in the template, and how it is written there if
    /// that is different.
    fn place(&self, token: &mut Token) {
        let Position { line, column, .. } = token.position;
        let len = token.written.as_ref().unwrap_or(&token.text).chars().count();
        let end = column + len + 2 * usize::from(token.quoted);
        let from = self.fillings.partition_point(|filling| filling.line < line);
        let of_line = self.fillings[from..].iter().take_while(|filling| filling.line == line);
        for filling in of_line.take_while(|filling| filling.column < end) {
            if filling.column + filling.len <= column {
                let beyond = column - (filling.column + filling.len);
                token.position.column = filling.token_column + filling.token.len() + beyond;
                continue;
            }
            if filling.column <= column {
                token.position.column = filling.token_column;
            }
            token.written.get_or_insert_with(|| filling.token.to_owned());
        }
    }
}

/// The ClusterIP of a Service, or what to do to have it.
fn cluster_dns(service: &str, environment: &dyn Environment) -> Result<IpAddr, String> {
    if let Ok(address) = service.parse() {
        return Ok(address);
    }
    let variable = service_variable(service);
    let remedy = format!(
        "create the Service `{service}` before this pod starts, leave enableServiceLinks on, or \
         give its address: -upstreamsvc ADDRESS"
    );
    let Some(value) = environment.variable(&variable) else {
        return Err(format!(
            "the ClusterIP of the Service of -upstreamsvc in its place, but the variable \
             {variable} is not set: {remedy}"
        ));
    };
    value.parse().map_err(|_| {
        let value: String =
            value.chars().flat_map(char::escape_debug).take(VALUE_SHOWN_MAX).collect();
        format!(
            "the ClusterIP of the Service of -upstreamsvc in its place, but the variable \
             {variable} says `{value}`, which is no address: {remedy}"
        )
    })
}

/// Where `force_tcp` stands in forwards to the upstream servers of the template.
fn forced_tcp(file: &str, blocks: &[ServerBlock]) -> Vec<Position> {
    let is_upstream = |token: &Token| token.written.as_deref() == Some(UPSTREAM_SERVERS);
    let directives = blocks.iter().flat_map(|block| &block.directives);
    let forwards =
        directives.filter(|line| line.name == "forward" && line.args.iter().any(is_upstream));
    let is_forced = |option: &&Directive| option.name == FORCE_TCP && option.position.file == file;
    let options = forwards.flat_map(|line| line.body.iter().filter(is_forced));
    options.map(|option| option.position.clone()).collect()
}

/// The text with blanks where `force_tcp` stands at these places.
fn blanked(template: &str, places: &[Position]) -> String {
    let mut lines: Vec<String> = template.split('\n').map(str::to_owned).collect();
    for place in places {
        let line = &mut lines[place.line - 1];
        let at = line.char_indices().nth(place.column - 1).map_or(line.len(), |(at, _)| at);
        if line[at..].starts_with(FORCE_TCP) {
            line.replace_range(at..at + FORCE_TCP.len(), &" ".repeat(FORCE_TCP.len()));
        }
    }
    lines.join("\n")
}

/// An address as it is written before `after`: a port wants IPv6 in brackets.
fn written(address: IpAddr, after: &str) -> String {
    match (address, after.starts_with(':')) {
        (IpAddr::V6(address), true) => format!("[{address}]"),
        _ => address.to_string(),
    }
}

fn spaced(addresses: &[IpAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// What every token begins with.
const TOKEN_START: &str = "__P";
const LOCAL_DNS: &str = "__PILLAR__LOCAL__DNS__";
const CLUSTER_DNS: &str = "__PILLAR__CLUSTER__DNS__";
const UPSTREAM_SERVERS: &str = "__PILLAR__UPSTREAM__SERVERS__";
const DNS_SERVER: &str = "__PILLAR__DNS__SERVER__";
const DNS_DOMAIN: &str = "__PILLAR__DNS__DOMAIN__";
const PROMETHEUS_ENDPOINT: &str = "__PROMETHEUS__ENDPOINT__";
/// The tokens that have a value.
const TOKENS: [&str; 5] =
    [LOCAL_DNS, CLUSTER_DNS, UPSTREAM_SERVERS, DNS_SERVER, PROMETHEUS_ENDPOINT];
const DNS_DOMAIN_REMEDY: &str = "the cluster's domain in its place, which the installation puts \
                                 there: sed s/__PILLAR__DNS__DOMAIN__/cluster.local/g";
/// The upstream servers of a node.
const RESOLV_CONF: &str = "/etc/resolv.conf";
const FORCE_TCP: &str = "force_tcp";
/// node-cache's TTL for stub domains.
const STUB_TTL_SECS: u32 = 30;
/// Characters of a value repeated in a message.
const VALUE_SHOWN_MAX: usize = 80;

#[cfg(test)]
mod tests;
