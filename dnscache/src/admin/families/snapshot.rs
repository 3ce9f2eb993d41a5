//! The metrics of the cache that is kept over restarts.

use std::fmt;

use crate::admin::sheet::Sheet;
use crate::counts::SnapshotCount;

/// Writes what snapshots came to.
pub(in crate::admin) fn snapshots(sheet: &mut Sheet<'_>, count: &SnapshotCount) -> fmt::Result {
    let SnapshotCount { loaded, written, writes, failures } = count;
    let help = "Answers taken over at the start from a snapshot of the cache.";
    sheet.gauge("dnscache_snapshot_loaded_entries", help, loaded.answers)?;
    let help = "Bytes of the snapshot taken over at the start.";
    sheet.gauge("dnscache_snapshot_loaded_bytes", help, loaded.bytes)?;
    let help = "How old the snapshot was when it was taken over at the start.";
    sheet.gauge("dnscache_snapshot_loaded_age_seconds", help, loaded.age_secs)?;
    let help = "How long taking it over took.";
    sheet.gauge("dnscache_snapshot_load_duration_seconds", help, loaded.duration_secs)?;
    sheet.counter("dnscache_snapshot_writes", "Snapshots of the cache written.", *writes)?;
    let help = "Snapshots that could not be used at the start or not be written.";
    sheet.counter("dnscache_snapshot_failures", help, *failures)?;
    let help = "Answers in the snapshot written last.";
    sheet.gauge("dnscache_snapshot_written_entries", help, written.answers)?;
    let help = "Answers left out of the snapshot written last because its size is bounded.";
    sheet.gauge("dnscache_snapshot_left_out_entries", help, written.left_out)?;
    let help = "Bytes of the snapshot written last.";
    sheet.gauge("dnscache_snapshot_written_bytes", help, written.bytes)?;
    let help = "When the last snapshot was written.";
    sheet.gauge("dnscache_snapshot_written_timestamp_seconds", help, written.at_secs)?;
    let help = "How long writing it took.";
    sheet.gauge("dnscache_snapshot_write_duration_seconds", help, written.duration_secs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::metrics::{Build, Metrics};
    use crate::admin::sources::Sources;
    use crate::admin::text_form::TextForm;
    use crate::counts::{LastWritten, Loaded};

    #[test]
    fn they_say_what_was_taken_over_and_what_was_written() {
        let count = || SnapshotCount {
            loaded: Loaded { answers: 70, bytes: 9_000, age_secs: 12.5, duration_secs: 0.25 },
            written: LastWritten {
                answers: 80,
                left_out: 5,
                bytes: 10_000,
                at_secs: 1_700_000_000.5,
                duration_secs: 0.5,
            },
            writes: 3,
            failures: 1,
        };
        let metrics = Metrics::new(Build::this());
        let snapshots: Option<crate::admin::sources::Source<_>> = Some(Box::new(count));
        metrics.replace_sources(Sources { snapshots, ..Sources::default() });
        let page = metrics.scrape(TextForm::OpenMetrics);
        for line in [
            "dnscache_snapshot_loaded_entries 70",
            "dnscache_snapshot_loaded_bytes 9000",
            "dnscache_snapshot_loaded_age_seconds 12.5",
            "dnscache_snapshot_load_duration_seconds 0.25",
            "dnscache_snapshot_writes_total 3",
            "dnscache_snapshot_failures_total 1",
            "dnscache_snapshot_written_entries 80",
            "dnscache_snapshot_left_out_entries 5",
            "dnscache_snapshot_written_bytes 10000",
            "dnscache_snapshot_written_timestamp_seconds 1700000000.5",
            "dnscache_snapshot_write_duration_seconds 0.5",
        ] {
            assert!(page.lines().any(|found| found == line), "missing: {line}\nin:\n{page}");
        }
    }
}
