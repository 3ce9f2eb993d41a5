//! Every place a configuration comes from, and the samples of Corefiles.

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
    let config = load_from(&flags(&["-conf", "C", "-p=99"]), &Origin::BuiltIn, &environment)
        .expect("loaded");
    assert_eq!(listen(&config), ["[::1]:99", "[::1]:54"]);
}

#[test]
fn blocks_without_acl_serve_the_clients_of_the_flag_and_the_node() {
    let environment = Literal::default()
        .file("C", "a {\n bind ::1\n}\nb {\n bind ::1\n acl {\n drop net 192.0.2.1\n }\n}")
        .interface("eth0", &["198.51.100.7", "2001:db8::7"]);
    let rules = |words: &[&str]| {
        let words = [&["-conf", "C"], words].concat();
        let config = load_from(&flags(&words), &Origin::BuiltIn, &environment).expect("loaded");
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
        rules(&["-client-networks", "10.0.0.0/8", "-localip", "169.254.20.10"]),
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
        load_from(&flags(words), &Origin::BuiltIn, environment).expect("loaded").fingerprint
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
        let found = load_sample(&path).map(|_| "accepted".to_owned()).unwrap_or_else(|error| error);
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
    let readme = include_str!("../../../../README.md");
    let mut fenced = readme.split("```").skip(1).step_by(2);
    let example = fenced.find(|text| text.contains("searchpath rewrite")).expect("the example");
    let text = example.strip_prefix("text\n").expect("a plain text");
    let read = |text: &str| {
        let environment = Literal::default().file("C", text);
        load_from(&flags(&["-conf", "C"]), &Origin::BuiltIn, &environment).expect("loaded")
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

/// The reference manifest's template and its environment.
fn node() -> Literal {
    let template = include_str!("../../../../tests/data/corefiles/template/Corefile.base");
    Literal::default()
        .file("/etc/coredns/Corefile.base", template)
        .with_variable("KUBE_DNS_UPSTREAM_SERVICE_HOST", "10.96.123.45")
}

/// The reference manifest's arguments, and more.
fn node_flags(more: &[&str]) -> Flags {
    let words: &[&str] = &[
        "-localip",
        "169.254.20.10,10.96.0.10",
        "-conf",
        "/etc/Corefile",
        "-upstreamsvc",
        "kube-dns-upstream",
    ];
    flags(&[words, more].concat())
}

fn load_first(environment: &Literal, more: &[&str]) -> Result<Config, LoadError> {
    load_from(&node_flags(more), &Origin::BuiltIn, environment)
}

fn template_in(config: &Config) -> &FilledIn {
    let Origin::Template(filled) = &config.origin else { panic!("{:?}", config.origin) };
    filled
}

fn zones(config: &Config) -> Vec<String> {
    config.blocks.iter().map(|block| block.zones[0].to_string()).collect()
}

fn upstreams(config: &Config, block: usize) -> Vec<String> {
    let to = config.blocks[block].forwards[0].to.iter();
    to.map(|to| match to {
        Upstream::Address { address, .. } => address.to_string(),
        Upstream::ResolvConf(path) => path.display().to_string(),
    })
    .collect()
}

#[test]
fn the_reference_template_is_filled_in() {
    let config = load_first(&node(), &[]).expect("loaded");
    let filled = template_in(&config);
    assert_eq!(filled.output, PathBuf::from("/etc/Corefile"));
    assert!(filled.text.starts_with(&format!("{OUTPUT_MARK} /etc/coredns/Corefile.base;")));
    assert!(!filled.text.contains("__P"), "{}", filled.text);
    assert_eq!(zones(&config), ["cluster.local.", "in-addr.arpa.", "ip6.arpa.", "."]);
    assert_eq!(listen(&config)[..2], ["169.254.20.10:53", "10.96.0.10:53"]);
    assert_eq!(upstreams(&config, 0), ["10.96.123.45:53"]);
    assert_eq!(upstreams(&config, 3), ["/etc/resolv.conf"]);
    assert_eq!(config.blocks[0].position.to_string(), "/etc/coredns/Corefile.base:1:1");
    assert_eq!(config.warnings, [""; 0]);
    let by_hand = Literal::default().file("C", &filled.text);
    let same = load_from(&flags(&["-conf", "C"]), &Origin::BuiltIn, &by_hand).expect("the same");
    assert_eq!((zones(&same), listen(&same)), (zones(&config), listen(&config)));
}

#[test]
fn without_a_template_conf_is_read_as_it_is() {
    let environment = Literal::default().file("/etc/Corefile", ". {\n whoami\n}");
    let config = load_first(&environment, &[]).expect("loaded");
    assert_eq!(config.origin, Origin::File("/etc/Corefile".into()));
    let off = node().file("/etc/Corefile", ". {\n whoami\n}");
    let config = load_first(&off, &["-basecorefile", ""]).expect("loaded");
    assert_eq!(config.origin, Origin::File("/etc/Corefile".into()));
    let config = load_first(&off, &["-basecorefile", "", "-kubednscm", "/cm"]).expect("loaded");
    assert!(config.warnings[0].contains("-kubednscm /cm: does nothing"), "{:?}", config.warnings);
    let left = Literal::default().file("/etc/Corefile", ". {\n bind __PILLAR__LOCAL__DNS__\n}");
    let error = load_first(&left, &[]).expect_err("a placeholder").to_string();
    assert!(error.starts_with("/etc/Corefile:2:7: ") && error.contains("-basecorefile"), "{error}");
}

#[test]
fn a_stale_output_is_told() {
    let filled = template_in(&load_first(&node(), &[]).expect("loaded")).text.clone();
    let stale = Literal::default().file("/etc/Corefile", &filled);
    let config = load_first(&stale, &[]).expect("better than nothing");
    let [warning] = &config.warnings[..] else { panic!("{:?}", config.warnings) };
    assert!(warning.contains("filled in from /etc/coredns/Corefile.base, which is not there now"));
}

#[test]
fn a_template_that_is_named_or_in_force_must_be_there() {
    let nothing = Literal::default().file("/etc/Corefile", ". {\n whoami\n}");
    let error = load_first(&nothing, &["-basecorefile", "/t"]).expect_err("missing").to_string();
    assert!(error.starts_with("cannot read the template of the Corefile /t: no such file; "));
    let before = load_first(&node(), &[]).expect("loaded").origin;
    let error = load_from(&node_flags(&[]), &before, &nothing).expect_err("gone").to_string();
    assert!(error.contains("/etc/coredns/Corefile.base: no such file; mount the"), "{error}");
}

#[test]
fn the_config_map_adds_stub_domains_and_upstreams() {
    let environment = node()
        .file("/etc/kube-dns/stubDomains", r#"{"corp.example": ["10.1.2.3", "10.1.2.4:54"]}"#)
        .file("/etc/kube-dns/upstreamNameservers", r#"["10.9.9.9"]"#);
    let config = load_first(&environment, &["-p", "5300"]).expect("loaded");
    assert_eq!(zones(&config)[4..], ["corp.example."]);
    let stub = &config.blocks[4];
    assert_eq!(stub.server_label, "dns://169.254.20.10:5300");
    assert_eq!(upstreams(&config, 4), ["10.1.2.3:53", "10.1.2.4:54"]);
    assert_eq!(stub.cache.as_ref().expect("cache").success.ttl_max_secs, 30);
    assert!(stub.errors && stub.search.is_none());
    assert!(config.blocks[0].search.is_some(), "the cluster's block keeps its search path");
    assert_eq!(upstreams(&config, 3), ["10.9.9.9:53"]);
    assert_eq!(upstreams(&config, 0), ["10.96.123.45:53"]);
    let named = Literal { files: environment.files.clone(), ..node() };
    let elsewhere = load_first(&named, &["-kubednscm", "/cm"]).expect("loaded");
    assert_eq!(zones(&elsewhere).len(), 4, "another directory is named");
}

#[test]
fn a_config_map_that_makes_no_sense_is_left_out() {
    for (text, place) in [
        ("{", "/etc/kube-dns/stubDomains:1:1: "),
        (r#"{"a": ["x"]}"#, "/etc/kube-dns/stubDomains:1:2: found `x`"),
        (
            r#"{"cluster.local": ["10.0.0.1"]}"#,
            "/etc/kube-dns/stubDomains:1:2: found zone `cluster.local.`",
        ),
    ] {
        let environment = node().file("/etc/kube-dns/stubDomains", text);
        let config = load_first(&environment, &[]).expect("loaded without it");
        assert_eq!(zones(&config).len(), 4, "{text}");
        let [error] = &template_in(&config).left_out[..] else { panic!("{text}") };
        assert!(error.to_string().starts_with(place), "{error}");
    }
}

#[test]
fn what_the_config_map_said_last_stays() {
    let good = node().file("/etc/kube-dns/stubDomains", r#"{"a.example": ["10.0.0.1"]}"#);
    let first = load_first(&good, &[]).expect("loaded");
    for text in ["{", r#"{"cluster.local": ["10.0.0.1"]}"#] {
        let broken = good.clone().file("/etc/kube-dns/stubDomains", text);
        let again = load_from(&node_flags(&[]), &first.origin, &broken).expect("as before");
        assert_eq!(zones(&again)[4..], ["a.example."]);
        assert_eq!(template_in(&again).left_out.len(), 1);
        assert_eq!(again.fingerprint, first.fingerprint, "nothing to put in force");
    }
    let changed = good.clone().file("/etc/kube-dns/stubDomains", r#"{"b.example": ["10.0.0.1"]}"#);
    let again = load_from(&node_flags(&[]), &first.origin, &changed).expect("changed");
    assert_eq!(zones(&again)[4..], ["b.example."]);
    assert_ne!(again.fingerprint, first.fingerprint);
    let gone = load_from(&node_flags(&[]), &first.origin, &node()).expect("the map is gone");
    assert_eq!(zones(&gone).len(), 4);
    let broken_template = good.file("/etc/coredns/Corefile.base", "x {\n nonsense\n}");
    assert!(load_from(&node_flags(&[]), &first.origin, &broken_template).is_err());
}

#[test]
fn the_fingerprint_covers_the_variable_and_the_addresses() {
    let print = |environment: &Literal, more: &[&str]| {
        load_first(environment, more).expect("loaded").fingerprint
    };
    let one = print(&node(), &[]);
    assert_eq!(one, print(&node(), &[]));
    let other = node().with_variable("KUBE_DNS_UPSTREAM_SERVICE_HOST", "10.96.123.46");
    assert_ne!(one, print(&other, &[]));
    assert_ne!(one, print(&node(), &["-localip", "169.254.20.10"]));
}

#[test]
fn a_metrics_page_where_questions_come_is_refused() {
    let error = load_first(&node(), &["-metrics-listen-address", "169.254.20.10:53"]);
    let error = error.expect_err("taken").to_string();
    assert!(error.contains("`-metrics-listen-address` on 169.254.20.10:53"), "{error}");
}
