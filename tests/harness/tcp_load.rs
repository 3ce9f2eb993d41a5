//! A bounded load over TCP: connections that stay open and are asked at a pace, and now and then a
//! new one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::client::TcpClient;
use super::load::{Judge, Tally};
use super::message::Message;

/// A load over TCP that runs until it is stopped.
pub struct TcpLoad {
    stop: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<Tally>>,
}

/// How long a reply may take before it counts as lost.
const PATIENCE: Duration = Duration::from_secs(6);
/// One connection in so many is replaced by a new one after this many questions; the others stay.
const FRESH_ONE_IN: u64 = 4;
const FRESH_AFTER: u64 = 20;

impl TcpLoad {
    /// Asks `query` `per_second` times a second over `connections`.
    pub fn start(
        connections: u64,
        server: SocketAddr,
        query: &Message,
        per_second: u64,
        judge: Judge,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..connections).map(|number| {
            let (stop, judge, query) = (stop.clone(), judge.clone(), query.write());
            let pace = Duration::from_secs(1) * connections as u32 / per_second as u32;
            let fresh_after = (number % FRESH_ONE_IN == 0).then_some(FRESH_AFTER);
            thread::spawn(move || one_connection(server, query, pace, fresh_after, &stop, &judge))
        });
        Self { threads: threads.collect(), stop }
    }

    /// Stops asking, waits for what is still under way, and sums up.
    pub fn finish(self) -> Tally {
        self.stop.store(true, Ordering::SeqCst);
        Tally::of(self.threads)
    }
}

/// Asks over one connection after the other; a question without a reply is lost, and a connection
/// that was closed is not opened again for it.
fn one_connection(
    server: SocketAddr,
    mut packet: Vec<u8>,
    pace: Duration,
    fresh_after: Option<u64>,
    stop: &AtomicBool,
    judge: &Judge,
) -> Tally {
    let mut tally = Tally::default();
    let mut client = TcpClient::new(server);
    let mut due = Instant::now();
    while !stop.load(Ordering::SeqCst) {
        if fresh_after.is_some_and(|after| tally.sent % after == after - 1) {
            client = TcpClient::new(server);
        }
        packet[..2].copy_from_slice(&(tally.sent as u16).to_be_bytes());
        let asked = Instant::now();
        client.send(&packet);
        tally.sent += 1;
        match client.receive(PATIENCE) {
            Some(reply) => {
                tally.latencies_us.push(asked.elapsed().as_micros() as u64);
                let judged = match reply.get(..2) == Some(&packet[..2]) {
                    true => Message::read(&reply).and_then(|reply| judge(&reply)),
                    false => Err("a reply to another question".into()),
                };
                tally.judge(judged);
            }
            None => {
                tally.lost += 1;
                tally.complaint.get_or_insert("a connection ended without a reply".into());
                client = TcpClient::new(server);
            }
        }
        due += pace;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    tally
}
