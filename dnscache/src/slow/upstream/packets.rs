//! What an upstream takes from this machine in a second, and who may have how much of it.
//!
//! The resolver of an Amazon VPC drops what exceeds 1,024 packets per second from one network
//! interface: whatever is sent above that is lost, for hot names as for random ones. So packets are
//! counted where they are sent, by address and for the whole process, and nothing goes out above the
//! limit. Near it, a part is kept for questions about which something is known (renewals of names in
//! use, names with an expired answer); names nobody has asked for before wait for a moment and are
//! then turned away.
//!
//! Counted are the packets we send: a datagram each, and over TCP two for a question (its segment and
//! the acknowledgement of the reply) and three for a connection (SYN, ACK, FIN). Questions that leave
//! in one segment are counted as if they did not, which errs on the safe side. What other processes
//! of the machine send to the same upstream is not seen here; `packets_per_second` leaves room for it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock;
use crate::config::PacketLimit;
use crate::engine::Now;

/// The packets to one address.
#[derive(Debug)]
pub struct PacketBudget {
    /// What the address is known to take.
    known: Limit,
    /// The limit in force: packets and strangers' part of them; no packets: no limit.
    packets: AtomicU64,
    strangers: AtomicU64,
    window: Mutex<Window>,
    /// Questions held until there is room.
    held: AtomicUsize,
    delayed: AtomicU64,
    refused: AtomicU64,
}

/// A limit per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Limit {
    packets: u64,
    /// What questions may have about which nothing is known.
    strangers: u64,
}

/// Packets of the last second.
#[derive(Debug, Default)]
struct Window {
    /// By tenth of a second; the current one and the ten before it, so that no second has more than
    /// the sum of all.
    slots: [u32; SLOTS],
    /// The number of the current tenth.
    slot: u64,
    sent: u64,
    /// The most in any second of this minute, of the one before, and the minute's number.
    peaks: [u32; 2],
    minute: u64,
}

/// A question's place among those held.
#[derive(Debug)]
pub struct Held(Arc<PacketBudget>);

const SLOTS: usize = 11;
const SLOT_MILLIS: u64 = 100;
const MINUTE_MILLIS: u64 = 60_000;
/// The limit of the resolver of an Amazon VPC for one network interface.
const VPC_PACKETS: u64 = 1_024;
/// What is kept of it, in percent, unless an operator says otherwise.
const VPC_RESERVE_PERCENT: u64 = 20;
/// The addresses of that resolver in every VPC. It has another one in each, the second of the VPC's
/// range, which cannot be told from others: `packets_per_second` is for that.
const VPC_RESOLVERS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 253)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x253)),
];

/// Packets of one question over TCP.
pub const STREAM_COST: u32 = 2;
/// Packets of one connection.
pub const CONNECTION_COST: u32 = 3;

impl Default for PacketBudget {
    /// Without a limit.
    fn default() -> Self {
        Self::with(Limit::default())
    }
}

impl PacketBudget {
    /// The budget of an address nothing was sent to.
    pub fn of(address: IpAddr) -> Self {
        let is_known = VPC_RESOLVERS.contains(&address.to_canonical());
        Self::with(if is_known {
            Limit::new(VPC_PACKETS, VPC_RESERVE_PERCENT)
        } else {
            Limit::default()
        })
    }

