//! The metrics of the node's set-up, under node-cache's names.

use std::fmt;

use super::one_label;
use crate::admin::sheet::Sheet;
use crate::counts::NodeCounts;

/// Writes what went wrong while the node was set up or followed.
pub(in crate::admin) fn node(sheet: &mut Sheet<'_>, counts: &NodeCounts) -> fmt::Result {
    let each = counts.read().map(|(what, count)| (one_label("errortype", what), count));
    let help = "Failures to set up the node or to follow its ConfigMaps, by what was being done.";
    sheet.counters("coredns_nodecache_setup_errors", help, each)
}
