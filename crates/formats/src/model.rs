//! A network with its sampler recipe, in memory and on disk.

use crate::{FormatError, diffusers, folder, write_atomically, write_json_atomically};
use burn::module::Module;
use burn::store::{
    BurnToPyTorchAdapter, ChainAdapter, FloatCastAdapter, ModuleSnapshot, ModuleStore,
    SafetensorsStore,
};
use burn::tensor::{DType, Device};
use fewstep_diffusion::{DiffusionModel, Guidance, SamplerRecipe, Schedule};
use fewstep_nn::{UNet, UNetConfig};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// Where the weights lie inside a model folder.
pub const WEIGHTS_FILE: &str = "unet/diffusion_pytorch_model.safetensors";

/// The key of our description in the metadata of a safetensors file.
const METADATA_KEY: &str = "fewstep";

/// A network and how to sample it.
#[derive(Clone, Debug)]
pub struct Model {
    /// The network.
    pub network: UNet,
    /// How to sample it, and where it comes from.
    pub recipe: SamplerRecipe,
}

/// How weights are stored. Computation is in f32 either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// As they are.
    #[default]
    Full,
    /// Rounded to 16-bit floats: half the size, for sampling only.
    Half,
}

#[derive(Serialize, Deserialize)]
struct Description {
    network: UNetConfig,
    recipe: SamplerRecipe,
}

impl Model {
    /// The denoiser that samplers take.
    ///
    /// # Errors
    /// When the recipe's schedule makes no sense.
    pub fn denoiser(&self) -> Result<DiffusionModel<UNet>, fewstep_diffusion::ScheduleError> {
        Ok(DiffusionModel {
            network: self.network.clone(),
            schedule: Schedule::new(self.recipe.schedule.clone())?,
            prediction: self.recipe.prediction,
        })
    }

    /// Hash of the weights alone (names and f32 values), 16 hexadecimal digits: the same for the same
    /// network whatever file it came from.
    pub fn weights_hash(&self) -> String {
        let mut tensors = self.network.collect(None, None, true);
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        let mut hash = Sha256::new();
        for tensor in tensors {
            hash.update(tensor.name.as_bytes());
            // A parameter in memory can always be read back.
            hash.update(tensor.to_bytes().map(|b| b.to_vec()).unwrap_or_default());
        }
        hash.finalize()[..8]
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect()
    }

    /// Network and recipe as the metadata of a file has them.
    pub(crate) fn description(&self) -> Result<String, FormatError> {
        let description = Description {
            network: self.network.config().clone(),
            recipe: self.recipe.clone(),
        };
        serde_json::to_string(&description).map_err(|error| FormatError::BadDescription {
            origin: "the model in memory".into(),
            reason: error.to_string(),
        })
    }

    /// The same model for one w alone, for tools that do not know of an input for w.
    pub fn with_fixed_w(&self, w: f64) -> Self {
        let mut model = self.clone();
        model.network = self.network.with_fixed_w(w);
        model.recipe.guidance = Guidance::Fixed { w };
        model
    }

    /// The model as the bytes of one safetensors file.
    ///
    /// # Errors
    /// When the weights cannot be read back from their device.
    pub fn to_bytes(&self, precision: Precision) -> Result<Vec<u8>, FormatError> {
        let failed = |reason: String| FormatError::NotSafetensors {
            origin: "the model in memory".into(),
            reason,
        };
        let description = self.description()?;
        let mut store = SafetensorsStore::from_bytes(None)
            .clear_metadata()
            .metadata("format", "pt")
            .metadata(METADATA_KEY, description)
            .skip_enum_variants(true);
        store = match precision {
            Precision::Full => store.with_to_adapter(BurnToPyTorchAdapter),
            Precision::Half => store.with_to_adapter(ChainAdapter::new(
                BurnToPyTorchAdapter,
                FloatCastAdapter::to(DType::F16),
            )),
        };
        store
            .collect_from(&self.network)
            .map_err(|e| failed(e.to_string()))?;
        store.get_bytes().map_err(|e| failed(e.to_string()))
    }

    /// Reads a model from the bytes of one safetensors file; `origin` names it in messages.
    ///
    /// # Errors
    /// When the file is damaged, is not one of ours, or its weights do not fit its network.
    pub fn from_bytes(bytes: Vec<u8>, origin: &str, device: &Device) -> Result<Self, FormatError> {
        let description = read_description(&bytes, origin)?;
        let bad = |reason: String| FormatError::BadDescription {
            origin: origin.into(),
            reason,
        };
        let mut network =
            UNet::new(&description.network, 0, device).map_err(|e| bad(e.to_string()))?;
        Schedule::new(description.recipe.schedule.clone()).map_err(|e| bad(e.to_string()))?;
        let mut store = SafetensorsStore::from_bytes(Some(bytes));
        let tensors = store
            .get_all_tensors()
            .map_err(|e| FormatError::NotSafetensors {
                origin: origin.into(),
                reason: e.to_string(),
            })?;
        let tensors = tensors.values().cloned().collect();
        folder::apply(&mut network, tensors, origin)?;
        Ok(Self {
            network,
            recipe: description.recipe,
        })
    }

