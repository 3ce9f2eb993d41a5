//! Sends questions, matches and checks replies, in one thread that spins.
//!
//! [`Generator::saturate`] keeps a fixed number of questions outstanding (closed loop): each
//! client sends a burst, and the next when that is answered. [`Generator::pace`] sends at a fixed
//! rate whatever happens (open loop) and takes latency from the moment a question was due, so that
//! a stall shows in every question it delayed.

use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::link::Link;
use super::names::{Question, Said, Template};
use super::workload::Workload;

/// Questions of one client in one burst, at most: what the kernel cuts one datagram into.
pub const BURST_MAX: usize = 64;
/// How long after the last question a reply still counts: as long as a stub resolver waits.
const PATIENCE: Duration = Duration::from_secs(5);
/// A burst with a lost query would hold up its client for good; it goes on after this long.
const STALL: Duration = Duration::from_millis(250);
/// Longer latencies count as this: far above the patience.
const LATENCY_NS_MAX: u64 = 60_000_000_000;
/// IDs in use per client: with two seconds of patience, more than a lossy server can leave open.
const SLOTS: usize = 1 << 13;

/// What became of the questions of one run.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub asked: u64,
    pub answered: u64,
    pub wrong: u64,
    pub lost: u64,
    /// While questions were sent; replies that came later count as answered all the same.
    pub elapsed: Duration,
    /// Nanoseconds from the moment a question was due; empty in a closed loop.
    pub latency: Histogram<u64>,
}

impl Outcome {
    fn new() -> Self {
        let latency = Histogram::new_with_max(LATENCY_NS_MAX, 3).expect("bounds it supports");
        Self { asked: 0, answered: 0, wrong: 0, lost: 0, elapsed: Duration::ZERO, latency }
    }

    /// Answered questions per second.
    pub fn rate(&self) -> f64 {
        self.answered as f64 / self.elapsed.as_secs_f64()
    }

    /// p50, p99 and p99.9 in microseconds.
    pub fn latency_us(&self) -> [f64; 3] {
        [0.5, 0.99, 0.999].map(|share| self.latency.value_at_quantile(share) as f64 / 1000.0)
    }
}

/// An open loop.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    pub per_second: f64,
    /// Questions that are due wait until there are as many.
    pub burst_min: usize,
    pub open_max: usize,
}

/// What the generator does while there is nothing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idle {
    /// Looks again at once: a server never pays for waking it.
    Spin,
    /// The same, but lets the upstream, which may share its core, go first.
    Yield,
    /// Waits for the next reply.
    Sleep,
}

/// Clients of one server.
pub struct Generator {
    clients: Vec<Client>,
    burst: Vec<Question>,
    packets: Vec<u8>,
    idle: Idle,
}

/// One socket or connection and its open questions.
struct Client {
    link: Box<dyn Link>,
    slots: Vec<Slot>,
    next: usize,
    /// Questions of the current burst that are not answered.
    outstanding: usize,
    /// Number of the current burst.
    burst: u32,
    burst_at: Instant,
}

/// An open question; its position is its ID.
#[derive(Clone, Copy, Default)]
struct Slot {
    question: Question,
    burst: u32,
    /// Nanoseconds since the run began, plus one; zero: not in use.
    due_ns: u64,
}

impl Generator {
    pub fn new(links: Vec<Box<dyn Link>>, idle: Idle) -> Self {
        let clients = links.into_iter().map(Client::new).collect();
        Self { clients, burst: Vec::new(), packets: Vec::new(), idle }
    }

