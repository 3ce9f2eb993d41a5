//! Ten questions, and what becomes of them: what a pod's lookup of an external name costs without
//! a cache, with one, with a trailing dot, and with search paths cut short.
//!
//! `cargo run --release -p dnscache --example ndots` needs neither root nor network: a cluster's
//! DNS is started on loopback, this program starts itself again as the cache, and a client walks
//! its search list as glibc does.

#[path = "../../../tests/cluster/mod.rs"]
#[allow(dead_code, reason = "the tests use all of it")]
mod cluster;
#[path = "../../../tests/harness/message.rs"]
#[allow(dead_code, reason = "the tests use all of it")]
mod message;
#[path = "../../../tests/harness/upstream.rs"]
#[allow(dead_code, reason = "the tests use all of it")]
mod upstream;
#[path = "../../../tests/harness/zone.rs"]
#[allow(dead_code, reason = "the tests use all of it")]
mod zone;

mod cache;
mod experiment;
mod names;
mod table;

/// Where the cluster's modules look for what they share with the tests.
mod harness {
    pub(crate) use crate::{message, upstream, zone};
}

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use anyhow::Context as _;
use cache::Cache;
use cluster::upstream::WorldUpstream;
use cluster::world::Shared;
use experiment::{Experiment, Row, Subject};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match &words[..] {
        [verb, corefile] if verb == cache::SERVE => cache::serve(corefile).map(|()| true),
        _ => compare(),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("ndots: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Prints the table; `false` if any lookup had another result than upstream's.
fn compare() -> anyhow::Result<bool> {
    let world = Shared::new(names::world());
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let upstream = WorldUpstream::start(any_port, world.clone(), names::LATENCY)
        .context("cannot start the cluster's DNS")?;
    let address = upstream.address();
    let plain = Cache::start("searchpath off", address)?;
    let dotted = Cache::start("searchpath off", address)?;
    let shortened = Cache::start(
        &format!("searchpath rewrite {{\n search {}\n }}", cluster::sample::HOST_DOMAIN),
        address,
    )?;
    let subjects = [
        Subject { title: "no cache", server: address, ending: "" },
        Subject { title: "plain cache", server: plain.address, ending: "" },
        Subject { title: "with the dot", server: dotted.address, ending: "." },
        Subject { title: "search paths", server: shortened.address, ending: "" },
    ];
    let experiment = Experiment::new(world, &upstream);
    let rows: Vec<Row> = experiment.run(&subjects);
    table::print(&rows);
    let wrong: usize = rows.iter().map(|row| row.wrong.len()).sum();
    rows.iter().flat_map(|row| &row.wrong).take(5).for_each(|lookup| eprintln!("{lookup}"));
    Ok(wrong == 0)
}
