//! A process that is killed under load and started again by its supervisor.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::harness::kube_node::{KubeNode, LOCAL, Proxy, SERVICE, wait_for_rules};
use crate::harness::load::{Judge, Load};
use crate::harness::message::Message;
use crate::harness::program::Program;
use crate::harness::zone::query;

/// Names that clients ask for in turn.
const NAMES: usize = 500;
const PER_SECOND: u64 = 10_000;
const SOON: Duration = Duration::from_secs(10);

/// Link-local questions have nobody else to answer them, so their gap is the restart; those for
/// the ClusterIP are led to the backend meanwhile. All are answered from the cache afterwards.
#[test]
#[ignore = "needs root, ip, nft, iptables and nsd"]
fn a_killed_instance_is_hardly_missed() {
    let kube = KubeNode::new(Proxy::Iptables);
    let snapshot = kube.node.path("snapshot").to_string_lossy().into_owned();
    let arguments = ["-snapshot", &snapshot, "-snapshot-interval", "1s", "-rules", "nftables"];
    let start = || kube.spawn_cache(&arguments);
    let mut program = start();
    wait_for_rules(&program);
    let names: Vec<_> = (0..NAMES).map(|n| query(0, &format!("n{n}.test"), "A")).collect();
    let load = |address| {
        kube.pod.inside(|| Load::start_many((address, 53).into(), &names, PER_SECOND, answered()))
    };
    let (local, service) = (load(LOCAL), load(SERVICE));
    assert!(program.logs_within("listening on", SOON));
    std::thread::sleep(Duration::from_secs(3));
    let ratio_before = hit_ratio(&kube, &program);

    let killed = Instant::now();
    program.signal("KILL");
    program.ends_within(SOON).expect("killed");
    let again = start();
    assert!(again.logs_within("answers and", SOON), "{}", again.log());
    wait_for_rules(&again);
    let restarted = killed.elapsed();
    let ratio_after = hit_ratio(&kube, &again);
    let (local, service) = (local.finish(), service.finish());
    println!(
        "restarted with rules after {} ms; hit ratio {ratio_before:.4} before, {ratio_after:.4} \
         after",
        restarted.as_millis()
    );
    for (name, tally) in [("link-local", &local), ("ClusterIP", &service)] {
        println!(
            "{name}: {} questions, {} lost, {} wrong, {} us without an answer at most",
            tally.sent, tally.lost, tally.bad, tally.longest_gap_us
        );
        assert_eq!(tally.bad, 0, "{name}: {:?}", tally.complaint);
        assert!(tally.longest_gap_us < 1_000_000, "{name}: {} us", tally.longest_gap_us);
    }
    // What the process had read, or its sockets held, is lost with it.
    assert!(service.lost < PER_SECOND / 20, "ClusterIP: {} lost", service.lost);
    assert!(ratio_after > ratio_before - 0.01, "{ratio_after} after {ratio_before}");
}

fn answered() -> Judge {
    Arc::new(|reply: &Message| match (reply.rcode(), reply.answer.len()) {
        (0, 1) => Ok(()),
        (rcode, records) => Err(format!("rcode {rcode} with {records} records")),
    })
}

/// The part of the questions of one second that the cache answers.
fn hit_ratio(kube: &KubeNode, program: &Program) -> f64 {
    let read = || {
        kube.node.namespace.inside(|| {
            ["coredns_cache_hits_total", "coredns_cache_misses_total"]
                .map(|name| program.metric(name, &[]))
        })
    };
    let before = read();
    std::thread::sleep(Duration::from_secs(1));
    let after = read();
    let [hits, misses] = [after[0] - before[0], after[1] - before[1]];
    assert!(hits + misses > 1_000.0, "{hits} hits, {misses} misses");
    hits / (hits + misses)
}
