//! The command line: node-cache's and CoreDNS's flags, and a few of our own.
//!
//! Go's flags take one dash or two, `-name value` or `-name=value`, and a boolean takes its value
//! only with `=`; a flag given twice counts as it was given last. [`Flags::read`] rewrites the
//! words so that clap reads them that way.
//!
//! What a value may be is said in `values`.

mod values;

pub mod control;
mod snapshot;

mod hardening;
pub mod node;

mod kubernetes;

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgMatches, Args, Command, FromArgMatches, ValueEnum};

pub use kubernetes::KubernetesFlags;

use super::check::DIRECTIVES;
pub use snapshot::{PATH_DEFAULT as SNAPSHOT_DEFAULT, SnapshotFlags, SnapshotPlace};
use values::{
    addresses, endpoint_text, endpoints, go_bool, interface_name, path, service, sync_interval,
    sync_interval_warning, workers,
};

/// What was asked for on the command line.
#[derive(Debug, Clone, PartialEq, Args)]
pub struct Flags {
    /// The Corefile, or where it is written if there is a template; without either, a built-in one
    #[arg(long, value_name = "FILE", value_parser = path())]
    pub conf: Option<PathBuf>,

    /// Port of server blocks that name none [default: 53, or 5353 without -conf]
    #[arg(long = "dns.port", visible_alias = "p", value_name = "PORT")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    pub dns_port: Option<u16>,

    /// Write the process number to this file
    #[arg(long = "pidfile", value_name = "FILE", value_parser = path())]
    pub pid_file: Option<PathBuf>,

    /// Print nothing at start
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false")]
    #[arg(default_missing_value = "true", value_parser = go_bool)]
    pub quiet: bool,

    /// Print the version and exit
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false")]
    #[arg(default_missing_value = "true", value_parser = go_bool)]
    pub version: bool,

