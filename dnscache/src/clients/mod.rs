//! What each client has in flight and how many new questions it asks: one pod must not starve the
//! node.
//!
//! Everything that has to wait for upstream is admitted here before it costs anything, on whichever
//! plane it came: the ticket it gets is held until its reply is sent, in the door, in the table of
//! questions, and while it is decided about again. Answers from the cache never come here, nor do
//! renewals, audits and whatever else nobody waits for.
//!
//! Three bounds: what one client may have in flight, what is left for the others (see
//! [`table::Client::admit`]), and how many new names it may ask for in a second. A name that was
//! known once is not new. What is over a bound gets the expired answer if there is one, and SERVFAIL
//! otherwise: a temporary failure to every libc. REFUSED would make glibc give up for good
//! (EAI_FAIL) and musl wait for its timeout in silence; a drop would cost every client 5 s.

mod table;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwap;

use crate::config;
use crate::engine::Now;
use crate::engine::policy::acl::holds;
use crate::logging::Quiet;
pub use table::CLIENTS_MAX;
use table::{Allowance, Client, Table};

/// Shares that may be in flight for all clients together; a query of a usual size takes one. With
/// every one taken the questions of clients hold some 20 MB.
pub const SHARES_MAX: usize = 8_192;

/// Why a question is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limited {
    /// The client asks for more new names a second than one client may.
    Rate,
    /// The client has as much in flight as it may, or as others need.
    InFlight,
    /// So many clients have something in flight that there is no room for another.
    Crowded,
}

impl Limited {
    /// Every one, in order.
    pub const ALL: [Self; 3] = [Self::Rate, Self::InFlight, Self::Crowded];

    /// The label `reason`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::InFlight => "in_flight",
            Self::Crowded => "crowded",
        }
    }
}

/// What comes to be admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// What it takes of the bounds on what is in flight.
    pub shares: usize,
    /// Whether nothing was ever known about the question, as far as anybody remembers.
    pub is_new: bool,
}

/// All clients of the process.
#[derive(Debug)]
pub struct Clients {
    table: Table,
    shares_max: usize,
    shares: AtomicUsize,
    rules: ArcSwap<Rules>,
    limited: [AtomicU64; Limited::ALL.len()],
    lines: Quiet,
}

/// What `clients` says, and whom it is about.
#[derive(Debug, Clone, Default, PartialEq)]
struct Rules {
    /// `None`: `clients off`.
    limits: Option<config::Clients>,
    /// Addresses of this machine besides the loopback's.
    own: Vec<IpAddr>,
}

/// A question's place among those in flight, held until it is dropped.
#[derive(Debug)]
pub struct Ticket {
    clients: Arc<Clients>,
    address: IpAddr,
    serial: u64,
    shares: usize,
    is_limited: bool,
}

impl Default for Clients {
    fn default() -> Self {
        Self::new(SHARES_MAX)
    }
}

impl Clients {
    /// Nobody has anything in flight, and there are no limits but that for all clients together.
    pub fn new(shares_max: usize) -> Self {
        Self {
            table: Table::default(),
            shares_max,
            shares: AtomicUsize::new(0),
            rules: ArcSwap::default(),
            limited: Default::default(),
            lines: Quiet::new(),
        }
    }

    /// Puts limits in force; what is in flight stays.
    pub fn limit(&self, limits: Option<&config::Clients>) {
        self.change(|rules| rules.limits = limits.cloned());
    }

    /// Says which addresses are this machine's.
    pub fn note_own(&self, mut own: Vec<IpAddr>) {
        own.sort_unstable();
        own.dedup();
        if self.rules.load().own != own {
            self.change(|rules| rules.own.clone_from(&own));
        }
    }

    fn change(&self, change: impl Fn(&mut Rules)) {
        self.rules.rcu(|rules| {
            let mut rules = Rules::clone(rules);
            change(&mut rules);
            rules
        });
    }

