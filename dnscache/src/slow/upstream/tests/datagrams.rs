//! Over UDP: forgeries, truncation, EDNS.

use std::collections::HashSet;

use super::*;
use crate::slow::exchange::Misfit;

/// A forgery followed by the right reply: the right one is the answer, the forgery is counted.
async fn forgery(expected: Misfit, change: impl Fn(&mut Vec<u8>) + Send + Sync + 'static) {
    let fake = Fake::start(move |seen, _| {
        vec![changed(answer(&seen.query, 66), |forged| change(forged)), answer(&seen.query, 1)]
    })
    .await;
    let counts = Arc::new(UpstreamCounts::default());
    let route = Route::start(&forward(&[fake.address]), 1232, Arc::default(), Arc::clone(&counts))
        .expect("a route");
    assert_eq!(last_octet(&ask(&route, "www.example.org").await), 1, "{expected:?}");
    assert_eq!(fake.count(), 1, "{expected:?} ended the wait");
    let dropped = counts.snapshot().upstreams[0].dropped;
    assert_eq!(dropped[expected as usize], (expected.label(), 1));
    assert_eq!(dropped.iter().map(|(_, count)| count).sum::<u64>(), 1);
}

#[tokio::test]
async fn a_forged_reply_is_counted_and_never_ends_the_wait() {
    let type_at = 12 + "www.example.org".len() + 2;
    forgery(Misfit::Short, |forged| forged.truncate(11)).await;
    forgery(Misfit::Short, Vec::clear).await;
    forgery(Misfit::Id, |forged| forged[0] ^= 1).await;
    forgery(Misfit::Id, |forged| forged[1] ^= 0x80).await;
    forgery(Misfit::NotResponse, |forged| forged[2] &= 0x7f).await;
    forgery(Misfit::Opcode, |forged| forged[2] |= 0x20).await;
    forgery(Misfit::QuestionCount, |forged| forged[5] = 0).await;
    forgery(Misfit::QuestionCount, |forged| forged[5] = 2).await;
    forgery(Misfit::Question, |forged| forged[13] = b'x').await;
    forgery(Misfit::Question, move |forged| forged[type_at] = 28).await;
    forgery(Misfit::Question, move |forged| forged[type_at + 2] = 3).await;
    forgery(Misfit::Question, |forged| forged.truncate(20)).await;
}

#[tokio::test]
async fn the_case_of_the_question_does_not_matter() {
    let fake =
        Fake::start(|seen, _| vec![changed(answer(&seen.query, 1), |reply| reply[13] = b'W')])
            .await;
    assert_eq!(last_octet(&ask(&start(&forward(&[fake.address])), "www.example.org").await), 1);
}

#[tokio::test]
async fn a_stranger_with_the_right_id_is_not_heard() {
    let stranger = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let fake = Fake::start(move |seen, before| {
        stranger.send_to(&answer(&seen.query, 66), seen.source).expect("sent");
        if before == 0 { Vec::new() } else { vec![answer(&seen.query, 1)] }
    })
    .await;
    let config = Forward { health_check: None, ..forward(&[fake.address]) };
    assert_eq!(last_octet(&ask(&start(&config), "www.example.org").await), 1);
    assert_eq!(fake.count(), 2);
}

fn ports(seen: &[Seen]) -> HashSet<u16> {
    seen.iter().map(|seen| seen.source.port()).collect()
}

#[tokio::test]
async fn questions_leave_from_random_ports_with_random_ids() {
    let fake = Fake::good(1).await;
    let route = start(&forward(&[fake.address]));
    for _ in 0..64 {
        ask(&route, "www.example.org").await;
    }
    let seen = fake.seen();
    let ids: HashSet<_> = seen.iter().map(|seen| [seen.query[0], seen.query[1]]).collect();
    assert!(ids.len() > 60, "{} IDs", ids.len());
    // The chance that one of eight is not drawn in 64 draws is one in 640.
    assert!(ports(&seen).len() >= 7, "{:?}", ports(&seen));
    let others = start(&forward(&[fake.address]));
    for _ in 0..64 {
        ask(&others, "www.example.org").await;
    }
    let all = ports(&fake.seen());
    assert!(all.len() > 12, "the second route draws ports of its own: {all:?}");
    assert!(all.iter().any(|&port| port < 32_768), "only the kernel's ephemeral ports");
}

