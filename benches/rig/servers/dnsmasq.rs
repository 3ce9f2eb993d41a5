//! dnsmasq: one process, as the distribution builds it.
//!
//! - Its bound of 150 questions under way is raised, or it would refuse questions of the miss
//!   scenario. For every packet it walks a table half as long as that bound, so a bound of 10,000
//!   makes a hit three times as dear; 1,000 costs it a tenth.
//! - Its cache takes all its memory at the start and evicts by exact age, so head room would only
//!   be charged to it as RSS: it gets a quarter. It has no largest size (it warns above 10,000
//!   names, yet finds a million).
//! - A connection over TCP is served by a child process, whose CPU time is counted too.

use std::process::Command;

use super::{Launch, Place};

pub(super) fn configure(
    command: &mut Command,
    launch: &Launch,
    place: &Place,
) -> anyhow::Result<()> {
    let (ip, port) = (place.address.ip(), place.address.port());
    let (upstream_ip, upstream_port) = (launch.upstream.ip(), launch.upstream.port());
    let entries = launch.names.max(NAMES_MIN) / 4 * 5;
    let config = place.write(
        "dnsmasq.conf",
        &format!(
            "port={port}
listen-address={ip}
bind-interfaces
no-resolv
no-hosts
no-poll
server={upstream_ip}#{upstream_port}
cache-size={entries}
dns-forward-max=1000
user=root
log-facility=-
"
        ),
    )?;
    command.arg("--keep-in-foreground").arg(format!("--conf-file={}", config.display()));
    command.arg("--pid-file=");
    Ok(())
}

/// Holds the small scenarios whole, with the names that other scenarios mix in.
const NAMES_MIN: usize = 10_000;