    /// List the directives of a Corefile and exit
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "false")]
    #[arg(default_missing_value = "true", value_parser = go_bool)]
    pub plugins: bool,

    /// UDP sockets and threads per address [default: one per core]
    #[arg(long, value_name = "COUNT", value_parser = workers)]
    pub workers: Option<NonZeroUsize>,

    /// How log lines are written
    #[arg(long, value_enum, default_value_t, env = "DNSCACHE_LOG_FORMAT")]
    pub log_format: LogFormat,

    /// Least severe log lines to write
    #[arg(long, value_enum, default_value_t, env = "DNSCACHE_LOG_LEVEL")]
    pub log_level: LogLevel,

    /// Addresses of the node's interface, comma separated; both families may be mixed
    #[arg(long = "localip", value_name = "ADDRESSES", default_value = "", value_parser = addresses)]
    #[arg(help_heading = NODE)]
    pub node_addresses: Addresses,

    /// Create the interface
    #[arg(long = "setupinterface", num_args = 0..=1, require_equals = true, default_value = "true")]
    #[arg(default_missing_value = "true", value_parser = go_bool, help_heading = NODE)]
    pub setup_interface: bool,

    /// Name of the interface
    #[arg(long = "interfacename", value_name = "NAME", default_value = "nodelocaldns")]
    #[arg(value_parser = interface_name, help_heading = NODE)]
    pub interface_name: String,

    /// Pause between checks of interface and rules (node-cache reads 60ns as 60 s, and so do we)
    #[arg(long = "syncinterval", value_name = "DURATION", default_value = "60s")]
    #[arg(value_parser = sync_interval, help_heading = NODE)]
    pub sync_interval: Duration,

    /// Where metrics are served whatever the Corefile says; "" for nowhere [default: port 9353 of
    /// the first -localip]
    #[arg(long, value_name = "ADDRESS", value_parser = endpoints, help_heading = NODE)]
    pub metrics_listen_address: Option<Endpoints>,

    /// Set up packet rules
    #[arg(long = "setupiptables", num_args = 0..=1, require_equals = true, default_value = "true")]
    #[arg(default_missing_value = "true", value_parser = go_bool, help_heading = NODE)]
    pub setup_iptables: bool,

    /// Template of the Corefile; "" for none [default: /etc/coredns/Corefile.base, if it is there]
    #[arg(long = "basecorefile", value_name = "FILE", value_parser = path(), help_heading = NODE)]
    pub base_corefile: Option<PathBuf>,

    /// Where the filled-in template is written; -conf comes before it
    #[arg(long, value_name = "FILE", default_value = "/etc/Corefile")]
    #[arg(value_parser = path(), help_heading = NODE)]
    pub corefile: PathBuf,

    /// Directory of the mounted kube-dns ConfigMap [default: /etc/kube-dns, if it is there]
    #[arg(long = "kubednscm", value_name = "PATH", value_parser = path(), help_heading = NODE)]
    pub kube_dns_config_map: Option<PathBuf>,

    /// Service whose ClusterIP is the upstream, or that address
    #[arg(long = "upstreamsvc", value_name = "NAME", default_value = "kube-dns")]
    #[arg(value_parser = service, help_heading = NODE)]
    pub upstream_service: String,

    /// Port of the health endpoint, for packet rules only
    #[arg(long, value_name = "PORT", default_value = "8080", help_heading = NODE)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    pub health_port: u16,

    /// Leave interface and rules in place at exit
    #[arg(long = "skipteardown", num_args = 0..=1, require_equals = true, default_value = "false")]
    #[arg(default_missing_value = "true", value_parser = go_bool, help_heading = NODE)]
    pub skip_teardown: bool,

    /// Reload at a signal to itself instead of the reload directive
    #[arg(long = "reloadwithsignal", num_args = 0..=1, require_equals = true, default_value = "false")]
    #[arg(default_missing_value = "true", value_parser = go_bool, help_heading = NODE)]
    pub reload_with_signal: bool,

    /// Address that takes the place of __PROMETHEUS__ENDPOINT__ in the template
    #[arg(long, value_name = "ADDRESS", default_value = ":9253", help_heading = NODE)]
    #[arg(value_parser = endpoint_text)]
    pub prometheus_listen_address: String,

    /// About the control socket
    #[command(flatten)]
    pub control: control::ControlFlags,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would show a line here as a heading")]
    pub snapshot: SnapshotFlags,
    /// Flags that were read as something else than they say, for the log.
    #[arg(skip)]
    pub warnings: Vec<String>,
    /// What the process may do and whom it serves.
    #[command(flatten)]
    pub hardening: hardening::Hardening,
    /// Our own flags about the node
    #[command(flatten)]
    pub node: node::NodeFlags,
    /// What is done to the node
    #[command(flatten)]
    pub kubernetes: KubernetesFlags,
}

/// What one `-localip` holds; clap takes a plain `Vec` for a flag that is given several times.
pub type Addresses = Vec<IpAddr>;

/// Where a page is served; empty: nowhere.
pub type Endpoints = Vec<SocketAddr>;

/// Where metrics are served whatever the Corefile says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsPage {
    /// Its addresses.
    pub listen: Endpoints,
    /// Whether somebody asked for it; if nobody did, it is left out where it cannot be had.
    pub is_asked_for: bool,
}
/// What one `-client-networks` holds: addresses with prefix lengths.
pub type Networks = Vec<(IpAddr, u8)>;

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Severities, most severe first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, ValueEnum)]
pub enum LogLevel {
    /// Something does not work.
    Error,
    /// Something may not work.
    Warn,
    /// What the program does at large.
    #[default]
    Info,
    /// What it does in detail.
    Debug,
    /// What it does with each packet.
    Trace,
}

impl Flags {
    /// Reads the words of a command line, the program's name first. An error is for printing; it
    /// is also how `--help` ends (`clap::Error::exit` does the right thing with both).
    pub fn read(words: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let command = command();
        let words = as_clap_reads(words, &command);
        let matches = command.try_get_matches_from(words)?;
        let mut flags = Self::from_arg_matches(&matches)?;
        flags.warnings = warnings(&matches);
        // Manifests write `-pidfile ""` for none.
        for path in [&mut flags.conf, &mut flags.pid_file, &mut flags.kube_dns_config_map] {
            path.take_if(|path| path.as_os_str().is_empty());
        }
        Ok(flags)
    }

