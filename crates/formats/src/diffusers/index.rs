//! `model_index.json`: which parts a model has, and of which kind each is.

use super::part::Part;
use super::text_encoder::{CLIP_TOKENIZERS, ENCODERS, SECOND_ENCODER, TOKENIZERS};
use super::vae::AUTOENCODERS;
use crate::FormatError;
use crate::fields::{Fields, read_object};
use crate::model::RECIPE_FILE;
use serde_json::{Value, json};
use std::path::Path;

/// The name of the file.
pub(crate) const FILE: &str = "model_index.json";

/// The folder of a table of classes, which a model has instead of text encoder and tokenizer.
pub(crate) const CLASSES: &str = "class_embedder";

/// Filters and image prompts, which the U-Net does not know of.
const NOT_IN_THE_UNET: [&str; 3] = ["feature_extractor", "image_encoder", "safety_checker"];

/// A part of a folder, and the kinds of it that are supported.
type Kinds = (&'static str, &'static [&'static str]);

/// The parts that condition a U-Net.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conditioning {
    /// A text encoder and its tokenizer.
    Text,
    /// The two text encoders of SDXL and their tokenizers.
    TwoTexts {
        /// Whether the embeddings of the empty negative prompt are zeros.
        zero_empty: bool,
    },
    /// A table of classes.
    Classes,
}

impl Conditioning {
    /// The folders of the parts that stay as they are when another U-Net takes the place of the
    /// model's own.
    pub(crate) fn parts(self) -> &'static [&'static str] {
        match self {
            Self::Text => &["vae", "text_encoder", "tokenizer"],
            Self::TwoTexts { .. } => &[
                "vae",
                "text_encoder",
                "text_encoder_2",
                "tokenizer",
                "tokenizer_2",
            ],
            Self::Classes => &["vae", CLASSES],
        }
    }

    /// The parts with weights, of a model with texts.
    pub(crate) fn weights(self) -> &'static [Part] {
        match self {
            Self::TwoTexts { .. } => Part::WITH_TWO_TEXTS,
            Self::Text | Self::Classes => Part::WITH_TEXT,
        }
    }

    /// The kinds of each part.
    fn kinds(self) -> &'static [Kinds] {
        match self {
            Self::Text => &[("text_encoder", &ENCODERS), ("tokenizer", &TOKENIZERS)],
            Self::TwoTexts { .. } => &[
                ("text_encoder", &["CLIPTextModel"]),
                ("text_encoder_2", &[SECOND_ENCODER]),
                ("tokenizer", &CLIP_TOKENIZERS),
                ("tokenizer_2", &CLIP_TOKENIZERS),
            ],
            Self::Classes => &[(CLASSES, &["ClassEmbedder"])],
        }
    }
}

/// Whether an index names a second text encoder.
pub(crate) fn has_two_encoders(folder: &Path) -> bool {
    let named = |kinds: Vec<(String, String)>| kinds.iter().any(|(part, _)| part == SECOND);
    kinds(folder).is_ok_and(named)
}

/// The folder of the second text encoder.
const SECOND: &str = "text_encoder_2";

/// Reads the index of a latent diffusion model.
///
/// # Errors
/// When it names parts of kinds that this version does not support.
pub(crate) fn read(folder: &Path) -> Result<Conditioning, FormatError> {
    let named = kinds(folder)?;
    let has = |part: &str| named.iter().any(|(name, _)| name == part);
    let mut fields = Fields::read(&folder.join(FILE))?;
    let zero_empty = fields.or("force_zeros_for_empty_prompt", true)?;
    let conditioning = match (folder.join(CLASSES).is_dir(), has(SECOND)) {
        (true, _) => Conditioning::Classes,
        (false, true) if !has("text_encoder") => {
            return Err(fields.bad(
                "it has `text_encoder_2` and no `text_encoder`: this is the refiner of SDXL, which only finishes images of the base model and is not supported; use the base model".into(),
            ));
        }
        (false, true) => Conditioning::TwoTexts { zero_empty },
        (false, false) => Conditioning::Text,
    };
    let always: [Kinds; 2] = [("unet", &["UNet2DConditionModel"]), ("vae", &AUTOENCODERS)];
    for &(part, kinds) in always.iter().chain(conditioning.kinds()) {
        let (_, kind): (Option<String>, Option<String>) = fields.needed(part)?;
        if !kind.as_deref().is_some_and(|kind| kinds.contains(&kind)) {
            return Err(fields.bad(format!(
                "`{part}` is of kind `{}`, and this version supports {}",
                kind.unwrap_or_else(|| "none".into()),
                kinds.join(" and ")
            )));
        }
    }
    fields.ignore(&NOT_IN_THE_UNET);
    // A ControlNet is found by its folder.
    fields.ignore(&[
        "add_watermarker",
        "controlnet",
        "requires_safety_checker",
        "scheduler",
    ]);
    // Fields of SDXL that a model with one text encoder has as null.
    fields.ignore(&[SECOND, "tokenizer_2"]);
    fields.finish()?;
    Ok(conditioning)
}

/// The pipelines of diffusers that are a U-Net on pixels and its scheduler.
const OF_PIXELS: [&str; 4] = [
    "DDPMPipeline",
    "DDIMPipeline",
    "PNDMPipeline",
    "DiffusionPipeline",
];

