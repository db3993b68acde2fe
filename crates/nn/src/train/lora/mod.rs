//! LoRA (2106.09685).

#[cfg(test)]
mod tests;

use super::init::{Init, transposed};
use crate::error::ConfigError;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{Device, Tensor};
use fewstep_diffusion::limits::{RANK, count, factor};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};

/// Which layers have LoRA, and of what rank.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoraConfig {
    /// Rank r.
    pub rank: usize,
    /// The product counts `alpha / rank` times.
    pub alpha: f64,
    /// Layers with LoRA: those whose name is one of these or ends with a dot and one of these.
    #[serde(default = "attention")]
    pub targets: Vec<String>,
}

impl LoraConfig {
    /// Those of latent consistency models: rank 64 in all attention.
    pub fn default_attention() -> Self {
        Self {
            rank: 64,
            alpha: 64.0,
            targets: attention(),
        }
    }

    /// Checks every number.
    ///
    /// # Errors
    /// Names the field, what it is, and what it must be.
    pub fn validate(&self) -> Result<(), ConfigError> {
        count("lora.rank", self.rank, RANK)?;
        Ok(factor("lora.alpha", self.alpha)?)
    }
}

/// The projections of all attention, which is what other tools train too.
fn attention() -> Vec<String> {
    ["to_q", "to_k", "to_v", "to_out.0"]
        .map(String::from)
        .into()
}

/// The number of the first parameter: those of network and ControlNet come before.
const FIRST_PARAMETER: u64 = 1 << 40;

/// LoRA of a network: each adds the product of two thin matrices to a weight, W + (alpha / r) B A.
#[derive(Module, Debug)]
pub struct Lora {
    factors: Vec<Factors>,
    #[module(skip)]
    layers: Vec<Layer>,
    #[module(skip)]
    config: LoraConfig,
}

/// A and B of one layer, in the layout of the layer's weight: A is `[inputs, rank]` and B `[rank,
/// outputs]`. An input of a convolution is a channel at a position of the kernel.
#[derive(Module, Debug)]
struct Factors {
    down: Param<Tensor<2>>,
    up: Param<Tensor<2>>,
}

/// A layer with LoRA.
#[derive(Clone, Debug, PartialEq)]
struct Layer {
    name: String,
    weight: ParamId,
    /// Shape of the weight: `[inputs, outputs]` of a linear layer, `[outputs, inputs, height,
    /// width]` of a convolution.
    shape: Vec<usize>,
}

/// The LoRA of one layer as PyTorch's tools have it.
#[derive(Clone, Debug)]
pub struct LoraLayer {
    /// The layer's name.
    pub name: String,
    /// A, `[rank, inputs]` row by row; inputs of a convolution by channel, then by position in the
    /// kernel.
    pub down: Vec<f32>,
    /// B, `[outputs, rank]` row by row.
    pub up: Vec<f32>,
    /// Outputs, inputs, height and width of the kernel; a linear layer has the first two.
    pub shape: Vec<usize>,
}

impl Lora {
    /// New factors for a network, whose product is zero.
    pub(crate) fn new(
        network: &impl Module,
        config: &LoraConfig,
        seed: u64,
        device: &Device,
    ) -> Result<Self, ConfigError> {
        config.validate()?;
        let mut search = Search {
            targets: &config.targets,
            path: vec![],
            layers: vec![],
        };
        network.visit(&mut search);
        let layers = search.layers;
        if layers.is_empty() {
            return Err(ConfigError::new(format!(
                "no layer of the network has one of the names in `lora.targets` = {:?}: the projections of attention are `to_q`, `to_k`, `to_v` and `to_out.0`",
                config.targets
            )));
        }
        let init = &mut Init::starting_at(FIRST_PARAMETER, seed, device);
        let factors = layers.iter().map(|layer| {
            let [inputs, outputs] = layer.sides();
            Factors {
                down: init.projection(inputs, config.rank).weight,
                up: init.zero_projection(config.rank, outputs).weight,
            }
        });
        Ok(Self {
            factors: factors.collect(),
            layers,
            config: config.clone(),
        })
    }

    /// What they were made from.
    pub fn config(&self) -> &LoraConfig {
        &self.config
    }

    /// The network with its LoRA added to its weights. Gradients reach the factors through it.
    pub(crate) fn merge<M: Module>(&self, network: M) -> M {
        let scale = self.config.alpha / self.config.rank as f64;
        let changes = self
            .layers
            .iter()
            .zip(&self.factors)
            .map(|(layer, factors)| {
                let change = factors.down.val().matmul(factors.up.val()) * scale;
                (layer.weight, change)
            });
        network.map(&mut Merge {
            changes: changes.collect(),
        })
    }

