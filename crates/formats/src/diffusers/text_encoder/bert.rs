//! A `BertModel`.

use crate::FormatError;
use crate::diffusers::part::Part;
use crate::diffusers::weights;
use crate::fields::Fields;
use burn::tensor::Device;
use fewstep_diffusion::limits::{BLOCKS, FEATURES, ROWS, above_zero};
use fewstep_nn::{Bert, BertConfig};
use serde_json::json;
use std::path::Path;

/// Reads the folder of a `BertModel`.
pub(super) fn load(folder: &Path, device: &Device) -> Result<Bert, FormatError> {
    let mut fields = Fields::read(&folder.join("config.json"))?;
    fields.only(&[
        ("architectures", json!("BertModel")),
        ("model_type", json!("bert")),
        ("hidden_act", json!("gelu")),
        ("position_embedding_type", json!("absolute")),
        ("is_decoder", json!(false)),
        ("add_cross_attention", json!(false)),
    ])?;
    // Training, generation and classification, which are not what the model does here.
    fields.ignore(&[
        "attention_probs_dropout_prob",
        "bos_token_id",
        "classifier_dropout",
        "dtype",
        "eos_token_id",
        "gradient_checkpointing",
        "hidden_dropout_prob",
        "initializer_range",
        "tie_word_embeddings",
        "torch_dtype",
        "transformers_version",
        "use_cache",
    ]);
    let config = BertConfig {
        vocabulary: fields.count("vocab_size", 30522, ROWS)?,
        positions: fields.count("max_position_embeddings", 512, ROWS)?,
        kinds: fields.count("type_vocab_size", 2, ROWS)?,
        width: fields.count("hidden_size", 768, FEATURES)?,
        inner: fields.count("intermediate_size", 3072, FEATURES)?,
        layers: fields.count("num_hidden_layers", 12, BLOCKS)?,
        heads: fields.count("num_attention_heads", 12, FEATURES)?,
        epsilon: fields.number("layer_norm_eps", 1e-12, above_zero(1.0))?,
        padding: fields.or("pad_token_id", 0)?,
    };
    let network = Bert::new(&config, 0, device);
    let mut network = network.map_err(|error| fields.bad(error.to_string()))?;
    fields.finish()?;
    weights::load(&mut network, folder, Part::TextEncoder)?;
    Ok(network)
}
