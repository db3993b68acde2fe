//! How a U-Net changes resolution between levels.

use crate::layers::resample::ResampleConv;
use crate::layers::resnet::{ResnetBlock, ResnetOptions};
use crate::train::cost::{Counter, Stage};
use crate::train::init::Init;
use crate::train::lora::Lora;
use burn::module::Module;
use burn::tensor::Tensor;
use fewstep_kernels::maps;
use serde::{Deserialize, Serialize};

/// How resolution changes between levels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resampling {
    /// A convolution with stride 2 down; nearest neighbour and a convolution up.
    #[default]
    Conv,
    /// The same, with zeros only at the bottom and on the right when it halves.
    Corner,
    /// Inside a residual block: average pooling down, nearest neighbour up.
    Block,
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
    /// Layers to halve the resolution (stride 2) or to double it (stride 1, after the pixels are
    /// repeated).
    pub(super) fn new(
        init: &mut Init,
        (kind, options): (Resampling, ResnetOptions),
        width: usize,
        stride: usize,
    ) -> Self {
        match kind {
            Resampling::Conv => Self::Conv(ResampleConv::new(init, width, stride)),
            Resampling::Corner => Self::Corner(ResampleConv::new(init, width, stride)),
            Resampling::Block => Self::Block(ResnetBlock::new(init, options, width, width)),
        }
    }

    pub(crate) fn down(
        &self,
        x: Tensor<4>,
        embedding: &Tensor<2>,
        lora: Option<&Lora>,
    ) -> Tensor<4> {
        match self {
            Self::Conv(down) => down.down(x, lora),
            Self::Corner(down) => down.down_from_corner(x, lora),
            Self::Block(block) => block.forward_resampled(x, Some(embedding), lora, maps::halve),
        }
    }

    pub(crate) fn up(&self, x: Tensor<4>, embedding: &Tensor<2>, lora: Option<&Lora>) -> Tensor<4> {
        match self {
            Self::Conv(up) | Self::Corner(up) => up.up(x, lora),
            Self::Block(block) => block.forward_resampled(x, Some(embedding), lora, maps::double),
        }
    }

    /// Its cost, for a number of positions before and after.
    pub(super) fn cost(
        counter: &Counter,
        (kind, options): (Resampling, ResnetOptions),
        width: usize,
        positions: [usize; 2],
    ) -> Stage {
        match kind {
            Resampling::Block => ResnetBlock::cost(counter, options, [width; 2], positions),
            Resampling::Conv | Resampling::Corner => ResampleConv::cost(counter, width, positions),
        }
    }
}
