//! LoRA files of other tools, added to the weights of a loaded model.
//!
//! Read are the names of kohya's scripts and of web interfaces (`lora_unet_..., lora_te_...`), and those
//! of PEFT and diffusers, new and old (`unet....lora_A.weight`, `...to_q_lora.down.weight`). Layers
//! are matched by their name with all separators alike, since kohya's names have only `_`.

use crate::diffusers::text_encoder::TextEncoder;
use crate::tensors::finite;
use crate::{FormatError, reading};
use burn::store::burn_pack::Tensor as PackTensor;
use burn::store::{BurnToPyTorchAdapter, ModuleSnapshot, PyTorchToBurnAdapter};
use burn::tensor::{Bytes, DType, Device, Tensor, TensorData};
use fewstep_nn::Backbone;
use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::BTreeMap;
use std::path::Path;

/// What the names of the two matrices and of alpha end with.
const DOWN: [&str; 5] = [
    ".lora_down.weight",
    ".lora_A.weight",
    ".lora_A.default.weight",
    ".lora.down.weight",
    "_lora.down.weight",
];
const UP: [&str; 5] = [
    ".lora_up.weight",
    ".lora_B.weight",
    ".lora_B.default.weight",
    ".lora.up.weight",
    "_lora.up.weight",
];
const ALPHA: &str = ".alpha";
/// What is added as it is: to the weight, and to the bias.
const DIFF: &str = ".diff";
const DIFF_BIAS: &str = ".diff_b";

/// How the names of the networks that a file is for begin.
const UNET: [&str; 3] = ["lora_unet_", "unet.", "base_model.model."];
const TEXT: [&str; 3] = ["lora_te_", "lora_te1_", "text_encoder."];

/// LoRA of a file, for the U-Net and perhaps for the text encoder.
#[derive(Clone, Debug)]
pub struct LoraFile {
    origin: String,
    network: Layers,
    text: Layers,
}

/// The additions to layers, by their names with `_` for every separator.
type Layers = BTreeMap<String, Addition>;

/// What is added to a layer.
#[derive(Clone, Debug, Default)]
struct Addition {
    /// A, `[rank, inputs]`: shape and values.
    down: Option<(Vec<usize>, Vec<f32>)>,
    /// B, `[outputs, rank]`.
    up: Option<(Vec<usize>, Vec<f32>)>,
    /// Counts alpha / rank times; 1 without it.
    alpha: Option<f32>,
    diff: Option<Vec<f32>>,
    diff_bias: Option<Vec<f32>>,
}

