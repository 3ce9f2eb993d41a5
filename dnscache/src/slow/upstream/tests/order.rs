//! Whom a question goes to, when, and how often.

use super::*;

#[tokio::test]
async fn the_second_upstream_is_asked_within_a_second_of_silence() {
    let (silent, good) = (Fake::silent().await, Fake::good(2).await);
    let start_at = Instant::now();
    assert_eq!(
        last_octet(
            &ask(&start(&forward(&[silent.address, good.address])), "www.example.org").await
        ),
        2
    );
    let elapsed = start_at.elapsed();
    assert!(
        elapsed > Duration::from_millis(750) && elapsed < Duration::from_millis(1000),
        "{elapsed:?}"
    );
}

#[tokio::test]
async fn a_late_answer_of_the_first_upstream_still_counts() {
    let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await.expect("a socket"));
    let address = socket.local_addr().expect("an address");
    let late = tokio::spawn(async move {
        let mut buffer = [0; 512];
        let (len, source) = socket.recv_from(&mut buffer).await.expect("a query");
        sleep(Duration::from_millis(1100)).await;
        socket.send_to(&answer(&buffer[..len], 1), source).await.expect("sent");
    });
    let silent = Fake::silent().await;
    assert_eq!(
        last_octet(&ask(&start(&forward(&[address, silent.address])), "www.example.org").await),
        1
    );
    assert_eq!(silent.count(), 1);
    late.await.expect("the late answer was sent");
}

#[tokio::test]
async fn an_upstream_that_fails_is_not_asked_again_and_the_next_one_is_at_once() {
    for code in [2, 5, 4] {
        let (failing, good) = (Fake::failing(code).await, Fake::good(2).await);
        let start_at = Instant::now();
        let route = start(&forward(&[failing.address, good.address]));
        assert_eq!(last_octet(&ask(&route, "www.example.org").await), 2);
        assert!(start_at.elapsed() < Duration::from_millis(500));
        let (alone, expected) =
            (start(&forward(&[failing.address])), if code == 4 { 4 } else { 2 });
        assert_failed(&ask(&alone, "www.example.org").await, Failure::Answered(code));
        assert_eq!(failing.count(), expected, "code {code}");
    }
}

#[tokio::test]
async fn a_silent_upstream_is_asked_three_times_and_the_client_gets_word_within_five_seconds() {
    let silent = Fake::silent().await;
    let config = Forward { health_check: None, ..forward(&[silent.address]) };
    let start_at = Instant::now();
    assert_failed(&ask(&start(&config), "www.example.org").await, Failure::Silent);
    assert!(start_at.elapsed() < Duration::from_secs(5));
    let after: Vec<_> =
        silent.seen().iter().map(|seen| (seen.at - start_at).as_millis() / 250).collect();
    assert_eq!(after, [0, 4, 10]);
}

#[tokio::test]
async fn two_silent_upstreams_take_turns() {
    let (one, two) = (Fake::silent().await, Fake::silent().await);
    let config = Forward { health_check: None, ..forward(&[one.address, two.address]) };
    assert_failed(&ask(&start(&config), "www.example.org").await, Failure::Silent);
    assert_eq!((one.count(), two.count()), (3, 2));
}

#[tokio::test]
async fn a_refused_port_is_known_at_once_and_tried_again_when_it_may_be_back() {
    let closed =
        UdpSocket::bind("127.0.0.1:0").await.expect("a socket").local_addr().expect("an address");
    let good = Fake::good(2).await;
    let start_at = Instant::now();
    assert_eq!(
        last_octet(&ask(&start(&forward(&[closed, good.address])), "www.example.org").await),
        2
    );
    assert!(start_at.elapsed() < Duration::from_millis(200));
    for transport in [Transport::Udp, Transport::Tcp] {
        let start_at = Instant::now();
        let told =
            start(&forward(&[closed])).ask(&key("www.example.org"), transport, deadline()).await;
        assert_failed(&told, Failure::Silent);
        let took = start_at.elapsed();
        assert!((Duration::from_secs(1)..Duration::from_secs(4)).contains(&took), "{took:?}");
    }
}

