//! The forward pass.

use super::super::output::written_by;
use super::super::simd::math::sigmoid;
use super::super::simd::{Isa, Kernel, Lanes};
use super::{Epilogue, Moments, Shape};
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// The output, and each group's moments.
pub(crate) fn forward(
    isa: Isa,
    shape: &Shape,
    eps: f64,
    x: &[f32],
    epilogue: Epilogue,
) -> (Vec<f32>, Vec<Moments>) {
    let len = shape.group_len();
    let mut moments = vec![
        Moments {
            mean: 0.0,
            inverse: 0.0
        };
        shape.batch * shape.groups
    ];
    // SAFETY: the groups make up the whole output, and each task writes all of its group.
    let y = unsafe {
        written_by(shape.len(), |y| {
            let groups = y.par_chunks_exact_mut(len).zip(x.par_chunks_exact(len));
            groups
                .zip(&mut moments)
                .enumerate()
                .for_each(|(group, ((y, x), moments))| {
                    *moments = isa.run(Group {
                        shape,
                        eps,
                        epilogue,
                        group,
                        x,
                        y,
                    });
                });
        })
    };
    (y, moments)
}

/// One group of one image.
struct Group<'a> {
    shape: &'a Shape,
    eps: f64,
    epilogue: Epilogue<'a>,
    /// Counted through all images.
    group: usize,
    x: &'a [f32],
    y: &'a mut [MaybeUninit<f32>],
}

impl Kernel for Group<'_> {
    type Output = Moments;

    #[inline(always)]
    fn run<V: Lanes>(self) -> Moments {
        let moments = moments::<V>(self.x, self.eps);
        let (area, per_group) = (self.shape.area, self.shape.channels_per_group());
        let planes = self.x.chunks_exact(area).zip(self.y.chunks_exact_mut(area));
        for (channel, (x, y)) in (self.group * per_group..).zip(planes) {
            let (factor, summand) = self.epilogue.affine(channel, self.shape.channels);
            let factor = factor * moments.inverse;
            let summand = summand - factor * moments.mean;
            if self.epilogue.silu {
                write::<V, true>(x, y, factor, summand);
            } else {
                write::<V, false>(x, y, factor, summand);
            }
        }
        moments
    }
}

/// Mean and inverse deviation, in one pass. Sums are taken around the first value,
/// so that a large mean does not swallow the variance.
#[inline(always)]
fn moments<V: Lanes>(x: &[f32], eps: f64) -> Moments {
    const CHAINS: usize = 4;
    let around = V::splat(x[0]);
    let mut sums = [V::splat(0.0); CHAINS];
    let mut squares = [V::splat(0.0); CHAINS];
    let blocks = x.chunks_exact(CHAINS * V::N);
    let rest = blocks.remainder();
    for block in blocks {
        for chain in 0..CHAINS {
            // SAFETY: a block holds `CHAINS` registers.
            let d = unsafe { V::load(block.as_ptr().add(chain * V::N)) }.sub(around);
            sums[chain] = sums[chain].add(d);
            squares[chain] = d.mul_add(d, squares[chain]);
        }
    }
    let lanes = |chains: [V; CHAINS]| -> f64 { chains.iter().map(|c| f64::from(c.sum())).sum() };
    let (mut sum, mut square) = (lanes(sums), lanes(squares));
    for &value in rest {
        let d = f64::from(value - x[0]);
        sum += d;
        square += d * d;
    }
    let count = x.len() as f64;
    let mean = sum / count;
    let variance = (square / count - mean * mean).max(0.0);
    Moments {
        mean: (mean + f64::from(x[0])) as f32,
        inverse: (1.0 / (variance + eps).sqrt()) as f32,
    }
}

/// `y = silu(x * factor + summand)`, or without the activation.
#[inline(always)]
fn write<V: Lanes, const SILU: bool>(
    x: &[f32],
    y: &mut [MaybeUninit<f32>],
    factor: f32,
    summand: f32,
) {
    let (factor, summand) = (V::splat(factor), V::splat(summand));
    let y: *mut f32 = y.as_mut_ptr().cast();
    for at in (0..x.len()).step_by(V::N) {
        let count = (x.len() - at).min(V::N);
        // SAFETY: `count` floats are left in both planes, which are equally long.
        unsafe {
            let from = x.as_ptr().add(at);
            let x = if count == V::N {
                V::load(from)
            } else {
                V::load_first(from, count)
            };
            let h = x.mul_add(factor, summand);
            let h = if SILU { h.mul(sigmoid(h)) } else { h };
            if count == V::N {
                h.store(y.add(at))
            } else {
                h.store_first(y.add(at), count)
            }
        }
    }
}