impl LoraFile {
    /// Reads a safetensors file.
    ///
    /// # Errors
    /// A file that cannot be read, that holds no LoRA or another kind of change, or whose numbers are
    /// not finite.
    pub fn read(path: &Path) -> Result<Self, FormatError> {
        let origin = path.display().to_string();
        let bytes = reading::bytes(path)?;
        let file =
            SafeTensors::deserialize(&bytes).map_err(|error| FormatError::NotSafetensors {
                origin: origin.clone(),
                reason: error.to_string(),
            })?;
        let mut read = Self {
            origin,
            network: Layers::new(),
            text: Layers::new(),
        };
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
        if !broken.is_empty() {
            return Err(FormatError::NotFinite {
                origin: read.origin,
                names: broken,
            });
        }
        match other.first() {
            Some(name) => Err(read.bad(format!(
                "{} of its tensors are not those of a LoRA, such as `{name}`: LoRA of kohya's scripts, of PEFT and of diffusers are read, without DoRA, LoHa or LoKr",
                other.len()
            ))),
            None if read.network.is_empty() && read.text.is_empty() => {
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
        let Some(layer) = down.or(up).or(alpha).or(diff).or(ends(&[DIFF_BIAS])) else {
            return false;
        };
        let begins = |begins: &[&str]| begins.iter().find_map(|b| layer.strip_prefix(b));
        let (layers, layer) = match (begins(&TEXT), begins(&UNET)) {
            (Some(layer), _) => (&mut self.text, layer),
            // A name that does not say which is of the network.
            (None, of_network) => (&mut self.network, of_network.unwrap_or(layer)),
        };
        let addition = layers.entry(alike(layer)).or_default();
        if down.is_some() {
            addition.down = Some((shape, values));
        } else if up.is_some() {
            addition.up = Some((shape, values));
        } else if alpha.is_some() {
            addition.alpha = values.first().copied();
        } else if diff.is_some() {
            addition.diff = Some(values);
        } else {
            addition.diff_bias = Some(values);
        }
        true
    }

    /// Whether it changes the text encoder too.
    pub fn has_text(&self) -> bool {
        !self.text.is_empty()
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
        self.add(&self.network, weight, &mut network, device)?;
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
        Ok(match encoder {
            TextEncoder::Clip(tokenizer, mut network) => {
                self.add(&self.text, weight, &mut network, device)?;
                TextEncoder::Clip(tokenizer, network)
            }
            TextEncoder::Bert(tokenizer, mut network) => {
                self.add(&self.text, weight, &mut network, device)?;
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

    fn add(
        &self,
        layers: &Layers,
        weight: f64,
        network: &mut impl ModuleSnapshot,
        device: &Device,
    ) -> Result<(), FormatError> {
        if layers.is_empty() {
            return Ok(());
        }
        let tensors = network.collect(None, Some(Box::new(BurnToPyTorchAdapter)), true);
        let mut left: BTreeMap<&str, &Addition> = layers
            .iter()
            .map(|(name, addition)| (name.as_str(), addition))
            .collect();
        let mut changed = vec![];
        for tensor in &tensors {
            let Some((layer, part)) = tensor.name.rsplit_once('.') else {
                continue;
            };
            let key = alike(layer);
            // Old names have `to_out` for `to_out.0`.
            let key = match layers.contains_key(&key) {
                true => key,
                false => key.strip_suffix("_0").unwrap_or(&key).to_owned(),
            };
            let Some(addition) = layers.get(&key) else {
                continue;
            };
            let shape = tensor.shape.to_vec();
            let delta = match part {
                "weight" => addition.to_weight(&shape, device),
                "bias" => addition.diff_bias.clone().map(Ok),
                _ => None,
            };
            let Some(delta) = delta else {
                continue;
            };
            let delta =
                delta.map_err(|reason| self.bad(format!("the layer `{layer}`: {reason}")))?;
            left.remove(key.as_str());
            changed.push(self.changed(tensor, &delta, weight as f32)?);
        }
        if let Some((name, _)) = left.first_key_value() {
            return Err(self.bad(format!(
                "{} of its {} layers are not in the model, such as `{name}`: it was made for another model",
                left.len(),
                layers.len()
            )));
        }
        let result = network.apply(changed, None, Some(Box::new(PyTorchToBurnAdapter)), true);
        match result.errors.first() {
            None => Ok(()),
            Some(error) => Err(self.bad(error.to_string())),
        }
    }

    /// A parameter with `weight` times this added.
    fn changed(
        &self,
        tensor: &PackTensor,
        delta: &[f32],
        weight: f32,
    ) -> Result<PackTensor, FormatError> {
        let bytes = tensor.to_bytes();
        let bytes = bytes.map_err(|error| self.bad(error.to_string()))?;
        let before = bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b));
        let after = before.zip(delta).map(|(w, delta)| w + weight * delta);
        let after: Vec<u8> = after.flat_map(f32::to_le_bytes).collect();
        if tensor.dtype != DType::F32
            || after.len() != bytes.len()
            || delta.len() * 4 != after.len()
        {
            return Err(self.bad(format!(
                "`{}` of the model has {} numbers, and the LoRA {}",
                tensor.name,
                bytes.len() / 4,
                delta.len()
            )));
        }
        let (name, shape) = (tensor.name.clone(), tensor.shape.clone());
        let (id, length) = (tensor.param_id, after.len());
        let made = move || Ok(Bytes::from_bytes_vec(after.clone()));
        Ok(PackTensor::deferred(
            name,
            DType::F32,
            shape,
            id,
            length,
            made,
        ))
    }

    fn bad(&self, reason: String) -> FormatError {
        FormatError::Lora {
            origin: self.origin.clone(),
            reason,
        }
    }
}

const NO_ENCODER: &str = "it changes a text encoder of prompts, and the model has none";

impl Addition {
    /// What is added to a weight of this shape, outputs first; none if nothing is. An error says what
    /// does not fit.
    fn to_weight(&self, shape: &[usize], device: &Device) -> Option<Result<Vec<f32>, String>> {
        let Some((down, up)) = self.down.as_ref().zip(self.up.as_ref()) else {
            let half = self.down.is_some() || self.up.is_some();
            let half = half.then(|| Err("one of its two matrices is missing".into()));
            return half.or_else(|| self.diff.clone().map(Ok));
        };
        let rank = down.0.first().copied().unwrap_or(0);
        let outputs = shape.first().copied().unwrap_or(0);
        let inputs = shape.iter().skip(1).product::<usize>();
        if rank == 0 || down.1.len() != rank * inputs || up.1.len() != outputs * rank {
            return Some(Err(format!(
                "matrices of {:?} and {:?} do not fit a weight of {shape:?}",
                down.0, up.0
            )));
        }
        let matrix = |values: &Vec<f32>, shape: [usize; 2]| {
            Tensor::<2>::from_data(TensorData::new(values.clone(), shape), device)
        };
        let product = matrix(&up.1, [outputs, rank]).matmul(matrix(&down.1, [rank, inputs]));
        let scale = self.alpha.map_or(1.0, |alpha| alpha / rank as f32);
        Some(Ok(product.mul_scalar(scale).into_data().iter().collect()))
    }
}

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
    let halves = || view.data().as_chunks().0.iter();
    Some(match view.dtype() {
        Dtype::F32 => {
            let singles = view.data().as_chunks().0.iter();
            singles.map(|b| f32::from_le_bytes(*b)).collect()
        }
        Dtype::F16 => halves().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
        Dtype::BF16 => halves().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lora;
    use fewstep_nn::{LoraConfig, UNetConfig};

    fn network(width: usize) -> Backbone {
        let config = UNetConfig {
            channels: 1,
            widths: vec![width, 16],
            blocks: 1,
            attention: vec![false, true],
            head: 8,
            groups: 4,
            ..UNetConfig::default()
        };
        Backbone::new(&config.into(), 3, &Device::flex()).expect("a network")
    }

    /// The network with LoRA that change it, in attention and in a convolution.
    fn with_lora(network: Backbone) -> Backbone {
        let config = LoraConfig {
            rank: 2,
            alpha: 3.0,
            targets: ["to_q", "to_out.0", "conv_in"].map(String::from).to_vec(),
        };
        let network = network.with_lora(&config, 1).expect("layers");
        let mut layers = network.lora().expect("LoRA").layers();
        for layer in &mut layers {
            let up = layer.up.iter_mut().enumerate();
            up.for_each(|(n, value)| *value = (n as f32).sin());
        }
        network.with_lora_layers(&layers)
    }

    /// All parameters, by name.
    fn parameters(network: &Backbone) -> BTreeMap<String, Vec<f32>> {
        let tensors = network.collect(None, Some(Box::new(BurnToPyTorchAdapter)), true);
        let values = |tensor: &PackTensor| -> Vec<f32> {
            let bytes = tensor.to_bytes().expect("bytes");
            let values = bytes.as_chunks().0.iter();
            values.map(|b| f32::from_le_bytes(*b)).collect()
        };
        tensors
            .iter()
            .map(|t| (t.name.clone(), values(t)))
            .collect()
    }

    fn assert_close(a: &BTreeMap<String, Vec<f32>>, b: &BTreeMap<String, Vec<f32>>, what: &str) {
        assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
        for (name, values) in a {
            for (x, y) in values.iter().zip(&b[name]) {
                assert!((x - y).abs() < 1e-5, "{what}: {name} has {x} for {y}");
            }
        }
    }

    /// The files that a trained student is exported as, under either kind of names, give the network
    /// that training has.
    #[test]
    fn a_lora_of_either_kind_gives_the_network_that_was_trained() {
        let device = Device::flex();
        let trained = with_lora(network(8));
        let folder = tempfile::tempdir().expect("a folder");
        lora::save(&trained, "{}", folder.path()).expect("saved");
        let [before, expected] = [network(8), trained.merged()].map(|n| parameters(&n));
        let half: BTreeMap<_, Vec<f32>> = std::iter::zip(&before, &expected)
            .map(|((name, a), (_, b))| {
                let mean = a.iter().zip(b).map(|(a, b)| (a + b) / 2.0);
                (name.clone(), mean.collect())
            })
            .collect();
        for name in [
            "lora/kohya.safetensors",
            "lora/pytorch_lora_weights.safetensors",
        ] {
            let file = LoraFile::read(&folder.path().join(name)).expect("a LoRA");
            assert!(!file.has_text());
            let merged = |weight| {
                let merged = file.merge(weight, network(8), &device);
                parameters(&merged.expect(name))
            };
            assert_close(&merged(1.0), &expected, name);
            assert_close(&merged(0.5), &half, name);
            assert_eq!(merged(0.0), before, "{name}");
            assert_ne!(before, expected);
            let other = file
                .merge(1.0, network(12), &device)
                .expect_err("another network");
            assert!(other.to_string().contains("do not fit a weight"), "{other}");
        }
    }

    #[test]
    fn what_is_no_lora_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.safetensors");
        let refused = |name: &str, shape: Vec<usize>, part: &str| {
            let bytes = vec![0; 4 * shape.iter().product::<usize>()];
            let view = TensorView::new(Dtype::F32, shape, &bytes).expect("a view");
            safetensors::serialize_to_file([(name, view)], None, &path).expect("written");
            let read = LoraFile::read(&path);
            let merged = read.and_then(|lora| lora.merge(1.0, network(8), &Device::flex()));
            let message = merged.expect_err(name).to_string();
            assert!(message.contains(part), "{name}: {message}");
        };
        refused("conv_in.weight", vec![8, 1, 3, 3], "not those of a LoRA");
        refused(
            "lora_unet_conv_in.hada_w1_a",
            vec![8, 4],
            "not those of a LoRA",
        );
        refused(
            "lora_unet_conv_in.lora_up.weight",
            vec![8, 2],
            "matrices is missing",
        );
        refused("lora_unet_conv_on.diff_b", vec![8], "`conv_on`");
    }

    /// Names of other tools for the same layers.
    #[test]
    fn names_are_alike_whatever_separates_them() {
        let mut file = LoraFile {
            origin: "a".into(),
            network: Layers::new(),
            text: Layers::new(),
        };
        for name in [
            "unet.mid_block.attentions.0.attn1.to_q.lora_A.weight",
            "lora_unet_mid_block_attentions_0_attn1_to_q.lora_up.weight",
            "unet.mid_block.attentions.0.attn1.processor.to_q_lora.down.weight",
            "base_model.model.mid_block.attentions.0.attn1.to_q.lora_B.default.weight",
            "text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora.up.weight",
            "lora_te_text_model_encoder_layers_0_self_attn_q_proj.alpha",
        ] {
            assert!(file.take(name, vec![1], vec![1.0]), "{name}");
        }
        let names = |layers: &Layers| layers.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&file.network), ["mid_block_attentions_0_attn1_to_q"]);
        assert_eq!(names(&file.text), ["encoder_layers_0_self_attn_q_proj"]);
    }
}
