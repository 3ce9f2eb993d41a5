//! What an instance does for its successor, and for its predecessor before that.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::channel::{Channel, Welcome};
use super::message::Message;
use super::{Estate, PATIENCE};
use crate::clock;
use crate::logging::Quiet;
use crate::slow::bequest::Bequest;

/// Whether somebody is there to take over.
#[derive(Debug, Clone, Default)]
pub enum Heir {
    /// Nobody.
    #[default]
    None,
    /// It was given what we have, and does not serve yet.
    Starting,
    /// It serves.
    Serving(Arc<Channel>),
}

/// The take-over as long as this instance serves: hears out its predecessor, then waits for
/// successors.
pub struct Succession {
    heirs: watch::Receiver<Heir>,
    task: JoinHandle<()>,
}

/// How often the names of our addresses are tried again while somebody else has them.
const RETRY: Duration = Duration::from_secs(1);
/// How often, and how long, they are tried when an elder has said farewell.
const INHERIT_TRIES: usize = 400;
const INHERIT_PAUSE: Duration = Duration::from_millis(5);
/// How long the end waits for an heir that is about to serve.
const START_MAX: Duration = Duration::from_secs(2);
/// How long one message to an heir may take.
const SEND_MAX: Duration = Duration::from_secs(1);

/// What the elder of an heir does for it, and what it hears of its own elder.
pub trait Household: Send + Sync + 'static {
    /// Goes on with a connection of the predecessor.
    fn adopt(&self, bequest: Bequest) -> impl Future<Output = ()> + Send;

    /// The cache as a file in memory; `None`: there is none to give.
    fn snapshot(&self) -> Option<File>;
}

impl Succession {
    /// Tells the predecessor, if there is one, that we serve, takes its connections until it ends,
    /// then waits for successors.
    pub fn begin(
        elder: Option<Channel>,
        estate: Arc<Estate>,
        household: Arc<impl Household>,
    ) -> Self {
        let (heir, heirs) = watch::channel(Heir::None);
        let task = tokio::spawn(async move {
            let mut welcomes = Welcomes::default();
            if let Some(elder) = elder {
                let connections = hear_out(&elder, &*household).await;
                drop(elder);
                if welcomes.inherit(&estate).await {
                    tracing::info!(
                        connections,
                        "the instance before this one has ended; taken over"
                    );
                }
            }
            wait_for_heirs(welcomes, &estate, &household, &Arc::new(heir)).await;
        });
        Self { heirs, task }
    }

    /// No successor is waited for any more; the one there is, if it serves or soon does.
    pub async fn end(mut self) -> Option<Arc<Channel>> {
        let settled = self.heirs.wait_for(|heir| !matches!(heir, Heir::Starting));
        let heir = match timeout(START_MAX, settled).await {
            Ok(Ok(heir)) => heir.clone(),
            _ => Heir::None,
        };
        self.task.abort();
        // Its names are free once it has ended.
        let _ = self.task.await;
        match heir {
            Heir::Serving(channel) => Some(channel),
            Heir::None | Heir::Starting => None,
        }
    }
}

