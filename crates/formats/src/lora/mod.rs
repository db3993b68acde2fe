//! LoRA as files of their own, under the names of other tools.

mod fixed_w;

use crate::single_file::SDXL;
use crate::single_file::names::UNetNames;
use crate::tensors::file::{self, Entries};
use crate::tensors::finite;
use crate::{FormatError, reading, write_atomically, write_atomically_with};
use fewstep_nn::{Backbone, BackboneConfig, LoraLayer};
pub use fixed_w::export_lora_with_w;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::BTreeMap;
use std::path::Path;

/// The folder of the files inside a model folder.
const LORA_FOLDER: &str = "lora";
/// For diffusers and PEFT.
const PEFT: &str = "pytorch_lora_weights.safetensors";
/// For web interfaces, which take the names of kohya's scripts.
const KOHYA: &str = "kohya.safetensors";
/// The input for w, which no LoRA can stand for.
const W: &str = "w_embedding.safetensors";
const W_NAME: &str = "time_embedding.cond_proj.weight";

/// Tensors to be written: name, shape, values.
type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// The files of a LoRA, and the input for w.
pub(crate) struct LoraFiles<'a> {
    network: &'a Backbone,
    peft: Tensors,
    kohya: Tensors,
}

impl<'a> LoraFiles<'a> {
    /// Those of layers that are yet to be added.
    pub(crate) fn of(network: &'a Backbone) -> Self {
        Self {
            network,
            peft: Tensors::new(),
            kohya: Tensors::new(),
        }
    }

    /// Adds alpha / rank times the product of a layer.
    pub(crate) fn add(&mut self, layer: &LoraLayer, rank: usize, alpha: f64) {
        let [down, up] = shapes(layer, rank);
        // Readers of these names that know no alpha take it to be the rank, so it is folded in.
        let scale = (alpha / rank as f64) as f32;
        let scaled = layer.up.iter().map(|value| value * scale).collect();
        let [name_a, name_b] =
            ["A", "B"].map(|part| format!("unet.{}.lora_{part}.weight", layer.name));
        self.peft.insert(name_a, (down.clone(), layer.down.clone()));
        self.peft.insert(name_b, (up.clone(), scaled));
        let name = kohya_name(self.network, &layer.name);
        let part = |part: &str| format!("{name}.{part}");
        self.kohya
            .insert(part("lora_down.weight"), (down, layer.down.clone()));
        self.kohya
            .insert(part("lora_up.weight"), (up, layer.up.clone()));
        self.kohya
            .insert(part("alpha"), (vec![], vec![alpha as f32]));
    }

    /// Adds a difference of the bias of a layer that has a product.
    pub(crate) fn add_bias(&mut self, layer: &str, difference: Vec<f32>) {
        let shape = vec![difference.len()];
        let name = format!("unet.{layer}.lora_B.bias");
        self.peft.insert(name, (shape, difference.clone()));
        let shape = vec![difference.len()];
        self.add_difference(layer, "bias", shape, difference);
    }

    /// Adds a difference of the weight or the bias of a layer that has no product: PEFT has no place for
    /// it.
    pub(crate) fn add_difference(
        &mut self,
        layer: &str,
        part: &str,
        shape: Vec<usize>,
        difference: Vec<f32>,
    ) {
        let end = if part == "bias" { "diff_b" } else { "diff" };
        let name = kohya_name(self.network, layer);
        self.kohya
            .insert(format!("{name}.{end}"), (shape, difference));
    }

    /// Writes the files into a folder: for diffusers, for kohya's readers, and the input for w. The
    /// description is in the metadata of each.
    pub(crate) fn write(
        mut self,
        description: &str,
        rank: usize,
        alpha: f64,
        folder: &Path,
    ) -> Result<(), FormatError> {
        let metadata = |more: &[(&str, String)]| -> Entries {
            let entries = [
                ("format", "pt".to_string()),
                ("fewstep", description.to_string()),
            ];
            let entries = entries.into_iter().chain(more.iter().cloned());
            entries.map(|(key, value)| (key.into(), value)).collect()
        };
        let architecture = match is_sdxl(self.network) {
            true => SDXL,
            false => "stable-diffusion-v1",
        };
        let trained = [
            ("ss_network_module", "networks.lora".to_string()),
            ("ss_network_dim", rank.to_string()),
            ("ss_network_alpha", alpha.to_string()),
            ("modelspec.sai_model_spec", "1.0.0".into()),
            ("modelspec.architecture", format!("{architecture}/lora")),
        ];
        with_all_biases(&mut self.peft);
        with_one_rank(&mut self.peft);
        write(&folder.join(PEFT), &self.peft, metadata(&[]))?;
        write(&folder.join(KOHYA), &self.kohya, metadata(&trained))?;
        if let Some(w) = self.network.w_projection() {
            let [dim, to] = w.dims();
            // As PyTorch has it: outputs first.
            let values = w.transpose().into_data().try_to_vec();
            let values = values.expect("a projection in f32");
            let tensors = [(W_NAME.to_string(), (vec![to, dim], values))];
            write(&folder.join(W), &Tensors::from(tensors), metadata(&[]))?;
        }
        Ok(())
    }
}

