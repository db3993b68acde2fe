//! An adapter by itself: what brings a condition, and few steps with it, to another fine-tune of its base.

use crate::weights::{self, FilePrecision};
use crate::{FormatError, Model, diffusers, write_atomically_with, write_json_atomically};
use burn::tensor::Device;
use fewstep_diffusion::SamplerRecipe;
use fewstep_nn::{Adapter, AdapterConfig, UNetConfig};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Where the weights of an adapter lie inside a model folder.
pub const ADAPTER_FILE: &str = "controlnet/diffusion_pytorch_model.safetensors";

/// An adapter and how a base with it is sampled.
#[derive(Clone, Debug)]
pub struct AdapterModel {
    /// The adapter.
    pub adapter: Adapter,
    /// The recipe of the model that it was trained in.
    pub recipe: SamplerRecipe,
}

#[derive(Serialize, Deserialize)]
struct Description {
    base: UNetConfig,
    adapter: AdapterConfig,
    recipe: SamplerRecipe,
}

impl AdapterModel {
    /// Writes weights and configuration below `controlnet/` of a folder, as diffusers has it.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), FormatError> {
        let description = Description {
            base: self.adapter.base().clone(),
            adapter: self.adapter.config().clone(),
            recipe: self.recipe.clone(),
        };
        let config =
            diffusers::controlnet(self.adapter.base(), self.adapter.config(), &self.recipe);
        write_json_atomically(&folder.join("controlnet/config.json"), &config)?;
        write_atomically_with(&folder.join(ADAPTER_FILE), |out| {
            weights::write(&self.adapter, &description, FilePrecision::Full, out)
        })
    }

    /// Reads the adapter of a model folder, or a safetensors file that holds one.
    ///
    /// # Errors
    /// When there is none, or the file is damaged or does not fit what it describes.
    pub fn load(path: &Path, device: &Device) -> Result<Self, FormatError> {
        let expected = "controlnet/diffusion_pytorch_model.safetensors in the folder of a model with an adapter, or the path of one such file";
        let (bytes, origin) = weights::read(path, ADAPTER_FILE, expected)?;
        let description: Description = weights::read_description(&bytes, &origin)?;
        let mut adapter =
            Adapter::blank(&description.base, &description.adapter, device).map_err(|e| {
                FormatError::BadDescription {
                    origin: origin.clone(),
                    reason: e.to_string(),
                }
            })?;
        weights::fill(&mut adapter, bytes, &origin)?;
        Ok(Self {
            adapter,
            recipe: description.recipe,
        })
    }
}

impl Model {
    /// The adapter of the model by itself.
    pub fn adapter(&self) -> Option<AdapterModel> {
        self.network.adapter().map(|adapter| AdapterModel {
            adapter: adapter.clone(),
            recipe: self.recipe.clone(),
        })
    }

    /// The model with an adapter that was trained on it or on another fine-tune of its base; it is then sampled as
    /// the adapter says.
    ///
    /// # Errors
    /// When shapes, predictions, schedules, resolutions or numbers of classes differ; says which.
    pub fn with_adapter(self, adapter: AdapterModel) -> Result<Self, FormatError> {
        let (ours, theirs) = (&self.recipe, &adapter.recipe);
        let facts: [(&str, String, String); 4] = [
            ("predicts", debug(theirs.prediction), debug(ours.prediction)),
            (
                "has the schedule",
                debug(&theirs.schedule),
                debug(&ours.schedule),
            ),
            (
                "has the resolution",
                debug(theirs.resolution),
                debug(ours.resolution),
            ),
            (
                "has a number of classes of",
                debug(theirs.classes.len()),
                debug(ours.classes.len()),
            ),
        ];
        if let Some((what, made_for, has)) = facts.into_iter().find(|(_, a, b)| a != b) {
            return Err(FormatError::Adapter(format!(
                "it was made for a base that {what} {made_for}, and this one {what} {has}"
            )));
        }
        let recipe = SamplerRecipe {
            classes: self.recipe.classes.clone(),
            ..adapter.recipe
        };
        let network = self.network.plug(adapter.adapter);
        Ok(Self {
            network: network.map_err(|e| FormatError::Adapter(e.to_string()))?,
            recipe,
        })
    }
}

fn debug(value: impl std::fmt::Debug) -> String {
    format!("{value:?}")
}
