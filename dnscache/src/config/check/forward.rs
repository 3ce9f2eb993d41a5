//! `forward`: upstreams and how they are asked.

use std::path::PathBuf;
use std::time::Duration;

use crate::engine::wire::name::Name;

use super::super::corefile::{Directive, Token};
use super::super::environment::Environment;
use super::super::{
    ConfigError, Forward, PacketLimit, Policy, Tls, TransportPolicy, Upstream, registry,
};
use super::arguments::{Arguments, duration, error_at, number, unknown};
use super::listen::{address, split_port};
use super::{Warnings, endpoints, packets, zones};

/// `forward FROM TO... { ... }`.
pub(super) fn forward(
    line: &Directive,
    environment: &dyn Environment,
    warnings: &mut Warnings,
) -> Result<Forward, ConfigError> {
    let mut args = Arguments::of(line);
    let from = zones::zone(args.need("a zone and its upstreams")?)?;
    let mut forward = defaults(line, from);
    for token in args.need_rest(TO_EXPECTED)? {
        if forward.to.len() == UPSTREAMS_MAX {
            return Err(token.error("at most 15 upstreams"));
        }
        forward.to.push(upstream(token, environment)?);
    }
    for option in &line.body {
        let mut args = Arguments::of(option);
        read_option(&mut forward, option, &mut args, warnings)?;
        args.finish()?;
    }
    check_tls(&forward, line)?;
    endpoints::check(&forward, line)?;
    Ok(forward)
}

fn read_option(
    forward: &mut Forward,
    option: &Directive,
    args: &mut Arguments<'_>,
    warnings: &mut Warnings,
) -> Result<(), ConfigError> {
    match option.name.as_str() {
        "except" => {
            let tokens = args.need_rest("zones that are not forwarded")?;
            forward.except.extend(zones::list(tokens)?);
        }
        "force_tcp" => forward.transport = TransportPolicy::ForceTcp,
        // As in CoreDNS, `force_tcp` wins over `prefer_udp`.
        "prefer_udp" if forward.transport == TransportPolicy::ForceTcp => {}
        "prefer_udp" => forward.transport = TransportPolicy::PreferUdp,
        "expire" => forward.expire = duration(args.need("a duration")?, "idle time")?,
        "max_fails" => forward.max_fails = count(args)?,
        "max_concurrent" => forward.max_concurrent = count(args)?,
        "packets_per_second" => forward.packets = packets::limit(args)?,
        "max_connect_attempts" => forward.max_attempts = count(args)?,
        "policy" => forward.policy = policy(args)?,
        "health_check" => health_check(forward, args, warnings)?,
        "failover" => failover(forward, args)?,
        "failfast_all_unhealthy_upstreams" => forward.failfast = true,
        "tls" => forward.tls = Some(tls(args)?),
        "max_age" => forward.max_age = Some(endpoints::max_age(args)?),
        "endpoints" => forward.endpoints = Some(endpoints::service(args)?),
        "tls_servername" => forward.tls_server_name = Some(server_name(args)?),
        _ => return Err(unknown(option, "options of forward", &OPTIONS, &ABSENT)),
    }
    Ok(())
}

/// Reads `ADDRESS[:PORT]`, with `dns://` or `tls://` before it, or the path of a resolv.conf. A
/// TLS upstream may carry the name of its certificate after `%`.
fn upstream(token: &Token, environment: &dyn Environment) -> Result<Upstream, ConfigError> {
    let (tls, rest) = match token.text.split_once("://") {
        None if token.text.contains('/') => {
            return Ok(Upstream::ResolvConf(PathBuf::from(&token.text)));
        }
        None => (false, token.text.as_str()),
        Some(("dns", rest)) => (false, rest),
        Some(("tls", rest)) => (true, rest),
        Some(_) => return Err(token.error("`dns://`, `tls://` or no scheme before an upstream")),
    };
    let (host, port) = match split_port(rest) {
        Some(split) => split,
        None => {
            let bare = rest.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
            (bare.unwrap_or(rest), if tls { TLS_PORT } else { DNS_PORT })
        }
    };
    let (host, server_name) = if tls { split_server_name(host) } else { (host, None) };
    let address =
        address(host, port, token, environment)?.ok_or_else(|| token.error(TO_EXPECTED))?;
    if address.ip().is_unspecified() || address.ip().is_multicast() {
        return Err(token.error("the address of one server"));
    }
    if let Some(name) = server_name {
        check_server_name(name, token)?;
    }
    Ok(Upstream::Address { address, tls, server_name: server_name.map(str::to_owned) })
}

