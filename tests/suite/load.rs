//! Many clients at once: coalescing, floods, memory.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::client::UdpClient;
use crate::harness::load::{Load, Tally};
use crate::harness::message::Message;
use crate::harness::own_loopback;
use crate::harness::program::{Program, UPSTREAM_PORT};
use crate::harness::upstream::Upstream;
use crate::harness::zone::{Zone, query};

const MEBIBYTE: u64 = 1024 * 1024;

/// 1,000 clients: 500 sockets on addresses of their own with two questions each, which stays
/// below the 1,024 files a process may usually open.
#[test]
fn a_thousand_clients_asking_one_cold_name_cost_one_question() {
    let ip = own_loopback();
    let zone = Zone::from_text("cold.test. 60 A 192.0.2.1");
    let upstream = Upstream::start((ip, UPSTREAM_PORT).into(), move |asked| {
        thread::sleep(Duration::from_millis(300));
        asked.reply(&zone.reply(&asked.message));
    });
    let text = ".:PORT {\n bind IP\n cache\n forward . UPSTREAM\n}\n";
    let program = Program::start(ip, text);
    let clients: Vec<UdpClient> = (0..500u16)
        .map(|number| {
            let [high, low] = (number / 200 * 256 + number % 200 + 1).to_be_bytes();
            let from = IpAddr::V4(Ipv4Addr::new(127, 10, high, low));
            UdpClient::from_address(from, program.address)
        })
        .collect();
    let questions = [query(1, "cold.test", "A").write(), query(2, "COLD.test", "A").write()];
    for question in &questions {
        clients.iter().for_each(|client| client.send(question));
    }
    for client in &clients {
        let ids = [(); 2].map(|()| {
            let reply = client.receive(Duration::from_secs(5)).expect("a reply to each question");
            let reply = Message::read(&reply).expect("a well-formed reply");
            assert_eq!(reply.answer.len(), 1);
            reply.id
        });
        assert!(ids == [1, 2] || ids == [2, 1], "{ids:?}");
    }
    assert_eq!(upstream.count("cold.test. A"), 1);
}

#[test]
fn a_flood_of_random_names_stays_bounded_and_hot_names_fast() {
    // Beside other tests and without optimisation; the ignored one below measures.
    flood(20_000, 64, Duration::from_secs(1));
}

/// Needs minutes: two million questions upstream.
#[test]
#[ignore = "needs minutes"]
fn two_million_random_names_stay_below_100_mib() {
    flood(2_000_000, 500, Duration::from_millis(5));
}

/// Sends `names` random names through a 32 MiB cache, four pods with `window` questions each under
/// way, while a hot name is asked throughout.
fn flood(names: u64, window: usize, hot_p99_max: Duration) {
    let ip = own_loopback();
    let stop = Arc::new(AtomicBool::new(false));
    let upstream = quick_upstream((ip, UPSTREAM_PORT).into(), stop.clone());
    let text = ".:PORT {\n bind IP\n cache {\n size 32MiB\n }\n forward . UPSTREAM\n}\n";
    let program = Program::start(ip, text);
    assert_eq!(program.ask("hot.test", "A").answer.len(), 1);
    let judge = |reply: &Message| match reply.answer.len() {
        1 => Ok(()),
        _ => Err(format!("the hot name was answered with {reply:?}")),
    };
    let hot = Load::start(program.address, &query(0, "hot.test", "A"), 200, Arc::new(judge));
    let (asked, answered) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for number in 0..4u8 {
            let (asked, answered, server) = (&asked, &answered, program.address);
            let tally = Answers { names, asked, answered };
            scope.spawn(move || random_names(server, number, window, &tally));
        }
    });
    let resident = program.resident_bytes();
    let hot = hot.finish();
    stop.store(true, Ordering::SeqCst);
    upstream.join().expect("the upstream does not panic");
    println!("resident {} MiB, hot name p99 {} us", resident / MEBIBYTE, hot.latency_us(990));
    let answered = answered.into_inner();
    assert!(answered > names / 10 * 9, "only {answered} of {names} names were answered");
    assert!(resident < 100 * MEBIBYTE, "{} MiB resident", resident / MEBIBYTE);
    judged(&hot);
    let p99 = Duration::from_micros(hot.latency_us(990));
    assert!(p99 < hot_p99_max, "the hot name's p99 is {p99:?}");
}

fn judged(tally: &Tally) {
    assert_eq!((tally.lost, tally.bad), (0, 0), "{:?}", tally.complaint);
    assert!(tally.sent > 100, "{} questions", tally.sent);
}