    /// Those of the layers of a block, if it has any.
    pub(crate) fn within(&self, block: &impl Module) -> Option<Self> {
        let mut weights = Weights(HashSet::new());
        block.visit(&mut weights);
        self.only(|layer| weights.0.contains(&layer.weight))
    }

    /// Those of layers outside the blocks of a U-Net's encoder and decoder, if it has any. Those of a
    /// ControlNet count as outside.
    pub(crate) fn outside_blocks(&self) -> Option<Self> {
        self.only(|layer| {
            let first = layer.name.split('.').next();
            !first.is_some_and(|first| ["down_blocks", "mid_block", "up_blocks"].contains(&first))
        })
    }

    fn only(&self, is_kept: impl Fn(&Layer) -> bool) -> Option<Self> {
        let all = self.layers.iter().zip(&self.factors);
        let kept = all.filter(|(layer, _)| is_kept(layer));
        let (layers, factors): (Vec<_>, Vec<_>) = kept
            .map(|(layer, factors)| (layer.clone(), factors.clone()))
            .unzip();
        (!layers.is_empty()).then(|| Self {
            factors,
            layers,
            config: self.config.clone(),
        })
    }

    /// The same layers with other values, in the order of [`Lora::layers`].
    pub(crate) fn with_layers(mut self, layers: &[LoraLayer]) -> Self {
        let rank = self.config.rank;
        let fill = |param: Param<Tensor<2>>, values: &[f32], rows: usize| {
            param.map(|old| Tensor::from_data(transposed(values, rows), &old.device()))
        };
        let old = std::mem::take(&mut self.factors).into_iter().zip(layers);
        let new = old.map(|(factors, layer)| Factors {
            down: fill(factors.down, &layer.down, rank),
            up: fill(factors.up, &layer.up, layer.shape[0]),
        });
        self.factors = new.collect();
        self
    }

    /// All layers as PyTorch's tools have them.
    pub fn layers(&self) -> Vec<LoraLayer> {
        let values = |tensor: Tensor<2>| -> Vec<f32> {
            // A parameter in memory can always be read back.
            tensor
                .transpose()
                .into_data()
                .try_to_vec()
                .unwrap_or_default()
        };
        let layers = self.layers.iter().zip(&self.factors);
        let layers = layers.map(|(layer, factors)| LoraLayer {
            name: layer.name.clone(),
            down: values(factors.down.val()),
            up: values(factors.up.val()),
            shape: match layer.shape[..] {
                [inputs, outputs] => vec![outputs, inputs],
                _ => layer.shape.clone(),
            },
        });
        layers.collect()
    }
}

impl Layer {
    /// Inputs and outputs of the weight as a matrix.
    fn sides(&self) -> [usize; 2] {
        match self.shape[..] {
            [inputs, outputs] => [inputs, outputs],
            [outputs, ref inputs @ ..] => [inputs.iter().product(), outputs],
            [] => [0, 0],
        }
    }
}

/// Finds the layers that get LoRA.
struct Search<'a> {
    targets: &'a [String],
    path: Vec<String>,
    layers: Vec<Layer>,
}

impl ModuleVisitor for Search<'_> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        // The variant of an enum is no part of a name.
        if !container_type.starts_with("Enum:") {
            self.path.push(name.into());
        }
    }

    fn exit_module(&mut self, _name: &str, container_type: &str) {
        if !container_type.starts_with("Enum:") {
            self.path.pop();
        }
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some((last, layer)) = self.path.split_last() else {
            return;
        };
        let name = layer.join(".");
        let ends = |target: &String| {
            let rest = name.strip_suffix(target.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        if last == "weight" && D > 1 && self.targets.iter().any(ends) {
            self.layers.push(Layer {
                name,
                weight: param.id,
                shape: param.lazy_shape().to_vec(),
            });
        }
    }
}

/// The weights of a block.
struct Weights(HashSet<ParamId>);

impl ModuleVisitor for Weights {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.insert(param.id);
    }
}

/// Adds LoRA to weights.
struct Merge {
    changes: HashMap<ParamId, Tensor<2>>,
}

impl ModuleMapper for Merge {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.changes.remove(&param.id) {
            None => param,
            Some(change) => param.map(|weight| {
                let change = match D {
                    2 => change,
                    _ => change.transpose(),
                };
                let shape = weight.shape();
                // A small change would be lost in 16 bits.
                weight.cast(change.dtype()) + change.reshape(shape)
            }),
        }
    }
}
