//! What each instance type allows: network interfaces, addresses, pods.
//!
//! Only the default network card counts for pods, unless the CNI is told to use several
//! (`ENABLE_MULTI_NIC`), which is not modelled.

mod near;
mod table;

use crate::model::pool::PREFIX_ADDRESSES;
use crate::model::settings::Mode;

pub use near::suggest;
pub use table::{all, find};

/// Pods on the host's network that need no address and that the formulas add: kube-proxy and aws-node.
const PODS_WITHOUT_ADDRESS: u32 = 2;

/// The limits of one EC2 instance type (`ec2:DescribeInstanceTypes`, NetworkInfo).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceType {
    /// As AWS writes it: `m5.4xlarge`.
    pub name: &'static str,
    /// ENIs of the default network card.
    pub enis_max: u32,
    /// IPv4 addresses per ENI, the ENI's own primary address included.
    pub addresses_per_eni: u32,
    /// The vCPUs of the type's default configuration.
    pub vcpus: u32,
    /// Whether prefixes can be delegated to it (Nitro or bare metal).
    pub prefixes_supported: bool,
    /// The index of the default network card, the one with the primary ENI.
    pub default_card: u32,
    /// All network cards, by index.
    pub cards: Vec<NetworkCard>,
    /// What runs the instance.
    pub hypervisor: Hypervisor,
    /// Whether there is no hypervisor between the operating system and the machine.
    pub bare_metal: bool,
    /// Branch ENIs for security groups for pods; none: the VPC resource controller does not know
    /// the type.
    pub branch_enis: Option<u32>,
    /// Whether the type can have a trunk ENI; none as with the branch ENIs.
    pub trunking: Option<bool>,
}

/// One network card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetworkCard {
    /// Its index, 0 for the first.
    pub index: u32,
    /// ENIs that can be attached to it.
    pub enis_max: u32,
}

/// What runs an instance, as EC2 says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hypervisor {
    /// AWS's own.
    Nitro,
    /// That of older generations, without prefix delegation.
    Xen,
    /// EC2 does not say: bare metal, and two types the CNI's table knows nothing of.
    Unknown,
}

impl Hypervisor {
    /// EC2's word.
    pub fn name(self) -> &'static str {
        match self {
            Hypervisor::Nitro => "nitro",
            Hypervisor::Xen => "xen",
            Hypervisor::Unknown => "unknown",
        }
    }
}

impl InstanceType {
    /// What stands before the dot: `m5`.
    pub fn family(&self) -> &'static str {
        split(self.name).0
    }

    /// What stands behind the dot: `4xlarge`.
    pub fn size(&self) -> &'static str {
        split(self.name).1
    }

    /// Addresses or prefixes an ENI has room for beside its own primary address.
    pub fn slots_per_eni(&self) -> u32 {
        self.addresses_per_eni - 1
    }

    /// Addresses for pods on one full ENI.
    pub fn pod_addresses_per_eni(&self, mode: Mode) -> u32 {
        match self.mode(mode) {
            Mode::SecondaryIp => self.slots_per_eni(),
            Mode::Prefix => self.slots_per_eni() * PREFIX_ADDRESSES,
        }
    }

    /// The mode that holds on this type: ipamd falls back to secondary addresses where prefixes
    /// cannot be delegated.
    pub fn mode(&self, asked: Mode) -> Mode {
        if self.prefixes_supported { asked } else { Mode::SecondaryIp }
    }

    /// ENIs that pods get addresses from: with custom networking all but the primary one.
    pub fn enis_for_pods(&self, custom_networking: bool) -> u32 {
        self.enis_max - u32::from(custom_networking)
    }

    /// Addresses for pods on all ENIs; 232 for an m5.4xlarge with secondary addresses.
    pub fn pod_addresses(&self, mode: Mode, custom_networking: bool) -> u32 {
        self.enis_for_pods(custom_networking) * self.pod_addresses_per_eni(mode)
    }

    /// The pods that its addresses allow: one for each, and two on the host's network. With
    /// secondary addresses this is what `eni-max-pods.txt` says.
    pub fn pods_max_uncapped(&self, mode: Mode, custom_networking: bool) -> u32 {
        self.pod_addresses(mode, custom_networking) + PODS_WITHOUT_ADDRESS
    }

    /// What EKS's images tell kubelet: as [`InstanceType::pods_max_uncapped`], and with prefixes
    /// never more than [`InstanceType::pods_cap`].
    pub fn pods_max(&self, mode: Mode, custom_networking: bool) -> u32 {
        let uncapped = self.pods_max_uncapped(mode, custom_networking);
        match self.mode(mode) {
            Mode::SecondaryIp => uncapped,
            Mode::Prefix => uncapped.min(self.pods_cap()),
        }
    }

    /// The most pods AWS advises on a node of that many vCPUs (amazon-eks-ami,
    /// max-pods-calculator.sh; nodeadm, maxpods.go).
    pub fn pods_cap(&self) -> u32 {
        if self.vcpus <= 30 { 110 } else { 250 }
    }

    /// ENIs of all network cards together; those beyond the default card's are none of the pods'.
    pub fn enis_all_cards(&self) -> u32 {
        self.cards.iter().map(|card| card.enis_max).sum()
    }
}

