//! The components of a latent diffusion model besides the U-Net.

use super::files::{
    inside, is_config, is_of_network, is_of_tokenizer, place_files, without_variant,
};
use crate::diffusers::index::{self, CLASSES, Conditioning};
use crate::diffusers::part::Part;
use crate::diffusers::text_encoder::{self, TextEncoder};
use crate::diffusers::{vae, weights};
use crate::fields::Fields;
use crate::tensors::named_precision::{as_given, name_precision};
use crate::tensors::precision::WeightPrecision;
use crate::{FormatError, Loras, Model, WeightsFile, links, write_json_atomically};
use burn::tensor::Device;
use fewstep_nn::Vae;
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The VAE, text encoder and tokenizer (or table of classes) of a latent diffusion model, in its
/// folder. They are read on request.
#[derive(Clone, Debug)]
pub struct PipelineComponents {
    folder: PathBuf,
    /// Which parts there are; a student takes them over from its teacher.
    conditioning: Conditioning,
    /// What is added to the text encoder when it is read, and in folders that are written.
    loras: Arc<Loras>,
    /// How many of the last layers of the text encoders are skipped.
    clip_skip: usize,
}

/// What these components are, as their configurations say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ComponentFacts {
    /// The folder of each part, and its kind.
    pub parts: Vec<(String, String)>,
    /// The number of parameters of each part that has weights.
    pub parameters: BTreeMap<String, u64>,
    /// By how much height and width of latents are smaller than those of images.
    pub factor: usize,
    /// Whether the model reads texts; else it has classes.
    pub reads_texts: bool,
}

impl PipelineComponents {
    /// Opens a folder in the layout of diffusers' `StableDiffusionPipeline` or
    /// `StableDiffusionXLPipeline`, or one with a table of classes instead of text encoder and
    /// tokenizer.
    ///
    /// # Errors
    /// When its index names parts of kinds that this version does not support.
    pub fn open(folder: &Path) -> Result<Self, FormatError> {
        links::check(folder)?;
        Ok(Self {
            folder: folder.into(),
            conditioning: index::read(folder)?,
            loras: Arc::default(),
            clip_skip: 0,
        })
    }

    /// The same with LoRA added to the text encoder, also in folders that are written.
    pub fn with_loras(self, loras: Loras) -> Self {
        let loras = Arc::new(loras);
        Self { loras, ..self }
    }

    /// The same for texts that are encoded without this many of the last layers.
    pub fn with_clip_skip(self, clip_skip: usize) -> Self {
        Self { clip_skip, ..self }
    }

    /// How many of the last layers of the text encoders are skipped.
    pub fn clip_skip(&self) -> usize {
        self.clip_skip
    }

