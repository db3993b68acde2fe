//! A LoRA of a student whose weights were all trained: what is nearest to its difference to its base.

mod factors;

use crate::lora::LoraFiles;
use crate::{FormatError, Model};
use burn::store::{BurnToPyTorchAdapter, ModuleSnapshot};
use factors::factors;
use fewstep_diffusion::limits::{RANK, count};
use fewstep_nn::{Backbone, LoraLayer};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A parameter in the layout of PyTorch: shape and values.
type Parameters = BTreeMap<String, (Vec<usize>, Vec<f32>)>;
/// The input for w.
const W_INPUT: &str = "time_embedding.cond_proj.weight";

/// What a LoRA keeps of the difference between a student and its base.
#[derive(Clone, Debug, PartialEq)]
pub struct ExtractedLora {
    /// Layers that differ.
    pub layers: usize,
    /// How much of the difference a LoRA of each rank loses, from 0 to 1: the root of the share of its
    /// squares. The last rank is that of the files.
    pub losses: Vec<(usize, f64)>,
    /// The same for the file of PEFT at that rank, which has no place for norms.
    pub peft_loss: f64,
}

/// Writes the LoRA of this rank that brings the base nearest to the student, as a folder of files: for
/// diffusers and PEFT, for kohya's readers, and the input for w where the student has one.
///
/// # Errors
/// When the two are of different shapes or predictions, are the same, or cannot be written.
pub fn extract_lora(
    student: &Model,
    base: &Model,
    rank: usize,
    folder: &Path,
) -> Result<ExtractedLora, FormatError> {
    let bad = |reason: String| FormatError::Extract { reason };
    count("rank", rank, RANK).map_err(|error| bad(error.to_string()))?;
    let (ours, theirs) = (&student.recipe.prediction, &base.recipe.prediction);
    if ours != theirs {
        return Err(bad(format!(
            "the student predicts {ours:?} and the base {theirs:?}, and readers of a LoRA take the base's"
        )));
    }
    let changes = changes(&student.network, &base.network).map_err(bad)?;
    let squares = |values: &[f32]| -> f64 {
        let squares = values.iter().map(|value| f64::from(*value).powi(2));
        squares.sum()
    };
    let total: f64 = changes.values().map(|(_, change)| squares(change)).sum();
    if total == 0.0 {
        return Err(bad("the student has the weights of the base".into()));
    }
    let mut files = LoraFiles::of(&student.network);
    let mut kept = vec![0.0; rank];
    // Squares that are written as they are, and those that PEFT's file lacks.
    let (mut whole, mut norms) = (0.0, 0.0);
    for (name, (shape, change)) in &changes {
        let layer = layer_of(name);
        let part = name.rsplit('.').next().unwrap_or_default();
        let weight = changes.get(&format!("{layer}.weight"));
        let is_norm = weight.is_none_or(|(shape, _)| shape.len() < 2);
        if is_norm {
            whole += squares(change);
            norms += squares(change);
            files.add_difference(layer, part, shape.clone(), change.clone());
        } else if part == "bias" {
            whole += squares(change);
            files.add_bias(layer, change.clone());
        } else {
            let sides = [shape[0], shape[1..].iter().product()];
            let found = factors(change, sides, rank)
                .ok_or_else(|| bad(format!("the singular values of `{name}` were not found")))?;
            for (kept, value) in kept.iter_mut().zip(&found.singular) {
                *kept += value * value;
            }
            let layer = LoraLayer {
                name: layer.into(),
                down: found.down,
                up: found.up,
                shape: shape.clone(),
            };
            files.add(&layer, found.rank, found.rank as f64);
        }
    }
    let lost = |rank: usize| {
        let kept: f64 = whole + kept[..rank].iter().sum::<f64>();
        (1.0 - kept / total).max(0.0)
    };
    let powers = std::iter::successors(Some(1), |rank| Some(rank * 2));
    let ranks = powers.take_while(|power| *power < rank).chain([rank]);
    files.write(&student.description()?, rank, rank as f64, folder)?;
    let layers: BTreeSet<&str> = changes.keys().map(|name| layer_of(name)).collect();
    Ok(ExtractedLora {
        layers: layers.len(),
        losses: ranks.map(|rank| (rank, lost(rank).sqrt())).collect(),
        peft_loss: (lost(rank) + norms / total).sqrt(),
    })
}

/// The layer of a parameter.
fn layer_of(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(layer, _)| layer)
}

/// What the student has more than the base, of all layers in which a parameter differs.
fn changes(student: &Backbone, base: &Backbone) -> Result<Parameters, String> {
    let [mut changes, mut base] = [student, base].map(parameters);
    // The input for w is a file of its own.
    changes.remove(W_INPUT);
    base.remove(W_INPUT);
    let names = |parameters: &Parameters| -> BTreeSet<String> {
        let shapes = parameters.iter();
        shapes
            .map(|(name, (shape, _))| format!("`{name}` {shape:?}"))
            .collect()
    };
    let [ours, theirs] = [&changes, &base].map(names);
    if let Some(other) = ours.symmetric_difference(&theirs).next() {
        return Err(format!(
            "the student and the base are of different shapes: only one of them has {other}. Give the model that the student was distilled from"
        ));
    }
    let mut differ = BTreeSet::new();
    for (name, (_, values)) in &mut changes {
        let of_base = &base[name].1;
        if values != of_base {
            differ.insert(layer_of(name).to_string());
        }
        for (value, of_base) in values.iter_mut().zip(of_base) {
            *value -= of_base;
        }
    }
    changes.retain(|name, _| differ.contains(layer_of(name)));
    Ok(changes)
}

fn parameters(network: &Backbone) -> Parameters {
    let network = network.clone().merged();
    let tensors = network.collect(None, Some(Box::new(BurnToPyTorchAdapter)), true);
    let tensors = tensors.into_iter().map(|tensor| {
        let bytes = tensor.to_bytes().expect("a parameter in memory");
        let values = bytes.as_chunks().0.iter();
        let values = values.map(|b| f32::from_le_bytes(*b)).collect();
        (tensor.name.clone(), (tensor.shape.to_vec(), values))
    });
    tensors.collect()
}
