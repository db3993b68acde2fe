//! A class-conditional latent model from a single file, without a base: its configurations follow
//! from the shapes of its tensors, and it needs no tokenizer.

use super::import::{Found, parts_of};
use super::names::Names;
use super::{bad, read};
use crate::diffusers::part::Part;
use crate::diffusers::unet::conditional;
use crate::diffusers::{index, vae as vae_config};
use crate::fields::Fields;
use crate::pickle::{self, Pickles};
use crate::pipeline::Pipeline;
use crate::{FormatError, write_atomically, write_json_atomically};
use burn::store::{BurnToPyTorchAdapter, ModuleSnapshot};
use burn::tensor::Device;
use fewstep_nn::{ClassEmbedder, UNet, Vae};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::Path;

/// What shapes do not say, as the model for ImageNet of 2112.10752 has it.
const GROUPS: usize = 32;
const HEADS: usize = 1;
const BETAS: [f64; 2] = [0.0015, 0.0195];
const LATENT_SIDE: usize = 64;

/// The table of classes.
const TABLE: &str = "cond_stage_model.embedding.weight";

impl Pipeline {
    /// Writes a folder with the weights of one file that holds a U-Net, a vector-quantised
    /// autoencoder and a table of classes. What their shapes do not say is taken from the model of
    /// latent diffusion for ImageNet: one head, groups of 32, its noise schedule, latents of 64x64.
    /// Classes are called by their numbers.
    ///
    /// # Errors
    /// When the file cannot be read, or holds something else, or the folder cannot be written.
    pub fn import_classes(
        file: &Path,
        pickles: Pickles,
        folder: &Path,
        device: &Device,
    ) -> Result<(), FormatError> {
        let bytes = pickle::read_weights(file, pickles)?;
        let single = read(&bytes, file)?;
        let tensors = single.tensors().into_iter();
        let tensors = tensors.map(|(name, view)| (name, view.shape().to_vec()));
        let shapes = TensorShapes(tensors.collect());
        let Some(table) = shapes.table() else {
            return Err(FormatError::NeedsBase {
                origin: file.display().to_string(),
                tensor: TABLE,
            });
        };
        let configs = shapes.configs(table);
        let configs = configs.map_err(|reason| bad(file, reason))?;
        // As they will be read from the folder, which is not written before everything is known to
        // fit.
        let draft = tempfile::tempdir().map_err(|source| FormatError::Write {
            path: std::env::temp_dir(),
            source,
        })?;
        for (name, config) in &configs {
            write_json_atomically(&draft.path().join(name), config)?;
        }
        let config = Fields::read(&draft.path().join("unet/config.json"))?;
        let network = conditional::read(config)?.network;
        let vae = vae_config::blank(&draft.path().join("vae"), device)?;
        let names = Names::of_classes(&network, &vae, file)?;
        let unet = UNet::new(&network, 0, device).map_err(|error| bad(file, error.to_string()))?;
        let [rows, width] = table;
        let table = ClassEmbedder::new(rows, width, 0, device);
        let like = vec![
            (Part::UNet, shapes_of(&unet)),
            match &vae {
                Vae::Kl(network, _) => (Part::Autoencoder, shapes_of(network)),
                Vae::Tiny(network, _) => (Part::Autoencoder, shapes_of(network)),
                Vae::Vq(network, _) => (Part::Autoencoder, shapes_of(network)),
            },
            (Part::ClassEmbedder, shapes_of(&table)),
        ];
        let Found { files, absent } = parts_of(file, &bytes, &names, like)?;
        if let Some(part) = absent.first() {
            return Err(bad(file, format!("it has no {}", part.folder())));
        }
        for (place, bytes) in files {
            write_atomically(&folder.join(place), &bytes)?;
        }
        for (name, config) in &configs {
            write_json_atomically(&folder.join(name), config)?;
        }
        Ok(())
    }
}

/// Names and shapes of a network's parameters, as PyTorch has them.
fn shapes_of(network: &impl ModuleSnapshot) -> Vec<(String, Vec<usize>)> {
    let tensors = network.collect(None, Some(Box::new(BurnToPyTorchAdapter)), true);
    let shapes = tensors.into_iter();
    let shapes = shapes.map(|tensor| (tensor.name, tensor.shape.as_slice().to_vec()));
    shapes.collect()
}

