//! GGUF, the format of ggml's models: a header, sorted entries, and tensors whose fastest dimension
//! comes first.
//!
//! Source: `docs/gguf.md` of ggml, version 3. All numbers are little-endian.

mod reading;

pub(crate) use reading::in_safetensors;

use crate::tensors::raw::RawTensor;
use fewstep_kernels::q8::{self, BLOCK};
use half::{bf16, f16};
use std::collections::BTreeMap;

/// How the weights of a GGUF file are stored. Vectors (biases and norms) stay in f32 in all of
/// them, as every writer of these files does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GgufPrecision {
    /// 32-bit floats, bit for bit.
    F32,
    /// 16-bit floats.
    F16,
    /// The upper half of 32-bit floats.
    Bf16,
    /// Bytes with a common scale for each 32, where rows divide by 32; the rest, such as
    /// convolutions, in 16-bit floats.
    Q8,
}

/// What an entry of the header is.
pub(crate) enum Entry {
    Text(String),
    Number(u32),
}

/// Data and every tensor in it start at a multiple of this many bytes.
const ALIGNMENT: usize = 32;

#[derive(Clone, Copy)]
enum Encoding {
    F32,
    F16,
    Bf16,
    Q8,
}

impl GgufPrecision {
    /// ggml's `general.file_type`: what most tensors are.
    pub(crate) fn file_type(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Bf16 => 32,
            Self::Q8 => 7,
        }
    }

    fn encoding(self, shape: &[usize]) -> Encoding {
        let row = shape.last().copied().unwrap_or(1);
        match self {
            Self::F32 => Encoding::F32,
            _ if shape.len() < 2 => Encoding::F32,
            Self::Bf16 => Encoding::Bf16,
            Self::Q8 if row % BLOCK == 0 => Encoding::Q8,
            Self::F16 | Self::Q8 => Encoding::F16,
        }
    }
}

impl Encoding {
    /// The largest value, of either sign.
    fn most(self) -> f32 {
        match self {
            Self::F32 => f32::MAX,
            Self::F16 => f16::MAX.to_f32(),
            Self::Bf16 => bf16::MAX.to_f32(),
            // The scale of a block is in 16 bits.
            Self::Q8 => f16::MAX.to_f32() * 127.0,
        }
    }
}

impl Encoding {
    /// ggml's number of the type.
    fn number(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Bf16 => 30,
            Self::Q8 => 8,
        }
    }

    fn bytes(self, values: &[f32]) -> Vec<u8> {
        match self {
            Self::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Self::F16 => {
                let halves = values.iter().map(|v| f16::from_f32(*v));
                halves.flat_map(|v| v.to_le_bytes()).collect()
            }
            Self::Bf16 => {
                let halves = values.iter().map(|v| bf16::from_f32(*v));
                halves.flat_map(|v| v.to_le_bytes()).collect()
            }
            Self::Q8 => values.chunks_exact(BLOCK).flat_map(quantised).collect(),
        }
    }
}

/// 32 values as a scale d and bytes q, x ≈ d·q with d = max |x| / 127. ggml's
/// `quantize_row_q8_0_ref`, to the bit.
fn quantised(block: &[f32]) -> [u8; 2 + BLOCK] {
    let largest = block.iter().fold(0f32, |max, v| max.max(v.abs()));
    let (scale, inverse) = q8::scale(largest);
    let mut bytes = [0; 2 + BLOCK];
    bytes[..2].copy_from_slice(&scale.to_le_bytes());
    for (byte, value) in bytes[2..].iter_mut().zip(block) {
        *byte = q8::rounded(*value, inverse) as u8;
    }
    bytes
}

/// A whole file, and the names of the tensors in f32 because a value of theirs is too large for the
/// precision. The tensors are of floats, of dimensions as PyTorch has them; each has the precision
/// that `precision` gives for its name.
pub(crate) fn to_bytes(
    entries: &BTreeMap<String, Entry>,
    tensors: &BTreeMap<String, RawTensor>,
    precision: impl Fn(&str) -> GgufPrecision,
) -> (Vec<u8>, Vec<String>) {
    let mut too_large = vec![];
    let mut file = b"GGUF".to_vec();
    file.extend(3u32.to_le_bytes());
    file.extend((tensors.len() as u64).to_le_bytes());
    file.extend((entries.len() as u64).to_le_bytes());
    for (key, entry) in entries {
        put_text(&mut file, key);
        match entry {
            Entry::Number(value) => {
                file.extend(4u32.to_le_bytes());
                file.extend(value.to_le_bytes());
            }
            Entry::Text(value) => {
                file.extend(8u32.to_le_bytes());
                put_text(&mut file, value);
            }
        }
    }
    let mut data = vec![];
    for (name, tensor) in tensors {
        let shape = tensor.shape();
        let values = tensor.values();
        let mut encoding = precision(name).encoding(shape);
        if values.iter().any(|value| value.abs() > encoding.most()) {
            too_large.push(name.clone());
            encoding = Encoding::F32;
        }
        put_text(&mut file, name);
        file.extend((shape.len() as u32).to_le_bytes());
        for side in shape.iter().rev() {
            file.extend((*side as u64).to_le_bytes());
        }
        file.extend(encoding.number().to_le_bytes());
        file.extend((data.len() as u64).to_le_bytes());
        data.extend(encoding.bytes(&values));
        align(&mut data);
    }
    align(&mut file);
    file.append(&mut data);
    (file, too_large)
}

fn put_text(file: &mut Vec<u8>, text: &str) {
    file.extend((text.len() as u64).to_le_bytes());
    file.extend(text.as_bytes());
}

fn align(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::Dtype;

    /// 65504 is the largest number of 16 bits; the scale of a block of bytes is one, of 127 steps.
    #[test]
    fn values_that_are_too_large_for_16_bits_are_written_in_32() {
        let tensor = |value: f32| {
            let mut values = vec![1f32; 64];
            values[40] = value;
            let bytes = values.iter().flat_map(|value| value.to_le_bytes());
            RawTensor::owned(Dtype::F32, vec![2, 32], bytes.collect())
        };
        let tensors = BTreeMap::from([
            ("fits".to_string(), tensor(65504.0)),
            ("large".into(), tensor(-65600.0)),
            ("larger".into(), tensor(1e7)),
        ]);
        let in_f32 = |precision| to_bytes(&BTreeMap::new(), &tensors, |_| precision).1;
        assert!(in_f32(GgufPrecision::F32).is_empty());
        assert_eq!(in_f32(GgufPrecision::F16), ["large", "larger"]);
        assert_eq!(in_f32(GgufPrecision::Q8), ["larger"]);
        assert!(in_f32(GgufPrecision::Bf16).is_empty());
        let (file, _) = to_bytes(&BTreeMap::new(), &tensors, |_| GgufPrecision::F16);
        assert!(file.windows(4).any(|bytes| bytes == 1e7f32.to_le_bytes()));
    }
}
