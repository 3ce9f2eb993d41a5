//! What the program does towards its upstreams, counted from their side.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::client::UdpClient;
use crate::harness::message::Message;
use crate::harness::program::{Program, UPSTREAM_PORT};
use crate::harness::upstream::Upstream;
use crate::harness::zone::{Zone, query};
use crate::harness::{own_loopback, within};

const ZONE: &str = "*.test. 60 A 192.0.2.1";

fn corefile(options: &str) -> String {
    format!(".:PORT {{\n bind IP\n cache\n forward . UPSTREAM {{\n {options}\n }}\n}}\n")
}

/// RFC 5452 section 9.2: unpredictable IDs, and ports that are several at a time and used up soon.
#[test]
fn ports_and_ids_are_unpredictable() {
    let ip = own_loopback();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (noted, zone) = (seen.clone(), Zone::from_text(ZONE));
    let _upstream = Upstream::start((ip, UPSTREAM_PORT).into(), move |asked| {
        noted.lock().expect("no panic").push((asked.from.port(), asked.message.id));
        asked.reply(&zone.reply(&asked.message));
    });
    let program = Program::start(ip, &corefile(""));
    for number in 0..200 {
        assert_eq!(program.ask(&format!("n{number}.test"), "A").answer.len(), 1);
    }
    let seen = seen.lock().expect("no panic").clone();
    let ports: HashSet<u16> = seen.iter().map(|(port, _)| *port).collect();
    let ids: HashSet<u16> = seen.iter().map(|(_, id)| *id).collect();
    for port in &ports {
        let questions = seen.iter().filter(|(used, _)| used == port).count();
        assert!(questions <= 32, "{questions} questions from one port");
    }
    // One of eight ports is drawn for every question; the same twice in a row is chance.
    let changes = seen.windows(2).filter(|two| two[0].0 != two[1].0).count();
    assert!(changes > 150, "the port changed {changes} times in {} questions", seen.len());
    assert!(ids.len() > 190, "{} IDs for {} questions", ids.len(), seen.len());
    let steps: HashSet<u16> = seen.windows(2).map(|two| two[1].1.wrapping_sub(two[0].1)).collect();
    assert!(steps.len() > 150, "the IDs follow a rule");
}

/// RFC 9520 section 3.1, and a deadline of 5 s.
#[test]
fn an_upstream_is_tried_three_times_at_most() {
    for options in ["prefer_udp", "force_tcp"] {
        let ip = own_loopback();
        let upstream = Upstream::with_zone(ip, UPSTREAM_PORT, ZONE);
        upstream.set_silent(true);
        let program = Program::start(ip, &corefile(options));
        let asked = Instant::now();
        assert_eq!(program.ask("silent.test", "A").rcode(), 2);
        assert!(asked.elapsed() < Duration::from_millis(5_500), "{:?}", asked.elapsed());
        thread::sleep(Duration::from_millis(500));
        let tries = upstream.count("silent.test. A");
        assert!((1..=3).contains(&tries), "{tries} tries with {options}");
    }
}

#[test]
fn a_failing_upstream_is_not_asked_again_and_again() {
    for (rcode, name) in [(2, "SERVFAIL"), (5, "REFUSED"), (4, "NOTIMP"), (1, "FORMERR")] {
        let ip = own_loopback();
        let upstream = Upstream::start((ip, UPSTREAM_PORT).into(), move |asked| {
            let mut reply = asked.message.reply();
            reply.flags |= rcode;
            asked.reply(&reply);
        });
        let program = Program::start(ip, &corefile(""));
        let asked = Instant::now();
        for _ in 0..20 {
            program.ask("failing.test", "A");
        }
        assert!(asked.elapsed() < Duration::from_secs(5), "{name}: {:?}", asked.elapsed());
        // Up to three tries by UDP, as many without EDNS or by TCP; none for the repeats.
        let tries = upstream.count("failing.test. A");
        assert!((1..=6).contains(&tries), "{tries} tries at {name}");
    }
}

#[test]
fn round_robin_uses_every_upstream_in_turn() {
    let ip = own_loopback();
    let first = Upstream::with_zone(ip, UPSTREAM_PORT, ZONE);
    let second = Upstream::with_zone(ip, UPSTREAM_PORT + 1, ZONE);
    let text =
        ".:PORT {\n bind IP\n cache\n forward . UPSTREAM UPSTREAM2 {\n policy round_robin\n }\n}\n";
    let program = Program::start(ip, text);
    for number in 0..40 {
        program.ask(&format!("n{number}.test"), "A");
    }
    assert_eq!((first.total(), second.total()), (20, 20));
}

