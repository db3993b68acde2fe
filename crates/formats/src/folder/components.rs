//! What lies around the U-Net of a latent diffusion model.

use super::autoencoder;
use super::autoencoder::AUTOENCODERS;
use super::fields::{Fields, read_object};
use super::pipeline::{Pipeline, fit};
use super::repository::inside;
use super::text::{self, ENCODERS, TOKENIZERS, TextEncoder};
use super::weights::{self, Part};
use crate::{FormatError, Model, write_atomically, write_json_atomically};
use burn::tensor::Device;
use fewstep_nn::Vae;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// The folder of a latent diffusion model as a place to take its autoencoder and its text encoder from. Nothing of them
/// is in memory.
#[derive(Clone, Debug)]
pub struct PipelineComponents {
    folder: PathBuf,
    /// What a student takes over from its teacher.
    parts: &'static [&'static str],
}

/// Where a table of classes lies.
pub(super) const CLASSES: &str = "class_embedder";

/// A part of a folder, and the kinds of it that are supported.
type Kinds = (&'static str, &'static [&'static str]);

impl PipelineComponents {
    /// Takes a folder in the layout of diffusers' `StableDiffusionPipeline`, or one with a table of classes in the place of
    /// text encoder and tokenizer.
    ///
    /// # Errors
    /// When its index names parts of kinds that this version does not support.
    pub fn open(folder: &Path) -> Result<Self, FormatError> {
        let mut fields = Fields::read(&folder.join("model_index.json"))?;
        let (parts, told): (&[&str], &[Kinds]) = match folder.join(CLASSES).is_dir() {
            true => (&["vae", CLASSES], &[(CLASSES, &["ClassEmbedder"])]),
            false => (
                &["vae", "text_encoder", "tokenizer"],
                &[("text_encoder", &ENCODERS), ("tokenizer", &TOKENIZERS)],
            ),
        };
        let always: [Kinds; 2] = [("unet", &["UNet2DConditionModel"]), ("vae", &AUTOENCODERS)];
        for &(part, kinds) in always.iter().chain(told) {
            let (_, kind): (Option<String>, Option<String>) = fields.needed(part)?;
            if !kind.as_deref().is_some_and(|kind| kinds.contains(&kind)) {
                return Err(fields.bad(format!(
                    "`{part}` is of kind `{}`, and this version supports {}",
                    kind.unwrap_or_else(|| "none".into()),
                    kinds.join(" and ")
                )));
            }
        }
        // Filters and image prompts, which the U-Net does not know of; a ControlNet is found by its folder.
        fields.ignore(&[
            "controlnet",
            "feature_extractor",
            "image_encoder",
            "requires_safety_checker",
            "safety_checker",
            "scheduler",
        ]);
        fields.finish()?;
        Ok(Self {
            folder: folder.into(),
            parts,
        })
    }

    /// Makes a folder from the folders of an autoencoder and of a text encoder with its tokenizer, or of models that have
    /// such parts, for a U-Net that is yet to be trained. A text has `length` tokens from now on.
    ///
    /// # Errors
    /// When a folder cannot be read or written.
    pub fn assemble(
        autoencoder: &Path,
        text_encoder: &Path,
        length: usize,
        folder: &Path,
    ) -> Result<Self, FormatError> {
        let autoencoder = &inside(autoencoder, "vae");
        let [text_encoder, words] =
            &["text_encoder", "tokenizer"].map(|part| inside(text_encoder, part));
        let mut encoder = Fields::read(&text_encoder.join("config.json"))?;
        let [network, tokenizer] = text::kind(&mut encoder)?.classes();
        let mut vae = Fields::read(&autoencoder.join("config.json"))?;
        let class: String = vae.needed("_class_name")?;
        place_files(autoencoder, &folder.join("vae"), of_network)?;
        place_files(text_encoder, &folder.join("text_encoder"), of_network)?;
        place_files(words, &folder.join("tokenizer"), of_tokenizer)?;
        let path = folder.join("tokenizer/tokenizer_config.json");
        let mut config: Value = Fields::read(&words.join("tokenizer_config.json"))?.into();
        config["model_max_length"] = json!(length);
        write_json_atomically(&path, &config)?;
        let index = json!({
            "_class_name": "StableDiffusionPipeline",
            "scheduler": ["diffusers", "DDIMScheduler"],
            "text_encoder": ["transformers", network],
            "tokenizer": ["transformers", tokenizer],
            "unet": ["diffusers", "UNet2DConditionModel"],
            "vae": ["diffusers", class],
        });
        write_json_atomically(&folder.join("model_index.json"), &index)?;
        Self::open(folder)
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The first 16 hexadecimal digits of the SHA-256 over the files of autoencoder, text encoder and tokenizer, or
    /// table of classes. It is the same for a folder that was written with these parts.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn digest(&self) -> Result<String, FormatError> {
        let mut hash = Sha256::new();
        for part in self.parts {
            let folder = self.folder.join(part);
            let unread = |source| FormatError::Read {
                path: folder.clone(),
                source,
            };
            let entries = std::fs::read_dir(&folder).map_err(unread)?;
            let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
            files.retain(|path| path.is_file());
            files.sort();
            for file in files {
                let name = file.file_name().unwrap_or_default().to_string_lossy();
                hash.update(without_variant(&name).as_bytes());
                let mut file = std::fs::File::open(&file).map_err(unread)?;
                std::io::copy(&mut file, &mut hash).map_err(unread)?;
            }
        }
        let digest = hash.finalize();
        Ok(digest[..8].iter().map(|b| format!("{b:02x}")).collect())
    }

    /// Reads the autoencoder.
    ///
    /// # Errors
    /// When it is missing or damaged, or is of a kind that is not supported.
    pub fn vae(&self, device: &Device) -> Result<Vae, FormatError> {
        autoencoder::load(&self.folder.join("vae"), device)
    }

    /// The classes that stand in the place of texts; none where there are texts.
    ///
    /// # Errors
    /// As [`PipelineComponents::vae`].
    pub fn classes(&self) -> Result<Vec<String>, FormatError> {
        match self.has_classes() {
            true => text::class_names(&self.folder.join(CLASSES)),
            false => Ok(vec![]),
        }
    }

    fn has_classes(&self) -> bool {
        self.parts.contains(&CLASSES)
    }

    /// Reads the text encoder, or the table of classes.
    ///
    /// # Errors
    /// As [`PipelineComponents::vae`].
    pub fn text_encoder(&self, device: &Device) -> Result<TextEncoder, FormatError> {
        if self.has_classes() {
            return TextEncoder::load_classes(&self.folder.join(CLASSES), device);
        }
        let [encoder, tokenizer] = ["text_encoder", "tokenizer"].map(|part| self.folder.join(part));
        TextEncoder::load(&encoder, &tokenizer, None, device)
    }

    /// Reads what lies around a U-Net, and puts it around this one.
    ///
    /// # Errors
    /// When a part is missing or damaged, or they do not fit together.
    pub fn around(&self, model: Model, device: &Device) -> Result<Pipeline, FormatError> {
        let vae = self.vae(device)?;
        let text_encoder = self.text_encoder(device)?;
        let fits = fit(&model.network.config(), &vae, &text_encoder);
        fits.map_err(|reason| FormatError::BadDescription {
            origin: self.folder.display().to_string(),
            reason,
        })?;
        Ok(Pipeline {
            model,
            vae,
            text_encoder,
            components: self.clone(),
        })
    }

    /// Writes a folder with this U-Net, a student as a rule, and the other parts as they are. diffusers'
    /// `StableDiffusionPipeline` reads it and gives a student its w (as the guidance scale, 1 + w).
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn save_with(&self, model: &Model, folder: &Path) -> Result<(), FormatError> {
        for part in self.parts {
            place_files(&self.folder.join(part), &folder.join(part), |_| true)?;
        }
        model.save(folder)?;
        // With the version of diffusers, which some of its pipelines ask for.
        let mut index = Value::Object(read_object(&self.folder.join("model_index.json"))?);
        index["scheduler"] = json!(["diffusers", "DDIMScheduler"]);
        if model.network.controlnet().is_some() {
            index["_class_name"] = json!("StableDiffusionControlNetPipeline");
            index["controlnet"] = json!(["diffusers", "ControlNetModel"]);
        }
        write_json_atomically(&folder.join("model_index.json"), &index)
    }

    /// Copies the tokenizer and all configurations.
    pub(crate) fn copy_all_but_weights(&self, folder: &Path) -> Result<(), FormatError> {
        let is_config = |name: &str| is_text(name) && !name.contains("safetensors");
        for part in ["", "unet", "scheduler"].iter().chain(self.parts) {
            place_files(&self.folder.join(part), &folder.join(part), is_config)?;
        }
        Ok(())
    }
}

/// Copies the folder of a latent diffusion model. Weights that are pickled alone become the bytes of a safetensors file
/// by `convert`; nothing is written before all of them are.
pub(crate) fn copy_with_weights(
    from: &Path,
    to: &Path,
    convert: impl Fn(&Path) -> Result<Vec<u8>, FormatError>,
) -> Result<(), FormatError> {
    let components = PipelineComponents::open(from)?;
    let mut converted = vec![];
    let mut whole = vec![];
    for part in Part::OF_TEXTS {
        let folder = from.join(part.folder());
        let there = |name: &str| folder.join(name).is_file();
        match (weights::place(part, there), weights::pickled(part, there)) {
            (Err(_), Some(file)) => {
                converted.push((part.weights_file(), convert(&folder.join(file))?));
            }
            (Ok(_), _) => whole.push(part.folder()),
            (Err(expected), None) => {
                return Err(FormatError::NoModel {
                    path: folder,
                    expected,
                });
            }
        }
    }
    components.copy_all_but_weights(to)?;
    for part in whole {
        place_files(&from.join(part), &to.join(part), |name| {
            name.contains(".safetensors")
        })?;
    }
    for (place, bytes) in converted {
        write_atomically(&to.join(place), &bytes)?;
    }
    Ok(())
}

fn is_text(name: &str) -> bool {
    [".json", ".txt"]
        .iter()
        .any(|ending| name.ends_with(ending))
}

/// The name of a file of weights without the variant that it is of. diffusers looks for one variant in all parts of a model,
/// and the U-Net beside these is of none. The names of shards, which an index has too, stay.
fn without_variant(name: &str) -> String {
    match name.strip_suffix(".fp16.safetensors") {
        Some(stem) if !stem.contains("-of-") => format!("{stem}.safetensors"),
        _ => name.into(),
    }
}

fn of_network(name: &str) -> bool {
    name == "config.json" || name.contains(".safetensors")
}

/// A tokenizer may lie in one folder with its encoder.
fn of_tokenizer(name: &str) -> bool {
    let others = ["config.json", "model_index.json", "tokenizer_config.json"];
    is_text(name) && !others.contains(&name) && !name.contains("safetensors")
}

/// Puts those files of a folder whose names are wanted into another, weights without their variant's name. They are linked where the file system can:
/// they are big, and nothing here ever changes a file in place.
fn place_files(from: &Path, to: &Path, wanted: fn(&str) -> bool) -> Result<(), FormatError> {
    let unread = |source| FormatError::Read {
        path: from.into(),
        source,
    };
    for entry in std::fs::read_dir(from).map_err(unread)? {
        let entry = entry.map_err(unread)?;
        let (path, name) = (entry.path(), entry.file_name());
        let Some(text) = name.to_str().filter(|name| wanted(name)) else {
            continue;
        };
        if !path.is_file() {
            continue;
        }
        let plain = without_variant(text);
        let target = match from.join(&plain).is_file() {
            true => to.join(&name),
            false => to.join(plain),
        };
        // The hub's cache has links to its files, and a link to a link would lead nowhere from another folder.
        let linked = text.ends_with(".safetensors")
            && std::fs::create_dir_all(to).is_ok()
            && path
                .canonicalize()
                .is_ok_and(|file| std::fs::hard_link(file, &target).is_ok());
        if !linked {
            write_atomically(&target, &std::fs::read(&path).map_err(unread)?)?;
        }
    }
    Ok(())
}
