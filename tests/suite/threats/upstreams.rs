//! What upstreams do, or somebody who pretends to be one.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::client::{PATIENCE, UdpClient};
use crate::harness::message::{Message, flag};
use crate::harness::own_loopback;
use crate::harness::program::{Program, UPSTREAM_PORT};
use crate::harness::upstream::{Asked, Upstream};
use crate::harness::zone::{Zone, query};

const ZONE: &str = "*.test. 60 A 192.0.2.1";

fn corefile(options: &str) -> String {
    format!(".:PORT {{\n bind IP\n cache\n forward . UPSTREAM {{\n {options}\n }}\n}}\n")
}

/// SAD DNS finds the port a question waits at by the ICMP errors that other ports send. Ours send
/// them too: a stranger's datagram finds no socket, whether the port is in use or not.
#[test]
fn a_port_with_a_question_looks_closed_to_strangers() {
    let ip = own_loopback();
    let (_upstream, questions) = Upstream::scripted(ip, UPSTREAM_PORT);
    let program = Program::start(ip, &corefile("prefer_udp"));
    let client = UdpClient::new(program.address);
    client.send(&query(1, "waiting.test", "A").write());
    let asked = questions.recv_timeout(Duration::from_secs(5)).expect("a question");
    assert!(!asked.tcp);
    let closed = {
        let socket = UdpSocket::bind((asked.from.ip(), 0)).expect("a free port");
        socket.local_addr().expect("bound")
    };
    let right = Zone::from_text(ZONE).reply(&asked.message).write();
    for target in [asked.from, closed] {
        let error = refusal_of(target, &right);
        assert_eq!(error, Some(std::io::ErrorKind::ConnectionRefused), "{target}");
    }
    asked.send(&right);
    let reply = client.receive(PATIENCE).expect("the question still waited");
    assert_eq!(Message::read(&reply).expect("a well-formed reply").answer.len(), 1);
}

/// What a stranger hears after sending `packet` to `target`.
fn refusal_of(target: SocketAddr, packet: &[u8]) -> Option<std::io::ErrorKind> {
    let stranger = UdpSocket::bind((own_loopback(), 0)).expect("a free port");
    stranger.set_read_timeout(Some(Duration::from_secs(2))).expect("a timeout above zero");
    stranger.connect(target).expect("a loopback address");
    stranger.send(packet).expect("sent");
    stranger.recv(&mut [0; 512]).err().map(|error| error.kind())
}

/// RFC 9520 section 3.1, where the answer is only to be had over TCP and TCP is silent.
#[test]
fn both_transports_together_see_three_tries_each_at_most() {
    let ip = own_loopback();
    let tries = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let counted = Arc::clone(&tries);
    let _upstream = Upstream::start((ip, UPSTREAM_PORT).into(), move |asked| {
        if asked.is_probe() {
            return asked.reply(&asked.message.reply());
        }
        counted[usize::from(asked.tcp)].fetch_add(1, Ordering::SeqCst);
        if !asked.tcp {
            let mut cut = asked.message.reply();
            cut.flags |= flag::TC;
            asked.reply(&cut);
        }
    });
    let program = Program::start(ip, &corefile("prefer_udp"));
    let started = Instant::now();
    assert_eq!(program.ask("cut.test", "A").rcode(), 2);
    assert!(started.elapsed() < Duration::from_millis(5_500), "{:?}", started.elapsed());
    // Asked again at once it is a failure that is remembered.
    assert_eq!(program.ask("cut.test", "A").rcode(), 2);
    thread::sleep(Duration::from_millis(500));
    let tries = tries.each_ref().map(|count| count.load(Ordering::SeqCst));
    assert!(tries.iter().all(|count| (1..=3).contains(count)), "{tries:?} over UDP and TCP");
}

/// KeyTrap, CAMP and whatever makes one reply cost more than the question: 65,535 octets of
/// records, of names made of pointers, of signatures.
#[test]
fn the_largest_hostile_reply_costs_other_clients_nothing() {
    let ip = own_loopback();
    let zone = Zone::from_text(ZONE);
    let _upstream = Upstream::start((ip, UPSTREAM_PORT).into(), move |asked| {
        let name = asked.message.questions[0].name.to_string();
        match name.split('-').next() {
            Some("records") => asked.send(&swollen(&asked, &[(&[0xC0, 12], 1, 4)])),
            Some("pointers") => asked.send(&swollen(&asked, &chain())),
            Some("signatures") => asked.send(&swollen(&asked, &[(&[0xC0, 12], 46, 90)])),
            Some("keys") => asked.send(&swollen(&asked, &[(&[0xC0, 12], 48, 4)])),
            _ => asked.reply(&zone.reply(&asked.message)),
        }
    });
    let program = Program::start(ip, &corefile("force_tcp"));
    assert_eq!(program.ask("hot.test", "A").answer.len(), 1);
    for kind in ["records", "pointers", "signatures", "keys"] {
        let clients: Vec<UdpClient> = (0..20).map(|_| UdpClient::new(program.address)).collect();
        let started = Instant::now();
        for (number, client) in clients.iter().enumerate() {
            client.send(&query(number as u16, &format!("{kind}-{number}.test"), "A").write());
        }
        assert_eq!(program.ask("hot.test", "A").answer.len(), 1);
        let hot = started.elapsed();
        assert!(hot < Duration::from_secs(2), "{kind}: a known name took {hot:?}");
        for client in &clients {
            let reply = client.receive(PATIENCE).expect("an answer or a failure");
            Message::read(&reply).expect("a well-formed reply");
        }
        let all = started.elapsed();
        assert!(all < Duration::from_secs(10), "{kind}: twenty of them took {all:?}");
    }
    assert!(program.resident_bytes() < 150 * 1024 * 1024, "{} octets", program.resident_bytes());
    assert!(!program.log().contains("panicked"), "{}", program.log());
}

