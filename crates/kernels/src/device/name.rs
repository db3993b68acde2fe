//! Names of devices.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A device by name: `auto`, `cpu`, `cuda`, `cuda:1`, `vulkan`, `vulkan:1`, `metal`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceName {
    /// The first GPU that this build can use, except software drivers; else the CPU.
    #[default]
    Auto,
    /// The CPU, with our own kernels.
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
        /// The requested device.
        name: DeviceName,
        /// What there is, and what to do.
        found: String,
    },
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

impl DeviceName {
    /// The device for the process with this number on its machine: the next GPU for each, where this
    /// is one. Of `auto`, processes share the CPU where there is no GPU.
    pub fn of_rank(self, rank: usize) -> Self {
        match self {
            Self::Cuda(first) => Self::Cuda(first + rank),
            Self::Vulkan(first) => Self::Vulkan(first + rank),
            Self::Auto => match super::found().iter().find(|info| info.is_card) {
                Some(info) => info.name.of_rank(rank),
                None => Self::Cpu,
            },
            Self::Cpu | Self::Metal => self,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_of_a_machine_take_one_gpu_each() {
        assert_eq!(DeviceName::Cuda(0).of_rank(3), DeviceName::Cuda(3));
        assert_eq!(DeviceName::Vulkan(2).of_rank(1), DeviceName::Vulkan(3));
        assert_eq!(DeviceName::Cpu.of_rank(3), DeviceName::Cpu);
    }

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
}
