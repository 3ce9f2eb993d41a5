//! From flags to a checked configuration.

use super::environment::{Environment, System, Witness};
use super::flags::Flags;
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
    /// What it says makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// Reads and checks the Corefile that `flags` name, or the built-in one. Doing so again later,
/// for a reload, changes nothing that runs; the fingerprint tells whether anything is different.
pub fn load(flags: &Flags) -> Result<Config, LoadError> {
    load_from(flags, &System)
}

fn load_from(flags: &Flags, environment: &dyn Environment) -> Result<Config, LoadError> {
    let witness = Witness::new(environment);
    let (origin, text, port_default) = match &flags.conf {
        None => (Origin::BuiltIn, BUILT_IN.to_owned(), BUILT_IN_PORT),
        Some(conf) => {
            let path = conf.display().to_string();
            let text = witness.read_file(&path);
            let text = text.map_err(|reason| LoadError::Unreadable { path, reason })?;
            (Origin::File(conf.clone()), text, PORT)
        }
    };
    let port = flags.dns_port.unwrap_or(port_default);
    witness.note((&text, port));
    let blocks = corefile::parse(&origin.to_string(), &text, &witness)?;
    let mut config = check::check(&blocks, origin, port, &witness)?;
    clients::limit(&mut config, flags, &witness);
    config.fingerprint = witness.fingerprint();
    Ok(config)
}

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
mod tests {
    use std::path::{Path, PathBuf};

    use super::super::Upstream;
    use super::super::environment::tests::Literal;
    use super::*;

    fn flags(words: &[&str]) -> Flags {
        let words = std::iter::once("dnscache").chain(words.iter().copied());
        Flags::read(words.map(Into::into)).expect("flags")
    }

    fn listen(config: &Config) -> Vec<String> {
        config.blocks.iter().flat_map(|block| &block.listen).map(ToString::to_string).collect()
    }

    #[test]
    fn without_conf_the_built_in_one_serves_loopback() {
        let config = load(&flags(&[])).expect("built-in");
        assert_eq!(config.origin, Origin::BuiltIn);
        assert_eq!(listen(&config), ["127.0.0.1:5353", "[::1]:5353"]);
        let block = &config.blocks[0];
        assert!(block.cache.is_some() && block.errors && block.detect_loop);
        assert_eq!(block.forwards[0].to, [Upstream::ResolvConf("/etc/resolv.conf".into())]);
        assert!(config.health.is_none() && config.prometheus.is_empty());
        let config = load(&flags(&["-dns.port", "1053"])).expect("built-in");
        assert_eq!(listen(&config), ["127.0.0.1:1053", "[::1]:1053"]);
    }

    #[test]
    fn keys_without_a_port_get_the_one_of_the_flags() {
        let environment = Literal::default().file("C", ". a:54 {\n bind ::1\n}");
        let config = load_from(&flags(&["-conf", "C", "-p=99"]), &environment).expect("loaded");
        assert_eq!(listen(&config), ["[::1]:99", "[::1]:54"]);
    }

    #[test]
    fn blocks_without_acl_serve_the_clients_of_the_flag_and_the_node() {
        let environment = Literal::default()
            .file("C", "a {\n bind ::1\n}\nb {\n bind ::1\n acl {\n drop net 192.0.2.1\n }\n}")
            .interface("eth0", &["198.51.100.7", "2001:db8::7"]);
        let rules = |words: &[&str]| {
            let words = [&["-conf", "C"], words].concat();
            let config = load_from(&flags(&words), &environment).expect("loaded");
            let text = |block: &super::super::Block| {
                let rule = |rule: &super::super::AclRule| {
                    assert!(rule.zones.is_empty() && rule.qtypes.is_empty());
                    format!("{:?} {:?}", rule.action, rule.networks)
                };
                block.acl.iter().map(rule).collect::<Vec<_>>().join(", ")
            };
            config.blocks.iter().map(text).collect::<Vec<_>>()
        };
        assert_eq!(rules(&[]), ["", "Drop [(192.0.2.1, 32)]"]);
        assert_eq!(
            rules(&["-clients", "10.0.0.0/8", "-localip", "169.254.20.10"]),
            [
                "Allow [(10.0.0.0, 8), (127.0.0.0, 8), (::1, 128), (198.51.100.7, 32), \
                 (2001:db8::7, 128), (169.254.20.10, 32)], Block []",
                "Drop [(192.0.2.1, 32)]"
            ]
        );
    }

    #[test]
    fn a_missing_file_is_named_with_what_to_do() {
        let error = load(&flags(&["-conf", "/no/such/Corefile"])).expect_err("no file").to_string();
        assert!(error.starts_with("cannot read the Corefile /no/such/Corefile: No such file"));
        assert!(error.ends_with("or leave -conf out to run with the built-in one"), "{error}");
    }

    #[test]
    fn the_fingerprint_covers_imports_variables_and_port() {
        let print = |environment: &Literal, words: &[&str]| {
            load_from(&flags(words), environment).expect("loaded").fingerprint
        };
        let conf: &[&str] = &["-conf", "d/C"];
        let first = Literal::default()
            .file("d/C", ". {\n import other\n chaos {$V}x\n}")
            .file("d/other", "errors")
            .with_variable("V", "1");
        let one = print(&first, conf);
        assert_eq!(one, print(&first, conf));
        assert_ne!(one, print(&first.clone().file("d/other", "errors\nloop"), conf));
        assert_ne!(one, print(&first.clone().with_variable("V", "2"), conf));
        assert_ne!(one, print(&first, &["-conf", "d/C", "-p", "54"]));
    }

