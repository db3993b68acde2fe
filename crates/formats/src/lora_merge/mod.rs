//! LoRA files of other tools, added to the weights of a loaded model.
//!
//! Read are the names of kohya's scripts and of web interfaces (`lora_unet_..., lora_te_...`, for SDXL
//! with the names of its single file and `lora_te1_..., lora_te2_...`), and those of PEFT and diffusers, new and old (`unet....lora_A.weight`, `...to_q_lora.down.weight`). Layers
//! are matched by their name with all separators alike, since kohya's names have only `_`.

mod addition;
mod peft;
mod several;
#[cfg(test)]
mod tests;

use crate::diffusers::text_encoder::TextEncoder;
use crate::lora::kohya_layer;
use crate::tensors::stored::in_16_bits;
use crate::tensors::{eight_bits, finite};
use crate::{FormatError, reading};
use addition::Addition;
use burn::store::burn_pack::Tensor as PackTensor;
use burn::store::{BurnToPyTorchAdapter, ModuleSnapshot, PyTorchToBurnAdapter};
use burn::tensor::{Bytes, DType, Device};
use fewstep_nn::{Backbone, Precision};
use half::{bf16, f16};
use peft::PeftConfig;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
pub use several::Loras;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What the names of the two matrices and of alpha end with.
const DOWN: [&str; 6] = [
    ".lora_down.weight",
    ".lora_A.weight",
    ".lora_A.default.weight",
    ".lora.down.weight",
    ".lora_linear_layer.down.weight",
    "_lora.down.weight",
];
const UP: [&str; 6] = [
    ".lora_up.weight",
    ".lora_B.weight",
    ".lora_B.default.weight",
    ".lora.up.weight",
    ".lora_linear_layer.up.weight",
    "_lora.up.weight",
];
/// What is added to the bias as often as the product to the weight.
const UP_BIAS: [&str; 2] = [".lora_B.bias", ".lora_B.default.bias"];
const ALPHA: &str = ".alpha";
/// What is added as it is: to the weight, and to the bias.
const DIFF: &str = ".diff";
const DIFF_BIAS: &str = ".diff_b";

/// How the names of the networks that a file is for begin.
const UNET: [&str; 3] = ["lora_unet_", "unet.", "base_model.model."];
const TEXT: [&[&str]; 2] = [
    &["lora_te_", "lora_te1_", "text_encoder."],
    &["lora_te2_", "text_encoder_2."],
];

/// LoRA of a file, for the U-Net and perhaps for the text encoders.
#[derive(Clone, Debug, Default)]
pub struct LoraFile {
    origin: String,
    /// SHA-256 of the file.
    digest: [u8; 32],
    network: Layers,
    /// Of the text encoder, and of the second one of SDXL.
    text: [Layers; 2],
    config: PeftConfig,
}

/// The additions to layers, by their names with `_` for every separator.
type Layers = BTreeMap<String, Addition>;

impl LoraFile {
    /// Reads a safetensors file.
    ///
    /// # Errors
    /// A file that cannot be read, that holds no LoRA or another kind of change, or whose numbers are
    /// not finite.
    pub fn read(path: &Path) -> Result<Self, FormatError> {
        let origin = path.display().to_string();
        let bytes = reading::bytes(path)?;
        let mut read = Self {
            origin,
            digest: Sha256::digest(&bytes).into(),
            ..Self::default()
        };
        let file = SafeTensors::deserialize(&bytes)
            .map_err(|error| read.bad(format!("it is no safetensors file: {error}")))?;
        eight_bits::refuse(&file, || read.origin.clone())?;
        read.config = PeftConfig::of(path, &bytes).map_err(|reason| read.bad(reason))?;
        let (mut other, mut broken) = (vec![], vec![]);
        for (name, view) in file.tensors() {
            let Some(values) = values(&view) else {
                other.push(name);
                continue;
            };
            if !finite::all(values.iter().copied()) {
                broken.push(name);
            } else if !read.take(&name, view.shape().to_vec(), values) {
                other.push(name);
            }
        }
        if let Some(name) = broken.first() {
            return Err(read.bad(format!(
                "{} of its tensors have numbers that are NaN or infinite, such as `{name}`",
                broken.len()
            )));
        }
        match other.first() {
            Some(name) => Err(read.bad(format!(
                "{} of its tensors are not those of a LoRA, such as `{name}`: LoRA of kohya's scripts, of PEFT and of diffusers are read, without DoRA, LoHa or LoKr",
                other.len()
            ))),
            None if read.network.is_empty() && !read.has_text() => {
                Err(read.bad("it holds no LoRA".into()))
            }
            None => Ok(read),
        }
    }

