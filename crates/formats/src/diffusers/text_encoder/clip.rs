//! A `CLIPTextModel`, or a `CLIPTextModelWithProjection`.

use super::SECOND_ENCODER as SECOND;
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

/// The folder of a `CLIPTextModel`, as most models have it.
pub(super) fn load(folder: &Path, device: &Device) -> Result<ClipText, FormatError> {
    read(folder, Part::TextEncoder, device)
}

/// Reads the folder of an encoder. The second one of SDXL has a projection for a pooled embedding.
pub(super) fn read(folder: &Path, part: Part, device: &Device) -> Result<ClipText, FormatError> {
    let mut fields = Fields::read(&folder.join("config.json"))?;
    let projects = part == Part::TextEncoder2;
    let class = if projects { SECOND } else { "CLIPTextModel" };
    fields.only(&[
        ("architectures", json!(class)),
        ("model_type", json!("clip_text_model")),
    ])?;
    // 2 is what older files say; there it is the highest token, as in transformers.
    let end: Option<u32> = fields.optional("eos_token_id")?;
    let projection = fields.count("projection_dim", 512, FEATURES)?;
    // Training, what other programs do with the model, and tokens, which the tokenizer knows.
    fields.ignore(&[
        "attention_dropout",
        "bos_token_id",
        "dropout",
        "dtype",
        "initializer_factor",
        "initializer_range",
        "pad_token_id",
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
        projection: projects.then_some(projection),
        end: end.filter(|end| *end != 2),
    };
    let network = ClipText::new(&config, 0, device);
    let mut network = network.map_err(|error| fields.bad(error.to_string()))?;
    fields.finish()?;
    weights::load(&mut network, folder, part)?;
    Ok(network)
}
