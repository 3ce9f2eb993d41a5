//! One instance takes over from another without a lost query.
//!
//! ```text
//!    elder                                  heir (starts beside it)
//!      |  <-------------- Hello ---------------  |  before it opens a socket
//!      |  --- Listener, Listener, Snapshot --->  |  the same listening sockets, the same answers
//!      |  ------------- AllGiven ------------->  |
//!      |                                         |  opens UDP sockets beside the elder's, serves
//!      |  <------------- Serving --------------  |
//!   SIGTERM                                      |
//!      |  retires its UDP sockets, answers what is queued and in flight
//!      |  -------- Connection, ... ----------->  |  clients' TCP connections, between two questions
//!      |  ------------- Farewell ------------->  |
//!     ends                                   is the elder
//! ```
//!
//! UDP sockets are the elder's own: the kernel spreads clients over all sockets of an address, and
//! one that is retired is read empty. A listening TCP socket cannot be retired that way, because
//! the kernel resets what waits in its queue when it is closed; so both instances hold the same
//! one, and it stays open when the elder ends. Connections cross over whole, with the octets of a
//! question that has come in half.
//!
//! Nobody has to agree to anything: an heir that hears nothing opens its own sockets, and an elder
//! without an heir ends as it would alone.

pub mod channel;
pub mod elder;
pub mod message;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use socket2::{SockRef, Type};
use tokio::sync::Notify;
use tokio::time::timeout;

use channel::Channel;
use message::{Message, Purpose};

/// How long an elder may take to hand over what it has. The start waits for it, so that it is
/// short; the cache is the most of it.
const PATIENCE: Duration = Duration::from_secs(3);
/// Listening sockets an elder may have; more are not taken.
const LISTENERS_MAX: usize = 256;

/// What an instance that starts was given by the one that runs.
#[derive(Debug, Default)]
pub struct Inheritance {
    /// The one that runs; `None`: there is none, or it hands nothing over.
    pub elder: Option<Channel>,
    /// Its cache.
    pub snapshot: Option<File>,
    listeners: Mutex<BTreeMap<(Purpose, SocketAddr), TcpListener>>,
}

impl Inheritance {
    /// Asks whoever serves one of `addresses` for what it has. Takes three seconds at most, and
    /// microseconds if there is nobody.
    pub async fn claim(addresses: &[SocketAddr]) -> Self {
        let Some(elder) = addresses.iter().find_map(|address| find(*address)) else {
            return Self::default();
        };
        let mut inheritance = Self::default();
        match timeout(PATIENCE, inheritance.receive(&elder)).await {
            Ok(Ok(())) => {
                let listeners = inheritance.listeners().len();
                tracing::info!(listeners, "another instance runs here: taking over from it");
                inheritance.elder = Some(elder);
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "another instance runs here and hands nothing over; starting beside it");
            }
            Err(_) => {
                tracing::warn!(
                    "another instance runs here and does not answer; starting beside it"
                );
            }
        }
        inheritance
    }

    async fn receive(&mut self, elder: &Channel) -> io::Result<()> {
        elder.send(&Message::Hello, None).await?;
        loop {
            match elder.receive().await? {
                Some((Message::Listener(purpose, address), Some(descriptor))) => {
                    let mut listeners = self.listeners();
                    if listeners.len() < LISTENERS_MAX {
                        listeners.insert((purpose, address), checked(descriptor, address)?);
                    }
                }
                Some((Message::Snapshot, Some(descriptor))) => {
                    self.snapshot = Some(descriptor.into());
                }
                Some((Message::AllGiven, _)) => return Ok(()),
                Some((message, _)) => {
                    return Err(io::Error::other(format!("it says {message:?} out of turn")));
                }
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    }

    /// The listening socket of an address, if it was handed over and nobody has taken it yet.
    pub fn take(&self, purpose: Purpose, address: SocketAddr) -> Option<TcpListener> {
        self.listeners().remove(&(purpose, address))
    }

    /// Closes the listening sockets that nobody has taken.
    pub fn let_go(&self) {
        self.listeners().clear();
    }

    fn listeners(&self) -> MutexGuard<'_, BTreeMap<(Purpose, SocketAddr), TcpListener>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn find(address: SocketAddr) -> Option<Channel> {
    match Channel::connect(address) {
        Ok(channel) => Some(channel),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            tracing::warn!(%address, %error, "another instance has the address; starting beside it");
            None
        }
        Err(_) => None,
    }
}

/// The descriptor as the listening socket it is said to be.
fn checked(descriptor: OwnedFd, address: SocketAddr) -> io::Result<TcpListener> {
    let socket = SockRef::from(&descriptor);
    let is_it = socket.r#type()? == Type::STREAM
        && socket.is_listener()?
        && socket.local_addr()?.as_socket() == Some(address);
    if !is_it {
        return Err(io::Error::other(format!(
            "what it hands over for {address} is another socket"
        )));
    }
    socket.set_nonblocking(true)?;
    Ok(descriptor.into())
}

/// What this instance would hand over: its listening sockets.
#[derive(Debug, Default)]
pub struct Estate {
    listeners: Mutex<BTreeMap<(Purpose, SocketAddr), OwnedFd>>,
    changed: Notify,
}

impl Estate {
    /// Notes a listening socket. Without descriptors to spare, an heir opens its own.
    pub fn note(&self, purpose: Purpose, address: SocketAddr, listener: &impl AsFd) {
        match listener.as_fd().try_clone_to_owned() {
            Ok(copy) => {
                self.listeners().insert((purpose, address), copy);
                self.changed.notify_one();
            }
            Err(error) => {
                tracing::warn!(%address, %error, "this address cannot be handed to a successor");
            }
        }
    }

    /// Notes that an address is no longer served.
    pub fn forget(&self, purpose: Purpose, address: SocketAddr) {
        if self.listeners().remove(&(purpose, address)).is_some() {
            self.changed.notify_one();
        }
    }

    /// Lets go of everything.
    pub fn clear(&self) {
        self.listeners().clear();
    }

    /// The DNS addresses, by which successors find this instance.
    fn addresses(&self) -> Vec<SocketAddr> {
        let listeners = self.listeners();
        let dns = listeners.keys().filter(|(purpose, _)| *purpose == Purpose::Dns);
        dns.map(|(_, address)| *address).collect()
    }

    /// Every listening socket, as copies.
    fn copies(&self) -> io::Result<Vec<(Purpose, SocketAddr, OwnedFd)>> {
        let listeners = self.listeners();
        let copies = listeners
            .iter()
            .map(|((purpose, address), listener)| Ok((*purpose, *address, listener.try_clone()?)));
        copies.collect()
    }

    fn listeners(&self) -> MutexGuard<'_, BTreeMap<(Purpose, SocketAddr), OwnedFd>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
