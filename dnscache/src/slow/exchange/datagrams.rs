//! The ports from which one upstream is asked over UDP.
//!
//! Every question goes out from one of [`PORTS`] sockets, chosen at random, each on a random port
//! and connected to the upstream; a socket is replaced after 32 questions or 250 ms
//! ([`port`](super::port)). Entropy against off-path forgery (RFC 5452):
//!
//! - *A forged reply must name port, ID and question.* The port is drawn evenly from 1024 to
//!   65535 less seven (64,505: 15.98 bits) and less those an operator keeps for services
//!   ([`reserved`](super::reserved); a cluster's node ports would leave 15.91 bits). The ID is
//!   drawn evenly from 65,536 less those in flight on the same port, at most 31 (15.999 bits).
//!   Both come from `rand`'s generator, seeded by the operating system. To somebody who knows
//!   nothing that is 31.97 bits per datagram, as with a socket for each question.
//! - *What reuse gives away.* Who can find out an open port (the side channel of SAD DNS tests
//!   about a thousand ports a second) has 16 bits left to guess for questions that leave
//!   from it: one question in eight, until the port has carried 32 or is 250 ms old. A connected
//!   socket answers strangers as if the port were closed, so there is nothing to probe but by
//!   forging the upstream's address. At low rates every question finds its socket expired and has
//!   a port of its own.
//! - *No birthday.* A datagram names one question, so it can only hit that question's own port
//!   and ID, however many others are in flight; and equal questions are asked once
//!   ([`inflight`](crate::slow::inflight)), so there are never several IDs to hit for one name.
//!
//! With no questions there are no sockets, tasks or timers.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::oneshot;

use super::port::{Ear, Expect, Port, Untold};
use super::{Query, Trouble};

/// Sockets that take questions at the same time. Replies that come together on one socket are
/// read in one turn, so fewer would be cheaper; more would spread questions over more ports.
pub const PORTS: usize = 8;

/// The sockets of one upstream.
pub struct Datagrams {
    server: SocketAddr,
    ear: Arc<Ear>,
    /// Held by the tasks that read them, for as long as they live.
    ports: Mutex<[Weak<Port>; PORTS]>,
}

impl Datagrams {
    /// No socket yet; the first question opens one.
    pub fn new(server: SocketAddr, ear: Arc<Ear>) -> Self {
        Self { server, ear, ports: Mutex::default() }
    }

    /// Asks once and waits for as long as the caller does for the reply that fits; everything
    /// else that arrives is counted and dropped, and never ends the wait. Returns the reply's
    /// octets, the truncation bit set if it was longer than the size offered.
    pub async fn ask(&self, query: Query) -> Result<Vec<u8>, Trouble> {
        let (sender, receiver) = oneshot::channel();
        self.send(query, Box::new(sender)).map_err(|(trouble, _)| trouble)?;
        receiver.await.unwrap_or(Err(Trouble::Silent))
    }

    /// Asks once; `expect` is told how that ended. An error gives it back untold.
    pub fn send(
        &self,
        query: Query,
        expect: Box<dyn Expect>,
    ) -> Result<(), (Trouble, Box<dyn Expect>)> {
        let place = rand::random_range(0..PORTS);
        match self.send_from(place, (query, expect)) {
            // The port may have had an error pending, of a datagram before this one; it is out of
            // use then, and the question gets a fresh one.
            Err((_, untold)) => self.send_from(place, untold),
            Ok(()) => Ok(()),
        }
        .map_err(|(trouble, (_, expect))| (trouble, expect))
    }

    fn send_from(&self, place: usize, untold: Untold) -> Result<(), (Trouble, Untold)> {
        let outgoing = untold.0.outgoing();
        let (port, id) = self.port_for(place, untold)?;
        port.transmit(id, outgoing)
    }

    /// A port that took the question in: the one at `place`, or a fresh one put there.
    fn port_for(
        &self,
        place: usize,
        untold: Untold,
    ) -> Result<(Arc<Port>, u16), (Trouble, Untold)> {
        let mut ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        let untold = match ports[place].upgrade() {
            Some(port) => match port.admit(untold) {
                Ok(id) => return Ok((port, id)),
                Err(untold) => untold,
            },
            None => untold,
        };
        let port = match Port::open(self.server, &self.ear) {
            Ok(port) => port,
            Err(error) => return Err((Trouble::from(&error), untold)),
        };
        ports[place] = Arc::downgrade(&port);
        drop(ports);
        match port.admit(untold) {
            Ok(id) => Ok((port, id)),
            Err(untold) => Err((Trouble::Exhausted, untold)),
        }
    }

    /// Sockets open now.
    #[cfg(test)]
    pub(super) fn open_len(&self) -> usize {
        let ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        ports.iter().filter(|port| port.strong_count() > 0).count()
    }
}
