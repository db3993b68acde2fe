//! Weights of a U-Net's blocks in 16 bits, from when they are read.

use burn::store::burn_pack::Tensor as PackTensor;
use burn::store::{ModuleAdapter, ModuleContext};
use burn::tensor::{Bytes, DType};
use fewstep_nn::Precision;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use half::{bf16, f16};

/// Where the weights are that [`fewstep_nn::Backbone::with_weight_dtype`] stores in 16 bits.
const BLOCKS: [&str; 3] = ["down_blocks.", "mid_block.", "up_blocks."];

/// Stores weights in this type on their way into a network, one at a time: not what is added and
/// multiplied channel by channel, nor what has values too large for f16.
#[derive(Clone, Copy)]
pub(crate) struct Stored(pub(crate) Precision);

impl Stored {
    /// The weights in 16 bits; `None` where one is too large, or they stay in 32.
    fn narrow(self, wide: &[u8]) -> Option<(DType, Vec<u8>)> {
        match self.0 {
            Precision::F32 => None,
            Precision::Bf16 => {
                let narrow = narrow(wide, |halves, floats| {
                    halves
                        .reinterpret_cast_mut::<bf16>()
                        .convert_from_f32_slice(floats);
                    true
                });
                narrow.map(|bytes| (DType::BF16, bytes))
            }
            Precision::F16 => {
                let most = f32::from(f16::MAX);
                let narrow = narrow(wide, |halves, floats| {
                    halves
                        .reinterpret_cast_mut::<f16>()
                        .convert_from_f32_slice(floats);
                    floats.iter().all(|value| value.abs() <= most)
                });
                narrow.map(|bytes| (DType::F16, bytes))
            }
        }
    }
}

/// Floats that are converted at a time: they stay in the first-level cache.
const PIECE: usize = 2048;

/// The bytes of floats in 16 bits each, as `convert` writes them, piece by piece; `None` where it
/// refuses one.
fn narrow(wide: &[u8], convert: impl Fn(&mut [u16], &[f32]) -> bool) -> Option<Vec<u8>> {
    let mut bytes = vec![0; wide.len() / 2];
    let (mut floats, mut halves) = ([0.0; PIECE], [0; PIECE]);
    for (wide, narrow) in wide.chunks(4 * PIECE).zip(bytes.chunks_mut(2 * PIECE)) {
        let (wide, narrow) = (wide.as_chunks().0, narrow.as_chunks_mut().0);
        let (floats, halves) = (&mut floats[..wide.len()], &mut halves[..wide.len()]);
        for (float, bytes) in floats.iter_mut().zip(wide) {
            *float = f32::from_le_bytes(*bytes);
        }
        if !convert(halves, floats) {
            return None;
        }
        for (bytes, half) in narrow.iter_mut().zip(halves) {
            *bytes = half.to_le_bytes();
        }
    }
    Some(bytes)
}

impl ModuleAdapter for Stored {
    fn adapt(&self, tensor: PackTensor, _: ModuleContext<'_>) -> PackTensor {
        let is_weight = tensor.shape.len() > 1 && tensor.dtype == DType::F32;
        let in_block = BLOCKS.iter().any(|block| tensor.name.starts_with(block));
        if self.0 == Precision::F32 || !is_weight || !in_block {
            return tensor;
        }
        // What cannot be read fails when it is put into the network.
        let Ok(wide) = tensor.to_bytes() else {
            return tensor;
        };
        let Some((dtype, narrow)) = self.narrow(&wide) else {
            return tensor;
        };
        let (name, shape, id) = (tensor.name, tensor.shape, tensor.param_id);
        PackTensor::new(name, dtype, shape, id, Bytes::from_bytes_vec(narrow))
    }

    fn clone_box(&self) -> Box<dyn ModuleAdapter> {
        Box::new(*self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(values: &[f32]) -> Vec<u8> {
        values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect()
    }

    /// More values than one piece has, each as rounding it on its own gives it.
    #[test]
    fn weights_are_rounded_to_the_nearest() {
        let count = PIECE as i32 + 5;
        let values: Vec<f32> = (0..count).map(|i| (i - 700) as f32 * 0.0137).collect();
        let (dtype, f16s) = Stored(Precision::F16)
            .narrow(&bytes(&values))
            .expect("fits");
        assert_eq!(dtype, DType::F16);
        let nearest = values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes());
        assert_eq!(f16s, nearest.collect::<Vec<u8>>());
        let (dtype, bf16s) = Stored(Precision::Bf16)
            .narrow(&bytes(&values))
            .expect("fits");
        assert_eq!(dtype, DType::BF16);
        let nearest = values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes());
        assert_eq!(bf16s, nearest.collect::<Vec<u8>>());
    }

    #[test]
    fn what_f16_cannot_hold_stays_wide() {
        let values = bytes(&[1.0, -7e4]);
        assert!(Stored(Precision::F16).narrow(&values).is_none());
        assert!(Stored(Precision::Bf16).narrow(&values).is_some());
        assert!(Stored(Precision::F32).narrow(&values).is_none());
    }
}
