//! What is known of each client, in a table of fixed size. Pure data: the caller brings the clock.
//!
//! A client has a place in the set that its address falls into (under a hash seeded per process, so
//! nobody can choose whom to fall together with). When a set is full, the least active client of it
//! makes room. Its limits begin anew when it comes back, which gives nothing away: who was near one
//! was active. A flood from forged addresses therefore replaces its own earlier addresses and leaves
//! the busy clients of the node where they are.

use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;

use super::Limited;
use crate::engine::Now;

/// What one client may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Shares in flight at once.
    pub in_flight: usize,
    /// New questions per second, and how many at once after a pause; `None`: no limit.
    pub rate: Option<(u32, u32)>,
}

/// The clients.
#[derive(Debug)]
pub struct Table {
    hasher: RandomState,
    sets: Box<[Mutex<Set>]>,
}

/// Clients whose addresses fall together; the least active one makes room.
#[derive(Debug, Default)]
pub struct Set {
    clients: Vec<Client>,
    /// Tells clients apart that had the same address one after the other.
    serial: u64,
}

/// One client.
#[derive(Debug, Clone, PartialEq)]
pub struct Client {
    /// Its address, never an IPv4 one written as IPv6.
    pub address: IpAddr,
    /// Different for whoever had its place before, at the same address or another.
    pub serial: u64,
    /// Shares in flight.
    pub in_flight: usize,
    /// Questions that had to go upstream or were turned away.
    pub questions: u64,
    /// Questions turned away, by [`Limited`].
    pub limited: [u64; Limited::ALL.len()],
    activity: f32,
    bucket: Bucket,
    seen: Now,
}

/// New questions that may be asked, in thousandths.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Bucket {
    millis_of_one: u64,
    filled: Now,
}

const SETS: usize = 256;
/// Clients in one set. 2,048 in all: a node has some hundred pods, and with 250 of them a set that
/// runs over is a chance of one in a million.
const WAYS: usize = 8;
/// Clients that are known at once.
pub const CLIENTS_MAX: usize = SETS * WAYS;
/// Seconds after which a question counts half towards a client's activity.
const HALF_LIFE_SECS: f32 = 30.0;

impl Default for Table {
    fn default() -> Self {
        let sets = (0..SETS).map(|_| Mutex::default()).collect();
        Self { hasher: RandomState::default(), sets }
    }
}

impl Table {
    /// The set an address belongs to.
    pub fn set(&self, address: IpAddr) -> MutexGuard<'_, Set> {
        let index = self.hasher.hash_one(address) as usize % SETS;
        // Nothing panics while it is held.
        self.sets[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every client, the most active first.
    pub fn all(&self, now: Now) -> Vec<Client> {
        let lock = |set: &Mutex<Set>| set.lock().unwrap_or_else(PoisonError::into_inner).all(now);
        let mut clients: Vec<Client> = self.sets.iter().flat_map(lock).collect();
        clients.sort_by(|a, b| b.activity.total_cmp(&a.activity).then(a.address.cmp(&b.address)));
        clients
    }
}

impl Set {
    /// The client of this address, which is new if it was not known; then the least active one has
    /// left if the set was full.
    pub fn client(&mut self, address: IpAddr, now: Now) -> &mut Client {
        let known = self.clients.iter().position(|client| client.address == address);
        let index = known.unwrap_or_else(|| self.make_room(now));
        if known.is_none() {
            self.serial += 1;
            let client = Client::new(address, self.serial, now);
            match self.clients.get_mut(index) {
                Some(place) => *place = client,
                None => self.clients.push(client),
            }
        }
        let client = &mut self.clients[index];
        client.cool_down(now);
        client
    }

    /// Gives shares back, unless the client they were given to has left.
    pub fn release(&mut self, address: IpAddr, serial: u64, shares: usize) {
        let holder = |client: &&mut Client| client.address == address && client.serial == serial;
        if let Some(client) = self.clients.iter_mut().find(holder) {
            client.in_flight = client.in_flight.saturating_sub(shares);
        }
    }

