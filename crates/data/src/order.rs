//! The order of examples: a pure function of (seed, clock).

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Which example the n-th sample of a run is.
///
/// The clock counts the samples seen before this one. Epoch `clock / len` visits every example
/// once, in an order that depends only on (seed, epoch); the flip depends only on (seed, clock). So
/// batch size, resumption and the number of workers change nothing. The state behind `&mut self` is
/// only a cache: the permutation of the latest epoch.
#[derive(Clone, Debug)]
pub struct ExampleOrder {
    seed: u64,
    len: usize,
    flip: bool,
    flips: ChaCha8Rng,
    epoch: Option<u64>,
    permutation: Vec<usize>,
}

/// One random draw: an example, and whether it is mirrored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw {
    /// The example's index in the dataset.
    pub index: usize,
    /// Whether left and right are exchanged.
    pub flip: bool,
}

/// Keeps the streams of random numbers of one seed apart.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    Permutation = 1,
    Flip = 2,
    Condition = 3,
}

impl ExampleOrder {
    /// The order of `len` examples under `seed`; with `flip`, half of the draws are mirrored.
    ///
    /// # Panics
    /// If `len` is 0: an empty set has no order.
    pub fn new(seed: u64, len: usize, flip: bool) -> Self {
        assert!(len > 0, "an order needs at least one example");
        Self {
            seed,
            len,
            flip,
            flips: generator(seed, Purpose::Flip, 0),
            epoch: None,
            permutation: Vec::new(),
        }
    }

    /// The seed.
    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    /// The example that the sample at `clock` is.
    pub fn at(&mut self, clock: u64) -> Draw {
        let (epoch, position) = (clock / self.len as u64, clock % self.len as u64);
        if self.epoch != Some(epoch) {
            shuffle(
                &mut self.permutation,
                self.len,
                generator(self.seed, Purpose::Permutation, epoch),
            );
            self.epoch = Some(epoch);
        }
        Draw {
            index: self.permutation[position as usize],
            flip: self.flip && self.flips_at(clock),
        }
    }

    /// A fair coin for each clock: one bit of the flip stream, found by its position.
    fn flips_at(&mut self, clock: u64) -> bool {
        self.flips.set_word_pos(u128::from(clock / 32));
        self.flips.next_u32() >> (clock % 32) & 1 == 1
    }
}

/// The stream of random numbers for one purpose of one seed.
pub(crate) fn generator(seed: u64, purpose: Purpose, stream: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8] = purpose as u8;
    let mut generator = ChaCha8Rng::from_seed(key);
    generator.set_stream(stream);
    generator
}

/// Fisher-Yates: fills `permutation` with 0..len in a uniformly random order.
fn shuffle(permutation: &mut Vec<usize>, len: usize, mut random: ChaCha8Rng) {
    permutation.clear();
    permutation.extend(0..len);
    for last in (1..len).rev() {
        permutation.swap(last, below(last as u64 + 1, &mut random) as usize);
    }
}

/// A uniform integer in 0..bound, unbiased: the high half of a 128-bit product, redrawn where its
/// low half falls in the incomplete last interval (Lemire, "Fast random integer generation in an
/// interval", 2019).
pub(crate) fn below(bound: u64, random: &mut ChaCha8Rng) -> u64 {
    let incomplete = bound.wrapping_neg() % bound;
    loop {
        let product = u128::from(random.next_u64()) * u128::from(bound);
        if product as u64 >= incomplete {
            return (product >> 64) as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_epoch_is_a_permutation(seed: u64, len in 1usize..200, epoch in 0u64..1_000_000) {
            let mut order = ExampleOrder::new(seed, len, true);
            let start = epoch * len as u64;
            let mut seen: Vec<usize> = (0..len as u64).map(|i| order.at(start + i).index).collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..len).collect::<Vec<_>>());
        }

        #[test]
        fn a_draw_depends_on_nothing_asked_before(
            seed: u64, len in 1usize..50, asked in prop::collection::vec(0u64..500, 0..20), clock in 0u64..500,
        ) {
            let fresh = ExampleOrder::new(seed, len, true).at(clock);
            let mut order = ExampleOrder::new(seed, len, true);
            for earlier in asked {
                order.at(earlier);
            }
            prop_assert_eq!(order.at(clock), fresh);
        }

        #[test]
        fn flipping_changes_no_index(seed: u64, len in 1usize..50, clock: u64) {
            let plain = ExampleOrder::new(seed, len, false).at(clock);
            prop_assert_eq!(plain.index, ExampleOrder::new(seed, len, true).at(clock).index);
            prop_assert!(!plain.flip);
        }
    }

    #[test]
    fn epochs_and_seeds_differ() {
        let epoch = |seed, epoch: u64| -> Vec<usize> {
            let mut order = ExampleOrder::new(seed, 100, false);
            (0..100).map(|i| order.at(epoch * 100 + i).index).collect()
        };
        assert_ne!(epoch(1, 0), epoch(1, 1));
        assert_ne!(epoch(1, 0), epoch(2, 0));
    }

    /// The stored order of a run must not change with a dependency or a rewrite: resumed runs rely
    /// on it. The values are those of `tests/order_golden.py`.
    #[test]
    fn the_order_is_pinned() {
        let mut order = ExampleOrder::new(7, 10, true);
        let draws: Vec<Draw> = (0..20).map(|clock| order.at(clock)).collect();
        let indices: Vec<usize> = draws.iter().map(|draw| draw.index).collect();
        let flips: String = draws
            .iter()
            .map(|draw| if draw.flip { '1' } else { '0' })
            .collect();
        assert_eq!(
            indices,
            [3, 5, 6, 1, 7, 2, 4, 9, 0, 8, 9, 8, 0, 1, 5, 4, 2, 3, 7, 6]
        );
        assert_eq!(flips, "11010111100100001011");
    }

    #[test]
    fn each_place_is_equally_likely_and_half_are_flipped() {
        const LEN: usize = 5;
        const EPOCHS: u64 = 20_000;
        let mut order = ExampleOrder::new(3, LEN, true);
        let mut counts = [[0u32; LEN]; LEN];
        let mut flips = 0;
        for clock in 0..EPOCHS * LEN as u64 {
            let draw = order.at(clock);
            counts[clock as usize % LEN][draw.index] += 1;
            flips += u32::from(draw.flip);
        }
        // Five standard deviations of a binomial count: 5 * sqrt(n p (1 - p)).
        for count in counts.into_iter().flatten() {
            assert!((f64::from(count) - 4000.0).abs() < 5.0 * 56.6, "{counts:?}");
        }
        assert!((f64::from(flips) - 50_000.0).abs() < 5.0 * 158.2, "{flips}");
    }
}
