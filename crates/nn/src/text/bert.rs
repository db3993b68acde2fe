//! The text encoder BERT (transformers' `BertModel` without the pooler), of which sentence encoders
//! are made.

use super::tokens::with_positions;
use crate::error::ConfigError;
use crate::layers::attention::masked_attention;
use crate::train::init::Init;
use burn::module::Module;
use burn::nn::{Embedding, LayerNorm, Linear};
use burn::tensor::activation::gelu;
use burn::tensor::{Bool, Device, Int, Tensor};

/// What a [`Bert`] looks like.
#[derive(Clone, Debug, PartialEq)]
pub struct BertConfig {
    /// Number of tokens known.
    pub vocabulary: usize,
    /// Tokens that a text has at most, padding included.
    pub positions: usize,
    /// Kinds of token known; a single text is all of kind 0.
    pub kinds: usize,
    /// Features of a state.
    pub width: usize,
    /// Features inside the feed-forward layers.
    pub inner: usize,
    /// Layers.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// ε of the normalisations.
    pub epsilon: f64,
    /// The token that fills up short texts: nothing attends to it.
    pub padding: u32,
}

/// Texts, as token numbers, to one state for each token.
#[derive(Module, Debug)]
pub struct Bert {
    embeddings: Embeddings,
    encoder: Encoder,
    #[module(skip)]
    config: BertConfig,
}

#[derive(Module, Debug)]
struct Embeddings {
    word_embeddings: Embedding,
    position_embeddings: Embedding,
    token_type_embeddings: Embedding,
    layer_norm: LayerNorm,
}

#[derive(Module, Debug)]
struct Encoder {
    layer: Vec<Layer>,
}

/// Attention and a feed-forward layer, each around a residual connection and normalised afterwards.
#[derive(Module, Debug)]
struct Layer {
    attention: Attention,
    intermediate: Dense,
    output: Output,
}

#[derive(Module, Debug)]
struct Attention {
    own: Projections,
    output: Output,
}

#[derive(Module, Debug)]
struct Projections {
    query: Linear,
    key: Linear,
    value: Linear,
}

#[derive(Module, Debug)]
struct Dense {
    dense: Linear,
}

#[derive(Module, Debug)]
struct Output {
    dense: Linear,
    layer_norm: LayerNorm,
}

impl Bert {
    /// A new encoder with weights drawn from the seed.
    ///
    /// # Errors
    /// When the configuration does not fit together.
    pub fn new(config: &BertConfig, seed: u64, device: &Device) -> Result<Self, ConfigError> {
        if config.heads == 0 || !config.width.is_multiple_of(config.heads) {
            return Err(ConfigError::new(format!(
                "the text encoder's width {} must be a multiple of its {} attention heads",
                config.width, config.heads
            )));
        }
        let init = &mut Init::new(seed, device);
        let embeddings = Embeddings {
            word_embeddings: init.embedding(config.vocabulary, config.width),
            position_embeddings: init.embedding(config.positions, config.width),
            token_type_embeddings: init.embedding(config.kinds, config.width),
            layer_norm: init.layer_norm(config.width, config.epsilon),
        };
        let layers = (0..config.layers).map(|_| Layer::new(init, config));
        Ok(Self {
            embeddings,
            encoder: Encoder {
                layer: layers.collect(),
            },
            config: config.clone(),
        })
    }

    /// What the encoder was built from.
    pub fn config(&self) -> &BertConfig {
        &self.config
    }

    /// The states after the last layer, those of padding included.
    ///
    /// # Shapes
    /// - `tokens`: texts of the same number of tokens, at most [`BertConfig::positions`], each
    ///   below [`BertConfig::vocabulary`]
    /// - output: `[texts, tokens, width]`
    pub fn forward(&self, tokens: &[Vec<u32>]) -> Tensor<3> {
        let embeddings = &self.embeddings;
        let device = embeddings.word_embeddings.weight.val().device();
        let [numbers, positions] = with_positions(tokens, &device);
        let [texts, length] = numbers.dims();
        let kinds = Tensor::<2, Int>::zeros([1, length], &device);
        let mask = numbers.clone().equal_elem(self.config.padding);
        let mask = mask.reshape([texts, 1, 1, length]);
        let h = embeddings.word_embeddings.forward(numbers)
            + embeddings.position_embeddings.forward(positions)
            + embeddings.token_type_embeddings.forward(kinds);
        let h = embeddings.layer_norm.forward(h);
        let heads = self.config.heads;
        let layers = self.encoder.layer.iter();
        layers.fold(h, |h, layer| layer.forward(h, heads, &mask))
    }
}

impl Layer {
    fn new(init: &mut Init, config: &BertConfig) -> Self {
        let (width, inner) = (config.width, config.inner);
        let own = Projections {
            query: init.linear(width, width),
            key: init.linear(width, width),
            value: init.linear(width, width),
        };
        let output = Output::new(init, width, config);
        Self {
            attention: Attention { own, output },
            intermediate: Dense {
                dense: init.linear(width, inner),
            },
            output: Output::new(init, inner, config),
        }
    }

    fn forward(&self, x: Tensor<3>, heads: usize, mask: &Tensor<4, Bool>) -> Tensor<3> {
        let Projections { query, key, value } = &self.attention.own;
        let parts = [query, key, value].map(|layer| layer.forward(x.clone()));
        let h = masked_attention(heads, parts, mask.clone());
        let x = self.attention.output.forward(h, x);
        let h = gelu(self.intermediate.dense.forward(x.clone()));
        self.output.forward(h, x)
    }
}

impl Output {
    fn new(init: &mut Init, from: usize, config: &BertConfig) -> Self {
        Self {
            dense: init.linear(from, config.width),
            layer_norm: init.layer_norm(config.width, config.epsilon),
        }
    }

    fn forward(&self, h: Tensor<3>, residual: Tensor<3>) -> Tensor<3> {
        self.layer_norm.forward(self.dense.forward(h) + residual)
    }
}
