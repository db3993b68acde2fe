//! The text encoder of CLIP (transformers' `CLIPTextModel` and `CLIPTextModelWithProjection`).

use super::tokens::with_positions;
use crate::error::ConfigError;
use crate::layers::attention::masked_attention;
use crate::train::init::Init;
use burn::module::Module;
use burn::nn::{Embedding, LayerNorm, Linear};
use burn::tensor::activation::{gelu, sigmoid};
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};

/// What a [`ClipText`] looks like.
#[derive(Clone, Debug, PartialEq)]
pub struct ClipTextConfig {
    /// Number of tokens known.
    pub vocabulary: usize,
    /// Tokens of a text, padding included: 77.
    pub positions: usize,
    /// Features of a state.
    pub width: usize,
    /// Features inside the feed-forward layers.
    pub inner: usize,
    /// Layers.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// Between the feed-forward layers.
    pub activation: ClipActivation,
    /// ε of the normalisations.
    pub epsilon: f64,
    /// Features of the pooled embedding, for an encoder that gives one.
    pub projection: Option<usize>,
    /// The token whose state is pooled, where it first stands; else the highest token of a text.
    pub end: Option<u32>,
}

/// What SDXL takes of its text encoders.
#[derive(Clone, Debug)]
pub struct ClipTextOutput {
    /// The states before the last layer, or earlier ones, not normalised, `[texts, tokens, width]`.
    pub penultimate: Tensor<3>,
    /// The state of the end of each text after the last layer, normalised and projected, `[texts,
    /// projection]`, where the encoder has a projection.
    pub pooled: Option<Tensor<2>>,
}

/// The activation of a CLIP's feed-forward layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClipActivation {
    /// x · sigmoid(1.702 x): OpenAI's CLIP, in Stable Diffusion 1.
    QuickGelu,
    /// OpenCLIP, in Stable Diffusion 2.
    Gelu,
}

/// Texts, as token numbers, to one state for each token.
#[derive(Module, Debug)]
pub struct ClipText {
    embeddings: Embeddings,
    encoder: Encoder,
    final_layer_norm: LayerNorm,
    text_projection: Option<Linear>,
    #[module(skip)]
    config: ClipTextConfig,
}

#[derive(Module, Debug)]
struct Embeddings {
    token_embedding: Embedding,
    position_embedding: Embedding,
}

#[derive(Module, Debug)]
struct Encoder {
    layers: Vec<Layer>,
}

impl ClipText {
    /// A new encoder with weights drawn from the seed.
    ///
    /// # Errors
    /// When the configuration does not fit together.
    pub fn new(config: &ClipTextConfig, seed: u64, device: &Device) -> Result<Self, ConfigError> {
        if config.heads == 0 || !config.width.is_multiple_of(config.heads) {
            return Err(ConfigError::new(format!(
                "the text encoder's width {} must be a multiple of its {} attention heads",
                config.width, config.heads
            )));
        }
        let init = &mut Init::new(seed, device);
        let embeddings = Embeddings {
            token_embedding: init.embedding(config.vocabulary, config.width),
            position_embedding: init.embedding(config.positions, config.width),
        };
        let layers = (0..config.layers)
            .map(|_| Layer::new(init, config))
            .collect();
        Ok(Self {
            embeddings,
            encoder: Encoder { layers },
            final_layer_norm: init.layer_norm(config.width, config.epsilon),
            text_projection: config
                .projection
                .map(|features| init.projection(config.width, features)),
            config: config.clone(),
        })
    }

    /// What the encoder was built from.
    pub fn config(&self) -> &ClipTextConfig {
        &self.config
    }

    /// Knows more tokens, whose embeddings are these; their numbers follow those of the others.
    ///
    /// # Shapes
    /// - `vectors`: `[tokens][width]`
    pub fn add_tokens(&mut self, vectors: &[Vec<f32>]) {
        let rows = TensorData::new(vectors.concat(), [vectors.len(), self.config.width]);
        let table = &mut self.embeddings.token_embedding;
        let weight = table.weight.clone();
        table.weight = weight.map(|known| {
            let rows = Tensor::from_data(rows.clone(), &known.device());
            Tensor::cat(vec![known, rows], 0)
        });
        self.config.vocabulary += vectors.len();
    }

    /// The states after the last layer, or as many layers earlier as are skipped, normalised: what
    /// Stable Diffusion attends to.
    ///
    /// # Shapes
    /// - `skipped`: at most [`ClipTextConfig::layers`]
    /// - `tokens`: texts of the same number of tokens, at most [`ClipTextConfig::positions`], each
    ///   below [`ClipTextConfig::vocabulary`]
    /// - output: `[texts, tokens, width]`
    pub fn forward(&self, tokens: &[Vec<u32>], skipped: usize) -> Tensor<3> {
        let [state, _] = self.states(tokens, skipped);
        self.final_layer_norm.forward(state)
    }

