//! What the program does to its node.

use std::fmt;

use super::super::sheet::Sheet;
use super::one_label;
use crate::counts::{NodeCounts, NodeReading};

/// Writes it.
pub(in crate::admin) fn node(sheet: &mut Sheet<'_>, counts: &NodeCounts) -> fmt::Result {
    let NodeReading { errors, repairs, backend } = counts.read();
    sheet.counters(
        "coredns_nodecache_setup_errors",
        "Errors while setting up the node, by kind.",
        errors.map(|(kind, count)| (one_label("errortype", kind), count)),
    )?;
    sheet.counters(
        "dnscache_node_repairs",
        "Parts of the node's set-up that were gone and have been put back.",
        repairs.map(|(what, count)| (one_label("what", what), count)),
    )?;
    sheet.gauges(
        "dnscache_node_rules",
        "What holds the packet rules.",
        backend.map(|backend| (one_label("backend", backend), 1_u64)),
    )
}
