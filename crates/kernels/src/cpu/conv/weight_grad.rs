//! The gradients of the weight and the bias by taps: sums over images and positions.

use super::super::scratch;
use super::super::simd::transpose::{Rows, transpose};
use super::super::simd::{Isa, Kernel, Lanes};
use super::Shape;
use super::pack::panel_width;
use super::parts::{Gradients, Parts, TASKS, add_columns};
use super::window::Window;
use rayon::prelude::*;

/// Output positions worked through at a time: their gradients stay in the first-level cache.
const POSITIONS: usize = 128;
/// Input channels per task.
const CHANNELS: usize = 32;
pub(super) fn weight_grad(isa: Isa, shape: &Shape, x: &[f32], dy: &[f32]) -> Gradients {
    let lanes = panel_width(isa);
    let taps = shape.taps();
    let panels = shape.channels_out.div_ceil(lanes);
    let slices = shape.channels_in.div_ceil(CHANNELS);
    let groups = TASKS.div_ceil(panels * slices).min(shape.batch);
    let [height, width] = shape.output();
    let rows = (POSITIONS / width).clamp(1, height);
    let window = Window::new(&taps, shape.stride, rows, width);
    let offsets = window.offsets(CHANNELS.min(shape.channels_in));
    let values = (0..groups * panels * slices)
        .into_par_iter()
        .map(|task| {
            let (group, panel, slice) = (
                task / slices / panels,
                task / slices % panels,
                task % slices,
            );
            let first = slice * CHANNELS;
            let channels = first..(first + CHANNELS).min(shape.channels_in);
            let copy = window.len() * channels.len();
            scratch::with(
                [copy, (rows * width).next_multiple_of(lanes) * lanes],
                |[copy, gradient]| {
                    isa.run(Task {
                        shape,
                        window: &window,
                        offsets: &offsets[..channels.len() * taps.len()],
                        x,
                        dy,
                        images: group * shape.batch / groups..(group + 1) * shape.batch / groups,
                        panel,
                        channels,
                        rows,
                        copy,
                        gradient,
                    })
                },
            )
        })
        .collect();
    Parts {
        values,
        groups,
        slice: CHANNELS,
    }
    .add(isa, shape)
}

/// The sums of one group of images, for a panel of output channels and a few input channels.
struct Task<'a> {
    shape: &'a Shape,
    window: &'a Window,
    /// For each (channel, tap).
    offsets: &'a [usize],
    x: &'a [f32],
    dy: &'a [f32],
    images: std::ops::Range<usize>,
    panel: usize,
    channels: std::ops::Range<usize>,
    /// Rows of positions worked through at a time.
    rows: usize,
    copy: &'a mut [f32],
    /// The output's gradient, a row of lanes for each position.
    gradient: &'a mut [f32],
}

impl Kernel for Task<'_> {
    /// One row of lanes for every (channel, tap), then one for the bias.
    type Output = Vec<f32>;

    #[inline(always)]
    fn run<V: Lanes>(mut self) -> Vec<f32> {
        let wide = self.shape.channels_out - self.panel * 2 * V::N > V::N;
        match (self.shape.stride, wide) {
            (1, true) => self.sum::<V, 2, 1>(),
            (1, false) => self.sum::<V, 1, 1>(),
            (2, true) => self.sum::<V, 2, 2>(),
            (2, false) => self.sum::<V, 1, 2>(),
            _ => self.sum::<V, 2, 0>(),
        }
    }
}

impl Task<'_> {
    #[inline(always)]
    fn sum<V: Lanes, const W: usize, const S: usize>(&mut self) -> Vec<f32> {
        let (shape, lanes) = (self.shape, 2 * V::N);
        let [height, width] = shape.output();
        let plane = shape.size_in[0] * shape.size_in[1];
        let channels = self.channels.len();
        let count = self.offsets.len();
        let mut sums = vec![0.0; (count + 1) * lanes];
        let (weight, bias) = sums.split_at_mut(count * lanes);
        for image in self.images.clone() {
            let first_plane = image * shape.channels_in + self.channels.start;
            let planes = &self.x[first_plane * plane..][..channels * plane];
            for first in (0..height).step_by(self.rows) {
                let rows = self.rows.min(height - first);
                self.window.clear(self.copy);
                self.window.copy(planes, shape.size_in, first, self.copy);
                self.lay_out::<V>(image, first * width..(first + rows) * width);
                let gradient = &self.gradient[..rows * width * lanes];
                add_columns::<V>(gradient, bias);
                rows_of_tiles::<V, W, S>(
                    self.copy,
                    self.window,
                    self.offsets,
                    gradient,
                    width,
                    weight,
                    shape.stride,
                );
            }
        }
        sums
    }

    /// Copies the output's gradient at `positions` of one image, a row of lanes per position.
    #[inline(always)]
    fn lay_out<V: Lanes>(&mut self, image: usize, positions: std::ops::Range<usize>) {
        let (to, lanes) = (&mut *self.gradient, 2 * V::N);
        let [height, width] = self.shape.output();
        let plane = height * width;
        let channel = self.panel * lanes;
        let channels = lanes.min(self.shape.channels_out - channel);
        let from =
            &self.dy[(image * self.shape.channels_out + channel) * plane..][..channels * plane];
        assert!(positions.end <= plane && to.len() >= positions.len() * lanes);
        // SAFETY: `from` has `channels` planes, and `to` a row of lanes for each position.
        unsafe {
            let from = Rows {
                start: from.as_ptr().add(positions.start),
                pitch: plane,
            };
            let size = [channels, positions.len()];
            transpose::<V>(
                from,
                size,
                Rows {
                    start: to.as_mut_ptr(),
                    pitch: lanes,
                },
            );
        }
        if channels < lanes {
            for to in to.chunks_exact_mut(lanes).take(positions.len()) {
                to[channels..].fill(0.0);
            }
        }
    }
}

