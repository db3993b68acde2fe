//! The residual block.

use super::ops::{conv, linear, norm_silu};
use crate::train::checkpointing::{BlockInputs, checkpointed, ready};
use crate::train::cost::{Counter, Stage};
use crate::train::init::Init;
use crate::train::lora::Lora;
use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::nn::{GroupNorm, Linear};
use burn::tensor::{Distribution, FloatDType, Tensor};
use fewstep_kernels::{Film, silu};
use serde::{Deserialize, Serialize};

/// How time (with class and w) enters a residual block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Modulation {
    /// Scale and shift of the second normalisation's output.
    #[default]
    Film,
    /// Added before the second normalisation.
    Add,
}

/// What the residual blocks of a network have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResnetOptions {
    pub(crate) groups: usize,
    pub(crate) epsilon: f64,
    /// Size of the embedding and how it enters; an autoencoder has none.
    pub(crate) embedding: Option<(usize, Modulation)>,
    pub(crate) dropout: f64,
}

/// Two convolutions around a residual connection; the embedding modulates the second normalisation.
/// The second convolution starts at zero, so a new block is the identity.
#[derive(Module, Debug)]
pub(crate) struct ResnetBlock {
    norm1: GroupNorm,
    conv1: Conv2d,
    time_emb_proj: Option<Linear>,
    norm2: GroupNorm,
    conv2: Conv2d,
    conv_shortcut: Option<Conv2d>,
    #[module(skip)]
    modulation: Modulation,
    #[module(skip)]
    dropout: f64,
}

impl ResnetBlock {
    pub(crate) fn new(init: &mut Init, options: ResnetOptions, from: usize, to: usize) -> Self {
        let norm =
            |init: &mut Init, width| init.group_norm_with(options.groups, width, options.epsilon);
        let projection = |init: &mut Init, (dim, modulation): (usize, Modulation)| {
            init.linear(dim, modulation.outputs(to))
        };
        Self {
            norm1: norm(init, from),
            conv1: init.conv(from, to, 3, 1),
            time_emb_proj: options.embedding.map(|e| projection(init, e)),
            norm2: norm(init, to),
            conv2: init.zero_conv(to, to, 3),
            conv_shortcut: (from != to).then(|| init.conv(from, to, 1, 1)),
            modulation: options.embedding.map(|e| e.1).unwrap_or_default(),
            dropout: options.dropout,
        }
    }

    /// These blocks without dropout.
    pub(crate) fn without_dropout(mut blocks: Vec<Self>) -> Vec<Self> {
        for block in &mut blocks {
            block.dropout = 0.0;
        }
        blocks
    }

    /// # Shapes
    /// - `x`: `[batch, from, height, width]`
    /// - `embedding`: `[batch, embedding_dim]`, where the block takes one
    /// - output: `[batch, to, height, width]`
    pub(crate) fn forward(
        &self,
        x: Tensor<4>,
        embedding: Option<&Tensor<2>>,
        lora: Option<&Lora>,
    ) -> Tensor<4> {
        self.forward_resampled(x, embedding, lora, |x| x)
    }

    /// The same with a change of resolution before the first convolution and on the residual
    /// connection.
    pub(crate) fn forward_resampled(
        &self,
        x: Tensor<4>,
        embedding: Option<&Tensor<2>>,
        lora: Option<&Lora>,
        resample: fn(Tensor<4>) -> Tensor<4>,
    ) -> Tensor<4> {
        if self.dropout > 0.0 {
            return ready(self, &x, lora).compute(x, embedding, resample);
        }
        let inputs = BlockInputs {
            embedding,
            text: None,
            lora,
        };
        checkpointed(self, x, inputs, move |block, x, inputs| {
            block.compute(x, inputs.embedding, resample)
        })
    }

