//! Weights that are stored in half the bits, and widened while they are used.

use crate::UNet;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{FloatDType, Tensor};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// How the weights of a network that is not trained lie in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// As they are computed with, 32 bits each.
    #[default]
    F32,
    /// The first 16 of these bits: eight of the significand, the whole range. Each block widens its weights for the time of
    /// its call, and computes in 32 bits.
    Bf16,
}

impl UNet {
    /// The same network with the weights of its blocks stored so. It can be called, and is not for training or merging.
    pub fn stored_in(self, precision: Precision) -> Self {
        match precision {
            Precision::F32 => self,
            Precision::Bf16 => self.map_blocks(&mut Cast(FloatDType::BF16)),
        }
    }
}

/// A block as it computes: itself, or where its weights are stored in half the bits a copy with wide ones.
pub(crate) fn widened<M: Module>(block: &M) -> Cow<'_, M> {
    let mut narrow = Narrow(false);
    block.visit(&mut narrow);
    match narrow.0 {
        false => Cow::Borrowed(block),
        true => Cow::Owned(block.clone().map(&mut Cast(FloatDType::F32))),
    }
}

/// Whether any weight is stored in half the bits.
struct Narrow(bool);

impl ModuleVisitor for Narrow {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0 |= D > 1 && FloatDType::from(param.val().dtype()) == FloatDType::BF16;
    }
}

/// Stores weights in this type; what is added and multiplied channel by channel stays as it is.
struct Cast(FloatDType);

impl ModuleMapper for Cast {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match D {
            1 => param,
            _ => param.map(|weight| weight.cast(self.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AdapterConfig, Fusion, Initial, Resampling, TextAttention, UNetConfig};
    use burn::tensor::{Device, Shape};
    use fewstep_diffusion::random::{Purpose, normal};
    use fewstep_diffusion::{Conditioning, Network, Text};

    /// Makes what starts at zero count. Where it is asked to, it leaves only what 16 bits can tell.
    struct Prepare {
        rounded: bool,
    }

    impl ModuleMapper for Prepare {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|value| {
                let value = value + 0.02;
                match self.rounded {
                    true => value.cast(FloatDType::BF16).cast(FloatDType::F32),
                    false => value,
                }
            })
        }
    }

    fn network(resampling: Resampling, text: bool, rounded: bool) -> UNet {
        let config = UNetConfig {
            channels: 2,
            widths: vec![16, 32],
            attention: vec![true, false],
            head: 8,
            groups: 4,
            resampling,
            dropout: 0.1,
            text: text.then_some(TextAttention {
                width: 6,
                linear: text,
            }),
            ..UNetConfig::default()
        };
        let network = UNet::new(&config, 1, &Device::flex()).expect("valid");
        let adapter = AdapterConfig::for_hint([3, 8, 8], [2, 8, 8], &config, Fusion::ZeroConv);
        let network = network.with_adapter(&adapter, Initial::Base, 2);
        network.expect("fits").map(&mut Prepare { rounded })
    }

    fn answer(network: &UNet) -> Vec<f32> {
        let draw = |shape| normal(5, &[0, 1], Purpose::InitialNoise, shape, &Device::flex());
        let states = draw([5, 6, 1]).squeeze_dim::<3>(3);
        let conditioning = Conditioning {
            text: network.config().text.map(|_| Text {
                empty: states.clone(),
                states,
            }),
            hint: Some(draw([3, 8, 8])),
            ..Conditioning::default()
        };
        let output = network.forward(draw([2, 8, 8]), &[10.0, 900.0], &conditioning);
        output.into_data().try_to_vec().expect("f32")
    }

    /// Numbers of 32 bits that the parameters take.
    struct Words(f64);

    impl ModuleVisitor for Words {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let numbers = Shape::from(param.val().dims()).num_elements() as f64;
            self.0 += match param.val().dtype().size() {
                2 => numbers / 2.0,
                _ => numbers,
            };
        }
    }

    /// What 16 bits can tell is told; what they cannot is a relative error of at most 1/256 in each weight.
    #[test]
    fn stored_weights_are_the_same_but_for_rounding() {
        for resampling in [Resampling::Conv, Resampling::Corner, Resampling::Block] {
            for text in [false, true] {
                let stored = |rounded| {
                    let network = network(resampling, text, rounded);
                    let half = network.clone().stored_in(Precision::Bf16);
                    (answer(&network), answer(&half))
                };
                let (wide, half) = stored(true);
                assert_eq!(wide, half, "{resampling:?}");
                let (wide, half) = stored(false);
                assert_ne!(wide, half);
                let largest = wide.iter().fold(0f32, |most, v| most.max(v.abs()));
                for (wide, half) in wide.iter().zip(&half) {
                    assert!((wide - half).abs() < 0.02 * largest, "{wide} and {half}");
                }
            }
        }
    }

    #[test]
    fn stored_weights_take_half_the_memory() {
        let words = |network: &UNet| {
            let mut words = Words(0.0);
            network.visit(&mut words);
            words.0
        };
        let network = network(Resampling::Conv, true, false);
        let half = network.clone().stored_in(Precision::Bf16);
        let share = words(&half) / words(&network);
        assert!((0.5..0.6).contains(&share), "{share}");
    }
}