/// Splits `ADDRESS%NAME`; after a link-local address the first `%` begins its interface.
fn split_server_name(host: &str) -> (&str, Option<&str>) {
    let zone_end = match host.to_ascii_lowercase().starts_with("fe80:") {
        true => host.find('%').map_or(host.len(), |at| at + 1),
        false => 0,
    };
    match host[zone_end..].find('%') {
        Some(at) => (&host[..zone_end + at], Some(&host[zone_end + at + 1..])),
        None => (host, None),
    }
}

fn count(args: &mut Arguments<'_>) -> Result<u32, ConfigError> {
    number(args.need("a whole number")?, 0..=u32::MAX, "a limit (0: none)")
}

fn policy(args: &mut Arguments<'_>) -> Result<Policy, ConfigError> {
    let expected = "`random`, `round_robin` or `sequential`";
    let token = args.need(expected)?;
    match token.text.as_str() {
        "random" => Ok(Policy::Random),
        "round_robin" => Ok(Policy::RoundRobin),
        "sequential" => Ok(Policy::Sequential),
        _ => Err(token.error(expected)),
    }
}

/// `health_check DURATION [no_rec] [domain NAME]`; zero switches probes off.
fn health_check(
    forward: &mut Forward,
    args: &mut Arguments<'_>,
    warnings: &mut Warnings,
) -> Result<(), ConfigError> {
    let token = args.need("a pause between probes")?;
    let mut pause = duration(token, "a pause between probes")?;
    if !pause.is_zero() && pause < PROBE_PAUSE_MIN {
        warnings.add(&token.position, "health_check raised to 100ms".to_owned());
        pause = PROBE_PAUSE_MIN;
    }
    forward.health_check = (!pause.is_zero()).then_some(pause);
    while let Some(token) = args.next() {
        match token.text.as_str() {
            "no_rec" => forward.health_check_recursion = false,
            "domain" => forward.health_check_domain = zones::name(args.need("a domain name")?)?,
            _ => return Err(token.error("`no_rec` or `domain NAME`")),
        }
    }
    Ok(())
}

/// `failover RCODE...`.
fn failover(forward: &mut Forward, args: &mut Arguments<'_>) -> Result<(), ConfigError> {
    for token in args.need_rest("response codes such as `NXDOMAIN`")? {
        let code = registry::response_code(&token.text).filter(|&code| code != 0);
        let code = code.ok_or_else(|| {
            let known: Vec<_> = registry::response_code_names().skip(1).collect();
            token.error(&format!("a response code, one of {}", known.join(", ")))
        })?;
        if !forward.failover.contains(&code) {
            forward.failover.push(code);
        }
    }
    Ok(())
}

/// `tls`, `tls CA`, `tls CERT KEY` or `tls CERT KEY CA`.
fn tls(args: &mut Arguments<'_>) -> Result<Tls, ConfigError> {
    let path = |token: &Token| match token.text.is_empty() {
        true => Err(token.error("the path of a PEM file")),
        false => Ok(PathBuf::from(&token.text)),
    };
    Ok(match args.rest() {
        [] => Tls::default(),
        [authority] => Tls { client_certificate: None, authority: Some(path(authority)?) },
        [certificate, key] => {
            Tls { client_certificate: Some((path(certificate)?, path(key)?)), authority: None }
        }
        [certificate, key, authority] => Tls {
            client_certificate: Some((path(certificate)?, path(key)?)),
            authority: Some(path(authority)?),
        },
        [_, _, _, extra, ..] => return Err(extra.error("the end of `tls [CERT KEY] [CA]`")),
    })
}

