//! Connections that outlive the process: what one instance hands to the next.

use std::net::{SocketAddr, TcpStream};
use std::sync::OnceLock;

use tokio::sync::mpsc;

/// A client's connection between two questions.
#[derive(Debug)]
pub struct Bequest {
    /// The listen address it came to.
    pub listener: SocketAddr,
    /// The connection. Everything that was asked on it is answered and sent.
    pub stream: TcpStream,
    /// What was read from it and not yet answered: the beginning of a message.
    pub received: Vec<u8>,
}

/// Where connections go when this process ends; nowhere until somebody is named.
#[derive(Debug, Default)]
pub struct Heirs(OnceLock<mpsc::Sender<Bequest>>);

impl Heirs {
    /// From now on, connections that are told to end go here instead.
    pub fn name(&self, heir: mpsc::Sender<Bequest>) {
        // There is one end, and one heir of it.
        let _ = self.0.set(heir);
    }

    /// Whether somebody is named.
    pub fn is_named(&self) -> bool {
        self.0.get().is_some()
    }

    /// Hands a connection over; without an heir it is closed.
    pub async fn leave(&self, bequest: Bequest) {
        if let Some(heir) = self.0.get() {
            let _ = heir.send(bequest).await;
        }
    }
}
