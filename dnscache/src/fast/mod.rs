//! The UDP plane: threads that answer what is known and pass on what is not.
//!
//! Every worker has its own thread and its own SO_REUSEPORT socket for each address. The kernel
//! spreads clients over the sockets, so workers share nothing; and a thread with one socket needs
//! one blocking `recvmmsg` per batch, where one thread for several sockets would pay an `epoll_wait`
//! on top and serve one address late while it reads another. A node has two or three addresses, so
//! the threads stay few, and those without work sleep in the kernel.
//!
//! `worker` is the loop, `desk` what is done with one packet, `batch` and `socket` what they stand
//! on, `sys` the system calls.

mod batch;
mod desk;
mod local;
mod pulse;
mod socket;
mod sys;
mod worker;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use arc_swap::{ArcSwap, cache::Cache};

use self::batch::{BATCH_LEN, ReplySource};
use self::desk::Desk;
pub use self::pulse::{Beat, Pulse, Pulses};
use self::worker::{Decide, Worker};
use crate::bind::BindError;
use crate::counts::PlaneCounts;
use crate::engine::{ListenerId, Scratch};
use crate::handoff::Door;
use crate::logging::Quiet;
use crate::server::Plan;

/// The addresses served over UDP and the threads that serve them.
pub struct FastPlane {
    workers: NonZeroUsize,
    plans: Arc<ArcSwap<Plan>>,
    door: Door,
    counts: Arc<PlaneCounts>,
    shards: Shards,
    listeners: Vec<Listener>,
    pulses: Arc<Pulses>,
}

/// An address whose sockets are open and not read yet. Dropping it gives the address back.
#[derive(Debug)]
pub struct Bound {
    address: SocketAddr,
    sockets: Vec<UdpSocket>,
}

impl Bound {
    /// The address, with the port that was picked if 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl FastPlane {
    /// A plane that serves each address with `workers` threads under the plan in `plans`.
    ///
    /// `shards` is how many the counts have. Each thread counts in one of its own from 1 on;
    /// threads for which none is left share shard 0 with the slow plane, where counting is
    /// atomic. So `1 + workers * addresses` is the number to make.
    pub fn new(
        workers: NonZeroUsize,
        shards: usize,
        plans: Arc<ArcSwap<Plan>>,
        door: Door,
        counts: Arc<PlaneCounts>,
    ) -> Self {
        let shards = Shards::new(shards);
        let pulses = Arc::default();
        Self { workers, plans, door, counts, shards, listeners: Vec::new(), pulses }
    }

    /// Signs of life of the workers.
    pub fn pulses(&self) -> Arc<Pulses> {
        Arc::clone(&self.pulses)
    }

    /// Opens the sockets of an address without reading them, so that a reload can open all its
    /// new addresses before it commits to any. The kernel queues queries from here on.
    ///
    /// # Errors
    /// The address cannot be listened on; the message says what to do. Nothing stays open.
    pub fn bind(&self, address: SocketAddr) -> Result<Bound, BindError> {
        let sockets = socket::bind_group(address, self.workers)?;
        let address = sockets[0].local_addr().map_err(BindError::of("UDP", address))?;
        Ok(Bound { address, sockets })
    }

    /// Starts to serve an address as `id`, which the engine of every later plan must know.
    ///
    /// # Errors
    /// No thread could be started; the address is given back.
    pub fn start(&mut self, id: ListenerId, bound: Bound) -> Result<(), BindError> {
        let (plans, door, counts, pulses) = (&self.plans, &self.door, &self.counts, &self.pulses);
        let listener = Listener::start(id, bound, &mut self.shards, |parts| Worker {
            desk: Desk {
                listener: id,
                socket: Arc::clone(&parts.socket),
                door: door.clone(),
                counts: Arc::clone(counts),
                shard: parts.shard,
                scratch: Scratch::default(),
                glimpses: Vec::with_capacity(BATCH_LEN),
                refusals: Quiet::new(),
            },
            socket: parts.socket,
            source: parts.source,
            stop: parts.stop,
            plans: Cache::new(Arc::clone(plans)),
            counts: Arc::clone(counts),
            shard: parts.shard,
            pulse: pulses.start(parts.name),
        })?;
        self.listeners.push(listener);
        Ok(())
    }

    /// [`FastPlane::bind`] and [`FastPlane::start`]; returns the address with its actual port.
    ///
    /// # Errors
    /// As those two.
    pub fn listen(&mut self, id: ListenerId, address: SocketAddr) -> Result<SocketAddr, BindError> {
        let bound = self.bind(address)?;
        let actual = bound.address();
        self.start(id, bound)?;
        Ok(actual)
    }

    /// Stops serving `id`: queries already given to its sockets are answered, later ones go to
    /// whoever else has the address. Blocks for up to a quarter of a second.
    pub fn close(&mut self, id: ListenerId) {
        let closing = self.listeners.extract_if(.., |listener| listener.id == id).collect();
        close_all(closing, &mut self.shards);
    }

