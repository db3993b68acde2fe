//! Fewer than 32 bits: weights that are stored in them and upcast while they are used, and networks
//! that compute in bf16.

use crate::error::ConfigError;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{DType, Device, FloatDType, Tensor};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;

/// The type in which numbers are stored or computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// The first 16 of these bits: eight of the significand, the whole range.
    Bf16,
    /// 16 bits with eleven of the significand, and values up to 65504: for storing weights.
    F16,
}

impl Precision {
    /// The type of tensors.
    pub fn dtype(self) -> FloatDType {
        match self {
            Precision::F32 => FloatDType::F32,
            Precision::Bf16 => FloatDType::BF16,
            Precision::F16 => FloatDType::F16,
        }
    }

    /// Bytes of a number.
    pub fn bytes(self) -> u64 {
        match self {
            Precision::F32 => 4,
            Precision::Bf16 | Precision::F16 => 2,
        }
    }

    /// Whether networks can compute so on a device.
    ///
    /// # Errors
    /// Names what cannot be done, and where it can.
    pub fn check(self, device: &Device) -> Result<(), ConfigError> {
        match fewstep_kernels::device::can_compute_in(device, self.dtype()) {
            true => Ok(()),
            false => Err(ConfigError::new(format!(
                "networks cannot compute in {self} on this device: bf16 runs on CUDA devices only; set the precision to f32 (in a recipe `run.precision`)"
            ))),
        }
    }

    /// Whether frozen weights can be stored so on a device, while the network computes in f32.
    ///
    /// # Errors
    /// Names what cannot be done, and where it can.
    pub fn check_stored(self, device: &Device) -> Result<(), ConfigError> {
        match fewstep_kernels::device::can_store(device, self.dtype()) {
            true => Ok(()),
            false => Err(ConfigError::new(format!(
                "`teacher_precision` is \"{self}\", and weights cannot be stored in {self} on this device: that works on the CPU and on CUDA devices; take \"f32\""
            ))),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
            Precision::F16 => "f16",
        })
    }
}

/// A block as it computes on this map: itself, or a copy with weights in f32 where it computes in
/// f32, stores them in 16 bits, and the device's operations do not widen them piece by piece.
pub(crate) fn upcast<'a, M: Module, const D: usize>(block: &'a M, x: &Tensor<D>) -> Cow<'a, M> {
    if x.dtype() != DType::F32 || fewstep_kernels::device::widens_pieces(&x.device()) {
        return Cow::Borrowed(block);
    }
    let mut has_bf16 = HasBf16(false);
    block.visit(&mut has_bf16);
    match has_bf16.0 {
        false => Cow::Borrowed(block),
        true => Cow::Owned(block.clone().map(&mut Cast(FloatDType::F32))),
    }
}

/// Whether any weight is stored in bf16.
struct HasBf16(bool);

impl ModuleVisitor for HasBf16 {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0 |= D > 1 && FloatDType::from(param.val().dtype()) == FloatDType::BF16;
    }
}

/// Stores weights in this type; what is added and multiplied channel by channel stays as it is.
pub(crate) struct Cast(pub(crate) FloatDType);

impl ModuleMapper for Cast {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match D {
            1 => param,
            _ => param.map(|weight| {
                let stored = FloatDType::from(weight.dtype()) == self.0;
                match stored || !fits(&weight, self.0) {
                    true => weight,
                    false => weight.cast(self.0),
                }
            }),
        }
    }
}