    /// Closed loop: every client has one burst of `burst_len` outstanding, until `time` is over or
    /// the workload ends. `tick` is called about every millisecond with the time so far.
    pub fn saturate(
        &mut self,
        workload: &mut dyn Workload,
        burst_len: usize,
        time: Duration,
        tick: &mut dyn FnMut(Duration),
    ) -> anyhow::Result<Outcome> {
        let mut outcome = Outcome::new();
        let (began, mut ticked) = (Instant::now(), Duration::ZERO);
        let mut finished = false;
        loop {
            let now = began.elapsed();
            if now >= time || finished {
                break;
            }
            if now - ticked > Duration::from_millis(1) {
                ticked = now;
                tick(now);
            }
            let mut moved = false;
            for at in 0..self.clients.len() {
                moved |= self.receive(at, workload, began, &mut outcome)? > 0;
                let client = &self.clients[at];
                if client.outstanding == 0 || client.burst_at.elapsed() > STALL {
                    self.ask(at, workload, burst_len, now, 0, &mut outcome);
                    finished |= self.burst.is_empty();
                    moved = true;
                }
            }
            if !moved {
                self.rest();
            }
        }
        outcome.elapsed = began.elapsed();
        self.drain(workload, began, &mut outcome)?;
        outcome.latency.reset();
        Ok(outcome)
    }

    /// Open loop: what `pace` says for `time`, in bursts of the questions that are due.
    ///
    /// At most `pace.open_max` are open at once, which any receive buffer has room for: a server
    /// that the machine holds up loses none. What waits for that is late, and counts as late.
    pub fn pace(
        &mut self,
        workload: &mut dyn Workload,
        pace: &Pace,
        time: Duration,
        tick: &mut dyn FnMut(Duration),
    ) -> anyhow::Result<Outcome> {
        let mut outcome = Outcome::new();
        let (began, interval_ns) = (Instant::now(), 1e9 / pace.per_second);
        let (mut turn, mut ticked) = (0, Duration::ZERO);
        let (mut heard, mut given_up) = (Duration::ZERO, 0);
        loop {
            let now = began.elapsed();
            let due = (now.min(time).as_nanos() as f64 / interval_ns) as u64 + 1;
            let waiting = due.saturating_sub(outcome.asked) as usize;
            let is_done = now >= time && waiting < pace.burst_min;
            if is_done || now >= time + PATIENCE {
                break;
            }
            if now - ticked > Duration::from_millis(1) {
                ticked = now;
                tick(now);
            }
            let replied = outcome.answered + outcome.wrong + given_up;
            // Replies to questions given up make it less than none.
            let mut open = outcome.asked.saturating_sub(replied);
            if open > 0 && now - heard > STALL {
                (given_up, open) = (given_up + open, 0);
            }
            let room = pace.open_max.saturating_sub(open as usize);
            let count = waiting.min(room).min(BURST_MAX);
            let asks = count >= pace.burst_min;
            if asks {
                let first_due = Duration::from_nanos((outcome.asked as f64 * interval_ns) as u64);
                self.ask(turn, workload, count, first_due, interval_ns as u64, &mut outcome);
                turn = (turn + 1) % self.clients.len();
            }
            let mut received = 0;
            for at in 0..self.clients.len() {
                received += self.receive(at, workload, began, &mut outcome)?;
            }
            if received > 0 || open == 0 {
                heard = now;
            } else if !asks {
                self.rest();
            }
        }
        outcome.elapsed = began.elapsed();
        self.drain(workload, began, &mut outcome)?;
        Ok(outcome)
    }

    /// Sends the next burst of client `at`; question `n` of it was due `n` times `step_ns` after
    /// `due`.
    fn ask(
        &mut self,
        at: usize,
        workload: &mut dyn Workload,
        count: usize,
        due: Duration,
        step_ns: u64,
        outcome: &mut Outcome,
    ) {
        self.burst.clear();
        workload.burst(at, count.min(BURST_MAX), &mut self.burst);
        let client = &mut self.clients[at];
        client.burst = client.burst.wrapping_add(1);
        client.burst_at = Instant::now();
        client.outstanding = self.burst.len();
        outcome.asked += self.burst.len() as u64;
        let mut due_ns = due.as_nanos() as u64 + 1;
        for run in self.burst.chunk_by(|left, right| left.template == right.template) {
            let template = &workload.templates()[usize::from(run[0].template)];
            let len = template.packet_len();
            self.packets.resize(run.len() * len, 0);
            for (question, packet) in run.iter().zip(self.packets.chunks_exact_mut(len)) {
                let id = client.open(*question, due_ns, outcome);
                template.write(id, question.number, packet);
                due_ns += step_ns;
            }
            client.link.send(&self.packets, len);
        }
    }