/// Owner in wire form, type, octets of RDATA.
type Kind<'a> = (&'a [u8], u16, usize);

/// A reply of nearly 65,535 octets: the records once, the last of them again and again.
fn swollen(asked: &Asked, records: &[Kind<'_>]) -> Vec<u8> {
    let mut head = asked.message.reply();
    head.opt = None;
    let mut bytes = head.write();
    let last = records.last().expect("a record");
    let mut count = 0u16;
    for (owner, rtype, len) in records.iter().chain(std::iter::repeat(last)) {
        if bytes.len() + owner.len() + 10 + len > 65_535 {
            break;
        }
        bytes.extend(*owner);
        bytes.extend(rtype.to_be_bytes());
        bytes.extend([0, 1, 0, 0, 0, 60]);
        bytes.extend((*len as u16).to_be_bytes());
        // No two alike.
        let number = u32::from(count).to_be_bytes();
        bytes.extend(number.iter().cycle().take(*len));
        count += 1;
    }
    bytes[6..8].copy_from_slice(&count.to_be_bytes());
    bytes
}

/// An owner of 100 labels at the front of the answer section, and a pointer to it: every later
/// record's name is 200 octets longer than what it takes in the message. The question is
/// `pointers-N.test`, so its length is known but for the number's.
fn chain() -> Vec<Kind<'static>> {
    static LABELS: [u8; 202] = {
        let mut labels = [b'a'; 202];
        let mut at = 0;
        while at < 200 {
            labels[at] = 1;
            at += 2;
        }
        [labels[200], labels[201]] = [0xC0, 12];
        labels
    };
    // Of one digit: 12 + 1 + 10 + 1 + 4 + 1 + 4. Of two, the pointer hits the first label's text,
    // which reads as a label of 97 octets: malformed, and hostile all the same.
    vec![(&LABELS, 1, 4), (&[0xC0, 33], 1, 4)]
}

/// The operator sends the root elsewhere: what the old upstream said is nobody's answer any more.
#[test]
fn an_answer_of_one_route_is_not_given_for_another() {
    let ip = own_loopback();
    let _old = Upstream::with_zone(ip, UPSTREAM_PORT, ZONE);
    let new = Upstream::with_zone(ip, UPSTREAM_PORT + 1, "*.test. 60 A 192.0.2.2");
    let program = Program::start(ip, &corefile(""));
    assert_eq!(program.ask("www.test", "A").answer[0].data, [192, 0, 2, 1]);
    program.write_corefile(&corefile("").replace("UPSTREAM", "UPSTREAM2"));
    program.signal("HUP");
    assert!(program.logs_within("the new configuration is in force", Duration::from_secs(5)));
    assert_eq!(program.ask("www.test", "A").answer[0].data, [192, 0, 2, 2]);
    assert_eq!(new.count("www.test. A"), 1);
}

/// Equal questions are asked once, so there is never more than one ID to hit for a name.
#[test]
fn a_name_is_in_flight_once_however_many_ask() {
    let ip = own_loopback();
    let (_upstream, questions) = Upstream::scripted(ip, UPSTREAM_PORT);
    let program = Program::start(ip, &corefile("prefer_udp"));
    let clients: Vec<UdpClient> = (0..50).map(|_| UdpClient::new(program.address)).collect();
    let first = Instant::now();
    for (number, client) in clients.iter().enumerate() {
        // Other letters, other IDs, other options: the same question.
        let name = if number % 2 == 0 { "kaminsky.test" } else { "KAMINSKY.test" };
        client.send(&query(number as u16, name, "A").write());
    }
    let asked = questions.recv_timeout(Duration::from_secs(5)).expect("a question");
    // After 0.8 s of silence the next try begins.
    let another = questions.recv_timeout(Duration::from_millis(300));
    let is_next_try = first.elapsed() > Duration::from_millis(750);
    assert!(another.is_err() || is_next_try, "the same name is in flight twice");
    asked.reply(&Zone::from_text(ZONE).reply(&asked.message));
    for client in &clients {
        let reply = client.receive(PATIENCE).expect("a reply to each");
        assert_eq!(Message::read(&reply).expect("a well-formed reply").answer.len(), 1);
    }
}
