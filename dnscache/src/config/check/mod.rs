//! From what was typed to what is meant: server blocks in, [`Config`] out.
//!
//! Every directive has its option syntax from CoreDNS. What CoreDNS has and this program has not
//! is an error that lists what there is; what this program bounds more tightly is accepted with a
//! warning. The first error ends the check.

mod acl;
mod arguments;
mod cache;
mod clients;
mod dns64;
mod endpoints;
mod forward;
mod hosts;
mod hot;
mod listen;
mod logging;
mod packets;
mod process;
mod rewrite;
mod search;
pub mod timeouts;
mod slow_log;
mod template;
mod zones;

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::engine::wire::UDP_REPLY_MAX;
use crate::engine::wire::name::Name;

use super::corefile::{Directive, ServerBlock, Token};
use super::environment::Environment;
use super::{Block, Clients, Config, ConfigError, Origin, Position, Timeouts, registry};
use arguments::{Arguments, error_at, unknown};

pub(super) use acl::network;

/// The directives there are, in the order a query meets them.
pub const DIRECTIVES: [&str; 30] = [
    "bind",
    "multisocket",
    "reload",
    "health",
    "ready",
    "prometheus",
    "pprof",
    "timeouts",
    "debug",
    "trace",
    "errors",
    "log",
    "slowlog",
    "bufsize",
    "acl",
    "clients",
    "dns64",
    "any",
    "chaos",
    "loadbalance",
    "cache",
    "rewrite",
    "template",
    "searchpath",
    "hotnames",
    "hosts",
    "loop",
    "forward",
    "whoami",
    "import",
];

/// Checks `blocks`. Keys without a port get `port_default`. The fingerprint is left at 0: it
/// belongs to whoever did the reading.
pub fn check(
    blocks: &[ServerBlock],
    origin: Origin,
    port_default: u16,
    environment: &dyn Environment,
) -> Result<Config, ConfigError> {
    if blocks.is_empty() {
        let position = Position { file: origin.to_string(), line: 1, column: 1 };
        let found = "no server block".to_owned();
        let expected = "one at least, such as `. { forward . /etc/resolv.conf }`";
        return Err(ConfigError { position, found, expected: expected.to_owned() });
    }
    let mut config = empty(origin);
    let mut warnings = Warnings::default();
    let (mut searches, mut hot) = (search::Searches::default(), hot::Hot::default());
    let (mut clients, mut slow_log) = (clients::OfProcess::default(), slow_log::SlowLog::default());
    for server in blocks {
        let before = config.blocks.len();
        let blocks = server_block(server, port_default, environment, &mut config, &mut warnings)?;
        config.blocks.extend(blocks);
        searches.read(server, before..config.blocks.len())?;
        hot.read(server)?;
        clients.read(server)?;
        slow_log.read(server)?;
        if config.blocks.len() > BLOCKS_MAX {
            return Err(server.keys[0].error("fewer server blocks (at most 4,096)"));
        }
    }
    check_overlaps(&config.blocks)?;
    check_pages(&config)?;
    timeouts::warn_of_differences(&config.blocks, &mut warnings);
    packets::check(&config.blocks)?;
    searches.fill_in(&mut config.blocks, environment, &mut warnings)?;
    config.hot = hot.names();
    config.clients = clients.limits();
    config.slow_log = slow_log.threshold();
    config.warnings = warnings.0;
    Ok(config)
}

/// Things accepted but worth a line in the log, each once.
#[derive(Default)]
struct Warnings(Vec<String>);

impl Warnings {
    fn add(&mut self, position: &Position, text: String) {
        let warning = format!("{position}: {text}");
        if self.0.len() < WARNINGS_MAX && !self.0.contains(&warning) {
            self.0.push(warning);
        }
    }
}

