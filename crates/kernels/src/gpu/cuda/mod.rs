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
use cubecl::client::Client;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Calls of the libraries so far, in the whole process.
static CALLS: AtomicU64 = AtomicU64::new(0);

/// Calls of the libraries so far.
pub(crate) fn calls() -> u64 {
    CALLS.load(Ordering::Relaxed)
}

/// A library's state for each device, made when it is first needed.
type States<T> = Mutex<Vec<(usize, &'static Mutex<T>)>>;

/// A library on the device of a tensor.
pub(super) struct Library<T: 'static> {
    states: &'static States<T>,
    index: usize,
    client: Client,
    make: fn(usize) -> T,
}

impl<T: Send> Library<T> {
    /// Calls the library, on the thread that feeds the device: no other thread ever waits for its
    /// state.
    pub(super) fn run<R: Send>(self, work: impl FnOnce(&mut T) -> R + Send) -> R {
        CALLS.fetch_add(1, Ordering::Relaxed);
        let mut result = None;
        let (states, index, make) = (self.states, self.index, self.make);
        let done = self.client.exclusive(|| {
            let state = state(states, index, make);
            let mut state = state
                .lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner());
            result = Some(work(&mut state));
        });
        result.unwrap_or_else(|| panic!("a library's work failed: {done:?}"))
    }
}

fn state<T>(states: &States<T>, index: usize, make: fn(usize) -> T) -> &'static Mutex<T> {
    let mut states = states
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some((_, state)) = states.iter().find(|(of, _)| *of == index) {
        return state;
    }
    let state: &'static Mutex<T> = Box::leak(Box::new(Mutex::new(make(index))));
    states.push((index, state));
    state
}

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
