//! What the tests stand on: messages, zones, a scripted upstream, clients, the running program,
//! and conversations written as data.

pub mod api_server;
pub mod c_program;
pub mod client;
pub mod conversation;
pub mod engine;
pub mod engine_stage;
pub mod kube_node;
pub mod load;
pub mod message;
pub mod namespace;
pub mod node;
pub mod nsd;
pub mod nsd_zones;
pub mod packets;
pub mod program;
pub mod program_stage;
pub mod stage;
pub mod tcp_load;
pub mod upstream;
pub mod zone;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A loopback address nobody else uses: one per test, different in every process that runs at the
/// same time, so that fixed ports never collide.
pub fn own_loopback() -> Ipv4Addr {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let pid = std::process::id() & 0x7FFF;
    let count = COUNT.fetch_add(1, Ordering::Relaxed) % 254;
    Ipv4Addr::new(127, 64 + (pid >> 8) as u8, pid as u8, 1 + count as u8)
}

/// The folder of test data.
pub fn data_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data")
}

/// The files of one folder of test data in order of their names, with their text.
pub fn data_files(folder: &str) -> Vec<(String, String)> {
    let path = data_folder().join(folder);
    let entries = std::fs::read_dir(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut files: Vec<(String, String)> = entries
        .map(|entry| entry.expect("a readable folder"))
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            let text = std::fs::read_to_string(entry.path()).expect("a text file");
            (format!("tests/data/{folder}/{name}"), text)
        })
        .collect();
    files.sort();
    files
}

/// Looks at `holds` every few milliseconds until it is true; `false` when `limit` is over.
pub fn within(limit: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    loop {
        if holds() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
