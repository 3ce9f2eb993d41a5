//! A hit allocates nothing: not for a positive answer, not for a negative one, not with EDNS.
//!
//! One test, so that no other thread leaves garbage for this one to collect.

use std::net::{Ipv4Addr, SocketAddr};

use dnscache::config::environment::System;
use dnscache::config::{Origin, check::check, corefile};
use dnscache::engine::shelf::{Shelf, Surroundings};
use dnscache::engine::wire::UDP_REPLY_MAX;
use dnscache::engine::{Engine, ListenerId, Now, Outcome, Query, Scratch, Transport, Verdict};

const COREFILE: &str =
    ".:5300 {\n bind 127.0.0.1\n cache\n loadbalance\n forward . 192.0.2.53\n}\n";
const NOW: Now = Now::from_millis(1_000);
const HITS: usize = 10_000;

/// A question for type A with `tail` after it and `additional` records promised.
fn packet(name: &[u8], additional: u8, tail: &[u8]) -> Vec<u8> {
    let header = [0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, additional];
    [&header[..], name, b"\0\x01\0\x01", tail].concat()
}

/// What upstream says to it: response code, answer and authority counts, records.
fn response(name: &[u8], rcode: u8, counts: [u8; 2], records: &[u8]) -> Vec<u8> {
    let header = [0, 7, 0x81, 0x80 | rcode, 0, 1, 0, counts[0], 0, counts[1], 0, 0];
    [&header[..], name, b"\0\x01\0\x01", records].concat()
}

fn engine() -> Engine {
    let blocks = corefile::parse("Corefile", COREFILE, &System).expect("it is well-formed");
    let config = check(&blocks, Origin::BuiltIn, 53, &System).expect("it makes sense");
    let surroundings = Surroundings { host: "node".to_owned(), random: 7 };
    Shelf::default().assemble(&config, &surroundings)
}

/// A client with everything a worker keeps between packets.
struct Client {
    engine: Engine,
    scratch: Scratch,
    out: [u8; UDP_REPLY_MAX],
}

impl Client {
    fn ask(&mut self, packet: &[u8]) -> Verdict {
        let source = SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000));
        let query = Query { packet, source, listener: ListenerId(0), transport: Transport::Udp };
        self.engine.answer(&query, NOW, &mut self.scratch, &mut self.out)
    }

    fn learn(&mut self, packet: &[u8], response: &[u8]) {
        let Verdict::Ask(ask) = self.ask(packet) else { panic!("nothing is known yet") };
        assert!(matches!(self.engine.learn(&ask, response, NOW), Outcome::Fresh(_)));
    }

    fn hit(&mut self, packet: &[u8]) {
        match self.ask(packet) {
            Verdict::Reply(reply) => assert!(reply.renew.is_none() && reply.len > packet.len()),
            other => panic!("expected a hit, got {other:?}"),
        }
    }
}

#[test]
fn a_hit_allocates_nothing() {
    let mut client =
        Client { engine: engine(), scratch: Scratch::default(), out: [0; UDP_REPLY_MAX] };
    let (here, gone) = (b"\x04here\x07example\0", b"\x04gone\x07example\0");
    let address =
        |last| [b"\xc0\x0c\0\x01\0\x01\0\0\x0e\x10\0\x04\xc0\0\x02", &[last][..]].concat();
    let addresses = [address(1), address(2)].concat();
    client.learn(&packet(here, 0, b""), &response(here, 0, [2, 0], &addresses));
    let numbers = [[0; 16].as_slice(), &[0, 0, 14, 16]].concat();
    let soa = [b"\xc0\x11\0\x06\0\x01\0\0\x0e\x10\0\x16\0\0", numbers.as_slice()].concat();
    client.learn(&packet(gone, 0, b""), &response(gone, 3, [0, 1], &soa));

    let opt = b"\0\0\x29\x04\xd0\0\0\0\0\0\0";
    let packets = [packet(here, 0, b""), packet(here, 1, opt), packet(gone, 0, b"")];
    let mut hit_all = || packets.iter().for_each(|packet| client.hit(packet));
    // The first hits settle what was learned and set up what the store keeps for each thread.
    (0..HITS).for_each(|_| hit_all());
    let measured = allocation_counter::measure(|| (0..HITS).for_each(|_| hit_all()));
    assert_eq!(measured.count_total, 0, "{HITS} hits of each kind allocated {measured:?}");
}
