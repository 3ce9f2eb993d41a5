//! How often the kernel has held this process's control group back for its CPU limit (cgroups(7),
//! `cpu.stat`). A cache without a CPU limit has nothing to show here, and should have none: a group
//! that has used up its share of a period waits for the next, up to a tenth of a second, with every
//! question of the node.

use std::fmt;
use std::fs;

use super::sheet::{Labels, Sheet};

/// Writes the `dnscache_cpu_*` metrics; without a limit, or without a readable `cpu.stat`, nothing.
pub(super) fn write(sheet: &mut Sheet<'_>) -> fmt::Result {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let found = places(&groups).into_iter().find_map(|path| fs::read_to_string(path).ok());
    let reading = found.as_deref().and_then(Throttling::read);
    let one = |value: Option<f64>| value.map(|value| (Labels::new(), value));
    let whole = |value: Option<u64>| value.map(|value| (Labels::new(), value));
    sheet.counters(
        "dnscache_cpu_periods",
        "Periods in which the control group had a CPU limit to keep.",
        whole(reading.map(|reading| reading.periods)),
    )?;
    sheet.counters(
        "dnscache_cpu_throttled_periods",
        "Those in which it was held back.",
        whole(reading.map(|reading| reading.throttled)),
    )?;
    sheet.counters(
        "dnscache_cpu_throttled_seconds",
        "Time for which it was held back, in seconds, summed over its threads' CPUs.",
        one(reading.map(|reading| reading.throttled_secs)),
    )
}

/// Where `cpu.stat` may be, the likeliest first: for a container that sees its own group as the
/// root, and for a process that sees the machine's tree; version 2 of control groups and version 1.
fn places(groups: &str) -> Vec<String> {
    let mut places = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        // A group outside of what this process sees begins with `/..`.
        let path = if path.contains("..") { "/" } else { path };
        let root = match controllers {
            "" => "/sys/fs/cgroup".to_owned(),
            names if names.split(',').any(|name| name == "cpu") => {
                format!("/sys/fs/cgroup/{names}")
            }
            _ => continue,
        };
        places.push(format!("{root}{}/cpu.stat", path.trim_end_matches('/')));
        places.push(format!("{root}/cpu.stat"));
    }
    places
}

/// What `cpu.stat` says of a limit.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Throttling {
    periods: u64,
    throttled: u64,
    throttled_secs: f64,
}

impl Throttling {
    /// Reads the file's text; `None` if it has no limit's numbers, as that of a root group.
    fn read(text: &str) -> Option<Self> {
        let number = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once(' '));
            let (_, value) = lines.find(|(key, _)| *key == name)?;
            value.trim().parse::<u64>().ok()
        };
        // Microseconds in version 2, nanoseconds in version 1.
        let micros = number("throttled_usec").map(|micros| micros as f64 / 1e6);
        let nanos = number("throttled_time").map(|nanos| nanos as f64 / 1e9);
        Some(Self {
            periods: number("nr_periods")?,
            throttled: number("nr_throttled")?,
            throttled_secs: micros.or(nanos)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_read() {
        let expected = Throttling { periods: 40, throttled: 3, throttled_secs: 0.25 };
        let two =
            "usage_usec 9\nuser_usec 5\nnr_periods 40\nnr_throttled 3\nthrottled_usec 250000\n";
        assert_eq!(Throttling::read(two), Some(expected));
        let one = "nr_periods 40\nnr_throttled 3\nthrottled_time 250000000\n";
        assert_eq!(Throttling::read(one), Some(expected));
        for text in ["", "usage_usec 9\n", "nr_periods x\nnr_throttled 1\nthrottled_usec 1\n"] {
            assert_eq!(Throttling::read(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_file_is_looked_for_in_the_group_and_at_what_looks_like_the_root() {
        let two = ["/sys/fs/cgroup/kubepods/pod1/cpu.stat", "/sys/fs/cgroup/cpu.stat"];
        assert_eq!(places("0::/kubepods/pod1\n"), two);
        assert_eq!(places("0::/../../pod1\n")[0], "/sys/fs/cgroup/cpu.stat");
        let one = "5:memory:/pod1\n4:cpu,cpuacct:/pod1\n1:name=systemd:/x\nodd\n";
        let places = places(one);
        assert_eq!(places[0], "/sys/fs/cgroup/cpu,cpuacct/pod1/cpu.stat");
        assert_eq!(places.len(), 2);
    }
}
