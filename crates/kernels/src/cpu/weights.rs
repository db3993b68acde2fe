//! Weights as they are stored: in 32 bits, or in fewer that are widened a piece at a time.

use crate::q8::BLOCK;
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use std::ops::Range;

/// The weights of a layer, in order and without gaps. The kernels compute in 32 bits.
#[derive(Clone, Copy)]
pub(crate) enum Weights<'a> {
    F32(&'a [f32]),
    F16(&'a [f16]),
    Bf16(&'a [bf16]),
    Q8(Blocks<'a>),
}

/// Whole numbers in blocks; see [`crate::q8`].
#[derive(Clone, Copy)]
pub(crate) struct Blocks<'a> {
    pub(crate) numbers: &'a [i8],
    /// Of each block of inputs, one for each number behind the axis of the inputs.
    pub(crate) scales: &'a [f32],
    /// The numbers behind the axis of the inputs.
    pub(crate) behind: usize,
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
            Self::F16(_) | Self::Bf16(_) | Self::Q8(_) => count,
        }
    }

    /// Some of them in 32 bits: where they lie, or widened into `room`.
    #[inline(always)]
    pub(crate) fn wide<'b>(&'b self, range: Range<usize>, room: &'b mut [f32]) -> &'b [f32] {
        match self {
            Self::F32(values) => &values[range],
            _ => {
                let room = &mut room[..range.len()];
                self.write(range, room);
                room
            }
        }
    }

    /// Writes some of them in 32 bits.
    #[inline(always)]
    pub(crate) fn write(&self, range: Range<usize>, to: &mut [f32]) {
        match self {
            Self::F32(values) => to.copy_from_slice(&values[range]),
            Self::F16(values) => values[range].convert_to_f32_slice(to),
            Self::Bf16(values) => values[range].convert_to_f32_slice(to),
            Self::Q8(blocks) => blocks.write(range, to),
        }
    }
}

impl Blocks<'_> {
    /// Input by input: the numbers behind one share no block, and have their scales in order.
    #[inline(always)]
    fn write(self, range: Range<usize>, to: &mut [f32]) {
        let (mut at, mut to) = (range.start, to);
        while at < range.end {
            let (input, first) = (at / self.behind, at % self.behind);
            let count = (self.behind - first).min(range.end - at);
            let (wide, rest) = to.split_at_mut(count);
            let scales = &self.scales[input / BLOCK * self.behind + first..][..count];
            let numbers = &self.numbers[at..][..count];
            for ((wide, number), scale) in wide.iter_mut().zip(numbers).zip(scales) {
                *wide = f32::from(*number) * scale;
            }
            (at, to) = (at + count, rest);
        }
    }
}
