//! The admin pages and the log.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::harness::client::{UdpClient, http_exchange, http_page};
use crate::harness::message::{Opt, flag};
use crate::harness::program::{METRICS_PORT, Program, UPSTREAM_PORT};
use crate::harness::upstream::Upstream;
use crate::harness::zone::query;
use crate::harness::{own_loopback, within};

const COREFILE: &str = ".:PORT {
    bind IP
    errors
    log
    cache
    forward . UPSTREAM
    prometheus METRICS
    health IP:8080
    ready IP:8181
}
";

fn start() -> (Program, Upstream) {
    let ip = own_loopback();
    let upstream = Upstream::with_zone(ip, UPSTREAM_PORT, "www.test. 60 A 192.0.2.1");
    (Program::start(ip, COREFILE), upstream)
}

#[test]
fn metrics_have_the_names_dashboards_know() {
    let (program, _upstream) = start();
    program.ask("www.test", "A");
    program.ask("www.test", "A");
    program.ask("gone.test", "AAAA");
    program.ask_tcp("www.test", "A");
    let mut with_do = query(8, "www.test", "A");
    with_do.opt = Some(Opt { udp_size: 1232, dnssec_ok: true, ..Opt::default() });
    UdpClient::new(program.address).ask(&with_do);
    let page = program.metrics();
    for name in [
        "coredns_build_info",
        "coredns_panics_total",
        "coredns_plugin_enabled",
        "coredns_dns_requests_total",
        "coredns_dns_request_duration_seconds_bucket",
        "coredns_dns_request_size_bytes_bucket",
        "coredns_dns_do_requests_total",
        "coredns_dns_response_size_bytes_bucket",
        "coredns_dns_responses_total",
        "coredns_cache_entries",
        "coredns_cache_hits_total",
        "coredns_cache_misses_total",
        "coredns_cache_requests_total",
        "coredns_proxy_request_duration_seconds_bucket",
        "coredns_reload_failed_total",
        "coredns_health_request_duration_seconds_bucket",
    ] {
        assert!(page.lines().any(|line| line.starts_with(name)), "{name} is missing:\n{page}");
    }
    let sum = |name: &str, labels: &[&str]| program.metric(name, labels);
    assert_eq!(sum("coredns_dns_requests_total", &["type=\"A\"", "proto=\"tcp\""]), 1.0);
    assert_eq!(sum("coredns_dns_requests_total", &["type=\"AAAA\""]), 1.0);
    assert_eq!(sum("coredns_dns_responses_total", &["rcode=\"NXDOMAIN\""]), 1.0);
    assert_eq!(sum("coredns_dns_do_requests_total", &[]), 1.0);
    assert_eq!(sum("coredns_cache_hits_total", &["type=\"success\""]), 2.0);
    assert_eq!(sum("coredns_cache_misses_total", &[]), 3.0);
    assert_eq!(sum("coredns_panics_total", &[]), 0.0);
}

#[test]
fn malformed_and_dropped_packets_are_counted() {
    let (program, _upstream) = start();
    let client = UdpClient::new(program.address);
    for _ in 0..3 {
        let mut response = query(1, "www.test", "A");
        response.flags = flag::QR;
        client.send(&response.write());
    }
    let counted = within(Duration::from_secs(3), || {
        program.metric("dnscache_dropped_packets_total", &["response"]) == 3.0
    });
    assert!(counted, "{}", program.metrics());
}

#[test]
fn health_and_ready_say_ok() {
    let (program, _upstream) = start();
    let ip = program.address.ip();
    for (port, path) in [(8080, "/health"), (8181, "/ready")] {
        let address = SocketAddr::new(ip, port);
        let ok = within(Duration::from_secs(3), || {
            http_page(address, path).is_some_and(|(status, body)| status == 200 && body == "OK")
        });
        assert!(ok, "{path}: {:?}", http_page(address, path));
        let (status, _) = http_page(address, "/other").expect("a reply");
        assert_eq!(status, 404);
    }
}

