//! The facts about a file of weights that is no model of ours by itself: a single-file model, GGUF, a
//! LoRA, a part of a folder.

use super::fields::Fields;
use super::model;
use crate::error::{CliResult, IntoCliResult};
use crate::numbers::{plural, thousands};
use fewstep_data::amount;
use fewstep_diffusion::SamplerRecipe;
use fewstep_formats::{Layout, WeightsFile};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Input channels of a U-Net that sees the latents of a source image.
const EDITING: u64 = 8;

/// The facts about a file; as JSON for scripts.
#[derive(Serialize)]
pub(super) struct Facts {
    kind: &'static str,
    file: String,
    file_bytes: u64,
    #[serde(flatten)]
    weights: WeightsFile,
    /// How it must be sampled, if the file says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    recipe: Option<SamplerRecipe>,
}

impl Facts {
    /// The file of weights in a folder that holds only one part of a model.
    pub(super) fn part_in(folder: &Path) -> Option<PathBuf> {
        let is_model = ["model_index.json", "unet", "models", "recipe.toml"];
        if is_model.iter().any(|name| folder.join(name).exists()) {
            return None;
        }
        let entries = std::fs::read_dir(folder).ok()?.flatten();
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        files.retain(|file| {
            file.extension()
                .is_some_and(|ending| ending == "safetensors")
        });
        files.into_iter().min()
    }

    /// Reads the header of a file. None for a model of ours, whose file says all about it.
    pub(super) fn gather(file: &Path) -> CliResult<Option<Self>> {
        let weights = WeightsFile::inspect(file).input_error()?;
        let described = weights.entries.get("fewstep");
        let alone = weights.layout == Layout::DiffusersPart && weights.format == "safetensors";
        if described.is_some() && alone {
            return Ok(None);
        }
        let described = described.and_then(|text| serde_json::from_str(text).ok());
        let recipe = described.and_then(|mut described: serde_json::Value| {
            serde_json::from_value(described["recipe"].take()).ok()
        });
        let size = std::fs::metadata(file).map_or(0, |metadata| metadata.len());
        Ok(Some(Self {
            kind: "file",
            file: file.display().to_string(),
            file_bytes: size,
            weights,
            recipe,
        }))
    }

    pub(super) fn fields(&self) -> Fields {
        let mut fields = Fields::default();
        fields.add(
            "File",
            format!("{} ({})", self.file, amount(self.file_bytes)),
        );
        fields.add("Format", &*self.weights.format);
        fields.add("Holds", self.holds());
        let parts = self.weights.parts.iter();
        let parts = parts.map(|(part, count)| format!("{part}: {}", parameters(*count)));
        fields.add_all("Parts", parts);
        fields.add_some("Numbers", &self.weights.types.join(", "));
        if let Some(recipe) = &self.recipe {
            fields.add("Role", model::role(&recipe.role));
            let unet = self.weights.unet;
            let sees_source = unet.is_some_and(|unet| unet.input_channels == EDITING);
            fields.add_all("Guidance", model::guidance(recipe, sees_source));
            fields.add("Schedule", model::schedule(&recipe.schedule));
        }
        let stated = |key: &str| self.weights.entries.get(&format!("modelspec.{key}"));
        fields.add_some("Title", stated("title").map_or("", |title| title));
        fields.add_some("Images", stated("resolution").map_or("", |size| size));
        if let Some(predicts) = self.predicts() {
            fields.add("Predicts", predicts);
        }
        fields.add("Try", self.example());
        fields
    }

    fn holds(&self) -> String {
        let what = match self.weights.layout {
            Layout::SingleFile => "a whole latent diffusion model",
            Layout::UNet => "a U-Net without autoencoder and text encoder",
            Layout::DiffusersPart => "one part of a model in diffusers' folder layout",
            Layout::Lora => "a LoRA, to add to the weights of its base",
            Layout::Pickle => {
                return "pickled weights, which can run code in other programs: they are not read here".into();
            }
            Layout::Embedding => "a textual inversion: vectors for a token of prompts",
            Layout::Other => "weights of a kind that is not known here",
        };
        let family = self
            .family()
            .map_or(String::new(), |family| format!(", {family}"));
        format!("{what}{family}; {}", parameters(self.weights.parameters))
    }

    /// What the shapes of the U-Net say of its family.
    fn family(&self) -> Option<String> {
        let unet = self.weights.unet?;
        let family = match unet.text_width {
            Some(768) => "as Stable Diffusion 1.x".into(),
            Some(1024) => "as Stable Diffusion 2.x".into(),
            Some(2048) => "as SDXL".into(),
            Some(width) => format!("with prompt embeddings of width {width}"),
            None => "without prompts".into(),
        };
        let task = match unet.input_channels {
            9 => ", for inpainting",
            EDITING => ", for editing by instruction",
            5 => ", with a depth map",
            _ => "",
        };
        Some(format!("{family}{task}"))
    }

    fn predicts(&self) -> Option<String> {
        if let Some(recipe) = &self.recipe {
            return Some(model::prediction(recipe.prediction).into());
        }
        let stated = self.weights.entries.get("modelspec.prediction_type");
        match (stated, self.weights.layout) {
            (Some(stated), _) => Some(stated.clone()),
            (None, Layout::SingleFile | Layout::UNet) => {
                Some("not stated in the file: the folder of its base says it".into())
            }
            _ => None,
        }
    }

    fn example(&self) -> String {
        let file = &self.file;
        match self.weights.layout {
            Layout::Pickle => {
                format!("fewstep import --allow-pickle --file {file} --like BASE --out FOLDER")
            }
            Layout::SingleFile | Layout::UNet => {
                format!("fewstep import --file {file} --like BASE --out FOLDER")
            }
            Layout::Lora => format!("fewstep sample --model BASE --lora {file} --out samples.png"),
            Layout::Embedding => {
                format!("fewstep sample --model BASE --embedding {file} --out samples.png")
            }
            Layout::DiffusersPart => "the folder that it belongs to, with its other parts".into(),
            Layout::Other => "a model that `fewstep sample` can read: `fewstep info` without a file lists the built-in ones".into(),
        }
    }
}

fn parameters(count: u64) -> String {
    match usize::try_from(count) {
        Ok(1) => plural(1, "parameter"),
        _ => format!("{} parameters", thousands(count)),
    }
}
