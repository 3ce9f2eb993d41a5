//! Failing upstreams, their recovery, and changes of resolv.conf.

use std::sync::atomic::AtomicBool;

use super::*;
use crate::clock;

/// An upstream that is silent until it is told to answer.
async fn sleeping() -> (Fake, Arc<AtomicBool>) {
    let awake = Arc::new(AtomicBool::new(false));
    let script = Arc::clone(&awake);
    let fake = Fake::start(move |seen, _| match script.load(Ordering::Relaxed) {
        true => vec![answer(&seen.query, 1)],
        false => Vec::new(),
    })
    .await;
    (fake, awake)
}

async fn ask_shortly(route: &Arc<Route>) -> Told {
    route
        .ask(&key("www.example.org"), Transport::Udp, Instant::now() + Duration::from_millis(1000))
        .await
}

#[tokio::test]
async fn probes_find_an_upstream_back_and_say_so() {
    let (fake, awake) = sleeping().await;
    let (health, counts): (Arc<RouteHealth>, Arc<UpstreamCounts>) = Default::default();
    let config = forward(&[fake.address]);
    let route =
        Route::start(&config, 1232, Arc::clone(&health), Arc::clone(&counts)).expect("a route");
    let before = clock::now();
    assert_failed(&ask_shortly(&route).await, Failure::Silent);
    eventually(|| counts.snapshot().upstreams[0].healthcheck_failures > 0).await;
    assert!(!health.recovered_since(before));
    awake.store(true, Ordering::Relaxed);
    let woken = Instant::now();
    eventually(|| health.recovered_since(before)).await;
    assert!(woken.elapsed() < Duration::from_millis(1800), "{:?}", woken.elapsed());
    let probe = fake.seen().last().expect("a probe").query.clone();
    assert_eq!(probe[12..17], [0, 0, 2, 0, 1]);
    let seen = fake.count();
    sleep(Duration::from_millis(600)).await;
    assert_eq!(fake.count(), seen, "probes go on although the upstream is well");
}

#[tokio::test]
async fn recovery_is_noted_although_the_first_probe_is_answered() {
    let fake = Fake::start(
        |seen, before| {
            if before == 0 { Vec::new() } else { vec![answer(&seen.query, 1)] }
        },
    )
    .await;
    let health: Arc<RouteHealth> = Arc::default();
    let route = Route::start(&forward(&[fake.address]), 1232, Arc::clone(&health), Arc::default())
        .expect("a route");
    let before = clock::now();
    assert_failed(&ask_shortly(&route).await, Failure::Silent);
    eventually(|| health.recovered_since(before)).await;
}

#[tokio::test]
async fn without_probes_an_answered_question_notes_the_recovery() {
    let (fake, awake) = sleeping().await;
    let health: Arc<RouteHealth> = Arc::default();
    let config = Forward { health_check: None, ..forward(&[fake.address]) };
    let route = Route::start(&config, 1232, Arc::clone(&health), Arc::default()).expect("a route");
    let before = clock::now();
    assert_failed(&ask_shortly(&route).await, Failure::Silent);
    awake.store(true, Ordering::Relaxed);
    assert_eq!(last_octet(&ask_shortly(&route).await), 1);
    assert!(health.recovered_since(before));
}

#[tokio::test]
async fn an_upstream_that_is_down_is_asked_last() {
    let (silent, good) = (Fake::silent().await, Fake::good(2).await);
    let config =
        Forward { max_fails: 1, health_check: None, ..forward(&[silent.address, good.address]) };
    let route = start(&config);
    assert_eq!(last_octet(&ask(&route, "www.example.org").await), 2);
    let start_at = Instant::now();
    assert_eq!(last_octet(&ask(&route, "www.example.org").await), 2);
    assert!(start_at.elapsed() < Duration::from_millis(500));
    assert_eq!(silent.count(), 1);
}