fn server_name(args: &mut Arguments<'_>) -> Result<String, ConfigError> {
    let token = args.need("the name of a certificate")?;
    check_server_name(&token.text, token)?;
    Ok(token.text.clone())
}

fn check_server_name(name: &str, token: &Token) -> Result<(), ConfigError> {
    let letters = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
    match Name::from_text(name) {
        Ok(parsed) if !parsed.is_root() && name.chars().all(letters) => Ok(()),
        _ => Err(token.error("the name of a certificate, such as `dns.example.org`")),
    }
}

/// TLS options without a TLS upstream protect nothing, and the operator thinks they do.
fn check_tls(forward: &Forward, line: &Directive) -> Result<(), ConfigError> {
    let any_tls = forward.to.iter().any(|to| matches!(to, Upstream::Address { tls: true, .. }));
    let asked = line.body.iter().find(|option| option.name.starts_with("tls"));
    match asked {
        Some(option) if !any_tls => Err(error_at(
            &option.position,
            &option.name,
            "an upstream with `tls://` above it: none of them is asked over TLS",
        )),
        _ => Ok(()),
    }
}

fn defaults(line: &Directive, from: Name) -> Forward {
    Forward {
        position: line.position.clone(),
        from,
        to: Vec::new(),
        except: Vec::new(),
        transport: TransportPolicy::AsClient,
        policy: Policy::Random,
        max_fails: 2,
        health_check: Some(Duration::from_millis(500)),
        health_check_domain: Name::root(),
        health_check_recursion: true,
        expire: Duration::from_secs(10),
        max_concurrent: 0,
        packets: PacketLimit::Known,
        max_attempts: 0,
        failover: Vec::new(),
        failfast: false,
        tls: None,
        tls_server_name: None,
        max_age: None,
        endpoints: None,
    }
}

const TO_EXPECTED: &str = "an upstream: an IP address (`10.0.0.10`, `10.0.0.10:53`, \
    `tls://9.9.9.9`) or the path of a resolv.conf with a `/` in it";
const OPTIONS: [&str; 16] = [
    "except",
    "force_tcp",
    "prefer_udp",
    "expire",
    "max_age",
    "endpoints",
    "max_fails",
    "max_connect_attempts",
    "tls",
    "tls_servername",
    "policy",
    "health_check",
    "max_concurrent",
    "packets_per_second",
    "failover",
    "failfast_all_unhealthy_upstreams",
];
/// What CoreDNS has besides.
const ABSENT: [&str; 8] = [
    "next",
    "next_on_nodata",
    "max_idle_conns",
    "read_timeout",
    "doh",
    "doh_method",
    "source_address",
    "resolver",
];
/// CoreDNS's bound.
const UPSTREAMS_MAX: usize = 15;
/// A probe more often than this is load, not a question.
const PROBE_PAUSE_MIN: Duration = Duration::from_millis(100);
const DNS_PORT: u16 = 53;
const TLS_PORT: u16 = 853;

#[cfg(test)]
mod tests {
    use super::super::tests::{block, error, warnings};
    use super::*;

    fn plain(text: &str) -> Upstream {
        let address = text.parse().expect("an address");
        Upstream::Address { address, tls: false, server_name: None }
    }

    fn read(lines: &str) -> Forward {
        block(lines).forwards.remove(0)
    }

    fn to(text: &str) -> Upstream {
        read(&format!("forward . {text}")).to.remove(0)
    }

    fn option(text: &str) -> Forward {
        read(&format!("forward . tls://192.0.2.1 {{\n {text}\n}}"))
    }

