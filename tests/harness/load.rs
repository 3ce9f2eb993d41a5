//! A bounded load: so many questions a second, each waited for, and what became of them.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::message::Message;

/// What became of a load.
#[derive(Debug, Default)]
pub struct Tally {
    pub sent: u64,
    pub lost: u64,
    /// Replies that the judge did not like, and the first of its complaints.
    pub bad: u64,
    pub complaint: Option<String>,
    /// Microseconds from question to answer, in ascending order.
    pub latencies_us: Vec<u64>,
    /// The longest time in which one socket heard no answer, in microseconds.
    pub longest_gap_us: u64,
}

impl Tally {
    /// The latency that `per_mille` of the answers did not exceed, in microseconds.
    pub fn latency_us(&self, per_mille: usize) -> u64 {
        let last = self.latencies_us.len().saturating_sub(1);
        self.latencies_us.get(last * per_mille / 1_000).copied().unwrap_or(u64::MAX)
    }

    /// What the parts of a load came to, once each has ended.
    pub fn of(parts: impl IntoIterator<Item = thread::JoinHandle<Self>>) -> Self {
        let mut sum = Self::default();
        for part in parts {
            sum.add(part.join().expect("the load does not panic"));
        }
        sum.latencies_us.sort_unstable();
        sum
    }

    /// Adds what another part of the load came to; latencies are no longer in order.
    fn add(&mut self, part: Self) {
        self.sent += part.sent;
        self.lost += part.lost;
        self.bad += part.bad;
        self.complaint = self.complaint.take().or(part.complaint);
        self.latencies_us.extend(part.latencies_us);
        self.longest_gap_us = self.longest_gap_us.max(part.longest_gap_us);
    }

    /// Notes what the judge says of a reply.
    pub fn judge(&mut self, judged: Result<(), String>) {
        if let Err(complaint) = judged {
            self.bad += 1;
            self.complaint.get_or_insert(complaint);
        }
    }
}

/// Decides whether a reply is right; the error says why not.
pub type Judge = Arc<dyn Fn(&Message) -> Result<(), String> + Send + Sync>;

/// A load that runs until it is stopped.
pub struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<Tally>>,
}

/// How long a reply may take before it counts as lost.
const PATIENCE: Duration = Duration::from_secs(6);
const SOCKETS: u64 = 4;

impl Load {
    /// Asks `query` (its ID does not matter) `per_second` times a second.
    pub fn start(server: SocketAddr, query: &Message, per_second: u64, judge: Judge) -> Self {
        Self::start_from(SOCKETS, server, query, per_second, judge)
    }

    /// As [`Self::start`], from so many ports.
    pub fn start_from(
        sockets: u64,
        server: SocketAddr,
        query: &Message,
        per_second: u64,
        judge: Judge,
    ) -> Self {
        Self::spawn(sockets, server, std::slice::from_ref(query), per_second, judge)
    }

    /// Asks `queries` in turn, `per_second` questions a second in all.
    pub fn start_many(
        server: SocketAddr,
        queries: &[Message],
        per_second: u64,
        judge: Judge,
    ) -> Self {
        Self::spawn(SOCKETS, server, queries, per_second, judge)
    }

    fn spawn(
        sockets: u64,
        server: SocketAddr,
        queries: &[Message],
        per_second: u64,
        judge: Judge,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..sockets).map(|_| {
            let (stop, judge) = (stop.clone(), judge.clone());
            let packets: Vec<_> = queries.iter().map(Message::write).collect();
            thread::spawn(move || one_socket(server, packets, per_second / sockets, &stop, &judge))
        });
        Self { threads: threads.collect(), stop }
    }

    /// Stops asking, waits for what is still under way, and sums up.
    pub fn finish(self) -> Tally {
        self.stop.store(true, Ordering::SeqCst);
        Tally::of(self.threads)
    }
}

/// When each ID was asked, in microseconds since the start; 0 once it is answered.
type Pending = Vec<AtomicU64>;

fn one_socket(
    server: SocketAddr,
    packets: Vec<Vec<u8>>,
    per_second: u64,
    stop: &AtomicBool,
    judge: &Judge,
) -> Tally {
    let socket = UdpSocket::bind(("0.0.0.0", 0)).expect("a free port");
    socket.connect(server).expect("a loopback address");
    socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout above zero");
    let pending: Pending = (0..=u16::MAX).map(|_| AtomicU64::new(0)).collect();
    let done = AtomicBool::new(false);
    let tally = Mutex::new(Tally::default());
    let started = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| receive(&socket, &pending, started, &done, judge, &tally));
        let sent = send(&socket, packets, per_second, &pending, started, stop);
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end && open(&pending) > 0 {
            thread::sleep(Duration::from_millis(5));
        }
        done.store(true, Ordering::SeqCst);
        tally.lock().expect("the receiver does not panic").sent = sent;
    });
    let mut tally = tally.into_inner().expect("the receiver does not panic");
    tally.lost += open(&pending);
    tally
}

fn open(pending: &Pending) -> u64 {
    pending.iter().filter(|asked| asked.load(Ordering::SeqCst) > 0).count() as u64
}

fn send(
    socket: &UdpSocket,
    mut packets: Vec<Vec<u8>>,
    per_second: u64,
    pending: &Pending,
    started: Instant,
    stop: &AtomicBool,
) -> u64 {
    let (mut sent, mut forgone) = (0, 0);
    while !stop.load(Ordering::SeqCst) {
        let due = started.elapsed().as_micros() as u64 * per_second / 1_000_000;
        // A generator that was held up does not make up for it in a burst that no client sends.
        let behind_max = per_second / 20 + 1;
        forgone = due.saturating_sub(sent + behind_max).max(forgone);
        while sent + forgone < due {
            let id = sent as u16;
            let asked = &pending[usize::from(id)];
            if asked.load(Ordering::SeqCst) > 0 {
                // A whole turn of IDs ago and still not answered: wait rather than lose count.
                break;
            }
            let turn = sent as usize % packets.len();
            let packet = &mut packets[turn];
            packet[..2].copy_from_slice(&id.to_be_bytes());
            asked.store(started.elapsed().as_micros() as u64 + 1, Ordering::SeqCst);
            // A refused datagram is a lost question; it shows as one that stays pending.
            let _ = socket.send(packet);
            sent += 1;
        }
        thread::sleep(Duration::from_millis(1));
    }
    sent
}

fn receive(
    socket: &UdpSocket,
    pending: &Pending,
    started: Instant,
    done: &AtomicBool,
    judge: &Judge,
    tally: &Mutex<Tally>,
) {
    let mut buffer = [0; 4096];
    let mut heard_us = None;
    while !done.load(Ordering::SeqCst) {
        let Ok(len) = socket.recv(&mut buffer) else { continue };
        let now_us = started.elapsed().as_micros() as u64 + 1;
        if len < 12 {
            continue;
        }
        let id = u16::from_be_bytes([buffer[0], buffer[1]]);
        let asked_us = pending[usize::from(id)].swap(0, Ordering::SeqCst);
        let judged = Message::read(&buffer[..len]).and_then(|reply| judge(&reply));
        let mut tally = tally.lock().expect("the sender does not panic");
        if asked_us == 0 {
            tally.bad += 1;
            tally.complaint.get_or_insert("a second reply to one question".into());
            continue;
        }
        tally.latencies_us.push(now_us.saturating_sub(asked_us));
        let gap_us = now_us - heard_us.replace(now_us).unwrap_or(now_us);
        tally.longest_gap_us = tally.longest_gap_us.max(gap_us);
        tally.judge(judged);
    }
}
