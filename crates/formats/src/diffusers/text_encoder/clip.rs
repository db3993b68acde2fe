//! A `CLIPTextModel`.

use crate::FormatError;
use crate::diffusers::part::Part;
use crate::diffusers::weights;
use crate::fields::Fields;
use burn::tensor::Device;
use fewstep_diffusion::limits::{BLOCKS, FEATURES, ROWS, above_zero};
use fewstep_nn::{ClipActivation, ClipText, ClipTextConfig};
use serde::Deserialize;
use serde_json::json;
use std::path::Path;

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Activation {
    QuickGelu,
    Gelu,
}

/// Reads the folder of a `CLIPTextModel`.
pub(super) fn load(folder: &Path, device: &Device) -> Result<ClipText, FormatError> {
    let mut fields = Fields::read(&folder.join("config.json"))?;
    fields.only(&[
        ("architectures", json!("CLIPTextModel")),
        ("model_type", json!("clip_text_model")),
    ])?;
    // Training, what other programs do with the model, and tokens, which the tokenizer knows.
    fields.ignore(&[
        "attention_dropout",
        "bos_token_id",
        "dropout",
        "dtype",
        "eos_token_id",
        "initializer_factor",
        "initializer_range",
        "pad_token_id",
        "projection_dim",
        "torch_dtype",
        "transformers_version",
    ]);
    let activation = fields.or("hidden_act", Activation::QuickGelu)?;
    let config = ClipTextConfig {
        vocabulary: fields.count("vocab_size", 49408, ROWS)?,
        positions: fields.count("max_position_embeddings", 77, ROWS)?,
        width: fields.count("hidden_size", 512, FEATURES)?,
        inner: fields.count("intermediate_size", 2048, FEATURES)?,
        layers: fields.count("num_hidden_layers", 12, BLOCKS)?,
        heads: fields.count("num_attention_heads", 8, FEATURES)?,
        activation: match activation {
            Activation::QuickGelu => ClipActivation::QuickGelu,
            Activation::Gelu => ClipActivation::Gelu,
        },
        epsilon: fields.number("layer_norm_eps", 1e-5, above_zero(1.0))?,
    };
    let network = ClipText::new(&config, 0, device);
    let mut network = network.map_err(|error| fields.bad(error.to_string()))?;
    fields.finish()?;
    weights::load(&mut network, folder, Part::TextEncoder)?;
    Ok(network)
}
