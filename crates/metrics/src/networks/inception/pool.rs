//! 3x3 pooling: on the CPU rows into one row first, then that row's neighbours; on GPUs the
//! framework's.

use burn::tensor::module::{avg_pool2d, max_pool2d};
use burn::tensor::ops::{AvgPoolOptions, MaxPoolOptions};
use burn::tensor::{Tensor, TensorData};
use fewstep_kernels::device::Placement;
use rayon::prelude::*;

/// A 3x3 pooling. Positions outside the image do not count.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pool {
    /// Mean of the neighbours inside the image, at every position.
    Average,
    /// Maximum, at every position.
    Maximum,
    /// Maximum, at every second position that has all its neighbours.
    Down,
}

impl Pool {
    pub(super) fn forward(self, x: Tensor<4>) -> Tensor<4> {
        if Placement::of(&x.device()).has_own_memory() {
            return self.stock(x);
        }
        let ([batch, channels, height, width], device) = (x.dims(), x.device());
        let size = [height, width].map(|side| self.length(side));
        let source = x.into_data().convert::<f32>();
        let source = source.as_slice::<f32>().expect("just converted");
        let mut pooled = vec![0.0; batch * channels * size[0] * size[1]];
        pooled
            .par_chunks_exact_mut(size[0] * size[1])
            .zip(source.par_chunks_exact(height * width))
            .for_each_init(
                || vec![0.0; width],
                |row, (to, plane)| self.plane(plane, row, to),
            );
        let shape = [batch, channels, size[0], size[1]];
        Tensor::from_data(TensorData::new(pooled, shape), &device)
    }

    fn stock(self, x: Tensor<4>) -> Tensor<4> {
        let average = AvgPoolOptions::new([3, 3]).with_count_include_pad(false);
        let maximum = MaxPoolOptions::new([3, 3]);
        match self {
            Pool::Average => avg_pool2d(x, average.with_stride([1, 1]).with_padding([1, 1])),
            Pool::Maximum => max_pool2d(x, maximum.with_stride([1, 1]).with_padding([1, 1])),
            Pool::Down => max_pool2d(x, maximum.with_stride([2, 2])),
        }
    }

    /// Pools one plane, whose rows are as long as `folded`.
    fn plane(self, plane: &[f32], folded: &mut [f32], to: &mut [f32]) {
        let width = folded.len();
        let height = plane.len() / width;
        for (y, to) in to.chunks_exact_mut(self.length(width)).enumerate() {
            let rows = self.window(y, height);
            folded.copy_from_slice(&plane[rows[0] * width..][..width]);
            for row in
                plane[(rows[0] + 1) * width..=rows[1] * width + width - 1].chunks_exact(width)
            {
                for (folded, value) in folded.iter_mut().zip(row) {
                    *folded = self.fold(*folded, *value);
                }
            }
            for (x, to) in to.iter_mut().enumerate() {
                let columns = self.window(x, width);
                let row = &folded[columns[0]..=columns[1]];
                *to = row[1..].iter().fold(row[0], |a, b| self.fold(a, *b));
                if let Pool::Average = self {
                    *to /= (row.len() * (rows[1] - rows[0] + 1)) as f32;
                }
            }
        }
    }

    fn fold(self, a: f32, b: f32) -> f32 {
        match self {
            Pool::Average => a + b,
            Pool::Maximum | Pool::Down => a.max(b),
        }
    }

    /// How many positions there are along a side.
    fn length(self, side: usize) -> usize {
        match self {
            Pool::Average | Pool::Maximum => side,
            Pool::Down => (side - 3) / 2 + 1,
        }
    }

    /// The first and the last neighbour of a position along a side.
    fn window(self, place: usize, side: usize) -> [usize; 2] {
        match self {
            Pool::Average | Pool::Maximum => [place.saturating_sub(1), (place + 1).min(side - 1)],
            Pool::Down => [2 * place, 2 * place + 2],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Distribution, Tolerance};

    #[test]
    fn equals_the_framework() {
        let device = Device::flex();
        for shape in [[2, 3, 7, 9], [1, 2, 8, 5], [3, 1, 3, 4]] {
            let x = Tensor::<4>::random(shape, Distribution::Normal(-1.0, 1.0), &device);
            for pool in [Pool::Average, Pool::Maximum, Pool::Down] {
                let (pooled, expected) = (pool.forward(x.clone()), pool.stock(x.clone()));
                let (pooled, tolerance) = (pooled.into_data(), Tolerance::rel_abs(1e-6, 1e-6));
                pooled.assert_approx_eq::<f32>(&expected.into_data(), tolerance);
            }
        }
    }
}