    #[test]
    fn upstreams_are_addresses_or_files() {
        assert_eq!(to("192.0.2.1"), plain("192.0.2.1:53"));
        assert_eq!(to("192.0.2.1:5300"), plain("192.0.2.1:5300"));
        assert_eq!(to("dns://192.0.2.1"), plain("192.0.2.1:53"));
        assert_eq!(to("2001:db8::1"), plain("[2001:db8::1]:53"));
        assert_eq!(to("[2001:db8::1]"), plain("[2001:db8::1]:53"));
        assert_eq!(to("[2001:db8::1]:5300"), plain("[2001:db8::1]:5300"));
        assert_eq!(to("fe80::1%7"), plain("[fe80::1%7]:53"));
        assert_eq!(to("[fe80::1%eth0]:54"), plain("[fe80::1%1]:54"));
        assert_eq!(to("/etc/resolv.conf"), Upstream::ResolvConf("/etc/resolv.conf".into()));
        assert_eq!(to("./resolv.conf"), Upstream::ResolvConf("./resolv.conf".into()));
    }

    #[test]
    fn tls_upstreams_may_carry_a_name() {
        let tls = |text: &str, name: Option<&str>| Upstream::Address {
            address: text.parse().expect("an address"),
            tls: true,
            server_name: name.map(str::to_owned),
        };
        assert_eq!(to("tls://9.9.9.9"), tls("9.9.9.9:853", None));
        assert_eq!(to("tls://9.9.9.9:8853"), tls("9.9.9.9:8853", None));
        assert_eq!(to("tls://9.9.9.9%dns.quad9.net"), tls("9.9.9.9:853", Some("dns.quad9.net")));
        assert_eq!(to("tls://9.9.9.9%a.b:85"), tls("9.9.9.9:85", Some("a.b")));
        assert_eq!(to("tls://[2620:fe::fe%a.b]:85"), tls("[2620:fe::fe]:85", Some("a.b")));
        assert_eq!(to("tls://fe80::1%eth0%a.b"), tls("[fe80::1%1]:853", Some("a.b")));
        assert_eq!(to("tls://fe80::1%eth0"), tls("[fe80::1%1]:853", None));
    }

    #[test]
    fn defaults_are_those_of_coredns() {
        let forward = read("forward Example.org 192.0.2.1");
        assert_eq!(forward.from.to_string(), "example.org.");
        assert_eq!((forward.max_fails, forward.max_concurrent), (2, 0));
        assert_eq!(forward.health_check, Some(Duration::from_millis(500)));
        assert_eq!(forward.expire, Duration::from_secs(10));
        assert_eq!(forward.policy, Policy::Random);
        assert_eq!(forward.transport, TransportPolicy::AsClient);
    }

    #[test]
    fn options_are_read() {
        assert_eq!(option("except a b").except.len(), 2);
        assert_eq!(option("force_tcp").transport, TransportPolicy::ForceTcp);
        assert_eq!(option("prefer_udp").transport, TransportPolicy::PreferUdp);
        assert_eq!(option("force_tcp\n prefer_udp").transport, TransportPolicy::ForceTcp);
        assert_eq!(option("prefer_udp\n force_tcp").transport, TransportPolicy::ForceTcp);
        assert_eq!(option("expire 20s").expire, Duration::from_secs(20));
        assert_eq!(option("max_fails 0").max_fails, 0);
        assert_eq!(option("max_concurrent 1000").max_concurrent, 1000);
        assert_eq!(option("max_connect_attempts 3").max_attempts, 3);
        assert_eq!(option("policy sequential").policy, Policy::Sequential);
        assert_eq!(option("policy round_robin").policy, Policy::RoundRobin);
        assert_eq!(option("failover NXDOMAIN refused NXDOMAIN").failover, [3, 5]);
        assert!(option("failfast_all_unhealthy_upstreams").failfast);
        assert_eq!(option("tls_servername a.b").tls_server_name.as_deref(), Some("a.b"));
    }

    #[test]
    fn health_checks_are_read() {
        let forward = option("health_check 5s no_rec domain Example.org");
        assert_eq!(forward.health_check, Some(Duration::from_secs(5)));
        assert_eq!(forward.health_check_domain.to_string(), "example.org.");
        assert!(!forward.health_check_recursion);
        assert_eq!(option("health_check 0").health_check, None);
        assert_eq!(option("health_check 1ms").health_check, Some(PROBE_PAUSE_MIN));
        assert_eq!(warnings("forward . 192.0.2.1 {\n health_check 1ms\n}").len(), 1);
    }

