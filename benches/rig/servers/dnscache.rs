//! dnscache itself: the reference manifest's Corefile on loopback, with its metrics on.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use super::super::names::SEARCH;
use super::{Found, Launch, Place, free_port, version};

/// Keeps a program with node-cache's flags off the machine's interfaces and packet rules.
pub(super) const HANDS_OFF: [&str; 3] =
    ["-setupinterface=false", "-setupiptables=false", "-skipteardown=true"];

pub(super) fn find() -> Found {
    let path = PathBuf::from(env!("CARGO_BIN_EXE_dnscache"));
    let version = version(&path, &["-version"]);
    Ok((path, version))
}

pub(super) fn configure(
    command: &mut Command,
    launch: &Launch,
    place: &Place,
) -> anyhow::Result<()> {
    let file = place.write("Corefile", &corefile(launch, place.address)?)?;
    let ip = place.address.ip();
    command.arg("-conf").arg(file);
    command.arg("-workers").arg(launch.workers.to_string());
    command.args(HANDS_OFF);
    command.arg(format!("-metrics-listen-address={ip}:{}", free_port(ip)?));
    Ok(())
}

fn corefile(launch: &Launch, address: SocketAddr) -> anyhow::Result<String> {
    let (ip, port) = (address.ip(), address.port());
    let force_tcp = if launch.force_tcp { "force_tcp" } else { "" };
    let size_kib = launch.entries() * ENTRY_LEN / 1024;
    let metrics_port = free_port(ip)?;
    let upstream = launch.upstream;
    let host_domain = SEARCH[SEARCH.len() - 1];
    Ok(format!(
        ".:{port} {{
    errors
    cache {{
        size {size_kib}KiB
    }}
    searchpath {{
        search {host_domain}
    }}
    reload
    loop
    bind {ip}
    forward . {upstream} {{
        {force_tcp}
    }}
    prometheus {ip}:{metrics_port}
}}
"
    ))
}

/// Octets a name is given room for, in memory; a bound, not a reservation.
const ENTRY_LEN: usize = 512;
