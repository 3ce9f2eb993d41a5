//! The real program in a folder of its own, on loopback, ended when dropped.

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::client::{PATIENCE, TcpClient, UdpClient, http_page};
use super::message::Message;
use super::zone::query;
use super::{own_loopback, within};

/// The port the program serves on, on a loopback address of its own.
pub const DNS_PORT: u16 = 5300;
/// The port of the first upstream on the same address; the second has the next one.
pub const UPSTREAM_PORT: u16 = 5400;
/// Where a Corefile may put the admin pages.
pub const METRICS_PORT: u16 = 9253;

/// A running program.
pub struct Program {
    /// Its first UDP and TCP address.
    pub address: SocketAddr,
    /// The folder that holds its Corefile.
    pub folder: TempDir,
    child: Child,
    log: Arc<Mutex<String>>,
}

impl Program {
    /// Starts with this Corefile on `ip` and waits until it answers. `IP`, `PORT`, `UPSTREAM`,
    /// `UPSTREAM2`, `UPSTREAM3` and `FOLDER` in the text stand for the test's own.
    pub fn start(ip: Ipv4Addr, corefile: &str) -> Self {
        Self::start_with(ip, corefile, &[])
    }

    /// As [`Self::start`], with further arguments.
    pub fn start_with(ip: Ipv4Addr, corefile: &str, arguments: &[&str]) -> Self {
        Self::start_in(ip, corefile, arguments, &[])
    }

    /// As [`Self::start_with`], with further variables in the environment.
    pub fn start_in(
        ip: Ipv4Addr,
        corefile: &str,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Self {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let path = folder.path().join("Corefile");
        std::fs::write(&path, fill_in(corefile, ip, folder.path())).expect("a writable folder");
        let mut command = command();
        // What a machine keeps in the default place is none of a test's business.
        command.arg("-conf").arg(&path).args(["-snapshot", "off"]).args(arguments);
        command.envs(variables.iter().copied());
        let mut program = Self::spawn(command, (ip, DNS_PORT).into(), folder);
        program.wait_until_it_answers();
        program
    }

    /// Starts another instance beside this one, of the same Corefile and with further arguments.
    /// It may not serve yet when this returns.
    pub fn start_successor(&self, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        std::fs::copy(self.corefile(), folder.path().join("Corefile")).expect("a writable folder");
        let mut command = command();
        command.arg("-conf").arg(folder.path().join("Corefile")).args(arguments);
        Self::spawn(command, self.address, folder)
    }

    /// Starts any command line, without waiting.
    pub fn spawn(mut command: Command, address: SocketAddr, folder: TempDir) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let log = Arc::new(Mutex::new(String::new()));
        collect(child.stdout.take().expect("a pipe"), log.clone());
        collect(child.stderr.take().expect("a pipe"), log.clone());
        Self { address, folder, child, log }
    }

    /// Waits for an answer to a question that needs no upstream (opcode 2: NOTIMP).
    pub fn wait_until_it_answers(&mut self) {
        let mut probe = query(1, "started.test", "A");
        probe.flags = 2 << 11;
        let end = Instant::now() + Duration::from_secs(20);
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait().expect("a child") {
                panic!("the program ended with {status}:\n{}", self.log());
            }
            let client = UdpClient::new(self.address);
            client.send(&probe.write());
            if client.receive(Duration::from_millis(50)).is_some()
                && TcpStream::connect(self.address).is_ok()
            {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("no answer on {} within 20 s:\n{}", self.address, self.log());
    }

    /// Everything written to standard output and standard error so far.
    pub fn log(&self) -> String {
        self.log.lock().expect("no panic while collecting").clone()
    }

    /// Whether `text` appears in the log before `limit` is over.
    pub fn logs_within(&self, text: &str, limit: Duration) -> bool {
        within(limit, || self.log().contains(text))
    }

    /// The Corefile's path.
    pub fn corefile(&self) -> PathBuf {
        self.folder.path().join("Corefile")
    }

    /// Replaces the Corefile.
    pub fn write_corefile(&self, text: &str) {
        let SocketAddr::V4(address) = self.address else { panic!("an IPv4 address") };
        let text = fill_in(text, *address.ip(), self.folder.path());
        let next = self.folder.path().join("Corefile.next");
        std::fs::write(&next, text).expect("a writable folder");
        std::fs::rename(next, self.corefile()).expect("a writable folder");
    }

    /// The process's number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by name (`HUP`, `TERM`, ...).
    pub fn signal(&self, name: &str) {
        let command = format!("kill -{name} {}", self.child.id());
        let status = Command::new("sh").args(["-c", &command]).status().expect("a shell");
        assert!(status.success(), "{command}");
    }

    /// The exit status, if the program ends before `limit` is over.
    pub fn ends_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        let mut status = None;
        within(limit, || {
            status = self.child.try_wait().expect("a child");
            status.is_some()
        });
        status
    }

