//! Network namespaces made by a test and gone with it: interfaces, addresses, files of `/etc`.
//!
//! Needs root and `ip`. A namespace's name holds the process's number, so tests that run at the
//! same time never meet, and nothing of a test is seen outside its namespaces.

use std::ffi::OsStr;
use std::fs::File;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Files in `/etc/netns/NAME` lie over those of `/etc` for programs started by `ip netns exec`.
const FILES: &str = "/etc/netns";

/// A network namespace; its processes, interfaces and files end with it.
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// A namespace with nothing in it but a loopback interface.
    pub fn new(role: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("dnscache-{}-{count}-{role}", std::process::id());
        ip(&["netns", "add", &name]);
        let namespace = Self { name };
        namespace.ip("link set lo up");
        namespace
    }

    /// Runs `ip` with these words on what is in the namespace.
    pub fn ip(&self, words: &str) {
        let arguments = ["-n", &self.name].into_iter().chain(words.split_whitespace());
        ip(&arguments.collect::<Vec<&str>>());
    }

    /// Makes a pair of interfaces, one here and one there, both without an address and up.
    pub fn connect(&self, interface: &str, there: &Namespace, interface_there: &str) {
        let there_name = &there.name;
        self.ip(&format!(
            "link add name {interface} type veth peer name {interface_there} netns {there_name}"
        ));
        self.ip(&format!("link set {interface} up"));
        there.ip(&format!("link set {interface_there} up"));
    }

    /// What programs in the namespace read instead of `/etc/NAME`. A file the machine does not
    /// have cannot be laid over, and is then left out.
    pub fn write_file(&self, name: &str, text: &str) {
        if Path::new("/etc").join(name).exists() {
            std::fs::create_dir_all(self.files()).expect("root may write in /etc");
            std::fs::write(self.files().join(name), text).expect("root may write in /etc");
        }
    }

    /// A command line that starts `program` in the namespace, with its files in `/etc`.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Does `work` on a thread that is in the namespace: sockets it opens belong there.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let path = format!("/run/netns/{}", self.name);
        let namespace = File::open(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let enter_and_work = || {
            setns(&namespace, CloneFlags::CLONE_NEWNET).expect("root may enter a namespace");
            work()
        };
        thread::scope(|scope| {
            let worker = scope.spawn(enter_and_work);
            worker.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// UDP datagrams sent from the namespace since it was made, as the kernel counts them.
    pub fn datagrams_sent(&self) -> u64 {
        let counters = self.inside(|| std::fs::read_to_string("/proc/thread-self/net/snmp"));
        let counters = counters.expect("the kernel's counters");
        let mut lines = counters.lines().filter_map(|line| line.strip_prefix("Udp: "));
        let (names, values) = (lines.next().expect("names"), lines.next().expect("values"));
        let mut columns = names.split(' ').zip(values.split(' '));
        let sent = columns.find(|(name, _)| *name == "OutDatagrams").expect("a counter of UDP");
        sent.1.parse().expect("a number")
    }

    fn files(&self) -> PathBuf {
        Path::new(FILES).join(&self.name)
    }

    fn end_processes(&self) {
        let Ok(output) = Command::new("ip").args(["netns", "pids", &self.name]).output() else {
            return;
        };
        for pid in String::from_utf8_lossy(&output.stdout).lines().filter_map(|n| n.parse().ok()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.end_processes();
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
        let _ = std::fs::remove_dir_all(self.files());
        // Stays as long as another test or the machine itself has files there.
        let _ = std::fs::remove_dir(FILES);
    }
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).stdin(Stdio::null()).output();
    let output = output.expect("ip of iproute2 runs");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {}: {complaint}", arguments.join(" "));
}
