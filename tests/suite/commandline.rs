//! The command line: what starts, what is refused, and how it is said.

use std::time::{Duration, Instant};

use crate::harness::own_loopback;
use crate::harness::program::{METRICS_PORT, Program, command, run_to_end};

#[test]
fn version_is_told_with_one_dash_or_two() {
    for flag in ["-version", "--version"] {
        let (code, text) = run_to_end(&[flag], Duration::from_secs(5));
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains(env!("CARGO_PKG_VERSION")), "{text}");
    }
}

#[test]
fn plugins_lists_the_directives() {
    let (code, text) = run_to_end(&["-plugins"], Duration::from_secs(5));
    assert_eq!(code, Some(0), "{text}");
    for directive in [
        "bind",
        "cache",
        "forward",
        "errors",
        "log",
        "loop",
        "reload",
        "health",
        "ready",
        "prometheus",
        "hosts",
        "loadbalance",
        "bufsize",
        "acl",
        "whoami",
        "debug",
    ] {
        assert!(text.contains(directive), "{directive} is missing from:\n{text}");
    }
}

#[test]
fn an_unknown_flag_ends_the_program_at_once() {
    refused(&["-no-such-flag"], &["no-such-flag"]);
}

#[test]
fn a_flag_without_its_value_ends_the_program_at_once() {
    refused(&["-conf"], &["conf"]);
    refused(&["-dns.port", "seventy"], &["dns.port"]);
}

#[test]
fn a_missing_corefile_is_named() {
    refused(&["-conf", "/nonexistent/Corefile"], &["/nonexistent/Corefile"]);
}

#[test]
fn broken_corefiles_are_refused_with_file_line_and_column() {
    for (text, place, found) in [
        (".:5300 {\n  forwrad . 192.0.2.1\n}\n", ":2:3", "forwrad"),
        (".:5300 {\n  cache {\n    success many\n  }\n}\n", ":3:13", "many"),
        (".:5300 {\n  forward . 192.0.2.1\n", ":", "}"),
        (".:5300 {\n  forward . not-an-address!\n}\n", ":2:13", "not-an-address!"),
        (".:99999 {\n  whoami\n}\n", ":1:1", "99999"),
        (".:5300 {\n  import /nonexistent/part\n}\n", ":2:", "/nonexistent/part"),
        (".:5300 {\n  forward . 192.0.2.1 {\n    policy best\n  }\n}\n", ":3:12", "best"),
        (".:5300 {\n  bind 300.1.1.1\n}\n", ":2:8", "300.1.1.1"),
    ] {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let path = folder.path().join("Corefile");
        std::fs::write(&path, text).expect("a writable folder");
        let path = path.to_string_lossy().into_owned();
        refused(&["-conf", &path], &[&format!("{path}{place}"), found, "expected"]);
    }
}

#[test]
fn without_a_configuration_it_says_where_it_listens_and_what_to_try() {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let mut program = Program::spawn(command(), ([127, 0, 0, 1], 5353).into(), folder);
    for word in ["127.0.0.1:5353", "resolv.conf", "dig @127.0.0.1 -p 5353"] {
        let limit = Duration::from_secs(3);
        assert!(program.logs_within(word, limit), "{word} is missing from:\n{}", program.log());
    }
    program.signal("TERM");
    let status = program.ends_within(Duration::from_secs(10)).expect("the program ends");
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_forward_that_leads_back_is_found_by_loop() {
    let ip = own_loopback();
    let text = ".:PORT {\n bind IP\n loop\n forward . IP:PORT\n}\n";
    let mut program = Program::start(ip, text);
    let status = program.ends_within(Duration::from_secs(35)).expect("the program ends");
    assert_eq!(status.code(), Some(1));
    assert!(program.logs_within("loop", Duration::from_secs(1)), "{}", program.log());
}

#[test]
fn ipv4_and_ipv6_are_served_by_one_process() {
    use crate::harness::client::UdpClient;
    use crate::harness::zone::query;
    let ip = own_loopback();
    let port = std::net::UdpSocket::bind("[::1]:0").and_then(|socket| socket.local_addr());
    let Ok(free) = port else {
        return eprintln!("skipped: this machine has no IPv6 loopback address");
    };
    let port = free.port();
    let text = format!(".:PORT {{\n bind IP\n whoami\n}}\n.:{port} {{\n bind ::1\n whoami\n}}\n");
    let program = Program::start(ip, &text);
    assert_eq!(program.ask("a.test", "A").additional[0].rtype, 1);
    let client = UdpClient::new(([0, 0, 0, 0, 0, 0, 0, 1], port).into());
    let reply = client.ask(&query(3, "a.test", "A")).expect("a reply over IPv6");
    assert_eq!(reply.additional[0].rtype, 28);
}

#[test]
fn a_pidfile_is_written() {
    let ip = own_loopback();
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let pidfile = folder.path().join("pid");
    let path = pidfile.to_string_lossy().into_owned();
    let program = Program::start_with(ip, ".:PORT {\n bind IP\n whoami\n}\n", &["-pidfile", &path]);
    let pid = std::fs::read_to_string(pidfile).expect("a pidfile");
    assert!(pid.trim().parse::<u32>().is_ok(), "{pid:?}");
    drop(program);
}

#[test]
fn dns_port_is_the_port_of_blocks_without_one() {
    let ip = own_loopback();
    let text = ". {\n bind IP\n whoami\n}\n";
    let program = Program::start_with(ip, text, &["-dns.port", "5300"]);
    assert_eq!(program.ask("a.test", "A").rcode(), 0);
}

#[test]
fn environment_and_imports_are_filled_in() {
    let ip = own_loopback();
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    std::fs::write(folder.path().join("part"), "whoami\n").expect("a writable folder");
    let text = format!(
        "# a comment\n(snippet) {{\n import {}/part\n}}\n.:{{$DNSCACHE_TEST_PORT}} {{\n bind \"{ip}\"\n import snippet\n prometheus {ip}:{METRICS_PORT}\n}}\n",
        folder.path().display()
    );
    let path = folder.path().join("Corefile");
    std::fs::write(&path, text).expect("a writable folder");
    let mut command = command();
    command.arg("-conf").arg(&path).env("DNSCACHE_TEST_PORT", "5300");
    let mut program = Program::spawn(command, (ip, 5300).into(), folder);
    program.wait_until_it_answers();
    assert_eq!(program.ask("a.test", "A").additional.len(), 2);
}

fn refused(arguments: &[&str], words: &[&str]) {
    let started = Instant::now();
    let (code, text) = run_to_end(arguments, Duration::from_secs(5));
    assert_eq!(code, Some(1), "{arguments:?}: {text}");
    assert!(started.elapsed() < Duration::from_millis(1_500), "{:?}", started.elapsed());
    for word in words {
        assert!(text.contains(word), "{word:?} is missing from:\n{text}");
    }
    assert!(!text.contains("panicked"), "{text}");
}
