//! The one door from the fast plane to the slow one.
//!
//! An errand crosses it whole: the question to ask upstream and the client waiting for it. The
//! door lets clients in by their share ([`clients`](crate::clients)), so that one of them cannot
//! fill it for the others, and holds a fixed number of errands; when it is full the caller keeps the
//! errand and answers SERVFAIL itself, so a slow upstream costs memory up to a bound and never a
//! worker's time.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::clients::{Clients, Limited, Ticket, Wish};
use crate::engine::{Ask, ListenerId, Now, Query, Transport};
use crate::server::Plan;

/// Something for the slow plane to do.
pub struct Errand {
    /// The plan in force when the question came; it stays in force for this errand.
    pub plan: Arc<Plan>,
    /// What to ask upstream.
    pub ask: Ask,
    /// Who waits for it; `None` for a renewal nobody waits for.
    pub client: Option<Waiting>,
}

/// A client waiting for an answer.
pub struct Waiting {
    /// The query as received.
    pub packet: Box<[u8]>,
    /// The client's address and port.
    pub source: SocketAddr,
    /// The address it asked.
    pub listener: ListenerId,
    /// How it asked.
    pub transport: Transport,
    /// When the query was received.
    pub received: Now,
    /// Sends the reply, once.
    pub reply: ReplyPath,
    /// Its place among the questions in flight.
    pub ticket: Ticket,
    /// When the slow plane took it from the door; the reading of `received` before that.
    pub taken: Now,
    /// How often it was decided about again, because it waited for facts.
    pub rounds: u8,
}

impl Waiting {
    /// Takes the way back; what is left has none.
    pub fn take_path(&mut self) -> ReplyPath {
        std::mem::replace(&mut self.reply, Box::new(|_| ()))
    }

    /// The query, as the engine takes it.
    pub fn query(&self) -> Query<'_> {
        Query {
            packet: &self.packet,
            source: self.source,
            listener: self.listener,
            transport: self.transport,
        }
    }
}

/// Carries one reply to one client; dropping it unused leaves the client to its own timeout.
pub type ReplyPath = Box<dyn FnOnce(&[u8]) + Send>;

/// The way in, for both planes.
#[derive(Clone)]
pub struct Door {
    errands: mpsc::Sender<Errand>,
    clients: Arc<Clients>,
}

/// Octets of a query that take one share of the bounds on what is in flight. Usual queries are
/// shorter, padded ones (RFC 8467) too.
const SHARE_LEN: usize = 512;

impl Door {
    /// Lets a client's question in, if it may have another. Comes before [`Door::pass`] and before
    /// anything is copied, so that a flood is turned away cheaply.
    pub fn admit(&self, query: &Query<'_>, ask: &Ask, now: Now) -> Result<Ticket, Limited> {
        let shares = 1 + query.packet.len() / SHARE_LEN;
        let wish = Wish { shares, is_new: !ask.is_known };
        self.clients.admit(query.source.ip(), wish, now)
    }

    /// Whom it lets in.
    pub fn clients(&self) -> &Arc<Clients> {
        &self.clients
    }

    /// Hands an errand over, or gives it back when the door is full or the slow plane is gone.
    pub fn pass(&self, errand: Errand) -> Result<(), Box<Errand>> {
        self.errands.try_send(errand).map_err(|refused| Box::new(refused.into_inner()))
    }
}

/// Makes a door that holds at most `capacity` errands, of these clients and of nobody.
pub fn door(capacity: usize, clients: Arc<Clients>) -> (Door, mpsc::Receiver<Errand>) {
    let (errands, receiver) = mpsc::channel(capacity);
    (Door { errands, clients }, receiver)
}
