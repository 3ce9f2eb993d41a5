//! Where to listen: `bind` for questions; `health`, `ready` and `prometheus` for HTTP.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use super::super::corefile::{Directive, Token};
use super::super::environment::Environment;
use super::super::{Config, ConfigError, Health};
use super::arguments::{Arguments, duration, error_at, unknown};

/// The addresses of a `bind`, with port 0.
pub(super) fn bind(
    line: &Directive,
    environment: &dyn Environment,
) -> Result<Vec<SocketAddr>, ConfigError> {
    let mut bound = Vec::new();
    for token in Arguments::of(line).need_rest(BIND_EXPECTED)? {
        bound.extend(bind_target(token, environment)?);
    }
    for option in &line.body {
        if option.name != "except" {
            return Err(unknown(option, "options of bind", &["except"], &[]));
        }
        let mut args = Arguments::of(option);
        for token in args.need_rest(BIND_EXPECTED)? {
            let except = bind_target(token, environment)?;
            bound.retain(|address| !except.contains(address));
        }
        args.finish()?;
    }
    match bound.is_empty() {
        true => Err(error_at(&line.position, &line.name, "an address that `except` leaves")),
        false => Ok(bound),
    }
}

fn bind_target(
    token: &Token,
    environment: &dyn Environment,
) -> Result<Vec<SocketAddr>, ConfigError> {
    let text = token.text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    if let Some(address) = address(text.unwrap_or(&token.text), 0, token, environment)? {
        return Ok(vec![address]);
    }
    let Some(index) = environment.interface_index(&token.text) else {
        return Err(token.error(BIND_EXPECTED));
    };
    let addresses = environment
        .interface_addresses(index)
        .map_err(|reason| token.error(&format!("an interface whose addresses show ({reason})")))?;
    if addresses.is_empty() {
        return Err(token.error("an interface that has an address"));
    }
    Ok(addresses.into_iter().map(|address| scoped(address, 0, index)).collect())
}

/// Reads `ADDRESS` or `ADDRESS%ZONE`, where the zone is an interface or its number; `None` if the
/// text is no address at all.
pub(super) fn address(
    text: &str,
    port: u16,
    token: &Token,
    environment: &dyn Environment,
) -> Result<Option<SocketAddr>, ConfigError> {
    let (host, zone) = match text.split_once('%') {
        Some((host, zone)) => (host, Some(zone)),
        None => (text, None),
    };
    let Ok(address) = host.parse::<IpAddr>() else {
        return Ok(None);
    };
    let scope = match (address, zone) {
        (IpAddr::V6(address), None) if address.is_unicast_link_local() => {
            return Err(token.error(&format!("the interface too, such as `{address}%eth0`")));
        }
        (_, None) => 0,
        (IpAddr::V4(_), Some(_)) => return Err(token.error("no `%` in an IPv4 address")),
        (IpAddr::V6(_), Some(zone)) => zone
            .parse()
            .ok()
            .or_else(|| environment.interface_index(zone))
            .ok_or_else(|| token.error("an interface of this machine after `%`"))?,
    };
    Ok(Some(scoped(address, port, scope)))
}

/// The address with its port, and its interface if it is link-local.
fn scoped(address: IpAddr, port: u16, index: u32) -> SocketAddr {
    match address {
        IpAddr::V6(address) if address.is_unicast_link_local() => {
            SocketAddr::V6(SocketAddrV6::new(address, port, 0, index))
        }
        other => SocketAddr::new(other, port),
    }
}

/// `health [ADDRESS] { lameduck DURATION }`; `bound` are the block's `bind` addresses.
pub(super) fn health(
    line: &Directive,
    bound: &[SocketAddr],
    config: &mut Config,
) -> Result<(), ConfigError> {
    let mut args = Arguments::of(line);
    let listen = endpoints(args.next(), bound, HEALTH_PORT)?;
    args.end()?;
    let mut lameduck = Duration::ZERO;
    for option in &line.body {
        match option.name.as_str() {
            "lameduck" => {
                let mut args = Arguments::of(option);
                lameduck = duration(args.need("how long to go on")?, "how long to go on")?;
                args.finish()?;
            }
            _ => return Err(unknown(option, "options of health", &["lameduck"], &[])),
        }
    }
    let health = config
        .health
        .get_or_insert_with(|| Health { listen: Vec::new(), lameduck: Duration::ZERO });
    health.lameduck = health.lameduck.max(lameduck);
    merge(&mut health.listen, listen);
    Ok(())
}

/// `ready [ADDRESS] { monitor until-ready }`.
pub(super) fn ready(
    line: &Directive,
    bound: &[SocketAddr],
    config: &mut Config,
) -> Result<(), ConfigError> {
    let mut args = Arguments::of(line);
    let listen = endpoints(args.next(), bound, READY_PORT)?;
    args.end()?;
    for option in &line.body {
        if option.name != "monitor" {
            return Err(unknown(option, "options of ready", &["monitor"], &[]));
        }
        let mut args = Arguments::of(option);
        let mode = args.need("`until-ready`")?;
        if mode.text != "until-ready" {
            return Err(mode.error("`until-ready`, the only mode dnscache offers"));
        }
        args.finish()?;
    }
    merge(&mut config.ready, listen);
    Ok(())
}