/// Checks that a folder is not of a model on latents, whose network by itself looks like one on
/// pixels.
///
/// # Errors
/// When its index is of another pipeline or names other parts, or there is an autoencoder.
pub(crate) fn check_pixels(folder: &Path) -> Result<(), FormatError> {
    if let Some(part) = ["vae", "vqvae"]
        .iter()
        .find(|part| folder.join(part).is_dir())
    {
        let what = format!("there is an autoencoder in `{part}`");
        return Err(other_pipeline(folder, &what)?);
    }
    match pipeline(&folder.join(FILE))? {
        Some(class) if !OF_PIXELS.contains(&class.as_str()) => {
            Err(other_pipeline(folder, "this is no model on pixels")?)
        }
        _ => Ok(()),
    }
}

/// Checks that the index of a folder, where there is one, is of a pipeline with a U-Net on pixels, or
/// with a U-Net on latents and its autoencoder, whatever its class is called. Nothing else is read.
///
/// # Errors
/// When it is of another pipeline, such as that of a transformer; its class is named.
pub fn check_pipeline(folder: &Path) -> Result<(), FormatError> {
    let file = folder.join(FILE);
    // What we wrote says itself what it is.
    if !file.is_file() || folder.join(RECIPE_FILE).is_file() {
        return Ok(());
    }
    let class = pipeline(&file)?;
    let named = kinds(folder)?;
    let kind = |part: &str| {
        let found = named.iter().find(|(name, _)| name == part);
        found.map(|(_, kind)| kind.as_str())
    };
    let on_pixels = class.is_none_or(|class| OF_PIXELS.contains(&class.as_str()));
    let what = match (kind("unet"), kind("vae")) {
        (Some("UNet2DConditionModel" | "UNet2DModel"), vae) if vae.is_some() || on_pixels => {
            return Ok(());
        }
        (Some("UNet2DConditionModel" | "UNet2DModel"), _) => "it has no `vae`".into(),
        (Some(unet), _) => format!("its `unet` is of kind `{unet}`"),
        (None, _) => "it has no `unet`".into(),
    };
    Err(other_pipeline(folder, &what)?)
}

/// The refusal of a pipeline that is not supported, by its class.
fn other_pipeline(folder: &Path, what: &str) -> Result<FormatError, FormatError> {
    let class = pipeline(&folder.join(FILE))?;
    let class = class.unwrap_or_else(|| "not given".into());
    Ok(FormatError::BadDescription {
        origin: folder.display().to_string(),
        reason: format!(
            "`_class_name` is `{class}`, and {what}: this version knows models on pixels, which are a U-Net and a scheduler ({}), and models on latents (Stable Diffusion 1.x, 2.x and XL), which are a `unet` with their autoencoder in `vae` and text encoders or a table of classes",
            OF_PIXELS.join(", ")
        ),
    })
}

/// The parts that an index names, each with its kind.
pub(crate) fn kinds(folder: &Path) -> Result<Vec<(String, String)>, FormatError> {
    let entries = read_object(&folder.join(FILE))?;
    let kind = |value: &Value| Some(value.get(1)?.as_str()?.to_string());
    let kinds = entries
        .iter()
        .filter_map(|(part, value)| Some((part.clone(), kind(value)?)));
    Ok(kinds.collect())
}

/// The class of an index, where there is one.
fn pipeline(file: &Path) -> Result<Option<String>, FormatError> {
    match file.is_file() {
        true => Fields::read(file)?.optional("_class_name"),
        false => Ok(None),
    }
}

/// The index of a model on pixels with this class of U-Net.
pub(crate) fn of_pixels(unet: &str) -> Value {
    json!({
        "_class_name": "DDIMPipeline",
        "scheduler": ["diffusers", "DDIMScheduler"],
        "unet": ["diffusers", unet],
    })
}

/// The index of a latent model with text, with these classes of text encoder, tokenizer and VAE.
pub(crate) fn of_texts([text_encoder, tokenizer]: [&str; 2], vae: &str) -> Value {
    json!({
        "_class_name": "StableDiffusionPipeline",
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", text_encoder],
        "tokenizer": ["transformers", tokenizer],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", vae],
    })
}

/// The index of a latent model with a table of classes and a vector-quantised VAE.
pub(crate) fn of_classes() -> Value {
    json!({
        "_class_name": "DiffusionPipeline",
        "class_embedder": ["fewstep", "ClassEmbedder"],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "VQModel"],
    })
}

/// The index of a folder, for a model of ours with its other parts. It keeps the version of
/// diffusers, which some of its pipelines ask for.
pub(crate) fn with_our_model(folder: &Path, has_controlnet: bool) -> Result<Value, FormatError> {
    let mut index = Value::Object(read_object(&folder.join(FILE))?);
    index["scheduler"] = json!(["diffusers", "DDIMScheduler"]);
    // diffusers looks for every part that is named, and these are not in the folder.
    for part in NOT_IN_THE_UNET {
        if let Some(named) = index.get_mut(part) {
            *named = json!([null, null]);
        }
    }
    if index.get("safety_checker").is_some() {
        index["requires_safety_checker"] = json!(false);
    }
    if has_controlnet {
        let class = match index.get(SECOND).is_some_and(Value::is_array) {
            true => "StableDiffusionXLControlNetPipeline",
            false => "StableDiffusionControlNetPipeline",
        };
        index["_class_name"] = json!(class);
        index["controlnet"] = json!(["diffusers", "ControlNetModel"]);
    }
    Ok(index)
}
