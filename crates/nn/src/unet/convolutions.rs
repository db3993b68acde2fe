//! Training all but the convolutions: most of a U-Net's weights stay as they are.

use super::UNet;
use crate::Backbone;
use burn::module::{ModuleMapper, Param, ParamId};
use burn::tensor::Tensor;
use std::collections::HashMap;

impl UNet {
    /// The weights of the convolutions in its blocks, those of a ControlNet included: how many
    /// numbers each has. Kernels of one position are not among them; they are linear layers of
    /// single pixels, and networks store some of these as such.
    pub fn convolution_weights(&self) -> HashMap<ParamId, usize> {
        let mut convolutions = Convolutions::default();
        self.clone().map_blocks(&mut convolutions);
        convolutions.weights
    }

    /// All but its [`convolution_weights`](Self::convolution_weights) remains to be trained: biases,
    /// normalisation, attention, embeddings, and the first and the last layer.
    pub fn freeze_convolutions(self) -> Self {
        self.map_blocks(&mut Convolutions::default())
    }
}

impl Backbone {
    /// How many numbers each weight of its convolutions has; see [`UNet::convolution_weights`].
    pub fn convolution_weights(&self) -> HashMap<ParamId, usize> {
        let Self::UNet(network) = self;
        network.convolution_weights()
    }

    /// With all but its convolutions left to train; see [`UNet::freeze_convolutions`].
    pub fn freeze_convolutions(self) -> Self {
        let Self::UNet(network) = self;
        Self::UNet(network.freeze_convolutions())
    }
}

/// Freezes the weights of convolutions, and lists them.
#[derive(Default)]
struct Convolutions {
    weights: HashMap<ParamId, usize>,
}

impl ModuleMapper for Convolutions {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let shape = param.lazy_shape();
        match shape.to_vec()[..] {
            [_, _, height, width] if height * width > 1 => {
                self.weights.insert(param.id, shape.num_elements());
                param.set_require_grad(false)
            }
            _ => param,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ControlNetConfig, Fusion, Resampling, TextAttention, UNetConfig};
    use burn::module::{Module, ModuleVisitor};
    use burn::tensor::{Device, Gradients};
    use fewstep_diffusion::random::{Purpose, normal};
    use fewstep_diffusion::{Inputs, Network, PromptEmbeds};

    /// Past the zeros, so that every layer matters.
    struct Shake;

    impl ModuleMapper for Shake {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|value| value + 0.02)
        }
    }

    /// The gradient of every parameter, by its name.
    struct Named<'a> {
        gradients: &'a Gradients,
        path: Vec<String>,
        found: Vec<(String, Option<Vec<f32>>)>,
    }

    impl ModuleVisitor for Named<'_> {
        fn enter_module(&mut self, name: &str, container: &str) {
            if !container.starts_with("Enum:") {
                self.path.push(name.into());
            }
        }

        fn exit_module(&mut self, _name: &str, container: &str) {
            if !container.starts_with("Enum:") {
                self.path.pop();
            }
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let gradient = param.val().grad(self.gradients);
            let gradient = gradient.map(|values| values.into_data().try_to_vec().expect("f32"));
            self.found.push((self.path.join("."), gradient));
        }
    }

    fn gradients(network: UNet) -> Vec<(String, Option<Vec<f32>>)> {
        let draw = |shape| normal(5, &[0, 1], Purpose::InitialNoise, shape, &Device::flex());
        let text = network.config().text;
        let states = text.map(|text| draw([5, text.width, 1]).squeeze_dim::<3>(3));
        let inputs = Inputs {
            prompt: states.map(|states| PromptEmbeds {
                uncond: states.clone().into(),
                cond: states.into(),
            }),
            control: network.controlnet().map(|_| draw([2, 8, 8])),
            ..Inputs::default()
        };
        let output = network.forward(draw([2, 8, 8]), &[10.0, 900.0], &inputs);
        let gradients = output.square().sum().backward();
        let mut named = Named {
            gradients: &gradients,
            path: vec![],
            found: vec![],
        };
        network.visit(&mut named);
        named.found
    }

    /// By their names, the weights of convolutions in blocks are those without a gradient, and all
    /// other gradients are to the bit what they are without anything frozen.
    #[test]
    fn only_the_convolutions_of_blocks_have_no_gradient() {
        let plain = UNetConfig {
            channels: 2,
            widths: vec![16, 32],
            attention: vec![true, false],
            head: 8,
            groups: 4,
            ..UNetConfig::default()
        };
        let text = |linear, resampling| UNetConfig {
            text: Some(TextAttention { width: 6, linear }),
            resampling,
            ..plain.clone()
        };
        let controlled = UNetConfig {
            controlnet: Some(ControlNetConfig {
                channels: 2,
                stem: vec![8, 12],
                fusion: Fusion::ZeroConv,
                unit: false,
            }),
            ..plain.clone()
        };
        for config in [
            text(true, Resampling::Block),
            text(false, Resampling::Corner),
            controlled,
            plain,
        ] {
            let network = UNet::new(&config, 1, &Device::flex()).expect("valid");
            let network = network.map(&mut Shake).unfreeze().train();
            let whole = gradients(network.clone());
            let part = gradients(network.clone().freeze_convolutions());
            let mut frozen = 0;
            for ((name, whole), (_, part)) in whole.iter().zip(&part) {
                let ends = ["conv1.weight", "conv2.weight", ".conv.weight"];
                let in_block = name.contains("_block");
                match in_block && ends.iter().any(|end| name.ends_with(end)) {
                    true => assert_eq!(part, &None, "{name}"),
                    false => assert_eq!(part, whole, "{name}"),
                }
                assert!(whole.is_some(), "{name}");
                frozen += usize::from(part.is_none());
            }
            assert_eq!(frozen, network.convolution_weights().len());
            assert!(frozen > 8);
        }
    }
}
