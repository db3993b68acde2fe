//! How the C library keeps memory: for a program's first lines, where it trains or draws.

/// Lets the C library keep large freed blocks instead of giving each back to the system, in one heap for all threads.
///
/// A training step frees and takes the same blocks of megabytes again and again. By default glibc maps and
/// unmaps each of them, and the kernel clears every page anew: a fifth of the time of a step. It also gives other threads
/// heaps of their own, up to eight for each core: each keeps what its threads once needed, is given back as soon as it
/// is empty, and has no room for blocks beyond 64 MiB, which are mapped anew whatever else is set.
///
/// To be called before any thread is started. It changes nothing where the C library is another.
pub fn keep_freed_blocks() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        const MMAP_THRESHOLD: libc::c_int = 1 << 30;
        const TRIM_THRESHOLD: libc::c_int = libc::c_int::MAX;
        // SAFETY: mallopt changes three numbers of the allocator; it is called before any thread is started.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, MMAP_THRESHOLD);
            libc::mallopt(libc::M_TRIM_THRESHOLD, TRIM_THRESHOLD);
            libc::mallopt(libc::M_ARENA_MAX, 1);
        }
    }
}

/// Floats of transformed kernels that a convolution works with at a time, at most: they stay in the third-level cache.
pub const TRANSFORMED_KERNELS: usize = 8 << 20;

/// Gives freed memory back to the system: after files were read, whose bytes no later block would fit into.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: malloc_trim takes no pointer, and may be called at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}
