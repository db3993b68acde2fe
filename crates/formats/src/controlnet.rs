//! A ControlNet by itself: what brings control images, and few steps with them, to another
//! fine-tune of its base.

use crate::diffusers;
use crate::names::with_plain_names;
use crate::tensors::module::{self, FilePrecision, ModuleFile};
use crate::{FormatError, bounds, links, write_atomically_with, write_json_atomically};
use burn::tensor::Device;
use fewstep_diffusion::SamplerRecipe;
use fewstep_nn::{ControlNet, ControlNetConfig, UNetConfig};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Where the weights of a ControlNet are inside a model folder.
pub const CONTROLNET_FILE: &str = "controlnet/diffusion_pytorch_model.safetensors";

/// A ControlNet and how a base with it is sampled.
#[derive(Clone, Debug)]
pub struct ControlNetModel {
    /// The ControlNet.
    pub controlnet: ControlNet,
    /// The recipe of the model that it was trained in.
    pub recipe: SamplerRecipe,
}

#[derive(Serialize, Deserialize)]
struct Description {
    base: UNetConfig,
    #[serde(alias = "adapter")]
    controlnet: ControlNetConfig,
    recipe: SamplerRecipe,
}

impl ControlNetModel {
    /// Writes weights and configuration below `controlnet/` of a folder, as diffusers has it.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), FormatError> {
        let description = Description {
            base: self.controlnet.base().clone(),
            controlnet: self.controlnet.config().clone(),
            recipe: self.recipe.clone(),
        };
        let config = diffusers::controlnet::write(
            self.controlnet.base(),
            self.controlnet.config(),
            &self.recipe,
        );
        write_json_atomically(&folder.join("controlnet/config.json"), &config)?;
        write_atomically_with(&folder.join(CONTROLNET_FILE), |out| {
            module::write(&self.controlnet, &description, FilePrecision::Full, out)
        })
    }

    /// Reads the ControlNet of a model folder, or a safetensors file that holds one.
    ///
    /// # Errors
    /// When there is none, or the file is damaged or does not fit what it describes.
    pub fn load(path: &Path, device: &Device) -> Result<Self, FormatError> {
        let expected = "controlnet/diffusion_pytorch_model.safetensors in the folder of a model with a ControlNet, or the path of that file";
        links::check(path)?;
        let file = ModuleFile::open(path, CONTROLNET_FILE, expected)?;
        let description: Description = file.description()?;
        let described = UNetConfig {
            controlnet: Some(description.controlnet.clone()),
            ..description.base.clone()
        };
        let bad = |reason: String| FormatError::BadDescription {
            origin: file.origin.clone(),
            reason,
        };
        bounds::check(&described, &description.recipe).map_err(bad)?;
        let mut controlnet = ControlNet::blank(&description.base, &description.controlnet, device)
            .map_err(|e| bad(e.to_string()))?;
        file.fill(&mut controlnet)?;
        Ok(Self {
            controlnet,
            recipe: with_plain_names(description.recipe),
        })
    }
}
