//! What the server has to do with the Kubernetes API: the endpoints of upstream Services, and our
//! own node.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::{Instant, sleep};

use super::Plan;
use crate::admin::sources::{EndpointsReading, KubernetesReading, Source};
use crate::config::{Config, Forward};
use crate::engine::cache::key::{Flags, Key};
use crate::engine::wire::header::{class, rcode, rtype};
use crate::engine::{Failure, Transport};
use crate::kubernetes::node::{MarkCounts, NodeMarks, mark};
use crate::kubernetes::watch::{WatchCounts, Watches};
use crate::slow::upstream::Route;
use crate::slow::{Routes, Told};

/// What is followed and done there.
#[derive(Default)]
pub struct Cluster {
    watches: Watches,
    mark: Option<Arc<MarkCounts>>,
}

/// From one question whether DNS answers to the next.
const READY_PAUSE: Duration = Duration::from_millis(250);
/// How long such a question may take.
const READY_PATIENCE: Duration = Duration::from_secs(2);

impl Cluster {
    /// Notes where a configuration that is not in force yet listens.
    pub fn prepare(&self, own: &[SocketAddr]) {
        self.watches.also_listen_on(own);
    }

    /// Has a new route follow the endpoints of its Service, if it names one.
    pub fn feed(&mut self, forward: &Forward, route: &Arc<Route>) {
        if let Some(service) = &forward.endpoints {
            route.follow_endpoints(self.watches.follow(service));
        }
    }

    /// Notes what is in force: where this process listens, and which Services are still asked.
    pub fn put_in_force(&mut self, config: &Config, own: Vec<SocketAddr>) {
        self.watches.listen_on(own);
        let forwards = config.blocks.iter().flat_map(|block| &block.forwards);
        self.watches.keep(forwards.filter_map(|forward| forward.endpoints.as_ref()));
    }

    /// Marks the node once an upstream answers.
    pub fn mark_node(
        &mut self,
        marks: NodeMarks,
        plans: Arc<ArcSwap<Plan>>,
        routes: Routes<Route>,
    ) {
        let counts = Arc::clone(self.mark.get_or_insert_default());
        tokio::spawn(mark(marks, first_answer(plans, routes), counts));
    }

    /// The numbers of all that, if there is any of it.
    pub fn source(&self) -> Option<Source<KubernetesReading>> {
        let (watches, mark) = (self.watches.counts(), self.mark.clone());
        let is_used = !watches.is_empty() || mark.is_some();
        is_used.then(|| -> Source<KubernetesReading> {
            Box::new(move || KubernetesReading {
                endpoints: watches.iter().map(|counts| reading(counts)).collect(),
                mark: mark.as_deref().map(|counts| {
                    let failures = counts.failures.load(Ordering::Relaxed);
                    (counts.is_done.load(Ordering::Relaxed), failures)
                }),
            })
        })
    }
}

fn reading(counts: &WatchCounts) -> EndpointsReading {
    EndpointsReading {
        service: counts.service.clone(),
        endpoints: counts.endpoints.load(Ordering::Relaxed),
        is_watching: counts.is_watching.load(Ordering::Relaxed),
        age_secs: counts.age_secs(),
        failures: counts.failures.load(Ordering::Relaxed),
        ignored: counts.slices_ignored.load(Ordering::Relaxed),
    }
}

/// Ends when the upstream of the cluster domain, or else of the first block that has one, answers a
/// question with anything but SERVFAIL, which a CoreDNS gives that is still starting.
async fn first_answer(plans: Arc<ArcSwap<Plan>>, routes: Routes<Route>) {
    while !answers(&plans.load_full(), &routes).await {
        sleep(READY_PAUSE).await;
    }
}

async fn answers(plan: &Plan, routes: &Routes<Route>) -> bool {
    let blocks = plan.engine.blocks();
    if blocks.is_empty() {
        // No configuration is in force yet.
        return false;
    }
    let with_routes = || blocks.iter().filter(|block| !block.routes.is_empty());
    let block = with_routes().find(|block| block.search.is_some()).or(with_routes().next());
    // Nobody to ask: what there is to answer is answered by ourselves.
    let Some(block) = block else { return true };
    let way = block.config.zones.first().and_then(|zone| Some((zone, block.route(zone.wire())?)));
    let Some((zone, way)) = way else { return true };
    let Some(route) = routes.load().get(&way.id).cloned() else { return false };
    let key = Key::new(way.id, zone.wire(), rtype::SOA, class::IN, Flags::default());
    let told = route.ask(&key, Transport::Udp, Instant::now() + READY_PATIENCE).await;
    match told {
        Told::Answer(_) => true,
        Told::Failed(Failure::Answered(code)) => code != rcode::SERVFAIL,
        Told::Failed(_) => false,
    }
}