    /// Where a new client goes: behind the others, or in the place of the least active one.
    fn make_room(&mut self, now: Now) -> usize {
        if self.clients.len() < WAYS {
            return self.clients.len();
        }
        self.clients.iter_mut().for_each(|client| client.cool_down(now));
        let by_activity = self.clients.iter().enumerate();
        by_activity.min_by(|a, b| a.1.activity.total_cmp(&b.1.activity)).map_or(0, |(at, _)| at)
    }

    fn all(&self, now: Now) -> Vec<Client> {
        let mut clients = self.clients.clone();
        clients.iter_mut().for_each(|client| client.cool_down(now));
        clients
    }
}

impl Client {
    fn new(address: IpAddr, serial: u64, now: Now) -> Self {
        Self {
            address,
            serial,
            in_flight: 0,
            questions: 0,
            limited: [0; Limited::ALL.len()],
            activity: 0.0,
            // Filled up by the first look: a new client has all it may have at once.
            bucket: Bucket { millis_of_one: u64::MAX, filled: now },
            seen: now,
        }
    }

    /// Takes a question in that takes so many shares of the `room` there is for everybody, and one
    /// of the new questions allowed if it `is_new`. What is turned away takes nothing.
    pub fn admit(
        &mut self,
        allowance: &Allowance,
        (shares, room): (usize, usize),
        is_new: bool,
        now: Now,
    ) -> Result<(), Limited> {
        self.questions += 1;
        self.activity += 1.0;
        let outcome = self.judge(allowance, (shares, room), is_new, now);
        match outcome {
            Ok(()) => self.in_flight += shares,
            Err(limited) => self.limited[limited as usize] += 1,
        }
        outcome
    }

    fn judge(
        &mut self,
        allowance: &Allowance,
        (shares, room): (usize, usize),
        is_new: bool,
        now: Now,
    ) -> Result<(), Limited> {
        let wanted = self.in_flight + shares;
        if wanted > allowance.in_flight {
            return Err(Limited::InFlight);
        }
        // Nobody takes more than is left for the others: one client gets half of all there is, two
        // get a third each, and a newcomer always finds room.
        if wanted > room {
            return Err(if self.in_flight > 0 { Limited::InFlight } else { Limited::Crowded });
        }
        match allowance.rate {
            Some(rate) if is_new && !self.bucket.take(rate, now) => Err(Limited::Rate),
            _ => Ok(()),
        }
    }

    /// Questions per second over the last minute or so.
    pub fn per_second(&self) -> f64 {
        f64::from(self.activity * std::f32::consts::LN_2 / HALF_LIFE_SECS)
    }

    fn cool_down(&mut self, now: Now) {
        let secs = now.since(self.seen) as f32 / 1_000.0;
        self.activity *= (-secs / HALF_LIFE_SECS).exp2();
        self.seen = self.seen.max(now);
    }
}

impl Bucket {
    /// Takes one question out of a bucket that gains `rate.0` a second up to `rate.1`.
    fn take(&mut self, (per_second, burst): (u32, u32), now: Now) -> bool {
        // So many questions a second are so many thousandths a millisecond.
        let gained = now.since(self.filled).saturating_mul(per_second.into());
        let full = u64::from(burst) * ONE;
        self.millis_of_one = self.millis_of_one.saturating_add(gained).min(full);
        self.filled = self.filled.max(now);
        let has_one = self.millis_of_one >= ONE;
        if has_one {
            self.millis_of_one -= ONE;
        }
        has_one
    }
}

/// One question.
const ONE: u64 = 1_000;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const START: Now = Now::from_millis(1_000_000);
    const ALLOWANCE: Allowance = Allowance { in_flight: 4, rate: Some((10, 3)) };
    const ROOM: usize = 1_000;

    fn address(number: u32) -> IpAddr {
        Ipv4Addr::from(0x0a00_0000 + number).into()
    }

    fn ask(table: &Table, number: u32, is_new: bool, after_millis: u64) -> Result<(), Limited> {
        let now = START.plus_millis(after_millis);
        let mut set = table.set(address(number));
        let client = set.client(address(number), now);
        let answer = client.admit(&ALLOWANCE, (1, ROOM), is_new, now);
        client.in_flight = 0;
        answer
    }

