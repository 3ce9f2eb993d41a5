//! From flags to a checked configuration.
//!
//! There are three places it can come from. A template (`-basecorefile`, or the usual one where it
//! is mounted) is filled in with what the command line, the environment and the kube-dns ConfigMap
//! say; `-conf` is then where the outcome is written, not what is read. Without a template `-conf`
//! is read as it is, and without that there is the built-in Corefile.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::corefile::ServerBlock;
use super::environment::{Environment, System, Witness};
use super::flags::Flags;
use super::kube_dns::{self, KubeDns};
use super::template::{self, Values};
use super::{Config, ConfigError, Origin, check, clients, corefile};

/// Why there is no configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The file named by `-conf` cannot be read.
    #[error(
        "cannot read the Corefile {path}: {reason}; name another with -conf FILE, or leave -conf \
         out to run with the built-in one"
    )]
    Unreadable {
        /// The file as named.
        path: String,
        /// What the operating system says.
        reason: String,
    },
    /// The template cannot be read.
    #[error(
        "cannot read the template of the Corefile {path}: {reason}; mount the ConfigMap that holds \
         it there, name another with -basecorefile FILE, or have -conf read as it is with \
         -basecorefile \"\""
    )]
    NoTemplate {
        /// The file as named.
        path: String,
        /// What the operating system says.
        reason: String,
    },
    /// What it says makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// A template filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilledIn {
    /// The template.
    pub template: PathBuf,
    /// Where the outcome is to be written.
    pub output: PathBuf,
    /// The outcome; its first line begins with [`OUTPUT_MARK`].
    pub text: String,
    /// What of the ConfigMap is in it.
    pub kube_dns: KubeDns,
    /// What of the ConfigMap is not, because it makes no sense.
    pub left_out: Vec<ConfigError>,
}

/// Reads and checks what `flags` name, or the built-in Corefile. Changes nothing.
pub fn load(flags: &Flags) -> Result<Config, LoadError> {
    load_from(flags, &Origin::BuiltIn, &System)
}

/// Does so again for a reload, when what is in force came from `before`: a template that is gone
/// is an error then, and what the ConfigMap said last stands in for what makes no sense in it. The
/// fingerprint tells whether anything is different.
pub fn load_again(flags: &Flags, before: &Origin) -> Result<Config, LoadError> {
    load_from(flags, before, &System)
}

fn load_from(
    flags: &Flags,
    before: &Origin,
    environment: &dyn Environment,
) -> Result<Config, LoadError> {
    let config = match (template_of(flags, before, environment), &flags.conf) {
        (Some(path), _) => from_template(flags, &path, before, environment)?,
        (None, Some(conf)) => from_file(flags, conf, environment)?,
        (None, None) => {
            let witness = Witness::new(environment);
            let origin = Origin::BuiltIn;
            let blocks = corefile::parse(&origin.to_string(), BUILT_IN, &witness)?;
            checked(flags, &blocks, origin, flags.dns_port.unwrap_or(BUILT_IN_PORT), &witness)?
        }
    };
    for page in &flags.metrics_page().listen {
        check::check_page(&config.blocks, "-metrics-listen-address", page)?;
    }
    Ok(config)
}

/// The template, if there is one: the one that is named, the one in force, or else the usual one
/// if it is there.
fn template_of(flags: &Flags, before: &Origin, environment: &dyn Environment) -> Option<PathBuf> {
    if let Some(named) = &flags.base_corefile {
        return (!named.as_os_str().is_empty()).then(|| named.clone());
    }
    let usual = PathBuf::from(TEMPLATE);
    let is_in_force = matches!(before, Origin::Template(_));
    (is_in_force || environment.exists(TEMPLATE)).then_some(usual)
}

fn from_file(
    flags: &Flags,
    conf: &Path,
    environment: &dyn Environment,
) -> Result<Config, LoadError> {
    let witness = Witness::new(environment);
    let path = conf.display().to_string();
    let text = witness.read_file(&path);
    let text = text.map_err(|reason| LoadError::Unreadable { path: path.clone(), reason })?;
    let blocks = corefile::parse(&path, &text, &witness);
    let blocks = blocks.map_err(template::explain_without_template)?;
    let port = flags.dns_port.unwrap_or(PORT);
    let mut config = checked(flags, &blocks, Origin::File(conf.to_owned()), port, &witness)?;
    if let Some(rest) = text.lines().next().and_then(|line| line.strip_prefix(OUTPUT_MARK)) {
        let template = rest.split(';').next().unwrap_or(rest);
        config.warnings.push(format!(
            "{path}: this was filled in from{template}, which is not there now; it may be out of date"
        ));
    }
    if let Some(directory) = &flags.kube_dns_config_map {
        config.warnings.push(format!(
            "-kubednscm {}: does nothing without a template (-basecorefile FILE)",
            directory.display()
        ));
    }
    Ok(config)
}

