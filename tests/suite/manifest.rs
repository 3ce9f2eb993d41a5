//! The NodeLocal DNSCache manifest's Corefile and arguments, placeholders filled in.

use crate::harness::client::http_page;
use crate::harness::own_loopback;
use crate::harness::program::{Program, UPSTREAM_PORT};
use crate::harness::upstream::Upstream;

/// The ConfigMap of the reference manifest; the cluster's DNS and the machine's upstreams are
/// scripted ones.
const COREFILE: &str = "cluster.local:PORT {
    errors
    cache {
            success 9984 30
            denial 9984 5
    }
    reload
    loop
    bind IP IP2
    forward . UPSTREAM {
            force_tcp
    }
    prometheus IP:9253
    health IP:8080
    }
in-addr.arpa:PORT {
    errors
    cache 30
    reload
    loop
    bind IP IP2
    forward . UPSTREAM {
            force_tcp
    }
    prometheus IP:9253
    }
ip6.arpa:PORT {
    errors
    cache 30
    reload
    loop
    bind IP IP2
    forward . UPSTREAM {
            force_tcp
    }
    prometheus IP:9253
    }
.:PORT {
    errors
    cache 30
    reload
    loop
    bind IP IP2
    forward . UPSTREAM2
    prometheus IP:9253
    }
";

#[test]
fn the_reference_manifest_starts_unchanged() {
    let (ip, second) = (own_loopback(), own_loopback());
    let cluster = Upstream::with_zone(
        ip,
        UPSTREAM_PORT,
        "kubernetes.default.svc.cluster.local. 300 A 10.96.0.1\n\
         1.0.96.10.in-addr.arpa. 300 PTR kubernetes.default.svc.cluster.local.",
    );
    let world = Upstream::with_zone(ip, UPSTREAM_PORT + 1, "www.example.org. 300 A 192.0.2.1");
    let text = COREFILE.replace("IP2", &second.to_string());
    let local = format!("{ip},{second}");
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let pidfile = folder.path().join("node-cache.pid").to_string_lossy().into_owned();
    let arguments = [
        "-localip",
        &local,
        "-upstreamsvc",
        "kube-dns-upstream",
        "-pidfile",
        &pidfile,
        // The rules and the interface belong to a node; a test has none.
        "-setupinterface=false",
        "-setupiptables=false",
    ];
    let program = Program::start_with(ip, &text, &arguments);

    let reply = program.ask("kubernetes.default.svc.cluster.local", "A");
    assert_eq!(reply.answer.len(), 1);
    assert!(reply.answer[0].ttl_secs <= 30, "the block's cap of 30 s");
    let reply = program.ask("1.0.96.10.in-addr.arpa", "PTR");
    assert_eq!(reply.answer.len(), 1);
    let reply = program.ask("www.example.org", "A");
    assert_eq!(reply.answer.len(), 1);
    let reply = program.ask("gone.default.svc.cluster.local", "A");
    assert_eq!(reply.rcode(), 3);
    // Three of the client's, and one whether the namespace exists (`searchpath`).
    assert_eq!(cluster.total(), 4);
    assert_eq!(world.total(), 1);
    assert!(cluster.connections() >= 1, "force_tcp");
    assert_eq!(world.connections(), 0, "a UDP client's question travels over UDP");

    let (status, body) = http_page((ip, 8080).into(), "/health").expect("a health page");
    assert_eq!((status, body.as_str()), (200, "OK"));
    assert!(program.metric("coredns_dns_requests_total", &[]) >= 4.0);
    assert!(std::fs::metadata(&pidfile).is_ok());
}