    #[test]
    fn a_burst_is_followed_by_the_rate() {
        let table = Table::default();
        let admitted =
            |after_millis| (0..100).filter(|_| ask(&table, 1, true, after_millis).is_ok()).count();
        assert_eq!([0, 0, 99, 100, 199, 200, 60_000].map(admitted), [3, 0, 0, 1, 0, 1, 3]);
    }

    #[test]
    fn what_is_known_is_not_counted_as_new() {
        let table = Table::default();
        assert!((0..100).all(|_| ask(&table, 1, false, 0).is_ok()));
        assert!((0..3).all(|_| ask(&table, 1, true, 0).is_ok()));
        assert_eq!(ask(&table, 1, true, 0), Err(Limited::Rate));
    }

    #[test]
    fn clients_do_not_share_their_limits() {
        let table = Table::default();
        while ask(&table, 1, true, 0).is_ok() {}
        assert!(ask(&table, 2, true, 0).is_ok());
    }

    #[test]
    fn in_flight_is_bounded_by_the_allowance_and_by_what_is_left_for_others() {
        let mut client = Client::new(address(1), 1, START);
        let mut admit = |shares, room| client.admit(&ALLOWANCE, (shares, room), false, START);
        assert_eq!(admit(3, 100), Ok(()));
        assert_eq!(admit(2, 100), Err(Limited::InFlight));
        assert_eq!(admit(1, 3), Err(Limited::InFlight));
        assert_eq!(admit(1, 4), Ok(()));
        assert_eq!(client.limited, [0, 2, 0]);
        let mut late = Client::new(address(2), 2, START);
        assert_eq!(late.admit(&ALLOWANCE, (1, 0), false, START), Err(Limited::Crowded));
    }

    #[test]
    fn a_question_turned_away_takes_nothing() {
        let mut client = Client::new(address(1), 1, START);
        let tight = Allowance { in_flight: 0, ..ALLOWANCE };
        for _ in 0..10 {
            assert!(client.admit(&tight, (1, ROOM), true, START).is_err());
        }
        assert_eq!(client.in_flight, 0);
        for _ in 0..3 {
            assert_eq!(client.admit(&ALLOWANCE, (1, ROOM), true, START), Ok(()));
        }
    }

    #[test]
    fn strangers_replace_each_other_and_not_the_busy() {
        let table = Table::default();
        for _ in 0..50 {
            let _ = ask(&table, 0, true, 0);
        }
        for stranger in 1..100_000 {
            let _ = ask(&table, stranger, true, u64::from(stranger) / 100);
        }
        let clients = table.all(START.plus_millis(1_000));
        assert_eq!(clients.len(), CLIENTS_MAX);
        assert_eq!((clients[0].address, clients[0].questions), (address(0), 50));
    }

    #[test]
    fn shares_of_a_client_that_left_are_nobody_elses() {
        let mut set = Set::default();
        let first = set.client(address(0), START);
        first.admit(&ALLOWANCE, (2, ROOM), false, START).expect("room");
        let serial = first.serial;
        for other in 1..=8 {
            for _ in 0..9 {
                let client = set.client(address(other), START);
                let _ = client.admit(&ALLOWANCE, (1, ROOM), false, START);
            }
        }
        let again = set.client(address(0), START);
        assert_eq!(again.in_flight, 0);
        again.admit(&ALLOWANCE, (1, ROOM), false, START).expect("room");
        set.release(address(0), serial, 2);
        assert_eq!(set.client(address(0), START).in_flight, 1);
    }

    #[test]
    fn activity_is_a_rate_that_fades() {
        let table = Table::default();
        for millis in 0..120_000 {
            let _ = ask(&table, 1, true, millis);
        }
        let per_second =
            |after| table.all(START.plus_millis(after)).first().map_or(0.0, Client::per_second);
        assert!((900.0..1_010.0).contains(&per_second(120_000)), "{}", per_second(120_000));
        assert!((450.0..510.0).contains(&per_second(150_000)));
    }

    #[test]
    fn a_clock_that_stands_still_or_goes_back_is_harmless() {
        let table = Table::default();
        assert!(ask(&table, 1, true, 1_000).is_ok());
        for _ in 0..2 {
            assert!(ask(&table, 1, true, 0).is_ok());
        }
        assert_eq!(ask(&table, 1, true, 1_000), Err(Limited::Rate));
    }
}
