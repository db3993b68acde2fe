//! Changes of resolution.

use crate::layers::block::ResnetBlock;
use crate::train::init::Init;
use crate::train::precision::upcast;
use crate::{Resampling, UNetConfig};
use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::tensor::{Tensor, ops::PadMode};
use fewstep_kernels::maps;

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
        conv(&upcast(&self.conv, &x), x)
    }

    /// Halves the resolution, zeros at the bottom and on the right alone: what autoencoders do.
    pub(crate) fn down_from_corner(&self, x: Tensor<4>) -> Tensor<4> {
        let x = x.pad((0, 1, 0, 1), PadMode::Constant(0.0));
        let conv = upcast(&self.conv, &x);
        let bias = conv.bias.as_ref().map(|bias| bias.val());
        fewstep_kernels::conv2d(x, conv.weight.val(), bias, 2, [0, 0])
    }

    /// Doubles the resolution.
    pub(crate) fn up(&self, x: Tensor<4>) -> Tensor<4> {
        let x = maps::double(x);
        conv(&upcast(&self.conv, &x), x)
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
            Self::Block(block) => block.forward_resampled(x, Some(embedding), maps::halve),
        }
    }

    pub(crate) fn up(&self, x: Tensor<4>, embedding: &Tensor<2>) -> Tensor<4> {
        match self {
            Self::Conv(up) | Self::Corner(up) => up.up(x),
            Self::Block(block) => block.forward_resampled(x, Some(embedding), maps::double),
        }
    }
}

/// Runs a convolution layer through our kernels.
pub(crate) fn conv(layer: &Conv2d, x: Tensor<4>) -> Tensor<4> {
    let padding = layer.kernel_size.map(|size| size / 2);
    let bias = layer.bias.as_ref().map(|bias| bias.val());
    fewstep_kernels::conv2d(x, layer.weight.val(), bias, layer.stride[0], padding)
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
}
