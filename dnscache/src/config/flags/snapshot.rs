//! The flags of snapshots: where the cache is kept over restarts, how often it is written, how much
//! of it.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};

use super::NODE;
use crate::config::{duration, octets};

/// Where snapshots are unless a flag says otherwise; used if the folder exists.
pub const PATH_DEFAULT: &str = "/var/lib/dnscache/snapshot";

/// What was said about snapshots.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct SnapshotFlags {
    /// File that keeps the cache over restarts, or off
    /// [default: /var/lib/dnscache/snapshot, if its folder exists]
    #[arg(long = "snapshot", value_name = "FILE", value_parser = place(), help_heading = NODE)]
    pub place: Option<SnapshotPlace>,

    /// Pause between snapshots; 0: only at the end
    #[arg(long = "snapshot-interval", value_name = "DURATION", default_value = "60s")]
    #[arg(value_parser = interval, help_heading = NODE)]
    pub interval: Duration,

    /// Octets of a snapshot at most; answers used most come first
    #[arg(long = "snapshot-size", value_name = "SIZE", default_value = "256MiB")]
    #[arg(value_parser = size, help_heading = NODE)]
    pub bytes_max: u64,
}

/// Where `-snapshot` says that snapshots are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotPlace {
    /// Nowhere.
    Off,
    /// In this file.
    File(PathBuf),
}

/// Manifests may write `-snapshot ""` for none.
fn place() -> impl TypedValueParser<Value = SnapshotPlace> {
    OsStringValueParser::new().map(|text| match text.to_str() {
        Some("" | "off") => SnapshotPlace::Off,
        _ => SnapshotPlace::File(text.into()),
    })
}

fn interval(text: &str) -> Result<Duration, String> {
    let is_usable = |pause: &Duration| pause.is_zero() || *pause >= Duration::from_secs(1);
    let read = duration::parse(text).filter(is_usable);
    read.ok_or_else(|| "expected a duration of a second or more, such as 60s, or 0".to_owned())
}

fn size(text: &str) -> Result<u64, String> {
    let read = octets::parse(text).filter(|bytes| *bytes >= BYTES_MIN);
    read.ok_or_else(|| "expected a size of 64KiB or more, such as 256MiB".to_owned())
}

/// Less than this holds no cache worth keeping.
const BYTES_MIN: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::config::flags::Flags;

    fn read(words: &[&str]) -> Result<SnapshotFlags, String> {
        let words = std::iter::once("dnscache").chain(words.iter().copied());
        let flags = Flags::read(words.map(OsString::from)).map_err(|error| error.to_string())?;
        Ok(flags.snapshot)
    }

    #[test]
    fn files_are_named_or_switched_off() {
        let place = |words: &[&str]| read(words).expect("understood").place;
        let file = |path: &str| Some(SnapshotPlace::File(path.into()));
        assert_eq!(place(&[]), None);
        assert_eq!(place(&["-snapshot", "/a/b"]), file("/a/b"));
        assert_eq!(place(&["-snapshot=c"]), file("c"));
        assert_eq!(place(&["-snapshot", ""]), Some(SnapshotPlace::Off));
        assert_eq!(place(&["-snapshot", "/a", "--snapshot", "off"]), Some(SnapshotPlace::Off));
    }

    #[test]
    fn pauses_and_sizes_are_read() {
        let flags = read(&["-snapshot-interval", "5m", "-snapshot-size", "1GiB"]);
        let flags = flags.expect("understood");
        assert_eq!((flags.interval.as_secs(), flags.bytes_max), (300, 1 << 30));
        let flags = read(&["-snapshot-interval", "0"]).expect("understood");
        assert_eq!((flags.interval.as_secs(), flags.bytes_max), (0, 256 << 20));
        for (words, text) in [
            (["-snapshot-interval", "10ms"], "a second or more"),
            (["-snapshot-interval", "x"], "such as 60s"),
            (["-snapshot-size", "1KiB"], "64KiB or more"),
            (["-snapshot-size", "1MB"], "such as 256MiB"),
        ] {
            let error = read(&words).expect_err(text);
            assert!(error.contains(text), "{error}");
        }
    }
}