    /// Where the filled-in template goes: `-conf`, else `-corefile`.
    pub fn output(&self) -> &Path {
        self.conf.as_deref().unwrap_or(&self.corefile)
    }

    /// Where metrics are served whatever the Corefile says: never on every address unless asked.
    pub fn metrics_page(&self) -> MetricsPage {
        let implied = || self.node_addresses.first().map(|&address| (address, METRICS_PORT).into());
        match &self.metrics_listen_address {
            Some(listen) => MetricsPage { listen: listen.clone(), is_asked_for: true },
            None => MetricsPage { listen: implied().into_iter().collect(), is_asked_for: false },
        }
    }
}

/// Flags that are read as something else than they say.
fn warnings(matches: &ArgMatches) -> Vec<String> {
    let written = matches.get_raw("sync_interval").and_then(|mut all| all.next_back());
    written.and_then(|text| sync_interval_warning(text.to_str()?)).into_iter().collect()
}

/// What `-version` prints: name and version, then what it was built for.
pub fn version_text() -> String {
    let (os, architecture) = (std::env::consts::OS, std::env::consts::ARCH);
    let (version, rust) = (env!("CARGO_PKG_VERSION"), env!("CARGO_PKG_RUST_VERSION"));
    format!("dnscache-{version}\n{os}/{architecture}, rust {rust}\n")
}

/// What `-plugins` prints: the directives of a Corefile in the order a query meets them.
pub fn plugins_text() -> String {
    let mut text = "Directives:\n".to_owned();
    for name in DIRECTIVES {
        text.push_str(&format!("  dns.{name}\n"));
    }
    text
}

fn command() -> Command {
    let command = Command::new("dnscache")
        .about("A DNS cache for every node of a Kubernetes cluster")
        .after_help(
            "Flags may be written with one dash or two.\n\
             `dnscache probe` asks a running instance how it is doing, for the kubelet; see \
             `dnscache probe --help`.\n\
             `dnscache top` shows the names a running cache is asked for most; see \
             `dnscache top --help`.",
        )
        .args_override_self(true)
        .disable_version_flag(true);
    Flags::augment_args(command)
}

/// Rewrites `-name` as `--name`, and `-name value` as `--name=value` where the flag takes a value:
/// in Go the next word is that value whatever it begins with.
fn as_clap_reads(words: impl IntoIterator<Item = OsString>, command: &Command) -> Vec<OsString> {
    let mut words = words.into_iter();
    let mut rewritten: Vec<_> = words.next().into_iter().collect();
    while let Some(word) = words.next() {
        if word == "--" {
            rewritten.push(word);
            break;
        }
        let Some(flag) = word.to_str().and_then(|text| text.strip_prefix('-')) else {
            rewritten.push(word);
            continue;
        };
        let flag = match flag.strip_prefix('-').unwrap_or(flag) {
            "h" => "help",
            flag => flag,
        };
        let mut whole = OsString::from(format!("--{flag}"));
        if takes_next_word(flag, command)
            && let Some(value) = words.next()
        {
            whole.push("=");
            whole.push(value);
        }
        rewritten.push(whole);
    }
    rewritten.extend(words);
    rewritten
}

fn takes_next_word(flag: &str, command: &Command) -> bool {
    let named = |argument: &&clap::Arg| {
        argument.get_long_and_visible_aliases().is_some_and(|names| names.contains(&flag))
    };
    // Booleans are the flags that need `=`.
    command.get_arguments().find(named).is_some_and(|argument| !argument.is_require_equals_set())
}