/// PEFT has biases for all layers or for none: those that do not change are zeros.
fn with_all_biases(peft: &mut Tensors) {
    if !peft.keys().any(|name| name.ends_with(".bias")) {
        return;
    }
    let missing = peft.iter().filter_map(|(name, (shape, _))| {
        let layer = name.strip_suffix(".lora_B.weight")?;
        let bias = format!("{layer}.lora_B.bias");
        (!peft.contains_key(&bias)).then(|| (bias, (vec![shape[0]], vec![0.0; shape[0]])))
    });
    let missing: Vec<_> = missing.collect();
    peft.extend(missing);
}

/// Gives all products of a PEFT file the largest of their ranks, with zeros: the file has no alpha, and
/// readers take it to be the rank of one of them.
fn with_one_rank(peft: &mut Tensors) {
    let is_down = |name: &&String| name.ends_with(".lora_A.weight");
    let ranks = peft.iter().filter(|(name, _)| is_down(name));
    let Some(most) = ranks.map(|(_, (shape, _))| shape[0]).max() else {
        return;
    };
    for (name, (shape, values)) in peft.iter_mut() {
        if is_down(&name) {
            let inputs = values.len() / shape[0];
            values.resize(most * inputs, 0.0);
            shape[0] = most;
        } else if name.ends_with(".lora_B.weight") && shape[1] < most {
            let padded = |row: &[f32]| [row, &vec![0.0; most - row.len()]].concat();
            *values = values.chunks_exact(shape[1]).flat_map(padded).collect();
            shape[1] = most;
        }
    }
}

/// Writes the LoRA of a model that was trained with them into `lora/` of a folder.
pub(crate) fn save(
    network: &Backbone,
    description: &str,
    folder: &Path,
) -> Result<(), FormatError> {
    let Some(lora) = network.lora() else {
        return Ok(());
    };
    let config = lora.config();
    let mut files = LoraFiles::of(network);
    for layer in lora.layers() {
        files.add(&layer, config.rank, config.alpha);
    }
    let folder = folder.join(LORA_FOLDER);
    files.write(description, config.rank, config.alpha, &folder)
}

/// Reads the LoRA in `lora/` of a folder, and the input for w, into a network that was made with
/// LoRA.
///
/// # Errors
/// When a file is missing or damaged, or is of other layers.
pub fn read_lora(folder: &Path, network: Backbone) -> Result<Backbone, FormatError> {
    let path = folder.join(LORA_FOLDER).join(KOHYA);
    let origin = path.display().to_string();
    let bad = |reason: String| FormatError::BadDescription {
        origin: origin.clone(),
        reason,
    };
    let stored = read(&path)?;
    let Some(lora) = network.lora() else {
        return Err(bad("the network has no LoRA to read into".into()));
    };
    let rank = lora.config().rank;
    let mut layers = lora.layers();
    for layer in &mut layers {
        let name = kohya_name(&network, &layer.name);
        let [down, up] = shapes(layer, rank);
        let part = |part: &str, shape: &[usize]| match stored.get(&format!("{name}.{part}.weight"))
        {
            Some((found, values)) if found == shape => Ok(values.clone()),
            Some((found, _)) => Err(bad(format!(
                "`{name}.{part}.weight` must be {shape:?}, and is {found:?} in the file"
            ))),
            None => Err(bad(format!("`{name}.{part}.weight` is missing"))),
        };
        layer.down = part("lora_down", &down)?;
        layer.up = part("lora_up", &up)?;
    }
    let mut network = network.with_lora_layers(&layers);
    if let Some(w) = network.w_projection() {
        let [dim, to] = w.dims();
        let stored = read(&folder.join(LORA_FOLDER).join(W))?;
        match stored.get(W_NAME) {
            Some((shape, values)) if *shape == [to, dim] => {
                network = network.with_w_projection(values);
            }
            _ => {
                return Err(bad(format!(
                    "{W} next to it has no `{W_NAME}` of {to}x{dim}"
                )));
            }
        }
    }
    Ok(network)
}

/// Copies the files of a model that was trained with LoRA. Says whether there is an input for w among
/// them, which the file under kohya's names has no place for.
///
/// # Errors
/// When there are none, or they cannot be copied.
pub fn export_lora(from: &Path, to: &Path) -> Result<bool, FormatError> {
    let folder = from.join(LORA_FOLDER);
    if !folder.join(PEFT).is_file() {
        return Err(FormatError::NoModel {
            path: from.into(),
            expected: "LoRA in `lora/`: only a student that was trained with `[lora]` in its recipe has them, and of others a LoRA can be extracted",
        });
    }
    for name in [PEFT, KOHYA, W] {
        let path = folder.join(name);
        if path.is_file() {
            write_atomically(&to.join(name), &reading::bytes(&path)?)?;
        }
    }
    Ok(folder.join(W).is_file())
}

