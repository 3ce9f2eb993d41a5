//! Upstreams that come and go, connections that grow old, upstreams that grow slow.

use std::sync::atomic::AtomicUsize;

use super::streams::{answer_all, listen};
use super::*;

type Endpoints = Arc<[SocketAddr]>;

fn feed() -> (watch::Sender<Endpoints>, watch::Receiver<Endpoints>) {
    watch::channel(Arc::from([]))
}

#[tokio::test]
async fn endpoints_take_the_place_of_the_upstreams_and_give_it_back() {
    let (written, endpoint) = (Fake::good(1).await, Fake::good(2).await);
    let route = start(&forward(&[written.address]));
    let (sender, receiver) = feed();
    route.follow_endpoints(receiver);
    assert_eq!(last_octet(&ask(&route, "a.example").await), 1);
    sender.send(Arc::from([endpoint.address])).expect("a route");
    eventually(|| route.peers()[0].address == endpoint.address).await;
    assert_eq!(last_octet(&ask(&route, "b.example").await), 2);
    sender.send(Arc::from([])).expect("a route");
    eventually(|| route.peers()[0].address == written.address).await;
    assert_eq!(last_octet(&ask(&route, "c.example").await), 1);
}

#[tokio::test]
async fn a_question_gets_its_answer_from_an_upstream_that_left_meanwhile() {
    let (asked, noted) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (seen, ended) = (Arc::clone(&asked), Arc::clone(&noted));
    let (address, _, _tasks) = listen(move |mut stream, _| {
        let (seen, ended) = (Arc::clone(&seen), Arc::clone(&ended));
        async move {
            while let Some(query) = read_message(&mut stream).await {
                seen.fetch_add(1, Ordering::Relaxed);
                sleep(Duration::from_millis(300)).await;
                write_message(&mut stream, &answer(&query, 1)).await;
            }
            ended.fetch_add(1, Ordering::Relaxed);
        }
    })
    .await;
    let successor = Fake::good(2).await;
    let route = start(&forward(&[address]));
    let (sender, receiver) = feed();
    route.follow_endpoints(receiver);
    let waiting = tokio::spawn({
        let route = Arc::clone(&route);
        async move { ask_tcp(&route, "a.example").await }
    });
    eventually(|| asked.load(Ordering::Relaxed) == 1).await;
    sender.send(Arc::from([successor.address])).expect("a route");
    eventually(|| route.peers()[0].address == successor.address).await;
    assert_eq!(last_octet(&ask_tcp(&route, "b.example").await), 2);
    assert_eq!(last_octet(&waiting.await.expect("no panic")), 1);
    // Nothing keeps its connection any more.
    eventually(|| noted.load(Ordering::Relaxed) == 1).await;
}

#[tokio::test]
async fn a_question_at_a_silent_upstream_that_left_is_asked_at_its_successor() {
    for client in [Transport::Udp, Transport::Tcp] {
        let (silent, successor) = (Fake::silent().await, Fake::good(2).await);
        let route = start(&forward(&[silent.address]));
        let (sender, receiver) = feed();
        route.follow_endpoints(receiver);
        let began = Instant::now();
        let waiting = tokio::spawn({
            let route = Arc::clone(&route);
            async move { route.ask(&key("a.example"), client, deadline()).await }
        });
        eventually(|| silent.count() > 0).await;
        sender.send(Arc::from([successor.address])).expect("a route");
        assert_eq!(last_octet(&waiting.await.expect("no panic")), 2);
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    }
}

#[tokio::test]
async fn an_old_connection_is_replaced_before_it_is_left() {
    let (address, accepted, _tasks) =
        listen(|mut stream, _| async move { answer_all(&mut stream).await }).await;
    let counts = Arc::new(UpstreamCounts::default());
    let config = Forward { max_age: Some(Duration::from_millis(300)), ..forward(&[address]) };
    let route = Route::start(&config, 1232, Arc::default(), Arc::clone(&counts)).expect("a route");
    let began = Instant::now();
    while accepted.load(Ordering::Relaxed) < 4 {
        ask_tcp(&route, "a.example").await;
        assert!(began.elapsed() < Duration::from_secs(10), "it is never replaced");
        sleep(Duration::from_millis(5)).await;
    }
    let connections = &counts.snapshot().upstreams[0].connections;
    assert_eq!(connections[0].misses, 1, "only the first question waits for a handshake");
}

#[tokio::test]
async fn a_connection_without_an_age_stays() {
    let (address, accepted, _tasks) =
        listen(|mut stream, _| async move { answer_all(&mut stream).await }).await;
    let route = start(&Forward { max_age: Some(Duration::ZERO), ..forward(&[address]) });
    for _ in 0..20 {
        ask_tcp(&route, "a.example").await;
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(accepted.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_slow_upstream_is_asked_less_than_its_peer() {
    let slow = Arc::new(AtomicUsize::new(0));
    let asked = Arc::clone(&slow);
    let (address, _, _tasks) = listen(move |mut stream, _| {
        let asked = Arc::clone(&asked);
        async move {
            while let Some(query) = read_message(&mut stream).await {
                asked.fetch_add(1, Ordering::Relaxed);
                sleep(Duration::from_millis(150)).await;
                write_message(&mut stream, &answer(&query, 1)).await;
            }
        }
    })
    .await;
    let quick = Fake::good(2).await;
    let config = Forward { policy: Policy::Random, ..forward(&[address, quick.address]) };
    let route = start(&config);
    for _ in 0..100 {
        ask_tcp(&route, "a.example").await;
    }
    let asked = slow.load(Ordering::Relaxed);
    assert!((1..25).contains(&asked), "the slow one was asked {asked} times of a hundred");
}

#[tokio::test]
async fn a_route_is_silent_while_nobody_on_it_answers() {
    let (one, two) = (Fake::silent().await, Fake::silent().await);
    let health = Arc::new(RouteHealth::default());
    let config = Forward { health_check: None, ..forward(&[one.address, two.address]) };
    let route = Route::start(&config, 1232, Arc::clone(&health), Arc::default()).expect("a route");
    let waiting = tokio::spawn({
        let route = Arc::clone(&route);
        async move { ask(&route, "a.example").await }
    });
    eventually(|| two.count() > 0).await;
    assert!(!health.is_silent(), "the second may answer");
    eventually(|| health.is_silent()).await;
    let good = Fake::good(3).await;
    let (sender, receiver) = feed();
    route.follow_endpoints(receiver);
    sender.send(Arc::from([good.address])).expect("a route");
    eventually(|| !health.is_silent()).await;
    assert_eq!(last_octet(&waiting.await.expect("no panic")), 3);
}
