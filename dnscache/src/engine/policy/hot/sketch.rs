//! How often names that are not followed were asked, roughly, in a fixed amount of memory.
//!
//! A count-min sketch: a name adds to one cell in each row, and shares it with whoever else falls
//! there. Among a million names every cell holds dozens of strangers' questions, so the smallest
//! cell alone would call each of them warm; what a cell is expected to hold without the name is
//! therefore taken off (count-mean-min), and how far cells stray from that is told beside it.

/// Rows; a name's smallest cell counts.
const ROWS: usize = 4;
/// The part of a name's hash that chooses its cell in a row. Four of them fit a hash of 64 bits.
const ROW_BITS: usize = 15;
/// Cells in a row.
const ROW_LEN: usize = 1 << ROW_BITS;

/// Counts of names by their hash. 256 KiB, of which the system only provides what is touched.
#[derive(Debug)]
pub(super) struct Sketch {
    /// Row after row.
    cells: Box<[u16]>,
    /// Questions in each row.
    total: u64,
    /// The sum of the squares of what was added, from which the noise in a cell follows.
    squares: u64,
}

/// What a sketch says about a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Estimate {
    /// Questions about it, as likely too few as too many.
    pub likely: u32,
    /// Questions about it that are hardly its neighbours'.
    pub certain: u32,
}

impl Sketch {
    /// Without any questions.
    pub fn new() -> Self {
        Self { cells: vec![0; ROWS * ROW_LEN].into(), total: 0, squares: 0 }
    }

    /// Counts `weight` questions about the name with this hash and says how many there were.
    pub fn add(&mut self, hash: u64, weight: u32) -> Estimate {
        let added = u16::try_from(weight).unwrap_or(u16::MAX);
        let mut least = u16::MAX;
        for row in 0..ROWS {
            let cell = &mut self.cells[cell_at(row, hash)];
            *cell = cell.saturating_add(added);
            least = least.min(*cell);
        }
        let estimate = self.without_neighbours(least);
        self.total += u64::from(added);
        self.squares += u64::from(added) * u64::from(added);
        estimate
    }

    /// Takes from a cell what it would hold without the name.
    fn without_neighbours(&self, cell: u16) -> Estimate {
        let load = self.total as f64 / ROW_LEN as f64;
        let deviation = (self.squares as f64 / ROW_LEN as f64).sqrt();
        let likely = f64::from(cell) - load;
        // Casts of negative numbers to unsigned ones end at 0.
        let certain = likely - DEVIATIONS * deviation;
        Estimate { likely: likely.round() as u32, certain: certain.round() as u32 }
    }

    /// Halves every count so many times.
    pub fn halve(&mut self, times: u32) {
        for cell in &mut self.cells {
            *cell = cell.checked_shr(times).unwrap_or(0);
        }
        // Odd counts lose a half, so the sum is taken anew; rows differ by next to nothing.
        self.total = self.cells.iter().map(|cell| u64::from(*cell)).sum::<u64>() / ROWS as u64;
        self.squares = self.squares.checked_shr(2 * times).unwrap_or(0);
    }

    /// Octets of memory.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.cells)
    }
}

/// Deviations that all of a name's cells together do not exceed by chance: it happens to one name
/// in four million.
const DEVIATIONS: f64 = 2.0;

fn cell_at(row: usize, hash: u64) -> usize {
    row * ROW_LEN + (hash >> (row * ROW_BITS)) as usize % ROW_LEN
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use foldhash::fast::FixedState;

    use super::*;

    fn hash(number: u32) -> u64 {
        FixedState::default().hash_one(number)
    }

    #[test]
    fn a_lone_name_is_counted_exactly() {
        let mut sketch = Sketch::new();
        for asked in 1..=100 {
            let estimate = sketch.add(hash(1), 1);
            assert_eq!(estimate.likely, asked);
            assert_eq!(estimate.certain, asked);
        }
        assert_eq!(sketch.add(hash(2), 7), Estimate { likely: 7, certain: 7 });
    }

    #[test]
    fn a_name_among_a_hundred_thousand_is_seen_and_they_are_not() {
        let mut sketch = Sketch::new();
        let warmest = (1..=100_000).map(|name| sketch.add(hash(name), 1).certain).max();
        assert!(warmest <= Some(2), "{warmest:?}");
        let estimate = (0..30).map(|_| sketch.add(hash(0), 1)).last().expect("30 of them");
        assert!((20..=40).contains(&estimate.likely), "{estimate:?}");
        assert!((15..=35).contains(&estimate.certain), "{estimate:?}");
    }

    #[test]
    fn heavier_samples_count_as_louder_noise() {
        let mut sketch = Sketch::new();
        let warmest = (1..=25_000).map(|name| sketch.add(hash(name), 16).certain).max();
        assert!(warmest <= Some(32), "{warmest:?}");
    }

    #[test]
    fn halving_halves_and_ends_at_nothing() {
        let mut sketch = Sketch::new();
        sketch.add(hash(1), 80);
        sketch.halve(1);
        assert_eq!(sketch.add(hash(1), 1).likely, 41);
        sketch.halve(200);
        assert_eq!((sketch.total, sketch.squares), (0, 0));
        assert_eq!(sketch.add(hash(1), 1).likely, 1);
    }

    #[test]
    fn cells_do_not_overflow() {
        let mut sketch = Sketch::new();
        for _ in 0..3 {
            sketch.add(hash(1), u32::MAX);
        }
        assert!(sketch.cells.iter().all(|cell| [0, u16::MAX].contains(cell)));
    }

    #[test]
    fn it_takes_a_quarter_of_a_mebibyte() {
        assert_eq!(Sketch::new().bytes(), 256 << 10);
    }
}
