//! `hosts`: addresses of a few names, from a file and in place.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::engine::wire::name::Name;

use super::super::corefile::Directive;
use super::super::{ConfigError, Hosts, hosts_file};
use super::arguments::{Arguments, duration, error_at, number, unknown};
use super::zones;

/// `hosts [FILE [ZONES...]] { ... }`.
pub(super) fn hosts(line: &Directive) -> Result<Hosts, ConfigError> {
    let mut args = Arguments::of(line);
    let file = match args.next() {
        Some(token) if token.text.is_empty() => return Err(token.error("the path of a file")),
        Some(token) => PathBuf::from(&token.text),
        None => PathBuf::from("/etc/hosts"),
    };
    let mut hosts = Hosts {
        file: Some(file),
        inline: Vec::new(),
        zones: zones::list(args.rest())?,
        ttl_secs: 3600,
        reverse: true,
        reload: Duration::from_secs(5),
        fallthrough: None,
    };
    for option in &line.body {
        let mut args = Arguments::of(option);
        read_option(&mut hosts, option, &mut args)?;
        args.finish()?;
    }
    Ok(hosts)
}

fn read_option(
    hosts: &mut Hosts,
    option: &Directive,
    args: &mut Arguments<'_>,
) -> Result<(), ConfigError> {
    match option.name.as_str() {
        "ttl" => hosts.ttl_secs = number(args.need("a TTL")?, 1..=65535, "a TTL in seconds")?,
        "no_reverse" => hosts.reverse = false,
        "reload" => {
            let token = args.need("a pause between looks at the file")?;
            hosts.reload = duration(token, "a pause between looks at the file (0: none)")?;
            // Looking all the time would cost more than it finds.
            if !hosts.reload.is_zero() && hosts.reload < RELOAD_MIN {
                return Err(token.error("`1s` at least, or 0 for never"));
            }
        }
        "fallthrough" => hosts.fallthrough = Some(zones::list(args.rest())?),
        _ => hosts.inline.push(entry(option, args)?),
    }
    Ok(())
}

/// `ADDRESS NAME...`.
fn entry(option: &Directive, args: &mut Arguments<'_>) -> Result<(IpAddr, Vec<Name>), ConfigError> {
    let Some(address) = hosts_file::address(&option.name) else {
        return Err(match option.name.starts_with(|first: char| first.is_ascii_digit()) {
            true => error_at(&option.position, &option.name, "an IP address before the names"),
            false => unknown(option, "options of hosts, or `ADDRESS NAME...`", &OPTIONS, &[]),
        });
    };
    let names = args.need_rest("names of this address")?;
    Ok((address, names.iter().map(zones::name).collect::<Result<_, _>>()?))
}

const OPTIONS: [&str; 4] = ["ttl", "no_reverse", "reload", "fallthrough"];
const RELOAD_MIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::super::tests::{block, error};
    use super::*;

    fn read(lines: &str) -> Hosts {
        block(lines).hosts.expect("hosts")
    }

    #[test]
    fn defaults_are_those_of_coredns() {
        let hosts = read("hosts");
        assert_eq!(hosts.file, Some("/etc/hosts".into()));
        assert_eq!((hosts.ttl_secs, hosts.reverse), (3600, true));
        assert_eq!(hosts.reload, Duration::from_secs(5));
        assert_eq!(hosts.fallthrough, None);
    }

    #[test]
    fn a_file_zones_and_entries_are_read() {
        let hosts = read(
            "hosts names a b {\n 192.0.2.1 One.a two.a\n ::1 six\n ttl 60\n no_reverse\n reload 0s\n \
             fallthrough b c\n}",
        );
        assert_eq!(hosts.file, Some("names".into()));
        assert_eq!(hosts.zones.len(), 2);
        assert_eq!(hosts.inline.len(), 2);
        assert_eq!(hosts.inline[0].1[0].to_string(), "one.a.");
        assert_eq!((hosts.ttl_secs, hosts.reverse, hosts.reload), (60, false, Duration::ZERO));
        assert_eq!(hosts.fallthrough.map(|zones| zones.len()), Some(2));
        assert_eq!(read("hosts {\n fallthrough\n}").fallthrough, Some(Vec::new()));
    }

    #[test]
    fn nonsense_is_refused_where_it_stands() {
        for (lines, expected) in [
            (
                "hosts {\n ttl 0\n}",
                "Corefile:3:6: found `0`, expected a TTL in seconds, a whole number (1 to 65535)",
            ),
            (
                "hosts {\n 192.0.2.300 a\n}",
                "Corefile:3:2: found `192.0.2.300`, expected an IP address before the names",
            ),
            (
                "hosts {\n 192.0.2.1\n}",
                "Corefile:3:2: found nothing after `192.0.2.1`, expected names of this address",
            ),
            (
                "hosts {\n 192.0.2.1 a..b\n}",
                "Corefile:3:12: found `a..b`, expected a domain name (a label is empty)",
            ),
            (
                "hosts {\n fallthru\n}",
                "Corefile:3:2: found `fallthru`, expected one of ttl, no_reverse, reload, fallthrough (options of hosts, or `ADDRESS NAME...`)",
            ),
            (
                "hosts {\n reload 1ms\n}",
                "Corefile:3:9: found `1ms`, expected `1s` at least, or 0 for never",
            ),
        ] {
            assert_eq!(error(lines), expected);
        }
    }
}