#[test]
fn random_uses_every_upstream() {
    let ip = own_loopback();
    let first = Upstream::with_zone(ip, UPSTREAM_PORT, ZONE);
    let second = Upstream::with_zone(ip, UPSTREAM_PORT + 1, ZONE);
    let text = ".:PORT {\n bind IP\n cache\n forward . UPSTREAM UPSTREAM2\n}\n";
    let program = Program::start(ip, text);
    for number in 0..60 {
        program.ask(&format!("n{number}.test"), "A");
    }
    // Less than ten of sixty is a chance of one in 70 million.
    assert!(first.total() >= 10 && second.total() >= 10, "{} {}", first.total(), second.total());
}

#[test]
fn a_dead_upstream_is_left_alone_and_found_again_by_probes() {
    let ip = own_loopback();
    let dead = Upstream::with_zone(ip, UPSTREAM_PORT, ZONE);
    let _alive = Upstream::with_zone(ip, UPSTREAM_PORT + 1, ZONE);
    let text = ".:PORT {\n bind IP\n cache\n forward . UPSTREAM UPSTREAM2 {\n policy sequential\n max_fails 2\n health_check 200ms\n }\n}\n";
    let program = Program::start(ip, text);
    dead.set_silent(true);
    for number in 0..4 {
        assert_eq!(program.ask(&format!("slow{number}.test"), "A").answer.len(), 1);
    }
    // Known to be down: the next upstream is asked without waiting.
    let asked = Instant::now();
    assert_eq!(program.ask("quick.test", "A").answer.len(), 1);
    assert!(asked.elapsed() < Duration::from_millis(400), "{:?}", asked.elapsed());
    assert!(within(Duration::from_secs(2), || dead.count(". NS") > 0), "no probe");
    dead.set_silent(false);
    let found = within(Duration::from_secs(3), || {
        let number = dead.total();
        program.ask(
            &format!("again{number}-{:?}.test", Instant::now())
                .replace(['{', '}', ' ', ':', '.'], ""),
            "A",
        );
        dead.total() > number
    });
    assert!(found, "the upstream is back and not used");
}

#[test]
fn failfast_refuses_at_once_when_every_upstream_is_down() {
    let ip = own_loopback();
    let dead = Upstream::with_zone(ip, UPSTREAM_PORT, ZONE);
    dead.set_silent(true);
    let options = "failfast_all_unhealthy_upstreams\n max_fails 1\n health_check 5s";
    let program = Program::start(ip, &corefile(options));
    assert_eq!(program.ask("first.test", "A").rcode(), 2);
    let asked = Instant::now();
    assert_eq!(program.ask("second.test", "A").rcode(), 2);
    assert!(asked.elapsed() < Duration::from_millis(300), "{:?}", asked.elapsed());
}

#[test]
fn a_slow_trickle_over_tcp_is_not_waited_for_longer_than_silence() {
    let ip = own_loopback();
    let zone = Zone::from_text(ZONE);
    let _slow = Upstream::start((ip, UPSTREAM_PORT).into(), move |asked| {
        let bytes = zone.reply(&asked.message).write();
        thread::spawn(move || {
            asked.write_raw(&(bytes.len() as u16).to_be_bytes());
            for octet in bytes {
                asked.write_raw(&[octet]);
                thread::sleep(Duration::from_millis(400));
            }
        });
    });
    let program = Program::start(ip, &corefile("force_tcp"));
    let asked = Instant::now();
    assert_eq!(program.ask("trickle.test", "A").rcode(), 2);
    assert!(asked.elapsed() < Duration::from_millis(5_500), "{:?}", asked.elapsed());
}

/// A reset in the middle of pipelined answers: every question is asked again, none is lost.
#[test]
fn a_reset_loses_no_pipelined_question() {
    let ip = own_loopback();
    let zone = Zone::from_text(ZONE);
    let held = Mutex::new(Vec::new());
    let upstream = Upstream::start((ip, UPSTREAM_PORT).into(), move |asked| {
        if asked.connection > 1 {
            return asked.reply(&zone.reply(&asked.message));
        }
        let mut held = held.lock().expect("no panic");
        held.push(asked);
        if held.len() == 20 {
            held[0].reply(&zone.reply(&held[0].message));
            held[19].close(true);
        }
    });
    let program = Program::start(ip, &corefile("force_tcp"));
    let clients: Vec<UdpClient> = (0..20).map(|_| UdpClient::new(program.address)).collect();
    for (number, client) in clients.iter().enumerate() {
        client.send(&query(number as u16, &format!("n{number}.test"), "A").write());
    }
    for client in &clients {
        let reply = client.receive(Duration::from_secs(6)).expect("an answer to each question");
        assert_eq!(Message::read(&reply).expect("well-formed").answer.len(), 1);
    }
    assert!(upstream.connections() >= 2);
}

