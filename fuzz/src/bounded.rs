//! An allocator with a bound.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// More than any input of a fuzzer may make the program take.
const MOST: usize = 1 << 30;

/// The system's allocator, which ends the process with a message when more than a gibibyte is taken
/// in all: without a sanitizer, libFuzzer sees neither one huge allocation nor one that is given
/// back soon.
pub struct Bounded;

static TAKEN: AtomicUsize = AtomicUsize::new(0);

fn take(bytes: usize) {
    if TAKEN
        .fetch_add(bytes, Ordering::Relaxed)
        .saturating_add(bytes)
        > MOST
    {
        // The message takes memory itself.
        TAKEN.store(0, Ordering::Relaxed);
        eprintln!("more than {MOST} bytes of memory, of which {bytes} at once:");
        eprintln!("{}", std::backtrace::Backtrace::force_capture());
        std::process::abort();
    }
}

fn give_back(bytes: usize) {
    TAKEN.fetch_sub(bytes, Ordering::Relaxed);
}

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Bounded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        take(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        give_back(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        take(size);
        give_back(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.realloc(memory, layout, size) }
    }
}
