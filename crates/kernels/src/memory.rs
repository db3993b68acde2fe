//! The memory of the machine, and how the C library keeps it: for the first lines of a program that
//! trains or generates.

mod machine;

pub use machine::usable;

use serde::Serialize;

/// Makes the C library keep large freed blocks instead of returning each to the system, in one heap
/// for all threads.
///
/// A training step frees and takes the same blocks of megabytes again and again. By default glibc
/// maps and unmaps each of them, and the kernel clears every page anew: a fifth of the time of a
/// step. It also gives other threads heaps of their own, up to eight for each core: each keeps what
/// its threads once needed, is returned as soon as it is empty, and has no room for blocks beyond
/// 64 MiB, which are then mapped anew each time.
///
/// Call it before any thread is started. It does nothing with other C libraries.
pub fn keep_freed_blocks() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        const MMAP_THRESHOLD: libc::c_int = 1 << 30;
        const TRIM_THRESHOLD: libc::c_int = libc::c_int::MAX;
        // SAFETY: mallopt changes three numbers of the allocator; it is called before any thread is
        // started.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, MMAP_THRESHOLD);
            libc::mallopt(libc::M_TRIM_THRESHOLD, TRIM_THRESHOLD);
            libc::mallopt(libc::M_ARENA_MAX, 1);
        }
    }
}

/// Predicted peak memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Predicted {
    /// In the machine's memory.
    pub host: u64,
    /// In a GPU's.
    pub device: u64,
}

impl Predicted {
    /// Of work on the CPU.
    pub fn of_host(host: u64) -> Self {
        Self { host, device: 0 }
    }

    /// Both together, where they are the same memory.
    pub fn total(self) -> u64 {
        self.host.saturating_add(self.device)
    }

    /// In the memory that networks are in: a GPU's, where any of it is taken.
    pub fn of_networks(self) -> u64 {
        match self.device {
            0 => self.host,
            device => device,
        }
    }

    /// That of two pieces of work at once.
    pub fn plus(self, other: Self) -> Self {
        Self {
            host: self.host.saturating_add(other.host),
            device: self.device.saturating_add(other.device),
        }
    }

    /// The larger of each.
    pub fn max(self, other: Self) -> Self {
        Self {
            host: self.host.max(other.host),
            device: self.device.max(other.device),
        }
    }
}

/// Floats of transformed kernels that a convolution works with at a time, at most: they stay in the
/// third-level cache.
pub const TRANSFORMED_KERNELS: usize = 8 << 20;

/// Scratch memory of an algorithm of cuDNN, in bytes, at most.
pub const LIBRARY_WORKSPACE: usize = 1 << 30;

/// How many queries' scores of an attention a GPU has in memory at a time, for so many heads of a
/// batch with so many queries and keys each. `libraries` is whether cuBLAS multiplies, which is
/// faster with larger products: then it is at most 256 MiB of scores in f32, else 64 MiB, which
/// every driver lets a kernel see at once.
pub fn queries_at_once(heads: usize, tokens: usize, context: usize, libraries: bool) -> usize {
    let most: usize = if libraries { 1 << 26 } else { 1 << 24 };
    let row = heads.saturating_mul(context).max(1);
    (most / row).clamp(1, tokens.max(1))
}

/// Returns freed memory to the system: after reading files, since no later block fits into the
/// memory of their bytes.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: malloc_trim takes no pointer, and may be called at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}
