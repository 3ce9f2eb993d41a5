//! EC2's API as the CNI meets it: what its calls take, how many it lets pass, how often they are
//! tried again.

use std::collections::BTreeMap;

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, StandardNormal};

/// The actions the CNI calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "AWS's own names")]
pub enum Action {
    AssignPrivateIpAddresses,
    UnassignPrivateIpAddresses,
    CreateNetworkInterface,
    AttachNetworkInterface,
    ModifyNetworkInterfaceAttribute,
    DetachNetworkInterface,
    DeleteNetworkInterface,
    DescribeNetworkInterfaces,
    DescribeSubnets,
    DescribeInstances,
    CreateTags,
}

/// The API of one account in one region.
#[derive(Debug, Clone, PartialEq)]
pub struct Ec2 {
    /// What each action takes.
    pub latencies: BTreeMap<Action, Latency>,
    /// How many calls of each action pass. Every action has a bucket of its own.
    pub buckets: BTreeMap<Action, Bucket>,
    /// How long after it was attached an ENI shows in the instance's metadata.
    pub eni_visible: Latency,
    /// The part of each bucket that is left to the CNI, in percent: 1 to 100. Autoscalers, other
    /// clusters and people share an account.
    pub share_percent: u32,
}

/// A log-normal time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latency {
    /// Half of all take no longer, milliseconds.
    pub median_ms: u64,
    /// 95 of 100 take no longer, milliseconds; at least the median.
    pub p95_ms: u64,
}

/// A token bucket: requests that pass at once, and how fast it fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    /// Tokens it holds.
    pub capacity: u32,
    /// Tokens a second that come back.
    pub refill_per_sec: u32,
}

/// Tries of one call, the first among them (the SDK's standard retryer).
pub const ATTEMPTS_MAX: u32 = 3;
/// The longest pause between two of them.
const BACKOFF_MAX_MS: u64 = 20_000;
/// No call takes longer, however far apart a median and its percentile are: an hour, the most that
/// either can be.
const LATENCY_MAX_MS: u64 = 3_600_000;
/// How long EC2 takes to say RequestLimitExceeded.
pub const THROTTLED_LATENCY_MS: u64 = 100;

impl Action {
    /// All of them, in the order results list them.
    pub const ALL: [Action; 11] = [
        Action::AssignPrivateIpAddresses,
        Action::UnassignPrivateIpAddresses,
        Action::CreateNetworkInterface,
        Action::AttachNetworkInterface,
        Action::ModifyNetworkInterfaceAttribute,
        Action::DetachNetworkInterface,
        Action::DeleteNetworkInterface,
        Action::DescribeNetworkInterfaces,
        Action::DescribeSubnets,
        Action::DescribeInstances,
        Action::CreateTags,
    ];

    /// AWS's name.
    pub fn name(self) -> &'static str {
        match self {
            Action::AssignPrivateIpAddresses => "AssignPrivateIpAddresses",
            Action::UnassignPrivateIpAddresses => "UnassignPrivateIpAddresses",
            Action::CreateNetworkInterface => "CreateNetworkInterface",
            Action::AttachNetworkInterface => "AttachNetworkInterface",
            Action::ModifyNetworkInterfaceAttribute => "ModifyNetworkInterfaceAttribute",
            Action::DetachNetworkInterface => "DetachNetworkInterface",
            Action::DeleteNetworkInterface => "DeleteNetworkInterface",
            Action::DescribeNetworkInterfaces => "DescribeNetworkInterfaces",
            Action::DescribeSubnets => "DescribeSubnets",
            Action::DescribeInstances => "DescribeInstances",
            Action::CreateTags => "CreateTags",
        }
    }

    /// The action of that name.
    pub fn find(name: &str) -> Option<Action> {
        Action::ALL.into_iter().find(|action| action.name() == name)
    }

    /// The documented bucket (EC2 developer guide, "Request throttling"). Which one holds for
    /// describing by id is not documented; the smaller is taken.
    fn documented_bucket(self) -> Bucket {
        let (capacity, refill_per_sec) = match self {
            Action::AssignPrivateIpAddresses
            | Action::UnassignPrivateIpAddresses
            | Action::CreateNetworkInterface
            | Action::DeleteNetworkInterface
            | Action::ModifyNetworkInterfaceAttribute => (100, 5),
            Action::AttachNetworkInterface | Action::DetachNetworkInterface => (50, 5),
            Action::CreateTags => (100, 10),
            Action::DescribeSubnets => (100, 20),
            Action::DescribeInstances | Action::DescribeNetworkInterfaces => (50, 10),
        };
        Bucket { capacity, refill_per_sec }
    }

    /// Figures that add up to what is published: an address in 400 to 600 ms (amazon-vpc-cni-k8s
    /// PR 648), a prefix in under a second, an ENI created and attached in up to ten seconds
    /// (docs/eni-and-ip-target.md).
    fn published_latency(self) -> Latency {
        let (median_ms, p95_ms) = match self {
            Action::AssignPrivateIpAddresses => (500, 800),
            Action::UnassignPrivateIpAddresses => (400, 800),
            Action::CreateNetworkInterface => (700, 1_500),
            Action::AttachNetworkInterface => (1_200, 2_500),
            Action::ModifyNetworkInterfaceAttribute => (300, 700),
            Action::DetachNetworkInterface => (600, 1_200),
            Action::DeleteNetworkInterface => (400, 900),
            Action::DescribeNetworkInterfaces => (150, 400),
            Action::DescribeSubnets => (120, 300),
            Action::DescribeInstances => (150, 400),
            Action::CreateTags => (250, 600),
        };
        Latency { median_ms, p95_ms }
    }
}

