//! NodeLocal DNSCache, from the binary that the variable `NODE_CACHE` names.
//!
//! The Corefile is that of its reference manifest with one server block, without the manifest's
//! limits of 30 s and 9,984 names, which would turn hits into misses in the middle of a
//! measurement. Interface and packet rules are switched off, so nothing of the machine changes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use super::dnscache::HANDS_OFF;
use super::{Found, Launch, Place, free_port, version};

pub(super) fn find() -> Found {
    let path = std::env::var_os("NODE_CACHE")
        .map(PathBuf::from)
        .ok_or("the variable NODE_CACHE names no node-cache binary (no Debian package has it)")?;
    if !path.is_file() {
        return Err(format!("NODE_CACHE names {}, which is no file", path.display()));
    }
    let arguments = [&["-version", "-localip", "127.0.0.1"][..], &HANDS_OFF].concat();
    let version = version(&path, &arguments);
    Ok((path, version))
}

pub(super) fn configure(
    command: &mut Command,
    launch: &Launch,
    place: &Place,
) -> anyhow::Result<()> {
    let ip = place.address.ip();
    let text = corefile(launch, place.address)?;
    // node-cache renders the base file over the one that -conf names; both are the same here.
    let base = place.write("Corefile.base", &text)?;
    let rendered = place.write("Corefile", &text)?;
    command.arg("-conf").arg(&rendered).arg("-corefile").arg(&rendered);
    command.arg("-basecorefile").arg(base);
    command.arg("-localip").arg(ip.to_string());
    command.arg(format!("-metrics-listen-address={ip}:{}", free_port(ip)?));
    command.args(HANDS_OFF);
    command.env("GOMAXPROCS", "1");
    Ok(())
}

fn corefile(launch: &Launch, address: SocketAddr) -> anyhow::Result<String> {
    let (ip, port) = (address.ip(), address.port());
    let force_tcp = if launch.force_tcp { "force_tcp" } else { "prefer_udp" };
    let entries = launch.entries();
    let (metrics_port, health_port) = (free_port(ip)?, free_port(ip)?);
    let upstream = launch.upstream;
    Ok(format!(
        ".:{port} {{
    errors
    cache {{
        success {entries} 3600
        denial {entries} 3600
    }}
    reload
    loop
    bind {ip}
    forward . {upstream} {{
        {force_tcp}
    }}
    prometheus {ip}:{metrics_port}
    health {ip}:{health_port}
}}
"
    ))
}
