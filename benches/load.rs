//! `cargo bench`: the real program under load, beside the kernel's own cost and other servers.
//!
//! Without arguments every scenario runs for every server found on this machine and one table is
//! printed; `cargo bench --bench load -- --help` lists what can be chosen. The exit code is about
//! right answers only, never about speed.

mod rig;

fn main() -> std::process::ExitCode {
    rig::main()
}
