//! What belongs to the node and not to a process: interface, packet rules, the take-over from one
//! instance to the next, and the cache on disk.
//!
//! [`Node`] is a process's place on its node: [`Node::enter`] makes the interface before sockets
//! are bound, [`Node::keep`] sets the rules once they are, [`Node::leave`] takes both away if no
//! other instance is there; after a start that failed, only what that start has made.

pub mod lock;
pub mod interface;
pub mod rules;
pub mod keeper;
pub mod takeover;
pub mod snapshot;
pub mod confine;

use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::config::flags::Flags;
use crate::counts::NodeCounts;
use interface::{Found, Interface, InterfaceError};
use keeper::{Keeper, Kept};
use lock::NodeLock;
use rules::apply::Rules;

/// A process's place on its node.
pub struct Node {
    duties: Option<Duties>,
    lock: Option<NodeLock>,
    state: State,
    counts: Arc<NodeCounts>,
    /// What was there of the interface before it was made.
    found: Option<Found>,
    /// A successor serves, and needs what there is.
    is_succeeded: bool,
}

/// What an operator wants done to the node.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Duties {
    addresses: Vec<IpAddr>,
    sync_interval: Duration,
    lock: PathBuf,
    skip_teardown: bool,
}

enum State {
    Idle(Box<Kept>),
    Keeping(Keeper),
    Left,
}

impl Node {
    /// Takes the place and makes the interface. Without `-localip` there is nothing to do.
    ///
    /// # Errors
    /// The interface cannot be made; what would help. The node is left as it was found.
    pub async fn enter(flags: &Flags, counts: Arc<NodeCounts>) -> Result<Self, InterfaceError> {
        let kept = Kept { interface: None, rules: None };
        let mut node = Self {
            duties: None,
            lock: None,
            state: State::Idle(Box::new(kept)),
            counts,
            found: None,
            is_succeeded: false,
        };
        let Some(duties) = Duties::read(flags) else { return Ok(node) };
        node.lock = duties.take_place().await;
        let rules = flags
            .setup_iptables
            .then(|| Rules::new(flags.node.rules, duties.addresses.clone(), flags.health_port));
        let interface = match flags.setup_interface {
            true => Some(Interface::open(&flags.interface_name, &duties.addresses)?),
            false => None,
        };
        node.duties = Some(duties);
        let Some(interface) = interface else {
            node.state = State::Idle(Box::new(Kept { interface: None, rules }));
            return Ok(node);
        };
        let found = interface.look().await?;
        let made = interface.ensure().await;
        let name = &flags.interface_name;
        match made {
            Ok(made) if made.is_empty() => tracing::info!("interface {name} is in place"),
            Ok(made) => tracing::info!("interface {name}: {}", made.join(", ")),
            Err(error) => {
                interface.undo(&found).await;
                return Err(error);
            }
        }
        node.found = Some(found);
        node.state = State::Idle(Box::new(Kept { interface: Some(interface), rules }));
        Ok(node)
    }

    /// From now on rules lead questions here, and what somebody takes away is put back.
    pub fn keep(&mut self) {
        let Some(duties) = &self.duties else { return };
        self.state = match std::mem::replace(&mut self.state, State::Left) {
            State::Idle(kept) => {
                let counts = Arc::clone(&self.counts);
                State::Keeping(Keeper::start(*kept, duties.sync_interval, counts))
            }
            other => other,
        };
    }

    /// A successor serves: the last one out is somebody else, even where no lock says so.
    pub fn succeeded(&mut self) {
        self.is_succeeded = true;
    }

    /// Before sockets are closed: from now on the node's own processes are not led here any more, so
    /// none of their questions meets a closed socket. It may be given up.
    pub async fn release(&self) {
        if let State::Keeping(keeper) = &self.state {
            keeper.stop().await;
        }
    }

    /// Gives the place up. The last one out takes rules and interface away, in this order, so that
    /// no rule is left for an address nobody has.
    pub async fn leave(self) {
        let Some(duties) = self.duties else { return };
        let is_failed_start = matches!(self.state, State::Idle(_));
        let kept = match self.state {
            State::Idle(kept) => *kept,
            State::Keeping(keeper) => keeper.end().await,
            State::Left => return,
        };
        let is_last = match &self.lock {
            Some(lock) => lock.is_last_out().await,
            None => !self.is_succeeded,
        };
        if is_failed_start {
            // Whatever was there may serve somebody who holds no lock of ours.
            if let (true, Some(interface), Some(found)) = (is_last, &kept.interface, &self.found) {
                interface.undo(found).await;
            }
            return;
        }
        if is_last && !duties.skip_teardown {
            clear(kept).await;
        } else {
            if !duties.skip_teardown {
                tracing::info!("interface and packet rules stay: another instance is here");
            }
        }
        // Only now may another instance begin to set up.
        drop(self.lock);
    }
}

/// Takes everything away that can be; says what could not.
async fn clear(kept: Kept) {
    if let Some(rules) = kept.rules
        && let Err(error) = rules.remove().await
    {
        tracing::warn!("packet rules stay behind: {error}");
    }
    if let Some(interface) = kept.interface
        && let Err(error) = interface.remove().await
    {
        tracing::warn!("the interface stays behind: {error}");
    }
}

impl Duties {
    fn read(flags: &Flags) -> Option<Self> {
        let is_wanted = flags.setup_interface || flags.setup_iptables;
        (is_wanted && !flags.node_addresses.is_empty()).then(|| Self {
            addresses: flags.node_addresses.clone(),
            sync_interval: flags.sync_interval,
            lock: flags.node.lock.clone(),
            skip_teardown: flags.skip_teardown,
        })
    }

    /// A place among the instances of this node.
    async fn take_place(&self) -> Option<NodeLock> {
        match NodeLock::enter(&self.lock, ENTER_PATIENCE).await {
            Ok(lock) => Some(lock),
            Err(error) => {
                let file = self.lock.display();
                let why = match error.kind() {
                    ErrorKind::WouldBlock => {
                        format!("another instance has been cleaning up for {ENTER_PATIENCE:?}")
                    }
                    _ => format!("{error}; mount that file from the host"),
                };
                tracing::warn!(
                    "-node-lock {file}: {why}; going on as the only instance of this node: what \
                     others set up goes when this one ends, unless its successor serves by then"
                );
                None
            }
        }
    }
}

/// The last one out cleans up in about a second.
const ENTER_PATIENCE: Duration = Duration::from_secs(5);
