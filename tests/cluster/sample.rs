//! A small cluster with something of every kind in it, and names that collide across the search
//! list on purpose: what a shortcut may mistake for something else.

use super::world::{Port, Service, World, addresses};

/// The cluster domain.
pub const DOMAIN: &str = "cluster.local";
/// The search domain a pod inherits from its node.
pub const HOST_DOMAIN: &str = "ec2.internal";
/// Namespaces; one is called as a top-level domain is.
pub const NAMESPACES: [&str; 5] = ["default", "payments", "kube-system", "com", "empty"];

/// The cluster; times to live as [`World::new`] takes them.
pub fn world(positive_ttl_secs: u32, negative_ttl_secs: u32) -> World {
    let mut world = World::new(DOMAIN, positive_ttl_secs, negative_ttl_secs);
    NAMESPACES.iter().for_each(|namespace| world.create_namespace(namespace));
    add_services(&mut world);
    add_lookalikes(&mut world);
    add_external(&mut world);
    world
}

fn add_services(world: &mut World) {
    world.create_service("default", "kubernetes", Service::at("10.96.0.1"));
    world.create_service("default", "web", Service::at("10.96.0.20"));
    world.create_service("payments", "api", Service::at("10.96.0.30"));
    world.create_service("payments", "web", Service::at("10.96.0.31"));
    let dual = addresses(&["10.96.0.10", "fd00:10:96::a"]);
    let ports = vec![Port::HTTP, Port::DNS];
    world.create_service("kube-system", "kube-dns", Service::ClusterIp { addresses: dual, ports });
    let six = addresses(&["fd00:10:96::6"]);
    let six = Service::ClusterIp { addresses: six, ports: vec![Port::HTTP] };
    world.create_service("payments", "six", six);
    let endpoints = [("db-0", "10.244.1.10"), ("db-1", "10.244.2.10"), ("db-2", "10.244.3.10")];
    world.create_service("payments", "db", Service::headless(&endpoints));
    world.create_service("default", "idle", Service::headless(&[]));
    let alias = |target: &str| Service::ExternalName(target.to_owned());
    world.create_service("default", "books", alias("www.amazon.com"));
    world.create_service("default", "inside", alias("api.payments.svc.cluster.local"));
    world.create_service("payments", "gone", alias("nowhere.example.org"));
}

/// Services and namespaces that are called as parts of external names are.
fn add_lookalikes(world: &mut World) {
    // `amazon.com` is this Service for every pod, by way of `svc.cluster.local`.
    world.create_service("com", "amazon", Service::at("10.96.0.66"));
    // `example.org` is an endpoint of this one for pods in `default`; so is `example.org.default`.
    world.create_service("default", "org", Service::headless(&[("example", "10.244.9.9")]));
    // `payments` is a Service here and a namespace elsewhere.
    world.create_service("default", "payments", Service::at("10.96.0.67"));
    world.create_service("empty", "svc", Service::at("10.96.0.68"));
}

fn add_external(world: &mut World) {
    world.add_zone(
        "amazon.com",
        "amazon.com A 205.251.242.103
         amazon.com MX 5 mail.amazon.com
         amazon.com TXT \"v=spf1 -all\"
         www.amazon.com CNAME edge.amazon.com
         edge.amazon.com A 54.239.28.85
         edge.amazon.com AAAA 2001:db8:54::85
         mail.amazon.com A 205.251.242.104
         a.b.c.d.e.amazon.com A 205.251.242.105
         *.apps.amazon.com A 205.251.242.106",
    );
    world.add_zone(
        "example.org",
        "example.org A 203.0.113.1
         example.org AAAA 2001:db8::1
         example.org MX 10 mail.example.org
         www.example.org A 203.0.113.2
         six.example.org AAAA 2001:db8::6
         text.example.org TXT \"only text\"
         lost.example.org CNAME nowhere.example.org
         deep.below.example.org A 203.0.113.3
         _sip._udp.example.org SRV 1 2 5060 www.example.org",
    );
    world.add_zone("github.com", "github.com A 140.82.121.4\n api.github.com A 140.82.121.5");
    world.add_zone(
        HOST_DOMAIN,
        "ip-10-0-1-5.ec2.internal A 10.0.1.5
         legacy.ec2.internal A 10.0.7.7
         legacy.ec2.internal TXT \"a host\"
         jenkins.build.ec2.internal A 10.0.7.8
         www.github.com.ec2.internal A 10.0.7.9
         api.payments.ec2.internal MX 10 legacy.ec2.internal",
    );
    world.add_zone(
        "in-addr.arpa",
        "1.0.96.10.in-addr.arpa PTR kubernetes.default.svc.cluster.local
         30.0.96.10.in-addr.arpa PTR api.payments.svc.cluster.local
         10.1.244.10.in-addr.arpa PTR db-0.db.payments.svc.cluster.local",
    );
}
