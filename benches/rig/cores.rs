//! Which cores a process may use: the server one, load and upstream the others.

use anyhow::Context;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The cores this process was given.
pub fn available() -> anyhow::Result<Vec<usize>> {
    let set = sched_getaffinity(Pid::from_raw(0)).context("cannot read the allowed cores")?;
    Ok((0..CpuSet::count()).filter(|core| set.is_set(*core).unwrap_or(false)).collect())
}

/// Keeps the calling thread, and what it starts from now on, on `cores`.
pub fn pin(cores: &[usize]) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core).with_context(|| format!("no core {core}"))?;
    }
    sched_setaffinity(Pid::from_raw(0), &set)
        .with_context(|| format!("cannot run on cores {cores:?}"))
}

/// Runs `work`, which starts a process, on `cores` and returns to the cores of before.
pub fn pinned<T>(cores: &[usize], work: impl FnOnce() -> T) -> anyhow::Result<T> {
    let before = available()?;
    pin(cores)?;
    let done = work();
    pin(&before)?;
    Ok(done)
}
