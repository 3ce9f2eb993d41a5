//! The environment of aws-node as ipamd reads it.

use crate::model::limits::InstanceType;

/// How addresses are attached to an ENI (`ENABLE_PREFIX_DELEGATION`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Mode {
    /// One by one, as secondary addresses (/32).
    #[default]
    SecondaryIp,
    /// In prefixes of 16 addresses (/28).
    Prefix,
}

impl Mode {
    /// What one slot of an ENI holds, in a word.
    pub fn unit(self) -> &'static str {
        match self {
            Mode::SecondaryIp => "address",
            Mode::Prefix => "prefix",
        }
    }
}

/// The settings of one aws-node, as ipamd reads them once at its start. `Default` is what holds where
/// nothing is set: the VPC CNI's own defaults together with its manifest's.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Settings {
    /// `ENABLE_PREFIX_DELEGATION`.
    pub mode: Mode,
    /// `WARM_ENI_TARGET`, 1 where unset.
    pub warm_eni: u32,
    /// `WARM_IP_TARGET`; 0 means "not defined".
    pub warm_ip: u32,
    /// `MINIMUM_IP_TARGET`; 0 means "not defined".
    pub minimum_ip: u32,
    /// `WARM_PREFIX_TARGET`: 0 in the code, 1 in the Helm chart and the manifest.
    pub warm_prefix: u32,
    /// `MAX_ENI`; none: what the instance type allows.
    pub enis_max: Option<u32>,
    /// `IP_COOLDOWN_PERIOD`, milliseconds; 30 s where unset.
    pub cooldown_ms: u64,
    /// `AWS_MANAGE_ENIS_NON_SCHEDULABLE`: a cordoned node goes on managing its ENIs.
    pub manages_unschedulable: bool,
    /// `AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG`: pods get nothing from the primary ENI.
    pub custom_networking: bool,
    /// `ENABLE_SUBNET_DISCOVERY`, true where unset.
    pub subnet_discovery: bool,
    /// `ENABLE_POD_ENI`: an ENI slot is kept for the trunk of security groups for pods.
    pub pod_eni: bool,
    /// `DISABLE_LEAKED_ENI_CLEANUP` is not set: every node sweeps leaked ENIs once an hour.
    pub sweeps_leaked: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            mode: Mode::SecondaryIp,
            warm_eni: 1,
            warm_ip: 0,
            minimum_ip: 0,
            warm_prefix: 1,
            enis_max: None,
            cooldown_ms: 30_000,
            manages_unschedulable: false,
            custom_networking: false,
            subnet_discovery: true,
            pod_eni: false,
            sweeps_leaked: true,
        }
    }
}

impl Settings {
    /// Whether `WARM_IP_TARGET` or `MINIMUM_IP_TARGET` is defined; the ENI and prefix targets then
    /// no longer say when the pool grows.
    pub fn is_targeted(&self) -> bool {
        self.warm_ip != 0 || self.minimum_ip != 0
    }

    /// As they hold on an instance type: one that cannot have prefixes gets secondary addresses.
    pub fn on(&self, instance_type: &InstanceType) -> Settings {
        Settings { mode: instance_type.mode(self.mode), ..self.clone() }
    }
}
