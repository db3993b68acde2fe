//! A ControlNet by itself: what brings control images, and few steps with them, to another
//! fine-tune of its base.

use crate::diffusers::part::Part;
use crate::diffusers::{self, weights};
use crate::fields::Fields;
use crate::names::with_plain_names;
use crate::tensors::module::{self, FilePrecision, ModuleFile};
use crate::{FormatError, Model, bounds, links, write_atomically_with, write_json_atomically};
use burn::tensor::Device;
use fewstep_diffusion::{ControlSpec, SamplerRecipe, Task};
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

    /// Reads a ControlNet for a base: one of ours, or the folder of a `ControlNetModel` of diffusers,
    /// which says nothing of how its base is sampled.
    ///
    /// # Errors
    /// As [`ControlNetModel::load`], and when a field of its configuration is not supported; the field is
    /// named.
    pub fn load_for(path: &Path, base: &Model, device: &Device) -> Result<Self, FormatError> {
        let ours = Self::load(path, device);
        let nothing_said = matches!(
            ours,
            Err(FormatError::NoDescription { .. } | FormatError::NoModel { .. })
        );
        let folders = [path.join("controlnet"), path.into()];
        let folder = folders
            .iter()
            .find(|folder| folder.join("config.json").is_file());
        match folder.filter(|_| nothing_said) {
            Some(folder) => Self::of_diffusers(folder, base, device),
            None => ours,
        }
    }

    fn of_diffusers(folder: &Path, base: &Model, device: &Device) -> Result<Self, FormatError> {
        let fields = Fields::read(&folder.join("config.json"))?;
        let (network, config) = diffusers::controlnet::read(fields)?;
        let [_, height, width] = base.recipe.resolution;
        // Its stem halves control images to the size of the network's maps.
        let halvings = config.stem.len() - 1;
        let recipe = SamplerRecipe {
            control: Some(ControlSpec {
                task: Task::Image,
                shape: [config.channels, height << halvings, width << halvings],
            }),
            ..base.recipe.clone()
        };
        let bad = |reason: String| FormatError::BadDescription {
            origin: folder.display().to_string(),
            reason,
        };
        let described = UNetConfig {
            controlnet: Some(config.clone()),
            ..network.clone()
        };
        bounds::check(&described, &recipe).map_err(bad)?;
        let controlnet = ControlNet::blank(&network, &config, device);
        let mut controlnet = controlnet.map_err(|error| bad(error.to_string()))?;
        weights::load(&mut controlnet, folder, Part::UNet)?;
        Ok(Self { controlnet, recipe })
    }
}
