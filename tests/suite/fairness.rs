//! One pod must not starve the node: limits on clients, slow questions said so, and upstreams that
//! take only so many packets.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::client::{UdpClient, http_page};
use crate::harness::message::Message;
use crate::harness::program::{METRICS_PORT, Program, UPSTREAM_PORT};
use crate::harness::upstream::Upstream;
use crate::harness::zone::{Zone, query};
use crate::harness::{own_loopback, within};

/// Names below `silent.test` are never answered.
const ZONE: &str = "*.test. 60 A 192.0.2.1\nshort.test. 1 A 192.0.2.2";
const SERVFAIL: u16 = 2;
/// What waits in the program's socket must not be more than the kernel holds.
const BURST_LEN: usize = 32;
const PAUSE: Duration = Duration::from_millis(15);

fn upstream(ip: Ipv4Addr) -> Upstream {
    let zone = Zone::from_text(ZONE);
    Upstream::start((ip, UPSTREAM_PORT).into(), move |asked| {
        let name = asked.message.questions[0].name.to_string();
        if !name.contains("silent") {
            asked.reply(&zone.reply(&asked.message));
        }
    })
}

fn corefile(directives: &str, options: &str) -> String {
    format!(
        ".:PORT {{\n bind IP\n cache\n prometheus IP:{METRICS_PORT}\n searchpath off\n {directives}\n \
         forward . UPSTREAM {{\n {options}\n }}\n}}\n"
    )
}

/// A client whose address the limits are for.
fn pod(program: &Program, last: u8) -> UdpClient {
    let from: IpAddr = Ipv4Addr::new(127, 0, 0, last).into();
    UdpClient::from_address(from, program.address)
}

/// Sends questions without waiting for answers.
fn flood(client: &UdpClient, label: &str, zone: &str, count: usize) {
    for number in 0..count {
        client.send(&query(number as u16, &format!("{label}{number}.{zone}"), "A").write());
        if number % BURST_LEN == BURST_LEN - 1 {
            thread::sleep(PAUSE);
        }
    }
}

/// Replies until there was none for a while.
fn replies(client: &UdpClient) -> Vec<Message> {
    let next = || client.receive(Duration::from_millis(700));
    std::iter::from_fn(next).map(|bytes| Message::read(&bytes).expect("a reply")).collect()
}

#[test]
fn a_flood_does_not_keep_another_client_waiting() {
    let ip = own_loopback();
    let _upstream = upstream(ip);
    let limits = "clients {\n own 1\n in_flight 200\n rate off\n }\n slowlog off";
    let program = Program::start(ip, &corefile(limits, ""));
    let known = pod(&program, 30);
    assert_eq!(known.ask(&query(1, "known.test", "A")).expect("a reply").rcode(), 0);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for last in 11..=12 {
            let (program, is_over) = (&program, &is_over);
            scope.spawn(move || {
                let client = pod(program, last);
                let rounds = (0..1_000).take_while(|_| !is_over.load(Ordering::Relaxed));
                for round in rounds {
                    flood(&client, &format!("p{last}r{round}n"), "silent.test", 64);
                }
            });
        }
        let limited = || program.metric("dnscache_client_limited_total", &["in_flight"]);
        assert!(within(Duration::from_secs(30), || limited() > 0.0), "the flood is too slow");
        let (mut answered, other) = (0, pod(&program, 31));
        for number in 0..30 {
            // What the kernel drops is asked again, as a libc would.
            let question = query(number, &format!("other{number}.test"), "A");
            let mut tries = (0..5).filter_map(|_| {
                other.send(&question.write());
                other.receive(Duration::from_secs(1))
            });
            let reply = tries.next().and_then(|bytes| Message::read(&bytes).ok());
            answered += usize::from(reply.is_some_and(|reply| reply.rcode() == 0));
        }
        // Who floods gets what is known all the same.
        let hit = pod(&program, 11).ask(&query(2, "known.test", "A"));
        is_over.store(true, Ordering::Relaxed);
        assert_eq!(answered, 30);
        assert_eq!(hit.map(|reply| reply.rcode()), Some(0));
    });
    assert!(program.metric("dnscache_client_shares", &[]) <= 401.0);
    assert_eq!(program.metric("dnscache_client_limited_total", &["rate"]), 0.0);
}