/// Heading of the flags about the node.
const NODE: &str = "Node";
/// node-cache's own metrics.
const METRICS_PORT: u16 = 9353;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn try_read(words: &[&str]) -> Result<Flags, String> {
        let words = std::iter::once("dnscache").chain(words.iter().copied());
        Flags::read(words.map(OsString::from)).map_err(|error| error.to_string())
    }

    fn read(words: &[&str]) -> Flags {
        try_read(words).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn the_command_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn one_dash_is_as_good_as_two() {
        for words in [
            ["-conf", "a"].as_slice(),
            &["--conf", "a"],
            &["-conf=a"],
            &["--conf=a"],
            &["-conf", "b", "-conf", "a"],
        ] {
            assert_eq!(read(words).conf, Some("a".into()), "{words:?}");
        }
        assert_eq!(read(&["-p", "54"]).dns_port, Some(54));
        assert_eq!(read(&["-p=54"]).dns_port, Some(54));
        assert_eq!(read(&["--dns.port=54"]).dns_port, Some(54));
        assert_eq!(read(&["-conf", "-odd"]).conf, Some("-odd".into()));
    }

    #[test]
    fn empty_paths_are_none() {
        let flags = read(&["-conf", "", "-pidfile=", "-kubednscm="]);
        assert_eq!((flags.conf, flags.pid_file, flags.kube_dns_config_map), (None, None, None));
    }

    #[test]
    fn booleans_are_gos() {
        for (words, expected) in [
            ([].as_slice(), (true, false)),
            (&["-setupinterface", "-skipteardown"], (true, true)),
            (&["-setupinterface=false", "-skipteardown=true"], (false, true)),
            (&["--setupinterface=F", "--skipteardown=1"], (false, true)),
            (&["-setupinterface=false", "-setupinterface"], (true, false)),
        ] {
            let flags = read(words);
            assert_eq!((flags.setup_interface, flags.skip_teardown), expected, "{words:?}");
        }
        assert!(try_read(&["-quiet=yes"]).expect_err("yes").contains("expected true or false"));
    }

    #[test]
    fn the_arguments_of_the_reference_manifest_are_understood() {
        let flags = read(&[
            "-localip",
            "169.254.20.10,10.96.0.10",
            "-conf",
            "/etc/Corefile",
            "-upstreamsvc",
            "kube-dns-upstream",
            "-pidfile",
            "/tmp/node-cache.pid",
        ]);
        assert_eq!(flags.node_addresses.len(), 2);
        assert_eq!(flags.conf, Some("/etc/Corefile".into()));
        assert_eq!(flags.upstream_service, "kube-dns-upstream");
        assert_eq!(flags.pid_file, Some("/tmp/node-cache.pid".into()));
    }

    #[test]
    fn defaults_are_those_of_node_cache() {
        let flags = read(&[]);
        assert_eq!(flags.interface_name, "nodelocaldns");
        assert_eq!(flags.sync_interval, Duration::from_secs(60));
        assert_eq!((flags.metrics_listen_address, flags.base_corefile), (None, None));
        assert_eq!(flags.corefile, PathBuf::from("/etc/Corefile"));
        assert_eq!(flags.upstream_service, "kube-dns");
        assert_eq!(flags.health_port, 8080);
        assert_eq!(flags.prometheus_listen_address, ":9253");
        assert!(flags.setup_interface && flags.setup_iptables);
        assert!(!flags.skip_teardown && !flags.reload_with_signal);
        assert_eq!((flags.conf, flags.dns_port, flags.workers), (None, None, None));
        assert!(flags.node_addresses.is_empty());
    }

    #[test]
    fn every_flag_of_node_cache_is_accepted() {
        read(&[
            "-localip",
            "",
            "-setupinterface=false",
            "-interfacename",
            "x",
            "-syncinterval",
            "60ns",
            "-metrics-listen-address",
            ":9353",
            "-setupiptables=false",
            "-basecorefile",
            "b",
            "-corefile",
            "c",
            "-kubednscm",
            "d",
            "-upstreamsvc",
            "e",
            "-health-port",
            "8081",
            "-skipteardown",
            "-reloadwithsignal",
            "-prometheus-listen-address",
            ":1",
            "-conf",
            "f",
            "-pidfile",
            "g",
            "-dns.port",
            "53",
            "-plugins",
            "-version",
            "-quiet",
        ]);
    }

    #[test]
    fn metrics_are_for_the_node_unless_somebody_says_otherwise() {
        let shown = |words: &[&str]| {
            let page = read(words).metrics_page();
            (
                page.listen.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
                page.is_asked_for,
            )
        };
        let localip: &[&str] = &["-localip", "169.254.20.10,fd00::10"];
        assert_eq!(shown(&[]), (String::new(), false));
        assert_eq!(shown(localip), ("169.254.20.10:9353".to_owned(), false));
        for (value, expected) in [("", ""), ("0.0.0.0:9353", "0.0.0.0:9353"), (":1", "[::]:1")] {
            let words = [localip, &["-metrics-listen-address", value]].concat();
            assert_eq!(shown(&words), (expected.to_owned(), true));
        }
    }

    #[test]
    fn the_output_is_conf_before_corefile() {
        assert_eq!(read(&[]).output(), Path::new("/etc/Corefile"));
        assert_eq!(read(&["-corefile", "a"]).output(), Path::new("a"));
        assert_eq!(read(&["-corefile", "a", "-conf", "b"]).output(), Path::new("b"));
    }

    #[test]
    fn odd_intervals_are_warned_about() {
        assert_eq!(read(&[]).warnings, [""; 0]);
        assert_eq!(read(&["-syncinterval", "60s"]).warnings, [""; 0]);
        assert_eq!(read(&["-syncinterval=60ns"]).warnings.len(), 1);
        assert_eq!(read(&["-syncinterval", "60ns", "-syncinterval", "5s"]).warnings, [""; 0]);
    }

    #[test]
    fn sync_intervals_are_read_as_node_cache_does() {
        let interval = |text: &str| read(&["-syncinterval", text]).sync_interval.as_secs();
        assert_eq!(
            (interval("60ns"), interval("30s"), interval("45"), interval("1m")),
            (60, 30, 45, 60)
        );
        for text in ["0", "500ms", "x", "-1s"] {
            assert!(try_read(&["-syncinterval", text]).is_err(), "{text}");
        }
    }

    #[test]
    fn unknown_flags_name_the_nearest() {
        let error = try_read(&["-cnof", "x"]).expect_err("unknown");
        assert!(error.contains("unexpected argument '--cnof'"), "{error}");
        assert!(error.contains("--conf"), "{error}");
        assert!(try_read(&["extra"]).expect_err("extra").contains("'extra'"));
        assert!(try_read(&["-conf"]).expect_err("no value").contains("--conf"));
    }

    #[test]
    fn bad_values_are_named() {
        for (words, text) in [
            (["-localip", "10.0.0.1,x"], "`x` is not an IP address"),
            (["-dns.port", "0"], "0 is not in 1..=65535"),
            (["-workers", "0"], "expected 1 to 256"),
            (["-workers", "99999999"], "expected 1 to 256"),
            (["-log-level", "loud"], "loud"),
        ] {
            let error = try_read(&words).expect_err(text);
            assert!(error.contains(text), "{error}");
        }
    }

    #[test]
    fn our_own_flags_are_read() {
        let flags = read(&["--workers", "4", "--log-format", "json", "--log-level=debug"]);
        assert_eq!(flags.workers, NonZeroUsize::new(4));
        assert_eq!((flags.log_format, flags.log_level), (LogFormat::Json, LogLevel::Debug));
    }

    #[test]
    fn help_lists_flags_and_needs_one_dash() {
        for word in ["-h", "--help", "-help"] {
            let help = try_read(&[word]).expect_err("help");
            assert!(help.contains("--conf") && help.contains("--localip"), "{help}");
        }
    }

    #[test]
    fn version_and_plugins_are_texts() {
        assert!(version_text().starts_with("dnscache-"));
        assert!(plugins_text().contains("\n  dns.cache\n"));
    }

    proptest! {
        #[test]
        fn random_words_never_panic(words in proptest::collection::vec("-{0,3}[a-z.=]{0,12}", 0..6)) {
            let _ = try_read(&words.iter().map(String::as_str).collect::<Vec<_>>());
        }
    }
}
