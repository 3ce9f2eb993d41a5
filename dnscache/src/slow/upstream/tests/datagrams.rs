//! Over UDP: forgeries, truncation, EDNS.

use std::collections::HashSet;

use super::*;
use crate::slow::hickory::Misfit;

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

#[tokio::test]
async fn every_question_has_its_own_port_and_id() {
    let fake = Fake::good(1).await;
    let route = start(&forward(&[fake.address]));
    for _ in 0..64 {
        ask(&route, "www.example.org").await;
    }
    let seen = fake.seen();
    let ports: HashSet<_> = seen.iter().map(|seen| seen.source.port()).collect();
    let ids: HashSet<_> = seen.iter().map(|seen| [seen.query[0], seen.query[1]]).collect();
    assert!(ports.len() > 60 && ids.len() > 60, "{} ports, {} IDs", ports.len(), ids.len());
    assert!(ports.iter().any(|&port| port < 32_768), "only the kernel's ephemeral ports");
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
