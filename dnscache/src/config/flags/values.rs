//! The values of flags: what each may be, and what is said when it is not.
//!
//! A complaint says what would be right; which flag it is about stands in front of it, written by
//! clap.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};

use super::super::duration;
use super::{Addresses, Endpoints};

/// A path that may be empty, which clap's own parser forbids.
pub(super) fn path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

/// Go's `strconv.ParseBool`.
pub(super) fn go_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("expected true or false".to_owned()),
    }
}

/// Threads for each address: each takes a socket and memory, and more than cores are no use.
pub(super) fn workers(text: &str) -> Result<NonZeroUsize, String> {
    let count = text.parse().ok().filter(|count: &NonZeroUsize| count.get() <= WORKERS_MAX);
    count.ok_or_else(|| format!("expected 1 to {WORKERS_MAX}"))
}

/// More cores than a node's cache will ever be worth.
const WORKERS_MAX: usize = 256;

/// Addresses of the node's interface, each once, in their order.
pub(super) fn addresses(text: &str) -> Result<Addresses, String> {
    let mut addresses = Vec::new();
    for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        let address = node_address(word)?;
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    match addresses.len() {
        0..=ADDRESSES_MAX => Ok(addresses),
        _ => Err(format!("expected at most {ADDRESSES_MAX} addresses")),
    }
}

/// An address that one host can have and be asked at.
fn node_address(word: &str) -> Result<IpAddr, String> {
    if word.contains("__PILLAR__") {
        return Err(format!(
            "`{word}` is a placeholder; put the address in its place, or leave it out where \
             kube-proxy works in IPVS mode"
        ));
    }
    let address: IpAddr = word.parse().map_err(|_| {
        format!(
            "`{word}` is not an IP address; expected addresses such as 169.254.20.10,10.96.0.10"
        )
    })?;
    let fault = match address {
        address if address.is_unspecified() => "stands for every address; name those of the cache",
        address if address.is_multicast() => "is a multicast address; name one of a single host",
        IpAddr::V4(Ipv4Addr::BROADCAST) => "is the broadcast address; name one of a single host",
        IpAddr::V6(address) if address.to_ipv4_mapped().is_some() => {
            "is an IPv4 address in IPv6 form; write it as IPv4"
        }
        IpAddr::V6(address) if address.is_unicast_link_local() => {
            "is link-local, which clients reach on one link only; name a unique local one such as fd00::10"
        }
        _ => return Ok(address),
    };
    Err(format!("`{word}` {fault}"))
}

/// A name the kernel takes for a network interface.
pub(super) fn interface_name(text: &str) -> Result<String, String> {
    let is_fit = |byte: u8| byte.is_ascii_graphic() && !b"/:".contains(&byte);
    let is_name = (1..=INTERFACE_NAME_LEN_MAX).contains(&text.len())
        && text.bytes().all(is_fit)
        && ![".", ".."].contains(&text);
    match is_name {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "expected a name of 1 to {INTERFACE_NAME_LEN_MAX} letters, digits, `-`, `_` or `.`"
        )),
    }
}

/// The name of a Service, or the address of one.
pub(super) fn service(text: &str) -> Result<String, String> {
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let is_name = (1..=SERVICE_NAME_LEN_MAX).contains(&text.len()) && text.bytes().all(is_fit);
    match is_name || text.parse::<IpAddr>().is_ok() {
        true => Ok(text.to_owned()),
        false => Err("expected the name of a Service in the namespace of this pod, without dots, \
             such as kube-dns-upstream, or the ClusterIP itself"
            .to_owned()),
    }
}

/// Where to serve a page; nothing for an empty text.
pub(super) fn endpoints(text: &str) -> Result<Endpoints, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let parsed = match text.rsplit_once(':') {
        Some(("", port)) => {
            port.parse().ok().map(|port| vec![(Ipv6Addr::UNSPECIFIED, port).into()])
        }
        Some(("localhost", port)) => port.parse().ok().map(|port| {
            vec![(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()]
        }),
        _ => text.parse().ok().map(|address| vec![address]),
    };
    parsed.filter(|addresses: &Vec<SocketAddr>| addresses[0].port() > 0).ok_or_else(|| {
        "expected ADDRESS:PORT, [ADDRESS]:PORT, localhost:PORT, or :PORT for every address"
            .to_owned()
    })
}

/// The same, kept as written: it is put into the template.
pub(super) fn endpoint_text(text: &str) -> Result<String, String> {
    match endpoints(text)?.is_empty() {
        false => Ok(text.to_owned()),
        true => Err("expected an address and port such as :9253".to_owned()),
    }
}

