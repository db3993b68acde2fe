//! The resize of the FID definition.

use burn::tensor::Tensor;
use burn::tensor::module::interpolate;
use burn::tensor::ops::{InterpolateMode, InterpolateOptions};

/// Side of the pictures that the network sees.
pub(super) const SIDE: usize = 299;

/// Bilinear, corners not aligned, no antialiasing: `F.interpolate(x, (299, 299), mode="bilinear",
/// align_corners=False)`. Pictures of that size pass unchanged.
pub(super) fn resize(x: Tensor<4>) -> Tensor<4> {
    let [_, _, height, width] = x.dims();
    if [height, width] == [SIDE, SIDE] {
        return x;
    }
    bilinear(x, [SIDE, SIDE])
}

fn bilinear(x: Tensor<4>, size: [usize; 2]) -> Tensor<4> {
    let options = InterpolateOptions::new(InterpolateMode::Bilinear)
        .with_align_corners(false)
        .with_output_size(size);
    interpolate(x, options)
}
