//! Unbound: one thread, the iterator without the validator, everything forwarded.
//!
//! `outgoing-range` and `num-queries-per-thread` are those its manual gives for a busy server;
//! the defaults would drop questions in the miss scenario.

use std::process::Command;

use super::{Launch, Place};

pub(super) fn configure(
    command: &mut Command,
    launch: &Launch,
    place: &Place,
) -> anyhow::Result<()> {
    let file = place.write("unbound.conf", &config(launch, place))?;
    command.args(["-d", "-c"]).arg(file);
    Ok(())
}

fn config(launch: &Launch, place: &Place) -> String {
    let (ip, port) = (place.address.ip(), place.address.port());
    let (upstream_ip, upstream_port) = (launch.upstream.ip(), launch.upstream.port());
    let folder = place.folder.display();
    let store_len = (launch.entries() * ENTRY_LEN).max(STORE_LEN_MIN);
    let own_zones: String =
        OWN_ZONES.map(|zone| format!("  local-zone: \"{zone}\" nodefault\n")).concat();
    format!(
        "server:
  interface: {ip}
  port: {port}
  num-threads: 1
  directory: \"{folder}\"
  chroot: \"\"
  username: \"\"
  pidfile: \"\"
  do-daemonize: no
  use-syslog: no
  verbosity: 0
  do-ip6: no
  do-not-query-localhost: no
  module-config: \"iterator\"
  msg-cache-size: {store_len}
  rrset-cache-size: {store_len}
  msg-cache-slabs: 1
  rrset-cache-slabs: 1
  infra-cache-slabs: 1
  key-cache-slabs: 1
  outgoing-range: 8192
  num-queries-per-thread: 4096
  incoming-num-tcp: 1000
  so-rcvbuf: 4m
  so-sndbuf: 4m
  qname-minimisation: no
  unblock-lan-zones: yes
{own_zones}forward-zone:
  name: \".\"
  forward-addr: {upstream_ip}@{upstream_port}
  forward-first: no
remote-control:
  control-enable: no
"
    )
}

/// Octets per name in each of the two stores (messages, record sets): Unbound 1.17 takes under 400
/// in either.
const ENTRY_LEN: usize = 512;
/// The defaults of Unbound's own stores are of this order.
const STORE_LEN_MIN: usize = 16 << 20;
/// Zones Unbound answers by itself unless told otherwise (RFC 6761, RFC 8375); questions of a
/// bench may lie there.
const OWN_ZONES: [&str; 4] = ["test.", "invalid.", "onion.", "home.arpa."];
