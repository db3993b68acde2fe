//! Kernels of one element: each image's output is the weight's matrix times the input's, both as
//! they lie.

use super::super::product::{Left, product};
use super::super::scratch;
use super::super::simd::{Isa, Kernel, Lanes};
use super::super::weights::Weights;
use super::Shape;
use rayon::prelude::*;

/// Channels of the result per task.
const CHANNELS: usize = 64;

/// Whether a convolution is such a product, of whole registers of positions.
pub(super) fn fits(isa: Isa, shape: &Shape) -> bool {
    let one_to_one = shape.kernel == [1, 1] && shape.stride == 1 && shape.padding == [0, 0];
    one_to_one && (shape.size_in[0] * shape.size_in[1]).is_multiple_of(isa.lanes())
}

pub(super) fn forward(
    isa: Isa,
    shape: &Shape,
    x: &[f32],
    weight: Weights,
    bias: Option<&[f32]>,
) -> Vec<f32> {
    multiply::<false>(
        isa,
        shape,
        [shape.channels_out, shape.channels_in],
        x,
        weight,
        bias,
    )
}

pub(super) fn input_grad(isa: Isa, shape: &Shape, dy: &[f32], weight: &[f32]) -> Vec<f32> {
    multiply::<true>(
        isa,
        shape,
        [shape.channels_in, shape.channels_out],
        dy,
        weight.into(),
        None,
    )
}

/// The weight, or its transpose where `ACROSS`, times every image, plus the bias.
fn multiply<const ACROSS: bool>(
    isa: Isa,
    shape: &Shape,
    [rows, inner]: [usize; 2],
    x: &[f32],
    weight: Weights,
    bias: Option<&[f32]>,
) -> Vec<f32> {
    let (area, pitch) = (shape.size_in[0] * shape.size_in[1], shape.channels_in);
    let mut y = vec![0.0; shape.batch * rows * area];
    let images = y
        .par_chunks_exact_mut(rows * area)
        .zip(x.par_chunks_exact(inner * area));
    images.for_each(|(y, x)| {
        y.par_chunks_mut(CHANNELS * area)
            .enumerate()
            .for_each(|(part, y)| {
                let first = part * CHANNELS;
                let channels = y.len() / area;
                let range = match ACROSS {
                    true => first..first + (inner - 1) * pitch + channels,
                    false => first * pitch..(first + channels) * pitch,
                };
                let bias = bias.map(|bias| &bias[first..]);
                scratch::with([weight.room(range.len())], |[room]| {
                    isa.run(Task::<ACROSS> {
                        weight: Left {
                            values: weight.wide(range, room),
                            pitch,
                        },
                        x,
                        bias,
                        y,
                        area,
                    });
                });
            });
    });
    y
}

/// Some channels of one image's result.
struct Task<'a, const ACROSS: bool> {
    weight: Left<'a>,
    x: &'a [f32],
    bias: Option<&'a [f32]>,
    y: &'a mut [f32],
    area: usize,
}

impl<const ACROSS: bool> Kernel for Task<'_, ACROSS> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self) {
        let Self {
            weight,
            x,
            bias,
            y,
            area,
        } = self;
        let sizes = [y.len() / area, x.len() / area, area];
        match bias {
            Some(bias) => {
                for (plane, &bias) in y.chunks_exact_mut(area).zip(bias) {
                    plane.fill(bias);
                }
                product::<V, ACROSS, true>(weight, sizes, (x, area), (y, area));
            }
            None => product::<V, ACROSS, false>(weight, sizes, (x, area), (y, area)),
        }
    }
}
