//! A connection against a client at every pace.

use tokio::net::TcpSocket;
use tokio::task::JoinHandle;

use super::*;
use crate::config::Timeouts;
use crate::engine::wire::header::{TCP_MESSAGE_MAX, rcode, rtype};
use crate::handoff::door;
use crate::slow::rehearsal;
use crate::slow::tcp::bind;

/// A client and the connection that serves it; the test is the other side of the door.
struct Scene {
    client: TcpStream,
    errands: mpsc::Receiver<Errand>,
    limits: Arc<TcpLimits>,
    stop: CancellationToken,
    ended: JoinHandle<Closed>,
}

async fn scene(door_capacity: usize) -> Scene {
    scene_at(door_capacity, Pace::default()).await
}

async fn scene_at(door_capacity: usize, pace: Pace) -> Scene {
    let listener = bind(([127, 0, 0, 1], 0).into()).expect("a port");
    let socket = TcpSocket::new_v4().expect("a socket");
    // Small, so that a client that does not read is noticed soon.
    socket.set_recv_buffer_size(4_096).expect("settable");
    socket.set_send_buffer_size(4_096).expect("settable");
    let address = listener.local_addr().expect("bound");
    let (client, accepted) = tokio::join!(socket.connect(address), listener.accept());
    let (stream, peer) = accepted.expect("a connection");
    let (door, errands) = door(door_capacity, Arc::default());
    let limits = Arc::new(TcpLimits::new(1, 1));
    let server = Server {
        id: ListenerId(0),
        address,
        plan: Arc::new(ArcSwap::new(rehearsal::plan(Duration::ZERO))),
        door,
        limits: Arc::clone(&limits),
        pace: Arc::new(pace),
        counts: Arc::default(),
        heirs: Arc::default(),
        now: rehearsal::now,
    };
    let stop = CancellationToken::new();
    let connection = Connection::new(stream, peer, Arc::new(server));
    Scene {
        client: client.expect("a connection"),
        errands,
        limits,
        stop: stop.clone(),
        ended: tokio::spawn(connection.run(stop)),
    }
}

impl Scene {
    async fn send(&mut self, message: &[u8]) {
        let sent = self.client.write_all(&framed(message)).await;
        sent.expect("a listening server");
    }

    async fn receive(&mut self) -> Vec<u8> {
        let len = in_time(self.client.read_u16()).await.expect("a length");
        let mut message = vec![0; len.into()];
        in_time(self.client.read_exact(&mut message)).await.expect("a message");
        message
    }

    async fn errand(&mut self) -> Waiting {
        let errand = in_time(self.errands.recv()).await.expect("an errand");
        errand.client.expect("a client")
    }

    /// Answers the next question at the door with its own ID and nothing else.
    async fn settle(&mut self) -> u16 {
        let client = self.errand().await;
        let id = client.packet[..2].to_vec();
        (client.reply)(&id);
        u16::from_be_bytes([id[0], id[1]])
    }

    async fn is_closed(&mut self) -> bool {
        matches!(in_time(self.client.read(&mut [0])).await, Ok(0) | Err(_))
    }

    async fn ended(self) -> Closed {
        let why = in_time(self.ended).await.expect("no panic");
        assert_eq!(self.limits.unsent(), 0, "nothing stays held");
        why
    }
}

/// What would never come fails the test instead of keeping it waiting.
async fn in_time<T>(event: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(60), event).await.expect("in time")
}

fn framed(message: &[u8]) -> Vec<u8> {
    let len = u16::try_from(message.len()).expect("a message");
    [&len.to_be_bytes(), message].concat()
}

/// A question that goes through the door.
fn miss(id: u16) -> Vec<u8> {
    rehearsal::query(id, "name.example.")
}

/// A question that is answered at once: ANY.
fn hit(id: u16) -> Vec<u8> {
    let mut query = miss(id);
    let at = query.len() - 3;
    query[at] = rtype::ANY as u8;
    query
}

fn id_of(message: &[u8]) -> u16 {
    u16::from_be_bytes([message[0], message[1]])
}

