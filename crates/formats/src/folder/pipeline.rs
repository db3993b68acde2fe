//! All parts of a latent diffusion model together.

use super::fields::Fields;
use super::scheduler::Scheduler;
use super::tokenizer::{ClipTokenizer, Tokens};
use super::weights::{self, Part};
use super::{autoencoder, clip, scheduler, unet};
use crate::{FormatError, Model, write_atomically, write_json_atomically};
use burn::tensor::Device;
use fewstep_diffusion::{Guidance, Provenance, Role, SamplerRecipe, StudentSampler, Text};
use fewstep_nn::{ClipText, Codec, UNet, UNetConfig};
use std::path::{Path, PathBuf};

/// A latent diffusion model: the U-Net with its sampler recipe, and what turns texts and pictures into what the
/// U-Net understands.
#[derive(Debug)]
pub struct Pipeline {
    /// The U-Net on latents.
    pub model: Model,
    /// Pictures to latents and back.
    pub codec: Codec,
    /// Texts to tokens.
    pub tokenizer: ClipTokenizer,
    /// Tokens to states.
    pub text_encoder: ClipText,
    /// The folder that it was read from.
    folder: PathBuf,
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
        weights::load(&mut network, &unet_folder, Part::UNet)?;
        let codec = autoencoder::load(&folder.join("vae"), device)?;
        let text_encoder = clip::load(&folder.join("text_encoder"), device)?;
        let length = text_encoder.config().positions;
        let tokenizer = ClipTokenizer::load(&folder.join("tokenizer"), length)?;
        let fits = fit(&file.network, &codec, &text_encoder, &tokenizer);
        fits.map_err(|reason| FormatError::BadDescription {
            origin: folder.display().to_string(),
            reason,
        })?;
        Ok(Self {
            model: Model { network, recipe },
            codec,
            tokenizer,
            text_encoder,
            folder: folder.into(),
        })
    }

    /// The folder that the model was read from.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Copies the tokenizer and all configurations.
    pub(crate) fn copy_all_but_weights(&self, folder: &Path) -> Result<(), FormatError> {
        let is_config = |name: &str| {
            let texts = [".json", ".txt"]
                .iter()
                .any(|ending| name.ends_with(ending));
            texts && !name.contains("safetensors")
        };
        for part in ["", "unet", "vae", "text_encoder", "tokenizer", "scheduler"] {
            copy_folder(&self.folder.join(part), &folder.join(part), is_config)?;
        }
        Ok(())
    }

    /// Writes a folder with another U-Net in the place of this model's, a student as a rule: the other parts are copied
    /// as they are. diffusers' `StableDiffusionPipeline` reads it and gives a student its w (as the guidance scale,
    /// 1 + w).
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn save_with(&self, model: &Model, folder: &Path) -> Result<(), FormatError> {
        for part in PARTS {
            copy_folder(&self.folder.join(part), &folder.join(part), |_| true)?;
        }
        model.save(folder)?;
        let path = self.folder.join("model_index.json");
        let mut index: serde_json::Value = Fields::read(&path)?.into();
        index["scheduler"] = serde_json::json!(["diffusers", "DDIMScheduler"]);
        write_json_atomically(&folder.join("model_index.json"), &index)
    }

    /// The states of prompts, each with those of the negative prompt; and what was cut off prompts that were too
    /// long.
    pub fn text(&self, prompts: &[String], negative: &str) -> (Text, Vec<Option<String>>) {
        let tokens: Vec<Tokens> = prompts.iter().map(|p| self.tokenizer.encode(p)).collect();
        let empty = vec![self.tokenizer.encode(negative).numbers];
        let numbers: Vec<Vec<u32>> = tokens.iter().map(|t| t.numbers.clone()).collect();
        let states = self.text_encoder.forward(&numbers);
        let empty = self.text_encoder.forward(&empty).expand(states.dims());
        let cut = tokens.into_iter().map(|tokens| tokens.cut).collect();
        (Text { states, empty }, cut)
    }
}

/// The weights of a part, file by file, as they are stored.
pub(crate) fn part_tensors(pipeline: &Pipeline, part: Part) -> Result<Vec<Vec<u8>>, FormatError> {
    let files = weights::files(&pipeline.folder.join(part.folder()), part)?;
    let read =
        |path: PathBuf| std::fs::read(&path).map_err(|source| FormatError::Read { path, source });
    files.into_iter().map(read).collect()
}

/// What a student takes over from its teacher.
const PARTS: [&str; 3] = ["vae", "text_encoder", "tokenizer"];

/// Copies those files of one folder whose names are wanted.
fn copy_folder(from: &Path, to: &Path, wanted: fn(&str) -> bool) -> Result<(), FormatError> {
    let unread = |source| FormatError::Read {
        path: from.into(),
        source,
    };
    for entry in std::fs::read_dir(from).map_err(unread)? {
        let entry = entry.map_err(unread)?;
        let name = entry.file_name();
        if entry.path().is_file() && name.to_str().is_some_and(wanted) {
            let bytes = std::fs::read(entry.path()).map_err(unread)?;
            write_atomically(&to.join(name), &bytes)?;
        }
    }
    Ok(())
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
        hint: None,
        usual: Some(usual),
        provenance: Provenance::default(),
    })
}

/// Whether the parts understand one another.
fn fit(
    network: &UNetConfig,
    codec: &Codec,
    text: &ClipText,
    tokenizer: &ClipTokenizer,
) -> Result<(), String> {
    let (words, known) = (tokenizer.vocabulary(), text.config().vocabulary);
    if words > known {
        return Err(format!(
            "the tokenizer has {words} tokens, and the text encoder knows {known}"
        ));
    }

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