    fn compute(
        &self,
        x: Tensor<4>,
        embedding: Option<&Tensor<2>>,
        resample: fn(Tensor<4>) -> Tensor<4>,
    ) -> Tensor<4> {
        let h = norm_silu(&self.norm1, x.clone(), None);
        let h = conv(&self.conv1, resample(h));
        let embedding = self.time_emb_proj.as_ref().zip(embedding);
        let embedding = embedding.map(|(layer, e)| linear(layer, silu(e.clone())));
        let h = match (embedding, self.modulation) {
            (None, _) => norm_silu(&self.norm2, h, None),
            (Some(e), Modulation::Film) => norm_silu(&self.norm2, h, Some(film(e))),
            (Some(e), Modulation::Add) => {
                let e = e.cast(FloatDType::from(h.dtype()));
                norm_silu(&self.norm2, h + e.unsqueeze_dims::<4>(&[2, 3]), None)
            }
        };
        let h = conv(&self.conv2, dropout(h, self.dropout));
        let x = resample(x);
        match &self.conv_shortcut {
            Some(shortcut) => conv(shortcut, x) + h,
            None => x + h,
        }
    }
}

impl ResnetBlock {
    /// Its cost, for a number of positions before and after a change of resolution.
    pub(crate) fn cost(
        counter: &Counter,
        options: ResnetOptions,
        [from, to]: [usize; 2],
        [before, after]: [usize; 2],
    ) -> Stage {
        let conv1 = counter.convolution("conv1", from, to);
        let conv2 = counter.convolution("conv2", to, to);
        let projection = options.embedding.map_or(0, |(dim, modulation)| {
            let outputs = modulation.outputs(to);
            counter
                .weight("time_emb_proj", dim, outputs, outputs)
                .gradients
        });
        let shortcut = match from == to {
            true => 0,
            false => counter.weight("conv_shortcut", from, to, to).gradients,
        };
        let norms = [counter.affine(from), counter.affine(to)];
        let (input, map) = (from * before, to * after);
        let mask = usize::from(options.dropout > 0.0) * map;
        // The inputs of the normalisations, and of the convolutions behind them.
        let kept = input + conv1.keeps(from * after) + map + conv2.keeps(map) + mask;
        Stage {
            kept,
            // A mask that was drawn at random cannot be drawn again: a block with dropout is not
            // computed again as a whole. The framework does so with its normalisations where all
            // their inputs are in the graph, and keeps the output of the mask and the other half of
            // the sum at the end.
            kept_checkpointed: match (mask, norms[0].trained) {
                (0, _) => input,
                (mask, true) => input + 3 * map + mask,
                (_, false) => kept,
            },
            working: 2 * from.max(to) * before.max(after),
            // Its input, and the maps before and after a normalisation and its convolution.
            forward: input + (from.max(to) + to) * after,
            gradients: conv1.gradients
                + conv2.gradients
                + projection
                + shortcut
                + norms.map(|norm| norm.gradients).iter().sum::<usize>(),
            convolution: 9 * to * from.max(to),
            ..Stage::default()
        }
    }
}

impl Modulation {
    /// Outputs of the projection of the embedding, for a map of `channels` channels.
    fn outputs(self, channels: usize) -> usize {
        match self {
            Self::Film => 2 * channels,
            Self::Add => channels,
        }
    }
}

/// Scale and shift out of one projection.
fn film(embedding: Tensor<2>) -> Film {
    let halves = embedding.chunk(2, 1);
    Film {
        scale: halves[0].clone(),
        shift: halves[1].clone(),
    }
}

/// Drops features while training (that is, on a device with autodiff). The framework's generator is
/// seeded by the training loop at every update, so that the mask is a function of seed and update.
fn dropout(x: Tensor<4>, probability: f64) -> Tensor<4> {
    if probability == 0.0 || !x.device().is_autodiff() {
        return x;
    }
    let keep = x.random_like(Distribution::Bernoulli(1.0 - probability));
    x * keep * (1.0 / (1.0 - probability))
}
