//! A whole model in one safetensors file, under the names of the first latent diffusion code: what the web interfaces
//! and stable-diffusion.cpp read.

mod names;

use crate::folder::{Part, Pipeline, part_tensors};
use crate::{FormatError, Model, Precision, write_atomically};
use fewstep_diffusion::PredictionKind;
use names::Names;
use safetensors::tensor::{SafeTensors, TensorView};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// A tensor that stays in the bytes of its file.
pub(crate) type Views<'a> = BTreeMap<String, TensorView<'a>>;

impl Pipeline {
    /// Writes one file with another U-Net in the place of this model's, and this model's autoencoder and text encoder,
    /// bit for bit. The sampler recipe is in its metadata, with the fields of ModelSpec.
    ///
    /// # Errors
    /// When the model has an input for w, which readers of such files pass over in silence; when its parts have no
    /// such form; when the file cannot be written.
    pub fn save_single(&self, model: &Model, file: &Path) -> Result<(), FormatError> {
        let names = Names::new(self, model.network.config())?;
        let unet = model.to_bytes(Precision::Full)?;
        let mut sources = vec![(Part::UNet, vec![unet])];
        for part in &names.parts()[1..] {
            sources.push((*part, part_tensors(self, *part)?));
        }
        let mut tensors = Views::new();
        for (part, files) in &sources {
            for bytes in files {
                for (name, view) in read(bytes, self.folder())?.tensors() {
                    if let Some((name, view)) = names.to_single(*part, &name, view) {
                        tensors.insert(name, view);
                    }
                }
            }
        }
        let bytes = safetensors::serialize(tensors, Some(metadata(model, self.codec.factor())?));
        write_atomically(file, &bytes.map_err(|error| bad(file, error.to_string()))?)
    }

    /// Writes a folder with the weights of one file in the place of this model's, which must be of the same shape: a
    /// fine-tune beside its base. The tokenizer and all configurations are this model's.
    ///
    /// # Errors
    /// When the file cannot be read or lacks a tensor, or the folder cannot be written.
    pub fn import_single(&self, file: &Path, folder: &Path) -> Result<(), FormatError> {
        let bytes = std::fs::read(file).map_err(|source| FormatError::Read {
            path: file.into(),
            source,
        })?;
        let names = Names::new(self, self.model.network.config())?;
        let single = read(&bytes, file)?;
        let found: HashMap<String, TensorView<'_>> = single.tensors().into_iter().collect();
        let mut parts = vec![];
        for part in names.parts() {
            let stored = part_tensors(self, part)?;
            let mut tensors = Views::new();
            let mut missing = vec![];
            for bytes in &stored {
                for (name, like) in read(bytes, self.folder())?.tensors() {
                    let Some((single, _)) = names.to_single(part, &name, like) else {
                        continue;
                    };
                    match found.get(&single) {
                        Some(view) => {
                            let view = names.as_in_folder(part, &name, view);
                            tensors.insert(name, view);
                        }
                        None => missing.push(format!("`{single}` is missing")),
                    }
                }
            }
            if !missing.is_empty() {
                return Err(FormatError::Mismatch {
                    origin: file.display().to_string(),
                    problems: missing,
                });
            }
            let entries = HashMap::from([("format".to_string(), "pt".to_string())]);
            let bytes = safetensors::serialize(tensors, Some(entries));
            let bytes = bytes.map_err(|error| bad(file, error.to_string()))?;
            parts.push((part.weights_file(), bytes));
        }
        self.surroundings.copy_all_but_weights(folder)?;
        for (place, bytes) in parts {
            write_atomically(&folder.join(place), &bytes)?;
        }
        Ok(())
    }
}

fn read<'a>(bytes: &'a [u8], origin: &Path) -> Result<SafeTensors<'a>, FormatError> {
    SafeTensors::deserialize(bytes).map_err(|error| FormatError::NotSafetensors {
        origin: origin.display().to_string(),
        reason: error.to_string(),
    })
}

fn bad(file: &Path, reason: String) -> FormatError {
    FormatError::BadDescription {
        origin: file.display().to_string(),
        reason,
    }
}

/// The sampler recipe, and what ModelSpec asks for. `factor` is how much bigger pictures are than their latents.
fn metadata(model: &Model, factor: usize) -> Result<HashMap<String, String>, FormatError> {
    let recipe = &model.recipe;
    let [_, height, width] = recipe.resolution.map(|side| side * factor);
    let architecture = match (
        model.recipe.classes.is_empty(),
        model.network.config().beside,
    ) {
        (false, _) => "latent-diffusion/class-conditional",
        (true, 0) => "stable-diffusion-v1",
        (true, _) => "stable-diffusion-v1/inpainting",
    };
    let prediction = match recipe.prediction {
        PredictionKind::V => "v",
        PredictionKind::X | PredictionKind::Eps => "epsilon",
    };
    let code = "https://github.com/CompVis/latent-diffusion";
    let fields = [
        ("fewstep", model.description()?),
        ("modelspec.sai_model_spec", "1.0.0".into()),
        ("modelspec.architecture", architecture.into()),
        ("modelspec.implementation", code.into()),
        ("modelspec.title", recipe.provenance.method.clone()),
        ("modelspec.resolution", format!("{width}x{height}")),
        ("modelspec.prediction_type", prediction.into()),
    ];
    Ok(fields.map(|(name, value)| (name.to_string(), value)).into())
}
