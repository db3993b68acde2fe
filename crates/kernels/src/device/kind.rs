//! The kinds of devices.

use burn::tensor::Device;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Cpu,
    #[cfg_attr(not(feature = "cuda"), allow(dead_code, reason = "only CUDA makes it"))]
    Cuda,
    #[cfg_attr(not(feature = "gpu"), allow(dead_code, reason = "only GPUs make it"))]
    Gpu,
}

/// The kind of a device.
pub(super) fn kind_of(device: &Device) -> Kind {
    use burn::backend::DispatchDevice;
    match device.clone().inner().as_dispatch() {
        #[cfg(feature = "cuda")]
        DispatchDevice::Cube(burn_cubecl::CubeDevice::Cuda(_)) => Kind::Cuda,
        #[cfg(feature = "gpu")]
        DispatchDevice::Cube(_) => Kind::Gpu,
        DispatchDevice::Flex(_) => Kind::Cpu,
        #[allow(unreachable_patterns, reason = "no other back end is compiled in")]
        _ => Kind::Cpu,
    }
}

/// The number of a CUDA device.
#[cfg(feature = "cuda")]
pub(super) fn cuda_index(device: &Device) -> Option<usize> {
    use burn::backend::DispatchDevice;
    match device.clone().inner().as_dispatch() {
        DispatchDevice::Cube(burn_cubecl::CubeDevice::Cuda(device)) => Some(device.index),
        _ => None,
    }
}
