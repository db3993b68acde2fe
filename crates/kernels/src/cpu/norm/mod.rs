//! Group normalisation with all that follows it in a U-Net's block, in one pass to reduce and one
//! to write.
//!
//! With n = (x - mean) / sqrt(variance + eps) over a group of channels, `h = (n * gamma + beta) *
//! (1 + scale) + shift` and `y = silu(h)` or `h`. The backward pass keeps the two statistics of
//! each group, and computes the rest again.

mod backward;
mod forward;

#[cfg(test)]
mod tests;

pub(crate) use backward::backward;
pub(crate) use forward::forward;

/// The sizes of one normalisation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) batch: usize,
    pub(crate) channels: usize,
    /// Height times width.
    pub(crate) area: usize,
    pub(crate) groups: usize,
}

impl Shape {
    fn channels_per_group(&self) -> usize {
        self.channels / self.groups
    }

    fn group_len(&self) -> usize {
        self.channels_per_group() * self.area
    }

    pub(crate) fn len(&self) -> usize {
        self.batch * self.channels * self.area
    }
}

/// What follows the normalisation: the affine map, FiLM and SiLU.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Epilogue<'a> {
    /// One value per channel.
    pub(crate) gamma: &'a [f32],
    /// One value per channel.
    pub(crate) beta: &'a [f32],
    pub(crate) film: Option<Film<'a>>,
    pub(crate) silu: bool,
}

/// One value per image and channel each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Film<'a> {
    pub(crate) scale: &'a [f32],
    pub(crate) shift: &'a [f32],
}

impl Epilogue<'_> {
    /// Factor and summand of `channel` (counted through all images) of a batch with `channels`
    /// each.
    fn affine(&self, channel: usize, channels: usize) -> (f32, f32) {
        let (gamma, beta) = (
            self.gamma[channel % channels],
            self.beta[channel % channels],
        );
        match self.film {
            Some(film) => {
                let factor = 1.0 + film.scale[channel];
                (gamma * factor, beta * factor + film.shift[channel])
            }
            None => (gamma, beta),
        }
    }
}

/// Mean, and one over the standard deviation, of one group of one image.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moments {
    pub(crate) mean: f32,
    pub(crate) inverse: f32,
}
