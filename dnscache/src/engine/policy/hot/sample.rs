//! Which questions are looked at.

use crate::engine::Now;

/// Chooses questions for [`HotTable::note`](super::HotTable::note): every one while there are few,
/// one in fifteen of a burst.
#[derive(Debug, Default)]
pub struct Sampler {
    last: Now,
    /// Questions of this moment that were looked at.
    looks: u32,
    passed: u32,
}

/// A look takes a tenth of a microsecond, so a burst spends a hundredth of its time on looks. An odd
/// number, because A and AAAA take turns.
const PERIOD: u32 = 15;
/// The first questions of a moment are looked at in any case: A and AAAA come together.
const LOOKS: u32 = 2;

impl Sampler {
    /// How many questions this one stands for, if it is looked at.
    pub fn weight(&mut self, now: Now) -> Option<u32> {
        self.passed += 1;
        if self.last != now {
            (self.last, self.looks) = (now, 0);
        }
        if self.looks >= LOOKS && self.passed < PERIOD {
            return None;
        }
        self.looks += 1;
        Some(std::mem::take(&mut self.passed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_question_counts_through_those_that_are_looked_at() {
        let mut sampler = Sampler::default();
        let mut looks = Vec::new();
        for (moment, questions) in [(1, 2), (2, 40), (3, 1)] {
            for _ in 0..questions {
                looks.extend(sampler.weight(Now::from_millis(moment)));
            }
        }
        assert_eq!(looks, [1, 1, 1, 1, 15, 15, 9]);
        assert_eq!(looks.iter().sum::<u32>(), 43);
    }
}
