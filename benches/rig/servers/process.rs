//! One running server: started on a core, asked until it answers, read, and ended.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::{Pid, SysconfVar, sysconf};
use tempfile::TempDir;

use super::{Kind, Launch, Place, Program, command};
use crate::rig::cores;

/// A server that runs; dropping it ends it and removes its folder.
pub struct Server {
    pub kind: Kind,
    /// Where it answers.
    pub address: SocketAddr,
    pub pid: u32,
    child: Child,
    folder: TempDir,
}

impl Server {
    /// Starts the program on a free loopback port and returns once it answers a question that had
    /// to reach the upstream. The error carries the server's own log.
    pub fn start(program: &Program, launch: &Launch) -> anyhow::Result<Server> {
        let mut attempt = 1;
        loop {
            match Self::start_once(program, launch) {
                // The port was free a moment ago; somebody else may have drawn it since.
                Err(error) if attempt < ATTEMPTS => {
                    attempt += 1;
                    eprintln!("{}: started again: {error:#}", program.kind.name());
                }
                outcome => return outcome,
            }
        }
    }

    fn start_once(program: &Program, launch: &Launch) -> anyhow::Result<Server> {
        let name = program.kind.name();
        let folder = own_folder().context("a folder for the configuration")?;
        let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let address = SocketAddr::new(ip, free_port(ip)?);
        let place = Place { folder: folder.path(), address };
        let mut command =
            command(program, launch, &place).with_context(|| format!("{name}: configuration"))?;
        let log = File::create(log_path(folder.path())).context("a log file")?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        command.current_dir(folder.path());
        let spawned = match launch.core {
            Some(core) => cores::pinned(&[core], || command.spawn())?,
            None => command.spawn(),
        };
        let child = spawned.with_context(|| format!("{name}: {}", program.path.display()))?;
        let pid = child.id();
        let mut server = Server { kind: program.kind, address, pid, child, folder };
        server.wait_until_it_answers()?;
        Ok(server)
    }

    fn wait_until_it_answers(&mut self) -> anyhow::Result<()> {
        let name = self.kind.name();
        let end = Instant::now() + START_PATIENCE;
        for number in 0.. {
            if let Some(status) = self.child.try_wait()? {
                bail!("{name} ended with {status}:\n{}", self.log());
            }
            if Instant::now() > end {
                bail!("{name} does not answer on {}:\n{}", self.address, self.log());
            }
            if probe(self.address, number, self.kind != Kind::Echo).unwrap_or(false) {
                return Ok(());
            }
        }
        unreachable!("the loop ends by an answer, the end of the server or of patience")
    }

    /// User and system time of the process so far, all threads together.
    pub fn cpu(&self) -> Duration {
        let own = cpu_of(self.pid).unwrap_or_default();
        if self.kind != Kind::Dnsmasq {
            return own;
        }
        own + children_cpu(self.pid).unwrap_or_default()
    }

