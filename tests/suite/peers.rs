//! Against other people's programs: nsd as the upstream, dnsperf and dig as clients.

use std::fmt::Write;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use crate::harness::nsd::{Nsd, NsdZone};
use crate::harness::own_loopback;
use crate::harness::program::Program;

const NAMES: usize = 100_000;
const NSD_PORT: u16 = 5400;

#[test]
#[ignore = "needs nsd and dnsperf"]
fn a_hundred_thousand_names_twice_over_udp() {
    hundred_thousand_names_twice("udp");
}

#[test]
#[ignore = "needs nsd and dnsperf"]
fn a_hundred_thousand_names_twice_over_tcp() {
    hundred_thousand_names_twice("tcp");
}

fn hundred_thousand_names_twice(mode: &str) {
    let ip = own_loopback();
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let _nsd = start_nsd(ip);
    let text = ".:PORT {\n bind IP\n cache {\n size 256MiB\n }\n forward . UPSTREAM\n prometheus METRICS\n}\n";
    let program = Program::start(ip, text);
    let questions = folder.path().join("questions");
    let mut lines = String::new();
    for number in 0..NAMES {
        writeln!(lines, "n{number}.names.test A").expect("a string");
    }
    std::fs::write(&questions, lines).expect("a writable folder");
    let first = dnsperf(ip, mode, &questions);
    let asked = program.metric("coredns_proxy_request_duration_seconds_count", &[]);
    let misses = program.metric("coredns_cache_misses_total", &[]);
    assert!(asked >= NAMES as f64, "{asked} questions upstream in the first pass");
    let second = dnsperf(ip, mode, &questions);
    assert_eq!(program.metric("coredns_proxy_request_duration_seconds_count", &[]), asked);
    assert_eq!(program.metric("coredns_cache_misses_total", &[]), misses);
    for output in [first, second] {
        assert_eq!(number_after(&output, "Queries sent:"), Some(NAMES as f64), "{output}");
        assert_eq!(number_after(&output, "Queries completed:"), Some(NAMES as f64), "{output}");
        assert_eq!(number_after(&output, "Queries lost:"), Some(0.0), "{output}");
        assert!(output.contains("NOERROR 100000"), "{output}");
    }
}

/// dig reads what we write, over both transports and families of options.
#[test]
#[ignore = "needs dig"]
fn dig_understands_every_answer() {
    let ip = own_loopback();
    let _nsd = start_nsd(ip);
    let program = Program::start(ip, ".:PORT {\n bind IP\n cache\n forward . UPSTREAM\n}\n");
    for options in
        [&[][..], &["+tcp"], &["+dnssec"], &["+noedns"], &["+nsid", "+cookie"], &["+padding=128"]]
    {
        let output = Command::new("dig")
            .args(["-p", "5300", "+tries=1", &format!("@{ip}"), "n7.names.test", "A"])
            .args(options)
            .output()
            .expect("dig runs");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("status: NOERROR"), "{options:?}: {text}");
        assert!(text.contains("10.0.0.7"), "{options:?}: {text}");
        assert!(!text.contains("WARNING"), "{options:?}: {text}");
    }
    drop(program);
}

/// nsd with the names [`NAMES`] counts.
fn start_nsd(ip: Ipv4Addr) -> Nsd {
    let mut text = String::from(
        "$ORIGIN names.test.\n$TTL 86400\n@ SOA ns host 1 7200 1800 86400 300\n@ NS ns\nns A 192.0.2.1\n",
    );
    for number in 0..NAMES {
        let (a, b, c) = (number >> 16, number >> 8 & 0xFF, number & 0xFF);
        writeln!(text, "n{number} A 10.{a}.{b}.{c}").expect("a string");
    }
    let zone = NsdZone { name: "names.test".into(), text };
    let nsd = Nsd::start(Command::new("nsd"), &[(ip, NSD_PORT).into()], &[zone]);
    nsd.wait_until_it_answers(Ipv4Addr::LOCALHOST.into());
    nsd
}

fn dnsperf(ip: Ipv4Addr, mode: &str, questions: &Path) -> String {
    let output = Command::new("dnsperf")
        .args([
            "-s",
            &ip.to_string(),
            "-p",
            "5300",
            "-m",
            mode,
            "-n",
            "1",
            "-c",
            "4",
            "-q",
            "100",
            "-d",
        ])
        .arg(questions)
        .output()
        .expect("dnsperf runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn number_after(text: &str, word: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.trim_start().starts_with(word))?;
    line.trim_start()[word.len()..].split_whitespace().next()?.parse().ok()
}
