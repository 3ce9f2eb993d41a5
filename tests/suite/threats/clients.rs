//! What clients do, or somebody with a client's address.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::harness::client::UdpClient;
use crate::harness::message::{Message, Opt, Record, flag};
use crate::harness::program::{DNS_PORT, Program, UPSTREAM_PORT};
use crate::harness::upstream::Upstream;
use crate::harness::zone::query;
use crate::harness::{own_loopback, within};

const COREFILE: &str = ".:PORT {
    bind IP
    cache
    forward . UPSTREAM {
        prefer_udp
    }
    prometheus METRICS
}
";

/// A socket that a server might have, at an address nobody else uses.
fn socket_at(port: u16) -> Option<UdpSocket> {
    UdpSocket::bind((own_loopback(), port)).ok()
}

fn send_and_hear_nothing(socket: &UdpSocket, server: SocketAddr, packet: &[u8]) {
    socket.send_to(packet, server).expect("sent");
    socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout above zero");
    let heard = socket.recv_from(&mut [0; 512]);
    let from = socket.local_addr().expect("bound");
    assert!(heard.is_err(), "a packet from {from} was answered");
}

#[test]
fn what_could_make_two_servers_talk_is_dropped_and_counted() {
    let ip = own_loopback();
    let upstream = Upstream::with_zone(ip, UPSTREAM_PORT, "www.test. 60 A 192.0.2.1");
    let program = Program::start(ip, COREFILE);
    let question = query(1, "www.test", "A");
    let mut reply = question.clone();
    reply.flags |= flag::QR;
    let client = socket_at(0).expect("a free port");
    send_and_hear_nothing(&client, program.address, &reply.write());
    send_and_hear_nothing(&client, program.address, &question.write()[..11]);
    // Another cache of this kind, on another node.
    let peer = socket_at(DNS_PORT).expect("a free address");
    send_and_hear_nothing(&peer, program.address, &question.write());
    let mut expected = vec![("response", 1.0), ("short", 1.0), ("own_address", 1.0)];
    let services: Vec<UdpSocket> = [7, 19, 53].into_iter().filter_map(socket_at).collect();
    for service in &services {
        send_and_hear_nothing(service, program.address, &question.write());
    }
    if services.is_empty() {
        eprintln!("ports below 1024 are left out: they may not be bound here");
    }
    expected.push(("source_port", services.len() as f64));
    for (reason, count) in expected {
        let label = format!("reason=\"{reason}\"");
        let counted = || program.metric("dnscache_dropped_packets_total", &[&label]);
        assert!(within(Duration::from_secs(5), || counted() == count), "{reason}: {}", counted());
    }
    assert_eq!(upstream.total(), 0);
    assert_eq!(program.ask("www.test", "A").answer.len(), 1);
}

/// Large answers to a spoofed address are what reflection lives on.
#[test]
fn no_reply_over_udp_is_larger_than_the_client_takes() {
    let ip = own_loopback();
    let zone = "big.test. 60 TXT \\# 3000 fill\nkeys.test. 60 DNSKEY \\# 1600 fill\n\
                middle.test. 60 TXT \\# 700 fill";
    let _upstream = Upstream::with_zone(ip, UPSTREAM_PORT, zone);
    let program = Program::start(ip, COREFILE);
    for (name, qtype, len) in
        [("big.test", "TXT", 3_000), ("keys.test", "DNSKEY", 1_600), ("middle.test", "TXT", 700)]
    {
        for offered in [None, Some(0), Some(512), Some(900), Some(1_232), Some(4_096), Some(65_535)]
        {
            let mut question = query(3, name, qtype);
            question.opt = offered.map(|udp_size| Opt { udp_size, ..Opt::default() });
            let client = UdpClient::new(program.address);
            client.send(&question.write());
            let reply = client.receive(Duration::from_secs(6)).expect("a reply");
            let taken = usize::from(offered.unwrap_or(512).clamp(512, 1_232));
            assert!(reply.len() <= taken, "{name}, {offered:?}: {} octets", reply.len());
            let reply = Message::read(&reply).expect("a well-formed reply");
            assert_eq!(reply.has(flag::TC), len > taken, "{name}, {offered:?}");
        }
        // Over TCP there is room for all of it.
        assert_eq!(program.ask_tcp(name, qtype).answer[0].data.len(), len);
    }
    assert!(program.ask("big.test", "ANY").write().len() < 100);
}

