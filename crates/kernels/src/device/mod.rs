//! The devices that tensors live on: how they are named, found and opened, and how work is given to
//! them.

mod find;
mod kind;
mod launches;
mod name;
mod placement;

pub use find::{DeviceInfo, found};
pub use launches::{Launches, count_launches};
pub use name::{DeviceError, DeviceName, compiled};
pub use placement::{DeviceMemory, Placement};

use burn::tensor::{Device, FloatDType};
use kind::{Kind, kind_of};

/// Starts or stops the recording of NVIDIA's profilers; does nothing without CUDA.
pub fn profile(on: bool) {
    #[cfg(feature = "cuda")]
    if find::is_driver_present() {
        // SAFETY: no arguments; without a profiler it does nothing.
        let _ = unsafe {
            match on {
                true => cudarc::driver::sys::cuProfilerStart(),
                false => cudarc::driver::sys::cuProfilerStop(),
            }
        };
    }
    let _ = on;
}

/// Whether networks can compute in this type on a device, correctly. Some drivers take a type and
/// give wrong numbers: WGSL has no bf16, and a cast to it is silently wrong there.
pub fn can_compute_in(device: &Device, dtype: FloatDType) -> bool {
    let device = device.clone().inner();
    match (dtype, kind_of(&device)) {
        (FloatDType::F32, _) => true,
        (FloatDType::BF16, Kind::Cuda) => device.supports_dtype(burn::tensor::DType::BF16),
        _ => false,
    }
}

/// Whether weights can be stored in this type on a device, and widened where they are used.
pub fn can_store(device: &Device, dtype: FloatDType) -> bool {
    let is_cpu = kind_of(device) == Kind::Cpu;
    is_cpu && matches!(dtype, FloatDType::BF16 | FloatDType::F16) || can_compute_in(device, dtype)
}

/// Whether the operations on a device take weights that are stored in 16 bits as they are, and
/// widen them a piece at a time.
pub fn widens_pieces(device: &Device) -> bool {
    kind_of(&device.clone().inner()) == Kind::Cpu
}

#[cfg(test)]
mod tests {
    use super::placement::CPU_PART;
    use super::*;

    #[test]
    fn the_cpu_is_always_there() {
        let cpu = DeviceName::Cpu.open().expect("always");
        assert_eq!(Placement::of(&cpu).part(100), CPU_PART);
        assert!(found().iter().any(|info| info.name == DeviceName::Cpu));
        assert!(can_compute_in(&cpu, FloatDType::F32));
        assert!(!can_compute_in(&cpu, FloatDType::BF16));
        assert!(can_store(&cpu, FloatDType::BF16));
        assert!(can_store(&cpu, FloatDType::F16));
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn what_is_not_compiled_in_is_named() {
        let message = DeviceName::Cuda(0).open().expect_err("refused").to_string();
        assert!(message.contains("--features cuda"), "{message}");
    }
}
