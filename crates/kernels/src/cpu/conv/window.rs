//! The part of an image that a tile of outputs reads, with zeros where it reaches over the edge.

use super::super::simd::Lanes;

/// A read at `(y * stride + dy, x * stride + dx)` for the output at `(y, x)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tap {
    pub(super) dy: isize,
    pub(super) dx: isize,
}

/// A rectangle of the source, relative to its corner; may reach outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    top: isize,
    left: isize,
    height: usize,
    width: usize,
}

impl Window {
    /// What `rows` full rows of `width` outputs, from row `first` on, read through the taps.
    pub(super) fn new(
        taps: &[Tap],
        stride: usize,
        first: usize,
        rows: usize,
        width: usize,
    ) -> Self {
        let range = |offset: fn(&Tap) -> isize| {
            let offsets = || taps.iter().map(offset);
            (offsets().min().unwrap_or(0), offsets().max().unwrap_or(0))
        };
        let ((top, bottom), (left, right)) = (range(|t| t.dy), range(|t| t.dx));
        Self {
            top: top + (first * stride) as isize,
            left,
            height: (rows - 1) * stride + (bottom - top) as usize + 1,
            width: (width - 1) * stride + (right - left) as usize + 1,
        }
    }

    /// Floats from one row of the copy to the next.
    pub(super) fn pitch(&self) -> usize {
        self.width
    }

    /// Floats that one channel of the copy takes.
    pub(super) fn len(&self) -> usize {
        self.height * self.width
    }

    /// Where each (channel, tap) of the copy lies relative to the output's own position, channel-major.
    pub(super) fn offsets(&self, taps: &[Tap], first_row: isize, channels: usize) -> Vec<usize> {
        (0..channels)
            .flat_map(|channel| {
                taps.iter().map(move |tap| {
                    let (y, x) = (tap.dy + first_row - self.top, tap.dx - self.left);
                    channel * self.len() + y as usize * self.width + x as usize
                })
            })
            .collect()
    }

    /// Copies the window of every channel of `source` (planes of `size`), writing zeros outside.
    #[inline(always)]
    pub(super) fn copy<V: Lanes>(&self, source: &[f32], size: [usize; 2], to: &mut [f32]) {
        let [height, width] = size;
        let zeros_left = ((-self.left).max(0) as usize).min(self.width);
        let skip = self.left.max(0) as usize;
        let inside = (self.width - zeros_left).min(width.saturating_sub(skip));
        for (plane, to) in source
            .chunks_exact(height * width)
            .zip(to.chunks_exact_mut(self.len()))
        {
            for (y, row) in (self.top..).zip(to.chunks_exact_mut(self.width)) {
                if y < 0 || y >= height as isize {
                    row.fill(0.0);
                    continue;
                }
                let (left, rest) = row.split_at_mut(zeros_left);
                let (middle, right) = rest.split_at_mut(inside);
                left.fill(0.0);
                copy_row::<V>(&plane[y as usize * width + skip..][..inside], middle);
                right.fill(0.0);
            }
        }
    }
}

/// A copy by registers: rows are too short for a call to the library's.
#[inline(always)]
fn copy_row<V: Lanes>(from: &[f32], to: &mut [f32]) {
    let (mut from, mut to) = (from.chunks_exact(V::N), to.chunks_exact_mut(V::N));
    for (from, to) in from.by_ref().zip(to.by_ref()) {
        // SAFETY: both chunks are `N` floats long.
        unsafe { V::load(from.as_ptr()).store(to.as_mut_ptr()) }
    }
    for (from, to) in from.remainder().iter().zip(to.into_remainder()) {
        *to = *from;
    }
}