/// Whether no weight is too large for a type.
fn fits<const D: usize>(weight: &Tensor<D>, dtype: FloatDType) -> bool {
    dtype != FloatDType::F16 || {
        let most = weight.clone().abs().max().into_scalar::<f32>();
        most <= f32::from(burn::tensor::f16::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Fusion, Initial, Resampling, TextAttention, UNet, UNetConfig, WeightFormat};
    use burn::tensor::Shape;
    use fewstep_diffusion::random::{Purpose, normal};
    use fewstep_diffusion::{Inputs, Network, PromptEmbeds};

    /// Moves every parameter, so that what starts at zero counts; with `rounded` to what 16 bits
    /// hold.
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
        let controlnet = config.controlnet_for([3, 8, 8], [2, 8, 8], Fusion::ZeroConv);
        let network = network.with_controlnet(&controlnet, Initial::Base, 2);
        network.expect("fits").map(&mut Prepare { rounded })
    }

    fn answer(network: &UNet) -> Vec<f32> {
        let draw = |shape| normal(5, &[0, 1], Purpose::InitialNoise, shape, &Device::flex());
        let states = draw([5, 6, 1]).squeeze_dim::<3>(3);
        let inputs = Inputs {
            prompt: network.config().text.map(|_| PromptEmbeds {
                uncond: states.clone().into(),
                cond: states.into(),
            }),
            control: Some(draw([3, 8, 8])),
            ..Inputs::default()
        };
        let output = network.forward(draw([2, 8, 8]), &[10.0, 900.0], &inputs);
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

    /// The largest distance of values from others, in shares of the largest of these.
    fn far(values: &[f32], others: &[f32]) -> f32 {
        let largest = others.iter().fold(0f32, |most, v| most.max(v.abs()));
        let distances = values.iter().zip(others).map(|(a, b)| (a - b).abs());
        distances.fold(0f32, f32::max) / largest
    }

    /// The order of sums is another one where blocks are widened.
    const ORDER: f32 = 1e-5;

    /// Weights that 16 bits hold exactly give the same output; others have a relative error of at
    /// most 1/256 each.
    #[test]
    fn weights_stored_in_bf16_give_the_same_except_for_rounding() {
        for resampling in [Resampling::Conv, Resampling::Corner, Resampling::Block] {
            for text in [false, true] {
                let stored = |rounded| {
                    let network = network(resampling, text, rounded);
                    let half = network.clone().with_weight_dtype(Precision::Bf16);
                    (answer(&network), answer(&half))
                };
                let (wide, half) = stored(true);
                assert_eq!(wide, half, "{resampling:?}");
                let (wide, half) = stored(false);
                assert!((ORDER..0.02).contains(&far(&half, &wide)));
            }
        }
    }

    /// Puts weights back into f32.
    struct Widen {
        /// Tensors that were in blocks.
        blocks: usize,
    }

    impl ModuleMapper for Widen {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let in_blocks = matches!(param.val().dtype(), DType::QFloat(_));
            self.blocks += usize::from(in_blocks);
            param.map(|weight| match in_blocks {
                true => weight.dequantize(),
                false => weight.cast(FloatDType::F32),
            })
        }
    }

    /// Weights in blocks give what the same numbers in f32 give, and nearly what they were before.
    #[test]
    fn weights_in_blocks_give_the_same_except_for_rounding() {
        for resampling in [Resampling::Conv, Resampling::Corner, Resampling::Block] {
            for text in [false, true] {
                let network = network(resampling, text, false);
                let blocks = network.clone().with_weight_format(WeightFormat::Q8_0);
                let mut widen = Widen { blocks: 0 };
                let wide = blocks.clone().map(&mut widen);
                assert!(widen.blocks > 10, "{}", widen.blocks);
                let (exact, blocks, wide) = (answer(&network), answer(&blocks), answer(&wide));
                assert!(far(&blocks, &wide) < ORDER, "{resampling:?}");
                assert!((ORDER..0.05).contains(&far(&blocks, &exact)));
            }
        }
    }

    /// A tensor that f16 cannot hold stays in f32. The others have eleven bits, which is all that
    /// these weights have except for the smallest.
    #[test]
    fn weights_too_large_for_f16_stay_in_f32() {
        let network = network(Resampling::Conv, true, true);
        let half = network.clone().with_weight_dtype(Precision::F16);
        let sizes = |network: &UNet| {
            let mut words = Words(0.0);
            network.visit(&mut words);
            words.0
        };
        assert!(sizes(&half) < 0.6 * sizes(&network));
        let (wide, narrow) = (answer(&network), answer(&half));
        let largest = wide.iter().fold(0f32, |most, v| most.max(v.abs()));
        for (wide, narrow) in wide.iter().zip(&narrow) {
            assert!(
                (wide - narrow).abs() < 1e-3 * largest,
                "{wide} and {narrow}"
            );
        }
        let large = network.map(&mut Scale(1e8));
        let half = large.clone().with_weight_dtype(Precision::F16);
        assert_eq!(sizes(&large), sizes(&half));
    }

    /// Multiplies every weight, so that each tensor has values beyond f16's.
    struct Scale(f64);

    impl ModuleMapper for Scale {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|value| value * self.0)
        }
    }

    /// Computing in bf16 changes the output by rounding and no more: the stock
    /// operations of the CPU stand for a GPU's.
    #[test]
    fn computing_in_bf16_is_the_same_except_for_rounding() {
        for resampling in [Resampling::Conv, Resampling::Corner, Resampling::Block] {
            for text in [false, true] {
                let network = network(resampling, text, false);
                let exact = answer(&network);
                let half = answer(&network.computing_in(Precision::Bf16));
                assert_ne!(exact, half);
                let largest = exact.iter().fold(0f32, |most, v| most.max(v.abs()));
                for (exact, half) in exact.iter().zip(&half) {
                    assert!((exact - half).abs() < 0.03 * largest, "{exact} and {half}");
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
        let half = network.clone().with_weight_dtype(Precision::Bf16);
        let share = words(&half) / words(&network);
        assert!((0.5..0.6).contains(&share), "{share}");
    }
}
