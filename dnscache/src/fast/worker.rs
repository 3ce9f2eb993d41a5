//! The loop of the fast plane: receive a batch, decide each packet, send a batch, count.
//!
//! The loop knows sockets, time and what to do when something panics; what to do with a packet is
//! the [`Decide`] it is given (`desk` in the program).

use std::io;
use std::net::UdpSocket;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, cache::Cache};

use super::batch::{BATCH_LEN, Batch, Packet, ReplySource, Sent, Wait};
use super::pulse::Pulse;
use crate::clock;
use crate::counts::PlaneCounts;
use crate::engine::{Facts, Now};
use crate::logging::Quiet;

/// Decides about packets under a plan `P`.
pub(super) trait Decide<P> {
    /// Settles one packet; what is to be sent now stands at the front of `packet.reply`.
    fn decide(&mut self, plan: &Arc<P>, now: Now, packet: &mut Packet<'_>) -> Option<Settled>;

    /// Looks at a batch before its packets are settled one by one.
    fn look_ahead(&mut self, plan: &P, batch: &mut Batch, received: usize);

    /// Counts and logs one packet that [`Decide::decide`] answered, once its reply has left.
    fn account(&mut self, plan: &P, packet: &Packet<'_>, settled: &Settled, duration_us: u64);
}

/// A reply that was written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settled {
    /// Octets.
    pub(super) len: usize,
    /// What happened.
    pub(super) facts: Facts,
}

/// One thread's share of one address.
pub(super) struct Worker<P, D> {
    /// Its own socket; late replies share it.
    pub(super) socket: Arc<UdpSocket>,
    /// Which address replies leave from.
    pub(super) source: ReplySource,
    /// Set once the socket is retired: read what is queued, then end.
    pub(super) stop: Arc<AtomicBool>,
    /// The plan in force.
    pub(super) plans: Cache<Arc<ArcSwap<P>>, Arc<P>>,
    /// What to do with a packet.
    pub(super) desk: D,
    /// Where to count what belongs to no block.
    pub(super) counts: Arc<PlaneCounts>,
    /// Under which number.
    pub(super) shard: usize,
    /// The sign that it moves.
    pub(super) pulse: Pulse,
}

/// How often a worker that must stop reads before it stops whatever still comes. That is 65,536
/// datagrams, several times what a receive buffer of 4 MiB holds, so a retired socket is always
/// read empty.
const LAST_BATCHES_MAX: usize = 1024;

/// An empty queue is looked at again after this before the socket is given up: the kernel may
/// have chosen the socket for a datagram just before it was retired.
const LAST_LOOK_AFTER: Duration = Duration::from_millis(1);

/// Pause after an error that will not pass by itself, so that it does not cost a whole core.
const ERROR_PAUSE: Duration = Duration::from_millis(50);

impl<P, D: Decide<P>> Worker<P, D> {
    /// Serves until `stop` is set and the socket is empty. A panic outside of a packet's turn costs
    /// the batch at hand; the address is not left with a socket nobody reads.
    pub(super) fn run(mut self) {
        static BROKEN: Quiet = Quiet::new();
        // What a panic leaves half done is the batch, which is made anew, and counts.
        while catch_unwind(AssertUnwindSafe(|| self.serve())).is_err() {
            self.counts.panicked(self.shard);
            if let Some(times) = BROKEN.count(clock::now(), 1) {
                tracing::error!(times, "a UDP worker panicked; it goes on with the next batch");
            }
            thread::sleep(ERROR_PAUSE);
        }
    }

