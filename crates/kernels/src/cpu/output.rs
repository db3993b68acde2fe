//! Results that are written once, without being cleared first.

use std::mem::MaybeUninit;

/// A vector of `len` floats that `fill` writes.
///
/// # Safety
/// `fill` writes every element.
pub(crate) unsafe fn written_by(
    len: usize,
    fill: impl FnOnce(&mut [MaybeUninit<f32>]),
) -> Vec<f32> {
    let mut values = Vec::with_capacity(len);
    fill(&mut values.spare_capacity_mut()[..len]);
    // SAFETY: the caller's promise.
    unsafe { values.set_len(len) };
    values
}

/// A result that several tasks write, each at its own positions.
#[derive(Clone, Copy)]
pub(crate) struct Shared(pub(crate) *mut f32);

// SAFETY: the code that dereferences it must only write positions of its own task.
unsafe impl Sync for Shared {}