impl Default for Ec2 {
    fn default() -> Ec2 {
        let all = Action::ALL.into_iter();
        Ec2 {
            latencies: all.clone().map(|action| (action, action.published_latency())).collect(),
            buckets: all.map(|action| (action, action.documented_bucket())).collect(),
            eni_visible: Latency { median_ms: 2_000, p95_ms: 4_500 },
            share_percent: 100,
        }
    }
}

impl Latency {
    /// One time of this distribution, milliseconds.
    pub fn draw(&self, random: &mut ChaCha8Rng) -> u64 {
        /// The 95th percentile of the standard normal distribution.
        const Z95: f64 = 1.644_853_626_951_472_2;
        let (median, p95) = (self.median_ms.max(1) as f64, self.p95_ms.max(1) as f64);
        let sigma = (p95.max(median) / median).ln() / Z95;
        let normal: f64 = StandardNormal.sample(random);
        ((median * (sigma * normal).exp()).round() as u64).min(LATENCY_MAX_MS)
    }
}

/// The pause before the next try of a call, after `attempt` tries (1 or more) were throttled.
pub fn backoff_ms(attempt: u32, random: &mut ChaCha8Rng) -> u64 {
    let longest_ms = (1_000_u64 << attempt.min(10)).min(BACKOFF_MAX_MS);
    random.random_range(0..=longest_ms)
}

/// The account's token buckets as they stand.
#[derive(Debug, Clone)]
pub struct Account {
    buckets: [Level; Action::ALL.len()],
}

/// Millionths of a token: what comes back in a millisecond is then a whole number.
const TOKEN: u64 = 1_000_000;

#[derive(Debug, Clone, Copy)]
struct Level {
    capacity: u64,
    /// Millionths of a token in a millisecond.
    refill: u64,
    tokens: u64,
    seen_ms: u64,
}

impl Account {
    /// Full buckets.
    pub fn new(ec2: &Ec2, now_ms: u64) -> Account {
        let share = u64::from(ec2.share_percent);
        let buckets = Action::ALL.map(|action| {
            let documented = || action.documented_bucket();
            let bucket = ec2.buckets.get(&action).copied().unwrap_or_else(documented);
            let capacity = (u64::from(bucket.capacity) * TOKEN * share / 100).max(TOKEN);
            let refill = u64::from(bucket.refill_per_sec) * (TOKEN / 1_000) * share / 100;
            Level { capacity, refill, tokens: capacity, seen_ms: now_ms }
        });
        Account { buckets }
    }

    /// Whether a call passes now; it takes a token if it does. `now_ms` never runs backwards.
    pub fn admits(&mut self, action: Action, now_ms: u64) -> bool {
        let level = &mut self.buckets[action as usize];
        let gained = (now_ms - level.seen_ms).saturating_mul(level.refill);
        level.tokens = level.tokens.saturating_add(gained).min(level.capacity);
        level.seen_ms = now_ms;
        let admits = level.tokens >= TOKEN;
        level.tokens -= if admits { TOKEN } else { 0 };
        admits
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn a_bucket_passes_its_capacity_and_then_its_refill() {
        let mut account = Account::new(&Ec2::default(), 0);
        let passes = |account: &mut Account, now_ms| {
            (0..1_000).filter(|_| account.admits(Action::AttachNetworkInterface, now_ms)).count()
        };
        assert_eq!(passes(&mut account, 0), 50);
        assert_eq!(passes(&mut account, 1_000), 5);
        assert_eq!(passes(&mut account, 1_199), 0);
        assert_eq!(passes(&mut account, 1_200), 1);
        assert_eq!(passes(&mut account, 100_000), 50);
    }

    #[test]
    fn actions_do_not_share_a_bucket() {
        let mut account = Account::new(&Ec2::default(), 0);
        while account.admits(Action::AttachNetworkInterface, 0) {}
        assert!(account.admits(Action::DetachNetworkInterface, 0));
    }

    #[test]
    fn a_share_of_a_bucket_is_smaller_and_fills_slower() {
        let ec2 = Ec2 { share_percent: 20, ..Ec2::default() };
        let mut account = Account::new(&ec2, 0);
        let mut passed = |now_ms| {
            (0..1_000).filter(|_| account.admits(Action::AssignPrivateIpAddresses, now_ms)).count()
        };
        assert_eq!(passed(0), 20);
        assert_eq!(passed(3_000), 3);
    }

    #[test]
    fn latencies_have_the_median_and_the_percentile_they_name() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let latency = Latency { median_ms: 500, p95_ms: 800 };
        let mut drawn: Vec<u64> = (0..20_000).map(|_| latency.draw(&mut random)).collect();
        drawn.sort_unstable();
        assert!(drawn[10_000].abs_diff(500) < 10, "{}", drawn[10_000]);
        assert!(drawn[19_000].abs_diff(800) < 20, "{}", drawn[19_000]);
    }

    #[test]
    fn no_latency_is_beyond_an_hour() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let latency = Latency { median_ms: 1, p95_ms: 3_600_000 };
        let longest = (0..1_000).map(|_| latency.draw(&mut random)).max();
        assert_eq!(longest, Some(3_600_000));
    }

    #[test]
    fn pauses_grow_and_end_at_twenty_seconds() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let mut longest = |attempt| (0..2_000).map(|_| backoff_ms(attempt, &mut random)).max();
        assert!(longest(1) <= Some(2_000));
        assert!(longest(2) <= Some(4_000));
        assert!(longest(9) <= Some(20_000));
    }
}