    fn serve(&mut self) {
        let mut batch = Batch::new(self.source);
        let mut settled = Vec::with_capacity(BATCH_LEN);
        let mut troubles = Troubles::default();
        let mut last = LastBatches::default();
        loop {
            self.pulse.beat();
            let stopping = self.stop.load(Ordering::Acquire);
            let wait = if stopping { Wait::No } else { Wait::ForOne };
            let received = batch
                .receive(&self.socket, wait)
                .unwrap_or_else(|error| troubles.unreadable(&self.socket, &error));
            // Looked at in idle turns too, so that a replaced plan is let go within the timeout.
            let plan = self.plans.load();
            if stopping && last.is_over(received) {
                return;
            }
            if received == 0 {
                continue;
            }
            let (now, started) = (clock::now(), Instant::now());
            let mut panics = each(1, |_| self.desk.look_ahead(plan, &mut batch, received));
            panics += each(received, |index| {
                let Some(mut packet) = batch.packet(index) else {
                    return self.counts.oversized(self.shard);
                };
                let Some(reply) = self.desk.decide(plan, now, &mut packet) else {
                    return;
                };
                settled.push((index, reply));
                batch.queue(index, reply.len);
            });
            let sent = batch.send(&self.socket);
            let duration_us = started.elapsed().as_micros() as u64;
            panics += each(settled.len(), |number| {
                let (index, reply) = &settled[number];
                let Some(packet) = batch.packet(*index) else {
                    return;
                };
                self.desk.account(plan, &packet, reply, duration_us);
            });
            settled.clear();
            (0..panics).for_each(|_| self.counts.panicked(self.shard));
            (0..sent.failed).for_each(|_| self.counts.send_failed(self.shard));
            troubles.report(now, panics, sent);
        }
    }
}

/// Calls `settle` with every index below `count` and says how often it panicked. A panic costs the
/// packet it was about; the others of the batch still get their turn, and it is not tried again.
fn each(count: usize, mut settle: impl FnMut(usize)) -> usize {
    let (mut next, mut panics) = (0, 0);
    while next < count {
        // What a panic leaves half done is a reply slot that is not sent, and counts.
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            while next < count {
                let index = next;
                next += 1;
                settle(index);
            }
        }));
        panics += usize::from(outcome.is_err());
    }
    panics
}

/// The reads of a worker that must stop.
#[derive(Default)]
struct LastBatches {
    read: usize,
    was_empty: bool,
}

impl LastBatches {
    /// Whether the read that brought `received` datagrams was the last one.
    fn is_over(&mut self, received: usize) -> bool {
        let is_empty = received == 0;
        if is_empty && self.was_empty || self.read >= LAST_BATCHES_MAX {
            return true;
        }
        if is_empty {
            thread::sleep(LAST_LOOK_AFTER);
        }
        self.read += 1;
        self.was_empty = is_empty;
        false
    }
}

/// What went wrong, each kind written at most once a minute.
#[derive(Default)]
struct Troubles {
    unreadable: Quiet,
    panics: Quiet,
    unsent: Quiet,
}

impl Troubles {
    /// Reports a socket that cannot be read and pauses; returns the number of datagrams: none.
    #[cold]
    fn unreadable(&mut self, socket: &UdpSocket, error: &io::Error) -> usize {
        if let Some(times) = self.unreadable.count(clock::now(), 1) {
            let address = socket.local_addr().ok();
            tracing::error!(?address, %error, times, "cannot read from a UDP socket");
        }
        thread::sleep(ERROR_PAUSE);
        0
    }