/// Fills in the template. What fails with the ConfigMap and works without its news is the
/// ConfigMap's fault: its news are left out.
fn from_template(
    flags: &Flags,
    template: &Path,
    before: &Origin,
    environment: &dyn Environment,
) -> Result<Config, LoadError> {
    let path = template.display().to_string();
    let text = environment.read_file(&path);
    let text = text.map_err(|reason| LoadError::NoTemplate { path, reason })?;
    let before = match before {
        Origin::Template(filled) => filled.kube_dns.clone(),
        _ => KubeDns::default(),
    };
    let (kube_dns, mut left_out) = match config_map(flags, environment) {
        Some(directory) => kube_dns::read(&directory, &before, environment),
        None => (KubeDns::default(), Vec::new()),
    };
    let fill_in = |kube_dns: &KubeDns, left_out: &[ConfigError]| {
        filled_in(flags, template, &text, kube_dns, left_out, environment)
    };
    match fill_in(&kube_dns, &left_out) {
        Err(error) if kube_dns != before => {
            left_out.push(error.clone());
            Ok(fill_in(&before, &left_out).map_err(|_| error)?)
        }
        outcome => Ok(outcome?),
    }
}

/// The directory of the kube-dns ConfigMap: as named, or the usual one if it is there.
fn config_map(flags: &Flags, environment: &dyn Environment) -> Option<String> {
    let named = flags.kube_dns_config_map.as_ref().map(|path| path.display().to_string());
    named.or_else(|| environment.exists(CONFIG_MAP).then(|| CONFIG_MAP.to_owned()))
}

fn filled_in(
    flags: &Flags,
    template: &Path,
    text: &str,
    kube_dns: &KubeDns,
    left_out: &[ConfigError],
    environment: &dyn Environment,
) -> Result<Config, ConfigError> {
    let witness = Witness::new(environment);
    let (file, port) = (template.display().to_string(), flags.dns_port.unwrap_or(PORT));
    let values = Values::of(flags, kube_dns, environment);
    let (mut blocks, filled) = template::read(&file, text, &values, &witness)?;
    let mut text = format!("{OUTPUT_MARK} {file}; edit that file, not this one.\n{filled}");
    for stub in &kube_dns.stub_domains {
        let (block, lines) = template::stub_block(stub, &values.node_addresses, port, &witness)?;
        blocks.extend(block);
        text.push_str(&lines);
    }
    witness.note(&text);
    let origin = Origin::Template(Arc::new(FilledIn {
        template: template.to_owned(),
        output: flags.output().to_owned(),
        text,
        kube_dns: kube_dns.clone(),
        left_out: left_out.to_vec(),
    }));
    checked(flags, &blocks, origin, port, &witness)
}

fn checked(
    flags: &Flags,
    blocks: &[ServerBlock],
    origin: Origin,
    port: u16,
    witness: &Witness<'_>,
) -> Result<Config, ConfigError> {
    witness.note(port);
    let mut config = check::check(blocks, origin, port, witness)?;
    clients::limit(&mut config, flags, witness);
    config.fingerprint = witness.fingerprint();
    Ok(config)
}

/// What the first line of a filled-in template begins with.
pub const OUTPUT_MARK: &str = "# Filled in by dnscache from";
/// Where the reference manifest mounts the template.
const TEMPLATE: &str = "/etc/coredns/Corefile.base";
/// And the kube-dns ConfigMap.
const CONFIG_MAP: &str = "/etc/kube-dns";
/// The Corefile in force without `-conf`. Its port is 5353 unless `-dns.port` says otherwise, so
/// that it starts without privileges; it opens no HTTP endpoint, whose port could be taken.
pub const BUILT_IN: &str = "\
. {
    bind 127.0.0.1 ::1
    errors
    cache
    loop
    forward . /etc/resolv.conf
}
";
/// The port of [`BUILT_IN`].
const BUILT_IN_PORT: u16 = 5353;
/// The port of DNS.
const PORT: u16 = 53;

#[cfg(test)]
mod tests;
