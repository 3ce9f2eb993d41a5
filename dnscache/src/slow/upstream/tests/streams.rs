//! Over TCP and TLS: many questions on one connection, and connections that end.

use std::collections::HashSet;
use std::path::Path;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::*;
use crate::config::Tls;

/// A TCP upstream that treats each connection as `serve` says; counts them.
pub(super) async fn listen<F>(
    serve: impl Fn(TcpStream, usize) -> F + Send + 'static,
) -> (SocketAddr, Arc<AtomicUsize>, JoinSet<()>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let address = listener.local_addr().expect("an address");
    let accepted = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&accepted);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(serve(stream, counter.fetch_add(1, Ordering::Relaxed)));
        }
    });
    (address, accepted, tasks)
}

/// Reads `count` queries.
async fn read_queries(stream: &mut TcpStream, count: usize) -> Vec<Vec<u8>> {
    let mut queries = Vec::new();
    while queries.len() < count {
        queries.extend(read_message(stream).await);
    }
    queries
}

pub(super) async fn answer_all(stream: &mut TcpStream) {
    while let Some(query) = read_message(stream).await {
        write_message(stream, &answer(&query, query[13])).await;
    }
}

fn names(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|index| {
        format!("{}.example.org", char::from(b'a' + u8::try_from(index).expect("a letter")))
    })
}

/// Asks `count` questions at once; each must get the answer to its own name.
async fn ask_at_once(route: &Arc<Route>, count: usize) {
    let mut questions = JoinSet::new();
    for name in names(count) {
        let route = Arc::clone(route);
        questions
            .spawn(async move { (name.as_bytes()[0], last_octet(&ask_tcp(&route, &name).await)) });
    }
    for (expected, octet) in questions.join_all().await {
        assert_eq!(octet, expected);
    }
}

#[tokio::test]
async fn many_questions_share_a_connection_and_are_answered_out_of_order() {
    let (address, accepted, _tasks) = listen(|mut stream, _| async move {
        for query in read_queries(&mut stream, 20).await.iter().rev() {
            write_message(&mut stream, &answer(query, query[13])).await;
        }
        answer_all(&mut stream).await;
    })
    .await;
    let counts = Arc::new(UpstreamCounts::default());
    let route = Route::start(&forward(&[address]), 1232, Arc::default(), Arc::clone(&counts))
        .expect("a route");
    ask_at_once(&route, 20).await;
    assert_eq!(last_octet(&ask_tcp(&route, "z.example.org").await), b'z');
    assert_eq!(accepted.load(Ordering::Relaxed), 1);
    let connections = &counts.snapshot().upstreams[0].connections;
    assert_eq!((connections[0].hits, connections[0].misses), (1, 20));
}

