//! What tests of this plane share: a plan, queries, and upstreams that do as they are told.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::Instant;

use super::{Asking, Routes, Told, Upstream};
use crate::config::{self, Config};
use crate::engine::cache::key::Key;
use crate::engine::shelf::{Shelf, Surroundings};
use crate::engine::wire::answer::digest;
use crate::engine::wire::header::rcode;
use crate::engine::wire::name::Name;
use crate::engine::{Failure, Now, RouteId};
use crate::server::Plan;

/// TTL of [`Scripted`]'s answers.
pub(super) const TTL_SECS: u32 = 10;

/// The paused clock of a test as the engine sees it.
pub(super) fn now() -> Now {
    thread_local! {
        static EPOCH: Instant = Instant::now();
    }
    let since = EPOCH.with(Instant::elapsed);
    Now::from_millis(86_400_000 + since.as_millis() as u64)
}

/// A plan that forwards everything on 127.0.0.1:53 and serves expired answers for an hour to
/// clients that waited for `client_timer`.
pub(super) fn plan(client_timer: Duration) -> Arc<Plan> {
    let surroundings = Surroundings { host: "test".to_owned(), random: 1 };
    Arc::new(Plan {
        engine: Shelf::default().assemble(&config(client_timer), &surroundings),
        counts: Vec::new(),
        logs: Vec::new(),
    })
}

/// A query for an A record.
pub(super) fn query(id: u16, name: &str) -> Vec<u8> {
    let name = Name::from_text(name).expect("a name");
    let mut packet = id.to_be_bytes().to_vec();
    packet.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    packet.extend(name.wire());
    packet.extend([0, 1, 0, 1]);
    packet
}

/// A client's address.
pub(super) fn client(host: u8) -> SocketAddr {
    (Ipv4Addr::new(10, 0, 0, host), 4_000).into()
}

/// An upstream that does the same for every question.
pub(super) struct Scripted {
    /// What it does.
    pub(super) says: Says,
    /// How long that takes.
    pub(super) after: Duration,
    /// Questions it was asked.
    pub(super) asked: AtomicUsize,
}

/// What a scripted upstream does.
#[derive(Clone, Copy)]
pub(super) enum Says {
    Address,
    Servfail,
    Nothing,
    Panic,
}

impl Scripted {
    /// The routes of [`plan`] with this one upstream, and the upstream.
    pub(super) fn routes(says: Says, after: Duration) -> (Routes<Self>, Arc<Self>) {
        let upstream = Arc::new(Self { says, after, asked: AtomicUsize::new(0) });
        let routes = HashMap::from([(RouteId(0), Arc::clone(&upstream))]);
        (Arc::new(ArcSwap::from_pointee(routes)), upstream)
    }

    /// Questions it was asked.
    pub(super) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Upstream for Scripted {
    fn ask_then(
        self: &Arc<Self>,
        key: &Key,
        asking: Asking,
        tell: impl FnOnce(Told) + Send + 'static,
    ) {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let (says, after, key) = (self.says, self.after, key.clone());
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            tell(match says {
                Says::Address => {
                    Told::Answer(digest(&key, &address(&key)).expect("an address is an answer"))
                }
                Says::Servfail => Told::Failed(Failure::Answered(rcode::SERVFAIL)),
                Says::Nothing => {
                    tokio::time::sleep_until(asking.deadline).await;
                    Told::Failed(Failure::Silent)
                }
                Says::Panic => panic!("as told"),
            });
        });
    }
}

/// 192.0.2.1 as the answer to a question.
fn address(key: &Key) -> Vec<u8> {
    let mut message = vec![0, 0, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0];
    message.extend(key.name());
    message.extend([0, 1, 0, 1, 0xc0, 12, 0, 1, 0, 1]);
    message.extend(TTL_SECS.to_be_bytes());
    message.extend([0, 4, 192, 0, 2, 1]);
    message
}

fn config(client_timer: Duration) -> Config {
    Config {
        origin: config::Origin::BuiltIn,
        blocks: vec![block(client_timer)],
        sockets: None,
        reload: None,
        health: None,
        ready: Vec::new(),
        prometheus: Vec::new(),
        hot: None,
        clients: None,
        slow_log: None,
        fingerprint: 0,
        warnings: Vec::new(),
    }
}

fn block(client_timer: Duration) -> config::Block {
    config::Block {
        position: position(),
        zones: vec![Name::root()],
        listen: vec![(Ipv4Addr::LOCALHOST, 53).into()],
        server_label: "dns://:53".to_owned(),
        acl: Vec::new(),
        cache: Some(cache(client_timer)),
        search: None,
        forwards: vec![forward()],
        hosts: None,
        rewrites: Vec::new(),
        templates: Vec::new(),
        dns64: None,
        whoami: false,
        chaos: None,
        rotate: false,
        bufsize: 1_232,
        log: None,
        errors: false,
        detect_loop: false,
        debug: false,
        timeouts: config::Timeouts::default(),
    }
}

fn cache(client_timer: Duration) -> config::Cache {
    let part =
        config::CachePart { disabled: None, capacity: None, ttl_max_secs: 3_600, ttl_min_secs: 0 };
    config::Cache {
        zones: Vec::new(),
        success: part.clone(),
        denial: part,
        servfail: Duration::from_secs(5),
        prefetch: None,
        serve_stale: Some(config::ServeStale { window: Duration::from_secs(3_600), client_timer }),
        keep_ttl: false,
        size_bytes: None,
    }
}

fn forward() -> config::Forward {
    config::Forward {
        position: position(),
        from: Name::root(),
        to: vec![config::Upstream::Address {
            address: (Ipv4Addr::LOCALHOST, 5_300).into(),
            tls: false,
            server_name: None,
        }],
        except: Vec::new(),
        transport: config::TransportPolicy::AsClient,
        policy: config::Policy::Random,
        max_fails: 2,
        health_check: None,
        health_check_domain: Name::root(),
        health_check_recursion: true,
        expire: Duration::from_secs(10),
        max_concurrent: 0,
        packets: config::PacketLimit::Known,
        max_attempts: 0,
        failover: Vec::new(),
        failfast: false,
        tls: None,
        tls_server_name: None,
        max_age: None,
        endpoints: None,
    }
}

fn position() -> config::Position {
    config::Position { file: "Corefile".to_owned(), line: 1, column: 1 }
}
