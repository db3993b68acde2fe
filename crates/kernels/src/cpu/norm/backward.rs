//! The backward pass.

use super::super::output::written_by;
use super::super::simd::math::sigmoid;
use super::super::simd::{Isa, Kernel, Lanes};
use super::{Epilogue, Film, Moments, Shape};
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// The gradients of all inputs.
pub(crate) struct Gradients {
    pub(crate) x: Vec<f32>,
    pub(crate) gamma: Vec<f32>,
    pub(crate) beta: Vec<f32>,
    /// Scale and shift, where FiLM was applied.
    pub(crate) film: Option<[Vec<f32>; 2]>,
}

/// Over one channel of one image: the sums of h's gradient, and of that times the normalised input.
#[derive(Clone, Copy, Default)]
struct Sums {
    plain: f32,
    normalised: f32,
}

/// The gradients, given the output's.
pub(crate) fn backward(
    isa: Isa,
    shape: &Shape,
    x: &[f32],
    moments: &[Moments],
    epilogue: Epilogue,
    dy: &[f32],
) -> Gradients {
    let len = shape.group_len();
    let mut sums = vec![Sums::default(); shape.batch * shape.channels];
    // SAFETY: the groups make up the whole input, and each task writes all of its group.
    let dx = unsafe {
        written_by(shape.len(), |dx| {
            let groups = dx.par_chunks_exact_mut(len).zip(x.par_chunks_exact(len));
            let groups = groups.zip(dy.par_chunks_exact(len)).zip(moments);
            let sums = sums.par_chunks_exact_mut(shape.channels_per_group());
            groups
                .zip(sums)
                .enumerate()
                .for_each(|(group, ((((dx, x), dy), &moments), sums))| {
                    isa.run(Group {
                        shape,
                        epilogue,
                        group,
                        moments,
                        x,
                        dy,
                        dx,
                        sums,
                    });
                });
        })
    };
    parameters(shape, epilogue, dx, &sums)
}

/// The parameters' gradients out of the channels' sums, images in order.
fn parameters(shape: &Shape, epilogue: Epilogue, x: Vec<f32>, sums: &[Sums]) -> Gradients {
    let channels = shape.channels;
    let (mut gamma, mut beta) = (vec![0.0; channels], vec![0.0; channels]);
    for (index, sums) in sums.iter().enumerate() {
        let factor = epilogue.film.map_or(1.0, |film| 1.0 + film.scale[index]);
        gamma[index % channels] += factor * sums.normalised;
        beta[index % channels] += factor * sums.plain;
    }
    let film = epilogue.film.map(|Film { .. }| {
        let scale = sums.iter().enumerate().map(|(index, sums)| {
            epilogue.gamma[index % channels] * sums.normalised
                + epilogue.beta[index % channels] * sums.plain
        });
        [
            scale.collect(),
            sums.iter().map(|sums| sums.plain).collect(),
        ]
    });
    Gradients {
        x,
        gamma,
        beta,
        film,
    }
}

/// One group of one image.
struct Group<'a> {
    shape: &'a Shape,
    epilogue: Epilogue<'a>,
    /// Counted through all images.
    group: usize,
    moments: Moments,
    x: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [MaybeUninit<f32>],
    /// One per channel.
    sums: &'a mut [Sums],
}

