//! The memory of the machine, and how the C library keeps it: for the first lines of a program that
//! trains or generates.

mod machine;

pub use machine::usable;

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

/// Floats of transformed kernels that a convolution works with at a time, at most: they stay in the
/// third-level cache.
pub const TRANSFORMED_KERNELS: usize = 8 << 20;

/// Returns freed memory to the system: after reading files, since no later block fits into the
/// memory of their bytes.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: malloc_trim takes no pointer, and may be called at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}
