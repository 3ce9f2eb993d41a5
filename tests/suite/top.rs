//! `/hot` and `dnscache top`, which reads it.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use crate::harness::client::http_page;
use crate::harness::program::{METRICS_PORT, Program, UPSTREAM_PORT, run_to_end};
use crate::harness::upstream::Upstream;
use crate::harness::{own_loopback, within};

const COREFILE: &str = ".:PORT {
    bind IP
    cache
    forward . UPSTREAM
    prometheus METRICS
    health IP:8080
}
";

fn start() -> (Program, Upstream, SocketAddr) {
    let ip = own_loopback();
    let upstream = Upstream::with_zone(ip, UPSTREAM_PORT, "www.test. 60 A 192.0.2.1");
    (Program::start(ip, COREFILE), upstream, SocketAddr::new(ip.into(), METRICS_PORT))
}

fn hot(address: SocketAddr) -> Value {
    let (status, body) = http_page(address, "/hot").expect("a page");
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"))
}

#[test]
fn hot_is_told_as_json_where_the_metrics_are() {
    let (program, _upstream, address) = start();
    let before = hot(address)["questions"].as_u64().expect("a number");
    for _ in 0..5 {
        program.ask("www.test", "A");
    }
    let counted =
        within(Duration::from_secs(3), || hot(address)["questions"].as_u64() == Some(before + 5));
    let page = hot(address);
    assert!(counted, "{page}, {before} before");
    assert!(page["uptime_secs"].as_f64().is_some_and(|secs| secs > 0.0), "{page}");
    assert!(page["names"].is_array(), "{page}");
    for number in ["search_noise", "questions_saved", "rewrites", "cuts", "refreshes", "followed"] {
        assert!(page[number].is_u64(), "{number}: {page}");
    }
    assert_eq!(http_page(address, "/hot?limit=many").map(|(status, _)| status), Some(400));
    let health = SocketAddr::new(address.ip(), 8080);
    assert_eq!(http_page(health, "/hot").map(|(status, _)| status), Some(404));
}

#[test]
fn top_prints_once_what_the_cache_says() {
    let (program, _upstream, address) = start();
    program.ask("www.test", "A");
    let address = address.to_string();
    let (code, text) = run_to_end(&["top", "--once", "--address", &address], PATIENCE);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains(&format!("dnscache at {address}, up ")), "{text}");
    for line in ["search noise  0 of ", "saved         0 questions", "kept fresh    "] {
        assert!(text.contains(line), "{line} is missing from:\n{text}");
    }
}

#[test]
fn top_says_what_is_wrong_with_an_address() {
    let (_program, _upstream, address) = start();
    let (nobody, health) = (format!("{}:1", address.ip()), format!("{}:8080", address.ip()));
    refused(&["--once", "--address", &nobody], &["cannot connect", &nobody, "`prometheus`"]);
    refused(&["--once", "--address", &health], &["no page /hot", &health, "404"]);
    refused(&["--once", "--address", "nonsense"], &["nonsense", "HOST:PORT"]);
}

#[test]
fn top_without_a_terminal_says_what_works_there() {
    refused(&[], &["needs a terminal", "--once"]);
}

#[test]
fn help_of_both_mentions_top() {
    for arguments in [&["--help"][..], &["top", "--help"]] {
        let (code, text) = run_to_end(arguments, PATIENCE);
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains("dnscache top"), "{text}");
    }
    refused(&["--colour"], &["--colour"]);
}

fn refused(arguments: &[&str], words: &[&str]) {
    let arguments: Vec<_> = std::iter::once("top").chain(arguments.iter().copied()).collect();
    let (code, text) = run_to_end(&arguments, PATIENCE);
    assert!(code.is_some_and(|code| code != 0), "{code:?}: {text}");
    for word in words {
        assert!(text.contains(word), "{word} is missing from:\n{text}");
    }
}

const PATIENCE: Duration = Duration::from_secs(20);
