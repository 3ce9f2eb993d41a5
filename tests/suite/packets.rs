//! Malformed and hostile packets, from clients and from upstream.

use std::net::Ipv4Addr;
use std::time::Duration;

use dnscache::engine::wire::answer::{Class, classify};
use dnscache::engine::{
    Engine, Failure, ListenerId, Now, Outcome, Query, Scratch, Transport, Verdict,
};

use crate::harness::client::{TcpClient, UdpClient};
use crate::harness::engine_stage::{client_address, engine_of};
use crate::harness::message::{Message, flag};
use crate::harness::packets::{Expected, Packet};
use crate::harness::program::{Program, UPSTREAM_PORT};
use crate::harness::stage::describe;
use crate::harness::upstream::Upstream;
use crate::harness::zone::{query, rcode_name};
use crate::harness::{data_files, own_loopback};

const COREFILE: &str = ".:PORT {\n bind IP\n cache\n forward . UPSTREAM {\n prefer_udp\n }\n}\n";
const START: Now = Now::from_millis(86_400_000);

#[test]
fn there_are_enough_malformed_packets() {
    assert!(packets("malformed").len() >= 40);
    assert!(packets("hostile_answers").len() >= 30);
}

#[test]
fn the_engine_settles_every_malformed_packet() {
    let engine = engine_of(COREFILE).expect("a Corefile");
    for transport in [Transport::Udp, Transport::Tcp] {
        for packet in packets("malformed") {
            let mut out = vec![0; 65_535];
            let query = query_of(&packet.bytes, transport);
            let verdict = engine.answer(&query, START, &mut Scratch::default(), &mut out);
            let reply = match verdict {
                Verdict::Reply(reply) => Some(&out[..reply.len]),
                Verdict::Drop(_) => None,
                Verdict::Ask(ask) => panic!("{}: upstream is asked {ask:?}", packet.file),
            };
            let expected = if transport == Transport::Udp { packet.udp } else { packet.tcp };
            judge(&packet, expected, reply);
        }
    }
}

#[test]
fn the_program_settles_every_malformed_packet_over_udp() {
    let (program, _upstream) = program();
    let mut dropped = Vec::new();
    for packet in packets("malformed") {
        let client = UdpClient::new(program.address);
        client.send(&packet.bytes);
        if packet.udp == Expected::Drop {
            dropped.push((packet, client));
        } else {
            judge(&packet, packet.udp, client.receive(Duration::from_secs(3)).as_deref());
        }
    }
    for (packet, client) in dropped {
        judge(&packet, packet.udp, client.receive(Duration::from_millis(20)).as_deref());
    }
    still_answers(&program);
}

#[test]
fn the_program_settles_every_malformed_packet_over_tcp() {
    let (program, _upstream) = program();
    for packet in packets("malformed") {
        let mut client = TcpClient::new(program.address);
        client.send(&packet.bytes);
        let patience =
            Duration::from_millis(if packet.tcp == Expected::Drop { 100 } else { 3_000 });
        judge(&packet, packet.tcp, client.receive(patience).as_deref());
    }
    still_answers(&program);
}

#[test]
fn the_engine_settles_every_hostile_answer() {
    for packet in packets("hostile_answers") {
        let engine = engine_of(COREFILE).expect("a Corefile");
        let asked = query(9, "www.example.org", "A").write();
        let client = query_of(&asked, Transport::Udp);
        let mut out = vec![0; 65_535];
        let scratch = &mut Scratch::default();
        let Verdict::Ask(ask) = engine.answer(&client, START, scratch, &mut out) else {
            panic!("nothing is known yet");
        };
        let outcome = match classify(&ask.key, &packet.bytes) {
            Class::Answer(_) => engine.learn(&ask, &packet.bytes, START),
            Class::Failure(rcode) => engine.learn_failure(&ask, Failure::Answered(rcode), START),
            Class::Broken | Class::Truncated => engine.learn_failure(&ask, Failure::Broken, START),
        };
        let reply = engine.reply(&client, &ask, &outcome, START, scratch, &mut out);
        judge(&packet, packet.udp, Some(&out[..reply.len]));
        judge_records(&packet, &Message::read(&out[..reply.len]).expect("judged before"));
        judge_kept(&packet, &engine, &outcome);
    }
}

