//! Counting the kernels that a device is given.

#[cfg(feature = "gpu")]
use std::collections::HashMap;
#[cfg(feature = "gpu")]
use std::sync::{Arc, Mutex, PoisonError};

/// The kernels that some work launched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Launches {
    /// Kernels by name and how often each was launched, most often first.
    pub kernels: Vec<(String, u64)>,
    /// Calls of NVIDIA's libraries, each of which launches a few kernels of its own.
    pub libraries: u64,
}

impl Launches {
    /// Launches and calls of libraries.
    pub fn total(&self) -> u64 {
        self.libraries + self.kernels.iter().map(|(_, count)| count).sum::<u64>()
    }
}

/// Runs work and counts what it launches on any GPU: on the CPU nothing, and nothing of work that
/// only waits.
pub fn count_launches<R>(work: impl FnOnce() -> R) -> (R, Launches) {
    #[cfg(feature = "gpu")]
    {
        let counter = Arc::new(Counter::default());
        let calls = library_calls();
        let watching = cubecl::logging::LaunchObservation::new(counter.clone());
        let result = work();
        drop(watching);
        let counts = counter.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kernels: Vec<(String, u64)> = counts
            .iter()
            .map(|(name, count)| (short(name), *count))
            .collect();
        kernels.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let libraries = library_calls() - calls;
        (result, Launches { kernels, libraries })
    }
    #[cfg(not(feature = "gpu"))]
    {
        (work(), Launches::default())
    }
}

#[cfg(feature = "gpu")]
#[derive(Default)]
struct Counter(Mutex<HashMap<&'static str, u64>>);

#[cfg(feature = "gpu")]
impl cubecl::logging::LaunchObserver for Counter {
    fn launched(&self, kernel: &'static str) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(kernel).or_default() += 1;
    }
}

#[cfg(feature = "gpu")]
fn library_calls() -> u64 {
    #[cfg(feature = "cuda")]
    {
        crate::gpu::library_calls()
    }
    #[cfg(not(feature = "cuda"))]
    {
        0
    }
}

/// A kernel's name without the paths of the types in it.
#[cfg(feature = "gpu")]
fn short(name: &str) -> String {
    let mut short = String::new();
    let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
        match end {
            0 => {
                short.push(first);
                rest = &rest[first.len_utf8()..];
            }
            _ => {
                short.push_str(rest[..end].rsplit("::").next().unwrap_or_default());
                rest = &rest[end..];
            }
        }
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::DeviceName;
    use burn::tensor::Tensor;

    /// The CPU launches nothing.
    #[test]
    fn the_cpu_launches_no_kernels() {
        let cpu = DeviceName::Cpu.open().expect("always");
        let (sum, launches) =
            count_launches(|| Tensor::<1>::ones([3], &cpu).sum().into_scalar::<f32>());
        assert_eq!((sum, launches.total()), (3.0, 0));
    }

    #[cfg(feature = "gpu")]
    #[test]
    fn names_lose_their_paths() {
        let name = "burn_cubecl::kernel::unary::Unary<f32, alloc::vec::Vec<u8>>";
        assert_eq!(short(name), "Unary<f32, Vec<u8>>");
    }
}
