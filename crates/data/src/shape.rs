//! The shape of an image.

use serde::{Deserialize, Serialize};
use std::fmt;

/// [channels, height, width] of every image of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageShape {
    /// 1 (grey) or 3 (RGB).
    pub channels: usize,
    /// Rows of pixels.
    pub height: usize,
    /// Columns of pixels.
    pub width: usize,
}

impl ImageShape {
    /// Values in one image: channels * height * width.
    pub fn len(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// Whether images of both shapes have the same height and width.
    pub fn same_size(&self, other: Self) -> bool {
        (self.height, self.width) == (other.height, other.width)
    }

    /// Whether an image of this shape has no values at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Display for ImageShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}x{} pixels and {} channel(s)",
            self.width, self.height, self.channels
        )
    }
}
