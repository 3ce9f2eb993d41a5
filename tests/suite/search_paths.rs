//! Search paths: shortcuts change how many questions a lookup takes, never what it ends with.
//!
//! Each test starts the program with the reference manifest's blocks before a cluster that is made
//! up, and looks names up as a pod's libc does.

mod audit;
mod changes;
mod differential;
mod drawing;
mod names;
mod warm;

use std::time::Duration;

use crate::cluster::exchange::Server;
use crate::cluster::sample::{DOMAIN, HOST_DOMAIN};
use crate::cluster::upstream::WorldUpstream;
use crate::cluster::walk::{Lookup, Resolver, Style};
use crate::cluster::world::{Shared, World};
use crate::harness::own_loopback;
use crate::harness::program::{Program, UPSTREAM_PORT};

/// Both ways to walk.
const STYLES: [Style; 2] = [Style::Glibc, Style::Musl];
/// `searchpath` as it is by default, but for the machine's own resolv.conf.
const REWRITE: &str = "searchpath rewrite {\n search ec2.internal\n }";
const CUT: &str = "searchpath cut {\n search ec2.internal\n }";
const OFF: &str = "searchpath off";

/// The Corefile of the reference manifest over UDP; `SEARCH` stands for the directives under test.
const COREFILE: &str = "cluster.local:PORT {
    errors
    cache {
            success 9984 30
            denial 9984 5
    }
    SEARCH
    bind IP
    forward . UPSTREAM
    prometheus METRICS
    }
in-addr.arpa:PORT {
    errors
    cache 30
    bind IP
    forward . UPSTREAM
    prometheus METRICS
    }
.:PORT {
    errors
    cache 30
    bind IP
    forward . UPSTREAM
    prometheus METRICS
    }
";

/// A cluster, its DNS, and the program in front of it.
struct Stage {
    world: Shared,
    upstream: WorldUpstream,
    program: Program,
}

impl Stage {
    fn start(search: &str, world: World) -> Self {
        let ip = own_loopback();
        let world = Shared::new(world);
        let address = (ip, UPSTREAM_PORT).into();
        let upstream = WorldUpstream::start(address, world.clone(), Duration::ZERO);
        let upstream = upstream.unwrap_or_else(|e| panic!("{address}: {e}"));
        let program = Program::start(ip, &COREFILE.replace("SEARCH", search));
        Self { world, upstream, program }
    }

    /// A client of the program.
    fn client(&self) -> Server {
        Server::new(self.program.address)
    }

    /// What asking the cluster's DNS itself comes to.
    fn truth(&self, resolver: &Resolver, name: &str, types: &[u16]) -> Lookup {
        resolver.resolve(&mut self.world.clone(), name, types)
    }

    /// Everything that helps to see why a lookup through the program differs.
    fn explain(&self, seen: &Lookup, truth: &Lookup) -> String {
        let metrics = self.program.metrics();
        let search = metrics.lines().filter(|line| line.starts_with("dnscache_search"));
        format!(
            "through the program:\n{seen}directly:\n{truth}last at upstream {}:\n  {}\nmetrics:\n  {}\n",
            self.upstream.address(),
            self.upstream.recent().join("\n  "),
            search.collect::<Vec<_>>().join("\n  ")
        )
    }
}

/// A pod's resolver in `namespace`.
fn pod(style: Style, namespace: &str) -> Resolver {
    Resolver::of_pod(style, namespace, DOMAIN, HOST_DOMAIN)
}
