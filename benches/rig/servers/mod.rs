//! The programs a run compares: which are here, and how each is started with fair settings.
//!
//! Every server forwards everything to the bench's own upstream, holds four times the names asked
//! for, answers on one thread where it can be told so, keeps whatever metrics it keeps by default,
//! and neither validates, rewrites nor logs a query. What cannot be made equal stands at the top
//! of the file of that server.

use std::fmt::{self, Display};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

mod dnscache;
mod dnsdist;
mod dnsmasq;
mod echo;
mod knot;
mod node_cache;
mod process;
mod unbound;

pub use process::{Server, free_port};

/// A server that can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The bench's own batched UDP echo: what the kernel alone costs.
    Echo,
    Dnscache,
    Unbound,
    Dnsdist,
    Knot,
    Dnsmasq,
    NodeCache,
}

impl Kind {
    /// Every kind, in the order of the table.
    pub const ALL: [Kind; 7] = [
        Kind::Echo,
        Kind::Dnscache,
        Kind::Unbound,
        Kind::Dnsdist,
        Kind::Knot,
        Kind::Dnsmasq,
        Kind::NodeCache,
    ];

    /// How tables, files and options call it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Echo => "echo",
            Kind::Dnscache => "dnscache",
            Kind::Unbound => "unbound",
            Kind::Dnsdist => "dnsdist",
            Kind::Knot => "knot",
            Kind::Dnsmasq => "dnsmasq",
            Kind::NodeCache => "node-cache",
        }
    }
}

/// A program that is here.
#[derive(Debug, Clone)]
pub struct Program {
    pub kind: Kind,
    pub path: PathBuf,
    /// What it says about itself, one line.
    pub version: String,
}

/// A program that is not here, and what would bring it.
#[derive(Debug, Clone)]
pub struct Missing {
    pub kind: Kind,
    pub reason: String,
}

impl Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}: {}", self.kind.name(), self.reason)
    }
}

/// What a server is started for.
#[derive(Debug, Clone)]
pub struct Launch {
    /// Where it forwards to, over UDP and TCP.
    pub upstream: SocketAddr,
    /// Ask upstream over TCP only. [`Kind::Dnscache`] and [`Kind::NodeCache`] can.
    pub force_tcp: bool,
    /// How many names its cache must hold.
    pub names: usize,
    /// The core all its threads run on.
    pub core: Option<usize>,
    /// UDP threads of [`Kind::Dnscache`]; every other server has one.
    pub workers: usize,
}

impl Launch {
    /// Entries a cache is told to have room for: four times the names, so that no uneven hash
    /// evicts a name before its bound is reached.
    fn entries(&self) -> usize {
        self.names.max(ENTRIES_MIN) * 4
    }
}

/// The smallest number of names a cache is laid out for.
const ENTRIES_MIN: usize = 10_000;

/// Where one server lives: a folder of its own and an address nobody else has.
struct Place<'a> {
    folder: &'a Path,
    address: SocketAddr,
}

impl Place<'_> {
    /// Writes a configuration file and returns its path.
    fn write(&self, file: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.folder.join(file);
        std::fs::write(&path, text)?;
        Ok(path)
    }
}

/// The program of this kind, or why there is none.
pub fn find(kind: Kind) -> Result<Program, Missing> {
    let found = match kind {
        Kind::Echo => echo::find(),
        Kind::Dnscache => dnscache::find(),
        Kind::Unbound => on_path("unbound", "unbound", "-V"),
        Kind::Dnsdist => on_path("dnsdist", "dnsdist", "--version"),
        Kind::Knot => on_path("kresd", "knot-resolver", "--version"),
        Kind::Dnsmasq => on_path("dnsmasq", "dnsmasq-base", "--version"),
        Kind::NodeCache => node_cache::find(),
    };
    match found {
        Ok((path, version)) => Ok(Program { kind, path, version }),
        Err(reason) => Err(Missing { kind, reason }),
    }
}

/// The command line of a server whose configuration has been written to its folder.
fn command(program: &Program, launch: &Launch, place: &Place) -> anyhow::Result<Command> {
    let mut command = Command::new(&program.path);
    match program.kind {
        Kind::Echo => echo::configure(&mut command, place),
        Kind::Dnscache => dnscache::configure(&mut command, launch, place)?,
        Kind::Unbound => unbound::configure(&mut command, launch, place)?,
        Kind::Dnsdist => dnsdist::configure(&mut command, launch, place)?,
        Kind::Knot => knot::configure(&mut command, launch, place)?,
        Kind::Dnsmasq => dnsmasq::configure(&mut command, launch, place)?,
        Kind::NodeCache => node_cache::configure(&mut command, launch, place)?,
    }
    Ok(command)
}

/// A path and a version, or why there is none.
type Found = Result<(PathBuf, String), String>;

fn on_path(name: &str, package: &str, version_flag: &str) -> Found {
    let path = which(name)
        .ok_or_else(|| format!("no `{name}` on PATH (Debian package {package} brings it)"))?;
    let version = version(&path, &[version_flag]);
    Ok((path, version))
}

/// Looks in PATH, then where Debian keeps servers, which is not in every user's PATH.
pub fn which(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(system)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// The first line a program prints when asked for its version.
fn version(path: &Path, arguments: &[&str]) -> String {
    let Ok(output) = Command::new(path).args(arguments).output() else {
        return "cannot be run".to_owned();
    };
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("unknown");
    line.split("  ").next().unwrap_or(line).to_owned()
}
