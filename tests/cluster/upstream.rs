//! The cluster's DNS server: the world behind a UDP and TCP port on loopback, with a latency.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::world::Shared;
use crate::harness::message::Message;
use crate::harness::upstream::{Asked, Upstream};
use crate::harness::zone::{rcode_name, type_name};

/// Answers that wait for their latency to pass; more are not answered, as by a full socket.
const WAITING_MAX: usize = 4_096;
/// Exchanges kept to explain a difference.
const RECENT_MAX: usize = 64;
/// No question for so long: nobody is asking.
const QUIET: Duration = Duration::from_millis(60);

/// A running server; it ends when this is dropped.
pub struct WorldUpstream {
    server: Upstream,
    recent: Arc<Mutex<VecDeque<String>>>,
}

/// A reply and when it goes out.
type Waiting = (Instant, Asked, Message);

impl WorldUpstream {
    /// Listens on `address` (port 0: any) and answers after `latency`.
    pub fn start(address: SocketAddr, world: Shared, latency: Duration) -> std::io::Result<Self> {
        let recent = Arc::new(Mutex::new(VecDeque::with_capacity(RECENT_MAX)));
        let noted = recent.clone();
        let (later, waiting) = sync_channel(WAITING_MAX);
        if !latency.is_zero() {
            thread::spawn(move || reply_when_due(&waiting));
        }
        let server = Upstream::try_start(address, move |asked| {
            let reply = world.read().reply(&asked.message);
            note(&noted, &reply);
            send(asked, reply, latency, &later);
        })?;
        Ok(Self { server, recent })
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// Questions so far, probes of health and loops left out.
    pub fn questions(&self) -> usize {
        self.server.total()
    }

    /// How often `NAME. TYPE` was asked.
    pub fn count(&self, question: &str) -> usize {
        self.server.count(question)
    }

    /// Questions so far, once no more arrive: what a client no longer waits for is counted too.
    pub fn questions_settled(&self) -> usize {
        let end = Instant::now() + Duration::from_secs(2);
        let (mut count, mut since) = (self.questions(), Instant::now());
        while since.elapsed() < QUIET && Instant::now() < end {
            thread::sleep(Duration::from_millis(5));
            let now = self.questions();
            if now != count {
                (count, since) = (now, Instant::now());
            }
        }
        count
    }

    /// The last exchanges, the oldest first.
    pub fn recent(&self) -> Vec<String> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

fn send(asked: Asked, reply: Message, latency: Duration, later: &SyncSender<Waiting>) {
    if latency.is_zero() {
        return asked.reply(&reply);
    }
    // Full: the question is lost, and its asker tries again.
    let _ = later.try_send((Instant::now() + latency, asked, reply));
}

/// The latency is the same for all, so replies are due in the order of their questions.
fn reply_when_due(waiting: &Receiver<Waiting>) {
    while let Ok((due, asked, reply)) = waiting.recv() {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        asked.reply(&reply);
    }
}

fn note(recent: &Mutex<VecDeque<String>>, reply: &Message) {
    let Some(question) = reply.questions.first() else { return };
    let line = format!(
        "{} {} -> {} {:?}",
        question.name,
        type_name(question.qtype),
        rcode_name(reply.rcode()),
        reply.answer.iter().map(ToString::to_string).collect::<Vec<_>>()
    );
    let mut recent = recent.lock().unwrap_or_else(PoisonError::into_inner);
    if recent.len() == RECENT_MAX {
        recent.pop_front();
    }
    recent.push_back(line);
}
