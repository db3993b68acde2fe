//! The part of a discriminator that is trained.

use crate::layers::embedding::{WEmbedding, w_sinusoid};
use crate::layers::ops::{conv, linear, norm_silu};
use crate::train::init::Init;
use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::nn::{GroupNorm, Linear};
use burn::tensor::{Device, Tensor};
use fewstep_kernels::Film;

/// Parameters of heads are numbered from here: they may stand next to a network with LoRA and a
/// ControlNet.
const FIRST_PARAMETER: u64 = 1 << 34;

/// Groups of a head's normalisation, which the width of heads is a multiple of.
pub(super) const GROUPS: usize = 8;

/// A head for each feature map of a network.
#[derive(Module, Debug)]
pub(super) struct Heads {
    heads: Vec<Head>,
    #[module(skip)]
    w: Option<WEmbedding>,
}

/// A convolution that halves the size, a normalisation that w modulates, the mean over all
/// positions, and a logit of that.
#[derive(Module, Debug)]
struct Head {
    conv: Conv2d,
    norm: GroupNorm,
    cond_proj: Option<Linear>,
    linear: Linear,
}

impl Heads {
    /// Heads of so many channels for feature maps of these, with weights drawn from the seed. With
    /// an embedding they take w.
    pub(super) fn new(
        features: &[usize],
        width: usize,
        w: Option<WEmbedding>,
        seed: u64,
        device: &Device,
    ) -> Self {
        let init = &mut Init::starting_at(FIRST_PARAMETER, seed, device);
        let heads = features.iter().map(|&from| Head {
            conv: init.conv(from, width, 3, 2),
            norm: init.group_norm(GROUPS, width),
            cond_proj: w.map(|w| init.zero_projection(w.dim, 2 * width)),
            linear: init.linear(width, 1),
        });
        Self {
            heads: heads.collect(),
            w,
        }
    }

    /// # Shapes
    /// - `features`: `[batch, channels, height, width]`, one for each head
    /// - output: `[batch, heads]`
    pub(super) fn forward(&self, features: Vec<Tensor<4>>, w: Option<&Vec<f64>>) -> Tensor<2> {
        let w = self.w.zip(w).zip(features.first());
        let w = w.map(|((embedding, w), map)| w_sinusoid(w, embedding, &map.device()));
        let heads = self.heads.iter().zip(features);
        Tensor::cat(
            heads
                .map(|(head, map)| head.forward(map, w.clone()))
                .collect(),
            1,
        )
    }
}

#[cfg(test)]
impl Heads {
    /// The weights by which w enters.
    pub(super) fn projections(&self) -> Vec<Tensor<2>> {
        let layers = self.heads.iter().filter_map(|head| head.cond_proj.as_ref());
        layers.map(|layer| layer.weight.val()).collect()
    }
}

impl Head {
    fn forward(&self, map: Tensor<4>, w: Option<Tensor<2>>) -> Tensor<2> {
        let film = self.cond_proj.as_ref().zip(w).map(|(layer, w)| {
            let halves = linear(layer, w).chunk(2, 1);
            Film {
                scale: halves[0].clone(),
                shift: halves[1].clone(),
            }
        });
        let h = norm_silu(&self.norm, conv(&self.conv, map), film);
        linear(&self.linear, h.mean_dims(&[2, 3]).flatten::<2>(1, 3))
    }
}
