//! NVIDIA's own libraries, where they are installed: cuDNN for convolutions, cuBLAS for products.
//!
//! Both are opened when they are first needed. Without them the framework's kernels do the work.

mod cublas;
mod cudnn;
mod queue;

pub(super) use cublas::{Operand, cublas};
pub(super) use cudnn::cudnn;

use burn::backend::DType;
use burn_cubecl::tensor::CubeTensor;

/// The CUDA device that a tensor lies on, if it lies on one.
fn index_of(tensor: &CubeTensor) -> Option<usize> {
    match &tensor.device {
        burn_cubecl::CubeDevice::Cuda(device) => Some(device.index),
        #[allow(unreachable_patterns, reason = "the only runtime in some builds")]
        _ => None,
    }
}

/// Whether the libraries compute in this type.
fn is_supported(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::BF16 | DType::F16)
}

/// Logs once that a library is missing, and what takes its place.
fn warn_missing(library: &str) {
    tracing::warn!(
        "{library} was not found: the framework's own kernels are used, which are slower; install it, or \
         name its folder in LD_LIBRARY_PATH"
    );
}