/// `prometheus [ADDRESS]`.
pub(super) fn prometheus(line: &Directive, config: &mut Config) -> Result<(), ConfigError> {
    let mut args = Arguments::of(line);
    let listen = match args.next() {
        Some(token) => endpoint(token)?,
        None => loopback(PROMETHEUS_PORT),
    };
    args.end()?;
    if let Some(option) = line.body.first() {
        return Err(unknown(option, "options of prometheus", &[], &["tls"]));
    }
    merge(&mut config.prometheus, listen);
    Ok(())
}

/// What was written, or else the block's own addresses, or else loopback: an endpoint is open to
/// others only if somebody says so.
fn endpoints(
    token: Option<&Token>,
    bound: &[SocketAddr],
    port: u16,
) -> Result<Vec<SocketAddr>, ConfigError> {
    if let Some(token) = token {
        return endpoint(token);
    }
    let own: Vec<_> = bound.iter().filter(|address| !address.ip().is_unspecified()).collect();
    match own.is_empty() {
        true => Ok(loopback(port)),
        false => Ok(own.into_iter().map(|&address| with_port(address, port)).collect()),
    }
}

/// Reads `ADDRESS:PORT`, `localhost:PORT` (loopback of both families) or `:PORT` (every address,
/// written `[::]`).
fn endpoint(token: &Token) -> Result<Vec<SocketAddr>, ConfigError> {
    let expected = "`ADDRESS:PORT`, `localhost:PORT`, or `:PORT` for every address";
    let (host, port) = split_port(&token.text).ok_or_else(|| token.error(expected))?;
    match host {
        "" => Ok(vec![SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)]),
        "localhost" => Ok(loopback(port)),
        host => match host.parse() {
            Ok(address) => Ok(vec![SocketAddr::new(address, port)]),
            Err(_) => Err(token.error(expected)),
        },
    }
}

/// Splits `HOST:PORT` or `[HOST]:PORT`. `None` without a port above 0, or if colons are left in a
/// host without brackets.
pub(super) fn split_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(inner) => inner.split_once("]:")?,
        None => text.rsplit_once(':').filter(|(host, _)| !host.contains(':'))?,
    };
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse().ok().filter(|&port| digits && port > 0)?;
    Some((host, port))
}

fn loopback(port: u16) -> Vec<SocketAddr> {
    vec![
        SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port),
        SocketAddr::new(Ipv6Addr::LOCALHOST.into(), port),
    ]
}

/// The same address with another port.
pub(super) fn with_port(mut address: SocketAddr, port: u16) -> SocketAddr {
    address.set_port(port);
    address
}

/// Adds addresses, so that none is covered by another (`:8080` and `127.0.0.1:8080` cannot both
/// be bound).
fn merge(known: &mut Vec<SocketAddr>, new: Vec<SocketAddr>) {
    for address in new {
        if !known.iter().any(|other| covers(other, &address)) {
            known.retain(|other| !covers(&address, other));
            known.push(address);
        }
    }
}

fn covers(wide: &SocketAddr, narrow: &SocketAddr) -> bool {
    let every = wide.ip().is_unspecified() && (wide.is_ipv6() || narrow.is_ipv4());
    wide == narrow || (every && wide.port() == narrow.port())
}

/// Whether a packet for one listen address could also be for the other.
pub(super) fn overlap(one: &SocketAddr, other: &SocketAddr) -> bool {
    let either_all = one.ip().is_unspecified() || other.ip().is_unspecified();
    one == other || (either_all && one.is_ipv4() == other.is_ipv4() && one.port() == other.port())
}

const BIND_EXPECTED: &str = "IP addresses or interfaces of this machine";
/// CoreDNS's ports.
const HEALTH_PORT: u16 = 8080;
const READY_PORT: u16 = 8181;
const PROMETHEUS_PORT: u16 = 9153;

