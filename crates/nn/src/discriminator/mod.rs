//! Discriminators on the features of a denoiser.

mod heads;
#[cfg(test)]
mod tests;

use crate::{Backbone, WEmbedding};
use burn::module::Module;
use burn::tensor::Tensor;
use fewstep_diffusion::{Inputs, Network};
use heads::Heads;

/// A discriminator whose features are those of a frozen denoiser's encoder, at every level of it
/// and in the middle. Only small heads on them are its parameters.
#[derive(Module, Debug)]
pub struct Discriminator {
    heads: Heads,
    #[module(skip)]
    encoder: Backbone,
}

/// A denoiser with heads on the features of its own encoder, which learn together.
#[derive(Module, Debug)]
pub struct JudgingScore {
    score: Backbone,
    heads: Heads,
}

impl Backbone {
    /// The feature maps that a discriminator reads; see [`UNet::features`].
    fn features(&self, z: Tensor<4>, time: &[f64], inputs: &Inputs) -> Vec<Tensor<4>> {
        let Self::UNet(network) = self;
        network.features(z, time, inputs)
    }

    /// Their channels.
    fn feature_widths(&self) -> Vec<usize> {
        let Self::UNet(network) = self;
        network.feature_widths()
    }
}

impl Discriminator {
    /// A discriminator on the features of this network, which it shares and never moves. `width` is
    /// the number of channels of each head, a multiple of [`WIDTH_MULTIPLE`]; with an embedding the
    /// heads take w.
    pub fn new(encoder: Backbone, width: usize, w: Option<WEmbedding>, seed: u64) -> Self {
        Self {
            heads: heads_for(&encoder, width, w, seed),
            encoder,
        }
    }
}

impl JudgingScore {
    /// This denoiser with new heads; see [`Discriminator::new`].
    pub fn new(score: Backbone, width: usize, w: Option<WEmbedding>, seed: u64) -> Self {
        Self {
            heads: heads_for(&score, width, w, seed),
            score,
        }
    }

    /// With only the LoRA of the denoiser, its input for w and the heads left to train.
    pub fn freeze_all_but_lora(self) -> Self {
        Self {
            score: self.score.freeze_all_but_lora(),
            ..self
        }
    }

    /// Number of parameters of the heads.
    pub fn num_head_params(&self) -> usize {
        self.heads.num_params()
    }
}

/// What the width of heads is a multiple of.
pub const WIDTH_MULTIPLE: usize = heads::GROUPS;

fn heads_for(network: &Backbone, width: usize, w: Option<WEmbedding>, seed: u64) -> Heads {
    let device = network.devices().into_iter().next().unwrap_or_default();
    Heads::new(&network.feature_widths(), width, w, seed, &device)
}

impl Network for Discriminator {
    /// A discriminator is no denoiser: zeros.
    fn forward(&self, z: Tensor<4>, _time: &[f64], _inputs: &Inputs) -> Tensor<4> {
        z.zeros_like()
    }

    fn logits(&self, z: Tensor<4>, time: &[f64], inputs: &Inputs) -> Option<Tensor<2>> {
        let features = self.encoder.features(z, time, inputs);
        Some(self.heads.forward(features, inputs.w.as_ref()))
    }
}

impl Network for JudgingScore {
    fn forward(&self, z: Tensor<4>, time: &[f64], inputs: &Inputs) -> Tensor<4> {
        self.score.forward(z, time, inputs)
    }

    fn has_dropout(&self) -> bool {
        self.score.has_dropout()
    }

    fn logits(&self, z: Tensor<4>, time: &[f64], inputs: &Inputs) -> Option<Tensor<2>> {
        let features = self.score.features(z, time, inputs);
        Some(self.heads.forward(features, inputs.w.as_ref()))
    }
}
