//! The cache under test: this program once more, in a process of its own.

use std::ffi::OsString;
use std::io::{Read, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use dnscache::config::flags::Flags;
use dnscache::server;
use tempfile::NamedTempFile;

/// The hidden argument: `serve-cache COREFILE`.
pub const SERVE: &str = "serve-cache";
/// How long a process may take to answer.
const START_MAX: Duration = Duration::from_secs(5);

/// A running cache; it ends when this is dropped.
pub struct Cache {
    pub address: SocketAddr,
    child: Child,
    _corefile: NamedTempFile,
}

impl Cache {
    /// Starts with the reference manifest's blocks and this line in the cluster's.
    pub fn start(search_line: &str, upstream: SocketAddr) -> anyhow::Result<Self> {
        let address = free_address()?;
        let mut corefile = NamedTempFile::new().context("cannot make a temporary file")?;
        corefile.write_all(corefile_text(address, search_line, upstream).as_bytes())?;
        let program = std::env::current_exe().context("cannot name this program")?;
        let child = Command::new(program)
            .arg(SERVE)
            .arg(corefile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .context("cannot start the cache")?;
        let mut cache = Self { address, child, _corefile: corefile };
        cache.wait_until_it_answers()?;
        Ok(cache)
    }

    fn wait_until_it_answers(&mut self) -> anyhow::Result<()> {
        let end = Instant::now() + START_MAX;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait()? {
                anyhow::bail!("the cache ended with {status}");
            }
            // UDP is bound before TCP.
            if TcpStream::connect(self.address).is_ok() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(10));
        }
        anyhow::bail!("the cache on {} does not answer", self.address)
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        // Both fail only if it ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The life of the child: serves until it is killed, or until its parent is gone.
pub fn serve(corefile: &str) -> anyhow::Result<()> {
    thread::spawn(|| {
        // The parent holds the other end and never writes.
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(1);
    });
    let words = ["dnscache", "-conf", corefile, "-quiet"].map(OsString::from);
    server::run(&Flags::read(words)?)
}

fn corefile_text(address: SocketAddr, search_line: &str, upstream: SocketAddr) -> String {
    let (ip, port) = (address.ip(), address.port());
    let block = |zone: &str, lines: &str| {
        format!("{zone}:{port} {{\n bind {ip}\n errors\n {lines}\n forward . {upstream}\n}}\n")
    };
    let cluster = format!("cache {{\n success 9984 30\n denial 9984 5\n }}\n {search_line}");
    [block("cluster.local", &cluster), block(".", "cache 30")].concat()
}

/// A port nobody uses over UDP or TCP.
fn free_address() -> anyhow::Result<SocketAddr> {
    for _ in 0..100 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        if UdpSocket::bind(address).is_ok() {
            return Ok(address);
        }
    }
    anyhow::bail!("no free port on loopback")
}
