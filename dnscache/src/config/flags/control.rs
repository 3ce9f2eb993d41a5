//! Flags about the control socket, through which probes ask this very instance.

use std::path::PathBuf;

use clap::Args;

/// Where the control socket is unless a flag says otherwise.
pub const CONTROL_SOCKET: &str = "/run/dnscache/control.sock";

/// What was said about the control socket.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct ControlFlags {
    /// Unix socket that `dnscache probe` asks; "" for none. The default is used if its folder is
    /// there
    #[arg(long = "control", value_name = "PATH", value_parser = super::path())]
    #[arg(help_heading = super::NODE)]
    pub socket: Option<PathBuf>,
}

impl ControlFlags {
    /// Where to open it; `None`: nowhere.
    pub fn path(&self) -> Option<PathBuf> {
        match &self.socket {
            Some(path) if path.as_os_str().is_empty() => None,
            Some(path) => Some(path.clone()),
            None => {
                let path = PathBuf::from(CONTROL_SOCKET);
                path.parent().is_some_and(std::path::Path::is_dir).then_some(path)
            }
        }
    }
}
