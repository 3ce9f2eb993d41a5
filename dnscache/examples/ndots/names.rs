//! What there is to look up.

use std::time::Duration;

use super::cluster::sample::{self, NAMESPACES};
use super::cluster::world::World;

/// From a node to the cluster's DNS and back.
pub const LATENCY: Duration = Duration::from_millis(1);
/// External names under each of these.
const ZONES: [&str; 4] = ["example.com", "example.net", "shop.example", "cdn.example"];
const NAMES_PER_ZONE: usize = 10;
/// TTLs of the reference's cluster.
const TTL_SECS: u32 = 30;

/// The namespace the client's pod is in.
pub const NAMESPACE: &str = NAMESPACES[0];

/// The sample cluster and some zones outside it.
pub fn world() -> World {
    let mut world = sample::world(TTL_SECS, TTL_SECS);
    for (zone_at, zone) in ZONES.into_iter().enumerate() {
        let line = |at: usize| {
            format!("{} A 203.0.113.{}\n{0} AAAA 2001:db8::{1}", name(zone, at), zone_at * 50 + at)
        };
        let lines: Vec<String> = (0..NAMES_PER_ZONE).map(line).collect();
        world.add_zone(zone, &lines.join("\n"));
    }
    world
}

/// The names looked up.
pub fn external() -> Vec<String> {
    ZONES.into_iter().flat_map(|zone| (0..NAMES_PER_ZONE).map(move |at| name(zone, at))).collect()
}

fn name(zone: &str, at: usize) -> String {
    format!("host{at}.{zone}")
}
