//! Checks of channels and sides that a user gives.

use crate::DataError;
use fewstep_diffusion::limits::DATA_SIDE;

/// Refuses a channel count other than 1 and 3.
pub(crate) fn check_channels(channels: usize, origin: &str) -> Result<(), DataError> {
    if channels == 1 || channels == 3 {
        return Ok(());
    }
    let expected = "1 (grey) or 3 (RGB)".into();
    Err(DataError::Config {
        key: "channels",
        got: channels.to_string(),
        origin: origin.into(),
        expected,
    })
}

/// Refuses a side of no pixels, or of more than images have.
pub(crate) fn check_side(side: usize, origin: &str) -> Result<(), DataError> {
    if (1..=DATA_SIDE).contains(&side) {
        return Ok(());
    }
    let expected = format!("a side of at least 1 pixel and at most {DATA_SIDE}");
    Err(DataError::Config {
        key: "size",
        got: side.to_string(),
        origin: origin.into(),
        expected,
    })
}
