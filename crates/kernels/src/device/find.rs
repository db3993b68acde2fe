//! Finds and opens devices.

#[cfg(feature = "cuda")]
use super::kind::cuda_index;
use super::name::{DeviceError, DeviceName};
use burn::tensor::{Device, DeviceType};

/// A device that can be opened here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Its name for [`DeviceName`].
    pub name: DeviceName,
    /// What it calls itself.
    pub model: String,
    /// Its memory in bytes, if known.
    pub memory: Option<u64>,
    /// Whether it is a card: a software driver is none, and neither is the CPU.
    pub is_card: bool,
}

impl DeviceName {
    /// The device of this name: the one place where devices are made.
    ///
    /// # Errors
    /// When the build has no such back end, or the machine no such device; the message says what
    /// both have.
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
                is_card: !is_software(&device),
                model: identity.map_or_else(|| "unknown".into(), |identity| identity.name),
                memory: memory_of(&device),
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
pub(super) fn is_driver_present() -> bool {
    // SAFETY: opens the driver's library.
    unsafe { cudarc::driver::sys::is_culib_present() }
}

/// Whether a GPU is only a driver that computes on the CPU.
#[allow(unused_variables, reason = "without GPUs there is none")]
pub(super) fn is_software(device: &Device) -> bool {
    #[cfg(feature = "gpu")]
    {
        let identity = device.identity();
        identity.is_none_or(|identity| identity.physical.is_none())
    }
    #[cfg(not(feature = "gpu"))]
    {
        false
    }
}

/// The memory of a CUDA device; other back ends do not tell.
#[allow(unused_variables, reason = "only CUDA tells")]
pub(super) fn memory_of(device: &Device) -> Option<u64> {
    #[cfg(feature = "cuda")]
    if let Some(index) = cuda_index(device) {
        use cudarc::driver::result::device::{get, total_mem};
        let device = get(index as i32).ok()?;
        // SAFETY: a device of the driver's own list.
        return unsafe { total_mem(device) }.ok().map(|bytes| bytes as u64);
    }
    None
}
