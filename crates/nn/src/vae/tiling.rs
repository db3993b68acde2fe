//! Maps too big for memory, decoded tile by tile.

use burn::tensor::{Tensor, TensorData};

/// How a latent is cut into tiles.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tiles {
    /// Side of a tile, in latent positions.
    pub side: usize,
    /// Share of a tile that overlaps its neighbour, in [0, 1).
    pub overlap: f64,
}

impl Default for Tiles {
    /// 64 positions with a quarter over the neighbour, as diffusers has it for Stable Diffusion.
    fn default() -> Self {
        Self {
            side: 64,
            overlap: 0.25,
        }
    }
}

/// `decode` of every tile, each faded into the one above and the one to the left where they
/// overlap. `factor` is how much bigger a decoded tile is. Where a single tile suffices it is
/// `decode` of the whole.
pub(crate) fn tiled(
    latents: Tensor<4>,
    tiles: Tiles,
    factor: usize,
    decode: impl Fn(Tensor<4>) -> Tensor<4>,
) -> Tensor<4> {
    let [_, _, height, width] = latents.dims();
    let side = tiles.side.max(1);
    if height <= side && width <= side {
        return decode(latents);
    }
    let step = ((side as f64 * (1.0 - tiles.overlap)) as usize).max(1);
    let blend = ((side * factor) as f64 * tiles.overlap) as usize;
    let kept = side * factor - blend;
    let mut above: Vec<Tensor<4>> = vec![];
    let mut rows = vec![];
    for top in (0..height).step_by(step) {
        let band = latents.clone().narrow(2, top, side.min(height - top));
        let mut row: Vec<Tensor<4>> = vec![];
        for (column, left) in (0..width).step_by(step).enumerate() {
            let tile = band.clone().narrow(3, left, side.min(width - left));
            let mut tile = decode(tile);
            if let Some(above) = above.get(column) {
                tile = fade(above.clone(), tile, 2, blend);
            }
            if let Some(left) = row.last() {
                tile = fade(left.clone(), tile, 3, blend);
            }
            row.push(tile);
        }
        let cut = |tile: &Tensor<4>| {
            let [_, _, height, width] = tile.dims();
            tile.clone()
                .narrow(2, 0, kept.min(height))
                .narrow(3, 0, kept.min(width))
        };
        rows.push(Tensor::cat(row.iter().map(cut).collect(), 3));
        above = row;
    }
    Tensor::cat(rows, 2)
}

/// `after` with its first `extent` positions along `dim` going over from the last ones of `before`.
fn fade(before: Tensor<4>, after: Tensor<4>, dim: usize, extent: usize) -> Tensor<4> {
    let (length_before, length) = (before.dims()[dim], after.dims()[dim]);
    let extent = extent.min(length_before).min(length);
    if extent == 0 {
        return after;
    }
    let mut shape = [1; 4];
    shape[dim] = extent;
    let share: Vec<f32> = (0..extent).map(|i| i as f32 / extent as f32).collect();
    let share = Tensor::<4>::from_data(TensorData::new(share, shape), &after.device());
    let end = before.narrow(dim, length_before - extent, extent);
    let start = after.clone().narrow(dim, 0, extent);
    let faded = end.clone() + (start - end) * share;
    match length - extent {
        0 => faded,
        rest => Tensor::cat(vec![faded, after.narrow(dim, extent, rest)], dim),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Int};

    /// A decoder that sees only one position gives the same in tiles as at once.
    #[test]
    fn pointwise_decoding_does_not_see_the_tiles() {
        let latents = Tensor::<1, Int>::arange(0..70, &Device::flex())
            .float()
            .reshape([1, 1, 7, 10]);
        let decode = |x: Tensor<4>| fewstep_kernels::maps::double(x * 2.0);
        for (side, overlap) in [(4, 0.25), (4, 0.5), (3, 0.0), (16, 0.25)] {
            let tiles = Tiles { side, overlap };
            let whole = tiled(latents.clone(), tiles, 2, decode).into_data();
            whole.assert_eq(&decode(latents.clone()).into_data(), true);
        }
    }
}
