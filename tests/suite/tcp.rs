//! TCP clients, honest and not.

use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use crate::harness::client::{PATIENCE, TcpClient};
use crate::harness::message::Message;
use crate::harness::own_loopback;
use crate::harness::program::{Program, UPSTREAM_PORT};
use crate::harness::upstream::Upstream;
use crate::harness::zone::query;

const COREFILE: &str = ".:PORT {\n bind IP\n cache\n forward . UPSTREAM {\n prefer_udp\n }\n}\n";
const ZONE: &str = "*.test. 60 A 192.0.2.1\nbig.test. 60 TXT \\# 20000 fill";

fn start() -> (Program, Upstream) {
    let ip = own_loopback();
    (Program::start(ip, COREFILE), Upstream::with_zone(ip, UPSTREAM_PORT, ZONE))
}

#[test]
fn a_hundred_questions_in_one_write_are_all_answered() {
    let (program, _upstream) = start();
    let mut client = TcpClient::new(program.address);
    let mut written = Vec::new();
    for id in 0..100u16 {
        let packet = query(id, &format!("n{id}.test"), "A").write();
        written.extend((packet.len() as u16).to_be_bytes());
        written.extend(packet);
    }
    client.stream.write_all(&written).expect("an open connection");
    let mut ids: Vec<u16> = (0..100)
        .map(|_| {
            let reply = client.receive(PATIENCE).expect("a reply to each");
            let reply = Message::read(&reply).expect("a well-formed reply");
            assert_eq!(reply.answer.len(), 1);
            assert_eq!(reply.questions[0].name.to_string(), format!("n{}.test.", reply.id));
            reply.id
        })
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..100).collect::<Vec<u16>>());
}

#[test]
fn a_question_written_octet_by_octet_is_answered() {
    let (program, _upstream) = start();
    let mut client = TcpClient::new(program.address);
    let packet = query(5, "slow.test", "A").write();
    for octet in [&(packet.len() as u16).to_be_bytes()[..], &packet].concat() {
        client.stream.write_all(&[octet]).expect("an open connection");
        std::thread::sleep(Duration::from_millis(5));
    }
    let reply = client.receive(PATIENCE).expect("a reply");
    assert_eq!(Message::read(&reply).expect("a well-formed reply").answer.len(), 1);
}

#[test]
fn a_client_that_half_closes_still_gets_its_answers() {
    let (program, _upstream) = start();
    let mut client = TcpClient::new(program.address);
    client.send(&query(5, "half.test", "A").write());
    client.stream.shutdown(std::net::Shutdown::Write).expect("an open connection");
    assert!(client.receive(PATIENCE).is_some());
}

#[test]
fn an_idle_connection_and_a_lying_length_are_closed_in_time() {
    let (program, _upstream) = start();
    let mut idle = TcpClient::new(program.address);
    let mut lying = TcpClient::new(program.address);
    lying.stream.write_all(&[0xFF, 0xFF, 0x12, 0x34]).expect("an open connection");
    let mut half = TcpClient::new(program.address);
    half.stream.write_all(&[0]).expect("an open connection");
    // RFC 7766 section 6.2.3 speaks of a few seconds; others are served meanwhile.
    assert_eq!(program.ask_tcp("other.test", "A").answer.len(), 1);
    let limit = Duration::from_secs(15);
    let started = Instant::now();
    assert!(lying.is_closed_within(limit), "a length of 65,535 octets keeps a connection");
    assert!(half.is_closed_within(limit), "half a length keeps a connection");
    assert!(idle.is_closed_within(limit), "silence keeps a connection");
    assert!(started.elapsed() < limit + Duration::from_secs(5));
}

#[test]
fn a_client_that_does_not_read_is_given_up_and_others_are_served() {
    let (program, _upstream) = start();
    program.ask_tcp("big.test", "TXT");
    let mut greedy = TcpClient::new(program.address);
    greedy.stream.set_write_timeout(Some(Duration::from_millis(200))).expect("a timeout");
    let packet = query(5, "big.test", "TXT").write();
    let framed = [&(packet.len() as u16).to_be_bytes()[..], &packet].concat();
    // 20,000 octets of answer to 26 of question: stops when nobody takes more questions.
    let taken = (0..20_000).take_while(|_| greedy.stream.write_all(&framed).is_ok()).count();
    for _ in 0..20 {
        assert_eq!(program.ask_tcp("other.test", "A").answer.len(), 1);
    }
    assert!(
        program.resident_bytes() < 150 * 1024 * 1024,
        "{} octets resident after {taken} questions",
        program.resident_bytes()
    );
    assert!(greedy_ends(&mut greedy), "the connection is never given up");
}

/// Whether the server gives up a connection nobody reads from: then reading ends.
fn greedy_ends(client: &mut TcpClient) -> bool {
    std::thread::sleep(Duration::from_secs(12));
    client.stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    let mut buffer = vec![0; 1 << 16];
    let end = Instant::now() + Duration::from_secs(20);
    while Instant::now() < end {
        match client.stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() != std::io::ErrorKind::WouldBlock,
        }
    }
    false
}

#[test]
fn one_pod_cannot_take_every_connection() {
    let (program, _upstream) = start();
    let greedy: Vec<TcpClient> = (0..400).map(|_| TcpClient::new(program.address)).collect();
    std::thread::sleep(Duration::from_millis(300));
    assert!(program.open_files() < 400, "{} open files", program.open_files());
    // Another pod is served all the same; so is UDP.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a TCP socket");
    let other = own_loopback();
    socket.bind(&std::net::SocketAddr::from((other, 0)).into()).expect("a loopback address");
    socket.connect(&program.address.into()).expect("a connection for another pod");
    let mut client = TcpClient { stream: socket.into() };
    assert_eq!(client.ask(&query(4, "other.test", "A")).expect("a reply").answer.len(), 1);
    assert_eq!(program.ask("other.test", "A").answer.len(), 1);
    assert_ne!(other, Ipv4Addr::LOCALHOST);
    drop(greedy);
}

#[test]
fn a_connection_carries_good_questions_after_a_bad_one() {
    let (program, _upstream) = start();
    let mut client = TcpClient::new(program.address);
    client.send(&[0x12, 0x34, 1, 0, 0, 2, 0, 0, 0, 0, 0, 0]);
    let reply = client.receive(PATIENCE).expect("FORMERR");
    assert_eq!(Message::read(&reply).expect("a well-formed reply").rcode(), 1);
    assert_eq!(client.ask(&query(6, "good.test", "A")).expect("a reply").answer.len(), 1);
}
