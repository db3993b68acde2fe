//! Weights that are numbers: neither infinite nor not a number.

use burn::store::burn_pack::Tensor as PackTensor;
use burn::store::{ModuleAdapter, ModuleContext};
use burn::tensor::DType;
use half::{bf16, f16};
use rayon::prelude::*;
use std::sync::{Arc, Mutex};

/// Values that one thread looks at.
const PIECE: usize = 32 * 1024;

/// Looks at the weights on their way into a network, and remembers the names of those that are not
/// finite. They are in f32 by then, or in 16 bits.
#[derive(Clone, Default)]
pub(crate) struct Finite(Arc<Mutex<Vec<String>>>);

impl Finite {
    /// The names of those that were not.
    pub(crate) fn broken(&self) -> Vec<String> {
        match self.0.lock() {
            Ok(broken) => broken.clone(),
            Err(poisoned) => poisoned.into_inner().clone(),
        }
    }
}

impl ModuleAdapter for Finite {
    fn adapt(&self, tensor: PackTensor, _: ModuleContext<'_>) -> PackTensor {
        let is_finite: fn(&[u8]) -> bool = match tensor.dtype {
            DType::F32 => |bytes| each(bytes, |bytes| f32::from_le_bytes(bytes).is_finite()),
            DType::F16 => |bytes| each(bytes, |bytes| f16::from_le_bytes(bytes).is_finite()),
            DType::BF16 => |bytes| each(bytes, |bytes| bf16::from_le_bytes(bytes).is_finite()),
            _ => return tensor,
        };
        let seen = self.0.clone();
        let (name, dtype, shape) = (tensor.name.clone(), tensor.dtype, tensor.shape.clone());
        let (id, length) = (tensor.param_id, tensor.byte_len());
        PackTensor::deferred(name, dtype, shape, id, length, move || {
            let bytes = tensor.to_bytes()?;
            if !is_finite(&bytes)
                && let Ok(mut broken) = seen.lock()
            {
                broken.push(tensor.name.clone());
            }
            Ok(bytes)
        })
    }

    fn clone_box(&self) -> Box<dyn ModuleAdapter> {
        Box::new(self.clone())
    }
}

/// Whether this is true of all values of so many bytes.
fn each<const N: usize>(bytes: &[u8], is_finite: impl Fn([u8; N]) -> bool + Sync) -> bool {
    let pieces = bytes.as_chunks().0.par_chunks(PIECE);
    pieces.all(|piece| piece.iter().all(|bytes| is_finite(*bytes)))
}

/// Whether all of these values are.
pub(crate) fn all(mut values: impl Iterator<Item = f32>) -> bool {
    values.all(f32::is_finite)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Bytes, Shape};

    /// The first value that is not finite is behind what one thread looks at.
    #[test]
    fn broken_weights_of_every_width_are_named() {
        let ones = |one: &[u8]| one.repeat(PIECE + 3);
        let types = [
            (
                DType::F32,
                ones(&1f32.to_le_bytes()),
                f32::NAN.to_le_bytes().to_vec(),
            ),
            (
                DType::F16,
                ones(&f16::ONE.to_le_bytes()),
                f16::INFINITY.to_le_bytes().to_vec(),
            ),
            (
                DType::BF16,
                ones(&bf16::ONE.to_le_bytes()),
                bf16::NAN.to_le_bytes().to_vec(),
            ),
        ];
        for (dtype, whole, broken) in types {
            let mut damaged = whole.clone();
            let last = damaged.len() - broken.len();
            damaged[last..].copy_from_slice(&broken);
            for (bytes, names) in [(whole, vec![]), (damaged, vec!["w".to_string()])] {
                let finite = Finite::default();
                let shape = Shape::from([bytes.len() / dtype.size()]);
                let values = Bytes::from_bytes_vec(bytes);
                let tensor = PackTensor::new("w".into(), dtype, shape, None, values);
                let seen = finite.adapt(tensor, ModuleContext::new(&[]));
                seen.to_bytes().expect("bytes");
                assert_eq!(finite.broken(), names, "{dtype:?}");
            }
        }
    }
}