    /// Closes all addresses as [`FastPlane::close`] does, at once.
    pub fn drain(mut self) {
        close_all(std::mem::take(&mut self.listeners), &mut self.shards);
    }
}

/// Retires all sockets before it waits for any thread.
fn close_all(mut listeners: Vec<Listener>, shards: &mut Shards) {
    listeners.iter().for_each(Listener::retire);
    for listener in &mut listeners {
        listener.join();
        listener.shards.iter().for_each(|shard| shards.give_back(*shard));
    }
}

/// One address being served.
struct Listener {
    id: ListenerId,
    address: SocketAddr,
    /// Tells the threads to read what is queued and end.
    stop: Arc<AtomicBool>,
    sockets: Vec<Arc<UdpSocket>>,
    threads: Vec<JoinHandle<()>>,
    shards: Vec<usize>,
}

/// What one thread of a listener is given.
struct Parts {
    socket: Arc<UdpSocket>,
    source: ReplySource,
    stop: Arc<AtomicBool>,
    shard: usize,
    name: String,
}

impl Listener {
    /// Starts a thread per socket, each running what `employ` makes of its parts; all or none.
    fn start<P, D>(
        id: ListenerId,
        bound: Bound,
        shards: &mut Shards,
        employ: impl Fn(Parts) -> Worker<P, D>,
    ) -> Result<Self, BindError>
    where
        P: Send + Sync + 'static,
        D: Decide<P> + Send + 'static,
    {
        let Bound { address, sockets } = bound;
        let mut listener = Self {
            id,
            address,
            stop: Arc::default(),
            sockets: sockets.into_iter().map(Arc::new).collect(),
            threads: Vec::new(),
            shards: Vec::new(),
        };
        match listener.employ_all(shards, employ) {
            Ok(()) => Ok(listener),
            Err(cause) => {
                close_all(vec![listener], shards);
                Err(BindError::of("UDP", address)(cause))
            }
        }
    }

    fn employ_all<P, D>(
        &mut self,
        shards: &mut Shards,
        employ: impl Fn(Parts) -> Worker<P, D>,
    ) -> io::Result<()>
    where
        P: Send + Sync + 'static,
        D: Decide<P> + Send + 'static,
    {
        for (number, socket) in self.sockets.iter().enumerate() {
            let shard = shards.take();
            self.shards.push(shard);
            let name = format!("fast-{number}-{}", self.address);
            let worker = employ(Parts {
                name: name.clone(),
                socket: Arc::clone(socket),
                source: socket::reply_source(socket)?,
                stop: Arc::clone(&self.stop),
                shard,
            });
            let thread = thread::Builder::new().name(name);
            self.threads.push(thread.spawn(move || worker.run())?);
        }
        Ok(())
    }

    /// Takes the sockets out of the kernel's choice and tells the threads to finish.
    fn retire(&self) {
        for socket in &self.sockets {
            if let Err(error) = socket::retire(socket) {
                let address = self.address;
                tracing::warn!(%address, %error, "closing a socket that may still get queries");
            }
        }
        self.stop.store(true, Ordering::Release);
    }

    fn join(&mut self) {
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!(address = %self.address, "a UDP worker had ended in a panic");
            }
        }
    }
}

impl Drop for Listener {
    /// Threads of a plane that is dropped without [`FastPlane::drain`] end by themselves.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

/// Which shards of the counts have a thread writing them; 0 is shared and never given out alone.
struct Shards {
    taken: Vec<bool>,
}

impl Shards {
    fn new(len: usize) -> Self {
        Self { taken: vec![false; len] }
    }

    /// A shard nobody else writes, or 0.
    fn take(&mut self) -> usize {
        let free = (1..self.taken.len()).find(|shard| !self.taken[*shard]).unwrap_or(0);
        self.set(free, true);
        free
    }

    fn give_back(&mut self, shard: usize) {
        self.set(shard, false);
    }

