//! A network with its sampler recipe, in memory and on disk.

use crate::controlnet::CONTROLNET_FILE;
use crate::weights::{self, FilePrecision};
use crate::{
    ControlNetModel, FormatError, diffusers, folder, lora, write_atomically_with,
    write_json_atomically,
};
use burn::module::Module;
use burn::store::ModuleSnapshot;
use burn::tensor::Device;
use fewstep_diffusion::{DiffusionModel, Guidance, SamplerRecipe, Schedule};
use fewstep_nn::{Backbone, BackboneConfig};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::Path;

/// Where the weights lie inside a model folder.
pub const WEIGHTS_FILE: &str = "unet/diffusion_pytorch_model.safetensors";

/// A network and how to sample it.
#[derive(Clone, Debug)]
pub struct Model {
    /// The network.
    pub network: Backbone,
    /// How to sample it, and where it comes from.
    pub recipe: SamplerRecipe,
}

#[derive(Serialize, Deserialize)]
struct Description {
    network: BackboneConfig,
    recipe: SamplerRecipe,
}

impl Model {
    /// The denoiser that samplers take.
    ///
    /// # Errors
    /// When the recipe's schedule makes no sense.
    pub fn denoiser(&self) -> Result<DiffusionModel<Backbone>, fewstep_diffusion::ScheduleError> {
        Ok(DiffusionModel {
            // LoRA are added once, not at every call.
            network: self.network.clone().merged(),
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

    fn described(&self) -> Description {
        Description {
            network: self.network.config(),
            recipe: self.recipe.clone(),
        }
    }

    /// Network and recipe as the metadata of a file has them.
    pub(crate) fn description(&self) -> Result<String, FormatError> {
        serde_json::to_string(&self.described()).map_err(|error| FormatError::BadDescription {
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
    pub fn to_bytes(&self, precision: FilePrecision) -> Result<Vec<u8>, FormatError> {
        weights::to_bytes(&self.network, &self.described(), precision)
    }

    /// Reads a model from the bytes of one safetensors file; `origin` names it in messages.
    ///
    /// # Errors
    /// When the file is damaged, is not one of ours, or its weights do not fit its network.
    pub fn from_bytes(bytes: Vec<u8>, origin: &str, device: &Device) -> Result<Self, FormatError> {
        let description: Description = weights::read_description(&bytes, origin)?;
        let bad = |reason: String| FormatError::BadDescription {
            origin: origin.into(),
            reason,
        };
        let mut network =
            Backbone::new(&description.network, 0, device).map_err(|e| bad(e.to_string()))?;
        Schedule::new(description.recipe.schedule.clone()).map_err(|e| bad(e.to_string()))?;
        weights::fill(&mut network, bytes, origin)?;
        Ok(Self {
            network,
            recipe: description.recipe,
        })
    }

    /// Writes the model folder: weights, their description for diffusers, and `fewstep.json`. A ControlNet has a
    /// folder of its own in it. LoRA are in the weights, and in files of their own.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), FormatError> {
        let base = Self {
            network: self.network.clone().without_controlnet().merged(),
            recipe: self.recipe.clone(),
        };
        for (name, value) in diffusers::configs(&base.network.config(), &self.recipe) {
            write_json_atomically(&folder.join(name), &value)?;
        }
        if let Some(controlnet) = self.controlnet() {
            controlnet.save(folder)?;
        }
        lora::save(self, folder)?;
        write_json_atomically(&folder.join("fewstep.json"), &self.recipe)?;
        base.save_alone(&folder.join(WEIGHTS_FILE))
    }

    /// Writes one safetensors file that holds everything, as [`Model::to_bytes`] gives it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save_alone(&self, file: &Path) -> Result<(), FormatError> {
        write_atomically_with(file, |out| {
            weights::write(&self.network, &self.described(), FilePrecision::Full, out)
        })
    }

    /// Reads a model folder, with its ControlNet where it has one, the folder of another's `UNet2DModel` with its scheduler, or
    /// a single safetensors file.
    ///
    /// # Errors
    /// As [`Model::from_bytes`], and when there is nothing there, or only a part of a model with a ControlNet.
    pub fn load(path: &Path, device: &Device) -> Result<Self, FormatError> {
        if let Some(model) = folder::load_pixels(path, device)? {
            return Ok(model);
        }
        let expected = "unet/diffusion_pytorch_model.safetensors in a model folder, or the path of one .safetensors file";
        let (bytes, origin) = weights::read(path, WEIGHTS_FILE, expected)?;
        Self::from_bytes(bytes, &origin, device)?.with_stored_controlnet(path, device)
    }

    /// The model with the ControlNet that lies in its folder, where there is one.
    pub(crate) fn with_stored_controlnet(
        self,
        folder: &Path,
        device: &Device,
    ) -> Result<Self, FormatError> {
        if folder.join(CONTROLNET_FILE).is_file() {
            return self.with_controlnet(ControlNetModel::load(folder, device)?);
        }
        match self.recipe.control.is_some() && self.network.controlnet().is_none() {
            true => Err(FormatError::NoControlNet {
                origin: folder.display().to_string(),
            }),
            false => Ok(self),
        }
    }

    /// Number of parameters.
    pub fn parameters(&self) -> usize {
        self.network.num_params()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fewstep_diffusion::{ControlSpec, PredictionKind, Provenance, Role, ScheduleConfig, Task};
    use fewstep_nn::{ControlNetConfig, Fusion, Initial, UNetConfig};

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
            network: Backbone::new(&config.into(), 3, &Device::flex()).expect("valid"),
            recipe: SamplerRecipe {
                version: 1,
                role: Role::Teacher,
                prediction: PredictionKind::V,
                schedule: ScheduleConfig::default(),
                guidance: Guidance::ClassifierFree,
                resolution: [1, 8, 8],
                classes: vec!["a".into(), "b".into()],
                clip: true,
                control: None,
                default_sampler: None,
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

    fn adapted() -> Model {
        let model = model();
        let config = ControlNetConfig {
            channels: 2,
            stem: vec![8, 8],
            fusion: Fusion::ZeroConv,
        };
        let network = model.network.with_controlnet(&config, Initial::Base, 7);
        let control = ControlSpec {
            task: Task::Inpaint,
            shape: [2, 16, 16],
        };
        Model {
            network: network.expect("valid"),
            recipe: SamplerRecipe {
                control: Some(control),
                ..model.recipe
            },
        }
    }

    #[test]
    fn an_controlnet_lies_beside_its_base_under_the_names_of_diffusers() {
        let folder = tempfile::tempdir().expect("a folder");
        let model = adapted();
        model.save(folder.path()).expect("saved");
        let device = Device::flex();
        let back = Model::load(folder.path(), &device).expect("loaded");
        assert_eq!(back.weights_hash(), model.weights_hash());
        assert_eq!(back.recipe, model.recipe);
        let bytes = std::fs::read(folder.path().join(CONTROLNET_FILE)).expect("read");
        let file = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
        for (name, shape) in [
            (
                "controlnet_cond_embedding.blocks.1.weight",
                vec![8, 8, 3, 3],
            ),
            ("controlnet_down_blocks.3.weight", vec![16, 16, 1, 1]),
            ("controlnet_mid_block.bias", vec![16]),
            ("down_blocks.0.resnets.0.conv1.weight", vec![8, 8, 3, 3]),
        ] {
            let tensor = file.tensor(name);
            let tensor = tensor.unwrap_or_else(|_| panic!("{name} is missing"));
            assert_eq!(tensor.shape(), shape, "{name}");
        }
        // One file holds everything too; a part of a folder does not.
        let bytes = model.to_bytes(FilePrecision::Full).expect("bytes");
        let single = Model::from_bytes(bytes, "single", &device).expect("loaded");
        assert_eq!(single.weights_hash(), model.weights_hash());
        let part = Model::load(&folder.path().join(WEIGHTS_FILE), &device);
        assert!(matches!(part, Err(FormatError::NoControlNet { .. })));
    }

    #[test]
    fn an_controlnet_goes_to_bases_that_it_fits() {
        let controlnet = || adapted().controlnet().expect("there is one");
        let with = model().with_controlnet(controlnet()).expect("its own base");
        assert_eq!(with.recipe.control, adapted().recipe.control);
        let refused = |change: fn(&mut Model)| {
            let mut base = model();
            change(&mut base);
            base.with_controlnet(controlnet())
                .expect_err("refused")
                .to_string()
        };
        let message = refused(|m| m.recipe.prediction = PredictionKind::Eps);
        assert!(
            message.contains("predicts V") && message.contains("predicts Eps"),
            "{message}"
        );
        let message = refused(|m| m.recipe.resolution = [1, 16, 16]);
        assert!(
            message.contains("[1, 8, 8]") && message.contains("[1, 16, 16]"),
            "{message}"
        );
    }

    #[test]
    fn names_are_those_of_diffusers() {
        let bytes = model().to_bytes(FilePrecision::Full).expect("bytes");
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
        let full = model.to_bytes(FilePrecision::Full).expect("bytes");
        let half = model.to_bytes(FilePrecision::Half).expect("bytes");
        assert!(half.len() < full.len() * 6 / 10);
        let back = Model::from_bytes(half, "half", &Device::flex()).expect("loaded");
        let again = back.to_bytes(FilePrecision::Half).expect("bytes");
        let back_again = Model::from_bytes(again, "half", &Device::flex()).expect("loaded");
        assert_eq!(back.weights_hash(), back_again.weights_hash());
    }

    #[test]
    fn damaged_and_foreign_files_are_refused_with_a_reason() {
        let device = Device::flex();
        let bytes = model().to_bytes(FilePrecision::Full).expect("bytes");
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