#[cfg(test)]
mod tests {
    use super::super::tests::{block, config, error};
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().expect("an address")).collect()
    }

    fn listen(lines: &str) -> Vec<String> {
        texts(&block(lines).listen)
    }

    fn texts(addresses: &[SocketAddr]) -> Vec<String> {
        addresses.iter().map(SocketAddr::to_string).collect()
    }

    #[test]
    fn hosts_and_ports_are_split() {
        for (text, split) in [
            ("1.2.3.4:53", Some(("1.2.3.4", 53))),
            (":53", Some(("", 53))),
            ("[::1]:53", Some(("::1", 53))),
            ("::1", None),
            ("1.2.3.4", None),
            ("1.2.3.4:", None),
            ("1.2.3.4:0", None),
            ("1.2.3.4:+1", None),
            ("[::1]", None),
        ] {
            assert_eq!(split_port(text), split, "{text:?}");
        }
    }

    #[test]
    fn merged_addresses_do_not_cover_each_other() {
        let mut known = addresses(&["127.0.0.1:80", "[::1]:80", "127.0.0.1:81"]);
        merge(&mut known, addresses(&["[::]:80", "127.0.0.1:81", "10.0.0.1:80"]));
        assert_eq!(known, addresses(&["127.0.0.1:81", "[::]:80"]));
        merge(&mut known, addresses(&["0.0.0.0:81"]));
        assert_eq!(known, addresses(&["[::]:80", "0.0.0.0:81"]));
    }

    #[test]
    fn wildcards_overlap_within_their_family() {
        let check = |one: &str, other: &str, expected| {
            let (one, other) = (one.parse().expect("address"), other.parse().expect("address"));
            assert_eq!(overlap(&one, &other), expected, "{one} {other}");
            assert_eq!(overlap(&other, &one), expected, "{other} {one}");
        };
        check("0.0.0.0:53", "10.0.0.1:53", true);
        check("[::]:53", "[::1]:53", true);
        check("[::]:53", "10.0.0.1:53", false);
        check("0.0.0.0:53", "10.0.0.1:54", false);
        check("10.0.0.1:53", "10.0.0.2:53", false);
    }

    #[test]
    fn bind_takes_addresses_and_interfaces() {
        assert_eq!(listen("bind 10.0.0.1 ::1 ::1\nbind 10.0.0.1"), ["10.0.0.1:53", "[::1]:53"]);
        assert_eq!(listen("bind eth0"), ["10.0.0.5:53", "[fe80::5%1]:53"]);
        assert_eq!(listen("bind eth0 {\n except 10.0.0.5\n}"), ["[fe80::5%1]:53"]);
        assert_eq!(listen("bind fe80::1%eth0"), ["[fe80::1%1]:53"]);
        assert_eq!(block("bind ::1 10.0.0.1").server_label, "dns://[::1]:53");
        for (lines, expected) in [
            ("bind", "found nothing after `bind`, expected IP addresses or interfaces"),
            ("bind nope", "found `nope`, expected IP addresses or interfaces"),
            ("bind bare", "found `bare`, expected an interface that has an address"),
            ("bind fe80::1", "found `fe80::1`, expected the interface too"),
            ("bind 10.0.0.1%eth0", "expected no `%` in an IPv4 address"),
            ("bind eth0 {\n except eth0\n}", "expected an address that `except` leaves"),
            ("bind eth0 {\n but eth0\n}", "expected one of except (options of bind)"),
        ] {
            assert!(error(lines).contains(expected), "{}", error(lines));
        }
    }

    #[test]
    fn endpoints_are_loopback_unless_told_otherwise() {
        let ends = |lines: &str| {
            let config = config(&format!(". {{\n{lines}\n}}"));
            let health = config.health.map(|health| health.listen).unwrap_or_default();
            (texts(&health), texts(&config.ready), texts(&config.prometheus))
        };
        let both = |port: u16| vec![format!("127.0.0.1:{port}"), format!("[::1]:{port}")];
        assert_eq!(ends("health\nready\nprometheus"), (both(8080), both(8181), both(9153)));
        assert_eq!(ends("bind 169.254.20.10\nhealth\nready\nprometheus").0, ["169.254.20.10:8080"]);
        assert_eq!(ends("bind 0.0.0.0\nhealth").0, both(8080));
        assert_eq!(ends("health :8080").0, ["[::]:8080"]);
        assert_eq!(ends("ready 10.0.0.1:1").1, ["10.0.0.1:1"]);
        assert_eq!(ends("prometheus localhost:1").2, both(1));
        for lines in ["health 10.0.0.1", "ready x:1", "prometheus :x", "health :0", "health a b"] {
            assert!(error(lines).starts_with("Corefile:2:"), "{lines}");
        }
    }

    #[test]
    fn lameduck_and_monitor_are_read() {
        let lameduck = |text: &str| config(text).health.expect("health").lameduck.as_secs();
        assert_eq!(lameduck(". {\n health {\n  lameduck 5s\n }\n}"), 5);
        assert_eq!(lameduck("a {\n health {\n  lameduck 9s\n }\n}\nb {\n health\n}"), 9);
        assert_eq!(block("ready {\n monitor until-ready\n}").listen.len(), 2);
        assert!(
            error("ready {\n monitor continuously\n}").contains("`until-ready`, the only mode")
        );
        assert!(error("prometheus {\n tls a b\n}").contains("dnscache does not offer this one"));
    }

    #[test]
    fn endpoints_of_several_blocks_are_merged() {
        let config = config("a {\n prometheus :9253\n}\nb {\n prometheus :9253\n}");
        assert_eq!(texts(&config.prometheus), ["[::]:9253"]);
    }
}
