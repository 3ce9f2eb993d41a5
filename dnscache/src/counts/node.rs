//! What went wrong while the node was set up or followed, as node-cache counts it.

use std::sync::atomic::{AtomicU64, Ordering};

/// Failures by what was being done, over reloads.
#[derive(Debug, Default)]
pub struct NodeCounts {
    /// Packet rules that could not be set.
    pub iptables: AtomicU64,
    /// Packet rules that could not be set because somebody else held the lock.
    pub iptables_lock: AtomicU64,
    /// The interface or an address of it could not be added.
    pub interface_add: AtomicU64,
    /// The interface could not be looked at.
    pub interface_check: AtomicU64,
    /// The template of the Corefile or the kube-dns ConfigMap could not be used.
    pub configmap: AtomicU64,
}

impl NodeCounts {
    /// The counts with the labels node-cache gives them.
    pub fn read(&self) -> [(&'static str, u64); 5] {
        [
            ("iptables", &self.iptables),
            ("iptables_lock", &self.iptables_lock),
            ("interface_add", &self.interface_add),
            ("interface_check", &self.interface_check),
            ("configmap", &self.configmap),
        ]
        .map(|(label, count)| (label, count.load(Ordering::Relaxed)))
    }
}
