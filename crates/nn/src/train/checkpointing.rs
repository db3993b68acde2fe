//! How blocks are called: with their LoRA, with weights as they can be computed with, and with
//! gradient checkpointing, where a block keeps its inputs and computes the rest again in the backward
//! pass.

use super::lora::Lora;
use super::precision::upcast;
use burn::backend::GradientCheckpointingStrategy;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::Tensor;
use fewstep_kernels::DispatchTensor;
use std::borrow::Cow;

/// Inputs of a block besides the map.
#[derive(Clone, Copy, Default)]
pub(crate) struct BlockInputs<'a> {
    /// Time, class and w, `[batch, embedding_dim]`.
    pub(crate) embedding: Option<&'a Tensor<2>>,
    /// States of a text encoder, `[batch, states, text width]`.
    pub(crate) text: Option<&'a Tensor<3>>,
    /// LoRA of the network, whose layers in the block are yet to be added to its weights.
    pub(crate) lora: Option<&'a Lora>,
}

/// A block as it computes on this map: with its part of the LoRA, and with weights in 32 bits where
/// the device wants them.
pub(crate) fn ready<'a, M: Module, const D: usize>(
    block: &'a M,
    x: &Tensor<D>,
    lora: Option<&Lora>,
) -> Cow<'a, M> {
    let lora = lora.and_then(|lora| lora.within(block));
    let block = upcast(block, x);
    match lora {
        Some(lora) => Cow::Owned(lora.merge(block.into_owned())),
        None => block,
    }
}

/// The output of a block, whose `forward` must draw nothing at random. Where the map is set to
/// gradient checkpointing, only the block's inputs and parameters are kept.
pub(crate) fn checkpointed<M: Module + Sync + 'static, const D: usize>(
    block: &M,
    x: Tensor<D>,
    given: BlockInputs<'_>,
    forward: impl Fn(&M, Tensor<D>, BlockInputs<'_>) -> Tensor<D> + Send + Sync + 'static,
) -> Tensor<D> {
    if x.gradient_checkpointing_strategy() != Some(GradientCheckpointingStrategy::Balanced) {
        return forward(&ready(block, &x, given.lora), x, given);
    }
    let lora = given.lora.and_then(|lora| lora.within(block));
    let block = (block.clone(), lora);
    let mut inputs = vec![x.into_dispatch()];
    let (embedding, text) = (given.embedding.cloned(), given.text.cloned());
    let has = (embedding.is_some(), text.is_some());
    inputs.extend(embedding.map(Tensor::into_dispatch));
    inputs.extend(text.map(Tensor::into_dispatch));
    block.visit(&mut Parameters(&mut inputs));
    // A graph that is kept in one of its own steps would never be freed.
    let structure = block.valid();
    let output = fewstep_kernels::checkpointed(inputs, move |inputs| {
        let mut inputs = inputs.into_iter();
        let x = next::<D>(&mut inputs);
        let embedding = has.0.then(|| next::<2>(&mut inputs));
        let text = has.1.then(|| next::<3>(&mut inputs));
        let (block, lora) = structure.clone().map(&mut Values(inputs));
        let given = BlockInputs {
            embedding: embedding.as_ref(),
            text: text.as_ref(),
            lora: None,
        };
        forward(&ready(&block, &x, lora.as_ref()), x, given).into_dispatch()
    });
    Tensor::from_dispatch(output)
}

fn next<const D: usize>(inputs: &mut impl Iterator<Item = DispatchTensor>) -> Tensor<D> {
    let tensor = inputs.next();
    Tensor::from_dispatch(tensor.expect("as many as were given"))
}

/// Collects the parameters of a block.
struct Parameters<'a>(&'a mut Vec<DispatchTensor>);

impl ModuleVisitor for Parameters<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.push(param.val().into_dispatch());
    }
}

/// Gives a block other parameters.
struct Values<I>(I);

impl<I: Iterator<Item = DispatchTensor>> ModuleMapper for Values<I> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|_| next(&mut self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LoraConfig, TextAttention, UNet, UNetConfig};
    use burn::tensor::{Device, Gradients};
    use fewstep_diffusion::random::{Purpose, normal};
    use fewstep_diffusion::{Inputs, Network, PromptEmbeds};

    /// Moves every parameter, so that what starts at zero counts, and turns gradient checkpointing
    /// on or off.
    struct Prepare(bool);

    impl ModuleMapper for Prepare {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|value| {
                let value = (value.inner() + 0.02).autodiff().require_grad();
                match self.0 {
                    true => value.with_gradient_checkpointing_strategy(
                        GradientCheckpointingStrategy::Balanced,
                    ),
                    false => value,
                }
            })
        }
    }

    /// All gradients, parameter by parameter.
    struct Collect<'a>(&'a Gradients, Vec<Vec<f32>>);

    impl ModuleVisitor for Collect<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let gradient = param.val().grad(self.0);
            let values = gradient.map(|g| g.into_data().try_to_vec().expect("f32"));
            self.1.push(values.unwrap_or_default());
        }
    }

    fn gradients(lora: &[&str], depth: usize, checkpointing: bool) -> Vec<Vec<f32>> {
        let config = UNetConfig {
            channels: 2,
            widths: vec![16, 16],
            attention: vec![true, false],
            head: 8,
            groups: 4,
            text: Some(TextAttention {
                width: 6,
                linear: false,
            }),
            depths: vec![depth, 1],
            lora: (!lora.is_empty()).then(|| LoraConfig {
                rank: 2,
                alpha: 2.0,
                targets: lora.iter().map(|name| name.to_string()).collect(),
            }),
            ..UNetConfig::default()
        };
        let network = UNet::new(&config, 1, &Device::flex()).expect("valid");
        let network = network.train().map(&mut Prepare(checkpointing));
        let network = match lora {
            [] => network,
            _ => network.freeze_all_but_lora(),
        };
        let draw = |shape| normal(5, &[0, 1], Purpose::InitialNoise, shape, &Device::flex());
        let states = draw([5, 6, 1]).squeeze_dim::<3>(3);
        let inputs = Inputs {
            prompt: Some(PromptEmbeds {
                uncond: states.clone().into(),
                cond: states.into(),
            }),
            ..Inputs::default()
        };
        let output = network.forward(draw([2, 8, 8]), &[10.0, 900.0], &inputs);
        let mut collect = Collect(&output.square().sum().backward(), vec![]);
        network.visit(&mut collect);
        collect.1
    }

    /// Of blocks of one transformer layer and of several, with LoRA of some layers, inside blocks and
    /// outside, and of all that have names of their own.
    #[test]
    fn checkpointing_changes_no_gradient() {
        let all = "to_q to_k to_v to_out.0 proj ff.net.2 proj_in proj_out conv conv1 conv2 conv_in conv_out";
        for lora in ["", "to_k conv2 conv_out", all] {
            let lora: Vec<&str> = lora.split_whitespace().collect();
            for depth in [1, 3] {
                let plain = gradients(&lora, depth, false);
                let again = gradients(&lora, depth, true);
                assert!(plain.iter().flatten().any(|g| *g != 0.0));
                let sizes = plain.iter().flatten().map(|g| g.abs());
                let scale = sizes.fold(0f32, f32::max);
                for (plain, again) in plain.iter().zip(&again) {
                    assert_eq!(plain.len(), again.len());
                    let pairs = plain.iter().zip(again);
                    assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-5 * scale));
                }
            }
        }
    }
}
