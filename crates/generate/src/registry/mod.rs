//! Finds and loads models by the name that a user gives.

mod builtin;
mod choice;
mod error;
mod family;
mod hub;
mod lora;
mod paths;
mod runs;

pub use builtin::{Builtin, list as builtin_models};
pub use choice::{Candidate, Choice};
pub use error::RegistryError;
pub use family::Family;
pub use hub::{HubModel, models as hub_models};
pub use lora::{EmbeddingChoice, LoraChoice};
pub use runs::folders as run_models;

use crate::generator::LatentParts;
use crate::prompts::{PromptCache, Text, TextAdditions};
use crate::{GenerateError, Generator, KeepEncoder};
use burn::tensor::Device;
use fewstep_data::expand_home;
use fewstep_formats::{
    CONTROLNET_FILE, ControlNetModel, Loras, Model, Pipeline, PipelineComponents, RepositoryKind,
    check_clip_skip,
};
use fewstep_nn::WeightFormat;
use std::path::{Path, PathBuf};

/// A model that was found, but is not loaded yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelSource {
    /// A model embedded in the program.
    Builtin {
        /// Its name, without `builtin:`.
        name: String,
        /// The number of steps that it was distilled for.
        steps: Option<usize>,
    },
    /// A folder or a file with a network and its sampler recipe.
    Network(PathBuf),
    /// The folder of a latent diffusion model with all its components.
    Latent(PathBuf),
}

/// How a model is loaded.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// The folder of a ControlNet to use instead of the model's own.
    pub controlnet: Option<PathBuf>,
    /// LoRA that are added to network and text encoder.
    pub loras: Vec<LoraChoice>,
    /// Textual inversions that prompts may name.
    pub embeddings: Vec<EmbeddingChoice>,
    /// How many of the last layers of CLIP text encoders are skipped, as diffusers counts them; by
    /// default what the model says.
    pub clip_skip: Option<usize>,
    /// How networks have their weights.
    pub weights: WeightFormat,
    /// How long the text encoder stays in memory.
    pub keep_encoder: KeepEncoder,
    /// Prompts that images will be asked for, and the negative one. They are encoded before the network
    /// is read, so that with [`KeepEncoder::WhileEncoding`] it is never in memory together with the
    /// text encoder; unless they are more than the cache holds. For models that read texts.
    pub texts: Vec<String>,
}

impl ModelSource {
    /// Finds a model: a model folder or file, a run folder, `builtin:NAME`, or OWNER/MODEL on the
    /// hub, whose files are fetched first. Of a run, or of builtin models with one name, it is the
    /// one for the number of steps, or the nearest.
    ///
    /// # Errors
    /// When there is none.
    pub fn find(reference: &str, steps: Option<usize>) -> Result<Self, RegistryError> {
        Ok(Self::choose(reference, steps)?.0)
    }