    /// Makes a folder from the folders of an autoencoder and of a text encoder with its tokenizer,
    /// or of models that have these parts, for a U-Net that is yet to be trained. A text has
    /// `length` tokens in it.
    ///
    /// # Errors
    /// When a folder cannot be read or written.
    pub fn assemble(
        autoencoder: &Path,
        text_encoder: &Path,
        length: usize,
        folder: &Path,
    ) -> Result<Self, FormatError> {
        links::check(autoencoder)?;
        links::check(text_encoder)?;
        let autoencoder = &inside(autoencoder, "vae");
        let [text_encoder, words] =
            &["text_encoder", "tokenizer"].map(|part| inside(text_encoder, part));
        let mut encoder = Fields::read(&text_encoder.join("config.json"))?;
        let [network, tokenizer] = text_encoder::kind(&mut encoder)?.classes();
        let mut vae = Fields::read(&autoencoder.join("config.json"))?;
        let class: String = vae.needed("_class_name")?;
        place_files(autoencoder, &folder.join("vae"), is_of_network)?;
        place_files(text_encoder, &folder.join("text_encoder"), is_of_network)?;
        place_files(words, &folder.join("tokenizer"), is_of_tokenizer)?;
        let path = folder.join("tokenizer/tokenizer_config.json");
        let mut config: Value = Fields::read(&words.join("tokenizer_config.json"))?.into();
        config["model_max_length"] = json!(length);
        write_json_atomically(&path, &config)?;
        let index = index::of_texts([network, tokenizer], &class);
        write_json_atomically(&folder.join(index::FILE), &index)?;
        Self::open(folder)
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The first 16 hexadecimal digits of the SHA-256 over the files of autoencoder, text encoder
    /// and tokenizer, or table of classes. It is the same for a folder that was written with these
    /// parts, whatever type its configurations name.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn digest(&self) -> Result<String, FormatError> {
        let mut hash = Sha256::new();
        if let Conditioning::TwoTexts { zero_empty } = self.conditioning {
            hash.update([u8::from(zero_empty)]);
        }
        for part in self.parts() {
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
                let Some(given) = as_given(&file) else {
                    continue;
                };
                let name = file.file_name().unwrap_or_default().to_string_lossy();
                hash.update(without_variant(&name).as_bytes());
                let mut file = std::fs::File::open(given).map_err(unread)?;
                std::io::copy(&mut file, &mut hash).map_err(unread)?;
            }
        }
        self.loras.hash_of_text(&mut hash);
        if self.clip_skip > 0 {
            hash.update(self.clip_skip.to_le_bytes());
        }
        let digest = hash.finalize();
        Ok(digest[..8].iter().map(|b| format!("{b:02x}")).collect())
    }

    /// Reads the autoencoder.
    ///
    /// # Errors
    /// When it is missing or damaged, or is of a kind that is not supported.
    pub fn vae(&self, device: &Device) -> Result<Vae, FormatError> {
        vae::load(&self.folder.join("vae"), device)
    }

    /// What the components are; their weights are not read.
    ///
    /// # Errors
    /// As [`PipelineComponents::vae`].
    pub fn facts(&self, device: &Device) -> Result<ComponentFacts, FormatError> {
        let kinds = index::kinds(&self.folder)?.into_iter();
        let parts = kinds.filter(|(part, _)| self.parts().contains(&part.as_str()));
        let mut parameters = BTreeMap::new();
        for part in [
            Part::Autoencoder,
            Part::TextEncoder,
            Part::TextEncoder2,
            Part::ClassEmbedder,
        ] {
            let name = part.folder();
            if self.parts().contains(&name) {
                let files = weights::files(&self.folder.join(name), part)?.into_iter();
                let counts = files.map(|file| Ok(WeightsFile::inspect(&file)?.parameters));
                let count = counts.sum::<Result<u64, FormatError>>()?;
                parameters.insert(name.into(), count);
            }
        }
        Ok(ComponentFacts {
            parameters,
            parts: parts.collect(),
            factor: vae::blank(&self.folder.join("vae"), device)?.factor(),
            reads_texts: !self.has_classes(),
        })
    }

    /// The classes that a model takes instead of texts; none where it takes texts.
    ///
    /// # Errors
    /// As [`PipelineComponents::vae`].
    pub fn classes(&self) -> Result<Vec<String>, FormatError> {
        match self.has_classes() {
            true => text_encoder::class_names(&self.folder.join(CLASSES)),
            false => Ok(vec![]),
        }
    }

    fn has_classes(&self) -> bool {
        self.conditioning == Conditioning::Classes
    }

    /// The folders of the parts.
    fn parts(&self) -> &'static [&'static str] {
        self.conditioning.parts()
    }

    /// The parts with weights, of a model with texts.
    pub(super) fn weights(&self) -> &'static [Part] {
        self.conditioning.weights()
    }

    /// Reads the text encoder, or the table of classes.
    ///
    /// # Errors
    /// As [`PipelineComponents::vae`].
    pub fn text_encoder(&self, device: &Device) -> Result<TextEncoder, FormatError> {
        let of = |part: &str| self.folder.join(part);
        let encoder = match self.conditioning {
            Conditioning::Text => {
                TextEncoder::load(&of("text_encoder"), &of("tokenizer"), None, device)
            }
            Conditioning::TwoTexts { zero_empty } => {
                TextEncoder::load_two(&self.folder, zero_empty, device)
            }
            Conditioning::Classes => TextEncoder::load_classes(&of(CLASSES), device),
        };
        self.loras.add_to_text(encoder?, device)
    }

    /// Writes a folder with this U-Net, usually a student, and these components as they are; their
    /// configurations name the type of the U-Net's weights, 32 bits, for readers that go by it.
    /// diffusers' pipeline for the model reads it and gives a student its w (as the guidance
    /// scale, 1 + w).
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn save_pipeline(&self, model: &Model, folder: &Path) -> Result<(), FormatError> {
        for part in self.parts() {
            let changed = self.loras.has_text() && part.starts_with("text_encoder");
            let wanted = if changed { is_config } else { |_: &str| true };
            place_files(&self.folder.join(part), &folder.join(part), wanted)?;
        }
        if self.loras.has_text() {
            // Tensors are only written; the device does not matter.
            let encoder = self.text_encoder(&Device::flex())?;
            encoder.save_weights(folder)?;
        }
        for part in self.parts() {
            name_precision(&folder.join(part), WeightPrecision::F32)?;
        }
        model.save(folder)?;
        let index = index::with_our_model(&self.folder, model.network.controlnet().is_some())?;
        write_json_atomically(&folder.join(index::FILE), &index)
    }

    /// Copies the weights of a part.
    pub(crate) fn copy_weights(&self, part: &str, folder: &Path) -> Result<(), FormatError> {
        place_files(&self.folder.join(part), &folder.join(part), |name| {
            name.contains(".safetensors")
        })
    }

    /// Copies the tokenizer and all configurations.
    pub(crate) fn copy_all_but_weights(&self, folder: &Path) -> Result<(), FormatError> {
        for part in ["", "unet", "scheduler"].iter().chain(self.parts()) {
            place_files(&self.folder.join(part), &folder.join(part), is_config)?;
        }
        Ok(())
    }
}