    #[test]
    fn tls_files_are_told_apart_by_their_number() {
        let files = |text: &str| option(text).tls.expect("tls");
        let pair = Some((PathBuf::from("c"), PathBuf::from("k")));
        assert_eq!(files("tls"), Tls::default());
        assert_eq!(files("tls ca"), Tls { client_certificate: None, authority: Some("ca".into()) });
        assert_eq!(files("tls c k"), Tls { client_certificate: pair.clone(), authority: None });
        assert_eq!(
            files("tls c k a"),
            Tls { client_certificate: pair, authority: Some("a".into()) }
        );
    }

    #[test]
    fn nonsense_is_refused_where_it_stands() {
        for (lines, expected) in [
            ("forward", "Corefile:2:1: found nothing after `forward`, expected a zone and its upstreams".to_owned()),
            ("forward .", format!("Corefile:2:9: found nothing after `.`, expected {TO_EXPECTED}")),
            ("forward . dns.google", format!("Corefile:2:11: found `dns.google`, expected {TO_EXPECTED}")),
            ("forward . 192.0.2.1:0", format!("Corefile:2:11: found `192.0.2.1:0`, expected {TO_EXPECTED}")),
            ("forward . https://192.0.2.1", "Corefile:2:11: found `https://192.0.2.1`, expected `dns://`, `tls://` or no scheme before an upstream".to_owned()),
            ("forward . 0.0.0.0", "Corefile:2:11: found `0.0.0.0`, expected the address of one server".to_owned()),
            ("forward . fe80::1", "Corefile:2:11: found `fe80::1`, expected the interface too, such as `fe80::1%eth0`".to_owned()),
            ("forward . fe80::1%nope", "Corefile:2:11: found `fe80::1%nope`, expected an interface of this machine after `%`".to_owned()),
            ("forward . tls://9.9.9.9%", "Corefile:2:11: found `tls://9.9.9.9%`, expected the name of a certificate, such as `dns.example.org`".to_owned()),
            ("forward 10.0.0.0/9 192.0.2.1", "Corefile:2:9: found `10.0.0.0/9`, expected one zone: a network here must end at a whole octet (IPv4) or hex digit (IPv6)".to_owned()),
            ("forward . 192.0.2.1 {\n policy best\n}", "Corefile:3:9: found `best`, expected `random`, `round_robin` or `sequential`".to_owned()),
            ("forward . 192.0.2.1 {\n health_check 1s x\n}", "Corefile:3:18: found `x`, expected `no_rec` or `domain NAME`".to_owned()),
            ("forward . 192.0.2.1 {\n force_tcp yes\n}", "Corefile:3:12: found `yes`, expected the end of `force_tcp`".to_owned()),
            ("forward . 192.0.2.1 {\n tls_servername a\n}", "Corefile:3:2: found `tls_servername`, expected an upstream with `tls://` above it: none of them is asked over TLS".to_owned()),
        ] {
            assert_eq!(error(lines), expected);
        }
    }

    #[test]
    fn options_that_are_not_offered_say_so() {
        let message = error("forward . 192.0.2.1 {\n next NXDOMAIN\n}");
        assert!(
            message.starts_with("Corefile:3:2: found `next`, expected one of except, force_tcp")
        );
        assert!(message.ends_with("(options of forward); dnscache does not offer this one"));
        assert!(!message.contains(", next"));
        assert!(error("forward . 192.0.2.1 {\n polcy x\n}").ends_with("did you mean `policy`?"));
    }

    #[test]
    fn fifteen_upstreams_are_the_most() {
        let line = |count| format!("forward . {}", "192.0.2.1 ".repeat(count));
        assert_eq!(read(&line(15)).to.len(), 15);
        assert!(error(&line(16)).ends_with("expected at most 15 upstreams"));
    }

    #[test]
    fn noerror_is_no_failure() {
        assert!(error("forward . 192.0.2.1 {\n failover NOERROR\n}").contains("one of FORMERR"));
    }
}
