//! A model as a folder: ours, and those of diffusers' pixel pipelines.

use super::Model;
use crate::controlnet::{CONTROLNET_FILE, ControlNetModel};
use crate::diffusers::part::Part;
use crate::diffusers::unet::{self, unconditional};
use crate::diffusers::{index, scheduler, weights};
use crate::fields::Fields;
use crate::names::with_plain_names;
use crate::tensors::module::ModuleFile;
use crate::{FormatError, bounds, links, lora, reading, write_json_atomically};
use burn::tensor::Device;
use fewstep_diffusion::SamplerRecipe;
use fewstep_nn::{BackboneConfig, UNet};
use std::path::Path;

/// Where the weights are inside a model folder.
pub const WEIGHTS_FILE: &str = "unet/diffusion_pytorch_model.safetensors";

/// Where the sampler recipe is inside a model folder, next to the weights that have it too.
pub(crate) const RECIPE_FILE: &str = "fewstep.json";

/// Reads the sampler recipe of a model folder, without its network.
///
/// # Errors
/// When it is not there, or says what no model has.
pub fn read_recipe(folder: &Path) -> Result<SamplerRecipe, FormatError> {
    let file = folder.join(RECIPE_FILE);
    let text = reading::text(&file)?;
    let bad = |reason: String| FormatError::BadDescription {
        origin: file.display().to_string(),
        reason,
    };
    let recipe = serde_json::from_str(&text).map_err(|error| bad(error.to_string()))?;
    bounds::check_recipe(&recipe).map_err(bad)?;
    Ok(with_plain_names(recipe))
}

impl Model {
    /// Writes the model folder: weights, their description for diffusers, and `fewstep.json`. A
    /// ControlNet has a folder of its own in it. LoRA are in the weights, and in files of their
    /// own.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), FormatError> {
        let base = Self {
            network: self.network.clone().without_controlnet().merged(),
            recipe: self.recipe.clone(),
        };
        let BackboneConfig::UNet(network) = &base.network.config();
        let (class, config) = unet::write(network, &self.recipe);
        for (name, value) in [
            (index::FILE, index::of_pixels(class)),
            ("unet/config.json", config),
            (
                "scheduler/scheduler_config.json",
                scheduler::write(&self.recipe),
            ),
        ] {
            write_json_atomically(&folder.join(name), &value)?;
        }
        if let Some(controlnet) = self.controlnet() {
            controlnet.save(folder)?;
        }
        lora::save(&self.network, &self.description()?, folder)?;
        write_json_atomically(&folder.join(RECIPE_FILE), &self.recipe)?;
        base.save_file(&folder.join(WEIGHTS_FILE))
    }

    /// Reads a model folder, with its ControlNet where it has one, the folder of a `UNet2DModel` of
    /// diffusers with its scheduler, or a single safetensors file.
    ///
    /// # Errors
    /// As [`Model::from_bytes`], and when there is nothing there, or only a part of a model with a
    /// ControlNet.
    pub fn load(path: &Path, device: &Device) -> Result<Self, FormatError> {
        links::check(path)?;
        if let Some(model) = load_pixel_model(path, device)? {
            return Ok(model);
        }
        let expected = "unet/diffusion_pytorch_model.safetensors in a model folder, or the path of one .safetensors file";
        let file = ModuleFile::open(path, WEIGHTS_FILE, expected)?;
        Self::from_module_file(file, device)?.with_stored_controlnet(path, device)
    }

    /// The model with the ControlNet in its folder, where there is one.
    pub(crate) fn with_stored_controlnet(
        self,
        folder: &Path,
        device: &Device,
    ) -> Result<Self, FormatError> {
        if folder.join(CONTROLNET_FILE).is_file() {
            return self.with_controlnet(ControlNetModel::load(folder, device)?);
        }
        match self.recipe.control.is_some() && self.network.controlnet().is_none() {
            true => Err(FormatError::NoControlNet {
                origin: folder.display().to_string(),
            }),
            false => Ok(self),
        }
    }
}

/// Reads the folder of a `UNet2DModel` of diffusers; `None` for another folder. Network and
/// scheduler have folders of their own or, in old models, are in one with everything else. No class
/// means "no class", so there is nothing to guide with.
///
/// # Errors
/// When a part is missing or damaged, or is of a kind that this version does not support; the field
/// is named.
fn load_pixel_model(folder: &Path, device: &Device) -> Result<Option<Model>, FormatError> {
    let place = |part: &str, file: &str| {
        let own = folder.join(part);
        match own.join(file).is_file() {
            true => own,
            false => folder.into(),
        }
    };
    let unet = place("unet", "config.json");
    let config = unet.join("config.json");
    if folder.join(RECIPE_FILE).is_file() || !config.is_file() {
        return Ok(None);
    }
    let mut fields = Fields::read(&config)?;
    if fields.optional::<String>("_class_name")?.as_deref() != Some(unconditional::CLASS) {
        return Ok(None);
    }
    index::check_pixels(folder)?;
    let (config, [height, width]) = unconditional::read(fields)?;
    let file = "scheduler_config.json";
    let scheduler = scheduler::read(Fields::read(&place("scheduler", file).join(file))?)?;
    let recipe = SamplerRecipe {
        classes: (0..config.classes).map(|class| class.to_string()).collect(),
        ..scheduler.teacher([config.channels, height, width])
    };
    let bad = |reason: String| FormatError::BadDescription {
        origin: unet.display().to_string(),
        reason,
    };
    bounds::check(&config, &recipe).map_err(bad)?;
    let mut network = UNet::new(&config, 0, device).map_err(|error| bad(error.to_string()))?;
    weights::load(&mut network, &unet, Part::UNet)?;
    Ok(Some(Model {
        network: network.into(),
        recipe,
    }))
}