/// Each kind of question gets data of its own from upstream; nobody gets another kind's.
#[test]
fn questions_that_differ_are_not_answered_from_each_others_entries() {
    let ip = own_loopback();
    let asked = Arc::new(Mutex::new(0));
    let count = Arc::clone(&asked);
    let _upstream = Upstream::start((ip, UPSTREAM_PORT).into(), move |asked| {
        let question = &asked.message.questions[0];
        let dnssec_ok = asked.message.opt.as_ref().is_some_and(|opt| opt.dnssec_ok);
        let mut data = vec![0; if question.qtype == 28 { 16 } else { 4 }];
        *data.last_mut().expect("an address") =
            u8::from(dnssec_ok) + 2 * u8::from(asked.message.has(flag::CD));
        let mut reply = asked.message.reply();
        reply.answer.push(Record {
            name: question.name.clone(),
            rtype: question.qtype,
            class: question.qclass,
            ttl_secs: 60,
            data,
        });
        *count.lock().expect("no panic") += usize::from(!asked.is_probe());
        asked.reply(&reply);
    });
    let program = Program::start(ip, COREFILE);
    // The unchecked kind comes first: it would be what is found.
    for _ in 0..2 {
        for (kind, name) in [(3, "Www.test"), (2, "www.test"), (1, "wwW.tEst"), (0, "WWW.TEST")] {
            for (qtype, len) in [("A", 4), ("AAAA", 16)] {
                let mut question = query(4, name, qtype);
                question.opt =
                    Some(Opt { udp_size: 1_232, dnssec_ok: kind & 1 == 1, ..Opt::default() });
                question.flags |= if kind & 2 == 2 { flag::CD } else { 0 };
                let reply = UdpClient::new(program.address).ask(&question).expect("a reply");
                assert_eq!(reply.questions, question.questions, "the case of the question");
                let data = &reply.answer[0].data;
                assert_eq!((data.len(), data.last()), (len, Some(&kind)), "{qtype}, kind {kind}");
            }
        }
    }
    assert_eq!(*asked.lock().expect("no panic"), 8, "four kinds of two types, each asked once");
    let mut chaos = query(5, "www.test", "A");
    for class in [3, 4, 255] {
        chaos.questions[0].qclass = class;
        let reply = UdpClient::new(program.address).ask(&chaos).expect("a reply");
        assert_eq!((reply.rcode(), reply.answer.len()), (5, 0), "class {class}");
    }
}

/// Waiting at a silent upstream is bounded in time, and what waited is answered once.
#[test]
fn hoarded_questions_are_answered_once_and_in_time() {
    let ip = own_loopback();
    let upstream = Upstream::with_zone(ip, UPSTREAM_PORT, "*.test. 60 A 192.0.2.1");
    upstream.set_silent(true);
    let program = Program::start(ip, COREFILE);
    let bomber = UdpClient::from_address(Ipv4Addr::new(127, 14, 0, 1).into(), program.address);
    let started = std::time::Instant::now();
    for id in 0..200 {
        bomber.send(&query(id, "one.test", "A").write());
    }
    let mut replies = 0;
    while bomber.receive(Duration::from_secs(6)).is_some() {
        replies += 1;
        assert!(started.elapsed() < Duration::from_secs(12), "they waited too long");
        if replies == 200 {
            break;
        }
    }
    assert_eq!(replies, 200);
    assert!(bomber.receive(Duration::from_millis(500)).is_none(), "answered twice");
    assert!(upstream.count("one.test. A") <= 3, "200 clients make no storm");
}
