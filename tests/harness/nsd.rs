//! nsd as an upstream: zones as text, files in a folder of its own, ended when dropped.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::client::UdpClient;
use super::zone::query;

/// A zone's name and its text in the master file format (RFC 1035 section 5).
pub struct NsdZone {
    pub name: String,
    pub text: String,
}

/// A running nsd.
pub struct Nsd {
    addresses: Vec<SocketAddr>,
    zone: String,
    child: Child,
    _folder: TempDir,
}

impl Nsd {
    /// Starts nsd in the foreground, as this user; `command` is a command line that ends with it.
    pub fn start(mut command: Command, addresses: &[SocketAddr], zones: &[NsdZone]) -> Self {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let config = folder.path().join("nsd.conf");
        std::fs::write(&config, config_text(folder.path(), addresses, zones)).expect("writable");
        for (number, zone) in zones.iter().enumerate() {
            std::fs::write(folder.path().join(format!("zone{number}")), &zone.text)
                .expect("a writable folder");
        }
        command.args(["-d", "-c"]).arg(&config);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("nsd starts");
        let zone = zones[0].name.clone();
        Self { addresses: addresses.to_vec(), zone, child, _folder: folder }
    }

    /// Waits until a client at `from` has an answer from the first address.
    pub fn wait_until_it_answers(&self, from: IpAddr) {
        let client = UdpClient::from_address(from, self.addresses[0]);
        let end = Instant::now() + Duration::from_secs(20);
        while Instant::now() < end {
            client.send(&query(1, &self.zone, "SOA").write());
            if client.receive(Duration::from_millis(100)).is_some() {
                return;
            }
        }
        panic!("nsd does not answer {from} on {}", self.addresses[0]);
    }
}

impl Drop for Nsd {
    fn drop(&mut self) {
        // Asked to end rather than killed: its own children would outlive it.
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

fn config_text(folder: &Path, addresses: &[SocketAddr], zones: &[NsdZone]) -> String {
    let here = folder.display();
    let mut text = String::from("server:\n");
    for address in addresses {
        writeln!(text, "  ip-address: {}@{}", address.ip(), address.port()).expect("a string");
    }
    // Debian's nsd limits answers to one client to 200 a second, where rrl-ratelimit says nothing.
    write!(
        text,
        "  username: \"\"\n  chroot: \"\"\n  zonesdir: \"{here}\"\n  pidfile: \"{here}/nsd.pid\"\n  \
         database: \"\"\n  xfrdfile: \"{here}/xfrd\"\n  zonelistfile: \"{here}/zones\"\n  \
         xfrdir: \"{here}\"\n  server-count: 1\n  tcp-count: 1000\n  rrl-ratelimit: 0\n\
         remote-control:\n  control-enable: no\n"
    )
    .expect("a string");
    for (number, zone) in zones.iter().enumerate() {
        let name = &zone.name;
        write!(text, "zone:\n  name: \"{name}\"\n  zonefile: zone{number}\n").expect("a string");
    }
    text
}