    /// Takes a client's question in.
    ///
    /// # Errors
    /// Which bound is reached; the client is to be told so at once.
    pub fn admit(
        self: &Arc<Self>,
        client: IpAddr,
        wish: Wish,
        now: Now,
    ) -> Result<Ticket, Limited> {
        let (address, shares) = (client.to_canonical(), wish.shares);
        let allowance = self.rules.load().allowance(address);
        let mut set = self.table.set(address);
        let room = self.shares_max.saturating_sub(self.shares.load(Ordering::Relaxed));
        let client = set.client(address, now);
        if let Err(limited) = client.admit(&allowance, (shares, room), wish.is_new, now) {
            drop(set);
            self.limited[limited as usize].fetch_add(1, Ordering::Relaxed);
            self.say(address, limited, now);
            return Err(limited);
        }
        self.shares.fetch_add(shares, Ordering::Relaxed);
        let (serial, is_limited) = (client.serial, allowance != UNLIMITED);
        Ok(Ticket { clients: Arc::clone(self), address, serial, shares, is_limited })
    }

    fn say(&self, client: IpAddr, limited: Limited, now: Now) {
        if let Some(questions) = self.lines.count(now, 1) {
            let reason = limited.label();
            tracing::warn!(%client, reason, questions, "a client asks for more than its share; see /clients");
        }
    }

    /// All numbers as they are now, clients with the most active first.
    pub fn read(&self, now: Now) -> Reading {
        let rules = self.rules.load();
        let told = rules.limits.as_ref().map_or(config::Clients::DEFAULT.top, |limits| limits.top);
        let all = self.table.all(now);
        let tell = |client: &Client| ClientReading {
            address: client.address,
            per_second: client.per_second(),
            questions: client.questions,
            in_flight: client.in_flight,
            limited: client.limited,
            is_own: rules.is_own(client.address),
        };
        Reading {
            known: all.len(),
            clients: all.iter().take(told).map(tell).collect(),
            shares: self.shares.load(Ordering::Relaxed),
            shares_max: self.shares_max,
            limited: Limited::ALL.map(|limited| (limited.label(), self.limited(limited))),
        }
    }

    /// Questions turned away for this reason.
    pub fn limited(&self, limited: Limited) -> u64 {
        self.limited[limited as usize].load(Ordering::Relaxed)
    }
}

impl Rules {
    fn allowance(&self, address: IpAddr) -> Allowance {
        let Some(limits) = &self.limits else { return UNLIMITED };
        if limits.except.iter().any(|network| holds(*network, address)) {
            return UNLIMITED;
        }
        let times = match self.is_own(address) {
            true => limits.own_times,
            false => Some(1),
        };
        let Some(times) = times else { return UNLIMITED };
        let rate = limits
            .rate
            .map(|rate| (rate.per_second.saturating_mul(times), rate.burst.saturating_mul(times)));
        let in_flight = limits.in_flight.saturating_mul(times) as usize;
        Allowance { in_flight, rate }
    }

    fn is_own(&self, address: IpAddr) -> bool {
        address.is_loopback() || self.own.binary_search(&address).is_ok()
    }
}

const UNLIMITED: Allowance = Allowance { in_flight: usize::MAX, rate: None };

impl Ticket {
    /// Whose share of other bounds the question takes; `None`: of somebody without limits.
    pub fn holder(&self) -> Option<IpAddr> {
        self.is_limited.then_some(self.address)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.clients.table.set(self.address).release(self.address, self.serial, self.shares);
        self.clients.shares.fetch_sub(self.shares, Ordering::Relaxed);
    }
}

