//! The devices that tensors live on: how they are named, found and opened, and how each wants its work.

use burn::tensor::{Device, DeviceType, FloatDType};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A device by name: `auto`, `cpu`, `cuda`, `cuda:1`, `vulkan`, `vulkan:1`, `metal`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceName {
    /// The first GPU that this build can use, drivers in software apart, else the CPU.
    #[default]
    Auto,
    /// The CPU, by kernels of our own.
    Cpu,
    /// An NVIDIA GPU, counted from 0.
    Cuda(usize),
    /// A GPU with Vulkan, counted from 0; a software driver counts too.
    Vulkan(usize),
    /// The GPU of a Mac.
    Metal,
}

/// A name of a device that cannot be read or opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// No such name.
    #[error("device `{0}` is none of auto, cpu, cuda, cuda:N, vulkan, vulkan:N, metal")]
    Unknown(String),
    /// The build has no such back end.
    #[error(
        "this build has no {kind} (it has {}); build it with `cargo build --release --features {kind}`",
        compiled().join(", ")
    )]
    NotCompiled {
        /// The feature that is missing.
        kind: &'static str,
    },
    /// The machine has no such device.
    #[error("the machine has no {name}: {found}")]
    Absent {
        /// The device that was asked for.
        name: DeviceName,
        /// What there is, and what to do.
        found: String,
    },
}

/// A device that can be opened here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Its name for [`DeviceName`].
    pub name: DeviceName,
    /// What it calls itself.
    pub model: String,
    /// Its memory in bytes, where that can be known.
    pub memory: Option<u64>,
    /// Whether it is a card: a driver in software is none, and neither is the CPU.
    pub is_card: bool,
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
            Self::Vulkan(index) => write!(f, "vulkan:{index}"),
            Self::Metal => f.write_str("metal"),
        }
    }
}

impl FromStr for DeviceName {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        let (kind, index) = match text.split_once(':') {
            Some((kind, index)) => (kind, index.parse().ok()),
            None => (text, Some(0)),
        };
        match (kind, index) {
            ("cuda", Some(index)) => Ok(Self::Cuda(index)),
            ("vulkan", Some(index)) => Ok(Self::Vulkan(index)),
            _ => match text {
                "auto" => Ok(Self::Auto),
                "cpu" => Ok(Self::Cpu),
                "metal" => Ok(Self::Metal),
                _ => Err(DeviceError::Unknown(text.into())),
            },
        }
    }
}

impl TryFrom<String> for DeviceName {
    type Error = DeviceError;

    fn try_from(text: String) -> Result<Self, DeviceError> {
        text.parse()
    }
}

impl From<DeviceName> for String {
    fn from(name: DeviceName) -> Self {
        name.to_string()
    }
}

impl DeviceName {
    /// The device of this name: the one place where devices are made.
    ///
    /// # Errors
    /// When the build has no such back end, or the machine no such device; says what both have.
    pub fn open(self) -> Result<Device, DeviceError> {
        match self {
            Self::Auto => match found().into_iter().find(|info| info.is_card) {
                Some(info) => info.name.open(),
                None => Ok(Device::flex()),
            },
            Self::Cpu => Ok(Device::flex()),
            Self::Cuda(index) => {
                require(cfg!(feature = "cuda"), "cuda")?;
                self.nth(index)
            }
            Self::Vulkan(index) => {
                require(cfg!(feature = "wgpu"), "vulkan")?;
                self.nth(index)
            }
            Self::Metal => {
                require(cfg!(feature = "metal"), "metal")?;
                self.nth(0)
            }
        }
    }

    fn nth(self, index: usize) -> Result<Device, DeviceError> {
        let mut devices = enumerate(self);
        let count = devices.len();
        if index < count {
            return Ok(devices.swap_remove(index));
        }
        let found = match (count, self) {
            (0, Self::Cuda(_)) => "no NVIDIA driver or no NVIDIA GPU was found".into(),
            (0, _) => {
                "no driver or no GPU was found; `vulkaninfo` says what the system sees".into()
            }
            _ => format!("it has {count}, counted from 0"),
        };
        Err(DeviceError::Absent { name: self, found })
    }
}