/// For every (channel, tap): the products of the window, moved by the tap, with the gradient.
#[inline(always)]
fn rows_of_tiles<V: Lanes, const W: usize, const S: usize>(
    copy: &[f32],
    window: &Window,
    offsets: &[usize],
    dy: &[f32],
    width: usize,
    sums: &mut [f32],
    stride: usize,
) {
    let lanes = 2 * V::N;
    let rows = dy.len() / lanes / width;
    let last = offsets.iter().fold(0, |a, &b| a.max(b));
    assert!(last + (rows - 1) * window.row_step() + (width - 1) * stride < copy.len());
    assert!(sums.len() == offsets.len() * lanes);
    let area = Area {
        from: copy.as_ptr(),
        pitch: window.row_step(),
        dy,
        width,
        stride,
    };
    let mut k = 0;
    // SAFETY: the tiles read `copy` at most at the last offset of the last position, just checked,
    // and add to one row of `sums` per offset.
    unsafe {
        let sums = sums.as_mut_ptr();
        while V::ROWS >= 8 && k + 8 <= offsets.len() {
            tile::<V, 8, W, S>(&area, &offsets[k..], sums.add(k * lanes));
            k += 8;
        }
        while V::ROWS >= 4 && k + 4 <= offsets.len() {
            tile::<V, 4, W, S>(&area, &offsets[k..], sums.add(k * lanes));
            k += 4;
        }
        while k + 2 <= offsets.len() {
            tile::<V, 2, W, S>(&area, &offsets[k..], sums.add(k * lanes));
            k += 2;
        }
        if k < offsets.len() {
            tile::<V, 1, W, S>(&area, &offsets[k..], sums.add(k * lanes));
        }
    }
}

/// The positions that a tile sums over.
struct Area<'a> {
    from: *const f32,
    /// Floats from the window's row for one row of positions to that for the next.
    pitch: usize,
    dy: &'a [f32],
    width: usize,
    stride: usize,
}

/// Adds, for each of the first `R` offsets, the window there times the gradient to a row of sums.
///
/// # Safety
/// `area.from` is readable at each offset from each position; `R` rows of two registers are
/// readable and writable at `sums`.
#[inline(always)]
unsafe fn tile<V: Lanes, const R: usize, const W: usize, const S: usize>(
    area: &Area,
    offsets: &[usize],
    sums: *mut f32,
) {
    let stride = if S == 0 { area.stride } else { S };
    // SAFETY: all of this function reads and writes what the caller vouches for.
    unsafe {
        let mut acc = [[V::splat(0.0); W]; R];
        let mut from = [area.from; R];
        for r in 0..R {
            from[r] = area.from.add(offsets[r]);
            for w in 0..W {
                acc[r][w] = V::load(sums.add((2 * r + w) * V::N));
            }
        }
        for row in area.dy.chunks_exact(area.width * 2 * V::N) {
            for x in 0..area.width {
                let mut dy = [V::splat(0.0); W];
                for w in 0..W {
                    dy[w] = V::load(row.as_ptr().add((2 * x + w) * V::N));
                }
                for r in 0..R {
                    let x = V::splat(*from[r].add(x * stride));
                    for w in 0..W {
                        acc[r][w] = x.mul_add(dy[w], acc[r][w]);
                    }
                }
            }
            for r in 0..R {
                from[r] = from[r].wrapping_add(area.pitch);
            }
        }
        for r in 0..R {
            for w in 0..W {
                acc[r][w].store(sums.add((2 * r + w) * V::N));
            }
        }
    }
}