/// The shapes of a file's tensors.
struct TensorShapes(HashMap<String, Vec<usize>>);

impl TensorShapes {
    fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// A side of a tensor that is required.
    fn side(&self, name: &str, side: usize) -> Result<usize, String> {
        let shape = self.0.get(name);
        let side = shape.and_then(|shape| shape.get(side)).copied();
        side.ok_or_else(|| format!("`{name}` is missing"))
    }

    /// Rows and width of the table of classes.
    fn table(&self) -> Option<[usize; 2]> {
        let shape = self.0.get(TABLE)?;
        shape.as_slice().try_into().ok()
    }

    /// The files of configurations.
    fn configs(&self, [rows, width]: [usize; 2]) -> Result<Vec<(&'static str, Value)>, String> {
        let table = json!({
            "_class_name": "ClassEmbedder",
            "n_classes": rows,
            "embed_dim": width,
        });
        let scheduler = json!({
            "_class_name": "DDIMScheduler",
            "beta_start": BETAS[0],
            "beta_end": BETAS[1],
            "beta_schedule": "scaled_linear",
            "clip_sample": false,
            "num_train_timesteps": 1000,
            "prediction_type": "epsilon",
            "set_alpha_to_one": false,
            "steps_offset": 1,
            "timestep_spacing": "leading",
        });
        Ok(vec![
            (index::FILE, index::of_classes()),
            ("unet/config.json", self.unet()?),
            ("vae/config.json", self.autoencoder()?),
            ("class_embedder/config.json", table),
            ("scheduler/scheduler_config.json", scheduler),
        ])
    }

    fn unet(&self) -> Result<Value, String> {
        let of = |name: &str| format!("model.diffusion_model.{name}");
        // Width of the residual blocks of each level, and whether attention follows.
        let mut levels: Vec<Vec<(usize, bool)>> = vec![vec![]];
        for block in 1.. {
            let at = |name: &str| of(&format!("input_blocks.{block}.{name}"));
            if self.has(&at("0.op.weight")) {
                levels.push(vec![]);
                continue;
            }
            let Ok(width) = self.side(&at("0.in_layers.2.weight"), 0) else {
                break;
            };
            if let Some(level) = levels.last_mut() {
                level.push((width, self.has(&at("1.norm.weight"))));
            }
        }
        let blocks = levels[0].len();
        let alike = |level: &Vec<(usize, bool)>| {
            level.len() == blocks && level.iter().all(|block| *block == level[0])
        };
        if blocks == 0 || !levels.iter().all(alike) {
            return Err(format!(
                "the blocks of its U-Net, {levels:?} by level (width, attention), are no U-Net of latent diffusion"
            ));
        }
        let kinds = |attention: &str, plain: &str| -> Vec<String> {
            let kind = |level: &Vec<(usize, bool)>| match level[0].1 {
                true => attention.to_string(),
                false => plain.to_string(),
            };
            levels.iter().map(kind).collect()
        };
        let down = kinds("CrossAttnDownBlock2D", "DownBlock2D");
        let mut up = kinds("CrossAttnUpBlock2D", "UpBlock2D");
        up.reverse();
        let widths: Vec<usize> = levels.iter().map(|level| level[0].0).collect();
        let states = "middle_block.1.transformer_blocks.0.attn2.to_k.weight";
        Ok(json!({
            "_class_name": "UNet2DConditionModel",
            "act_fn": "silu",
            "attention_head_dim": HEADS,
            "block_out_channels": widths,
            "cross_attention_dim": self.side(&of(states), 1)?,
            "down_block_types": down,
            "flip_sin_to_cos": true,
            "freq_shift": 0,
            "in_channels": self.side(&of("input_blocks.0.0.weight"), 1)?,
            "layers_per_block": blocks,
            "mid_block_type": "UNetMidBlock2DCrossAttn",
            "norm_num_groups": GROUPS,
            "out_channels": self.side(&of("out.2.weight"), 0)?,
            "sample_size": LATENT_SIDE,
            "up_block_types": up,
        }))
    }

