//! Flags in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    cni_tuner::commands::run(std::env::args_os())
}
