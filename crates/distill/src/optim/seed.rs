//! Seeds for the framework's own generator.

/// A seed from the run's seed and the clock (splitmix64).
pub(super) fn mix(seed: u64, clock: u64) -> u64 {
    let mut x = seed ^ clock.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first numbers of the reference implementation with the seed 0.
    #[test]
    fn seeds_are_the_published_numbers() {
        let published = [
            0xE220_A839_7B1D_CDAF,
            0x6E78_9E6A_A1B9_65F4,
            0x06C4_5D18_8009_454F,
        ];
        assert_eq!([1, 2, 3].map(|clock| mix(0, clock)), published);
        // The seed is added bit by bit to the clock's multiple.
        const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
        assert_eq!(mix(STEP, 0), published[0]);
        assert_eq!(mix(STEP ^ STEP.wrapping_mul(2), 1), published[1]);
    }
}
