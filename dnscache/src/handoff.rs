//! The one door from the fast plane to the slow one.
//!
//! An errand crosses it whole: the question to ask upstream and the client waiting for it. The
//! door holds a fixed number of errands; when it is full the caller keeps the errand and answers
//! SERVFAIL itself, so a slow upstream costs memory up to a bound and never a worker's time.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::mpsc;

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

/// The fast plane's side of the door.
#[derive(Clone)]
pub struct Door(mpsc::Sender<Errand>);

impl Door {
    /// Hands an errand over, or gives it back when the door is full or the slow plane is gone.
    pub fn pass(&self, errand: Errand) -> Result<(), Box<Errand>> {
        self.0.try_send(errand).map_err(|refused| Box::new(refused.into_inner()))
    }
}

/// Makes a door that holds at most `capacity` errands.
pub fn door(capacity: usize) -> (Door, mpsc::Receiver<Errand>) {
    let (sender, receiver) = mpsc::channel(capacity);
    (Door(sender), receiver)
}
