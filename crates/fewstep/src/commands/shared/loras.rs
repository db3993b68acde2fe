//! LoRA that are added to the model of a command.

use crate::error::{CliError, CliResult};
use crate::parsers::lora;
use fewstep_generate::LoraChoice;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;

/// LoRA for the model.
#[derive(clap::Args)]
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

impl LoraArgs {
    /// What the images depend on.
    pub(crate) fn used(&self) -> CliResult<Vec<UsedLora>> {
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
    /// The same with the beginning of the hash of its file.
    pub(crate) fn with_hash(&self) -> String {
        format!("{self} ({})", &self.sha256[..16])
    }
}

impl fmt::Display for UsedLora {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.weight)
    }
}