#[tokio::test]
async fn silence_about_one_name_does_not_make_an_upstream_fail() {
    let fake = Fake::start(|seen, _| match seen.query[13] {
        b'x' => Vec::new(),
        _ => vec![answer(&seen.query, 1)],
    })
    .await;
    let health: Arc<RouteHealth> = Arc::default();
    let config = Forward { max_fails: 1, ..forward(&[fake.address]) };
    let route = Route::start(&config, 1232, Arc::clone(&health), Arc::default()).expect("a route");
    let before = clock::now();
    let name = key("x.example.org");
    let mut silent = std::pin::pin!(route.ask(
        &name,
        Transport::Udp,
        Instant::now() + Duration::from_millis(900)
    ));
    for _ in 0..100 {
        tokio::select! {
            told = &mut silent => return assert_failed(&told, Failure::Silent),
            () = sleep(Duration::from_millis(10)) => {
                assert_eq!(last_octet(&ask(&route, "www.example.org").await), 1);
            }
        }
        assert!(!health.recovered_since(before), "it was taken for failing");
    }
}

#[tokio::test]
async fn failfast_says_so_when_everybody_is_down() {
    let silent = Fake::silent().await;
    let counts = Arc::new(UpstreamCounts::default());
    let config =
        Forward { max_fails: 1, failfast: true, health_check: None, ..forward(&[silent.address]) };
    let route = Route::start(&config, 1232, Arc::default(), Arc::clone(&counts)).expect("a route");
    assert_failed(&ask_shortly(&route).await, Failure::Silent);
    let seen = silent.count();
    assert_failed(&ask_shortly(&route).await, Failure::Silent);
    assert_eq!(silent.count(), seen);
    assert_eq!(counts.snapshot().healthcheck_broken, 1);
}

#[tokio::test]
async fn close_ends_probes_and_questions_go_on() {
    let (fake, awake) = sleeping().await;
    let route = start(&forward(&[fake.address]));
    assert_failed(&ask_shortly(&route).await, Failure::Silent);
    route.close();
    sleep(Duration::from_millis(50)).await;
    let seen = fake.count();
    sleep(Duration::from_millis(1500)).await;
    assert_eq!(fake.count(), seen);
    awake.store(true, Ordering::Relaxed);
    assert_eq!(last_octet(&ask_shortly(&route).await), 1);
}

#[tokio::test]
async fn resolv_conf_is_followed_and_known_upstreams_are_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("resolv.conf");
    std::fs::write(&path, "nameserver 127.0.0.11\nnameserver 127.0.0.12\n").expect("a file");
    let config = Forward { to: vec![Upstream::ResolvConf(path.clone())], ..forward(&[]) };
    let route = start(&config);
    let kept = Arc::clone(&route.peers.load()[1]);
    let addresses = |route: &Route| -> Vec<_> {
        route.peers.load().iter().map(|peer| peer.address.to_string()).collect()
    };
    assert_eq!(addresses(&route), ["127.0.0.11:53", "127.0.0.12:53"]);
    let next = folder.path().join("next");
    std::fs::write(&next, "nameserver 127.0.0.12\nnameserver 127.0.0.13\n").expect("a file");
    std::fs::rename(&next, &path).expect("renamed");
    eventually(|| addresses(&route) == ["127.0.0.12:53", "127.0.0.13:53"]).await;
    assert!(Arc::ptr_eq(&kept, &route.peers.load()[0]));
}

#[tokio::test]
async fn a_route_without_nameservers_does_not_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("resolv.conf");
    std::fs::write(&path, "").expect("a file");
    let config = Forward { to: vec![Upstream::ResolvConf(path)], ..forward(&[]) };
    let Err(error) = Route::start(&config, 1232, Arc::default(), Arc::default()) else {
        panic!("there is nobody to ask");
    };
    assert!(error.to_string().contains("resolv.conf"), "{error}");
}

#[tokio::test]
async fn a_dropped_route_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("resolv.conf");
    std::fs::write(&path, "nameserver 127.0.0.11\n").expect("a file");
    let silent = Fake::silent().await;
    let mut config = forward(&[silent.address]);
    config.to.push(Upstream::ResolvConf(path));
    let route = start(&config);
    assert_failed(&ask_shortly(&route).await, Failure::Silent);
    let (route_left, care_left) = (Arc::downgrade(&route), Arc::downgrade(&route.makings.care));
    drop(route);
    eventually(|| route_left.strong_count() == 0 && care_left.strong_count() == 0).await;
}
