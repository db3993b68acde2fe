//! All parts of a latent diffusion model together.

use super::fields::Fields;
use super::scheduler::Scheduler;
use super::{autoencoder, clip, scheduler, unet, weights};
use crate::{FormatError, Model};
use burn::tensor::Device;
use fewstep_diffusion::{Guidance, Provenance, Role, SamplerRecipe, StudentSampler};
use fewstep_nn::{ClipText, Codec, UNet, UNetConfig};
use std::path::Path;

/// A latent diffusion model: the U-Net with its sampler recipe, and what turns texts and pictures into what the
/// U-Net understands.
#[derive(Debug)]
pub struct Pipeline {
    /// The U-Net on latents.
    pub model: Model,
    /// Pictures to latents and back.
    pub codec: Codec,
    /// Texts to states.
    pub text_encoder: ClipText,
}

impl Pipeline {
    /// Whether a folder holds a latent diffusion model: an autoencoder beside the U-Net.
    pub fn is_in(folder: &Path) -> bool {
        folder.join("model_index.json").is_file() && folder.join("vae").is_dir()
    }

    /// Reads a folder in the layout of diffusers' `StableDiffusionPipeline`. A folder of ours has its recipe in
    /// `fewstep.json`; else it follows from the scheduler's configuration.
    ///
    /// # Errors
    /// When a part is missing or damaged, or is of a kind that this version does not support; the field is named.
    pub fn load(folder: &Path, device: &Device) -> Result<Self, FormatError> {
        check_parts(folder)?;
        let unet_folder = folder.join("unet");
        let file = unet::read(Fields::read(&unet_folder.join("config.json"))?)?;
        let recipe = recipe(folder, &file)?;
        let network = UNet::new(&file.network, 0, device);
        let mut network = network.map_err(|error| FormatError::BadDescription {
            origin: unet_folder.display().to_string(),
            reason: error.to_string(),
        })?;
        weights::load(&mut network, &unet_folder, weights::UNET)?;
        let codec = autoencoder::load(&folder.join("vae"), device)?;
        let text_encoder = clip::load(&folder.join("text_encoder"), device)?;
        let fits = fit(&file.network, &codec, &text_encoder);
        fits.map_err(|reason| FormatError::BadDescription {
            origin: folder.display().to_string(),
            reason,
        })?;
        Ok(Self {
            model: Model { network, recipe },
            codec,
            text_encoder,
        })
    }
}

/// Which libraries the parts come from: a part of another kind is refused before anything is read.
fn check_parts(folder: &Path) -> Result<(), FormatError> {
    let mut fields = Fields::read(&folder.join("model_index.json"))?;
    for (part, kinds) in [
        ("unet", &["UNet2DConditionModel"][..]),
        ("vae", &["AutoencoderKL", "AutoencoderTiny"]),
        ("text_encoder", &["CLIPTextModel"]),
        ("tokenizer", &["CLIPTokenizer", "CLIPTokenizerFast"]),
    ] {
        let (_, kind): (Option<String>, Option<String>) = fields.needed(part)?;
        if !kind.as_deref().is_some_and(|kind| kinds.contains(&kind)) {
            return Err(fields.bad(format!(
                "`{part}` is of kind `{}`, and this version supports {}",
                kind.unwrap_or_else(|| "none".into()),
                kinds.join(" and ")
            )));
        }
    }
    // Filters and image prompts, which the U-Net does not know of.
    fields.ignore(&[
        "feature_extractor",
        "image_encoder",
        "requires_safety_checker",
        "safety_checker",
        "scheduler",
    ]);
    fields.finish()
}

fn recipe(folder: &Path, file: &unet::UNetFile) -> Result<SamplerRecipe, FormatError> {
    let ours = folder.join("fewstep.json");
    if ours.is_file() {
        let text = std::fs::read_to_string(&ours).map_err(|source| FormatError::Read {
            path: ours.clone(),
            source,
        })?;
        return serde_json::from_str(&text).map_err(|error| FormatError::BadDescription {
            origin: ours.display().to_string(),
            reason: error.to_string(),
        });
    }
    let Scheduler {
        schedule,
        prediction,
        clip,
        usual,
    } = scheduler::read(Fields::read(
        &folder.join("scheduler/scheduler_config.json"),
    )?)?;
    let (role, guidance) = match file.network.w {
        None => (Role::Teacher, Guidance::ClassifierFree),
        // Others' students with an input for w, which latent consistency models are: w of 2 to 14 as a rule.
        Some(_) => (
            Role::Student {
                sampler: StudentSampler::Any,
                steps: None,
            },
            Guidance::Input {
                w_min: 2.0,
                w_max: 14.0,
                default: 7.5,
            },
        ),
    };
    Ok(SamplerRecipe {
        version: 1,
        role,
        prediction,
        schedule,
        guidance,
        resolution: [file.network.channels, file.sample_size, file.sample_size],
        classes: vec![],
        clip,
        usual: Some(usual),
        provenance: Provenance::default(),
    })
}

/// Whether the parts understand one another.
fn fit(network: &UNetConfig, codec: &Codec, text: &ClipText) -> Result<(), String> {
    let latents = codec.latent_channels();
    if latents != network.channels {
        return Err(format!(
            "the U-Net works on latents of {} channels, and the autoencoder's have {latents}",
            network.channels
        ));
    }
    let (wide, width) = (network.text.map(|text| text.width), text.config().width);
    match wide {
        Some(wide) if wide != width => Err(format!(
            "the U-Net attends to states of {wide} features (`cross_attention_dim`), and the text encoder's have {width} (`hidden_size`)"
        )),
        _ => Ok(()),
    }
}
