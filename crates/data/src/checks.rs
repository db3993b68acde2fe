//! Checks of channels and sides that a user gives.

use crate::DataError;

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

/// Refuses a side of no pixels.
pub(crate) fn check_side(side: usize, origin: &str) -> Result<(), DataError> {
    if side > 0 {
        return Ok(());
    }
    let expected = "a side of at least 1 pixel".into();
    Err(DataError::Config {
        key: "size",
        got: "0".into(),
        origin: origin.into(),
        expected,
    })
}