#[tokio::test]
async fn questions_on_a_connection_that_ends_are_sent_again_on_a_new_one() {
    let (address, accepted, _tasks) = listen(|mut stream, number| async move {
        if number > 0 {
            return answer_all(&mut stream).await;
        }
        let queries = read_queries(&mut stream, 1).await;
        write_message(&mut stream, &answer(&queries[0], queries[0][13])).await;
        for query in &read_queries(&mut stream, 10).await[..3] {
            write_message(&mut stream, &answer(query, query[13])).await;
        }
        stream.set_zero_linger().expect("a reset");
    })
    .await;
    let route = start(&forward(&[address]));
    assert_eq!(last_octet(&ask_tcp(&route, "z.example.org").await), b'z');
    let start_at = Instant::now();
    ask_at_once(&route, 10).await;
    assert!(start_at.elapsed() < Duration::from_millis(500));
    assert_eq!(accepted.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn an_upstream_that_closes_every_connection_is_tried_three_times() {
    let (address, accepted, _tasks) = listen(|mut stream, _| async move {
        read_message(&mut stream).await;
    })
    .await;
    let start_at = Instant::now();
    let config = Forward { health_check: None, ..forward(&[address]) };
    assert_failed(&ask_tcp(&start(&config), "www.example.org").await, Failure::Silent);
    assert!(start_at.elapsed() < Duration::from_secs(2));
    assert_eq!(accepted.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_expire_and_opened_again() {
    let (address, accepted, _tasks) =
        listen(|mut stream, _| async move { answer_all(&mut stream).await }).await;
    let ended = Arc::new(AtomicUsize::new(0));
    let noted = Arc::clone(&ended);
    let (other, _, _tasks_too) = listen(move |mut stream, _| {
        let noted = Arc::clone(&noted);
        async move {
            answer_all(&mut stream).await;
            noted.fetch_add(1, Ordering::Relaxed);
        }
    })
    .await;
    for (address, is_noted) in [(address, false), (other, true)] {
        let route = start(&Forward { expire: Duration::from_millis(150), ..forward(&[address]) });
        assert_eq!(last_octet(&ask_tcp(&route, "a.example.org").await), b'a');
        if is_noted {
            eventually(|| ended.load(Ordering::Relaxed) == 1).await;
        } else {
            sleep(Duration::from_millis(60)).await;
        }
        assert_eq!(last_octet(&ask_tcp(&route, "b.example.org").await), b'b');
    }
    assert_eq!(accepted.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_connection_to_a_peer_that_vanished_is_given_up() {
    let (address, accepted, _tasks) = listen(|mut stream, number| async move {
        if number > 0 {
            return answer_all(&mut stream).await;
        }
        let queries = read_queries(&mut stream, 1).await;
        write_message(&mut stream, &answer(&queries[0], queries[0][13])).await;
        sleep(Duration::from_secs(30)).await;
    })
    .await;
    let route = start(&Forward { health_check: None, ..forward(&[address]) });
    assert_eq!(last_octet(&ask_tcp(&route, "a.example.org").await), b'a');
    let start_at = Instant::now();
    assert_eq!(last_octet(&ask_tcp(&route, "b.example.org").await), b'b');
    assert!(start_at.elapsed() < Duration::from_millis(1400), "{:?}", start_at.elapsed());
    assert_eq!(accepted.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_foreign_question_on_a_stream_is_dropped_and_the_right_one_awaited() {
    let fake = Fake::start(|seen, _| {
        vec![
            changed(answer(&seen.query, 66), |forged| forged[13] = b'x'),
            changed(answer(&seen.query, 67), |forged| forged[2] &= 0x7f),
            vec![1, 2, 3],
            answer(&seen.query, 1),
        ]
    })
    .await;
    let counts = Arc::new(UpstreamCounts::default());
    let route = Route::start(&forward(&[fake.address]), 1232, Arc::default(), Arc::clone(&counts))
        .expect("a route");
    assert_eq!(last_octet(&ask_tcp(&route, "www.example.org").await), 1);
    assert_eq!(counts.snapshot().upstreams[0].dropped.map(|(_, count)| count), [1, 0, 1, 0, 0, 1]);
}

#[tokio::test]
async fn a_stream_reply_that_cannot_be_parsed_ends_the_try_at_once() {
    let broken =
        Fake::start(|seen, _| vec![changed(answer(&seen.query, 66), |reply| reply[7] = 200)]).await;
    let start_at = Instant::now();
    assert_failed(
        &ask_tcp(&start(&forward(&[broken.address])), "www.example.org").await,
        Failure::Broken,
    );
    assert!(start_at.elapsed() < Duration::from_millis(500));
}

#[tokio::test]
async fn more_questions_than_a_connection_takes_open_another() {
    let fake = Fake::good(1).await;
    let route = start(&forward(&[fake.address]));
    let mut questions = JoinSet::new();
    for index in 0..1000 {
        let route = Arc::clone(&route);
        questions.spawn(async move {
            last_octet(&ask_tcp(&route, &format!("n{index}.example.org")).await)
        });
    }
    assert!(questions.join_all().await.iter().all(|&octet| octet == 1));
    let connections: HashSet<_> = fake.seen().iter().map(|seen| seen.source.port()).collect();
    assert!((2..=8).contains(&connections.len()), "{} connections", connections.len());
}

/// A TLS upstream with a certificate for `dns.example` that is its own authority, written to
/// `authority`. Notes the server names clients ask for.
async fn tls_upstream(
    authority: &Path,
) -> (SocketAddr, Arc<Mutex<Vec<Option<String>>>>, JoinSet<()>) {
    let made =
        rcgen::generate_simple_self_signed(vec!["dns.example".to_owned()]).expect("a certificate");
    std::fs::write(authority, made.cert.pem()).expect("a file");
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a configuration");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let names = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&names);
    let (address, _, tasks) = listen(move |stream, _| {
        let (acceptor, noted) = (acceptor.clone(), Arc::clone(&noted));
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                return;
            };
            noted.lock().expect("a list").push(stream.get_ref().1.server_name().map(str::to_owned));
            while let Some(query) = read_message(&mut stream).await {
                write_message(&mut stream, &answer(&query, query[13])).await;
            }
        }
    })
    .await;
    (address, names, tasks)
}

fn over_tls(address: SocketAddr, authority: &Path, name: Option<&str>) -> Forward {
    Forward {
        to: vec![Upstream::Address { address, tls: true, server_name: None }],
        tls: Some(Tls { client_certificate: None, authority: Some(authority.to_owned()) }),
        tls_server_name: name.map(str::to_owned),
        health_check: None,
        ..forward(&[])
    }
}

#[tokio::test]
async fn tls_questions_share_a_connection_to_a_proven_upstream() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = folder.path().join("authority.pem");
    let (address, names, _tasks) = tls_upstream(&authority).await;
    let route = start(&over_tls(address, &authority, Some("dns.example")));
    ask_at_once(&route, 10).await;
    assert_eq!(last_octet(&ask(&route, "q.example.org").await), b'q');
    assert_eq!(*names.lock().expect("a list"), [Some("dns.example".to_owned())]);
}

#[tokio::test]
async fn an_upstream_that_cannot_prove_its_name_is_not_believed() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = folder.path().join("authority.pem");
    let (address, names, _tasks) = tls_upstream(&authority).await;
    let other = folder.path().join("other.pem");
    let stranger =
        rcgen::generate_simple_self_signed(vec!["dns.example".to_owned()]).expect("a certificate");
    std::fs::write(&other, stranger.cert.pem()).expect("a file");
    for config in [
        over_tls(address, &authority, Some("other.example")),
        over_tls(address, &authority, None),
        over_tls(address, &other, Some("dns.example")),
    ] {
        let start_at = Instant::now();
        assert_failed(&ask(&start(&config), "www.example.org").await, Failure::Silent);
        assert!(start_at.elapsed() < Duration::from_secs(3));
    }
    assert!(names.lock().expect("a list").is_empty());
}
