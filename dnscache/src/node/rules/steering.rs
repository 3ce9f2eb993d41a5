//! Rules that last as long as this process: they take what the node's own processes send to a
//! ClusterIP away from kube-proxy.
//!
//! With nftables they stand in a table of each process's own, which the kernel takes away when the
//! socket it was made through is closed (`flags owner`). That socket belongs to an `nft` that reads
//! from us and ends when we do, however that happens. With iptables they stand among the others and
//! match while a list in the kernel (the `recent` match) holds an address that was written there in
//! the last seconds; we write it every second.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, ChildStdin, Command};
use tokio::task::JoinHandle;

use super::command::{Bounds, run};
use super::iptables::heartbeat_name;
use super::{Condition, Rule, nft};

/// The rules of this process; dropped, they go.
pub enum Steering {
    /// None are in force.
    Off,
    /// A table of nftables.
    Table(Box<OwnTable>),
    /// Heartbeats for rules of iptables.
    Heart(Heart),
}

/// A table and the `nft` it belongs to.
pub struct OwnTable {
    name: String,
    child: Child,
    /// Closed, it ends the child.
    _line: ChildStdin,
}

/// A task that says we are alive.
pub struct Heart {
    task: JoinHandle<()>,
    beats: Vec<Beat>,
}

/// A list in the kernel and an address that is written there.
type Beat = (PathBuf, IpAddr);

impl Drop for Heart {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl OwnTable {
    /// Makes the table; `None` if this nft or this kernel has no tables with an owner.
    pub async fn make(rules: &[Rule], bounds: &Bounds) -> Option<Self> {
        // Two instances may have the same process number, each in its own container.
        let name = format!("{}-{:08x}", nft::TABLE, rand::random::<u32>());
        let text = nft::steering_line(&name, rules)?;
        let mut command = Command::new("nft");
        command.arg("-i").kill_on_drop(true).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().ok()?;
        let mut line = child.stdin.take().expect("asked for");
        line.write_all(text.as_bytes()).await.ok()?;
        line.flush().await.ok()?;
        let table = Self { name, child, _line: line };
        // nft says nothing when it has done a line, so its work is looked for.
        for _ in 0..LOOKS_MAX {
            if table.is_listed(bounds).await {
                return Some(table);
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        None
    }

    /// Whether the table is there.
    pub async fn stands(&mut self, bounds: &Bounds) -> bool {
        matches!(self.child.try_wait(), Ok(None)) && self.is_listed(bounds).await
    }

    async fn is_listed(&self, bounds: &Bounds) -> bool {
        let listing = run("nft", &["-s", "list", "table", "inet", &self.name], "", bounds).await;
        listing.is_ok_and(|listing| listing.contains("notrack"))
    }

    /// Takes the table away; when this returns it is gone, unless the kernel takes over a second.
    async fn close(mut self) {
        let _ = self.child.start_kill();
        let _ = tokio::time::timeout(Duration::from_secs(1), self.child.wait()).await;
    }
}

impl Heart {
    /// Beats for the addresses of these rules; `None` if none of them asks for it.
    pub fn start(rules: &[Rule]) -> Option<Self> {
        let mut addresses: Vec<IpAddr> = Vec::new();
        for rule in rules.iter().filter(|rule| rule.condition == Condition::ProcessAlive) {
            if !addresses.contains(&rule.address) {
                addresses.push(rule.address);
            }
        }
        let list = |address: &IpAddr| Path::new(LISTS).join(heartbeat_name(*address));
        let beats: Vec<Beat> = addresses.iter().map(|address| (list(address), *address)).collect();
        let task = (!beats.is_empty()).then(|| tokio::spawn(beat(beats.clone())))?;
        Some(Self { task, beats })
    }

    /// Takes the addresses out of the lists. Another instance puts them back with its next beat;
    /// until then kube-proxy leads questions to CoreDNS.
    async fn close(mut self) {
        self.task.abort();
        // A beat under way would put them back.
        let _ = (&mut self.task).await;
        for (list, address) in &self.beats {
            write(list, &format!("-{address}\n"));
        }
    }
}

async fn beat(beats: Vec<Beat>) {
    let mut seconds = tokio::time::interval(BEAT_PAUSE);
    seconds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        seconds.tick().await;
        for (list, address) in &beats {
            write(list, &format!("+{address}\n"));
        }
    }
}

/// Writes into the kernel's memory, so it does not wait. A list is missing while its rules are; the
/// check that puts them back says so.
fn write(list: &Path, line: &str) {
    if let Err(error) = std::fs::write(list, line) {
        tracing::debug!(list = %list.display(), %error, "no heartbeat");
    }
}

impl Steering {
    /// Ends it; when this returns its table is gone.
    pub async fn close(self) {
        match self {
            Self::Off => {}
            Self::Table(table) => table.close().await,
            Self::Heart(heart) => heart.close().await,
        }
    }
}

/// Where the kernel shows the lists of the `recent` match.
const LISTS: &str = "/proc/net/xt_recent";
/// Three beats may be late before we count as dead.
const BEAT_PAUSE: Duration = Duration::from_millis(700);
const LOOK_PAUSE: Duration = Duration::from_millis(20);
/// An nft takes some 5 ms to do a line; a busy machine is given a second.
const LOOKS_MAX: u32 = 50;