/// The back ends of this build.
pub fn compiled() -> Vec<&'static str> {
    let features = [
        ("cuda", cfg!(feature = "cuda")),
        ("vulkan", cfg!(feature = "wgpu")),
        ("metal", cfg!(feature = "metal")),
    ];
    let gpus = features.into_iter().filter(|(_, there)| *there);
    std::iter::once("cpu")
        .chain(gpus.map(|(name, _)| name))
        .collect()
}

/// Every device that can be opened here, GPUs first.
pub fn found() -> Vec<DeviceInfo> {
    let mut all = vec![];
    #[cfg(feature = "gpu")]
    for kind in [
        DeviceName::Cuda as fn(usize) -> DeviceName,
        DeviceName::Vulkan,
        |_| DeviceName::Metal,
    ] {
        let devices = enumerate(kind(0)).into_iter().enumerate();
        all.extend(devices.map(|(index, device)| {
            let identity = device.identity();
            DeviceInfo {
                name: kind(index),
                is_card: identity
                    .as_ref()
                    .is_some_and(|identity| identity.physical.is_some()),
                model: identity.map_or_else(|| "unknown".into(), |identity| identity.name),
                memory: memory(&device, index),
            }
        }));
    }
    all.push(DeviceInfo {
        name: DeviceName::Cpu,
        model: format!("{} threads", rayon::current_num_threads()),
        memory: None,
        is_card: false,
    });
    all
}

fn require(there: bool, kind: &'static str) -> Result<(), DeviceError> {
    match there {
        true => Ok(()),
        false => Err(DeviceError::NotCompiled { kind }),
    }
}

/// All devices of the kind of this one.
fn enumerate(kind: DeviceName) -> Vec<Device> {
    let kind = match kind {
        #[cfg(feature = "cuda")]
        DeviceName::Cuda(_) if is_driver_present() => DeviceType::Cuda,
        #[cfg(feature = "wgpu")]
        DeviceName::Vulkan(_) => DeviceType::Wgpu,
        #[cfg(feature = "metal")]
        DeviceName::Metal => DeviceType::Metal,
        DeviceName::Cpu => DeviceType::Flex,
        _ => return vec![],
    };
    Device::enumerate(kind).into_vec()
}

#[cfg(feature = "cuda")]
fn is_driver_present() -> bool {
    // SAFETY: opens the driver's library.
    unsafe { cudarc::driver::sys::is_culib_present() }
}

/// The memory of a CUDA device; other back ends do not tell.
#[cfg(feature = "gpu")]
#[allow(unused_variables, reason = "only CUDA tells")]
fn memory(device: &Device, index: usize) -> Option<u64> {
    #[cfg(feature = "cuda")]
    if kind_of(device) == Kind::Cuda {
        use cudarc::driver::result::device::{get, total_mem};
        let device = get(index as i32).ok()?;
        // SAFETY: a device of the driver's own list.
        return unsafe { total_mem(device) }.ok().map(|bytes| bytes as u64);
    }
    None
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Cpu,
    #[cfg_attr(not(feature = "cuda"), allow(dead_code, reason = "only CUDA makes it"))]
    Cuda,
    #[cfg_attr(not(feature = "gpu"), allow(dead_code, reason = "only GPUs make it"))]
    Gpu,
}

