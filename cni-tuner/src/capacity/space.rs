//! Subnets that nodes are put into, one by one.
//!
//! Each node is wholly in one subnet, the one with the most free addresses that can take it. In
//! prefix mode it matters where single addresses lie, since each of them breaks up a /28:
//! [`Spaces::spread`] puts them anywhere, as EC2 does, [`Spaces::unbroken`] side by side, as a subnet
//! CIDR reservation for prefixes would.

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use crate::capacity::node::NodeLoad;
use crate::capacity::{NodesLimit, SubnetSpace};
use crate::model::pool::PREFIX_ADDRESSES;
use crate::model::subnet::{Subnet, SubnetPlan};

/// Where single addresses are drawn from. Any seed is as good.
const SEED: u64 = 1;

/// The subnets as they fill up.
#[derive(Debug)]
pub struct Spaces {
    spaces: Vec<Space>,
    random: ChaCha8Rng,
}

#[derive(Debug)]
enum Space {
    Spread(Subnet),
    Unbroken { loose: u32, prefixes: u32 },
}

impl Spaces {
    /// Single addresses lie anywhere: those that others have, and the ENIs' own.
    pub fn spread(subnets: &[SubnetSpace]) -> Spaces {
        let mut random = ChaCha8Rng::seed_from_u64(SEED);
        let spread = |subnet: &SubnetSpace| Space::Spread(plan(subnet, &mut random));
        let spaces = subnets.iter().map(spread).collect();
        Spaces { spaces, random }
    }

    /// No more /28s are broken up than must be: what others have lies side by side, and so do the
    /// single addresses of ours.
    pub fn unbroken(subnets: &[SubnetSpace]) -> Spaces {
        let spaces = subnets.iter().map(Space::unbroken).collect();
        Spaces { spaces, random: ChaCha8Rng::seed_from_u64(SEED) }
    }

    /// Puts one node into a subnet.
    ///
    /// # Errors
    ///
    /// What is missing, if no subnet can take it.
    pub fn place(&mut self, load: &NodeLoad) -> Result<(), NodesLimit> {
        let mut order: Vec<usize> = (0..self.spaces.len()).collect();
        order.sort_by_key(|at| u32::MAX - self.spaces[*at].free());
        let Some(at) = order.into_iter().find(|at| self.spaces[*at].can_take(load)) else {
            let fits = |space: &Space| space.free() >= load.addresses();
            let is_broken = self.spaces.iter().any(fits);
            return Err(if is_broken { NodesLimit::Prefixes } else { NodesLimit::Addresses });
        };
        self.spaces[at].take(load, &mut self.random);
        Ok(())
    }

    /// Free addresses and wholly free /28s of every subnet.
    pub fn left(&self) -> Vec<(u32, u32)> {
        self.spaces.iter().map(|space| (space.free(), space.free_prefixes())).collect()
    }
}

fn plan(subnet: &SubnetSpace, random: &mut ChaCha8Rng) -> Subnet {
    let plan = SubnetPlan {
        name: subnet.name.clone(),
        prefix_len: subnet.range.prefix_len(),
        taken: subnet.capacity() - subnet.free,
        ..SubnetPlan::default()
    };
    Subnet::new(&plan, random)
}

impl Space {
    /// The first /28 and the last are never whole: AWS keeps addresses in them.
    fn unbroken(subnet: &SubnetSpace) -> Space {
        let blocks: u32 = 1 << (28 - u32::from(subnet.range.prefix_len()));
        let prefixes = blocks.saturating_sub(2).min(subnet.free / PREFIX_ADDRESSES);
        Space::Unbroken { loose: subnet.free - prefixes * PREFIX_ADDRESSES, prefixes }
    }

    fn free(&self) -> u32 {
        match self {
            Space::Spread(subnet) => subnet.free(),
            Space::Unbroken { loose, prefixes } => loose + prefixes * PREFIX_ADDRESSES,
        }
    }

    fn free_prefixes(&self) -> u32 {
        match self {
            Space::Spread(subnet) => subnet.free_prefixes(),
            Space::Unbroken { prefixes, .. } => *prefixes,
        }
    }

    fn can_take(&self, load: &NodeLoad) -> bool {
        self.free() >= load.addresses() && self.free_prefixes() >= load.prefixes
    }

    /// Takes what [`Space::can_take`] said there is: first the prefixes, so that the node's own
    /// single addresses are not what breaks them up.
    fn take(&mut self, load: &NodeLoad, random: &mut ChaCha8Rng) {
        match self {
            Space::Spread(subnet) => {
                (0..load.prefixes).for_each(|_| {
                    subnet.take_prefix(random);
                });
                (0..load.single_addresses()).for_each(|_| {
                    subnet.take_address(random);
                });
            }
            Space::Unbroken { loose, prefixes } => {
                *prefixes -= load.prefixes;
                while *loose < load.single_addresses() {
                    *prefixes -= 1;
                    *loose += PREFIX_ADDRESSES;
                }
                *loose -= load.single_addresses();
            }
        }
    }
}