/// What the pods of a flood share.
struct Answers<'a> {
    names: u64,
    asked: &'a AtomicU64,
    answered: &'a AtomicU64,
}

/// One pod with up to `window` questions under way, until `names` have been asked by all pods.
fn random_names(server: SocketAddr, pod: u8, window: usize, tally: &Answers<'_>) {
    let Answers { names, asked, answered } = *tally;
    let socket = UdpSocket::bind((Ipv4Addr::new(127, 11, 0, pod + 1), 0)).expect("a free port");
    socket.connect(server).expect("a loopback address");
    socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout above zero");
    let mut buffer = [0; 512];
    let mut under_way = 0;
    loop {
        while under_way < window {
            let number = asked.fetch_add(1, Ordering::Relaxed);
            if number >= names {
                return;
            }
            // Odd multiplication spreads the numbers; no name comes twice.
            let label = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let name = format!("{label:016x}.{pod}.flood.test");
            let packet = query(number as u16, &name, "A").write();
            let _ = socket.send(&packet);
            under_way += 1;
        }
        match socket.recv(&mut buffer) {
            Ok(_) => {
                // The low four bits are the response code.
                answered.fetch_add(u64::from(buffer[3] & 0xF == 0), Ordering::Relaxed);
                under_way -= 1;
            }
            Err(_) => under_way = 0,
        }
    }
}

/// An upstream that answers every question with one address, as fast as one thread can.
fn quick_upstream(address: SocketAddr, stop: Arc<AtomicBool>) -> thread::JoinHandle<()> {
    let socket = UdpSocket::bind(address).expect("a free port");
    socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout above zero");
    thread::spawn(move || {
        let mut buffer = [0; 512];
        while !stop.load(Ordering::SeqCst) {
            let Ok((len, from)) = socket.recv_from(&mut buffer) else { continue };
            if let Some(reply) = quick_reply(&buffer[..len]) {
                let _ = socket.send_to(&reply, from);
            }
        }
    })
}

fn quick_reply(query: &[u8]) -> Option<Vec<u8>> {
    let mut at = 12;
    while *query.get(at)? != 0 {
        at += 1 + usize::from(query[at]);
    }
    let question = query.get(..at + 5)?;
    let mut reply = question.to_vec();
    reply[2..4].copy_from_slice(&[0x81, 0x80]);
    reply[6..12].copy_from_slice(&[0, 1, 0, 0, 0, 0]);
    reply.extend([0xC0, 0x0C, 0, 1, 0, 1, 0, 0, 14, 16, 0, 4, 192, 0, 2, 1]);
    Some(reply)
}

/// DNSBomb: questions hoarded at a silent upstream are bounded per client and answered once.
#[test]
fn one_pod_cannot_hoard_waiting_questions() {
    let ip = own_loopback();
    let upstream = Upstream::with_zone(ip, UPSTREAM_PORT, "*.test. 60 A 192.0.2.1");
    upstream.set_silent(true);
    let text = ".:PORT {\n bind IP\n cache\n forward . UPSTREAM\n}\n";
    let program = Program::start(ip, text);
    let bomber = UdpClient::from_address(Ipv4Addr::new(127, 12, 0, 1).into(), program.address);
    let started = Instant::now();
    for number in 0..5_000u16 {
        bomber.send(&query(number, &format!("b{number}.test"), "A").write());
        if number % 100 == 0 {
            thread::sleep(Duration::from_millis(1));
        }
    }
    thread::sleep(Duration::from_millis(300));
    assert!(upstream.total() < 5_000, "every question of one pod went upstream");
    assert!(program.open_files() < 4_500, "{} open files", program.open_files());
    upstream.set_silent(false);
    // Another pod is served at once.
    let other = UdpClient::from_address(Ipv4Addr::new(127, 12, 0, 2).into(), program.address);
    let asked = Instant::now();
    let reply = other.ask(&query(1, "other.test", "A")).expect("a reply");
    assert_eq!(reply.answer.len(), 1);
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    // Nothing is answered twice.
    let mut replies = vec![0u8; 5_000];
    while started.elapsed() < Duration::from_secs(9) {
        let Some(reply) = bomber.receive(Duration::from_millis(300)) else { continue };
        let id = usize::from(u16::from_be_bytes([reply[0], reply[1]]));
        replies[id] += 1;
    }
    assert!(replies.iter().all(|count| *count <= 1));
}