    /// Takes a tensor. Returns whether it is of a LoRA.
    fn take(&mut self, name: &str, shape: Vec<usize>, values: Vec<f32>) -> bool {
        let ends = |ends: &[&str]| ends.iter().find_map(|end| name.strip_suffix(end));
        let (down, up) = (ends(&DOWN), ends(&UP));
        let (alpha, diff) = (ends(&[ALPHA]), ends(&[DIFF]));
        let up_bias = ends(&UP_BIAS);
        let layer = down.or(up).or(up_bias).or(alpha).or(diff);
        let Some(layer) = layer.or(ends(&[DIFF_BIAS])) else {
            return false;
        };
        let begins = |begins: &[&str]| begins.iter().find_map(|b| layer.strip_prefix(b));
        let [first, second] = &mut self.text;
        let (layers, network, layer) = match (begins(TEXT[0]), begins(TEXT[1]), begins(&UNET)) {
            (Some(layer), _, _) => (first, "text_encoder", layer),
            (None, Some(layer), _) => (second, "text_encoder_2", layer),
            // A name that does not say which is of the network.
            (None, None, of_network) => (&mut self.network, "unet", of_network.unwrap_or(layer)),
        };
        let addition = layers.entry(alike(layer)).or_default();
        if down.is_some() {
            let rank = shape.first().copied().unwrap_or(0);
            let alpha = addition.alpha;
            addition.alpha = alpha.or_else(|| self.config.alpha(network, layer, rank));
            addition.down = Some((shape, values));
        } else if up.is_some() {
            addition.up = Some((shape, values));
        } else if up_bias.is_some() {
            let changes = values.iter().any(|value| *value != 0.0);
            addition.up_bias = changes.then_some(values);
        } else if alpha.is_some() {
            addition.alpha = values.first().copied();
        } else if diff.is_some() {
            addition.diff = Some(values);
        } else {
            addition.diff_bias = Some(values);
        }
        true
    }

    /// Whether it changes a text encoder too.
    pub fn has_text(&self) -> bool {
        self.text.iter().any(|layers| !layers.is_empty())
    }

    /// A network with the LoRA added to its weights `weight` times.
    ///
    /// # Errors
    /// When the LoRA is for layers that the network has not, or of other shapes.
    pub fn merge(
        &self,
        weight: f64,
        network: Backbone,
        device: &Device,
    ) -> Result<Backbone, FormatError> {
        let mut network = network.merged();
        let config = network.config();
        let other = |layer: &str| kohya_layer(&config, layer);
        self.add(&self.network, weight, &mut network, &other, device)?;
        Ok(network)
    }

    /// A text encoder with the LoRA added to its weights.
    ///
    /// # Errors
    /// As [`merge`](Self::merge).
    pub fn merge_text(
        &self,
        weight: f64,
        encoder: TextEncoder,
        device: &Device,
    ) -> Result<TextEncoder, FormatError> {
        let [first, second] = &self.text;
        let same = str::to_owned;
        match &encoder {
            TextEncoder::Clip(..) | TextEncoder::Bert(..) if !second.is_empty() => {
                return Err(self.bad(NO_SECOND.into()));
            }
            _ => {}
        }
        Ok(match encoder {
            TextEncoder::Clip(tokenizer, mut network) => {
                self.add(first, weight, &mut network, &same, device)?;
                TextEncoder::Clip(tokenizer, network)
            }
            TextEncoder::Two(mut encoders) => {
                for (layers, network) in self.text.iter().zip(encoders.networks_mut()) {
                    self.add(layers, weight, network, &same, device)?;
                }
                TextEncoder::Two(encoders)
            }
            TextEncoder::Bert(tokenizer, mut network) => {
                self.add(first, weight, &mut network, &same, device)?;
                TextEncoder::Bert(tokenizer, network)
            }
            TextEncoder::Classes(classes) => match self.has_text() {
                true => return Err(self.bad(NO_ENCODER.into())),
                false => TextEncoder::Classes(classes),
            },
        })
    }

    /// Refuses the LoRA for a model without a text encoder, if it changes one.
    ///
    /// # Errors
    /// When it does.
    pub fn check_without_text(&self) -> Result<(), FormatError> {
        match self.has_text() {
            true => Err(self.bad(NO_ENCODER.into())),
            false => Ok(()),
        }
    }

