//! Weights as whole numbers of 8 bits, in blocks of 32 with a scale in 16 bits: ggml's `q8_0`.
//!
//! A block runs along the inputs of a layer: the first axis of a linear layer's `[from, to]`, the
//! second of a convolution's `[to, from, height, width]`. Each number then takes 8.5 bits in a file,
//! and 9 in memory, where scales are in 32.

use burn::tensor::quantization::{QuantScheme, QuantStore, QuantValue, QuantizedBytes, ScaleDtype};
use burn::tensor::{DType, Shape, TensorData};
use half::f16;
use rayon::prelude::*;

/// Numbers of a block.
pub const BLOCK: usize = 32;

/// Values of a task, at least.
const LEAST: usize = 1 << 16;

/// The largest magnitude of a whole number.
const MOST: f32 = 127.0;

/// The scale of a block with this largest magnitude, and what its values are multiplied by before
/// they are rounded. The scale is rounded to 16 bits and the factor is not, as ggml has it.
pub fn scale(largest: f32) -> (f16, f32) {
    let scale = largest / MOST;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    (f16::from_f32(scale), inverse)
}

/// The whole number for a value, with the factor of [`scale`]: the nearest, and of two the larger in
/// magnitude. `f32::round` is the same, but a call for each value.
pub fn rounded(value: f32, inverse: f32) -> i8 {
    let value = value * inverse;
    let whole = value as i32;
    let rest = value - whole as f32;
    (whole + i32::from(rest >= 0.5) - i32::from(rest <= -0.5)) as i8
}

/// The extents of the axis along which blocks run, and of what lies behind it; none for a tensor
/// that is no weight of a layer, or whose inputs are no whole number of blocks.
pub(crate) fn extents(shape: &[usize]) -> Option<[usize; 2]> {
    let (inputs, behind) = match *shape {
        [from, to] => (from, to),
        [_, from, height, width] => (from, height * width),
        _ => return None,
    };
    (inputs > 0 && inputs.is_multiple_of(BLOCK) && behind > 0).then_some([inputs, behind])
}

/// How tensors of this shape are stored; none if they cannot be in blocks.
fn scheme(shape: &[usize]) -> Option<QuantScheme> {
    extents(shape)?;
    let block: &[u8] = match shape.len() {
        2 => &[BLOCK as u8, 1],
        _ => &[1, BLOCK as u8, 1, 1],
    };
    let scheme = QuantScheme::default()
        .with_value(QuantValue::Q8S)
        .with_store(QuantStore::Native)
        .per_block(block, ScaleDtype::F16);
    Some(scheme)
}

/// The weight of a layer in blocks: `[from, to]` of a linear layer, `[to, from, height, width]` of a
/// convolution. None if its inputs are no multiple of [`BLOCK`], or a scale is too large for 16 bits.
pub fn quantised(values: &[f32], shape: &[usize]) -> Option<TensorData> {
    let (scheme, [_, behind]) = (scheme(shape)?, extents(shape)?);
    // The scales follow in the same memory, which would else grow to twice its size.
    let mut numbers = Vec::with_capacity(values.len() + size_of::<f16>() * values.len() / BLOCK);
    numbers.resize(values.len(), 0i8);
    let mut scales = vec![0f32; values.len() / BLOCK];
    let part = LEAST.div_ceil(BLOCK * behind) * behind;
    let parts = values
        .par_chunks(BLOCK * part)
        .zip(numbers.par_chunks_mut(BLOCK * part))
        .zip(scales.par_chunks_mut(part));
    if !parts.all(|((values, numbers), scales)| quantise(values, numbers, scales, behind)) {
        return None;
    }
    let bytes = QuantizedBytes::new(numbers, Shape::from(shape.to_vec()), scheme, &scales, None);
    Some(TensorData::from_bytes(
        bytes.bytes,
        shape.to_vec(),
        DType::QFloat(scheme),
    ))
}

/// Whole numbers and scales of some blocks: rows of blocks of the same inputs, of which `behind` lie
/// side by side. False where a scale is too large for 16 bits.
fn quantise(values: &[f32], numbers: &mut [i8], scales: &mut [f32], behind: usize) -> bool {
    let rows = values
        .chunks_exact(BLOCK * behind)
        .zip(numbers.chunks_exact_mut(BLOCK * behind))
        .zip(scales.chunks_exact_mut(behind));
    let mut factors = vec![0f32; behind];
    for ((values, numbers), scales) in rows {
        factors.fill(0.0);
        for channel in values.chunks_exact(behind) {
            for (largest, value) in factors.iter_mut().zip(channel) {
                *largest = largest.max(value.abs());
            }
        }
        for (rounded, factor) in scales.iter_mut().zip(&mut factors) {
            let (scale, inverse) = scale(*factor);
            if !scale.is_finite() {
                return false;
            }
            *rounded = scale.to_f32();
            *factor = inverse;
        }
        let channels = values.chunks_exact(behind);
        for (values, numbers) in channels.zip(numbers.chunks_exact_mut(behind)) {
            for ((number, value), factor) in numbers.iter_mut().zip(values).zip(&factors) {
                *number = rounded(*value, *factor);
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::testing;
    use burn::tensor::{Device, Tensor};

    #[test]
    fn halves_are_rounded_away_from_zero() {
        let below = 0.5f32.next_down();
        let values = [0.5, 1.5, 2.5, 126.5, below, 1.0 + below, 126.0, 0.0, 3.49];
        for value in values.into_iter().flat_map(|value| [value, -value]) {
            assert_eq!(rounded(value, 1.0), value.round() as i8, "{value}");
        }
    }

    /// What the framework makes of the blocks is each value but for half a step of its block, and
    /// the steps are those of the inputs that the block runs along.
    #[test]
    fn values_come_back_but_for_half_a_step() {
        fn check<const D: usize>(shape: [usize; D]) {
            let mut values = testing::values(3, shape.iter().product());
            // Blocks of different sizes, and one of zeros.
            let [inputs, behind] = extents(&shape).expect("whole blocks");
            for (at, value) in values.iter_mut().enumerate() {
                let channel = at / behind % inputs;
                *value *= [0.0, 1.0, 30.0][channel / BLOCK % 3];
            }
            let data = quantised(&values, &shape).expect("whole blocks");
            let weight = Tensor::<D>::from_data(data, &Device::flex());
            let back: Vec<f32> = weight.dequantize().into_data().try_to_vec().expect("f32");
            for (at, (back, value)) in back.iter().zip(&values).enumerate() {
                let channel = at / behind % inputs;
                // The scale is rounded too: 127 half units of f16.
                let most = [0.0, 0.5, 15.0][channel / BLOCK % 3];
                let step = most / 127.0 * (0.5 + 127.0 / 2048.0);
                assert!((back - value).abs() <= step, "{at}: {back} for {value}");
            }
        }
        check([96, 5]);
        check([3, 96, 3, 3]);
        check([2, 96, 1, 1]);
    }

    #[test]
    fn what_has_no_whole_blocks_is_refused() {
        let of = |shape: &[usize]| quantised(&vec![1.0; shape.iter().product()], shape);
        assert!(of(&[33, 4]).is_none());
        assert!(of(&[32, 4, 3, 3]).is_none());
        assert!(of(&[64]).is_none());
        assert!(of(&[4, 32, 3, 3]).is_some());
    }

    /// 65504 is the largest scale.
    #[test]
    fn what_is_too_large_is_refused() {
        let with = |value| quantised(&[value; 32], &[32, 1]);
        assert!(with(65504.0 * 127.0).is_some());
        assert!(with(65600.0 * 127.0).is_none());
    }
}
