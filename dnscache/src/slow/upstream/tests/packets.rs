//! Upstreams that take only so many packets.

use super::*;
use crate::config::PacketLimit;
use crate::slow::journey::Journey;

const LIMIT: PacketLimit = PacketLimit::PerSecond { packets: 20, reserve_percent: 50 };

/// Asks for a name, known or not.
async fn ask_as(route: &Arc<Route>, name: &str, is_known: bool) -> Told {
    let asking = Asking {
        client: Transport::Udp,
        deadline: Instant::now() + Duration::from_secs(5),
        holder: None,
        is_known,
        journey: Arc::<Journey>::default(),
    };
    let (sender, receiver) = oneshot::channel();
    route.ask_then(&key(name), asking, |told| {
        let _ = sender.send(told);
    });
    receiver.await.expect("told")
}

fn limited(fake: &Fake) -> Arc<Route> {
    start(&Forward { packets: LIMIT, health_check: None, ..forward(&[fake.address]) })
}

/// Upstreams beyond the first 64 share their numbers, and must not share one's limit.
#[tokio::test]
async fn a_limit_is_for_nobody_else() {
    let counts = Arc::new(UpstreamCounts::default());
    let _known: Vec<_> = (1..=64).map(|last| counts.peer(([10, 0, 0, last], 53).into())).collect();
    let fake = Fake::silent().await;
    let config = Forward { packets: LIMIT, health_check: None, ..forward(&[fake.address]) };
    let _route = Route::start(&config, 1232, Arc::default(), Arc::clone(&counts)).expect("a route");
    assert_eq!(counts.peer(([10, 9, 9, 9], 53).into()).packets.read(), None);
}

/// The most packets that arrived within a second.
fn busiest_second(fake: &Fake) -> usize {
    let seen = fake.seen();
    let within = |begin: Instant| {
        seen.iter().filter(move |seen| seen.at >= begin && seen.at - begin < Duration::from_secs(1))
    };
    seen.iter().map(|first| within(first.at).count()).max().unwrap_or(0)
}

#[tokio::test]
async fn strangers_wait_for_a_moment_and_are_turned_away_while_known_names_go_on() {
    let fake = Fake::good(1).await;
    let route = limited(&fake);
    let mut strangers = JoinSet::new();
    for number in 0..60 {
        let route = Arc::clone(&route);
        strangers.spawn(async move { ask_as(&route, &format!("s{number}.example"), false).await });
    }
    // Half of the packets are kept for those.
    sleep(Duration::from_millis(100)).await;
    for number in 0..5 {
        let began = Instant::now();
        let told = ask_as(&route, &format!("k{number}.example"), true).await;
        assert!(matches!(told, Told::Answer(_)), "{told:?}");
        assert!(began.elapsed() < Duration::from_millis(900), "{:?}", began.elapsed());
    }
    let told = strangers.join_all().await;
    let answered = told.iter().filter(|told| matches!(told, Told::Answer(_))).count();
    let refused = told.iter().filter(|told| matches!(told, Told::Failed(Failure::Exhausted)));
    assert!((10..=30).contains(&answered), "{answered} of 60 answered");
    assert_eq!(refused.count() + answered, 60);
    // Arrivals are noted a little later than they were sent.
    assert!(busiest_second(&fake) <= 22, "{} packets", busiest_second(&fake));
}

#[tokio::test]
async fn a_second_upstream_takes_what_the_first_may_not() {
    let limited = Fake::good(1).await;
    // The limit is for an address, whatever the port, so the other one is at another address.
    let other = UdpSocket::bind("127.0.0.2:0").await.expect("a port");
    let addresses = [limited.address, other.local_addr().expect("an address")];
    let seen = Arc::default();
    let script: Script = Arc::new(|seen: &Seen, _| vec![answer(&seen.query, 3)]);
    let mut serving = JoinSet::new();
    serving.spawn(serve_udp(other, Arc::clone(&seen), script));
    let route = start(&Forward { health_check: None, ..forward(&addresses) });
    let counts = route.makings.counts.peer(limited.address);
    counts.packets.limit(LIMIT);
    for number in 0..40 {
        let began = Instant::now();
        let told = ask_as(&route, &format!("s{number}.example"), false).await;
        assert!(matches!(told, Told::Answer(_)), "{told:?}");
        assert!(began.elapsed() < Duration::from_millis(700), "{:?}", began.elapsed());
    }
    assert!(limited.count() >= 10);
    assert_eq!(limited.count() + seen.lock().expect("a list").len(), 40);
}

#[tokio::test]
async fn forwards_to_one_address_share_its_limit() {
    let (one, other) = (Fake::good(1).await, Fake::good(2).await);
    let counts = Arc::<UpstreamCounts>::default();
    let start = |fake: &Fake, packets| {
        let config = Forward { packets, health_check: None, ..forward(&[fake.address]) };
        Route::start(&config, 1232, Arc::default(), Arc::clone(&counts)).expect("a route")
    };
    let (first, second) = (start(&one, PacketLimit::Known), start(&other, LIMIT));
    for route in [&first, &second] {
        for number in 0..5 {
            ask_as(route, &format!("s{number}.example"), false).await;
        }
    }
    let snapshot = counts.snapshot();
    assert_eq!(snapshot.packets.len(), 1);
    assert_eq!((snapshot.packets[0].1.sent, snapshot.packets[0].1.limit), (10, 20));
    counts.forget_packet_limits();
    assert!(counts.snapshot().packets.is_empty());
    second.limit_packets();
    first.limit_packets();
    assert_eq!(counts.snapshot().packets.len(), 1);
}