    /// The same, and which model it is of those with this name.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub fn choose(reference: &str, steps: Option<usize>) -> Result<(Self, Choice), RegistryError> {
        Ok(Family::find(reference)?.choose(steps))
    }

    fn in_folder(folder: PathBuf) -> Self {
        match Pipeline::is_in(&folder) {
            true => Self::Latent(folder),
            false => Self::Network(folder),
        }
    }

    /// The folder or file; none for a builtin model.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Builtin { .. } => None,
            Self::Network(path) | Self::Latent(path) => Some(path),
        }
    }

    /// Whether it is a latent diffusion model.
    pub fn is_latent(&self) -> bool {
        matches!(self, Self::Latent(_))
    }

    /// Whether its folder has a ControlNet.
    pub fn has_controlnet(&self) -> bool {
        let folder = self.path();
        folder.is_some_and(|folder| folder.join(CONTROLNET_FILE).is_file())
    }

    /// Loads its network with the sampler recipe.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn model(&self, device: &Device) -> Result<Model, RegistryError> {
        Ok(match self {
            Self::Builtin { name, steps } => builtin::load(name, *steps, device)?,
            Self::Network(path) => Model::load(path, device)?,
            Self::Latent(folder) => Pipeline::load_model(folder, device)?,
        })
    }

    /// The same with the weights of its blocks stored so. Those of a latent diffusion model are never
    /// in memory in 32 bits.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn stored_model(
        &self,
        stored: WeightFormat,
        device: &Device,
    ) -> Result<Model, RegistryError> {
        let mut model = match self {
            Self::Latent(folder) => Pipeline::load_model_in(folder, stored, device)?,
            Self::Builtin { .. } | Self::Network(_) => self.model(device)?,
        };
        model.network = model.network.with_weight_format(stored);
        Ok(model)
    }

    /// Loads its network with the ControlNet and the LoRA of these options, in their precision.
    ///
    /// # Errors
    /// As [`generator`](Self::generator).
    pub fn network(&self, options: &LoadOptions, device: &Device) -> Result<Model, RegistryError> {
        let mut model = self.network_with(&lora::read(&options.loras)?, options, device)?;
        let skipped = &mut model.recipe.clip_skip;
        *skipped = options.clip_skip.unwrap_or(*skipped);
        Ok(model)
    }

    fn network_with(
        &self,
        loras: &Loras,
        options: &LoadOptions,
        device: &Device,
    ) -> Result<Model, RegistryError> {
        let plain = options.controlnet.is_none() && options.loras.is_empty();
        let mut model = match (self, options.weights.is_only_stored(device)) {
            // Weights are never in memory in 32 bits where nothing is added to them.
            (Self::Latent(_), true) if plain => self.stored_model(options.weights, device)?,
            _ => self.model(device)?,
        };
        if let Some(folder) = &options.controlnet {
            let controlnet = ControlNetModel::load_for(folder, &model, device)?;
            model = model.with_controlnet(controlnet)?;
        }
        model = loras.add_to(model, device)?;
        model.network = model.network.generating_in(options.weights, device);
        Ok(model)
    }

    /// The other components of a latent diffusion model; none for other models.
    ///
    /// # Errors
    /// When they are of kinds that are not supported.
    pub fn components(&self) -> Result<Option<PipelineComponents>, RegistryError> {
        Ok(match self {
            Self::Latent(folder) => Some(PipelineComponents::open(folder)?),
            Self::Builtin { .. } | Self::Network(_) => None,
        })
    }

    /// Loads it ready to generate.
    ///
    /// # Errors
    /// When a part cannot be read, or the ControlNet does not fit.
    pub fn generator(
        &self,
        options: &LoadOptions,
        device: &Device,
    ) -> Result<Generator, RegistryError> {
        let additions = TextAdditions {
            loras: lora::read(&options.loras)?,
            embeddings: lora::embeddings(&options.embeddings)?,
        };
        let Some(components) = self.components()? else {
            let model = self.network_with(&additions.loras, options, device)?;
            additions.loras.check_without_text()?;
            additions.embeddings.check_without_text()?;
            check_clip_skip(options.clip_skip.unwrap_or(0), 0).map_err(GenerateError::ClipSkip)?;
            return Ok(Generator::new(model, device)?);
        };
        let encoder = components.text_encoder(device)?;
        let keep = options.keep_encoder;
        let prompts = PromptCache::new(encoder, components, additions, keep, device)?;
        if let Some(skipped) = options.clip_skip {
            let checked = prompts.facts().check_clip_skip(skipped);
            checked.map_err(GenerateError::ClipSkip)?;
        }
        encode_ahead(&prompts, options)?;
        let components = prompts.components();
        let vae = components.vae(device)?;
        let mut model = self.network_with(&prompts.additions().loras, options, device)?;
        components.check_fit(&model, &vae, prompts.facts())?;
        let skipped = &mut model.recipe.clip_skip;
        *skipped = options.clip_skip.unwrap_or(*skipped);
        Ok(Generator::of_latents(
            model,
            LatentParts { vae, prompts },
            device,
        )?)
    }
}

/// Encodes the texts that images will be asked for.
fn encode_ahead(prompts: &PromptCache, options: &LoadOptions) -> Result<(), RegistryError> {
    let facts = prompts.facts();
    if options.texts.is_empty() || !facts.classes.is_empty() {
        return Ok(());
    }
    let clip_skip = match options.clip_skip {
        Some(skipped) => skipped,
        // Where it is too large, the model is refused with its network.
        None => Pipeline::load_recipe(prompts.components().folder())?
            .clip_skip
            .min(facts.most_skipped),
    };
    let texts = options.texts.iter().map(|text| Text { text, clip_skip });
    Ok(prompts.prepare(texts)?)
}

/// The folder of a component, or of a model that has it. For a name on the hub it is in the hub's
/// cache.
///
/// # Errors
/// When it cannot be fetched.
pub fn find_part(reference: &Path, part: RepositoryKind) -> Result<PathBuf, RegistryError> {
    match hub::Name::parse(&reference.to_string_lossy()) {
        Some(name) => hub::fetch(&name, part),
        None => Ok(expand_home(reference)),
    }
}
