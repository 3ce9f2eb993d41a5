//! One instance and the next, in one process.

use std::io::{Read as _, Seek as _, Write as _};
use std::net::UdpSocket;
use std::sync::{Arc, Mutex as StdMutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::elder::{Household, Succession, bequeath, farewell};
use super::*;
use crate::slow::bequest::Bequest;

/// A household that keeps what it is given.
#[derive(Default)]
struct Home {
    snapshot: Option<&'static [u8]>,
    adopted: StdMutex<Vec<Bequest>>,
}

impl Household for Home {
    async fn adopt(&self, bequest: Bequest) {
        self.adopted.lock().expect("no panic").push(bequest);
    }

    fn snapshot(&self) -> Option<File> {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(self.snapshot?).expect("written");
        file.rewind().expect("a file");
        Some(file)
    }
}

fn listener() -> (SocketAddr, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    (listener.local_addr().expect("bound"), listener)
}

fn estate(address: SocketAddr, listener: &TcpListener) -> Arc<Estate> {
    let estate = Arc::new(Estate::default());
    estate.note(Purpose::Dns, address, listener);
    estate
}

/// Claims until the elder has had time to open its names.
async fn claim(address: SocketAddr) -> Inheritance {
    for _ in 0..500 {
        let inheritance = Inheritance::claim(&[address]).await;
        if inheritance.elder.is_some() {
            return inheritance;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no elder");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_heir_gets_sockets_cache_and_connections() {
    let (address, ours) = listener();
    let old = Arc::new(Home { snapshot: Some(b"answers"), ..Home::default() });
    let elder = Succession::begin(None, estate(address, &ours), Arc::clone(&old));

    let mut inheritance = claim(address).await;
    let theirs = inheritance.take(Purpose::Dns, address).expect("the listening socket");
    assert!(inheritance.take(Purpose::Dns, address).is_none(), "taken once");
    assert!(inheritance.take(Purpose::Pages, address).is_none(), "there are no pages");
    let mut snapshot = String::new();
    inheritance.snapshot.take().expect("the cache").read_to_string(&mut snapshot).expect("read");
    assert_eq!(snapshot, "answers");
    let new = Arc::new(Home::default());
    let heir =
        Succession::begin(inheritance.elder.take(), estate(address, &theirs), Arc::clone(&new));

    let mut client = TcpStream::connect(address).await.expect("connected");
    client.write_all(b"\0").await.expect("sent");
    let (stream, _) = ours.accept().expect("a connection");
    let channel = elder.end().await.expect("the heir serves");
    let received = b"half".to_vec();
    bequeath(&channel, Bequest { listener: address, stream, received }).await.expect("sent");
    farewell(&channel).await;
    drop((ours, channel));

    let taken_over = async {
        while new.adopted.lock().expect("no panic").is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(10), taken_over).await.expect("the connection arrives");
    let bequest = new.adopted.lock().expect("no panic").pop().expect("one");
    assert_eq!((bequest.listener, bequest.received), (address, b"half".to_vec()));
    bequest.stream.set_nonblocking(true).expect("set");
    let mut stream = TcpStream::from_std(bequest.stream).expect("a stream");
    assert_eq!(stream.read_u8().await.expect("what the client had sent"), 0);
    stream.write_all(b"!").await.expect("sent");
    assert_eq!(client.read_u8().await.expect("an answer"), b'!');

    // The heir is the elder now, and the socket outlived the one that opened it.
    let next = claim(address).await;
    assert!(next.take(Purpose::Dns, address).is_some());
    drop(next);
    assert!(heir.end().await.is_none(), "nobody served after it");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_heir_that_dies_is_no_heir_and_a_later_one_is() {
    let (address, ours) = listener();
    let elder = Succession::begin(None, estate(address, &ours), Arc::new(Home::default()));
    drop(claim(address).await);
    let mut second = claim(address).await;
    let heir = Succession::begin(
        second.elder.take(),
        Arc::new(Estate::default()),
        Arc::new(Home::default()),
    );
    // It says that it serves a moment after it was given everything.
    let channel = elder.end().await;
    assert!(channel.is_some());
    drop(channel);
    heir.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_waited_for_where_nobody_is() {
    let (address, _ours) = listener();
    let began = std::time::Instant::now();
    assert!(Inheritance::claim(&[address]).await.elder.is_none());
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_elder_that_says_nothing_is_not_waited_for_long() {
    let (address, _ours) = listener();
    let _welcome = channel::Welcome::open(address).expect("a free name");
    let inheritance = Inheritance::claim(&[address]).await;
    assert!(inheritance.elder.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_is_another_is_refused() {
    let (address, ours) = listener();
    let (_, other) = listener();
    let datagrams = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    assert!(checked(ours.try_clone().expect("a copy").into(), address).is_ok());
    assert!(checked(other.into(), address).is_err(), "another address");
    let same_port = datagrams.local_addr().expect("bound");
    assert!(checked(datagrams.into(), same_port).is_err(), "no listening socket");
}
