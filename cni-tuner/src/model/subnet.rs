//! A subnet with a finite number of addresses, in blocks of /28.
//!
//! Single addresses come from anywhere in the subnet, as EC2 gives them, so that they break up blocks
//! that a prefix would need whole.

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

/// A subnet before anything of ours is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubnetPlan {
    /// What it is called in results and in traces.
    pub name: String,
    /// Its availability zone. With subnet discovery, new ENIs may be in any subnet of the node's zone.
    pub zone: String,
    /// Its size: /16 to /28, as AWS allows.
    pub prefix_len: u8,
    /// Addresses that others have taken, spread over it at random.
    pub taken: u32,
}

/// Addresses of a /28.
const BLOCK: u32 = 16;
/// AWS keeps the first four addresses of a subnet and the last.
const KEPT_FIRST: u8 = 4;
const KEPT_LAST: u8 = 1;

impl Default for SubnetPlan {
    fn default() -> SubnetPlan {
        let (name, zone) = ("subnet-0".to_owned(), "zone-0".to_owned());
        SubnetPlan { name, zone, prefix_len: 16, taken: 0 }
    }
}

impl SubnetPlan {
    /// Addresses it can give: all but the five that AWS keeps (the first four and the last).
    pub fn capacity(&self) -> u32 {
        (1 << (32 - u32::from(self.prefix_len))) - u32::from(KEPT_FIRST + KEPT_LAST)
    }
}

/// A subnet in use.
#[derive(Debug, Clone)]
pub struct Subnet {
    /// Addresses taken in each /28.
    blocks: Vec<u8>,
    free: u32,
    free_prefixes: u32,
}

impl Subnet {
    /// A subnet as planned: what others have taken is spread over it.
    pub fn new(plan: &SubnetPlan, random: &mut ChaCha8Rng) -> Subnet {
        let mut blocks = vec![0; 1 << (28 - u32::from(plan.prefix_len))];
        blocks[0] += KEPT_FIRST;
        *blocks.last_mut().expect("a subnet has a block") += KEPT_LAST;
        let free_prefixes = blocks.iter().filter(|taken| **taken == 0).count() as u32;
        let mut subnet = Subnet { blocks, free: plan.capacity(), free_prefixes };
        for _ in 0..plan.taken {
            subnet.take_address(random);
        }
        subnet
    }

    /// Free addresses.
    pub fn free(&self) -> u32 {
        self.free
    }

    /// Blocks of /28 that are wholly free.
    pub fn free_prefixes(&self) -> u32 {
        self.free_prefixes
    }

    /// Takes a free address, anywhere; in which block it lies.
    pub fn take_address(&mut self, random: &mut ChaCha8Rng) -> Option<u32> {
        if self.free == 0 {
            return None;
        }
        let block = self.draw(random)?;
        let taken = &mut self.blocks[block];
        self.free_prefixes -= u32::from(*taken == 0);
        *taken += 1;
        self.free -= 1;
        Some(block as u32)
    }

    /// Takes a block that is wholly free.
    pub fn take_prefix(&mut self, random: &mut ChaCha8Rng) -> Option<u32> {
        if self.free_prefixes == 0 {
            return None;
        }
        let start = random.random_range(0..self.blocks.len());
        let block = self.from(start).find(|block| self.blocks[*block] == 0)?;
        self.blocks[block] = BLOCK as u8;
        self.free_prefixes -= 1;
        self.free -= BLOCK;
        Some(block as u32)
    }

    /// Gives an address or a whole prefix back.
    pub fn give_back(&mut self, block: u32, is_prefix: bool) {
        let count = if is_prefix { BLOCK } else { 1 };
        let taken = &mut self.blocks[block as usize];
        *taken -= count as u8;
        self.free_prefixes += u32::from(*taken == 0);
        self.free += count;
    }

    /// A block with room, drawn so that every free address is as likely as any other. In a subnet
    /// that is nearly full the draws would go on for long; after some, the next block with room is
    /// as good.
    fn draw(&self, random: &mut ChaCha8Rng) -> Option<usize> {
        const DRAWS_MAX: u32 = 64;
        let slots = self.blocks.len() * BLOCK as usize;
        for _ in 0..DRAWS_MAX {
            let slot = random.random_range(0..slots);
            let (block, position) = (slot / BLOCK as usize, slot % BLOCK as usize);
            if position >= usize::from(self.blocks[block]) {
                return Some(block);
            }
        }
        let start = random.random_range(0..self.blocks.len());
        self.from(start).find(|block| u32::from(self.blocks[*block]) < BLOCK)
    }

    /// All blocks, from one on and around.
    fn from(&self, start: usize) -> impl Iterator<Item = usize> + use<> {
        let count = self.blocks.len();
        (start..count).chain(0..start)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    fn subnet(prefix_len: u8, taken: u32) -> (Subnet, ChaCha8Rng) {
        let mut random = ChaCha8Rng::seed_from_u64(7);
        let plan = SubnetPlan { prefix_len, taken, ..SubnetPlan::default() };
        (Subnet::new(&plan, &mut random), random)
    }

    #[test]
    fn a_subnet_gives_all_but_five_addresses() {
        let (mut subnet, mut random) = subnet(24, 0);
        for _ in 0..251 {
            assert!(subnet.take_address(&mut random).is_some());
        }
        assert_eq!(subnet.take_address(&mut random), None);
        assert_eq!(subnet.free(), 0);
    }

    #[test]
    fn the_first_and_the_last_block_are_never_prefixes() {
        let (mut subnet, mut random) = subnet(24, 0);
        assert_eq!(subnet.free_prefixes(), 14);
        let taken: Vec<u32> = std::iter::from_fn(|| subnet.take_prefix(&mut random)).collect();
        assert_eq!(taken.len(), 14);
        assert!(!taken.contains(&0) && !taken.contains(&15));
        assert_eq!(subnet.free(), 251 - 14 * 16);
    }

    #[test]
    fn a_subnet_of_one_block_has_no_prefix() {
        let (subnet, _) = subnet(28, 0);
        assert_eq!((subnet.free(), subnet.free_prefixes()), (11, 0));
    }

    #[test]
    fn scattered_addresses_leave_no_prefix_though_half_is_free() {
        let (mut subnet, mut random) = subnet(20, 2_000);
        assert_eq!(subnet.free(), 4_091 - 2_000);
        assert!(subnet.free_prefixes() < 3);
        while subnet.take_prefix(&mut random).is_some() {}
        assert!(subnet.free() > 2_000);
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let (mut subnet, mut random) = subnet(26, 0);
        let prefix = subnet.take_prefix(&mut random).expect("a prefix");
        let address = subnet.take_address(&mut random).expect("an address");
        subnet.give_back(prefix, true);
        subnet.give_back(address, false);
        assert_eq!((subnet.free(), subnet.free_prefixes()), (59, 2));
    }
}
