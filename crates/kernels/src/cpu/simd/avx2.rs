//! AVX2 with FMA: eight floats, sixteen registers.

use super::{Kernel, Lanes};
use std::arch::x86_64::*;

/// # Safety
/// The processor has AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<F32>()
}

#[derive(Clone, Copy)]
pub(crate) struct F32(__m256);

// SAFETY of every block below: `Isa::run` uses this type only where the processor has AVX2 and FMA;
// what is read and written is covered by the contracts of the trait's unsafe methods.
impl Lanes for F32 {
    const N: usize = 8;
    const ROWS: usize = 4;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        Self(unsafe { _mm256_loadu_ps(from) })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe { _mm256_storeu_ps(to, self.0) }
    }

    #[inline(always)]
    fn splat(x: f32) -> Self {
        Self(unsafe { _mm256_set1_ps(x) })
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(unsafe { _mm256_add_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(unsafe { _mm256_sub_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Self(unsafe { _mm256_mul_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn div(self, other: Self) -> Self {
        Self(unsafe { _mm256_div_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        // The instruction gives its second operand where either is not a number.
        Self(unsafe { _mm256_max_ps(other.0, self.0) })
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        // The instruction gives its second operand where either is not a number.
        Self(unsafe { _mm256_min_ps(other.0, self.0) })
    }

    #[inline(always)]
    fn scale_by_power(self, power: Self) -> Self {
        unsafe {
            let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(power.0), _mm256_set1_epi32(127));
            let factor = _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23));
            Self(_mm256_mul_ps(self.0, factor))
        }
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        Self(unsafe { _mm256_fmadd_ps(self.0, factor.0, addend.0) })
    }

    #[inline(always)]
    unsafe fn transpose(from: *const f32, from_pitch: usize, to: *mut f32, to_pitch: usize) {
        unsafe {
            let mut r = [_mm256_setzero_ps(); 8];
            for i in 0..8 {
                r[i] = _mm256_loadu_ps(from.add(i * from_pitch));
            }
            // Pairs of rows interleaved, then fours, each within the two 128-bit halves.
            let mut t = r;
            for i in 0..8 {
                let (a, b) = (r[i / 2 * 2], r[i / 2 * 2 + 1]);
                t[i] = if i % 2 == 0 {
                    _mm256_unpacklo_ps(a, b)
                } else {
                    _mm256_unpackhi_ps(a, b)
                };
            }
            let mut u = t;
            for i in 0..8 {
                let (a, b) = (t[i / 4 * 4 + i % 4 / 2], t[i / 4 * 4 + i % 4 / 2 + 2]);
                u[i] = if i % 2 == 0 {
                    _mm256_shuffle_ps(a, b, 0x44)
                } else {
                    _mm256_shuffle_ps(a, b, 0xee)
                };
            }
            for i in 0..4 {
                let (low, high) = (u[i], u[i + 4]);
                _mm256_storeu_ps(
                    to.add(i * to_pitch),
                    _mm256_permute2f128_ps(low, high, 0x20),
                );
                _mm256_storeu_ps(
                    to.add((i + 4) * to_pitch),
                    _mm256_permute2f128_ps(low, high, 0x31),
                );
            }
        }
    }
}