    fn receive(
        &mut self,
        at: usize,
        workload: &mut dyn Workload,
        began: Instant,
        outcome: &mut Outcome,
    ) -> anyhow::Result<usize> {
        let Client { link, slots, outstanding, burst, .. } = &mut self.clients[at];
        let mut now_ns = 0;
        let received = link.receive(&mut |reply| {
            if now_ns == 0 {
                now_ns = began.elapsed().as_nanos() as u64;
            }
            let Some((slot, said)) = close(slots, workload.templates(), reply) else {
                outcome.wrong += 1;
                return;
            };
            outcome.answered += u64::from(said != Said::Wrong);
            outcome.wrong += u64::from(said == Said::Wrong);
            outcome.latency.saturating_record(now_ns.saturating_sub(slot.due_ns));
            if slot.burst == *burst {
                *outstanding -= 1;
                workload.replied(at, slot.question, said);
            }
        })?;
        Ok(received)
    }

    /// Waits for what is still open and counts what does not come.
    fn drain(
        &mut self,
        workload: &mut dyn Workload,
        began: Instant,
        outcome: &mut Outcome,
    ) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        while self.clients.iter().any(Client::waits) && Instant::now() < until {
            for at in 0..self.clients.len() {
                while self.receive(at, workload, began, outcome)? > 0 {}
            }
            self.sleep();
        }
        for client in &mut self.clients {
            outcome.lost += client.forget();
        }
        Ok(())
    }

    fn rest(&self) {
        match self.idle {
            Idle::Spin => std::hint::spin_loop(),
            Idle::Yield => thread::yield_now(),
            Idle::Sleep => self.sleep(),
        }
    }

    /// Until a reply is there, at most a millisecond.
    fn sleep(&self) {
        let polled = self.clients.iter();
        let polled = polled.map(|client| PollFd::new(client.link.descriptor(), PollFlags::POLLIN));
        let mut polled: Vec<PollFd<'_>> = polled.collect();
        // A signal that interrupts it ends the wait early, which is harmless.
        let _ = poll(&mut polled, PollTimeout::from(1_u8));
    }
}

impl Client {
    fn new(link: Box<dyn Link>) -> Self {
        let slots = vec![Slot::default(); SLOTS];
        Self { link, slots, next: 0, outstanding: 0, burst: 0, burst_at: Instant::now() }
    }

    /// Takes an ID for a question. One that is open since the IDs came round once is lost, unless
    /// it is young: then the next is taken.
    fn open(&mut self, question: Question, due_ns: u64, outcome: &mut Outcome) -> u16 {
        for _ in 0..SLOTS {
            self.next = (self.next + 1) % SLOTS;
            let open_ns = self.slots[self.next].due_ns;
            let is_lost = open_ns != 0 && due_ns > open_ns + PATIENCE.as_nanos() as u64;
            outcome.lost += u64::from(is_lost);
            if open_ns == 0 || is_lost {
                break;
            }
        }
        self.slots[self.next] = Slot { question, burst: self.burst, due_ns };
        self.next as u16
    }

    fn waits(&self) -> bool {
        self.slots.iter().any(|slot| slot.due_ns != 0)
    }

    /// Closes all open questions and says how many there were.
    fn forget(&mut self) -> u64 {
        let open = self.slots.iter().filter(|slot| slot.due_ns != 0).count();
        self.slots.fill(Slot::default());
        self.outstanding = 0;
        open as u64
    }
}

/// The open question `reply` belongs to and what it says; `None` if there is none.
fn close(slots: &mut [Slot], templates: &[Template], reply: &[u8]) -> Option<(Slot, Said)> {
    let id = u16::from_be_bytes(*reply.first_chunk::<2>()?);
    let slot = std::mem::take(slots.get_mut(usize::from(id))?);
    let template = templates.get(usize::from(slot.question.template))?;
    (slot.due_ns != 0).then(|| (slot, template.said(reply, slot.question.number)))
}