    fn set(&mut self, shard: usize, taken: bool) {
        if let Some(slot) = self.taken.get_mut(shard) {
            *slot = taken;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::batch::{BATCH_LEN, Batch, Packet};
    use super::worker::Settled;
    use super::*;
    use crate::engine::{Facts, Now, Source};

    const WORKERS: NonZeroUsize = NonZeroUsize::new(2).expect("2 is not 0");
    const FACTS: Facts = Facts {
        block: None,
        qtype: 0,
        rcode: 0,
        dnssec_ok: false,
        source: Source::Refusal,
        shortcut: crate::engine::Shortcut::NotAnExpansion,
    };

    /// Answers every packet with its shard.
    struct ShardTeller(u8);

    impl Decide<()> for ShardTeller {
        fn decide(&mut self, _: &Arc<()>, _: Now, packet: &mut Packet<'_>) -> Option<Settled> {
            packet.reply[0] = self.0;
            Some(Settled { len: 1, facts: FACTS })
        }

        fn look_ahead(&mut self, (): &(), _: &mut Batch, _: usize) {}

        fn account(&mut self, (): &(), _: &Packet<'_>, _: &Settled, _: u64) {}
    }

    fn bind(address: SocketAddr) -> Bound {
        let sockets = socket::bind_group(address, WORKERS).expect("bound");
        Bound { address: sockets[0].local_addr().expect("bound"), sockets }
    }

    fn start(id: u16, bound: Bound, shards: &mut Shards) -> Listener {
        Listener::start(ListenerId(id), bound, shards, |parts| Worker {
            desk: ShardTeller(parts.shard as u8),
            socket: parts.socket,
            source: parts.source,
            stop: parts.stop,
            plans: Cache::new(Arc::new(ArcSwap::from_pointee(()))),
            counts: Arc::default(),
            shard: parts.shard,
            pulse: Pulses::default().start(parts.name),
        })
        .expect("started")
    }

    fn loopback() -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
    }

    fn client(address: SocketAddr) -> UdpSocket {
        let client = UdpSocket::bind(loopback()).expect("a loopback socket");
        client.connect(address).expect("connected");
        client.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
        client
    }

    /// Sends from `count` ports without waiting.
    fn send_many(address: SocketAddr, count: usize) -> Vec<UdpSocket> {
        let clients: Vec<_> = (0..count).map(|_| client(address)).collect();
        clients.iter().for_each(|client| assert_eq!(client.send(b"q").expect("sent"), 1));
        clients
    }

    /// The shards that answered `clients`; every one gets an answer.
    fn shards_heard(clients: &[UdpSocket]) -> Vec<u8> {
        let hear = |client: &UdpSocket| {
            let mut reply = [0; 8];
            assert_eq!(client.recv(&mut reply).expect("a reply"), 1);
            reply[0]
        };
        let mut heard: Vec<_> = clients.iter().map(hear).collect();
        heard.sort_unstable();
        heard.dedup();
        heard
    }

    #[test]
    fn workers_share_an_address_and_count_apart() {
        let mut shards = Shards::new(8);
        let bound = bind(loopback());
        let address = bound.address();
        let listener = start(0, bound, &mut shards);
        assert_eq!(shards_heard(&send_many(address, BATCH_LEN)), [1, 2]);
        close_all(vec![listener], &mut shards);
        assert_eq!(shards.take(), 1, "the shard is free again");
    }

    #[test]
    fn close_answers_what_is_queued_and_frees_the_address() {
        let mut shards = Shards::new(8);
        let bound = bind(loopback());
        let address = bound.address();
        let clients = send_many(address, 4 * BATCH_LEN);
        let listener = start(0, bound, &mut shards);
        close_all(vec![listener], &mut shards);
        assert_eq!(shards_heard(&clients), [1, 2]);
        UdpSocket::bind(address).expect("nobody has the address any more");
    }

    #[test]
    fn takeover_loses_no_query() {
        let (mut ours, mut theirs) = (Shards::new(8), Shards::new(8));
        let bound = bind(loopback());
        let address = bound.address();
        let old = start(0, bound, &mut ours);
        let new = start(0, bind(address), &mut theirs);
        let asking = thread::spawn(move || {
            (0..400).for_each(|_| assert!(!shards_heard(&send_many(address, 1)).is_empty()));
        });
        close_all(vec![old], &mut ours);
        asking.join().expect("each query has its answer");
        close_all(vec![new], &mut theirs);
    }

    #[test]
    fn listeners_close_one_by_one() {
        let mut shards = Shards::new(8);
        let (first, second) = (bind(loopback()), bind(loopback()));
        let address = second.address();
        let first = start(0, first, &mut shards);
        let second = start(1, second, &mut shards);
        close_all(vec![first], &mut shards);
        assert_eq!(shards_heard(&send_many(address, BATCH_LEN)), [3, 4]);
        close_all(vec![second], &mut shards);
    }

    #[test]
    fn shards_run_out_into_the_shared_one() {
        let mut shards = Shards::new(3);
        assert_eq!([(); 4].map(|()| shards.take()), [1, 2, 0, 0]);
        shards.give_back(0);
        shards.give_back(2);
        assert_eq!([(); 2].map(|()| shards.take()), [2, 0]);
        assert_eq!(Shards::new(0).take(), 0);
    }

    #[test]
    fn dropped_listener_ends_its_threads() {
        let mut listener = start(0, bind(loopback()), &mut Shards::new(8));
        let threads = std::mem::take(&mut listener.threads);
        drop(listener);
        threads.into_iter().for_each(|thread| thread.join().expect("ended in order"));
    }
}
