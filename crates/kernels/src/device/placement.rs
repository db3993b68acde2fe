//! How work is given to a device.

use super::find::{is_software, memory_of};
use super::kind::{Kind, kind_of};
use crate::parallel::parallel_parts;
use burn::tensor::Device;

/// Samples that go through a network together on the CPU. A batch is split into parts of this size,
/// whatever the number of threads, so that sums have the same bits everywhere.
pub(super) const CPU_PART: usize = 32;

/// Where a device's memory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceMemory {
    /// It is part of the machine's: of a CPU, and of a software driver.
    Hosts,
    /// The device has its own, of this size in bytes if that is known.
    Own(Option<u64>),
}

/// How work is given to a device. Nothing else depends on the kind of device.
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

    /// Of the CPU.
    pub fn cpu() -> Self {
        Self {
            device: Device::flex(),
        }
    }

    /// How many samples of a batch go through a network together, at most: parts that run in
    /// parallel on a CPU, the whole batch on a GPU.
    pub fn part(&self, batch: usize) -> usize {
        match self.has_own_memory() {
            false => batch.min(CPU_PART),
            true => batch.max(1),
        }
    }

    /// The size of each piece of `whole` independent items: one piece for each thread of a CPU, one
    /// piece on a GPU.
    pub fn share(&self, whole: usize) -> usize {
        match self.has_own_memory() {
            false => whole.div_ceil(rayon::current_num_threads()),
            true => whole,
        }
    }

    /// Runs `work` for all pieces: in parallel on a CPU's threads, one after the other on a GPU,
    /// which one piece fills.
    pub fn map<T: Send, R: Send>(&self, pieces: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
        match self.has_own_memory() {
            false => parallel_parts(pieces, work),
            true => self.close_to(|| pieces.into_iter().map(&work).collect()),
        }
    }

    /// Runs work that is done again and again with tensors of the same sizes, [close
    /// to](Self::close_to) the device. Memory is then found by its size, while the framework's
    /// search takes longer the more tensors there are; freed memory is kept for the next time.
    pub fn repeatedly<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        #[cfg(feature = "gpu")]
        if let burn::backend::DispatchDevice::Cube(device) = self.device.as_dispatch() {
            let client = device.client();
            return self.close_to(|| client.memory_persistent_allocation((), |()| work()));
        }
        work()
    }

    /// Runs work that calls the device many times on the thread where that is cheapest: a GPU is
    /// fed by a thread of its own, where no call waits for another thread.
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

    /// Where the device's memory is.
    pub fn memory(&self) -> DeviceMemory {
        if !self.has_own_memory() {
            return DeviceMemory::Hosts;
        }
        match is_software(&self.device) {
            true => DeviceMemory::Hosts,
            false => DeviceMemory::Own(memory_of(&self.device)),
        }
    }

    /// Bytes that the framework has taken from the device so far, with what it keeps for later.
    /// None for the CPU.
    pub fn reserved(&self) -> Option<u64> {
        let usage = self.device.memory_pool_usage()?;
        Some(usage.bytes_reserved)
    }

    /// Whether NVIDIA's libraries work on it, with scratch memory of their own.
    pub fn has_libraries(&self) -> bool {
        kind_of(&self.device) == Kind::Cuda
    }

    /// Whether the device has memory of its own, apart from the host's.
    pub fn has_own_memory(&self) -> bool {
        kind_of(&self.device) != Kind::Cpu
    }
}