impl Kernel for Group<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self) {
        let (area, per_group) = (self.shape.area, self.shape.channels_per_group());
        let Moments { mean, inverse } = self.moments;
        let first = self.group * per_group;
        // The output's place holds h's gradient between the two passes.
        let (mut plain, mut normalised) = (0.0, 0.0);
        for channel in 0..per_group {
            let range = channel * area..(channel + 1) * area;
            let (factor, summand) = self.epilogue.affine(first + channel, self.shape.channels);
            let plane = Plane {
                x: &self.x[range.clone()],
                dy: &self.dy[range.clone()],
                to: self.dx[range].as_mut_ptr().cast(),
            };
            let (scaled, moved) = (factor * inverse, summand - factor * inverse * mean);
            let sums = if self.epilogue.silu {
                plane.gradient_of_h::<V, true>(scaled, moved, self.moments)
            } else {
                plane.gradient_of_h::<V, false>(scaled, moved, self.moments)
            };
            plain += factor * sums.plain;
            normalised += factor * sums.normalised;
            self.sums[channel] = sums;
        }
        // dx = inverse (factor dh - mean(factor dh) - n mean(factor dh n)), with n = inverse (x -
        // mean).
        let count = (per_group * area) as f32;
        let slope = -inverse * inverse * normalised / count;
        let level = -inverse * plain / count - slope * mean;
        for channel in 0..per_group {
            let range = channel * area..(channel + 1) * area;
            let (factor, _) = self.epilogue.affine(first + channel, self.shape.channels);
            let to = self.dx[range.clone()].as_mut_ptr().cast();
            let plane = Plane {
                x: &self.x[range.clone()],
                dy: &self.dy[range],
                to,
            };
            plane.gradient_of_x::<V>(factor * inverse, slope, level);
        }
    }
}

/// One channel of one image. `to` is writable for as many floats as `x` has, which is as many as
/// `dy` has.
struct Plane<'a> {
    x: &'a [f32],
    dy: &'a [f32],
    to: *mut f32,
}

impl Plane<'_> {
    /// Writes the gradient of `h = x * scaled + moved`, and sums it.
    #[inline(always)]
    fn gradient_of_h<V: Lanes, const SILU: bool>(
        &self,
        scaled: f32,
        moved: f32,
        moments: Moments,
    ) -> Sums {
        let (scaled, moved, one) = (V::splat(scaled), V::splat(moved), V::splat(1.0));
        let mean = V::splat(moments.mean);
        let (mut plain, mut centred) = (V::splat(0.0), V::splat(0.0));
        for at in (0..self.x.len()).step_by(V::N) {
            let count = (self.x.len() - at).min(V::N);
            // SAFETY: `count` floats are left in all three planes.
            unsafe {
                let x = load::<V>(self.x.as_ptr().add(at), count);
                let mut dh = load::<V>(self.dy.as_ptr().add(at), count);
                if SILU {
                    let h = x.mul_add(scaled, moved);
                    let s = sigmoid(h);
                    // silu'(h) = s + h s (1 - s)
                    dh = dh.mul(h.mul(s).mul_add(one.sub(s), s));
                }
                store(dh, self.to.add(at), count);
                plain = plain.add(dh);
                centred = dh.mul_add(x.sub(mean), centred);
            }
        }
        Sums {
            plain: plain.sum(),
            normalised: centred.sum() * moments.inverse,
        }
    }

    /// Replaces the gradient of h by `factor` times itself plus `slope * x + level`.
    #[inline(always)]
    fn gradient_of_x<V: Lanes>(&self, factor: f32, slope: f32, level: f32) {
        let (factor, slope, level) = (V::splat(factor), V::splat(slope), V::splat(level));
        for at in (0..self.x.len()).step_by(V::N) {
            let count = (self.x.len() - at).min(V::N);
            // SAFETY: `count` floats are left in both planes.
            unsafe {
                let x = load::<V>(self.x.as_ptr().add(at), count);
                let dh = load::<V>(self.to.add(at), count);
                store(
                    dh.mul_add(factor, x.mul_add(slope, level)),
                    self.to.add(at),
                    count,
                );
            }
        }
    }
}

/// # Safety
/// `count`, at most one register's, floats are readable at `from`.
#[inline(always)]
unsafe fn load<V: Lanes>(from: *const f32, count: usize) -> V {
    // SAFETY: the caller's promise.
    unsafe {
        if count == V::N {
            V::load(from)
        } else {
            V::load_first(from, count)
        }
    }
}

/// # Safety
/// `count`, at most one register's, floats are writable at `to`.
#[inline(always)]
unsafe fn store<V: Lanes>(value: V, to: *mut f32, count: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        if count == V::N {
            value.store(to)
        } else {
            value.store_first(to, count)
        }
    }
}