    /// Asks over UDP, RD set, no EDNS.
    pub fn ask(&self, name: &str, qtype: &str) -> Message {
        UdpClient::new(self.address).ask(&query(7, name, qtype)).unwrap_or_else(|| {
            panic!("no reply to {name} {qtype} within {PATIENCE:?}:\n{}", self.log())
        })
    }

    /// Asks over TCP.
    pub fn ask_tcp(&self, name: &str, qtype: &str) -> Message {
        TcpClient::new(self.address).ask(&query(7, name, qtype)).unwrap_or_else(|| {
            panic!("no reply to {name} {qtype} over TCP within {PATIENCE:?}:\n{}", self.log())
        })
    }

    /// The metrics page at port `METRICS_PORT` of the program's address.
    pub fn metrics(&self) -> String {
        let address = SocketAddr::new(self.address.ip(), METRICS_PORT);
        let (status, body) = http_page(address, "/metrics").expect("a metrics page");
        assert_eq!(status, 200);
        body
    }

    /// The sum of all series of one metric whose labels contain every one of `labels`.
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        metric_sum(&self.metrics(), name, labels)
    }

    /// Resident memory in bytes.
    pub fn resident_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).expect("a running process");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a VmRSS line");
        let kilobytes = line.split_whitespace().nth(1).and_then(|word| word.parse::<u64>().ok());
        kilobytes.expect("a number of kB") * 1024
    }

    /// Open file descriptors.
    pub fn open_files(&self) -> usize {
        let path = format!("/proc/{}/fd", self.child.id());
        std::fs::read_dir(path).expect("a running process").count()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- log of the program on {}:\n{}", self.address, self.log());
        }
    }
}

/// A command line that starts with the program.
pub fn command() -> Command {
    Command::new(env!("CARGO_BIN_EXE_dnscache"))
}

/// Runs the program to its end; exit code (or `None` if it had to be killed after `limit`),
/// standard output and standard error together.
pub fn run_to_end(arguments: &[&str], limit: Duration) -> (Option<i32>, String) {
    let mut command = command();
    command.args(arguments);
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let mut program = Program::spawn(command, (own_loopback(), DNS_PORT).into(), folder);
    let code = program.ends_within(limit).and_then(|status| status.code());
    // The pipes are read by their own threads, which see the end a moment later.
    thread::sleep(Duration::from_millis(50));
    (code, program.log())
}

/// The sum of all series of one metric on a page.
pub fn metric_sum(page: &str, name: &str, labels: &[&str]) -> f64 {
    let series = page.lines().filter(|line| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
            && labels.iter().all(|label| line.contains(label))
    });
    series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// Puts the test's own addresses and folder in place of the words that stand for them.
pub fn fill_in(text: &str, ip: Ipv4Addr, folder: &Path) -> String {
    let upstream = |n: u16| format!("{ip}:{}", UPSTREAM_PORT + n);
    text.replace("UPSTREAM3", &upstream(2))
        .replace("UPSTREAM2", &upstream(1))
        .replace("UPSTREAM", &upstream(0))
        .replace("METRICS", &format!("{ip}:{METRICS_PORT}"))
        .replace("PORT", &DNS_PORT.to_string())
        .replace("FOLDER", &folder.to_string_lossy())
        .replace("IP", &ip.to_string())
}

fn collect(pipe: impl Read + Send + 'static, log: Arc<Mutex<String>>) {
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let mut log = log.lock().expect("no panic while collecting");
            log.push_str(&line);
            log.push('\n');
        }
    });
}