#[test]
fn a_forged_flood_does_not_end_the_wait() {
    let ip = own_loopback();
    let zone = Zone::from_text(ZONE);
    let _upstream = Upstream::start((ip, UPSTREAM_PORT).into(), move |asked| {
        let right = zone.reply(&asked.message);
        // As many as fit into a socket's buffer; more would push out the right reply itself.
        let guesses = if asked.is_probe() { 0 } else { 100 };
        for guess in 1..=guesses {
            let mut forged = right.clone();
            forged.id = right.id.wrapping_add(guess);
            forged.answer[0].data = vec![192, 0, 2, 66];
            asked.reply(&forged);
        }
        asked.reply(&right);
    });
    let text = corefile("prefer_udp").replace(" cache\n", " cache\n prometheus METRICS\n");
    let program = Program::start(ip, &text);
    for number in 0..5 {
        let reply = program.ask(&format!("n{number}.test"), "A");
        assert_eq!(reply.answer.len(), 1, "a flood of forgeries ended the wait");
        assert_eq!(reply.answer[0].data, [192, 0, 2, 1]);
    }
    let counted = program.metric("dnscache_forged_replies_total", &[]);
    assert!(counted >= 400.0, "{counted} of 500 forgeries were counted");
}

#[test]
fn resolv_conf_is_followed_while_running() {
    let (ip, first_ip, second_ip) = (own_loopback(), own_loopback(), own_loopback());
    let bound = |ip: Ipv4Addr, address: &str| {
        let zone = Zone::from_text(&format!("*.test. 60 A {address}"));
        Upstream::try_start((ip, 53).into(), move |asked| asked.reply(&zone.reply(&asked.message)))
    };
    let (Ok(_first), Ok(_second)) = (bound(first_ip, "192.0.2.1"), bound(second_ip, "192.0.2.2"))
    else {
        return eprintln!("skipped: port 53 may not be bound here, and resolv.conf has no other");
    };
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let path = folder.path().join("resolv.conf");
    std::fs::write(&path, format!("nameserver {first_ip}\n")).expect("a writable folder");
    let text = format!(".:PORT {{\n bind IP\n forward . {}\n}}\n", path.display());
    let program = Program::start(ip, &text);
    assert_eq!(program.ask("a.test", "A").answer[0].data, [192, 0, 2, 1]);
    // Replaced by renaming, as a network manager does.
    let next = folder.path().join("next");
    std::fs::write(&next, format!("nameserver {second_ip}\n")).expect("a writable folder");
    std::fs::rename(next, &path).expect("a writable folder");
    let followed = within(Duration::from_secs(15), || {
        program
            .ask("b.test", "A")
            .answer
            .first()
            .is_some_and(|record| record.data == [192, 0, 2, 2])
    });
    assert!(followed, "the change was not followed:\n{}", program.log());
    // An empty file leaves the last good state.
    std::fs::write(&path, "").expect("a writable folder");
    thread::sleep(Duration::from_millis(1_500));
    assert_eq!(program.ask("c.test", "A").answer[0].data, [192, 0, 2, 2]);
}

#[test]
fn dns_over_tls_checks_the_name_and_carries_questions() {
    let ip = own_loopback();
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let certified = rcgen::generate_simple_self_signed(vec!["dns.test".to_owned()]);
    let certified = certified.expect("a certificate");
    let authority = folder.path().join("ca.pem");
    std::fs::write(&authority, certified.cert.pem()).expect("a writable folder");
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(certified.signing_key.serialize_der().into());
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .expect("protocol versions")
    .with_no_client_auth()
    .with_single_cert(vec![certified.cert.der().clone()], key)
    .expect("a key for its certificate");
    let listener = TcpListener::bind((ip, 853)).or_else(|_| TcpListener::bind((ip, 8853)));
    let listener = listener.expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    thread::spawn(move || serve_tls(&listener, &Arc::new(config)));
    for (server_name, rcode) in [("dns.test", 0), ("other.test", 2)] {
        let text = format!(
            ".:PORT {{\n bind IP\n forward . tls://{address} {{\n tls {}\n tls_servername {server_name}\n }}\n}}\n",
            authority.display()
        );
        let program = Program::start(ip, &text);
        for number in 0..3 {
            let reply = program.ask(&format!("n{number}.test"), "A");
            assert_eq!(reply.rcode(), rcode, "{server_name}:\n{}", program.log());
        }
    }
}

fn serve_tls(listener: &TcpListener, config: &Arc<rustls::ServerConfig>) {
    let zone = Zone::from_text(ZONE);
    for stream in listener.incoming().map_while(Result::ok) {
        let (config, zone) = (config.clone(), zone.clone());
        thread::spawn(move || {
            let connection = rustls::ServerConnection::new(config).expect("a configuration");
            let mut stream = rustls::StreamOwned::new(connection, stream);
            let mut prefix = [0; 2];
            while stream.read_exact(&mut prefix).is_ok() {
                let mut packet = vec![0; usize::from(u16::from_be_bytes(prefix))];
                if stream.read_exact(&mut packet).is_err() {
                    return;
                }
                let asked = Message::read(&packet).expect("a well-formed question");
                let reply = zone.reply(&asked).write();
                let framed = [&(reply.len() as u16).to_be_bytes()[..], &reply].concat();
                if stream.write_all(&framed).is_err() {
                    return;
                }
            }
        });
    }
}
