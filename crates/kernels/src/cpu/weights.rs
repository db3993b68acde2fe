//! Weights as they are stored: in 32 bits, or in 16 that are widened a piece at a time.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use std::ops::Range;

/// The weights of a layer, in order and without gaps. The kernels compute in 32 bits.
#[derive(Clone, Copy)]
pub(crate) enum Weights<'a> {
    F32(&'a [f32]),
    F16(&'a [f16]),
    Bf16(&'a [bf16]),
}

impl<'a> From<&'a [f32]> for Weights<'a> {
    fn from(values: &'a [f32]) -> Self {
        Self::F32(values)
    }
}

impl Weights<'_> {
    /// The floats that [`wide`](Self::wide) needs room for, to give this many.
    pub(crate) fn room(&self, count: usize) -> usize {
        match self {
            Self::F32(_) => 0,
            Self::F16(_) | Self::Bf16(_) => count,
        }
    }

    /// Some of them in 32 bits: where they lie, or widened into `room`.
    #[inline(always)]
    pub(crate) fn wide<'b>(&'b self, range: Range<usize>, room: &'b mut [f32]) -> &'b [f32] {
        match self {
            Self::F32(values) => &values[range],
            Self::F16(values) => {
                let room = &mut room[..range.len()];
                values[range].convert_to_f32_slice(room);
                room
            }
            Self::Bf16(values) => {
                let room = &mut room[..range.len()];
                values[range].convert_to_f32_slice(room);
                room
            }
        }
    }
}
