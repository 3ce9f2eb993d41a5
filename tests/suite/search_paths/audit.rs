//! An upstream that says NXDOMAIN at a boundary and has data below it: found, switched off, counted.

use std::thread;
use std::time::{Duration, Instant};

use super::{STYLES, Stage, pod};
use crate::cluster::exchange::Server;
use crate::cluster::sample;
use crate::cluster::walk::Lookup;
use crate::cluster::world::{Service, World, rtype};
use crate::harness::within;

const BOUNDARY: &str = "shop.default.svc.cluster.local";
const CONTRADICTIONS: &str = "dnscache_search_contradictions_total";
const ENDPOINTS: usize = 400;
/// So many right answers in a row are no accident.
const RIGHT_IN_A_ROW: usize = 20;
/// Denials of the world live so long, and with them what rests on the lie.
const LIFETIME: Duration = Duration::from_secs(1);

/// Every reply is audited; those under way while the first audit runs may still be wrong.
#[test]
fn a_lying_upstream_is_found_by_the_audit() {
    find_the_lie(100, 20);
}

/// One reply in ten: 200 wrong lookups without an audit are a chance of one in 10^18.
#[test]
fn a_small_share_of_audits_finds_the_lie_as_well() {
    find_the_lie(10, 200);
}

fn find_the_lie(share_percent: usize, wrong_max: usize) {
    let search =
        format!("searchpath rewrite {{\n search ec2.internal\n audit {share_percent}%\n }}");
    let stage = Stage::start(&search, lying_world());
    let mut client = stage.client();
    learn_the_lie(&stage, &mut client);

    let mut wrong = Vec::new();
    let (mut right_in_a_row, mut asked) = (0, 0);
    while right_in_a_row < RIGHT_IN_A_ROW {
        assert!(asked < ENDPOINTS && wrong.len() <= wrong_max, "{} wrong of {asked}", wrong.len());
        match wrong_lookup(&stage, &mut client, asked) {
            Some(_) => {
                wrong.push(asked);
                right_in_a_row = 0;
            }
            None => right_in_a_row += 1,
        }
        asked += 1;
        // An audit runs behind the reply, and 50 ms after the one before at the earliest; lookups as
        // fast as possible would outrun any.
        thread::sleep(Duration::from_millis(10));
    }
    let counted = within(LIFETIME, || stage.program.metric(CONTRADICTIONS, &[]) >= 1.0);
    assert!(counted, "no contradiction was counted; {} wrong lookups", wrong.len());
    nobody_keeps_a_wrong_answer(&stage, &mut client, &wrong);
}

/// After the lifetime of what was wrong, and from then on, everything is right.
fn nobody_keeps_a_wrong_answer(stage: &Stage, client: &mut Server, wrong: &[usize]) {
    let still_wrong = |client: &mut Server| {
        wrong.iter().chain(&[0, 1, 2]).find_map(|at| wrong_lookup(stage, client, *at))
    };
    let end = Instant::now() + LIFETIME * 2;
    let is_right = within(LIFETIME, || still_wrong(client).is_none());
    assert!(is_right, "{} wrong answers are kept", wrong.len());
    while Instant::now() < end {
        if let Some(seen) = still_wrong(client) {
            panic!("wrong again:\n{seen}");
        }
    }
}

/// A name that is not there makes the boundary known.
fn learn_the_lie(stage: &Stage, client: &mut Server) {
    let question = format!("{BOUNDARY}. A");
    let mut missing = 0;
    let is_asked = within(Duration::from_secs(2), || {
        missing += 1;
        pod(STYLES[0], "default").addresses(client, &format!("missing{missing}.shop"));
        stage.upstream.count(&question) > 0
    });
    assert!(is_asked, "the boundary was not asked: {:?}", stage.upstream.recent());
}

/// The lookup of an endpoint, unless it ended as it should.
fn wrong_lookup(stage: &Stage, client: &mut Server, endpoint: usize) -> Option<Lookup> {
    let (resolver, name) = (pod(STYLES[0], "default"), format!("e{endpoint}.shop"));
    let seen = resolver.addresses(client, &name);
    let truth = stage.truth(&resolver, &name, &[rtype::A, rtype::AAAA]);
    (seen.outcome != truth.outcome).then_some(seen)
}

fn lying_world() -> World {
    let names: Vec<String> = (0..ENDPOINTS).map(|at| format!("e{at}")).collect();
    let ips: Vec<String> =
        (0..ENDPOINTS).map(|at| format!("10.7.{}.{}", at / 250, at % 250)).collect();
    let endpoints: Vec<(&str, &str)> =
        names.iter().map(String::as_str).zip(ips.iter().map(String::as_str)).collect();
    let mut world = sample::world(1, LIFETIME.as_secs() as u32);
    world.create_service("default", "shop", Service::headless(&endpoints));
    world.deny(BOUNDARY);
    world
}
