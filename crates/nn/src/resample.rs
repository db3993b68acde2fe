//! Changes of resolution.

use crate::block::ResnetBlock;
use crate::init::Init;
use crate::precision::widened;
use crate::{Resampling, UNetConfig};
use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::tensor::{Tensor, ops::PadMode};

/// A convolution that changes resolution, under the name that diffusers gives it.
#[derive(Module, Debug)]
pub(crate) struct ResampleConv {
    conv: Conv2d,
}

impl ResampleConv {
    /// Stride 2 to halve the resolution, 1 to double it.
    pub(crate) fn new(init: &mut Init, width: usize, stride: usize) -> Self {
        Self {
            conv: init.conv(width, width, 3, stride),
        }
    }

    /// Halves the resolution, one row and column of zeros on every side.
    pub(crate) fn down(&self, x: Tensor<4>) -> Tensor<4> {
        conv(&widened(&self.conv), x)
    }

    /// Halves the resolution, zeros at the bottom and on the right alone: what autoencoders do.
    pub(crate) fn down_from_corner(&self, x: Tensor<4>) -> Tensor<4> {
        let x = x.pad((0, 1, 0, 1), PadMode::Constant(0.0));
        let conv = widened(&self.conv);
        let bias = conv.bias.as_ref().map(|bias| bias.val());
        fewstep_kernels::conv2d(x, conv.weight.val(), bias, 2, [0, 0])
    }

    /// Doubles the resolution.
    pub(crate) fn up(&self, x: Tensor<4>) -> Tensor<4> {
        conv(&widened(&self.conv), double(x))
    }
}

/// A change of resolution between two levels.
#[derive(Module, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "a network has a handful of these"
)]
pub(crate) enum Resample {
    Conv(ResampleConv),
    Corner(ResampleConv),
    Block(ResnetBlock),
}

impl Resample {
    /// Layers to halve the resolution (stride 2) or to double it (stride 1, after the pixels are repeated).
    pub(crate) fn new(init: &mut Init, config: &UNetConfig, width: usize, stride: usize) -> Self {
        match config.resampling {
            Resampling::Conv => Self::Conv(ResampleConv::new(init, width, stride)),
            Resampling::Corner => Self::Corner(ResampleConv::new(init, width, stride)),
            Resampling::Block => {
                Self::Block(ResnetBlock::new(init, config.resnets(), width, width))
            }
        }
    }

    pub(crate) fn down(&self, x: Tensor<4>, embedding: &Tensor<2>) -> Tensor<4> {
        match self {
            Self::Conv(down) => down.down(x),
            Self::Corner(down) => down.down_from_corner(x),
            Self::Block(block) => block.forward_resampled(x, Some(embedding), halve),
        }
    }

    pub(crate) fn up(&self, x: Tensor<4>, embedding: &Tensor<2>) -> Tensor<4> {
        match self {
            Self::Conv(up) | Self::Corner(up) => up.up(x),
            Self::Block(block) => block.forward_resampled(x, Some(embedding), double),
        }
    }
}

/// Runs a convolution layer through our kernels.
pub(crate) fn conv(layer: &Conv2d, x: Tensor<4>) -> Tensor<4> {
    let padding = layer.kernel_size.map(|size| size / 2);
    let bias = layer.bias.as_ref().map(|bias| bias.val());
    fewstep_kernels::conv2d(x, layer.weight.val(), bias, layer.stride[0], padding)
}

/// Average of 2x2 pixels.
fn halve(x: Tensor<4>) -> Tensor<4> {
    let [batch, channels, height, width] = x.dims();
    let (rows, columns) = (height / 2, width / 2);
    x.reshape([batch, channels, rows, 2, columns, 2])
        .mean_dim(5)
        .mean_dim(3)
        .reshape([batch, channels, rows, columns])
}

/// Nearest neighbour.
pub(crate) fn double(x: Tensor<4>) -> Tensor<4> {
    let [batch, channels, height, width] = x.dims();
    x.reshape([batch, channels, height, 1, width, 1])
        .expand([batch, channels, height, 2, width, 2])
        .reshape([batch, channels, 2 * height, 2 * width])
}

/// Folds patches of `side` x `side` pixels into channels: `[b, c, h, w]` to `[b, c side², h/side, w/side]`, in
/// PyTorch's `pixel_unshuffle` order.
pub(crate) fn fold_patches(x: Tensor<4>, side: usize) -> Tensor<4> {
    if side == 1 {
        return x;
    }
    let [batch, channels, height, width] = x.dims();
    let (rows, columns) = (height / side, width / side);
    x.reshape([batch, channels, rows, side, columns, side])
        .permute([0, 1, 3, 5, 2, 4])
        .reshape([batch, channels * side * side, rows, columns])
}

/// The inverse of [`fold_patches`].
pub(crate) fn unfold_patches(x: Tensor<4>, side: usize) -> Tensor<4> {
    if side == 1 {
        return x;
    }
    let [batch, folded, rows, columns] = x.dims();
    let channels = folded / (side * side);
    x.reshape([batch, channels, side, side, rows, columns])
        .permute([0, 1, 4, 2, 5, 3])
        .reshape([batch, channels, rows * side, columns * side])
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Int};

    #[test]
    fn patches_fold_as_pixel_unshuffle_does() {
        let x = Tensor::<1, Int>::arange(0..16, &Device::flex())
            .float()
            .reshape([1, 1, 4, 4]);
        let folded = fold_patches(x.clone(), 2);
        let expected = [
            0., 2., 8., 10., 1., 3., 9., 11., 4., 6., 12., 14., 5., 7., 13., 15f32,
        ];
        let values = folded.clone().into_data().try_to_vec::<f32>();
        assert_eq!(values.expect("f32 data"), expected);
        unfold_patches(folded, 2)
            .into_data()
            .assert_eq(&x.into_data(), true);
    }

    #[test]
    fn doubling_repeats_every_pixel() {
        let x = Tensor::<4>::from_data([[[[1., 2.], [3., 4.]]]], &Device::flex());
        let expected = [
            1., 1., 2., 2., 1., 1., 2., 2., 3., 3., 4., 4., 3., 3., 4., 4f32,
        ];
        let values = double(x.clone()).into_data().try_to_vec::<f32>();
        assert_eq!(values.expect("f32 data"), expected);
        halve(double(x.clone()))
            .into_data()
            .assert_eq(&x.into_data(), true);
    }
}
