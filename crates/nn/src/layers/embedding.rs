//! Embeddings of time and guidance weight.

use super::ops::linear;
use crate::error::ConfigError;
use crate::train::cost::Counter;
use crate::train::init::{Init, transposed};
use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::{Device, Tensor, TensorData};
use fewstep_diffusion::limits::{FACTOR, FEATURES, above_zero, within};
use fewstep_kernels::silu;
use serde::{Deserialize, Serialize};

/// How w enters: the sinusoid of `scale`·w goes through a projection without bias, which starts at
/// zero, and is added to the sinusoid of the time (diffusers' `time_cond_proj_dim`).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WEmbedding {
    /// Size of the sinusoid, even.
    pub dim: usize,
    /// Factor on w: 1000 as diffusers has it; 1000 / w_max is smoother.
    #[serde(default = "default_w_scale")]
    pub scale: f64,
}

fn default_w_scale() -> f64 {
    1000.0
}

impl WEmbedding {
    /// Checks every number; `section` is what the whole is called.
    ///
    /// # Errors
    /// Names the field, what it is, and what it must be.
    pub fn validate(self, section: &str) -> Result<(), ConfigError> {
        let dim = format!("{section}.dim");
        within(&dim, self.dim, 4..=FEATURES)?;
        within(&format!("{section}.scale"), self.scale, above_zero(FACTOR))?;
        match self.dim.is_multiple_of(2) {
            true => Ok(()),
            false => Err(ConfigError::new(format!(
                "`{dim}` is {}, it must be even",
                self.dim
            ))),
        }
    }
}

/// The sinusoid of the time: time times 10000^(−i / (half − `shift`)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sinusoid {
    /// Whether sines come before cosines.
    pub sine_first: bool,
    /// 1 makes 1/10000 the lowest frequency; 0 ends a little above it.
    pub shift: usize,
}

/// Turns the sinusoid of the time, plus a projection of the sinusoid of w, into the embedding that
/// every residual block sees.
#[derive(Module, Debug)]
pub(crate) struct TimestepEmbedding {
    linear_1: Linear,
    cond_proj: Option<Linear>,
    linear_2: Linear,
}

impl TimestepEmbedding {
    pub(crate) fn new(init: &mut Init, from: usize, to: usize, w: Option<WEmbedding>) -> Self {
        Self {
            linear_1: init.linear(from, to),
            linear_2: init.linear(to, to),
            cond_proj: w.map(|w| init.zero_projection(w.dim, from)),
        }
    }

    /// # Shapes
    /// - `time`: `[batch, from]`
    /// - `w`: `[batch, w.dim]`
    /// - output: `[batch, to]`
    pub(crate) fn forward(&self, time: Tensor<2>, w: Option<Tensor<2>>) -> Tensor<2> {
        let h = match (&self.cond_proj, w) {
            (Some(projection), Some(w)) => time + linear(projection, w),
            _ => time,
        };
        linear(&self.linear_2, silu(linear(&self.linear_1, h)))
    }

    /// Gradients of its parameters, where it is called `name`.
    pub(crate) fn gradients(
        counter: &Counter,
        name: &str,
        [from, to]: [usize; 2],
        w: Option<WEmbedding>,
    ) -> usize {
        let layers = [
            counter.weight(&format!("{name}.linear_1"), from, to, to),
            counter.weight(&format!("{name}.linear_2"), to, to, to),
        ];
        // The projection of w is trained with LoRA too.
        let w = w.map_or(0, |w| w.dim * from);
        layers.map(|layer| layer.gradients).iter().sum::<usize>() + usize::from(!counter.frozen) * w
    }

    /// `[w.dim, from]`.
    pub(crate) fn w_projection(&self) -> Option<Tensor<2>> {
        self.cond_proj.as_ref().map(|layer| layer.weight.val())
    }

    /// The same with an input for w whose projection is zero.
    pub(crate) fn with_w_input(self, init: &mut Init, from: usize, w: WEmbedding) -> Self {
        Self {
            cond_proj: Some(init.zero_projection(w.dim, from)),
            ..self
        }
    }

    /// The same with these values of the projection, `[from, w.dim]` row by row.
    pub(crate) fn with_w_projection(mut self, values: &[f32]) -> Self {
        self.cond_proj = self.cond_proj.map(|mut layer| {
            layer.weight = layer.weight.map(|old| {
                let [_, from] = old.dims();
                Tensor::from_data(transposed(values, from), &old.device())
            });
            layer
        });
        self
    }

    /// The same with the projection of w of another one.
    pub(crate) fn with_w_of(self, other: Self) -> Self {
        Self {
            cond_proj: other.cond_proj,
            ..self
        }
    }

    /// The same for one w only, without the input for it: what w adds before the first layer goes
    /// into that layer's bias, b₁ + W₁ · C e(w), which is exact.
    ///
    /// # Shapes
    /// - `w`: `[1, w.dim]`
    pub(crate) fn with_fixed_w(mut self, w: Tensor<2>) -> Self {
        if let Some(projection) = self.cond_proj.take() {
            let bias = self.linear_1.forward(projection.forward(w));
            let bias = bias.squeeze_dim::<1>(0);
            self.linear_1.bias = self.linear_1.bias.map(|old| old.map(|_| bias));
        }
        self
    }
}

/// Cosine and sine of the time as [`Sinusoid`] says: diffusers' `Timesteps` with `flip_sin_to_cos`
/// where the sine is not first, and `freq_shift`.
pub(crate) fn time_sinusoid(
    time: &[f64],
    dim: usize,
    Sinusoid { sine_first, shift }: Sinusoid,
    device: &Device,
) -> Tensor<2> {
    let half = dim / 2;
    let [first, second]: [fn(f64) -> f64; 2] = match sine_first {
        true => [f64::sin, f64::cos],
        false => [f64::cos, f64::sin],
    };
    let row = |t: f64| {
        let phase = move |i: usize| t * 1e4f64.powf(-(i as f64) / (half - shift) as f64);
        let start = (0..half).map(move |i| first(phase(i)));
        start.chain((0..half).map(move |i| second(phase(i))))
    };
    rows(time.iter().map(|&t| row(t)), dim, device)
}

/// Sine first, then cosine, of `scale`·w times 10000^(−i / (half − 1)): the guidance embedding of
/// latent consistency models, as diffusers computes it.
pub(crate) fn w_sinusoid(w: &[f64], embedding: WEmbedding, device: &Device) -> Tensor<2> {
    let half = embedding.dim / 2;
    let row = |w: f64| {
        let phase =
            move |i: usize| embedding.scale * w * 1e4f64.powf(-(i as f64) / (half - 1) as f64);
        let sines = (0..half).map(move |i| phase(i).sin());
        sines.chain((0..half).map(move |i| phase(i).cos()))
    };
    rows(w.iter().map(|&w| row(w)), embedding.dim, device)
}

fn rows(
    rows: impl ExactSizeIterator<Item = impl Iterator<Item = f64>>,
    dim: usize,
    device: &Device,
) -> Tensor<2> {
    let batch = rows.len();
    let values: Vec<f32> = rows.flatten().map(|v| v as f32).collect();
    Tensor::from_data(TensorData::new(values, [batch, dim]), device)
}
