//! 2-D convolution over `[batch, channels, height, width]`.
//!
//! A convolution is taken apart into *taps*: the output at a position is a sum, over channels and taps,
//! of the input at the tap's offset from it times a weight. The register tile is a few positions by
//! two registers of output channels, so that no spatial size is a bad one; each image is read
//! where it lies, but for a copy of a few channels at a time with the border of zeros around.
//!
//! - the forward pass and the input's gradient are one engine ([`gather`]) with other taps,
//! - the weight's gradient ([`weight_grad`]) contracts over positions instead of channels and taps.

mod gather;
mod pack;
mod weight_grad;
mod window;

#[cfg(test)]
mod tests;

use super::output::written_by;
use super::simd::Isa;
use gather::{Gather, Grid};
use pack::pack_weights;
use std::mem::MaybeUninit;
pub(crate) use weight_grad::{bias_grad, weight_grad};
use window::Tap;

/// The sizes of one convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) batch: usize,
    pub(crate) channels_in: usize,
    pub(crate) channels_out: usize,
    /// Height and width of the input.
    pub(crate) size_in: [usize; 2],
    /// Height and width of the kernel.
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: usize,
    pub(crate) padding: usize,
}

impl Shape {
    /// Height and width of the output.
    pub(crate) fn output(&self) -> [usize; 2] {
        [0, 1].map(|axis| {
            (self.size_in[axis] + 2 * self.padding - self.kernel[axis]) / self.stride + 1
        })
    }

    pub(crate) fn input_len(&self) -> usize {
        self.batch * self.channels_in * self.size_in[0] * self.size_in[1]
    }

    pub(crate) fn output_len(&self) -> usize {
        let [height, width] = self.output();
        self.batch * self.channels_out * height * width
    }

    pub(crate) fn weight_len(&self) -> usize {
        self.channels_out * self.channels_in * self.kernel[0] * self.kernel[1]
    }

    /// Where the output at position 0 reads the input, for each kernel element.
    fn taps(&self) -> Vec<Tap> {
        let padding = self.padding as isize;
        let [height, width] = self.kernel;
        (0..height * width)
            .map(|k| Tap {
                dy: (k / width) as isize - padding,
                dx: (k % width) as isize - padding,
            })
            .collect()
    }
}

/// `y = conv(x, weight) + bias`.
pub(crate) fn forward(
    isa: Isa,
    shape: &Shape,
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
) -> Vec<f32> {
    let taps = shape.taps();
    let elements: Vec<usize> = (0..taps.len()).collect();
    let packed = pack_weights(isa, weight, shape, &elements, false);
    let size = shape.output();
    let gather = Gather {
        isa,
        batch: shape.batch,
        source_channels: shape.channels_in,
        source_size: shape.size_in,
        stride: shape.stride,
        channels: shape.channels_out,
        size,
        taps: &taps,
        weights: &packed,
        bias,
        grid: Grid {
            size,
            first: [0, 0],
            step: 1,
        },
    };
    // SAFETY: the grid is the whole output, and `run` writes every position of its grid.
    unsafe { written_by(shape.output_len(), |y| gather.run(x, y)) }
}

/// The gradient of the input, given that of the output.
///
/// Input positions fall into `stride`² classes by their remainder; within one, each reads the output's
/// gradient through the same taps at stride one.
pub(crate) fn input_grad(isa: Isa, shape: &Shape, dy: &[f32], weight: &[f32]) -> Vec<f32> {
    // SAFETY: the classes make up the whole input, and each writes every position of its own.
    unsafe {
        written_by(shape.input_len(), |dx| {
            for class in 0..shape.stride * shape.stride {
                let first = [class / shape.stride, class % shape.stride];
                if first[0] < shape.size_in[0] && first[1] < shape.size_in[1] {
                    input_grad_of_class(isa, shape, first, dy, weight, dx);
                }
            }
        })
    }
}

/// The gradient at the input positions `first + stride * i`.
fn input_grad_of_class(
    isa: Isa,
    shape: &Shape,
    first: [usize; 2],
    dy: &[f32],
    weight: &[f32],
    dx: &mut [MaybeUninit<f32>],
) {
    let (elements, taps): (Vec<usize>, Vec<Tap>) = class_taps(shape, first).into_iter().unzip();
    let packed = pack_weights(isa, weight, shape, &elements, true);
    let along = |axis: usize| (shape.size_in[axis] - first[axis]).div_ceil(shape.stride);
    Gather {
        isa,
        batch: shape.batch,
        source_channels: shape.channels_out,
        source_size: shape.output(),
        stride: 1,
        channels: shape.channels_in,
        size: shape.size_in,
        taps: &taps,
        weights: &packed,
        bias: None,
        grid: Grid {
            size: [along(0), along(1)],
            first,
            step: shape.stride,
        },
    }
    .run(dy, dx);
}

/// The kernel elements that reach the input positions `first + stride * i`, and where from.
fn class_taps(shape: &Shape, first: [usize; 2]) -> Vec<(usize, Tap)> {
    let along = |axis: usize, element: usize| {
        let distance = (first[axis] + shape.padding) as isize - element as isize;
        let stride = shape.stride as isize;
        (distance % stride == 0).then_some(distance / stride)
    };
    let [height, width] = shape.kernel;
    (0..height * width)
        .filter_map(|k| {
            Some((
                k,
                Tap {
                    dy: along(0, k / width)?,
                    dx: along(1, k % width)?,
                },
            ))
        })
        .collect()
}