/// Family and size; a name without a dot is all family.
fn split(name: &str) -> (&str, &str) {
    name.split_once('.').unwrap_or((name, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIP: Mode = Mode::SecondaryIp;
    const PD: Mode = Mode::Prefix;

    fn known(name: &str) -> &'static InstanceType {
        find(name).unwrap_or_else(|| panic!("{name} is in the table"))
    }

    #[test]
    fn an_m5_4xlarge_is_as_published() {
        let m5 = known("m5.4xlarge");
        assert_eq!((m5.enis_max, m5.addresses_per_eni, m5.vcpus), (8, 30, 16));
        assert_eq!(m5.pod_addresses(SIP, false), 232);
        assert_eq!(m5.pods_max(SIP, false), 234);
        assert_eq!(m5.pods_max_uncapped(PD, false), 3714);
        assert_eq!(m5.pods_max(PD, false), 110);
    }

    #[test]
    fn over_thirty_vcpus_the_cap_is_250() {
        assert_eq!(known("c5.9xlarge").pods_max(PD, false), 250);
        assert_eq!(known("c5.4xlarge").pods_max(PD, false), 110);
        assert_eq!(known("r5.8xlarge").pods_max(PD, false), 250);
    }

    #[test]
    fn a_small_type_stays_under_the_cap() {
        let t3 = known("t3.nano");
        assert_eq!((t3.pods_max(SIP, false), t3.pods_max(PD, false)), (4, 34));
    }

    #[test]
    fn custom_networking_takes_the_primary_eni_from_pods() {
        let m5 = known("m5.4xlarge");
        assert_eq!(m5.pods_max(SIP, true), 7 * 29 + 2);
        assert_eq!(m5.pods_max_uncapped(PD, true), 7 * 29 * 16 + 2);
        assert_eq!(m5.pods_max(PD, true), 110);
    }

    #[test]
    fn with_one_eni_custom_networking_leaves_no_addresses() {
        let one = all().iter().find(|kind| kind.enis_max == 1).expect("a type with one ENI");
        assert_eq!(one.pods_max(SIP, true), 2);
    }

    #[test]
    fn xen_falls_back_to_secondary_addresses() {
        let c4 = known("c4.8xlarge");
        assert_eq!(c4.mode(PD), SIP);
        assert_eq!(c4.pods_max(PD, false), c4.pods_max(SIP, false));
    }

    #[test]
    fn of_several_network_cards_the_default_one_counts() {
        let p5 = known("p5.48xlarge");
        assert_eq!((p5.enis_max, p5.cards.len(), p5.enis_all_cards()), (2, 32, 64));
        assert_eq!(p5.pods_max(SIP, false), 100);
    }
}