    /// Adds these to the layers of a network, which have their own name or the `other`.
    fn add(
        &self,
        layers: &Layers,
        weight: f64,
        network: &mut impl ModuleSnapshot,
        other: &dyn Fn(&str) -> String,
        device: &Device,
    ) -> Result<(), FormatError> {
        if layers.is_empty() {
            return Ok(());
        }
        let tensors = network.collect(None, Some(Box::new(BurnToPyTorchAdapter)), true);
        let parts_of = |(name, addition): (&String, &Addition)| {
            addition
                .parts()
                .map(|part| (name.clone(), part.to_owned()))
                .collect::<Vec<_>>()
        };
        let all: BTreeSet<_> = layers.iter().flat_map(parts_of).collect();
        let mut changed_parts = BTreeSet::new();
        let mut changed = vec![];
        for tensor in &tensors {
            let Some((layer, part)) = tensor.name.rsplit_once('.') else {
                continue;
            };
            let own = alike(layer);
            // Old names have `to_out` for `to_out.0`.
            let old = own.strip_suffix("_0").unwrap_or(&own).to_owned();
            let found = [own, old, alike(&other(layer))];
            let found = found.into_iter().find_map(|key| layers.get_key_value(&key));
            let Some((key, addition)) = found else {
                continue;
            };
            let Some(delta) = addition.to(part, &tensor.shape.to_vec(), device) else {
                continue;
            };
            let delta =
                delta.map_err(|reason| self.bad(format!("the layer `{layer}`: {reason}")))?;
            changed_parts.insert((key.clone(), part.to_owned()));
            changed.push(self.changed(tensor, &delta, weight as f32)?);
        }
        let left = all.iter().filter(|part| !changed_parts.contains(*part));
        let left: Vec<_> = left.collect();
        if let Some((name, part)) = left.first() {
            let bias = if part == "bias" { " (its bias)" } else { "" };
            return Err(self.bad(format!(
                "{} of its {} changes are not in the model, such as `{name}`{bias}: it was made for another model",
                left.len(),
                all.len()
            )));
        }
        let result = network.apply(changed, None, Some(Box::new(PyTorchToBurnAdapter)), true);
        match result.errors.first() {
            None => Ok(()),
            Some(error) => Err(self.bad(error.to_string())),
        }
    }

    /// A parameter with `weight` times this added, in the type that it has. One that gets too large for
    /// f16 is in f32.
    fn changed(
        &self,
        tensor: &PackTensor,
        delta: &[f32],
        weight: f32,
    ) -> Result<PackTensor, FormatError> {
        let bytes = tensor.to_bytes();
        let bytes = bytes.map_err(|error| self.bad(error.to_string()))?;
        let (stored, before) = match tensor.dtype {
            DType::F16 => (Some(Precision::F16), floats(Dtype::F16, &bytes)),
            DType::BF16 => (Some(Precision::Bf16), floats(Dtype::BF16, &bytes)),
            DType::F32 => (None, floats(Dtype::F32, &bytes)),
            _ => (None, None),
        };
        let before = before.filter(|before| before.len() == delta.len());
        let before = before.ok_or_else(|| {
            self.bad(format!(
                "`{}` of the model has the shape {:?}, and the LoRA {} numbers",
                tensor.name,
                tensor.shape.to_vec(),
                delta.len()
            ))
        })?;
        let after = before
            .iter()
            .zip(delta)
            .map(|(w, delta)| w + weight * delta);
        let after = Bytes::from_elems(after.collect::<Vec<f32>>());
        let narrow = stored.and_then(|precision| in_16_bits(precision, &after));
        let (dtype, after) = narrow.unwrap_or((DType::F32, after));
        let (name, shape) = (tensor.name.clone(), tensor.shape.clone());
        let (id, length) = (tensor.param_id, after.len());
        let made = move || Ok(after.clone());
        Ok(PackTensor::deferred(name, dtype, shape, id, length, made))
    }

    fn bad(&self, reason: String) -> FormatError {
        FormatError::Lora {
            origin: self.origin.clone(),
            reason,
        }
    }
}

const NO_SECOND: &str = "it changes a second text encoder, such as SDXL has, and the model has one";
const NO_ENCODER: &str = "it changes a text encoder of prompts, and the model has none";

/// A name with all separators alike, and without what some tools put around it.
fn alike(layer: &str) -> String {
    let plain = layer.replace('.', "_").replace("_processor_", "_");
    match plain.strip_prefix("text_model_") {
        Some(rest) => rest.into(),
        None => plain,
    }
}

/// The values of a tensor of floats.
fn values(view: &TensorView<'_>) -> Option<Vec<f32>> {
    floats(view.dtype(), view.data())
}

/// Floats of this type; none of another.
fn floats(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    let halves = || bytes.as_chunks().0.iter();
    Some(match dtype {
        Dtype::F32 => {
            let singles = bytes.as_chunks().0.iter();
            singles.map(|b| f32::from_le_bytes(*b)).collect()
        }
        Dtype::F16 => halves().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
        Dtype::BF16 => halves().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
        _ => return None,
    })
}