#[tokio::test]
async fn a_port_is_given_up_after_32_questions() {
    let fake = Fake::good(1).await;
    let route = start(&forward(&[fake.address]));
    for _ in 0..1_000 {
        ask(&route, "www.example.org").await;
    }
    let seen = fake.seen();
    let mut by_port = std::collections::HashMap::new();
    seen.iter().for_each(|seen| *by_port.entry(seen.source.port()).or_insert(0) += 1);
    assert!(by_port.values().all(|&questions| questions <= 32), "{by_port:?}");
}

#[tokio::test]
async fn a_port_is_given_up_after_250_milliseconds() {
    let fake = Fake::good(1).await;
    let route = start(&forward(&[fake.address]));
    let mut earlier = HashSet::new();
    for _ in 0..2 {
        let before = fake.count();
        for _ in 0..32 {
            ask(&route, "www.example.org").await;
        }
        let now = ports(&fake.seen()[before..]);
        assert!(earlier.is_disjoint(&now), "{earlier:?} and {now:?}");
        earlier = now;
        sleep(Duration::from_millis(300)).await;
    }
}

/// Answers all questions but the first; when `others` were answered, answers the first one too:
/// wrongly to the port of the last, then rightly to its own.
async fn hold_the_first(socket: UdpSocket, others: usize) {
    let mut buffer = [0; 512];
    let (len, first_source) = socket.recv_from(&mut buffer).await.expect("a question");
    let first = buffer[..len].to_vec();
    let mut last_source = first_source;
    for _ in 0..others {
        let (len, source) = socket.recv_from(&mut buffer).await.expect("a question");
        socket.send_to(&answer(&buffer[..len], 1), source).await.expect("sent");
        last_source = source;
    }
    assert_ne!(first_source, last_source, "others left from ports of their own");
    socket.send_to(&answer(&first, 66), last_source).await.expect("sent");
    sleep(Duration::from_millis(20)).await;
    socket.send_to(&answer(&first, 7), first_source).await.expect("sent");
}

#[tokio::test]
async fn a_port_given_up_delivers_what_is_outstanding_and_no_other_port_does() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let address = socket.local_addr().expect("an address");
    let server = tokio::spawn(hold_the_first(socket, 600));
    let counts = Arc::new(UpstreamCounts::default());
    let route = Route::start(&forward(&[address]), 1232, Arc::default(), Arc::clone(&counts))
        .expect("a route");
    let name = key("first.example.org");
    let first = route.ask(&name, Transport::Udp, deadline());
    let others = async {
        for _ in 0..600 {
            assert_eq!(last_octet(&ask(&route, "www.example.org").await), 1);
        }
    };
    let (told, ()) = tokio::join!(first, others);
    assert_eq!(last_octet(&told), 7);
    let dropped = counts.snapshot().upstreams[0].dropped;
    assert!(dropped.iter().map(|(_, count)| count).sum::<u64>() <= 1, "{dropped:?}");
    server.await.expect("all sent");
}

#[tokio::test]
async fn a_truncated_reply_is_asked_again_over_tcp() {
    let fake = Fake::start(|seen, _| match seen.via {
        Via::Udp => vec![changed(answer(&seen.query, 66), |reply| reply[2] |= 2)],
        Via::Tcp => vec![answer(&seen.query, 1)],
    })
    .await;
    let start_at = Instant::now();
    assert_eq!(last_octet(&ask(&start(&forward(&[fake.address])), "www.example.org").await), 1);
    let via: Vec<_> = fake.seen().iter().map(|seen| seen.via).collect();
    assert_eq!(via, [Via::Udp, Via::Tcp]);
    assert!(start_at.elapsed() < Duration::from_millis(500));
}

#[tokio::test]
async fn a_reply_longer_than_offered_is_asked_again_over_tcp() {
    let fake = Fake::start(|seen, _| match seen.via {
        Via::Udp => {
            let mut long = answer(&seen.query, 66);
            for _ in 0..90 {
                long.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 66]);
            }
            long[7] = 91;
            vec![long]
        }
        Via::Tcp => vec![answer(&seen.query, 1)],
    })
    .await;
    assert_eq!(last_octet(&ask(&start(&forward(&[fake.address])), "www.example.org").await), 1);
}

