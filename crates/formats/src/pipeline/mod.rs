//! All parts of a latent diffusion model together.

mod components;
mod files;
mod fit;
mod pickled;
mod repository;

pub use components::{ComponentFacts, PipelineComponents};
pub use repository::{RepositoryFiles, RepositoryKind};

use crate::diffusers::index::{self, CLASSES};
use crate::diffusers::part::Part;
use crate::diffusers::scheduler;
use crate::diffusers::text_encoder::{TextEncoder, class_names};
use crate::diffusers::unet::conditional::{self, UNetFile};
use crate::diffusers::weights;
use crate::fields::Fields;
use crate::model::{RECIPE_FILE, read_recipe};
use crate::{FormatError, Model, bounds, links, reading};
use burn::tensor::Device;
use fewstep_diffusion::{DistilledFor, Guidance, PromptEmbeds, Role, SamplerRecipe};
use fewstep_nn::{UNet, Vae, WeightFormat};
use std::path::Path;

/// A latent diffusion model: the U-Net with its sampler recipe, and what turns texts and images
/// into what the U-Net understands.
#[derive(Debug)]
pub struct Pipeline {
    /// The U-Net on latents.
    pub model: Model,
    /// Images to latents and back.
    pub vae: Vae,
    /// Texts, or classes, to states.
    pub text_encoder: TextEncoder,
    /// Where its parts were read from.
    pub components: PipelineComponents,
}

impl Pipeline {
    /// Whether a folder holds a latent diffusion model: an autoencoder next to the U-Net.
    pub fn is_in(folder: &Path) -> bool {
        folder.join(index::FILE).is_file() && folder.join("vae").is_dir()
    }

    /// Reads a folder in the layout of diffusers' `StableDiffusionPipeline` or
    /// `StableDiffusionXLPipeline`. A folder of ours has
    /// its recipe in `fewstep.json`; else it follows from the scheduler's configuration.
    ///
    /// # Errors
    /// When a part is missing or damaged, or is of a kind that this version does not support; the
    /// field is named.
    pub fn load(folder: &Path, device: &Device) -> Result<Self, FormatError> {
        let components = PipelineComponents::open(folder)?;
        Self::with_components(Self::load_model(folder, device)?, &components, device)
    }

    /// A U-Net with these components, which are read now.
    ///
    /// # Errors
    /// When a part is missing or damaged, or they do not fit together.
    pub fn with_components(
        model: Model,
        components: &PipelineComponents,
        device: &Device,
    ) -> Result<Self, FormatError> {
        let vae = components.vae(device)?;
        let text_encoder = components.text_encoder(device)?;
        components.check_fit(&model, &vae, &text_encoder.facts())?;
        Ok(Self {
            model,
            vae,
            text_encoder,
            components: components.clone(),
        })
    }

    /// The recipe of such a folder, without reading its U-Net.
    ///
    /// # Errors
    /// When its files are missing or damaged.
    pub fn load_recipe(folder: &Path) -> Result<SamplerRecipe, FormatError> {
        links::check(folder)?;
        recipe(folder, &unet_file(folder)?)
    }

    /// Reads only the U-Net of such a folder, with its recipe, and its ControlNet where it has one.
    ///
    /// # Errors
    /// As [`Pipeline::load`].
    pub fn load_model(folder: &Path, device: &Device) -> Result<Model, FormatError> {
        Self::load_model_in(folder, WeightFormat::default(), device)
    }

    /// The same with the weights of the U-Net's blocks stored so, each tensor as soon as it
    /// is read. Tensors with values too large for f16 are in f32.
    ///
    /// # Errors
    /// As [`Pipeline::load`].
    pub fn load_model_in(
        folder: &Path,
        stored: WeightFormat,
        device: &Device,
    ) -> Result<Model, FormatError> {
        links::check(folder)?;
        let unet_folder = folder.join("unet");
        let file = unet_file(folder)?;
        let recipe = recipe(folder, &file)?;
        bounds::check(&file.network, &recipe).map_err(|reason| FormatError::BadDescription {
            origin: folder.display().to_string(),
            reason,
        })?;
        let network = UNet::new(&file.network, 0, device);
        let mut network = network.map_err(|error| FormatError::BadDescription {
            origin: unet_folder.display().to_string(),
            reason: error.to_string(),
        })?;
        weights::load_in(&mut network, &unet_folder, Part::UNet, stored)?;
        let network = network.into();
        Model { network, recipe }.with_stored_controlnet(folder, device)
    }

    /// The folder that the model was read from.
    pub fn folder(&self) -> &Path {
        self.components.folder()
    }

    /// The embeddings of prompts, each with those of the negative prompt; and what was cut off prompts
    /// that were too long.
    pub fn embed_prompts(
        &self,
        prompts: &[String],
        negative: &str,
    ) -> (PromptEmbeds, Vec<Option<String>>) {
        let clip_skip = self.model.recipe.clip_skip;
        let (cond, cut) = self.text_encoder.encode(prompts, clip_skip);
        let uncond = match negative.is_empty() && self.text_encoder.zero_empty() {
            true => cond.zeros_like(),
            false => {
                let (uncond, _) = self.text_encoder.encode(&[negative.into()], clip_skip);
                uncond.expand(prompts.len())
            }
        };
        (PromptEmbeds { cond, uncond }, cut)
    }
}

/// The weights of a part, file by file, as they are stored.
pub(crate) fn part_tensors(pipeline: &Pipeline, part: Part) -> Result<Vec<Vec<u8>>, FormatError> {
    let files = weights::files(&pipeline.folder().join(part.folder()), part)?;
    files.iter().map(|file| reading::bytes(file)).collect()
}

fn unet_file(folder: &Path) -> Result<UNetFile, FormatError> {
    conditional::read(Fields::read(&folder.join("unet/config.json"))?)
}

fn recipe(folder: &Path, file: &UNetFile) -> Result<SamplerRecipe, FormatError> {
    if folder.join(RECIPE_FILE).is_file() {
        return read_recipe(folder);
    }
    let scheduler = folder.join("scheduler/scheduler_config.json");
    let scheduler = scheduler::read(Fields::read(&scheduler)?)?;
    // Other tools' students: latent consistency models by their scheduler, others by their input
    // for w, which is usually 2 to 14.
    let role = match (scheduler.consistency, file.network.w) {
        (false, None) => Role::Teacher,
        (consistency, _) => Role::Student {
            sampler: match consistency {
                true => DistilledFor::Consistency,
                false => DistilledFor::Any,
            },
            steps: None,
        },
    };
    let guidance = match file.network.w {
        None => Guidance::ClassifierFree,
        Some(_) => Guidance::Input {
            w_min: 2.0,
            w_max: 14.0,
            default: 7.5,
        },
    };
    let classes = folder.join(CLASSES);
    Ok(SamplerRecipe {
        role,
        guidance,
        classes: match classes.is_dir() {
            true => class_names(&classes)?,
            false => vec![],
        },
        ..scheduler.teacher([file.network.channels, file.sample_size, file.sample_size])
    })
}
