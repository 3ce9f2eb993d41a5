//! The process as the kernel sees it (proc(5)), under the names every Prometheus client uses.

use std::fmt;
use std::fs;

use super::sheet::{Labels, Sheet};

/// Writes the `process_*` metrics; what cannot be read is left out.
pub(super) fn write(sheet: &mut Sheet<'_>) -> fmt::Result {
    let process = Process::read();
    let one = |value: Option<f64>| value.map(|value| (Labels::new(), value));
    let whole = |value: Option<u64>| value.map(|value| (Labels::new(), value));
    sheet.counters(
        "process_cpu_seconds",
        "Total user and system CPU time spent in seconds.",
        one(process.cpu_secs),
    )?;
    sheet.gauges(
        "process_resident_memory_bytes",
        "Resident memory size in bytes.",
        whole(process.resident_bytes),
    )?;
    sheet.gauges(
        "process_virtual_memory_bytes",
        "Virtual memory size in bytes.",
        whole(process.virtual_bytes),
    )?;
    sheet.gauges(
        "process_open_fds",
        "Number of open file descriptors.",
        whole(process.open_files),
    )?;
    sheet.gauges(
        "process_max_fds",
        "Maximum number of open file descriptors.",
        whole(process.open_files_max),
    )?;
    sheet.gauges(
        "process_start_time_seconds",
        "Start time of the process since unix epoch in seconds.",
        one(process.started_at_secs),
    )
}

/// One look at `/proc`.
#[derive(Debug, Default, PartialEq)]
struct Process {
    cpu_secs: Option<f64>,
    resident_bytes: Option<u64>,
    virtual_bytes: Option<u64>,
    open_files: Option<u64>,
    open_files_max: Option<u64>,
    started_at_secs: Option<f64>,
}

impl Process {
    fn read() -> Self {
        let text = |path| fs::read_to_string(path).unwrap_or_default();
        let stat = text("/proc/self/stat");
        let status = text("/proc/self/status");
        let ticks = Ticks::parse(&stat);
        let booted_at_secs = booted_at_secs(&text("/proc/stat"));
        // Looking into the directory opens one descriptor, which is not counted.
        let open_files = fs::read_dir("/proc/self/fd")
            .ok()
            .map(|files| (files.count() as u64).saturating_sub(1));
        Self {
            cpu_secs: ticks.as_ref().map(|ticks| ticks.cpu / TICKS_PER_SEC),
            resident_bytes: status_bytes(&status, "VmRSS:"),
            virtual_bytes: status_bytes(&status, "VmSize:"),
            open_files,
            open_files_max: open_files_max(&text("/proc/self/limits")),
            started_at_secs: ticks
                .zip(booted_at_secs)
                .map(|(ticks, booted_at_secs)| booted_at_secs + ticks.started / TICKS_PER_SEC),
        }
    }
}

/// USER_HZ, which Linux keeps at 100 for user space on every architecture we build for.
const TICKS_PER_SEC: f64 = 100.0;

/// Times of `/proc/self/stat`, in ticks.
#[derive(Debug, PartialEq)]
struct Ticks {
    cpu: f64,
    /// Since the machine started.
    started: f64,
}

impl Ticks {
    fn parse(stat: &str) -> Option<Self> {
        // The second field is the program's name in parentheses and may contain anything.
        let (_, after_name) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = after_name.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        Some(Self { cpu: field(14)? + field(15)?, started: field(22)? })
    }
}

fn booted_at_secs(stat: &str) -> Option<f64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

fn status_bytes(status: &str, key: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(key))?;
    let kibibytes: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

fn open_files_max(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_with_parentheses_shifts_no_field() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 4 0 9000 1 2 3";
        assert_eq!(Ticks::parse(stat), Some(Ticks { cpu: 200.0, started: 9000.0 }));
        assert_eq!(Ticks::parse("7 (x) S 1 7"), None);
        assert_eq!(Ticks::parse(""), None);
    }

    #[test]
    fn memory_comes_in_kibibytes() {
        let status = "Name:\tx\nVmSize:\t   2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!(status_bytes(status, "VmRSS:"), Some(1 << 20));
        assert_eq!(status_bytes(status, "VmSize:"), Some(2 << 20));
        assert_eq!(status_bytes("VmRSS: many kB", "VmRSS:"), None);
    }

    #[test]
    fn the_soft_limit_of_files_counts() {
        let limits = "Limit Soft Hard Units\nMax open files            1024   524288   files\n";
        assert_eq!(open_files_max(limits), Some(1024));
        assert_eq!(open_files_max("Max open files unlimited unlimited files"), None);
    }

    #[test]
    fn this_process_can_be_read() {
        let process = Process::read();
        assert!(process.resident_bytes.is_some_and(|bytes| bytes > 100_000));
        assert!(process.virtual_bytes > process.resident_bytes);
        assert!(process.open_files.is_some_and(|files| files >= 3));
        assert!(process.started_at_secs.is_some_and(|secs| secs > 1e9));
    }
}