fn empty(origin: Origin) -> Config {
    Config {
        origin,
        blocks: Vec::new(),
        sockets: None,
        reload: None,
        health: None,
        ready: Vec::new(),
        prometheus: Vec::new(),
        hot: Some(hot::HOT_NAMES),
        clients: Some(Clients::DEFAULT),
        slow_log: Some(slow_log::THRESHOLD),
        fingerprint: 0,
        warnings: Vec::new(),
    }
}

/// The blocks of one server block: one for each port of its keys.
fn server_block(
    server: &ServerBlock,
    port_default: u16,
    environment: &dyn Environment,
    config: &mut Config,
    warnings: &mut Warnings,
) -> Result<Vec<Block>, ConfigError> {
    let mut ports: Vec<(u16, Vec<Name>)> = Vec::new();
    for key in &server.keys {
        let (zones, port) = zones::key(key, port_default)?;
        match ports.iter_mut().find(|(known, _)| *known == port) {
            Some((_, known)) => known.extend(zones),
            None => ports.push((port, zones)),
        }
    }
    let mut bound: Vec<SocketAddr> = Vec::new();
    for line in server.directives.iter().filter(|line| line.name == "bind") {
        for address in listen::bind(line, environment)? {
            if !bound.contains(&address) {
                bound.push(address);
            }
        }
    }
    // `bind ::` is every address, of IPv4 as well, as in CoreDNS.
    let (all_v6, all_v4) = everywhere(0).into();
    if bound.contains(&all_v6) && !bound.contains(&all_v4) {
        bound.push(all_v4);
    }
    let template = directives(server, &bound, environment, config, warnings)?;
    let block = |(port, zones)| with_addresses(template.clone(), zones, &bound, port);
    Ok(ports.into_iter().map(block).collect())
}

/// Every address of either family.
fn everywhere(port: u16) -> [SocketAddr; 2] {
    let addresses = [Ipv6Addr::UNSPECIFIED.into(), Ipv4Addr::UNSPECIFIED.into()];
    addresses.map(|address| SocketAddr::new(address, port))
}

/// Fills in what depends on the port.
fn with_addresses(mut block: Block, zones: Vec<Name>, bound: &[SocketAddr], port: u16) -> Block {
    for template in block.templates.iter_mut().filter(|template| template.zones.is_empty()) {
        template.zones.clone_from(&zones);
    }
    block.zones = zones;
    if bound.is_empty() {
        block.listen = everywhere(port).to_vec();
        block.server_label = format!("dns://:{port}");
    } else {
        block.listen = bound.iter().map(|&address| listen::with_port(address, port)).collect();
        block.server_label = format!("dns://{}", block.listen[0]);
    }
    block
}

/// Reads the directives of one server block: those about it into the block that is returned,
/// those about the process into `config`.
fn directives(
    server: &ServerBlock,
    bound: &[SocketAddr],
    environment: &dyn Environment,
    config: &mut Config,
    warnings: &mut Warnings,
) -> Result<Block, ConfigError> {
    let mut block = empty_block(server.position.clone());
    let mut seen: HashMap<&str, &Position> = HashMap::new();
    for line in &server.directives {
        if let Some(first) = seen.insert(&line.name, &line.position)
            && !REPEATABLE.contains(&line.name.as_str())
        {
            let expected = format!("this directive once in a block (it stands at {first} too)");
            return Err(error_at(&line.position, &line.name, &expected));
        }
        match line.name.as_str() {
            // Read by themselves: `bind` before this, the others when all blocks are known.
            "bind" | "searchpath" | "hotnames" | "clients" | "slowlog" => {}
            "multisocket" => process::multisocket(line, config)?,
            "reload" => process::reload(line, config, warnings)?,
            "health" => listen::health(line, bound, config)?,
            "ready" => listen::ready(line, bound, config)?,
            "prometheus" => listen::prometheus(line, config)?,
            _ => block_directive(&mut block, line, environment, warnings)?,
        }
    }
    if server.directives.is_empty() {
        let text = "a server block without directives refuses every question";
        warnings.add(&server.position, text.to_owned());
    }
    Ok(block)
}