/// Hands a connection over.
///
/// # Errors
/// The heir is gone, or does not listen; the connection is closed.
pub async fn bequeath(heir: &Channel, bequest: Bequest) -> io::Result<()> {
    let message = Message::Connection(bequest.listener, bequest.received);
    let sending = heir.send(&message, Some(bequest.stream.as_fd()));
    timeout(SEND_MAX, sending).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Tells an heir that this was all.
pub async fn farewell(heir: &Channel) {
    // It hears of our end as well when the channel closes.
    let _ = timeout(SEND_MAX, heir.send(&Message::Farewell, None)).await;
}

/// Takes the elder's connections until it ends; says how many.
async fn hear_out(elder: &Channel, household: &impl Household) -> usize {
    let mut connections = 0;
    if elder.send(&Message::Serving, None).await.is_err() {
        return connections;
    }
    loop {
        match elder.receive().await {
            Ok(Some((Message::Connection(listener, received), Some(descriptor)))) => {
                connections += 1;
                let stream = TcpStream::from(descriptor);
                household.adopt(Bequest { listener, stream, received }).await;
            }
            Ok(Some((Message::Farewell, _)) | None) => return connections,
            Ok(Some(_)) => {}
            Err(error) => {
                tracing::warn!(%error, "the instance before this one breaks off");
                return connections;
            }
        }
    }
}

/// The names of our addresses, at which successors come.
#[derive(Default)]
struct Welcomes(BTreeMap<SocketAddr, Welcome>);

impl Welcomes {
    /// Takes the names of the addresses in the estate and lets go of others.
    ///
    /// # Errors
    /// Why one of them is not ours; the others are.
    fn follow(&mut self, estate: &Estate) -> Result<(), (SocketAddr, io::Error)> {
        let addresses = estate.addresses();
        self.0.retain(|address, _| addresses.contains(address));
        let mut outcome = Ok(());
        for address in addresses {
            if self.0.contains_key(&address) {
                continue;
            }
            match Welcome::open(address) {
                Ok(welcome) => drop(self.0.insert(address, welcome)),
                Err(error) => outcome = Err((address, error)),
            }
        }
        outcome
    }

    /// Takes the names from an elder that ends, which may take it a moment; whether it did end.
    async fn inherit(&mut self, estate: &Estate) -> bool {
        for _ in 0..INHERIT_TRIES {
            if self.follow(estate).is_ok() {
                return true;
            }
            sleep(INHERIT_PAUSE).await;
        }
        false
    }

    /// The next successor that comes at any of them.
    async fn next(&self) -> io::Result<Channel> {
        let mut arrivals: FuturesUnordered<_> = self.0.values().map(Welcome::next).collect();
        match arrivals.next().await {
            Some(arrived) => arrived,
            None => std::future::pending().await,
        }
    }
}

/// Lets successors in, at the names of all addresses in the estate as it is.
async fn wait_for_heirs(
    mut welcomes: Welcomes,
    estate: &Arc<Estate>,
    household: &Arc<impl Household>,
    heir: &Arc<watch::Sender<Heir>>,
) {
    // Dropped, it ends: what the heir does after the farewell is its own affair.
    let mut serving = JoinSet::new();
    let mut is_told = false;
    loop {
        let names = welcomes.follow(estate);
        if let Err((address, error)) = &names
            && !is_told
        {
            tracing::warn!(
                %address,
                %error,
                "another process is waiting for successors at this address (`ss -xlp` shows it as \
                 @dnscache/take-over/...); until it ends, no successor finds this instance"
            );
        }
        is_told = names.is_err();
        let arrived = tokio::select! {
            arrived = welcomes.next() => Some(arrived),
            () = estate.changed.notified() => None,
            () = sleep(RETRY), if names.is_err() => None,
        };
        match arrived {
            Some(Ok(channel)) => {
                // The last one to come is the one that counts.
                serving.shutdown().await;
                let (estate, household, heir) =
                    (Arc::clone(estate), Arc::clone(household), Arc::clone(heir));
                serving.spawn(async move {
                    accompany(channel, &estate, &*household, &heir).await;
                });
            }
            Some(Err(error)) => {
                static REFUSED: Quiet = Quiet::new();
                if let Some(times) = REFUSED.count(clock::now(), 1) {
                    tracing::warn!(%error, times, "a successor cannot be let in");
                }
                // Whoever may not come in must not keep those waiting who may.
                if error.kind() != io::ErrorKind::PermissionDenied {
                    sleep(RETRY).await;
                }
            }
            None => {}
        }
    }
}

/// Gives an heir what we have and keeps an eye on it until it is gone.
async fn accompany(
    channel: Channel,
    estate: &Estate,
    household: &impl Household,
    heir: &watch::Sender<Heir>,
) {
    heir.send_replace(Heir::Starting);
    let channel = Arc::new(channel);
    match timeout(PATIENCE, give(&channel, estate, household)).await {
        Ok(Ok(())) => {
            match channel.receive().await {
                Ok(Some((Message::Serving, _))) => {
                    tracing::info!("a successor serves beside this instance");
                    heir.send_replace(Heir::Serving(Arc::clone(&channel)));
                    // It has nothing else to say.
                    while let Ok(Some(_)) = channel.receive().await {}
                    tracing::info!("the successor has ended before this instance");
                }
                _ => tracing::info!("a successor went away before it served"),
            }
        }
        Ok(Err(error)) => tracing::warn!(%error, "a successor cannot be given what there is"),
        Err(_) => tracing::warn!("a successor does not listen"),
    }
    heir.send_replace(Heir::None);
}

async fn give(channel: &Channel, estate: &Estate, household: &impl Household) -> io::Result<()> {
    let Some((Message::Hello, _)) = channel.receive().await? else {
        return Err(io::Error::other("it does not say hello"));
    };
    for (purpose, address, listener) in estate.copies()? {
        channel.send(&Message::Listener(purpose, address), Some(listener.as_fd())).await?;
    }
    let snapshot = tokio::task::block_in_place(|| household.snapshot());
    if let Some(snapshot) = snapshot {
        channel.send(&Message::Snapshot, Some(snapshot.as_fd())).await?;
    }
    channel.send(&Message::AllGiven, None).await
}
