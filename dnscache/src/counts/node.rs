//! The counts of what the program does to its node.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// What could not be set up; node-cache's names in the `errortype` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum SetupError {
    /// Packet rules, whatever they are made with.
    Rules,
    /// The lock of iptables was held for too long.
    RulesLock,
    /// The interface could not be made or repaired.
    InterfaceAdd,
    /// The interface could not be looked at.
    InterfaceCheck,
    /// The kube-dns ConfigMap.
    ConfigMap,
}

/// What was found gone and put back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Repair {
    /// The link or an address.
    Interface,
    /// Packet rules.
    Rules,
}

/// What happened to the node since the start.
#[derive(Debug, Default)]
pub struct NodeCounts {
    errors: [AtomicU64; ERRORS.len()],
    repairs: [AtomicU64; REPAIRS.len()],
    /// 0: no rules; else the place of the backend in `BACKENDS`, from 1.
    backend: AtomicU8,
}

/// What was counted, under the labels it is shown with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeReading {
    /// By `errortype`.
    pub errors: [(&'static str, u64); ERRORS.len()],
    /// By `what`.
    pub repairs: [(&'static str, u64); REPAIRS.len()],
    /// What holds the packet rules now; empty if none are in place.
    pub backend: Option<&'static str>,
}

impl NodeCounts {
    /// Counts something that could not be set up.
    pub fn failed(&self, error: SetupError) {
        self.errors[error as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts something that was put back.
    pub fn repaired(&self, repair: Repair) {
        self.repairs[repair as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Notes what holds the packet rules: `nftables` or `iptables`.
    pub fn rules_stand(&self, backend: &str) {
        let at = BACKENDS.iter().position(|known| *known == backend).map_or(0, |at| at as u8 + 1);
        self.backend.store(at, Ordering::Relaxed);
    }

    /// Reads them.
    pub fn read(&self) -> NodeReading {
        let at = usize::from(self.backend.load(Ordering::Relaxed));
        NodeReading {
            errors: std::array::from_fn(|n| (ERRORS[n], self.errors[n].load(Ordering::Relaxed))),
            repairs: std::array::from_fn(|n| (REPAIRS[n], self.repairs[n].load(Ordering::Relaxed))),
            backend: at.checked_sub(1).and_then(|at| BACKENDS.get(at).copied()),
        }
    }
}

/// In the order of [`SetupError`].
const ERRORS: [&str; 5] =
    ["iptables", "iptables_lock", "interface_add", "interface_check", "configmap"];
/// In the order of [`Repair`].
const REPAIRS: [&str; 2] = ["interface", "rules"];
const BACKENDS: [&str; 2] = ["nftables", "iptables"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_name() {
        let counts = NodeCounts::default();
        counts.failed(SetupError::RulesLock);
        counts.failed(SetupError::ConfigMap);
        counts.failed(SetupError::ConfigMap);
        counts.repaired(Repair::Interface);
        assert_eq!(counts.read().backend, None);
        counts.rules_stand("iptables");
        let reading = counts.read();
        let of = |name: &str| reading.errors.iter().find(|(known, _)| *known == name);
        assert_eq!(of("iptables_lock"), Some(&("iptables_lock", 1)));
        assert_eq!(of("configmap"), Some(&("configmap", 2)));
        assert_eq!(of("interface_add"), Some(&("interface_add", 0)));
        assert_eq!(reading.repairs, [("interface", 1), ("rules", 0)]);
        assert_eq!(reading.backend, Some("iptables"));
    }
}
