//! A network with its sampler recipe, in memory and as one safetensors file.

mod controlnet;
mod folder;
#[cfg(test)]
mod tests;

pub(crate) use folder::RECIPE_FILE;
pub use folder::{WEIGHTS_FILE, read_recipe};

use crate::names::with_plain_names;
use crate::tensors::module::{self, FilePrecision, ModuleFile};
use crate::{FormatError, bounds, write_atomically_with};
use burn::module::Module;
use burn::store::{FloatCastAdapter, ModuleSnapshot};
use burn::tensor::{DType, Device};
use fewstep_diffusion::{
    CfgDenoiser, Denoiser, DiffusionModel, Guidance, InstructDenoiser, SamplerRecipe, Schedule,
};
use fewstep_nn::{Backbone, BackboneConfig};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::Path;

/// A network and how to sample it.
#[derive(Clone, Debug)]
pub struct Model {
    /// The network.
    pub network: Backbone,
    /// How to sample it, and where it comes from.
    pub recipe: SamplerRecipe,
}

#[derive(Serialize, Deserialize)]
struct Description {
    network: BackboneConfig,
    recipe: SamplerRecipe,
}

impl Model {
    /// The denoiser that samplers take.
    ///
    /// # Errors
    /// When the recipe's schedule is not valid.
    pub fn denoiser(&self) -> Result<DiffusionModel<Backbone>, fewstep_diffusion::ScheduleError> {
        Ok(DiffusionModel {
            // LoRA are added once, not at every call.
            network: self.network.clone().merged(),
            schedule: Schedule::new(self.recipe.schedule.clone())?,
            prediction: self.recipe.prediction,
        })
    }

    /// A denoiser of this model, guided as its recipe says: towards class or prompt, and for a network
    /// that sees a source image towards that too. As it is where it has no branches to guide with.
    pub fn guided<D: Denoiser + Send + 'static>(&self, plain: D) -> Box<dyn Denoiser + Send> {
        match self.recipe.guidance {
            Guidance::ClassifierFree if self.network.config().sees_source() => {
                let scale = self.recipe.default_image_guidance();
                Box::new(InstructDenoiser::new(plain, scale))
            }
            Guidance::ClassifierFree => Box::new(CfgDenoiser::new(plain)),
            Guidance::None | Guidance::Fixed { .. } | Guidance::Input { .. } => Box::new(plain),
        }
    }

    /// Hash of the weights (names and f32 values), 16 hexadecimal digits: the same for the same
    /// network in every file.
    pub fn weights_hash(&self) -> String {
        // A ControlNet has the name here that it had in earlier versions, so that hashes last.
        let name = |name: &str| match name.strip_prefix("controlnet.") {
            Some(rest) => format!("adapter.{rest}"),
            None => name.into(),
        };
        let wide = FloatCastAdapter::to(DType::F32);
        let tensors = self.network.collect(None, Some(Box::new(wide)), true);
        let tensors = tensors.into_iter();
        let mut tensors: Vec<_> = tensors.map(|tensor| (name(&tensor.name), tensor)).collect();
        tensors.sort_by(|a, b| a.0.cmp(&b.0));
        let mut hash = Sha256::new();
        for (name, tensor) in tensors {
            hash.update(name.as_bytes());
            // A parameter in memory can always be read back.
            hash.update(tensor.to_bytes().map(|b| b.to_vec()).unwrap_or_default());
        }
        hash.finalize()[..8]
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect()
    }

    fn described(&self) -> Description {
        Description {
            network: self.network.config(),
            recipe: self.recipe.clone(),
        }
    }

    /// Network and recipe as they are in the metadata of a file.
    pub(crate) fn description(&self) -> Result<String, FormatError> {
        serde_json::to_string(&self.described()).map_err(|error| FormatError::BadDescription {
            origin: "the model in memory".into(),
            reason: error.to_string(),
        })
    }

    /// The same model for one w only, for tools that do not know of an input for w.
    pub fn with_fixed_w(&self, w: f64) -> Self {
        let mut model = self.clone();
        model.network = self.network.with_fixed_w(w);
        model.recipe.guidance = Guidance::Fixed { w };
        model
    }

    /// The model as the bytes of one safetensors file.
    ///
    /// # Errors
    /// When the weights cannot be read back from their device.
    pub fn to_bytes(&self, precision: FilePrecision) -> Result<Vec<u8>, FormatError> {
        module::to_bytes(&self.network, &self.described(), precision)
    }

    /// Reads a model from the bytes of one safetensors file; `origin` names it in messages.
    ///
    /// # Errors
    /// When the file is damaged, is not one of ours, or its weights do not fit its network.
    pub fn from_bytes(bytes: Vec<u8>, origin: &str, device: &Device) -> Result<Self, FormatError> {
        Self::from_module_file(ModuleFile::from_bytes(bytes, origin)?, device)
    }

    fn from_module_file(file: ModuleFile, device: &Device) -> Result<Self, FormatError> {
        let description: Description = file.description()?;
        let bad = |reason: String| FormatError::BadDescription {
            origin: file.origin.clone(),
            reason,
        };
        let BackboneConfig::UNet(config) = &description.network;
        bounds::check(config, &description.recipe).map_err(bad)?;
        let mut network =
            Backbone::new(&description.network, 0, device).map_err(|e| bad(e.to_string()))?;
        file.fill(&mut network)?;
        Ok(Self {
            network,
            recipe: with_plain_names(description.recipe),
        })
    }

    /// Writes one safetensors file that holds everything, as [`Model::to_bytes`] gives it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save_file(&self, file: &Path) -> Result<(), FormatError> {
        write_atomically_with(file, |out| {
            module::write(&self.network, &self.described(), FilePrecision::Full, out)
        })
    }

    /// Number of parameters.
    pub fn parameters(&self) -> usize {
        self.network.num_params()
    }
}
