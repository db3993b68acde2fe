//! Vectors of `f32` and the choice of instruction set at run time.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub(crate) mod math;
mod portable;
pub(crate) mod transpose;

#[cfg(test)]
mod tests;

use std::sync::OnceLock;

/// A vector register of [`Lanes::N`] floats.
///
/// The implementations for one instruction set may only be used inside [`Isa::run`], which
/// knows that the processor has the instructions.
pub(crate) trait Lanes: Copy {
    /// Floats per register.
    const N: usize;
    /// Rows of a register tile that is two registers wide and leaves room for its operands.
    const ROWS: usize;

    /// # Safety
    /// `N` floats are readable at `from`.
    unsafe fn load(from: *const f32) -> Self;
    /// # Safety
    /// `N` floats are writable at `to`.
    unsafe fn store(self, to: *mut f32);
    fn splat(x: f32) -> Self;
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    fn div(self, other: Self) -> Self;
    /// The larger of each pair; `self`'s where `self` is not a number.
    fn max(self, other: Self) -> Self;
    /// The smaller of each pair; `self`'s where `self` is not a number.
    fn min(self, other: Self) -> Self;
    /// `self * factor + addend`.
    fn mul_add(self, factor: Self, addend: Self) -> Self;
    /// `self * 2^power` for whole `power` from -126 to 127.
    fn scale_by_power(self, power: Self) -> Self;
    /// Writes the transpose of the `N` by `N` block at `from` to `to`.
    ///
    /// # Safety
    /// `N` rows of `N` floats, `from_pitch` floats apart, are readable at `from`; as many,
    /// `to_pitch` floats apart, are writable at `to`; the two do not overlap.
    unsafe fn transpose(from: *const f32, from_pitch: usize, to: *mut f32, to_pitch: usize);

    /// The first `count` floats at `from`, then zeros.
    ///
    /// # Safety
    /// `count`, at most `N`, floats are readable at `from`.
    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> Self {
        let mut row = [0.0; WIDEST];
        // SAFETY: the caller's promise; `row` has room for any register.
        unsafe {
            std::ptr::copy_nonoverlapping(from, row.as_mut_ptr(), count);
            Self::load(row.as_ptr())
        }
    }

    /// # Safety
    /// `count`, at most `N`, floats are writable at `to`.
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, count: usize) {
        let mut row = [0.0; WIDEST];
        // SAFETY: as in `load_first`.
        unsafe {
            self.store(row.as_mut_ptr());
            std::ptr::copy_nonoverlapping(row.as_ptr(), to, count);
        }
    }

    /// The sum of the lanes, in order.
    #[inline(always)]
    fn sum(self) -> f32 {
        let mut row = [0.0; WIDEST];
        // SAFETY: `row` has room for any register.
        unsafe { self.store(row.as_mut_ptr()) };
        row[..Self::N].iter().sum()
    }
}

/// Floats of the widest register.
pub(crate) const WIDEST: usize = 16;

/// A computation written once for every register width.
///
/// `run` and all it calls in its inner loops are `#[inline(always)]`: only then do they become
/// part of the function that was compiled for the chosen instruction set.
pub(crate) trait Kernel {
    type Output;
    fn run<V: Lanes>(self) -> Self::Output;
}

/// An instruction set that the kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isa {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Isa {
    /// The instruction sets that this processor has, the widest last.
    pub(crate) fn available() -> Vec<Self> {
        #[cfg_attr(not(target_arch = "x86_64"), expect(unused_mut))]
        let mut sets = vec![Self::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                sets.push(Self::Avx2);
            }
            if is_x86_feature_detected!("avx512f") {
                sets.push(Self::Avx512);
            }
        }
        sets
    }

    /// The widest instruction set that this processor has.
    pub(crate) fn best() -> Self {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(|| {
            *Self::available()
                .last()
                .expect("the portable path always exists")
        })
    }

    /// Floats per register.
    pub(crate) fn lanes(self) -> usize {
        match self {
            Self::Portable => portable::F32::N,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => avx2::F32::N,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => avx512::F32::N,
        }
    }

    /// Runs the kernel's version for this instruction set.
    #[inline]
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self {
            Self::Portable => kernel.run::<portable::F32>(),
            // SAFETY: the two values exist only where `available` found the instructions.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { avx2::run(kernel) },
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { avx512::run(kernel) },
        }
    }
}
