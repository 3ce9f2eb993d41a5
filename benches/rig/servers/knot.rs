//! Knot Resolver: one process, questions passed to the upstream as a stub, cache in memory.
//!
//! `policy.STUB` is its forwarding without validation (`policy.FORWARD` validates). Its cache is a
//! memory-mapped file; the folder of the server is on a memory file system where there is one, as
//! its manual advises, and its pages count as RSS.

use std::process::Command;

use super::{Launch, Place};

pub(super) fn configure(
    command: &mut Command,
    launch: &Launch,
    place: &Place,
) -> anyhow::Result<()> {
    let file = place.write("kresd.conf", &config(launch, place))?;
    command.arg("-n").arg("-c").arg(file).arg(place.folder);
    Ok(())
}

fn config(launch: &Launch, place: &Place) -> String {
    let (ip, port) = (place.address.ip(), place.address.port());
    let (upstream_ip, upstream_port) = (launch.upstream.ip(), launch.upstream.port());
    let folder = place.folder.display();
    let cache_len = (launch.entries() * ENTRY_LEN).max(CACHE_LEN_MIN);
    format!(
        "net.ipv6 = false
net.listen('{ip}', {port}, {{ kind = 'dns' }})
cache.open({cache_len}, 'lmdb://{folder}/cache')
trust_anchors.remove('.')
modules.unload('priming')
modules.unload('detect_time_skew')
policy.add(policy.all(policy.STUB('{upstream_ip}@{upstream_port}')))
"
    )
}

/// Octets of the map per name; Knot Resolver 5.6 takes under 400.
const ENTRY_LEN: usize = 512;
/// The size its packages configure.
const CACHE_LEN_MIN: usize = 100 << 20;
