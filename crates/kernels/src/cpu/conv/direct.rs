//! The forward pass and the input's gradient by taps, for any kernel, stride and padding.

use super::super::output::written_by;
use super::super::simd::Isa;
use super::super::weights::Weights;
use super::Shape;
use super::gather::{Gather, Grid};
use super::pack::Packing;
use super::window::Tap;
use std::mem::MaybeUninit;

pub(super) fn forward(
    isa: Isa,
    shape: &Shape,
    x: &[f32],
    weight: Weights,
    bias: Option<&[f32]>,
) -> Vec<f32> {
    let taps = shape.taps();
    let elements: Vec<usize> = (0..taps.len()).collect();
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
        kernels: Packing::new(isa, weight, shape, &elements, false),
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

/// Input positions fall into `stride`² classes by their remainder; within one, each reads the
/// output's gradient through the same taps at stride one.
pub(super) fn input_grad(isa: Isa, shape: &Shape, dy: &[f32], weight: &[f32]) -> Vec<f32> {
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
        kernels: Packing::new(isa, weight.into(), shape, &elements, true),
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
        let distance = (first[axis] + shape.padding[axis]) as isize - element as isize;
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

impl Shape {
    /// Where the output at position 0 reads the input, for each kernel element.
    pub(super) fn taps(&self) -> Vec<Tap> {
        let padding = self.padding.map(|p| p as isize);
        let [height, width] = self.kernel;
        (0..height * width)
            .map(|k| Tap {
                dy: (k / width) as isize - padding[0],
                dx: (k % width) as isize - padding[1],
            })
            .collect()
    }
}