fn block_directive(
    block: &mut Block,
    line: &Directive,
    environment: &dyn Environment,
    warnings: &mut Warnings,
) -> Result<(), ConfigError> {
    match line.name.as_str() {
        "timeouts" => block.timeouts = timeouts::timeouts(line)?,
        "pprof" | "trace" => process::left_to_others(line, warnings),
        "debug" => block.debug = alone(line)?,
        "loop" => block.detect_loop = alone(line)?,
        "whoami" => block.whoami = alone(line)?,
        // ANY is answered minimally (RFC 8482) whether this is written or not.
        "any" => drop(alone(line)?),
        "errors" => {
            logging::errors(line)?;
            block.errors = true;
        }
        "log" => block.log = Some(logging::log(line, block.log.take(), warnings)?),
        "bufsize" => block.bufsize = process::bufsize(line, warnings)?,
        "acl" => block.acl.extend(acl::acl(line, environment)?),
        "chaos" => block.chaos = Some(process::chaos(line)?),
        "loadbalance" => block.rotate = process::loadbalance(line)?,
        "cache" => block.cache = Some(cache::cache(line, warnings)?),
        "hosts" => block.hosts = Some(hosts::hosts(line)?),
        "rewrite" => block.rewrites.push(rewrite::rewrite(line)?),
        "template" => block.templates.push(template::template(line)?),
        "dns64" => block.dns64 = Some(dns64::dns64(line)?),
        "forward" => {
            let forward = forward::forward(line, environment, warnings)?;
            if let Some(first) = block.forwards.iter().find(|first| first.from == forward.from) {
                let place = &first.position;
                let expected = format!("another zone: {place} forwards {} already", forward.from);
                return Err(error_at(&line.position, &line.name, &expected));
            }
            block.forwards.push(forward);
        }
        _ => return Err(unknown(line, "directives", &DIRECTIVES, &[])),
    }
    Ok(())
}

/// A directive without arguments; true, because it is there.
fn alone(line: &Directive) -> Result<bool, ConfigError> {
    Arguments::of(line).finish().map(|()| true)
}

/// A response code as the header has room for it: its name or number.
fn response_code(token: &Token) -> Result<u8, ConfigError> {
    let by_number = || token.text.parse().ok();
    let code = registry::response_code(&token.text).or_else(by_number).filter(|&code| code <= 15);
    code.map(|code| code as u8).ok_or_else(|| {
        let names: Vec<_> = registry::response_code_names()
            .filter(|name| registry::response_code(name).is_some_and(|code| code <= 15))
            .collect();
        token.error(&format!("a response code from 0 to 15, or its name: {}", names.join(", ")))
    })
}

fn empty_block(position: Position) -> Block {
    Block {
        position,
        zones: Vec::new(),
        listen: Vec::new(),
        server_label: String::new(),
        acl: Vec::new(),
        cache: None,
        search: None,
        forwards: Vec::new(),
        hosts: None,
        rewrites: Vec::new(),
        templates: Vec::new(),
        dns64: None,
        whoami: false,
        chaos: None,
        rotate: false,
        bufsize: UDP_REPLY_MAX as u16,
        log: None,
        errors: false,
        detect_loop: false,
        debug: false,
        timeouts: Timeouts::default(),
    }
}

/// A zone may be served once per address; an address here is also covered by a wildcard.
fn check_overlaps(blocks: &[Block]) -> Result<(), ConfigError> {
    let mut served: HashMap<&Name, Vec<(&SocketAddr, &Position)>> = HashMap::new();
    for block in blocks {
        for zone in &block.zones {
            let served = served.entry(zone).or_default();
            for address in &block.listen {
                if let Some((_, first)) =
                    served.iter().find(|(other, _)| listen::overlap(other, address))
                {
                    return Err(ConfigError {
                        position: block.position.clone(),
                        found: format!("zone `{zone}` on {address}"),
                        expected: format!("a zone or address not served by the block at {first}"),
                    });
                }
            }
            served.extend(block.listen.iter().map(|address| (address, &block.position)));
        }
    }
    Ok(())
}

