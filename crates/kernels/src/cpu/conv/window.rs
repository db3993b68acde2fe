//! The part of an image that a tile of outputs reads, with zeros where it reaches over the edge.

/// A read at `(y * stride + dy, x * stride + dx)` for the output at `(y, x)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tap {
    pub(super) dy: isize,
    pub(super) dx: isize,
}

/// What a number of full rows of outputs read through the taps: a rectangle of the source that
/// moves down with the first row, and may reach outside.
#[derive(Clone, Debug)]
pub(super) struct Window {
    taps: Vec<Tap>,
    stride: usize,
    /// The corner, for the outputs' row 0.
    top: isize,
    left: isize,
    height: usize,
    width: usize,
}

impl Window {
    /// The window of `rows` rows of `width` outputs.
    pub(super) fn new(taps: &[Tap], stride: usize, rows: usize, width: usize) -> Self {
        let range = |offset: fn(&Tap) -> isize| {
            let offsets = || taps.iter().map(offset);
            (offsets().min().unwrap_or(0), offsets().max().unwrap_or(0))
        };
        let ((top, bottom), (left, right)) = (range(|t| t.dy), range(|t| t.dx));
        Self {
            taps: taps.to_vec(),
            stride,
            top,
            left,
            height: (rows - 1) * stride + (bottom - top) as usize + 1,
            width: (width - 1) * stride + (right - left) as usize + 1,
        }
    }

    /// Floats that one channel of the copy takes.
    pub(super) fn len(&self) -> usize {
        self.height * self.width
    }

    /// Floats of the copy from the place of one row of outputs to that of the next.
    pub(super) fn row_step(&self) -> usize {
        self.stride * self.width
    }

    /// Where each (channel, tap) of the copy lies relative to the output's own position,
    /// channel-major.
    pub(super) fn offsets(&self, channels: usize) -> Vec<usize> {
        let of_tap =
            |tap: &Tap| (tap.dy - self.top) as usize * self.width + (tap.dx - self.left) as usize;
        (0..channels)
            .flat_map(|channel| {
                self.taps
                    .iter()
                    .map(move |tap| channel * self.len() + of_tap(tap))
            })
            .collect()
    }

    /// Copies the window from the outputs' row `first` on out of every channel of `source`, which
    /// are planes of `size`. Positions outside are not written: see [`Self::clear`].
    #[inline(always)]
    pub(super) fn copy(&self, source: &[f32], size: [usize; 2], first: usize, to: &mut [f32]) {
        let [height, width] = size;
        let top = self.top + (first * self.stride) as isize;
        let before = (-self.left).clamp(0, self.width as isize) as usize;
        let skipped = self.left.max(0) as usize;
        let inside = (self.width - before).min(width.saturating_sub(skipped));
        let rows = (-top).clamp(0, self.height as isize)
            ..(height as isize - top).clamp(0, self.height as isize);
        for (plane, to) in source
            .chunks_exact(height * width)
            .zip(to.chunks_exact_mut(self.len()))
        {
            for row in rows.clone() {
                let from = &plane[(top + row) as usize * width + skipped..][..inside];
                copy_row(
                    from,
                    &mut to[row as usize * self.width + before..][..inside],
                );
            }
        }
    }

    /// Clears the copy, whose outside [`Self::copy`] then leaves at zero, for as long as the first
    /// row stays the same.
    #[inline(always)]
    pub(super) fn clear(&self, to: &mut [f32]) {
        to.fill(0.0);
    }
}

/// A copy in pieces of fixed lengths: rows are too short for a call to the library's.
#[inline(always)]
fn copy_row(from: &[f32], to: &mut [f32]) {
    let (from, to) = copy_pieces::<16>(from, to);
    let (from, to) = copy_pieces::<4>(from, to);
    copy_pieces::<1>(from, to);
}

/// Copies as many pieces of `N` floats as there are, and returns what is left.
#[inline(always)]
fn copy_pieces<'a, const N: usize>(
    from: &'a [f32],
    to: &'a mut [f32],
) -> (&'a [f32], &'a mut [f32]) {
    let ((from, from_rest), (to, to_rest)) = (from.as_chunks::<N>(), to.as_chunks_mut::<N>());
    for (from, to) in from.iter().zip(to) {
        *to = *from;
    }
    (from_rest, to_rest)
}
