//! The ranges of numbers out of files, recipes and requests: wider than any model needs, and so
//! narrow that products of them stay within 64 bits.

use std::fmt::Debug;
use std::ops::{Bound, RangeBounds};

/// Levels of a network, and of the stem of a ControlNet.
pub const LEVELS: usize = 16;
/// Blocks of a level, layers of a text encoder.
pub const BLOCKS: usize = 256;
/// Features of a layer, channels of an image.
pub const FEATURES: usize = 1 << 16;
/// Rank of a LoRA.
pub const RANK: usize = 1 << 12;
/// Rows of a table: classes, tokens.
pub const ROWS: usize = 1 << 20;
/// Height and width of the images or latents that a network is trained on.
pub const SIDE: usize = 4096;
/// Height and width of the images of a dataset.
pub const DATA_SIDE: usize = 1 << 14;
/// Masks of each image, where they are made once.
pub const MASKS: usize = 1 << 10;
/// Height and width of an image that is generated.
pub const IMAGE_SIDE: usize = 1 << 16;
/// Side of the patches that a network folds into channels.
pub const PATCH: usize = 64;
/// Steps of a sampler, and those that a student is distilled for.
pub const STEPS: usize = 1 << 14;
/// Timesteps of a schedule, intervals of a method.
pub const TIMESTEPS: usize = 1 << 20;
/// Logarithm of the signal-to-noise ratio at the ends of a schedule, either sign.
pub const LOG_SNR: f64 = 1000.0;
/// Samples of an update.
pub const BATCH: usize = 1 << 18;
/// Images of a request.
pub const IMAGES: usize = 1 << 40;
/// Threads of a process.
pub const THREADS: usize = 1 << 10;
/// Updates of a phase, and between two lines of its log.
pub const UPDATES: u64 = 1 << 40;
/// Guidance weights and factors, either sign.
pub const FACTOR: f64 = 1e6;

/// A number outside its range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is {value}, it must be {range}")]
pub struct OutOfRange {
    /// What the number is called.
    pub name: String,
    /// The number.
    pub value: String,
    /// What it may be.
    pub range: String,
}

/// Checks that a number lies in a range. NaN lies in none.
///
/// # Errors
/// Names the number, what it is, and what it may be.
pub fn within<T: PartialOrd + Debug>(
    name: &str,
    value: T,
    range: impl RangeBounds<T>,
) -> Result<(), OutOfRange> {
    match range.contains(&value) {
        true => Ok(()),
        false => Err(OutOfRange {
            name: name.into(),
            value: plain(&value),
            range: words(&range),
        }),
    }
}

/// Checks a number of things, which is at least 1.
///
/// # Errors
/// As [`within`].
pub fn count(name: &str, value: usize, most: usize) -> Result<(), OutOfRange> {
    within(name, value, 1..=most)
}

/// Checks a guidance weight or a factor, at most [`FACTOR`] of either sign.
///
/// # Errors
/// As [`within`].
pub fn factor(name: &str, value: f64) -> Result<(), OutOfRange> {
    within(name, value, -FACTOR..=FACTOR)
}

/// Checks a probability.
///
/// # Errors
/// As [`within`].
pub fn probability(name: &str, value: f64) -> Result<(), OutOfRange> {
    within(name, value, 0.0..=1.0)
}

/// The numbers above 0, up to `most`.
pub fn above_zero(most: f64) -> (Bound<f64>, Bound<f64>) {
    (Bound::Excluded(0.0), Bound::Included(most))
}

/// A number with an exponent where it would be long.
fn plain(number: &impl Debug) -> String {
    let text = format!("{number:?}");
    text.strip_suffix(".0").map_or(text.clone(), String::from)
}

fn words<T: Debug>(range: &impl RangeBounds<T>) -> String {
    let low = match range.start_bound() {
        Bound::Included(low) => Some(format!("at least {}", plain(low))),
        Bound::Excluded(low) => Some(format!("above {}", plain(low))),
        Bound::Unbounded => None,
    };
    let high = match range.end_bound() {
        Bound::Included(high) => Some(format!("at most {}", plain(high))),
        Bound::Excluded(high) => Some(format!("below {}", plain(high))),
        Bound::Unbounded => None,
    };
    let both: Vec<String> = low.into_iter().chain(high).collect();
    both.join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_outside_their_range_are_named() {
        assert_eq!(within("lr", 1.0, above_zero(1.0)), Ok(()));
        let message = |checked: Result<(), OutOfRange>| checked.expect_err("refused").to_string();
        assert_eq!(
            message(within("lr", 0.0, above_zero(1.0))),
            "`lr` is 0, it must be above 0 and at most 1"
        );
        assert_eq!(
            message(within("dropout", f64::NAN, 0.0..1.0)),
            "`dropout` is NaN, it must be at least 0 and below 1"
        );
        assert_eq!(
            message(factor("w", 1e308)),
            "`w` is 1e308, it must be at least -1000000 and at most 1000000"
        );
        assert_eq!(
            message(count("batch", 0, 4)),
            "`batch` is 0, it must be at least 1 and at most 4"
        );
        for wrong in [f64::INFINITY, -1e300, f64::NAN] {
            assert!(factor("w", wrong).is_err() && probability("p", wrong).is_err());
        }
    }
}