#[test]
fn a_client_over_its_rate_still_gets_what_is_known() {
    let ip = own_loopback();
    let upstream = upstream(ip);
    let limits = "clients {\n own 1\n rate 5 burst 20\n }";
    let program = Program::start(ip, &corefile(limits, ""));
    assert_eq!(program.ask("short.test", "A").rcode(), 0);
    assert_eq!(program.ask("known.test", "A").rcode(), 0);
    let flooding = pod(&program, 11);
    flood(&flooding, "n", "test", 200);
    let replies = replies(&flooding);
    let refused = replies.iter().filter(|reply| reply.rcode() == SERVFAIL).count();
    assert_eq!(replies.len(), 200, "nobody waits for a timeout");
    assert!((100..=180).contains(&refused), "{refused} of 200 turned away");
    assert!(upstream.total() <= 2 + 200 - refused);

    for _ in 0..50 {
        let reply = flooding.ask(&query(3, "known.test", "A")).expect("a reply");
        assert_eq!((reply.rcode(), reply.answer.len()), (0, 1));
    }
    // An expired answer is renewed for it: that is no new question.
    thread::sleep(Duration::from_millis(1_100));
    flood(&flooding, "m", "test", 64);
    while flooding.receive(Duration::from_millis(500)).is_some() {}
    assert_eq!(flooding.ask(&query(4, "short.test", "A")).expect("a reply").answer.len(), 1);
    assert_eq!(pod(&program, 12).ask(&query(5, "other.test", "A")).expect("a reply").rcode(), 0);

    let limited = program.metric("dnscache_client_limited_total", &["rate"]);
    assert!(limited >= refused as f64, "{limited}");
    let (status, page) = http_page((ip, METRICS_PORT).into(), "/clients").expect("a page");
    assert_eq!(status, 200);
    let page: serde_json::Value = serde_json::from_str(&page).expect("JSON");
    let busiest = &page["clients"][0];
    assert_eq!(busiest["address"], "127.0.0.11");
    assert_eq!(busiest["limited_rate"].as_f64(), Some(limited));
    assert_eq!(page["limited_rate"].as_f64(), Some(limited));
}

/// Without `serve_stale` an expired answer is no use to a client, but its name is still no new one.
#[test]
fn what_ran_out_is_not_new_where_nothing_expired_is_served() {
    let ip = own_loopback();
    let _upstream = upstream(ip);
    let text = corefile("clients {\n own 1\n rate 1 burst 1\n }", "");
    let program = Program::start(ip, &text.replace("cache\n", "cache {\n serve_stale off\n }\n"));
    assert_eq!(program.ask("short.test", "A").rcode(), 0);
    thread::sleep(Duration::from_millis(1_200));
    let flooding = pod(&program, 11);
    flood(&flooding, "n", "test", 64);
    let refused = replies(&flooding).iter().filter(|reply| reply.rcode() == SERVFAIL).count();
    assert!(refused > 0);
    flood(&flooding, "m", "test", 16);
    while flooding.receive(Duration::from_millis(500)).is_some() {}
    let reply = flooding.ask(&query(9_999, "short.test", "A")).expect("a reply");
    assert_eq!((reply.rcode(), reply.answer.len()), (0, 1));
}

/// `max_concurrent` is for all clients together, and one of them cannot take it away from the others.
#[test]
fn a_flood_does_not_take_every_place_of_max_concurrent() {
    let ip = own_loopback();
    let _upstream = upstream(ip);
    let program = Program::start(ip, &corefile("clients {\n own 1\n }", "max_concurrent 60"));
    flood(&pod(&program, 11), "n", "silent.test", 200);
    for number in 0..5 {
        let asked = query(number, &format!("other{number}.test"), "A");
        let reply = pod(&program, 12).ask(&asked).expect("a reply");
        assert_eq!((reply.rcode(), reply.answer.len()), (0, 1));
    }
}

#[test]
fn slow_questions_are_logged_with_where_their_time_went() {
    let ip = own_loopback();
    let silent = Upstream::with_zone(ip, UPSTREAM_PORT, ZONE);
    silent.set_silent(true);
    let _good = Upstream::with_zone(ip, UPSTREAM_PORT + 1, ZONE);
    let text = format!(
        ".:PORT {{\n bind IP\n cache\n prometheus IP:{METRICS_PORT}\n slowlog 500ms\n \
         rewrite name suffix .old.test .test answer auto\n \
         forward . UPSTREAM UPSTREAM2 {{\n policy sequential\n max_fails 0\n }}\n}}\n"
    );
    let program = Program::start(ip, &text);
    assert_eq!(program.ask("www.old.test", "A").rcode(), 0);
    assert!(program.logs_within("a question was slow", Duration::from_secs(5)));
    let log = program.log();
    let line = log.lines().find(|line| line.contains("a question was slow")).expect("a line");
    for part in [
        // As the client asked, and as upstream was asked.
        "www.old.test.",
        "www.test.",
        "127.0.0.1",
        "upstream",
        &format!("{ip}:{UPSTREAM_PORT} udp no answer after "),
        &format!("{ip}:{} udp NOERROR after ", UPSTREAM_PORT + 1),
        "answered",
    ] {
        assert!(line.contains(part), "no {part:?} in {line}");
    }
    assert_eq!(program.metric("dnscache_slow_questions_total", &["upstream"]), 1.0);
    // A hit is never slow.
    program.ask("www.old.test", "A");
    assert_eq!(program.metric("dnscache_slow_questions_total", &[]), 1.0);
}