fn kind_of(device: &Device) -> Kind {
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

/// Samples that go through a network together on the CPU. A batch is split into parts of this size, whatever the
/// number of threads, so that sums have the same bits everywhere.
pub const CPU_PART: usize = 32;

/// How a device wants its work. Nothing else asks what kind of device it has.
#[derive(Clone, Debug)]
pub struct Placement {
    device: Device,
}

impl Placement {
    /// Of a device, with or without autodiff.
    pub fn of(device: &Device) -> Self {
        Self {
            device: device.clone().inner(),
        }
    }

    /// Most samples that go through a network together, of a batch of so many: parts that run side by side on a
    /// CPU, the whole batch on a GPU.
    pub fn part(&self, batch: usize) -> usize {
        match self.has_own_memory() {
            false => batch.min(CPU_PART),
            true => batch.max(1),
        }
    }

    /// The share of a whole that each piece of independent work gets: one for each thread of a CPU, all at once on a
    /// GPU.
    pub fn share(&self, whole: usize) -> usize {
        match self.has_own_memory() {
            false => whole.div_ceil(rayon::current_num_threads()),
            true => whole,
        }
    }

    /// Runs `work` for all pieces: side by side on a CPU's threads, one after the other on a GPU, which is filled
    /// by one.
    pub fn map<T: Send, R: Send>(&self, pieces: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
        match self.has_own_memory() {
            false => crate::in_lanes(pieces, work),
            true => self.close_to(|| pieces.into_iter().map(&work).collect()),
        }
    }

    /// Runs work that is done again and again with tensors of the same sizes, [close to](Self::close_to) the device.
    /// Memory is found by its size, where the framework's search takes as long as there are tensors; what the work
    /// frees is kept for the next time.
    pub fn repeatedly<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        #[cfg(feature = "gpu")]
        if let burn::backend::DispatchDevice::Cube(device) = self.device.as_dispatch() {
            let client = device.client();
            return self.close_to(|| client.memory_persistent_allocation((), |()| work()));
        }
        work()
    }

    /// Runs work that calls the device many times, where that is cheapest: a GPU is fed by a thread of its own, and
    /// there no call waits for another thread.
    pub fn close_to<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        #[cfg(feature = "gpu")]
        if let burn::backend::DispatchDevice::Cube(device) = self.device.as_dispatch() {
            let (mut work, mut result) = (Some(work), None);
            let client = device.client();
            let done = client.exclusive(|| result = work.take().map(|work| work()));
            return result.unwrap_or_else(|| match work {
                // The thread could not be had, and the work has not begun.
                Some(work) => work(),
                None => panic!("the work for the device failed: {done:?}"),
            });
        }
        work()
    }

    /// Whether the device has memory of its own, apart from the host's.
    pub fn has_own_memory(&self) -> bool {
        kind_of(&self.device) != Kind::Cpu
    }
}

/// Tells NVIDIA's profilers that what counts begins, or is over; nothing where there is no CUDA.
pub fn profile(on: bool) {
    #[cfg(feature = "cuda")]
    if is_driver_present() {
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

/// Whether networks can compute in this type on a device, correctly. Some drivers take a type and give wrong numbers:
/// WGSL has no bf16, and a cast to it is silently wrong there.
pub fn can_compute_in(device: &Device, dtype: FloatDType) -> bool {
    let device = device.clone().inner();
    match (dtype, kind_of(&device)) {
        (FloatDType::F32, _) => true,
        (FloatDType::BF16, Kind::Cuda) => device.supports_dtype(burn::tensor::DType::BF16),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for (text, name) in [
            ("auto", DeviceName::Auto),
            ("cpu", DeviceName::Cpu),
            ("cuda", DeviceName::Cuda(0)),
            ("cuda:3", DeviceName::Cuda(3)),
            ("vulkan:1", DeviceName::Vulkan(1)),
            ("metal", DeviceName::Metal),
        ] {
            assert_eq!(text.parse(), Ok(name));
            assert_eq!(name.to_string().parse(), Ok(name));
        }
        for text in [
            "", "gpu", "cuda:", "cuda:-1", "cuda:x", "cpu:0", "metal:0", "CUDA",
        ] {
            assert_eq!(
                text.parse::<DeviceName>(),
                Err(DeviceError::Unknown(text.into()))
            );
        }
    }

    #[test]
    fn the_cpu_is_always_there() {
        let cpu = DeviceName::Cpu.open().expect("always");
        assert_eq!(Placement::of(&cpu).part(100), CPU_PART);
        assert!(found().iter().any(|info| info.name == DeviceName::Cpu));
        assert!(can_compute_in(&cpu, FloatDType::F32));
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn what_is_not_compiled_in_is_named() {
        let message = DeviceName::Cuda(0).open().expect_err("refused").to_string();
        assert!(message.contains("--features cuda"), "{message}");
    }
}
