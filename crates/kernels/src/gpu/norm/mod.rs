//! Group normalisation with FiLM and SiLU, forward and backward, one group of cubes per image.
//!
//! With u = (x − μ) r, h = γ u + β, m = h (1 + s) + b and y = silu(m), where s and b are FiLM's.
//! Everything is computed in f32, whatever the maps are stored in.

mod backward;
mod forward;

pub(super) use backward::backward;
pub(super) use forward::forward;

use super::tensors::size;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

/// Units of a cube, at most.
const UNITS: usize = 256;

/// How the units of a cube share a group: each has a fixed vector of channels and every `lanes`-th
/// position.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
struct Split {
    /// Channels that a unit reads at once.
    vector: usize,
    /// Vectors in the channels of a group.
    parts: usize,
    /// Units for each of these, a power of two.
    lanes: usize,
}

impl Split {
    fn new(x: &CubeTensor, channels: usize) -> Self {
        let sizes = x.client.io_optimized_vector_sizes(x.dtype.size());
        let fits = |&size: &usize| size <= 8 && channels.is_multiple_of(size);
        let vector = sizes.filter(fits).max().unwrap_or(1);
        let parts = channels / vector;
        let lanes = (UNITS / parts).max(1);
        let lanes = 1 << lanes.ilog2();
        Self {
            vector,
            parts,
            lanes,
        }
    }

    fn units(self) -> u32 {
        (self.parts * self.lanes) as u32
    }
}

/// The extents that kernels index by.
#[derive(Clone, Copy)]
struct Extents {
    batch: usize,
    channels: usize,
    area: usize,
    groups: usize,
}

impl Extents {
    fn new(x: &CubeTensor, groups: usize) -> Self {
        let [batch, channels, height, width] = size(x);
        Self {
            batch,
            channels,
            area: height * width,
            groups,
        }
    }

    fn per_group(self) -> usize {
        self.channels / self.groups
    }

    fn cubes(self) -> CubeCount {
        CubeCount::Static(self.groups as u32, self.batch as u32, 1)
    }
}

/// The sum of all channels of a group, after [`over_lanes`](super::reduce::over_lanes).
#[cube]
fn sum_over_parts<N: Size>(shared: &Shared<[Vector<f32, N>]>, #[comptime] parts: usize) -> f32 {
    let mut sum = 0f32;
    for part in 0..parts {
        let vector = shared[part];
        #[unroll]
        for i in 0..N::value() {
            sum += vector.extract(i);
        }
    }
    sum
}

#[cube]
fn sigmoid<N: Size>(x: Vector<f32, N>) -> Vector<f32, N> {
    let one = Vector::<f32, N>::new(1f32);
    let zero = Vector::<f32, N>::new(0f32);
    one / (one + Vector::exp(zero - x))
}