/// The numbers at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// Clients known now; [`CLIENTS_MAX`] at most.
    pub known: usize,
    /// The most active ones.
    pub clients: Vec<ClientReading>,
    /// Shares in flight of all clients.
    pub shares: usize,
    /// Shares there may be.
    pub shares_max: usize,
    /// Questions turned away, by `reason` label.
    pub limited: [(&'static str, u64); Limited::ALL.len()],
}

/// The numbers of one client, since it is known.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientReading {
    /// Its address.
    pub address: IpAddr,
    /// Questions per second that the cache could not answer, over the last minute or so.
    pub per_second: f64,
    /// Such questions.
    pub questions: u64,
    /// Shares in flight.
    pub in_flight: usize,
    /// Questions turned away, by [`Limited`].
    pub limited: [u64; Limited::ALL.len()],
    /// Whether it is an address of this machine.
    pub is_own: bool,
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::config::Rate;

    const NOW: Now = Now::from_millis(1_000_000);
    const NEW: Wish = Wish { shares: 1, is_new: true };

    fn clients(limits: Option<config::Clients>) -> Arc<Clients> {
        let clients = Arc::new(Clients::new(100));
        clients.limit(limits.as_ref());
        clients
    }

    fn tight() -> config::Clients {
        config::Clients {
            in_flight: 60,
            rate: Some(Rate { per_second: 5, burst: 5 }),
            own_times: Some(2),
            except: vec![([10, 9, 0, 0].into(), 16)],
            top: 10,
        }
    }

    fn host(third: u8, last: u8) -> IpAddr {
        Ipv4Addr::new(10, third, 0, last).into()
    }

    /// Admits as many questions as there may be, and keeps their tickets.
    fn fill(clients: &Arc<Clients>, client: IpAddr, wish: Wish) -> (Vec<Ticket>, Limited) {
        let mut tickets = Vec::new();
        loop {
            match clients.admit(client, wish, NOW) {
                Ok(ticket) => tickets.push(ticket),
                Err(limited) => return (tickets, limited),
            }
        }
    }

    #[test]
    fn floods_leave_room_for_newcomers() {
        let clients = clients(None);
        let floods: Vec<_> = (1..=9).map(|last| fill(&clients, host(0, last), NEW)).collect();
        assert_eq!(
            floods[..3].iter().map(|(held, _)| held.len()).collect::<Vec<_>>(),
            [50, 25, 13]
        );
        // Once what came first was answered, each gets its tenth and a tenth is left.
        drop(floods);
        let mut held = Vec::new();
        for _ in 0..100 {
            held.extend((1..=9).filter_map(|last| clients.admit(host(0, last), NEW, NOW).ok()));
        }
        assert_eq!(held.len(), 90);
        assert!(clients.admit(host(0, 200), NEW, NOW).is_ok());
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let clients = clients(None);
        for _ in 0..10 {
            assert_eq!(fill(&clients, host(0, 1), NEW).0.len(), 50);
        }
        let reading = clients.read(NOW);
        assert_eq!((reading.shares, reading.clients[0].in_flight), (0, 0));
    }

    #[test]
    fn limits_hold_for_pods_more_for_the_node_and_not_for_exceptions() {
        let clients = clients(Some(tight()));
        clients.note_own(vec![host(0, 7)]);
        let admitted = |client| fill(&clients, client, NEW).0.len();
        assert_eq!(admitted(host(0, 1)), 5);
        assert_eq!(admitted(host(0, 7)), 10);
        assert_eq!(admitted(Ipv4Addr::LOCALHOST.into()), 10);
        assert_eq!(admitted("::1".parse().expect("an address")), 10);
        assert_eq!(admitted("::ffff:10.0.0.1".parse().expect("an address")), 0);
        assert_eq!(admitted(host(9, 1)), 50);
    }

    #[test]
    fn a_reload_changes_limits_and_keeps_counts() {
        let clients = clients(Some(tight()));
        let (tickets, limited) = fill(&clients, host(0, 1), NEW);
        assert_eq!((tickets.len(), limited), (5, Limited::Rate));
        clients.limit(None);
        assert_eq!(fill(&clients, host(0, 1), NEW).0.len(), 45);
        assert_eq!(clients.read(NOW).clients[0].questions, 5 + 1 + 45 + 1);
    }

    #[test]
    fn what_was_turned_away_is_counted_with_its_client_and_in_all() {
        let clients = clients(Some(tight()));
        let (_held, _) = fill(&clients, host(0, 1), NEW);
        let (_more, _) = fill(&clients, host(0, 1), Wish { shares: 7, is_new: false });
        let reading = clients.read(NOW);
        assert_eq!(reading.limited, [("rate", 1), ("in_flight", 1), ("crowded", 0)]);
        assert_eq!(reading.clients[0].limited, [1, 1, 0]);
        assert_eq!(reading.known, 1);
    }
}
