//! The second embedding of SDXL: of whole prompts and of sizes.

use crate::error::ConfigError;
use crate::layers::embedding::{Sinusoid, TimestepEmbedding, time_sinusoid};
use crate::train::cost::Counter;
use crate::train::init::Init;
use burn::tensor::Tensor;
use fewstep_diffusion::limits::{FEATURES, count, within};
use fewstep_diffusion::{Inputs, TimeIds};
use serde::{Deserialize, Serialize};

/// What is added to the embedding of the time, besides class and w (diffusers'
/// `addition_embed_type` "text_time"): a pooled prompt embedding and the sinusoids of the time ids
/// go through two layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextTime {
    /// Features of the pooled embedding: 1280 for SDXL.
    pub pooled: usize,
    /// Size of the sinusoid of each time id, even: 256 for SDXL.
    pub dim: usize,
}

impl TextTime {
    /// Checks every number.
    ///
    /// # Errors
    /// Names the field, what it is, and what it must be.
    pub(super) fn validate(self) -> Result<(), ConfigError> {
        count("text_time.pooled", self.pooled, FEATURES)?;
        within("text_time.dim", self.dim, 4..=FEATURES)?;
        match self.dim.is_multiple_of(2) {
            true => Ok(()),
            false => Err(ConfigError::new(format!(
                "`text_time.dim` is {}, it must be even",
                self.dim
            ))),
        }
    }

    /// Features that go into the first layer.
    pub fn inputs(self) -> usize {
        self.pooled + TimeIds::COUNT * self.dim
    }

    /// The two layers, for an embedding of `to` features.
    pub(crate) fn layers(self, init: &mut Init, to: usize) -> TimestepEmbedding {
        TimestepEmbedding::new(init, self.inputs(), to, None)
    }

    /// Gradients of their parameters.
    pub(crate) fn gradients(self, counter: &Counter, to: usize) -> usize {
        TimestepEmbedding::gradients(counter, "add_embedding", [self.inputs(), to], None)
    }

    /// What is added to the embedding of the time, `[batch, to]`.
    ///
    /// # Panics
    /// When the inputs have no pooled embedding or no time ids.
    pub(crate) fn embed(
        self,
        layers: &TimestepEmbedding,
        inputs: &Inputs,
        sinusoid: Sinusoid,
    ) -> Tensor<2> {
        let pooled = inputs.prompt.as_ref().and_then(|p| p.cond.pooled.clone());
        let (Some(pooled), Some(ids)) = (pooled, &inputs.time_ids) else {
            panic!("a network of SDXL is called with pooled prompt embeddings and time ids")
        };
        let numbers: Vec<f64> = ids.iter().flat_map(|ids| ids.numbers()).collect();
        let ids = time_sinusoid(&numbers, self.dim, sinusoid, &pooled.device());
        let ids = ids.reshape([-1, (TimeIds::COUNT * self.dim) as i32]);
        layers.forward(Tensor::cat(vec![pooled, ids], 1), None)
    }
}
