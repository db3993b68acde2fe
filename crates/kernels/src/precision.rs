//! How precisely products of f32 numbers are computed, on hardware with a faster way.

use std::sync::atomic::{AtomicBool, Ordering};

static TF32: AtomicBool = AtomicBool::new(false);

/// Lets NVIDIA's matrix units round the factors of f32 products to 10 bits of significand (TF32),
/// for the whole process. Off at first.
pub fn allow_tf32(allowed: bool) {
    TF32.store(allowed, Ordering::Relaxed);
}

#[cfg_attr(not(feature = "cuda"), allow(dead_code, reason = "only CUDA has it"))]
pub(crate) fn tf32_is_allowed() -> bool {
    TF32.load(Ordering::Relaxed)
}
