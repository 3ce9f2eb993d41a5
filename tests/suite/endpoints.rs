//! What the Kubernetes API is asked: endpoints of the upstream Service, marks on the node.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::api_server::{ApiServer, leaving, ready};
use crate::harness::program::{Program, UPSTREAM_PORT, run_to_end};
use crate::harness::upstream::Upstream;
use crate::harness::{own_loopback, within};

const COREFILE: &str = ".:PORT {\n bind IP\n cache\n prometheus METRICS\n forward . UPSTREAM {\n  force_tcp\n  endpoints kube-system/kube-dns-upstream\n }\n}\n";
const LIMIT: Duration = Duration::from_secs(15);

/// A program, its written upstream, and an API server.
struct Stage {
    ip: Ipv4Addr,
    written: Upstream,
    program: Program,
    api: ApiServer,
    _folder: tempfile::TempDir,
}

impl Stage {
    /// The API server knows these endpoints when the program starts.
    fn start(endpoints: &Value, arguments: &[&str]) -> Self {
        let ip = own_loopback();
        let api = ApiServer::start(ip, 0);
        api.put_slice("a", UPSTREAM_PORT, endpoints);
        Self::start_with(ip, api, upstream(ip, 1), arguments)
    }

    fn start_with(ip: Ipv4Addr, api: ApiServer, written: Upstream, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let kubeconfig = api.kubeconfig(folder.path());
        let variables = [("KUBECONFIG", kubeconfig.as_str()), ("NODE_NAME", "n1")];
        let program = Program::start_in(ip, COREFILE, arguments, &variables);
        Self { ip, written, program, api, _folder: folder }
    }

    /// Waits until a new name is answered by the upstream of this number.
    #[track_caller]
    fn is_answered_by(&self, number: u8) {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let is_seen = within(LIMIT, || {
            let name = format!("q{}.test", COUNT.fetch_add(1, Ordering::Relaxed));
            let reply = self.program.ask(&name, "A");
            reply.answer.first().is_some_and(|record| record.data == [192, 0, 2, number])
        });
        assert!(is_seen, "upstream {number} is not asked:\n{}", self.program.log());
    }

    #[track_caller]
    fn endpoints_become(&self, expected: f64) {
        let is_so =
            || self.program.metric("dnscache_endpoints", &["kube-dns-upstream"]) == expected;
        assert!(within(LIMIT, is_so), "{}", self.program.metrics());
    }
}

/// Answers every name with an address that has its number, for a moment.
fn upstream(ip: Ipv4Addr, number: u8) -> Upstream {
    Upstream::with_zone(ip, UPSTREAM_PORT, &format!("*.test. 60 A 192.0.2.{number}"))
}

#[test]
fn endpoints_are_asked_in_the_place_of_the_written_upstreams_while_there_are_any() {
    let (one, two) = (own_loopback(), own_loopback());
    let _upstreams = [upstream(one, 2), upstream(two, 3)];
    let stage = Stage::start(&json!([ready(one)]), &[]);
    stage.is_answered_by(2);
    stage.endpoints_become(1.0);
    assert!(within(LIMIT, || stage.program.metric("dnscache_endpoints_watching", &[]) == 1.0));
    stage.api.put_slice("b", UPSTREAM_PORT, &json!([ready(two)]));
    stage.is_answered_by(3);
    stage.endpoints_become(2.0);
    // One that ends is left as long as another is there, and asked when it is the last.
    stage.api.put_slice("a", UPSTREAM_PORT, &json!([leaving(one)]));
    stage.endpoints_become(1.0);
    stage.api.delete_slice("b");
    stage.is_answered_by(2);
    stage.api.delete_slice("a");
    stage.endpoints_become(0.0);
    stage.is_answered_by(1);
    assert!(stage.program.log().contains("the endpoints of the Service are followed"));
}

#[test]
fn the_api_is_asked_over_tls_with_a_token() {
    let (ip, endpoint) = (own_loopback(), own_loopback());
    let _upstream = upstream(endpoint, 2);
    let api = ApiServer::start_tls(ip);
    api.put_slice("a", UPSTREAM_PORT, &json!([ready(endpoint)]));
    let stage = Stage::start_with(ip, api, upstream(ip, 1), &[]);
    stage.is_answered_by(2);
    assert!(within(LIMIT, || stage.program.metric("dnscache_endpoints_watching", &[]) == 1.0));
}

#[test]
fn what_was_known_last_stays_while_the_api_is_away() {
    let (one, two) = (own_loopback(), own_loopback());
    let _upstreams = [upstream(one, 2), upstream(two, 3)];
    let stage = Stage::start(&json!([ready(one)]), &[]);
    stage.is_answered_by(2);
    let Stage { ip, program, api, written, _folder } = stage;
    let port = api.address.port();
    drop(api);
    assert!(program.logs_within("cannot be followed, those known last are asked", LIMIT));
    assert!(within(LIMIT, || program.metric("dnscache_endpoints_watching", &[]) == 0.0));
    assert_eq!(program.metric("dnscache_endpoints", &[]), 1.0);
    assert!(program.metric("dnscache_endpoints_failures_total", &[]) >= 1.0);
    std::thread::sleep(Duration::from_secs(2));
    let lines = program.log().matches("cannot be followed").count();
    assert_eq!(lines, 1, "one line says it:\n{}", program.log());
    let api = ApiServer::start(ip, port);
    api.put_slice("z", UPSTREAM_PORT, &json!([ready(two)]));
    let stage = Stage { ip, program, api, written, _folder };
    stage.is_answered_by(3);
    assert!(within(LIMIT, || stage.program.metric("dnscache_endpoints_watching", &[]) == 1.0));
}