#[tokio::test]
async fn a_truncated_reply_is_never_the_answer() {
    let truncated = |seen: &Seen, _| vec![changed(answer(&seen.query, 66), |reply| reply[2] |= 2)];
    let fake = Fake::start(truncated).await;
    assert_failed(
        &ask(&start(&forward(&[fake.address])), "www.example.org").await,
        Failure::Broken,
    );
    let other = Fake::good(2).await;
    assert_eq!(
        last_octet(&ask(&start(&forward(&[fake.address, other.address])), "www.example.org").await),
        2
    );
}

#[tokio::test]
async fn without_tcp_a_truncated_reply_sends_the_question_to_the_next_upstream() {
    let udp = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let address = udp.local_addr().expect("an address");
    let truncated: Script =
        Arc::new(|seen, _| vec![changed(answer(&seen.query, 66), |reply| reply[2] |= 2)]);
    let server = tokio::spawn(serve_udp(udp, Arc::default(), truncated));
    let other = Fake::good(2).await;
    let start_at = Instant::now();
    assert_eq!(
        last_octet(&ask(&start(&forward(&[address, other.address])), "www.example.org").await),
        2
    );
    assert!(start_at.elapsed() < Duration::from_millis(500));
    server.abort();
}

#[tokio::test]
async fn an_upstream_that_does_not_understand_edns_is_asked_without_and_remembered() {
    for code in [1, 4] {
        let fake = Fake::start(move |seen, _| match seen.has_edns() {
            true => vec![reply(&seen.query, code)],
            false => vec![answer(&seen.query, 1)],
        })
        .await;
        let route = start(&forward(&[fake.address]));
        assert_eq!(last_octet(&ask(&route, "www.example.org").await), 1);
        assert_eq!(last_octet(&ask(&route, "www.example.net").await), 1);
        let edns: Vec<_> = fake.seen().iter().map(Seen::has_edns).collect();
        assert_eq!(edns, [true, false, false]);
    }
}

#[tokio::test]
async fn badvers_is_answered_by_a_query_without_edns() {
    let fake = Fake::start(|seen, _| match seen.has_edns() {
        true => vec![changed(reply(&seen.query, 0), |badvers| {
            badvers[11] = 1;
            badvers.extend_from_slice(&[0, 0, 41, 4, 208, 1, 0, 0, 0, 0, 0]);
        })],
        false => vec![answer(&seen.query, 1)],
    })
    .await;
    assert_eq!(last_octet(&ask(&start(&forward(&[fake.address])), "www.example.org").await), 1);
}

#[tokio::test]
async fn formerr_without_the_question_makes_the_next_try_leave_edns_away() {
    let fake = Fake::start(|seen, _| match seen.has_edns() {
        true => vec![changed(reply(&seen.query, 1), |short| {
            short.truncate(12);
            short[5] = 0;
        })],
        false => vec![answer(&seen.query, 1)],
    })
    .await;
    let route = start(&Forward { health_check: None, ..forward(&[fake.address]) });
    let start_at = Instant::now();
    assert_eq!(last_octet(&ask(&route, "www.example.org").await), 1);
    assert!(start_at.elapsed() < Duration::from_millis(1500));
    assert_eq!(last_octet(&ask(&route, "www.example.net").await), 1);
    assert_eq!(fake.count(), 3);
    assert_eq!(last_octet(&ask_tcp(&start(&forward(&[fake.address])), "www.example.org").await), 1);
}

#[tokio::test]
async fn formerr_without_edns_too_is_the_answer_of_that_upstream() {
    let fake = Fake::failing(1).await;
    assert_failed(
        &ask(&start(&forward(&[fake.address])), "www.example.org").await,
        Failure::Answered(1),
    );
    let edns: Vec<_> = fake.seen().iter().map(Seen::has_edns).collect();
    assert_eq!(edns, [true, false]);
}

#[tokio::test]
async fn a_broken_reply_sends_the_question_to_the_next_upstream() {
    let broken =
        Fake::start(|seen, _| vec![changed(answer(&seen.query, 66), |reply| reply[7] = 200)]).await;
    let good = Fake::good(2).await;
    let start_at = Instant::now();
    assert_eq!(
        last_octet(
            &ask(&start(&forward(&[broken.address, good.address])), "www.example.org").await
        ),
        2
    );
    assert!(start_at.elapsed() < Duration::from_millis(500));
    assert_failed(
        &ask(&start(&forward(&[broken.address])), "www.example.org").await,
        Failure::Broken,
    );
    assert_eq!(broken.count(), 2);
}
