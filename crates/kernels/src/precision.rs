//! How precisely products of f32 numbers are computed, on hardware with a faster way.

use crate::cpu::dot::Dot;
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

static BF16_PRODUCTS: AtomicBool = AtomicBool::new(false);

/// Whether the processor has instructions for products of bf16 numbers that are summed up in f32
/// (AVX512-BF16).
pub fn has_bf16_products() -> bool {
    Dot::find().is_some()
}

/// Lets the CPU round the factors of linear layers and of attention to bf16 where there is no
/// gradient, and where it [`has_bf16_products`]; for the whole process. Off at first.
pub fn allow_bf16_products(allowed: bool) {
    BF16_PRODUCTS.store(allowed, Ordering::Relaxed);
}

/// Whether [`allow_bf16_products`] allowed them.
pub fn bf16_products_are_allowed() -> bool {
    BF16_PRODUCTS.load(Ordering::Relaxed)
}

/// The instructions, where they are allowed.
pub(crate) fn dot() -> Option<Dot> {
    match bf16_products_are_allowed() {
        true => Dot::find(),
        false => None,
    }
}