    fn autoencoder(&self) -> Result<Value, String> {
        let of = |name: &str| format!("first_stage_model.{name}");
        let mut widths: Vec<usize> = vec![];
        let block = |level: usize, block: usize, name: &str| {
            of(&format!("encoder.down.{level}.block.{block}.{name}"))
        };
        while let Ok(width) = self.side(&block(widths.len(), 0, "conv1.weight"), 0) {
            widths.push(width);
        }
        let counted = (0..).take_while(|&number| self.has(&block(0, number, "conv1.weight")));
        let blocks = counted.count();
        let levels = widths.len();
        if (0..levels).any(|level| self.has(&of(&format!("encoder.down.{level}.attn.0.q.weight"))))
        {
            return Err("its autoencoder has attention on its levels, which is not supported: only in the middle is".into());
        }
        Ok(json!({
            "_class_name": "VQModel",
            "act_fn": "silu",
            "block_out_channels": widths,
            "down_block_types": vec!["DownEncoderBlock2D"; levels],
            "in_channels": self.side(&of("encoder.conv_in.weight"), 1)?,
            "latent_channels": self.side(&of("encoder.conv_out.weight"), 0)?,
            "layers_per_block": blocks,
            "mid_block_add_attention": self.has(&of("encoder.mid.attn_1.q.weight")),
            "norm_num_groups": GROUPS,
            "num_vq_embeddings": self.side(&of("quantize.embedding.weight"), 0)?,
            "out_channels": self.side(&of("decoder.conv_out.weight"), 0)?,
            "scaling_factor": 1.0,
            "up_block_types": vec!["UpDecoderBlock2D"; levels],
            "vq_embed_dim": self.side(&of("quantize.embedding.weight"), 1)?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::single_file::names::Location;
    use crate::tensors::file::{self, Entries};
    use crate::tensors::raw::RawTensor;
    use safetensors::Dtype;
    use std::collections::BTreeMap;

    /// The file of a model with these configurations, with other numbers in each tensor.
    fn file_of(configs: &Path) -> (BTreeMap<String, Vec<usize>>, Vec<u8>) {
        let device = Device::flex();
        let config = Fields::read(&configs.join("unet/config.json")).expect("there");
        let network = conditional::read(config).expect("valid").network;
        let vae = vae_config::blank(&configs.join("vae"), &device).expect("valid");
        let names = Names::of_classes(&network, &vae, configs).expect("a form");
        let Vae::Vq(vae, _) = &vae else {
            panic!("another autoencoder")
        };
        let mut shapes = BTreeMap::new();
        for (part, of_part) in [
            (
                Part::UNet,
                shapes_of(&UNet::new(&network, 0, &device).expect("valid")),
            ),
            (Part::Autoencoder, shapes_of(vae)),
            (
                Part::ClassEmbedder,
                shapes_of(&ClassEmbedder::new(5, 24, 0, &device)),
            ),
        ] {
            for (name, mut shape) in of_part {
                let location = names.locate(part, &name).expect("a location");
                let Location {
                    name, convolution, ..
                } = location;
                if convolution {
                    shape.extend([1, 1]);
                }
                shapes.insert(name, shape);
            }
        }
        let tensors = shapes.iter().enumerate();
        let tensors = tensors.map(|(number, (name, shape))| {
            let count: usize = shape.iter().product();
            let value = |i: usize| ((i * 31 + number * 17) % 97) as f32 / 970.0;
            let data = (0..count).flat_map(|i| value(i).to_le_bytes()).collect();
            (
                name.clone(),
                RawTensor::owned(Dtype::F32, shape.clone(), data),
            )
        });
        let bytes = file::to_bytes(tensors.collect(), &Entries::new()).expect("a file");
        (shapes, bytes)
    }

    fn write_configs(folder: &Path, widths: [Vec<usize>; 2]) {
        let [unet, vae] = widths;
        let levels = |kinds: [&str; 2], count: usize| -> Vec<String> {
            let first = std::iter::once(kinds[0].to_string());
            let rest = std::iter::repeat_n(kinds[1].to_string(), count - 1);
            first.chain(rest).collect()
        };
        let mut up = levels(["UpBlock2D", "CrossAttnUpBlock2D"], unet.len());
        up.reverse();
        let config = json!({
            "_class_name": "UNet2DConditionModel",
            "attention_head_dim": 1,
            "block_out_channels": unet,
            "cross_attention_dim": 24,
            "down_block_types": levels(["DownBlock2D", "CrossAttnDownBlock2D"], unet.len()),
            "in_channels": 3,
            "layers_per_block": 2,
            "out_channels": 3,
            "sample_size": 64,
            "up_block_types": up,
        });
        write_json_atomically(&folder.join("unet/config.json"), &config).expect("written");
        let config = json!({
            "_class_name": "VQModel",
            "block_out_channels": vae,
            "down_block_types": levels(["DownEncoderBlock2D"; 2], vae.len()),
            "in_channels": 3,
            "latent_channels": 3,
            "layers_per_block": 2,
            "num_vq_embeddings": 40,
            "out_channels": 3,
            "scaling_factor": 1.0,
            "up_block_types": levels(["UpDecoderBlock2D"; 2], vae.len()),
            "vq_embed_dim": 3,
        });
        write_json_atomically(&folder.join("vae/config.json"), &config).expect("written");
    }

    /// From a model's configurations to its file, and from the file to the folder.
    #[test]
    fn a_file_alone_becomes_a_model_of_classes() {
        let place = tempfile::tempdir().expect("a folder");
        let configs = place.path().join("configs");
        write_configs(&configs, [vec![32, 64, 64], vec![32, 64]]);
        let (shapes, bytes) = file_of(&configs);
        let file = place.path().join("model.safetensors");
        std::fs::write(&file, &bytes).expect("written");
        let folder = place.path().join("model");
        let device = Device::flex();
        let import =
            |folder: &Path| Pipeline::import_classes(&file, Pickles::Refused, folder, &device);
        import(&folder).expect("a model");
        let model = Pipeline::load(&folder, &device).expect("whole");
        assert_eq!(model.model.recipe.classes, ["0", "1", "2", "3"]);
        assert_eq!(model.model.recipe.resolution, [3, 64, 64]);
        let expected = Fields::read(&configs.join("unet/config.json")).expect("there");
        let expected = conditional::read(expected).expect("valid").network;
        assert_eq!(model.model.network.config(), expected.into());
        // And back to the same file.
        let back = place.path().join("back.safetensors");
        model
            .save_single(&model.model, None, &back)
            .expect("written");
        let [ours, theirs] = [&back, &file].map(|file| std::fs::read(file).expect("there"));
        let ours = read(&ours, &back).expect("whole");
        let theirs = read(&theirs, &file).expect("whole");
        for name in shapes.keys() {
            let [a, b] = [&ours, &theirs].map(|file| file.tensor(name).expect("there"));
            assert_eq!((a.shape(), a.data()), (b.shape(), b.data()), "{name}");
        }
    }

    #[test]
    fn files_of_other_models_are_refused_and_nothing_is_written() {
        let place = tempfile::tempdir().expect("a folder");
        let configs = place.path().join("configs");
        write_configs(&configs, [vec![32, 64], vec![32, 64]]);
        let (_, bytes) = file_of(&configs);
        let refused = |without: &str| {
            let all = read(&bytes, &configs).expect("whole");
            let kept = all.tensors().into_iter();
            let kept = kept.filter(|(name, _)| name != without);
            let tensors = kept.map(|(name, view)| (name, RawTensor::from(view)));
            let few = file::to_bytes(tensors.collect(), &Entries::new()).expect("a file");
            let file = place.path().join("few.safetensors");
            std::fs::write(&file, few).expect("written");
            let folder = place.path().join("none");
            let device = Device::flex();
            let error = Pipeline::import_classes(&file, Pickles::Refused, &folder, &device);
            assert!(!folder.exists());
            error.expect_err("refused").to_string()
        };
        for name in [
            "cond_stage_model.embedding.weight",
            "first_stage_model.quantize.embedding.weight",
            "first_stage_model.decoder.conv_in.bias",
            "model.diffusion_model.out.0.weight",
        ] {
            let message = refused(name);
            assert!(message.contains(name), "{message}");
        }
    }
}