    /// Writes the model folder: weights, their description for diffusers, and `fewstep.json`.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), FormatError> {
        let bytes = self.to_bytes(Precision::Full)?;
        for (name, value) in diffusers::configs(self.network.config(), &self.recipe) {
            write_json_atomically(&folder.join(name), &value)?;
        }
        write_json_atomically(&folder.join("fewstep.json"), &self.recipe)?;
        write_atomically(&folder.join(WEIGHTS_FILE), &bytes)
    }

    /// Reads a model folder or a single safetensors file.
    ///
    /// # Errors
    /// As [`Model::from_bytes`], and when there is nothing there.
    pub fn load(path: &Path, device: &Device) -> Result<Self, FormatError> {
        let file = if path.is_dir() {
            let file = path.join(WEIGHTS_FILE);
            if !file.is_file() {
                return Err(FormatError::NoModel {
                    path: path.into(),
                    expected: "unet/diffusion_pytorch_model.safetensors in a model folder, or the path of one .safetensors file",
                });
            }
            file
        } else {
            PathBuf::from(path)
        };
        let bytes = std::fs::read(&file).map_err(|source| FormatError::Read {
            path: file.clone(),
            source,
        })?;
        Self::from_bytes(bytes, &file.display().to_string(), device)
    }

    /// Number of parameters.
    pub fn parameters(&self) -> usize {
        self.network.num_params()
    }
}

fn read_description(bytes: &[u8], origin: &str) -> Result<Description, FormatError> {
    let (_, metadata) = safetensors::SafeTensors::read_metadata(bytes).map_err(|e| {
        FormatError::NotSafetensors {
            origin: origin.into(),
            reason: e.to_string(),
        }
    })?;
    let description = metadata
        .metadata()
        .as_ref()
        .and_then(|entries| entries.get(METADATA_KEY))
        .ok_or_else(|| FormatError::NoDescription {
            origin: origin.into(),
        })?;
    serde_json::from_str(description).map_err(|e| FormatError::BadDescription {
        origin: origin.into(),
        reason: e.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use fewstep_diffusion::{PredictionKind, Provenance, Role, ScheduleConfig};

    fn model() -> Model {
        let config = UNetConfig {
            channels: 1,
            patch: 1,
            widths: vec![8, 16],
            blocks: 1,
            attention: vec![false, false],
            head: 8,
            groups: 4,
            classes: 2,
            ..UNetConfig::default()
        };
        Model {
            network: UNet::new(&config, 3, &Device::flex()).expect("valid"),
            recipe: SamplerRecipe {
                version: 1,
                role: Role::Teacher,
                prediction: PredictionKind::V,
                schedule: ScheduleConfig::default(),
                guidance: Guidance::ClassifierFree,
                resolution: [1, 8, 8],
                classes: vec!["a".into(), "b".into()],
                clip: true,
                usual: None,
                provenance: Provenance::default(),
            },
        }
    }

    #[test]
    fn a_folder_gives_back_the_same_model() {
        let folder = tempfile::tempdir().expect("a folder");
        let model = model();
        model.save(folder.path()).expect("saved");
        let back = Model::load(folder.path(), &Device::flex()).expect("loaded");
        assert_eq!(back.weights_hash(), model.weights_hash());
        assert_eq!(back.recipe, model.recipe);
    }

    #[test]
    fn names_are_those_of_diffusers() {
        let bytes = model().to_bytes(Precision::Full).expect("bytes");
        let file = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
        for (name, shape) in [
            ("down_blocks.0.downsamplers.0.conv.weight", vec![8, 8, 3, 3]),
            ("mid_block.attentions.0.to_out.0.weight", vec![16, 16]),
            ("up_blocks.0.resnets.0.time_emb_proj.weight", vec![32, 32]),
            ("conv_norm_out.weight", vec![8]),
            ("class_embedding.weight", vec![3, 32]),
        ] {
            let tensor = file
                .tensor(name)
                .unwrap_or_else(|_| panic!("{name} is missing"));
            assert_eq!(tensor.shape(), shape, "{name}");
        }
    }

    #[test]
    fn half_precision_halves_the_file_and_keeps_the_values() {
        let model = model();
        let full = model.to_bytes(Precision::Full).expect("bytes");
        let half = model.to_bytes(Precision::Half).expect("bytes");
        assert!(half.len() < full.len() * 6 / 10);
        let back = Model::from_bytes(half, "half", &Device::flex()).expect("loaded");
        let again = back.to_bytes(Precision::Half).expect("bytes");
        let back_again = Model::from_bytes(again, "half", &Device::flex()).expect("loaded");
        assert_eq!(back.weights_hash(), back_again.weights_hash());
    }

    #[test]
    fn damaged_and_foreign_files_are_refused_with_a_reason() {
        let device = Device::flex();
        let bytes = model().to_bytes(Precision::Full).expect("bytes");
        let truncated = bytes[..bytes.len() / 2].to_vec();
        let message = |bytes| {
            Model::from_bytes(bytes, "file", &device)
                .expect_err("refused")
                .to_string()
        };
        assert!(message(truncated).contains("safetensors"));
        let nothing: [(&str, safetensors::tensor::TensorView); 0] = [];
        let foreign = safetensors::serialize(nothing, None);
        assert!(message(foreign.expect("bytes")).contains("metadata"));
        assert!(Model::load(Path::new("/nonexistent"), &device).is_err());
    }
}
