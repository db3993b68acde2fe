//! Sums over images in parts, which several tasks make and which are added in order.

use super::super::simd::transpose::{Rows, transpose};
use super::super::simd::{Isa, Kernel, Lanes};
use super::Shape;
use super::pack::panel_width;
use rayon::prelude::*;

/// Parts of equal size that the sum over images is split into, at least, counting panels and
/// channels.
pub(super) const TASKS: usize = 16;

/// The gradients of weight and bias.
pub(crate) struct Gradients {
    pub(crate) weight: Vec<f32>,
    pub(crate) bias: Vec<f32>,
}

/// The sum over images in parts, each from some images, for a panel of output channels and a slice
/// of input channels: a row of lanes for every (channel, tap), then one for the bias. Groups of
/// images come one after the other; within one, panels; within a panel, slices.
pub(super) struct Parts {
    pub(super) values: Vec<Vec<f32>>,
    pub(super) groups: usize,
    /// Input channels per slice.
    pub(super) slice: usize,
}

impl Parts {
    /// Adds all groups, in order, and brings the sums into the weight's order.
    pub(super) fn add(mut self, isa: Isa, shape: &Shape) -> Gradients {
        let lanes = panel_width(isa);
        let area = shape.kernel[0] * shape.kernel[1];
        let slices = shape.channels_in.div_ceil(self.slice);
        let count = self.values.len() / self.groups;
        let (sums, others) = self.values.split_at_mut(count);
        let row = shape.channels_in * area;
        let mut weight = vec![0.0; shape.weight_len()];
        let mut bias = vec![0.0; shape.channels_out];
        let panels = weight
            .par_chunks_mut(lanes * row)
            .zip(bias.par_chunks_mut(lanes));
        panels
            .zip(sums.par_chunks_mut(slices))
            .enumerate()
            .for_each(|(panel, ((weight, bias), sums))| {
                for (slice, sum) in sums.iter_mut().enumerate() {
                    for other in others.iter().skip(panel * slices + slice).step_by(count) {
                        sum.iter_mut().zip(other).for_each(|(a, b)| *a += b);
                    }
                    let weight = &mut weight[slice * self.slice * area..];
                    isa.run(Reorder {
                        sum,
                        channels: bias.len(),
                        weight,
                        row,
                    });
                }
                let last = sums[0].len() - lanes;
                bias.copy_from_slice(&sums[0][last..][..bias.len()]);
            });
        Gradients { weight, bias }
    }
}

/// A part's rows of lanes as the rows of the weight's output channels.
struct Reorder<'a> {
    sum: &'a [f32],
    channels: usize,
    weight: &'a mut [f32],
    /// Floats from one output channel's weights to the next's.
    row: usize,
}

impl Kernel for Reorder<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self) {
        let lanes = 2 * V::N;
        let rows = self.sum.len() / lanes - 1;
        assert!((self.channels - 1) * self.row + rows <= self.weight.len());
        let from = Rows {
            start: self.sum.as_ptr(),
            pitch: lanes,
        };
        let to = Rows {
            start: self.weight.as_mut_ptr(),
            pitch: self.row,
        };
        // SAFETY: the sum has one row of lanes more, and the end of the weight's last row was
        // checked.
        unsafe { transpose::<V>(from, [rows, self.channels], to) }
    }
}

/// Adds to `sum`, some registers, every row of as many in `rows`.
#[inline(always)]
pub(super) fn add_columns<V: Lanes>(rows: &[f32], sum: &mut [f32]) {
    let lanes = sum.len();
    for (lane, sum) in sum.chunks_exact_mut(V::N).enumerate() {
        // SAFETY: `sum` and each row's part hold `N` floats.
        unsafe {
            let mut acc = V::load(sum.as_ptr());
            for row in rows.chunks_exact(lanes) {
                acc = acc.add(V::load(row[lane * V::N..][..V::N].as_ptr()));
            }
            acc.store(sum.as_mut_ptr());
        }
    }
}