    /// The states before the last layer, or as many layers earlier as are skipped, and the pooled
    /// embedding of each text, which is always that of all layers: what SDXL takes.
    ///
    /// # Shapes
    /// - `skipped`: below [`ClipTextConfig::layers`]
    /// - `tokens`: as for [`forward`](Self::forward)
    pub fn penultimate(&self, tokens: &[Vec<u32>], skipped: usize) -> ClipTextOutput {
        let [penultimate, last] = self.states(tokens, skipped + 1);
        let pooled = self.text_projection.as_ref().map(|projection| {
            let [_, _, width] = last.dims();
            let ends: Vec<i32> = tokens.iter().map(|text| self.end(text) as i32).collect();
            let ends = TensorData::new(ends, [tokens.len(), 1, 1]);
            let ends = Tensor::<3, Int>::from_data(ends, &last.device());
            let ends = ends.expand([tokens.len(), 1, width]);
            let state = self.final_layer_norm.forward(last.gather(1, ends));
            projection.forward(state.squeeze_dim::<2>(1))
        });
        ClipTextOutput {
            penultimate,
            pooled,
        }
    }

    /// Where a text ends.
    fn end(&self, text: &[u32]) -> usize {
        let end = self.config.end.or(text.iter().max().copied());
        let place = text.iter().position(|token| Some(*token) == end);
        place.unwrap_or(0)
    }

    /// The states without this many of the last layers, and those of all layers.
    fn states(&self, tokens: &[Vec<u32>], without: usize) -> [Tensor<3>; 2] {
        let embeddings = &self.embeddings;
        let device = embeddings.token_embedding.weight.val().device();
        let [numbers, positions] = with_positions(tokens, &device);
        let [_, length] = numbers.dims();
        let h = embeddings.token_embedding.forward(numbers)
            + embeddings.position_embedding.forward(positions);
        // A token sees itself and those before it.
        let mask = Tensor::<2, Bool>::tril_mask([length, length], 0, &device);
        let layers = &self.encoder.layers;
        let (used, last) = layers.split_at(layers.len().saturating_sub(without));
        let through = |layers: &[Layer], h| layers.iter().fold(h, |h, l| l.forward(h, &mask));
        let h = through(used, h);
        [h.clone(), through(last, h)]
    }
}

#[derive(Module, Debug)]
struct Layer {
    layer_norm1: LayerNorm,
    self_attn: Attention,
    layer_norm2: LayerNorm,
    mlp: FeedForward,
}

impl Layer {
    fn new(init: &mut Init, config: &ClipTextConfig) -> Self {
        Self {
            layer_norm1: init.layer_norm(config.width, config.epsilon),
            self_attn: Attention::new(init, config),
            layer_norm2: init.layer_norm(config.width, config.epsilon),
            mlp: FeedForward {
                fc1: init.linear(config.width, config.inner),
                fc2: init.linear(config.inner, config.width),
                activation: config.activation,
            },
        }
    }

    fn forward(&self, x: Tensor<3>, mask: &Tensor<2, Bool>) -> Tensor<3> {
        let h = self.layer_norm1.forward(x.clone());
        let x = x + self.self_attn.forward(h, mask);
        let h = self.layer_norm2.forward(x.clone());
        x + self.mlp.forward(h)
    }
}

#[derive(Module, Debug)]
struct Attention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    out_proj: Linear,
    #[module(skip)]
    heads: usize,
}

impl Attention {
    fn new(init: &mut Init, config: &ClipTextConfig) -> Self {
        let mut layer = || init.linear(config.width, config.width);
        Self {
            q_proj: layer(),
            k_proj: layer(),
            v_proj: layer(),
            out_proj: layer(),
            heads: config.heads,
        }
    }

    /// Attention within the text, without what is masked.
    fn forward(&self, x: Tensor<3>, mask: &Tensor<2, Bool>) -> Tensor<3> {
        let parts =
            [&self.q_proj, &self.k_proj, &self.v_proj].map(|layer| layer.forward(x.clone()));
        let mask = mask.clone().unsqueeze::<4>();
        self.out_proj
            .forward(masked_attention(self.heads, parts, mask))
    }
}

#[derive(Module, Debug)]
struct FeedForward {
    fc1: Linear,
    fc2: Linear,
    #[module(skip)]
    activation: ClipActivation,
}

impl FeedForward {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let h = self.fc1.forward(x);
        let h = match self.activation {
            ClipActivation::QuickGelu => h.clone() * sigmoid(h * 1.702),
            ClipActivation::Gelu => gelu(h),
        };
        self.fc2.forward(h)
    }
}
