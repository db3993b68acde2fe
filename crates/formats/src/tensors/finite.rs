//! Weights that are numbers: neither infinite nor not a number.

use burn::store::burn_pack::Tensor as PackTensor;
use burn::store::{ModuleAdapter, ModuleContext};
use burn::tensor::DType;
use rayon::prelude::*;
use std::sync::{Arc, Mutex};

/// Values that one thread looks at.
const PIECE: usize = 32 * 1024;

/// Looks at the weights on their way into a network, and remembers the names of those that are not
/// finite. They are in f32 by then.
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
        if tensor.dtype != DType::F32 {
            return tensor;
        }
        let seen = self.0.clone();
        let (name, shape) = (tensor.name.clone(), tensor.shape.clone());
        let (id, length) = (tensor.param_id, tensor.byte_len());
        PackTensor::deferred(name, DType::F32, shape, id, length, move || {
            let bytes = tensor.to_bytes()?;
            let floats = |bytes: &[[u8; 4]]| all(bytes.iter().map(|b| f32::from_le_bytes(*b)));
            if !bytes.as_chunks().0.par_chunks(PIECE).all(floats)
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

/// Whether all of these values are.
pub(crate) fn all(mut values: impl Iterator<Item = f32>) -> bool {
    values.all(f32::is_finite)
}