/// What a client waits for under `dns64` is upstream, for AAAA or for A, and no search list.
#[test]
fn slow_questions_under_dns64_say_that_upstream_was_slow() {
    let ip = own_loopback();
    let silent = Upstream::with_zone(ip, UPSTREAM_PORT, ZONE);
    silent.set_silent(true);
    let _good = Upstream::with_zone(ip, UPSTREAM_PORT + 1, ZONE);
    let text = format!(
        ".:PORT {{\n bind IP\n cache\n prometheus IP:{METRICS_PORT}\n slowlog 500ms\n \
         dns64 {{\n allow_ipv4\n }}\n \
         forward . UPSTREAM UPSTREAM2 {{\n policy sequential\n max_fails 0\n }}\n}}\n"
    );
    let program = Program::start(ip, &text);
    assert_eq!(program.ask("www.test", "AAAA").answer.len(), 1);
    assert!(program.logs_within("a question was slow", Duration::from_secs(5)));
    assert_eq!(program.metric("dnscache_slow_questions_total", &["upstream"]), 1.0);
    let log = program.log();
    let line = log.lines().find(|line| line.contains("a question was slow")).expect("a line");
    assert!(!line.contains("search") && line.contains("decided by dns64"), "{line}");
}

/// The most packets that arrived within a second.
fn busiest_second(arrivals: &[Instant]) -> usize {
    let second = Duration::from_secs(1);
    let within = |begin: &Instant| {
        arrivals.iter().filter(|at| *at >= begin && **at - *begin < second).count()
    };
    arrivals.iter().map(within).max().unwrap_or(0)
}

#[test]
fn an_upstream_gets_no_more_packets_than_it_takes_and_names_in_use_go_on() {
    let ip = own_loopback();
    let zone = Zone::from_text("*.cold. 60 A 192.0.2.1\n*.hot. 1 A 192.0.2.2");
    let arrivals = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&arrivals);
    let upstream = Upstream::start((ip, UPSTREAM_PORT).into(), move |asked| {
        noted.lock().expect("no panic").push(Instant::now());
        asked.reply(&zone.reply(&asked.message));
    });
    let options = "packets_per_second 50 reserve 40%";
    let program = Program::start(ip, &corefile("clients off", options));
    let hot: Vec<String> = (0..5).map(|number| format!("n{number}.hot")).collect();
    for name in &hot {
        assert_eq!(program.ask(name, "A").rcode(), 0);
    }
    thread::scope(|scope| {
        scope.spawn(|| {
            let client = pod(&program, 11);
            // A dozen times what the upstream takes.
            for round in 0..60 {
                flood(&client, &format!("r{round}n"), "cold", 64);
                thread::sleep(PAUSE * 4);
            }
        });
        let until = Instant::now() + Duration::from_secs(5);
        let client = pod(&program, 12);
        while Instant::now() < until {
            for name in &hot {
                let reply = client.ask(&query(9, name, "A")).expect("a reply");
                assert_eq!((reply.rcode(), reply.answer.len()), (0, 1), "{name}");
            }
            thread::sleep(Duration::from_millis(20));
        }
    });
    let busiest = busiest_second(&arrivals.lock().expect("no panic"));
    // On a busy machine packets of more than a second may be read within one.
    assert!((25..=65).contains(&busiest), "{busiest} packets in a second");
    for name in &hot {
        let asked = upstream.count(&format!("{name}. A"));
        assert!(asked >= 3, "{name} was renewed {asked} times");
    }
    let refused = program.metric("dnscache_upstream_packets_refused_total", &[]);
    assert!(refused > 0.0);
    assert!(program.metric("dnscache_upstream_packets_per_second_peak", &[]) <= 50.0);
    assert_eq!(program.metric("dnscache_upstream_packets_per_second_max", &[]), 50.0);
}
