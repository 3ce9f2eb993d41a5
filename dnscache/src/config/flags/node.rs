//! Our own flags about the node.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// How this program sets the node up, where node-cache has no flag for it.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct NodeFlags {
    /// What packet rules are made with
    #[arg(long = "rules", value_enum, default_value_t, help_heading = super::NODE)]
    pub rules: RulesChoice,

    /// File of the node that instances lock, so that the last one out cleans up
    #[arg(long = "node-lock", value_name = "FILE", default_value = "/run/xtables.lock")]
    #[arg(value_parser = super::path(), help_heading = super::NODE)]
    pub lock: PathBuf,
}

/// What packet rules are made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum RulesChoice {
    /// iptables where it filters what comes to the node, else nftables, else iptables.
    #[default]
    Auto,
    /// A table of nftables.
    Nftables,
    /// Rules of iptables and ip6tables.
    Iptables,
}
