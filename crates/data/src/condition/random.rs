//! Uniform random numbers.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

/// A uniform number in [0, 1).
pub(super) fn uniform(random: &mut ChaCha8Rng) -> f64 {
    (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// A uniform number between two.
pub(super) fn between([low, high]: [f64; 2], random: &mut ChaCha8Rng) -> f64 {
    low + (high - low) * uniform(random)
}