    /// Resident memory in octets, mapped files included.
    pub fn rss_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kib.unwrap_or(0) * 1024
    }

    /// Makes [`Kind::Dnscache`] and [`Kind::NodeCache`] read their configuration anew; the others
    /// are left alone. The file is changed first (by a comment), so that neither can skip it.
    pub fn reload(&self) {
        let (file, signal) = match self.kind {
            Kind::Dnscache => ("Corefile", Signal::SIGHUP),
            // CoreDNS ignores SIGHUP.
            Kind::NodeCache => ("Corefile", Signal::SIGUSR1),
            _ => return,
        };
        let path = self.folder.path().join(file);
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        // A configuration that stays as it was is a reload all the same; a failure costs nothing.
        let _ = std::fs::write(&path, format!("{text}# reload\n"));
        let _ = kill(pid(self.pid), signal);
    }

    /// The end of what the server wrote.
    pub fn log(&self) -> String {
        let text = std::fs::read(log_path(self.folder.path())).unwrap_or_default();
        let from = text.len().saturating_sub(LOG_SHOWN_LEN);
        String::from_utf8_lossy(&text[from..]).into_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How often a server is started before its error counts.
const ATTEMPTS: u32 = 3;
/// How long a server may take from its start to its first answer.
const START_PATIENCE: Duration = Duration::from_secs(20);
/// How long a probe waits for its reply.
const PROBE_PATIENCE: Duration = Duration::from_millis(100);
/// How much of a log an error shows, in octets.
const LOG_SHOWN_LEN: usize = 4096;

/// A port that is free over UDP and TCP.
pub fn free_port(ip: IpAddr) -> anyhow::Result<u16> {
    for _ in 0..100 {
        let udp = UdpSocket::bind((ip, 0)).context("a free port")?;
        let port = udp.local_addr()?.port();
        if TcpListener::bind((ip, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port is free over both UDP and TCP")
}

/// A folder in memory where there is one: Knot Resolver maps its cache from it.
fn own_folder() -> std::io::Result<TempDir> {
    let builder = || {
        let mut builder = tempfile::Builder::new();
        builder.prefix("dnscache-bench-");
        builder
    };
    builder().tempdir_in("/dev/shm").or_else(|_| builder().tempdir())
}

fn log_path(folder: &Path) -> PathBuf {
    folder.join("log")
}

/// Asks for a name nobody asked for before. True if the reply shows that upstream was reached:
/// NOERROR or NXDOMAIN, or anything at all from a server that is no resolver.
fn probe(address: SocketAddr, number: u32, resolves: bool) -> std::io::Result<bool> {
    let socket = UdpSocket::bind((address.ip(), 0))?;
    socket.connect(address)?;
    socket.set_read_timeout(Some(PROBE_PATIENCE))?;
    let sent_at = Instant::now();
    let id = (number as u16).to_be_bytes();
    socket.send(&probe_query(id, number))?;
    let mut reply = [0; 1500];
    let outcome = socket.recv(&mut reply);
    if outcome.is_err() {
        // A port that is not open yet refuses at once (ICMP).
        std::thread::sleep(Duration::from_millis(20).saturating_sub(sent_at.elapsed()));
    }
    let len = outcome?;
    let response = len >= 12 && reply[..2] == id && reply[2] & 0x80 != 0;
    let rcode = reply[3] & 0x0F;
    Ok(!resolves || (response && matches!(rcode, 0 | 3)))
}

/// A query for `probe-<number>.ready.test`, type A, with recursion desired.
fn probe_query(id: [u8; 2], number: u32) -> Vec<u8> {
    let mut query = vec![id[0], id[1], 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in [format!("probe-{number}").as_str(), "ready", "test"] {
        query.push(label.len() as u8);
        query.extend_from_slice(label.as_bytes());
    }
    query.extend_from_slice(&[0, 0, 1, 0, 1]);
    query
}

fn pid(pid: u32) -> Pid {
    Pid::from_raw(pid as i32)
}

fn cpu_of(process: u32) -> nix::Result<Duration> {
    let clock = clock_getcpuclockid(pid(process))?;
    clock_gettime(clock).map(Duration::from)
}

/// CPU time of a server's child processes: those that run, and those that have ended and were
/// waited for (in clock ticks of 10 ms; nothing finer is kept of them).
fn children_cpu(parent: u32) -> Option<Duration> {
    let running = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
    let running: Duration = running
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|child| cpu_of(child.parse().ok()?).ok())
        .sum();
    let stat = std::fs::read_to_string(format!("/proc/{parent}/stat")).ok()?;
    // The fields after the name, which may hold spaces: cutime and cstime are numbers 16 and 17.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(13)?.parse::<u64>().ok()? + fields.get(14)?.parse::<u64>().ok()?;
    let ticks_per_second = sysconf(SysconfVar::CLK_TCK).ok()??;
    Some(running + Duration::from_secs_f64(ticks as f64 / ticks_per_second as f64))
}