/// The texts in the metadata of a file.
fn entries(bytes: &[u8], path: &Path) -> Result<Entries, FormatError> {
    let header = SafeTensors::read_metadata(bytes);
    let (_, header) = header.map_err(|error| FormatError::NotSafetensors {
        origin: path.display().to_string(),
        reason: error.to_string(),
    })?;
    Ok(header
        .metadata()
        .iter()
        .flatten()
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect())
}

fn kohya_name(network: &Backbone, layer: &str) -> String {
    format!(
        "lora_unet_{}",
        kohya_layer(&network.config(), layer).replace('.', "_")
    )
}

/// The name of a layer in files of sd-scripts, with its dots: diffusers' for Stable Diffusion 1 and
/// 2, that of the single file for SDXL.
pub(crate) fn kohya_layer(config: &BackboneConfig, layer: &str) -> String {
    if config.pooled_width().is_none() {
        return layer.into();
    }
    let BackboneConfig::UNet(config) = config;
    let weight = UNetNames::of_layers(config).of(&format!("{layer}.weight"));
    weight.trim_end_matches(".weight").to_string()
}

fn is_sdxl(network: &Backbone) -> bool {
    network.config().pooled_width().is_some()
}

/// Shapes of A and B. Those of a convolution have a kernel.
fn shapes(layer: &LoraLayer, rank: usize) -> [Vec<usize>; 2] {
    let (outputs, inputs) = (layer.shape[0], &layer.shape[1..]);
    let kernel = vec![1; inputs.len() - 1];
    [
        [&[rank], inputs].concat(),
        [vec![outputs, rank], kernel].concat(),
    ]
}

fn write(path: &Path, tensors: &Tensors, entries: Entries) -> Result<(), FormatError> {
    let failed = |error: safetensors::SafeTensorError| FormatError::NotSafetensors {
        origin: path.display().to_string(),
        reason: error.to_string(),
    };
    let bytes: BTreeMap<&String, (&Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(name, (shape, values))| {
            let bytes = values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect();
            (name, (shape, bytes))
        })
        .collect();
    let mut views = BTreeMap::new();
    for (name, (shape, bytes)) in &bytes {
        let view = TensorView::new(Dtype::F32, shape.to_vec(), bytes).map_err(failed)?;
        views.insert(name.to_string(), view);
    }
    write_atomically_with(path, |out| file::write(views, &entries, out))
}

fn read(path: &Path) -> Result<Tensors, FormatError> {
    let bytes = reading::bytes(path)?;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| FormatError::NotSafetensors {
        origin: path.display().to_string(),
        reason: error.to_string(),
    })?;
    let of_f32 = file.tensors().into_iter();
    let of_f32 = of_f32.filter(|(_, view)| view.dtype() == Dtype::F32);
    let tensors = of_f32.map(|(name, view)| {
        let values = view.data().chunks_exact(4);
        let values = values.map(|b| b.try_into().map_or(f32::NAN, f32::from_le_bytes));
        (name, (view.shape().to_vec(), values.collect()))
    });
    let tensors: Tensors = tensors.collect();
    let broken = tensors.iter();
    let broken = broken.filter(|(_, (_, values))| !finite::all(values.iter().copied()));
    let names: Vec<String> = broken.map(|(name, _)| name.clone()).collect();
    match names.is_empty() {
        true => Ok(tensors),
        false => Err(FormatError::NotFinite {
            origin: path.display().to_string(),
            names,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The product of each layer stays, with zeros in the new ranks.
    #[test]
    fn layers_of_one_file_get_one_rank() {
        let mut peft = Tensors::from([
            ("a.lora_A.weight".into(), (vec![1, 2], vec![1.0, 2.0])),
            ("a.lora_B.weight".into(), (vec![2, 1], vec![3.0, 4.0])),
            ("b.lora_A.weight".into(), (vec![3, 1, 1, 1], vec![1.0; 3])),
            ("b.lora_B.weight".into(), (vec![1, 3, 1, 1], vec![1.0; 3])),
            ("a.lora_B.bias".into(), (vec![2], vec![5.0, 6.0])),
        ]);
        let other = |peft: &Tensors| peft["b.lora_A.weight"].clone();
        let before = other(&peft);
        with_one_rank(&mut peft);
        let down = vec![1.0, 2.0, 0.0, 0.0, 0.0, 0.0];
        assert_eq!(peft["a.lora_A.weight"], (vec![3, 2], down));
        let up = vec![3.0, 0.0, 0.0, 4.0, 0.0, 0.0];
        assert_eq!(peft["a.lora_B.weight"], (vec![2, 3], up));
        assert_eq!(peft["a.lora_B.bias"], (vec![2], vec![5.0, 6.0]));
        assert_eq!(other(&peft), before);
    }
}