    /// The Corefiles of `tests/data/corefiles`, with the environment they are written for.
    fn samples(kind: &str) -> Vec<PathBuf> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/corefiles");
        let mut paths: Vec<_> = std::fs::read_dir(Path::new(folder).join(kind))
            .expect("the folder of samples")
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "corefile"))
            .collect();
        paths.sort();
        assert!(!paths.is_empty(), "{kind}");
        paths
    }

    /// Loads a sample; places in messages are cut down to the file's name.
    fn load_sample(path: &Path) -> Result<Config, String> {
        let folder = format!("{}/", path.parent().expect("a folder").display());
        let flags = flags(&["-conf", path.to_str().expect("UTF-8")]);
        load(&flags).map_err(|error| error.to_string().replace(&folder, ""))
    }

    #[test]
    fn good_samples_are_accepted() {
        for path in samples("good") {
            let config = load_sample(&path).unwrap_or_else(|error| panic!("{error}"));
            assert!(!config.blocks.is_empty(), "{}", path.display());
        }
    }

    #[test]
    fn bad_samples_are_refused_as_expected() {
        let mut wrong = Vec::new();
        for path in samples("bad") {
            let expected = std::fs::read_to_string(path.with_extension("expected"));
            let expected = expected.unwrap_or_else(|error| format!("({error})"));
            let found =
                load_sample(&path).map(|_| "accepted".to_owned()).unwrap_or_else(|error| error);
            if found != expected.trim_end() {
                wrong.push(format!("{}\n  {found}", path.display()));
            }
        }
        assert!(wrong.is_empty(), "not refused as expected:\n{}", wrong.join("\n"));
    }

    #[test]
    fn every_option_of_ours_arrives() {
        let paths = samples("good");
        let everything = paths.iter().find(|path| path.ends_with("everything.corefile"));
        let config = load_sample(everything.expect("the sample")).expect("loaded");
        let searching = config.blocks.iter().filter(|block| block.search.is_some());
        let labels: Vec<_> = searching.map(|block| block.server_label.as_str()).collect();
        assert_eq!(labels, ["dns://127.0.0.1:5300", "dns://127.0.0.1:5302"]);
        let search = config.blocks[0].search.as_ref().expect("searchpath");
        assert_eq!(search.domain.to_string(), "k8s.example.org.");
        assert_eq!((search.host_domains.len(), search.except.len()), (2, 2));
        assert_eq!(search.audit_one_in, 200);
        let hot = config.hot.expect("hotnames");
        assert_eq!((hot.size, hot.refresh_per_second, hot.refresh_percent), (2000, 20, 5));
        assert!(config.blocks[0].log.as_ref().expect("log").shortcuts);
    }

    #[test]
    fn the_example_of_the_readme_means_the_defaults() {
        let readme = include_str!("../../../README.md");
        let mut fenced = readme.split("```").skip(1).step_by(2);
        let example = fenced.find(|text| text.contains("searchpath rewrite")).expect("the example");
        let text = example.strip_prefix("text\n").expect("a plain text");
        let read = |text: &str| {
            let environment = Literal::default().file("C", text);
            load_from(&flags(&["-conf", "C"]), &environment).expect("loaded")
        };
        let written = read(text);
        let defaults = read("cluster.local {\n cache\n forward . ::1\n}");
        assert_eq!(written.hot, defaults.hot);
        let search = written.blocks[0].search.as_ref().expect("searchpath");
        let expected = defaults.blocks[0].search.as_ref().expect("the default");
        assert_eq!(
            (search.mode, &search.domain, search.audit_one_in),
            (expected.mode, &expected.domain, expected.audit_one_in)
        );
        assert_eq!((search.host_domains.len(), search.except.len()), (2, 2));
    }

    #[test]
    fn the_node_local_manifest_means_what_it_says() {
        let paths = samples("good");
        let manifest = paths.iter().find(|path| path.ends_with("node-local-dns.corefile"));
        let config = load_sample(manifest.expect("the manifest")).expect("loaded");
        let zones: Vec<_> = config.blocks.iter().map(|block| block.zones[0].to_string()).collect();
        assert_eq!(zones, ["cluster.local.", "in-addr.arpa.", "ip6.arpa.", "."]);
        assert_eq!(config.warnings, [""; 0]);
        let cache = config.blocks[0].cache.as_ref().expect("cache");
        assert_eq!((cache.success.capacity, cache.success.ttl_max_secs), (Some(9984), 30));
        assert_eq!((cache.denial.capacity, cache.denial.ttl_max_secs), (Some(9984), 5));
        let searching: Vec<_> = config.blocks.iter().map(|block| block.search.is_some()).collect();
        assert_eq!(searching, [true, false, false, false]);
        let health = config.health.expect("health").listen;
        assert_eq!(health, ["169.254.20.10:8080".parse().expect("an address")]);
        assert_eq!(config.prometheus, ["[::]:9253".parse().expect("an address")]);
        assert_eq!(config.blocks[0].server_label, "dns://169.254.20.10:53");
        assert_eq!(config.blocks[0].listen.len(), 2);
    }
}
