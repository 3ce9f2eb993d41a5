//! Flags for the warm targets that hold on every node.

use clap::ValueEnum;
use clap::builder::RangedI64ValueParser;

use crate::model::settings::{Mode, Settings};

/// The settings of aws-node, one flag each, named as the environment variable.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Settings of aws-node")]
pub(super) struct TargetArgs {
    /// How addresses are attached
    #[arg(long, value_enum, default_value_t = ModeName::Sip)]
    mode: ModeName,
    /// WARM_ENI_TARGET
    #[arg(long, value_name = "N", value_parser = up_to(1_000), default_value_t = 1, allow_negative_numbers = true)]
    warm_eni_target: u32,
    /// WARM_IP_TARGET; 0: not defined
    #[arg(long, value_name = "N", value_parser = up_to(100_000), default_value_t = 0, allow_negative_numbers = true)]
    warm_ip_target: u32,
    /// MINIMUM_IP_TARGET; 0: not defined
    #[arg(long, value_name = "N", value_parser = up_to(100_000), default_value_t = 0, allow_negative_numbers = true)]
    minimum_ip_target: u32,
    /// WARM_PREFIX_TARGET
    #[arg(long, value_name = "N", value_parser = up_to(10_000), default_value_t = 1, allow_negative_numbers = true)]
    warm_prefix_target: u32,
    /// MAX_ENI [default: the type's limit]
    #[arg(long, value_name = "N", value_parser = from_1_to(1_000), allow_negative_numbers = true)]
    max_eni: Option<u32>,
    /// Pods get nothing from the primary ENI (AWS_VPC_K8S_CNI_CUSTOM_NETWORK_CFG)
    #[arg(long)]
    custom_networking: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ModeName {
    /// Secondary addresses, one by one
    Sip,
    /// Prefix delegation, 16 at a time
    Pd,
}

/// A number that may be 0.
pub(super) fn up_to(max: i64) -> RangedI64ValueParser<u32> {
    RangedI64ValueParser::new().range(0..=max)
}

/// A number that may not be 0.
pub(super) fn from_1_to(max: i64) -> RangedI64ValueParser<u32> {
    RangedI64ValueParser::new().range(1..=max)
}

impl TargetArgs {
    /// The settings, with the defaults where no flag is given.
    pub(super) fn settings(&self) -> Settings {
        let mode = match self.mode {
            ModeName::Sip => Mode::SecondaryIp,
            ModeName::Pd => Mode::Prefix,
        };
        Settings {
            mode,
            warm_eni: self.warm_eni_target,
            warm_ip: self.warm_ip_target,
            minimum_ip: self.minimum_ip_target,
            warm_prefix: self.warm_prefix_target,
            enis_max: self.max_eni,
            custom_networking: self.custom_networking,
            ..Settings::default()
        }
    }
}
