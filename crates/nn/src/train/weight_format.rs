//! How networks that generate have their weights: floats of 32 or 16 bits, or blocks of 8.

use super::precision::{Cast, Precision};
use crate::error::ConfigError;
use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{DType, Device, FloatDType, Tensor};
use std::fmt;

/// How a network that generates has its weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightFormat {
    /// Floats of this type. Where a device does not compute in it, it computes in f32.
    Floats(Precision),
    /// Whole numbers of 8 bits with a scale for each 32 inputs ([`fewstep_kernels::q8`]), on CPUs. Weights
    /// with other numbers of inputs are in f16. Networks compute in f32.
    Q8_0,
}

impl Default for WeightFormat {
    fn default() -> Self {
        Self::Floats(Precision::F32)
    }
}

impl From<Precision> for WeightFormat {
    fn from(precision: Precision) -> Self {
        Self::Floats(precision)
    }
}

impl WeightFormat {
    /// Whether networks can generate so on a device.
    ///
    /// # Errors
    /// Names what cannot be done, and what can.
    pub fn check(self, device: &Device) -> Result<(), ConfigError> {
        let fits = match self {
            Self::Floats(precision) => {
                fewstep_kernels::device::can_store(device, precision.dtype())
                    || precision.check(device).is_ok()
            }
            Self::Q8_0 => fewstep_kernels::device::widens_pieces(device),
        };
        match fits {
            true => Ok(()),
            false => Err(ConfigError::new(format!(
                "networks cannot generate in {self} on this device: the CPU takes f32, bf16, f16 and q8_0, CUDA devices f32 and bf16, others f32"
            ))),
        }
    }

    /// Whether a device only stores weights so, and computes in f32.
    pub fn is_only_stored(self, device: &Device) -> bool {
        match self {
            Self::Floats(precision) => {
                !fewstep_kernels::device::can_compute_in(device, precision.dtype())
            }
            Self::Q8_0 => true,
        }
    }
}

impl fmt::Display for WeightFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Floats(precision) => precision.fmt(f),
            Self::Q8_0 => f.write_str("q8_0"),
        }
    }
}

/// Stores weights in blocks, or in f16 where they have no whole ones.
pub(crate) struct Quantise;

impl ModuleMapper for Quantise {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if D == 1 || param.val().dtype() != DType::F32 {
            return param;
        }
        let weight = param.val();
        let values = weight.to_data().try_to_vec::<f32>();
        let values = values.expect("a tensor of f32");
        match fewstep_kernels::q8::quantised(&values, &weight.dims()) {
            Some(blocks) => param.map(|weight| Tensor::from_data(blocks, &weight.device())),
            None => Cast(FloatDType::F16).map_float(param),
        }
    }
}

/// Bytes of a module's parameters as they are stored.
pub(crate) fn bytes(module: &impl Module) -> u64 {
    let mut bytes = Bytes(0);
    module.visit(&mut bytes);
    bytes.0
}

struct Bytes(u64);

impl ModuleVisitor for Bytes {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let numbers = param.lazy_shape().num_elements() as u64;
        self.0 += match param.val().dtype() {
            // Scales are in 32 bits in memory.
            DType::QFloat(_) => numbers + 4 * numbers / fewstep_kernels::q8::BLOCK as u64,
            dtype => numbers * dtype.size() as u64,
        };
    }
}