/// Lets everything that needs no time happen.
async fn let_it_happen() {
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn answers_come_as_they_are_ready() {
    let mut scene = scene(8).await;
    let queries = [framed(&miss(1)), framed(&hit(2)), framed(&miss(3))].concat();
    scene.client.write_all(&queries).await.expect("sent");
    assert_eq!(id_of(&scene.receive().await), 2);
    let first = scene.errand().await;
    assert_eq!(scene.settle().await, 3);
    assert_eq!(id_of(&scene.receive().await), 3);
    (first.reply)(&[0, 1]);
    assert_eq!(id_of(&scene.receive().await), 1);
}

#[tokio::test]
async fn a_query_may_come_octet_by_octet() {
    let mut scene = scene(8).await;
    for octet in framed(&hit(1)) {
        scene.client.write_all(&[octet]).await.expect("sent");
        tokio::task::yield_now().await;
    }
    assert_eq!(id_of(&scene.receive().await), 1);
}

#[tokio::test]
async fn the_longest_reply_passes_whole() {
    let mut scene = scene(8).await;
    scene.send(&miss(1)).await;
    let reply = vec![7; TCP_MESSAGE_MAX];
    (scene.errand().await.reply)(&reply);
    assert_eq!(scene.receive().await, reply);
}

#[tokio::test]
async fn questions_in_flight_are_bounded_and_the_rest_waits() {
    let mut scene = scene(1_000).await;
    let total = IN_FLIGHT_MAX as u16 + 2;
    for id in 0..total {
        scene.send(&miss(id)).await;
    }
    let mut held = Vec::new();
    for _ in 0..IN_FLIGHT_MAX {
        held.push(scene.errand().await);
    }
    let_it_happen().await;
    assert!(scene.errands.try_recv().is_err(), "reading has paused");
    drop(held.pop());
    assert_eq!(id_of(&scene.errand().await.packet), total - 2);
    assert_eq!(scene.settle().await, total - 1);
    assert_eq!(id_of(&scene.receive().await), total - 1);
}

#[tokio::test]
async fn a_full_door_is_servfail_at_once() {
    let mut scene = scene(1).await;
    scene.send(&miss(1)).await;
    scene.send(&miss(2)).await;
    let reply = scene.receive().await;
    assert_eq!((id_of(&reply), reply[3] & 0xf), (2, rcode::SERVFAIL));
    assert_eq!(scene.settle().await, 1);
}

#[tokio::test]
async fn garbage_ends_the_connection_after_what_was_asked_before() {
    let response = [&[0, 9, 0x80], &miss(9)[3..]].concat();
    for garbage in [&[][..], &[1, 2, 3], &response] {
        let mut scene = scene(8).await;
        scene.send(&miss(1)).await;
        scene.send(garbage).await;
        scene.send(&hit(2)).await;
        assert_eq!(scene.settle().await, 1);
        assert_eq!(id_of(&scene.receive().await), 1);
        assert!(scene.is_closed().await);
        drop(scene.client);
        assert_eq!(scene.ended.await.expect("no panic"), Closed::Garbage);
    }
}

#[tokio::test]
async fn a_client_that_has_asked_everything_gets_everything() {
    let mut scene = scene(8).await;
    scene.send(&miss(1)).await;
    scene.send(&hit(2)).await;
    scene.client.shutdown().await.expect("half closed");
    assert_eq!(id_of(&scene.receive().await), 2);
    assert_eq!(scene.settle().await, 1);
    assert_eq!(id_of(&scene.receive().await), 1);
    assert!(scene.is_closed().await);
    assert_eq!(scene.ended().await, Closed::Finished);
}

#[tokio::test]
async fn draining_answers_what_has_come_and_closes() {
    let mut scene = scene(8).await;
    scene.send(&miss(1)).await;
    let first = scene.errand().await;
    scene.send(&hit(2)).await;
    scene.stop.cancel();
    assert_eq!(id_of(&scene.receive().await), 2);
    (first.reply)(&[0, 1]);
    assert_eq!(id_of(&scene.receive().await), 1);
    assert!(scene.is_closed().await);
    drop(scene.client);
    assert_eq!(scene.ended.await.expect("no panic"), Closed::Finished);
}

#[tokio::test]
async fn draining_closes_idle_connections() {
    let mut scene = scene(8).await;
    scene.stop.cancel();
    assert!(scene.is_closed().await);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed() {
    let mut scene = scene(8).await;
    scene.send(&hit(1)).await;
    let_it_happen().await;
    let began = Instant::now();
    let why = scene.ended().await;
    assert_eq!((why, began.elapsed()), (Closed::Idle, Pace::default().times().idle));
}

#[tokio::test(start_paused = true)]
async fn timeouts_set_the_pace() {
    let timeouts = Timeouts {
        read: Some(Duration::from_secs(20)),
        write: None,
        idle: Some(Duration::from_secs(40)),
    };
    let mut scene = scene_at(8, Pace::new(timeouts)).await;
    scene.send(&hit(1)).await;
    let_it_happen().await;
    let began = Instant::now();
    assert_eq!((scene.ended().await, began.elapsed()), (Closed::Idle, Duration::from_secs(40)));
    let mut scene = scene_at(8, Pace::new(timeouts)).await;
    scene.client.write_all(&[0]).await.expect("sent");
    let_it_happen().await;
    let began = Instant::now();
    let ended = (scene.ended().await, began.elapsed());
    assert_eq!(ended, (Closed::SlowQuery, Duration::from_secs(20)));
}

#[tokio::test(start_paused = true)]
async fn a_connection_with_a_question_in_flight_is_not_idle() {
    let mut scene = scene(8).await;
    scene.send(&miss(1)).await;
    let waiting = scene.errand().await;
    sleep(Pace::default().times().idle * 3).await;
    (waiting.reply)(&[0, 1]);
    assert_eq!(id_of(&scene.receive().await), 1);
}

#[tokio::test(start_paused = true)]
async fn a_query_that_does_not_get_complete_ends_the_connection() {
    let promise = [0xff, 0xff];
    let trickle = &framed(&hit(1))[..20];
    for begun in [&[0][..], &promise, trickle] {
        let mut scene = scene(8).await;
        scene.client.write_all(begun).await.expect("sent");
        let_it_happen().await;
        let began = Instant::now();
        let why = scene.ended().await;
        assert_eq!((why, began.elapsed()), (Closed::SlowQuery, Pace::default().times().read));
    }
}

#[tokio::test(start_paused = true)]
async fn octets_that_come_slowly_do_not_move_the_deadline_of_a_query() {
    let mut scene = scene(8).await;
    let began = Instant::now();
    for octet in &framed(&hit(1))[..30] {
        if scene.client.write_all(&[*octet]).await.is_err() {
            break;
        }
        let_it_happen().await;
        sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(scene.ended().await, Closed::SlowQuery);
    assert!(began.elapsed() < Duration::from_secs(16));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_slowed_down_and_closed() {
    let scene = scene(8).await;
    let queries = framed(&hit(1)).repeat(100);
    let mut sent = 0;
    let mut refused = 0;
    while refused < 2 {
        match scene.client.try_write(&queries[sent % queries.len()..]) {
            Ok(len) => (sent, refused) = (sent + len, 0),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => refused += 1,
            Err(error) => panic!("closed too early: {error}"),
        }
        let_it_happen().await;
        assert!(sent < 4_000_000, "reading goes on although replies do not");
    }
    let began = Instant::now();
    assert!(scene.limits.unsent() <= UNSENT_PAUSE + TCP_MESSAGE_MAX);
    assert_eq!(scene.ended().await, Closed::SlowReader);
    assert!(began.elapsed() <= Pace::default().times().write);
}

#[tokio::test]
async fn replies_in_flight_to_a_client_that_does_not_read_are_bounded() {
    let mut scene = scene(1_000).await;
    for id in 0..20 {
        scene.send(&miss(id)).await;
    }
    for _ in 0..20 {
        (scene.errand().await.reply)(&[0; 60_000]);
    }
    assert_eq!(scene.ended().await, Closed::SlowReader);
}