    fn report(&mut self, now: Now, panics: usize, sent: Sent) {
        if let Some(packets) = self.panics.count(now, panics as u64) {
            tracing::error!(packets, "panic while answering; these packets got no reply");
        }
        if let Some(replies) = self.unsent.count(now, sent.failed as u64) {
            let error = sent.last_error.map(|error| error.to_string()).unwrap_or_default();
            tracing::warn!(replies, error, "the kernel refused to send replies");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::mpsc;

    use super::*;
    use crate::engine::Source;
    use crate::fast::socket;

    const FACTS: Facts = Facts {
        block: None,
        qtype: 0,
        rcode: 0,
        dnssec_ok: false,
        source: Source::Refusal,
        shortcut: crate::engine::Shortcut::NotAnExpansion,
    };

    /// Answers with the plan's text and the packet; panics at "panic", drops "drop", panics in
    /// the accounts at "unaccountable", and reports what it accounted for.
    struct Parrot(mpsc::Sender<String>);

    impl Decide<String> for Parrot {
        fn look_ahead(&mut self, _: &String, batch: &mut Batch, _: usize) {
            let first = batch.packet(0).map(|packet| packet.bytes.to_vec());
            assert_ne!(first.as_deref(), Some(&b"unforeseeable"[..]), "as asked");
        }

        fn decide(
            &mut self,
            plan: &Arc<String>,
            _: Now,
            packet: &mut Packet<'_>,
        ) -> Option<Settled> {
            match packet.bytes {
                b"panic" => panic!("as asked"),
                b"drop" => None,
                bytes => {
                    let reply = [plan.as_bytes(), bytes].concat();
                    packet.reply[..reply.len()].copy_from_slice(&reply);
                    Some(Settled { len: reply.len(), facts: FACTS })
                }
            }
        }

        fn account(&mut self, _: &String, packet: &Packet<'_>, settled: &Settled, _: u64) {
            assert_ne!(packet.bytes, b"unaccountable", "as asked");
            let reply = String::from_utf8_lossy(&packet.reply[..settled.len]).into_owned();
            // The test may have seen enough.
            let _ = self.0.send(reply);
        }
    }

    struct Bench {
        address: SocketAddr,
        socket: Arc<UdpSocket>,
        stop: Arc<AtomicBool>,
        plans: Arc<ArcSwap<String>>,
        accounts: mpsc::Receiver<String>,
        client: UdpSocket,
        worker: Option<Worker<String, Parrot>>,
    }

    fn bench() -> Bench {
        let address = "127.0.0.1:0".parse().expect("an address");
        let socket = Arc::new(socket::bind(address).expect("bound"));
        let address = socket.local_addr().expect("bound");
        let stop = Arc::new(AtomicBool::new(false));
        let plans = Arc::new(ArcSwap::from_pointee("one ".to_owned()));
        let (sender, accounts) = mpsc::channel();
        let client = UdpSocket::bind("127.0.0.1:0").expect("a loopback socket");
        client.connect(address).expect("connected");
        client.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
        let worker = Some(Worker {
            socket: Arc::clone(&socket),
            source: ReplySource::Socket,
            stop: Arc::clone(&stop),
            plans: Cache::new(Arc::clone(&plans)),
            desk: Parrot(sender),
            counts: Arc::default(),
            shard: 1,
            pulse: crate::fast::Pulses::default().start("test".into()),
        });
        Bench { address, socket, stop, plans, accounts, client, worker }
    }

    impl Bench {
        fn start(&mut self) -> thread::JoinHandle<()> {
            let worker = self.worker.take().expect("started once");
            thread::spawn(move || worker.run())
        }

        fn ask(&self, text: &str) -> String {
            self.client.send(text.as_bytes()).expect("sent");
            self.hear()
        }

        fn hear(&self) -> String {
            let mut reply = [0; 64];
            let len = self.client.recv(&mut reply).expect("a reply");
            String::from_utf8_lossy(&reply[..len]).into_owned()
        }

        fn stop(&self, thread: thread::JoinHandle<()>) {
            socket::retire(&self.socket).expect("retired");
            self.stop.store(true, Ordering::Release);
            thread.join().expect("the worker ends in order");
        }
    }

    #[test]
    fn replies_are_sent_and_accounted_for() {
        let mut bench = bench();
        let thread = bench.start();
        assert_eq!(bench.ask("a"), "one a");
        assert_eq!(bench.accounts.recv().as_deref(), Ok("one a"));
        bench.stop(thread);
    }

    #[test]
    fn new_plan_is_in_force_for_the_next_packet() {
        let mut bench = bench();
        let thread = bench.start();
        assert_eq!(bench.ask("a"), "one a");
        bench.plans.store(Arc::new("two ".to_owned()));
        // The worker may have looked at the plan just before; then this packet has the old one.
        bench.ask("b");
        assert_eq!(bench.ask("c"), "two c");
        bench.stop(thread);
    }

    #[test]
    fn panic_costs_one_packet_of_a_batch() {
        let mut bench = bench();
        for text in ["a", "panic", "b", "drop", "unaccountable", "panic", "c"] {
            bench.client.send(text.as_bytes()).expect("sent");
        }
        bench.client.send(&[0; 5000]).expect("sent");
        let thread = bench.start();
        let heard: Vec<_> = (0..4).map(|_| bench.hear()).collect();
        assert_eq!(heard, ["one a", "one b", "one unaccountable", "one c"]);
        let accounts: Vec<_> = bench.accounts.iter().take(3).collect();
        assert_eq!(accounts, ["one a", "one b", "one c"]);
        assert_eq!(bench.ask("after"), "one after");
        bench.stop(thread);
    }

    #[test]
    fn panic_while_looking_ahead_costs_no_packet() {
        let mut bench = bench();
        let thread = bench.start();
        assert_eq!(bench.ask("unforeseeable"), "one unforeseeable");
        assert_eq!(bench.ask("after"), "one after");
        bench.stop(thread);
    }

    /// A plan that panics in the thread that lets it go last.
    struct Fragile {
        breaks: bool,
    }

    impl Drop for Fragile {
        fn drop(&mut self) {
            assert!(!self.breaks, "as asked");
        }
    }

    /// Sends every packet back.
    struct Echo;

    impl Decide<Fragile> for Echo {
        fn look_ahead(&mut self, _: &Fragile, _: &mut Batch, _: usize) {}

        fn decide(&mut self, _: &Arc<Fragile>, _: Now, packet: &mut Packet<'_>) -> Option<Settled> {
            packet.reply[..packet.bytes.len()].copy_from_slice(packet.bytes);
            Some(Settled { len: packet.bytes.len(), facts: FACTS })
        }

        fn account(&mut self, _: &Fragile, _: &Packet<'_>, _: &Settled, _: u64) {}
    }

    #[test]
    fn a_worker_that_panics_serves_on() {
        let bench = bench();
        let plans = Arc::new(ArcSwap::from_pointee(Fragile { breaks: true }));
        let counts = Arc::new(PlaneCounts::new(1));
        let worker = Worker {
            socket: Arc::clone(&bench.socket),
            source: ReplySource::Socket,
            stop: Arc::clone(&bench.stop),
            plans: Cache::new(Arc::clone(&plans)),
            desk: Echo,
            counts: Arc::clone(&counts),
            shard: 1,
            pulse: crate::fast::Pulses::default().start("test".into()),
        };
        let thread = thread::spawn(move || worker.run());
        assert_eq!(bench.ask("before"), "before");
        plans.store(Arc::new(Fragile { breaks: false }));
        // The worker lets the old plan go in its next turn, with a packet or without.
        while counts.read().panicked == 0 {
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(bench.ask("after"), "after");
        bench.stop(thread);
    }

    #[test]
    fn stopping_worker_answers_what_is_queued() {
        const COUNT: usize = 3 * BATCH_LEN;
        let mut bench = bench();
        let clients: Vec<_> = (0..COUNT).map(|_| bench.client.try_clone()).collect();
        for client in &clients {
            client.as_ref().expect("cloned").send(b"q").expect("sent");
        }
        socket::retire(&bench.socket).expect("retired");
        bench.stop.store(true, Ordering::Release);
        bench.worker.take().expect("started once").run();
        (0..COUNT).for_each(|_| assert_eq!(bench.hear(), "one q"));
        assert_ne!(bench.address.port(), 0);
    }

    #[test]
    fn stopping_worker_ends_even_if_packets_never_do() {
        let mut last = LastBatches::default();
        let reads = (0..).take_while(|_| !last.is_over(BATCH_LEN)).count();
        assert_eq!(reads, LAST_BATCHES_MAX);
    }

    #[test]
    fn every_index_gets_its_turn_once() {
        let mut turns = Vec::new();
        let panics = each(5, |index| {
            turns.push(index);
            assert!(index % 2 == 0, "odd ones fail, as asked");
        });
        assert_eq!((turns, panics), (vec![0, 1, 2, 3, 4], 2));
    }
}