    fn with(known: Limit) -> Self {
        Self {
            known,
            packets: AtomicU64::new(known.packets),
            strangers: AtomicU64::new(known.strangers),
            window: Mutex::default(),
            held: AtomicUsize::new(0),
            delayed: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// Puts a limit in force; [`PacketLimit::Known`] is what the address is known to take.
    pub fn limit(&self, limit: PacketLimit) {
        let Limit { packets, strangers } = match limit {
            PacketLimit::Known => self.known,
            PacketLimit::Unlimited => Limit::default(),
            PacketLimit::PerSecond { packets, reserve_percent } => {
                Limit::new(packets.into(), reserve_percent.into())
            }
        };
        self.strangers.store(strangers, Ordering::Relaxed);
        self.packets.store(packets, Ordering::Relaxed);
    }

    /// Takes so many packets, if they may be sent now.
    pub fn spend(&self, packets: u32, is_known: bool) -> bool {
        self.limit_for(is_known)
            .is_none_or(|limit| self.window().spend(packets.into(), limit, clock::now()))
    }

    /// Counts packets that are sent in any case: of probes and connections.
    pub fn note(&self, packets: u32) {
        if self.limit_for(true).is_some() {
            self.window().spend(packets.into(), u64::MAX, clock::now());
        }
    }

    /// Whether a question may neither be sent now nor be held; then that is counted. For whoever asks
    /// before anything is begun: a flood of strangers is turned away here.
    pub fn refuses(&self, is_known: bool) -> bool {
        let Some(limit) = self.limit_for(is_known) else { return false };
        let is_crowded =
            self.held.load(Ordering::Relaxed) as u64 >= self.strangers.load(Ordering::Relaxed);
        let refuses = is_crowded && !self.window().has_room(limit, clock::now());
        self.refused.fetch_add(refuses.into(), Ordering::Relaxed);
        refuses
    }

    /// A place among those held; `None` when as many are held as could be sent within a second.
    pub fn hold(self: &Arc<Self>) -> Option<Held> {
        let before = self.held.fetch_add(1, Ordering::Relaxed);
        let held = Held(Arc::clone(self));
        let has_room = (before as u64) < self.strangers.load(Ordering::Relaxed);
        let counter = if has_room { &self.delayed } else { &self.refused };
        counter.fetch_add(1, Ordering::Relaxed);
        has_room.then_some(held)
    }

    /// Counts a question that was held for so long that it is turned away.
    pub fn gave_up(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// The numbers as they are now; `None` without a limit.
    pub fn read(&self) -> Option<PacketReading> {
        let limit = self.limit_for(true)?;
        let mut window = self.window();
        window.roll(clock::now());
        Some(PacketReading {
            limit,
            strangers: self.strangers.load(Ordering::Relaxed),
            last_second: window.sum(),
            peak: window.peaks[0].max(window.peaks[1]).into(),
            sent: window.sent,
            delayed: self.delayed.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        })
    }

    fn limit_for(&self, is_known: bool) -> Option<u64> {
        let packets = self.packets.load(Ordering::Relaxed);
        let limit = if is_known { packets } else { self.strangers.load(Ordering::Relaxed) };
        (packets > 0).then_some(limit)
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        // Nothing panics while it is held.
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Limit {
    fn new(packets: u64, reserve_percent: u64) -> Self {
        let kept = packets * reserve_percent.min(100) / 100;
        Self { packets, strangers: packets - kept }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Window {
    /// Counts packets, unless there would be more than `limit` in the last second.
    fn spend(&mut self, packets: u64, limit: u64, now: Now) -> bool {
        self.roll(now);
        let sum = self.sum() + packets;
        if sum > limit {
            return false;
        }
        let current = (self.slot % SLOTS as u64) as usize;
        self.slots[current] = self.slots[current].saturating_add(packets as u32);
        self.sent += packets;
        self.peaks[0] = self.peaks[0].max(u32::try_from(sum).unwrap_or(u32::MAX));
        true
    }

    fn has_room(&mut self, limit: u64, now: Now) -> bool {
        self.roll(now);
        self.sum() < limit
    }

    /// Forgets what is older than a second.
    fn roll(&mut self, now: Now) {
        let (slot, minute) = (now.millis() / SLOT_MILLIS, now.millis() / MINUTE_MILLIS);
        if slot > self.slot {
            for gone in 1..=(slot - self.slot).min(SLOTS as u64) {
                self.slots[((self.slot + gone) % SLOTS as u64) as usize] = 0;
            }
            self.slot = slot;
        }
        if minute > self.minute {
            let before = if minute == self.minute + 1 { self.peaks[0] } else { 0 };
            (self.peaks, self.minute) = ([0, before], minute);
        }
    }

    fn sum(&self) -> u64 {
        self.slots.iter().map(|packets| u64::from(*packets)).sum()
    }
}

/// The numbers of one address at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PacketReading {
    /// Packets it takes in a second.
    pub limit: u64,
    /// Those of them that questions may have about which nothing is known.
    pub strangers: u64,
    /// Packets in the last second or a tenth more.
    pub last_second: u64,
    /// The most in any second of this minute and the one before.
    pub peak: u64,
    /// Packets since there is a limit.
    pub sent: u64,
    /// Questions that had to wait.
    pub delayed: u64,
    /// Questions that were turned away.
    pub refused: u64,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> Now {
        Now::from_millis(1_000_000 + millis)
    }

    #[test]
    fn a_second_has_no_more_than_the_limit() {
        let mut window = Window::default();
        let mut sent = Vec::new();
        for millis in 0..10_000 {
            if window.spend(1, 50, at(millis)) {
                sent.push(millis);
            }
        }
        for begin in 0..9_000 {
            let within = sent.iter().filter(|sent| (begin..begin + 1_000).contains(*sent)).count();
            assert!(within <= 50, "{within} packets from {begin} ms on");
        }
        assert!(sent.len() >= 450, "{} packets in ten seconds", sent.len());
    }

    #[test]
    fn what_is_kept_is_for_what_is_known() {
        let mut window = Window::default();
        let Limit { packets, strangers } = Limit::new(50, 20);
        let mut spend = |limit| (0..100).filter(|_| window.spend(1, limit, at(0))).count();
        assert_eq!((spend(strangers), spend(packets), spend(strangers)), (40, 10, 0));
    }

    #[test]
    fn connections_count_though_nobody_asks_whether_they_may() {
        let mut window = Window::default();
        assert!(window.spend(60, u64::MAX, at(0)));
        assert!(!window.spend(1, 50, at(1_000)));
        assert!(window.spend(1, 50, at(1_100)));
    }

    #[test]
    fn the_peak_is_told_for_a_minute() {
        let mut window = Window::default();
        window.spend(30, 50, at(0));
        window.spend(5, 50, at(2_000));
        assert_eq!(window.peaks, [30, 0]);
        window.roll(at(60_000));
        assert_eq!(window.peaks, [0, 30]);
        window.roll(at(120_000));
        assert_eq!(window.peaks, [0, 0]);
    }

    #[test]
    fn the_resolver_of_a_vpc_has_a_limit_and_others_have_none() {
        for address in ["169.254.169.253", "::ffff:169.254.169.253", "fd00:ec2::253"] {
            let budget = PacketBudget::of(address.parse().expect("an address"));
            let reading = budget.read().expect("a limit");
            assert_eq!((reading.limit, reading.strangers), (1_024, 820));
            budget.limit(PacketLimit::Unlimited);
            assert_eq!(budget.read(), None);
            budget.limit(PacketLimit::Known);
            assert!(budget.read().is_some());
        }
        let budget = PacketBudget::of([10, 0, 0, 2].into());
        assert_eq!(budget.read(), None);
        assert!((0..10_000).all(|_| budget.spend(1, false)));
    }

    #[test]
    fn as_many_are_held_as_a_second_can_take() {
        let budget = Arc::new(PacketBudget::default());
        budget.limit(PacketLimit::PerSecond { packets: 10, reserve_percent: 50 });
        let mut held: Vec<_> = (0..8).filter_map(|_| budget.hold()).collect();
        assert_eq!(held.len(), 5);
        held.pop();
        held.extend(budget.hold());
        assert_eq!(held.len(), 5);
        let reading = budget.read().expect("a limit");
        assert_eq!((reading.delayed, reading.refused), (6, 3));
    }

    proptest! {
        #[test]
        fn no_second_exceeds_the_limit(
            steps in prop::collection::vec((0_u64..400, 1_u64..20, any::<bool>()), 0..200)
        ) {
            let mut window = Window::default();
            let (mut millis, mut sent) = (0, Vec::new());
            for (pause, packets, is_known) in steps {
                millis += pause;
                if window.spend(packets, if is_known { 50 } else { 40 }, at(millis)) {
                    sent.push((millis, packets));
                }
            }
            for (begin, _) in &sent {
                let second = *begin..begin + 1_000;
                let within = sent.iter().filter(|(at, _)| second.contains(at));
                prop_assert!(within.map(|(_, packets)| packets).sum::<u64>() <= 50);
            }
        }
    }
}