#[test]
fn the_program_outlives_every_hostile_answer() {
    let ip = own_loopback();
    let answers = packets("hostile_answers");
    let said = answers.clone();
    let upstream = Upstream::start((ip, UPSTREAM_PORT).into(), move |asked| {
        let name = asked.message.questions[0].name.to_string();
        let number = name.trim_start_matches('n').split('.').next().and_then(|n| n.parse().ok());
        let Some(packet) = number.and_then(|n: usize| said.get(n)) else {
            return asked.reply(&asked.message.reply());
        };
        // The same defect with the ID of this question; the question itself is another, which
        // hostile servers also say.
        let mut bytes = packet.bytes.clone();
        bytes[..2].copy_from_slice(&asked.message.id.to_be_bytes());
        asked.send(&bytes);
    });
    let program = Program::start(ip, COREFILE);
    let clients: Vec<UdpClient> = answers.iter().map(|_| UdpClient::new(program.address)).collect();
    for (number, client) in clients.iter().enumerate() {
        client.send(&query(number as u16, &format!("n{number}.test"), "A").write());
    }
    for (client, packet) in clients.iter().zip(&answers) {
        let reply = client.receive(Duration::from_secs(7));
        let reply = reply.unwrap_or_else(|| panic!("{}: no reply", packet.file));
        Message::read(&reply).unwrap_or_else(|e| panic!("{}: {e}", packet.file));
    }
    still_answers(&program);
    drop(upstream);
}

fn packets(folder: &str) -> Vec<Packet> {
    let read = |(file, text): (String, String)| Packet::read(&file, &text);
    let all: Result<Vec<Packet>, String> = data_files(folder).into_iter().map(read).collect();
    all.unwrap_or_else(|fault| panic!("{fault}"))
}

fn program() -> (Program, Upstream) {
    let ip = own_loopback();
    let upstream = Upstream::with_zone(ip, UPSTREAM_PORT, "alive.test. 60 A 192.0.2.1");
    (Program::start(ip, COREFILE), upstream)
}

fn still_answers(program: &Program) {
    for reply in [program.ask("alive.test", "ANY"), program.ask_tcp("alive.test", "ANY")] {
        assert_eq!(reply.rcode(), 0);
    }
    assert!(!program.log().contains("panicked"), "{}", program.log());
}

fn query_of(packet: &[u8], transport: Transport) -> Query<'_> {
    Query { packet, source: client_address(), listener: ListenerId(0), transport }
}

fn judge(packet: &Packet, expected: Expected, reply: Option<&[u8]>) {
    let file = &packet.file;
    let (rcode, without_question) = match (expected, reply) {
        (Expected::Drop, None) => return,
        (Expected::Drop, Some(reply)) => panic!("{file}: a reply: {reply:02x?}"),
        (_, None) => panic!("{file}: no reply"),
        (Expected::Rcode(rcode), _) => (rcode, false),
        (Expected::RcodeWithoutQuestion(rcode), _) => (rcode, true),
    };
    let bytes = reply.expect("decided above");
    let reply = Message::read(bytes).unwrap_or_else(|e| panic!("{file}: a malformed reply: {e}"));
    let told = describe(&reply);
    assert_eq!(rcode_name(reply.rcode()), rcode_name(rcode), "{file}:\n{told}");
    assert!(reply.has(flag::QR), "{file}:\n{told}");
    assert!(!without_question || reply.questions.is_empty(), "{file}:\n{told}");
    if packet.file.contains("/malformed/") {
        assert_eq!(reply.id, u16::from_be_bytes([packet.bytes[0], packet.bytes[1]]), "{file}");
        // No amplification: what is refused costs no more octets than it brought, but for OPT.
        let limit = if rcode == 0 { 512 } else { packet.bytes.len() + 11 };
        assert!(bytes.len() <= limit, "{file}: {} octets", bytes.len());
    }
}

fn judge_records(packet: &Packet, reply: &Message) {
    let Some((_, count)) = packet.notes.iter().find(|(word, _)| word == "records") else { return };
    let told = describe(reply);
    assert_eq!(reply.answer.len().to_string(), *count, "{}:\n{told}", packet.file);
    let foreign = Ipv4Addr::new(192, 0, 2, 0x42).octets();
    let records = reply.answer.iter().chain(&reply.authority).chain(&reply.additional);
    for record in records {
        assert_ne!(record.data, foreign, "{}:\n{told}", packet.file);
    }
}

/// Whether the answer is served again a second later.
fn judge_kept(packet: &Packet, engine: &Engine, outcome: &Outcome) {
    let Some((_, kept)) = packet.notes.iter().find(|(word, _)| word == "kept") else { return };
    let asked = query(10, "www.example.org", "A").write();
    let client = query_of(&asked, Transport::Udp);
    let later = START.plus_millis(1_000);
    let verdict = engine.answer(&client, later, &mut Scratch::default(), &mut [0; 1232]);
    let is_kept = matches!(verdict, Verdict::Reply(_));
    assert_eq!(is_kept, kept == "yes", "{}: {outcome:?}", packet.file);
}
