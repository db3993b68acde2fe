//! What is added to the model of a command when it is loaded, and how it reads texts.

use crate::error::{CliError, CliResult, IntoCliResult};
use crate::numbers::plural;
use crate::parsers::{embedding, layers, lora};
use fewstep_formats::Embedding;
use fewstep_generate::{EmbeddingChoice, LoraChoice};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;

/// What is added to the model, and how it reads texts.
#[derive(clap::Args, Clone)]
pub(crate) struct LoadArgs {
    #[command(flatten)]
    pub(crate) loras: LoraArgs,
    /// A textual inversion that prompts may name: FILE or FILE:TOKEN, such as style.pt:my-style. Files
    /// of diffusers (learned_embeds), of web interfaces and of trainers for SDXL, as safetensors,
    /// .pt or .bin, of which nothing is run. Without TOKEN it is the one that the file names, or
    /// the name of the file. May be given several times.
    #[arg(long = "embedding", value_name = "FILE[:TOKEN]", value_parser = embedding)]
    pub(crate) embeddings: Vec<EmbeddingChoice>,
    /// How many of the last layers of the CLIP text encoder are skipped, as diffusers counts them: 1
    /// is CLIP skip 2 of web interfaces, which many fine-tunes for drawings expect [default: what
    /// the model says; 0].
    #[arg(long, value_name = "LAYERS", value_parser = layers)]
    pub(crate) clip_skip: Option<usize>,
}

/// LoRA for the model.
#[derive(clap::Args, Clone)]
pub(crate) struct LoraArgs {
    /// A LoRA to add to the model when it is loaded, with how many times it counts: FILE or
    /// FILE:WEIGHT, such as style.safetensors:0.8. May be given several times.
    #[arg(long = "lora", value_name = "FILE[:WEIGHT]", value_parser = lora)]
    pub(crate) loras: Vec<LoraChoice>,
}

/// A LoRA that images were generated with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct UsedLora {
    /// The name of its file, without the ending.
    name: String,
    weight: f64,
    /// The hash of its file.
    sha256: String,
}

/// What images were generated with besides the model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Used {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) loras: Vec<UsedLora>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) embeddings: Vec<UsedEmbedding>,
}

impl Used {
    /// LoRA and textual inversions, each with the beginning of the hash of its file.
    pub(crate) fn with_hashes(&self) -> [Vec<String>; 2] {
        [
            self.loras.iter().map(UsedLora::with_hash).collect(),
            self.embeddings
                .iter()
                .map(UsedEmbedding::with_hash)
                .collect(),
        ]
    }
}

/// A textual inversion that images were generated with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct UsedEmbedding {
    token: String,
    /// How many tokens of a prompt it takes.
    vectors: usize,
    /// The hash of its file.
    sha256: String,
}

impl UsedEmbedding {
    fn with_hash(&self) -> String {
        format!("{} ({})", self.token, &self.sha256[..16])
    }
}

impl fmt::Display for UsedEmbedding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let vectors = plural(self.vectors, "vector");
        write!(f, "embedding `{}` of {vectors}", self.token)
    }
}

impl LoadArgs {
    /// What the images depend on.
    pub(crate) fn used(&self) -> CliResult<Used> {
        Ok(Used {
            loras: self.loras.used()?,
            embeddings: self.used_embeddings()?,
        })
    }

    fn used_embeddings(&self) -> CliResult<Vec<UsedEmbedding>> {
        let used = |choice: &EmbeddingChoice| {
            let read = Embedding::read(&choice.file, choice.token.as_deref());
            let embedding = read.input_error()?;
            Ok(UsedEmbedding {
                token: embedding.token().into(),
                vectors: embedding.len(),
                sha256: embedding.sha256(),
            })
        };
        self.embeddings.iter().map(used).collect()
    }

    /// The same for the teacher that a model with LoRA is compared with, which has none.
    pub(crate) fn without_loras(&self) -> Self {
        Self {
            loras: LoraArgs { loras: vec![] },
            ..self.clone()
        }
    }
}

impl LoraArgs {
    fn used(&self) -> CliResult<Vec<UsedLora>> {
        let used = |choice: &LoraChoice| {
            let file = &choice.file;
            let bytes = std::fs::read(file).map_err(|error| {
                CliError::input(format!("cannot read {}: {error}", file.display()))
            })?;
            Ok(UsedLora {
                name: choice.name(),
                weight: choice.weight,
                sha256: format!("{:x}", Sha256::digest(bytes)),
            })
        };
        self.loras.iter().map(used).collect()
    }
}

impl UsedLora {
    fn with_hash(&self) -> String {
        format!("{self} ({})", &self.sha256[..16])
    }
}

impl fmt::Display for UsedLora {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.weight)
    }
}
