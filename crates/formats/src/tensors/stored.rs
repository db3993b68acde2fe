//! Weights of a U-Net's blocks in fewer than 32 bits, from when they are read.

use burn::store::burn_pack::Tensor as PackTensor;
use burn::store::{FloatCastAdapter, ModuleAdapter, ModuleContext};
use burn::tensor::{Bytes, DType};
use fewstep_kernels::q8;
use fewstep_nn::{Precision, WeightFormat};
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use half::{bf16, f16};
use rayon::prelude::*;

/// Where the weights are that [`fewstep_nn::Backbone::with_weight_format`] stores so.
const BLOCKS: [&str; 3] = ["down_blocks.", "mid_block.", "up_blocks."];

/// Stores weights so on their way into a network, one at a time: not what is added and multiplied
/// channel by channel, nor what has values too large for f16.
#[derive(Clone, Copy)]
pub(crate) struct Stored(pub(crate) WeightFormat);

impl Stored {
    /// Whether a tensor of this name and shape is such a weight.
    fn is_stored(self, name: &str, shape: &[usize]) -> bool {
        let in_block = BLOCKS.iter().any(|block| name.starts_with(block));
        self.0 != WeightFormat::default() && shape.len() > 1 && in_block
    }

    /// Whether a tensor of this name, shape and type is a weight that is stored as it is.
    pub(crate) fn keeps(self, name: &str, shape: &[usize], dtype: DType) -> bool {
        let kept = match self.0 {
            WeightFormat::Floats(precision) => DType::from(precision.dtype()) == dtype,
            WeightFormat::Q8_0 => false,
        };
        kept && self.is_stored(name, shape)
    }

    /// The weights in fewer bits; `None` where one is too large, or they stay in 32.
    fn narrow(self, wide: &[u8], shape: &[usize]) -> Option<(DType, Bytes)> {
        match self.0 {
            WeightFormat::Floats(precision) => in_16_bits(precision, wide),
            WeightFormat::Q8_0 => {
                let floats = wide.as_chunks().0.iter().copied().map(f32::from_le_bytes);
                let blocks = q8::quantised(&floats.collect::<Vec<f32>>(), shape);
                match blocks {
                    Some(blocks) => Some((blocks.dtype(), blocks.into_bytes())),
                    None => in_16_bits(Precision::F16, wide),
                }
            }
        }
    }
}

/// The floats in this type; `None` where one is too large, or they stay in 32 bits.
pub(crate) fn in_16_bits(precision: Precision, wide: &[u8]) -> Option<(DType, Bytes)> {
    let (dtype, halves) = match precision {
        Precision::F32 => return None,
        Precision::Bf16 => {
            let narrow = narrow(wide, |halves, floats| {
                halves
                    .reinterpret_cast_mut::<bf16>()
                    .convert_from_f32_slice(floats);
                true
            });
            (DType::BF16, narrow)
        }
        Precision::F16 => {
            let most = f32::from(f16::MAX);
            let narrow = narrow(wide, |halves, floats| {
                halves
                    .reinterpret_cast_mut::<f16>()
                    .convert_from_f32_slice(floats);
                floats.iter().all(|value| value.abs() <= most)
            });
            (DType::F16, narrow)
        }
    };
    Some((dtype, Bytes::from_elems(halves?)))
}

/// Floats that are converted at a time: they stay in the first-level cache.
const PIECE: usize = 2048;

/// Floats in 16 bits each, as `convert` writes them, piece by piece; `None` where it refuses one.
fn narrow(wide: &[u8], convert: impl Fn(&mut [u16], &[f32]) -> bool + Sync) -> Option<Vec<u16>> {
    let wide = wide.as_chunks().0;
    let mut halves = vec![0; wide.len()];
    let pieces = wide.par_chunks(PIECE).zip(halves.par_chunks_mut(PIECE));
    let fits = pieces.all(|(wide, halves)| {
        let mut floats = [0.0; PIECE];
        let floats = &mut floats[..wide.len()];
        for (float, bytes) in floats.iter_mut().zip(wide) {
            *float = f32::from_le_bytes(*bytes);
        }
        convert(halves, floats)
    });
    fits.then_some(halves)
}

/// Widens floats on their way into a network, but for weights that are stored as they are.
#[derive(Clone, Copy)]
pub(crate) struct Widened(pub(crate) Stored);

impl ModuleAdapter for Widened {
    fn adapt(&self, tensor: PackTensor, context: ModuleContext<'_>) -> PackTensor {
        match self.0.keeps(&tensor.name, &tensor.shape, tensor.dtype) {
            true => tensor,
            false => FloatCastAdapter::to(DType::F32).adapt(tensor, context),
        }
    }

    fn clone_box(&self) -> Box<dyn ModuleAdapter> {
        Box::new(*self)
    }
}

impl ModuleAdapter for Stored {
    fn adapt(&self, tensor: PackTensor, _: ModuleContext<'_>) -> PackTensor {
        if tensor.dtype != DType::F32 || !self.is_stored(&tensor.name, &tensor.shape) {
            return tensor;
        }
        // What cannot be read fails when it is put into the network.
        let Ok(wide) = tensor.to_bytes() else {
            return tensor;
        };
        let Some((dtype, narrow)) = self.narrow(&wide, &tensor.shape) else {
            return tensor;
        };
        let (name, shape, id) = (tensor.name, tensor.shape, tensor.param_id);
        PackTensor::new(name, dtype, shape, id, narrow)
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
        let (dtype, f16s) = in_16_bits(Precision::F16, &bytes(&values)).expect("fits");
        assert_eq!(dtype, DType::F16);
        let nearest = values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes());
        assert_eq!(f16s[..], nearest.collect::<Vec<u8>>());
        let (dtype, bf16s) = in_16_bits(Precision::Bf16, &bytes(&values)).expect("fits");
        assert_eq!(dtype, DType::BF16);
        let nearest = values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes());
        assert_eq!(bf16s[..], nearest.collect::<Vec<u8>>());
    }

    #[test]
    fn what_f16_cannot_hold_stays_wide() {
        let values = bytes(&[1.0, -7e4]);
        assert!(in_16_bits(Precision::F16, &values).is_none());
        assert!(in_16_bits(Precision::Bf16, &values).is_some());
        assert!(in_16_bits(Precision::F32, &values).is_none());
    }

    /// Blocks where the inputs are whole ones, 16 bits else.
    #[test]
    fn blocks_need_whole_ones() {
        let values = bytes(&[0.5; 64 * 3]);
        let stored = Stored(WeightFormat::Q8_0);
        let dtype = |shape: &[usize]| stored.narrow(&values, shape).expect("fits").0;
        assert!(matches!(dtype(&[64, 3]), DType::QFloat(_)));
        assert_eq!(dtype(&[3, 64]), DType::F16);
        assert!(matches!(dtype(&[3, 64, 1, 1]), DType::QFloat(_)));
    }
}
