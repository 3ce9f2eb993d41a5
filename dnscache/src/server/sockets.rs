//! Where listening sockets come from: from the instance before this one, or the kernel. And where
//! they go: to the one after it.

use std::collections::HashMap;
use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Plan, snapshots};
use crate::admin::listen::{self, Selection};
use crate::bind::BindError;
use crate::node::takeover::channel::Channel;
use crate::node::takeover::elder::{self, Household};
use crate::node::takeover::message::Purpose;
use crate::node::takeover::{Estate, Inheritance};
use crate::slow::bequest::{Bequest, Heirs};
use crate::slow::tcp;

/// Connections of the predecessor that wait to be gone on with, for each address; it hands over no
/// faster than they are taken.
const ADOPTED_MAX: usize = 64;

/// Listening sockets, and what is to be handed over of them.
#[derive(Default)]
pub struct Sockets {
    inheritance: Inheritance,
    estate: Arc<Estate>,
    foster: Arc<Foster>,
}

impl Sockets {
    /// Sockets that come from `inheritance` where it has them.
    pub fn new(inheritance: Inheritance) -> Self {
        Self { inheritance, ..Self::default() }
    }

    /// The cache of the predecessor, once.
    pub fn take_snapshot(&mut self) -> Option<File> {
        self.inheritance.snapshot.take()
    }

    /// Lets go of what the predecessor handed over and nobody wanted. Kept open, a listening socket
    /// that nobody accepts from would take clients in until its queue is full, and the packet rules
    /// would lead more of them there.
    pub fn let_go_of_the_rest(&self) {
        self.inheritance.let_go();
    }

    /// From now on a successor is given the cache of the plan in force.
    pub fn hand_over_cache_of(&self, plans: &Arc<ArcSwap<Plan>>) {
        // There is one for all configurations.
        let _ = self.foster.plans.set(Arc::clone(plans));
    }

    /// What a successor is given.
    pub fn estate(&self) -> Arc<Estate> {
        Arc::clone(&self.estate)
    }

    /// Who goes on with connections of the predecessor.
    pub fn foster(&self) -> Arc<Foster> {
        Arc::clone(&self.foster)
    }

    /// A socket for DNS over TCP.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub fn dns(&self, address: SocketAddr) -> Result<TcpListener, BindError> {
        match self.inherited(Purpose::Dns, address) {
            Some(listener) => Ok(listener),
            None => tcp::bind(address),
        }
    }

    /// A socket for the admin pages.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub fn pages(
        &self,
        address: SocketAddr,
        selection: Selection,
    ) -> Result<TcpListener, BindError> {
        match self.inherited(Purpose::Pages, address) {
            Some(listener) => Ok(listener),
            None => listen::bind(address, selection),
        }
    }

    fn inherited(&self, purpose: Purpose, address: SocketAddr) -> Option<TcpListener> {
        TcpListener::from_std(self.inheritance.take(purpose, address)?).ok()
    }

    /// Notes that a DNS address is served; connections of the predecessor come through what is
    /// returned.
    pub fn serves_dns(&self, address: SocketAddr, listener: &impl AsFd) -> mpsc::Receiver<Bequest> {
        let (sender, adopted) = mpsc::channel(ADOPTED_MAX);
        self.foster.homes().insert(address, sender);
        self.estate.note(Purpose::Dns, address, listener);
        adopted
    }

    /// Notes that the pages of an address are served.
    pub fn serves_pages(&self, address: SocketAddr, listener: &impl AsFd) {
        self.estate.note(Purpose::Pages, address, listener);
    }

    /// Notes that a DNS address is left.
    pub fn leaves_dns(&self, address: SocketAddr) {
        self.foster.homes().remove(&address);
        self.estate.forget(Purpose::Dns, address);
    }

    /// Notes that the pages of an address are left.
    pub fn leaves_pages(&self, address: SocketAddr) {
        self.estate.forget(Purpose::Pages, address);
    }
}

/// Brings connections of the predecessor to whoever serves their address here, and the cache to the
/// successor.
#[derive(Default)]
pub struct Foster {
    homes: Mutex<HashMap<SocketAddr, mpsc::Sender<Bequest>>>,
    plans: OnceLock<Arc<ArcSwap<Plan>>>,
}

impl Foster {
    fn homes(&self) -> MutexGuard<'_, HashMap<SocketAddr, mpsc::Sender<Bequest>>> {
        self.homes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Household for Foster {
    /// A connection to an address that is not served any more is closed.
    async fn adopt(&self, bequest: Bequest) {
        let home = self.homes().get(&bequest.listener).cloned();
        if let Some(home) = home {
            let _ = home.send(bequest).await;
        }
    }

    fn snapshot(&self) -> Option<File> {
        snapshots::hand_over(&self.plans.get()?.load().engine)
    }
}

/// Connections on their way to the heir.
pub struct HandingOver {
    heir: Arc<Channel>,
    done: CancellationToken,
    task: JoinHandle<usize>,
}

impl HandingOver {
    /// From now on, connections that are told to end go to `heir`.
    pub fn begin(heir: Arc<Channel>, heirs: &Heirs) -> Self {
        let (sender, bequests) = mpsc::channel(ADOPTED_MAX);
        heirs.name(sender);
        let done = CancellationToken::new();
        let task = tokio::spawn(hand_over(Arc::clone(&heir), bequests, done.clone()));
        Self { heir, done, task }
    }

    /// Hands over what is left, once every connection has been told to end.
    pub async fn finish(self) {
        self.done.cancel();
        if let Ok(connections) = self.task.await {
            tracing::info!(connections, "handed over to the successor");
        }
        elder::farewell(&self.heir).await;
    }
}

/// Sends connections until there are no more; says how many.
async fn hand_over(
    heir: Arc<Channel>,
    mut bequests: mpsc::Receiver<Bequest>,
    done: CancellationToken,
) -> usize {
    let mut connections = 0;
    loop {
        let bequest = tokio::select! {
            biased;
            Some(bequest) = bequests.recv() => bequest,
            () = done.cancelled() => return connections,
        };
        match elder::bequeath(&heir, bequest).await {
            Ok(()) => connections += 1,
            // Whatever comes later is closed at once: clients that connect anew are better off than
            // those that wait for an heir that hangs.
            Err(error) => {
                tracing::warn!(%error, "connections cannot be handed over any more and are closed");
                return connections;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener as StdListener, TcpStream};
    use std::time::Duration;

    use super::*;
    use crate::node::takeover::channel::Welcome;

    #[tokio::test]
    async fn an_heir_that_is_gone_is_tried_once() {
        let listener = StdListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let welcome = Welcome::open(address).expect("a free name");
        let channel = Channel::connect(address).expect("somebody listens");
        drop(welcome.next().await.expect("somebody came"));
        let heirs = Heirs::default();
        let handing_over = HandingOver::begin(Arc::new(channel), &heirs);
        for _ in 0..=ADOPTED_MAX {
            let stream = TcpStream::connect(address).expect("connected");
            heirs.leave(Bequest { listener: address, stream, received: Vec::new() }).await;
        }
        let ended = tokio::time::timeout(Duration::from_secs(10), handing_over.task).await;
        assert_eq!(ended.expect("it gives up").expect("no panic"), 0);
    }
}