#[test]
fn without_the_right_to_list_the_written_upstreams_are_asked_and_the_log_names_it() {
    let ip = own_loopback();
    let api = ApiServer::start(ip, 0);
    api.refuse(403);
    let stage = Stage::start_with(ip, api, upstream(ip, 1), &[]);
    stage.is_answered_by(1);
    assert!(stage.program.logs_within("needs `list` and `watch` on `endpointslices`", LIMIT));
    std::thread::sleep(Duration::from_secs(3));
    let requests = stage.api.requests().len();
    assert!((1..=6).contains(&requests), "{requests} requests in three seconds");
}

#[test]
fn hostile_objects_change_little_and_take_little() {
    let good = own_loopback();
    let _upstream = upstream(good, 2);
    let stage = Stage::start(&json!([ready(good)]), &[]);
    stage.is_answered_by(2);
    let before = stage.program.resident_bytes();
    let garbage = ["", "nobody", "10.0.0.1:53", "224.0.0.1", "0.0.0.0", "169.254.20.10", "fe80::1"];
    let garbage: Vec<_> = garbage.iter().map(|ip| json!({"addresses": [ip]})).collect();
    stage.api.put_slice("garbage", UPSTREAM_PORT, &json!(garbage));
    let itself = json!([ready(stage.ip)]);
    stage.api.put_slice("itself", 5300, &itself);
    // What is no slice at all ends the watch; what was known stays, and it is listed anew.
    stage.api.send_event(json!({"metadata": {"name": 7}, "endpoints": "many"}));
    assert!(stage.program.logs_within("cannot be followed, those known last are asked", LIMIT));
    stage.endpoints_become(1.0);
    stage.is_answered_by(2);
    let [_, b, _, _] = good.octets();
    let many = |slice: usize| {
        let address = |n: usize| Ipv4Addr::new(127, b, 200 + slice as u8, 1 + (n % 250) as u8);
        Value::from((0..10_000).map(|n| ready(address(n))).collect::<Vec<_>>())
    };
    for slice in 0..3 {
        stage.api.put_slice(&format!("many{slice}"), UPSTREAM_PORT, &many(slice));
    }
    stage.endpoints_become(64.0);
    let grown = stage.program.resident_bytes().saturating_sub(before);
    assert!(grown < 64 << 20, "{} MiB more", grown >> 20);
    for slice in 0..3 {
        stage.api.delete_slice(&format!("many{slice}"));
    }
    stage.endpoints_become(1.0);
    stage.is_answered_by(2);
}

#[test]
fn the_start_up_taint_goes_once_dns_answers_and_not_before() {
    let ip = own_loopback();
    let api = ApiServer::start(ip, 0);
    let other = json!({"key": "other", "effect": "NoSchedule", "value": "kept"});
    api.put_node(json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": "n1", "resourceVersion": "5", "labels": {"a": "b"}},
        "spec": {"taints": [other, {"key": "example.org/dns", "effect": "NoExecute"}], "podCIDR": "x"},
    }));
    api.conflict(1);
    let flags = ["-ready-taint", "example.org/dns", "-ready-label", "example.org/dns=ready"];
    let written = upstream(ip, 1);
    written.set_silent(true);
    let stage = Stage::start_with(ip, api, written, &flags);
    std::thread::sleep(Duration::from_secs(1));
    let is_about_node = |request: &String| request.contains("/nodes/");
    assert!(!stage.api.requests().iter().any(is_about_node), "DNS does not answer yet");
    assert_eq!(stage.program.metric("dnscache_node_marked", &[]), 0.0);
    stage.written.set_silent(false);
    let is_marked = within(LIMIT, || stage.program.metric("dnscache_node_marked", &[]) == 1.0);
    assert!(is_marked, "{}", stage.program.log());
    let node = stage.api.node();
    assert_eq!(node["spec"], json!({"taints": [other], "podCIDR": "x"}));
    assert_eq!(node["metadata"]["labels"], json!({"a": "b", "example.org/dns": "ready"}));
    assert_eq!(stage.program.metric("dnscache_node_mark_failures_total", &[]), 1.0);
    assert_eq!(stage.program.log().matches("cannot be marked").count(), 1);
}

#[test]
fn a_mark_without_a_node_is_a_mistake_at_start() {
    let asked = Instant::now();
    let (code, text) = run_to_end(&["-ready-taint", "a", "-node-name", ""], LIMIT);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("set NODE_NAME from the field spec.nodeName"), "{text}");
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
}