#[tokio::test]
async fn max_attempts_limits_tries_at_all_upstreams_together() {
    let fakes = [Fake::failing(2).await, Fake::failing(5).await, Fake::good(3).await];
    let config = Forward { max_attempts: 2, ..forward(&fakes.each_ref().map(|fake| fake.address)) };
    assert_failed(&ask(&start(&config), "www.example.org").await, Failure::Answered(5));
    assert_eq!(fakes.map(|fake| fake.count()), [1, 1, 0]);
}

#[tokio::test]
async fn questions_over_max_concurrent_are_refused_and_counted() {
    let silent = Fake::silent().await;
    let counts = Arc::new(UpstreamCounts::default());
    let config = Forward { max_concurrent: 2, ..forward(&[silent.address]) };
    let route = Route::start(&config, 1232, Arc::default(), Arc::clone(&counts)).expect("a route");
    let soon = || Instant::now() + Duration::from_millis(300);
    let names = ["a.example", "b.example", "c.example"].map(key);
    let told = tokio::join!(
        route.ask(&names[0], Transport::Udp, soon()),
        route.ask(&names[1], Transport::Udp, soon()),
        route.ask(&names[2], Transport::Udp, soon()),
    );
    assert_failed(&told.0, Failure::Silent);
    assert_failed(&told.1, Failure::Silent);
    assert_failed(&told.2, Failure::Overloaded);
    assert_eq!(counts.snapshot().max_concurrent_rejects, 1);
    assert_failed(&route.ask(&names[2], Transport::Udp, soon()).await, Failure::Silent);
}

#[tokio::test]
async fn round_robin_and_sequential_share_questions_as_they_say() {
    let fakes = [Fake::good(1).await, Fake::good(2).await];
    let config = forward(&fakes.each_ref().map(|fake| fake.address));
    for (policy, expected) in
        [(Policy::Sequential, [1, 1, 1, 1]), (Policy::RoundRobin, [1, 2, 1, 2])]
    {
        let route = start(&Forward { policy, ..config.clone() });
        for octet in expected {
            assert_eq!(last_octet(&ask(&route, "www.example.org").await), octet);
        }
    }
}

#[tokio::test]
async fn failover_codes_try_the_next_upstream_and_are_kept_if_none_is_better() {
    let (absent, good) = (Fake::failing(3).await, Fake::good(2).await);
    let failover = |to: &[&Fake]| {
        let to: Vec<_> = to.iter().map(|fake| fake.address).collect();
        start(&Forward { failover: vec![3], ..forward(&to) })
    };
    assert_eq!(last_octet(&ask(&failover(&[&absent, &good]), "www.example.org").await), 2);
    let Told::Answer(digest) = ask(&failover(&[&absent]), "www.example.org").await else {
        panic!("NXDOMAIN is an answer");
    };
    assert_eq!(digest.rcode, 3);
    let refusing = Fake::failing(5).await;
    assert!(matches!(
        ask(&failover(&[&absent, &refusing]), "www.example.org").await,
        Told::Answer(_)
    ));
}

#[tokio::test]
async fn force_tcp_and_prefer_udp_choose_the_carrier() {
    for (transport, client, expected) in [
        (TransportPolicy::AsClient, Transport::Udp, Via::Udp),
        (TransportPolicy::AsClient, Transport::Tcp, Via::Tcp),
        (TransportPolicy::ForceTcp, Transport::Udp, Via::Tcp),
        (TransportPolicy::PreferUdp, Transport::Tcp, Via::Udp),
    ] {
        let fake = Fake::good(1).await;
        let route = start(&Forward { transport, ..forward(&[fake.address]) });
        let told = route.ask(&key("www.example.org"), client, deadline()).await;
        assert_eq!(last_octet(&told), 1);
        assert_eq!(fake.seen()[0].via, expected);
    }
}
