//! Flags about what the process may do and whom it serves.

use clap::Args;

use super::super::check::network;
use super::{Networks, go_bool};

/// `-confine` and `-client-networks`.
#[derive(Debug, Clone, PartialEq, Args)]
pub struct Hardening {
    /// Give up privileges and system calls that are not needed
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "true")]
    #[arg(default_missing_value = "true", value_parser = go_bool, help_heading = HARDENING)]
    pub confine: bool,

    /// Networks of the cluster's nodes and pods, comma separated; blocks without acl refuse others
    #[arg(long, value_name = "CIDRS", default_value = "", value_parser = networks)]
    #[arg(help_heading = HARDENING)]
    pub client_networks: Networks,
}

fn networks(text: &str) -> Result<Networks, String> {
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    let read = |word: &str| {
        network(word).ok_or_else(|| format!("`{word}` is not a network such as 10.0.0.0/8"))
    };
    words.map(read).collect()
}

/// Heading of these flags.
const HARDENING: &str = "Hardening";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_a_list() {
        let networks = |text| networks(text).map(|found| format!("{found:?}"));
        assert_eq!(networks("").as_deref(), Ok("[]"));
        assert_eq!(
            networks("10.1.2.3/8, 2001:db8::/32,192.0.2.1").as_deref(),
            Ok("[(10.0.0.0, 8), (2001:db8::, 32), (192.0.2.1, 32)]")
        );
        let error = networks("10.0.0.0/8,10.0.0.0/33").expect_err("no network");
        assert_eq!(error, "`10.0.0.0/33` is not a network such as 10.0.0.0/8");
    }
}
