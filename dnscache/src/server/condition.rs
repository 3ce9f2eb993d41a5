//! How this instance is doing: whether it answers a question of its own, and whether its threads
//! move.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};

use super::sockets::Foster;
use crate::admin::control::{Patient, Probe};
use crate::config::Config;
use crate::engine::wire::header::{HEADER_LEN, Header, class, flag, rcode, rtype};
use crate::engine::wire::name::{NAME_MAX, Name};
use crate::fast::Pulses;
use crate::node::takeover::elder::Household as _;
use crate::slow::bequest::Bequest;

/// What probes are told.
#[derive(Debug, Default)]
pub struct Condition {
    has_answered: AtomicBool,
    is_ending: AtomicBool,
    /// A thread that does not move.
    stuck: Mutex<Option<String>>,
    /// Questions of our own in a row that got no reply at all.
    silences: AtomicU32,
}

/// So many questions of our own without any reply are a sign that clients get none either. Each
/// waits longer than an upstream may take.
const SILENCES_MAX: u32 = 3;

impl Condition {
    /// The process has been told to end.
    pub fn ending(&self) {
        self.is_ending.store(true, Ordering::Relaxed);
    }

    fn set_stuck(&self, stuck: Option<String>) {
        *self.stuck.lock().unwrap_or_else(PoisonError::into_inner) = stuck;
    }

    /// Notes what became of a question of our own.
    fn heard(&self, heard: Heard) {
        match heard {
            Heard::Nothing => {
                self.silences.fetch_add(1, Ordering::Relaxed);
            }
            Heard::Reply(code) => {
                self.silences.store(0, Ordering::Relaxed);
                if code != rcode::SERVFAIL {
                    self.has_answered.store(true, Ordering::Relaxed);
                }
            }
            Heard::TurnedAway => self.silences.store(0, Ordering::Relaxed),
        }
    }

    fn has_answered(&self) -> bool {
        self.has_answered.load(Ordering::Relaxed)
    }
}

impl Patient for Condition {
    /// Once a question was answered, an outage does not make the instance unready: it goes on with
    /// what it knows, and nobody else would do better. Nor is it a reason to start it again.
    fn examine(&self, probe: Probe) -> Result<(), String> {
        if let Some(stuck) = &*self.stuck.lock().unwrap_or_else(PoisonError::into_inner) {
            return Err(stuck.clone());
        }
        if self.silences.load(Ordering::Relaxed) >= SILENCES_MAX {
            return Err(format!("no reply to {SILENCES_MAX} questions of our own"));
        }
        match probe {
            Probe::Live => Ok(()),
            Probe::Ready if self.is_ending.load(Ordering::Relaxed) => Err("ending".to_owned()),
            Probe::Ready if self.has_answered() => Ok(()),
            Probe::Ready => Err("no question has been answered yet".to_owned()),
        }
    }
}

/// What comes of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    /// A reply with this response code.
    Reply(u8),
    /// The connection was closed: there are too many of this machine's own.
    TurnedAway,
    /// Not a word.
    Nothing,
}

/// How long a reply may take: upstream has 4.8 s.
const REPLY_MAX: Duration = Duration::from_secs(6);
/// Pause between two questions until one is answered: the start of pods may wait for it.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// And afterwards.
const PAUSE: Duration = Duration::from_secs(5);

/// Asks this very instance, as a client over TCP, again and again: for a name below the first zone
/// that is forwarded which nobody can know, so that upstream has to answer; once it has, for the
/// zone's name servers, which costs next to nothing.
///
/// An address may be shared with another instance, so the connection is made without it: both ends
/// of it are ours, and one is given to whoever serves the address here, as a predecessor's would be.
pub async fn ask_oneself(config: Config, foster: Arc<Foster>, condition: Arc<Condition>) {
    let block = config.blocks.iter().find(|block| !block.forwards.is_empty());
    let place = block.and_then(|block| Some((*block.listen.first()?, block.zones.first()?)));
    let Some((address, zone)) = place else {
        // Nothing is forwarded, so there is nothing to wait for.
        return condition.heard(Heard::Reply(rcode::NOERROR));
    };
    loop {
        let query = match condition.has_answered() {
            true => query(zone.wire(), rtype::NS),
            false => query(&unknown_below(zone), rtype::A),
        };
        let heard = match timeout(REPLY_MAX, exchange(&foster, address, &query)).await {
            Ok(Ok(code)) => Heard::Reply(code),
            Ok(Err(_)) => Heard::TurnedAway,
            Err(_) => Heard::Nothing,
        };
        condition.heard(heard);
        sleep(if condition.has_answered() { PAUSE } else { FIRST_PAUSE }).await;
    }
}

/// A name below a zone that nobody has asked for, as it is on the wire; the zone itself if there is
/// no room.
fn unknown_below(zone: &Name) -> Vec<u8> {
    let label = format!("dnscache-probe-{:08x}", rand::random::<u32>());
    let mut name = vec![label.len() as u8];
    name.extend_from_slice(label.as_bytes());
    name.extend_from_slice(zone.wire());
    if name.len() > NAME_MAX { zone.wire().to_vec() } else { name }
}