/// Refuses pages on addresses that questions come to as well.
fn check_pages(config: &Config) -> Result<(), ConfigError> {
    let health = config.health.iter().flat_map(|health| &health.listen);
    let pages = [("prometheus", &config.prometheus), ("ready", &config.ready)];
    let pages = pages.into_iter().flat_map(|(name, at)| at.iter().map(move |page| (name, page)));
    for (name, page) in pages.chain(health.map(|page| ("health", page))) {
        check_page(&config.blocks, name, page)?;
    }
    Ok(())
}

/// Refuses a page's address that questions come to as well: the kernel would give half of the TCP
/// connections to either.
pub fn check_page(blocks: &[Block], name: &str, page: &SocketAddr) -> Result<(), ConfigError> {
    let answers = |block: &&Block| block.listen.iter().any(|own| listen::overlap(own, page));
    match blocks.iter().find(answers) {
        None => Ok(()),
        Some(block) => Err(ConfigError {
            position: block.position.clone(),
            found: format!("`{name}` on {page}, where this block answers questions"),
            expected: "an address or port of its own for the page".to_owned(),
        }),
    }
}

/// Directives of which a block may have several.
const REPEATABLE: [&str; 6] = ["bind", "log", "acl", "forward", "rewrite", "template"];
/// Blocks are numbered in 16 bits; this many are more than any node needs.
const BLOCKS_MAX: usize = 4096;
/// Warnings kept.
const WARNINGS_MAX: usize = 100;

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::super::corefile;
    use super::super::environment::tests::Literal;
    use super::*;

    fn environment() -> Literal {
        Literal::default()
            .file("networks", "192.0.2.0/24 # a\n\n# b\n2001:db8::/32\n")
            .file("empty", "# nothing\n")
            .file("broken", "192.0.2.1\nx\n")
            .interface("eth0", &["10.0.0.5", "fe80::5"])
            .interface("bare", &[])
    }

    fn read(text: &str) -> Result<Config, ConfigError> {
        let blocks = corefile::parse("Corefile", text, &environment())?;
        check(&blocks, Origin::File("Corefile".into()), 53, &environment())
    }

    pub(crate) fn config(text: &str) -> Config {
        read(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    /// The block with these directives; they begin in line 2.
    pub(crate) fn block(lines: &str) -> Block {
        config(&format!(". {{\n{lines}\n}}")).blocks.remove(0)
    }

    /// The warnings about these directives.
    pub(crate) fn warnings(lines: &str) -> Vec<String> {
        config(&format!(". {{\n{lines}\n}}")).warnings
    }

    /// The error in these directives.
    pub(crate) fn error(lines: &str) -> String {
        refusal(&format!(". {{\n{lines}\n}}"))
    }

    /// The error in this Corefile.
    pub(crate) fn refusal(text: &str) -> String {
        match read(text) {
            Ok(config) => panic!("accepted: {config:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_block_without_bind_listens_everywhere() {
        let block = block("errors");
        let listen: Vec<_> = block.listen.iter().map(SocketAddr::to_string).collect();
        assert_eq!(listen, ["[::]:53", "0.0.0.0:53"]);
        assert_eq!(block.server_label, "dns://:53");
    }

    #[test]
    fn keys_with_different_ports_are_different_blocks() {
        let config = config("a:1, b:2 c:1 {\n bind 10.0.0.1\n cache\n}");
        let shown: Vec<_> = config
            .blocks
            .iter()
            .map(|block| (block.zones.len(), block.server_label.as_str(), block.cache.is_some()))
            .collect();
        assert_eq!(shown, [(2, "dns://10.0.0.1:1", true), (1, "dns://10.0.0.1:2", true)]);
    }

    #[test]
    fn a_zone_is_served_once_per_address() {
        for text in [
            "a {\n errors\n}\na {\n errors\n}",
            "a a {\n errors\n}",
            "a {\n bind 10.0.0.1\n}\nA. {\n errors\n}",
            "a:54 {\n errors\n}\nb:54 a:54 {\n bind ::1\n}",
            "10.0.0.0/7 {\n errors\n}\n11.in-addr.arpa {\n errors\n}",
        ] {
            let error = read(text).expect_err(text).to_string();
            assert!(error.contains("not served by the block at Corefile:1:1"), "{error}");
        }
        for text in [
            "a {\n errors\n}\nb {\n errors\n}",
            "a {\n errors\n}\na:54 {\n errors\n}",
            "a {\n bind 10.0.0.1\n}\na {\n bind 10.0.0.2\n}",
            "a {\n bind 0.0.0.0\n}\na {\n bind ::1\n}",
        ] {
            assert!(read(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn unknown_directives_list_those_there_are() {
        let message = error("kubernetes cluster.local");
        assert!(message.starts_with("Corefile:2:1: found `kubernetes`, expected one of bind, "));
        assert!(DIRECTIVES.iter().all(|name| message.contains(name)));
        assert!(error("cahce").ends_with("did you mean `cache`?"));
    }

    #[test]
    fn most_directives_stand_once() {
        assert_eq!(
            error("cache\ncache 30"),
            "Corefile:3:1: found `cache`, expected this directive once in a block (it stands at Corefile:2:1 too)"
        );
        assert!(
            error("forward . ::1\nforward . ::2").contains("another zone: Corefile:2:1 forwards .")
        );
        assert_eq!(block("forward . ::1\nforward a ::2").forwards.len(), 2);
    }

    #[test]
    fn switches_take_nothing() {
        let block = block("loop\nwhoami\ndebug\nany");
        assert!(block.detect_loop && block.whoami && block.debug);
        for name in ["loop", "whoami", "debug", "any"] {
            assert!(error(&format!("{name} x")).contains(&format!("the end of `{name}`")));
        }
    }

    #[test]
    fn an_empty_file_serves_nothing() {
        let error = read("# nothing\n").expect_err("empty");
        assert!(error.to_string().starts_with("Corefile:1:1: found no server block"));
    }

    #[test]
    fn a_block_that_refuses_everything_is_warned_about() {
        assert_eq!(config("a").warnings.len(), 1);
    }

    /// A Corefile that uses everything, to be broken at random.
    const EVERYTHING: &str =
        include_str!("../../../../tests/data/corefiles/good/everything.corefile");

    #[test]
    fn every_ipv6_address_brings_those_of_ipv4() {
        let listen =
            |lines| block(lines).listen.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(listen("bind ::"), ["[::]:53", "0.0.0.0:53"]);
        assert_eq!(listen("bind ::1"), ["[::1]:53"]);
    }

    #[test]
    fn a_page_where_questions_are_answered_is_refused() {
        let message = error("bind 127.0.0.1\nhealth 127.0.0.1:53");
        assert!(message.contains("`health` on 127.0.0.1:53"), "{message}");
        assert!(error("prometheus :53").contains("`prometheus` on [::]:53"));
    }

    proptest! {
        #[test]
        fn mutated_corefiles_never_panic(
            cuts in proptest::collection::vec((0..EVERYTHING.len(), 0..12_usize, "[ -~\\n]{0,6}"), 1..8)
        ) {
            let mut text = EVERYTHING.as_bytes().to_vec();
            for (at, len, new) in cuts {
                let at = at.min(text.len());
                let end = (at + len).min(text.len());
                text.splice(at..end, new.into_bytes());
            }
            let _ = read(&String::from_utf8_lossy(&text));
        }

    #[test]
        fn shuffled_words_never_panic(
            picks in proptest::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 1..80)
        ) {
            let words: Vec<_> = EVERYTHING.split_whitespace().collect();
            let mut text = ". {\n".to_owned();
            for (pick, newline) in picks {
                text.push_str(pick.get::<&str>(&words));
                text.push(if newline { '\n' } else { ' ' });
            }
            let _ = read(&text);
            let _ = read(&(text + "\n}"));
        }
    }
}