/// node-cache takes the flag's nanoseconds for seconds: `60ns`, its default, means a minute, and
/// `30s` overflows. Here a duration below a millisecond is read that way and others as written;
/// a bare number is seconds.
pub(super) fn sync_interval(text: &str) -> Result<Duration, String> {
    let read = match text.parse::<u32>() {
        Ok(seconds) => Some(Duration::from_secs(seconds.into())),
        Err(_) => duration::parse(text),
    };
    let read = match read {
        Some(read) if read < SECONDS_IN_DISGUISE => {
            Some(Duration::from_secs(u64::from(read.subsec_nanos())))
        }
        other => other,
    };
    read.filter(|read| *read >= Duration::from_secs(1))
        .ok_or_else(|| "expected a duration of a second or more, such as 60s".to_owned())
}

/// What to say about a `-syncinterval` that is read as something else than it says.
pub(super) fn sync_interval_warning(text: &str) -> Option<String> {
    let read_secs = sync_interval(text).ok()?.as_secs();
    let why = match duration::parse(text) {
        None => "has no unit",
        Some(said) if said < SECONDS_IN_DISGUISE => "is node-cache's way to write seconds",
        Some(_) => return None,
    };
    Some(format!("-syncinterval {text} {why}: it is read as {read_secs}s; write {read_secs}s"))
}

/// Nobody means intervals as short as this, and nobody means a million seconds.
const SECONDS_IN_DISGUISE: Duration = Duration::from_millis(1);
/// Addresses of a node's cache: two are usual, four with both families.
const ADDRESSES_MAX: usize = 16;
/// IFNAMSIZ without the final NUL.
const INTERFACE_NAME_LEN_MAX: usize = 15;
/// A DNS label.
const SERVICE_NAME_LEN_MAX: usize = 63;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_of_one_host() {
        let read = addresses("169.254.20.10, fd00::10,169.254.20.10,").expect("addresses");
        assert_eq!(read.len(), 2);
        for (text, fault) in [
            ("0.0.0.0", "every address"),
            ("::", "every address"),
            ("224.0.0.1", "multicast"),
            ("ff02::1", "multicast"),
            ("255.255.255.255", "broadcast"),
            ("::ffff:10.0.0.1", "write it as IPv4"),
            ("fe80::1", "fd00::10"),
            ("10.0.0.1:53", "`10.0.0.1:53` is not an IP address"),
            ("169.254.20.10,__PILLAR__DNS__SERVER__", "is a placeholder"),
        ] {
            let error = addresses(text).expect_err(text);
            assert!(error.contains(fault), "{error}");
        }
        let many: Vec<_> = (0..17).map(|host| format!("10.0.0.{host}")).collect();
        assert!(addresses(&many.join(",")).expect_err("many").contains("at most 16"));
    }

    #[test]
    fn interfaces_have_names_the_kernel_takes() {
        for name in ["nodelocaldns", "x", "eth0.5", "fifteen-letters"] {
            assert_eq!(interface_name(name).as_deref(), Ok(name));
        }
        for name in ["", "sixteen-letters-", "a b", "a/b", "a:b", ".", "..", "näme"] {
            assert!(interface_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn services_are_names_or_addresses() {
        for name in ["kube-dns-upstream", "10.96.0.11", "fd00::b"] {
            assert_eq!(service(name).as_deref(), Ok(name));
        }
        for name in ["", "kube-dns.kube-system", "a=b", "10.96.0"] {
            assert!(service(name).expect_err(name).contains("kube-dns-upstream"), "{name}");
        }
    }

    #[test]
    fn pages_have_an_address_and_a_port() {
        let shown = |text: &str| {
            endpoints(text).map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        for (text, expected) in [
            ("", [].as_slice()),
            (":9353", &["[::]:9353"]),
            ("0.0.0.0:9353", &["0.0.0.0:9353"]),
            ("[fd00::1]:1", &["[fd00::1]:1"]),
            ("localhost:7", &["127.0.0.1:7", "[::1]:7"]),
        ] {
            assert_eq!(shown(text).expect(text), expected, "{text}");
        }
        for text in ["9353", ":0", ":70000", "host:1", "::1:5x", "10.0.0.1"] {
            assert!(endpoints(text).is_err(), "{text}");
        }
        assert!(endpoint_text("").is_err());
        assert_eq!(endpoint_text(":9253").as_deref(), Ok(":9253"));
    }

    #[test]
    fn intervals_that_say_something_else_are_named() {
        for (text, secs, is_warned) in
            [("60", 60, true), ("60ns", 60, true), ("30s", 30, false), ("1m", 60, false)]
        {
            assert_eq!(sync_interval(text), Ok(Duration::from_secs(secs)), "{text}");
            assert_eq!(sync_interval_warning(text).is_some(), is_warned, "{text}");
        }
        let warning = sync_interval_warning("60ns").expect("a warning");
        assert!(warning.ends_with("read as 60s; write 60s"), "{warning}");
    }
}