/// Octets of the length before each message over TCP (RFC 1035 section 4.2.2).
const PREFIX_LEN: usize = 2;

/// A query with its length before it.
fn query(name: &[u8], qtype: u16) -> Vec<u8> {
    let mut query = vec![0; PREFIX_LEN + HEADER_LEN];
    let header = Header { id: rand::random(), flags: flag::RD, counts: [1, 0, 0, 0] };
    header.write(&mut query[PREFIX_LEN..]);
    query.extend_from_slice(name);
    query.extend(qtype.to_be_bytes());
    query.extend(class::IN.to_be_bytes());
    // A name has 255 octets at most.
    let len = (query.len() - PREFIX_LEN) as u16;
    query[..PREFIX_LEN].copy_from_slice(&len.to_be_bytes());
    query
}

/// One question on a connection of its own; the response code of the reply.
async fn exchange(foster: &Foster, address: SocketAddr, query: &[u8]) -> io::Result<u8> {
    let meeting = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let place = meeting.local_addr()?;
    let (ours, (theirs, _)) = tokio::try_join!(TcpStream::connect(place), meeting.accept())?;
    let theirs = theirs.into_std()?;
    foster.adopt(Bequest { listener: address, stream: theirs, received: Vec::new() }).await;
    let mut ours = ours;
    ours.write_all(query).await?;
    let mut reply = [0; PREFIX_LEN + HEADER_LEN];
    ours.read_exact(&mut reply).await?;
    Ok(reply[5] & 0xf)
}

/// A worker that has not moved for so long is stuck: it reads at least five times a second.
const STILL_MAX: Duration = Duration::from_secs(10);
/// Pause between two looks.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// Keeps an eye on the threads of the UDP plane.
pub async fn watch_pulses(pulses: Arc<Pulses>, condition: Arc<Condition>) {
    let mut seen: Vec<(u64, u64, Instant)> = Vec::new();
    loop {
        let now = Instant::now();
        let beats = pulses.read();
        seen = beats
            .iter()
            .map(|beat| {
                let before = seen.iter().find(|(id, ..)| *id == beat.id);
                match before {
                    Some((id, count, since)) if *count == beat.count => (*id, *count, *since),
                    _ => (beat.id, beat.count, now),
                }
            })
            .collect();
        let still = beats.iter().zip(&seen).find(|(_, (.., since))| now - *since > STILL_MAX);
        condition.set_stuck(still.map(|(beat, _)| {
            format!("the UDP worker {} has not moved for {} s", beat.name, STILL_MAX.as_secs())
        }));
        sleep(LOOK_PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_stands_still_is_found_and_one_that_ends_is_not() {
        let pulses = Arc::new(Pulses::default());
        let condition = Arc::new(Condition::default());
        let (moving, still) = (pulses.start("moving".into()), pulses.start("still".into()));
        let task = tokio::spawn(watch_pulses(Arc::clone(&pulses), Arc::clone(&condition)));
        for _ in 0..9 {
            moving.beat();
            sleep(Duration::from_secs(1)).await;
            assert_eq!(condition.examine(Probe::Live), Ok(()));
        }
        for _ in 0..4 {
            moving.beat();
            sleep(Duration::from_secs(1)).await;
        }
        let amiss = condition.examine(Probe::Live).expect_err("one stands still");
        assert_eq!(amiss, "the UDP worker still has not moved for 10 s");
        assert_eq!(condition.examine(Probe::Ready), Err(amiss));
        drop(still);
        moving.beat();
        sleep(Duration::from_secs(2)).await;
        assert_eq!(condition.examine(Probe::Live), Ok(()));
        task.abort();
    }

    #[test]
    fn ready_is_from_the_first_answer_to_the_end() {
        let condition = Condition::default();
        let not_yet = Err("no question has been answered yet".to_owned());
        assert_eq!(condition.examine(Probe::Ready), not_yet);
        condition.heard(Heard::Reply(rcode::SERVFAIL));
        assert_eq!(condition.examine(Probe::Ready), not_yet);
        condition.heard(Heard::Reply(rcode::NXDOMAIN));
        assert_eq!(condition.examine(Probe::Ready), Ok(()));
        condition.heard(Heard::Reply(rcode::SERVFAIL));
        assert_eq!(condition.examine(Probe::Ready), Ok(()), "an outage");
        condition.ending();
        assert_eq!(condition.examine(Probe::Ready), Err("ending".to_owned()));
        assert_eq!(condition.examine(Probe::Live), Ok(()));
    }

    #[test]
    fn silence_in_a_row_is_what_a_restart_may_mend() {
        let condition = Condition::default();
        condition.heard(Heard::Nothing);
        condition.heard(Heard::Nothing);
        condition.heard(Heard::Reply(rcode::SERVFAIL));
        condition.heard(Heard::Nothing);
        condition.heard(Heard::Nothing);
        condition.heard(Heard::TurnedAway);
        condition.heard(Heard::Nothing);
        condition.heard(Heard::Nothing);
        assert_eq!(condition.examine(Probe::Live), Ok(()));
        condition.heard(Heard::Nothing);
        let amiss = condition.examine(Probe::Live).expect_err("three in a row");
        assert_eq!(amiss, "no reply to 3 questions of our own");
    }
}