#[test]
fn admin_pages_are_for_reading_only() {
    let (program, _upstream) = start();
    let address = SocketAddr::new(program.address.ip(), METRICS_PORT);
    for (request, statuses) in [
        (
            "POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx",
            &[405][..],
        ),
        ("DELETE /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", &[405]),
        ("GET /../../etc/passwd HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", &[404, 400]),
        ("GET /metrics/../../x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", &[404, 400]),
        ("nonsense\r\n\r\n", &[400]),
    ] {
        let (status, _) = http_exchange(address, request).expect("a reply");
        assert!(statuses.contains(&status), "{request:?}: {status}");
    }
    // A head of a megabyte is not read to its end.
    let huge = format!("GET /metrics HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    let status = http_exchange(address, &huge).map(|(status, _)| status);
    assert!(matches!(status, None | Some(400 | 431)), "{status:?}");
    assert!(program.metrics().contains("coredns_build_info"));
}

#[test]
fn a_slow_http_client_is_given_up_and_others_are_served() {
    let (program, _upstream) = start();
    let address = SocketAddr::new(program.address.ip(), METRICS_PORT);
    let mut slow: Vec<TcpStream> =
        (0..20).map(|_| TcpStream::connect(address).expect("a connection")).collect();
    for stream in &mut slow {
        stream.write_all(b"GET /metrics HT").expect("an open connection");
    }
    let started = Instant::now();
    assert!(program.metrics().contains("coredns_build_info"));
    assert!(started.elapsed() < Duration::from_secs(2));
    let before = program.open_files();
    let given_up = within(Duration::from_secs(35), || program.open_files() + 20 <= before);
    assert!(given_up, "{} of {before} open files are left", program.open_files());
}

#[test]
fn the_query_log_says_who_asked_what() {
    let (program, _upstream) = start();
    program.ask("www.test", "A");
    assert!(program.logs_within("www.test.", Duration::from_secs(2)), "{}", program.log());
    let log = program.log();
    let line = log.lines().find(|line| line.contains("www.test.")).expect("just seen");
    for word in ["A", "IN", "udp", "NOERROR"] {
        assert!(line.contains(word), "{word} is missing from {line}");
    }
}

#[test]
fn the_query_log_is_off_by_default() {
    let ip = own_loopback();
    let program = Program::start(ip, ".:PORT {\n bind IP\n whoami\n}\n");
    program.ask("unlogged.test", "A");
    std::thread::sleep(Duration::from_millis(300));
    assert!(!program.log().contains("unlogged.test"), "{}", program.log());
}

#[test]
fn the_log_can_be_json() {
    let ip = own_loopback();
    let text = ".:PORT {\n bind IP\n log\n whoami\n}\n";
    let program = Program::start_with(ip, text, &["-log-format=json"]);
    program.ask("logged.test", "A");
    assert!(program.logs_within("logged.test", Duration::from_secs(2)), "{}", program.log());
    for line in program.log().lines() {
        assert!(line.starts_with('{') && line.ends_with('}'), "not JSON: {line}");
    }
}

/// What can repeat per packet is written at most once a minute, with a count.
#[test]
fn errors_that_repeat_are_written_once() {
    let (program, upstream) = start();
    upstream.set_silent(true);
    let ip = own_loopback();
    let quiet =
        COREFILE.replace("    log\n", "    slowlog off\n").replace("UPSTREAM", "127.0.0.1:9");
    let failing = Program::start(ip, &quiet);
    for number in 0..50 {
        UdpClient::new(failing.address)
            .send(&query(number, &format!("n{number}.test"), "A").write());
    }
    std::thread::sleep(Duration::from_millis(6_000));
    let lines = failing.log().lines().filter(|line| line.contains("127.0.0.1:9")).count();
    assert!(lines < 10, "{lines} lines for 50 failures:\n{}", failing.log());
    drop(program);
}

#[test]
fn nothing_listens_where_no_directive_says_so() {
    let ip = own_loopback();
    let _program = Program::start(ip, ".:PORT {\n bind IP\n whoami\n}\n");
    for port in [8080, 8181, METRICS_PORT, 9353] {
        assert!(TcpStream::connect((ip, port)).is_err(), "something listens on {port}");
    }
}

/// Without an address the pages stay on the block's own, not on every address of the node.
#[test]
fn admin_pages_without_an_address_stay_on_the_bound_one() {
    let ip = own_loopback();
    let _program = Program::start(ip, ".:PORT {\n bind IP\n whoami\n health\n ready\n}\n");
    let elsewhere = own_loopback();
    for port in [8080, 8181] {
        let opened = within(Duration::from_secs(3), || TcpStream::connect((ip, port)).is_ok());
        assert!(opened, "nothing listens on {ip}:{port}");
        assert!(TcpStream::connect((elsewhere, port)).is_err(), "{port} is open everywhere");
    }
}
